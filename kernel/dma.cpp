// SPDX-License-Identifier: Apache-2.0
#include "kernel/dma.h"

#include <bit>
#include <cstring>

#include "kernel/kernel.h"

namespace kernel {
namespace {

/// offsetof(struct iommu_group, default_domain): where the NULL group faults.
constexpr std::uint64_t kDefaultDomainOffset = 0xa8;

constexpr std::uint64_t page_base(std::uint64_t address) { return address & ~(sim::kPageSize - 1); }
constexpr std::uint64_t pages_of(std::uint64_t address, std::uint64_t size) {
  return (page_base(address + size + sim::kPageSize - 1) - page_base(address)) / sim::kPageSize;
}

}  // namespace

IommuDomain& DmaApi::iommu_get_dma_domain(Device& device) {
  KFUNC("iommu_get_dma_domain");
  if (device.group_ == nullptr) kernel_.null_dereference("iommu_get_dma_domain", kDefaultDomainOffset);
  return *device.group_->default_domain;
}

// iommu_dma_alloc_iova: 32 bits first (PCI), the whole space when they are full. 0 = none.
std::uint64_t DmaApi::iommu_dma_alloc_iova(Device& device, IommuDomain& domain, std::uint64_t pages) {
  Context& cpu = this_cpu();
  const std::uint64_t limit = std::min(device.dma_mask / sim::kPageSize, domain.max_pfn());
  constexpr std::uint64_t k32bit = 0xfffff;
  std::uint64_t pfn = 0;
  IovaPath path = IovaPath::kTree;
  if (limit > k32bit && device.pci_32bit_workaround_) {
    pfn = domain.iova().alloc(cpu.cpu(), pages, k32bit, false, &path);
    if (pfn == 0) device.pci_32bit_workaround_ = false;
  }
  if (pfn == 0) pfn = domain.iova().alloc(cpu.cpu(), pages, limit, true, &path);
  domain.pay_iova(path);
  if (pfn != 0) {
    auto& trace = kernel_.trace().iova_allocated;
    if (trace.enabled()) trace.emit({domain.id(), Iova(pfn << sim::kPageShift), pages, cpu.now()});
  }
  return pfn;
}

Iova DmaApi::iommu_dma_map(Device& device, PhysAddr phys, std::uint64_t size) {
  KFUNC("__iommu_dma_map");
  IommuDomain& domain = iommu_get_dma_domain(device);
  const std::uint64_t offset = phys.value % sim::kPageSize;
  const std::uint64_t pages = pages_of(phys.value, size);
  const std::uint64_t pfn = iommu_dma_alloc_iova(device, domain, pages);
  if (pfn == 0) return kDmaMappingError;
  const std::uint64_t iova = pfn << sim::kPageShift;
  if (!domain.map(iova, phys.value - offset, pages * sim::kPageSize)) {
    domain.free_iova(pfn, pages);
    return kDmaMappingError;
  }
  return Iova(iova + offset);
}

Iova DmaApi::dma_map_page_attrs(Device& device, sim::Pfn page, std::uint64_t offset, std::uint64_t size,
                                DmaDirection direction, unsigned attributes) {
  KFUNC("dma_map_page_attrs");
  const PhysAddr phys = sim::to_phys(page) + offset;
  Iova address;
  this_cpu().point("dma_map", reinterpret_cast<std::uintptr_t>(&device), false);
  ++counters_.maps;
  if (__builtin_expect(static_cast<bool>(map_fault_), 0) && map_fault_(device)) {
    address = kDmaMappingError;
  } else if (translated(device)) {
    address = iommu_dma_map(device, phys, size);
  } else {
    work(this_cpu().costs().dma_direct_map);
    const bool reachable = phys.value + size - 1 <= device.dma_mask;
    address = reachable ? Iova(phys.value) : kDmaMappingError;
  }
  if (address == kDmaMappingError) ++counters_.map_failures;
  if (address != kDmaMappingError && (attributes & kDmaAttrSkipCpuSync) == 0 && dma_need_sync(device)) {
    work(this_cpu().costs().dma_sync_line * ((size + 63) / 64));
  }
  auto& trace = kernel_.trace().dma_mapped;
  if (trace.enabled()) {
    Context& cpu = this_cpu();
    trace.emit(
        {&device, device.bound(), phys, address, size, direction, cpu.cpu(), cpu.now(), cpu.call_chain()});
  }
  return address;
}

void DmaApi::emit_unmapped(Device& device, Iova address, PhysAddr phys, std::uint64_t size,
                           DmaDirection direction, UnmapResult result) {
  auto& trace = kernel_.trace().dma_unmapped;
  if (!trace.enabled()) return;
  Context& cpu = this_cpu();
  trace.emit({&device, device.bound(), device.present(), address, phys, size, direction, result, cpu.cpu(),
              cpu.now(), cpu.call_chain()});
}

void DmaApi::iommu_dma_unmap(Device& device, Iova address, std::uint64_t size, DmaDirection direction) {
  KFUNC("iommu_dma_unmap_page");
  if (device.group_ == nullptr)
    emit_unmapped(device, address, PhysAddr(0), size, direction, UnmapResult::kOops);
  IommuDomain& domain = iommu_get_dma_domain(device);
  const PhysAddr phys = domain.iova_to_phys(address.value);
  if (phys.value == 0) {
    kernel_.warn(
        fmt::format("iommu_dma_unmap_page: {} iova {:#x} is not mapped", device.name(), address.value));
    emit_unmapped(device, address, phys, size, direction, UnmapResult::kMismatch);
    return;
  }
  KFUNC("__iommu_dma_unmap");
  const std::uint64_t base = page_base(address.value);
  const std::uint64_t pages = pages_of(address.value, size);
  const std::uint64_t unmapped = domain.unmap(base, pages * sim::kPageSize);
  if (unmapped != pages * sim::kPageSize) {
    kernel_.warn(fmt::format("__iommu_dma_unmap: {} iova {:#x} unmapped {} != size {}", device.name(), base,
                             unmapped, pages * sim::kPageSize));
  }
  if (domain.type() == DomainType::kDmaFq) {
    domain.queue_iova(base >> sim::kPageShift, pages);
  } else {
    kernel_.iommu().iotlb_sync(domain, base, pages * sim::kPageSize);
    domain.free_iova(base >> sim::kPageShift, pages);
  }
  emit_unmapped(device, address, phys, size, direction,
                unmapped == pages * sim::kPageSize ? UnmapResult::kDone : UnmapResult::kMismatch);
}

void DmaApi::dma_unmap_page_attrs(Device& device, Iova address, std::uint64_t size, DmaDirection direction,
                                  unsigned attributes) {
  KFUNC("dma_unmap_page_attrs");
  this_cpu().point("dma_unmap", reinterpret_cast<std::uintptr_t>(&device), false);
  ++counters_.unmaps;
  if (!device.bound()) ++counters_.late_unmaps;
  if ((attributes & kDmaAttrSkipCpuSync) == 0 && dma_need_sync(device)) {
    work(this_cpu().costs().dma_sync_line * ((size + 63) / 64));
  }
  if (translated(device)) {
    iommu_dma_unmap(device, address, size, direction);
    return;
  }
  work(this_cpu().costs().dma_direct_map);
  const bool was_translated = device.mode_ == DmaMode::kStrict || device.mode_ == DmaMode::kLazy;
  emit_unmapped(device, address, was_translated ? PhysAddr(0) : PhysAddr(address.value), size, direction,
                was_translated ? UnmapResult::kDirectLeaked : UnmapResult::kDone);
}

std::uint64_t DmaApi::iommu_dma_unmap_all(Device& device) {
  KFUNC("iommu_dma_unmap_all");
  IommuDomain& domain = iommu_get_dma_domain(device);
  std::vector<std::pair<std::uint64_t, std::uint64_t>> given_up;  // first frame, frames
  for (const auto& [first, last] : domain.iova().all_ranges()) {
    const std::uint64_t pages = last - first + 1, base = first << sim::kPageShift;
    // What lies in a magazine or a flush queue has no PTE any more.
    if (domain.iova_to_phys(base).value == 0) continue;
    domain.unmap(base, pages * sim::kPageSize);
    given_up.emplace_back(first, pages);
  }
  kernel_.iommu().flush_iotlb_all(domain);
  for (const auto& [first, pages] : given_up) domain.free_iova(first, pages);
  device.msi_pages_.clear();
  return given_up.size();
}

std::uint64_t DmaApi::dma_unmap_all(Device& device) {
  KFUNC("dma_unmap_all");
  const std::uint64_t given_up = translated(device) ? iommu_dma_unmap_all(device) : 0;
  work(this_cpu().costs().dma_direct_map);
  auto& trace = kernel_.trace().dma_unmapped_all;
  if (trace.enabled()) {
    Context& cpu = this_cpu();
    trace.emit({&device, device.bound(), given_up, cpu.cpu(), cpu.now(), cpu.call_chain()});
  }
  return given_up;
}

bool DmaApi::dma_need_sync(const Device&) const { return !kernel_.config().dma_coherent; }

void DmaApi::sync(Device& device, Iova address, std::uint64_t size, bool for_device) {
  ++counters_.syncs;
  if (dma_need_sync(device)) work(this_cpu().costs().dma_sync_line * ((size + 63) / 64));
  auto& trace = kernel_.trace().dma_synced;
  if (trace.enabled()) {
    Context& cpu = this_cpu();
    trace.emit({&device, device.bound(), for_device, address, size, cpu.now(), cpu.call_chain()});
  }
}

void DmaApi::dma_sync_single_for_device(Device& device, Iova address, std::uint64_t size, DmaDirection) {
  KFUNC("dma_sync_single_for_device");
  sync(device, address, size, true);
}

void DmaApi::dma_sync_single_for_cpu(Device& device, Iova address, std::uint64_t size, DmaDirection) {
  KFUNC("dma_sync_single_for_cpu");
  sync(device, address, size, false);
}

CoherentBuffer DmaApi::dma_alloc_coherent(Device& device, std::uint64_t bytes) {
  KFUNC("dma_alloc_attrs");
  POOLSIM_ASSERT(bytes > 0);
  const std::uint64_t pages = (bytes + sim::kPageSize - 1) / sim::kPageSize;
  const unsigned order = static_cast<unsigned>(std::bit_width(pages - 1));
  const auto pfn = kernel_.pages().alloc_pages(order);
  if (!pfn) return {};
  CoherentBuffer buffer;
  buffer.bytes = pages * sim::kPageSize;
  buffer.phys = sim::to_phys(*pfn);
  std::memset(kernel_.store().host(buffer.phys, buffer.bytes), 0, buffer.bytes);
  work(this_cpu().costs().llc_hit * pages * 4);
  buffer.iova =
      translated(device) ? iommu_dma_map(device, buffer.phys, buffer.bytes) : Iova(buffer.phys.value);
  if (buffer.iova != kDmaMappingError) return buffer;
  kernel_.frames().set_page_count(*pfn, 0);
  kernel_.pages().free_pages(*pfn, order);
  return {};
}

void DmaApi::dma_free_coherent(Device& device, const CoherentBuffer& buffer) {
  KFUNC("dma_free_attrs");
  if (buffer.bytes == 0) return;
  if (translated(device)) {
    IommuDomain& domain = iommu_get_dma_domain(device);
    const std::uint64_t unmapped = domain.unmap(buffer.iova.value, buffer.bytes);
    if (unmapped != buffer.bytes) {
      kernel_.warn(fmt::format("__iommu_dma_unmap: {} iova {:#x} unmapped {} != size {}", device.name(),
                               buffer.iova.value, unmapped, buffer.bytes));
    }
    kernel_.iommu().iotlb_sync(domain, buffer.iova.value, buffer.bytes);
    domain.free_iova(buffer.iova.value >> sim::kPageShift, buffer.bytes / sim::kPageSize);
  }
  const sim::Pfn pfn = sim::to_pfn(buffer.phys);
  kernel_.frames().set_page_count(pfn, 0);
  kernel_.pages().free_pages(pfn, static_cast<unsigned>(std::bit_width(buffer.bytes / sim::kPageSize - 1)));
}

std::uint64_t DmaApi::map_msi_page(Device& device, PhysAddr phys) {
  KFUNC("iommu_dma_prepare_msi");
  if (!translated(device)) return phys.value;
  for (const auto& [page, iova] : device.msi_pages_) {
    if (page == phys) return iova.value;
  }
  const Iova iova = iommu_dma_map(device, phys, sim::kPageSize);
  if (iova != kDmaMappingError) device.msi_pages_.emplace_back(phys, iova);
  return iova.value;
}

}  // namespace kernel
