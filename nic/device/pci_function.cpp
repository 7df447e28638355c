// SPDX-License-Identifier: Apache-2.0
#include "nic/device/pci_function.h"

#include <algorithm>
#include <bit>

namespace nic {

PciFunction::PciFunction(bool vf, const NicConfig& config) : vf_(vf), config_(config) { reset(); }

void PciFunction::put(std::uint32_t offset, unsigned size, std::uint32_t value, std::uint32_t writable) {
  for (unsigned i = 0; i < size; ++i) {
    bytes_[offset + i] = static_cast<std::uint8_t>(value >> (8 * i));
    writable_[offset + i] = static_cast<std::uint8_t>(writable >> (8 * i));
  }
}

void PciFunction::put_w1c(std::uint32_t offset, std::uint32_t mask) {
  for (unsigned i = 0; i < 4; ++i) w1c_[offset + i] = static_cast<std::uint8_t>(mask >> (8 * i));
}

void PciFunction::reset() {
  bytes_.fill(0);
  writable_.fill(0);
  w1c_.fill(0);
  command_ = 0;
  msix_.fill(MsixEntry{});
  msix_pending = 0;
  put(0x08, 4, 0x02000001);  // class 020000, revision 01
  put(0x06, 2, 0x0010);      // capability list
  if (vf_) {
    layout_vf();
  } else {
    layout_pf();
  }
}

void PciFunction::layout_pcie(std::uint32_t next) {
  const unsigned mps_code = static_cast<unsigned>(std::countr_zero(config_.max_payload_bytes / 128));
  const unsigned mps = static_cast<unsigned>(std::countr_zero(config_.reset_payload_bytes / 128));
  const unsigned mrrs = static_cast<unsigned>(std::countr_zero(config_.reset_read_request_bytes / 128));
  put(pci::EXP, 4, 0x00020010 | next << 8);
  put(pci::EXP_DEVCAP, 4, 0x10008020 | mps_code);
  // Relaxed ordering and no-snoop are enabled after reset; FLR reads 0. A VF's control bits other than FLR
  // are the PF's.
  put(pci::EXP_DEVCTL, 2, vf_ ? 0u : 0x0810u | mps << 5 | mrrs << 12, vf_ ? 0u : 0x7FFFu);
  put_w1c(pci::EXP_DEVCTL, 0x000F0000);
  put(pci::EXP + 0x0C, 4, 0x00000041);                                // LnkCap: x4, 2.5 GT/s
  put(pci::EXP + 0x10, 4, vf_ ? 0u : 0x00410000u, vf_ ? 0u : 0xFBu);  // LnkCtl, LnkSta
  put(pci::EXP + 0x24, 4, 0x00000012);                                // completion timeout ranges, disable
  put(pci::EXP + 0x28, 2, 0, vf_ ? 0u : 0x1Fu);
}

void PciFunction::layout_pf() {
  put(0x00, 4, pci::kPfDevice << 16 | pci::kVendor);
  put(pci::COMMAND, 2, 0, 0x0547);
  put_w1c(pci::COMMAND, 0xF9000000);
  put(0x0C, 4, 0x00800000, 0x000000FF);  // multifunction header; cache line size
  put(pci::BAR0, 4, 0, ~(pci::kBar0Bytes - 1));
  put(pci::BAR0 + 4, 4, 0, ~(pci::kBar0Bytes - 1));   // flash
  put(pci::BAR0 + 8, 4, 1, ~(pci::kIoBarBytes - 1));  // I/O
  put(pci::BAR0 + 12, 4, 4, ~(pci::kBar3Bytes - 1));
  put(pci::BAR0 + 16, 4, 0, 0xFFFFFFFF);
  put(0x2C, 4, 0x10C98086);
  put(0x34, 1, pci::PM);
  put(0x3C, 4, 0x00000100, 0x000000FF);

  put(pci::PM, 4, 0x00225001);
  put(pci::PM + 4, 2, 0, 0x1F03);  // power state, data select
  put(pci::MSI, 4, 0x01800005 | pci::MSIX << 8, 0x00710000);
  put(pci::MSI + 4, 4, 0, 0xFFFFFFFC);
  put(pci::MSI + 8, 4, 0, 0xFFFFFFFF);
  put(pci::MSI + 12, 2, 0, 0xFFFF);
  put(pci::MSI + 16, 4, 0, 1);
  put(pci::MSIX, 4, (kPfVectors - 1) << 16 | 0x11 | pci::EXP << 8, 0xC0000000);
  put(pci::MSIX + 4, 4, 3);
  put(pci::MSIX + 8, 4, pci::kPbaOffset | 3);
  layout_pcie(0);

  put(pci::AER, 4, 0x15010001);
  put_w1c(pci::AER + 4, 0x01FFF030);
  put(pci::AER + 8, 4, 0x02400000, 0x01FFF030);
  put(pci::AER + 0x0C, 4, 0x00462030, 0x01FFF030);
  put_w1c(pci::AER + 0x10, 0x000031C1);
  put(pci::AER + 0x14, 4, 0x00002000, 0x000031C1);
  put(pci::AER + 0x18, 4, 0, 0);
  put(pci::ARI, 4, 0x1601000E);

  put(pci::SRIOV, 4, 0x00010010);
  put(pci::SRIOV_CTRL, 2, 0, pci::SRIOV_VFE | pci::SRIOV_VF_MSE | pci::SRIOV_ARI);
  put(pci::SRIOV + 0x0C, 4, config_.total_vfs | config_.total_vfs << 16);
  put(pci::SRIOV_NUM_VFS, 2, 0, 0xFFFF);
  put(pci::SRIOV + 0x14, 4, pci::kFirstVfOffset | pci::kVfStride << 16);
  put(pci::SRIOV + 0x18, 4, static_cast<std::uint32_t>(pci::kVfDevice) << 16);
  put(pci::SRIOV + 0x1C, 4, 0x553);
  put(pci::SRIOV_PAGE_SIZE, 4, 1, 0x553);
  for (std::uint32_t base : {pci::SRIOV_BAR0, pci::SRIOV_BAR3}) {
    put(base, 4, 0xC, ~(pci::kVfBarBytes - 1));
    put(base + 4, 4, 0, 0xFFFFFFFF);
  }
}

void PciFunction::layout_vf() {
  put(0x00, 4, 0xFFFFFFFF);
  put(pci::COMMAND, 2, 0, pci::COMMAND_BME);  // memory decoding is the PF's VF MSE
  put_w1c(pci::COMMAND, 0xF9000000);
  put(0x34, 1, pci::EXP);
  layout_pcie(pci::MSIX);
  put(pci::MSIX, 4, (kVfVectors - 1) << 16 | 0x11, 0xC0000000);
  put(pci::MSIX + 4, 4, 3);
  put(pci::MSIX + 8, 4, pci::kPbaOffset | 3);
  put(pci::AER, 4, 0x15010001);
  put_w1c(pci::AER + 4, 0x01FFF030);
  put_w1c(pci::AER + 0x10, 0x000031C1);
  put(pci::ARI, 4, 0x0001000E);
}

std::uint32_t PciFunction::read(std::uint32_t offset, unsigned size) const {
  std::uint32_t value = 0;
  for (unsigned i = 0; i < size && offset + i < kBytes; ++i) {
    value |= static_cast<std::uint32_t>(bytes_[offset + i]) << (8 * i);
  }
  return value;
}

void PciFunction::write(std::uint32_t offset, unsigned size, std::uint32_t value) {
  // SR-IOV 3.3.7: NumVFs and the system page size may change only while VF Enable is clear.
  if (!vf_ && vf_enable()) {
    const bool locked = offset < pci::SRIOV_PAGE_SIZE + 4 && offset + size > pci::SRIOV_NUM_VFS;
    if (locked) return;
  }
  for (unsigned i = 0; i < size && offset + i < kBytes; ++i) {
    const auto byte = static_cast<std::uint8_t>(value >> (8 * i));
    std::uint8_t& old = bytes_[offset + i];
    const std::uint8_t mask = writable_[offset + i];
    old = static_cast<std::uint8_t>((old & ~mask) | (byte & mask));
    old = static_cast<std::uint8_t>(old & ~(byte & w1c_[offset + i]));
  }
  command_ = static_cast<std::uint16_t>(bytes_[pci::COMMAND] | bytes_[pci::COMMAND + 1] << 8);
}

std::uint32_t PciFunction::max_payload() const {
  return std::min(128u << std::min((device_control() >> 5) & 7, 5), config_.max_payload_bytes);
}

std::uint32_t PciFunction::max_read_request() const {
  return 128u << std::min((device_control() >> 12) & 7, 5);
}

void PciFunction::set_transactions_pending(bool pending) {
  std::uint8_t& status = bytes_[pci::EXP_DEVSTA];
  status = static_cast<std::uint8_t>(pending ? status | pci::DEVSTA_TRANSACTIONS_PENDING
                                             : status & ~pci::DEVSTA_TRANSACTIONS_PENDING);
}

void PciFunction::log_unsupported_request() {
  bytes_[pci::EXP_DEVSTA] |= 0x02 | 0x08;  // non-fatal error, unsupported request detected
  bytes_[pci::AER + 4 + 2] |= 0x10;        // UES bit 20: unsupported request
}

void PciFunction::log_completion_timeout() {
  bytes_[pci::EXP_DEVSTA] |= 0x02;   // non-fatal error detected
  bytes_[pci::AER + 4 + 1] |= 0x40;  // UES bit 14: completion timeout
}

void PciFunction::log_poisoned() {
  bytes_[pci::EXP_DEVSTA] |= 0x02;         // non-fatal error detected
  bytes_[pci::AER + 4 + 1] |= 0x10;        // UES bit 12: poisoned TLP received
  bytes_[pci::COMMAND + 3] |= 0x80;        // status bit 15: detected parity error, whether it is answered or not
  if ((command_ & 0x40) != 0) bytes_[pci::COMMAND + 3] |= 0x01;  // status bit 8: master data parity error
}

unsigned PciFunction::num_vfs() const {
  const unsigned n = bytes_[pci::SRIOV_NUM_VFS] | bytes_[pci::SRIOV_NUM_VFS + 1] << 8;
  return std::min(n, config_.total_vfs);
}

std::uint32_t PciFunction::system_page_bytes() const {
  // Bit n set: pages of 2^(n+12). More than one bit set is undefined; the lowest counts.
  const std::uint32_t sizes = read(pci::SRIOV_PAGE_SIZE, 4);
  return sizes == 0 ? 4096 : 4096u << std::countr_zero(sizes);
}

std::uint64_t PciFunction::memory_bar(std::uint32_t offset, bool wide) const {
  const std::uint64_t low = read(offset, 4) & ~0xFu;
  return wide ? low | static_cast<std::uint64_t>(read(offset + 4, 4)) << 32 : low;
}

std::uint64_t PciFunction::bar(unsigned index) const { return memory_bar(pci::BAR0 + 4 * index, index == 3); }

std::uint64_t PciFunction::vf_bar(unsigned index) const {
  return memory_bar(index == 0 ? pci::SRIOV_BAR0 : pci::SRIOV_BAR3, true);
}

bool PciFunction::take_msi_pending() {
  if (!msi_enabled() || msi_masked() || bytes_[pci::MSI + 0x14] == 0) return false;
  bytes_[pci::MSI + 0x14] = 0;
  return true;
}

PciFunction::MsixEntry PciFunction::msi() const {
  return {read(pci::MSI + 4, 4) | static_cast<std::uint64_t>(read(pci::MSI + 8, 4)) << 32,
          read(pci::MSI + 12, 2), 0};
}

std::uint32_t PciFunction::msix_bar_read(std::uint32_t offset) const {
  if (offset >= pci::kPbaOffset) return offset == pci::kPbaOffset ? msix_pending : 0;
  const unsigned vector = offset / 16;
  if (vector >= vectors()) return 0;
  const MsixEntry& e = msix_[vector];
  switch (offset % 16 / 4) {
    case 0:
      return static_cast<std::uint32_t>(e.address);
    case 1:
      return static_cast<std::uint32_t>(e.address >> 32);
    case 2:
      return e.data;
    default:
      return e.control;
  }
}

void PciFunction::msix_bar_write(std::uint32_t offset, std::uint32_t value) {
  const unsigned vector = offset / 16;
  if (vector >= vectors()) return;  // beyond the table, or the read-only PBA
  MsixEntry& e = msix_[vector];
  switch (offset % 16 / 4) {
    case 0:
      e.address = (e.address & ~0xFFFFFFFFull) | (value & ~3u);
      break;
    case 1:
      e.address = (e.address & 0xFFFFFFFFull) | static_cast<std::uint64_t>(value) << 32;
      break;
    case 2:
      e.data = value;
      break;
    default:
      e.control = value & 1;
      break;
  }
}

}  // namespace nic
