// SPDX-License-Identifier: Apache-2.0
// Cost of a posted write and of a read through link, root port and interconnect.
#include <benchmark/benchmark.h>

#include "platform/interconnect.h"
#include "platform/pcie_link.h"
#include "platform/root_port.h"
#include "testbenches/bench/elaborate.h"

namespace {

/// Sends requests of one kind, one every 16 ns.
class Device : public sc_core::sc_module, public sim::Clocked, public tlm::tlm_bw_transport_if<> {
 public:
  Device(sc_core::sc_module_name name, sim::Simulation& s)
      : sc_module(name), Clocked(s.timeline(), sim::Clock(4 * sim::kNanosecond)), sim_(s) {
    socket.bind(*this);
  }
  tlm::tlm_initiator_socket<64> socket{"socket"};

  void start(tlm::tlm_command command, std::size_t length, std::uint64_t count) {
    command_ = command;
    length_ = length;
    left_ = count;
    poke(sim_.now());
  }
  std::uint64_t answered = 0;

  sim::Wakeup tick(sim::Cycle now) override {
    if (left_ == 0 || open_from_ > now) return sim::Wakeup::never();
    sim::Transaction* t = sim_.payloads().acquire(command_, 0x1'0000'0000 + (left_ & 0xff) * 4096, length_);
    t->tag.requester = sim::RequesterId(0x100);
    t->tag.posted = command_ == tlm::TLM_WRITE_COMMAND;
    tlm::tlm_phase phase = tlm::BEGIN_REQ;
    sc_core::sc_time delay = sim_.timeline().outgoing_delay();
    --left_;
    switch (socket->nb_transport_fw(*t, phase, delay)) {
      case tlm::TLM_ACCEPTED:
        open_from_ = sim::kNeverCycle;
        break;
      case tlm::TLM_COMPLETED:  // a posted write, taken
        done(*t);
        break;
      case tlm::TLM_UPDATED:
        break;
    }
    return sim::Wakeup::at(now + 4);
  }

 private:
  void done(tlm::tlm_generic_payload& p) {
    ++answered;
    static_cast<sim::Transaction&>(p).release();
  }
  tlm::tlm_sync_enum nb_transport_bw(tlm::tlm_generic_payload& p, tlm::tlm_phase& phase,
                                     sc_core::sc_time& delay) override {
    if (phase == tlm::END_REQ) {
      open_from_ = poke(sim_.timeline().incoming(delay));
      return tlm::TLM_ACCEPTED;
    }
    done(p);
    return tlm::TLM_COMPLETED;
  }
  void invalidate_direct_mem_ptr(sc_dt::uint64, sc_dt::uint64) override {}

  sim::Simulation& sim_;
  tlm::tlm_command command_ = tlm::TLM_WRITE_COMMAND;
  std::size_t length_ = 64;
  std::uint64_t left_ = 0;
  sim::Cycle open_from_ = 0;
};

/// A memory that is done at once, and devices that nobody asks.
struct Memory : sc_core::sc_module, tlm::tlm_fw_transport_if<> {
  explicit Memory(sc_core::sc_module_name name) : sc_module(name) { socket.bind(*this); }
  tlm::tlm_target_socket<64> socket{"socket"};
  tlm::tlm_sync_enum nb_transport_fw(tlm::tlm_generic_payload& p, tlm::tlm_phase&,
                                     sc_core::sc_time&) override {
    sim::complete(p, sim::CompletionStatus::kSuccess);
    return tlm::TLM_COMPLETED;
  }
  void b_transport(tlm::tlm_generic_payload& p, sc_core::sc_time&) override {
    sim::complete(p, sim::CompletionStatus::kSuccess);
  }
  unsigned transport_dbg(tlm::tlm_generic_payload&) override { return 0; }
  bool get_direct_mem_ptr(tlm::tlm_generic_payload&, tlm::tlm_dmi&) override { return false; }
};

platform::PcieLinkConfig fast_link() {
  platform::PcieLinkConfig c;
  c.generation = 3;
  c.width = 8;
  c.max_payload_bytes = 256;
  return c;
}

struct Elaborated {
  sim::Simulation sim{"platform_bench"};
  Device device{"pb_device", sim};
  platform::PcieLink link{"pb_link", sim, fast_link()};
  platform::RootPort port{"pb_port", sim, {}};
  platform::Interconnect bus{"pb_bus", sim, {}};
  Memory dram{"pb_dram"}, bar{"pb_bar"}, space{"pb_space"};
  Elaborated() {
    device.socket.bind(link.from_device);
    link.to_device_config.bind(space.socket);
    link.to_device_mmio.bind(bar.socket);
    link.to_root.bind(port.from_link);
    port.to_link_config.bind(link.from_root_config);
    port.to_link_mmio.bind(link.from_root_mmio);
    port.to_iommu.bind(bus.add_initiator("iommu"));
    bus.add_target("dram", {0x8000'0000, std::uint64_t{1} << 33}).bind(dram.socket);
    bus.add_target("root_port", {0x3000'0000, 0x5000'0000}).bind(port.from_cpu);
  }
};
Elaborated& elaborated() {
  static Elaborated e;
  return e;
}
const bench::Elaborate kMake("BM_Platform", [] { elaborated(); });

void run(benchmark::State& state, tlm::tlm_command command) {
  Elaborated& e = elaborated();
  const std::uint64_t wakeups = e.sim.timeline().wakeups(), answered = e.device.answered;
  for (auto _ : state) {
    e.device.start(command, static_cast<std::size_t>(state.range(0)), 4096);
    e.sim.timeline().run_until(e.sim.now() + 200 * sim::kMicrosecond);
  }
  const auto done = static_cast<double>(e.device.answered - answered);
  if (done == 0) return state.SkipWithError("no request was answered");
  state.SetItemsProcessed(static_cast<std::int64_t>(done));
  state.counters["events"] = static_cast<double>(e.sim.timeline().wakeups() - wakeups) / done;
}

/// "events" includes the one of the device that sends.
void BM_Platform_PostedWrite(benchmark::State& state) { run(state, tlm::TLM_WRITE_COMMAND); }
void BM_Platform_Read(benchmark::State& state) { run(state, tlm::TLM_READ_COMMAND); }
BENCHMARK(BM_Platform_PostedWrite)->Arg(64)->Arg(256);
BENCHMARK(BM_Platform_Read)->Arg(64);

}  // namespace
