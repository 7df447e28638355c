// SPDX-License-Identifier: Apache-2.0
// One header more, testbenches/tests/fifteenth/never_unmap.h, and there is a fifteenth strategy: found by its
// key and in suggestions, run by scenarios, compared, and judged by the checker.
#include <gtest/gtest.h>

#include <algorithm>

#include "pagepool/page_pools.h"
#include "sim/error.h"
#include "testbenches/scenario/compare.h"

namespace {

TEST(FifteenthStrategy, IsListedFoundAndSuggested) {
  EXPECT_EQ(pagepool::strategies().size(), 15u);
  EXPECT_EQ(pagepool::find_strategy("never_unmap").key, std::string("never_unmap"));
  try {
    pagepool::find_strategy("never_unmapp");
    FAIL();
  } catch (const sim::Error& e) {
    EXPECT_NE(std::string(e.what()).find("never_unmap"), std::string::npos);
  }
}

TEST(FifteenthStrategy, IsComparedWithTheOthersAndJudgedByTheChecker) {
  scenario::CompareRequest r;
  r.files = {POOLSIM_SOURCE_DIR "/testbenches/scenarios/unbind_short.yaml"};
  r.strategies = {"never_unmap", "xarray_merged"};
  r.costs = false;
  const auto c = scenario::compare(r);
  ASSERT_TRUE(c.cells[0].run && c.cells[1].run) << c.cells[0].error;
  const auto& findings = c.cells[0].run->findings;
  const auto leaked = std::ranges::find(findings, "leaked_mapping", [](const auto& f) { return f.first; });
  ASSERT_NE(leaked, findings.end());
  // Those in flight, and those that the scrub takes from the ring of the destroyed pool.
  EXPECT_GE(leaked->second, c.cells[0].run->pages_outstanding);
  EXPECT_TRUE(c.cells[1].run->findings.empty());
}

}  // namespace
