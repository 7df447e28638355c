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
