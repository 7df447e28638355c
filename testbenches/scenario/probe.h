// SPDX-License-Identifier: Apache-2.0
// What a strategy costs, measured on a machine with a bound device and nothing else going on: core cycles of
// a page through the cache, through the ring, at its map and at its unmap; how many pages may be in flight
// and how much tracking memory they take; how long page_pool_destroy() runs with all of them out.
#pragma once
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "testbenches/scenario/scenario.h"

namespace scenario {

struct ProbeResult {
  std::string strategy, dma_mode;
  double cache_cycles = 0;  ///< alloc and direct recycle
  double ring_cycles = 0;   ///< alloc and return through the ring
  double map_cycles = 0;    ///< alloc of a page that must come from the allocator and be mapped
  double unmap_cycles = 0;  ///< return of a page that somebody else still references: unmapped and released
  std::uint64_t pages_asked = 0;
  std::uint64_t pages_in_flight = 0;  ///< got
  std::uint64_t tracking_bytes = 0;   ///< with these in flight
  sim::Tick destroy = 0;              ///< page_pool_destroy() with these in flight
  std::string stopped_by;             ///< what the kernel said last when fewer were got
  double cpu_seconds = 0;

  double tracking_bytes_per_page() const {
    return pages_in_flight == 0 ? 0
                                : static_cast<double>(tracking_bytes) / static_cast<double>(pages_in_flight);
  }
  nlohmann::ordered_json to_json() const;
  static ProbeResult from_json(const nlohmann::ordered_json& json);
};

/// Builds a machine of `config` with memory for `pages` in flight, and measures. One a process (SystemC).
ProbeResult probe(RunConfig config, std::uint64_t pages);

}  // namespace scenario
