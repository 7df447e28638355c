// SPDX-License-Identifier: Apache-2.0
// A small coherence model: who holds a 64-byte line. It prices loads, stores and atomics, so that contention
// on a lock or a reference count shows by itself. MESI without the bus: an owner (modified/exclusive) or
// sharers.
//
// Lines are either embedded in a model object (CacheLine: a lock, a counter, a ring's head) or belong to
// simulated memory (LineDirectory, keyed by physical address; direct-mapped like the last-level cache it
// stands for, so that what falls out of it costs DRAM).
#pragma once
#include <cstdint>
#include <vector>

#include "kernel/costs.h"
#include "sim/types.h"

namespace kernel {

using sim::PhysAddr;

/// State of one line. Default: in memory only.
struct CacheLine {
  std::uint32_t sharers = 0;  ///< bit per core that holds a copy (32 cores)
  std::int8_t owner = -1;     ///< core with the only, writable copy; -1: none
  bool cached = false;        ///< some cache of the socket holds it
};

/// What an access costs, and whether another core was involved (then the order of the two matters).
struct AccessCost {
  Cycle cycles;
  bool remote;
};

/// Core `cpu` reads the line.
inline AccessCost touch_load(CacheLine& line, unsigned cpu, const Costs& costs) {
  const std::uint32_t me = 1u << cpu;
  if ((line.sharers & me) != 0) return {costs.l1_hit, false};
  AccessCost cost{line.cached ? costs.llc_hit : costs.dram, false};
  if (line.owner >= 0) cost = {costs.remote_core, true};
  line.owner = -1;
  line.sharers |= me;
  line.cached = true;
  return cost;
}

/// Core `cpu` writes the line: every other copy goes.
inline AccessCost touch_store(CacheLine& line, unsigned cpu, const Costs& costs) {
  const std::uint32_t me = 1u << cpu;
  if (line.owner == static_cast<std::int8_t>(cpu)) return {costs.l1_store, false};
  AccessCost cost{line.cached ? costs.llc_hit : costs.dram, false};
  if ((line.sharers & ~me) != 0) {
    cost = {costs.remote_core, true};
  } else if ((line.sharers & me) != 0) {
    cost = {costs.l1_store, false};
  }
  line.owner = static_cast<std::int8_t>(cpu);
  line.sharers = me;
  line.cached = true;
  return cost;
}

/// Lines of simulated memory. `lines` is a power of two; 64 Ki lines stand for 4 MiB of last-level cache.
class LineDirectory {
 public:
  explicit LineDirectory(std::size_t lines = 64 * 1024) : entries_(lines) {}

  CacheLine& line(PhysAddr address) {
    const std::uint64_t number = address.value >> 6;
    Entry& e = entries_[number & (entries_.size() - 1)];
    if (e.number != number) {
      e.number = number;
      e.line = CacheLine{};
    }
    return e.line;
  }

 private:
  struct Entry {
    std::uint64_t number = ~std::uint64_t{0};
    CacheLine line;
  };
  std::vector<Entry> entries_;
};

}  // namespace kernel
