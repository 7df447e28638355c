// SPDX-License-Identifier: Apache-2.0
// What watches and what tracks mappings inside the DMA API.
//
// DmaDebug: CONFIG_DMA_API_DEBUG (kernel/dma/debug.c, Linux 6.12) in its steps and messages. Every mapping
// gets an entry; an unmap, a sync and a release of coherent memory are compared with it; a driver that is
// unbound with mappings left is reported. It reports, and changes nothing: the call goes on. As by default in
// the kernel only the first error is a WARN (dma_debug_show_errors); all are counted. When no entry is left
// it disables itself: "DMA-API: debugging out of memory - disabling" (the kernel first tries to make more
// entries; here they are as many as KernelConfig says).
//
// MappingTracker: the proposal "make the DMA API robust" (R. Murphy, strategy robust_dma_api). The same
// table, but the API obeys it: an unmap or a sync of what is not in it does nothing, and all mappings of a
// device can be cleaned up.
//
// Both see streaming mappings (dma_map_page); DmaDebug coherent memory, too.
#pragma once
#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "kernel/locks.h"
#include "kernel/mapping_hash.h"
#include "kernel/trace.h"
#include "sim/types.h"

namespace kernel {

class Device;
class Kernel;

/// The table's memory and locks in the modelled kernel.
class KernelHashMemory {
 public:
  struct Lock : SpinLock {
    Lock() : SpinLock("dma_entry_hash") {}
  };
  explicit KernelHashMemory(Kernel& kernel) : kernel_(kernel) {}
  /// Pages for so many entries, as at boot. False: there are none.
  bool allocate(std::uint32_t entries);
  void lock(Lock& lock);
  void unlock(Lock& lock);
  void load(std::uint32_t entry) { this_cpu().load(address(entry)); }
  void store(std::uint32_t entry) { this_cpu().store(address(entry)); }
  /// For tests of the explorer only: the locks are left out.
  void leave_out_locks(bool yes) { no_locks_ = yes; }

 private:
  static constexpr unsigned kEntriesPerPage = sim::kPageSize / 128;
  PhysAddr address(std::uint32_t entry) const {
    return sim::to_phys(pages_[entry / kEntriesPerPage]) + entry % kEntriesPerPage * 128;
  }
  Kernel& kernel_;
  std::vector<sim::Pfn> pages_;
  bool no_locks_ = false;
};

class DmaDebug {
 public:
  enum class Error : std::uint8_t {
    kUnmapUnknown,     ///< tries to free DMA memory it has not allocated: unmapped twice, or never mapped
    kUnmapSize,        ///< frees DMA memory with different size
    kUnmapFunction,    ///< ... with wrong function
    kUnmapDirection,   ///< ... with different direction
    kSyncUnknown,      ///< tries to sync DMA memory it has not allocated
    kSyncOutside,      ///< syncs DMA memory outside allocated range
    kSyncDirection,    ///< syncs for CPU what the device only reads, or for the device what it only writes
    kPendingAtUnbind,  ///< has pending DMA allocations while released from device
    kCount
  };
  static const char* key(Error error);

  /// `entries`: dma_debug_entries. `show`: errors that are a WARN, the others are only counted.
  DmaDebug(Kernel& kernel, std::uint32_t entries, std::uint64_t show);
  /// dma_debug_init. False: no memory, disabled.
  bool init();
  bool enabled() const { return table_ != nullptr && !disabled_; }
  bool disabled() const { return disabled_; }

  void map_page(const Device& device, PhysAddr phys, Iova address, std::uint64_t size,
                DmaDirection direction);
  void unmap_page(const Device& device, Iova address, std::uint64_t size, DmaDirection direction);
  void alloc_coherent(const Device& device, PhysAddr phys, Iova address, std::uint64_t size);
  void free_coherent(const Device& device, Iova address, std::uint64_t size);
  void sync_single(const Device& device, Iova address, std::uint64_t size, DmaDirection direction,
                   bool for_device);
  /// BUS_NOTIFY_UNBOUND_DRIVER.
  void driver_unbound(const Device& device);
  /// The bulk unmap of the thread: nobody has named the mappings, so all of the device are crossed out.
  void forget_all(const Device& device);

  std::uint64_t errors() const;
  std::uint64_t errors(Error error) const { return errors_[static_cast<std::size_t>(error)]; }
  /// Mappings that drivers had left at their unbinds, all together.
  std::uint64_t pending_at_unbind() const { return pending_; }
  /// Mappings crossed out by bulk unmaps without anybody having named them.
  std::uint64_t forgotten() const { return forgotten_; }
  std::uint64_t entries_used_most() const;

 private:
  void add(const TrackedMapping& mapping);
  void check_unmap(const Device& device, const TrackedMapping& unmap);
  void report(Error error, const Device& device, std::string text);

  Kernel& kernel_;
  std::uint32_t entries_;
  std::uint64_t show_;
  KernelHashMemory memory_;
  std::unique_ptr<MappingHash<KernelHashMemory>> table_;
  bool disabled_ = false;
  std::array<std::uint64_t, static_cast<std::size_t>(Error::kCount)> errors_{};
  std::uint64_t pending_ = 0, forgotten_ = 0;
};

class MappingTracker {
 public:
  static constexpr std::uint32_t kEntries = 65536;
  explicit MappingTracker(Kernel& kernel) : memory_(kernel) {}
  /// From now on. False: no memory for the table.
  bool start();
  bool on() const { return table_ != nullptr; }
  MappingHash<KernelHashMemory>& table() { return *table_; }
  void leave_out_locks(bool yes) { memory_.leave_out_locks(yes); }
  static constexpr std::uint64_t bytes() { return MappingHash<KernelHashMemory>::bytes_for(kEntries); }

  struct Counters {
    std::uint64_t full = 0;     ///< mappings refused: no entry left
    std::uint64_t unknown = 0;  ///< unmaps and syncs of what is not mapped: nothing was done
    std::uint64_t cleaned = 0;  ///< mappings undone by clean-ups
  };
  Counters counters;

 private:
  KernelHashMemory memory_;
  std::unique_ptr<MappingHash<KernelHashMemory>> table_;
};

}  // namespace kernel
