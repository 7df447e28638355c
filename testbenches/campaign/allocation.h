// SPDX-License-Identifier: Apache-2.0
// What a pilot has taught, put into the campaign file itself: comments and layout stay.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "testbenches/campaign/campaign.h"

namespace campaign {

/// Text of the campaign with `runs[i]` as runs: of fault i, and their sum as sampling.experiments. Throws
/// sim::Error if the file cannot say so without being written anew (a fault that is an alias, say).
std::string with_runs(const Campaign& campaign, const std::vector<std::uint64_t>& runs);

}  // namespace campaign
