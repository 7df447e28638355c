// SPDX-License-Identifier: Apache-2.0
// A virtual function's driver in the shape of igbvf (Linux 6.12): mailbox bring-up, one receive queue, NAPI, remove.
#pragma once
#include <memory>

#include "nic/driver/config.h"
#include "nic/driver/pci.h"
#include "nic/stack/napi.h"

namespace nic {

class IgbvfDriver final : public kernel::Driver {
 public:
  IgbvfDriver(kernel::Kernel& kernel, NetStack& stack, const mm::Trace& trace, PciHostBridge& bridge,
              const DriverConfig& config, pagepool::PoolFactory make_pool);

  /// Resets the function through the mailbox, opens the interface. -5 (EIO) if the PF does not answer.
  int probe(kernel::Device& device) override;
  /// unregister_netdev (closes the interface), then pci_disable_device.
  void remove(kernel::Device& device) override;

  const std::array<std::uint8_t, 6>& mac() const { return mac_; }
  RxRing& ring() { return ring_; }
  const RxRing& ring() const { return ring_; }

 private:
  std::uint32_t rd(std::uint32_t r) { return kernel_.port().read32(csr_ + r); }
  void wr(std::uint32_t r, std::uint32_t v) { kernel_.port().write32(csr_ + r, v); }
  bool reset_hw();
  bool mailbox_lock();
  int open();
  void close();

  kernel::Kernel& kernel_;
  PciHostBridge& bridge_;
  DriverConfig config_;
  pagepool::PoolFactory make_pool_;
  std::unique_ptr<PciDev> pci_;
  kernel::Device* device_ = nullptr;
  sim::PhysAddr csr_{0}, msix_{0};
  std::array<std::uint8_t, 6> mac_{};
  unsigned vector_ = 0;
  Napi napi_;
  RxRing ring_;
};

}  // namespace nic
