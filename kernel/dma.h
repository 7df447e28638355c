// SPDX-License-Identifier: Apache-2.0
// The DMA API (kernel/dma/mapping.c, drivers/iommu/dma-iommu.c; Linux 6.12) for devices behind an IOMMU
// (strict, lazy), with an identity domain (passthrough), with an identity domain and bounce buffers (swiotlb), or
// with no IOMMU (direct). Beside it dma-debug and the table of the proposal to make it robust (kernel/dma_debug.h).
//
//   strict  unmap: clear the PTEs, IOTINVAL.VMA for each page, IOFENCE.C, wait for it, then free the IOVA
//   lazy    unmap: clear the PTEs, put the IOVA into the core's flush queue; the queue is flushed (whole
//   domain
//           invalidated, IOVAs freed) when it is full or 10 ms after its first entry. Until then a stale
//           IOTLB entry still works.
//   swiotlb every mapping is a copy in bounce slots (kernel/swiotlb.h)
//
// Late calls, for a device without driver, do what the kernel would do, and say so in DmaUnmapped:
//   device present, DMA ops kept                      : a normal unmap
//   device present, clear_dma_ops_on_unbind           : treated as dma-direct: IOVA and PTE stay behind
//   device removed                                    : oops in iommu_get_dma_domain, NULL + 0xa8, unless
//                                                       clear_dma_ops_on_release made it dma-direct
//   swiotlb, device present or removed                : the slots are copied back and freed, if they still are its
//   bound again with another domain                   : unmaps what is there now: WARN if the size differs,
//   and the
//                                                       IOVA of whoever has it is freed
#pragma once
#include <cstdint>
#include <functional>
#include <string_view>

#include "kernel/device.h"
#include "kernel/dma_debug.h"
#include "kernel/swiotlb.h"
#include "kernel/trace.h"
#include "sim/types.h"

namespace kernel {

inline constexpr Iova kDmaMappingError{~std::uint64_t{0}};

/// DMA_ATTR_* bits.
enum DmaAttributes : unsigned { kDmaAttrNone = 0, kDmaAttrWeakOrdering = 2, kDmaAttrSkipCpuSync = 32 };

/// dma_alloc_coherent(): where the CPU and where the device finds it. `pages` 0 = failed.
struct CoherentBuffer {
  PhysAddr phys{0};
  Iova iova{0};
  std::uint64_t bytes = 0;
};

class DmaApi {
 public:
  explicit DmaApi(Kernel& kernel);

  /// At boot: dma-debug and the bounce slots, as configured.
  void init();
  /// The first device that needs bounce slots comes.
  void need_swiotlb();

  /// Any context. Returns kDmaMappingError when no IOVA or page-table page is left.
  Iova dma_map_page_attrs(Device& device, sim::Pfn page, std::uint64_t offset, std::uint64_t size,
                          DmaDirection direction, unsigned attributes = kDmaAttrNone);
  /// Any context. May end the calling task with a modelled oops (see above).
  void dma_unmap_page_attrs(Device& device, Iova address, std::uint64_t size, DmaDirection direction,
                            unsigned attributes = kDmaAttrNone);
  /// Not in any kernel: the proposal of a bulk unmap (A. Duyck, strategies dma_bulk_unmap). Undoes every mapping of
  /// the device, whoever made it: the ranges of its IOVA allocator are walked, their PTEs cleared, the whole domain
  /// invalidated once, and the IOVAs freed - coherent memory and the interrupt page included, which are mappings
  /// like any other. swiotlb: all bounce slots of the device. Passthrough and direct: nothing to do. Any context.
  /// Returns the ranges (slots) given up.
  std::uint64_t dma_unmap_all(Device& device);
  /// Not in any kernel: the proposal of a robust DMA API (R. Murphy, strategy robust_dma_api). From now on every
  /// streaming mapping is tracked: none left for it fails the mapping, and an unmap or a sync of what is not mapped does
  /// nothing. False: no memory for the table.
  bool track_mappings() { return tracker_.start(); }
  /// Its other half: undoes all tracked mappings of the device. The driver core calls it when a driver has gone,
  /// before the device counts as unbound. Nothing when they are not tracked. How many were left.
  std::uint64_t clean_up(Device& device);
  void dma_sync_single_for_device(Device& device, Iova address, std::uint64_t size, DmaDirection direction);
  void dma_sync_single_for_cpu(Device& device, Iova address, std::uint64_t size, DmaDirection direction);
  /// Syncs do something for this device (dma_need_sync / dma_dev_need_sync).
  bool dma_need_sync(const Device& device) const;

  /// Task context. Zeroed pages, rounded up to whole pages; iova alignment: the power of two of the size.
  CoherentBuffer dma_alloc_coherent(Device& device, std::uint64_t bytes);
  void dma_free_coherent(Device& device, const CoherentBuffer& buffer);

  /// iommu_dma_prepare_msi: the address at which `device` reaches the interrupt page `phys` (mapped once).
  std::uint64_t map_msi_page(Device& device, PhysAddr phys);

  /// iommu_get_dma_domain(device): its default domain. Oops if the device has no group.
  IommuDomain& iommu_get_dma_domain(Device& device);

  struct Counters {
    std::uint64_t maps = 0, unmaps = 0, map_failures = 0, late_unmaps = 0, syncs = 0;
  };
  const Counters& counters() const { return counters_; }
  DmaDebug& debug() { return debug_; }
  const DmaDebug& debug() const { return debug_; }
  MappingTracker& tracker() { return tracker_; }
  const Swiotlb& swiotlb() const { return swiotlb_; }
  void stats(
      const std::function<void(std::string_view name, double value, std::string_view unit)>& out) const;

 private:
  bool translated(const Device& device) const { return device.dma_ops_ == DmaOps::kIommu; }
  bool bounced(const Device& device) const { return device.mode_ == DmaMode::kSwiotlb; }
  Iova direct_map(Device& device, PhysAddr phys, std::uint64_t size);
  bool track(Device& device, PhysAddr phys, Iova address, std::uint64_t size, DmaDirection direction);
  void unmap(Device& device, Iova address, std::uint64_t size, DmaDirection direction, unsigned attributes);
  void direct_unmap(Device& device, Iova address, std::uint64_t size, DmaDirection direction, unsigned attributes);
  std::uint64_t iommu_dma_alloc_iova(Device& device, IommuDomain& domain, std::uint64_t pages);
  Iova iommu_dma_map(Device& device, PhysAddr phys, std::uint64_t size);
  void iommu_dma_unmap(Device& device, Iova address, std::uint64_t size, DmaDirection direction);
  std::uint64_t iommu_dma_unmap_all(Device& device);
  void emit_unmapped(Device& device, Iova address, PhysAddr phys, std::uint64_t size, DmaDirection direction,
                     UnmapResult result);
  void sync(Device& device, Iova address, std::uint64_t size, DmaDirection direction, bool for_device);

  Kernel& kernel_;
  Swiotlb swiotlb_;
  DmaDebug debug_;
  MappingTracker tracker_;
  Counters counters_;
};

}  // namespace kernel
