// SPDX-License-Identifier: Apache-2.0
// A plain SystemC testbench for the IOMMU: builds a device directory and a page table in memory, sends writes
// through its sockets, checks a miss, a hit, a fault and an invalidation, and writes a waveform. Usage:
// iommu_bench [FILE.vcd]
#include <cstdio>
#include <cstring>

#include "iommu/iommu.h"
#include "mm/sparse_store.h"
#include "waveforms/vcd.h"

namespace {

constexpr std::uint64_t kDram = 0x8000'0000, kBuffer = 0x8010'0000, kIova = 0x4000'0000;
constexpr std::uint32_t kDevice = 0x0100;  // bus 1, device 0, function 0

struct Memory final : sc_core::sc_module, tlm::tlm_fw_transport_if<> {
  Memory(sc_core::sc_module_name name, mm::SparseStore& store) : sc_module(name), store(store) {
    downstream.bind(*this);
    walker.bind(*this);
  }
  tlm::tlm_target_socket<64> downstream{"downstream"}, walker{"walker"};
  mm::SparseStore& store;

  void b_transport(tlm::tlm_generic_payload& p, sc_core::sc_time&) override {
    const sim::PhysAddr a(p.get_address());
    const std::span<std::uint8_t> data(p.get_data_ptr(), p.get_data_length());
    const bool ok = store.contains(a, data.size());
    if (ok) p.is_write() ? store.write(a, data) : store.read(a, data);
    sim::complete(p, ok ? sim::CompletionStatus::kSuccess : sim::CompletionStatus::kUnsupportedRequest);
  }
  tlm::tlm_sync_enum nb_transport_fw(tlm::tlm_generic_payload& p, tlm::tlm_phase&,
                                     sc_core::sc_time& t) override {
    b_transport(p, t);
    return tlm::TLM_COMPLETED;
  }
  unsigned transport_dbg(tlm::tlm_generic_payload& p) override {
    sc_core::sc_time t;
    b_transport(p, t);
    return p.is_response_ok() ? p.get_data_length() : 0;
  }
  bool get_direct_mem_ptr(tlm::tlm_generic_payload&, tlm::tlm_dmi&) override { return false; }
};

struct Driver final : sc_core::sc_module, tlm::tlm_bw_transport_if<> {
  Driver(sc_core::sc_module_name name, sim::Simulation& sim) : sc_module(name), sim(sim) {
    dma.bind(*this);
    mmio.bind(*this);
  }
  tlm::tlm_initiator_socket<64> dma{"dma"}, mmio{"mmio"};
  sim::Simulation& sim;
  sim::CompletionStatus last = sim::CompletionStatus::kSuccess;

  void write_register(std::uint32_t offset, unsigned bytes, std::uint64_t value) {
    sim::Transaction* t = sim.payloads().acquire(tlm::TLM_WRITE_COMMAND, offset, bytes);
    std::memcpy(t->get_data_ptr(), &value, bytes);
    sc_core::sc_time delay;
    mmio->b_transport(*t, delay);
    t->release();
  }
  void dma_write(std::uint64_t iova, std::uint64_t value) {
    sim::Transaction* t = sim.payloads().acquire(tlm::TLM_WRITE_COMMAND, iova, 8);
    std::memcpy(t->get_data_ptr(), &value, 8);
    t->tag.requester = sim::RequesterId(kDevice);
    t->tag.posted = true;
    tlm::tlm_phase phase = tlm::BEGIN_REQ;
    sc_core::sc_time delay = sim.timeline().outgoing_delay();
    dma->nb_transport_fw(*t, phase, delay);
  }
  tlm::tlm_sync_enum nb_transport_bw(tlm::tlm_generic_payload& p, tlm::tlm_phase& phase,
                                     sc_core::sc_time&) override {
    if (phase != tlm::BEGIN_RESP) return tlm::TLM_ACCEPTED;
    last = sim::tag_of(p).status;
    p.release();
    return tlm::TLM_COMPLETED;
  }
  void invalidate_direct_mem_ptr(sc_dt::uint64, sc_dt::uint64) override {}
};

}  // namespace
int sc_main(int argc, char** argv) {
  namespace reg = iommu::reg;
  namespace pte = iommu::pte;
  sim::Simulation sim;
  mm::SparseStore store(sim::PhysAddr(kDram), 16 << 20);
  iommu::Iommu iommu("iommu", sim);
  Memory memory("memory", store);
  Driver driver("driver", sim);
  driver.dma.bind(iommu.device);
  driver.mmio.bind(iommu.registers);
  iommu.downstream.bind(memory.downstream);
  iommu.walker.bind(memory.walker);
  bool hit = false;
  iommu.translated.subscribe([&](const iommu::Translated& e) { hit = e.iotlb_hit; });
  waveforms::VcdWriter vcd(sim.probes(), argc > 1 ? argv[1] : "iommu_bench.vcd");

  // Tables: directory page 0, root 1, middle 2, leaf 3; command queue 4, fault queue 5.
  const auto page = [](unsigned n) { return kDram + n * 0x1000ull; };
  const auto put = [&](std::uint64_t address, std::uint64_t value) {
    store.store<std::uint64_t>(sim::PhysAddr(address), value);
  };
  const std::uint64_t context = page(6) + 32 * iommu::dc::index(false, 0, kDevice);
  put(page(0) + 8 * iommu::dc::index(false, 1, kDevice), iommu::dc::pointer(page(6)));
  put(context + 16, iommu::dc::ta(1));
  put(context + 24, iommu::iosatp(iommu::SatpMode::kSv39, page(1)));
  put(context, iommu::dc::kV);
  put(page(1) + 8 * (kIova >> 30), iommu::pte::pointer(page(2)));
  put(page(2), iommu::pte::pointer(page(3)));
  put(page(3), pte::leaf(kBuffer, pte::kR | pte::kW | pte::kU | pte::kA | pte::kD));

  driver.write_register(reg::kCqb, 8, iommu::queue_base(page(4), 4));
  driver.write_register(reg::kCqcsr, 4, iommu::qcsr::kEnable);
  driver.write_register(reg::kFqb, 8, iommu::queue_base(page(5), 4));
  driver.write_register(reg::kFqcsr, 4, iommu::qcsr::kEnable);
  driver.write_register(reg::kDdtp, 8, iommu::ddtp(iommu::DdtMode::k2Lvl, page(0)));

  int failures = 0;
  const auto check = [&](bool ok, const char* what) {
    std::printf("%-65s %s\n", what, ok ? "ok" : "FAILED");
    failures += ok ? 0 : 1;
  };
  const auto run = [&](sim::Tick ns) { sim.timeline().run_until(sim.now() + ns * sim::kNanosecond); };
  const auto load = [&](std::uint64_t address) { return store.load<std::uint64_t>(sim::PhysAddr(address)); };
  driver.dma_write(kIova, 1);
  run(200);
  check(load(kBuffer) == 1 && !hit, "first write misses, walks the tables and arrives");
  driver.dma_write(kIova, 2);
  run(200);
  check(load(kBuffer) == 2 && hit, "second write hits the IOTLB");
  put(page(3), 0);
  driver.dma_write(kIova, 3);
  run(200);
  check(load(kBuffer) == 3, "the entry is gone from memory but still served from the IOTLB");
  put(page(4), iommu::cmd::iotinval_vma().dw0);
  put(page(4) + 16, iommu::cmd::iofence(true, true).dw0);
  driver.write_register(reg::kCqt, 4, 2);
  run(200);
  driver.dma_write(kIova, 4);
  run(200);
  check(load(kBuffer) == 3 && driver.last == sim::CompletionStatus::kUnsupportedRequest,
        "after invalidation and fence the write is refused");
  const iommu::FaultRecord record{{load(page(5)), 0, 0, 0}};
  check(record.cause() == iommu::Cause::kWritePageFault && record.device_id() == kDevice, "and recorded");
  vcd.close();
  return failures == 0 ? 0 : 1;
}

int main(int argc, char** argv) { return sc_core::sc_elab_and_sim(argc, argv); }
