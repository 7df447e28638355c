// SPDX-License-Identifier: Apache-2.0
#include "nic/driver/igb.h"

#include <algorithm>

#include "nic/device/registers.h"
#include "nic/stack/costs.h"

namespace nic {
namespace {

constexpr unsigned kOtherVector = 0;  // MSI-X table entries of the PF
constexpr unsigned kRxVector = 1;
constexpr unsigned kTxVector = kPfVectors - 1;
constexpr unsigned kTxIfindex = 3;
constexpr unsigned kRarEntries = 24;
constexpr int kEnodev = 19, kEnomem = 12;

}  // namespace

IgbDriver::IgbDriver(kernel::Kernel& kernel, NetStack& stack, const mm::Trace& trace, PciHostBridge& bridge,
                     const DriverConfig& config)
    : Driver("igb"),
      kernel_(kernel),
      stack_(stack),
      trace_(trace),
      bridge_(bridge),
      config_(config) {
  for (unsigned n = 0; n < config.queues; ++n) queues_.push_back(std::make_unique<Queue>(*this, stack, trace, n));
}

IgbDriver::Queue::Queue(IgbDriver& driver, NetStack& stack, const mm::Trace& trace, unsigned n)
    : number(n),
      cpu((driver.config_.rx_cpu + n) % driver.kernel_.cores()),
      table_entry(kRxVector + n),
      napi(stack.softnet(), "igb-rx",
           [this, &driver](int budget) {
             const int work = ring.clean_rx_irq(budget);
             if (work < budget && napi.napi_complete_done(work)) driver.wr(reg::EIMS, bit(table_entry));
             return work;
           }),
      ring(driver.kernel_, stack, trace, fmt::format("igb-rx{}", n), driver.config_.rx, n) {}

std::uint32_t IgbDriver::rx_vectors() const {
  std::uint32_t mask = 0;
  for (const auto& queue : queues_) mask |= bit(queue->table_entry);
  return mask;
}

RxRing::Counters IgbDriver::ring_counters() const {
  RxRing::Counters sum;
  for (const auto& queue : queues_) {
    const RxRing::Counters& c = queue->ring.counters();
    sum.packets += c.packets;
    sum.bytes += c.bytes;
    sum.alloc_failed += c.alloc_failed;
    sum.errors += c.errors;
    sum.poll_cycles += c.poll_cycles;
  }
  return sum;
}

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
  wr(reg::EIAC, bit(kOtherVector) | rx_vectors());
  wr(reg::EIAM, rx_vectors());
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
  } else if (queues_.size() > 1) {
    configure_rss();
  } else {
    wr(reg::MRQC, mrqc::kOff);
  }
  set_rar(0, mac_, pf_pool);
  // igb_setup_mrqc: the descriptor reports the RSS hash and no raw packet checksum.
  wr(reg::RXCSUM, rd(reg::RXCSUM) | rxcsum::CRCOFL | rxcsum::PCSD);
  wr(reg::RCTL, rctl::EN | rctl::BAM | rctl::SECRC);
  wr(reg::CTRL_EXT, rd(reg::CTRL_EXT) | ctrl_ext::DRV_LOAD | ctrl_ext::PFRSTD);
}

// igb_setup_mrqc: flows by their hash over all queues. The key is the one of Microsoft's specification, not a random one.
void IgbDriver::configure_rss() {
  static constexpr std::uint8_t kKey[40] = {0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67,
                                            0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0, 0xd0, 0xca, 0x2b, 0xcb,
                                            0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30,
                                            0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa};
  const auto queue = [this](unsigned entry) { return static_cast<std::uint32_t>(entry % queues_.size()); };
  for (unsigned i = 0; i < 10; ++i) {
    std::uint32_t word = 0;
    for (unsigned b = 0; b < 4; ++b) word |= std::uint32_t{kKey[4 * i + b]} << (8 * b);
    wr(reg::RSSRK(i), word);
  }
  for (unsigned i = 0; i < 32; ++i) {
    std::uint32_t word = 0;
    for (unsigned b = 0; b < 4; ++b) word |= queue(4 * i + b) << (8 * b);
    wr(reg::RETA(i), word);
  }
  wr(reg::MRQC, mrqc::kRss | mrqc::TCP_IPV4 | mrqc::IPV4 | mrqc::TCP_IPV6 | mrqc::IPV6 | mrqc::UDP_IPV4 | mrqc::UDP_IPV6);
}

void IgbDriver::set_rar(unsigned index, const std::array<std::uint8_t, 6>& mac, unsigned pool) {
  std::uint32_t low = 0, high = 0;
  for (unsigned i = 0; i < 4; ++i) low |= std::uint32_t{mac[i]} << (8 * i);
  for (unsigned i = 0; i < 2; ++i) high |= std::uint32_t{mac[4 + i]} << (8 * i);
  wr(reg::RAL(index), low);
  wr(reg::RAH(index), high | bit(18 + pool) | rah::AV);
}

int IgbDriver::open_queue(Queue& q, unsigned hardware_queue, const pagepool::PoolFactory& make_pool) {
  const auto rx = kernel_.interrupts().request_msi(*device_, q.cpu, fmt::format("igb-rx{}", q.number), [this, &q] {
    KFUNC("igb_msix_ring");
    kernel::work(kStackCosts.irq_handler);
    q.napi.napi_schedule();
  });
  q.irq = rx.data;
  pci_->program_msix(msix_, q.table_entry, rx);
  const unsigned shift = (hardware_queue / 8) * 16;
  const std::uint32_t others = queues_.size() > 1 ? rd(reg::IVAR(hardware_queue % 8)) & ~(0xFFu << shift) : 0;
  wr(reg::IVAR(hardware_queue % 8), others | (q.table_entry | ivar::VALID) << shift);
  wr(reg::EITR(q.table_entry), eitr::from_us(config_.itr_us) | eitr::CNT_INGR);
  if (!q.ring.open(*device_, csr_ + reg::RDBAL(hardware_queue), q.napi, make_pool)) {
    kernel_.interrupts().free_irq(q.cpu, q.irq);
    return -kEnomem;
  }
  q.napi.napi_enable();
  wr(reg::EIMS, bit(q.table_entry));
  return 0;
}

int IgbDriver::open(const pagepool::PoolFactory& make_pool) {
  KFUNC("igb_open");
  const auto first = static_cast<unsigned>(vfs_.size());
  for (const auto& queue : queues_) {
    if (first != 0 && queue->number != 0) break;  // one pool, one queue
    const int error = open_queue(*queue, first + queue->number, make_pool);
    if (error == 0) continue;
    stop();
    return error;
  }
  return 0;
}

IgbDriver::Transmit::Transmit(IgbDriver& driver, NetStack& stack, const mm::Trace& trace)
    : napi(stack.softnet(), "igb-tx",
           [this, &driver](int budget) {
             const int work = std::min(ring.clean_tx_irq(), budget - 1);
             if (napi.napi_complete_done(work)) driver.wr(reg::EIMS, bit(kTxVector));
             return work;
           }),
      ring(driver.kernel_, stack, trace, "igb-tx0", kTxIfindex, driver.config_.tx) {}

int IgbDriver::open_tx() {
  KFUNC("igb_open");
  POOLSIM_ASSERT(tx_ == nullptr);
  tx_ = std::make_unique<Transmit>(*this, stack_, trace_);
  const auto queue = static_cast<unsigned>(vfs_.size());
  const auto msi = kernel_.interrupts().request_msi(*device_, config_.rx_cpu, "igb-tx0", [this] {
    KFUNC("igb_msix_ring");
    kernel::work(kStackCosts.irq_handler);
    tx_->napi.napi_schedule();
  });
  tx_->irq = msi.data;
  pci_->program_msix(msix_, kTxVector, msi);
  const unsigned shift = (queue / 8) * 16 + 8;
  wr(reg::IVAR(queue % 8), (rd(reg::IVAR(queue % 8)) & ~(0xFFu << shift)) | (kTxVector | ivar::VALID) << shift);
  wr(reg::EITR(kTxVector), eitr::from_us(config_.itr_us) | eitr::CNT_INGR);
  wr(reg::EIAC, rd(reg::EIAC) | bit(kTxVector));
  wr(reg::EIAM, rd(reg::EIAM) | bit(kTxVector));
  wr(reg::TCTL, rd(reg::TCTL) | tctl::EN);
  if (!vfs_.empty()) wr(reg::VFTE, rd(reg::VFTE) | bit(queue));
  if (!tx_->ring.open(*device_, csr_ + reg::TDBAL(queue), mac_)) {
    kernel_.interrupts().free_irq(config_.rx_cpu, tx_->irq);
    tx_.reset();
    return -kEnomem;
  }
  stack_.add_transmitter(tx_->ring.qdisc());
  tx_->napi.napi_enable();
  wr(reg::EIMS, bit(kTxVector));
  return 0;
}

void IgbDriver::pause_tx(bool pause) {
  const std::uint32_t control = rd(reg::TCTL);
  wr(reg::TCTL, pause ? control & ~tctl::EN : control | tctl::EN);
}

void IgbDriver::stop_tx() {
  if (tx_ == nullptr || !tx_->ring.is_open()) return;
  wr(reg::EIMC, bit(kTxVector));
  tx_->napi.napi_disable();
  kernel_.interrupts().free_irq(config_.rx_cpu, tx_->irq);
  tx_->ring.free_resources();
  tx_->napi.netif_napi_del();
}

void IgbDriver::stop_queue(Queue& q) {
  if (!q.ring.is_open()) return;
  wr(reg::EIMC, bit(q.table_entry));
  if (config_.quiesce) q.ring.disable();
  q.napi.napi_disable();
  kernel_.interrupts().free_irq(q.cpu, q.irq);
  q.ring.free_resources();
}

void IgbDriver::stop() {
  KFUNC("igb_close");
  stop_tx();
  for (const auto& queue : queues_) stop_queue(*queue);
}

void IgbDriver::remove(kernel::Device&) {
  KFUNC("igb_remove");
  if (!vfs_.empty()) disable_sriov();
  kernel_.rtnl().lock();
  stop();
  for (const auto& queue : queues_) queue->ring.netdev_unregistered();
  kernel_.rtnl().unlock();
  for (const auto& queue : queues_) queue->napi.netif_napi_del();
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
