// SPDX-License-Identifier: Apache-2.0
#include "mm/page_frames.h"

#include <fmt/format.h>

#include <algorithm>

namespace mm {
namespace {

constexpr std::uint64_t kSubsectionBytes = std::uint64_t{2} << 20;

std::uint64_t vmemmap_bytes(const SparseStore& store) {
  const std::uint64_t bytes = store.bytes() / sim::kPageSize * page_field::kBytes;
  return (bytes + kSubsectionBytes - 1) / kSubsectionBytes * kSubsectionBytes;
}

/// [start, end) minus the ranges of `cut` (any order).
std::vector<std::pair<std::uint64_t, std::uint64_t>> subtract(std::uint64_t start, std::uint64_t end,
                                                              const std::vector<MemoryRange>& cut) {
  std::vector<std::pair<std::uint64_t, std::uint64_t>> pieces{{start, end}};
  for (const MemoryRange& c : cut) {
    const std::uint64_t lo = c.base.value, hi = c.base.value + c.bytes;
    std::vector<std::pair<std::uint64_t, std::uint64_t>> rest;
    for (const auto& [a, b] : pieces) {
      if (hi <= a || lo >= b) {
        rest.emplace_back(a, b);
        continue;
      }
      if (lo > a) rest.emplace_back(a, lo);
      if (hi < b) rest.emplace_back(hi, b);
    }
    pieces = std::move(rest);
  }
  return pieces;
}

void check_ranges(const char* field, const std::vector<MemoryRange>& ranges, std::uint64_t granule,
                  const SparseStore& store) {
  for (std::size_t i = 0; i < ranges.size(); ++i) {
    const MemoryRange& r = ranges[i];
    if (r.bytes == 0 || r.base.value % granule != 0 || r.bytes % granule != 0) {
      throw sim::Error(fmt::format("{}[{}]: base {:#x} and size {:#x} must be multiples of {}", field, i,
                                   r.base.value, r.bytes, granule));
    }
    if (!store.contains(r.base, r.bytes)) {
      throw sim::Error(fmt::format("{}[{}]: {:#x} + {:#x} lies outside the memory {:#x} + {:#x}", field, i,
                                   r.base.value, r.bytes, store.base().value, store.bytes()));
    }
  }
}

}  // namespace

const char* zone_name(ZoneType type) { return type == ZoneType::kDma32 ? "DMA32" : "Normal"; }

void PageFramesConfig::validate(const SparseStore& store) const {
  if (vmemmap_bytes(store) >= store.bytes()) {
    throw sim::Error(
        fmt::format("memory of {} bytes has no room for its struct pages: at least 4 MiB", store.bytes()));
  }
  std::uint64_t last_end = 0, seen = 0;
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    const NodeConfig& n = nodes[i];
    if (n.nid >= 64) throw sim::Error(fmt::format("nodes[{}].nid: {} is not in 0..63", i, n.nid));
    if ((seen >> n.nid & 1) != 0) throw sim::Error(fmt::format("nodes[{}].nid: {} is there twice", i, n.nid));
    seen |= std::uint64_t{1} << n.nid;
    if (n.bytes == 0 || n.base.value % kSubsectionBytes != 0 || n.bytes % kSubsectionBytes != 0) {
      throw sim::Error(fmt::format("nodes[{}]: base and size must be multiples of 2 MiB, size not 0", i));
    }
    if (n.base.value < last_end || !store.contains(n.base, n.bytes)) {
      throw sim::Error(fmt::format("nodes[{}]: {:#x} + {:#x} overlaps the node before or leaves the memory",
                                   i, n.base.value, n.bytes));
    }
    last_end = n.base.value + n.bytes;
  }
  check_ranges("holes", holes, kSubsectionBytes, store);
  check_ranges("absent", absent, PageFrames::kPagesPerSection * sim::kPageSize, store);
  check_ranges("reserved", reserved, sim::kPageSize, store);
  if (dma32_limit % kSubsectionBytes != 0) throw sim::Error("dma32_limit: must be a multiple of 2 MiB");
}

PageFrames::PageFrames(SparseStore& store, PageFramesConfig config)
    : store_(store),
      config_(std::move(config)),
      first_(sim::to_pfn(store.base())),
      end_(sim::to_pfn(store.end())),
      vmemmap_(0) {
  config_.validate(store);
  const std::uint64_t vmemmap_size = vmemmap_bytes(store);
  vmemmap_ = store.end() - vmemmap_size;
  vmemmap_host_ = store.host(vmemmap_, vmemmap_size);
  store_.track_writes(vmemmap_);
  if (config_.nodes.empty()) config_.nodes.push_back({0, store.base(), store.bytes()});

  std::vector<MemoryRange> not_present = config_.holes;
  not_present.insert(not_present.end(), config_.absent.begin(), config_.absent.end());
  std::vector<MemoryRange> not_free = not_present;
  not_free.insert(not_free.end(), config_.reserved.begin(), config_.reserved.end());
  not_free.push_back({vmemmap_, vmemmap_size});
  for (const NodeConfig& node : config_.nodes) {
    const std::uint64_t start = node.base.value, end = start + node.bytes;
    const std::uint64_t split = std::clamp(config_.dma32_limit, start, end);
    const std::pair<std::uint64_t, std::uint64_t> parts[kZoneTypes] = {{start, split}, {split, end}};
    for (unsigned z = 0; z < kZoneTypes; ++z) {
      const auto [lo, hi] = parts[z];
      if (lo == hi) continue;
      const auto type = static_cast<ZoneType>(z);
      for (const auto& [a, b] : subtract(lo, hi, not_present)) {
        present_.push_back({node.nid, type, sim::Pfn(a >> sim::kPageShift), sim::Pfn(b >> sim::kPageShift)});
      }
      for (const auto& [a, b] : subtract(lo, hi, not_free)) {
        free_ranges_.push_back(
            {node.nid, type, sim::Pfn(a >> sim::kPageShift), sim::Pfn(b >> sim::kPageShift)});
      }
    }
  }
  std::ranges::sort(present_, {}, &FreeRange::start);
  std::ranges::sort(free_ranges_, {}, &FreeRange::start);
  online_.assign(section_of(end_ - 1) + 1, 0);
  for (const FreeRange& r : present_) {
    for (std::size_t s = section_of(r.start); s <= section_of(r.end - 1); ++s) online_[s] = 1;
  }
  rebuild_zones();
}

/// Populated zones from what is present and on line: for_each_populated_zone's order, spans without slack.
void PageFrames::rebuild_zones() {
  zones_.clear();
  for (const FreeRange& r : present_) {
    node_count_ = std::max(node_count_, r.nid + 1);
    for (sim::Pfn pfn = r.start; pfn < r.end;) {
      const sim::Pfn section_end(((pfn.value >> (kSectionShift - sim::kPageShift)) + 1) * kPagesPerSection);
      const sim::Pfn end = std::min(r.end, section_end);
      if (online_[section_of(pfn)] != 0) {
        auto zone = std::ranges::find_if(
            zones_, [&](const ZoneInfo& z) { return z.nid == r.nid && z.type == r.zone; });
        if (zone == zones_.end()) zone = zones_.insert(zone, ZoneInfo{r.nid, r.zone, pfn, end, 0});
        zone->start = std::min(zone->start, pfn);
        zone->end = std::max(zone->end, end);
        zone->present_pages += end - pfn;
      }
      pfn = end;
    }
  }
  std::ranges::sort(zones_, [](const ZoneInfo& a, const ZoneInfo& b) {
    return a.nid != b.nid ? a.nid < b.nid : a.type < b.type;
  });
}

std::vector<PageFrames::FreeRange>::const_iterator PageFrames::present_at(sim::Pfn pfn) const {
  auto it = std::upper_bound(present_.begin(), present_.end(), pfn,
                             [](sim::Pfn p, const FreeRange& r) { return p < r.start; });
  if (it == present_.begin() || pfn >= (--it)->end) return present_.end();
  return it;
}

bool PageFrames::pfn_valid(sim::Pfn pfn) const { return present_at(pfn) != present_.end(); }

unsigned PageFrames::nid_of(sim::Pfn pfn) const {
  const auto it = present_at(pfn);
  POOLSIM_ASSERT(it != present_.end());
  return it->nid;
}

PageFrames::Run PageFrames::online_run(sim::Pfn pfn) const {
  const sim::Pfn section_end(((pfn.value >> (kSectionShift - sim::kPageShift)) + 1) * kPagesPerSection);
  if (online_[section_of(pfn)] == 0) return {false, section_end};
  const auto after = std::upper_bound(present_.begin(), present_.end(), pfn,
                                      [](sim::Pfn p, const FreeRange& r) { return p < r.start; });
  if (after != present_.begin() && pfn < std::prev(after)->end) {
    return {true, std::min(section_end, std::prev(after)->end)};
  }
  return {false, after == present_.end() ? section_end : std::min(section_end, after->start)};
}

// ---- hotplug ----

bool PageFrames::whole_sections(sim::Pfn start, sim::Pfn end) const {
  return start < end && start >= first_ && end <= sim::to_pfn(vmemmap_) &&
         start.value % kPagesPerSection == 0 && end.value % kPagesPerSection == 0;
}

bool PageFrames::all_present(sim::Pfn start, sim::Pfn end, bool online) const {
  if (!whole_sections(start, end) || !pfn_valid(start)) return false;
  const unsigned nid = nid_of(start);
  for (sim::Pfn pfn = start; pfn < end;) {
    const auto range = present_at(pfn);
    if (range == present_.end() || range->nid != nid || range->zone != zone_of(start)) return false;
    pfn = range->end;
  }
  for (sim::Pfn pfn = start; pfn < end; pfn += kPagesPerSection) {
    if ((online_[section_of(pfn)] != 0) != online) return false;
  }
  return true;
}

bool PageFrames::add_memory(unsigned nid, sim::Pfn start, sim::Pfn end) {
  if (nid >= 64 || !whole_sections(start, end) || zone_of(start) != zone_of(end - 1)) return false;
  for (const FreeRange& r : present_) {
    if (start < r.end && r.start < end) return false;
  }
  present_.push_back({nid, zone_of(start), start, end});
  std::ranges::sort(present_, {}, &FreeRange::start);
  node_count_ = std::max(node_count_, nid + 1);
  return true;
}

bool PageFrames::set_online(sim::Pfn start, sim::Pfn end) {
  if (!all_present(start, end, false)) return false;
  for (sim::Pfn pfn = start; pfn < end; pfn += kPagesPerSection) online_[section_of(pfn)] = 1;
  rebuild_zones();
  return true;
}

bool PageFrames::set_offline(sim::Pfn start, sim::Pfn end) {
  if (!all_present(start, end, true)) return false;
  for (sim::Pfn pfn = start; pfn < end; pfn += kPagesPerSection) online_[section_of(pfn)] = 0;
  rebuild_zones();
  return true;
}

bool PageFrames::remove_memory(sim::Pfn start, sim::Pfn end) {
  if (!all_present(start, end, false)) return false;
  std::vector<FreeRange> rest;
  for (const FreeRange& r : present_) {
    if (r.end <= start || r.start >= end) {
      rest.push_back(r);
      continue;
    }
    if (r.start < start) rest.push_back({r.nid, r.zone, r.start, start});
    if (r.end > end) rest.push_back({r.nid, r.zone, end, r.end});
  }
  present_ = std::move(rest);
  store_.discard(page(start), (end - start) * page_field::kBytes);
  store_.discard(sim::to_phys(start), (end - start) << sim::kPageShift);
  return true;
}

}  // namespace mm
