// SPDX-License-Identifier: Apache-2.0
#include "platform/memory_map.h"

#include <fmt/format.h>

#include <string_view>

#include "platform/quantity.h"
#include "sim/error.h"

namespace platform {

namespace {

constexpr std::uint64_t kSubsection = std::uint64_t{2} << 20;
constexpr std::uint64_t kSection = mm::PageFrames::kPagesPerSection * sim::kPageSize;

std::string size(std::uint64_t bytes) { return format_quantity(bytes, Dimension::kSize); }

struct Grammar {
  const char* field;
  std::uint64_t granule;
  bool consecutive;  ///< "SIZE" alone: behind the range before
};

/// "OFFSET+SIZE, ...", in ascending order.
std::vector<mm::MemoryRange> parse_ranges(const std::string& text, sim::PhysAddr base, std::uint64_t bytes,
                                          const Grammar& grammar) {
  const auto refuse = [&](const std::string& why) {
    throw sim::Error(fmt::format("{}: {}", grammar.field, why));
  };
  std::vector<mm::MemoryRange> ranges;
  std::uint64_t end = 0;
  for (std::string_view rest = text; !rest.empty();) {
    const std::size_t comma = rest.find(',');
    const std::string_view item = rest.substr(0, comma);
    rest = comma == std::string_view::npos ? std::string_view{} : rest.substr(comma + 1);
    const std::size_t plus = item.find('+');
    if (plus == std::string_view::npos && !grammar.consecutive)
      refuse(fmt::format("'{}' has no size: OFFSET+SIZE, e.g. 1 GiB+128 MiB", item));
    std::uint64_t offset = end, length = 0;
    try {
      if (plus != std::string_view::npos) offset = parse_quantity(item.substr(0, plus), Dimension::kSize);
      length =
          parse_quantity(plus == std::string_view::npos ? item : item.substr(plus + 1), Dimension::kSize);
    } catch (const sim::Error& e) {
      refuse(e.what());
    }
    for (const std::uint64_t x : {base.value + offset, length}) {
      if (x % grammar.granule != 0)
        refuse(fmt::format("{} is not a multiple of {}; the nearest is {}", size(x), size(grammar.granule),
                           size((x + grammar.granule / 2) / grammar.granule * grammar.granule)));
    }
    if (length == 0) refuse("a range of no bytes");
    if (offset < end)
      refuse(fmt::format("the range at {} begins before the end of the one before, {}", size(offset),
                         size(end)));
    end = offset + length;
    if (end > bytes)
      refuse(fmt::format("{}+{} ends beyond the memory (memory.size) of {}", size(offset), size(length),
                         size(bytes)));
    ranges.push_back({base + offset, length});
  }
  return ranges;
}

}  // namespace

mm::PageFramesConfig page_frames(const MemoryMapConfig& map, sim::PhysAddr base, std::uint64_t bytes) {
  mm::PageFramesConfig config;
  unsigned nid = 0;
  for (const auto& range : parse_ranges(map.nodes, base, bytes, {"memory.nodes", kSubsection, true}))
    config.nodes.push_back({nid++, range.base, range.bytes});
  config.holes = parse_ranges(map.holes, base, bytes, {"memory.holes", kSubsection, false});
  config.absent = parse_ranges(map.hotpluggable, base, bytes, {"memory.hotpluggable", kSection, false});
  return config;
}

}  // namespace platform
