// SPDX-License-Identifier: Apache-2.0
// The same scenario with several strategies: one process a run (SystemC elaborates once a process), results as JSON
// through a pipe, one row a strategy.
#pragma once
#include <string>
#include <vector>

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

/// The comparison for people: one row a strategy, and what was compared.
std::string comparison_table(const std::vector<RunResult>& results, bool colour);

}  // namespace scenario
