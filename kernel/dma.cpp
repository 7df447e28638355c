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

DmaApi::DmaApi(Kernel& kernel)
    : kernel_(kernel),
      swiotlb_(kernel),
      debug_(kernel, kernel.config().dma_debug_entries, kernel.config().dma_debug_show_errors),
      tracker_(kernel) {}

void DmaApi::init() {
  if (kernel_.config().dma_mode == DmaMode::kSwiotlb) need_swiotlb();
  if (kernel_.config().dma_debug) debug_.init();
}

void DmaApi::need_swiotlb() {
  if (!swiotlb_.initialised()) swiotlb_.init(kernel_.config().swiotlb_bytes);
}

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

// dma_direct_map_page: the address itself, or that of its bounce slots.
Iova DmaApi::direct_map(Device& device, PhysAddr phys, std::uint64_t size) {
  work(this_cpu().costs().dma_direct_map);
  PhysAddr reached = phys;
  if (bounced(device)) {
    const auto slots = swiotlb_.map(device, phys, size);
    if (!slots) return kDmaMappingError;
    reached = *slots;
  }
  if (reached.value + size - 1 <= device.dma_mask) return Iova(reached.value);
  if (bounced(device)) swiotlb_.unmap(reached, size, /*copy_back=*/false);
  return kDmaMappingError;
}

bool DmaApi::track(Device& device, PhysAddr phys, Iova address, std::uint64_t size, DmaDirection direction) {
  if (!tracker_.on()) return true;
  KFUNC("dma_track_mapping");
  if (tracker_.table().add({&device, address.value, phys.value, size, static_cast<std::uint8_t>(direction), 0}))
    return true;
  ++tracker_.counters.full;
  return false;
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
  } else {
    address = translated(device) ? iommu_dma_map(device, phys, size) : direct_map(device, phys, size);
  }
  if (address == kDmaMappingError) ++counters_.map_failures;
  if (address != kDmaMappingError && (attributes & kDmaAttrSkipCpuSync) == 0 && !kernel_.config().dma_coherent) {
    work(this_cpu().costs().dma_sync_line * ((size + 63) / 64));
  }
  auto& trace = kernel_.trace().dma_mapped;
  if (trace.enabled()) {
    Context& cpu = this_cpu();
    trace.emit(
        {&device, device.bound(), phys, address, size, direction, cpu.cpu(), cpu.now(), cpu.call_chain()});
  }
  if (address == kDmaMappingError) return address;
  if (!track(device, phys, address, size, direction)) {
    unmap(device, address, size, direction, kDmaAttrSkipCpuSync);
    ++counters_.map_failures;
    return kDmaMappingError;
  }
  debug_.map_page(device, phys, address, size, direction);
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

// dma_direct_unmap_page.
void DmaApi::direct_unmap(Device& device, Iova address, std::uint64_t size, DmaDirection direction,
                          unsigned attributes) {
  work(this_cpu().costs().dma_direct_map);
  if (bounced(device)) {
    const PhysAddr slots(address.value), phys = swiotlb_.original(slots);
    const bool copy_back = (attributes & kDmaAttrSkipCpuSync) == 0 && direction != DmaDirection::kToDevice;
    const bool done = swiotlb_.unmap(slots, size, copy_back);
    emit_unmapped(device, address, phys, size, direction, done ? UnmapResult::kDone : UnmapResult::kMismatch);
    return;
  }
  const bool was_translated = device.mode_ == DmaMode::kStrict || device.mode_ == DmaMode::kLazy;
  emit_unmapped(device, address, was_translated ? PhysAddr(0) : PhysAddr(address.value), size, direction,
                was_translated ? UnmapResult::kDirectLeaked : UnmapResult::kDone);
}

void DmaApi::unmap(Device& device, Iova address, std::uint64_t size, DmaDirection direction, unsigned attributes) {
  if (translated(device)) {
    iommu_dma_unmap(device, address, size, direction);
  } else {
    direct_unmap(device, address, size, direction, attributes);
  }
}

void DmaApi::dma_unmap_page_attrs(Device& device, Iova address, std::uint64_t size, DmaDirection direction,
                                  unsigned attributes) {
  KFUNC("dma_unmap_page_attrs");
  this_cpu().point("dma_unmap", reinterpret_cast<std::uintptr_t>(&device), false);
  ++counters_.unmaps;
  if (tracker_.on() && !tracker_.table().take(&device, address.value, size)) {
    ++tracker_.counters.unknown;
    return;
  }
  if (!device.bound()) ++counters_.late_unmaps;
  if ((attributes & kDmaAttrSkipCpuSync) == 0 && !kernel_.config().dma_coherent) {
    work(this_cpu().costs().dma_sync_line * ((size + 63) / 64));
  }
  unmap(device, address, size, direction, attributes);
  debug_.unmap_page(device, address, size, direction);
}

std::uint64_t DmaApi::clean_up(Device& device) {
  if (!tracker_.on()) return 0;
  KFUNC("dma_clean_up_device");
  const std::uint64_t left = tracker_.table().take_all(&device, [&](const TrackedMapping& m) {
    const auto direction = static_cast<DmaDirection>(m.direction);
    ++counters_.unmaps;
    unmap(device, Iova(m.address), m.size, direction, kDmaAttrSkipCpuSync);
    debug_.unmap_page(device, Iova(m.address), m.size, direction);
  });
  tracker_.counters.cleaned += left;
  return left;
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
  const std::uint64_t given_up = translated(device) ? iommu_dma_unmap_all(device)
                                 : bounced(device)  ? swiotlb_.unmap_all(device)
                                                    : 0;
  work(this_cpu().costs().dma_direct_map);
  debug_.forget_all(device);
  auto& trace = kernel_.trace().dma_unmapped_all;
  if (trace.enabled()) {
    Context& cpu = this_cpu();
    trace.emit({&device, device.bound(), given_up, cpu.cpu(), cpu.now(), cpu.call_chain()});
  }
  return given_up;
}

bool DmaApi::dma_need_sync(const Device& device) const {
  return !kernel_.config().dma_coherent || bounced(device);
}

void DmaApi::sync(Device& device, Iova address, std::uint64_t size, DmaDirection direction, bool for_device) {
  ++counters_.syncs;
  if (tracker_.on() && !tracker_.table().find_containing(&device, address.value)) {
    ++tracker_.counters.unknown;
    return;
  }
  if (!kernel_.config().dma_coherent) work(this_cpu().costs().dma_sync_line * ((size + 63) / 64));
  // What the device only writes has nothing new for it, what it only reads nothing new for us.
  if (bounced(device) && direction != (for_device ? DmaDirection::kFromDevice : DmaDirection::kToDevice))
    swiotlb_.sync(PhysAddr(address.value), size, for_device);
  if (__builtin_expect(debug_.enabled(), 0)) debug_.sync_single(device, address, size, direction, for_device);
  auto& trace = kernel_.trace().dma_synced;
  if (trace.enabled()) {
    Context& cpu = this_cpu();
    trace.emit({&device, device.bound(), for_device, address, size, cpu.now(), cpu.call_chain()});
  }
}

void DmaApi::dma_sync_single_for_device(Device& device, Iova address, std::uint64_t size, DmaDirection direction) {
  KFUNC("dma_sync_single_for_device");
  sync(device, address, size, direction, true);
}

void DmaApi::dma_sync_single_for_cpu(Device& device, Iova address, std::uint64_t size, DmaDirection direction) {
  KFUNC("dma_sync_single_for_cpu");
  sync(device, address, size, direction, false);
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
  if (buffer.iova != kDmaMappingError) {
    debug_.alloc_coherent(device, buffer.phys, buffer.iova, buffer.bytes);
    return buffer;
  }
  kernel_.frames().set_page_count(*pfn, 0);
  kernel_.pages().free_pages(*pfn, order);
  return {};
}

void DmaApi::dma_free_coherent(Device& device, const CoherentBuffer& buffer) {
  KFUNC("dma_free_attrs");
  if (buffer.bytes == 0) return;
  debug_.free_coherent(device, buffer.iova, buffer.bytes);
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

void DmaApi::stats(const std::function<void(std::string_view, double, std::string_view)>& out) const {
  const auto number = [&](std::string_view name, std::uint64_t value, std::string_view unit) {
    out(name, static_cast<double>(value), unit);
  };
  number("dma.maps", counters_.maps, "calls");
  number("dma.map_failures", counters_.map_failures, "calls");
  number("dma.unmaps", counters_.unmaps, "calls");
  number("dma.late_unmaps", counters_.late_unmaps, "calls");
  number("dma.syncs", counters_.syncs, "calls");
  if (swiotlb_.initialised()) {
    const Swiotlb::Counters& c = swiotlb_.counters();
    number("swiotlb.slots", swiotlb_.slots(), "slots");
    number("swiotlb.used", swiotlb_.used(), "slots");
    number("swiotlb.used_most", c.used_most, "slots");
    number("swiotlb.maps", c.maps, "mappings");
    number("swiotlb.unmaps", c.unmaps, "mappings");
    number("swiotlb.full", c.full, "mappings");
    number("swiotlb.bytes_in", c.bytes_in, "bytes");
    number("swiotlb.bytes_out", c.bytes_out, "bytes");
  }
  if (kernel_.config().dma_debug) {
    for (unsigned e = 0; e < static_cast<unsigned>(DmaDebug::Error::kCount); ++e) {
      const auto error = static_cast<DmaDebug::Error>(e);
      number(fmt::format("dma_debug.{}", DmaDebug::key(error)), debug_.errors(error), "errors");
    }
    number("dma_debug.pending_mappings", debug_.pending_at_unbind(), "mappings");
    number("dma_debug.forgotten", debug_.forgotten(), "mappings");
    number("dma_debug.entries_most", debug_.entries_used_most(), "entries");
    number("dma_debug.disabled", debug_.disabled() ? 1 : 0, "1");
  }
  if (tracker_.on()) {
    number("dma_tracking.full", tracker_.counters.full, "mappings");
    number("dma_tracking.unknown", tracker_.counters.unknown, "calls");
    number("dma_tracking.cleaned", tracker_.counters.cleaned, "mappings");
  }
}

}  // namespace kernel
