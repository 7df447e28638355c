// SPDX-License-Identifier: Apache-2.0
// How good is the explorer? Each mutant leaves one synchronisation of the pool or of a strategy out; a search
// counts as successful when it finds something that it does not find without the mutant.
#pragma once
#include <nlohmann/json.hpp>
#include <string>

#include "testbenches/explore/explore.h"

namespace explore {

/// One row a mutant and method: mutant, strategy, story, method, found, class, after, schedules.
std::vector<nlohmann::ordered_json> try_mutants(std::uint64_t budget, std::uint64_t seed, bool quiet);
std::string mutant_table(const std::vector<nlohmann::ordered_json>& rows, bool colour);

/// docs/findings.md: what was searched, by which command, and what came out.
/// `made`: command, machine and date.
std::string findings_markdown(const std::string& made, const std::vector<nlohmann::ordered_json>& results,
                              const std::vector<nlohmann::ordered_json>& mutants);

}  // namespace explore
