// SPDX-License-Identifier: Apache-2.0
// The contents of the machine's DRAM: one range of physical addresses, backed by one private, lazily touched
// host mapping. A size of 12.3 TB costs host memory only for the 4-KiB pages that were written, and fork()
// shares them copy-on-write. Memory that was never written reads as zero.
//
// This is the coherence point of the machine: the memory controller applies device accesses here, modelled
// CPUs read and write it directly. Values are little endian. Time is not modelled here
// (mm/dram_controller.h).
//
// Errors: addresses of devices must be tested with contains(); host(), load() and store() outside the range
// break a law of the model (sim::ModelError), they never touch foreign host memory.
#pragma once
#include <bit>
#include <cstdint>
#include <cstring>
#include <span>
#include <type_traits>
#include <vector>

#include "sim/error.h"
#include "sim/types.h"

namespace mm {

/// Sees accesses to the memory's content, of whoever makes them: cores, devices, the IOMMU. For who wants to know when
/// a word is read and when it is overwritten.
class AccessWatch {
 public:
  virtual ~AccessWatch() = default;
  virtual void accessed(sim::PhysAddr addr, std::uint64_t length, bool write) = 0;
};

/// The host's pages behind simulated memory. Small ones cost host memory, and a copy after fork(), only for what was
/// touched. Huge ones (2 MiB, where the host has transparent huge pages) spare the host's TLB when accesses are spread
/// over much memory.
enum class HostPages : std::uint8_t { kSmall, kHuge };

class SparseStore {
 public:
  /// `bytes` of memory at physical address `base`; both multiples of 4 KiB, `bytes` > 0.
  /// Throws sim::Error on a bad range or when the host refuses the address space.
  SparseStore(sim::PhysAddr base, std::uint64_t bytes, HostPages pages = HostPages::kSmall);
  ~SparseStore();
  SparseStore(const SparseStore&) = delete;
  SparseStore& operator=(const SparseStore&) = delete;

  sim::PhysAddr base() const { return sim::PhysAddr(base_); }
  std::uint64_t bytes() const { return bytes_; }
  /// First address after the range.
  sim::PhysAddr end() const { return sim::PhysAddr(base_ + bytes_); }

  /// Whether all of [addr, addr + length) is memory. Safe for any values.
  bool contains(sim::PhysAddr addr, std::uint64_t length = 1) const {
    const std::uint64_t offset = addr.value - base_;
    return offset < bytes_ && length <= bytes_ - offset;
  }

  /// Host address of [addr, addr + length), contiguous over the whole range; null if not all of it is memory.
  std::uint8_t* find(sim::PhysAddr addr, std::uint64_t length) const {
    return contains(addr, length) ? memory_ + (addr.value - base_) : nullptr;
  }
  /// The same where it must be memory.
  std::uint8_t* host(sim::PhysAddr addr, std::uint64_t length = 1) const {
    POOLSIM_ASSERT(contains(addr, length));
    return memory_ + (addr.value - base_);
  }

  /// Null: nobody watches, and that costs one test an access.
  void set_watch(AccessWatch* watch) { watch_ = watch; }
  /// For those who read through host().
  void note_read(sim::PhysAddr addr, std::uint64_t length) const {
    if (__builtin_expect(watch_ != nullptr, 0)) watch_->accessed(addr, length, /*write=*/false);
  }

  /// One little-endian value; any alignment.
  template <class T>
  T load(sim::PhysAddr addr) const {
    static_assert(std::is_trivially_copyable_v<T> && std::endian::native == std::endian::little);
    T value;
    std::memcpy(&value, host(addr, sizeof(T)), sizeof(T));
    note_read(addr, sizeof(T));
    return value;
  }
  template <class T>
  void store(sim::PhysAddr addr, std::type_identity_t<T> value) {
    static_assert(std::is_trivially_copyable_v<T> && std::endian::native == std::endian::little);
    std::memcpy(host(addr, sizeof(T)), &value, sizeof(T));
    mark_written(addr, sizeof(T));
  }

  void read(sim::PhysAddr addr, std::span<std::uint8_t> to) const {
    std::memcpy(to.data(), host(addr, to.size()), to.size());
    note_read(addr, to.size());
  }
  void write(sim::PhysAddr addr, std::span<const std::uint8_t> from) {
    std::memcpy(host(addr, from.size()), from.data(), from.size());
    mark_written(addr, from.size());
  }

  /// Wrong bits in this memory, if its controller models them (mm/memory_faults.h); else null.
  class MemoryFaults* faults() const {
    return faults_;
  }
  void set_faults(class MemoryFaults* faults) { faults_ = faults; }

  /// The caches of those who read this memory, if there are any (mm/cache_hierarchy.h); else null. Devices' writes
  /// are told to them.
  class CacheHierarchy* caches() const {
    return caches_;
  }
  void set_caches(class CacheHierarchy* caches) { caches_ = caches; }

  /// From `base` (a multiple of 4 KiB) to the end, remembers which 4-KiB pages were ever written: the others
  /// are known to read as zero, and who walks them may skip them. A lower base than before keeps what is known; below
  /// it, what was written earlier is forgotten.
  void track_writes(sim::PhysAddr base);
  /// For those who write through host(). Free below the tracked range.
  void mark_written(sim::PhysAddr addr, std::uint64_t length) {
    if (__builtin_expect(watch_ != nullptr, 0)) watch_->accessed(addr, length, /*write=*/true);
    if (addr.value + length <= tracked_from_ || length == 0) return;
    const std::uint64_t from = addr.value > tracked_from_ ? addr.value - tracked_from_ : 0;
    const std::uint64_t last = (addr.value + length - 1 - tracked_from_) >> sim::kPageShift;
    std::uint64_t page = from >> sim::kPageShift;
    do {
      written_[page >> 6] |= std::uint64_t{1} << (page & 63);
    } while (++page <= last);  // one page nearly always
  }
  /// Start of the first written 4-KiB page at or after `from` (rounded down to its page), or `to`. Both inside
  /// the tracked range.
  sim::PhysAddr next_written(sim::PhysAddr from, sim::PhysAddr to) const;

  /// Gives whole 4-KiB pages back to the host; they read as zero afterwards (memory removed from the
  /// machine).
  void discard(sim::PhysAddr addr, std::uint64_t length);

 private:
  std::uint64_t base_;
  std::uint64_t bytes_;
  std::uint8_t* memory_;
  class MemoryFaults* faults_ = nullptr;
  class CacheHierarchy* caches_ = nullptr;
  AccessWatch* watch_ = nullptr;
  std::uint64_t tracked_from_ = ~std::uint64_t{0};
  std::vector<std::uint64_t> written_;  // bit per page from tracked_from_ on
};

}  // namespace mm
