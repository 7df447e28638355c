// SPDX-License-Identifier: Apache-2.0
// Def/use classes: what is run of a fault space, weighted, says what the whole of it would.
#include "testbenches/campaign/defuse.h"

#include <algorithm>

#include "testbenches/campaign/allocation.h"
#include "testbenches/campaign/statistics.h"
#include "testbenches/tests/campaign/campaign_fixture.h"

namespace {

using namespace campaign_test;

// A space of two cells that is small enough to be run as a whole. Whether a fault matters may depend on the
// bit and on the access that reads it, as in a machine; the census must count exactly what the whole space
// counts.
TEST(DefUse, TheWeightedCensusIsTheWholeSpace) {
  const std::vector<Cell> cells = {{sim::PhysAddr(0x1000), 16, "a"}, {sim::PhysAddr(0x2004), 8, "b"}};
  DefUse d;
  d.add_cells(cells);
  std::vector<WordAccess> log;
  sim::RandomStream random(7, 0, "accesses");
  for (unsigned ps = 3; ps < 220; ps += 1 + static_cast<unsigned>(random.below(9))) {
    log.push_back({ps * sim::kPicosecond, static_cast<std::uint32_t>(random.below(d.words().size())),
                   random.below(3) == 0});
  }
  d.load(log);
  const sim::Tick from = 20 * sim::kPicosecond, to = 170 * sim::kPicosecond;
  const auto fails = [&d](const Cell& cell, unsigned bit, sim::Tick t) {
    const DefUseClass c = d.find(cell.address + bit / 8, t);
    return c.fate == ClassFate::kLive && (bit * 7 + c.to / sim::kPicosecond) % 3 == 0;
  };
  std::uint64_t whole = 0, failures = 0;
  for (const Cell& c : cells) {
    for (unsigned bit = 2; bit <= 63; ++bit) {
      for (sim::Tick t = from; t < to; t += sim::kPicosecond) ++whole, failures += fails(c, bit, t);
    }
  }
  std::uint64_t space = 0, weighted = 0, live = 0;
  const auto census = d.census(cells, 2, 63, from, to);
  for (const CensusEntry& e : census) {
    space += e.weight();
    live += e.of.fate == ClassFate::kLive;
    if (fails(cells[e.cell], e.bit, e.of.from)) weighted += e.weight();
  }
  EXPECT_EQ(space, whole);
  EXPECT_EQ(weighted, failures);
  EXPECT_GT(failures, 0u);
  EXPECT_LT(live * 5, whole) << "much less is run";
}

// On the machine: every class once. The weights are the whole space; experiments at drawn moments of it, run
// in full, find in each class what its one experiment found, and their share is that of the census.
TEST_F(CampaignRun, EachClassOnceIsTheWholeFaultSpace) {
  const char* const kFault =
      "  - {{kind: dram, where: device_context, bits: {}, when: \"defuse(0, 60us{})\"}}\n";
  Campaign each = make(fmt::format(fmt::runtime(kFault), "0..3", ", each"), 150);
  each.sampling.audit = 0;
  run_campaign(each, settings("each.db"));
  const Database census = Database::open(file("each.db"));
  std::uint64_t weight = 0, exhausted = 0;
  std::map<std::string, std::map<sim::Tick, Result>> classes;  // by entity and begin
  census.each([&](const Result& r) {
    if (r.stop == "exhausted") {
      ++exhausted;
      return;
    }
    weight += r.weight;
    classes[r.entity].emplace(r.injected, r);
  });
  ASSERT_GT(exhausted, 0u) << "more experiments than classes";
  const StratumEstimate whole = estimate(each, census, 150, 0.95)[0].strata[0];
  EXPECT_EQ(whole.space, weight);
  EXPECT_TRUE(whole.whole);
  EXPECT_EQ(estimate(each, census, 150, 0.95)[0].margin, 0);

  Campaign drawn = make(fmt::format(fmt::runtime(kFault), "0..3", ""), 40);
  drawn.sampling.audit = 1;
  run_campaign(drawn, settings("drawn.db"));
  std::uint64_t failures = 0, n = 0, compared = 0;
  Database::open(file("drawn.db")).each([&](const Result& r) {
    ++n;
    bool failed = false;
    for (std::size_t o = 0; o < kOutcomes; ++o) {
      const auto outcome = static_cast<Outcome>(o);
      failed |= r.outcome == to_string(outcome) && is_failure(outcome);
    }
    failures += failed;
    const auto of = classes.find(r.entity);
    if (of == classes.end()) return;
    const auto next = of->second.upper_bound(r.injected);
    if (next == of->second.begin()) return;
    EXPECT_EQ(std::prev(next)->second.outcome, r.outcome) << r.entity;
    ++compared;
  });
  EXPECT_GT(compared, 5u);
  const Interval i = clopper_pearson(failures, n, 0.999);
  EXPECT_GE(whole.p, i.low);
  EXPECT_LE(whole.p, i.high);
}

TEST_F(CampaignRun, APilotSaysHowToShareOutTheRest) {
  Campaign c = make(
      "  - {kind: none, weight: 2}\n"
      "  - {kind: surprise_removal, when: \"uniform(0, 100us)\"}\n",
      60);
  EXPECT_THROW(allocate(c, Database::open_for(c, file("few.db"), "this"), 100), sim::Error);
  c.window = 20 * sim::kMicrosecond;
  c.faults[0].runs = c.faults[1].runs = 1;
  run_campaign(c, settings("a.db"));
  const auto runs = allocate(c, Database::open(file("a.db")), 1000);
  ASSERT_EQ(runs.size(), 2u);
  EXPECT_NEAR(static_cast<double>(runs[0] + runs[1]), 1000, 2);
  // runs: decides who is run how often, weight: what it counts.
  EXPECT_EQ(estimate(c, Database::open(file("a.db")), 60, 0.95)[0].strata[0].n, 30u);
  EXPECT_NEAR(estimate(c, Database::open(file("a.db")), 60, 0.95)[0].strata[0].weight, 2.0 / 3, 1e-12);
}

// The file with the numbers differs in nothing else, however its maps are written.
TEST(CampaignFile, NumbersOfAPilotGoIntoTheFileAsItIs) {
  const std::string before =
      "base: x\nsettings: {memory.size: 64 MiB}\nfaults:\n  # a comment\n  - {kind: none, weight: 2}\n"
      "  - kind: surprise_removal  # why\n    when: 5us\n  - {kind: none, runs: 5}\n";
  const auto parsed = [](const std::string& text) {
    std::ifstream in(kBase);
    const std::string base{std::istreambuf_iterator<char>(in), {}};
    return parse_campaign("test.yaml", text, kBase, base);
  };
  const std::string after = with_runs(parsed(before), {300, 650, 40});
  EXPECT_EQ(after,
            "base: x\nsettings: {memory.size: 64 MiB}\nfaults:\n  # a comment\n"
            "  - {runs: 300, kind: none, weight: 2}\n"
            "  - runs: 650\n    kind: surprise_removal  # why\n    when: 5us\n  - {kind: none, runs: 40}\n"
            "sampling: {experiments: 990}\n");
  EXPECT_EQ(with_runs(parsed(after), {1, 2, 3}),
            with_runs(parsed(with_runs(parsed(before), {9, 9, 9})), {1, 2, 3}));
  try {
    with_runs(parsed("base: x\nfaults:\n  - &a {kind: none}\n  - *a\n"), {1, 2});
    FAIL() << "one text for two numbers";
  } catch (const sim::Error& e) {
    EXPECT_NE(std::string(e.what()).find("test.yaml: runs: cannot be put in"), std::string::npos) << e.what();
  }
}

TEST(CampaignFile, EachIsForClassesOfOneBit) {
  EXPECT_THROW(make("  - {kind: dram, when: \"uniform(0, 1us, each)\"}\n", 1), sim::Error);
  EXPECT_THROW(make("  - {kind: dram, mode: stuck0, when: \"defuse(0, 1us, each)\"}\n", 1), sim::Error);
  EXPECT_THROW(make("  - {kind: dram, count: 2, when: \"defuse(0, 1us)\"}\n", 1), sim::Error);
  EXPECT_NO_THROW(make("  - {kind: dram, when: \"defuse(0, 1us, each)\"}\n", 1));
}

}  // namespace
