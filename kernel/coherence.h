// SPDX-License-Identifier: Apache-2.0
// A small coherence model: who holds a 64-byte line. It prices loads, stores and atomics, so that contention
// on a lock or a reference count shows by itself. MESI without the bus: an owner (modified/exclusive) or
// sharers.
//
// Lines are either embedded in a model object (CacheLine: a lock, a counter, a ring's head; they stay in the
// caches) or belong to simulated memory: those are in the caches of mm/cache_hierarchy.h, which have sizes,
// and LinePrices says what an access costs by where it found its line.
#pragma once
#include <array>
#include <cstdint>

#include "kernel/costs.h"
#include "mm/cache_hierarchy.h"
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

/// What an access to simulated memory costs, by mm::CacheLevel.
struct LinePrices {
  explicit LinePrices(const Costs& c)
      : load{c.l1_hit, c.l2_hit, c.llc_hit, c.remote_core, c.dram},
        store{c.l1_store, c.l2_hit, c.llc_hit, c.remote_core, c.dram} {}
  AccessCost of_load(mm::CacheLevel level) const { return price(load, level); }
  AccessCost of_store(mm::CacheLevel level) const { return price(store, level); }

 private:
  using Table = std::array<Cycle, 5>;
  static AccessCost price(const Table& table, mm::CacheLevel level) {
    return {table[static_cast<unsigned>(level)], level == mm::CacheLevel::kOtherCore};
  }
  Table load, store;
};

}  // namespace kernel
