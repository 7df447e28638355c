// SPDX-License-Identifier: Apache-2.0
// Strategies x DMA API modes x scenarios on the same machine. Three kinds of runs, all measured, none
// declared:
//   cells   one run a (scenario, mode, strategy): findings, time to unbind, bottom halves off, spinning,
//   cycles a packet costs   one probe a (mode, strategy): cycles at cache, ring, map, unmap; tracking memory;
//   limits (scenario/probe.h) trials  the first scenario again, bound at once after the unbind; with tracking
//   memory that cannot be had from the
//           beginning; and with tracking memory that runs out
#pragma once
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "testbenches/scenario/probe.h"
#include "testbenches/scenario/processes.h"
#include "testbenches/scenario/run.h"

namespace scenario {

struct Job {
  RunConfig config;
  RunOptions options;
};

/// Runs each job in a process of its own, up to `at_a_time` together; results in the order of the jobs.
/// A run that dies is a sim::ModelError that says how. Calling context: before any SystemC module exists.
std::vector<RunResult> run_jobs(const std::vector<Job>& jobs, unsigned at_a_time);

/// `config` once for each strategy key.
std::vector<RunResult> compare(const RunConfig& config, const std::vector<std::string>& strategies,
                               unsigned at_a_time);

struct CompareRequest {
  std::vector<std::string> files;        ///< scenarios
  std::vector<std::string> assignments;  ///< "a.b=c", for all of them
  std::vector<std::string> strategies;   ///< keys; empty: all
  std::vector<std::string>
      modes;          ///< values of kernel.dma_mode, "+debug" added for dma-debug; empty: the file's
  bool costs = true;  ///< costs and trials, too
  std::uint64_t in_flight = std::uint64_t{1} << 30;  ///< bytes in flight of the cost probe
  unsigned jobs = 1;
};

struct CompareCell {
  std::string scenario, mode, strategy;
  std::optional<RunResult> run;
  std::string error;  ///< why there is no run
};

struct CompareCosts {
  std::string mode, strategy;
  std::optional<ProbeResult> probe;
  std::optional<RunResult> rebind, no_memory, short_of_memory;
  std::string usual_findings;  ///< of the first scenario as it is
  std::string error;
};

struct Comparison {
  std::string command;
  std::vector<std::string> scenarios, modes, strategies;
  std::vector<CompareCell> cells;   ///< by scenario, mode, strategy
  std::vector<CompareCosts> costs;  ///< by mode, strategy; empty if not asked for
  bool complete = false;            ///< false: interrupted
  double wall_seconds = 0;

  const CompareCell* cell(const std::string& scenario, const std::string& mode,
                          const std::string& strategy) const;
  const CompareCosts* cost(const std::string& mode, const std::string& strategy) const;
  /// Nothing found, nothing died.
  bool clean() const;
};

/// Throws sim::Error for what cannot be run before anything runs. See run_processes() for `stop`.
Comparison compare(const CompareRequest& request, const Progress& progress = {},
                   const volatile bool* stop = nullptr);

// --- what it says, in words made of measured numbers ---
/// "yes, 0.210 ms", "no: ...".
std::string rebind_text(const CompareCosts& costs);
/// What dma-debug said in the run; "" when it was off.
std::string dma_debug_text(const RunResult& r);
/// What becomes of the driver and its traffic when tracking memory cannot be had.
std::string no_memory_text(const CompareCosts& costs);
std::string limit_text(const ProbeResult& probe);
/// GiB of tracking memory for 24 GiB in flight at the measured bytes a page.
std::string tracking_at_24_gib(const ProbeResult& probe);
/// "+1.2 %" of `value` against stock's; "" without.
std::string against_stock(double value, std::optional<double> stock);

std::string comparison_text(const Comparison& comparison, bool colour);
std::string comparison_csv(const Comparison& comparison);
nlohmann::ordered_json comparison_json(const Comparison& comparison);
/// One self-contained page.
std::string comparison_html(const Comparison& comparison);

}  // namespace scenario
