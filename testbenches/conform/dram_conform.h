// SPDX-License-Identifier: Apache-2.0
// Replays a trace of memory requests through the DRAM channels, without caches, links or TLM around them, and
// prints what happened to each. Every command is re-checked by mm::DramLegalityChecker.
//
// Trace: one request of 64 bytes a line, `<cycle> R|W <hex address>`, cycles ascending; empty lines and lines
// that begin with # are skipped. The address selects channel, rank, bank, row and column by the mapping, from
// bit 0. A request enters at its cycle and is first seen by the scheduler one cycle later; when its queue is
// full, it and all behind it wait. With `outstanding` N the cycles are ignored: N requests are kept in
// flight, and a new one enters when an old one completes.
//
// Output: a line a request, in the order of the trace, in memory cycles,
//   index address R|W arrival issue completion hit|closed|conflict
// where arrival is the cycle it came (waiting included), issue that of its RD or WR, completion the end of
// its data. Then lines that begin with "total".
#pragma once
#include <cstdint>
#include <iosfwd>
#include <string>
#include <vector>

#include "mm/dram_controller.h"

namespace conform {

struct DramRequest {
  std::uint64_t cycle;
  std::uint64_t address;
  bool write;
};

/// Throws sim::Error with file, line and what is wrong.
std::vector<DramRequest> read_dram_trace(std::istream& in, const std::string& name);

struct DramOptions {
  unsigned outstanding = 0;  ///< 0: at the cycles of the trace
  bool totals_only = false;
};

/// 0, or 1 if the legality checker found a violation (reported on `err`).
int run_dram_conform(const mm::DramConfig& config, const std::vector<DramRequest>& trace,
                     const DramOptions& options, std::ostream& out, std::ostream& err);

/// The same from files; `mapping` replaces the configuration's unless it is empty; `trace` "-" is standard
/// input.
int run_dram_conform(const std::string& config, const std::string& mapping, const std::string& trace,
                     const DramOptions& options, std::ostream& out, std::ostream& err);

/// Random traffic - phases of load, locality, share of writes and silence - under each scheduler, page policy
/// and kind of refresh of the configuration, until `commands` DRAM commands were issued and checked in all.
/// Prints a line for each; 1 if the legality checker found a violation.
int run_dram_random(const mm::DramConfig& config, std::uint64_t commands, std::uint64_t seed,
                    std::ostream& out, std::ostream& err);

}  // namespace conform
