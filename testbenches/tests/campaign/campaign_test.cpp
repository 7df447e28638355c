// SPDX-License-Identifier: Apache-2.0
// Campaigns on the real machine. The coordinator runs no SystemC itself; every test is a process of its own.
#include <signal.h>
#include <sys/wait.h>

#include <algorithm>
#include <set>
#include <thread>

#include "testbenches/campaign/replay.h"
#include "testbenches/campaign/report.h"
#include "testbenches/campaign/shrink.h"
#include "testbenches/tests/campaign/campaign_fixture.h"
#include "testbenches/tests/sanitizers.h"

namespace {

using namespace campaign_test;

const char* const kMixed =
    "  - {kind: dram, where: pte, when: \"uniform(0, 300us)\"}\n"
    "  - {kind: iotlb, when: \"uniform(0, 200us)\"}\n"
    "  - {kind: page_alloc, when: \"on(page_alloc_call, nth=all)\"}\n"
    "  - {kind: take_away, when: \"uniform(0, 200us)\"}\n";

TEST_F(CampaignRun, IsTheSameForAnyNumberOfWorkersAndShards) {
  const Campaign c = make(kMixed, 24);
  run_campaign(c, settings("one.db", 1));
  run_campaign(c, settings("two.db", 3));
  EXPECT_EQ(rows("one.db"), rows("two.db"));
  std::vector<std::string> shards;
  for (std::uint64_t i = 0; i < 3; ++i) {
    RunSettings s = settings(fmt::format("shard{}.db", i), 1);
    s.shard = {i, 3};
    run_campaign(c, s);
    shards.push_back(s.db);
  }
  EXPECT_EQ(merge_shards(c, file("merged.db"), shards, "this"), 24u);
  EXPECT_EQ(rows("merged.db"), rows("one.db"));
}

TEST_F(CampaignRun, AWarmAndAColdStartGiveTheSameDigest) {
  const Campaign c = make(kMixed, 12);
  run_campaign(c, settings("a.db"));
  const Database db = Database::open(file("a.db"));
  unsigned compared = 0;
  db.each([&](const Result& r) {
    if (r.stop == "pruned") return;
    const Replayed again = replay({c, r.id, r.digest, r.outcome, "this"}, {});
    EXPECT_EQ(again.digest, r.digest) << r.id << " " << r.kind;
    EXPECT_EQ(again.outcome, r.outcome) << r.id;
    ++compared;
  });
  EXPECT_GE(compared, 9u);
}

TEST_F(CampaignRun, NothingInjectedIsMaskedAndNeverDiverges) {
  run_campaign(make("  - {kind: none, when: \"uniform(0, 300us)\"}\n", 10), settings("a.db"));
  Database::open(file("a.db")).each([](const Result& r) {
    EXPECT_EQ(r.outcome, "masked");
    EXPECT_EQ(r.first_divergence, sim::kNever);
  });
}

TEST_F(CampaignRun, FailNthStopsWhenThereAreNoMoreCalls) {
  run_campaign(make("  - {kind: page_alloc, when: \"on(page_alloc_call, nth=all)\"}\n", 40),
               settings("a.db"));
  unsigned acted = 0, exhausted = 0;
  Database::open(file("a.db")).each([&](const Result& r) {
    if (r.stop == "exhausted") {
      ++exhausted;
    } else {
      ++acted;
      EXPECT_EQ(exhausted, 0u) << "they come in turn";
      EXPECT_TRUE(r.entity.starts_with("page_alloc in ")) << r.entity;
    }
  });
  EXPECT_GT(acted, 0u);
}

// A kind that never does anything is no kind: each acts on this scenario, and the campaign knows where.
TEST_F(CampaignRun, EveryKindOfFaultActs) {
  std::string faults;
  const auto add = [&faults](const std::string& kind, const std::string& when) {
    faults += "  - {kind: " + kind + ", when: \"" + when + "\"}\n";
  };
  for (const char* where :
       {"pte", "device_context", "device_directory", "process_context", "process_directory", "descriptor",
        "command", "fault_record", "struct_page", "packet"}) {
    add(std::string("dram, where: ") + where, "uniform(0, 100us)");
  }
  add("dram, where: pte, mode: stuck1, bits: 56..62", "uniform(0, 100us)");
  for (const char* kind : {"iotlb",
                           "walk_cache",
                           "take_away",
                           "surprise_removal",
                           "link_down",
                           "pointer, which: tail",
                           "pointer, which: head",
                           "core_stall",
                           "irq_spurious",
                           "memory_hotplug",
                           "worker_late",
                           "timer_late",
                           "none",
                           "credits",
                           "interrupt, how: lose",
                           "interrupt, how: late",
                           "interrupt, how: double",
                           "doorbell, how: lose",
                           "doorbell, how: late",
                           "doorbell, how: spurious",
                           "skb_kept, longest: 10 ms",
                           "completion_lost, of: device",
                           "completion_lost, of: core",
                           "dma_after_reset"}) {
    add(kind, "uniform(0, 100us)");
  }
  for (const char* how : {"lose", "duplicate", "delay", "reorder", "poison", "requester", "payload"}) {
    add(std::string("tlp, how: ") + how, "uniform(0, 100us)");
  }
  add("tlp, of: read, how: lose", "uniform(0, 100us)");
  for (const char* how : {"drop", "too_small", "delay"})
    add(std::string("invalidation, how: ") + how, "uniform(0, 100us)");
  add("fence_early", "uniform(0, 100us)");
  add("page_alloc", "on(page_alloc_call, nth=1)");
  add("dma_map", "on(dma_map_call, nth=1)");
  add("track", "on(track_call, nth=1)");
  Campaign c = make(faults, 1, "");
  c.settings.insert(c.settings.end(), {"link.root_credits.posted_headers=32", "pool.strategy=xarray_merged",
                                       "kernel.process_directory_levels=2"});
  c.sampling.experiments = c.faults.size();
  run_campaign(c, settings("a.db"));
  std::set<std::string> used;
  for (const FaultSpec& f : c.faults) used.insert(f.kind);
  for (const FaultKind& k : fault_kinds()) {
    if (std::string(k.key) == "self_test") continue;
    EXPECT_TRUE(used.contains(k.key)) << k.key << " is not tried";
  }
  Database::open(file("a.db")).each([&](const Result& r) {
    EXPECT_NE(r.outcome, "not_activated") << r.kind;
    EXPECT_NE(r.outcome, "crash_tool") << r.kind << ": " << r.signature;
    const auto spec =
        std::find_if(c.faults.begin(), c.faults.end(), [&](const FaultSpec& f) { return f.label == r.kind; });
    const auto sites = spec->fault->sites();
    EXPECT_TRUE(std::any_of(sites.begin(), sites.end(),
                            [&](const std::string& s) { return r.entity.starts_with(s); }))
        << r.kind << ": " << r.entity;
  });
}

// The question of the thread: pages that come back when their VF is gone bring the stock kernel down. One
// variant a process: they share nothing but the faults.
class VfDisable : public CampaignRun, public ::testing::WithParamInterface<const char*> {};

TEST_P(VfDisable, ShowsLateUnmapsOfStockAndOfNoFix) {
  Campaign c = load_campaign(kSource + "/testbenches/campaigns/vf_disable.yaml");
  c.sampling.experiments = 16;
  std::erase_if(c.variants, [](const Variant& v) { return v.name != GetParam(); });
  ASSERT_EQ(c.variants.size(), 1u);
  run_campaign(c, settings("a.db"));
  const bool stock = std::string(GetParam()) == "stock";
  unsigned oopses = 0, rows = 0;
  Database::open(file("a.db")).each([&](const Result& r) {
    ++rows;
    EXPECT_NE(r.outcome, "stall") << r.id;
    if (!stock) {
      EXPECT_FALSE(r.outcome == "oops" || r.outcome == "leak") << r.id << " " << r.signature;
    } else if (r.outcome == "oops") {
      ++oopses;
      EXPECT_TRUE(r.signature.starts_with("oops: late_unmap at ")) << r.signature;
    }
  });
  EXPECT_EQ(rows, 16u);
  EXPECT_EQ(oopses > 3, stock) << oopses;
}

INSTANTIATE_TEST_SUITE_P(EachVariant, VfDisable, ::testing::Values("stock", "scan", "xarray_merged"),
                         [](const auto& info) { return std::string(info.param); });

// The three above are all that the file has.
TEST(VfDisableFile, HasNoOtherVariant) {
  const Campaign c = load_campaign(kSource + "/testbenches/campaigns/vf_disable.yaml");
  ASSERT_EQ(c.variants.size(), 3u);
  for (const Variant& v : c.variants)
    EXPECT_TRUE(v.name == "stock" || v.name == "scan" || v.name == "xarray_merged") << v.name;
}

// Classes between two accesses: what is pruned would have come to the same, and shards cannot tell.
TEST_F(CampaignRun, DefUseClassesSayWhatTheExperimentsWould) {
  const std::string faults =
      "  - {kind: dram, where: descriptor, when: \"defuse(0, 300us)\"}\n"
      "  - {kind: dram, where: command, when: \"defuse(0, 300us)\"}\n"
      "  - {kind: dram, where: pte, when: \"defuse(0, 300us)\"}\n";
  Campaign c = make(faults, 60);
  run_campaign(c, settings("pruned.db", 1));
  c.sampling.audit = 1;  // all of them in full, too
  RunSettings other = settings("audited.db");
  run_campaign(c, other);
  unsigned pruned = 0, agree = 0, all = 0;
  const Database audited = Database::open(other.db), quick = Database::open(file("pruned.db"));
  quick.each([&](const Result& r) { pruned += r.stop == "pruned"; });
  audited.each([&](const Result& r) {
    ++all;
    agree += r.audit_agrees;
    EXPECT_EQ(r.outcome, quick.find(r.id)->outcome) << r.id << " " << r.entity;
  });
  EXPECT_GT(pruned, 10u);
  EXPECT_EQ(agree, all);
  RunSettings shard = settings("shard1.db");
  shard.shard = {1, 2};
  c.sampling.audit = 0.01;
  run_campaign(c, shard);
  Database::open(shard.db).each([&](const Result& r) { EXPECT_EQ(r.digest, quick.find(r.id)->digest); });
}

TEST_F(CampaignRun, ShrinksAFailureToASmallerWorldThatReplays) {
  const Campaign c = make("  - {kind: surprise_removal, when: \"uniform(0, 100us)\"}\n", 4);
  run_campaign(c, settings("a.db"));
  const auto r = Database::open(file("a.db")).find(0);
  const Shrunk s = shrink({c, 0, r->digest, r->outcome, "this"}, 4, 2, [](const std::string&) {});
  ASSERT_TRUE(s.reproduced);
  EXPECT_FALSE(s.settings.empty());
  EXPECT_LE(s.runs, 200u);
  const Replayed again = replay(s.smallest, {});
  EXPECT_EQ(again.digest, s.smallest.digest);
  EXPECT_EQ(again.signature, r->signature);
}

TEST_F(CampaignRun, ReportsAreWholeAndSmall) {
  const Campaign c = make(kMixed, 40, "variants: {one: {}, two: {pool.strategy: xarray_merged}}\n");
  run_campaign(c, settings("a.db"));
  const Database db = Database::open(file("a.db"));
  const Report r = gather(db);
  const std::string page = html(r), table = csv(db), xml = junit(r);
  EXPECT_LT(page.size(), 200'000u);
  EXPECT_EQ(page.find("http://"), std::string::npos) << "no network";
  EXPECT_EQ(page.find("https://"), std::string::npos);
  for (const char* what : {"<svg", "Never reached", "poolsim replay", "McNemar", "Clopper-Pearson"}) {
    if (std::string(what) == "poolsim replay" && r.buckets.empty()) continue;
    EXPECT_NE(page.find(what), std::string::npos) << what;
  }
  EXPECT_EQ(static_cast<std::uint64_t>(std::count(table.begin(), table.end(), '\n')), db.count() + 1);
  EXPECT_NE(xml.find("<testsuite name=\"test/one\""), std::string::npos);
  ASSERT_EQ(r.comparisons.size(), 1u);
  const PairedComparison& p = r.comparisons[0];
  EXPECT_LE(p.both + p.only_a + p.only_b + p.neither, 40u);
  // A database compared with itself differs nowhere.
  for (const PairedComparison& self : compare_databases(db, db)) EXPECT_EQ(self.only_a + self.only_b, 0u);
}

TEST_F(CampaignRun, ExperimentsThatBreakAreClassifiedAndBounded) {
  const Campaign c = make(
      "  - {kind: self_test, how: crash}\n  - {kind: self_test, how: hang}\n  - {kind: self_test, how: "
      "memory}\n"
      "  - {kind: self_test, how: law}\n  - {kind: self_test, how: exception}\n  - {kind: self_test, how: "
      "exit}\n"
      "  - {kind: none}\n",
      7, "limits: {cpu: 600 ms, memory: 24 MiB}\n");
  const RunSummary r = run_campaign(c, settings("a.db"));
  EXPECT_EQ(r.done, 7u);
  const Database db = Database::open(file("a.db"));
  const char* expected[] = {"crash_tool", "hang_host",  "crash_tool", "invalid",
                            "crash_tool", "crash_tool", "masked"};
  for (std::uint64_t i = 0; i < 7; ++i) EXPECT_EQ(db.find(i)->outcome, expected[i]) << i;
  if (sanitizers::kAddress) return;  // it ends the process itself, with an exit code
  EXPECT_EQ(db.find(2)->signature, "crash_tool: out of memory");
  EXPECT_TRUE(db.find(0)->signature.starts_with("crash_tool: signal 11")) << db.find(0)->signature;
}

TEST_F(CampaignRun, GoesOnAfterAKillAndEndsAsIfUndisturbed) {
  const Campaign c = make(kMixed, 40);
  run_campaign(c, settings("calm.db"));
  unsigned kills = 0;
  for (int i = 0; i < 30; ++i) {
    const pid_t pid = ::fork();
    if (pid == 0) {
      try {
        run_campaign(c, settings("killed.db"));
      } catch (...) {
        ::_exit(1);
      }
      ::_exit(0);
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(60 + 20 * i));
    ::kill(pid, SIGKILL);
    int status = 0;
    ::waitpid(pid, &status, 0);
    if (!WIFSIGNALED(status)) break;
    ++kills;
  }
  EXPECT_GT(kills, 0u);
  run_campaign(c, settings("killed.db"));  // where a loaded machine finished none of them in its time
  EXPECT_EQ(rows("killed.db"), rows("calm.db"));
}

TEST_F(CampaignRun, RefusesWhatItCannotContinue) {
  const Campaign c = make("  - {kind: none}\n", 2);
  run_campaign(c, settings("a.db"));
  RunSettings other = settings("a.db");
  other.build = "another";
  EXPECT_THROW(run_campaign(c, other), NotReproducible);
  EXPECT_THROW(run_campaign(make("  - {kind: none}\n", 3), settings("a.db")), NotReproducible);
  RunSettings nowhere = settings("no/such/dir/a.db");
  EXPECT_THROW(run_campaign(c, nowhere), Refusal);
  std::ofstream(file("text.db"))
      << "this is no database, but long enough to look like one at the first glance\n";
  EXPECT_THROW(run_campaign(c, settings("text.db")), Refusal);
  EXPECT_THROW(merge_shards(c, file("m.db"), {file("text.db")}, "this"), Refusal);
  EXPECT_EQ(Database::open(file("a.db")).count(), 2u) << "nothing lost";
}

TEST(CampaignFile, TellsWhatIsWrongWhereAndWhatWouldBeRight) {
  const auto complaint = [](const std::string& faults, const std::string& more = "") {
    try {
      make(faults, 1, more);
    } catch (const sim::Error& e) {
      return std::string(e.what());
    }
    return std::string();
  };
  EXPECT_EQ(complaint("  - {kind: dramm}\n"),
            "test.yaml:10: kind: no fault kind 'dramm' (did you mean 'dram'?)");
  EXPECT_EQ(complaint("  - {kind: dram, wherre: pte}\n"),
            "test.yaml:10: unknown key 'wherre' (did you mean 'where'?)");
  EXPECT_NE(complaint("  - {kind: dram, where: ptt}\n").find("(did you mean 'pte'?)"), std::string::npos);
  EXPECT_NE(complaint("  - {kind: none, when: \"on(dma_map_pag)\"}\n").find("(did you mean 'dma_map_page'?)"),
            std::string::npos);
  EXPECT_NE(complaint("  - {kind: none}\n", "limit: {cpu: 1 s}\n")
                .find("unknown key 'limit' (did you mean 'limits'?)"),
            std::string::npos);
  EXPECT_NE(complaint("  - {kind: none}\n", "variants: {a: {pool.strateg: scan}}\n").find("pool.strategy"),
            std::string::npos);
}

TEST(CampaignFile, FaultsComeInTurnByWeight) {
  const Campaign c = make("  - {kind: none, weight: 3}\n  - {kind: iotlb}\n", 8);
  unsigned first = 0;
  for (std::uint64_t f = 0; f < 8; ++f) {
    const Campaign::Pick p = c.pick(f);
    if (p.spec != 0) continue;
    EXPECT_EQ(p.index, first++);
  }
  EXPECT_EQ(first, 6u);
}

}  // namespace
