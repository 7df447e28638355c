// SPDX-License-Identifier: Apache-2.0
// The same scenario with several strategies: one process a run (SystemC elaborates once a process), results as JSON
// through a pipe, one row a strategy.
#pragma once
#include <string>
#include <vector>

#include "testbenches/scenario/run.h"

namespace scenario {

/// Runs `config` once for each strategy key, up to `jobs` at a time; results in the order of the keys.
/// A run that dies is a sim::ModelError that says how. Calling context: before any SystemC module exists.
std::vector<RunResult> compare(const RunConfig& config, const std::vector<std::string>& strategies, unsigned jobs);

/// The comparison for people: one row a strategy, and what was compared.
std::string comparison_table(const std::vector<RunResult>& results, bool colour);

}  // namespace scenario
