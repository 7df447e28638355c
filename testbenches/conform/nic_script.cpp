// SPDX-License-Identifier: Apache-2.0
#include "testbenches/conform/nic_script.h"

#include <charconv>
#include <map>

#include "sim/error.h"

namespace conform {
namespace {

/// What fields an op has: F function, n number, m optional mask (default all ones), x hex bytes, g flags.
struct Shape {
  NicOp op;
  const char* fields;
};

const std::map<std::string, Shape, std::less<>>& shapes() {
  static const std::map<std::string, Shape, std::less<>> kShapes = {
      {"setup", {NicOp::kSetup, "F"}},       {"linkup", {NicOp::kLinkup, ""}},
      {"reset", {NicOp::kReset, ""}},        {"flr", {NicOp::kFlr, "F"}},
      {"vfs", {NicOp::kVfs, "n"}},           {"r", {NicOp::kRead, "Fnm"}},
      {"w", {NicOp::kWrite, "Fnn"}},         {"cr", {NicOp::kConfigRead, "Fnnm"}},
      {"cw", {NicOp::kConfigWrite, "Fnnn"}}, {"mw", {NicOp::kMemoryWrite, "nx"}},
      {"mf", {NicOp::kMemoryFill, "nnn"}},   {"md", {NicOp::kMemoryDump, "nn"}},
      {"mc", {NicOp::kMemoryCrc, "nn"}},     {"rx", {NicOp::kReceive, "x"}},
      {"tx", {NicOp::kTransmitted, ""}},     {"irq", {NicOp::kInterrupts, ""}},
      {"rxd", {NicOp::kRxDescriptor, "ng"}}, {"txd", {NicOp::kTxDescriptor, "n"}},
      {"ir", {NicOp::kIommuRead, "nnm"}},    {"iw", {NicOp::kIommuWrite, "nnn"}},
      {"fq", {NicOp::kFaultQueue, ""}},
  };
  return kShapes;
}

class LineParser {
 public:
  LineParser(std::string_view file, std::size_t line, std::string_view text)
      : file_(file), line_(line), rest_(text) {}

  std::string_view word() {
    while (!rest_.empty() && rest_.front() == ' ') rest_.remove_prefix(1);
    const std::size_t end = std::min(rest_.find(' '), rest_.size());
    const std::string_view w = rest_.substr(0, end);
    rest_.remove_prefix(end);
    return w;
  }
  std::string_view rest() const { return rest_; }

  [[noreturn]] void fail(std::string_view message) const { throw sim::Error(file_, line_, message); }

  std::uint64_t number(std::string_view w) const {
    std::uint64_t v = 0;
    int base = 10;
    std::string_view digits = w;
    if (digits.starts_with("0x") || digits.starts_with("0X")) {
      digits.remove_prefix(2);
      base = 16;
    }
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), v, base);
    if (digits.empty() || error != std::errc() || end != digits.data() + digits.size()) {
      fail(fmt::format("'{}' is not a number", w));
    }
    return v;
  }

  void function(std::string_view w, NicScriptOp& op) const {
    if (w.ends_with(".msix")) {
      op.msix = true;
      w.remove_suffix(5);
    }
    if (w == "pf") return;
    if (w.size() == 3 && w.starts_with("vf") && w[2] >= '0' && w[2] <= '7') {
      op.function = 1 + (w[2] - '0');
      return;
    }
    fail(fmt::format("'{}' is not a function (pf, vf0 ... vf7)", w));
  }

  std::vector<std::uint8_t> hex(std::string_view w) const {
    if (w.size() % 2 != 0) fail(fmt::format("'{}' has an odd number of hex digits", w.substr(0, 32)));
    std::vector<std::uint8_t> bytes(w.size() / 2);
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      const char* at = w.data() + 2 * i;
      const auto [end, error] = std::from_chars(at, at + 2, bytes[i], 16);
      if (error != std::errc() || end != at + 2)
        fail(fmt::format("'{}' are not hex digits", w.substr(2 * i, 2)));
    }
    return bytes;
  }

 private:
  std::string_view file_;
  std::size_t line_;
  std::string_view rest_;
};

NicScriptOp parse_op(LineParser& in, std::string_view name, std::size_t line) {
  const auto shape = shapes().find(name);
  if (shape == shapes().end()) {
    std::vector<std::string> names;
    for (const auto& [known, s] : shapes()) names.push_back(known);
    in.fail(fmt::format("unknown op '{}'{}", name, sim::suggestion(name, names)));
  }
  NicScriptOp op;
  op.op = shape->second.op;
  op.line = line;
  std::uint64_t* const numbers[] = {&op.a, &op.b, &op.c};
  unsigned next = 0;
  for (const char* field = shape->second.fields; *field != 0; ++field) {
    const std::string_view w = in.word();
    if (w.empty() && *field != 'm' && *field != 'g' && *field != 'x') {
      in.fail(fmt::format("'{}' wants more fields", name));
    }
    switch (*field) {
      case 'F':
        in.function(w, op);
        break;
      case 'n':
        *numbers[next++] = in.number(w);
        break;
      case 'm':
        *numbers[next++] = w.empty() ? ~std::uint64_t{0} : in.number(w);
        break;
      case 'x':
        op.bytes = in.hex(w);
        break;
      default:
        for (char c : w) {
          if (c != 'h' && c != 's') in.fail(fmt::format("unknown flag '{}'", c));
          (c == 'h' ? op.flag_hash : op.flag_split) = true;
        }
        break;
    }
  }
  if (const auto extra = in.word(); !extra.empty())
    in.fail(fmt::format("'{}': too many fields for '{}'", extra, name));
  const bool sized = op.op == NicOp::kConfigRead || op.op == NicOp::kConfigWrite;
  if (sized && op.b != 1 && op.b != 2 && op.b != 4) in.fail(fmt::format("size {} is not 1, 2 or 4", op.b));
  if ((op.op == NicOp::kIommuRead || op.op == NicOp::kIommuWrite) && op.b != 4 && op.b != 8) {
    in.fail(fmt::format("size {} is not 4 or 8", op.b));
  }
  constexpr std::uint64_t kMaxBytes = std::uint64_t{128} << 20;  // the larger world
  if ((op.op == NicOp::kMemoryFill || op.op == NicOp::kMemoryDump || op.op == NicOp::kMemoryCrc) &&
      op.b > kMaxBytes) {
    in.fail(fmt::format("{} bytes are more than the memory has", op.b));
  }
  if (op.op == NicOp::kVfs && op.a > 8) in.fail(fmt::format("{} is more than 8 VFs", op.a));
  if (op.msix && op.op != NicOp::kRead && op.op != NicOp::kWrite) {
    in.fail(fmt::format("'{}' wants a function, not its MSI-X table", name));
  }
  return op;
}

}  // namespace

NicScript parse_nic_script(std::string_view file, std::string_view text) {
  NicScript script;
  std::size_t line = 0;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    std::string_view row = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    ++line;
    if (row.ends_with('\r')) row.remove_suffix(1);
    row = row.substr(0, row.find('#'));
    LineParser in(file, line, row);
    const std::string_view name = in.word();
    if (name.empty()) continue;
    if (name == "name") {
      script.name = in.rest().empty() ? "" : in.rest().substr(1);
    } else if (name == "world") {
      const std::string_view w = in.word();
      if (w != "plain" && w != "iommu")
        in.fail(fmt::format("unknown world '{}'{}", w, sim::suggestion(w, {"plain", "iommu"})));
      script.iommu_world = w == "iommu";
      if (const auto extra = in.word(); !extra.empty())
        in.fail(fmt::format("'{}': too many fields for 'world'", extra));
    } else {
      script.ops.push_back(parse_op(in, name, line));
    }
  }
  for (const NicScriptOp& op : script.ops) {
    const bool iommu =
        op.op == NicOp::kIommuRead || op.op == NicOp::kIommuWrite || op.op == NicOp::kFaultQueue;
    if (iommu && !script.iommu_world)
      throw sim::Error(file, op.line, "'ir', 'iw' and 'fq' want 'world iommu'");
  }
  return script;
}

}  // namespace conform
