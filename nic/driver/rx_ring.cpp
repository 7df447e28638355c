// SPDX-License-Identifier: Apache-2.0
#include "nic/driver/rx_ring.h"

#include "nic/stack/costs.h"
#include "nic/stack/holders.h"
#include "sim/error.h"

namespace nic {
namespace {

// Offsets in a queue's register block; the same for PF and VF.
constexpr std::uint32_t kRdbal = 0x00, kRdbah = 0x04, kRdlen = 0x08, kSrrctl = 0x0C, kRdh = 0x10, kRdt = 0x18,
                        kRxdctl = 0x28;
/// igb writes RDT after so many new buffers (IGB_RX_BUFFER_WRITE).
constexpr unsigned kRxBufferWrite = 16;

}  // namespace

void RxRingConfig::validate() const {
  if (descriptors < 8 || descriptors > 4096 || descriptors % 8 != 0) {
    throw sim::Error(fmt::format("nic.driver.descriptors: {} is not a multiple of 8 in 8..4096", descriptors));
  }
  if (buffer_bytes < 1024 || buffer_bytes > 4096 || buffer_bytes % 1024 != 0) {
    throw sim::Error(fmt::format("nic.driver.buffer_bytes: {} is not 1024, 2048, 3072 or 4096", buffer_bytes));
  }
}

RxRing::RxRing(kernel::Kernel& kernel, NetStack& stack, const mm::Trace& trace, std::string name,
               const RxRingConfig& config, unsigned number)
    : kernel_(kernel),
      stack_(stack),
      trace_(trace),
      name_(std::move(name)),
      netdev_{2, name_},
      config_(config),
      number_(number) {}

bool RxRing::open(kernel::Device& device, sim::PhysAddr registers, Napi& napi,
                  const pagepool::PoolFactory& make_pool) {
  KFUNC("igb_setup_rx_resources");
  device_ = &device;
  napi_ = &napi;
  registers_ = registers;
  descriptors_ = kernel_.dma().dma_alloc_coherent(device, 16ull * config_.descriptors);
  if (descriptors_.bytes == 0) return false;

  pagepool::PoolParams params;
  params.pool_size = config_.pool_size != 0 ? config_.pool_size : config_.descriptors;
  params.flags = pagepool::PP_FLAG_DMA_MAP | pagepool::PP_FLAG_DMA_SYNC_DEV;
  params.dma_dir = pagepool::DmaDirection::from_device;
  params.max_len = config_.buffer_bytes;
  params.napi = &napi.state();
  params.netdev = &netdev_;
  pool_ = make_pool(device, params);
  if (pool_ == nullptr) {
    kernel_.dma().dma_free_coherent(device, descriptors_);
    return false;
  }
  leak_mappings(device);
  buffers_.assign(config_.descriptors, {});
  next_to_use_ = next_to_clean_ = 0;

  auto& port = kernel_.port();
  port.write32(registers + kRxdctl, 0);
  port.write32(registers + kRdbal, static_cast<std::uint32_t>(descriptors_.iova.value));
  port.write32(registers + kRdbah, static_cast<std::uint32_t>(descriptors_.iova.value >> 32));
  port.write32(registers + kRdlen, 16 * config_.descriptors);
  port.write32(registers + kRdh, 0);
  port.write32(registers + kSrrctl, srrctl::make(config_.buffer_bytes / 1024, srrctl::kOneBuffer, config_.drop_enable));
  port.write32(registers + kRxdctl, dctl::make(config_.pthresh, config_.hthresh, config_.wthresh, dctl::ENABLE));
  for (int i = 0; i < 10 && !(port.read32(registers + kRxdctl) & dctl::ENABLE); ++i) kernel::usleep(1000);
  port.write32(registers + kRdt, 0);
  open_ = true;
  // The first fill runs with bottom halves off, like the poll that will run beside it from now on.
  kernel::local_bh_disable();
  alloc_rx_buffers(unused());
  kernel::local_bh_enable();
  return true;
}

void RxRing::leak_mappings(kernel::Device& device) {
  for (unsigned i = 0; i < config_.leak_mappings; ++i) {
    const auto page = kernel_.pages().alloc_pages(0);
    if (!page) return;
    kernel_.dma().dma_map_page_attrs(device, *page, 0, sim::kPageSize, kernel::DmaDirection::kFromDevice);
  }
}

std::optional<pagepool::PageFragment> RxRing::alloc_buffer() {
  if (config_.page_fragments) return pool_->alloc_frag(config_.buffer_bytes);
  const auto page = pool_->alloc_page();
  if (!page) return std::nullopt;
  return pagepool::PageFragment{*page, 0, config_.buffer_bytes};
}

void RxRing::alloc_rx_buffers(unsigned count) {
  KFUNC("igb_alloc_rx_buffers");
  if (count == 0) return;
  auto& store = kernel_.store();
  auto& cpu = kernel::this_cpu();
  const unsigned before = next_to_use_;
  for (; count > 0; --count) {
    const auto buffer = alloc_buffer();
    if (!buffer) {
      ++counters_.alloc_failed;
      break;
    }
    cpu.work(kStackCosts.refill_descriptor);
    const auto d = RxDescriptor::read(pool_->dma_addr(buffer->page).value + buffer->offset);
    const sim::PhysAddr at = descriptor(next_to_use_);
    cpu.store(at);
    store.store<RxDescriptor>(at, d);
    buffers_[next_to_use_] = {buffer->page, buffer->offset, true};
    trace_.held(buffer->page, holder::kRxRing, holder::rx_ring_id(number_, next_to_use_));
    next_to_use_ = next_to_use_ + 1 == config_.descriptors ? 0 : next_to_use_ + 1;
  }
  // The doorbell orders after the descriptors (dma_wmb).
  if (next_to_use_ != before) kernel_.port().write32(registers_ + kRdt, next_to_use_);
}

int RxRing::clean_rx_irq(int budget) {
  KFUNC("igb_clean_rx_irq");
  auto& store = kernel_.store();
  auto& cpu = kernel::this_cpu();
  const kernel::Cycle begin = cpu.now_cycles();
  int packets = 0;
  unsigned cleaned = unused();
  while (packets < budget) {
    if (cleaned >= kRxBufferWrite) {
      alloc_rx_buffers(cleaned);
      cleaned = unused();
    }
    const sim::PhysAddr at = descriptor(next_to_clean_);
    cpu.load_from_device(at);
    const auto d = store.load<RxDescriptor>(at);
    Buffer& buffer = buffers_[next_to_clean_];
    if (!d.dd() || !buffer.valid) break;
    cpu.work(kStackCosts.rx_descriptor);
    buffer.valid = false;
    next_to_clean_ = next_to_clean_ + 1 == config_.descriptors ? 0 : next_to_clean_ + 1;
    ++cleaned;
    ++packets;
    const std::uint32_t length = d.packet_length();
    // What the device says is not trusted: a length beyond the buffer, or a packet over several, is an error here.
    if (!d.eop() || length > config_.buffer_bytes || (d.status_error() & rxd::RXE)) {
      ++counters_.errors;
      pool_->recycle_direct(buffer.page);
      continue;
    }
    kernel_.dma().dma_sync_single_for_cpu(*device_, pool_->dma_addr(buffer.page) + buffer.offset, length,
                                          kernel::DmaDirection::kFromDevice);
    cpu.load_from_device(sim::to_phys(buffer.page) + buffer.offset);
    counters_.bytes += length;
    ++counters_.packets;
    if (Transmitter* out = stack_.run_xdp({store.host(sim::to_phys(buffer.page) + buffer.offset, length), length})) {
      if (!out->ndo_xdp_xmit(buffer.page, buffer.offset, length)) pool_->recycle_direct(buffer.page);
      continue;
    }
    Skb* skb = stack_.skbs().build_skb(buffer.page, buffer.offset, length);
    skb->ifindex = static_cast<unsigned>(netdev_.ifindex);
    stack_.napi_gro_receive(*napi_, skb);
  }
  stack_.xdp_do_flush();
  if (cleaned != 0) alloc_rx_buffers(cleaned);
  counters_.poll_cycles += cpu.now_cycles() - begin;
  return packets;
}

void RxRing::disable() {
  KFUNC("igb_disable_rx_queue");
  auto& port = kernel_.port();
  port.write32(registers_ + kRxdctl, dctl::make(config_.pthresh, config_.hthresh, config_.wthresh));
  for (int i = 0; i < 100 && (port.read32(registers_ + kRxdctl) & dctl::ENABLE); ++i) kernel::usleep(100);
}

void RxRing::netdev_unregistered() {
  if (pool_ == nullptr || pool_->gone()) return;
  pool_->device_unbind();
  pool_->netdev_gone();
}

void RxRing::free_resources() {
  KFUNC("igb_free_rx_resources");
  if (!open_) return;
  open_ = false;
  for (Buffer& b : buffers_) {
    if (!b.valid) continue;
    b.valid = false;
    pool_->put_full_page(b.page, /*allow_direct=*/false);
  }
  pool_->destroy();
  kernel_.dma().dma_free_coherent(*device_, descriptors_);
  descriptors_ = {};
}

}  // namespace nic
