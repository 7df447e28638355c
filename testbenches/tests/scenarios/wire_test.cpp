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

TEST(Fragments, AreCompletedOrHeldAndTimeOut) {
  // 100 datagrams of 3 fragments that are read, 40 that nobody reads; four in five fragments arrive. What is
  // complete is read, or waits in the socket; the rest waits in defragmentation until ip_expire().
  scenario::ScenarioRun run(
      configure({"scenario.steady_packets=0", "scenario.held_udp=0", "scenario.held_fragments=0",
                 "scenario.steady_datagrams=100", "scenario.held_datagrams=40",
                 "scenario.datagram_fragments=3", "scenario.fragment_flows=4",
                 "scenario.fragment_loss=200000", "scenario.fragment_reorder=100000", "scenario.interval=2us",
                 "scenario.device=stays", "pool.strategy=robust_dma_api", "scenario.close_delay=1s",
                 "scenario.end_delay=40s", "stack.ipfrag_time=30s"}),
      {});
  auto& stack = run.machine().stack();
  std::uint64_t waiting = 0;
  run.machine().kernel().trace().device_unbinding.subscribe(
      [&](const kernel::DeviceUnbinding&) { waiting = stack.defrag().fragments_waiting(); });
  const auto result = run.run();
  EXPECT_TRUE(result.finished);
  const auto& defrag = stack.defrag();
  // 0.8^3 = 0.51 of them are complete: 51 and 20.
  EXPECT_NEAR(static_cast<double>(defrag.reassembled()), 71, 24);
  EXPECT_NEAR(static_cast<double>(stack.counters().read), 51, 20);
  EXPECT_LT(stack.counters().read, defrag.reassembled());
  EXPECT_EQ(stack.counters().corrupt, 0u);
  EXPECT_GT(waiting, 0u);
  EXPECT_GT(defrag.timeouts(), 0u);
  EXPECT_EQ(defrag.fragments_waiting(), 0u);
  // Conservation: every frame was part of a whole datagram, or was dropped by the timeout.
  EXPECT_EQ(stack.counters().received, result.packets);
  EXPECT_EQ(defrag.drops() + defrag.reinits() + stack.counters().malformed, 0u);
  EXPECT_EQ(result.packets, 3 * defrag.reassembled() + waiting);
  EXPECT_EQ(result.leaked_pages, 0u);
}

TEST(Fragments, ADatagramThatIsTooLongIsRefused) {
  try {
    configure({"scenario.held_datagrams=1", "scenario.datagram_fragments=50"});
    FAIL() << "accepted";
  } catch (const sim::Error& e) {
    EXPECT_NE(std::string(e.what()).find("65515"), std::string::npos) << e.what();
  }
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
