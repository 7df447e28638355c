// SPDX-License-Identifier: Apache-2.0
// Memory as a scan sees it: nodes, holes, ranges that are plugged in, up to 12.3 TB.
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <nlohmann/json.hpp>

#include "sim/error.h"
#include "testbenches/scenario/compare.h"
#include "testbenches/scenario/processes.h"

namespace {

using scenario::RunConfig;
using scenario::RunResult;

RunConfig configure(const std::string& file, const std::vector<std::string>& assignments) {
  RunConfig config;
  scenario::load(config, std::string(POOLSIM_SOURCE_DIR "/testbenches/scenarios/") + file, assignments);
  return config;
}
RunResult run(const std::vector<std::string>& assignments) {
  return scenario::run_jobs({{configure("objection_hotplug.yaml", assignments), {}}}, 1)[0];
}
std::string refusal(const std::vector<std::string>& assignments) {
  try {
    configure("unbind_short.yaml", assignments);
  } catch (const sim::Error& e) {
    return e.what();
  }
  return "accepted";
}

TEST(Memory, TheScanOf12TerabytesAsksForEveryPageInAGibibyte) {
  // In a process of its own, so that its peak is its own. The walk takes 49 simulated seconds; a walk that
  // looked at each of the 3.0e9 struct pages would read 192 GB.
  const std::string text = scenario::in_process([] {
    scenario::ScenarioRun scan(configure("objection_scan_12tb.yaml", {"pool.strategy=scan"}), {});
    const RunResult r = scan.run();
    rusage usage{};
    ::getrusage(RUSAGE_SELF, &usage);
    return nlohmann::json{{"pfns", r.scanned_pfns}, {"peak_kib", usage.ru_maxrss}, {"late", r.late_unmaps}}
        .dump();
  });
  const auto j = nlohmann::json::parse(text);
  EXPECT_EQ(j["pfns"].get<std::uint64_t>(), 12'300'000'000'000u / 4096);
  EXPECT_LT(j["peak_kib"].get<std::uint64_t>(), 1u << 20);
  EXPECT_EQ(j["late"], 0);
}

TEST(Memory, SizesFrom4GibibytesTo12Point3TerabytesAreTaken) {
  for (const char* size : {"4 GiB", "5 GB", "300 GB", "1.5 TB", "12.3 TB"}) {
    const RunConfig c = configure("unbind_short.yaml", {std::string("memory.size=") + size});
    EXPECT_EQ(c.machine.memory.bytes % 4096, 0u) << size;
  }
  EXPECT_EQ(configure("unbind_short.yaml", {"memory.size=12.3 TB"}).machine.memory.bytes,
            12'300'000'000'000u / 4096 * 4096);
}

TEST(Memory, NodesHolesAndPluggableRangesAreWhatTheScanWalks) {
  const std::vector<std::string> base = {"pool.strategy=scan", "scenario.hotplug=none"};
  const auto with = [&](std::vector<std::string> more) {
    more.insert(more.begin(), base.begin(), base.end());
    return run(more);
  };
  const std::uint64_t pages = (std::uint64_t{16} << 30) / 4096;
  const RunResult flat = with({"memory.hotpluggable="});
  EXPECT_EQ(flat.scanned_pfns, pages);
  // A hole is asked for, too, but costs the look into its section only.
  const RunResult holes = with({"memory.hotpluggable=", "memory.holes=3 GiB+2 GiB, 8 GiB+4 GiB"});
  EXPECT_EQ(holes.scanned_pfns, pages);
  EXPECT_LT(holes.longest_bh_off, flat.longest_bh_off * 3 / 4);
  EXPECT_EQ(holes.unmap_inside, flat.unmap_inside);
  // Between two nodes there is no zone: nobody asks.
  const RunResult nodes = with({"memory.hotpluggable=", "memory.nodes=0+4 GiB, 12 GiB+4 GiB"});
  EXPECT_EQ(nodes.scanned_pfns, pages / 2);
  for (const RunResult* r : {&flat, &holes, &nodes}) EXPECT_EQ(r->late_unmaps, 0u);
}

TEST(Memory, RangesCanBePluggedOutInMidScan) {
  const RunResult r = run({"pool.strategy=scan", "scenario.hotplug=offline"});
  EXPECT_EQ(r.hotplug_steps, 4u);  // added and on line; off line and removed
  EXPECT_EQ(r.hotplug_errors, 0u);
  EXPECT_GT(r.longest_hotplug_wait, 50 * sim::kMillisecond);
  EXPECT_EQ(r.late_unmaps, 0u);
}

TEST(Memory, AWrongMapIsRefusedWithTheNearestRightOne) {
  EXPECT_NE(refusal({"memory.holes=1 GiB+3 MiB"}).find("the nearest is 4 MiB"), std::string::npos);
  EXPECT_NE(refusal({"memory.hotpluggable=1 GiB+100 MiB"}).find("the nearest is 128 MiB"), std::string::npos);
  EXPECT_NE(refusal({"memory.holes=1 GiB"}).find("OFFSET+SIZE"), std::string::npos);
  EXPECT_NE(refusal({"memory.nodes=2 GiB, 4 GiB"}).find("beyond the memory"), std::string::npos);
  EXPECT_NE(refusal({"memory.holes=2 GiB+2 MiB, 1 GiB+2 MiB"}).find("before the end of the one before"),
            std::string::npos);
  EXPECT_NE(refusal({"scenario.hotplug=online"}).find("memory.hotpluggable"), std::string::npos);
  EXPECT_NE(refusal({"nic.driver.queues=2"}).find("scenario.function=pf"), std::string::npos);
  EXPECT_NE(refusal({"scenario.vfs=3", "nic.total_vfs=3"}).find("nic.total_vfs (3)"), std::string::npos);
  EXPECT_EQ(refusal({"scenario.vfs=2", "nic.total_vfs=3"}), "accepted");
  EXPECT_EQ(refusal({"scenario.function=pf", "nic.total_vfs=0"}), "accepted");
}

}  // namespace
