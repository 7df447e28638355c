// SPDX-License-Identifier: Apache-2.0
#include "nic/driver/pci.h"

#include "nic/device/registers.h"
#include "sim/error.h"

namespace nic {
namespace {
constexpr std::uint32_t kBarIs64Bit = 0x4;
constexpr std::uint32_t kBarFlags = 0xF;
}  // namespace

std::string pci_name(sim::RequesterId r) {
  return fmt::format("0000:{:02x}:{:02x}.{}", r.value >> 8, (r.value >> 3) & 0x1F, r.value & 7);
}

sim::PhysAddr PciHostBridge::allocate(std::uint64_t bytes) {
  mmio_used = (mmio_used + bytes - 1) / bytes * bytes;
  POOLSIM_ASSERT(mmio_used + bytes <= mmio_bytes);
  const sim::PhysAddr at = mmio_base + mmio_used;
  mmio_used += bytes;
  return at;
}

std::uint32_t PciDev::config_read(std::uint32_t reg, unsigned bytes) {
  return static_cast<std::uint32_t>(kernel_.port().read(config_address(reg), bytes));
}

void PciDev::config_write(std::uint32_t reg, std::uint32_t value, unsigned bytes) {
  kernel_.port().write(config_address(reg), value, bytes);
}

sim::PhysAddr PciDev::assign_bar(std::uint32_t reg, unsigned count) {
  KFUNC("pci_assign_resource");
  const std::uint32_t flags = config_read(reg) & kBarFlags;
  config_write(reg, ~0u);
  const std::uint64_t bytes = ~(config_read(reg) & ~kBarFlags) + 1u;
  POOLSIM_ASSERT(bytes != 0);
  // A VF BAR is an array of `count` BARs of this size; naturally aligned to one of them.
  sim::PhysAddr at = bridge_.allocate(bytes);
  for (unsigned i = 1; i < count; ++i) bridge_.allocate(bytes);
  config_write(reg, static_cast<std::uint32_t>(at.value));
  if (flags & kBarIs64Bit) config_write(reg + 4, static_cast<std::uint32_t>(at.value >> 32));
  return at;
}

void PciDev::enable_memory() {
  config_write(pci::COMMAND, config_read(pci::COMMAND, 2) | pci::COMMAND_MEM, 2);
}

void PciDev::set_master(bool on) {
  KFUNC(on ? "pci_set_master" : "pci_clear_master");
  const std::uint32_t command = config_read(pci::COMMAND, 2);
  config_write(pci::COMMAND, on ? command | pci::COMMAND_BME : command & ~std::uint32_t{pci::COMMAND_BME}, 2);
}

void PciDev::flr() {
  KFUNC("pcie_flr");
  config_write(pci::EXP_DEVCTL, config_read(pci::EXP_DEVCTL, 2) | pci::DEVCTL_FLR, 2);
  kernel::msleep(100);
}

void PciDev::program_msix(sim::PhysAddr table, unsigned vector, const kernel::MsiMessage& message) {
  const sim::PhysAddr entry = table + 16 * vector;
  auto& port = kernel_.port();
  port.write32(entry, static_cast<std::uint32_t>(message.address));
  port.write32(entry + 4, static_cast<std::uint32_t>(message.address >> 32));
  port.write32(entry + 8, message.data);
  port.write32(entry + 12, 0);
}

void PciDev::msix_enable(bool on) {
  const std::uint32_t control = config_read(pci::MSIX + 2, 2);
  config_write(pci::MSIX + 2, on ? control | pci::MSIX_ENABLE : control & ~std::uint32_t{pci::MSIX_ENABLE}, 2);
}

}  // namespace nic
