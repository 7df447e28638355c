// SPDX-License-Identifier: Apache-2.0
// The assembled machine: wire, NIC, PCIe link, root port, IOMMU, interconnect, DRAM, cores and the modelled kernel
// with its network stack and drivers. Everything hangs from here; construct it before SystemC elaborates.
//
//   wire -> NIC -> link -> root port -> IOMMU -> interconnect -> DRAM controller -> store
//   cores -> CpuPort -> interconnect -> { IOMMU registers, root port -> link -> NIC }
//   MSI -> interconnect -> IMSIC -> core
#pragma once
#include <functional>
#include <memory>
#include <string_view>

#include "iommu/iommu.h"
#include "kernel/kernel.h"
#include "mm/buddy_allocator.h"
#include "mm/dram_controller.h"
#include "mm/page_frames.h"
#include "mm/sparse_store.h"
#include "nic/device/nic.h"
#include "nic/driver/igb.h"
#include "nic/driver/igbvf.h"
#include "nic/stack/net_stack.h"
#include "pagepool/page_pools.h"
#include "platform/imsic.h"
#include "platform/interconnect.h"
#include "platform/memory_map.h"
#include "platform/pcie_link.h"
#include "platform/root_port.h"
#include "platform/wire.h"

namespace platform {

struct MemoryConfig {
  sim::PhysAddr base{0x8000'0000};
  std::uint64_t bytes = std::uint64_t{4} << 30;  ///< finish() rounds it down to whole pages
  MemoryMapConfig map;
  mm::PageFramesConfig frames;  ///< finish() makes it from the map
  mm::BuddyConfig buddy;
  bool huge_host_pages = false;  ///< mm::HostPages
};

struct MachineConfig {
  MachineConfig();

  sim::SimulationConfig simulation;
  MemoryConfig memory;
  mm::DramConfig dram;
  iommu::IommuConfig iommu;
  sim::PhysAddr iommu_registers{0x2800'0000};
  InterconnectConfig interconnect;
  RootPortConfig root_port;
  PcieLinkConfig link;
  ImsicConfig imsic;
  kernel::KernelConfig kernel;
  pagepool::PoolOptions pool;
  nic::NicConfig nic;
  nic::DriverConfig driver;
  nic::StackConfig stack;

  /// Makes the parts agree (cores, wire rate, MPS) and validates each. Throws sim::Error naming the field.
  void finish();
};

/// All parameters of a machine (platform/parameters.h); `config` must outlive the set.
void register_machine(class ParameterSet& set, MachineConfig& config);

class Machine {
 public:
  /// `config` must be finish()ed.
  explicit Machine(const MachineConfig& config);
  ~Machine();
  Machine(const Machine&) = delete;
  Machine& operator=(const Machine&) = delete;

  const MachineConfig& config() const { return config_; }
  sim::Simulation& simulation() { return simulation_; }
  mm::SparseStore& store() { return store_; }
  mm::PageFrames& frames() { return frames_; }
  mm::Trace& memory_trace() { return memory_trace_; }
  mm::BuddyAllocator& pages() { return pages_; }
  mm::DramController& dram() { return dram_; }
  iommu::Iommu& iommu() { return iommu_; }
  Interconnect& interconnect() { return interconnect_; }
  RootPort& root_port() { return root_port_; }
  PcieLink& link() { return link_; }
  nic::Nic& nic() { return nic_; }
  WireGenerator& wire() { return wire_; }
  Imsic& imsic() { return imsic_; }
  kernel::Kernel& kernel() { return kernel_; }
  pagepool::PagePools& pools() { return pools_; }
  nic::NetStack& stack() { return stack_; }
  const nic::NetStack& stack() const { return stack_; }
  nic::PciHostBridge& bridge() { return bridge_; }

  /// Every statistic of every part, "part.name".
  void stats(const std::function<void(std::string_view name, double value, std::string_view unit)>& out) const;
  /// Laws of conservation of devices and allocator; throws sim::ModelError when one is broken.
  void check_conservation() const;

 private:
  MachineConfig config_;
  sim::Simulation simulation_;
  mm::SparseStore store_;
  mm::PageFrames frames_;
  mm::Trace memory_trace_;
  mm::BuddyAllocator pages_;
  // Order of construction is the order of wake-ups at one time: from the wire towards memory.
  WireGenerator wire_;
  nic::Nic nic_;
  PcieLink link_;
  RootPort root_port_;
  iommu::Iommu iommu_;
  Interconnect interconnect_;
  mm::DramController dram_;
  Imsic imsic_;
  kernel::CpuPort cpu_port_;
  kernel::Kernel kernel_;
  pagepool::PagePools pools_;
  nic::NetStack stack_;
  nic::PciHostBridge bridge_;
};

}  // namespace platform
