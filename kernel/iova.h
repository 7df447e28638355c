// SPDX-License-Identifier: Apache-2.0
// The IOVA allocator (drivers/iommu/iova.c, Linux 6.12): ranges of page frames of a domain's address space.
//
// Below: a tree of allocated ranges, searched top-down from a cached node, sizes aligned to their power of
// two. Above: for sizes up to 32 pages, per-core magazines of 127 ranges in six size classes (a loaded one
// and a previous one), exchanged with a depot of at most 32 magazines a class: what was freed last on a core
// is handed out first.
//
// alloc() and free() are plain data-structure steps that report what they touched, so that the DMA API can
// pay for them; they need no kernel context.
#pragma once
#include <array>
#include <cstdint>
#include <iterator>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "sim/types.h"

namespace kernel {

/// How far an operation had to go.
enum class IovaPath : std::uint8_t { kMagazine, kDepot, kTree };

class IovaAllocator {
 public:
  static constexpr unsigned kMagazineSize = 127;   // IOVA_MAG_SIZE
  static constexpr unsigned kSizeClasses = 6;      // IOVA_RANGE_CACHE_MAX_SIZE: orders 0..5
  static constexpr unsigned kDepotMagazines = 32;  // MAX_GLOBAL_MAGS

  /// Frames from `start_pfn` (at least 1: IOVA 0 is never handed out).
  explicit IovaAllocator(unsigned cores, std::uint64_t start_pfn = 1);
  ~IovaAllocator();

  /// First frame of `pages` frames, all at or below `limit_pfn`, or 0 if there are none. With `flush_caches`
  /// all magazines are emptied into the tree before giving up (alloc_iova_fast).
  std::uint64_t alloc(unsigned cpu, std::uint64_t pages, std::uint64_t limit_pfn, bool flush_caches,
                      IovaPath* path = nullptr);
  /// The frames of one alloc(). False: they were not allocated.
  bool free(unsigned cpu, std::uint64_t pfn, std::uint64_t pages, IovaPath* path = nullptr);
  /// Takes [first, last] out of use for ever (reserve_iova).
  void reserve(std::uint64_t first, std::uint64_t last);

  /// Frames in the tree: handed out, in a magazine, or reserved.
  std::uint64_t allocated_pages() const { return tree_pages_; }
  /// Frames that lie in magazines and the depot.
  std::uint64_t cached_pages() const { return cached_pages_; }
  std::size_t ranges() const { return tree_.size() - 1; }
  /// Every range in the tree, first and last frame, ascending: in use, in a magazine, or reserved.
  std::vector<std::pair<std::uint64_t, std::uint64_t>> all_ranges() const {
    return {tree_.begin(), std::prev(tree_.end())};
  }
  /// Checks the tree and the caches against each other; empty = consistent.
  std::string verify() const;

 private:
  struct Magazine {
    std::uint32_t size = 0;
    std::array<std::uint64_t, kMagazineSize> pfns;
  };
  struct CpuCache {
    std::unique_ptr<Magazine> loaded = std::make_unique<Magazine>();
    std::unique_ptr<Magazine> prev = std::make_unique<Magazine>();
  };
  struct SizeClass {
    std::vector<CpuCache> cpu;
    std::vector<std::unique_ptr<Magazine>> depot;
  };
  using Tree = std::map<std::uint64_t, std::uint64_t>;  // first frame -> last frame

  std::uint64_t cache_get(unsigned cpu, unsigned order, std::uint64_t limit_pfn, IovaPath& path);
  bool cache_put(unsigned cpu, unsigned order, std::uint64_t pfn, IovaPath& path);
  std::uint64_t tree_alloc(std::uint64_t pages, std::uint64_t limit_pfn);
  bool tree_free(std::uint64_t pfn);
  void drop_magazine(Magazine& magazine, unsigned order);
  void flush_caches();

  std::uint64_t start_pfn_;
  std::uint64_t limit_32bit_pfn_ = std::uint64_t{1} << 20;
  std::uint64_t max32_alloc_size_;
  Tree tree_;
  Tree::iterator cached_, cached32_;
  std::array<SizeClass, kSizeClasses> classes_;
  std::uint64_t tree_pages_ = 0, cached_pages_ = 0;
};

}  // namespace kernel
