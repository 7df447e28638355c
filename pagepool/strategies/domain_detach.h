// SPDX-License-Identifier: Apache-2.0
// domain_detach: A. Duyck (#8). At unbind the device is taken out of its IOMMU domain and the whole domain is
// invalidated. IOVAs, page-table entries and bounce slots stay.
#pragma once
#include "pagepool/device_wide.h"

namespace pagepool {

template <class Env, class Pool>
class DomainDetach : public DeviceWideStrategy<Env, Pool> {
 public:
  static constexpr const char* kKey = "domain_detach";
  static constexpr const char* kSummary =
      "Duyck #8: the device leaves its IOMMU domain at unbind, nobody unmaps";
  using DeviceWideStrategy<Env, Pool>::DeviceWideStrategy;

  void device_unbind(Pool& pool) {
    this->instead_of_pages(pool, [](Env& env, auto& device) { env.iommu_detach_device(device); });
  }
};

}  // namespace pagepool
