// SPDX-License-Identifier: Apache-2.0
// The three modes of time agree in the midst of random images, crowds of requests, commands, messages,
// register accesses and memory faults: same digest, same completions at the same cycles, same walker
// accesses.
#include <gtest/gtest.h>

#include <sstream>

#include "testbenches/tests/iommu/crowd.h"

namespace {

using iommu_test::Crowd;
using iommu_test::CrowdWorld;
using iommu_test::Cycle;
using iommu_test::kCycle;

std::string log_of(CrowdWorld& w) {
  std::string text;
  for (const auto& c : w.device.done) text += fmt::format("done {} {:x} {}\n", c.tag, c.data, c.at);
  for (const auto& a : w.memory.walked)
    text += fmt::format("walker {:x} {} {} {}\n", a.address, a.write, a.length, a.at);
  for (const auto& a : w.memory.seen) text += fmt::format("request {:x} {} {}\n", a.address, a.write, a.at);
  for (const auto& f : w.fences) text += fmt::format("fence {} {}\n", f.index, f.time);
  return text + w.sim.digest().hex() + "\n";
}

/// The line where two logs part, or nothing.
std::string first_difference(const std::string& a, const std::string& b) {
  std::istringstream left(a), right(b);
  std::string x, y;
  while (std::getline(left, x) && std::getline(right, y)) {
    if (x != y) return x + " | " + y;
  }
  return a.size() == b.size() ? "" : "one is longer";
}

/// Streams of random numbers carry the name of their world: here the worlds must replace alike.
iommu::IommuConfig configuration(std::uint64_t seed) {
  iommu::IommuConfig c = iommu_test::crowd_configuration(seed);
  for (iommu::CacheConfig* cache : {&c.iotlb, &c.ddt_cache, &c.pdt_cache, &c.walk_cache}) {
    if (cache->replacement == iommu::Replacement::kRandom) cache->replacement = iommu::Replacement::kPlru;
  }
  return c;
}

/// One random configuration in three modes, in lockstep.
struct Trio {
  explicit Trio(std::uint64_t seed) : seed(seed) {
    constexpr sim::TimeMode modes[] = {{}, {true, true}, {false, false}};
    for (unsigned m = 0; m < 3; ++m) {
      worlds.push_back(std::make_unique<CrowdWorld>("w" + std::to_string(seed) + "_" + std::to_string(m),
                                                    configuration(seed), modes[m], seed % 4 * 7));
      choices.push_back(std::make_unique<iommu_test::StreamChoices>(seed));
      crowds.push_back(std::make_unique<Crowd>(*worlds[m], *choices[m]));
    }
  }
  std::uint64_t seed;
  std::vector<std::unique_ptr<CrowdWorld>> worlds;
  std::vector<std::unique_ptr<iommu_test::StreamChoices>> choices;
  std::vector<std::unique_ptr<Crowd>> crowds;
};

void compare(std::uint64_t first_seed, unsigned seeds) {
  std::vector<std::unique_ptr<Trio>> trios;
  for (unsigned i = 0; i < seeds; ++i) trios.push_back(std::make_unique<Trio>(first_seed + i));
  Cycle now = 0;
  const auto run = [&](Cycle cycles) {
    now += cycles;
    for (auto& t : trios)
      for (auto& w : t->worlds) w->sim.timeline().run_until(now * kCycle);
  };
  run(4);
  for (auto& t : trios)
    for (auto& c : t->crowds) c->start();
  for (unsigned step = 0; step < 60; ++step) {
    Cycle longest = 0;
    for (auto& t : trios)
      for (auto& c : t->crowds) longest = std::max(longest, c->step(now));
    run(longest % 256 + 8);
  }
  run(64);
  for (auto& t : trios)
    for (auto& c : t->crowds) c->switch_off();
  run(20'000);
  std::size_t answered = 0;
  for (auto& t : trios) {
    answered += t->worlds[0]->device.done.size();
    for (unsigned m = 0; m < 3; ++m) {
      EXPECT_TRUE(t->crowds[m]->at_rest()) << "seed " << t->seed << ", mode " << m;
      EXPECT_EQ(t->crowds[m]->broken_law(), "") << "seed " << t->seed << ", mode " << m;
      EXPECT_EQ(first_difference(log_of(*t->worlds[m]), log_of(*t->worlds[0])), "")
          << "seed " << t->seed << ", mode " << m;
    }
  }
  EXPECT_GT(answered, seeds * 20u);
}

TEST(IommuModes, AgreeInACrowdA) { compare(1, 24); }
TEST(IommuModes, AgreeInACrowdB) { compare(101, 24); }
TEST(IommuModes, AgreeInACrowdC) { compare(201, 24); }

}  // namespace
