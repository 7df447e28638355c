// SPDX-License-Identifier: Apache-2.0
// Laws of the DRAM channel, from the timing parameters alone.
#include "mm/dram_channel.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "dram_driver.h"
#include "mm/latency_histogram.h"
#include "sim/error.h"

namespace {

using mm::DramAddress;
using mm::DramCommand;
using mm::RowOutcome;
using sim::Cycle;

constexpr mm::DramChannelConfig kNoRefresh{.refresh = false};

struct PerStandard : ::testing::TestWithParam<int> {
  const mm::DramTiming& t = mm::dram_standards()[static_cast<std::size_t>(GetParam())];
  static DramAddress bank(unsigned group, unsigned bank, unsigned row, unsigned column = 0) {
    return {.bank_group = group, .bank = bank, .row = row, .column = column};
  }
};
INSTANTIATE_TEST_SUITE_P(All, PerStandard, ::testing::Range(0, 4), [](const auto& info) {
  std::string name = mm::dram_standards()[static_cast<std::size_t>(info.param)].name;
  std::erase(name, '-');
  return name;
});

TEST_P(PerStandard, UnloadedLatenciesAreTheClosedForms) {
  DramDriver d(t, "ro", kNoRefresh);
  d.request(1000, false, bank(0, 0, 5));
  d.request(2000, false, bank(0, 0, 5, 3));
  d.request(3000, false, bank(0, 0, 6));
  d.run();
  ASSERT_EQ(d.done.size(), 3u);
  EXPECT_EQ(d.done[0].outcome, RowOutcome::kClosed);
  EXPECT_EQ(d.done[0].end - 1000, 1 + t.rcd + t.cl + t.burst_length / 2);
  EXPECT_EQ(d.done[1].outcome, RowOutcome::kHit);
  EXPECT_EQ(d.done[1].end - 2000, 1 + t.cl + t.burst_length / 2);
  EXPECT_EQ(d.done[2].outcome, RowOutcome::kConflict);
  EXPECT_EQ(d.done[2].end - 3000, 1 + t.rp + t.rcd + t.cl + t.burst_length / 2);
  EXPECT_EQ(d.checker.violations(), 0u);
}

TEST_P(PerStandard, UnloadedWritesUseCwl) {
  DramDriver d(t, "ro", kNoRefresh);
  d.request(1000, true, bank(1, 1, 5));
  d.request(2000, true, bank(1, 1, 5, 3));
  d.run();
  EXPECT_EQ(d.done[0].end - 1000, 1 + t.rcd + t.cwl + t.burst_length / 2);
  EXPECT_EQ(d.done[1].end - 2000, 1 + t.cwl + t.burst_length / 2);
}

TEST_P(PerStandard, ChainOfConflictsInOneBankIsBoundedByRc) {
  DramDriver d(t, "ro", kNoRefresh);
  for (unsigned i = 0; i < 20; ++i) d.request(100, false, bank(0, 0, i));
  d.run();
  // RD to PRE is earlier than ACT to PRE here, so the period is tRC, or tRCD + tRTP + tRP if that is longer.
  const Cycle period = std::max(t.rc, t.rcd + t.rtp + t.rp);
  for (std::size_t i = 1; i < d.done.size(); ++i) EXPECT_EQ(d.done[i].end - d.done[i - 1].end, period);
}

TEST_P(PerStandard, HitsInOneBankGroupAreCcdLApartInTwoCcdS) {
  DramDriver same(t, "ro", kNoRefresh), two(t, "ro", kNoRefresh);
  for (unsigned i = 0; i < 16; ++i) same.request(100, false, bank(0, 0, 1, i));
  same.run();
  for (std::size_t i = 1; i < 16; ++i) EXPECT_EQ(same.done[i].end - same.done[i - 1].end, t.ccd_l);

  two.request(100, false, bank(0, 0, 1));
  two.request(100, false, bank(1, 0, 1));
  two.run();
  two.done.clear();
  for (unsigned i = 0; i < 16; ++i) two.request(1000, false, bank(i % 2, 0, 1, i));
  two.run();
  const Cycle pair = std::max(2 * t.ccd_s, t.ccd_l);
  for (std::size_t i = 2; i < 16; ++i) EXPECT_EQ(two.done[i].end - two.done[i - 2].end, pair);
}

TEST_P(PerStandard, WritesInOneBankGroupAreWriteCcdLApart) {
  DramDriver d(t, "ro", kNoRefresh);
  for (unsigned i = 0; i < 8; ++i) d.request(100, true, bank(0, 0, 1, i));
  d.run();
  for (std::size_t i = 1; i < 8; ++i) EXPECT_EQ(d.done[i].end - d.done[i - 1].end, t.ccd_l_wr);
}

TEST_P(PerStandard, FifthActivateWaitsForFaw) {
  DramDriver d(t, "ro", kNoRefresh);
  struct Acts : mm::DramCommandListener {
    void on_command(const mm::DramCommandRecord& r) override {
      if (r.command == DramCommand::kAct) times.push_back(r.time);
    }
    std::vector<Cycle> times;
  } acts;
  d.channel.listen(&acts);
  for (unsigned i = 0; i < 5; ++i) d.request(100, false, bank(i % t.bank_groups, i / t.bank_groups, 1));
  d.run();
  ASSERT_EQ(acts.times.size(), 5u);
  EXPECT_EQ(acts.times[1] - acts.times[0], t.rrd_s);
  // A column command may take the slot of the command bus at that very cycle.
  EXPECT_THAT(acts.times[4] - acts.times[0],
              ::testing::AllOf(::testing::Ge(std::max(t.faw, 4 * t.rrd_s)),
                               ::testing::Le(std::max(t.faw, 4 * t.rrd_s) + 2)));
}

TEST_P(PerStandard, TurnaroundsBetweenReadAndWrite) {
  DramDriver d(t, "ro", kNoRefresh);
  d.request(100, false, bank(0, 0, 1));
  d.request(100, false, bank(1, 0, 1));
  d.run();
  d.done.clear();
  d.request(1000, false, bank(0, 0, 1));
  d.request(1000, true, bank(1, 0, 1));
  d.run();
  EXPECT_EQ(d.done[1].issue - d.done[0].issue, t.cl + t.burst_length / 2 + t.rtrs - t.cwl);
  for (const unsigned group : {0u, 1u}) {
    d.done.clear();
    const Cycle at = 2000 + 1000 * group;
    d.request(at, true, bank(1, 0, 1));
    d.request(at + 1, false, bank(group, 0, 1));
    d.run();
    EXPECT_EQ(d.done[1].issue - d.done[0].issue,
              t.cwl + t.burst_length / 2 + (group == 1 ? t.wtr_l : t.wtr_s));
  }
}

TEST_P(PerStandard, RefreshClosesTheRowsAndDelaysWhatComes) {
  DramDriver d(t, "ro");
  d.request(t.refi - 500, false, bank(0, 0, 1));
  // Arrives with the row open, just when the refresh falls due: PREA, tRP, REF, tRFC, ACT, tRCD, CL, data.
  d.request(t.refi - 1, false, bank(0, 0, 1));
  d.run();
  EXPECT_EQ(d.done[1].outcome, RowOutcome::kClosed);
  EXPECT_EQ(d.done[1].end, Cycle{t.refi} + t.rp + t.rfc + t.rcd + t.cl + t.burst_length / 2);
  // A cycle earlier it would have been served first.
  DramDriver e(t, "ro");
  e.request(t.refi - 500, false, bank(0, 0, 1));
  e.request(t.refi - 2, false, bank(0, 0, 1));
  e.run();
  EXPECT_EQ(e.done[1].end - (t.refi - 2), t.hit_cycles());
}

TEST_P(PerStandard, IdleRefreshesAreMadeUpWithTheirTimes) {
  const Cycle at = 1'000ull * t.refi;
  DramDriver seen(t, "ro"), unseen(t, "ro");
  unseen.channel.listen(nullptr);
  for (DramDriver* d : {&seen, &unseen}) {
    d->request(10, false, bank(0, 0, 1));
    d->request(at + t.rfc / 2, false, bank(0, 0, 1));
    d->request(at + 2 * t.rfc, false, bank(0, 0, 1));
    d->run();
    // The refresh due at `at` is half done when the second request arrives.
    EXPECT_EQ(d->done[1].end, at + t.rfc + t.rcd + t.cl + t.burst_length / 2);
    EXPECT_EQ(d->done[2].outcome, RowOutcome::kHit);
    EXPECT_EQ(d->channel.counters().commands[static_cast<unsigned>(DramCommand::kRef)], 1000u);
  }
  EXPECT_EQ(seen.checker.violations(), 0u) << ::testing::PrintToString(seen.checker.messages());
}

TEST_P(PerStandard, InterleavedStreamsReachNinetyPercentOfThePins) {
  DramDriver d(t, "il");
  const unsigned n = 40'000;
  for (unsigned i = 0; i < n; ++i) d.request(10, false, std::uint64_t{i} * 64);
  d.run();
  const double refresh = static_cast<double>(t.rfc) / t.refi;
  const double share = double(n) * t.data_cycles() / static_cast<double>(d.done.back().end);
  EXPECT_GE(share, 0.9 * (1 - refresh));
  EXPECT_EQ(d.checker.violations(), 0u) << ::testing::PrintToString(d.checker.messages());
}

struct Traffic {
  const char* mapping;
  unsigned ranks;
  unsigned write_percent;
  unsigned hot_rows;  // 0 = all memory
  unsigned gap;       // mean cycles between arrivals
};

TEST_P(PerStandard, RandomTrafficBreaksNoConstraint) {
  const Traffic traffics[] = {{"ro", 1, 0, 0, 0},   {"il", 1, 30, 0, 0},  {"brc", 1, 50, 4, 2},
                              {"ro", 2, 30, 3, 10}, {"il", 4, 50, 0, 40}, {"brc", 2, 100, 0, 0}};
  for (const Traffic& f : traffics) {
    mm::DramChannelConfig config{.ranks = f.ranks, .age_cap_cycles = 300};
    DramDriver d(t, f.mapping, config);
    sim::RandomStream random(11, f.ranks, f.mapping);
    Cycle at = 0;
    const unsigned n = 60'000;
    for (unsigned i = 0; i < n; ++i) {
      DramAddress a = d.map.decode(random.below(std::uint64_t{1} << 33) / 64 * 64);
      if (f.hot_rows != 0) a.row %= f.hot_rows;
      d.request(at, random.below(100) < f.write_percent, a);
      if (f.gap != 0) at += random.below(2 * f.gap + 1);
    }
    d.run();
    EXPECT_EQ(d.done.size(), n);
    EXPECT_EQ(d.checker.violations(), 0u)
        << f.mapping << " " << f.ranks << ::testing::PrintToString(d.checker.messages());
    EXPECT_GT(d.checker.commands(), n);
  }
}

TEST(DramChannel, AgeCapLetsAnOldConflictThrough) {
  const auto& t = mm::dram_standard("DDR4-2400R");
  const auto wait = [&](std::uint64_t cap) {
    DramDriver d(t, "ro", {.age_cap_cycles = cap, .refresh = false});
    d.request(100, false, DramAddress{.row = 1});
    d.request(101, false, DramAddress{.row = 2});
    for (unsigned i = 0; i < 400; ++i)
      d.request(102 + 5 * i, false, DramAddress{.row = 1, .column = i % 128});
    d.run();
    for (const auto& c : d.done) {
      if (c.token == 1) return c.end - 101;
    }
    return Cycle{0};
  };
  EXPECT_LT(wait(200), 200 + 2 * t.rc + t.conflict_cycles());
  EXPECT_GT(wait(100'000), 1'000u);
}

TEST(DramChannel, ReadsPassWritesUntilTheHighWatermark) {
  const auto& t = mm::dram_standard("DDR4-3200AA");
  for (const unsigned writes : {19u, 20u}) {
    DramDriver d(t, "il", {.write_high = 20, .write_low = 4, .refresh = false});
    for (unsigned i = 0; i < 32; ++i) d.request(10, false, std::uint64_t{i} * 64);
    for (unsigned i = 0; i < writes; ++i) d.request(10, true, (1 << 20) + std::uint64_t{i} * 64);
    d.run();
    Cycle last_read = 0, first_write = mm::DramChannel::kNone;
    for (const auto& c : d.done) {
      if (c.write) first_write = std::min(first_write, c.issue);
      if (!c.write) last_read = std::max(last_read, c.issue);
    }
    EXPECT_EQ(last_read < first_write, writes < 20);
    EXPECT_EQ(d.done.size(), 32 + writes);
    EXPECT_EQ(d.checker.violations(), 0u);
  }
}

TEST(DramChannel, FcfsServesInTheOrderOfArrival) {
  const auto& t = mm::dram_standard("DDR4-2400R");
  const auto order = [&](mm::DramScheduler scheduler) {
    DramDriver d(t, "ro", {.refresh = false, .scheduler = scheduler});
    // Two rows of one bank in turn, and another bank.
    for (unsigned i = 0; i < 12; ++i) {
      d.request(100, false, DramAddress{.bank_group = i % 3 == 2 ? 1u : 0u, .row = i % 3, .column = i});
    }
    d.run();
    EXPECT_EQ(d.checker.violations(), 0u);
    std::vector<std::uint32_t> tokens;
    for (const auto& c : d.done) tokens.push_back(c.token);
    return tokens;
  };
  const auto fcfs = order(mm::DramScheduler::kFcfs);
  EXPECT_EQ(fcfs.size(), 12u);
  EXPECT_TRUE(std::is_sorted(fcfs.begin(), fcfs.end()));
  const auto first_ready = order(mm::DramScheduler::kFrFcfs);
  EXPECT_FALSE(std::is_sorted(first_ready.begin(), first_ready.end()));
}

TEST_P(PerStandard, ClosedPagesPrechargeThemselves) {
  DramDriver d(t, "ro", {.refresh = false, .page_policy = mm::PagePolicy::kClosed});
  d.request(1000, false, bank(0, 0, 5));
  d.request(2000, false, bank(0, 0, 5));
  d.request(3000, false, bank(0, 0, 6));
  // Back to back: the next ACT waits for tRAS (or tRCD + tRTP) and tRP, as with a PRE at the first moment.
  d.request(4000, false, bank(0, 0, 7));
  d.request(4000, false, bank(0, 0, 8));
  d.run();
  for (unsigned i = 0; i < 4; ++i) EXPECT_EQ(d.done[i].outcome, RowOutcome::kClosed);
  for (unsigned i = 0; i < 3; ++i) EXPECT_EQ(d.done[i].end - 1000 * (i + 1), t.closed_cycles());
  EXPECT_EQ(d.done[4].issue - d.done[3].issue, std::max(t.rc, t.rcd + t.rtp + t.rp));
  EXPECT_EQ(d.channel.counters().commands[static_cast<unsigned>(DramCommand::kPre)], 0u);
  EXPECT_EQ(d.channel.counters().auto_precharges, 5u);
  EXPECT_EQ(d.checker.violations(), 0u) << ::testing::PrintToString(d.checker.messages());
}

TEST(DramChannel, AdaptivePagesLearnFromWhatComes) {
  const auto& t = mm::dram_standard("DDR4-2400R");
  const auto outcomes = [&](bool same_row) {
    DramDriver d(t, "ro", {.refresh = false, .page_policy = mm::PagePolicy::kAdaptive});
    for (unsigned i = 0; i < 20; ++i) d.request(1000 * (i + 1), false, DramAddress{.row = same_row ? 3 : i});
    d.run();
    return d.channel.counters().reads;
  };
  // Always the same row: after a first mistake rows stay open. Always another: they are closed in time.
  EXPECT_GE(outcomes(true)[0], 18u);
  EXPECT_GE(outcomes(false)[1], 19u);
  EXPECT_EQ(outcomes(false)[2], 0u);
}

TEST(DramChannel, SameBankRefreshLeavesTheOtherBanksAlone) {
  const auto& t = mm::dram_standard("DDR5-4800BN");
  const mm::DramChannelConfig config{.same_bank_refresh = true};
  // The first REFsb takes bank 0 of every group at refi / 2 / banks.
  const Cycle due = t.refi_sb();
  const auto latency = [&](unsigned group, unsigned bank, Cycle at) {
    DramDriver d(t, "ro", config);
    d.request(at, false, DramAddress{.bank_group = group, .bank = bank, .row = 1});
    d.run();
    EXPECT_EQ(d.checker.violations(), 0u);
    return d.done[0].end - at;
  };
  for (const unsigned group : {0u, 7u}) {
    EXPECT_EQ(latency(group, 0, due), t.rfc_sb + t.rcd + t.cl + t.data_cycles());
    EXPECT_EQ(latency(group, 1, due), t.refsb_rd + t.rcd + t.cl + t.data_cycles());
    EXPECT_EQ(latency(group, 1, due + t.refsb_rd), t.closed_cycles());
    EXPECT_EQ(latency(group, 1, 2 * due), t.rfc_sb + t.rcd + t.cl + t.data_cycles());
  }
  // Idle for long: the same number of REFsb, with and without a listener.
  for (const bool seen : {true, false}) {
    DramDriver d(t, "ro", config);
    if (!seen) d.channel.listen(nullptr);
    d.request(1001 * due + 5, false, DramAddress{.bank = 1});
    d.run();
    EXPECT_EQ(d.channel.counters().commands[static_cast<unsigned>(DramCommand::kRefSb)], 1001u);
    // 1001 mod 4 = 1: bank 0 was the last.
    EXPECT_EQ(d.done[0].end, 1001 * due + t.refsb_rd + t.rcd + t.cl + t.data_cycles());
  }
}

TEST(DramChannel, AReadOfAWaitingWriteIsAnsweredByTheWriteQueue) {
  const auto& t = mm::dram_standard("DDR4-2400R");
  DramDriver d(t, "ro", {.refresh = false});
  d.request(100, false, DramAddress{.row = 1});  // keeps the queue on reads
  d.request(100, true, DramAddress{.row = 2, .column = 3});
  d.request(101, false, DramAddress{.row = 2, .column = 3});
  d.request(102, false, DramAddress{.row = 2, .column = 4});
  d.run();
  ASSERT_EQ(d.done.size(), 4u);
  EXPECT_EQ(d.done[0].token, 2u);
  EXPECT_EQ(d.done[0].end, 102u);
  EXPECT_EQ(d.channel.counters().forwarded, 1u);
}

TEST(DramChannel, AsleepOverCommandsNothingChanges) {
  const auto& t = mm::dram_standard("DDR4-3200AA");
  const auto ends = [&](bool asleep) {
    mm::DramChannel channel(t, {});
    const mm::AddressMapping map("ro", t, 1, 1);
    sim::RandomStream random(9, 0, "asleep");
    struct Request {
      Cycle at;
      bool write;
      DramAddress address;
    };
    std::vector<Request> requests;
    Cycle at = 5;
    for (unsigned i = 0; i < 3000; ++i) {
      requests.push_back({at, random.below(3) == 0, map.decode(random.below(1 << 30) / 64 * 64)});
      at += random.below(i % 500 == 0 ? 30'000 : 25);
    }
    std::vector<Cycle> out;
    std::size_t next = 0;
    for (Cycle now = 0; next < requests.size();) {
      channel.advance(now);
      const auto admit = [&] {
        for (; next < requests.size() && requests[next].at <= now && channel.has_room(requests[next].write);
             ++next) {
          channel.enqueue(now, requests[next].write, requests[next].address, 0);
        }
      };
      admit();
      if (channel.step(now)) admit();
      for (; channel.next_completion() <= now; channel.pop()) out.push_back(channel.front().end);
      if (next == requests.size()) break;
      const bool blocked = requests[next].at <= now;
      const Cycle event = asleep && !blocked ? channel.earliest_completion() : channel.next_command();
      now = std::max(
          now + 1, std::min({event, channel.next_completion(), blocked ? Cycle{~0ull} : requests[next].at}));
    }
    return out;
  };
  EXPECT_GT(ends(true).size(), 1000u);
  EXPECT_EQ(ends(true), ends(false));
}

// The answers of the few bursts that need no queues are those of the queues: random traffic, mostly sparse, in bursts for
// few banks and rows.
TEST_P(PerStandard, FewBurstsAreServedAsTheQueuesServeThem) {
  sim::RandomStream random(12, 0, "few");
  for (unsigned trace = 0; trace < 60; ++trace) {
    mm::DramChannelConfig config{.ranks = 1u << random.below(2), .refresh = random.below(4) != 0};
    config.page_policy = std::array{mm::PagePolicy::kOpen, mm::PagePolicy::kOpen, mm::PagePolicy::kClosed,
                                    mm::PagePolicy::kAdaptive}[random.below(4)];
    config.same_bank_refresh = t.has_same_bank_refresh() && random.below(2) != 0;
    DramDriver few(t, "ro", config);
    config.always_queue = true;
    DramDriver queued(t, "ro", config);
    const std::uint64_t writes = random.below(101), gap = 1 + random.below(200), rows = 1 + random.below(3);
    Cycle at = 5;
    for (unsigned i = 0; i < 300; ++i) {
      const DramAddress a{.rank = static_cast<std::uint32_t>(random.below(config.ranks)),
                          .bank_group = static_cast<std::uint32_t>(random.below(2)),
                          .bank = static_cast<std::uint32_t>(random.below(2)),
                          .row = static_cast<std::uint32_t>(random.below(rows)),
                          .column = static_cast<std::uint32_t>(8 * random.below(3))};
      const bool write = random.below(100) < writes;
      for (DramDriver* d : {&few, &queued}) d->request(at, write, a);
      if (random.below(3) == 0) at += random.below(i % 100 == 0 ? 30'000 : gap);
    }
    few.run();
    queued.run();
    ASSERT_EQ(few.done.size(), 300u);
    for (std::size_t i = 0; i < 300; ++i) {
      const auto of = [](const mm::DramCompletion& c) {
        return std::tuple(c.token, c.arrival, c.issue, c.end, c.write, c.outcome);
      };
      ASSERT_EQ(of(few.done[i]), of(queued.done[i])) << "trace " << trace << ", burst " << i;
    }
    const auto& a = few.channel.counters();
    const auto& b = queued.channel.counters();
    EXPECT_EQ(a.commands, b.commands);
    EXPECT_EQ(std::tuple(a.drains, a.aged, a.auto_precharges, a.forwarded),
              std::tuple(b.drains, b.aged, b.auto_precharges, b.forwarded));
    EXPECT_EQ(few.checker.violations() + queued.checker.violations(), 0u);
  }
}

TEST(DramLegality, SeesEveryKindOfViolation) {
  using enum DramCommand;
  const auto& t = mm::dram_standard("DDR4-2400R");
  using Stream = std::vector<mm::DramCommandRecord>;
  const std::pair<const char*, Stream> cases[] = {
      {"tRCD", {{100, kAct, 0, 0, 0, 1}, {115, kRd, 0, 0, 0, 1}}},
      {"closed bank", {{100, kRd, 0, 0, 0, 1}}},
      {"another row", {{100, kAct, 0, 0, 0, 1}, {116, kRd, 0, 0, 0, 2}}},
      {"tRAS", {{100, kAct, 0, 0, 0, 1}, {138, kPre, 0, 0, 0, 1}}},
      {"tRP", {{100, kAct, 0, 0, 0, 1}, {150, kPre, 0, 0, 0, 1}, {165, kAct, 0, 0, 0, 1}}},
      {"tRC", {{100, kAct, 0, 0, 0, 1}, {139, kPre, 0, 0, 0, 1}, {154, kAct, 0, 0, 0, 1}}},
      {"open bank", {{100, kAct, 0, 0, 0, 1}, {200, kAct, 0, 0, 0, 2}}},
      {"tRRD_S", {{100, kAct, 0, 0, 0, 1}, {103, kAct, 0, 1, 0, 1}}},
      {"tRRD_L", {{100, kAct, 0, 0, 0, 1}, {105, kAct, 0, 0, 1, 1}}},
      {"tFAW",
       {{100, kAct, 0, 0, 0, 1},
        {106, kAct, 0, 1, 0, 1},
        {112, kAct, 0, 2, 0, 1},
        {118, kAct, 0, 3, 0, 1},
        {125, kAct, 0, 0, 1, 1}}},
      {"tCCD_L", {{100, kAct, 0, 0, 0, 1}, {116, kRd, 0, 0, 0, 1}, {121, kRd, 0, 0, 0, 1}}},
      {"data bus",
       {{100, kAct, 0, 0, 0, 1}, {104, kAct, 0, 1, 0, 1}, {120, kRd, 0, 0, 0, 1}, {123, kRd, 0, 1, 0, 1}}},
      {"tRTW", {{100, kAct, 0, 0, 0, 1}, {116, kRd, 0, 0, 0, 1}, {125, kWr, 0, 0, 0, 1}}},
      {"tWTR_L", {{100, kAct, 0, 0, 0, 1}, {116, kWr, 0, 0, 0, 1}, {140, kRd, 0, 0, 0, 1}}},
      {"tRTP", {{100, kAct, 0, 0, 0, 1}, {150, kRd, 0, 0, 0, 1}, {158, kPre, 0, 0, 0, 1}}},
      {"tWR", {{100, kAct, 0, 0, 0, 1}, {116, kWr, 0, 0, 0, 1}, {149, kPre, 0, 0, 0, 1}}},
      {"REF with an open bank", {{100, kAct, 0, 0, 0, 1}, {200, kRef, 0, 0, 0, 0}}},
      {"tRFC", {{100, kRef, 0, 0, 0, 0}, {532, kAct, 0, 0, 0, 1}}},
      {"postponed", {{100, kRef, 0, 0, 0, 0}, {100 + 9364 * 10, kRef, 0, 0, 0, 0}}},
      {"command bus", {{100, kAct, 0, 0, 0, 1}, {100, kRef, 1, 0, 0, 0}}},
      {"rank switch",
       {{100, kAct, 0, 0, 0, 1}, {104, kAct, 1, 0, 0, 1}, {120, kRd, 0, 0, 0, 1}, {125, kRd, 1, 0, 0, 1}}},
  };
  const auto check = [](const mm::DramTiming& timing, const char* rule, const Stream& stream) {
    mm::DramLegalityChecker checker(timing, 2);
    for (std::size_t i = 0; i < stream.size(); ++i) {
      if (i + 1 == stream.size()) {
        EXPECT_EQ(checker.violations(), 0u) << rule << ::testing::PrintToString(checker.messages());
      }
      checker.on_command(stream[i]);
    }
    EXPECT_THAT(checker.messages(), ::testing::Contains(::testing::HasSubstr(rule)));
  };
  for (const auto& [rule, stream] : cases) check(t, rule, stream);
  const auto& t5 = mm::dram_standard("DDR5-4800BN");
  const std::pair<const char*, Stream> ddr5[] = {
      {"REFsb with an open bank", {{100, kAct, 0, 1, 2, 1}, {900, kRefSb, 0, 0, 2, 0}}},
      {"tRP before REFsb", {{100, kAct, 0, 1, 2, 1}, {200, kPreSb, 0, 0, 2, 0}, {235, kRefSb, 0, 0, 2, 0}}},
      {"tRFCsb", {{100, kRefSb, 0, 0, 2, 0}, {411, kAct, 0, 5, 2, 1}}},
      {"tREFSBRD", {{100, kRefSb, 0, 0, 2, 0}, {171, kAct, 0, 5, 1, 1}}},
      {"tRFCsb", {{100, kRefSb, 0, 0, 2, 0}, {411, kRefSb, 0, 0, 3, 0}}},
      {"tRRD_L before REFsb", {{100, kAct, 0, 1, 1, 1}, {111, kRefSb, 0, 0, 2, 0}}},
      {"tRAS", {{100, kAct, 0, 1, 2, 1}, {176, kPreSb, 0, 0, 2, 0}}},
      {"tPPD",
       {{100, kAct, 0, 1, 2, 1},
        {112, kAct, 0, 1, 3, 1},
        {300, kPre, 0, 1, 2, 0},
        {301, kPreSb, 0, 0, 3, 0}}},
      {"tRP", {{100, kAct, 0, 1, 2, 1}, {177, kPreSb, 0, 0, 2, 0}, {212, kAct, 0, 1, 2, 1}}},
      {"tRP", {{100, kAct, 0, 1, 2, 1}, {136, kRd, 0, 1, 2, 1, true}, {212, kAct, 0, 1, 2, 1}}},
      {"closed bank", {{100, kAct, 0, 1, 2, 1}, {136, kRd, 0, 1, 2, 1, true}, {160, kRd, 0, 1, 2, 1}}},
      {"two commands", {{100, kRefSb, 0, 0, 2, 0}, {101, kAct, 1, 1, 2, 1}}},
  };
  for (const auto& [rule, stream] : ddr5) check(t5, rule, stream);
}

TEST(DramTiming, EveryRuleIsRefusedByName) {
  using T = mm::DramTiming;
  const std::pair<const char*, std::function<void(T&)>> cases[] = {
      {"burst_length must be 8 or 16", [](T& t) { t.burst_length = 4; }},
      {"cl, cwl, rcd and rp must be above 0", [](T& t) { t.rp = 0; }},
      {"cl + burst_length / 2 + rtrs must be above cwl",
       [](T& t) { t.cwl = t.cl + t.data_cycles() + t.rtrs; }},
      {"cwl + burst_length / 2 + rtrs must be at least cl",
       [](T& t) { t.cl = t.cwl + t.data_cycles() + t.rtrs + 1; }},
      {"rc must be at least ras + rp", [](T& t) { t.rc = t.ras + t.rp - 1; }},
      {"ras must be at least rcd + rtp", [](T& t) { t.ras = t.rcd + t.rtp - 1; }},
      {"ccd_s must be at least burst_length / 2", [](T& t) { t.ccd_s = 3; }},
      {"ccd_s <= ccd_l <= ccd_l_wr must hold", [](T& t) { t.ccd_l_wr = t.ccd_l - 1; }},
      {"rrd_l must be at least rrd_s", [](T& t) { t.rrd_l = t.rrd_s - 1; }},
      {"faw must be at least 4 * rrd_s", [](T& t) { t.faw = 4 * t.rrd_s - 1; }},
      {"wtr_l must be at least wtr_s", [](T& t) { t.wtr_l = t.wtr_s - 1; }},
      {"rrd_s, rrd_l, wr and rtp must be above 0", [](T& t) { t.wr = 0; }},
      {"refi must be above rfc + rc + rp", [](T& t) { t.refi = t.rfc + t.rc + t.rp; }},
      {"refsb_rd <= rfc_sb <= rfc must hold", [](T& t) { t.rfc_sb = t.rfc + 1; }},
      {"bank_groups must be 1, 2, 4 or 8", [](T& t) { t.bank_groups = 3; }},
      {"banks must be 1, 2, 4 or 8", [](T& t) { t.banks = 16; }},
      {"rows and columns must be powers of two", [](T& t) { t.rows = 65535; }},
      {"refi / 2 / banks must be above rfc_sb + rc + rp", [](T& t) { t.rfc_sb = t.rfc, t.refi = 4000; }},
  };
  for (const auto& [rule, damage] : cases) {
    T t = mm::dram_standard("DDR4-2400R");
    t.validate();
    damage(t);
    try {
      t.validate();
      ADD_FAILURE() << rule;
    } catch (const sim::Error& e) {
      EXPECT_THAT(e.what(), ::testing::HasSubstr(rule));
      EXPECT_THAT(e.what(), ::testing::HasSubstr("DRAM timing 'DDR4-2400R'"));
    }
  }
}

TEST(DramTiming, UnknownStandardsNameTheNearest) {
  try {
    mm::dram_standard("DDR4-2400");
    FAIL();
  } catch (const sim::Error& e) {
    EXPECT_THAT(e.what(), ::testing::HasSubstr("did you mean 'DDR4-2400R'"));
  }
}

TEST(AddressMapping, NamedOrdersAndOnesOwn) {
  const auto& t = mm::dram_standard("DDR4-2400R");
  EXPECT_EQ(mm::AddressMapping("il", t, 1, 1).text(), "bank_group:2,column:7,bank:2,row:16");
  EXPECT_EQ(mm::AddressMapping("ro", t, 2, 2).text(), "channel:1,column:7,bank_group:2,bank:2,rank:1,row:16");
  EXPECT_EQ(mm::AddressMapping("brc", t, 1, 1).text(), "column:7,row:16,bank_group:2,bank:2");
  const mm::AddressMapping own("column:3,bank_group:2,column:4,bank:2,row:16", t, 1, 1);
  sim::RandomStream random(3, 0, "mapping");
  for (int i = 0; i < 1000; ++i) {
    const std::uint64_t offset = random.below(std::uint64_t{1} << 40) / 64 * 64;
    EXPECT_EQ(own.encode(own.decode(offset)), offset);
  }
  EXPECT_EQ(own.decode(64 << 3).bank_group, 1u);
  const mm::AddressMapping bits("row=17-32,bank=6+16,column=8-14,bank_group=7+15", t, 1, 1);
  EXPECT_EQ(bits.text(), "bank:1,bank_group:1,column:7,bank_group:1,bank:1,row:16");
  EXPECT_EQ(bits.decode(1 << 16).bank, 2u);
  EXPECT_EQ(bits.decode(1 << 15).bank_group, 2u);
  for (int i = 0; i < 1000; ++i) {
    const std::uint64_t offset = random.below(std::uint64_t{1} << 40) / 64 * 64;
    EXPECT_EQ(bits.encode(bits.decode(offset)), offset);
  }
  EXPECT_THROW(mm::AddressMapping("row=17-32,bank=15-16,column,bank_group=6-7", t, 1, 1), sim::Error);
  EXPECT_THROW(mm::AddressMapping("row=17-32,bank=4-5,column=8-14,bank_group=6-7", t, 1, 1), sim::Error);
  EXPECT_THROW(mm::AddressMapping("row=17-32,bank=15-16,column=8-14,bank_group=7-6", t, 1, 1), sim::Error);
  EXPECT_THROW(mm::AddressMapping("row=17-33,bank=15-16,column=8-14,bank_group=6-7", t, 1, 1), sim::Error);
  EXPECT_THROW(mm::AddressMapping("column:3,bank_group:2,bank:2,row:16", t, 1, 1), sim::Error);
  EXPECT_THROW(mm::AddressMapping("column,bankgroup,bank,row", t, 1, 1), sim::Error);
  EXPECT_THROW(mm::AddressMapping("column:x,bank_group,bank,row", t, 1, 1), sim::Error);
}

TEST(AddressMapping, RunsOfBurstsAreDecodedAsEachAlone) {
  const auto& t = mm::dram_standard("DDR5-4800BN");
  sim::RandomStream random(4, 0, "mapping");
  for (const char* text : {"il", "ro", "brc"}) {
    const mm::AddressMapping map(text, t, 2, 2);
    for (int i = 0; i < 200; ++i) {
      const std::uint64_t first = random.below(std::uint64_t{1} << 40) / 64 * 64, bursts = 1 + random.below(70);
      std::uint64_t at = first;
      map.for_each_burst(first, first + 64 * bursts, [&](const mm::DramAddress& a) {
        EXPECT_EQ(a, map.decode(at)) << text << " " << at;
        at += 64;
      });
      EXPECT_EQ(at, first + 64 * bursts);
    }
  }
}

TEST(LatencyHistogram, QuantilesAreExactBelow4096) {
  mm::LatencyHistogram h;
  for (unsigned i = 1; i <= 100; ++i) h.add(i);
  EXPECT_EQ(h.quantile(0.5), 50u);
  EXPECT_EQ(h.quantile(0.99), 99u);
  EXPECT_EQ(h.max(), 100u);
  EXPECT_DOUBLE_EQ(h.mean(), 50.5);
}

}  // namespace
