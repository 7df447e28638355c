// SPDX-License-Identifier: Apache-2.0
// Cost of an event, of a Clocked tick and of a context switch; cost of 60 idle simulated seconds.
#include <benchmark/benchmark.h>

#include "testbenches/bench/elaborate.h"
#include "sim/fiber.h"
#include "sim/simulation.h"

namespace {

/// Ticks every `stride` cycles until `until`.
struct Ticker : sim::Clocked {
  Ticker(sim::Simulation& s, unsigned stride) : Clocked(s.timeline(), sim::Clock(1'000'000)), stride(stride) {}
  void start(sim::Cycle last) {
    until = last;
    poke(timeline().now());
  }
  sim::Wakeup tick(sim::Cycle now) override {
    return now < until ? sim::Wakeup::at(now + stride) : sim::Wakeup::never();
  }
  unsigned stride;
  sim::Cycle until = 0;
};

/// 64 tickers of different strides, so that they rarely share a time.
struct Elaborated {
  sim::Simulation sim;
  std::vector<std::unique_ptr<Ticker>> tickers;
  Elaborated() {
    for (int i = 0; i < 64; ++i) tickers.push_back(std::make_unique<Ticker>(sim, 2 * i + 3));
  }
};
Elaborated& elaborated() {
  static Elaborated e;
  return e;
}
const bench::Elaborate kMake("BM_Timeline", [] { elaborated(); });

void BM_Timeline_Tick(benchmark::State& state) {
  auto& timeline = elaborated().sim.timeline();
  const auto before = timeline.wakeups();
  for (auto _ : state) {
    const sim::Tick end = timeline.now() + 10 * sim::kMicrosecond;
    for (int i = 0; i < state.range(0); ++i) elaborated().tickers[i]->start(end / sim::kNanosecond);
    timeline.run_until(end);
  }
  state.SetItemsProcessed(static_cast<std::int64_t>(timeline.wakeups() - before));
}

void BM_Timeline_IdleMinute(benchmark::State& state) {
  auto& timeline = elaborated().sim.timeline();
  for (auto _ : state) timeline.run_until(timeline.now() + 60 * sim::kSecond);
}

void BM_Fiber_Switch(benchmark::State& state) {
  bool stop = false;
  sim::Fiber* self = nullptr;
  sim::Fiber fiber("bench", [&] {
    while (!stop) self->suspend();
  });
  self = &fiber;
  for (auto _ : state) fiber.resume();
  stop = true;
  fiber.resume();
  state.SetItemsProcessed(static_cast<std::int64_t>(state.iterations()));
}

}  // namespace

BENCHMARK(BM_Timeline_Tick)->Arg(1)->Arg(16)->Arg(64);
BENCHMARK(BM_Fiber_Switch);
BENCHMARK(BM_Timeline_IdleMinute)->Iterations(3);
