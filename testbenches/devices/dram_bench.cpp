// SPDX-License-Identifier: Apache-2.0
// The DRAM controller in a plain SystemC testbench: write, read back, and the three latencies of a DDR4-2400
// read. usage: dram_bench [WAVEFORM.vcd]; exit code 0 if all checks hold.
#include <cstdio>
#include <cstdlib>
#include <systemc>
#include <tlm>
#include <vector>

#include "mm/dram_controller.h"
#include "sim/simulation.h"
#include "waveforms/vcd.h"

namespace {

constexpr std::uint64_t kBase = 0x8000'0000, kBytes = std::uint64_t{4} << 30;
constexpr std::uint64_t kNextRow = std::uint64_t{1}
                                   << 17;  // mapping "ro": 6 + 7 column + 2 group + 2 bank bits

/// Sends one request at a time, each one 500 ns after the answer to the last, and checks the answers.
struct Testbench : sc_core::sc_module, tlm::tlm_bw_transport_if<> {
  struct Step {
    const char* what;
    tlm::tlm_command command;
    std::uint64_t address;
    unsigned length;
    unsigned cycles;  // expected latency, memory cycles
    tlm::tlm_response_status status = tlm::TLM_OK_RESPONSE;
  };

  Testbench(sc_core::sc_module_name name, sim::Simulation& simulation, std::vector<Step> program)
      : sc_module(name), sim(simulation), steps(std::move(program)) {
    socket.bind(*this);
    SC_HAS_PROCESS(Testbench);
    SC_METHOD(send);
    sensitive << next_event;
    dont_initialize();
  }

  void send() {
    if (next == steps.size()) return;
    const Step& step = steps[next];
    sim::Transaction* t = sim.payloads().acquire(step.command, step.address, step.length);
    if (t->is_write()) {
      for (auto& byte : t->bytes()) byte = 0x5a;
    }
    sent = sc_core::sc_time_stamp();
    tlm::tlm_phase phase = tlm::BEGIN_REQ;
    sc_core::sc_time delay;
    const auto answer = socket->nb_transport_fw(*t, phase, delay);
    if (answer == tlm::TLM_COMPLETED) finish(*t, sent);  // refused at once; otherwise BEGIN_RESP comes
  }

  tlm::tlm_sync_enum nb_transport_bw(tlm::tlm_generic_payload& t, tlm::tlm_phase& phase,
                                     sc_core::sc_time& delay) override {
    if (phase == tlm::END_REQ) return tlm::TLM_ACCEPTED;
    finish(static_cast<sim::Transaction&>(t), sc_core::sc_time_stamp() + delay);
    return tlm::TLM_COMPLETED;
  }
  void invalidate_direct_mem_ptr(sc_dt::uint64, sc_dt::uint64) override {}

  void finish(sim::Transaction& t, sc_core::sc_time at) {
    const Step& step = steps[next++];
    // Requests leave at any time; the controller first sees them at its next edge, so round to whole cycles.
    const double cycles = (at - sent).to_seconds() * 1.2e9;
    const bool in_time = cycles > step.cycles - 1.001 && cycles < step.cycles + 0.001;
    bool data = true;
    if (t.is_read() && t.is_response_ok()) {
      for (auto byte : t.bytes()) data = data && byte == (step.address < kBase + kNextRow ? 0x5a : 0);
    }
    const bool ok = in_time && data && t.get_response_status() == step.status;
    std::printf("%-34s %6.2f cycles (at most %u)  %-26s %s\n", step.what, cycles, step.cycles,
                t.get_response_string().c_str(), ok ? "ok" : "WRONG");
    failures += ok ? 0 : 1;
    t.release();
    next_event.notify(at - sc_core::sc_time_stamp() + sc_core::sc_time(500, sc_core::SC_NS));
  }

  tlm::tlm_initiator_socket<64> socket{"socket"};
  sim::Simulation& sim;
  std::vector<Step> steps;
  std::size_t next = 0;
  int failures = 0;
  sc_core::sc_time sent;
  sc_core::sc_event next_event;
};

}  // namespace

int sc_main(int argc, char** argv) {
  const auto& t = mm::dram_standard("DDR4-2400R");
  sim::Simulation sim("sim");
  mm::SparseStore store(sim::PhysAddr(kBase), kBytes);
  mm::DramController dram("dram", sim, store, {.standard = t.name});
  const auto read = tlm::TLM_READ_COMMAND, write = tlm::TLM_WRITE_COMMAND;
  Testbench bench(
      "bench", sim,
      {{"write 1500 bytes: ordered when queued", write, kBase, 1500, 1},
       {"read, row open: 1+CL+BL/2", read, kBase + 64, 64, t.hit_cycles()},
       {"read, other row: +tRP+tRCD", read, kBase + kNextRow, 64, t.conflict_cycles()},
       {"read, other bank closed: +tRCD", read, kBase + kNextRow + (1 << 15), 64, t.closed_cycles()},
       {"read 256 bytes: 3 more bursts", read, kBase + kNextRow, 256, t.hit_cycles() + 3 * t.ccd_l},
       {"read below the memory: refused", read, kBase - 64, 64, 0, tlm::TLM_ADDRESS_ERROR_RESPONSE},
       {"read 12 bytes unaligned", read, kBase + kNextRow + 3, 12, t.hit_cycles()}});
  bench.socket.bind(dram.port);
  waveforms::VcdWriter vcd(sim.probes(), argc > 1 ? argv[1] : "dram_bench.vcd");

  bench.next_event.notify(sc_core::sc_time(10, sc_core::SC_NS));
  sim.timeline().run_until(5 * sim::kMicrosecond);
  vcd.close();
  std::printf("waveform: %s, %llu changes\n", vcd.path().c_str(),
              static_cast<unsigned long long>(vcd.changes()));
  if (bench.next != bench.steps.size()) std::printf("only %zu answers\n", bench.next);
  return bench.failures == 0 && bench.next == bench.steps.size() && sim.payloads().outstanding() == 0 ? 0 : 1;
}

int main(int argc, char** argv) {
  ::setenv("SYSTEMC_DISABLE_COPYRIGHT_MESSAGE", "1", 1);
  return sc_core::sc_elab_and_sim(argc, argv);
}
