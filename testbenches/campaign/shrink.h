// SPDX-License-Identifier: Apache-2.0
// A failure in a smaller world: less traffic, fewer packets held, fewer cores, and a fault of the same entry
// that leads to the same signature.
#pragma once
#include <string>
#include <vector>

#include "testbenches/campaign/replay.h"

namespace campaign {

struct Shrunk {
  bool reproduced = false;
  std::vector<std::string> settings;  ///< a.b=c, smaller than the campaign's
  Reference smallest;
  std::uint64_t runs = 0;  ///< experiments
};
/// `tries`: experiments for each smaller world; `jobs` at a time. `tell` hears of each step.
Shrunk shrink(const Reference& reference, std::uint64_t tries, unsigned jobs,
              const std::function<void(const std::string&)>& tell);
/// Token of what is left, in one line.
std::string token(const Shrunk& shrunk, const std::string& build);

}  // namespace campaign
