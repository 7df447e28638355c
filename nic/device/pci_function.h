// SPDX-License-Identifier: Apache-2.0
// PCI configuration space and MSI-X table of one function of the 82576 (the PF or a VF): layout, reset values
// and write masks. Side effects (FLR, VF enable, bus mastering) are the device's: see
// Nic::Core::config_written. Source: 82576 datasheet section 9; PCIe base specification 7.x; SR-IOV
// specification 3.3.
#pragma once
#include <array>
#include <cstdint>

#include "nic/device/config.h"
#include "nic/device/registers.h"

namespace nic {

class PciFunction {
 public:
  PciFunction(bool vf, const NicConfig& config);

  /// To the state after a conventional reset or FLR.
  void reset();

  /// `size` 1, 2 or 4, naturally aligned within 4 KiB.
  std::uint32_t read(std::uint32_t offset, unsigned size) const;
  /// Changes the writable bits only; write-1-to-clear bits are cleared.
  void write(std::uint32_t offset, unsigned size, std::uint32_t value);

  /// D0: in D3hot a function answers configuration requests only.
  bool powered() const { return vf_ || (bytes_[pci::PM + 4] & 3) == 0; }
  bool bus_master() const { return (command_ & pci::COMMAND_BME) != 0 && powered(); }
  bool memory_enabled() const { return (command_ & pci::COMMAND_MEM) != 0 && powered(); }
  std::uint32_t max_payload() const;
  std::uint32_t max_read_request() const;
  void set_transactions_pending(bool pending);
  /// A request of ours was refused: AER uncorrectable status and DevSta.
  void log_unsupported_request();
  /// No completion of a request of ours came in time: the same (PCI Express base specification, 2.8 and 6.2).
  void log_completion_timeout();
  /// Data that came back to us carried the error/poison bit: AER uncorrectable status, DevSta, and the status register's
  /// parity error bits (PCI Express base specification, 2.7.2, 6.2 and 7.5.1.2).
  void log_poisoned();

  // SR-IOV, PF only.
  bool vf_enable() const { return (bytes_[pci::SRIOV_CTRL] & pci::SRIOV_VFE) != 0; }
  bool vf_memory_enable() const { return (bytes_[pci::SRIOV_CTRL] & pci::SRIOV_VF_MSE) != 0; }
  unsigned num_vfs() const;
  std::uint32_t system_page_bytes() const;

  /// Base address of a memory BAR, 0 if none: PF 0 or 3; the VF BARs of the SR-IOV capability 0 or 3.
  std::uint64_t bar(unsigned index) const;
  std::uint64_t vf_bar(unsigned index) const;
  /// BAR2, I/O space: 0 if none.
  std::uint64_t io_bar() const { return read(pci::BAR0 + 8, 4) & ~(pci::kIoBarBytes - 1); }
  bool io_enabled() const { return (command_ & pci::COMMAND_IO) != 0 && powered(); }

  struct MsixEntry {
    std::uint64_t address = 0;
    std::uint32_t data = 0;
    std::uint32_t control = 1;  ///< bit 0: masked
  };
  unsigned vectors() const { return vf_ ? kVfVectors : kPfVectors; }
  bool msix_enabled() const { return (msix_control() & pci::MSIX_ENABLE) != 0; }
  bool msix_masked(unsigned vector) const {
    return (msix_control() & pci::MSIX_FUNCTION_MASK) != 0 || (msix_[vector].control & 1) != 0;
  }
  /// MSI, one vector with its mask; used while MSI-X is off.
  bool msi_enabled() const {
    return !vf_ && !msix_enabled() && (bytes_[pci::MSI + 2] & pci::MSI_ENABLE) != 0;
  }
  bool msi_masked() const { return (bytes_[pci::MSI + 0x10] & 1) != 0; }
  void set_msi_pending() { bytes_[pci::MSI + 0x14] = 1; }
  /// Clears and returns the pending bit if the message may go now.
  bool take_msi_pending();
  MsixEntry msi() const;
  const MsixEntry& msix(unsigned vector) const { return msix_[vector]; }
  /// Table at 0, PBA at 0x2000; 32-bit accesses.
  std::uint32_t msix_bar_read(std::uint32_t offset) const;
  void msix_bar_write(std::uint32_t offset, std::uint32_t value);

  std::uint32_t msix_pending = 0;

 private:
  void put(std::uint32_t offset, unsigned size, std::uint32_t value, std::uint32_t writable = 0);
  void put_w1c(std::uint32_t offset, std::uint32_t mask);
  std::uint64_t memory_bar(std::uint32_t offset, bool wide) const;
  std::uint16_t msix_control() const {
    return static_cast<std::uint16_t>(bytes_[pci::MSIX + 2] | bytes_[pci::MSIX + 3] << 8);
  }
  std::uint16_t device_control() const {
    return static_cast<std::uint16_t>(bytes_[pci::EXP_DEVCTL] | bytes_[pci::EXP_DEVCTL + 1] << 8);
  }
  void layout_pf();
  void layout_vf();
  void layout_pcie(std::uint32_t next);

  static constexpr std::size_t kBytes = 4096;
  bool vf_;
  NicConfig config_;
  std::uint16_t command_ = 0;
  std::array<std::uint8_t, kBytes> bytes_{};
  std::array<std::uint8_t, kBytes> writable_{};
  std::array<std::uint8_t, kBytes> w1c_{};
  std::array<MsixEntry, kPfVectors> msix_{};
};

}  // namespace nic
