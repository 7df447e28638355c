// SPDX-License-Identifier: Apache-2.0
// Exploration of the real machine: each test is a process of its own, as SystemC wants it.
#include <gtest/gtest.h>

#include <algorithm>

#include "testbenches/explore/search.h"
#include "testbenches/explore/token.h"

namespace {

using namespace explore;

StageConfig stage(const std::string& story, const std::string& strategy, std::vector<std::string> more = {}) {
  Token token;
  token.strategy = strategy;
  token.settings = find_story(story).settings;
  token.settings.push_back("explore.story=" + story);
  token.settings.push_back("explore.pages=2");
  token.settings.insert(token.settings.end(), more.begin(), more.end());
  return load(token);
}

TEST(Runner, TheSameScheduleGivesTheSameDigest) {
  Runner runner(stage("return_vs_destroy", "xarray_merged"));
  const Outcome first = runner.run({}), again = runner.run({});
  EXPECT_TRUE(first.finished);
  EXPECT_FALSE(first.digest.empty());
  EXPECT_EQ(first.digest, again.digest);
  EXPECT_EQ(first.points, again.points);
}

class EveryStory : public testing::TestWithParam<std::string> {};

std::vector<std::string> keys_of_stories() {
  std::vector<std::string> keys;
  for (const Story& s : stories()) keys.emplace_back(s.key);
  return keys;
}

void expect_same(const Outcome& a, const Outcome& b) {
  EXPECT_EQ(a.digest, b.digest);
  EXPECT_EQ(a.points, b.points);
  EXPECT_EQ(a.taken, b.taken);
  EXPECT_EQ(a.signal, b.signal);
  ASSERT_EQ(a.findings.size(), b.findings.size());
  for (std::size_t i = 0; i < a.findings.size(); ++i) {
    EXPECT_EQ(a.findings[i].key(), b.findings[i].key());
    EXPECT_EQ(a.findings[i].detail, b.findings[i].detail);
  }
}

// An executor that puts its memory back knows nothing of the schedules that it ran before.
TEST_P(EveryStory, RunsTheSameInAForkAndInAnExecutorWithAPast) {
  if (usual_isolation() == Isolation::kFork) GTEST_SKIP() << "no snapshots in this build";
  Runner runner(stage(GetParam(), "scan"));
  for (std::uint64_t seed = 0; seed < 8; ++seed) {
    Policy random;
    random.kind = seed == 0 ? Policy::Kind::kNatural : Policy::Kind::kRandom;
    random.seed = seed;
    random.switch_probability = 0.1;
    runner.set_isolation(Isolation::kFork);
    const Outcome apart = runner.run({}, random);
    runner.set_isolation(Isolation::kSnapshot);
    expect_same(apart, runner.run({}, random));
  }
}

INSTANTIATE_TEST_SUITE_P(Stories, EveryStory, testing::ValuesIn(keys_of_stories()),
                         [](const auto& info) { return info.param; });

TEST(Runner, WhatARandomWalkDidCanBeDoneAgainByItsList) {
  Runner runner(stage("return_vs_destroy", "stock"));
  Policy random;
  random.kind = Policy::Kind::kRandom;
  random.switch_probability = 0.1;
  for (random.seed = 1; random.seed < 6; ++random.seed) {
    const Outcome walked = runner.run({}, random);
    EXPECT_FALSE(walked.taken.empty());
    EXPECT_EQ(runner.run(walked.taken).digest, walked.digest);
  }
}

// Lin's argument against Jesper's third suggestion, shown in the thread: a return that saw the pool alive puts a page
// into it after the destroyer has looked.
TEST(Search, FindsTheRaceThatTheThreadShowed) {
  Runner runner(stage("return_vs_destroy", "destroy_flag"));
  SearchOptions options;
  options.method = Method::kPreempt;
  options.depth = 1;
  options.budget = 400;
  const SearchResult r = search(runner, options, {});
  const auto departed = [](const auto& entry) { return !entry.second.natural; };
  const auto found = std::find_if(r.found.begin(), r.found.end(), departed);
  ASSERT_NE(found, r.found.end());
  EXPECT_EQ(found->second.schedule.size(), 1u);
  EXPECT_EQ(runner.run(found->second.schedule).digest, found->second.digest);
}

SearchResult look(const std::string& story, const std::string& strategy, std::vector<std::string> more = {}) {
  Runner runner(stage(story, strategy, std::move(more)));
  SearchOptions options;
  options.method = Method::kPreempt;
  options.depth = 2;
  options.budget = 3000;
  return search(runner, options, {});
}
bool finds(const SearchResult& r, std::string_view kind, std::string_view in_key) {
  return std::any_of(r.found.begin(), r.found.end(), [&](const auto& entry) {
    return entry.second.finding.kind == kind && entry.first.find(in_key) != std::string::npos;
  });
}

// Mutants: what is taken away is noticed, and nothing is noticed before.
TEST(Mutants, AListWithoutItsLockIsADataRaceOnIt) {
  EXPECT_TRUE(finds(look("two_returners", "tracked_list", {"explore.pages=4", "explore.mutant=no_list_lock"}), "data_race", "list->prev"));
}
TEST(Mutants, AListWithItsLockIsNone) {
  EXPECT_FALSE(finds(look("two_returners", "tracked_list", {"explore.pages=4"}), "data_race", "list->"));
}
TEST(Mutants, ARingWithoutItsProducerLockIsADataRaceOnItsIndex) {
  EXPECT_TRUE(finds(look("two_returners", "stock", {"explore.mutant=no_producer_lock"}), "data_race", "ring->producer"));
}
TEST(Mutants, ARingWithItsProducerLockIsNone) {
  EXPECT_FALSE(finds(look("two_returners", "stock"), "data_race", "ring->"));
}

TEST(Search, PctNamesItsBound) {
  Runner runner(stage("last_page", "stock"));
  SearchOptions options;
  options.budget = 3;
  options.depth = 2;
  const SearchResult r = search(runner, options, {});
  EXPECT_DOUBLE_EQ(r.bound, 1.0 / (3.0 * r.points));
  EXPECT_EQ(r.schedules, 3u);
}

TEST(Token, OneLineIsEnough) {
  Token t;
  t.file = "a.yaml";
  t.strategy = "scan";
  t.settings = {"explore.pages=2", "kernel.cores=3"};
  t.schedule = {{0, 5, 1}};
  t.finding = "double_unmap";
  t.digest = "0123";
  t.build = build_id();
  EXPECT_EQ(to_text(read_token(to_text(t))), to_text(t));
  EXPECT_TRUE(is_token(to_text(t)));
  EXPECT_FALSE(is_token("/nonexistent"));
  EXPECT_THROW(read_token("poolsim:1 stratgy=scan"), sim::Error);
}

}  // namespace
