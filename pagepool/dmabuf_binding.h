// SPDX-License-Identifier: Apache-2.0
// DmabufBinding: device memory for an RX queue (net_devmem_dmabuf_binding of net/core/devmem.c, Linux 6.12
// to 6.18). A dmabuf of whole pages is mapped for a device once, at bind; its pieces are struct net_iov,
// which pools of that queue hand out instead of pages. The mapping lasts until the user has unbound it and
// the last such pool is gone; no pool ever maps or unmaps a piece. The exporter is a udmabuf: the bytes are
// ordinary pages, so that the device's writes land in simulated DRAM.
//
//   auto dmabuf = DmabufBinding::bind(pools, device, 64);         // on a fiber of the kernel
//   params.dmabuf = dmabuf;  params.flags |= PP_FLAG_ALLOW_UNREADABLE_NETMEM;
//   auto pool = pools.create(device, params);  auto iov = pool->alloc_net_iov();  ...  dmabuf->unbind();
#pragma once
#include <cstdint>
#include <memory>
#include <vector>

#include "kernel/device.h"
#include "pagepool/pool.h"

namespace pagepool {

class PagePools;

class DmabufBinding {
 public:
  /// net_devmem_bind_dmabuf. Null: no memory, or no mapping. On a fiber of the kernel.
  static std::shared_ptr<DmabufBinding> bind(PagePools& pools, kernel::Device& device, std::uint32_t iovs);
  DmabufBinding(const DmabufBinding&) = delete;
  DmabufBinding& operator=(const DmabufBinding&) = delete;

  /// net_devmem_unbind_dmabuf: the user lets go. On a fiber of the kernel; once.
  void unbind() { put(); }

  std::uint32_t size() const { return static_cast<std::uint32_t>(pieces_.size()); }
  /// Address of the struct net_iov, DMA address and page of the exporter of one piece.
  sim::PhysAddr address(NetIov iov) const { return area_ + std::uint64_t{iov.index} * kNetIovBytes; }
  NetIov iov_at(sim::PhysAddr address) const {
    return {static_cast<std::uint32_t>((address.value - area_.value) / kNetIovBytes)};
  }
  sim::Iova dma_addr(NetIov iov) const { return pieces_.at(iov.index).iova; }
  sim::Pfn page(NetIov iov) const { return pieces_.at(iov.index).page; }
  /// Still mapped: somebody refers to it.
  bool mapped() const { return references_ != 0; }

  // --- For pools ---
  void get() { ++references_; }
  /// The last one unmaps.
  void put();

 private:
  static constexpr std::size_t kNetIovBytes = 64;
  struct Piece {
    sim::Pfn page;
    sim::Iova iova;
  };
  DmabufBinding(PagePools& pools, kernel::Device& device) : pools_(pools), device_(device) {}
  bool map(std::uint32_t iovs);
  void unmap();

  PagePools& pools_;
  kernel::Device& device_;
  sim::PhysAddr area_{0};
  std::size_t area_bytes_ = 0;
  std::vector<Piece> pieces_;
  unsigned references_ = 1;  // the user's
};

}  // namespace pagepool
