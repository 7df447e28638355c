// SPDX-License-Identifier: Apache-2.0
// Speed of the DRAM model: 32 requests in flight, full timing, refresh on.
//   BM_Dram/channel     the scheduler alone
//   BM_Dram/controller  through the TLM socket, with data, from a clocked initiator
// For comparison, the same random pattern on this class of machine: DRAMSys 5.1 115 k, Ramulator 2.1 120 k,
// DRAMsim3 125 k requests a CPU second (measured for this project, not part of it).
#include <benchmark/benchmark.h>

#include <cstring>

#include "mm/dram_channel.h"
#include "mm/dram_controller.h"
#include "testbenches/bench/elaborate.h"

namespace {

constexpr unsigned kOutstanding = 32;
constexpr std::uint64_t kBytes = std::uint64_t{256}
                                 << 20;  // 2048 rows a bank; small enough to be touched in advance

struct Pattern {
  bool random;
  unsigned write_percent;
  std::uint64_t state = 88172645463325252ull, line = 0;

  std::uint64_t next() {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
  }
  std::uint64_t offset() { return (random ? next() % (kBytes / 64) : line++ % (kBytes / 64)) * 64; }
  bool write() { return write_percent != 0 && next() % 100 < write_percent; }
};

void channel(benchmark::State& state, const char* standard, const char* mapping, Pattern pattern) {
  const mm::DramTiming& timing = mm::dram_standard(standard);
  mm::DramChannel dram(timing, {});
  dram.report_writes(true);
  const mm::AddressMapping map(mapping, timing, 1, 1);
  sim::Cycle now = 0;
  unsigned outstanding = 0;
  std::int64_t done = 0;
  for (auto _ : state) {
    for (const std::int64_t end = done + 10'000; done < end;) {
      dram.advance(now);
      for (bool write = pattern.write(); outstanding < kOutstanding && dram.has_room(write); ++outstanding) {
        dram.enqueue(now, write, map.decode(pattern.offset()), 0);
      }
      dram.step(now);
      for (; dram.next_completion() <= now; ++done, --outstanding) dram.pop();
      const sim::Cycle next = std::min(dram.next_command(), dram.next_completion());
      now = outstanding < kOutstanding || next <= now ? now + 1 : next;
    }
  }
  state.SetItemsProcessed(done);
  state.counters["cycles"] = static_cast<double>(now) / static_cast<double>(done);
}

/// Keeps 32 requests of 64 bytes in flight.
struct Initiator : sc_core::sc_module, sim::Clocked, tlm::tlm_bw_transport_if<> {
  Initiator(sc_core::sc_module_name name, sim::Simulation& s, sim::Clock clock)
      : sc_module(name), Clocked(s.timeline(), clock), sim(s) {
    socket.bind(*this);
  }
  void start(Pattern p, std::uint64_t requests) {
    pattern = p;
    left = requests;
    poke(sim.now());
  }
  sim::Wakeup tick(sim::Cycle) override {
    while (left != 0 && !blocked && outstanding < kOutstanding) {
      sim::Transaction* t = sim.payloads().acquire(
          pattern.write() ? tlm::TLM_WRITE_COMMAND : tlm::TLM_READ_COMMAND, pattern.offset(), 64);
      tlm::tlm_phase phase = tlm::BEGIN_REQ;
      sc_core::sc_time delay = sim.timeline().outgoing_delay();
      blocked = socket->nb_transport_fw(*t, phase, delay) == tlm::TLM_ACCEPTED;
      ++outstanding;
      --left;
    }
    return sim::Wakeup::never();
  }
  tlm::tlm_sync_enum nb_transport_bw(tlm::tlm_generic_payload& p, tlm::tlm_phase& phase,
                                     sc_core::sc_time& delay) override {
    poke(sim.timeline().incoming(delay));
    if (phase == tlm::END_REQ) {
      blocked = false;
      return tlm::TLM_ACCEPTED;
    }
    --outstanding;
    p.release();
    if (left == 0 && outstanding == 0) sim.timeline().stop();
    return tlm::TLM_COMPLETED;
  }
  void invalidate_direct_mem_ptr(sc_dt::uint64, sc_dt::uint64) override {}

  tlm::tlm_initiator_socket<64> socket{"socket"};
  sim::Simulation& sim;
  Pattern pattern{};
  std::uint64_t left = 0;
  unsigned outstanding = 0;
  bool blocked = false;
};

struct Machine {
  mm::DramConfig config{.mapping = "ro"};
  sim::Simulation sim{"dram_bench"};
  mm::SparseStore store{sim::PhysAddr(0), kBytes, mm::HostPages::kHuge};
  Initiator initiator{"db_initiator", sim, mm::dram_standard(config.standard).clock};
  mm::DramController dram{"db_dram", sim, store, config};
  Machine() {
    initiator.socket.bind(dram.port);
    std::memset(store.host(store.base(), kBytes), 1, kBytes);  // a host page fault is no work of the model
  }
};
Machine& machine() {
  static Machine m;
  return m;
}
const bench::Elaborate kMake("BM_Dram", [] { machine(); });

void controller(benchmark::State& state, Pattern pattern) {
  Machine& m = machine();
  constexpr std::uint64_t kRequests = 10'000;
  const std::uint64_t wakeups = m.sim.timeline().wakeups();
  for (auto _ : state) {
    m.initiator.start(pattern, kRequests);
    m.sim.timeline().run_until(m.sim.now() + 10 * sim::kMillisecond);
    pattern = m.initiator.pattern;
  }
  const auto requests = static_cast<double>(state.iterations() * kRequests);
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(kRequests));
  state.counters["events"] = static_cast<double>(m.sim.timeline().wakeups() - wakeups) / requests;
}

BENCHMARK_CAPTURE(channel, ddr4_2400_random, "DDR4-2400R", "ro", Pattern{true, 0})
    ->Name("BM_Dram/channel/ddr4_2400_random");
BENCHMARK_CAPTURE(channel, ddr4_2400_mixed, "DDR4-2400R", "ro", Pattern{true, 33})
    ->Name("BM_Dram/channel/ddr4_2400_mixed");
BENCHMARK_CAPTURE(channel, ddr4_2400_stream, "DDR4-2400R", "il", Pattern{false, 0})
    ->Name("BM_Dram/channel/ddr4_2400_stream");
BENCHMARK_CAPTURE(channel, ddr5_4800_random, "DDR5-4800BN", "ro", Pattern{true, 0})
    ->Name("BM_Dram/channel/ddr5_4800_random");
BENCHMARK_CAPTURE(controller, random, Pattern{true, 0})->Name("BM_Dram/controller/random");
BENCHMARK_CAPTURE(controller, mixed, Pattern{true, 33})->Name("BM_Dram/controller/mixed");

}  // namespace
