// SPDX-License-Identifier: Apache-2.0
#include "mm/buddy_allocator.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>

namespace mm {
namespace {

constexpr std::uint64_t kEmpty = ~std::uint64_t{0};
/// page_type of the first page of a free block (kernel: PGTY_buddy), and of any other page in use.
constexpr std::int32_t kPageTypeBuddy = static_cast<std::int32_t>(0xf0000000);
constexpr std::int32_t kPageTypeNone = -1;

}  // namespace

const char* to_string(FreeStatus status) {
  switch (status) {
    case FreeStatus::kOk:
      return "ok";
    case FreeStatus::kNotMemory:
      return "not memory";
    case FreeStatus::kDoubleFree:
      return "double free";
    case FreeStatus::kWrongOrder:
      return "wrong order";
    case FreeStatus::kStillReferenced:
      return "nonzero _refcount";
  }
  return "?";
}

void BuddyConfig::validate() const {
  if (fail_page_alloc.probability_percent > 100) {
    throw sim::Error(fmt::format("fail_page_alloc.probability_percent: {} is not in 0..100",
                                 fail_page_alloc.probability_percent));
  }
  if (fail_page_alloc.interval == 0) throw sim::Error("fail_page_alloc.interval: must be at least 1");
  if (fail_page_alloc.min_order > kMaxPageOrder) {
    throw sim::Error(fmt::format("fail_page_alloc.min_order: {} is not in 0..{}", fail_page_alloc.min_order,
                                 kMaxPageOrder));
  }
  if (pcp_high < pcp_batch) {
    throw sim::Error(fmt::format("pcp_high: {} is less than one batch (pcp_batch {})", pcp_high, pcp_batch));
  }
}

BuddyAllocator::BuddyAllocator(PageFrames& frames, Trace& trace, sim::RandomStream random, BuddyConfig config)
    : frames_(frames), trace_(trace), random_(random), config_(config) {
  config_.validate();
  first_nid_ = frames.zones().front().nid;
  for (const ZoneInfo& info : frames.zones()) {
    Zone& zone = add_zone(info.nid, info.type);
    for (const auto& r : frames.free_ranges()) {
      if (r.nid != info.nid || r.zone != info.type) continue;
      zone.untouched.push_back(r);
      zone.managed += r.end - r.start;
    }
    zone.free = zone.managed;
    counters_.managed_pages += zone.managed;
  }
  counters_.free_pages = counters_.managed_pages;
  build_zonelists();
}

BuddyAllocator::Zone& BuddyAllocator::add_zone(unsigned nid, ZoneType type) {
  Zone zone{nid, type, {}, {}, 0, 0, 0, {}};
  zone.pcp.resize(cpus_);
  if (zone_index_.size() < (nid + 1) * kZoneTypes) zone_index_.resize((nid + 1) * kZoneTypes, -1);
  zone_index_[nid * kZoneTypes + static_cast<unsigned>(type)] = static_cast<int>(zones_.size());
  zones_.push_back(std::move(zone));
  return zones_.back();
}

/// Zonelists: the node itself, then the others by distance of their numbers; NORMAL before DMA32.
void BuddyAllocator::build_zonelists() {
  const unsigned nodes = static_cast<unsigned>(zone_index_.size() / kZoneTypes);
  fallback_.assign(nodes, {});
  for (unsigned nid = 0; nid < nodes; ++nid) {
    for (unsigned distance = 0; distance < 2 * nodes; ++distance) {
      const std::int64_t n =
          std::int64_t{nid} + (distance % 2 != 0 ? 1 : -1) * std::int64_t{(distance + 1) / 2};
      if (n < 0 || n >= nodes || (distance > 0 && n == nid)) continue;
      for (unsigned z = kZoneTypes; z-- > 0;) {
        const int index = zone_index_[static_cast<unsigned>(n) * kZoneTypes + z];
        if (index >= 0) fallback_[nid].push_back(static_cast<unsigned>(index));
      }
    }
  }
}

void BuddyAllocator::set_cpus(unsigned cpus, std::function<unsigned()> current) {
  POOLSIM_ASSERT(cpus_ == 0);
  cpus_ = cpus;
  current_cpu_ = std::move(current);
  for (Zone& zone : zones_) zone.pcp.resize(cpus_);
}

bool BuddyAllocator::injected_failure(unsigned order, unsigned nid) {
  if (hook_ && hook_(order, nid)) return true;
  const FailPageAlloc& f = config_.fail_page_alloc;
  if (f.probability_percent == 0 || order < f.min_order || fail_times_ >= f.times) return false;
  const std::uint64_t candidate = ++fail_candidates_;
  if (candidate <= f.space || (candidate - f.space) % f.interval != 0) return false;
  if (random_.below(100) >= f.probability_percent) return false;
  ++fail_times_;
  return true;
}

std::optional<sim::Pfn> BuddyAllocator::alloc_pages(unsigned order, unsigned nid, unsigned gfp) {
  const unsigned node = nid == kNumaNoNode || nid >= fallback_.size() ? first_nid_ : nid;
  const bool injected = injected_failure(order, node);
  std::optional<sim::Pfn> pfn;
  if (!injected && order <= kMaxPageOrder) pfn = take(order, node, gfp);
  if (!pfn) {
    ++counters_.failures;
    if (injected) ++counters_.injected_failures;
    if (trace_.page_alloc_failed.enabled()) trace_.page_alloc_failed.emit({order, node, injected});
    return std::nullopt;
  }
  ++counters_.allocations;
  if (trace_.page_allocated.enabled()) trace_.page_allocated.emit({*pfn, order, frames_.nid_of(*pfn)});
  return pfn;
}

std::size_t BuddyAllocator::alloc_pages_bulk(std::span<sim::Pfn> out, unsigned nid, unsigned gfp) {
  std::size_t n = 0;
  for (; n < out.size(); ++n) {
    const auto pfn = alloc_pages(0, nid, gfp);
    if (!pfn) break;
    out[n] = *pfn;
  }
  return n;
}

std::optional<sim::Pfn> BuddyAllocator::take(unsigned order, unsigned nid, unsigned gfp) {
  auto pfn = take_once(order, nid, gfp);
  if (!pfn && counters_.pcp_pages != 0) {
    // Direct reclaim: what lies on the lists of all cores may make the block.
    drain_all_pages();
    pfn = take_once(order, nid, gfp);
  }
  return pfn;
}

std::optional<sim::Pfn> BuddyAllocator::take_once(unsigned order, unsigned nid, unsigned gfp) {
  const std::uint64_t pages = std::uint64_t{1} << order;
  // First above the min watermark; then, for those who may, from the reserve.
  for (const bool reserve : {false, true}) {
    if (reserve && (config_.min_free_pages == 0 || (gfp & kGfpMemalloc) == 0)) break;
    const std::uint64_t keep = reserve ? 0 : config_.min_free_pages;
    for (const unsigned index : fallback_[nid]) {
      Zone& zone = zones_[index];
      if ((gfp & kGfpDma32) != 0 && zone.type != ZoneType::kDma32) continue;
      if ((gfp & kGfpThisNode) != 0 && zone.nid != nid) break;
      PageList* list = pcp_of(zone, order);
      if (zone.free < keep + (list != nullptr && list->pages != 0 ? 0 : pages)) continue;
      std::optional<sim::Pfn> pfn;
      if (list != nullptr) {
        if (list->pages == 0) pcp_refill(zone, *list);
        if (list->pages != 0) pfn = sim::Pfn(pcp_pop(*list, true));
      } else if ((pfn = rmqueue(zone, order))) {
        zone.free -= pages;
      }
      if (!pfn) continue;
      if (zone.nid != nid) ++counters_.numa_miss;
      hand_out(zone, *pfn, order, gfp, reserve);
      return pfn;
    }
  }
  return std::nullopt;
}

std::optional<sim::Pfn> BuddyAllocator::rmqueue(Zone& zone, unsigned order) {
  for (;;) {
    for (unsigned o = order; o <= kMaxPageOrder; ++o) {
      const std::uint64_t pfn = zone.areas[o].head;
      if (pfn == kEmpty) continue;
      unlink(zone, pfn, o);
      while (o > order) {
        --o;
        ++counters_.splits;
        push(zone, pfn + (std::uint64_t{1} << o), o);
      }
      return sim::Pfn(pfn);
    }
    if (!carve(zone)) return std::nullopt;
  }
}

/// Puts the next never-used block on its free list; false if there is none left.
bool BuddyAllocator::carve(Zone& zone) {
  while (zone.next_range < zone.untouched.size()) {
    auto& range = zone.untouched[zone.next_range];
    const std::uint64_t left = range.end - range.start;
    if (left == 0) {
      ++zone.next_range;
      continue;
    }
    const unsigned aligned = range.start.value == 0 ? kMaxPageOrder : std::countr_zero(range.start.value);
    const unsigned fits = std::bit_width(left) - 1;
    const unsigned order = std::min({aligned, fits, kMaxPageOrder});
    push(zone, range.start.value, order);
    range.start += std::uint64_t{1} << order;
    return true;
  }
  return false;
}

void BuddyAllocator::hand_out(Zone& zone, sim::Pfn pfn, unsigned order, unsigned gfp, bool reserve) {
  const std::uint64_t pages = std::uint64_t{1} << order;
  counters_.free_pages -= pages;
  counters_.allocated_pages += pages;
  const bool compound = (gfp & kGfpComp) != 0 && order > 0;
  const std::uint64_t place = std::uint64_t{zone.nid} << page_flag::kNodeShift |
                              static_cast<std::uint64_t>(zone.type) << page_flag::kZoneShift;
  for (std::uint64_t i = 0; i < pages; ++i) {
    const sim::Pfn p = pfn + i;
    frames_.clear(p);
    frames_.set<std::uint64_t>(p, page_field::kFlags, place);
    frames_.set<std::int32_t>(p, page_field::kMapcount, kPageTypeNone);
    if (compound && i != 0) {
      frames_.set<std::uint64_t>(p, page_field::kCompoundHead, frames_.page(pfn).value | 1);
    }
  }
  frames_.set<std::uint64_t>(pfn, page_field::kFlags,
                             place | page_flag::kAllocated | std::uint64_t{order} << page_flag::kOrderShift |
                                 (compound ? page_flag::kHead : 0));
  frames_.set_page_count(pfn, 1);
  if (reserve) {
    ++counters_.pfmemalloc;
    frames_.set<std::uint64_t>(pfn, page_field::kLruNext, kPfMemallocBit);
  }
  if ((gfp & kGfpZero) != 0) {
    std::memset(frames_.store().host(sim::to_phys(pfn), pages << sim::kPageShift), 0,
                pages << sim::kPageShift);
  }
}

FreeStatus BuddyAllocator::free_pages(sim::Pfn pfn, unsigned order) {
  if (order > kMaxPageOrder || !frames_.pfn_valid(pfn) || pfn.value % (std::uint64_t{1} << order) != 0) {
    return FreeStatus::kNotMemory;
  }
  const auto flags = frames_.get<std::uint64_t>(pfn, page_field::kFlags);
  if ((flags & page_flag::kAllocated) == 0) return FreeStatus::kDoubleFree;
  if (frames_.order(pfn) != order) return FreeStatus::kWrongOrder;
  if (frames_.page_count(pfn) != 0) return FreeStatus::kStillReferenced;

  const std::uint64_t pages = std::uint64_t{1} << order;
  // A free page keeps no compound link; everything else stays for whoever uses it after free.
  for (std::uint64_t i = 1; order > 0 && i < pages; ++i) {
    frames_.set<std::uint64_t>(pfn + i, page_field::kCompoundHead, 0);
  }
  frames_.set<std::uint64_t>(pfn, page_field::kFlags,
                             flags >> page_flag::kZoneShift << page_flag::kZoneShift);
  Zone& zone = zone_at(pfn);
  counters_.free_pages += pages;
  counters_.allocated_pages -= pages;
  ++counters_.frees;
  if (PageList* list = pcp_of(zone, order)) {
    pcp_push(*list, pfn.value, true);
    if (list->pages > config_.pcp_high) pcp_drain(zone, *list, config_.pcp_batch);
  } else {
    free_to_zone(zone, pfn.value, order);
  }
  if (trace_.page_freed.enabled()) trace_.page_freed.emit({pfn, order});
  return FreeStatus::kOk;
}

void BuddyAllocator::free_to_zone(Zone& zone, std::uint64_t block, unsigned order) {
  zone.free += std::uint64_t{1} << order;
  for (; order < kMaxPageOrder; ++order) {
    const std::uint64_t buddy = block ^ (std::uint64_t{1} << order);
    if (!is_free_block(zone, buddy, order)) break;
    unlink(zone, buddy, order);
    ++counters_.merges;
    block &= buddy;
  }
  push(zone, block, order);
}

// --- per-core lists: single pages, linked as the free lists are; they are no buddies of anybody ---

BuddyAllocator::PageList* BuddyAllocator::pcp_of(Zone& zone, unsigned order) {
  if (order != 0 || cpus_ == 0 || config_.pcp_batch == 0) return nullptr;
  return &zone.pcp[current_cpu_()];
}

void BuddyAllocator::pcp_push(PageList& list, std::uint64_t pfn, bool at_head) {
  const std::uint64_t next = at_head ? list.head : kEmpty, prev = at_head ? kEmpty : list.tail;
  const auto link = [this](std::uint64_t p) { return p == kEmpty ? 0 : frames_.page(sim::Pfn(p)).value; };
  frames_.set<std::uint64_t>(sim::Pfn(pfn), page_field::kLruNext, link(next));
  frames_.set<std::uint64_t>(sim::Pfn(pfn), page_field::kLruPrev, link(prev));
  if (next != kEmpty) frames_.set<std::uint64_t>(sim::Pfn(next), page_field::kLruPrev, link(pfn));
  if (prev != kEmpty) frames_.set<std::uint64_t>(sim::Pfn(prev), page_field::kLruNext, link(pfn));
  if (at_head || list.head == kEmpty) list.head = pfn;
  if (!at_head || list.tail == kEmpty) list.tail = pfn;
  ++list.pages;
  ++counters_.pcp_pages;
}

std::uint64_t BuddyAllocator::pcp_pop(PageList& list, bool at_head) {
  const std::uint64_t pfn = at_head ? list.head : list.tail;
  const unsigned along = at_head ? page_field::kLruNext : page_field::kLruPrev;
  const unsigned back = at_head ? page_field::kLruPrev : page_field::kLruNext;
  const auto neighbour = frames_.get<std::uint64_t>(sim::Pfn(pfn), along);
  const std::uint64_t next = neighbour != 0 ? frames_.page_to_pfn(sim::PhysAddr(neighbour)).value : kEmpty;
  (at_head ? list.head : list.tail) = next;
  if (next != kEmpty) {
    frames_.set<std::uint64_t>(sim::Pfn(next), back, 0);
  } else {
    (at_head ? list.tail : list.head) = kEmpty;
  }
  frames_.set<std::uint64_t>(sim::Pfn(pfn), page_field::kLruNext, 0);
  frames_.set<std::uint64_t>(sim::Pfn(pfn), page_field::kLruPrev, 0);
  --list.pages;
  --counters_.pcp_pages;
  return pfn;
}

/// rmqueue_bulk: the lowest of the batch is handed out first.
void BuddyAllocator::pcp_refill(Zone& zone, PageList& list) {
  ++counters_.pcp_batches;
  for (unsigned i = 0; i < config_.pcp_batch; ++i) {
    const auto pfn = rmqueue(zone, 0);
    if (!pfn) return;
    zone.free -= 1;
    pcp_push(list, pfn->value, false);
  }
}

/// free_pcppages_bulk: those that lay there longest.
void BuddyAllocator::pcp_drain(Zone& zone, PageList& list, std::uint64_t pages) {
  ++counters_.pcp_batches;
  for (; pages > 0 && list.pages != 0; --pages) free_to_zone(zone, pcp_pop(list, false), 0);
}

void BuddyAllocator::drain_all_pages() {
  for (Zone& zone : zones_) {
    for (PageList& list : zone.pcp) {
      if (list.pages != 0) pcp_drain(zone, list, list.pages);
    }
  }
}

// --- hotplug ---

std::optional<sim::Pfn> BuddyAllocator::first_in_use(sim::Pfn start, sim::Pfn end) const {
  for (sim::Pfn pfn = start; pfn < end;) {
    if (!frames_.pfn_valid(pfn)) {
      pfn += 1;
      continue;
    }
    const Zone& zone = zones_[static_cast<std::size_t>(
        zone_index_[frames_.nid_of(pfn) * kZoneTypes + static_cast<unsigned>(frames_.zone_of(pfn))])];
    const auto range = std::find_if(zone.untouched.begin() + static_cast<std::ptrdiff_t>(zone.next_range),
                                    zone.untouched.end(),
                                    [pfn](const auto& r) { return pfn >= r.start && pfn < r.end; });
    if (range != zone.untouched.end()) {
      pfn = range->end;
      continue;
    }
    const auto order = static_cast<unsigned>(frames_.get<std::uint64_t>(pfn, page_field::kPrivate));
    if (order > kMaxPageOrder || !is_free_block(zone, pfn.value, order)) return pfn;
    pfn += std::uint64_t{1} << order;
  }
  return std::nullopt;
}

std::optional<sim::Pfn> BuddyAllocator::take_offline(sim::Pfn start, sim::Pfn end) {
  POOLSIM_ASSERT(start.value % PageFrames::kPagesPerSection == 0 &&
                 end.value % PageFrames::kPagesPerSection == 0 && frames_.pfn_valid(start));
  drain_all_pages();
  if (const auto busy = first_in_use(start, end)) return busy;
  Zone& zone = zone_at(start);
  std::uint64_t taken = 0;
  std::vector<PageFrames::FreeRange> rest;
  for (std::size_t r = zone.next_range; r < zone.untouched.size(); ++r) {
    const auto& range = zone.untouched[r];
    if (range.end <= start || range.start >= end) {
      rest.push_back(range);
      continue;
    }
    taken += std::min(range.end, end) - std::max(range.start, start);
    if (range.start < start) rest.push_back({range.nid, range.zone, range.start, start});
    if (range.end > end) rest.push_back({range.nid, range.zone, end, range.end});
  }
  zone.untouched = std::move(rest);
  zone.next_range = 0;
  // What was carved before is free blocks now; what was not has no struct page but zeros.
  for (sim::Pfn pfn = start; (pfn = frames_.next_written(pfn, end)) < end;) {
    const auto order = static_cast<unsigned>(frames_.get<std::uint64_t>(pfn, page_field::kPrivate));
    if (order <= kMaxPageOrder && is_free_block(zone, pfn.value, order)) {
      unlink(zone, pfn.value, order);
      taken += std::uint64_t{1} << order;
      pfn += std::uint64_t{1} << order;
    } else {
      pfn += 1;
    }
  }
  zone.free -= taken;
  zone.managed -= taken;
  counters_.free_pages -= taken;
  counters_.managed_pages -= taken;
  return std::nullopt;
}

void BuddyAllocator::put_online(sim::Pfn start, sim::Pfn end) {
  const unsigned nid = frames_.nid_of(start);
  const ZoneType type = frames_.zone_of(start);
  const std::size_t index = nid * kZoneTypes + static_cast<unsigned>(type);
  if (index >= zone_index_.size() || zone_index_[index] < 0) {
    add_zone(nid, type);
    build_zonelists();
  }
  Zone& zone = zones_[static_cast<std::size_t>(zone_index_[index])];
  zone.untouched.push_back({nid, type, start, end});
  const std::uint64_t pages = end - start;
  zone.free += pages;
  zone.managed += pages;
  counters_.free_pages += pages;
  counters_.managed_pages += pages;
}

// --- free lists: lru.next / lru.prev hold addresses of struct pages, private the order ---

void BuddyAllocator::push(Zone& zone, std::uint64_t pfn, unsigned order) {
  FreeArea& area = zone.areas[order];
  const sim::Pfn p(pfn);
  frames_.set<std::uint64_t>(p, page_field::kLruPrev, 0);
  frames_.set<std::uint64_t>(p, page_field::kLruNext,
                             area.head == kEmpty ? 0 : frames_.page(sim::Pfn(area.head)).value);
  if (area.head != kEmpty) {
    frames_.set<std::uint64_t>(sim::Pfn(area.head), page_field::kLruPrev, frames_.page(p).value);
  }
  frames_.set<std::uint64_t>(p, page_field::kPrivate, order);
  frames_.set<std::int32_t>(p, page_field::kMapcount, kPageTypeBuddy);
  area.head = pfn;
  ++area.blocks;
}

void BuddyAllocator::unlink(Zone& zone, std::uint64_t pfn, unsigned order) {
  FreeArea& area = zone.areas[order];
  const sim::Pfn p(pfn);
  const sim::PhysAddr next(frames_.get<std::uint64_t>(p, page_field::kLruNext));
  const sim::PhysAddr prev(frames_.get<std::uint64_t>(p, page_field::kLruPrev));
  if (prev.value != 0) {
    frames_.set<std::uint64_t>(frames_.page_to_pfn(prev), page_field::kLruNext, next.value);
  } else {
    area.head = next.value != 0 ? frames_.page_to_pfn(next).value : kEmpty;
  }
  if (next.value != 0)
    frames_.set<std::uint64_t>(frames_.page_to_pfn(next), page_field::kLruPrev, prev.value);
  frames_.set<std::int32_t>(p, page_field::kMapcount, kPageTypeNone);
  frames_.set<std::uint64_t>(p, page_field::kLruNext, 0);
  frames_.set<std::uint64_t>(p, page_field::kLruPrev, 0);
  frames_.set<std::uint64_t>(p, page_field::kPrivate, 0);
  --area.blocks;
}

bool BuddyAllocator::is_free_block(const Zone& zone, std::uint64_t pfn, unsigned order) const {
  const sim::Pfn p(pfn);
  return frames_.pfn_valid(p) && frames_.get<std::int32_t>(p, page_field::kMapcount) == kPageTypeBuddy &&
         frames_.get<std::uint64_t>(p, page_field::kPrivate) == order && frames_.nid_of(p) == zone.nid &&
         frames_.zone_of(p) == zone.type;
}

BuddyAllocator::Zone& BuddyAllocator::zone_at(sim::Pfn pfn) {
  return zones_[static_cast<std::size_t>(
      zone_index_[frames_.nid_of(pfn) * kZoneTypes + static_cast<unsigned>(frames_.zone_of(pfn))])];
}

std::vector<BuddyAllocator::ZoneState> BuddyAllocator::zones() const {
  std::vector<ZoneState> out;
  for (const Zone& z : zones_) {
    sim::Pfn untouched = z.next_range < z.untouched.size() ? z.untouched[z.next_range].start : sim::Pfn(0);
    for (const ZoneInfo& info : frames_.zones()) {
      if (untouched.value == 0 && info.nid == z.nid && info.type == z.type) untouched = info.end;
    }
    out.push_back({z.nid, z.type, z.managed, z.free, untouched});
  }
  return out;
}

std::string BuddyAllocator::verify() const {
  std::uint64_t total = 0;
  for (const Zone& zone : zones_) {
    std::uint64_t free = 0;
    for (std::size_t r = zone.next_range; r < zone.untouched.size(); ++r) {
      free += zone.untouched[r].end - zone.untouched[r].start;
    }
    for (unsigned o = 0; o <= kMaxPageOrder; ++o) {
      std::uint64_t blocks = 0;
      for (std::uint64_t pfn = zone.areas[o].head; pfn != kEmpty; ++blocks) {
        if (!is_free_block(zone, pfn, o))
          return fmt::format("pfn {:#x} on the order-{} list is no free block", pfn, o);
        if (frames_.page_count(sim::Pfn(pfn)) != 0) return fmt::format("free pfn {:#x} has references", pfn);
        const auto next = frames_.get<std::uint64_t>(sim::Pfn(pfn), page_field::kLruNext);
        pfn = next != 0 ? frames_.page_to_pfn(sim::PhysAddr(next)).value : kEmpty;
      }
      if (blocks != zone.areas[o].blocks) {
        return fmt::format("order {}: {} blocks listed, {} counted", o, blocks, zone.areas[o].blocks);
      }
      free += blocks << o;
    }
    if (free != zone.free) {
      return fmt::format("node {} {}: {} pages free on the lists, {} counted", zone.nid, zone_name(zone.type),
                         free, zone.free);
    }
    total += free;
    for (const PageList& list : zone.pcp) {
      std::uint64_t pages = 0;
      for (std::uint64_t pfn = list.head; pfn != kEmpty; ++pages) {
        if (frames_.page_count(sim::Pfn(pfn)) != 0)
          return fmt::format("pfn {:#x} on a per-core list has references", pfn);
        const auto next = frames_.get<std::uint64_t>(sim::Pfn(pfn), page_field::kLruNext);
        pfn = next != 0 ? frames_.page_to_pfn(sim::PhysAddr(next)).value : kEmpty;
        if (pages > list.pages) break;
      }
      if (pages != list.pages) {
        return fmt::format("node {} {}: {} pages on a per-core list, {} counted", zone.nid,
                           zone_name(zone.type), pages, list.pages);
      }
      total += pages;
    }
  }
  if (total != counters_.free_pages || total + counters_.allocated_pages != counters_.managed_pages) {
    return fmt::format("free {} + allocated {} != managed {}", total, counters_.allocated_pages,
                       counters_.managed_pages);
  }
  return {};
}

void BuddyAllocator::stats(
    const std::function<void(std::string_view name, double value, std::string_view unit)>& out) const {
  const auto n = [](std::uint64_t v) { return static_cast<double>(v); };
  out("managed_pages", n(counters_.managed_pages), "pages");
  out("free_pages", n(counters_.free_pages), "pages");
  out("allocated_pages", n(counters_.allocated_pages), "pages");
  out("allocations", n(counters_.allocations), "");
  out("frees", n(counters_.frees), "");
  out("failures", n(counters_.failures), "");
  out("injected_failures", n(counters_.injected_failures), "");
  out("numa_miss", n(counters_.numa_miss), "");
  out("pfmemalloc", n(counters_.pfmemalloc), "pages");
  out("splits", n(counters_.splits), "");
  out("merges", n(counters_.merges), "");
  out("pcp_pages", n(counters_.pcp_pages), "pages");
  out("pcp_batches", n(counters_.pcp_batches), "");
}

}  // namespace mm
