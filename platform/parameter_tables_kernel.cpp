// SPDX-License-Identifier: Apache-2.0
#include "platform/parameter_tables.h"

namespace platform {

void register_kernel(ParameterSet& set, kernel::KernelConfig& c) {
  using kernel::DmaMode;
  using kernel::PagingMode;
  set.integer("kernel.cores", c.cores, 1, 32, "cores");
  set.clock("kernel.clock", c.clock, "clock of every core; all costs are cycles of this clock");
  set.integer("kernel.hz", c.hz, 100, 1000, "CONFIG_HZ: jiffies a second");
  set.integer("kernel.max_run_ahead_cycles", c.max_run_ahead_cycles, 1, 1'000'000'000,
              "a core may run this far ahead of the machine");
  set.integer("kernel.rcu_grace_jiffies", c.rcu_grace_jiffies, 1, 1000, "least duration of a grace period");
  set.integer("kernel.rcu_expedited_cycles", c.rcu_expedited_cycles, 1, 1'000'000'000,
              "least duration of an expedited grace period");
  set.integer("kernel.softirq_max_restart", c.softirq_max_restart, 1, 1000,
              "restarts before ksoftirqd takes over");
  set.integer("kernel.softirq_max_jiffies", c.softirq_max_jiffies, 1, 1000,
              "time before ksoftirqd takes over");
  set.choice("kernel.dma_mode", c.dma_mode,
             {{"direct", DmaMode::kDirect},
              {"passthrough", DmaMode::kPassthrough},
              {"strict", DmaMode::kStrict},
              {"lazy", DmaMode::kLazy},
              {"swiotlb", DmaMode::kSwiotlb}},
             "how the DMA API translates (iommu=, iommu.strict=, iommu.passthrough=, swiotlb=force)");
  set.choice("kernel.paging", c.paging,
             {{"sv39", PagingMode::kSv39}, {"sv48", PagingMode::kSv48}, {"sv57", PagingMode::kSv57}},
             "first-stage page tables of a paging domain");
  set.integer("kernel.process_directory_levels", c.process_directory_levels, 0, 3,
              "process directory below each device context, the domain is its process 0 (DPE); 0: none");
  set.choice("kernel.identity_pages", c.identity_pages,
             {{"bypass", kernel::IdentityPages::kBypass},
              {"4K", kernel::IdentityPages::k4K},
              {"2M", kernel::IdentityPages::k2M},
              {"1G", kernel::IdentityPages::k1G}},
             "passthrough, swiotlb: no page table, or one of memory to itself with pages up to this size");
  set.boolean("kernel.dma_coherent", c.dma_coherent, "devices snoop; false: syncs pay per line");
  set.integer("kernel.flush_queue_entries", c.flush_queue_entries, 2, 65536,
              "IOVA_DEFAULT_FQ_SIZE, per core");
  set.integer("kernel.flush_queue_timeout_ms", c.flush_queue_timeout_ms, 1, 10'000, "IOVA_FQ_TIMEOUT");
  set.size("kernel.swiotlb", c.swiotlb_bytes, 256 << 10, std::uint64_t{1} << 30,
           "bounce slots of dma_mode swiotlb, in segments of 256 KiB (swiotlb=)");
  set.boolean("kernel.dma_debug", c.dma_debug, "every mapping is tracked and checked (CONFIG_DMA_API_DEBUG)");
  set.integer("kernel.dma_debug_entries", c.dma_debug_entries, 1, 1 << 24,
              "entries made in advance; none left: dma-debug disables itself");
  set.integer("kernel.dma_debug_show_errors", c.dma_debug_show_errors, 0, 1'000'000'000,
              "errors of dma-debug that are warnings; the others are counted");
  set.address("kernel.dma_mask", c.dma_mask, "default mask of devices");
  set.boolean("kernel.clear_dma_ops_on_unbind", c.clear_dma_ops_on_unbind,
              "device unbind resets the DMA ops of the device");
  set.boolean("kernel.clear_dma_ops_on_release", c.clear_dma_ops_on_release,
              "removal of a device resets its DMA ops (Linux 6.12.26 and later)");
  set.boolean("kernel.replace_domain_on_rebind", c.replace_domain_on_rebind,
              "a driver that binds again gets a fresh default domain");
  set.boolean("kernel.panic_on_oops", c.panic_on_oops, "stop all cores at the first oops");
  set.integer("kernel.bh_off_report_cycles", c.bh_off_report_cycles, 0, 1'000'000'000'000,
              "report sections without softirqs from this length on");
  for (const kernel::CostField& f : kernel::cost_fields()) {
    set.integer(fmt::format("kernel.costs.{}", f.name), c.costs.*f.member, 0, 1'000'000'000,
                "cycles (source: kernel/costs.h)");
  }
}

}  // namespace platform
