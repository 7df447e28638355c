// SPDX-License-Identifier: Apache-2.0
// The PCI core as drivers use it (drivers/pci, Linux 6.12): configuration space through ECAM, BAR sizing and
// assignment, bus mastering, MSI-X tables, SR-IOV. Everything goes over the modelled bus; nothing is passed behind it.
#pragma once
#include <cstdint>
#include <map>
#include <string>

#include "kernel/kernel.h"
#include "sim/types.h"

namespace nic {

/// Where the platform put things (physical addresses).
struct PciHostBridge {
  sim::PhysAddr ecam{0x3000'0000};
  sim::PhysAddr mmio_base{0x4000'0000};
  std::uint64_t mmio_bytes = std::uint64_t{1} << 30;
  std::uint64_t mmio_used = 0;
  /// What the PCI core knows about the memory BARs of a VF (they live in its PF's SR-IOV capability).
  struct VfResources {
    sim::PhysAddr csr, msix;
  };
  std::map<sim::RequesterId, VfResources> vf_resources;

  /// Takes an aligned range for a BAR.
  sim::PhysAddr allocate(std::uint64_t bytes);
};

/// One PCI function. All calls in task context unless said.
class PciDev {
 public:
  PciDev(kernel::Kernel& kernel, PciHostBridge& bridge, sim::RequesterId requester)
      : kernel_(kernel), bridge_(bridge), requester_(requester) {}

  sim::RequesterId requester() const { return requester_; }

  std::uint32_t config_read(std::uint32_t reg, unsigned bytes = 4);
  void config_write(std::uint32_t reg, std::uint32_t value, unsigned bytes = 4);

  /// Sizes the BAR at config offset `reg`, assigns an address and returns it. `count`: SR-IOV VF BARs take the
  /// space of `count` functions.
  sim::PhysAddr assign_bar(std::uint32_t reg, unsigned count = 1);

  /// pci_enable_device_mem, pci_set_master, pci_clear_master (pci_disable_device).
  void enable_memory();
  void set_master(bool on);

  /// PCI function level reset and the 100 ms wait of pcie_flr().
  void flr();

  /// MSI-X table entry `vector` in the BAR at `table`, unmasked; enable the capability with msix_enable().
  void program_msix(sim::PhysAddr table, unsigned vector, const kernel::MsiMessage& message);
  void msix_enable(bool on);

 private:
  sim::PhysAddr config_address(std::uint32_t reg) const {
    return bridge_.ecam + ((std::uint64_t{requester_.value} << 12) | reg);
  }
  kernel::Kernel& kernel_;
  PciHostBridge& bridge_;
  sim::RequesterId requester_;
};

/// "0000:01:10.0" from a requester id.
std::string pci_name(sim::RequesterId requester);

}  // namespace nic
