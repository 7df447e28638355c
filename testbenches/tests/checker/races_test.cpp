// SPDX-License-Identifier: Apache-2.0
// What happens before what: each way of ordering two accesses, and none.
#include "testbenches/checker/races.h"

#include <gtest/gtest.h>

namespace {

using checker::DataRace;
using Kind = kernel::MemoryAccess::Kind;

class Races : public testing::Test {
 protected:
  void access(unsigned cpu, std::uint64_t address, Kind kind) {
    static const char* const kChain[] = {"inner", "outer"};
    detector_.on(kernel::MemoryAccess{address, "field", cpu, kind, kChain, ++time_});
  }
  void acquire(unsigned cpu, std::uint64_t object) { detector_.on(kernel::Ordered{object, cpu, true}); }
  void release(unsigned cpu, std::uint64_t object) { detector_.on(kernel::Ordered{object, cpu, false}); }

  std::vector<DataRace> found_;
  sim::Tick time_ = 0;
  checker::RaceDetector detector_{3, [this](const DataRace& r) { found_.push_back(r); }};
};

TEST_F(Races, TwoPlainWritesThatNothingOrdersRace) {
  access(0, 8, Kind::kStore);
  access(1, 8, Kind::kStore);
  ASSERT_EQ(found_.size(), 1u);
  EXPECT_EQ(found_[0].field, "field");
  EXPECT_EQ(found_[0].earlier.cpu, 0u);
  EXPECT_EQ(found_[0].later.cpu, 1u);
  EXPECT_EQ(found_[0].earlier.chain, "inner <- outer");
  EXPECT_TRUE(found_[0].earlier.write && found_[0].later.write);
  EXPECT_LT(found_[0].earlier.time, found_[0].later.time);
}

TEST_F(Races, AReadRacesWithAWriteInEitherOrder) {
  access(0, 8, Kind::kLoad);
  access(1, 8, Kind::kStore);
  access(2, 8, Kind::kLoad);
  EXPECT_EQ(found_.size(), 2u);
}

TEST_F(Races, ReadsDoNotRace) {
  access(0, 8, Kind::kLoad);
  access(1, 8, Kind::kLoad);
  EXPECT_TRUE(found_.empty());
}

TEST_F(Races, OneCoreDoesNotRaceWithItself) {
  access(0, 8, Kind::kStore);
  access(0, 8, Kind::kStore);
  EXPECT_TRUE(found_.empty());
}

TEST_F(Races, OtherAddressesDoNotMatter) {
  access(0, 8, Kind::kStore);
  access(1, 16, Kind::kStore);
  EXPECT_TRUE(found_.empty());
}

TEST_F(Races, ALockOrders) {
  acquire(0, 1);
  access(0, 8, Kind::kStore);
  release(0, 1);
  acquire(1, 1);
  access(1, 8, Kind::kStore);
  release(1, 1);
  EXPECT_TRUE(found_.empty());
}

TEST_F(Races, ADifferentLockDoesNot) {
  acquire(0, 1);
  access(0, 8, Kind::kStore);
  release(0, 1);
  acquire(1, 2);
  access(1, 8, Kind::kStore);
  EXPECT_EQ(found_.size(), 1u);
}

TEST_F(Races, WhatComesAfterTheReleaseIsNotOrdered) {
  release(0, 1);
  access(0, 8, Kind::kStore);
  acquire(1, 1);
  access(1, 8, Kind::kStore);
  EXPECT_EQ(found_.size(), 1u);
}

TEST_F(Races, OrderGoesOnOverAThirdCore) {
  access(0, 8, Kind::kStore);
  release(0, 1);
  acquire(1, 1);
  release(1, 2);
  acquire(2, 2);
  access(2, 8, Kind::kLoad);
  EXPECT_TRUE(found_.empty());
}

TEST_F(Races, AMarkedFlagPublishesWhatIsBehindIt) {
  access(0, 8, Kind::kStore);
  access(0, 16, Kind::kMarkedStore);
  access(1, 16, Kind::kMarkedLoad);
  access(1, 8, Kind::kLoad);
  EXPECT_TRUE(found_.empty());
}

TEST_F(Races, APlainFlagRacesItselfAndPublishesNothing) {
  access(0, 8, Kind::kStore);
  access(0, 16, Kind::kStore);
  access(1, 16, Kind::kLoad);
  access(1, 8, Kind::kLoad);
  EXPECT_EQ(found_.size(), 2u);
}

TEST_F(Races, MarkedAccessesMayMeet) {
  access(0, 8, Kind::kMarkedStore);
  access(1, 8, Kind::kMarkedStore);
  access(2, 8, Kind::kMarkedLoad);
  EXPECT_TRUE(found_.empty());
}

TEST_F(Races, AMarkedReadOfAPlainWriteIsARace) {
  access(0, 8, Kind::kStore);
  access(1, 8, Kind::kMarkedLoad);
  ASSERT_EQ(found_.size(), 1u);
  EXPECT_TRUE(found_[0].earlier.plain);
  EXPECT_FALSE(found_[0].later.plain);
}

TEST_F(Races, AnAtomicOrdersBothWays) {
  access(0, 8, Kind::kStore);
  access(0, 16, Kind::kAtomic);
  access(1, 16, Kind::kAtomic);
  access(1, 8, Kind::kStore);
  access(1, 16, Kind::kAtomic);
  access(0, 16, Kind::kAtomic);
  access(0, 8, Kind::kStore);
  EXPECT_TRUE(found_.empty());
}

}  // namespace
