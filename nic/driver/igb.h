// SPDX-License-Identifier: Apache-2.0
// The physical function's driver in the shape of igb (Linux 6.12): reset, interrupts, receive queues of its own (RSS),
// SR-IOV with the mailbox of its VFs. It reaches the device only through configuration space, BARs, DMA and MSI-X.
#pragma once
#include <functional>
#include <memory>

#include "nic/driver/config.h"
#include "nic/driver/pci.h"
#include "nic/stack/napi.h"

namespace nic {

class IgbDriver final : public kernel::Driver {
 public:
  IgbDriver(kernel::Kernel& kernel, NetStack& stack, const mm::Trace& trace, PciHostBridge& bridge,
            const DriverConfig& config);

  int probe(kernel::Device& device) override;
  void remove(kernel::Device& device) override;

  /// ndo_open: the PF's own receive queues, one when it has VFs. Task context. 0 or a negative errno.
  int open(const pagepool::PoolFactory& make_pool);

  /// sriov_numvfs := count (1..7): VFs appear, their devices are added, not bound. Before open(). Task context.
  std::vector<kernel::Device*> enable_sriov(unsigned count);
  /// sriov_numvfs := 0 in the kernel's order: for each VF driver remove and device delete, then VFE := 0 and a wait.
  void disable_sriov();

  /// MAC address that VF `n` is given through the mailbox.
  std::array<std::uint8_t, 6> vf_mac(unsigned n) const;
  std::uint64_t mailbox_messages() const { return messages_; }
  RxRing& ring(unsigned n = 0) { return queues_[n]->ring; }
  /// The transmit side, for packets that are forwarded or redirected: a ring of its own beside the receive queues, with
  /// its vector on core rx_cpu. After enable_sriov(). Task context. 0 or a negative errno.
  int open_tx();
  /// The port does not send (its peer pauses it), or sends again: TCTL.EN. Task context.
  void pause_tx(bool pause);
  TxRing& tx_ring() { return tx_->ring; }
  /// Of all queues.
  RxRing::Counters ring_counters() const;

 private:
  std::uint32_t rd(std::uint32_t r) { return kernel_.port().read32(csr_ + r); }
  void wr(std::uint32_t r, std::uint32_t v) { kernel_.port().write32(csr_ + r, v); }
  void reset_hw();
  void configure_rx();
  void configure_rss();
  void set_rar(unsigned index, const std::array<std::uint8_t, 6>& mac, unsigned pool);
  void msix_other();
  void msg_task();
  void receive_message(unsigned vf);
  void stop();

  kernel::Kernel& kernel_;
  NetStack& stack_;
  const mm::Trace& trace_;
  PciHostBridge& bridge_;
  DriverConfig config_;
  std::unique_ptr<PciDev> pci_;
  kernel::Device* device_ = nullptr;
  sim::PhysAddr csr_{0}, msix_{0};
  std::array<std::uint8_t, 6> mac_{};
  std::vector<kernel::Device*> vfs_;
  std::uint64_t messages_ = 0;
  unsigned other_vector_ = 0;
  /// A receive queue: its vector, core, NAPI instance and ring.
  struct Queue {
    Queue(IgbDriver& driver, NetStack& stack, const mm::Trace& trace, unsigned number);
    unsigned number, cpu, table_entry;
    unsigned irq = 0;
    Napi napi;
    RxRing ring;
  };
  struct Transmit {
    Transmit(IgbDriver& driver, NetStack& stack, const mm::Trace& trace);
    unsigned irq = 0;
    Napi napi;
    TxRing ring;
  };
  void stop_tx();
  int open_queue(Queue& queue, unsigned hardware_queue, const pagepool::PoolFactory& make_pool);
  void stop_queue(Queue& queue);
  std::uint32_t rx_vectors() const;
  std::vector<std::unique_ptr<Queue>> queues_;
  std::unique_ptr<Transmit> tx_;
};

}  // namespace nic
