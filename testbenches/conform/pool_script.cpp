// SPDX-License-Identifier: Apache-2.0
#include "testbenches/conform/pool_script.h"

#include <charconv>
#include <limits>

#include "sim/error.h"

namespace conform {
namespace {

struct OpWord {
  std::string_view word;
  PoolOp op;
  char arguments[4];  // n number, h handle or range, H one or more of them, w word; upper bound of what may
                      // follow
};
// Numbers may be left out from the right.
constexpr OpWord kOps[] = {
    {"softirq", PoolOp::softirq, "n"},
    {"cpu", PoolOp::cpu, "n"},
    {"local_node", PoolOp::local_node, "n"},
    {"need_sync", PoolOp::need_sync, "n"},
    {"dma_align", PoolOp::dma_align, "n"},
    {"adv", PoolOp::adv, "n"},
    {"inj_nid", PoolOp::inj_nid, "nnn"},
    {"inj_pfm", PoolOp::inj_pfm, "nn"},
    {"inj_fail", PoolOp::inj_fail, "n"},
    {"inj_bulk", PoolOp::inj_bulk, "n"},
    {"inj_map", PoolOp::inj_map, "nn"},
    {"inj_track", PoolOp::inj_track, "nnw"},
    {"inj_kmem", PoolOp::inj_kmem, "w"},
    {"work", PoolOp::work, ""},
    {"create", PoolOp::create, "n"},
    {"alloc", PoolOp::alloc, "n"},
    {"alloc_n", PoolOp::alloc_n, "nn"},
    {"frag", PoolOp::frag, "nn"},
    {"var", PoolOp::var, "nn"},
    {"update_nid", PoolOp::update_nid, "nn"},
    {"nid_changed", PoolOp::nid_changed, "nn"},
    {"disable_direct", PoolOp::disable_direct, "n"},
    {"enable_direct", PoolOp::enable_direct, "n"},
    {"xdp_attach", PoolOp::xdp_attach, "n"},
    {"napi_owner", PoolOp::napi_owner, "nn"},
    {"napi_sched", PoolOp::napi_sched, "nn"},
    {"netdev_gone", PoolOp::netdev_gone, "n"},
    {"stats", PoolOp::stats, "n"},
    {"destroy", PoolOp::destroy, "n"},
    {"put", PoolOp::put, "hnn"},
    {"put_bulk", PoolOp::put_bulk, "H"},
    {"put_bulk_mixed", PoolOp::put_bulk_mixed, "H"},
    {"ref", PoolOp::ref, "h"},
    {"get", PoolOp::get, "h"},
    {"unget", PoolOp::unget, "h"},
    {"sync_cpu", PoolOp::sync_cpu, "hnn"},
};

/// Most handles that one range may name.
constexpr std::int64_t kMaxRange = 1 << 16;
constexpr std::int64_t kMaxHandle = std::int64_t{1} << 40;

class LineParser {
 public:
  LineParser(std::string_view file, std::size_t line, std::string_view text)
      : file_(file), line_(line), rest_(text) {}

  std::string_view next() {
    std::size_t begin = rest_.find_first_not_of(" \t\r");
    if (begin == std::string_view::npos) {
      rest_ = {};
      return {};
    }
    std::size_t end = std::min(rest_.find_first_of(" \t\r", begin), rest_.size());
    std::string_view word = rest_.substr(begin, end - begin);
    rest_.remove_prefix(end);
    return word;
  }

  [[noreturn]] void fail(const std::string& message) const { throw sim::Error(file_, line_, message); }

  std::int64_t number(std::string_view word) const {
    std::string_view digits = word;
    bool negative = digits.starts_with('-');
    if (negative) digits.remove_prefix(1);
    int base = 10;
    if (digits.starts_with("0x") || digits.starts_with("0X")) {
      digits.remove_prefix(2);
      base = 16;
    }
    std::uint64_t value = 0;
    auto [end, ec] = std::from_chars(digits.data(), digits.data() + digits.size(), value, base);
    if (ec != std::errc{} || end != digits.data() + digits.size() ||
        value > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()))
      fail(fmt::format("'{}' is not a number", word));
    return negative ? -static_cast<std::int64_t>(value) : static_cast<std::int64_t>(value);
  }
  std::int64_t number(std::string_view word, std::int64_t min, std::int64_t max) const {
    std::int64_t value = number(word);
    if (value < min || value > max) fail(fmt::format("'{}' is out of range {}..{}", word, min, max));
    return value;
  }

  HandleRange handles(std::string_view word) const {
    if (word.empty()) fail("a handle is missing");
    std::size_t dash = word.find('-', 1);
    HandleRange range;
    range.first = number(word.substr(0, dash), 0, kMaxHandle);
    range.last = dash == std::string_view::npos ? range.first : number(word.substr(dash + 1), 0, kMaxHandle);
    if (range.count() > kMaxRange) fail(fmt::format("'{}' names more than {} handles", word, kMaxRange));
    return range;
  }

  std::uint32_t flags(std::string_view value) const {
    if (!value.empty() && value.front() >= '0' && value.front() <= '9')
      return static_cast<std::uint32_t>(number(value, 0, UINT32_MAX));
    std::uint32_t bits = 0;
    while (!value.empty()) {
      std::size_t plus = value.find('+');
      std::string_view word = value.substr(0, plus);
      static const std::vector<std::string> kNames{"map", "sync", "sys", "unread", "none"};
      std::size_t i = 0;
      while (i < kNames.size() && kNames[i] != word) ++i;
      if (i == kNames.size()) fail(fmt::format("unknown flag '{}'{}", word, sim::suggestion(word, kNames)));
      if (kNames[i] != "none") bits |= 1u << i;
      value = plus == std::string_view::npos ? std::string_view{} : value.substr(plus + 1);
    }
    return bits;
  }

  unsigned direction(std::string_view value) const {
    static const std::vector<std::string> kNames{"bidi", "to", "from", "none"};
    for (unsigned i = 0; i < kNames.size(); ++i)
      if (kNames[i] == value) return i;
    fail(fmt::format("unknown dir '{}'{}", value, sim::suggestion(value, kNames)));
  }

  void create_word(std::string_view word, CreateWords& create) const {
    std::size_t equals = word.find('=');
    std::string_view key = word.substr(0, equals);
    std::string_view value = equals == std::string_view::npos ? std::string_view{} : word.substr(equals + 1);
    if (key == "flags") {
      create.flags = flags(value);
      return;
    }
    if (key == "dir") {
      create.dir = direction(value);
      return;
    }
    struct Key {
      const char* name;
      std::int64_t CreateWords::*field;
      std::int64_t min, max;
    };
    static constexpr Key kKeys[] = {{"size", &CreateWords::size, 0, UINT32_MAX},
                                    {"order", &CreateWords::order, 0, 18},
                                    {"nid", &CreateWords::nid, INT32_MIN, INT32_MAX},
                                    {"maxlen", &CreateWords::max_len, 0, UINT32_MAX},
                                    {"off", &CreateWords::offset, 0, UINT32_MAX},
                                    {"napi", &CreateWords::napi, 0, 2},
                                    {"cpuid", &CreateWords::cpuid, INT32_MIN, INT32_MAX},
                                    {"netdev", &CreateWords::netdev, 0, 1},
                                    {"cb", &CreateWords::cb, 0, 1}};
    for (const Key& k : kKeys) {
      if (key != k.name) continue;
      create.*k.field = number(value, k.min, k.max);
      return;
    }
    fail(fmt::format("unknown parameter '{}'{}", key,
                     sim::suggestion(key, {"size", "order", "flags", "nid", "dir", "maxlen", "off", "napi",
                                           "cpuid", "netdev", "cb"})));
  }

  void track_errno(std::string_view word, PoolScriptOp& op) const {
    if (word != "nomem" && word != "busy") fail(fmt::format("'{}' is neither nomem nor busy", word));
    op.c = word == "busy";
  }
  void kmem(std::string_view word, PoolScriptOp& op) const {
    static const std::vector<std::string> kNames{"off", "pool", "stats", "ring", "list"};
    for (std::size_t i = 0; i < kNames.size(); ++i) {
      if (kNames[i] != word) continue;
      op.a = static_cast<std::int64_t>(i);
      return;
    }
    fail(fmt::format("unknown allocation '{}'{}", word, sim::suggestion(word, kNames)));
  }

 private:
  std::string_view file_;
  std::size_t line_;
  std::string_view rest_;
};

const OpWord& find_op(const LineParser& line, std::string_view word) {
  for (const OpWord& op : kOps)
    if (op.word == word) return op;
  std::vector<std::string> names;
  for (const OpWord& op : kOps) names.emplace_back(op.word);
  line.fail(fmt::format("unknown op '{}'{}", word, sim::suggestion(word, names)));
}

/// What the numbers of an op may be; the rest is checked by the pool itself.
void check_numbers(const LineParser& line, const PoolScriptOp& op) {
  auto within = [&](std::int64_t value, std::int64_t min, std::int64_t max) {
    if (value < min || value > max)
      line.fail(fmt::format("{}: {} is out of range {}..{}", op.word, value, min, max));
  };
  switch (op.op) {
    case PoolOp::dma_align:
      if (op.a < 1 || op.a > (1 << 20) || (op.a & (op.a - 1)) != 0)
        line.fail(fmt::format("dma_align: {} is not a power of two", op.a));
      break;
    case PoolOp::adv:
      within(op.a, 0, std::int64_t{1} << 50);
      break;
    case PoolOp::alloc_n:
      within(op.b, 1, 4096);
      break;
    case PoolOp::frag:
    case PoolOp::var:
      within(op.b, 0, UINT32_MAX);
      break;
    case PoolOp::sync_cpu:
      within(op.a, 0, UINT32_MAX);
      within(op.b, 0, UINT32_MAX);
      break;
    case PoolOp::put:
      within(op.b, -1, UINT32_MAX);
      break;
    case PoolOp::softirq:
    case PoolOp::need_sync:
      within(op.a, 0, 1);
      break;
    case PoolOp::cpu:
    case PoolOp::local_node:
      within(op.a, INT32_MIN, INT32_MAX);
      break;
    case PoolOp::update_nid:
    case PoolOp::nid_changed:
    case PoolOp::napi_owner:
      within(op.b, INT32_MIN, INT32_MAX);
      break;
    case PoolOp::inj_nid:
      within(op.c, INT32_MIN, INT32_MAX);
      [[fallthrough]];
    case PoolOp::inj_pfm:
    case PoolOp::inj_map:
    case PoolOp::inj_track:
      within(op.a, 0, INT64_MAX);
      within(op.b, 0, INT64_MAX);
      break;
    case PoolOp::inj_fail:
    case PoolOp::inj_bulk:
      within(op.a, 0, INT64_MAX);
      break;
    default:
      break;
  }
}

PoolScriptOp parse_op(LineParser& line, std::size_t number, std::string_view word) {
  const OpWord& found = find_op(line, word);
  PoolScriptOp op;
  op.op = found.op;
  op.line = number;
  op.word = found.word;
  if (op.op == PoolOp::put) op.b = -1;
  std::int64_t* numbers[] = {&op.a, &op.b, &op.c};
  std::size_t n = 0;
  for (const char* kind = found.arguments; *kind != 0; ++kind) {
    std::string_view argument = line.next();
    if (*kind == 'n') {
      if (argument.empty()) break;
      *numbers[n++] = line.number(argument);
    } else if (*kind == 'h') {
      op.handles.push_back(line.handles(argument));
    } else if (*kind == 'H') {
      for (; !argument.empty(); argument = line.next()) op.handles.push_back(line.handles(argument));
    } else if (op.op == PoolOp::inj_track) {
      line.track_errno(argument.empty() ? "nomem" : argument, op);
    } else {
      line.kmem(argument, op);
    }
  }
  if (op.op == PoolOp::create) {
    for (std::string_view argument = line.next(); !argument.empty(); argument = line.next())
      line.create_word(argument, op.create);
  }
  if (std::string_view extra = line.next(); !extra.empty())
    line.fail(fmt::format("'{}' is too much for {}", extra, op.word));
  bool on_pool = op.op >= PoolOp::create && op.op <= PoolOp::destroy;
  if (on_pool && (op.a < 0 || op.a > 63))
    line.fail(fmt::format("{}: no pool slot {} (0..63)", op.word, op.a));
  if ((op.op == PoolOp::ref || op.op == PoolOp::get || op.op == PoolOp::unget || op.op == PoolOp::sync_cpu) &&
      op.handles.front().count() != 1)
    line.fail(fmt::format("{} takes one handle", op.word));
  check_numbers(line, op);
  return op;
}

}  // namespace

std::vector<PoolScriptText> parse_pool_scripts(std::string_view file, std::string_view text) {
  std::vector<PoolScriptText> scripts;
  std::size_t number = 0;
  while (!text.empty()) {
    std::size_t end = std::min(text.find('\n'), text.size());
    std::string_view row = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    ++number;
    if (row.starts_with("=== ")) {
      LineParser name(file, number, row.substr(4));
      scripts.push_back({std::string(name.next()), {}});
      continue;
    }
    LineParser line(file, number, row.substr(0, row.find('#')));
    std::string_view word = line.next();
    if (word.empty()) continue;
    if (scripts.empty()) scripts.emplace_back();
    scripts.back().ops.push_back(parse_op(line, number, word));
  }
  return scripts;
}

}  // namespace conform
