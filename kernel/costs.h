// SPDX-License-Identifier: Apache-2.0
// What kernel primitives cost, in cycles of the core's clock (2.5 GHz by default). One table; the platform
// loads overrides from kernel/costs.yaml, which names the source of every number.
//
// Sources: [J] J. Dangaard Brouer's page_pool benchmark, x86 3.6 GHz: fast 19, ptr_ring 54, slow 238 cycles
// per alloc+free. [L] Y. Lin, arm64: rcu pair 6.9-13.4 ns, spin lock pair 14.6-15.0 ns, xa_alloc+xa_cmpxchg
// 395 ns, memory scan 16.5 ns a page. [M] the usual load-to-use latencies of a 2.5 GHz server core (L1 4-5
// cycles, L2 14, LLC 40, other core's cache 60-100, DRAM 80-90 ns). [I] inferred: no published figure, chosen to
// fit between those.
#pragma once
#include <span>
#include <string_view>

#include "sim/types.h"

namespace kernel {

using sim::Cycle;

struct Costs {
  // Memory, by who owns the line (kernel/coherence.h).
  Cycle l1_hit = 4;         ///< [M]
  Cycle l1_store = 1;       ///< [M] store to a line that is ours: retires through the store buffer
  Cycle l2_hit = 14;        ///< [M] line in the core's own L2
  Cycle llc_hit = 40;       ///< [M] clean line in the shared cache
  Cycle remote_core = 80;   ///< [M] line in another core's cache
  Cycle dram = 210;         ///< [M] 84 ns
  Cycle device_line = 90;   ///< [I] first look at a line a device wrote (DDIO: LLC and a snoop)
  Cycle atomic_extra = 14;  ///< [L] locked read-modify-write over a plain store to the same line

  // Locks and RCU. Pairs: 15.0 ns = 37 cycles at 2.5 GHz [L]; 6.9 ns = 17 cycles [L].
  Cycle spin_lock = 19;  ///< includes the atomic on a line that is already ours
  Cycle spin_unlock = 18;
  Cycle mutex_lock = 25;    ///< [I]
  Cycle mutex_unlock = 20;  ///< [I]
  Cycle rcu_read_lock = 8;
  Cycle rcu_read_unlock = 9;
  Cycle local_bh = 4;  ///< [I] one preempt_count update

  // Page allocator and slab, without the lines of struct page that they touch. From [J]: slow - fast = 219
  // cycles for one page from a bulk of 64 and its way back; from [L]: an xarray node allocated and freed in
  // 395 ns.
  Cycle page_alloc = 120;           ///< [I] one call: zone and watermark checks, per-core list
  Cycle page_alloc_bulk_page = 45;  ///< [J] each page of a bulk
  Cycle page_free = 105;            ///< [J] last reference gone, to the per-core list
  Cycle page_batch = 1600;          ///< [I] a batch of 63 between a per-core list and its zone, under the lock
  Cycle slab_alloc = 300;           ///< [L] kmem_cache_alloc and clearing the object
  Cycle slab_free = 250;            ///< [L] kfree, and its share of the RCU callback
  Cycle scan_page = 41;             ///< [L] 16.5 ns: next struct page of a walk over all memory
  Cycle scan_hole = 8;              ///< [I] the same where pfn_to_online_page() finds no page: section lookup
  Cycle hotplug_page = 40;          ///< [I] bringing one page on line or taking it off

  // Contexts.
  Cycle irq_entry = 300;        ///< [I] vector, register save, irq_enter
  Cycle irq_exit = 150;         ///< [I]
  Cycle softirq_entry = 60;     ///< [I] __do_softirq prologue
  Cycle softirq_exit = 40;      ///< [I]
  Cycle context_switch = 2500;  ///< [I] 1 us
  Cycle wake_up = 150;          ///< [I] try_to_wake_up on the caller's side
  Cycle ipi = 1250;             ///< [I] 0.5 us from the wake-up to another core's entry
  Cycle idle_exit = 500;        ///< [I] C1 exit
  Cycle work_item = 200;        ///< [I] process_one_work around the function
  Cycle timer_arm = 60;         ///< [I] mod_timer
  Cycle timer_fire = 80;        ///< [I] expire one timer

  // MMIO: what the core pays beside the time of the transaction itself.
  Cycle mmio_write_issue = 40;  ///< [I] uncached store leaves the core
  Cycle mmio_read_issue = 40;   ///< [I]

  // DMA API and IOMMU driver, without the time of commands and fences (that is simulated).
  Cycle dma_direct_map = 12;    ///< [I]
  Cycle iova_cache_hit = 25;    ///< [I] magazine pop or push under its lock
  Cycle iova_depot = 120;       ///< [I] exchange of a magazine with the depot
  Cycle iova_tree = 350;        ///< [I] rb-tree insertion or removal
  Cycle iommu_map_page = 60;    ///< [I] page-table walk of the driver plus one PTE store, per PTE
  Cycle iommu_unmap_page = 50;  ///< [I]
  Cycle iommu_command = 30;     ///< [I] one 16-byte command written into the queue
  Cycle iommu_poll = 75;        ///< [I] one turn of the fence's polling loop (30 ns)
  Cycle flush_queue_add = 45;   ///< [I]
  Cycle dma_sync_line = 20;     ///< [I] cache maintenance of one 64-byte line, non-coherent devices only
  Cycle swiotlb_slot = 2;       ///< [I] one bounce slot looked at, or written
  Cycle swiotlb_copy_line = 10;  ///< [I] memcpy of one 64-byte line to or from a bounce slot: 16 GB/s
};

/// Name and member of every cost, so that a configuration can override any of them by name.
struct CostField {
  std::string_view name;
  Cycle Costs::*member;
};
std::span<const CostField> cost_fields();

}  // namespace kernel
