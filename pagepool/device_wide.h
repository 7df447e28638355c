// SPDX-License-Identifier: Apache-2.0
// What A. Duyck's proposals share: one step for the device as a whole takes the place of an unmap for each
// page, and the pool is left believing that it no longer has to unmap. No tracking, no lock; syncs go on.
#pragma once
#include "pagepool/strategy.h"

namespace pagepool {

template <class Env, class Pool>
class DeviceWideStrategy : public StrategyBase<Env, Pool> {
 public:
  using StrategyBase<Env, Pool>::StrategyBase;

 protected:
  /// `step(env, device)`, once.
  template <class F>
  static void instead_of_pages(Pool& pool, F&& step) {
    if (pool.has_provider() || !pool.dma_map()) return;
    step(pool.env(), *pool.dev());
    pool.set_dma_map(false);
  }
};

}  // namespace pagepool
