// SPDX-License-Identifier: Apache-2.0
#include "kernel/iova.h"

#include <fmt/format.h>

#include <bit>
#include <iterator>
#include <set>

#include "sim/error.h"

namespace kernel {
namespace {

unsigned order_of(std::uint64_t pages) { return static_cast<unsigned>(std::bit_width(pages - 1)); }

}  // namespace

IovaAllocator::IovaAllocator(unsigned cores, std::uint64_t start_pfn)
    : start_pfn_(start_pfn), max32_alloc_size_(limit_32bit_pfn_) {
  POOLSIM_ASSERT(start_pfn >= 1);
  // The anchor: the top of the address space, never freed.
  cached_ = cached32_ = tree_.emplace(~std::uint64_t{0}, ~std::uint64_t{0}).first;
  for (SizeClass& c : classes_) c.cpu.resize(cores);
}

IovaAllocator::~IovaAllocator() = default;

// Top-down from the cached node: the place below the last allocation is tried first; if nothing is left
// below, once more from the limit down to it.
std::uint64_t IovaAllocator::tree_alloc(std::uint64_t pages, std::uint64_t limit_pfn) {
  const std::uint64_t limit = limit_pfn + 1;  // exclusive
  const bool below_4g = limit <= limit_32bit_pfn_;
  if (below_4g && pages >= max32_alloc_size_) return 0;
  const std::uint64_t align = ~(std::bit_ceil(pages) - 1);

  auto node = below_4g ? cached32_ : cached_;
  const std::uint64_t retry_pfn = node->second;
  std::uint64_t high = limit, low = start_pfn_;
  for (bool retried = false;;) {
    std::uint64_t first = 0;
    bool room = false;
    for (;;) {
      high = std::min(high, node->first);
      room = high >= pages + low;
      first = room ? (high - pages) & align : 0;
      const bool has_previous = node != tree_.begin();
      if (!has_previous) {
        room = room && first >= low;
        break;
      }
      const auto previous = std::prev(node);
      if (!room || first < low) {
        room = false;
        break;
      }
      if (first > previous->second) break;
      node = previous;
    }
    if (room) {
      const auto it = tree_.emplace_hint(node, first, first + pages - 1);
      tree_pages_ += pages;
      (below_4g ? cached32_ : cached_) = it;
      return first;
    }
    if (retried || low != start_pfn_ || retry_pfn >= limit) break;
    retried = true;
    high = limit;
    low = retry_pfn + 1;
    node = tree_.lower_bound(limit);  // first range that begins at or above the limit
  }
  if (below_4g) max32_alloc_size_ = pages;
  return 0;
}

bool IovaAllocator::tree_free(std::uint64_t pfn) {
  const auto it = tree_.find(pfn);
  if (it == tree_.end() || it->second == ~std::uint64_t{0}) return false;
  const auto next = std::next(it);
  if (it == cached32_ || (it->second < limit_32bit_pfn_ && it->first >= cached32_->first)) cached32_ = next;
  if (it->first < limit_32bit_pfn_) max32_alloc_size_ = limit_32bit_pfn_;
  if (it->first >= cached_->first) cached_ = next;
  tree_pages_ -= it->second - it->first + 1;
  tree_.erase(it);
  return true;
}

std::uint64_t IovaAllocator::cache_get(unsigned cpu, unsigned order, std::uint64_t limit_pfn,
                                       IovaPath& path) {
  SizeClass& c = classes_[order];
  CpuCache& cache = c.cpu[cpu];
  path = IovaPath::kMagazine;
  if (cache.loaded->size == 0) {
    if (cache.prev->size != 0) {
      std::swap(cache.loaded, cache.prev);
    } else if (!c.depot.empty()) {
      cache.loaded = std::move(c.depot.back());
      c.depot.pop_back();
      path = IovaPath::kDepot;
    } else {
      return 0;
    }
  }
  // The latest one that fits under the limit; its place is filled with the last.
  Magazine& m = *cache.loaded;
  for (std::uint32_t i = m.size; i-- > 0;) {
    if (m.pfns[i] > limit_pfn) continue;
    const std::uint64_t pfn = m.pfns[i];
    m.pfns[i] = m.pfns[--m.size];
    cached_pages_ -= std::uint64_t{1} << order;
    return pfn;
  }
  return 0;
}

bool IovaAllocator::cache_put(unsigned cpu, unsigned order, std::uint64_t pfn, IovaPath& path) {
  SizeClass& c = classes_[order];
  CpuCache& cache = c.cpu[cpu];
  path = IovaPath::kMagazine;
  if (cache.loaded->size == kMagazineSize) {
    if (cache.prev->size != kMagazineSize) {
      std::swap(cache.loaded, cache.prev);
    } else {
      path = IovaPath::kDepot;
      if (c.depot.size() < kDepotMagazines) {
        c.depot.push_back(std::move(cache.loaded));
      } else {
        drop_magazine(*cache.loaded, order);
        path = IovaPath::kTree;
      }
      cache.loaded = std::make_unique<Magazine>();
    }
  }
  cache.loaded->pfns[cache.loaded->size++] = pfn;
  cached_pages_ += std::uint64_t{1} << order;
  return true;
}

// A range that its user freed twice is cached twice; the second one is no longer in the tree.
void IovaAllocator::drop_magazine(Magazine& magazine, unsigned order) {
  for (std::uint32_t i = 0; i < magazine.size; ++i) tree_free(magazine.pfns[i]);
  cached_pages_ -= std::uint64_t{magazine.size} << order;
  magazine.size = 0;
}

void IovaAllocator::flush_caches() {
  for (unsigned order = 0; order < kSizeClasses; ++order) {
    SizeClass& c = classes_[order];
    for (CpuCache& cache : c.cpu) {
      drop_magazine(*cache.loaded, order);
      drop_magazine(*cache.prev, order);
    }
    for (auto& magazine : c.depot) drop_magazine(*magazine, order);
    c.depot.clear();
  }
}

std::uint64_t IovaAllocator::alloc(unsigned cpu, std::uint64_t pages, std::uint64_t limit_pfn, bool flush,
                                   IovaPath* path) {
  POOLSIM_ASSERT(pages > 0);
  // Rounded so that a freed range fits every request of its class.
  if (pages < (std::uint64_t{1} << (kSizeClasses - 1))) pages = std::bit_ceil(pages);
  const unsigned order = order_of(pages);
  IovaPath way = IovaPath::kTree;
  std::uint64_t pfn = 0;
  if (order < kSizeClasses && limit_pfn >= pages) pfn = cache_get(cpu, order, limit_pfn + 1 - pages, way);
  if (pfn == 0) {
    way = IovaPath::kTree;
    pfn = tree_alloc(pages, limit_pfn);
    if (pfn == 0 && flush) {
      flush_caches();
      pfn = tree_alloc(pages, limit_pfn);
    }
  }
  if (path != nullptr) *path = way;
  return pfn;
}

bool IovaAllocator::free(unsigned cpu, std::uint64_t pfn, std::uint64_t pages, IovaPath* path) {
  IovaPath way = IovaPath::kTree;
  const unsigned order = order_of(pages);
  bool freed;
  if (order < kSizeClasses) {
    freed = tree_.contains(pfn) && cache_put(cpu, order, pfn, way);
  } else {
    freed = tree_free(pfn);
  }
  if (path != nullptr) *path = way;
  return freed;
}

void IovaAllocator::reserve(std::uint64_t first, std::uint64_t last) {
  tree_.emplace(first, last);
  tree_pages_ += last - first + 1;
}

std::string IovaAllocator::verify() const {
  std::uint64_t pages = 0, previous_end = 0;
  bool first = true;
  for (const auto& [lo, hi] : tree_) {
    if (hi < lo) return fmt::format("range {:#x}-{:#x} is inverted", lo, hi);
    if (!first && lo <= previous_end) return fmt::format("range {:#x} overlaps its neighbour", lo);
    if (hi != ~std::uint64_t{0}) pages += hi - lo + 1;
    previous_end = hi;
    first = false;
  }
  if (pages != tree_pages_) return fmt::format("{} pages in the tree, counted {}", pages, tree_pages_);
  std::uint64_t cached = 0;
  std::set<std::uint64_t> seen;
  auto check = [&](const Magazine& m, unsigned order) -> std::string {
    for (std::uint32_t i = 0; i < m.size; ++i) {
      const auto it = tree_.find(m.pfns[i]);
      if (it == tree_.end()) return fmt::format("cached {:#x} is not in the tree", m.pfns[i]);
      if (!seen.insert(m.pfns[i]).second) return fmt::format("{:#x} is cached twice", m.pfns[i]);
      cached += std::uint64_t{1} << order;
    }
    return {};
  };
  for (unsigned order = 0; order < kSizeClasses; ++order) {
    for (const CpuCache& cache : classes_[order].cpu) {
      for (const Magazine* m : {cache.loaded.get(), cache.prev.get()}) {
        if (auto error = check(*m, order); !error.empty()) return error;
      }
    }
    for (const auto& m : classes_[order].depot) {
      if (auto error = check(*m, order); !error.empty()) return error;
    }
  }
  if (cached != cached_pages_) return fmt::format("{} pages in caches, counted {}", cached, cached_pages_);
  return {};
}

}  // namespace kernel
