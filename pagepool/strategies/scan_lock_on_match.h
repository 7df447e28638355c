// SPDX-License-Identifier: Apache-2.0
// scan_lock_on_match: J. Dangaard Brouer, fifth suggestion ("NEW IDEA"). The scan runs without the lock and
// may be scheduled; on a match it takes the lock, looks again, unmaps if dma_addr is set, and clears it. A
// return to a destroyed pool holds the lock: with dma_addr set it unmaps, else it only puts.
#pragma once
#include "pagepool/destroy_lock.h"

namespace pagepool {

template <class Env, class Pool>
class ScanLockOnMatch : public DestroyLockStrategy<Env, Pool> {
 public:
  static constexpr const char* kKey = "scan_lock_on_match";
  static constexpr const char* kSummary =
      "Jesper #5: scan without the lock, locked recheck and unmap on a match";
  using Netmem = typename Env::Netmem;
  using DestroyLockStrategy<Env, Pool>::DestroyLockStrategy;

  void unmap(Pool& pool, Netmem netmem) {
    if (pool.dma_map() && pool.env().dma_addr(netmem) != 0) pool.unmap_page(netmem);
  }

  void destroy_detached(Pool& pool) {
    if (pool.has_provider() || !pool.dma_map()) return;
    Env& env = pool.env();
    [[maybe_unused]] auto scope = env.function("page_pool_scan_inflight");
    env.synchronize_rcu();
    env.get_online_mems();
    int inflight = pool.inflight();
    int found = 0;
    env.for_each_online_page(
        [&](Netmem netmem) {
          if (!env.belongs_to_pool(pool, netmem)) return true;
          env.spin_lock_bh(this->destroy_lock_);
          if (env.belongs_to_pool(pool, netmem)) {
            unmap(pool, netmem);
            ++found;
          }
          env.spin_unlock_bh(this->destroy_lock_);
          return env.debug_net() || found != inflight;
        },
        /*schedulable=*/true);
    env.put_online_mems();
  }
};

}  // namespace pagepool
