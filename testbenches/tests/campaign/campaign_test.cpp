// SPDX-License-Identifier: Apache-2.0
// Campaigns on the real machine. The coordinator runs no SystemC itself; every test is a process of its own.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

#include "testbenches/campaign/replay.h"
#include "testbenches/campaign/run.h"

namespace {

using namespace campaign;
namespace fs = std::filesystem;

const std::string kSource = POOLSIM_SOURCE_DIR;
const std::string kBase = kSource + "/testbenches/scenarios/unbind_short.yaml";

/// A campaign on unbind_short with these fault lines.
Campaign make(const std::string& faults, unsigned experiments, const std::string& more = "") {
  const std::string text =
      "schema: 1\nname: test\nbase: x\nseed: 7\nwarmup: on(driver_bound, nth=2)\n"
      "settings: {memory.size: 64 MiB, dram.ecc.secded: false, pool.strategy: scan}\n" +
      more + "sampling: {experiments: " + std::to_string(experiments) +
      "}\nwindow: {ladder: 20 us}\nfaults:\n" + faults;
  std::ifstream in(kBase);
  std::ostringstream base;
  base << in.rdbuf();
  return parse_campaign("test.yaml", text, kBase, base.str());
}

const char* const kMixed =
    "  - {kind: dram, where: pte, when: \"uniform(0, 300us)\"}\n"
    "  - {kind: iotlb, when: \"uniform(0, 200us)\"}\n"
    "  - {kind: page_alloc, when: \"on(mm_page_alloc, nth=all)\"}\n"
    "  - {kind: take_away, when: \"uniform(0, 200us)\"}\n";

class CampaignRun : public ::testing::Test {
 protected:
  CampaignRun() : dir_(fs::temp_directory_path() / fmt::format("poolsim_campaign_{}", ::getpid())) {
    fs::create_directories(dir_);
  }
  ~CampaignRun() override { fs::remove_all(dir_); }
  std::string file(const std::string& name) const { return (dir_ / name).string(); }
  RunSettings settings(const std::string& db, unsigned jobs = 2) const {
    RunSettings s;
    s.db = file(db);
    s.jobs = jobs;
    s.quiet = true;
    s.build = "this";
    return s;
  }
  std::string rows(const std::string& db) const { return Database::open(file(db)).meta("rows_digest"); }

 private:
  fs::path dir_;
};

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

TEST_F(CampaignRun, AForkAndAColdStartGiveTheSameDigest) {
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
  run_campaign(make("  - {kind: page_alloc, when: \"on(mm_page_alloc, nth=all)\"}\n", 40), settings("a.db"));
  unsigned acted = 0, exhausted = 0;
  Database::open(file("a.db")).each([&](const Result& r) {
    if (r.stop == "exhausted") {
      ++exhausted;
    } else {
      ++acted;
      EXPECT_EQ(exhausted, 0u) << "they come in turn";
      EXPECT_TRUE(r.entity.starts_with("mm_page_alloc order")) << r.entity;
    }
  });
  EXPECT_GT(acted, 0u);
}

TEST_F(CampaignRun, ExperimentsThatBreakAreClassifiedAndBounded) {
  const Campaign c = make(
      "  - {kind: self_test, how: crash}\n  - {kind: self_test, how: hang}\n  - {kind: self_test, how: "
      "memory}\n"
      "  - {kind: self_test, how: law}\n  - {kind: self_test, how: exception}\n  - {kind: self_test, how: "
      "exit}\n"
      "  - {kind: none}\n",
      7, "limits: {cpu: 200 ms, memory: 48 MiB}\n");
  const RunSummary r = run_campaign(c, settings("a.db"));
  EXPECT_EQ(r.done, 7u);
  const Database db = Database::open(file("a.db"));
  const char* expected[] = {"crash_tool", "hang_host",  "crash_tool", "invalid",
                            "crash_tool", "crash_tool", "masked"};
  for (std::uint64_t i = 0; i < 7; ++i) EXPECT_EQ(db.find(i)->outcome, expected[i]) << i;
  EXPECT_EQ(db.find(2)->signature, "crash_tool: out of memory");
  EXPECT_TRUE(db.find(0)->signature.starts_with("crash_tool: signal 11")) << db.find(0)->signature;
}

TEST_F(CampaignRun, GoesOnAfterAKillAndEndsAsIfUndisturbed) {
  const Campaign c = make(kMixed, 40);
  run_campaign(c, settings("calm.db"));
  unsigned kills = 0;
  for (int i = 0; i < 50; ++i) {
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
