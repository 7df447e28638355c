// SPDX-License-Identifier: Apache-2.0
// The main job, as laws: what the thread reports for `stock`, what the two fixes claim, and conservation in
// all.
#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "testbenches/scenario/compare.h"

namespace {

using scenario::Job;
using scenario::RunConfig;
using scenario::RunResult;

const std::string kScenarios = POOLSIM_SOURCE_DIR "/testbenches/scenarios/";

RunConfig configure(const std::string& file, const std::vector<std::string>& assignments = {}) {
  RunConfig config;
  scenario::load(config, kScenarios + file, assignments);
  return config;
}

std::uint64_t count(const RunResult& r, const std::string& kind) {
  for (const auto& [k, n] : r.findings) {
    if (k == kind) return n;
  }
  return 0;
}

std::string bytes_of(const std::string& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

TEST(Unbind, ThreeWaysOfKeepingTimeOneDigestAndOneWaveform) {
  const std::string dir = ::testing::TempDir() + std::to_string(::getpid()) + "_";
  std::vector<Job> jobs;
  for (const char* mode :
       {"simulation.every_cycle=false", "simulation.run_ahead=false", "simulation.every_cycle=true"}) {
    jobs.push_back({configure("unbind_short.yaml", {mode}), {}});
    jobs.back().options.vcd = dir + "unbind_short_" + std::to_string(jobs.size()) + ".vcd";
  }
  const auto results = scenario::run_jobs(jobs, 2);
  EXPECT_TRUE(results[0].finished);
  EXPECT_EQ(results[0].digest, results[1].digest);
  EXPECT_EQ(results[0].digest, results[2].digest);
  EXPECT_GT(results[2].wakeups, 100 * results[0].wakeups);  // every cycle was ticked indeed
  const std::string wave = bytes_of(jobs[0].options.vcd);
  EXPECT_GT(wave.size(), 10'000u);
  EXPECT_TRUE(wave == bytes_of(jobs[1].options.vcd));
  EXPECT_TRUE(wave == bytes_of(jobs[2].options.vcd));
}

TEST(Unbind, SameSeedSameBytes) {
  const auto config = configure("unbind_short.yaml");
  const auto results = scenario::run_jobs({{config, {}}, {config, {}}}, 2);
  EXPECT_EQ(results[0].digest, results[1].digest);
  auto a = results[0].to_json(), b = results[1].to_json();
  a.erase("cpu_seconds");
  b.erase("cpu_seconds");
  EXPECT_EQ(a, b);
}

TEST(Unbind, StockEndsInTheOopsOfTheThread) {
  const auto results = scenario::compare(configure("unbind_outstanding.yaml"), {"stock"}, 1);
  const RunResult& r = results[0];
  EXPECT_EQ(r.pages_outstanding, 256u);
  EXPECT_EQ(r.oops, "iommu_get_dma_domain + 0xa8");
  EXPECT_EQ(count(r, "null_domain_oops"), 1u);
  EXPECT_GE(r.late_unmaps, 1u);
  EXPECT_FALSE(r.finished);
}

TEST(Unbind, TheFixesUnmapBeforeTheDriverIsGone) {
  for (const char* device : {"removed", "stays", "rebound"}) {
    const auto config = configure("unbind_outstanding.yaml", {std::string("scenario.device=") + device});
    for (const RunResult& r : scenario::compare(config, {"scan", "xarray_merged"}, 2)) {
      SCOPED_TRACE(r.strategy + ", device " + device);
      EXPECT_TRUE(r.finished);
      EXPECT_EQ(r.oops, "");
      EXPECT_EQ(r.late_unmaps, 0u);
      EXPECT_GE(r.unmap_inside, r.pages_outstanding);
      EXPECT_EQ(r.leaked_pages, 0u);
      EXPECT_EQ(r.leaked_iovas, 0u);
      EXPECT_EQ(r.iommu_faults, 0u);
    }
  }
}

TEST(Unbind, StockWithTheDevicePresentUnmapsLate) {
  const auto config = configure("unbind_outstanding.yaml", {"scenario.device=stays"});
  const RunResult r = scenario::compare(config, {"stock"}, 1)[0];
  EXPECT_TRUE(r.finished);
  EXPECT_EQ(r.oops, "");
  // Every page that was out when the driver went is unmapped by somebody who may not.
  EXPECT_EQ(r.late_unmaps, r.pages_outstanding);
  EXPECT_EQ(r.unmap_after, r.pages_outstanding);
  EXPECT_EQ(r.leaked_pages, 0u);
}

TEST(Unbind, WithoutQuiescingTheDeviceWritesWhereItMayNot) {
  const std::vector<std::string> loud = {"scenario.device=stays", "nic.driver.quiesce=false",
                                         "scenario.late_packets=200"};
  auto strict = loud, passthrough = loud;
  strict.push_back("kernel.dma_mode=strict");
  passthrough.push_back("kernel.dma_mode=passthrough");
  const auto results = scenario::run_jobs({{configure("unbind_outstanding.yaml", strict), {}},
                                           {configure("unbind_outstanding.yaml", passthrough), {}}},
                                          2);
  // Strict: the prefetched descriptors point at IOVAs that are gone. Passthrough: nothing stops the device.
  EXPECT_GT(results[0].iommu_faults, 0u);
  EXPECT_EQ(results[1].iommu_faults, 0u);
  EXPECT_GT(count(results[1], "dma_not_owned"), 0u);
}

TEST(Unbind, LazyModeLeavesStaleIotlbEntriesThatADeviceCanStillUse) {
  const std::vector<std::string> loud = {"scenario.device=stays", "nic.driver.quiesce=false",
                                         "scenario.late_packets=200", "iommu.iotlb.sets=1024",
                                         "pool.strategy=xarray_merged"};
  auto strict = loud, lazy = loud;
  strict.push_back("kernel.dma_mode=strict");
  lazy.push_back("kernel.dma_mode=lazy");
  const auto results = scenario::run_jobs(
      {{configure("unbind_outstanding.yaml", strict), {}}, {configure("unbind_outstanding.yaml", lazy), {}}},
      2);
  // Strict waits for the fence before anybody may have the page: nothing gets through that should not.
  EXPECT_EQ(count(results[0], "dma_not_owned") + count(results[0], "use_after_free"), 0u);
  // Lazy frees first and flushes later: an IOTLB that is large enough still knows the page.
  EXPECT_GT(count(results[1], "stale_iotlb"), 0u);
  EXPECT_GT(count(results[1], "dma_not_owned"), 0u);
}

TEST(Unbind, ANewDomainAtTheSecondBindingMakesLateUnmapsHitSomebodyElse) {
  const auto config = configure("unbind_outstanding.yaml",
                                {"scenario.device=rebound", "kernel.replace_domain_on_rebind=true"});
  const auto results = scenario::compare(config, {"stock", "xarray_merged"}, 2);
  EXPECT_EQ(count(results[0], "foreign_unmap"), results[0].pages_outstanding);
  EXPECT_EQ(count(results[0], "use_after_free"), 0u);
  EXPECT_TRUE(results[1].findings.empty());
}

TEST(Unbind, ProperlyQuiescedNobodyIsHurtByLateFrames) {
  const auto config =
      configure("unbind_outstanding.yaml", {"scenario.late_packets=200", "scenario.device=stays"});
  const RunResult r = scenario::compare(config, {"xarray_merged"}, 1)[0];
  EXPECT_TRUE(r.finished);
  EXPECT_EQ(r.iommu_faults, 0u);
  EXPECT_EQ(count(r, "dma_not_owned"), 0u);
  EXPECT_EQ(count(r, "stale_iotlb"), 0u);
}

TEST(Unbind, WaitingCostsNothing) {
  auto slow = configure("unbind_outstanding.yaml", {"pool.strategy=xarray_merged"});
  auto fast =
      configure("unbind_outstanding.yaml", {"pool.strategy=xarray_merged", "scenario.close_delay=10 ms",
                                            "scenario.end_delay=20 ms", "stack.ipfrag_time=10 ms"});
  const auto results = scenario::run_jobs({{slow, {}}, {fast, {}}}, 2);
  EXPECT_GT(results[0].simulated, 40 * sim::kSecond);
  // 40 s more of waiting: the release work runs once a second, a few thousand wake-ups at the very most.
  EXPECT_LT(results[0].wakeups, results[1].wakeups + 5000);
}

TEST(Unbind, ASectionThatTheRunCutsOffCountsAsLongAsItWas) {
  // A scan of 4 GiB takes 17 ms; the scenario ends 6 ms after the unbind.
  const RunResult r = scenario::run_jobs({{configure("unbind_short.yaml", {"pool.strategy=scan"}), {}}}, 1)[0];
  EXPECT_FALSE(r.unbind_ended);
  EXPECT_GT(r.longest_bh_off, r.unbind / 2);
  EXPECT_LE(r.longest_bh_off, r.unbind);
  EXPECT_NE(r.longest_bh_off_chain.find("page_pool_destroy"), std::string::npos) << r.longest_bh_off_chain;
  EXPECT_EQ(count(r, "bh_off"), 1u);
}

}  // namespace
