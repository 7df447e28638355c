// SPDX-License-Identifier: Apache-2.0
// Parameters of one RISC-V IOMMU: what it can do (capabilities), how large its caches are, how long its steps
// take. All latencies are cycles of the IOMMU's own clock. validate() throws sim::Error that names the field.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "iommu/layout.h"
#include "sim/clock.h"

namespace iommu {

enum class Replacement : std::uint8_t { kLru, kPlru, kRandom };

/// A set-associative cache. Sets and ways are powers of two; `ways` <= 64.
struct CacheConfig {
  unsigned sets = 16;
  unsigned ways = 4;
  Replacement replacement = Replacement::kLru;
  unsigned entries() const { return sets * ways; }
};

/// What the hardware implements. Everything a driver can discover is in `capabilities`.
struct ArchitectureConfig {
  std::uint64_t capabilities = cap::kVersion1_0 | cap::kSv39 | cap::kSv48 | cap::kSv57 | cap::kSvpbmt |
                               cap::kSv39x4 | cap::kSv48x4 | cap::kSv57x4 | cap::kAmoHwad | cap::kIgsMsi |
                               cap::kHpm | cap::kDbg | cap::pas(56) | cap::kPd8 | cap::kPd17 | cap::kPd20 |
                               cap::kNl | cap::kS;
  std::uint32_t fctl_reset = 0;
  bool gxl_writable = false;
  bool be_writable = false;
  unsigned hpm_counters = 8;       ///< including iohpmcycles
  unsigned hpm_counter_bits = 64;  ///< width of iohpmctr1..; iohpmcycles always has its 63
  unsigned hpm_max_event = 8;      ///< largest eventID that iohpmevt accepts
  unsigned vector_bits = 2;        ///< writable bits of each icvec field; 2^n MSI vectors
  DdtMode reset_mode = DdtMode::kOff;
  DdtMode max_mode = DdtMode::k3Lvl;  ///< deepest supported device directory
  std::uint32_t device_id_mask = 0xffffff;
  std::uint32_t qosid_mask = 0;                 ///< writable bits of iommu_qosid: RCID 11:0, MCID 27:16
  std::uint64_t bare_stage_bytes = 1ull << 30;  ///< page size reported for a stage that is Bare
};

struct IommuConfig {
  sim::Clock clock = sim::Clock::from_hz(1'000'000'000);
  ArchitectureConfig architecture;

  /// IOVA -> SPA (both stages combined), one array for all page-size classes.
  CacheConfig iotlb{64, 4, Replacement::kLru};
  /// Page sizes (log2 bytes, ascending, first is 12) the IOTLB can hold; a larger page is held as the next
  /// smaller.
  std::vector<unsigned> iotlb_page_sizes = {12, 21, 30};
  /// Device contexts by device_id, process contexts by (device_id, process_id).
  CacheConfig ddt_cache{8, 2, Replacement::kLru};
  CacheConfig pdt_cache{8, 2, Replacement::kLru};
  /// Non-leaf first- and second-stage entries, one cache for each level 1..4 (level = levels still below).
  CacheConfig walk_cache{8, 4, Replacement::kLru};
  bool walk_cache_enabled = true;

  unsigned input_queue = 64;   ///< device requests held inside; more wait at the socket
  unsigned walkers = 8;        ///< walks in flight; further misses wait in the miss queue
  unsigned miss_queue = 64;    ///< requests that wait for a walk, merged or not; when full, lookups stop
  bool hit_under_miss = true;  ///< false: lookups stop as long as one request waits for a walk
  unsigned fault_buffer = 16;  ///< fault records waiting to be written to memory

  sim::Cycle lookup_cycles = 2;           ///< arrival -> translated request leaves, for an IOTLB hit
  sim::Cycle lookup_interval = 1;         ///< between two lookups
  sim::Cycle walk_start_cycles = 1;       ///< miss -> first walker request
  sim::Cycle walk_step_cycles = 1;        ///< walker answer -> next walker request, or translation known
  sim::Cycle forward_cycles = 1;          ///< translation known by a walk -> request leaves
  sim::Cycle command_fetch_cycles = 2;    ///< cqt written or last command done -> fetch of a command leaves
  sim::Cycle command_cycles = 2;          ///< command read -> executed (invalidation takes effect here)
  sim::Cycle invalidate_scan_cycles = 0;  ///< added for each set an invalidation looks at
  bool invalidate_indexed = true;   ///< one page (one device) selects its sets; false: every set is scanned
  sim::Cycle fence_cycles = 2;      ///< IOFENCE.C: conditions met -> store leaves / complete
  sim::Cycle fault_cycles = 2;      ///< fault found -> record write leaves
  sim::Cycle interrupt_cycles = 2;  ///< pending bit set -> MSI write leaves
  sim::Cycle ats_timeout_cycles =
      60'000'000'000;              ///< ATS invalidation request -> given up (PCIe: one minute)
  sim::Cycle register_cycles = 4;  ///< register access -> response

  /// Throws sim::Error naming `prefix` + field for values that cannot be built.
  void validate(const std::string& prefix = "iommu.") const;
};

}  // namespace iommu
