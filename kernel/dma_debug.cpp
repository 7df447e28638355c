// SPDX-License-Identifier: Apache-2.0
#include "kernel/dma_debug.h"

#include <numeric>

#include "kernel/kernel.h"

namespace kernel {
namespace {

enum Kind : std::uint8_t { kSingle, kCoherent };
constexpr const char* kKinds[] = {"single", "coherent"};
constexpr const char* kDirections[] = {"DMA_BIDIRECTIONAL", "DMA_TO_DEVICE", "DMA_FROM_DEVICE"};

TrackedMapping mapping(const Device& device, PhysAddr phys, Iova address, std::uint64_t size,
                       DmaDirection direction, Kind kind) {
  return {&device, address.value, phys.value, size, static_cast<std::uint8_t>(direction), kind};
}

}  // namespace

bool KernelHashMemory::allocate(std::uint32_t entries) {
  while (pages_.size() * kEntriesPerPage < entries) {
    const auto pfn = kernel_.pages().alloc_pages(0);
    if (!pfn) return false;
    pages_.push_back(*pfn);
  }
  return true;
}

void KernelHashMemory::lock(Lock& lock) {
  if (!no_locks_) lock.lock_irqsave();
}
void KernelHashMemory::unlock(Lock& lock) {
  if (!no_locks_) lock.unlock_irqrestore();
}

const char* DmaDebug::key(Error error) {
  static constexpr const char* kKeys[] = {"unmap_unknown",   "unmap_size",       "unmap_function",
                                          "unmap_direction", "sync_unknown",     "sync_outside",
                                          "sync_direction",  "pending_at_unbind"};
  return kKeys[static_cast<std::size_t>(error)];
}

DmaDebug::DmaDebug(Kernel& kernel, std::uint32_t entries, std::uint64_t show)
    : kernel_(kernel), entries_(entries), show_(show), memory_(kernel) {}

bool DmaDebug::init() {
  if (!memory_.allocate(entries_)) {
    kernel_.printk("DMA-API: debugging out of memory error - disabled");
    disabled_ = true;
    return false;
  }
  table_ = std::make_unique<MappingHash<KernelHashMemory>>(memory_, entries_);
  kernel_.printk("DMA-API: preallocated {} debug entries", entries_);
  kernel_.printk("DMA-API: debugging enabled by kernel config");
  return true;
}

std::uint64_t DmaDebug::errors() const {
  return std::accumulate(errors_.begin(), errors_.end(), std::uint64_t{0});
}

std::uint64_t DmaDebug::entries_used_most() const {
  return table_ == nullptr ? 0 : table_->entries() - table_->least_free_entries();
}

// err_printk: counted always, told as long as there is something left to tell.
void DmaDebug::report(Error error, const Device& device, std::string text) {
  ++errors_[static_cast<std::size_t>(error)];
  if (show_ == 0) return;
  --show_;
  // dev_driver_string(): without a driver, the bus.
  const char* driver = device.driver() != nullptr ? device.driver()->name().c_str() : "pci";
  kernel_.warn(fmt::format("DMA-API: {} {}: device driver {}", driver, device.name(), text));
}

void DmaDebug::add(const TrackedMapping& m) {
  if (table_->add(m)) return;
  disabled_ = true;
  kernel_.printk("DMA-API: debugging out of memory - disabling");
}

void DmaDebug::map_page(const Device& device, PhysAddr phys, Iova address, std::uint64_t size,
                        DmaDirection direction) {
  if (!enabled()) return;
  KFUNC("debug_dma_map_page");
  add(mapping(device, phys, address, size, direction, kSingle));
}

void DmaDebug::alloc_coherent(const Device& device, PhysAddr phys, Iova address, std::uint64_t size) {
  if (!enabled()) return;
  KFUNC("debug_dma_alloc_coherent");
  add(mapping(device, phys, address, size, DmaDirection::kBidirectional, kCoherent));
}

void DmaDebug::check_unmap(const Device& device, const TrackedMapping& ref) {
  const auto entry = table_->take(&device, ref.address, ref.size);
  const std::string where = fmt::format("[device address={:#018x}] [size={} bytes]", ref.address, ref.size);
  if (!entry) {
    report(Error::kUnmapUnknown, device, "tries to free DMA memory it has not allocated " + where);
    return;
  }
  if (entry->size != ref.size) {
    report(Error::kUnmapSize, device,
           fmt::format(
               "frees DMA memory with different size [device address={:#018x}] [map size={} bytes] [unmap "
               "size={} bytes]",
               ref.address, entry->size, ref.size));
  }
  if (entry->kind != ref.kind) {
    report(Error::kUnmapFunction, device,
           fmt::format("frees DMA memory with wrong function {} [mapped as {}] [unmapped as {}]", where,
                       kKinds[entry->kind], kKinds[ref.kind]));
  }
  if (entry->direction != ref.direction) {
    report(Error::kUnmapDirection, device,
           fmt::format("frees DMA memory with different direction {} [mapped with {}] [unmapped with {}]",
                       where, kDirections[entry->direction], kDirections[ref.direction]));
  }
}

void DmaDebug::unmap_page(const Device& device, Iova address, std::uint64_t size, DmaDirection direction) {
  if (!enabled()) return;
  KFUNC("debug_dma_unmap_page");
  check_unmap(device, mapping(device, PhysAddr(0), address, size, direction, kSingle));
}

void DmaDebug::free_coherent(const Device& device, Iova address, std::uint64_t size) {
  if (!enabled()) return;
  KFUNC("debug_dma_free_coherent");
  check_unmap(device, mapping(device, PhysAddr(0), address, size, DmaDirection::kBidirectional, kCoherent));
}

void DmaDebug::sync_single(const Device& device, Iova address, std::uint64_t size, DmaDirection direction,
                           bool for_device) {
  if (!enabled()) return;
  KFUNC(for_device ? "debug_dma_sync_single_for_device" : "debug_dma_sync_single_for_cpu");
  const auto entry = table_->find_containing(&device, address.value);
  const std::string where = fmt::format("[device address={:#018x}] [size={} bytes]", address.value, size);
  if (!entry) {
    report(Error::kSyncUnknown, device, "tries to sync DMA memory it has not allocated " + where);
    return;
  }
  if (address.value - entry->address + size > entry->size) {
    report(
        Error::kSyncOutside, device,
        fmt::format("syncs DMA memory outside allocated range [device address={:#018x}] [allocation size={} "
                    "bytes] [sync offset+size={}]",
                    entry->address, entry->size, address.value - entry->address + size));
  }
  const auto mapped = static_cast<DmaDirection>(entry->direction);
  if (mapped == DmaDirection::kBidirectional) return;
  if (mapped != direction) {
    report(Error::kSyncDirection, device,
           fmt::format("syncs DMA memory with different direction {} [mapped with {}] [synced with {}]",
                       where, kDirections[entry->direction], kDirections[static_cast<unsigned>(direction)]));
  }
}

void DmaDebug::driver_unbound(const Device& device) {
  if (!enabled()) return;
  KFUNC("dma_debug_device_change");
  std::optional<TrackedMapping> one;
  const std::uint64_t count = table_->count(&device, one);
  if (count == 0) return;
  pending_ += count;
  report(
      Error::kPendingAtUnbind, device,
      fmt::format("has pending DMA allocations while released from device [count={}] One of leaked entries "
                  "details: [device address={:#018x}] [size={} bytes] [mapped with {}] [mapped as {}]",
                  count, one->address, one->size, kDirections[one->direction], kKinds[one->kind]));
}

void DmaDebug::forget_all(const Device& device) {
  if (!enabled()) return;
  KFUNC("debug_dma_unmap_all");
  forgotten_ += table_->take_all(&device, [](const TrackedMapping&) {});
}

bool MappingTracker::start() {
  if (on()) return true;
  if (!memory_.allocate(kEntries)) return false;
  table_ = std::make_unique<MappingHash<KernelHashMemory>>(memory_, kEntries);
  return true;
}

}  // namespace kernel
