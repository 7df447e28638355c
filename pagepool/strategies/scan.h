// SPDX-License-Identifier: Apache-2.0
// scan: Y. Lin's RFC v4. Pages are not tracked; when destroy finds pages out, it walks the struct pages of
// all memory under a lock with bottom halves off, and unmaps those that say they belong to the pool.
// Returners that see a destroyed pool take the same lock around the release.
#pragma once
#include "pagepool/destroy_lock.h"

namespace pagepool {

template <class Env, class Pool>
class Scan : public DestroyLockStrategy<Env, Pool> {
 public:
  static constexpr const char* kKey = "scan";
  static constexpr const char* kSummary =
      "Lin RFC v4: destroy walks all struct pages under a lock and unmaps";
  using Netmem = typename Env::Netmem;
  using DestroyLockStrategy<Env, Pool>::DestroyLockStrategy;

  void destroy_detached(Pool& pool) {
    if (pool.has_provider() || !pool.dma_map()) return;
    Env& env = pool.env();
    [[maybe_unused]] auto scope = env.function("page_pool_scan_inflight");
    // Returners that saw destroy_cnt == 0 are through after this; later ones come by the lock.
    env.synchronize_rcu();
    env.get_online_mems();
    env.spin_lock_bh(this->destroy_lock_);
    int inflight = pool.inflight();
    int unmapped = 0;
    env.for_each_online_page([&](Netmem netmem) {
      if (!env.belongs_to_pool(pool, netmem)) return true;
      pool.unmap_page(netmem);
      ++unmapped;
      return env.debug_net() || unmapped != inflight;
    });
    if (unmapped != inflight) env.warn_once(pool, Warning::unmapped_mismatch, unmapped, inflight);
    pool.set_dma_map(false);
    env.spin_unlock_bh(this->destroy_lock_);
    env.put_online_mems();
  }
};

}  // namespace pagepool
