// SPDX-License-Identifier: Apache-2.0
// A modelled kernel with page pools and one bound device.
#pragma once
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "pagepool/page_pools.h"
#include "testbenches/tests/kernel/harness.h"

namespace testing_pagepool {

class NullDriver final : public kernel::Driver {
 public:
  NullDriver() : Driver("null") {}
  int probe(kernel::Device&) override { return 0; }
  void remove(kernel::Device& device) override {
    if (on_remove) on_remove(device);
  }
  std::function<void(kernel::Device&)> on_remove;
};

struct PoolMachine : testing_kernel::Machine {
  explicit PoolMachine(pagepool::PoolOptions options = {}, kernel::KernelConfig config = {},
                       sim::SimulationConfig time = {})
      : Machine(config, time), pools(k, mm_trace, std::move(options)) {}

  /// Runs `body` as a task of core 0 with a bound device, then everything that follows, for `seconds`.
  void run_bound(kernel::DmaMode mode, double seconds, std::function<void(kernel::Device&)> body) {
    k.spawn(0, "init", [this, mode, body] {
      if (mode != kernel::DmaMode::kDirect) k.iommu().probe(sim::PhysAddr(testing_kernel::Bus::kIommu));
      device = &k.devices().device_add("0000:01:10.0", sim::RequesterId(0x180), mode);
      ASSERT_EQ(k.devices().device_bind(*device, driver), 0);
      body(*device);
    });
    run(seconds);
  }

  pagepool::PagePools pools;
  NullDriver driver;
  kernel::Device* device = nullptr;
};

inline pagepool::PoolParams mapped_params(unsigned pool_size = 256) {
  pagepool::PoolParams params;
  params.pool_size = pool_size;
  params.flags = pagepool::PP_FLAG_DMA_MAP | pagepool::PP_FLAG_DMA_SYNC_DEV;
  params.max_len = 4096;
  return params;
}

inline pagepool::PoolOptions options(std::string strategy) {
  pagepool::PoolOptions o;
  o.version = strategy == "xarray_merged" ? pagepool::PoolVersion::v6_18 : pagepool::PoolVersion::v6_12;
  o.strategy = std::move(strategy);
  return o;
}

}  // namespace testing_pagepool
