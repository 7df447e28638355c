// SPDX-License-Identifier: Apache-2.0
// schedule: and keep: of a campaign file; and that every word of every section is checked.
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <valijson/adapters/nlohmann_json_adapter.hpp>
#include <valijson/schema.hpp>
#include <valijson/schema_parser.hpp>
#include <valijson/validator.hpp>

#include "testbenches/campaign/keep.h"
#include "testbenches/campaign/point_of_no_return.h"
#include "testbenches/campaign/replay.h"
#include "testbenches/campaign/report.h"
#include "testbenches/tests/campaign/campaign_fixture.h"

namespace {

using namespace campaign_test;

std::vector<Result> rows_of(const std::string& db) {
  std::vector<Result> rows;
  Database::open(db).each([&rows](const Result& r) { rows.push_back(r); });
  return rows;
}

// Random schedules are drawn by the number of the fault: the same again whoever runs them, and from a cold
// start.
TEST_F(CampaignRun, AScheduleIsDrawnForEachExperimentAndReplays) {
  const char* const kFault = "  - {kind: none, when: 5us}\n";
  const Campaign natural = make(kFault, 2);
  const Campaign random = make(kFault, 4, "schedule: {strategy: random, switch: 20%}\n");
  const Campaign pct = make(kFault, 4, "schedule: {strategy: pct, depth: 3, points: 500}\n");
  run_campaign(natural, settings("natural.db"));
  run_campaign(random, settings("random.db", 1));
  run_campaign(random, settings("again.db", 3));
  run_campaign(pct, settings("pct.db"));
  EXPECT_EQ(rows("random.db"), rows("again.db"));
  const auto digests = [this](const std::string& db) {
    std::set<std::string> all;
    for (const Result& r : rows_of(file(db))) all.insert(r.digest);
    return all;
  };
  EXPECT_EQ(digests("natural.db").size(), 1u) << "the same order each time";
  EXPECT_EQ(digests("random.db").size(), 4u);
  EXPECT_GT(digests("pct.db").size(), 1u);
  // Cores that were held are no stall: nothing was injected.
  for (const char* db : {"random.db", "pct.db"}) {
    for (const Result& each : rows_of(file(db))) EXPECT_NE(each.outcome, "stall") << db << " " << each.id;
  }
  const Result r = rows_of(file("random.db")).at(1);
  EXPECT_EQ(replay({random, r.id, r.digest, r.outcome, "this"}, {}).digest, r.digest);
}

// A core that is busy for longer than is waited: the schedule never takes over, and that is counted and told.
TEST_F(CampaignRun, AScheduleThatNeverTakesOverIsTold) {
  const Campaign c = make(
      "  - {kind: core_stall, for: 3 ms, when: \"on(dma_map_page, nth=3)\"}\n  - {kind: core_stall, for: 20 "
      "us, when: 5us}\n",
      4, "schedule: {strategy: random, switch: 20%}\n");
  run_campaign(c, settings("a.db"));
  const Database db = Database::open(file("a.db"));
  EXPECT_EQ(db.unscheduled(), 2u);
  for (const Result& r : rows_of(file("a.db")))
    EXPECT_EQ(r.detail.starts_with(kUnscheduled), r.kind == "core_stall") << r.id << " " << r.detail;
  const Report report = gather(db);
  EXPECT_NE(html(report).find("in 2 of 4 experiments the cores were in their natural order"),
            std::string::npos);
  run_campaign(make("  - {kind: core_stall, for: 3 ms, when: \"on(dma_map_page, nth=3)\"}\n", 1),
               settings("natural.db"));
  const Database natural = Database::open(file("natural.db"));
  EXPECT_EQ(natural.unscheduled(), 0u) << "nobody asked for a schedule";
  EXPECT_EQ(html(gather(natural)).find("Warning"), std::string::npos);
}

// A mapping whose PTE has lost its V bit is found when it is unmapped, whatever the cores do: no return from
// the fault on. A run that does not come to what is recorded is told, and no curve is made of it.
TEST_F(CampaignRun, ThePointOfNoReturnOfALostPteIsTheFault) {
  const Campaign c = make("  - {kind: dram, where: pte, bits: 0, when: \"uniform(0, 200us)\"}\n", 12);
  run_campaign(c, settings("a.db"));
  const auto all = rows_of(file("a.db"));
  const auto found = std::find_if(all.begin(), all.end(), [](const Result& r) {
    return r.signature.find("kernel_warning at iommu_dma_unmap_page") != r.signature.npos;
  });
  ASSERT_NE(found, all.end());
  ReturnOptions o;
  o.points = 3, o.runs = 3, o.jobs = 2;
  o.schedule.strategy = ScheduleSpec::Strategy::kRandom;
  o.schedule.switch_text = "20%";
  o.schedule.validate();
  const ReturnCurve curve = point_of_no_return({c, found->id, found->digest, found->outcome, "this"}, o);
  ASSERT_TRUE(curve.reproduced);
  ASSERT_EQ(curve.points.size(), 3u);
  EXPECT_EQ(curve.points[0].at, 0u);
  EXPECT_LT(curve.points[1].at, curve.points[2].at);
  EXPECT_EQ(curve.no_return(), 0u);
  const ReturnCurve other = point_of_no_return({c, found->id, found->digest, "sdc", "this"}, o);
  EXPECT_FALSE(other.reproduced);
  EXPECT_TRUE(other.points.empty());
}

TEST(ReturnCurve, NoReturnIsWhereAllFailToTheEnd) {
  ReturnCurve c{{{0, 1, 4}, {10, 4, 4}, {20, 3, 4}, {30, 4, 4}, {40, 4, 4}}, true};
  EXPECT_EQ(c.no_return(), 30u);
  c.points.back().failed = 3;
  EXPECT_EQ(c.no_return(), sim::kNever);
}

// One directory a bucket of failures, with the smallest example; the rows are those of a campaign that keeps
// nothing.
TEST_F(CampaignRun, KeepsAnExampleOfEachBucketAndNoRowChanges) {
  const char* const kFault = "  - {kind: surprise_removal, when: \"uniform(0, 100us)\"}\n";
  const Campaign plain = make(kFault, 4);
  const Campaign c = make(kFault, 4, "keep: {per_bucket: 1, trace: \"vcd, perfetto, pcap\", after: 50 us}\n");
  run_campaign(plain, settings("plain.db"));
  run_campaign(c, settings("a.db"));
  // The database has the file as text, and its scenario by the text that was read.
  const Database db = Database::open(file("a.db"));
  const auto written = keep_examples(db);
  EXPECT_EQ(rows("a.db"), rows("plain.db"));
  unsigned failures = 0;
  for (const Database::Bucket& b : db.buckets()) failures += b.signature.starts_with("masked") ? 0 : 1;
  ASSERT_FALSE(written.empty());
  EXPECT_LE(written.size(), failures);
  for (const std::string& dir : written) {
    for (const char* name : {"token.txt", "report.txt", "wave.vcd", "timeline.json", "packets.pcap"})
      EXPECT_GT(fs::file_size(fs::path(dir) / name), 0u) << dir << "/" << name;
    std::ifstream in(fs::path(dir) / "timeline.json");
    EXPECT_TRUE(nlohmann::json::accept(in)) << dir;
  }
  EXPECT_TRUE(keep_examples(db).empty()) << "what is there is not made again";
}

// Each section of the file: a wrong word is told with file, line and the nearest right one.
TEST(CampaignFile, EveryWordOfEverySectionIsChecked) {
  struct Case {
    const char *section, *said;
  };
  const Case cases[] = {
      {"nmae: x\n", "test.yaml:7: unknown key 'nmae' (did you mean 'name'?)"},
      {"window2: 3\n", "test.yaml:7: unknown key 'window2' (did you mean 'window'?)"},
      {"schedule: {strategi: pct}\n",
       "test.yaml:7: unknown key 'schedule.strategi' (did you mean 'schedule.strategy'?)"},
      {"schedule: {strategy: ptc}\n",
       "test.yaml:7: schedule.strategy: no choice 'ptc' (did you mean 'pct'?)"},
      {"schedule: {switch: often}\n", "schedule.switch: 'often' is no probability"},
      {"schedule: {strategy: replay}\n", "schedule.steps: belongs to strategy replay, which needs it"},
      {"schedule: {strategy: replay, steps: \"0.17>\"}\n", "schedule.steps: "},
      {"keep: {per_buket: 1}\n",
       "test.yaml:7: unknown key 'keep.per_buket' (did you mean 'keep.per_bucket'?)"},
      {"keep: {trace: \"vcd, perfeto\"}\n", "keep.trace: no trace 'perfeto' (did you mean 'perfetto'?)"},
      {"limits: {stal: 1 ms}\n", "test.yaml:7: unknown key 'limits.stal' (did you mean 'limits.stall'?)"},
      {"limits: {stall: 1 parsec}\n", "test.yaml:7: limits.stall: "},
      {"variants: [a, b]\n", "test.yaml:7: variants: a map of names, each with its settings"},
      {"variants: {a: {dram.ecc.secde: true}}\n", "(did you mean 'dram.ecc.secded'?)"},
      {"warmup: 1 us\n", "test.yaml:7: duplicate key 'warmup' (first in line 5)"},
  };
  for (const Case& c : cases) {
    std::string said;
    try {
      make("  - {kind: none}\n", 1, c.section);
    } catch (const sim::Error& e) {
      said = e.what();
    }
    EXPECT_NE(said.find(c.said), said.npos) << c.section << "said: " << said;
  }
  const auto fault = [](const char* line) {
    try {
      make(std::string("  - ") + line + "\n", 1);
    } catch (const sim::Error& e) {
      return std::string(e.what());
    }
    return std::string();
  };
  EXPECT_NE(fault("{kind: completion_lost, off: core}").find("unknown key 'off' (did you mean 'of'?)"),
            std::string::npos);
  EXPECT_NE(fault("{kind: none, when: \"defus(0, 1us)\"}").find("(did you mean 'defuse'?)"),
            std::string::npos);
  EXPECT_NE(fault("{kind: none, when: \"probe(x == )\"}").find("no trigger"), std::string::npos);
  EXPECT_NE(fault("{kind: dram, where: pte, runs: many}").find("runs: "), std::string::npos);
}

// The schema knows the sections and refuses what is in none.
TEST(CampaignFile, TheSchemaHasEveryKey) {
  const auto schema = campaign_schema();
  EXPECT_EQ(schema["additionalProperties"], false);
  for (const char* key : {"schema", "name", "seed", "base", "settings", "variants", "warmup", "window",
                          "faults", "schedule", "sampling", "limits", "keep"}) {
    EXPECT_TRUE(schema["properties"].contains(key)) << key;
  }
  EXPECT_EQ(schema["properties"]["schedule"]["additionalProperties"], false);
  EXPECT_TRUE(schema["properties"]["keep"]["properties"].contains("per_bucket"));
  EXPECT_EQ(schema["properties"]["faults"]["items"]["oneOf"].size(), fault_kinds().size());
}

bool valid(const std::string& yaml) {
  const auto text = nlohmann::json::parse(campaign_schema().dump());
  valijson::Schema schema;
  valijson::SchemaParser parser(valijson::SchemaParser::kDraft7);
  parser.populateSchema(valijson::adapters::NlohmannJsonAdapter(text), schema);
  const auto document = nlohmann::json::parse(platform::to_json(YAML::Load(yaml)).dump());
  valijson::Validator validator;
  return validator.validate(schema, valijson::adapters::NlohmannJsonAdapter(document), nullptr);
}

// `poolsim campaign schema` against what is shipped, and against what the reader refuses.
TEST(CampaignFile, TheSchemaAcceptsWhatIsShippedAndRefusesWhatTheReaderRefuses) {
  unsigned shipped = 0;
  for (const auto& entry : fs::directory_iterator(kSource + "/testbenches/campaigns")) {
    std::ifstream in(entry.path());
    std::ostringstream text;
    text << in.rdbuf();
    EXPECT_TRUE(valid(text.str())) << entry.path();
    ++shipped;
  }
  EXPECT_GE(shipped, 5u);
  const std::string start = "{schema: 1, base: x.yaml, faults: [{kind: none}]";
  EXPECT_TRUE(valid(start + "}"));
  for (const char* wrong : {", nmae: x}", ", keep: {per_buket: 1}}", ", schedule: {strategy: ptc}}",
                            ", limits: 7}", ", window: {ladder: 3 parsec}}", ", seed: many}"}) {
    EXPECT_FALSE(valid(start + wrong)) << wrong;
  }
  EXPECT_FALSE(valid("{schema: 1, base: x.yaml, faults: []}"));
  EXPECT_FALSE(valid("{schema: 1, base: x.yaml, faults: [{kind: nothing}]}"));
  EXPECT_FALSE(valid("{schema: 1, base: x.yaml, faults: [{kind: dram, were: pte}]}"));
  EXPECT_FALSE(valid("{schema: 1, faults: [{kind: none}]}"));
}

}  // namespace
