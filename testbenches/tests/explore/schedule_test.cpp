// SPDX-License-Identifier: Apache-2.0
// Schedules as text, and the searches on programs so small that the number of their orders is known.
#include <gtest/gtest.h>

#include <set>

#include "sim/error.h"
#include "testbenches/explore/dpor.h"
#include "testbenches/explore/schedule.h"

namespace {

using namespace explore;

TEST(Schedule, TextAndBack) {
  const Schedule s{{0, 17, 1}, {1, 3, sim::kTimeParty}, {sim::kNoParty, 2, 0}, {kQueueParty, 1, 2}};
  EXPECT_EQ(to_text(s), "0.17>1,1.3>t,n.2>0,q.1>2");
  EXPECT_EQ(parse_schedule(to_text(s)), s);
  EXPECT_EQ(to_text({}), "natural");
  EXPECT_TRUE(parse_schedule("natural").empty());
}

TEST(Schedule, WhatCannotBeReadIsNamed) {
  for (const char* bad : {"x", "0.1", "0>1", "0.0>1", "0.1>99", "0.1>1,,", "0.-1>1", "0.1>"}) {
    EXPECT_THROW(parse_schedule(bad), sim::Error) << bad;
  }
}

/// Threads that each do a list of accesses; one runs at a time and asks before each.
struct Program {
  struct Access {
    std::uint64_t subject;
    bool writes;
  };
  std::vector<std::vector<Access>> threads;

  /// The order of the threads' steps.
  std::string run(ScheduleOracle& oracle, const Schedule& schedule, const Policy& policy = {}) const {
    oracle.start(schedule, policy);
    std::vector<std::size_t> at(threads.size());
    std::vector<bool> asked(threads.size());
    std::string order;
    const auto unfinished = [&](std::size_t t) { return at[t] < threads[t].size(); };
    sim::Party running = sim::kNoParty;
    for (;;) {
      std::vector<sim::Party> parties;
      const bool goes_on = running != sim::kNoParty && unfinished(running);
      if (goes_on) parties.push_back(running);
      for (std::size_t t = 0; t < threads.size(); ++t) {
        if (t != running && unfinished(t)) parties.push_back(static_cast<sim::Party>(t));
      }
      if (parties.empty()) return order;
      sim::ChoicePoint point{"idle", 0, false, sim::kNoParty, parties};
      if (goes_on) {
        const Access& a = threads[running][at[running]];
        point = {"access", a.subject, a.writes, running, parties};
        asked[running] = true;
      }
      running = parties[oracle.choose(static_cast<std::uint32_t>(parties.size()), point)];
      if (!asked[running]) continue;  // comes to its first point, or on from there
      asked[running] = false;
      order += static_cast<char>('a' + running);
      ++at[running];
    }
  }
};

std::set<std::string> all_by_dpor(const Program& program, std::uint64_t& runs) {
  std::vector<Record> records(4096);
  Dpor tree(static_cast<unsigned>(program.threads.size()));
  Schedule schedule;
  std::set<std::string> orders;
  runs = 0;
  do {
    ScheduleOracle oracle(records.data(), records.size());
    orders.insert(program.run(oracle, schedule));
    tree.learn(records.data(), oracle.asked());
  } while (++runs < 100000 && tree.next(schedule));
  return orders;
}

TEST(Dpor, IndependentStepsNeedOneOrder) {
  std::uint64_t runs = 0;
  all_by_dpor({{{{1, true}, {2, true}}, {{3, true}, {4, true}}}}, runs);
  EXPECT_EQ(runs, 1u);
}

TEST(Dpor, TwoReadersNeedOneOrder) {
  std::uint64_t runs = 0;
  all_by_dpor({{{{1, false}}, {{1, false}}}}, runs);
  EXPECT_EQ(runs, 1u);
}

TEST(Dpor, TwoWritersNeedBothOrders) {
  std::uint64_t runs = 0;
  EXPECT_EQ(all_by_dpor({{{{1, true}}, {{1, true}}}}, runs).size(), 2u);
  EXPECT_EQ(runs, 2u);
}

// m and n writes of one thing: all interleavings differ, (m+n)! / (m! n!).
TEST(Dpor, WritesOfOneThingNeedEveryInterleaving) {
  std::uint64_t runs = 0;
  EXPECT_EQ(all_by_dpor({{{{1, true}, {1, true}}, {{1, true}, {1, true}}}}, runs).size(), 6u);
  EXPECT_EQ(all_by_dpor({{{{1, true}}, {{1, true}}, {{1, true}}}}, runs).size(), 6u);
}

TEST(Pct, TheHighestPriorityGoesOn) {
  std::vector<Record> records(64);
  const Program program{{{{1, true}, {1, true}}, {{1, true}, {1, true}}}};
  std::set<std::string> orders;
  for (std::uint64_t seed = 0; seed < 64; ++seed) {
    ScheduleOracle oracle(records.data(), records.size());
    orders.insert(program.run(oracle, {}, {Policy::Kind::kPct, seed, 0, {}, 2}));
  }
  // Depth 1: no change of priority, so one thread is through before the other one begins.
  EXPECT_EQ(orders, (std::set<std::string>{"aabb", "bbaa"}));
}

TEST(Schedule, WhatWasTakenLeadsThereAgain) {
  std::vector<Record> records(64);
  const Program program{{{{1, true}, {2, true}, {3, true}}, {{1, true}, {2, true}, {3, true}}}};
  for (std::uint64_t seed = 0; seed < 32; ++seed) {
    ScheduleOracle random(records.data(), records.size());
    const std::string order = program.run(random, {}, {Policy::Kind::kRandom, seed, 0.5, {}, 2});
    ScheduleOracle again(records.data(), records.size());
    EXPECT_EQ(program.run(again, random.taken()), order);
  }
}

}  // namespace
