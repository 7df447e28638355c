// SPDX-License-Identifier: Apache-2.0
// dma_bulk_unmap: A. Duyck (#8, #11). Destroy with pages out makes one call of the DMA API, "unmap everything this
// device has", and the pool then believes that it no longer has to unmap. No tracking, no lock; what else the
// device has mapped goes with it.
#pragma once
#include "pagepool/strategy.h"

namespace pagepool {

template <class Env, class Pool>
class DmaBulkUnmap : public StrategyBase<Env, Pool> {
 public:
  static constexpr const char* kKey = "dma_bulk_unmap";
  static constexpr const char* kSummary =
      "Duyck #11: destroy has the DMA API unmap everything of the device, in bulk";
  using StrategyBase<Env, Pool>::StrategyBase;

  void destroy_detached(Pool& pool) {
    if (pool.has_provider() || !pool.dma_map()) return;
    pool.env().dma_unmap_all(*pool.dev());
    pool.set_dma_map(false);
  }
};

}  // namespace pagepool
