// SPDX-License-Identifier: Apache-2.0
// stall_unregister: J. Kicinski's RFC of August 2024. When the net device is unregistered while a pool of it
// that maps has pages in flight, the net device is held until none is left: the driver cannot go. Pools
// without a net device are not covered.
#pragma once
#include <algorithm>
#include <atomic>
#include <memory>

#include "pagepool/strategy.h"

namespace pagepool {

template <class Env, class Pool>
class StallUnregister : public StrategyBase<Env, Pool> {
 public:
  static constexpr const char* kKey = "stall_unregister";
  static constexpr const char* kSummary = "Kicinski RFC: unregistering the net device waits for all pages";
  using StrategyBase<Env, Pool>::StrategyBase;

  void uninit(Pool&) { pool_gone_->store(true, std::memory_order_release); }

  void device_unbind(Pool& pool) {
    if (!pool.netdev() || pool.netdev() == net_ptr_poison() || !pool.dma_map() || pool.inflight() <= 0)
      return;
    Env& env = pool.env();
    [[maybe_unused]] auto scope = env.function("netdev_wait_allrefs_any");
    env.warn(pool, Warning::stalling_unregister, pool.inflight(), 0);
    // The pool may be freed while we wait for it: only the flag is looked at.
    std::shared_ptr<std::atomic<bool>> gone = pool_gone_;
    for (std::uint64_t wait_ms = 1; !gone->load(std::memory_order_acquire);
         wait_ms = std::min<std::uint64_t>(wait_ms * 2, 250))
      env.msleep(wait_ms);
  }

 private:
  std::shared_ptr<std::atomic<bool>> pool_gone_ = std::make_shared<std::atomic<bool>>(false);
};

}  // namespace pagepool
