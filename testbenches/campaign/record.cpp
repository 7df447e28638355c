// SPDX-License-Identifier: Apache-2.0
#include "testbenches/campaign/record.h"

namespace campaign {
namespace {
struct Info {
  const char* key;
  const char* summary;
  bool failure;
};
constexpr Info kInfo[kOutcomes] = {
    {"crash_tool", "this program crashed or ran out of memory", true},
    {"hang_host", "used up its CPU time", true},
    {"invalid", "a law of the model was broken", false},
    {"not_activated", "the trigger never came, or nothing was there to hit", false},
    {"oops", "the modelled kernel died of it", true},
    {"deadlock", "nothing is left to happen and the scenario is not over", true},
    {"stall", "no progress where the golden run has some", true},
    {"corruption", "a device wrote into memory that it does not own", true},
    {"sdc", "wrong packet content reached its reader unnoticed", true},
    {"uaf", "used after free, or freed twice", true},
    {"leak", "page, mapping or IOVA lost for good", true},
    {"detected_hw", "the IOMMU or ECC noticed, nothing worse", false},
    {"detected_sw", "the kernel noticed, nothing worse", false},
    {"degraded", "correct, but packets or time were lost", false},
    {"latent", "outputs as golden, state different", false},
    {"masked", "as the golden run", false},
};
}  // namespace

const char* to_string(Outcome o) { return kInfo[static_cast<std::size_t>(o)].key; }
const char* summary(Outcome o) { return kInfo[static_cast<std::size_t>(o)].summary; }
bool is_failure(Outcome o) { return kInfo[static_cast<std::size_t>(o)].failure; }

const char* to_string(Stop s) {
  switch (s) {
    case Stop::kWindow:
      return "window";
    case Stop::kScenarioEnd:
      return "scenario_end";
    case Stop::kConverged:
      return "converged";
    case Stop::kPruned:
      return "pruned";
    case Stop::kStall:
      return "stall";
    case Stop::kDied:
      return "died";
    case Stop::kExhausted:
      return "exhausted";
  }
  return "?";
}

}  // namespace campaign
