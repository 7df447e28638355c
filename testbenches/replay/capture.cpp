// SPDX-License-Identifier: Apache-2.0
#include "testbenches/replay/capture.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <unordered_map>

#include "sim/error.h"

namespace replay {
namespace {

/// Per-CPU trace clocks may differ by this much where the buffers of two CPUs are merged.
constexpr std::uint64_t kClockSkew_ns = 1'000'000;

struct KindName {
  EventKind kind;
  const char* name;
};

constexpr std::array kNames{
    KindName{EventKind::kMark, "tracing_mark_write"},
    KindName{EventKind::kPoolCreate, "pp_create"},
    KindName{EventKind::kPoolDestroy, "pp_destroy"},
    KindName{EventKind::kReleaseRetry, "pp_retry"},
    KindName{EventKind::kPut, "pp_put"},
    KindName{EventKind::kAlloc, "pp_alloc"},
    KindName{EventKind::kProbe, "drv_probe"},
    KindName{EventKind::kRemove, "drv_remove"},
    KindName{EventKind::kDeviceDel, "dev_release"},
    KindName{EventKind::kNetdevFree, "netdev_free"},
    KindName{EventKind::kDmaMap, "dma_map"},
    KindName{EventKind::kDmaMapReturn, "dma_map_ret"},
    KindName{EventKind::kDmaUnmap, "dma_unmap"},
    KindName{EventKind::kIommuMap, "map"},
    KindName{EventKind::kIommuUnmap, "unmap"},
    KindName{EventKind::kIommuFault, "io_page_fault"},
    KindName{EventKind::kGroupRemove, "remove_device_from_group"},
    KindName{EventKind::kHold, "page_pool_state_hold"},
    KindName{EventKind::kStateRelease, "page_pool_state_release"},
    KindName{EventKind::kRelease, "page_pool_release"},
};

/// Tracepoints print "%p" hashed unless the option hash-ptr is off; nothing can be joined by that.
[[noreturn]] void fail_hashed(const std::string& path, std::size_t line, std::string_view event,
                              std::string_view key, std::string_view text) {
  throw sim::Error(
      path, line,
      fmt::format("{} with '{}={}', which is hashed and no address: record again after 'echo 0 > "
                  "options/hash-ptr', as the script of poolsim capture-script does",
                  event, key, text));
}

/// Decodes the fields of one event; every complaint names the event and the line.
class Decoder {
 public:
  Decoder(const std::string& path, const TraceEvent& raw) : path_(path), raw_(raw) {}

  /// A field of a kprobe: with 0x hexadecimal, else decimal, as a kernel with BTF prints it if the definition
  /// of the kprobe gives no type; with letters it can only be hexadecimal.
  std::uint64_t probed(std::string_view key) const {
    const auto text = field(raw_.fields, key);
    return text && (text->starts_with("0x") || !parse_decimal(*text)) ? hex(key) : decimal(key);
  }
  /// kUnknown when the field is missing or could not be read by the kprobe ("(fault)").
  std::uint64_t optional_probed(std::string_view key) const {
    const auto text = field(raw_.fields, key);
    if (!text || text->starts_with("(fault)")) return kUnknown;
    return probed(key);
  }
  std::uint64_t hex(std::string_view key) const { return number(key, parse_hex, "a hexadecimal number"); }
  std::uint64_t decimal(std::string_view key) const { return number(key, parse_decimal, "a number"); }
  std::int64_t signed_decimal(std::string_view key) const {
    const auto text = field(raw_.fields, key);
    if (text && text->starts_with('-')) {
      if (const auto value = parse_decimal(text->substr(1))) return -static_cast<std::int64_t>(*value);
    }
    return static_cast<std::int64_t>(decimal(key));
  }
  /// page= of kernels before netmem, netmem= of those after.
  std::uint64_t page() const { return field(raw_.fields, "netmem") ? hex("netmem") : hex("page"); }
  /// "iova=0x1000 - 0x2000" of the iommu tracepoints: the end.
  std::uint64_t range_end() const {
    if (const std::size_t dash = raw_.fields.find(" - "); dash != std::string_view::npos) {
      std::string_view text = raw_.fields.substr(dash + 3);
      if (const auto value = parse_hex(text.substr(0, text.find(' ')))) return *value;
    }
    fail("has no 'iova=... - ...' range");
  }
  [[noreturn]] void fail(std::string_view what) const {
    throw sim::Error(path_, raw_.line, fmt::format("malformed or truncated line: {} {}", raw_.name, what));
  }

 private:
  template <class Parse>
  std::uint64_t number(std::string_view key, Parse parse, std::string_view kind) const {
    const auto text = field(raw_.fields, key);
    if (!text) fail(fmt::format("without '{}='", key));
    if (*text == "(____ptrval____)") fail_hashed(path_, raw_.line, raw_.name, key, *text);
    const auto value = parse(*text);
    if (!value) fail(fmt::format("with '{}={}', which is not {}", key, *text, kind));
    return *value;
  }

  const std::string& path_;
  const TraceEvent& raw_;
};

/// Of a line without newline: whether the same event had more fields before, so that this one was cut.
class CutLine {
 public:
  void check(const std::string& path, const TraceEvent& raw, EventKind kind) {
    const auto fields = std::count(raw.fields.begin(), raw.fields.end(), '=');
    auto& before = fields_[static_cast<std::size_t>(kind)];
    if (raw.cut && fields < before) {
      throw sim::Error(path, raw.line,
                       fmt::format("the capture is truncated inside this line: {} ends early", raw.name));
    }
    before = fields;
  }

 private:
  std::array<std::ptrdiff_t, kNames.size()> fields_{};
};

/// "(page_pool_put_full+0x4/0x370) pool=..." -> "page_pool_put_full"; "" when there is only an address.
std::string_view probed_function(std::string_view fields) {
  if (!fields.starts_with('(')) return {};
  const std::string_view name = fields.substr(1, fields.find_first_of("+ )") - 1);
  return name.starts_with("0x") ? std::string_view{} : name;
}

void decode(EventKind kind, const Decoder& in, Event& out) {
  switch (kind) {
    case EventKind::kPoolCreate:
    case EventKind::kPoolDestroy:
      out.pool = in.hex("pool");
      break;
    case EventKind::kReleaseRetry:
      out.pool = in.hex("work");
      break;
    case EventKind::kPut:
      out.pool = in.hex("pool");
      out.page = in.page();
      out.direct = in.probed("direct") != 0;
      break;
    case EventKind::kAlloc:
      out.page = in.page();
      break;
    case EventKind::kProbe:
    case EventKind::kRemove:
    case EventKind::kDeviceDel:
      out.device = in.hex("dev");
      break;
    case EventKind::kDmaMap:
      out.device = in.hex("dev");
      out.driver = in.optional_probed("drv");
      out.page = in.hex("page");
      out.offset = static_cast<std::uint32_t>(in.probed("off"));
      out.size = in.probed("size");
      if (const auto dir = in.optional_probed("dir"); dir != kUnknown)
        out.direction = static_cast<std::uint32_t>(dir);
      break;
    case EventKind::kDmaMapReturn:
      out.iova = in.probed("iova");
      break;
    case EventKind::kDmaUnmap: {
      out.device = in.hex("dev");
      out.driver = in.optional_probed("drv");
      out.group = in.optional_probed("grp");
      out.iova = in.probed("iova");
      out.size = in.optional_probed("size");
      break;
    }
    case EventKind::kIommuMap:
      out.iova = in.hex("iova");
      out.paddr = in.hex("paddr");
      out.size = in.range_end() - out.iova;
      break;
    case EventKind::kIommuUnmap:
      out.iova = in.hex("iova");
      out.size = in.range_end() - out.iova;
      break;
    case EventKind::kIommuFault:
      out.iova = in.hex("iova");
      break;
    case EventKind::kHold:
    case EventKind::kStateRelease:
      out.pool = in.hex("page_pool");
      out.page = in.page();
      out.pfn = in.hex("pfn");
      out.count = static_cast<std::uint32_t>(in.decimal(kind == EventKind::kHold ? "hold" : "release"));
      break;
    case EventKind::kRelease:
      out.pool = in.hex("page_pool");
      out.inflight = static_cast<std::int32_t>(in.signed_decimal("inflight"));
      in.decimal("hold");
      in.decimal("release");
      out.count = static_cast<std::uint32_t>(in.decimal("cnt"));
      break;
    case EventKind::kMark:
    case EventKind::kNetdevFree:
    case EventKind::kGroupRemove:
      break;
  }
}

/// A hash has 32 bits, the addresses that the kprobes print 64.
void refuse_hashed(const Capture& capture) {
  if (capture.pointer_bits == 32) return;
  const auto hashed = std::find_if(capture.events.begin(), capture.events.end(), [](const Event& e) {
    return e.kind == EventKind::kHold && e.pool <= 0xffff'ffff;
  });
  if (hashed == capture.events.end()) return;
  fail_hashed(capture.path, hashed->line, event_name(hashed->kind), "page_pool",
              fmt::format("{:016x}", hashed->pool));
}

}  // namespace

const char* event_name(EventKind kind) {
  const auto it =
      std::find_if(kNames.begin(), kNames.end(), [&](const KindName& n) { return n.kind == kind; });
  return it->name;
}

Capture read_capture(const std::string& path) {
  std::unordered_map<std::string_view, EventKind> kinds;
  for (const KindName& n : kNames) kinds.emplace(n.name, n.kind);

  FtraceReader reader(path);
  Capture capture;
  capture.path = path;
  capture.header = reader.header();
  std::uint64_t highest_pointer = 0;
  TraceEvent raw;
  CutLine cut_line;
  bool any = false;
  std::uint64_t previous_ns = 0;
  while (reader.next(raw)) {
    if (!any) capture.begin_ns = raw.time_ns;
    if (raw.time_ns + kClockSkew_ns < previous_ns) {
      throw sim::Error(path, raw.line, "time goes backwards: the lines of this capture are not in order");
    }
    raw.time_ns = std::max(raw.time_ns, previous_ns);
    previous_ns = capture.end_ns = raw.time_ns;
    any = true;
    const auto it = kinds.find(raw.name);
    if (it == kinds.end()) continue;
    const EventKind kind = it->second;
    if ((kind == EventKind::kIommuMap || kind == EventKind::kIommuUnmap) &&
        !raw.fields.starts_with("IOMMU:")) {
      continue;
    }
    if (kind == EventKind::kMark && !raw.fields.starts_with("MARK")) continue;
    cut_line.check(path, raw, kind);
    Event event;
    event.kind = kind;
    event.context = raw.context;
    event.line = static_cast<std::uint32_t>(raw.line);
    event.pid = raw.pid;
    event.cpu = raw.cpu;
    event.time_ns = raw.time_ns;
    decode(kind, Decoder(path, raw), event);
    if (kind == EventKind::kMark) {
      event.text = static_cast<std::uint32_t>(capture.texts.size());
      capture.texts.emplace_back(raw.fields.substr(std::min<std::size_t>(5, raw.fields.size())));
    }
    if (kind == EventKind::kPut && capture.put_function.empty())
      capture.put_function = probed_function(raw.fields);
    if (kind == EventKind::kPoolCreate && capture.create_caller.empty()) {
      capture.create_caller = probed_function(raw.fields);
    }
    capture.netmem |=
        (kind == EventKind::kHold || kind == EventKind::kPut) && field(raw.fields, "netmem").has_value();
    capture.has_dma_probe |= kind == EventKind::kDmaMap || kind == EventKind::kDmaUnmap;
    capture.has_iommu |= kind == EventKind::kIommuMap || kind == EventKind::kIommuUnmap;
    capture.has_alloc_probe |= kind == EventKind::kAlloc;
    highest_pointer = std::max({highest_pointer, event.pool, event.page, event.device});
    capture.events.push_back(event);
  }
  if (!any) throw sim::Error(path, reader.line(), "the capture holds no event");
  capture.pointer_bits = highest_pointer > 0xffff'ffff ? 64 : 32;
  refuse_hashed(capture);
  return capture;
}

}  // namespace replay
