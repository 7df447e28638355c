// SPDX-License-Identifier: Apache-2.0
// The cable and the order of going: captures in and out of a run, arrivals, and sriov_numvfs := 0 step by step.
#include <gtest/gtest.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "platform/pcap_file.h"
#include "testbenches/scenario/compare.h"

namespace {

using scenario::RunConfig;

RunConfig configure(const std::vector<std::string>& assignments = {}) {
  RunConfig config;
  scenario::load(config, POOLSIM_SOURCE_DIR "/testbenches/scenarios/unbind_short.yaml", assignments);
  return config;
}

TEST(Sriov, NumVfsToZeroRunsTheOrderOfTheKernel) {
  // pci_disable_sriov: for each VF driver remove (which ends bus mastering) and device delete; then VF Enable is cleared.
  scenario::ScenarioRun run(configure({"pool.strategy=robust_dma_api"}), {});
  std::vector<std::string> steps;
  const std::uint32_t vf = run.machine().config().nic.pf_requester.value + 0x80;
  auto& kernel = run.machine().kernel().trace();
  auto& nic = run.machine().nic().trace();
  const auto of_vf = [vf](const kernel::Device* d) { return d->requester().value == vf; };
  kernel.device_unbinding.subscribe([&](const kernel::DeviceUnbinding& e) {
    if (of_vf(e.device)) steps.push_back("driver remove");
  });
  kernel.device_unbound.subscribe([&](const kernel::DeviceUnbound& e) {
    if (of_vf(e.device)) steps.push_back("driver gone");
  });
  kernel.device_removed.subscribe([&](const kernel::DeviceRemoved& e) {
    if (of_vf(e.device)) steps.push_back("device delete");
  });
  nic.bus_master_changed.subscribe([&](const nic::BusMasterChanged& e) {
    if (e.requester.value == vf && !e.enabled) steps.push_back("bus mastering off");
  });
  nic.vf_disabled.subscribe([&](const nic::VfDisabled&) { steps.push_back("VF Enable cleared"); });
  run.run();
  EXPECT_EQ(steps, (std::vector<std::string>{"driver remove", "bus mastering off", "driver gone", "device delete",
                                             "VF Enable cleared"}));
}

TEST(Pcap, ARunIsRecordedAndReplayed) {
  const std::string file = ::testing::TempDir() + std::to_string(::getpid()) + ".pcap";
  const auto config = configure();
  scenario::RunOptions record, replay, fast;
  record.pcap = file;
  replay.rx_pcap = fast.rx_pcap = file;
  fast.rx_line_rate = true;
  const auto first = scenario::run_jobs({{config, {}}, {config, record}}, 2);
  EXPECT_EQ(first[0].digest, first[1].digest);  // who writes a capture changes nothing
  const auto frames = platform::read_pcap(file);
  EXPECT_EQ(frames.size(), first[1].packets);
  const auto second = scenario::run_jobs({{config, replay}, {config, fast}}, 2);
  for (const auto& r : second) EXPECT_EQ(r.packets, first[0].packets + frames.size());
  EXPECT_NE(second[0].digest, second[1].digest);
}

TEST(Arrivals, OfEveryKindReachTheSocket) {
  const auto make = [](const char* arrivals) {
    return scenario::Job{configure({std::string("scenario.arrivals=") + arrivals, "scenario.interval=2us",
                                    "scenario.burst=16", "scenario.flows=50"}),
                         {}};
  };
  const auto results = scenario::run_jobs({make("constant"), make("poisson"), make("bursts")}, 2);
  for (const auto& r : results) {
    EXPECT_TRUE(r.finished || !r.oops.empty());
    EXPECT_EQ(r.packets, results[0].packets);
  }
  EXPECT_NE(results[0].digest, results[1].digest);
  EXPECT_NE(results[0].digest, results[2].digest);
}

}  // namespace
