// SPDX-License-Identifier: Apache-2.0
// poolsim list findings: what the checker can find.
#include "testbenches/checker/finding.h"
#include "testbenches/cli/command.h"

namespace {

const cli::Listing kFindings("findings", {"class", "what it means"}, [] {
  cli::Listing::Rows rows;
  for (std::size_t i = 0; i < checker::kFindingClasses; ++i) {
    const auto& info = checker::info(static_cast<checker::FindingClass>(i));
    rows.push_back({info.key, info.summary});
  }
  return rows;
});

}  // namespace
