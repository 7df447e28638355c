// SPDX-License-Identifier: Apache-2.0
// Cost of translations: functional (transport_dbg) and timed, for IOTLB hits and for walks.
#include <benchmark/benchmark.h>

#include <cstdlib>

#include "iommu/iommu.h"
#include "mm/sparse_store.h"
#include "testbenches/bench/elaborate.h"

namespace {

constexpr std::uint64_t kDram = 0x8000'0000, kIova = 0x4000'0000;
constexpr std::uint64_t kPages = 512;
constexpr std::uint32_t kDevice = 0x0100;

/// Answers at once.
struct Memory final : sc_core::sc_module, tlm::tlm_fw_transport_if<> {
  Memory(sc_core::sc_module_name name, mm::SparseStore& store) : sc_module(name), store(store) {
    downstream.bind(*this);
    walker.bind(*this);
  }
  tlm::tlm_target_socket<64> downstream{"downstream"}, walker{"walker"};
  mm::SparseStore& store;
  unsigned transport_dbg(tlm::tlm_generic_payload& p) override {
    const std::span<std::uint8_t> data(p.get_data_ptr(), p.get_data_length());
    const sim::PhysAddr a(p.get_address());
    if (!store.contains(a, data.size())) return 0;
    if (p.is_write())
      store.write(a, data);
    else
      store.read(a, data);
    return p.get_data_length();
  }
  void b_transport(tlm::tlm_generic_payload& p, sc_core::sc_time&) override {
    sim::complete(p, transport_dbg(p) != 0 ? sim::CompletionStatus::kSuccess
                                           : sim::CompletionStatus::kUnsupportedRequest);
  }
  tlm::tlm_sync_enum nb_transport_fw(tlm::tlm_generic_payload& p, tlm::tlm_phase&,
                                     sc_core::sc_time& t) override {
    b_transport(p, t);
    return tlm::TLM_COMPLETED;
  }
  bool get_direct_mem_ptr(tlm::tlm_generic_payload&, tlm::tlm_dmi&) override { return false; }
};

/// A write of 64 bytes every 4 cycles, over a number of pages in turn.
struct Device final : sc_core::sc_module, sim::Clocked, tlm::tlm_bw_transport_if<> {
  Device(sc_core::sc_module_name name, sim::Simulation& s)
      : sc_module(name), Clocked(s.timeline(), sim::Clock::from_hz(250'000'000)), sim(s) {
    dma.bind(*this);
    mmio.bind(*this);
  }
  tlm::tlm_initiator_socket<64> dma{"dma"}, mmio{"mmio"};
  sim::Simulation& sim;
  std::uint64_t left = 0, pages = 1, ticks = 0, answered = 0;
  bool full = false;

  void start(std::uint64_t count, std::uint64_t over_pages) {
    left = count;
    pages = over_pages;
    poke(sim.now());
  }
  sim::Wakeup tick(sim::Cycle now) override {
    if (left == 0 || full) return sim::Wakeup::never();
    ++ticks;
    sim::Transaction* t = sim.payloads().acquire(tlm::TLM_WRITE_COMMAND, kIova + (--left % pages) * 4096, 64);
    t->tag.requester = sim::RequesterId(kDevice);
    t->tag.posted = true;
    tlm::tlm_phase phase = tlm::BEGIN_REQ;
    sc_core::sc_time delay = sim.timeline().outgoing_delay();
    full = dma->nb_transport_fw(*t, phase, delay) == tlm::TLM_ACCEPTED;
    return sim::Wakeup::at(now + 1);
  }
  tlm::tlm_sync_enum nb_transport_bw(tlm::tlm_generic_payload& p, tlm::tlm_phase& phase,
                                     sc_core::sc_time& delay) override {
    if (phase == tlm::END_REQ) {
      full = false;
      poke(sim.timeline().incoming(delay));
      return tlm::TLM_ACCEPTED;
    }
    ++answered;
    p.release();
    return tlm::TLM_COMPLETED;
  }
  void invalidate_direct_mem_ptr(sc_dt::uint64, sc_dt::uint64) override {}
};

/// `walk` false: an IOTLB that holds everything. true: one of a single entry and no walk cache, so that every
/// translation walks three levels.
iommu::IommuConfig config(bool walk) {
  iommu::IommuConfig c;
  c.iotlb = walk ? iommu::CacheConfig{1, 1} : iommu::CacheConfig{kPages, 2};
  c.walk_cache_enabled = !walk;
  return c;
}

struct World {
  explicit World(const char* name, bool walk)
      : sim(name),
        store(sim::PhysAddr(kDram), 64 << 20),
        unit((std::string(name) + "_iommu").c_str(), sim, config(walk)),
        memory((std::string(name) + "_memory").c_str(), store),
        device((std::string(name) + "_device").c_str(), sim) {
    device.dma.bind(unit.device);
    device.mmio.bind(unit.registers);
    unit.downstream.bind(memory.downstream);
    unit.walker.bind(memory.walker);
    const auto page = [](std::uint64_t n) { return kDram + n * 0x1000; };
    const auto put = [&](std::uint64_t a, std::uint64_t v) {
      store.store<std::uint64_t>(sim::PhysAddr(a), v);
    };
    put(page(0) + 8 * iommu::dc::index(false, 1, kDevice), iommu::dc::pointer(page(6)));
    const std::uint64_t context = page(6) + 32 * iommu::dc::index(false, 0, kDevice);
    put(context + 16, iommu::dc::ta(1));
    put(context + 24, iommu::iosatp(iommu::SatpMode::kSv39, page(1)));
    put(context, iommu::dc::kV);
    put(page(1) + 8 * (kIova >> 30), iommu::pte::pointer(page(2)));
    put(page(2), iommu::pte::pointer(page(3)));
    namespace pte = iommu::pte;
    for (std::uint64_t i = 0; i < kPages; ++i) {
      put(page(3) + 8 * i, pte::leaf(page(16 + i), pte::kR | pte::kW | pte::kU | pte::kA | pte::kD));
    }
  }
  void enable() {
    sim::Transaction* t = sim.payloads().acquire(tlm::TLM_WRITE_COMMAND, iommu::reg::kDdtp, 8);
    const std::uint64_t ddtp = iommu::ddtp(iommu::DdtMode::k2Lvl, kDram);
    std::memcpy(t->get_data_ptr(), &ddtp, 8);
    sc_core::sc_time delay;
    device.mmio->b_transport(*t, delay);
    t->release();
  }
  void run(std::uint64_t requests, std::uint64_t pages) {
    device.start(requests, pages);
    sim.timeline().run_until(sim.now() + requests * 200 * sim::kNanosecond);
  }
  sim::Simulation sim;
  mm::SparseStore store;
  iommu::Iommu unit;
  Memory memory;
  Device device;
};
World& hits() {
  static World w("iommu_hit", false);
  return w;
}
World& walks() {
  static World w("iommu_walk", true);
  return w;
}
const bench::Elaborate kMake("BM_Iommu", [] {
  hits();
  walks();
});

void functional(benchmark::State& state, World& w, bool warm) {
  w.enable();
  w.run(warm ? kPages : 1, kPages);
  sim::Transaction* t = w.sim.payloads().acquire(tlm::TLM_READ_COMMAND, kIova, 8);
  t->tag.requester = sim::RequesterId(kDevice);
  std::uint64_t n = 0;
  for (auto _ : state) {
    t->set_address(kIova + (1 + n++ % (kPages - 1)) * 4096);
    benchmark::DoNotOptimize(w.device.dma->transport_dbg(*t));
  }
  t->release();
  state.SetItemsProcessed(static_cast<std::int64_t>(n));
}

/// Events are wake-ups of the IOMMU alone.
void timed(benchmark::State& state, World& w, std::uint64_t pages) {
  w.enable();
  w.run(kPages, pages);
  const std::uint64_t wakeups = w.sim.timeline().wakeups(), ticks = w.device.ticks,
                      answered = w.device.answered;
  for (auto _ : state) w.run(4096, pages);
  const auto done = static_cast<double>(w.device.answered - answered);
  state.SetItemsProcessed(static_cast<std::int64_t>(done));
  state.counters["events"] =
      static_cast<double>(w.sim.timeline().wakeups() - wakeups - (w.device.ticks - ticks)) / done;
}

void hit_functional(benchmark::State& state) { functional(state, hits(), true); }
void walk_functional(benchmark::State& state) { functional(state, walks(), false); }
void hit_timed(benchmark::State& state) { timed(state, hits(), kPages); }
void walk_timed(benchmark::State& state) { timed(state, walks(), kPages); }
/// POOLSIM_BENCH_ITERATIONS=n: exactly n iterations, for counting instructions (scripts/instructions.sh).
void configure(benchmark::internal::Benchmark* bench) {
  const char* iterations = std::getenv("POOLSIM_BENCH_ITERATIONS");
  if (iterations && std::atoi(iterations) > 0) bench->Iterations(std::atoi(iterations));
}
BENCHMARK(hit_functional)->Name("BM_Iommu/hit_functional")->Apply(configure);
BENCHMARK(walk_functional)->Name("BM_Iommu/walk_functional")->Apply(configure);
BENCHMARK(hit_timed)->Name("BM_Iommu/hit_timed");
BENCHMARK(walk_timed)->Name("BM_Iommu/walk_timed");

}  // namespace
