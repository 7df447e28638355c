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
                       sim::SimulationConfig time = {}, std::uint64_t bytes = std::uint64_t{1} << 30,
                       mm::PageFramesConfig memory = {})
      : Machine(config, time, bytes, std::move(memory)), pools(k, mm_trace, std::move(options)) {}

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

/// What happened to mappings in a run where `out` pages were held over unbind for two seconds.
struct Unbind {
  explicit Unbind(std::string strategy, sim::SimulationConfig time = {},
                  std::uint64_t bytes = std::uint64_t{1} << 30)
      : m(options(strategy), {}, time, bytes) {
    m.k.trace().dma_unmapped.subscribe([this](const kernel::DmaUnmapped& e) {
      bool in_destroy = std::find_if(e.chain.begin(), e.chain.end(), [](const char* f) {
                          return std::string_view(f) == "page_pool_destroy";
                        }) != e.chain.end();
      ++(in_destroy ? inside : e.driver_bound ? before : late);
    });
    m.k.trace().bh_section.subscribe(
        [this](const kernel::BhSection& e) { longest_bh_off = std::max(longest_bh_off, e.end - e.begin); });
    m.driver.on_remove = [this](kernel::Device&) { pool->destroy(); };
  }

  void run(kernel::DmaMode mode, unsigned out = 10, bool remove_device = false, double seconds = 8) {
    m.run_bound(mode, seconds, [=, this](kernel::Device& device) {
      auto params = mapped_params();
      params.netdev = &netdev;
      pool = m.pools.create(device, params);
      for (unsigned i = 0; i < out + 5; ++i) held.push_back(*pool->alloc_page());
      for (unsigned i = 0; i < 5; ++i) {
        pool->recycle_direct(held.back());
        held.pop_back();
      }
      if (early_return)
        m.k.spawn(1, "early_reader", [this] {
          kernel::msleep(1500);
          give_back();
        });
      sim::Tick begin = m.k.now();
      m.k.devices().device_unbind(device);
      unbind_time = m.k.now() - begin;
      state_after_destroy = pool->state();
      if (remove_device) m.k.devices().device_del(device);
      after_unbind();
      kernel::msleep(1500);
      if (!early_return) m.k.spawn(1, "reader", [this] { give_back(); });
    });
  }
  void give_back() {
    for (sim::Pfn page : held)
      if (!m.pools.napi_pp_put_page(page)) pagepool::put_page(m.k, page);
    held.clear();
  }

  PoolMachine m;
  bool early_return = false;  // of the pages, while unbind may still be waiting
  std::function<void()> after_unbind = [] {};
  pagepool::Netdev netdev{3, "eth0"};
  std::shared_ptr<pagepool::Pool> pool;
  std::vector<sim::Pfn> held;
  pagepool::PoolState state_after_destroy;
  unsigned before = 0, inside = 0, late = 0;
  sim::Tick longest_bh_off = 0, unbind_time = 0;
};

}  // namespace testing_pagepool
