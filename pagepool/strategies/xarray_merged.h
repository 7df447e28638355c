// SPDX-License-Identifier: Apache-2.0
// xarray_merged: T. Hoiland-Jorgensen's fix, merged in 6.16 (ee62ce7a1d90). Every mapped page has an entry in
// an xarray of the pool, its index stashed in pp_magic; destroy walks the xarray and unmaps what is there.
// Whoever wins the compare-and-exchange of the entry does the unmap. Source: net/core/page_pool.c, Linux 6.18
// (page_pool_register_dma_index, page_pool_release_dma_index, page_pool_scrub).
#pragma once
#include <cerrno>

#include "pagepool/strategy.h"
#include "pagepool/xarray.h"

namespace pagepool {

template <class Env, class Pool>
class XarrayMerged : public StrategyBase<Env, Pool> {
 public:
  static constexpr const char* kKey = "xarray_merged";
  static constexpr const char* kSummary = "merged in 6.16: mapped pages in an xarray, unmapped by destroy";
  using Netmem = typename Env::Netmem;

  explicit XarrayMerged(Env& env) : StrategyBase<Env, Pool>(env), dma_mapped_(env) {}

  bool map(Pool& pool, Netmem netmem) {
    Env& env = pool.env();
    std::uint32_t id = 0;
    int err = env.track_fault(pool, netmem);
    if (err == 0) err = dma_mapped_.alloc(id, netmem, 1, env.dma_index_limit());
    if (err != 0) {
      if (err != -ENOMEM) env.warn_once(pool, Warning::dma_track_failed, -err, 0);
      return false;
    }
    env.set_dma_index(netmem, id);
    return true;
  }

  void unmap(Pool& pool, Netmem netmem) {
    if (!pool.dma_map()) return;
    Env& env = pool.env();
    std::uint32_t id = env.dma_index(netmem);
    if (id == 0) return;
    if (!(dma_mapped_.cmpxchg(id, netmem, Netmem{}) == netmem)) return;
    DmaAddr addr = env.dma_addr(netmem);
    env.dma_unmap(pool, netmem, addr, pool.page_bytes(), pool.params().dma_dir);
    env.set_dma_addr(netmem, 0);
    env.set_dma_index(netmem, 0);
  }

  void sync_for_device(Pool& pool, Netmem netmem, unsigned size) {
    Env& env = pool.env();
    if (!pool.dma_sync() || !env.dma_dev_need_sync(pool.dev())) return;
    env.rcu_read_lock();
    // Again, inside: pairs with destroy_scrub().
    if (pool.dma_sync()) pool.dma_sync_for_device_now(netmem, size);
    env.rcu_read_unlock();
  }

  void destroy_scrub(Pool& pool) {
    if (!pool.dma_map()) return;
    Env& env = pool.env();
    if (pool.dma_sync()) {
      pool.set_dma_sync(false);
      // Returns that saw dma_sync may still be about to sync: wait for them, if any of it matters.
      if (env.dma_dev_need_sync(pool.dev()) && !dma_mapped_.empty()) env.synchronize_net();
    }
    dma_mapped_.for_each([&](std::uint32_t, Netmem netmem) { unmap(pool, netmem); });
  }

  std::uint64_t tracking_bytes() const { return dma_mapped_.bytes(); }
  std::uint64_t tracking_bytes_peak() const { return dma_mapped_.peak_bytes(); }

 private:
  XArray<Netmem, Env> dma_mapped_;
};

}  // namespace pagepool
