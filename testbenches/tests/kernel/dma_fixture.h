// SPDX-License-Identifier: Apache-2.0
// A modelled kernel with the IOMMU probed and one device bound, for tests of the DMA API.
#pragma once
#include "harness.h"

namespace testing_kernel {

using namespace kernel;

struct TestDriver : Driver {
  TestDriver() : Driver("test") {}
  int probe(Device&) override {
    ++probes;
    return error;
  }
  void remove(Device&) override { ++removes; }
  int probes = 0, removes = 0, error = 0;
};

struct Fixture : Machine {
  explicit Fixture(KernelConfig config = {}) : Machine(config) {
    k.trace().dma_unmapped.subscribe([this](const DmaUnmapped& e) { unmaps.push_back(e); });
    k.trace().iova_freed.subscribe([this](const IovaFreed& e) { freed.push_back(e); });
    k.trace().iommu_synced.subscribe([this](const IommuSynced& e) { synced.push_back(e); });
  }
  /// Runs `body` as a task with the IOMMU probed and one device bound.
  void task(std::function<void()> body, double seconds = 10) {
    k.spawn(0, "init", [this, body] {
      if (k.config().dma_mode != DmaMode::kDirect)
        k.iommu().probe(sim::PhysAddr(testing_kernel::Bus::kIommu));
      device = &k.devices().device_add("0000:01:10.0", sim::RequesterId(0x180));
      EXPECT_EQ(k.devices().device_bind(*device, driver), 0);
      body();
      finished = true;
    });
    run(seconds);
  }
  Iova map(sim::Pfn page) {
    return k.dma().dma_map_page_attrs(*device, page, 0, 4096, DmaDirection::kFromDevice, kDmaAttrSkipCpuSync);
  }
  void unmap(Iova iova) {
    k.dma().dma_unmap_page_attrs(*device, iova, 4096, DmaDirection::kFromDevice, kDmaAttrSkipCpuSync);
  }
  sim::Pfn page() { return *pages.alloc_pages(0); }
  IommuDomain& domain() { return *device->iommu_group()->default_domain; }

  TestDriver driver;
  Device* device = nullptr;
  bool finished = false;
  std::vector<DmaUnmapped> unmaps;
  std::vector<IovaFreed> freed;
  std::vector<IommuSynced> synced;
};

inline KernelConfig mode(DmaMode m) {
  KernelConfig c;
  c.dma_mode = m;
  return c;
}

}  // namespace testing_kernel
