// SPDX-License-Identifier: Apache-2.0
// Runs as one self-contained HTML page, made from what `poolsim run --json` printed: a comparison, and for
// each run the timeline of the unbind, findings with holders, pools, who holds what, counters and the
// kernel's log.
#pragma once
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace scenario {

struct ReportedRun {
  std::string name;             ///< of its file, in headings
  nlohmann::ordered_json json;  ///< ScenarioRun::report_json()
};

/// No script, no font, no file from elsewhere. Throws sim::Error for what is no report of a run, naming
/// `name`.
std::string report_page(const std::vector<ReportedRun>& runs);

/// The timeline of one run: what happened when, on an axis that is logarithmic around the begin of the
/// unbind.
std::string unbind_timeline_svg(const nlohmann::ordered_json& run);

}  // namespace scenario
