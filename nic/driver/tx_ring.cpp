// SPDX-License-Identifier: Apache-2.0
#include "nic/driver/tx_ring.h"

#include <utility>

#include "nic/stack/costs.h"
#include "nic/stack/holders.h"
#include "sim/error.h"

namespace nic {
namespace {

// Offsets in a transmit queue's register block.
constexpr std::uint32_t kTdbal = 0x00, kTdbah = 0x04, kTdlen = 0x08, kTdh = 0x10, kTdt = 0x18, kTxdctl = 0x28;

}  // namespace

void TxRingConfig::validate() const {
  if (descriptors < 8 || descriptors > 4096 || descriptors % 8 != 0) {
    throw sim::Error(
        fmt::format("nic.driver.tx_descriptors: {} is not a multiple of 8 in 8..4096", descriptors));
  }
}

TxRing::TxRing(kernel::Kernel& kernel, NetStack& stack, const mm::Trace& trace, std::string name,
               unsigned ifindex, const TxRingConfig& config)
    : kernel_(kernel),
      stack_(stack),
      trace_(trace),
      name_(std::move(name)),
      ifindex_(ifindex),
      config_(config),
      qdisc_(stack.skbs(), *this) {}

bool TxRing::open(kernel::Device& device, sim::PhysAddr registers, const MacAddress& mac) {
  KFUNC("igb_setup_tx_resources");
  device_ = &device;
  registers_ = registers;
  mac_ = mac;
  descriptors_ = kernel_.dma().dma_alloc_coherent(device, 16ull * config_.descriptors);
  if (descriptors_.bytes == 0) return false;
  buffers_.assign(config_.descriptors, {});
  next_to_use_ = next_to_clean_ = announced_ = 0;
  auto& port = kernel_.port();
  port.write32(registers + kTxdctl, 0);
  port.write32(registers + kTdbal, static_cast<std::uint32_t>(descriptors_.iova.value));
  port.write32(registers + kTdbah, static_cast<std::uint32_t>(descriptors_.iova.value >> 32));
  port.write32(registers + kTdlen, 16 * config_.descriptors);
  port.write32(registers + kTdh, 0);
  port.write32(registers + kTdt, 0);
  port.write32(registers + kTxdctl,
               dctl::make(config_.pthresh, config_.hthresh, config_.wthresh, dctl::ENABLE));
  open_ = true;
  return true;
}

// One frame, one descriptor: it lies in one page.
bool TxRing::put(Skb* skb, sim::Pfn page, unsigned offset, unsigned length) {
  auto& cpu = kernel::this_cpu();
  const sim::Iova iova =
      kernel_.dma().dma_map_page_attrs(*device_, page, offset, length, kernel::DmaDirection::kToDevice);
  if (iova == kernel::kDmaMappingError) {
    ++counters_.map_errors;
    return false;
  }
  const auto d = TxDescriptor::data(iova.value, length, length, txd::EOP | txd::IFCS | txd::RS);
  const sim::PhysAddr at = descriptor(next_to_use_);
  cpu.store(at);
  kernel_.store().store<std::uint64_t>(at, d.buffer);
  kernel_.store().store<std::uint64_t>(at + 8, std::uint64_t{d.dw3} << 32 | d.dw2);
  buffers_[next_to_use_] = {skb, true, page, length, iova};
  next_to_use_ = next_to_use_ + 1 == config_.descriptors ? 0 : next_to_use_ + 1;
  return true;
}

void TxRing::flush() {
  if (announced_ == next_to_use_) return;
  announced_ = next_to_use_;
  kernel_.port().write32(registers_ + kTdt, next_to_use_);
}

bool TxRing::ndo_start_xmit(Skb* skb) {
  KFUNC("igb_xmit_frame_ring");
  lock_.lock_bh();
  const bool room = !stopped();
  const bool sent = room && put(skb, skb->page, skb->offset, skb->length);
  if (sent) {
    stack_.skbs().held(*skb, holder::kTxRing, ifindex_);
    flush();
  }
  lock_.unlock_bh();
  if (!room) ++counters_.busy;
  return sent;
}

bool TxRing::ndo_xdp_xmit(sim::Pfn page, unsigned offset, unsigned length) {
  KFUNC("igb_xdp_xmit");
  lock_.lock_bh();
  const bool sent = !stopped() && put(nullptr, page, offset, length);
  if (sent) {
    trace_.held(page, holder::kXdpTxRing, ifindex_);
    ++counters_.xdp;
  }
  lock_.unlock_bh();
  return sent;
}

// dma_unmap, then dev_consume_skb or xdp_return_frame.
void TxRing::release(Buffer& buffer) {
  kernel_.dma().dma_unmap_page_attrs(*device_, buffer.iova, buffer.length, kernel::DmaDirection::kToDevice);
  const Buffer done = std::exchange(buffer, {});
  if (done.skb != nullptr) {
    stack_.skbs().consume_skb(done.skb);
  } else {
    KFUNC("xdp_return_frame");
    stack_.skbs().free_page(done.page);
  }
}

int TxRing::clean_tx_irq() {
  KFUNC("igb_clean_tx_irq");
  if (!open_) return 0;
  auto& cpu = kernel::this_cpu();
  int cleaned = 0;
  while (buffers_[next_to_clean_].used) {
    const sim::PhysAddr at = descriptor(next_to_clean_);
    cpu.load_from_device(at);
    if ((kernel_.store().load<std::uint32_t>(at + 12) & txd::DD) == 0) break;
    Buffer& buffer = buffers_[next_to_clean_];
    ++counters_.packets;
    counters_.bytes += buffer.length;
    release(buffer);
    next_to_clean_ = next_to_clean_ + 1 == config_.descriptors ? 0 : next_to_clean_ + 1;
    ++cleaned;
  }
  if (cleaned != 0) qdisc_.qdisc_run();
  return cleaned;
}

void TxRing::free_resources() {
  KFUNC("igb_clean_tx_ring");
  if (!open_) return;
  auto& port = kernel_.port();
  port.write32(registers_ + kTxdctl, 0);
  kernel::usleep(100);
  open_ = false;
  qdisc_.reset();
  for (Buffer& buffer : buffers_)
    if (buffer.used) release(buffer);
  kernel_.dma().dma_free_coherent(*device_, descriptors_);
  descriptors_ = {};
}

}  // namespace nic
