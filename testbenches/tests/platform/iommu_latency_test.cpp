// SPDX-License-Identifier: Apache-2.0
// The exact time of each step of an IOTLB miss, derived from the parameters of link, root port, interconnect,
// DRAM and IOMMU, for three machines with clocks that do not divide each other.
#include <gtest/gtest.h>

#include <set>

#include "harness.h"
#include "iommu/iommu.h"
#include "mm/address_mapping.h"
#include "mm/dram_controller.h"
#include "platform/interconnect.h"
#include "platform/pcie_link.h"
#include "platform/root_port.h"

namespace {

using sim::Clock;
using sim::Cycle;
using sim::PhysAddr;
using sim::Tick;

constexpr auto kRead = tlm::TLM_READ_COMMAND;
constexpr auto kWrite = tlm::TLM_WRITE_COMMAND;
constexpr std::uint64_t kDram = 0x8000'0000, kRegisters = 0x2800'0000;
constexpr std::uint32_t kDevice = 0x180;

/// A wire that writes down when requests and responses pass.
struct Tap final : sc_core::sc_module, tlm::tlm_fw_transport_if<>, tlm::tlm_bw_transport_if<> {
  Tap(sc_core::sc_module_name name, sim::Simulation& s) : sc_module(name), sim(s) {
    in.bind(*this);
    out.bind(*this);
  }
  tlm::tlm_target_socket<64> in{"in"};
  tlm::tlm_initiator_socket<64> out{"out"};
  struct Step {
    std::uint64_t address;
    Tick request, response = 0;
  };
  std::vector<Step> steps;

  tlm::tlm_sync_enum nb_transport_fw(tlm::tlm_generic_payload& p, tlm::tlm_phase& phase,
                                     sc_core::sc_time& delay) override {
    if (phase == tlm::BEGIN_REQ) steps.push_back({p.get_address(), sim.now()});
    return out->nb_transport_fw(p, phase, delay);
  }
  tlm::tlm_sync_enum nb_transport_bw(tlm::tlm_generic_payload& p, tlm::tlm_phase& phase,
                                     sc_core::sc_time& delay) override {
    if (phase == tlm::BEGIN_RESP) steps.back().response = sim.now();
    return in->nb_transport_bw(p, phase, delay);
  }
  void b_transport(tlm::tlm_generic_payload& p, sc_core::sc_time& delay) override {
    out->b_transport(p, delay);
  }
  unsigned transport_dbg(tlm::tlm_generic_payload& p) override { return out->transport_dbg(p); }
  bool get_direct_mem_ptr(tlm::tlm_generic_payload&, tlm::tlm_dmi&) override { return false; }
  void invalidate_direct_mem_ptr(sc_dt::uint64, sc_dt::uint64) override {}
  sim::Simulation& sim;
};

struct Parameters {
  std::string name;
  mm::DramConfig dram;
  platform::PcieLinkConfig link;
  platform::RootPortConfig root;
  platform::InterconnectConfig bus;
  iommu::IommuConfig iommu;
};

struct Machine {
  explicit Machine(const Parameters& parameters)
      : p(parameters),
        s(p.name, {1, 0, {}}),
        store(PhysAddr(kDram), 64 << 20),
        device((p.name + "_device").c_str(), s, Clock(4 * sim::kNanosecond)),
        cpu((p.name + "_cpu").c_str(), s, Clock(400 * sim::kPicosecond)),
        bar((p.name + "_bar").c_str(), s, Clock(4 * sim::kNanosecond)),
        space((p.name + "_space").c_str(), s, Clock(4 * sim::kNanosecond)),
        link((p.name + "_link").c_str(), s, p.link),
        port((p.name + "_port").c_str(), s, p.root),
        unit((p.name + "_iommu").c_str(), s, p.iommu),
        tap((p.name + "_tap").c_str(), s),
        bus((p.name + "_bus").c_str(), s, p.bus),
        dram((p.name + "_dram").c_str(), s, store, p.dram) {
    device.socket.bind(link.from_device);
    link.to_device_config.bind(space.socket);
    link.to_device_mmio.bind(bar.socket);
    link.to_root.bind(port.from_link);
    port.to_link_config.bind(link.from_root_config);
    port.to_link_mmio.bind(link.from_root_mmio);
    port.to_iommu.bind(unit.device);
    unit.downstream.bind(bus.add_initiator("iommu"));
    unit.walker.bind(tap.in);
    tap.out.bind(bus.add_initiator("walker"));
    cpu.socket.bind(bus.add_initiator("cpu"));
    bus.add_target("dram", {kDram, 64 << 20}).bind(dram.port);
    bus.add_target("iommu_registers", {kRegisters, 0x1000}).bind(unit.registers);
    bus.add_target("root_port", {p.root.ecam.base, p.root.ecam.size + p.root.mmio.size}).bind(port.from_cpu);
    unit.translated.subscribe([this](const iommu::Translated& e) { translated.push_back(e); });
  }

  /// A page in a bank that no other table uses, so that its first read finds the bank closed.
  std::uint64_t page() {
    const mm::DramTiming& t = mm::dram_standard(p.dram.standard);
    const mm::AddressMapping mapping(p.dram.mapping, t, p.dram.channels, p.dram.ranks);
    for (;; next_ += 4096) {
      const auto a = mapping.decode(next_);
      if (banks_.insert({a.bank_group, a.bank}).second) break;
    }
    const std::uint64_t found = kDram + next_;
    next_ += 4096;
    return found;
  }
  void put(std::uint64_t address, std::uint64_t value) {
    store.store<std::uint64_t>(PhysAddr(address), value);
  }

  void build(std::uint64_t iova, std::uint64_t target) {
    namespace dc = iommu::dc;
    namespace pte = iommu::pte;
    const std::uint64_t ddt[] = {page(), page(), page()}, table[] = {page(), page(), page()};
    reads = {ddt[0] + 8 * dc::index(false, 2, kDevice), ddt[1] + 8 * dc::index(false, 1, kDevice),
             ddt[2] + 32 * dc::index(false, 0, kDevice)};
    put(reads[0], dc::pointer(ddt[1]));
    put(reads[1], dc::pointer(ddt[2]));
    put(reads[2] + 16, dc::ta(1));
    put(reads[2] + 24, iommu::iosatp(iommu::SatpMode::kSv39, table[0]));
    put(reads[2], dc::kV);
    for (unsigned level = 3; level-- > 0;)
      reads.push_back(table[2 - level] + 8 * ((iova >> (12 + 9 * level)) & 511));
    put(reads[3], pte::pointer(table[1]));
    put(reads[4], pte::pointer(table[2]));
    const std::uint64_t rw = pte::kR | pte::kW | pte::kU | pte::kA | pte::kD;
    put(reads[5], pte::leaf(target, rw));
    put(reads[5] + 8, pte::leaf(target + 0x1000, rw));
    cpu.send(kWrite, kRegisters + iommu::reg::kDdtp, 8, 0, 0, iommu::ddtp(iommu::DdtMode::k3Lvl, ddt[0]));
  }

  // --- What the parameters say

  /// When the IOMMU has a request that the device sends at `sent`, an edge of its clock.
  Tick at_iommu(Tick sent, std::uint64_t address, unsigned bytes) const {
    // The link sees it one edge later, sends header, payload and framing behind each other, and delivers at
    // an edge.
    const platform::TlpWire wire(p.link);
    const Tick on_wire = p.link.clock.edge(p.link.clock.after(sent));
    const Tick last_byte =
        on_wire + wire.serialisation(platform::write_wire_bytes(p.link, address, bytes)) + p.link.latency;
    const Tick at_root = p.link.clock.edge(p.link.clock.at_or_after(last_byte));
    // The root port counts the edge at which it sees the request as the first of its cycles.
    return p.root.clock.edge(p.root.clock.after(at_root) + p.root.upstream_cycles - 1);
  }
  /// When the response of a walker read that leaves at `sent` reaches the IOMMU; `dram_cycles` unloaded.
  Tick read_answered(Tick sent, unsigned dram_cycles) const {
    const Clock& bus_clock = p.bus.clock;
    const Tick at_dram = bus_clock.edge(bus_clock.after(sent) + p.bus.request_cycles - 1);
    const Clock& memory = dram.clock();
    const Tick data = memory.edge(memory.after(at_dram) - 1 + dram_cycles);
    return bus_clock.edge(bus_clock.after(data) + p.bus.response_cycles - 1);
  }

  const Parameters p;
  sim::Simulation s;
  mm::SparseStore store;
  harness::Source device, cpu;
  harness::Sink bar, space;
  platform::PcieLink link;
  platform::RootPort port;
  iommu::Iommu unit;
  Tap tap;
  platform::Interconnect bus;
  mm::DramController dram;
  std::vector<iommu::Translated> translated;
  std::vector<std::uint64_t> reads;

 private:
  std::uint64_t next_ = 0x10'0000;
  std::set<std::pair<std::uint32_t, std::uint32_t>> banks_;
};

std::vector<Parameters> machines() {
  std::vector<Parameters> all(3);
  all[0].name = "ddr4_gen3";
  all[0].link.generation = 3;
  all[0].link.width = 8;
  all[1].name = "ddr5_gen1";  // a slow link, a fast memory, an IOMMU at 800 MHz
  all[1].dram.standard = "DDR5-4800BN";
  all[1].iommu.clock = Clock::from_hz(800'000'000);
  all[1].iommu.lookup_cycles = 5;
  all[1].iommu.walk_start_cycles = 3;
  all[1].iommu.walk_step_cycles = 4;
  all[1].iommu.forward_cycles = 2;
  all[1].bus.request_cycles = 9;
  all[2].name = "ddr4_gen4";
  all[2].dram.standard = "DDR4-3200AA";
  all[2].link.generation = 4;
  all[2].link.width = 4;
  all[2].link.latency = 77 * sim::kNanosecond;
  all[2].root.upstream_cycles = 3;
  all[2].iommu.clock = Clock::from_hz(1'250'000'000);
  all[2].iommu.walk_step_cycles = 0;
  all[2].iommu.walk_cache_enabled = false;
  all[2].bus.response_cycles = 2;
  for (Parameters& p : all) p.dram.refresh = false;
  return all;
}

TEST(IommuLatencyOnTheMachine, EachStepOfAMissFollowsFromDramLinkAndIommu) {
  constexpr std::uint64_t kIova = 0x20'0000'1000, kTarget = kDram + 0x200'0000;
  std::vector<std::unique_ptr<Machine>> all;
  for (const Parameters& p : machines()) {
    all.push_back(std::make_unique<Machine>(p));
    all.back()->build(kIova, kTarget);
  }
  // Edges of the device's clock: it sends at them.
  const Tick first = 2 * sim::kMicrosecond, second = 4 * sim::kMicrosecond, third = 6 * sim::kMicrosecond;
  for (auto& m : all) {
    m->device.send(kWrite, kIova + 0x40, 64, kDevice, first);    // miss: three directory reads, three tables
    m->device.send(kWrite, kIova + 0x80, 32, kDevice, second);   // hit
    m->device.send(kWrite, kIova + 0x1000, 64, kDevice, third);  // the neighbour: directory cached
  }
  for (auto& m : all) m->s.timeline().run_until(10 * sim::kMicrosecond);
  for (auto& owner : all) {
    Machine& m = *owner;
    SCOPED_TRACE(m.p.name);
    const iommu::IommuConfig& c = m.p.iommu;
    const Clock& clock = c.clock;
    const mm::DramTiming& t = mm::dram_standard(m.p.dram.standard);
    ASSERT_EQ(m.translated.size(), 3u);

    // The walk of a request that reaches the IOMMU at `arrived`: `reads` of the tables, then the departure.
    std::size_t step = 0;
    const auto walk = [&](Tick arrived, const std::vector<std::uint64_t>& reads, unsigned dram_cycles) {
      Tick leaves = clock.edge(clock.after(arrived) + c.lookup_cycles + c.walk_start_cycles);
      for (const std::uint64_t address : reads) {
        const Tick answered = m.read_answered(leaves, dram_cycles);
        EXPECT_EQ(m.tap.steps.at(step).address, address);
        EXPECT_EQ(m.tap.steps.at(step).request, leaves) << "read " << step;
        EXPECT_EQ(m.tap.steps.at(step).response, answered) << "answer " << step;
        leaves = clock.edge(clock.after(answered) + c.walk_step_cycles);
        ++step;
      }
      return clock.edge(clock.at_or_before(leaves) + c.forward_cycles);
    };
    EXPECT_EQ(m.translated[0].time, walk(m.at_iommu(first, kIova, 64), m.reads, t.closed_cycles()));
    EXPECT_FALSE(m.translated[0].iotlb_hit);

    const Tick hit = m.at_iommu(second, kIova, 32);
    EXPECT_EQ(m.translated[1].time, clock.edge(clock.after(hit) + c.lookup_cycles));
    EXPECT_TRUE(m.translated[1].iotlb_hit);

    std::vector<std::uint64_t> again(m.reads.begin() + (c.walk_cache_enabled ? 5 : 3), m.reads.end());
    again.back() += 8;
    EXPECT_EQ(m.translated[2].time,
              walk(m.at_iommu(third, kIova, 64), again, t.hit_cycles()));  // rows stay open
    EXPECT_EQ(step, m.tap.steps.size());
  }
}

}  // namespace
