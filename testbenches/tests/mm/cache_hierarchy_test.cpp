// SPDX-License-Identifier: Apache-2.0
// Where a core's access finds its line: capacities, states, DDIO. And a comparison with a plain model over
// random accesses: what each core may hold follows from the order of loads, stores and device writes.
#include "mm/cache_hierarchy.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

#include "sim/error.h"

namespace {

using mm::CacheConfig;
using mm::CacheHierarchy;
using mm::LineState;
using sim::PhysAddr;
using enum mm::CacheLevel;

/// One set everywhere: 2 lines of L1, 4 of L2, 8 of LLC, 2 of them for devices.
CacheConfig tiny() {
  return {.l1_bytes = 128,
          .l1_ways = 2,
          .l2_bytes = 256,
          .l2_ways = 4,
          .llc_bytes = 512,
          .llc_ways = 8,
          .ddio_ways = 2};
}
PhysAddr line(unsigned n) { return PhysAddr(0x8000'0000 + 64 * n); }

TEST(CacheHierarchy, ALineIsFoundInEachLevelThatHoldsIt) {
  CacheHierarchy c(tiny(), 1);
  EXPECT_EQ(c.load(0, line(0)), kMemory);
  EXPECT_EQ(c.load(0, line(0)), kL1);
  EXPECT_EQ(c.load(0, line(0) + 63), kL1);
  for (const unsigned n : {1u, 2u}) c.load(0, line(n));
  EXPECT_EQ(c.load(0, line(0)), kL2);  // two others took its place in L1
  for (const unsigned n : {3u, 4u, 5u}) c.load(0, line(n));
  EXPECT_EQ(c.load(0, line(0)), kLlc);  // four others in L2
  for (unsigned n = 6; n < 20; ++n) c.load(0, line(n));
  EXPECT_FALSE(c.cached(line(0)));
  EXPECT_EQ(c.load(0, line(0)), kMemory);
  EXPECT_GT(c.counters().llc_evictions, 0u);
}

TEST(CacheHierarchy, AWriteTakesTheLineFromOtherCores) {
  CacheHierarchy c(tiny(), 3);
  EXPECT_EQ(c.load(0, line(0)), kMemory);
  EXPECT_EQ(c.state(0, line(0)), LineState::kOwned);  // exclusive: nobody else has it
  EXPECT_EQ(c.store(0, line(0)), kL1);
  EXPECT_EQ(c.load(1, line(0)), kOtherCore);
  EXPECT_EQ(c.load(2, line(0)), kLlc);  // clean now
  for (unsigned core = 0; core < 3; ++core) EXPECT_EQ(c.state(core, line(0)), LineState::kShared);
  EXPECT_EQ(c.store(1, line(0)), kOtherCore);
  EXPECT_EQ(c.state(0, line(0)), LineState::kInvalid);
  EXPECT_EQ(c.state(1, line(0)), LineState::kOwned);
  EXPECT_EQ(c.store(1, line(0)), kL1);
  EXPECT_EQ(c.load(0, line(0)), kOtherCore);
}

TEST(CacheHierarchy, AWriteThatNobodyElseHoldsCostsItsLevelOnly) {
  CacheHierarchy c(tiny(), 2);
  EXPECT_EQ(c.store(0, line(0)), kMemory);
  for (unsigned n = 1; n < 3; ++n) c.load(0, line(n));
  EXPECT_EQ(c.store(0, line(0)), kL2);
  for (unsigned n = 3; n < 7; ++n) c.load(0, line(n));
  EXPECT_EQ(c.state(0, line(0)), LineState::kInvalid);  // written back
  EXPECT_EQ(c.store(1, line(0)), kLlc);
}

TEST(CacheHierarchy, ADevicesWriteGoesToTheLastLevel) {
  CacheHierarchy c(tiny(), 2);
  c.load(0, line(0));
  c.load(1, line(0));
  c.device_wrote(line(0) + 16, 16);
  EXPECT_EQ(c.load(0, line(0)), kLlc);
  EXPECT_EQ(c.load(0, line(0)), kL1);  // a second look, nothing written between
  c.device_wrote(line(0) + 32, 64);    // two lines
  EXPECT_EQ(c.counters().device_lines, 3u);
  EXPECT_EQ(c.load(1, line(1)), kLlc);
}

TEST(CacheHierarchy, DevicesPushEachOtherOutOfTheirWaysOnly) {
  CacheHierarchy c(tiny(), 1);
  // The devices' two ways are the first that are filled; six lines of the core stand in the others.
  for (unsigned n = 0; n < 8; ++n) c.load(0, line(n));
  for (unsigned n = 100; n < 110; ++n) c.device_wrote(line(n), 64);
  unsigned of_core = 0, of_device = 0;
  for (unsigned n = 0; n < 8; ++n) of_core += c.cached(line(n));
  for (unsigned n = 100; n < 110; ++n) of_device += c.cached(line(n));
  EXPECT_EQ(of_core, 6u);
  EXPECT_EQ(of_device, 2u);
  EXPECT_EQ(c.counters().ddio_evictions, 10u);
}

TEST(CacheHierarchy, WithoutDdioADevicesWriteIsInMemoryOnly) {
  CacheConfig config = tiny();
  config.ddio = false;
  CacheHierarchy c(config, 1);
  c.load(0, line(0));
  c.device_wrote(line(0), 64);
  EXPECT_FALSE(c.cached(line(0)));
  EXPECT_EQ(c.load(0, line(0)), kMemory);
}

/// A core's own caches hit only what it touched after everybody else's last write, and a line that it alone
/// wrote since is never found in another core.
TEST(CacheHierarchy, RandomAccessesAgreeWithTheOrderOfWrites) {
  for (unsigned seed = 0; seed < 20; ++seed) {
    std::mt19937 random(seed);
    const unsigned cores = 1 + random() % 4;
    CacheHierarchy c(
        {.l1_bytes = 256, .l1_ways = 2, .l2_bytes = 1024, .l2_ways = 4, .llc_bytes = 4096, .llc_ways = 8},
        cores);
    std::map<unsigned, std::uint32_t>
        may_hold;  // line: cores that touched it since the last write of another
    for (unsigned i = 0; i < 20'000; ++i) {
      const unsigned n = random() % 100, core = random() % cores;
      const unsigned kind = random() % 8;
      if (kind == 0) {
        c.device_wrote(line(n), 64);
        may_hold[n] = 0;
        for (unsigned k = 0; k < cores; ++k) ASSERT_EQ(c.state(k, line(n)), LineState::kInvalid);
        continue;
      }
      const bool write = kind < 4;
      const mm::CacheLevel level = write ? c.store(core, line(n)) : c.load(core, line(n));
      const bool mine = (may_hold[n] >> core & 1) != 0, others = (may_hold[n] & ~(1u << core)) != 0;
      ASSERT_TRUE(mine || (level != kL1 && level != kL2));
      ASSERT_TRUE(others || level != kOtherCore);
      if (write) may_hold[n] = 0;
      may_hold[n] |= 1u << core;
      unsigned owners = 0, holders = 0;
      for (unsigned k = 0; k < cores; ++k) {
        const LineState state = c.state(k, line(n));
        owners += state == LineState::kOwned;
        holders += state != LineState::kInvalid;
        ASSERT_TRUE(state == LineState::kInvalid || (may_hold[n] >> k & 1) != 0);
      }
      ASSERT_GE(holders, 1u);
      ASSERT_TRUE(owners == 0 || holders == 1);
    }
  }
}

TEST(CacheHierarchy, ConfigurationsThatCannotBeAreRefusedByName) {
  const auto message = [](auto change) {
    CacheConfig c;
    change(c);
    try {
      c.validate();
    } catch (const sim::Error& e) {
      return std::string(e.what());
    }
    return std::string("accepted");
  };
  EXPECT_NE(message([](auto& c) { c.llc_bytes = 3 << 20; }).find("memory.cache.llc_size"), std::string::npos);
  EXPECT_NE(message([](auto& c) { c.l1_ways = 0; }).find("memory.cache.l1_ways"), std::string::npos);
  EXPECT_NE(message([](auto& c) { c.l2_bytes = 16 << 10; }).find("smaller than L1"), std::string::npos);
  EXPECT_NE(message([](auto& c) { c.llc_bytes = 512 << 10; }).find("smaller than L2"), std::string::npos);
  EXPECT_NE(message([](auto& c) { c.ddio_ways = 17; }).find("memory.cache.ddio_ways: 17 is not in 1..16"),
            std::string::npos);
  EXPECT_EQ(message([](auto&) {}), "accepted");
}

}  // namespace
