// SPDX-License-Identifier: Apache-2.0
#include "pagepool/dmabuf_binding.h"

#include "pagepool/page_ops.h"
#include "pagepool/page_pools.h"

namespace pagepool {

std::shared_ptr<DmabufBinding> DmabufBinding::bind(PagePools& pools, kernel::Device& device,
                                                   std::uint32_t iovs) {
  KFUNC("net_devmem_bind_dmabuf");
  std::shared_ptr<DmabufBinding> binding(new DmabufBinding(pools, device));
  if (binding->map(iovs)) return binding;
  binding->unmap();
  return nullptr;
}

bool DmabufBinding::map(std::uint32_t iovs) {
  kernel::Kernel& kernel = pools_.kernel();
  area_bytes_ = std::size_t{iovs} * kNetIovBytes;
  if (iovs == 0) return true;
  area_ = pools_.memory().kmalloc(area_bytes_);
  if (area_.value == 0) return false;
  const std::vector<std::uint8_t> zeroes(area_bytes_);
  kernel.store().write(area_, zeroes);
  for (std::uint32_t i = 0; i < iovs; ++i) {
    sim::Pfn page;
    if (!alloc_pages(kernel, kNumaNoNode, 0, page)) return false;
    sim::Iova iova =
        kernel.dma().dma_map_page_attrs(device_, page, 0, kPageSize, kernel::DmaDirection::kFromDevice, 0);
    if (iova == kernel::kDmaMappingError) {
      put_page(kernel, page);
      return false;
    }
    pieces_.push_back({page, iova});
    kernel.store().store<std::uint64_t>(address({i}) + mm::page_field::kDmaAddr, iova.value);
  }
  return true;
}

void DmabufBinding::unmap() {
  kernel::Kernel& kernel = pools_.kernel();
  for (const Piece& piece : pieces_) {
    kernel.dma().dma_unmap_page_attrs(device_, piece.iova, kPageSize, kernel::DmaDirection::kFromDevice, 0);
    put_page(kernel, piece.page);
  }
  pieces_.clear();
  if (area_.value != 0) pools_.memory().kfree(area_, area_bytes_);
  area_ = sim::PhysAddr(0);
}

void DmabufBinding::put() {
  POOLSIM_ASSERT(references_ != 0);
  if (--references_ == 0) unmap();
}

}  // namespace pagepool
