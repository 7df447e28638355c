// SPDX-License-Identifier: Apache-2.0
// destroy_flag: J. Dangaard Brouer, third suggestion. No lock: a return that sees destroy_cnt > 0 does
// nothing, "the destroyer releases it". The destroyer walks all memory and releases every page that says it
// belongs to the pool.
#pragma once
#include "pagepool/strategy.h"

namespace pagepool {

template <class Env, class Pool>
class DestroyFlag : public StrategyBase<Env, Pool> {
 public:
  static constexpr const char* kKey = "destroy_flag";
  static constexpr const char* kSummary =
      "Jesper #3: returns after destroy do nothing, the destroyer's scan releases";
  using Netmem = typename Env::Netmem;
  using StrategyBase<Env, Pool>::StrategyBase;

  template <class F>
  void put_side_release(Pool& pool, Netmem, F&& release) {
    if (pool.destroy_cnt() == 0) release();
  }

  void destroy_detached(Pool& pool) { release_found(pool); }
  void periodic_work(Pool& pool) {
    // What was returned meanwhile and left to the destroyer.
    if (pool.inflight() > static_cast<int>(pool.ring_count())) release_found(pool);
  }

 private:
  void release_found(Pool& pool) {
    if (pool.has_provider() || !pool.dma_map()) return;
    Env& env = pool.env();
    [[maybe_unused]] auto scope = env.function("page_pool_scan_inflight");
    env.get_online_mems();
    env.for_each_online_page([&](Netmem netmem) {
      if (env.belongs_to_pool(pool, netmem)) pool.return_page(netmem);
      return pool.inflight() > 0;
    });
    env.put_online_mems();
  }
};

}  // namespace pagepool
