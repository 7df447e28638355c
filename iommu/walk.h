// SPDX-License-Identifier: Apache-2.0
// One translation as a resumable state machine: device directory, process directory, first stage, second
// stage (nested), MSI page table, A/D updates. It names the next memory access and is handed the answer, so
// that the functional path (all at once) and the timed path (through the walker socket) run the same steps.
// Source: RISC-V IOMMU specification, "Process to translate an IOVA" and the chapters it calls; RISC-V
// privileged architecture for the page tables.
#pragma once
#include <cstdint>

#include "iommu/caches.h"
#include "iommu/context.h"
#include "iommu/memory.h"
#include "iommu/request.h"

namespace iommu {

/// What a memory access of a walk loads (statistics, HPM events 5..8).
enum class WalkTable : std::uint8_t { kDeviceDirectory, kProcessDirectory, kFirstStage, kSecondStage, kMsi };

struct WalkCounts {
  std::uint16_t accesses[5] = {0, 0, 0, 0, 0};    ///< by WalkTable
  std::uint8_t first_level[5] = {0, 0, 0, 0, 0};  ///< loads of first-stage entries by level, 0 = 4 KiB leaves
  std::uint8_t second_level[5] = {0, 0, 0, 0, 0};  ///< the same of the second stage
  /// Tables found in the walk caches, by the level of what they hold: 0 = only a leaf is left to read.
  std::uint8_t first_cached[4] = {0, 0, 0, 0}, second_cached[4] = {0, 0, 0, 0};
  std::uint16_t total() const {
    return static_cast<std::uint16_t>(accesses[0] + accesses[1] + accesses[2] + accesses[3] + accesses[4]);
  }
};

class Walk {
 public:
  enum class CacheUse : std::uint8_t {
    kNone,      ///< walk everything
    kReadOnly,  ///< use what is cached, change nothing (transport_dbg)
    kFull,
  };

  /// Starts a translation; it may be done() at once. `env` and `caches` must outlive it.
  void start(const Environment& env, Caches& caches, CacheUse use, const Request& request);
  bool done() const { return state_ == State::kDone; }

  /// The access to make next (when not done). Reads: fill access().data and call supply().
  MemoryAccess& access() { return access_; }
  WalkTable table() const;
  void supply(MemoryStatus status);
  /// Answer to a compare-exchange.
  void updated(MemoryStatus status, bool swapped);

  /// No cache may learn from this walk any more: an invalidation came while it was under way.
  void stop_filling() { fill_ = false; }
  /// Never write A/D bits (transport_dbg): a missing bit counts as set.
  void keep_memory() { keep_memory_ = true; }

  const Request& request() const { return request_; }
  const Outcome& outcome() const { return outcome_; }
  const WalkCounts& counts() const { return counts_; }
  /// Known once the contexts are found.
  bool space_known() const { return space_known_; }
  Space space() const { return space_; }

 private:
  enum class State : std::uint8_t {
    kDdtPointer,
    kDeviceContext,
    kPdtPointer,
    kProcessContext,
    kFirstPte,
    kFirstUpdate,
    kMsiPte,
    kSecondPte,
    kSecondUpdate,
    kDone
  };
  enum class Purpose : std::uint8_t { kProcessDirectory, kFirstStageTable, kFinal };
  struct Leaf {
    std::uint64_t address = 0;
    std::uint8_t shift = 12;
    std::uint8_t leaf_shift = 12;
    std::uint8_t pbmt = 0;
    bool readable = true, writable = true, executable = true, user = true, dirty = true;
  };
  struct PteWalk {
    std::uint64_t table = 0;
    unsigned level = 0;
    std::uint64_t entry = 0;          // PTE as loaded, host order
    std::uint64_t entry_address = 0;  // where it was loaded from
  };

  // walk.cpp: contexts
  void read(std::uint64_t address, unsigned bytes, State state);
  void finish();
  void fail(Cause cause, std::uint64_t iotval2 = 0);
  void read_ddt();
  void ddt_pointer(MemoryStatus status);
  void device_context(MemoryStatus status);
  void device_context_ready(const DeviceContext& device);
  void select_first_stage(const DeviceContext& device);
  void read_pdt();
  void pdt_pointer(MemoryStatus status);
  void process_context(MemoryStatus status);
  void process_context_ready(const DeviceContext& device, const ProcessContext& process);
  void start_translation(const DeviceContext& device, const Stage& first, std::uint32_t pscid);
  void keep(const DeviceContext& device);
  bool serve_from_iotlb();
  Cause access_fault() const;
  Cause page_fault() const;
  Cause guest_page_fault() const;

  // page_tables.cpp: stages
  void start_first_stage();
  void read_first_pte();
  void load_first_pte(std::uint64_t spa);
  void first_pte(MemoryStatus status);
  void first_leaf();
  bool first_permissions_ok(std::uint64_t pte) const;
  void first_done(const Leaf& leaf);
  void after_first_stage();
  void start_second_stage(std::uint64_t gpa, Purpose purpose);
  void read_second_pte();
  void second_pte(MemoryStatus status);
  void second_leaf();
  void second_done(const Leaf& leaf);
  void second_memory_fault(MemoryStatus status);
  void guest_fault(bool implicit_write = false);
  void read_msi_pte();
  void msi_pte(MemoryStatus status);
  void update(State state, const PteWalk& walk, bool dirty, const Stage& stage, bool big_endian);
  void complete();
  bool entry_reserved(std::uint64_t pte, const Stage& stage) const;
  bool superpage_misaligned(std::uint64_t pte, const Stage& stage, unsigned level) const;
  bool wants_dirty(const Leaf& leaf) const;
  static Leaf make_leaf(std::uint64_t pte, const Stage& stage, unsigned level, std::uint64_t input);

  const Environment* env_ = nullptr;
  Caches* caches_ = nullptr;
  CacheUse use_ = CacheUse::kNone;
  bool fill_ = true;
  bool keep_memory_ = false;
  State state_ = State::kDone;
  MemoryAccess access_;
  Request request_;
  Outcome outcome_;
  WalkCounts counts_;

  DeviceContext device_;  // valid from keep() on: a hit in the IOTLB does without a copy
  ProcessContext process_;
  bool sum_ = false;
  std::uint32_t process_id_ = 0;
  Stage first_, second_;
  Space space_, guest_space_;
  bool space_known_ = false;

  std::uint64_t directory_table_ = 0;
  unsigned directory_level_ = 0;

  PteWalk first_walk_, second_walk_;
  bool first_global_ = false;
  std::uint64_t first_entry_gpa_ = 0;  // guest address of the first-stage PTE
  bool first_entry_writable_ = true;   // the second stage lets the IOMMU update it
  Leaf first_leaf_, second_leaf_;
  std::uint64_t gpa_ = 0;  // input of the second stage
  Purpose purpose_ = Purpose::kFinal;
};

}  // namespace iommu
