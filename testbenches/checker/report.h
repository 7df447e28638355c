// SPDX-License-Identifier: Apache-2.0
// Findings for people and for programs.
#pragma once
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "testbenches/checker/checker.h"

namespace checker {

/// Some lines a finding: class, count, times, place, parties, holders. "" if there is none.
std::string findings_text(const Checker& checker);

/// The pages in flight by holder, with the oldest hold of each; then one line a page with its path, at most
/// `lines`.
std::string in_flight_text(const Checker& checker, std::size_t lines = 16);

/// The pages in flight of one pool, a line each, oldest hold first: who holds it and, at `now`, for how long.
std::string held_pages_text(const Checker& checker, std::uint32_t pool, sim::Tick now);

/// Array of all pages in flight, each with its path.
nlohmann::ordered_json in_flight_json(const Checker& checker);

/// {class: count}, classes with findings only.
nlohmann::ordered_json finding_counts(const Checker& checker);

/// Array of findings with everything they say.
nlohmann::ordered_json findings_json(const Checker& checker);

/// The summary and every pool.
nlohmann::ordered_json summary_json(const Checker& checker);

}  // namespace checker
