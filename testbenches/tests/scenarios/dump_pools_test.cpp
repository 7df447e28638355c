// SPDX-License-Identifier: Apache-2.0
// What `poolsim run --dump-pools` prints after a run that stopped with pages out.
#include <gtest/gtest.h>

#include <regex>

#include "testbenches/scenario/run.h"

namespace {

TEST(DumpPools, NamesTheHolderOfEveryPageInFlightAndTheAgeOfItsHold) {
  scenario::RunConfig config;
  scenario::load(config, POOLSIM_SOURCE_DIR "/testbenches/scenarios/unbind_outstanding.yaml",
                 {"pool.strategy=stock"});
  scenario::ScenarioRun run(config, {});
  run.run();
  const std::string text = run.dump_pools();

  std::size_t in_flight = 0, pages = 0;
  for (const auto& pool : run.machine().pools().pools())
    in_flight += static_cast<std::size_t>(pool->state().inflight);
  const std::regex page(
      R"re(  page pfn=0x[0-9a-f]+( iova=0x[0-9a-f]+)? holder="([^"]+)" holder-id=\d+ age=([0-9.]+)s\n)re");
  double oldest = 0, last = 1e9;
  bool sorted = true;
  for (std::sregex_iterator i(text.begin(), text.end(), page), end; i != end; ++i, ++pages) {
    const double age = std::stod((*i)[3]);
    sorted &= age <= last;
    last = age;
    oldest = std::max(oldest, age);
  }
  EXPECT_GT(in_flight, 0u);
  EXPECT_EQ(pages, in_flight);  // one pool has them all
  EXPECT_TRUE(sorted);
  EXPECT_GT(oldest, 1e-6);
  EXPECT_LE(oldest, static_cast<double>(run.machine().simulation().now()) / sim::kSecond);
  EXPECT_NE(text.find("holder=\"IPv4 fragment queue\""), std::string::npos) << text;
  EXPECT_TRUE(std::regex_search(text, std::regex(R"re(inflight=\d+ inflight-mem=\d+ detach-time=\d+ )re")))
      << text;
}

}  // namespace
