// SPDX-License-Identifier: Apache-2.0
// The kernel's IOMMU driver against the real IOMMU and the real DRAM controller: what the driver stores is
// what the hardware walks, and an unmap means that the device can no longer write.
#include <algorithm>
#include <set>

#include "harness.h"
#include "iommu/iommu.h"
#include "mm/dram_controller.h"

namespace {

using namespace kernel;
using testing_kernel::in_child;

constexpr std::uint64_t kImsic = 0x2400'0000;

/// Lets the two memory sides of the IOMMU share the DRAM controller, and takes MSIs out.
class Mux final : public sc_core::sc_module, public tlm::tlm_bw_transport_if<> {
 public:
  explicit Mux(sc_core::sc_module_name name, sim::Simulation& s) : sc_module(name), sim_(s) {
    downstream.bind(sides_[0]);
    walker.bind(sides_[1]);
    memory.bind(*this);
  }
  tlm::tlm_target_socket<64> downstream{"downstream"}, walker{"walker"};
  tlm::tlm_initiator_socket<64> memory{"memory"};
  std::function<void(unsigned cpu, unsigned vector, sim::Tick)> msi;

  tlm::tlm_sync_enum nb_transport_bw(tlm::tlm_generic_payload& p, tlm::tlm_phase& phase,
                                     sc_core::sc_time& delay) override {
    const bool is_walker = owners_.at(&p);
    if (phase == tlm::BEGIN_RESP) owners_.erase(&p);
    return (is_walker ? walker : downstream)->nb_transport_bw(p, phase, delay);
  }
  void invalidate_direct_mem_ptr(sc_dt::uint64, sc_dt::uint64) override {}

 private:
  struct Side final : tlm::tlm_fw_transport_if<> {
    Side(Mux& m, bool walker) : mux(m), walker(walker) {}
    tlm::tlm_sync_enum nb_transport_fw(tlm::tlm_generic_payload& p, tlm::tlm_phase& phase,
                                       sc_core::sc_time& delay) override {
      if (p.get_address() >= kImsic && p.get_address() < kImsic + 0x10000) {
        std::uint32_t vector = 0;
        std::memcpy(&vector, p.get_data_ptr(), 4);
        const auto cpu = static_cast<unsigned>((p.get_address() - kImsic) >> 12);
        mux.msi(cpu, vector, mux.sim_.timeline().incoming(delay));
        sim::complete(p, sim::CompletionStatus::kSuccess);
        return tlm::TLM_COMPLETED;
      }
      mux.owners_[&p] = walker;
      const auto result = mux.memory->nb_transport_fw(p, phase, delay);
      if (result == tlm::TLM_COMPLETED) mux.owners_.erase(&p);
      return result;
    }
    void b_transport(tlm::tlm_generic_payload& p, sc_core::sc_time& d) override {
      mux.memory->b_transport(p, d);
    }
    unsigned transport_dbg(tlm::tlm_generic_payload& p) override { return mux.memory->transport_dbg(p); }
    bool get_direct_mem_ptr(tlm::tlm_generic_payload&, tlm::tlm_dmi&) override { return false; }
    Mux& mux;
    bool walker;
  };
  sim::Simulation& sim_;
  Side sides_[2] = {{*this, false}, {*this, true}};
  std::map<tlm::tlm_generic_payload*, bool> owners_;
};

/// Posts 8-byte writes when told by kernel code, as a driver would ring a doorbell.
class Dma final : public sc_core::sc_module, public sim::Clocked, public tlm::tlm_bw_transport_if<> {
 public:
  Dma(sc_core::sc_module_name name, sim::Simulation& s)
      : sc_module(name), Clocked(s.timeline(), sim::Clock::from_hz(250'000'000)), sim_(s) {
    port.bind(*this);
  }
  tlm::tlm_initiator_socket<64> port{"port"};
  unsigned answered = 0;

  void write(Iova iova, std::uint64_t value, unsigned bytes = 8) {
    queue_.push_back({iova, value, bytes});
    poke(sim_.now());
  }
  sim::Wakeup tick(sim::Cycle) override {
    for (const Item& item : queue_) {
      sim::Transaction* t = sim_.payloads().acquire(tlm::TLM_WRITE_COMMAND, item.iova.value, item.bytes);
      t->tag.requester = sim::RequesterId(0x180);
      t->tag.posted = true;
      std::memcpy(t->get_data_ptr(), &item.value, item.bytes);
      tlm::tlm_phase phase = tlm::BEGIN_REQ;
      sc_core::sc_time delay = timeline().outgoing_delay();
      if (port->nb_transport_fw(*t, phase, delay) == tlm::TLM_COMPLETED) t->release();
    }
    queue_.clear();
    return sim::Wakeup::never();
  }
  tlm::tlm_sync_enum nb_transport_bw(tlm::tlm_generic_payload& p, tlm::tlm_phase& phase,
                                     sc_core::sc_time&) override {
    if (phase == tlm::BEGIN_RESP) {
      ++answered;
      p.release();
      return tlm::TLM_COMPLETED;
    }
    return tlm::TLM_ACCEPTED;
  }
  void invalidate_direct_mem_ptr(sc_dt::uint64, sc_dt::uint64) override {}

 private:
  struct Item {
    Iova iova;
    std::uint64_t value;
    unsigned bytes;
  };
  sim::Simulation& sim_;
  std::vector<Item> queue_;
};

struct NullDriver : Driver {
  NullDriver() : Driver("null") {}
  int probe(Device&) override { return 0; }
  void remove(Device&) override {}
};

struct RealMachine {
  explicit RealMachine(DmaMode mode, sim::TimeMode time = {})
      : s("sim", {.seed = 1, .experiment = 0, .time = time}),
        frames(store),
        pages(frames, mm_trace, s.random("buddy")),
        port("cpu", s),
        iommu("iommu", s),
        dram("dram", s, store),
        mux("mux", s),
        dma("dma", s),
        k(s, store, frames, pages, port, config(mode)) {
    port.socket.bind(iommu.registers);
    iommu.downstream.bind(mux.downstream);
    iommu.walker.bind(mux.walker);
    mux.memory.bind(dram.port);
    dma.port.bind(iommu.device);
    mux.msi = [this](unsigned cpu, unsigned vector, sim::Tick at) { k.interrupts().raise(cpu, vector, at); };
    k.trace().iommu_fault.subscribe([this](const IommuFaultReported& e) { faults.push_back(e); });
  }
  static KernelConfig config(DmaMode mode) {
    KernelConfig c;
    c.dma_mode = mode;
    return c;
  }
  void task(std::function<void()> body, double seconds = 0.1) {
    k.spawn(0, "init", [this, body] {
      k.iommu().probe(sim::PhysAddr(0x2800'0000));
      device = &k.devices().device_add("dev", sim::RequesterId(0x180));
      k.devices().device_bind(*device, driver);
      body();
      finished = true;
    });
    s.timeline().run_until(static_cast<sim::Tick>(seconds * 1e15));
  }
  /// A DMA write by the device, given ample time to arrive.
  void dma_write(Iova iova, std::uint64_t value) {
    this_cpu().sync();
    dma.write(iova, value);
    kernel::usleep(20);
  }
  std::uint64_t word(sim::Pfn page, unsigned offset = 0) const {
    return store.load<std::uint64_t>(sim::to_phys(page) + offset);
  }
  Iova map(sim::Pfn page) {
    return k.dma().dma_map_page_attrs(*device, page, 0, 4096, DmaDirection::kFromDevice);
  }
  void unmap(Iova iova) { k.dma().dma_unmap_page_attrs(*device, iova, 4096, DmaDirection::kFromDevice); }

  sim::Simulation s;
  mm::SparseStore store{sim::PhysAddr(0x8000'0000), std::uint64_t{1} << 30};
  mm::PageFrames frames;
  mm::Trace mm_trace;
  mm::BuddyAllocator pages;
  CpuPort port;
  iommu::Iommu iommu;
  mm::DramController dram;
  Mux mux;
  Dma dma;
  Kernel k;
  NullDriver driver;
  Device* device = nullptr;
  bool finished = false;
  std::vector<IommuFaultReported> faults;
};

TEST(RealIommu, StrictUnmapMeansTheDeviceCannotWriteAnyMore) {
  RealMachine m(DmaMode::kStrict);
  sim::Tick unmap_time = 0;
  m.task([&] {
    const sim::Pfn page = *m.pages.alloc_pages(0);
    const Iova iova = m.map(page);
    m.dma_write(iova + 8, 0x1111);
    EXPECT_EQ(m.word(page, 8), 0x1111u);
    const sim::Tick t = this_cpu().now();
    m.unmap(iova);
    unmap_time = this_cpu().now() - t;
    m.dma_write(iova + 8, 0x2222);
    EXPECT_EQ(m.word(page, 8), 0x1111u);
  });
  EXPECT_TRUE(m.finished);
  ASSERT_EQ(m.faults.size(), 1u);
  EXPECT_EQ(m.faults[0].cause, static_cast<std::uint32_t>(iommu::Cause::kWritePageFault));
  EXPECT_EQ(m.faults[0].requester.value, 0x180u);
  EXPECT_EQ(m.faults[0].iova.value, 0xffff'f008u);
  EXPECT_LT(unmap_time, 5 * sim::kMicrosecond);
  EXPECT_GT(unmap_time, 100 * sim::kNanosecond);  // a fence is a round trip through DRAM
  EXPECT_TRUE(m.k.warnings().empty());
}

TEST(RealIommu, LazyUnmapLeavesTheIotlbEntryAliveUntilTheFlush) {
  RealMachine m(DmaMode::kLazy);
  m.task([&] {
    const sim::Pfn page = *m.pages.alloc_pages(0);
    const Iova iova = m.map(page);
    m.dma_write(iova, 0x1111);
    m.unmap(iova);
    m.dma_write(iova, 0x2222);
    EXPECT_EQ(m.word(page), 0x2222u);  // written through a stale entry
    EXPECT_TRUE(m.faults.empty());
    msleep(20);
    m.dma_write(iova, 0x3333);
    EXPECT_EQ(m.word(page), 0x2222u);
  });
  EXPECT_TRUE(m.finished);
  EXPECT_EQ(m.faults.size(), 1u);
}

/// Maps pages under three leaf tables, lets the device use them, unmaps them and removes the device: no table
/// page goes back to the allocator before an invalidation of the whole space and a fence behind it have
/// completed.
void tables_go_back_after_the_fence(DmaMode mode) {
  RealMachine m(mode);
  enum class Step { kPteCleared, kInvalidated, kFence, kTableFreed };
  std::vector<Step> steps;
  std::set<std::uint64_t> tables;
  std::uint32_t pscid = 0;
  m.k.trace().iommu_unmapped.subscribe([&](const IommuUnmapped&) { steps.push_back(Step::kPteCleared); });
  m.iommu.invalidated.subscribe([&](const iommu::Invalidate& e) {
    if (e.kind == iommu::Invalidate::Kind::kVma && e.has_pscid && e.pscid == pscid && !e.has_address)
      steps.push_back(Step::kInvalidated);
  });
  m.iommu.fence_done.subscribe([&](const iommu::FenceDone&) { steps.push_back(Step::kFence); });
  m.mm_trace.page_freed.subscribe([&](const mm::PageFreed& e) {
    if (tables.contains(e.pfn.value)) steps.push_back(Step::kTableFreed);
  });
  std::size_t freed_before_removal = 0, used = 0;
  m.task([&] {
    IommuDomain& domain = *m.device->iommu_group()->default_domain;
    pscid = domain.id();
    std::vector<Iova> iovas;
    std::vector<sim::Pfn> pages;
    for (int i = 0; i < 3; ++i) {
      pages.push_back(*m.pages.alloc_pages(9));  // 2 MiB: a leaf table of its own
      iovas.push_back(m.k.dma().dma_map_page_attrs(*m.device, pages.back(), 0, 512 * sim::kPageSize,
                                                   DmaDirection::kFromDevice));
      m.dma_write(iovas.back(), 0x1111);
      used += m.word(pages.back()) == 0x1111u ? 1 : 0;
    }
    // Every table on the way, as the hardware walks.
    std::vector<std::uint64_t> level = {domain.root().value};
    for (unsigned depth = 0; depth < 3; ++depth) {
      std::vector<std::uint64_t> below;
      for (const std::uint64_t table : level) {
        tables.insert(sim::to_pfn(sim::PhysAddr(table)).value);
        for (unsigned i = 0; depth < 2 && i < 512; ++i) {
          const auto entry = m.store.load<std::uint64_t>(sim::PhysAddr(table + 8 * i));
          if ((entry & iommu::pte::kV) != 0) below.push_back(iommu::pte::address(entry));
        }
      }
      level = below;
    }
    for (const Iova iova : iovas) {
      m.k.dma().dma_unmap_page_attrs(*m.device, iova, 512 * sim::kPageSize, DmaDirection::kFromDevice);
    }
    freed_before_removal =
        static_cast<std::size_t>(std::count(steps.begin(), steps.end(), Step::kTableFreed));
    if (mode == DmaMode::kLazy) {
      EXPECT_EQ(domain.queued_iovas(), 3u);  // not flushed yet
    }
    m.k.devices().device_del(*m.device);
  });
  ASSERT_TRUE(m.finished);
  EXPECT_EQ(used, 3u);
  EXPECT_EQ(freed_before_removal, 0u);
  EXPECT_GE(tables.size(), 5u);
  EXPECT_EQ(std::count(steps.begin(), steps.end(), Step::kTableFreed), static_cast<long>(tables.size()));
  const auto first_table = std::find(steps.begin(), steps.end(), Step::kTableFreed);
  const auto cleared = std::find(std::make_reverse_iterator(first_table), steps.rend(), Step::kPteCleared);
  const auto invalidated = std::find(cleared.base(), first_table, Step::kInvalidated);
  ASSERT_NE(invalidated, first_table);
  EXPECT_NE(std::find(invalidated, first_table, Step::kFence), first_table);
  EXPECT_EQ(std::find(first_table, steps.end(), Step::kPteCleared), steps.end());
  EXPECT_TRUE(m.faults.empty());
}

TEST(RealIommu, StrictTablePagesGoBackAfterTheFenceOnly) { tables_go_back_after_the_fence(DmaMode::kStrict); }
TEST(RealIommu, LazyTablePagesGoBackAfterTheFenceOnly) { tables_go_back_after_the_fence(DmaMode::kLazy); }

TEST(RealIommu, PassthroughReachesPhysicalMemory) {
  RealMachine m(DmaMode::kPassthrough);
  m.task([&] {
    const sim::Pfn page = *m.pages.alloc_pages(0);
    const Iova iova = m.map(page);
    m.dma_write(iova, 0x1111);
    m.unmap(iova);
    m.dma_write(iova, 0x2222);
    EXPECT_EQ(m.word(page), 0x2222u);
  });
  EXPECT_TRUE(m.finished);
  EXPECT_TRUE(m.faults.empty());
}

TEST(RealIommu, ARemovedDeviceIsBlockedAtTheDirectory) {
  RealMachine m(DmaMode::kStrict);
  m.task([&] {
    const sim::Pfn page = *m.pages.alloc_pages(0);
    const Iova iova = m.map(page);
    m.dma_write(iova, 0x1111);
    m.k.devices().device_unbind(*m.device);
    m.dma_write(iova, 0x2222);
    EXPECT_EQ(m.word(page), 0x2222u);  // unbound, but the mapping is still there
    m.k.devices().device_del(*m.device);
    m.dma_write(iova, 0x3333);
    EXPECT_EQ(m.word(page), 0x2222u);
  });
  EXPECT_TRUE(m.finished);
  ASSERT_EQ(m.faults.size(), 1u);
  EXPECT_EQ(m.faults[0].cause, static_cast<std::uint32_t>(iommu::Cause::kDdtInvalid));
}

TEST(RealIommu, InterruptsReachTheCoreThroughTheMappedPage) {
  RealMachine m(DmaMode::kStrict);
  unsigned handled = 0;
  m.task([&] {
    const MsiMessage message = m.k.interrupts().request_msi(*m.device, 1, "rx", [&] {
      EXPECT_EQ(this_cpu().cpu(), 1u);
      ++handled;
    });
    this_cpu().sync();
    m.dma.write(Iova(message.address), message.data, 4);
    kernel::usleep(20);
  });
  EXPECT_TRUE(m.finished);
  EXPECT_EQ(handled, 1u);
  EXPECT_TRUE(m.faults.empty());
}

std::string run_mode(sim::TimeMode time) {
  RealMachine m(DmaMode::kStrict, time);
  m.task(
      [&] {
        for (unsigned i = 0; i < 8; ++i) {
          const sim::Pfn page = *m.pages.alloc_pages(0);
          const Iova iova = m.map(page);
          this_cpu().sync();
          m.dma.write(iova + 64 * i, i);
          if (i % 3 == 0) kernel::usleep(1);
          m.unmap(iova);
          m.s.note(7, this_cpu().now(), m.word(page, 64 * i));
        }
      },
      200e-6);
  EXPECT_TRUE(m.finished);
  return m.s.digest().hex();
}

TEST(RealIommu, TheThreeTimeModesAgree) {
  const std::string sleeping = in_child([] { return run_mode({}); });
  EXPECT_EQ(sleeping.size(), 32u);
  EXPECT_EQ(in_child([] { return run_mode({.every_cycle = true, .run_ahead = true}); }), sleeping);
  EXPECT_EQ(in_child([] { return run_mode({.every_cycle = false, .run_ahead = false}); }), sleeping);
}

}  // namespace
