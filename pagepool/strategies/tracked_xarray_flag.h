// SPDX-License-Identifier: Apache-2.0
// tracked_xarray_flag: M. Almasry (#7, #12). Mapped pages stand in an xarray of the pool: added at map,
// removed at unmap. Destroy walks it and unmaps all; a return that sees destroy_cnt > 0 skips the unmap and
// counts on the walk.
#pragma once
#include "pagepool/strategy.h"
#include "pagepool/xarray.h"

namespace pagepool {

template <class Env, class Pool>
class TrackedXarrayFlag : public StrategyBase<Env, Pool> {
 public:
  static constexpr const char* kKey = "tracked_xarray_flag";
  static constexpr const char* kSummary =
      "Mina #12: xarray of mapped pages, returns after destroy skip the unmap";
  using Netmem = typename Env::Netmem;

  explicit TrackedXarrayFlag(Env& env) : StrategyBase<Env, Pool>(env), mapped_(env) {}

  bool map(Pool& pool, Netmem netmem) {
    std::uint32_t id = 0;
    if (mapped_.alloc(id, netmem, 1, pool.env().dma_index_limit()) != 0) return false;
    pool.env().set_dma_index(netmem, id);
    return true;
  }
  void unmap(Pool& pool, Netmem netmem) {
    if (!pool.dma_map()) return;
    Env& env = pool.env();
    std::uint32_t id = env.dma_index(netmem);
    if (pool.destroy_cnt() == 0) {
      pool.unmap_page(netmem);
      mapped_.erase(id);
    }
    env.set_dma_index(netmem, 0);
  }
  void destroy_scrub(Pool& pool) {
    if (!pool.dma_map()) return;
    mapped_.for_each([&](std::uint32_t id, Netmem netmem) {
      pool.unmap_page(netmem);
      mapped_.erase(id);
    });
  }

  std::uint64_t tracking_bytes() const { return mapped_.bytes(); }
  std::uint64_t tracking_bytes_peak() const { return mapped_.peak_bytes(); }

 private:
  XArray<Netmem, Env> mapped_;
};

}  // namespace pagepool
