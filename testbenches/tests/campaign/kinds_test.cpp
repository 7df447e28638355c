// SPDX-License-Identifier: Apache-2.0
// Kinds of faults whose effect is known: directories of the IOMMU, completions that never come, ECC.
#include <set>

#include "testbenches/tests/campaign/campaign_fixture.h"

namespace {

using namespace campaign_test;

/// Every row of the database.
std::vector<Result> all_rows(const std::string& db) {
  std::vector<Result> rows;
  Database::open(db).each([&rows](const Result& r) { rows.push_back(r); });
  return rows;
}

// The device directory has three levels here and the process directory two: entries that point to tables and
// entries that are contexts, of both, can be hit, and the walker tells which it is that it cannot use.
TEST_F(CampaignRun, DirectoryFaultsReachEveryLevel) {
  const char* const kLevels[] = {"device_directory", "device_context", "process_directory",
                                 "process_context"};
  std::string faults;
  for (const char* where : kLevels) {
    // V, stuck at 0 before the VF is bound: its first DMA must not get through.
    faults += fmt::format("  - {{kind: dram, where: {}, bits: 0, mode: stuck0, when: 1us}}\n", where);
    faults += fmt::format("  - {{kind: dram, where: {}, when: \"uniform(0, 100us)\"}}\n", where);
  }
  Campaign c = make(faults, 40);
  c.settings.emplace_back("kernel.process_directory_levels=2");
  c.warmup = "on(driver_bound, nth=1)";
  run_campaign(c, settings("a.db"));
  std::set<std::string> hit, noticed;
  for (const Result& r : all_rows(file("a.db"))) {
    EXPECT_NE(r.outcome, "not_activated") << r.kind;
    hit.insert(r.entity.substr(0, r.entity.find(" bit ")));
    if (r.detector == "iommu") noticed.insert(r.entity.substr(0, r.entity.find(' ')));
  }
  const auto any = [&hit](const std::string& start) {
    const auto at = hit.lower_bound(start);
    return at != hit.end() && at->starts_with(start);
  };
  for (const char* what : {"device_directory level 2", "device_directory level 1", "device_context of",
                           "process_directory level 1", "process_context of"}) {
    EXPECT_TRUE(any(what)) << what;
  }
  EXPECT_EQ(noticed.size(), 4u) << fmt::format("{}", fmt::join(noticed, ", "));
}

// Without a process directory there is nothing of it to hit, and the row says so.
TEST_F(CampaignRun, AMachineWithoutProcessDirectoriesHasNoneToHit) {
  run_campaign(make("  - {kind: dram, where: process_context, when: 1us}\n", 1), settings("a.db"));
  const Result r = all_rows(file("a.db")).at(0);
  EXPECT_EQ(r.outcome, "not_activated");
  EXPECT_EQ(r.entity, "process_context");
}

// The same scenario with process directories of one, two and three levels, and none: nothing else is found in
// it. An IOMMU that has not so many levels is refused.
TEST_F(CampaignRun, ProcessDirectoriesChangeWhatIsWalkedAndNothingElse) {
  std::string variants = "variants: {";
  for (const char* levels : {"0", "1", "2", "3"})
    variants += fmt::format("l{}: {{kernel.process_directory_levels: {}}}, ", levels, levels);
  run_campaign(make("  - {kind: none, when: 1us}\n", 1, variants + "}\n"), settings("a.db"));
  const Database db = Database::open(file("a.db"));
  for (const char* v : {"l1", "l2", "l3"}) {
    EXPECT_EQ(db.meta(std::string("golden_findings_") + v), db.meta("golden_findings_l0"));
    EXPECT_NE(db.meta(std::string("golden_") + v), db.meta("golden_l0")) << "its walks take time";
  }
  const Campaign without = make(
      "  - {kind: none, when: 1us}\n", 1,
      "variants: {a: {kernel.process_directory_levels: 2, iommu.architecture.capabilities.pd17: false}}\n");
  try {
    run_campaign(without, settings("b.db"));
    FAIL();
  } catch (const sim::Error& e) {
    EXPECT_NE(
        std::string(e.what()).find("kernel.process_directory_levels: the IOMMU has no process directory of 2 "
                                   "levels (iommu.architecture.capabilities.pd17)"),
        std::string::npos)
        << e.what();
  }
}

// PCIe: whoever waits for a completion that never comes finds out by its own timeout, and not earlier.
TEST_F(CampaignRun, ALostCompletionIsSeenByWhoAsked) {
  Campaign c = make(
      "  - {kind: completion_lost, of: device, timeout: 60 us, when: 2us}\n"
      "  - {kind: completion_lost, of: core, when: 2us}\n",
      2);
  c.settings.emplace_back("root_port.completion_timeout=70 us");
  run_campaign(c, settings("a.db"));
  const auto rows = all_rows(file("a.db"));
  for (const Result& r : rows) EXPECT_EQ(r.detector, "pcie") << r.kind << " " << r.signature;
  EXPECT_TRUE(rows[0].entity.starts_with("completion of read 0x")) << rows[0].entity;
  EXPECT_TRUE(rows[1].entity.starts_with("completion of a core's read of 0x4")) << rows[1].entity;
  // The device counts from its request. The core's read was on its way when its completion got lost.
  const auto latency = [](const Result& r) { return r.detected - r.acted; };
  EXPECT_GE(latency(rows[0]), 60 * sim::kMicrosecond);
  EXPECT_LT(latency(rows[0]), 62 * sim::kMicrosecond);
  EXPECT_LT(latency(rows[1]), 70 * sim::kMicrosecond);
  EXPECT_GT(latency(rows[1]), 65 * sim::kMicrosecond);
  // A queue whose descriptor read failed stops, and nobody starts it again: nothing is received any more. The
  // core went on with all ones, and the scenario came to its end.
  EXPECT_EQ(rows[0].outcome, "stall") << rows[0].signature;
  EXPECT_EQ(rows[1].outcome, "detected_hw") << rows[1].signature;
  EXPECT_EQ(rows[1].stop, "scenario_end");
}

// The same wrong bits with and without codes.
TEST_F(CampaignRun, CodesCorrectOneBitAndPoisonTwo) {
  Campaign c = load_campaign(kSource + "/testbenches/campaigns/ecc.yaml");
  c.faults.resize(2);
  c.sampling.experiments = 24;
  run_campaign(c, settings("a.db"));
  std::map<std::string, unsigned> seen;
  std::map<std::uint64_t, std::string> entity;
  for (const Result& r : all_rows(file("a.db"))) {
    const bool two = r.kind == "dram#2";
    // The same fault: place and time do not depend on the variant.
    EXPECT_EQ(r.entity, entity.try_emplace(r.fault, r.entity).first->second);
    if (r.variant == "no_ecc") {
      EXPECT_FALSE(r.detector.starts_with("ecc")) << r.id;
      seen["without: consequences"] += r.outcome != "masked" && r.outcome != "latent";
      continue;
    }
    EXPECT_NE(r.outcome, "sdc") << r.id;
    EXPECT_NE(r.outcome, "corruption") << r.id;
    if (!two) {
      EXPECT_TRUE(r.outcome == "masked" || r.outcome == "latent" || r.detector == "ecc corrected")
          << r.id << " " << r.signature << " " << r.detector;
    } else {
      EXPECT_NE(r.detector, "ecc corrected") << r.id;
    }
    seen[r.detector]++;
  }
  EXPECT_GT(seen["ecc corrected"], 0u);
  EXPECT_GT(seen["ecc uncorrectable"], 0u);
  EXPECT_GT(seen["without: consequences"], 0u);
}

}  // namespace
