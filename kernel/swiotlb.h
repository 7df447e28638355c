// SPDX-License-Identifier: Apache-2.0
// The software IO TLB (kernel/dma/swiotlb.c, Linux 6.12, in its steps): a pool of bounce slots of 2 KiB
// (IO_TLB_SHIFT 11) in segments of 128 (IO_TLB_SEGSIZE), which divides among areas, one a core, each with a
// lock of its own. A mapping is a run of free slots of one segment; one of a page or more begins at a page.
// The slots are in simulated memory, and the bytes are copied for real:
//
//   map                to the slots, whatever the direction (what the device does not write must not change)
//   sync for device    to the slots, unless the device only writes
//   sync for CPU       back, unless the device only reads
//   unmap              back (unless the caller skips it or the device only reads), then the slots are free
//
// A full pool fails the mapping ("swiotlb buffer is full"). Beside the kernel's slots there is a bitmap of
// slots for each device, which A. Duyck's bulk unmap walks. Used when KernelConfig::dma_mode is swiotlb.
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

#include "kernel/locks.h"
#include "kernel/trace.h"
#include "sim/types.h"

namespace kernel {

class Device;
class Kernel;

class Swiotlb {
 public:
  static constexpr unsigned kSlotShift = 11;
  static constexpr std::uint64_t kSlotBytes = std::uint64_t{1} << kSlotShift;
  static constexpr unsigned kSegmentSlots = 128;
  static constexpr unsigned kSegmentOrder = 6;  // pages of a segment: 256 KiB
  static constexpr std::uint64_t kSegmentBytes = kSegmentSlots * kSlotBytes;

  explicit Swiotlb(Kernel& kernel);
  ~Swiotlb();

  /// swiotlb_init: takes `bytes` (whole segments) from the page allocator, as at boot. Throws sim::Error when
  /// they cannot be had. Once.
  void init(std::uint64_t bytes);
  bool initialised() const { return !segments_.empty(); }

  /// swiotlb_map: the address of the bounce buffer, or nothing: no run of slots is free (logged, at most 10
  /// lines in 5 s), or the size is beyond a segment. Any context.
  std::optional<PhysAddr> map(Device& device, PhysAddr original, std::uint64_t size);
  /// What the slots at `address` stand for; 0 if they are free, or no slots at all.
  PhysAddr original(PhysAddr address) const;
  /// swiotlb_tbl_unmap_single. `copy_back`: the bytes first. False: there was nothing.
  bool unmap(PhysAddr address, std::uint64_t size, bool copy_back);
  /// Copies `size` bytes at `address` in or out.
  void sync(PhysAddr address, std::uint64_t size, bool for_device);
  /// Frees all slots of the device, by its bitmap. How many mappings that were.
  std::uint64_t unmap_all(Device& device);

  std::uint64_t slots() const { return segments_.size() * kSegmentSlots; }
  std::uint64_t used() const { return used_; }
  std::uint64_t used_by(const Device& device) const;
  /// Bytes of one device's bitmap.
  std::uint64_t bitmap_bytes() const { return (slots() + 7) / 8; }
  struct Counters {
    std::uint64_t maps = 0, unmaps = 0, full = 0, used_most = 0, bytes_in = 0, bytes_out = 0;
  };
  const Counters& counters() const { return counters_; }

 private:
  static constexpr std::uint64_t kFree = ~std::uint64_t{0};
  struct Slot {
    std::uint64_t original = kFree;
    std::uint64_t bytes = 0;         // of the mapping, from this slot on
    const Device* device = nullptr;  // set in the first slot of a mapping
  };
  struct Area {
    SpinLock lock{"io_tlb_area.lock"};
    std::size_t first = 0, end = 0;  // segments
    std::size_t next = 0;            // slot where the search goes on, counted from the area's first
  };
  struct Bitmap {
    std::vector<std::uint64_t> words;
  };

  std::size_t slot_of(PhysAddr address) const;  // or slots(): none
  PhysAddr address_of(std::size_t slot) const;
  Area& area_of(std::size_t slot);
  std::optional<std::size_t> find_slots(Area& area, unsigned slots, unsigned stride);
  void take(std::size_t slot, unsigned slots, Device& device, PhysAddr original, std::uint64_t size);
  void release(std::size_t slot, unsigned slots);
  void mark(const Device& device, std::size_t slot, bool used);
  void bounce(PhysAddr address, std::uint64_t size, bool to_slots);
  void report_full(Device& device, std::uint64_t size);

  Kernel& kernel_;
  std::vector<PhysAddr> segments_;
  std::unordered_map<std::uint64_t, std::size_t> segment_at_;  // base -> number; looked up only
  std::vector<Slot> slots_;
  std::vector<std::unique_ptr<Area>> areas_;
  std::unordered_map<const Device*, Bitmap> bitmaps_;  // looked up only
  std::uint64_t used_ = 0;
  Tick full_window_ = 0;  // rate limit of the log
  unsigned full_lines_ = 0;
  Counters counters_;
};

}  // namespace kernel
