// SPDX-License-Identifier: Apache-2.0
// Receive packets through the whole timed machine with the checker on, waveforms off: wire, NIC, link, root
// port, IOMMU (strict, warm IOTLB), interconnect, DRAM, MSI-X, softirq, NAPI poll, page_pool, IP and UDP; no
// socket takes them, so the stack frees each one and the pool recycles it. Counters: simulated packets per
// CPU second, wake-ups (events) per packet, core cycles per packet.
//   BM_Machine_Rx           a VF, a ring of 512
//   BM_Machine_IdleMinute   nothing arrives for 60 simulated seconds
//   BM_Cold_Rx              the IOTLB has a quarter of the entries it would need
//   BM_Ring*_Rx, BM_Vfs7_Rx, BM_Pf1_Rx, BM_Pf8_Rx   do rings, idle VFs and idle queues cost anything?
#include <benchmark/benchmark.h>

#include <cstdio>
#include <cstdlib>

#include "testbenches/bench/elaborate.h"
#include "testbenches/checker/checker.h"
#include "testbenches/scenario/run.h"
#include "testbenches/scenario/script.h"

namespace {

struct Setup {
  unsigned descriptors = 512;
  scenario::Function function = scenario::Function::kVf;
  unsigned vfs = 1;     // one of them receives
  unsigned queues = 1;  // of the PF; one of them receives
  /// More entries than the ring has pages: each page's translation stays.
  iommu::CacheConfig iotlb = {2048, 4, iommu::Replacement::kLru};
};

struct Rig {
  static platform::MachineConfig config(const Setup& setup) {
    platform::MachineConfig c;
    c.driver.rx.descriptors = setup.descriptors;
    c.driver.queues = setup.queues;
    c.kernel.cores = std::max(c.kernel.cores, setup.queues);
    c.kernel.dma_mode = kernel::DmaMode::kStrict;
    c.iommu.iotlb = setup.iotlb;
    c.finish();
    return c;
  }
  explicit Rig(const Setup& setup) : machine(config(setup)), checker(machine.simulation().timeline()) {
    checker.attach(machine.memory_trace());
    checker.attach(machine.kernel().trace());
    checker.attach(machine.iommu());
    checker.attach(machine.nic().trace());
    checker.attach(machine.pools().trace());
    scenario::ScenarioConfig s;
    s.function = setup.function;
    s.vfs = setup.vfs;
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

/// One machine a process: that of the family which the process runs.
std::unique_ptr<Rig> rig;
template <Setup kSetup>
void make() {
  if (rig != nullptr) {
    std::fputs(
        "poolsim-bench: one machine a process: let the filter name one family, as in "
        "--benchmark_filter=BM_Cold_Rx\n",
        stderr);
    std::exit(2);
  }
  rig = std::make_unique<Rig>(kSetup);
}

constexpr Setup kMachine, kRing64{.descriptors = 64}, kRing4096{.descriptors = 4096}, kVfs7{.vfs = 7},
    kPf1{.function = scenario::Function::kPf}, kPf8{.function = scenario::Function::kPf, .queues = 8},
    kCold{.iotlb = {32, 4, iommu::Replacement::kLru}};
const bench::Elaborate kFamilies[] = {{"BM_Machine", make<kMachine>},   {"BM_Ring64", make<kRing64>},
                                      {"BM_Ring4096", make<kRing4096>}, {"BM_Vfs7", make<kVfs7>},
                                      {"BM_Pf1", make<kPf1>},           {"BM_Pf8", make<kPf8>},
                                      {"BM_Cold", make<kCold>}};

constexpr std::uint64_t kPackets = 10'000;
/// One iteration; a function of its own, so that callgrind can count it alone (docs/performance.md), also
/// where the whole program is optimised at once: it may not become a part of its caller nor end in a jump.
[[gnu::noipa]] void measured_packets(Rig& r, unsigned payload) {
  r.receive(kPackets, payload);
  asm volatile("" ::: "memory");
}

void receive(benchmark::State& state) {
  Rig& r = *rig;
  const auto payload = static_cast<unsigned>(state.range(0)) - 42 - 4;  // of a frame of this size with FCS
  r.receive(2 * r.machine.config().driver.rx.descriptors + 1000, payload);  // every page of the ring twice
  const auto wakeups = r.machine.simulation().timeline().wakeups();
  const auto received = r.machine.stack().counters().received;
  const auto cycles = r.script->ring_counters().poll_cycles;
  for (auto _ : state) measured_packets(r, payload);
  const auto packets = static_cast<double>(r.machine.stack().counters().received - received);
  state.SetItemsProcessed(static_cast<std::int64_t>(packets));
  state.counters["wakeups/packet"] =
      static_cast<double>(r.machine.simulation().timeline().wakeups() - wakeups) / packets;
  state.counters["core_cycles/packet"] =
      static_cast<double>(r.script->ring_counters().poll_cycles - cycles) / packets;
}

void BM_Machine_IdleMinute(benchmark::State& state) {
  Rig& r = *rig;
  r.receive(100, 18);
  auto& timeline = r.machine.simulation().timeline();
  for (auto _ : state) timeline.run_until(timeline.now() + 60 * sim::kSecond);
}

}  // namespace

BENCHMARK(receive)->Name("BM_Machine_Rx")->Arg(64)->Arg(1500)->Unit(benchmark::kMillisecond);
BENCHMARK(receive)->Name("BM_Ring64_Rx")->Arg(64)->Unit(benchmark::kMillisecond);
BENCHMARK(receive)->Name("BM_Ring4096_Rx")->Arg(64)->Unit(benchmark::kMillisecond);
BENCHMARK(receive)->Name("BM_Vfs7_Rx")->Arg(64)->Unit(benchmark::kMillisecond);
BENCHMARK(receive)->Name("BM_Pf1_Rx")->Arg(64)->Unit(benchmark::kMillisecond);
BENCHMARK(receive)->Name("BM_Pf8_Rx")->Arg(64)->Unit(benchmark::kMillisecond);
BENCHMARK(receive)->Name("BM_Cold_Rx")->Arg(64)->Unit(benchmark::kMillisecond);
BENCHMARK(BM_Machine_IdleMinute)->Unit(benchmark::kMillisecond)->Iterations(1);
