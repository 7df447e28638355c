// SPDX-License-Identifier: Apache-2.0
#include "nic/driver/igbvf.h"

#include "nic/device/registers.h"
#include "nic/stack/costs.h"

namespace nic {
namespace {
constexpr unsigned kRxVector = 0;  // MSI-X table entry of the VF
constexpr int kEio = 5, kEnomem = 12;
}  // namespace

IgbvfDriver::IgbvfDriver(kernel::Kernel& kernel, NetStack& stack, const mm::Trace& trace, PciHostBridge& bridge,
                         const DriverConfig& config, pagepool::PoolFactory make_pool)
    : Driver("igbvf"),
      kernel_(kernel),
      bridge_(bridge),
      config_(config),
      make_pool_(std::move(make_pool)),
      napi_(stack.softnet(), "igbvf-rx", [this](int budget) {
        const int work = ring_.clean_rx_irq(budget);
        if (work < budget && napi_.napi_complete_done(work)) wr(vfreg::EIMS, bit(kRxVector));
        return work;
      }),
      ring_(kernel, stack, trace, "igbvf-rx0", config.rx) {}

int IgbvfDriver::probe(kernel::Device& device) {
  KFUNC("igbvf_probe");
  device_ = &device;
  pci_ = std::make_unique<PciDev>(kernel_, bridge_, device.requester());
  const auto resources = bridge_.vf_resources.find(device.requester());
  POOLSIM_ASSERT(resources != bridge_.vf_resources.end());
  csr_ = resources->second.csr;
  msix_ = resources->second.msix;
  pci_->set_master(true);
  if (!reset_hw()) {
    kernel_.printk("igbvf {}: PF still in reset state. Is the PF interface up?", device.name());
    return -kEio;
  }
  kernel_.printk("igbvf {}: Intel(R) 82576 Virtual Function, address {:02x}", device.name(), fmt::join(mac_, ":"));
  return open();
}

bool IgbvfDriver::mailbox_lock() {
  for (int i = 0; i < 100; ++i) {
    wr(vfreg::V2PMAILBOX, v2p::VFU);
    if (rd(vfreg::V2PMAILBOX) & v2p::VFU) return true;
    kernel::udelay(5);
  }
  return false;
}

bool IgbvfDriver::reset_hw() {
  KFUNC("e1000_reset_hw_vf");
  wr(vfreg::CTRL, ctrl::RST);
  for (int i = 0; i < 200; ++i) {
    const std::uint32_t mailbox = rd(vfreg::V2PMAILBOX);
    if ((mailbox & v2p::RSTD) || !(mailbox & v2p::RSTI)) break;
    kernel::udelay(5);
  }
  if (!mailbox_lock()) return false;
  wr(vfreg::VMBMEM, mbx::kReset);
  wr(vfreg::V2PMAILBOX, v2p::REQ);
  // The PF's interrupt handler answers; PFSTS clears on read.
  bool answered = false;
  for (int i = 0; i < 2000 && !answered; ++i) {
    answered = (rd(vfreg::V2PMAILBOX) & v2p::PFSTS) != 0;
    if (!answered) kernel::usleep(10);
  }
  if (!answered || !mailbox_lock()) return false;
  const std::uint32_t reply = rd(vfreg::VMBMEM);
  const std::uint32_t words[2] = {rd(vfreg::VMBMEM + 4), rd(vfreg::VMBMEM + 8)};
  wr(vfreg::V2PMAILBOX, v2p::ACK);
  if (reply != (mbx::kReset | mbx::kAck)) return false;
  for (unsigned i = 0; i < 6; ++i) mac_[i] = static_cast<std::uint8_t>(words[i / 4] >> (8 * (i % 4)));
  return true;
}

int IgbvfDriver::open() {
  KFUNC("igbvf_open");
  const auto rx = kernel_.interrupts().request_msi(*device_, config_.rx_cpu, "igbvf-rx0", [this] {
    KFUNC("igbvf_intr_msix_rx");
    kernel::work(kStackCosts.irq_handler);
    napi_.napi_schedule();
  });
  vector_ = rx.data;
  pci_->program_msix(msix_, kRxVector, rx);
  pci_->msix_enable(true);
  wr(vfreg::VTIVAR, kRxVector | ivar::VALID);
  wr(vfreg::EITR0, eitr::from_us(config_.itr_us) | eitr::CNT_INGR);
  wr(vfreg::EIAC, bit(kRxVector));
  wr(vfreg::EIAM, bit(kRxVector));
  if (!ring_.open(*device_, csr_ + vfreg::RX(0), napi_, make_pool_)) {
    kernel_.interrupts().free_irq(config_.rx_cpu, vector_);
    return -kEnomem;
  }
  napi_.napi_enable();
  wr(vfreg::EIMS, bit(kRxVector));
  return 0;
}

void IgbvfDriver::close() {
  KFUNC("igbvf_close");
  wr(vfreg::EIMC, bit(kRxVector));
  if (config_.quiesce) ring_.disable();
  napi_.napi_disable();
  kernel_.interrupts().free_irq(config_.rx_cpu, vector_);
  ring_.free_resources();
}

void IgbvfDriver::remove(kernel::Device&) {
  KFUNC("igbvf_remove");
  {
    KFUNC("unregister_netdev");
    kernel_.rtnl().lock();
    close();
    kernel::synchronize_net();
    ring_.netdev_unregistered();
    kernel_.rtnl().unlock();
  }
  napi_.netif_napi_del();
  kernel_.printk("igbvf {}: removed", device_->name());
  pci_->msix_enable(false);
  if (config_.quiesce) {
    KFUNC("pci_disable_device");
    pci_->set_master(false);
  }
}

}  // namespace nic
