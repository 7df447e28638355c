// SPDX-License-Identifier: Apache-2.0
// dma_bulk_unmap: A. Duyck (#8, #11). Destroy with pages out makes one call of the DMA API, "unmap everything this
// device has". What else the device has mapped goes with it: the call names no mapping, so it cannot spare any.
#pragma once
#include "pagepool/device_wide.h"

namespace pagepool {

template <class Env, class Pool>
class DmaBulkUnmap : public DeviceWideStrategy<Env, Pool> {
 public:
  static constexpr const char* kKey = "dma_bulk_unmap";
  static constexpr const char* kSummary =
      "Duyck #11: destroy has the DMA API unmap everything of the device, in bulk";

  explicit DmaBulkUnmap(Env& env) : DeviceWideStrategy<Env, Pool>(env), env_(env) {}

  void destroy_detached(Pool& pool) {
    this->instead_of_pages(pool, [](Env& env, auto& device) { env.dma_unmap_all(device); });
  }

  /// The device's bitmap of bounce slots, where there are any.
  std::uint64_t tracking_bytes() const { return env_.dma_unmap_all_bytes(); }
  std::uint64_t tracking_bytes_peak() const { return tracking_bytes(); }

 private:
  Env& env_;
};

}  // namespace pagepool
