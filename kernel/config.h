// SPDX-License-Identifier: Apache-2.0
// Configuration of the modelled kernel. Plain values with defaults; the platform maps `kernel.*` of the YAML
// file onto them.
#pragma once
#include <cstdint>

#include "kernel/costs.h"
#include "mm/cache_hierarchy.h"
#include "sim/clock.h"
#include "sim/types.h"

namespace kernel {

/// What an identity domain is made of: nothing (the IOMMU passes everything through), or a page table that
/// maps memory and interrupt files to themselves, with pages of at most log2 bytes
/// (iommu_create_device_direct_mappings).
enum class IdentityPages : std::uint8_t { kBypass = 0, k4K = 12, k2M = 21, k1G = 30 };

/// How the DMA API translates for a device (kernel: iommu=, iommu.strict=, iommu.passthrough=).
enum class DmaMode : std::uint8_t {
  kDirect,       ///< no IOMMU in the path: dma-direct, address = physical
  kPassthrough,  ///< IOMMU present, identity domain (IOMMU_DOMAIN_IDENTITY)
  kStrict,       ///< IOMMU_DOMAIN_DMA: invalidate and wait at every unmap
  kLazy,         ///< IOMMU_DOMAIN_DMA_FQ: flush queue
  kSwiotlb,      ///< identity domain and swiotlb=force: everything bounces (kernel/swiotlb.h)
};
const char* to_string(DmaMode mode);
inline constexpr DmaMode kDmaModes[] = {DmaMode::kDirect, DmaMode::kPassthrough, DmaMode::kStrict, DmaMode::kLazy,
                                        DmaMode::kSwiotlb};

/// First-stage page table format of a paging domain.
enum class PagingMode : std::uint8_t { kSv39 = 8, kSv48 = 9, kSv57 = 10 };

struct KernelConfig {
  unsigned cores = 2;                                     ///< 1..32
  sim::Clock clock = sim::Clock::from_hz(2'500'000'000);  ///< of every core
  unsigned hz = 1000;                                     ///< CONFIG_HZ: jiffies a second; 100..1000
  Costs costs;
  mm::CacheConfig cache;  ///< of the cores and the socket
  /// A core's local clock may run at most this far ahead of the machine before it synchronises by itself.
  Cycle max_run_ahead_cycles = 5000;

  // RCU. A normal grace period takes at least this many jiffies (jiffies_till_first_fqs and the tick that
  // notices); an expedited one (synchronize_net with rtnl held) at least this many cycles for its IPIs.
  unsigned rcu_grace_jiffies = 3;
  Cycle rcu_expedited_cycles = 50'000;

  // Softirq (kernel/softirq.c, 6.12): restarts before ksoftirqd takes over, and the time limit in jiffies.
  unsigned softirq_max_restart = 10;
  unsigned softirq_max_jiffies = 2;

  // DMA API.
  DmaMode dma_mode = DmaMode::kStrict;
  PagingMode paging = PagingMode::kSv39;
  /// Levels of a process directory below each device context, whose process 0 has the device's domain
  /// (DC.DPE); 0: none, as Linux 6.13 does it. 1..3 need iommu.architecture.capabilities.pd8, pd17, pd20.
  unsigned process_directory_levels = 0;
  IdentityPages identity_pages = IdentityPages::kBypass;  ///< passthrough, swiotlb
  bool dma_coherent = true;              ///< false: dma_need_sync() is true and syncs pay per line
  unsigned flush_queue_entries = 256;    ///< IOVA_DEFAULT_FQ_SIZE, per core
  unsigned flush_queue_timeout_ms = 10;  ///< IOVA_FQ_TIMEOUT
  std::uint64_t swiotlb_bytes = std::uint64_t{64} << 20;  ///< IO_TLB_DEFAULT_SIZE; multiple of 256 KiB
  bool dma_debug = false;                 ///< CONFIG_DMA_API_DEBUG (kernel/dma_debug.h)
  unsigned dma_debug_entries = 65536;     ///< dma_debug_entries=
  std::uint64_t dma_debug_show_errors = 1;  ///< errors that warn (/sys/kernel/debug/dma-api/num_errors)
  std::uint64_t dma_mask =
      ~std::uint64_t{0};  ///< default mask of devices; the IOVA allocator tries 32 bits first

  // Device life cycle: where kernel versions differ.
  /// device_unbind resets the DMA ops of the device (arch_teardown_dma_ops; arm64 up to 6.9): afterwards the
  /// DMA API treats it as dma-direct, so a late unmap no longer reaches the IOMMU and leaks IOVA and PTE.
  bool clear_dma_ops_on_unbind = false;
  /// iommu_release_device resets the DMA ops (iommu_deinit_device since 6.12.26): a late unmap of a removed
  /// device is then a direct one and leaks, instead of the NULL dereference.
  bool clear_dma_ops_on_release = false;
  /// A driver that binds again gets a fresh default domain: addresses of the old one are somebody else's.
  bool replace_domain_on_rebind = false;

  bool panic_on_oops = false;      ///< stop all cores at the first oops
  Cycle bh_off_report_cycles = 0;  ///< BhSection events only for sections at least this long

  sim::PhysAddr imsic_base{0x2400'0000};  ///< interrupt file of core 0
  std::uint64_t imsic_stride = 0x1000;    ///< distance to the next core's file

  /// Throws sim::Error that names the field.
  void validate() const;
};

}  // namespace kernel
