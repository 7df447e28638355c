// SPDX-License-Identifier: Apache-2.0
// Receive packets through the whole timed machine with the checker on, waveforms off: wire, NIC, link, root port,
// IOMMU (strict, warm IOTLB), interconnect, DRAM, MSI-X, softirq, NAPI poll, page_pool, IP and UDP; no socket takes
// them, so the stack frees each one and the pool recycles it. Counters: simulated packets per CPU second, wake-ups
// (events) per packet, core cycles per packet.
#include <benchmark/benchmark.h>

#include "testbenches/bench/elaborate.h"
#include "testbenches/checker/checker.h"
#include "testbenches/scenario/run.h"
#include "testbenches/scenario/script.h"

namespace {

struct Rig {
  static platform::MachineConfig config() {
    platform::MachineConfig c;
    c.driver.rx.descriptors = 512;
    c.kernel.dma_mode = kernel::DmaMode::kStrict;
    // More entries than the ring has pages: each page's translation stays. With the default of 64 sets of 4 every
    // buffer misses.
    c.iommu.iotlb = {1024, 4, iommu::Replacement::kLru};
    c.finish();
    return c;
  }
  Rig() : machine(config()), checker(machine.simulation().timeline()) {
    checker.attach(machine.memory_trace());
    checker.attach(machine.kernel().trace());
    checker.attach(machine.iommu());
    checker.attach(machine.nic().trace());
    checker.attach(machine.pools().trace());
    scenario::ScenarioConfig s;
    s.steady_packets = s.held_udp = s.held_fragments = 0;
    script = std::make_unique<scenario::Script>(machine, s);
    machine.kernel().spawn(0, "admin", [this] {
      script->bind();
      ready = true;
      machine.simulation().timeline().stop();
    });
  }
  void receive(std::uint64_t packets, unsigned payload) {
    auto& timeline = machine.simulation().timeline();
    // Other benchmarks of this process have moved SystemC's time on.
    timeline.run_until(std::max(timeline.now(), sim::Timeline::to_ticks(sc_core::sc_time_stamp())));
    if (!ready) timeline.run_until(timeline.now() + sim::kSecond);
    auto stream = script->stream(platform::FrameKind::kUdp, 7, packets, payload);
    stream.interval = 400 * sim::kNanosecond;  // what one core keeps up with, so that no frame is dropped
    machine.wire().send(stream);
    const std::uint64_t expected = machine.wire().frames_sent() + packets;
    while (machine.wire().frames_sent() < expected || !machine.nic().idle()) {
      timeline.run_until(timeline.now() + 100 * sim::kMicrosecond);
    }
    timeline.run_until(timeline.now() + 100 * sim::kMicrosecond);
  }
  platform::Machine machine;
  checker::Checker checker;
  std::unique_ptr<scenario::Script> script;
  bool ready = false;
};

Rig& rig() {
  static Rig r;
  return r;
}
const bench::Elaborate kMake("BM_Machine", [] { rig(); });

void BM_Machine_Rx(benchmark::State& state) {
  Rig& r = rig();
  const auto payload = static_cast<unsigned>(state.range(0)) - 42 - 4;  // of a frame of this size with FCS
  r.receive(1000, payload);
  const auto wakeups = r.machine.simulation().timeline().wakeups();
  const auto received = r.machine.stack().counters().received;
  const auto cycles = r.script->ring_counters().poll_cycles;
  for (auto _ : state) r.receive(10'000, payload);
  const auto packets = static_cast<double>(r.machine.stack().counters().received - received);
  state.SetItemsProcessed(static_cast<std::int64_t>(packets));
  state.counters["wakeups/packet"] = static_cast<double>(r.machine.simulation().timeline().wakeups() - wakeups) / packets;
  state.counters["core_cycles/packet"] = static_cast<double>(r.script->ring_counters().poll_cycles - cycles) / packets;
}

void BM_Machine_IdleMinute(benchmark::State& state) {
  Rig& r = rig();
  r.receive(100, 18);
  auto& timeline = r.machine.simulation().timeline();
  for (auto _ : state) timeline.run_until(timeline.now() + 60 * sim::kSecond);
}

}  // namespace

BENCHMARK(BM_Machine_Rx)->Arg(64)->Arg(1500)->Unit(benchmark::kMillisecond);
BENCHMARK(BM_Machine_IdleMinute)->Unit(benchmark::kMillisecond)->Iterations(1);
