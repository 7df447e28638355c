// SPDX-License-Identifier: Apache-2.0
// The parts of a machine that a trace writer listens to. What a machine does not have is null.
#pragma once
#include "iommu/iommu.h"
#include "kernel/kernel.h"
#include "mm/dram_controller.h"
#include "mm/trace.h"
#include "nic/device/trace.h"
#include "nic/stack/net_stack.h"
#include "pagepool/page_pools.h"
#include "platform/machine.h"
#include "platform/wire.h"

namespace trace {

struct Observed {
  sim::Simulation& simulation;
  kernel::Kernel& kernel;
  mm::Trace& memory;
  pagepool::PagePools& pools;
  iommu::Iommu& iommu;
  mm::DramController& dram;
  nic::NicTracepoints* nic = nullptr;
  platform::WireGenerator* wire = nullptr;
  nic::NetStack* stack = nullptr;
  unsigned rx_descriptors = 0;  ///< of each receive ring

  static Observed of(platform::Machine& machine) {
    return {machine.simulation(),   machine.kernel(),
            machine.memory_trace(), machine.pools(),
            machine.iommu(),        machine.dram(),
            &machine.nic().trace(), &machine.wire(),
            &machine.stack(),       machine.config().driver.rx.descriptors};
  }
};

/// Where and when kernel code runs now; outside kernel code the machine's time.
struct Here {
  bool in_kernel = false;
  unsigned cpu = 0;
  sim::Tick time = 0;
  explicit Here(const sim::Simulation& simulation) : time(simulation.now()) {
    if (!kernel::in_kernel_code()) return;
    in_kernel = true;
    cpu = kernel::this_cpu().cpu();
    time = kernel::this_cpu().now();
  }
};

}  // namespace trace
