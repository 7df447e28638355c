// SPDX-License-Identifier: Apache-2.0
// Host cost of the modelled kernel's primitives: a synchronisation of a core with the machine, a lock pair, a
// private memory access, an interrupt with its softirq, a context switch, a map and unmap on dma-direct.
#include <benchmark/benchmark.h>

#include "kernel/kernel.h"
#include "testbenches/bench/elaborate.h"

namespace {

/// Accepts nothing: these benchmarks do no MMIO.
struct NoBus final : sc_core::sc_module, tlm::tlm_fw_transport_if<> {
  explicit NoBus(sc_core::sc_module_name name) : sc_module(name) { socket.bind(*this); }
  tlm::tlm_target_socket<64> socket{"socket"};
  tlm::tlm_sync_enum nb_transport_fw(tlm::tlm_generic_payload& p, tlm::tlm_phase&,
                                     sc_core::sc_time&) override {
    sim::complete(p, sim::CompletionStatus::kUnsupportedRequest);
    return tlm::TLM_COMPLETED;
  }
  void b_transport(tlm::tlm_generic_payload&, sc_core::sc_time&) override {}
  unsigned transport_dbg(tlm::tlm_generic_payload&) override { return 0; }
  bool get_direct_mem_ptr(tlm::tlm_generic_payload&, tlm::tlm_dmi&) override { return false; }
};

struct Machine {
  sim::Simulation s{"kernel_bench"};
  mm::SparseStore store{sim::PhysAddr(0x8000'0000), std::uint64_t{1} << 30};
  mm::PageFrames frames{store};
  mm::Trace trace;
  mm::BuddyAllocator pages{frames, trace, s.random("buddy")};
  kernel::CpuPort port{"kernel_bench_port", s};
  NoBus bus{"kernel_bench_bus"};
  kernel::Kernel k{s, store, frames, pages, port, {}};
  kernel::Device* device = nullptr;
  Machine() { port.socket.bind(bus.socket); }
};
Machine& machine() {
  static Machine m;
  return m;
}
const bench::Elaborate kMake("BM_Kernel", [] { machine(); });

/// Runs `body` (which does `n` operations) on core 0 until it has ended.
template <class Body>
void measure(benchmark::State& state, Body body) {
  constexpr int kOperations = 20'000;
  Machine& m = machine();
  for (auto _ : state) {
    bool done = false;
    m.k.spawn(0, "bench", [&] {
      body(kOperations);
      done = true;
      m.s.timeline().stop();
    });
    while (!done) m.s.timeline().run_until(m.s.now() + sim::kSecond);
  }
  state.SetItemsProcessed(state.iterations() * kOperations);
}

void BM_Kernel_Sync(benchmark::State& state) {
  measure(state, [](int n) {
    for (int i = 0; i < n; ++i) {
      kernel::work(100);
      kernel::this_cpu().sync();
    }
  });
}

void BM_Kernel_SpinLockPair(benchmark::State& state) {
  measure(state, [](int n) {
    kernel::SpinLock lock;
    for (int i = 0; i < n; ++i) {
      lock.lock_bh();
      lock.unlock_bh();
    }
  });
}

void BM_Kernel_MemoryAccess(benchmark::State& state) {
  measure(state, [](int n) {
    kernel::Context& cpu = kernel::this_cpu();
    for (int i = 0; i < n; ++i) cpu.load(sim::PhysAddr(0x8000'0000 + 64 * (i & 1023)));
  });
}

void BM_Kernel_SoftirqFromBhEnable(benchmark::State& state) {
  machine().k.open_softirq(kernel::Softirq::kNetRx, [] { kernel::work(100); });
  measure(state, [](int n) {
    for (int i = 0; i < n; ++i) {
      kernel::local_bh_disable();
      kernel::raise_softirq(kernel::Softirq::kNetRx);
      kernel::local_bh_enable();
    }
  });
}

void BM_Kernel_SleepAndWake(benchmark::State& state) {
  measure(state, [](int n) {
    for (int i = 0; i < n; ++i) kernel::usleep(1);
  });
}

void BM_Kernel_DmaDirectMapUnmap(benchmark::State& state) {
  measure(state, [](int n) {
    Machine& m = machine();
    if (m.device == nullptr) {
      m.device = &m.k.devices().device_add("bench", sim::RequesterId(8), kernel::DmaMode::kDirect);
    }
    for (int i = 0; i < n; ++i) {
      const auto iova = m.k.dma().dma_map_page_attrs(*m.device, sim::Pfn(0x80001), 0, 4096,
                                                     kernel::DmaDirection::kFromDevice);
      m.k.dma().dma_unmap_page_attrs(*m.device, iova, 4096, kernel::DmaDirection::kFromDevice);
    }
  });
}

BENCHMARK(BM_Kernel_Sync);
BENCHMARK(BM_Kernel_SpinLockPair);
BENCHMARK(BM_Kernel_MemoryAccess);
BENCHMARK(BM_Kernel_SoftirqFromBhEnable);
BENCHMARK(BM_Kernel_SleepAndWake);
BENCHMARK(BM_Kernel_DmaDirectMapUnmap);

}  // namespace
