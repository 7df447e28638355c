// SPDX-License-Identifier: Apache-2.0
// The IOMMU without time: registers, contexts, walks, queues, commands, interrupts, performance counters.
// Works on a Memory at once (functional path, conformance vectors) or step by step for the timed module
// (iommu/engine.h). No SystemC scheduling inside; not thread-safe.
#pragma once
#include <cstdint>
#include <optional>

#include "iommu/ats.h"
#include "iommu/caches.h"
#include "iommu/commands.h"
#include "iommu/config.h"
#include "iommu/hpm.h"
#include "iommu/interrupts.h"
#include "iommu/queues.h"
#include "iommu/walk.h"

namespace iommu {

struct FaultCounters {
  std::uint64_t total = 0, recorded = 0;
  std::array<std::uint64_t, 320> by_cause{};  ///< 257.. at their own number
};

/// Counted where the performance monitor counts, by the same rules: one translation, one lookup.
struct TranslationCounters {
  std::uint64_t lookups =
      0;  ///< translations with an active stage = hits + misses (and HPM event 4 = misses)
  std::uint64_t hits = 0, misses = 0;
  std::array<std::uint64_t, 8> hits_by_class{};  ///< index into IommuConfig::iotlb_page_sizes
  std::uint64_t walks = 0;                       ///< translations that read memory
  std::uint64_t longest_walk = 0;                ///< most accesses of one of them
  std::array<std::uint64_t, 5> accesses{};       ///< by WalkTable; HPM events 5 to 8 are the first four
  std::array<std::uint64_t, 5> first_level{}, second_level{};    ///< entries loaded, by level
  std::array<std::uint64_t, 4> first_cached{}, second_cached{};  ///< walk-cache hits of walks, by level
  std::uint64_t total_accesses() const {
    return accesses[0] + accesses[1] + accesses[2] + accesses[3] + accesses[4];
  }
};

class Core {
 public:
  Core(const IommuConfig& config, const sim::RandomStream& random, Surroundings& surroundings);

  Environment env;
  Caches caches;
  Interrupts interrupts;
  RecordQueue fault_queue;
  RecordQueue page_queue;
  CommandProcessor commands;
  Hpm hpm;

  void reset();

  /// Register access of `bytes` 4 or 8 at an offset in the page. Illegal accesses read 0 and write nothing.
  std::uint64_t read_register(std::uint32_t offset, unsigned bytes) const;
  void write_register(std::uint32_t offset, unsigned bytes, std::uint64_t value);

  /// Translates at once, reading tables through `memory`; the outcome is booked (fault record queued,
  /// counters). Fault records, commands and interrupts that follow wait for settle().
  Outcome translate(const Request& request, Memory& memory, Walk::CacheUse use);
  /// The usual case of it, which takes no walk: device context and page are cached. Booked as translate()
  /// does it; without a hit nothing has changed.
  Caches::Hit translate_cached(const Request& request);
  /// The same without changing anything, in memory or in the IOMMU. Valid until the next translation.
  const Outcome& peek(const Request& request, Memory& memory);
  /// Books the end of a walk: HPM events and the fault record. Returns whether a record was queued.
  bool book(const Walk& walk);
  bool book(const Request& request, const Outcome& outcome, const WalkCounts& counts);

  /// Queues the fault record of a refused request; false if there is none to write or no room.
  bool report(const Request& request, const Outcome& outcome);

  /// Runs commands, queue writes and interrupts until nothing is left to do.
  void settle(Memory& memory);

  /// A Page Request message: translate its request (a lookup of the device context) and hand the outcome
  /// back.
  static Request as_request(const PageRequest& message);
  void page_request_done(const PageRequest& message, const Outcome& outcome);
  /// Answers to the accesses that fault_queue.begin(), page_queue.begin() and interrupts.begin() asked for.
  void fault_record_written(MemoryStatus status) { fault_queue.supply(status); }
  void page_record_written(MemoryStatus status);
  void msi_written(MemoryStatus status);
  /// False: unexpected completion.
  bool invalidation_completion(const InvalidationCompletion& message) {
    return commands.tags.complete(message);
  }
  void invalidation_timeout(std::uint32_t itag_vector) { commands.tags.expire(itag_vector); }

  /// A debug translation was asked for by tr_req_ctl.Go; the caller translates and reports it.
  bool debug_requested() const { return debug_go_; }
  Request debug_request() const;
  void debug_done(const Outcome& outcome);

  const FaultCounters& faults() const { return faults_; }
  const TranslationCounters& translations() const { return translations_; }

 private:
  std::uint64_t read8(std::uint32_t offset) const;
  std::uint32_t read4(std::uint32_t offset) const;
  void write8(std::uint32_t offset, std::uint64_t value);
  void write4(std::uint32_t offset, std::uint32_t value);
  void write_ddtp(std::uint64_t value);
  void write_fctl(std::uint32_t value);
  void write_base(QueueRegisters& queue, std::uint64_t value, bool index_is_tail);
  void write_ipsr(std::uint32_t value);
  void write_pqcsr(std::uint32_t value);
  void fail_page_requests(std::size_t from);
  bool queue_active() const;
  std::uint64_t pas_ppn_mask() const;
  void count(const Request& request, const Outcome& outcome, const WalkCounts& counts);
  void respond(const PageRequest& message, std::uint8_t code, bool prpr);

  Surroundings& surroundings_;
  std::uint64_t tr_req_iova_ = 0, tr_req_ctl_ = 0, tr_response_ = 0;
  bool debug_go_ = false;
  FaultCounters faults_;
  TranslationCounters translations_;
  Walk walk_;
};

}  // namespace iommu
