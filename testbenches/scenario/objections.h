// SPDX-License-Identifier: Apache-2.0
// The objections that were raised in the thread, each with its scenario, the strategies that it is about, and
// a judgement that is computed from what the runs measured.
#pragma once
#include <string>
#include <vector>

#include "testbenches/scenario/compare.h"

namespace scenario {

struct ObjectionAnswer {
  std::string key, title;  ///< "inflight_limit", "A hard limit on pages in flight"
  std::string claim;       ///< what was said, by whom, against what
  std::string scenario;    ///< file
  std::vector<RunResult> runs;
  bool shown = false;   ///< the runs show what was said
  std::string numbers;  ///< the figures that say so
  std::string error;    ///< why there is no answer
};

/// Runs all objections (or those in `only`) with the scenario files of `folder`. sim::Error for an unknown
/// key or a missing file.
std::vector<ObjectionAnswer> answer_objections(const std::string& folder,
                                               const std::vector<std::string>& only, unsigned jobs,
                                               const Progress& progress = {});

/// A page with a paragraph for each; `machine` and `date` are stated.
std::string objections_markdown(const std::vector<ObjectionAnswer>& answers, const std::string& machine,
                                const std::string& date);
std::string objections_json(const std::vector<ObjectionAnswer>& answers);

}  // namespace scenario
