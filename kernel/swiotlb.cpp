// SPDX-License-Identifier: Apache-2.0
#include "kernel/swiotlb.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "kernel/kernel.h"

namespace kernel {
namespace {

/// DEFAULT_RATELIMIT_BURST and DEFAULT_RATELIMIT_INTERVAL.
constexpr unsigned kFullBurst = 10;
constexpr Tick kFullInterval = 5 * sim::kSecond;

constexpr unsigned slots_for(std::uint64_t bytes) {
  return static_cast<unsigned>((bytes + Swiotlb::kSlotBytes - 1) / Swiotlb::kSlotBytes);
}

}  // namespace

Swiotlb::Swiotlb(Kernel& kernel) : kernel_(kernel) {}
Swiotlb::~Swiotlb() = default;

void Swiotlb::init(std::uint64_t bytes) {
  POOLSIM_ASSERT(segments_.empty() && bytes >= kSegmentBytes && bytes % kSegmentBytes == 0);
  for (std::uint64_t n = 0; n < bytes / kSegmentBytes; ++n) {
    const auto pfn = kernel_.pages().alloc_pages(kSegmentOrder);
    if (!pfn)
      throw sim::Error(fmt::format("kernel.swiotlb: no memory for {} MiB of bounce slots", bytes >> 20));
    segment_at_.emplace(sim::to_phys(*pfn).value, segments_.size());
    segments_.push_back(sim::to_phys(*pfn));
  }
  slots_.resize(slots());
  // As many areas as cores, rounded up, but none smaller than a segment.
  const std::size_t areas =
      std::min(std::bit_ceil(std::size_t{kernel_.config().cores}), std::bit_floor(segments_.size()));
  for (std::size_t a = 0; a < areas; ++a) {
    areas_.push_back(std::make_unique<Area>());
    areas_.back()->first = segments_.size() * a / areas;
    areas_.back()->end = segments_.size() * (a + 1) / areas;
  }
  kernel_.printk("software IO TLB: mapped {} MiB, {} slots in {} area{}", bytes >> 20, slots(), areas,
                 areas == 1 ? "" : "s");
}

std::size_t Swiotlb::slot_of(PhysAddr address) const {
  const auto at = segment_at_.find(address.value & ~(kSegmentBytes - 1));
  if (at == segment_at_.end()) return slots_.size();
  return at->second * kSegmentSlots + (address.value & (kSegmentBytes - 1)) / kSlotBytes;
}

PhysAddr Swiotlb::address_of(std::size_t slot) const {
  return segments_[slot / kSegmentSlots] + slot % kSegmentSlots * kSlotBytes;
}

Swiotlb::Area& Swiotlb::area_of(std::size_t slot) {
  for (auto& area : areas_) {
    if (slot / kSegmentSlots < area->end) return *area;
  }
  return *areas_.back();
}

// swiotlb_search_area: next fit from where the last search ended, in steps of `stride`, never over a
// segment's end.
std::optional<std::size_t> Swiotlb::find_slots(Area& area, unsigned wanted, unsigned stride) {
  const std::size_t first = area.first * kSegmentSlots, size = (area.end - area.first) * kSegmentSlots;
  std::size_t at = area.next / stride * stride;
  for (std::size_t looked = 0; looked < size; looked += stride, at = at + stride < size ? at + stride : 0) {
    work(kernel_.config().costs.swiotlb_slot);
    const std::size_t slot = first + at;
    if (slot % kSegmentSlots + wanted > kSegmentSlots) continue;
    const auto begin = slots_.begin() + static_cast<std::ptrdiff_t>(slot);
    const bool free = std::all_of(begin, begin + wanted, [](const Slot& s) { return s.original == kFree; });
    if (!free) continue;
    area.next = (at + wanted) % size;
    return slot;
  }
  return std::nullopt;
}

void Swiotlb::mark(const Device& device, std::size_t slot, bool used) {
  auto& words = bitmaps_[&device].words;
  if (words.empty()) words.resize((slots() + 63) / 64);
  const std::uint64_t bit = std::uint64_t{1} << (slot % 64);
  words[slot / 64] = used ? words[slot / 64] | bit : words[slot / 64] & ~bit;
}

void Swiotlb::take(std::size_t slot, unsigned wanted, Device& device, PhysAddr original, std::uint64_t size) {
  work(kernel_.config().costs.swiotlb_slot * wanted);
  for (unsigned i = 0; i < wanted; ++i) {
    slots_[slot + i] = {original.value + i * kSlotBytes, size - i * kSlotBytes, i == 0 ? &device : nullptr};
    mark(device, slot + i, true);
  }
  used_ += wanted;
  counters_.used_most = std::max(counters_.used_most, used_);
}

void Swiotlb::report_full(Device& device, std::uint64_t size) {
  ++counters_.full;
  if (kernel_.now() - full_window_ >= kFullInterval) {
    full_window_ = kernel_.now();
    full_lines_ = 0;
  }
  if (full_lines_++ >= kFullBurst) return;
  kernel_.printk("{}: swiotlb buffer is full (sz: {} bytes), total {} (slots), used {} (slots)",
                 device.name(), size, slots(), used_);
}

std::optional<PhysAddr> Swiotlb::map(Device& device, PhysAddr original, std::uint64_t size) {
  KFUNC("swiotlb_tbl_map_single");
  Context& cpu = this_cpu();
  const unsigned wanted = slots_for(size);
  const unsigned stride = size >= sim::kPageSize ? sim::kPageSize / kSlotBytes : 1;
  std::optional<std::size_t> slot;
  for (std::size_t i = 0; i < areas_.size() && !slot && wanted <= kSegmentSlots; ++i) {
    Area& area = *areas_[(cpu.cpu() + i) % areas_.size()];
    area.lock.lock_irqsave();
    slot = find_slots(area, wanted, stride);
    if (slot) take(*slot, wanted, device, original, size);
    area.lock.unlock_irqrestore();
  }
  if (!slot) {
    report_full(device, size);
    return std::nullopt;
  }
  ++counters_.maps;
  const PhysAddr address = address_of(*slot);
  bounce(address, size, /*to_slots=*/true);
  return address;
}

PhysAddr Swiotlb::original(PhysAddr address) const {
  const std::size_t slot = slot_of(address);
  if (slot == slots_.size() || slots_[slot].original == kFree) return PhysAddr(0);
  return PhysAddr(slots_[slot].original + address.value % kSlotBytes);
}

void Swiotlb::bounce(PhysAddr address, std::uint64_t size, bool to_slots) {
  KFUNC("swiotlb_bounce");
  const std::size_t slot = slot_of(address);
  if (slot == slots_.size() || slots_[slot].original == kFree) return;
  const std::uint64_t offset = address.value % kSlotBytes;
  if (offset + size > slots_[slot].bytes) {
    kernel_.warn(fmt::format("Buffer overflow detected. Allocation size: {}. Mapping size: {}+{}.",
                             slots_[slot].bytes, size, offset));
    if (offset >= slots_[slot].bytes) return;
    size = slots_[slot].bytes - offset;
  }
  work(kernel_.config().costs.swiotlb_copy_line * ((size + 63) / 64));
  this_cpu().sync();  // the device may write them
  // A whole mapping is contiguous on both sides.
  std::uint8_t* slots = kernel_.store().host(address, size);
  std::uint8_t* pages = kernel_.store().host(PhysAddr(slots_[slot].original + offset), size);
  std::memcpy(to_slots ? slots : pages, to_slots ? pages : slots, size);
  (to_slots ? counters_.bytes_in : counters_.bytes_out) += size;
}

void Swiotlb::sync(PhysAddr address, std::uint64_t size, bool for_device) {
  bounce(address, size, for_device);
}

void Swiotlb::release(std::size_t slot, unsigned count) {
  const Device* device = slots_[slot].device;
  for (unsigned i = 0; i < count; ++i) {
    if (slots_[slot + i].original == kFree) continue;
    slots_[slot + i] = {};
    --used_;
    if (device != nullptr) mark(*device, slot + i, false);
  }
}

bool Swiotlb::unmap(PhysAddr address, std::uint64_t size, bool copy_back) {
  KFUNC("swiotlb_tbl_unmap_single");
  const std::size_t slot = slot_of(address);
  if (slot == slots_.size() || slots_[slot].original == kFree) return false;
  if (copy_back) bounce(address, size, /*to_slots=*/false);
  Area& area = area_of(slot);
  area.lock.lock_irqsave();
  const unsigned count = slots_for(slots_[slot].bytes);
  work(kernel_.config().costs.swiotlb_slot * count);
  release(slot, count);
  ++counters_.unmaps;
  area.lock.unlock_irqrestore();
  return true;
}

std::uint64_t Swiotlb::unmap_all(Device& device) {
  KFUNC("swiotlb_unmap_all");
  const auto bitmap = bitmaps_.find(&device);
  if (bitmap == bitmaps_.end()) return 0;
  std::uint64_t given_up = 0;
  for (std::size_t word = 0; word < bitmap->second.words.size(); ++word) {
    work(kernel_.config().costs.swiotlb_slot);
    while (bitmap->second.words[word] != 0) {
      const std::size_t slot =
          word * 64 + static_cast<std::size_t>(std::countr_zero(bitmap->second.words[word]));
      Area& area = area_of(slot);
      area.lock.lock_irqsave();
      if (slots_[slot].device == &device) {
        ++given_up;
        ++counters_.unmaps;
        const unsigned count = slots_for(slots_[slot].bytes);
        work(kernel_.config().costs.swiotlb_slot * count);
        release(slot, count);
      }
      mark(device, slot, false);
      area.lock.unlock_irqrestore();
    }
  }
  return given_up;
}

std::uint64_t Swiotlb::used_by(const Device& device) const {
  const auto bitmap = bitmaps_.find(&device);
  std::uint64_t n = 0;
  if (bitmap == bitmaps_.end()) return 0;
  for (const std::uint64_t word : bitmap->second.words) n += static_cast<std::uint64_t>(std::popcount(word));
  return n;
}

}  // namespace kernel
