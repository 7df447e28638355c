// SPDX-License-Identifier: Apache-2.0
// `poolsim explore`: one search, or a matrix of them, and what people read of it.
#pragma once
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "testbenches/explore/search.h"
#include "testbenches/explore/token.h"

namespace explore {

/// One scenario with one strategy.
struct Cell {
  Token token;  ///< file, strategy, settings
  SearchOptions search;
  bool shrink = true;  ///< findings are shrunk before they are told
  bool quiet = false;  ///< no progress
};

/// The result, as told by the process that ran the cell. SystemC elaborates once a process: one cell, one fork.
/// Fields: story, strategy, method, schedules, rate, points, different, bound, exhausted, interrupted, found[].
nlohmann::ordered_json run_cell(const Cell& cell);

/// What an interrupted run of the cell left to do; nothing if it cannot go on where it was and has to begin again.
std::optional<Cell> rest_of(const Cell& cell, const nlohmann::ordered_json& interrupted);
/// One result of the two halves of a cell.
nlohmann::ordered_json together(const nlohmann::ordered_json& first, const nlohmann::ordered_json& second);

/// "nothing in 1000 (P >= 2.1e-06)", "exhausted: 57", "double_unmap (2)".
std::string verdict(const nlohmann::ordered_json& result);
std::string report(const nlohmann::ordered_json& result);
/// strategy x story.
std::string matrix(const std::vector<nlohmann::ordered_json>& results, bool colour);

/// Ctrl-C was pressed; what was found is kept.
bool interrupted();
void catch_interrupts();

/// Runs the token's schedule. `vcd`: waveform file, `perfetto`: timeline; each may be empty.
struct Replayed {
  Outcome outcome;
  std::string report;
};
Replayed replay(const Token& token, const std::string& vcd, const std::string& perfetto = {});

/// The token, without a file, with fewer departures, pages, packets and cores that leads to the same class of finding.
struct Shrunk {
  Token token;
  std::uint64_t runs = 0;
  bool reproduced = false;
};
Shrunk shrink_token(const Token& token, std::uint64_t budget);

}  // namespace explore
