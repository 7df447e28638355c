// SPDX-License-Identifier: Apache-2.0
#include "kernel/config.h"

#include "sim/error.h"

namespace kernel {

const char* to_string(DmaMode mode) {
  switch (mode) {
    case DmaMode::kDirect:
      return "direct";
    case DmaMode::kPassthrough:
      return "passthrough";
    case DmaMode::kStrict:
      return "strict";
    case DmaMode::kLazy:
      return "lazy";
    case DmaMode::kSwiotlb:
      return "swiotlb";
  }
  return "?";
}

std::span<const CostField> cost_fields() {
#define COST(name) \
  CostField { #name, &Costs::name }
  static constexpr CostField fields[] = {
      COST(l1_hit),
      COST(l1_store),
      COST(l2_hit),
      COST(llc_hit),
      COST(remote_core),
      COST(dram),
      COST(device_line),
      COST(atomic_extra),
      COST(spin_lock),
      COST(spin_unlock),
      COST(mutex_lock),
      COST(mutex_unlock),
      COST(rcu_read_lock),
      COST(rcu_read_unlock),
      COST(local_bh),
      COST(irq_entry),
      COST(irq_exit),
      COST(softirq_entry),
      COST(softirq_exit),
      COST(context_switch),
      COST(wake_up),
      COST(ipi),
      COST(idle_exit),
      COST(work_item),
      COST(timer_arm),
      COST(timer_fire),
      COST(mmio_write_issue),
      COST(mmio_read_issue),
      COST(dma_direct_map),
      COST(iova_cache_hit),
      COST(iova_depot),
      COST(iova_tree),
      COST(iommu_map_page),
      COST(iommu_unmap_page),
      COST(page_alloc),
      COST(page_alloc_bulk_page),
      COST(page_free),
      COST(page_batch),
      COST(slab_alloc),
      COST(slab_free),
      COST(scan_page),
      COST(scan_hole),
      COST(hotplug_page),
      COST(iommu_command),
      COST(iommu_poll),
      COST(flush_queue_add),
      COST(dma_sync_line),
      COST(swiotlb_slot),
      COST(swiotlb_copy_line),
  };
#undef COST
  static_assert(sizeof(fields) / sizeof(fields[0]) == sizeof(Costs) / sizeof(Cycle));
  return fields;
}

void KernelConfig::validate() const {
  auto check = [](bool ok, const char* field, const char* what) {
    if (!ok) throw sim::Error(fmt::format("kernel.{}: {}", field, what));
  };
  check(cores >= 1 && cores <= 32, "cores", "must be 1..32");
  check(clock.hz() >= 1e6 && clock.hz() <= 1e11, "clock", "must be 1 MHz..100 GHz");
  cache.validate();
  check(hz >= 100 && hz <= 1000, "hz", "must be 100..1000");
  check(max_run_ahead_cycles >= 1, "max_run_ahead_cycles", "must be at least 1");
  check(softirq_max_restart >= 1, "softirq_max_restart", "must be at least 1");
  check(flush_queue_entries >= 2 && flush_queue_entries <= 65536, "flush_queue_entries", "must be 2..65536");
  check(flush_queue_timeout_ms >= 1 && flush_queue_timeout_ms <= 10000, "flush_queue_timeout_ms",
        "must be 1..10000");
  check(swiotlb_bytes >= 256 << 10 && swiotlb_bytes % (256 << 10) == 0, "swiotlb",
        "must be a multiple of 256 KiB (a segment of 128 slots)");
  check(dma_debug_entries >= 1, "dma_debug_entries", "must be at least 1");
  check(dma_mask >= 0xffff'ffff, "dma_mask", "must cover at least 32 bits");
  check(imsic_base.value % 0x1000 == 0 && imsic_stride % 0x1000 == 0 && imsic_stride != 0, "imsic_base",
        "base and stride must be multiples of 4 KiB");
  check(costs.iommu_poll >= 1, "costs.iommu_poll", "must be at least 1");
}

}  // namespace kernel
