// SPDX-License-Identifier: Apache-2.0
// The checker's own books: who owns every page, mapping, IOVA, device and pool, kept from tracepoints alone.
// Nothing here asks the models; that is what makes it a check.
#pragma once
#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "sim/types.h"
#include "testbenches/checker/flat_map.h"

namespace kernel {
class Device;
}

namespace checker {

inline constexpr std::uint32_t kNoIndex = FlatMap::kNone;

/// Holders by name ("ptr_ring", "sk_receive_queue", ...), as small numbers. Index 0 is "nobody".
class HolderNames {
 public:
  HolderNames() : names_{kNobody} {}
  /// A literal has one address nearly always, and that was looked up before. Null: this one was not.
  const std::uint8_t* known(std::string_view name) const {
    const Known& known = known_[slot(name)];
    if (__builtin_expect(known.name.data() != name.data() || known.name.size() != name.size(), 0)) return nullptr;
    return &known.index;
  }
  std::uint8_t intern(std::string_view name);
  std::string_view name(std::uint8_t index) const { return names_[index]; }

 private:
  static constexpr std::string_view kNobody = "nobody";
  static std::size_t slot(std::string_view name) {
    return (reinterpret_cast<std::uintptr_t>(name.data()) * 0x9e37'79b9'7f4a'7c15) >> 58;
  }
  std::uint8_t find_or_add(std::string_view name);
  struct Known {
    std::string_view name = kNobody;
    std::uint8_t index = 0;
  };
  std::vector<std::string_view> names_;  // of literals: they live as long as the machine
  std::array<Known, 64> known_{};        // by a hash of the literal's address
};

/// A page frame. Remembers the last holders: the path that the page took.
struct PageShadow {
  static constexpr unsigned kPath = 6;
  struct Step {
    sim::Tick since;
    std::uint64_t id;  ///< which one: socket, queue, pool
    std::uint8_t holder;
  };
  std::uint32_t generation = 0;   ///< counts allocations; 0 = never seen
  std::uint32_t pool = 0;         ///< id of the page_pool that counts it in flight, 0 = none
  std::uint32_t mappings = 0;     ///< live DMA API mappings of it
  std::uint32_t head_offset = 0;  ///< frames to the first of its allocation
  bool allocated = false;
  std::uint8_t steps = 0;   ///< valid entries of the path
  std::uint8_t newest = 0;  ///< index of the present holder in `path`
  sim::Tick allocated_at = 0, freed_at = 0;
  std::array<Step, kPath> path{};

  const Step& now() const { return path[newest]; }
  /// Another step of the path, if it is one.
  void passes_to(std::uint8_t holder, std::uint64_t id, sim::Tick time) {
    unsigned next = 0;
    if (steps != 0) {
      if (path[newest].holder == holder && path[newest].id == id) return;
      next = newest + 1u == kPath ? 0 : newest + 1u;
    }
    newest = static_cast<std::uint8_t>(next);
    path[next] = {time, id, holder};
    if (steps < kPath) ++steps;
  }
};

/// Page frames, found by number; memory is spent only where pages are used.
class PageTable {
 public:
  PageShadow& at(sim::Pfn pfn) {
    const std::uint64_t chunk = pfn.value >> kChunkShift;
    if (__builtin_expect(chunk >= chunks_.size() || !chunks_[chunk], 0)) add(chunk);
    return (*chunks_[chunk])[pfn.value & (kChunkPages - 1)];
  }
  /// The same if there is memory for it already, else null.
  PageShadow* there(sim::Pfn pfn) {
    const std::uint64_t chunk = pfn.value >> kChunkShift;
    if (__builtin_expect(chunk >= chunks_.size() || !chunks_[chunk], 0)) return nullptr;
    return chunks_[chunk]->data() + (pfn.value & (kChunkPages - 1));
  }
  /// The page if it was ever seen, else null.
  const PageShadow* find(sim::Pfn pfn) const {
    const std::uint64_t chunk = pfn.value >> kChunkShift;
    if (chunk >= chunks_.size() || !chunks_[chunk]) return nullptr;
    const PageShadow& p = (*chunks_[chunk])[pfn.value & (kChunkPages - 1)];
    return p.generation != 0 ? &p : nullptr;
  }
  /// Every page ever seen, by number.
  template <class F>
  void for_each(F&& f) const {
    for (std::size_t c = 0; c < chunks_.size(); ++c) {
      if (!chunks_[c]) continue;
      for (std::uint64_t i = 0; i < kChunkPages; ++i) {
        if ((*chunks_[c])[i].generation != 0) f(sim::Pfn((c << kChunkShift) + i), (*chunks_[c])[i]);
      }
    }
  }

 private:
  static constexpr unsigned kChunkShift = 10;
  static constexpr std::uint64_t kChunkPages = 1u << kChunkShift;
  using Chunk = std::array<PageShadow, kChunkPages>;
  [[gnu::noinline, gnu::cold]] void add(std::uint64_t chunk) {
    if (chunk >= chunks_.size()) chunks_.resize(chunk + 1);
    chunks_[chunk] = std::make_unique<Chunk>();
  }
  std::vector<std::unique_ptr<Chunk>> chunks_;
};

struct DeviceShadow {
  const kernel::Device* device = nullptr;
  std::string name;
  sim::RequesterId requester;
  std::uint32_t domain =
      kNoIndex;  ///< IOMMU domain of its mappings, kNoIndex: none seen (identity or no IOMMU)
  bool unbinding = false;  ///< device_unbind has begun and not ended
  bool bound = false, present = true, freed = false;
  bool blocked = false;  ///< out of every IOMMU domain: no access of it gets through
  std::uint32_t binding = 0;  ///< counts driver bindings
  sim::Tick bound_at = 0, unbinding_at = 0, unbound_at = 0, removed_at = 0, freed_at = 0;

  /// The driver is gone: nobody may use the DMA API for it.
  bool driverless() const { return !bound; }
};

/// All devices ever seen, in order of appearance. They stay where they are.
class Devices {
 public:
  DeviceShadow& operator[](std::uint32_t index) { return *all_[index]; }
  const DeviceShadow& operator[](std::uint32_t index) const { return *all_[index]; }
  std::uint32_t size() const { return static_cast<std::uint32_t>(all_.size()); }
  /// Its index.
  std::uint32_t add(DeviceShadow device) {
    all_.push_back(std::make_unique<DeviceShadow>(std::move(device)));
    newest_with_ = {};
    return size() - 1;
  }
  /// The newest with this id (a removed device may have come back), or kNoIndex.
  std::uint32_t newest_with(sim::RequesterId requester) {
    if (__builtin_expect(newest_with_.index == kNoIndex || newest_with_.requester != requester, 0)) {
      newest_with_ = {requester, find_newest_with(requester)};
    }
    return newest_with_.index;
  }

 private:
  std::uint32_t find_newest_with(sim::RequesterId requester) const {
    for (std::uint32_t i = size(); i-- > 0;)
      if (all_[i]->requester == requester) return i;
    return kNoIndex;
  }
  std::vector<std::unique_ptr<DeviceShadow>> all_;
  struct {
    sim::RequesterId requester;
    std::uint32_t index = kNoIndex;
  } newest_with_;  // the last answer
};

/// One dma_map_page() that has not been undone.
struct Mapping {
  std::uint32_t serial = 0;  ///< never used again
  std::uint32_t device = kNoIndex;
  std::uint32_t binding = 0;
  std::uint32_t chained = kNoIndex;  ///< older mapping that begins in the same page of the same device
  std::uint32_t domain = kNoIndex;   ///< whose page table has it; kNoIndex: identity, or no IOMMU
  bool live = false;
  bool abandoned = false;  ///< its unmap left page table entry and IOVA behind
  std::uint64_t iova = 0, phys = 0, size = 0;
  sim::Tick since = 0;
};

struct PoolShadow {
  std::uint32_t id = 0;
  std::uint32_t device = kNoIndex;
  std::uint64_t hold = 0, release = 0;
  bool destroying = false;  ///< inside page_pool_destroy()
  bool destroyed = false;   ///< page_pool_destroy() was called by its last user
  bool freed = false;
  sim::Tick created_at = 0, destroyed_at = 0, freed_at = 0, last_release_at = 0;
  std::uint64_t inflight_at_destroy = 0;
  std::uint64_t unmap_before_destroy = 0, unmap_inside_destroy = 0, unmap_after_destroy = 0;
  std::uint64_t unmap_no_driver = 0;
  std::uint64_t release_rounds = 0;

  std::uint64_t inflight() const { return hold - release; }
};

}  // namespace checker
