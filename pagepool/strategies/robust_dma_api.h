// SPDX-License-Identifier: Apache-2.0
// robust_dma_api: R. Murphy (#10). Nothing in page_pool: the DMA API itself tracks every mapping, as dma-debug does
// (16384 hash buckets, 65536 entries made in advance), looks it up at every sync and unmap, and offers "clean up all
// mappings of this device", which the driver core calls at unbind. An unmap of what was cleaned up finds no entry and
// does nothing; no entry left fails the mapping. The table is kernel/mapping_hash.h.
#pragma once
#include <cerrno>

#include "pagepool/strategy.h"

namespace pagepool {

template <class Env, class Pool>
class RobustDmaApi : public StrategyBase<Env, Pool> {
 public:
  static constexpr const char* kKey = "robust_dma_api";
  static constexpr const char* kSummary = "Murphy #10: the DMA API tracks mappings and cleans up at unbind";

  explicit RobustDmaApi(Env& env) : StrategyBase<Env, Pool>(env), env_(env) {}

  /// The kernel has this API from boot on; the first pool is early enough for the mappings of pools.
  int create(Pool&) { return env_.dma_track_mappings() ? 0 : -ENOMEM; }

  std::uint64_t tracking_bytes() const { return env_.dma_tracking_bytes(); }
  std::uint64_t tracking_bytes_peak() const { return tracking_bytes(); }

 private:
  Env& env_;
};

}  // namespace pagepool
