// SPDX-License-Identifier: Apache-2.0
#include "nic/driver/igb.h"

#include "nic/device/registers.h"
#include "nic/stack/costs.h"

namespace nic {
namespace {

constexpr unsigned kOtherVector = 0;  // MSI-X table entries of the PF
constexpr unsigned kRxVector = 1;
constexpr unsigned kRarEntries = 24;
constexpr int kEnodev = 19, kEnomem = 12;

}  // namespace

IgbDriver::IgbDriver(kernel::Kernel& kernel, NetStack& stack, const mm::Trace& trace, PciHostBridge& bridge,
                     const DriverConfig& config)
    : Driver("igb"),
      kernel_(kernel),
      bridge_(bridge),
      config_(config),
      napi_(stack.softnet(), "igb-rx",
            [this](int budget) {
              const int work = ring_.clean_rx_irq(budget);
              if (work < budget && napi_.napi_complete_done(work)) wr(reg::EIMS, bit(kRxVector));
              return work;
            }),
      ring_(kernel, stack, trace, "igb-rx0", config.rx) {}

std::array<std::uint8_t, 6> IgbDriver::vf_mac(unsigned n) const {
  auto mac = mac_;
  mac[0] |= 2;  // locally administered
  mac[4] = static_cast<std::uint8_t>(0xA0 + n);
  return mac;
}

int IgbDriver::probe(kernel::Device& device) {
  KFUNC("igb_probe");
  device_ = &device;
  pci_ = std::make_unique<PciDev>(kernel_, bridge_, device.requester());
  if (pci_->config_read(0) != (std::uint32_t{pci::kPfDevice} << 16 | pci::kVendor)) return -kEnodev;
  csr_ = pci_->assign_bar(pci::BAR0);
  msix_ = pci_->assign_bar(pci::BAR0 + 12);
  pci_->enable_memory();
  pci_->set_master(true);
  reset_hw();

  const std::uint32_t ral = rd(reg::RAL(0)), rah = rd(reg::RAH(0));
  for (unsigned i = 0; i < 4; ++i) mac_[i] = static_cast<std::uint8_t>(ral >> (8 * i));
  for (unsigned i = 0; i < 2; ++i) mac_[4 + i] = static_cast<std::uint8_t>(rah >> (8 * i));

  const auto other = kernel_.interrupts().request_msi(device, 0, "igb", [this] { msix_other(); });
  other_vector_ = other.data;
  pci_->program_msix(msix_, kOtherVector, other);
  pci_->msix_enable(true);
  wr(reg::GPIE, gpie::MULTIPLE_MSIX | gpie::PBA | gpie::EIAME | gpie::NSICR);
  wr(reg::IVAR_MISC, (kOtherVector | ivar::VALID) << 8);
  wr(reg::EIAC, bit(kOtherVector) | bit(kRxVector));
  wr(reg::EIAM, bit(kRxVector));
  wr(reg::EIMS, bit(kOtherVector));
  wr(reg::IMS, icr::LSC | icr::VMMB | icr::FER | icr::NFER);
  configure_rx();
  kernel_.printk("igb {}: Intel(R) Gigabit Ethernet Network Connection, {:02x}", device.name(),
                 fmt::join(mac_, ":"));
  return 0;
}

void IgbDriver::reset_hw() {
  KFUNC("igb_reset_hw");
  // Master disable handshake before the reset, so that nothing of ours is on the bus any more.
  wr(reg::CTRL, rd(reg::CTRL) | ctrl::GIO_MASTER_DISABLE);
  for (int i = 0; i < 800 && (rd(reg::STATUS) & status::GIO_MASTER_ENABLE); ++i) kernel::usleep(100);
  wr(reg::IMC, ~0u);
  wr(reg::RCTL, 0);
  wr(reg::CTRL, rd(reg::CTRL) | ctrl::RST);
  kernel::usleep(100);
  wr(reg::IMC, ~0u);
  wr(reg::CTRL, (rd(reg::CTRL) & ~ctrl::GIO_MASTER_DISABLE) | ctrl::SLU);
}

void IgbDriver::configure_rx() {
  const bool iov = !vfs_.empty();
  const auto pf_pool = static_cast<unsigned>(vfs_.size());
  if (iov) {
    wr(reg::VT_CTL, pf_pool << 7 | vt_ctl::REPL_EN);
    wr(reg::MRQC, mrqc::kVmdq);
    for (unsigned pool = 0; pool <= pf_pool; ++pool) {
      wr(reg::VMOLR(pool), vmolr::STRCRC | vmolr::AUPE | vmolr::BAM | 1522);
    }
  } else {
    wr(reg::MRQC, mrqc::kOff);
  }
  set_rar(0, mac_, pf_pool);
  // igb_setup_mrqc: the descriptor reports the RSS hash and no raw packet checksum.
  wr(reg::RXCSUM, rd(reg::RXCSUM) | rxcsum::CRCOFL | rxcsum::PCSD);
  wr(reg::RCTL, rctl::EN | rctl::BAM | rctl::SECRC);
  wr(reg::CTRL_EXT, rd(reg::CTRL_EXT) | ctrl_ext::DRV_LOAD | ctrl_ext::PFRSTD);
}

void IgbDriver::set_rar(unsigned index, const std::array<std::uint8_t, 6>& mac, unsigned pool) {
  std::uint32_t low = 0, high = 0;
  for (unsigned i = 0; i < 4; ++i) low |= std::uint32_t{mac[i]} << (8 * i);
  for (unsigned i = 0; i < 2; ++i) high |= std::uint32_t{mac[4 + i]} << (8 * i);
  wr(reg::RAL(index), low);
  wr(reg::RAH(index), high | bit(18 + pool) | rah::AV);
}

int IgbDriver::open(const pagepool::PoolFactory& make_pool) {
  KFUNC("igb_open");
  const auto queue = static_cast<unsigned>(vfs_.size());
  const auto rx = kernel_.interrupts().request_msi(*device_, config_.rx_cpu, "igb-rx0", [this] {
    KFUNC("igb_msix_ring");
    kernel::work(kStackCosts.irq_handler);
    napi_.napi_schedule();
  });
  rx_vector_ = rx.data;
  pci_->program_msix(msix_, kRxVector, rx);
  const unsigned shift = (queue / 8) * 16;
  wr(reg::IVAR(queue % 8), (kRxVector | ivar::VALID) << shift);
  wr(reg::EITR(kRxVector), eitr::from_us(config_.itr_us) | eitr::CNT_INGR);
  if (!ring_.open(*device_, csr_ + reg::RDBAL(queue), napi_, make_pool)) return -kEnomem;
  napi_.napi_enable();
  wr(reg::EIMS, bit(kRxVector));
  return 0;
}

void IgbDriver::stop() {
  KFUNC("igb_close");
  if (!ring_.is_open()) return;
  wr(reg::EIMC, bit(kRxVector));
  if (config_.quiesce) ring_.disable();
  napi_.napi_disable();
  kernel_.interrupts().free_irq(config_.rx_cpu, rx_vector_);
  ring_.free_resources();
}

void IgbDriver::remove(kernel::Device&) {
  KFUNC("igb_remove");
  if (!vfs_.empty()) disable_sriov();
  kernel_.rtnl().lock();
  stop();
  ring_.netdev_unregistered();
  kernel_.rtnl().unlock();
  napi_.netif_napi_del();
  wr(reg::IMC, ~0u);
  wr(reg::EIMC, ~0u);
  kernel_.interrupts().free_irq(0, other_vector_);
  pci_->msix_enable(false);
  if (config_.quiesce) pci_->set_master(false);
}

std::vector<kernel::Device*> IgbDriver::enable_sriov(unsigned count) {
  KFUNC("pci_enable_sriov");
  const std::uint32_t total = pci_->config_read(pci::SRIOV + 0x0C) >> 16;
  POOLSIM_ASSERT(count >= 1 && count < total);
  pci_->config_write(pci::SRIOV_PAGE_SIZE, 1);
  const sim::PhysAddr vf_csr = pci_->assign_bar(pci::SRIOV_BAR0, total);
  const sim::PhysAddr vf_msix = pci_->assign_bar(pci::SRIOV_BAR3, total);
  pci_->config_write(pci::SRIOV_NUM_VFS, count, 2);
  pci_->config_write(pci::SRIOV_CTRL, pci::SRIOV_VFE | pci::SRIOV_VF_MSE | pci::SRIOV_ARI, 2);
  kernel::msleep(config_.vf_enable_ms);
  for (unsigned n = 0; n < count; ++n) {
    const auto requester = device_->requester() + pci::vf_function(n);
    bridge_.vf_resources[requester] = {vf_csr + n * pci::kVfBarBytes, vf_msix + n * pci::kVfBarBytes};
    vfs_.push_back(&kernel_.devices().device_add(pci_name(requester), requester));
  }
  configure_rx();
  kernel_.printk("igb {}: {} VFs allocated", device_->name(), count);
  return vfs_;
}

void IgbDriver::disable_sriov() {
  KFUNC("pci_disable_sriov");
  for (kernel::Device* vf : vfs_) {
    KFUNC("pci_iov_remove_virtfn");
    if (vf->present()) kernel_.devices().device_del(*vf);
  }
  pci_->config_write(pci::SRIOV_CTRL,
                     pci_->config_read(pci::SRIOV_CTRL, 2) & ~(pci::SRIOV_VFE | pci::SRIOV_VF_MSE), 2);
  kernel::msleep(config_.vf_disable_ms);
  vfs_.clear();
  wr(reg::IOVCTL, 1);  // REUSE_VFQ
  kernel_.printk("igb {}: IOV Disabled", device_->name());
}

void IgbDriver::msix_other() {
  KFUNC("igb_msix_other");
  kernel::work(kStackCosts.irq_handler);
  const std::uint32_t cause = rd(reg::ICR);
  if (cause & icr::VMMB) msg_task();
  wr(reg::EIMS, bit(kOtherVector));
}

void IgbDriver::msg_task() {
  KFUNC("igb_msg_task");
  for (unsigned vf = 0; vf < vfs_.size(); ++vf) {
    if (rd(reg::VFLRE) & bit(vf)) wr(reg::VFLRE, bit(vf));
    if (rd(reg::MBVFICR) & bit(vf)) {
      wr(reg::MBVFICR, bit(vf));
      receive_message(vf);
    }
    if (rd(reg::MBVFICR) & bit(16 + vf)) wr(reg::MBVFICR, bit(16 + vf));
  }
}

void IgbDriver::receive_message(unsigned vf) {
  KFUNC("igb_rcv_msg_from_vf");
  ++messages_;
  wr(reg::P2VMAILBOX(vf), p2v::PFU);
  const std::uint32_t type = rd(reg::VMBMEM(vf)) & 0xFFFF;
  std::uint32_t reply = type | mbx::kNack;
  if (type == mbx::kReset) {
    const auto mac = vf_mac(vf);
    set_rar(kRarEntries - 1 - vf, mac, vf);
    wr(reg::VFTE, rd(reg::VFTE) | bit(vf));
    wr(reg::VFRE, rd(reg::VFRE) | bit(vf));
    std::uint32_t words[2] = {0, 0};
    for (unsigned i = 0; i < 6; ++i) words[i / 4] |= std::uint32_t{mac[i]} << (8 * (i % 4));
    wr(reg::VMBMEM(vf, 1), words[0]);
    wr(reg::VMBMEM(vf, 2), words[1]);
    reply = mbx::kReset | mbx::kAck;
  }
  wr(reg::VMBMEM(vf), reply);
  wr(reg::P2VMAILBOX(vf), p2v::STS | p2v::ACK);  // also gives the buffer back
}

}  // namespace nic
