// SPDX-License-Identifier: Apache-2.0
// domain_detach: A. Duyck (#8). At unbind the device is taken out of its IOMMU domain and the whole domain is
// invalidated; the pool is left believing that it no longer has to unmap. IOVAs and page-table entries stay.
#pragma once
#include "pagepool/strategy.h"

namespace pagepool {

template <class Env, class Pool>
class DomainDetach : public StrategyBase<Env, Pool> {
 public:
  static constexpr const char* kKey = "domain_detach";
  static constexpr const char* kSummary =
      "Duyck #8: the device leaves its IOMMU domain at unbind, nobody unmaps";
  using StrategyBase<Env, Pool>::StrategyBase;

  void device_unbind(Pool& pool) {
    if (!pool.dma_map()) return;
    pool.env().iommu_detach_device(*pool.dev());
    pool.set_dma_map(false);
  }
};

}  // namespace pagepool
