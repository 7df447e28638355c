// SPDX-License-Identifier: Apache-2.0
// The places where the proposals for "DMA mappings outlive the driver" differ, as hooks. A strategy derives
// from StrategyBase and replaces what it needs; the base is what kernels up to 6.15 do (strategy `stock`). A
// strategy knows pages, the pool and the environment; never the scenario, and nothing about being right or
// wrong.
//
// `Pool` is incomplete where the strategy is a member of it: use it inside functions only.
#pragma once
#include "pagepool/types.h"

namespace pagepool {

template <class Env, class Pool>
class StrategyBase {
 public:
  using Netmem = typename Env::Netmem;
  explicit StrategyBase(Env&) {}

  /// Create: end of page_pool_init. A negative errno fails the create (uninit() is still called).
  int create(Pool&) { return 0; }
  /// The pool is about to be freed.
  void uninit(Pool&) {}

  /// Map: the page is mapped and its address stored. False: the caller undoes the mapping and drops the page.
  bool map(Pool&, Netmem) { return true; }
  /// Enter: the page is about to become one of the pool (page_pool_set_pp_info), mapped if the pool maps. False:
  /// the caller undoes the mapping and drops the page; what map() did is the strategy's to undo.
  bool enter(Pool&, Netmem) { return true; }

  /// Release of a page, the unmap step, in whatever context the page leaves the pool.
  void unmap(Pool& pool, Netmem netmem) {
    if (pool.dma_map()) pool.unmap_page(netmem);
  }
  /// Release of a page in the context of whoever returned it: `release()` must be called once, or the page is
  /// declared somebody else's.
  template <class F>
  void put_side_release(Pool&, Netmem, F&& release) {
    release();
  }

  /// Sync: page_pool_dma_sync_for_device.
  void sync_for_device(Pool& pool, Netmem netmem, unsigned size) {
    if (pool.dma_sync() && pool.env().dma_dev_need_sync(pool.dev()))
      pool.dma_sync_for_device_now(netmem, size);
  }

  /// Destroy, first scrub: the cache is empty and destroy_cnt counted, the ring not yet drained.
  void destroy_scrub(Pool&) {}
  /// Destroy, after the first release: pages are still out, the periodic work not yet scheduled.
  void destroy_detached(Pool&) {}

  /// Periodic work: before each further release.
  void periodic_work(Pool&) {}
  /// Device unbind: the driver core detaches the driver (or unregisters the net device).
  void device_unbind(Pool&) {}

  /// Bytes of memory that the strategy holds now / held at most, and whether it limits the pages in flight.
  std::uint64_t tracking_bytes() const { return 0; }
  std::uint64_t tracking_bytes_peak() const { return 0; }
};

}  // namespace pagepool
