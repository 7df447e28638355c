// SPDX-License-Identifier: Apache-2.0
// The machine that a capture is replayed on: memory, IOMMU, interconnect, cores with the modelled kernel, and
// the devices of the capture as names only. Nothing on it does DMA: a capture tells what the driver and the
// kernel did, not what the device wrote.
#pragma once
#include <memory>

#include "iommu/iommu.h"
#include "kernel/kernel.h"
#include "mm/buddy_allocator.h"
#include "mm/dram_controller.h"
#include "mm/page_frames.h"
#include "mm/sparse_store.h"
#include "pagepool/page_pools.h"
#include "platform/imsic.h"
#include "platform/interconnect.h"
#include "sim/simulation.h"
#include "testbenches/checker/checker.h"
#include "testbenches/trace/observed.h"

namespace replay {

/// Build before elaboration ends. One a process, as SystemC elaborates once.
class RecordedMachine {
 public:
  RecordedMachine(const kernel::KernelConfig& kernel_config, const pagepool::PoolOptions& pool_options);
  ~RecordedMachine();

  sim::Simulation& simulation() { return simulation_; }
  kernel::Kernel& kernel() { return *kernel_; }
  pagepool::PagePools& pools() { return *pools_; }
  checker::Checker& checker() { return *checker_; }
  mm::PageFrames& frames() { return frames_; }
  mm::BuddyAllocator& pages() { return pages_; }
  trace::Observed observed() { return {simulation_, *kernel_, mm_trace_, *pools_, iommu_, dram_}; }

  static constexpr std::uint64_t kIommuRegisters = 0x2800'0000;
  static constexpr sim::Clock core_clock() { return sim::Clock::from_hz(25'000'000'000); }

 private:
  class NoDevice;

  sim::Simulation simulation_;
  mm::SparseStore store_;
  mm::PageFrames frames_;
  mm::Trace mm_trace_;
  mm::BuddyAllocator pages_;
  mm::DramController dram_;
  iommu::Iommu iommu_;
  platform::Interconnect interconnect_;
  platform::Imsic imsic_;
  kernel::CpuPort cpu_port_;
  std::unique_ptr<NoDevice> no_device_;
  std::unique_ptr<kernel::Kernel> kernel_;
  std::unique_ptr<pagepool::PagePools> pools_;
  std::unique_ptr<checker::Checker> checker_;
};

}  // namespace replay
