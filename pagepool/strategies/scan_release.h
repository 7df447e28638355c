// SPDX-License-Identifier: Apache-2.0
// scan_release: J. Dangaard Brouer, first suggestion. As `scan`, but a page that is found is detached for
// good (magic cleared, its _refcount kept), so that the periodic work finds nothing out and can end. Its
// holder frees it like any other page; pool references (pp_ref_count) of several holders are not converted.
#pragma once
#include "pagepool/destroy_lock.h"

namespace pagepool {

template <class Env, class Pool>
class ScanRelease : public DestroyLockStrategy<Env, Pool> {
 public:
  static constexpr const char* kKey = "scan_release";
  static constexpr const char* kSummary = "Jesper #1: as scan, and pages found leave the pool for good";
  using Netmem = typename Env::Netmem;
  using DestroyLockStrategy<Env, Pool>::DestroyLockStrategy;

  void destroy_detached(Pool& pool) {
    if (pool.has_provider() || !pool.dma_map()) return;
    Env& env = pool.env();
    [[maybe_unused]] auto scope = env.function("page_pool_scan_inflight");
    env.synchronize_rcu();
    env.get_online_mems();
    env.spin_lock_bh(this->destroy_lock_);
    int inflight = pool.inflight();
    int found = 0;
    env.for_each_online_page([&](Netmem netmem) {
      if (!env.belongs_to_pool(pool, netmem)) return true;
      pool.unmap_page(netmem);
      pool.detach_page(netmem);
      ++found;
      return env.debug_net() || found != inflight;
    });
    if (found != inflight) env.warn_once(pool, Warning::unmapped_mismatch, found, inflight);
    pool.set_dma_map(false);
    env.spin_unlock_bh(this->destroy_lock_);
    env.put_online_mems();
  }
};

}  // namespace pagepool
