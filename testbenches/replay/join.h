// SPDX-License-Identifier: Apache-2.0
// Who is who in a capture: pool <- page <- pfn <- paddr <- iova, pools that were created again at the same
// address, pages that went to another pool, mappings that are no pool's, devices and the removal of their
// drivers.
//
// Rules of the join
//   context     thread: the task; softirq and hardirq: the CPU. What one context prints is nested properly.
//   mapping     dma_map (device, page), then iommu:map, then dma_map_ret (iova), all of one context. An
//   iommu:map
//               outside such a pair is a coherent allocation of the driver; neighbours in one context are
//               one.
//   page        page_pool_state_hold takes the last mapping of its context if that is of the same page (or,
//   without
//               the dma_map kprobes, the last iommu:map with paddr = pfn << 12).
//   unmap       dma_unmap of the same device and iova; if several are alive, the one whose page is released
//   next. pool        the latest pool created at the address; pp_retry: work lies inside the pool. removal
//   the first drv_remove after the creation whose device holds the struct device the pool maps for.
// What cannot be joined is a sim::Error with the event and its line.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "testbenches/replay/capture.h"

namespace replay {

inline constexpr std::size_t kNone = ~std::size_t{0};

/// One page of one pool, from page_pool_state_hold to page_pool_state_release. Indices into Capture::events.
struct PageLife {
  std::size_t pool = kNone;
  std::uint64_t page = 0;
  std::uint64_t pfn = 0;
  std::size_t hold = kNone;
  std::size_t mapping = kNone;  ///< into Joined::mappings
  std::size_t release = kNone;
};

/// One DMA mapping, of a pool's page or of anything else.
struct Mapping {
  std::uint64_t device = kUnknown;  ///< struct device; kUnknown for coherent memory
  std::uint64_t page = 0;
  std::uint64_t offset = 0;
  std::uint64_t iova = kUnknown;
  std::uint64_t size = 0;
  std::size_t space = 0;  ///< index of the IOVA space it lives in
  std::size_t map = kNone;
  std::size_t mapped = kNone;  ///< dma_map_ret, or the last iommu:map
  std::size_t unmap = kNone;
  std::size_t owner = kNone;  ///< into Joined::pages
  bool coherent = false;      ///< iommu:map without dma_map
  bool translated = false;    ///< an iommu:map was seen
};

struct PoolLife {
  std::uint64_t address = 0;
  std::size_t create = kNone;  ///< kNone: existed before the capture, with no pages
  std::size_t first = kNone;   ///< first event that speaks of it
  std::vector<std::size_t> destroys;
  std::size_t destroy = kNone;  ///< the pp_destroy that destroyed it, not one that dropped another user
  std::vector<std::size_t> releases;
  std::vector<std::size_t> retries;
  std::vector<std::size_t> pages;   ///< into Joined::pages, in order of hold
  std::uint64_t device = kUnknown;  ///< struct device it maps for
  std::size_t removal = kNone;      ///< drv_remove of that device's driver
  bool finished = false;            ///< a release found nothing in flight
  bool alloc_seen = false;          ///< pp_alloc returned a page of this pool
};

/// What an event was joined to.
struct Link {
  std::size_t pool = kNone;
  std::size_t page = kNone;
  std::size_t mapping = kNone;
};

struct Joined {
  std::vector<PoolLife> pools;  ///< in order of creation
  std::vector<PageLife> pages;
  std::vector<Mapping> mappings;
  std::vector<Link> links;  ///< one per event
  std::vector<bool>
      reused_while_held;  ///< per pool: an IOVA of a page that was still mapped was handed out again
  std::vector<std::size_t> oopses;         ///< dma_unmap or pp_retry events in which their task died
  std::vector<std::string> notes;          ///< what had to be assumed
  std::vector<std::uint64_t> bus_devices;  ///< of drv_probe and drv_remove, ascending
};

/// Key of the context an event was printed from.
std::uint64_t context_key(const Event& event);

/// Joins all events of `capture`. Throws sim::Error naming event and line when something fits nothing.
Joined join(const Capture& capture);

/// Whether the struct device at `inner` lies inside the bus device at `outer` (drv_probe prints the bus
/// device): `outer` is the nearest of `bus_devices` (ascending) that begins at or before it. Platform devices
/// are small and may be neighbours.
bool device_inside(const std::vector<std::uint64_t>& bus_devices, std::uint64_t inner, std::uint64_t outer);

}  // namespace replay
