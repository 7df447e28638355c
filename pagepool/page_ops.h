// SPDX-License-Identifier: Apache-2.0
// Reference counts and freeing of pages in the modelled kernel, with what they cost (mm/swap.c put_page,
// mm/page_alloc.c free_unref_page, alloc_pages_bulk). On a fiber of the kernel.
#pragma once
#include <cstdint>
#include <span>

#include "kernel/kernel.h"
#include "sim/types.h"

namespace pagepool {

/// get_page: one more reference.
void get_page(kernel::Kernel& kernel, sim::Pfn page);
/// put_page: drops one; the last one frees the page. A page that still carries page_pool's signature is a
/// "Bad page state" (page_pool leak).
void put_page(kernel::Kernel& kernel, sim::Pfn page);
/// alloc_pages_bulk_node: single pages; how many were had.
unsigned alloc_pages_bulk(kernel::Kernel& kernel, int nid, std::span<sim::Pfn> pages);
/// alloc_pages_node: a block (compound when order > 0); false: none.
bool alloc_pages(kernel::Kernel& kernel, int nid, unsigned order, sim::Pfn& page);

/// kmalloc and kfree of kernel objects: addresses in simulated memory, carved from pages of the buddy
/// allocator by size (whole pages above half a page). The contents live in host objects.
class KernelMemory {
 public:
  explicit KernelMemory(kernel::Kernel& kernel) : kernel_(kernel) {}
  KernelMemory(const KernelMemory&) = delete;
  KernelMemory& operator=(const KernelMemory&) = delete;

  /// Address, or 0 when there is no memory.
  sim::PhysAddr kmalloc(std::size_t bytes);
  void kfree(sim::PhysAddr address, std::size_t bytes);
  std::uint64_t pages() const { return pages_; }

 private:
  static unsigned order_for(std::size_t bytes);
  struct Slab {
    std::size_t object_bytes;
    std::vector<sim::PhysAddr> free;  // last freed first out
  };
  kernel::Kernel& kernel_;
  std::vector<Slab> slabs_;  // by object size
  std::uint64_t pages_ = 0;
};

}  // namespace pagepool
