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

/// Lines of simulated memory. `lines` is a power of two; 128 Ki lines stand for 8 MiB of last-level cache.
/// Two ways, and a page's place is hashed, so that regions that lie far apart (struct pages at the top of
/// DRAM, objects at its bottom) do not push each other out.
class LineDirectory {
 public:
  explicit LineDirectory(std::size_t lines = 128 * 1024) : sets_(lines / 2) {}

  CacheLine& line(PhysAddr address) {
    const std::uint64_t number = address.value >> 6;
    const std::uint64_t page = (number >> 6) * 0x9e37'79b9'7f4a'7c15;
    Set& set = sets_[(page >> 32 << 6 | (number & 63)) & (sets_.size() - 1)];
    for (unsigned way = 0; way < 2; ++way) {
      if (set.number[way] != number) continue;
      set.victim = static_cast<std::uint8_t>(1 - way);
      return set.line[way];
    }
    const unsigned way = set.victim;
    set.victim = static_cast<std::uint8_t>(1 - way);
    set.number[way] = number;
    set.line[way] = CacheLine{};
    return set.line[way];
  }

 private:
  struct Set {
    std::uint64_t number[2] = {~std::uint64_t{0}, ~std::uint64_t{0}};
    CacheLine line[2];
    std::uint8_t victim = 0;
  };
  std::vector<Set> sets_;
};

}  // namespace kernel
