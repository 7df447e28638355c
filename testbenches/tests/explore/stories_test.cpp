// SPDX-License-Identifier: Apache-2.0
// Every story is a legal program: in its natural order it comes to its end, without a finding, with a
// strategy that unmaps in time. And a schedule changes what happens.
#include <gtest/gtest.h>

#include <filesystem>
#include <set>

#include "testbenches/explore/runner.h"
#include "testbenches/explore/token.h"

namespace {

using namespace explore;

StageConfig stage(const std::string& story, const std::string& strategy) {
  Token token;
  token.strategy = strategy;
  token.settings = find_story(story).settings;
  token.settings.push_back("explore.story=" + story);
  return load(token);
}

class Stories : public testing::TestWithParam<std::string> {};

TEST_P(Stories, NaturalOrderComesToItsEndAndAScheduleChangesWhatHappens) {
  Runner runner(stage(GetParam(), "xarray_merged"));
  const Outcome natural = runner.run({});
  EXPECT_TRUE(natural.finished);
  // Fields that are not marked race in any order; that is told of the code, not of the story.
  for (const FoundFinding& f : natural.findings) {
    EXPECT_EQ(f.kind, "data_race") << " at " << f.place;
  }
  std::set<std::string> digests{natural.digest};
  Policy random;
  random.kind = Policy::Kind::kRandom;
  random.switch_probability = 0.2;
  for (random.seed = 1; random.seed < 9; ++random.seed) digests.insert(runner.run({}, random).digest);
  EXPECT_GT(digests.size(), 1u);
}

TEST_P(Stories, HasAScenarioFileThatSaysTheSame) {
  const std::string file = POOLSIM_SOURCE_DIR "/testbenches/scenarios/explore/" + GetParam() + ".yaml";
  StageConfig from_file, from_settings = stage(GetParam(), "stock");
  load(from_file, file, {"pool.strategy=stock"});
  EXPECT_EQ(from_file.explore.story, GetParam());
  const auto& a = from_file.run.machine;
  const auto& b = from_settings.run.machine;
  EXPECT_EQ(a.kernel.cores, b.kernel.cores);
  EXPECT_EQ(a.kernel.dma_mode, b.kernel.dma_mode);
  EXPECT_EQ(a.memory.bytes, b.memory.bytes);
  EXPECT_EQ(a.stack.skb_defer_max, b.stack.skb_defer_max);
  EXPECT_EQ(a.driver.rx_cpu, b.driver.rx_cpu);
  EXPECT_EQ(a.driver.itr_us, b.driver.itr_us);
  EXPECT_EQ(a.driver.vf_enable_ms, b.driver.vf_enable_ms);
  EXPECT_EQ(a.driver.rx.descriptors, b.driver.rx.descriptors);
  EXPECT_EQ(a.driver.rx.pool_size, b.driver.rx.pool_size);
}

std::vector<std::string> keys() {
  std::vector<std::string> all;
  for (const Story& s : stories()) all.emplace_back(s.key);
  return all;
}
INSTANTIATE_TEST_SUITE_P(All, Stories, testing::ValuesIn(keys()),
                         [](const auto& info) { return info.param; });

/// A stage in its natural order, and what a test looks at.
struct Played {
  explicit Played(const std::string& story, const Schedule& schedule = {})
      : stage(::stage(story, "xarray_merged")), records(1u << 16), oracle(records.data(), records.size()) {
    stage.warm_up();
    before = stage.machine().stack().counters();
    polls_before = stage.machine().stack().softnet().polls();
    stage.machine().nic().trace().flr_done.subscribe([this](const auto& e) { flr_at = e.time; });
    stage.kernel().trace().iova_freed.subscribe([this](const kernel::IovaFreed& e) {
      const auto chain = kernel::this_cpu().call_chain();
      const bool by_timer = std::any_of(chain.begin(), chain.end(), [](const char* f) {
        return std::string_view(f) == "fq_flush_timeout";
      });
      if (by_timer) freed.insert(e.iova.value);
    });
    stage.kernel().trace().iova_allocated.subscribe(
        [this](const kernel::IovaAllocated& e) { reused += freed.contains(e.iova.value); });
    oracle.start(schedule, {});
    result = stage.race(oracle);
  }
  Stage stage;
  std::vector<Record> records;
  ScheduleOracle oracle;
  nic::NetStack::Counters before;
  std::uint64_t polls_before = 0, reused = 0;
  sim::Tick flr_at = 0;
  std::set<std::uint64_t> freed;  ///< by the flush queue's timer
  StageResult result;
};

TEST(Nic, FramesArePolledWhileTheDriverGoes) {
  Played p("unbind_vs_napi_poll");
  const auto& counters = p.stage.machine().stack().counters();
  EXPECT_GT(p.stage.machine().stack().softnet().polls(), p.polls_before);
  EXPECT_EQ(counters.received - p.before.received, 2u);
  EXPECT_EQ(counters.read - p.before.read, 1u);        // by the reader
  EXPECT_EQ(counters.no_port - p.before.no_port, 1u);  // freed by the poll itself
}

TEST(Nic, TheResetCutsBetweenTwoFrames) {
  Played p("flr_vs_dma");
  EXPECT_NE(p.flr_at, 0u);
  EXPECT_EQ(p.stage.machine().wire().frames_sent(), 2u);
  EXPECT_EQ(p.stage.machine().stack().counters().received - p.before.received, 1u);
}

TEST(FlushTimer, FreesAddressesThatAreMappedAgain) {
  Played p("flush_timer_vs_reuse");
  EXPECT_FALSE(p.freed.empty());
  EXPECT_GT(p.reused, 0u);
}

TEST(Defer, TheSoftirqOfTheUnbindingCoreFreesWhatTheOtherCoreRead) {
  Played p("deferred_free_vs_destroy");
  EXPECT_GT(p.stage.machine().stack().defer().deferred(), 0u);
  EXPECT_GT(p.stage.machine().stack().defer().kicks(), 0u);
  EXPECT_EQ(p.stage.machine().stack().skbs().outstanding(), 0u);
}

}  // namespace
