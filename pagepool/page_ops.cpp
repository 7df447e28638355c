// SPDX-License-Identifier: Apache-2.0
#include "pagepool/page_ops.h"

#include "pagepool/types.h"

namespace pagepool {
namespace {

unsigned buddy_nid(int nid) { return nid < 0 ? mm::kNumaNoNode : static_cast<unsigned>(nid); }

/// What moved between per-core lists and zones since `before` is paid here.
void pay_batches(kernel::Kernel& kernel, std::uint64_t before) {
  kernel::work(kernel.config().costs.page_batch * (kernel.pages().counters().pcp_batches - before));
}

void free_unref_page(kernel::Kernel& kernel, sim::Pfn page) {
  KFUNC("free_unref_page");
  mm::PageFrames& frames = kernel.frames();
  kernel::work(kernel.config().costs.page_free);
  if (has_signature(frames.get<std::uint64_t>(page, mm::page_field::kPpMagic)))
    kernel.warn(fmt::format("BUG: Bad page state: pfn:{:05x}: page_pool leak", page.value));
  const std::uint64_t batches = kernel.pages().counters().pcp_batches;
  mm::FreeStatus status = kernel.pages().free_pages(page, frames.order(page));
  pay_batches(kernel, batches);
  if (status != mm::FreeStatus::kOk)
    kernel.warn(fmt::format("BUG: Bad page state: pfn:{:05x}: {}", page.value, mm::to_string(status)));
}

}  // namespace

void get_page(kernel::Kernel& kernel, sim::Pfn page) {
  kernel::this_cpu().atomic(kernel.frames().page(page));
  kernel.frames().get_page(page);
}

/// What the last user of a page did comes before what the next one does.
static const void* page_in_order(sim::Pfn page) {
  return reinterpret_cast<const void*>(sim::to_phys(page).value);
}

void put_page(kernel::Kernel& kernel, sim::Pfn page) {
  kernel::this_cpu().atomic(kernel.frames().page(page));
  if (!kernel.frames().put_page_testzero(page)) return;
  kernel::this_cpu().releases(page_in_order(page));
  free_unref_page(kernel, page);
}

unsigned alloc_pages_bulk(kernel::Kernel& kernel, int nid, std::span<sim::Pfn> pages) {
  KFUNC("alloc_pages_bulk");
  const std::uint64_t batches = kernel.pages().counters().pcp_batches;
  auto got = static_cast<unsigned>(kernel.pages().alloc_pages_bulk(pages, buddy_nid(nid)));
  pay_batches(kernel, batches);
  for (const sim::Pfn page : pages.first(got)) kernel::this_cpu().acquires(page_in_order(page));
  const kernel::Costs& costs = kernel.config().costs;
  kernel::work(costs.page_alloc + got * costs.page_alloc_bulk_page);
  return got;
}

bool alloc_pages(kernel::Kernel& kernel, int nid, unsigned order, sim::Pfn& page) {
  KFUNC("alloc_pages");
  kernel::work(kernel.config().costs.page_alloc);
  auto found = kernel.pages().alloc_pages(order, buddy_nid(nid), order > 0 ? mm::kGfpComp : mm::kGfpKernel);
  if (!found) return false;
  page = *found;
  kernel::this_cpu().acquires(page_in_order(page));
  return true;
}

unsigned KernelMemory::order_for(std::size_t bytes) {
  unsigned order = 0;
  while ((sim::kPageSize << order) < bytes) ++order;
  return order;
}

sim::PhysAddr KernelMemory::kmalloc(std::size_t bytes) {
  kernel::work(kernel_.config().costs.slab_alloc);
  if (bytes > sim::kPageSize / 2) {
    auto page = kernel_.pages().alloc_pages(order_for(bytes));
    if (!page) return sim::PhysAddr(0);
    pages_ += 1ull << order_for(bytes);
    return sim::to_phys(*page);
  }
  std::size_t object = (bytes + 63) & ~std::size_t{63};
  auto slab =
      std::find_if(slabs_.begin(), slabs_.end(), [&](const Slab& s) { return s.object_bytes == object; });
  if (slab == slabs_.end()) slab = slabs_.insert(slabs_.end(), Slab{object, {}});
  if (slab->free.empty()) {
    auto page = kernel_.pages().alloc_pages(0);
    if (!page) return sim::PhysAddr(0);
    ++pages_;
    // Lowest address on top of the list.
    for (std::size_t n = sim::kPageSize / object; n-- > 0;)
      slab->free.push_back(sim::to_phys(*page) + n * object);
  }
  sim::PhysAddr address = slab->free.back();
  slab->free.pop_back();
  return address;
}

void KernelMemory::kfree(sim::PhysAddr address, std::size_t bytes) {
  if (kernel::in_kernel_code()) kernel::work(kernel_.config().costs.slab_free);
  if (bytes > sim::kPageSize / 2) {
    sim::Pfn page = sim::to_pfn(address);
    pages_ -= 1ull << order_for(bytes);
    kernel_.frames().set_page_count(page, 0);
    kernel_.pages().free_pages(page, order_for(bytes));
    return;
  }
  std::size_t object = (bytes + 63) & ~std::size_t{63};
  for (Slab& slab : slabs_)
    if (slab.object_bytes == object) slab.free.push_back(address);
}

}  // namespace pagepool
