// SPDX-License-Identifier: Apache-2.0
// The 82576 alone in a plain SystemC testbench: a memory behind `dma`, one receive ring, frames on the wire;
// checks what arrives and in which order. usage: nic_bench [WAVEFORM.vcd]; exit code 0 if all checks hold.
#include <cstdio>
#include <cstring>
#include <systemc>
#include <tlm>
#include <vector>

#include "nic/device/nic.h"
#include "nic/device/registers.h"
#include "sim/simulation.h"
#include "waveforms/vcd.h"

namespace {

using namespace nic;
constexpr std::uint32_t kBar0 = 0x4000'0000, kBar3 = 0x4002'0000, kRing = 0x1000, kBuffers = 0x10000,
                        kMsi = 0x800;

/// 1 MiB of memory at address 0: writes land at once, reads are answered 200 ns later.
struct Memory : sc_core::sc_module, tlm::tlm_fw_transport_if<> {
  explicit Memory(sc_core::sc_module_name name) : sc_module(name), bytes(1 << 20) {
    port.bind(*this);
    SC_HAS_PROCESS(Memory);
    SC_METHOD(answer);
    sensitive << due;
    dont_initialize();
  }
  tlm::tlm_sync_enum nb_transport_fw(tlm::tlm_generic_payload& t, tlm::tlm_phase& phase,
                                     sc_core::sc_time& delay) override {
    std::uint8_t* at = bytes.data() + t.get_address() % bytes.size();
    if (t.is_write()) {
      std::memcpy(at, t.get_data_ptr(), t.get_data_length());
      order.push_back(t.get_address());
    } else {
      std::memcpy(t.get_data_ptr(), at, t.get_data_length());
    }
    t.set_response_status(tlm::TLM_OK_RESPONSE);
    if (t.is_write()) return tlm::TLM_COMPLETED;
    waiting.push_back(&t);
    due.notify(delay + sc_core::sc_time(200, sc_core::SC_NS));
    phase = tlm::END_REQ;
    return tlm::TLM_UPDATED;
  }
  void answer() {
    for (tlm::tlm_generic_payload* t : std::exchange(waiting, {})) {
      tlm::tlm_phase phase = tlm::BEGIN_RESP;
      sc_core::sc_time delay;
      port->nb_transport_bw(*t, phase, delay);
    }
  }
  void b_transport(tlm::tlm_generic_payload&, sc_core::sc_time&) override {}
  unsigned transport_dbg(tlm::tlm_generic_payload&) override { return 0; }
  bool get_direct_mem_ptr(tlm::tlm_generic_payload&, tlm::tlm_dmi&) override { return false; }

  tlm::tlm_target_socket<64> port{"port"};
  std::vector<std::uint8_t> bytes;
  std::vector<std::uint64_t> order;  ///< addresses written, in order
  std::vector<tlm::tlm_generic_payload*> waiting;
  sc_core::sc_event due;
};

/// The CPU's and the wire's side: blocking writes.
struct Port : sc_core::sc_module, tlm::tlm_bw_transport_if<> {
  Port(sc_core::sc_module_name name, sim::Simulation& simulation) : sc_module(name), sim(simulation) {
    out.bind(*this);
  }
  void write(std::uint64_t address, const void* data, unsigned length) {
    sim::Transaction* t = sim.payloads().acquire(tlm::TLM_WRITE_COMMAND, address, length);
    std::memcpy(t->get_data_ptr(), data, length);
    sc_core::sc_time delay;
    out->b_transport(*t, delay);
    t->release();
  }
  void reg(std::uint64_t address, std::uint32_t value) { write(address, &value, 4); }
  tlm::tlm_sync_enum nb_transport_bw(tlm::tlm_generic_payload&, tlm::tlm_phase&, sc_core::sc_time&) override {
    return tlm::TLM_COMPLETED;
  }
  void invalidate_direct_mem_ptr(sc_dt::uint64, sc_dt::uint64) override {}
  tlm::tlm_initiator_socket<64> out{"out"};
  sim::Simulation& sim;
};

int failures = 0;
void check(const char* what, bool ok) {
  std::printf("%-58s %s\n", what, ok ? "ok" : "WRONG");
  failures += ok ? 0 : 1;
}

}  // namespace

int sc_main(int argc, char** argv) {
  sim::Simulation sim("sim");
  Nic nic("nic", sim);
  Memory memory("memory");
  Port config("config", sim), mmio("mmio", sim), wire("wire", sim);
  nic.dma.bind(memory.port);
  config.out.bind(nic.config);
  mmio.out.bind(nic.mmio);
  wire.out.bind(nic.wire_in);
  waveforms::VcdWriter vcd(sim.probes(), argc > 1 ? argv[1] : "nic_bench.vcd");

  config.reg(pci::BAR0, kBar0);
  config.reg(pci::BAR0 + 12, kBar3);
  config.reg(pci::COMMAND, pci::COMMAND_MEM | pci::COMMAND_BME);
  config.reg(pci::MSIX, pci::MSIX_ENABLE << 16);
  const std::uint32_t vector0[] = {kMsi, 0, 0x1234, 0};  // MSI-X table entry 0: address, data, unmasked
  for (unsigned i = 0; i < 4; ++i) mmio.reg(kBar3 + 4 * i, vector0[i]);
  mmio.reg(kBar0 + reg::GPIE, gpie::MULTIPLE_MSIX | gpie::NSICR);
  mmio.reg(kBar0 + reg::IVAR(0), ivar::VALID);  // queue 0 -> vector 0
  mmio.reg(kBar0 + reg::EIAC, 1);
  mmio.reg(kBar0 + reg::EIMS, 1);
  for (unsigned i = 0; i < 32; ++i) {
    const RxDescriptor d = RxDescriptor::read(kBuffers + 2048 * i);
    std::memcpy(&memory.bytes[kRing + 16 * i], &d, 16);
  }
  mmio.reg(kBar0 + reg::RXDCTL(0), 0);  // queue 0 is enabled after reset: off while it is programmed
  mmio.reg(kBar0 + reg::RDBAL(0), kRing);
  mmio.reg(kBar0 + reg::RDLEN(0), 32 * 16);
  mmio.reg(kBar0 + reg::SRRCTL(0), srrctl::make(2, srrctl::kOneBuffer, true));
  sim.timeline().run_until(100 * sim::kNanosecond);
  mmio.reg(kBar0 + reg::RXDCTL(0), dctl::make(8, 8, 1, dctl::ENABLE));
  mmio.reg(kBar0 + reg::RDT(0), 31);
  mmio.reg(kBar0 + reg::RCTL, rctl::EN | rctl::SECRC);
  std::vector<std::uint8_t> frame(1000, 0xA5);
  const auto& mac = nic.configuration().mac_address;
  std::copy(mac.begin(), mac.end(), frame.begin());
  for (int i = 0; i < 10; ++i) wire.write(0, frame.data(), 1000);
  sim.timeline().run_until(20 * sim::kMicrosecond);
  vcd.close();

  RxDescriptor last;
  std::memcpy(&last, &memory.bytes[kRing + 16 * 9], 16);
  check("ten frames of 1000 bytes delivered at 10 Gb/s", nic.stats().frames_delivered == 10);
  check("descriptor 9 written back with DD, EOP and the length",
        last.dd() && last.eop() && last.packet_length() == 1000);
  check("its buffer holds the frame",
        std::memcmp(&memory.bytes[kBuffers + 2048 * 9], frame.data(), 1000) == 0);
  check("MSI-X message", memory.bytes[kMsi] == 0x34 && memory.bytes[kMsi + 1] == 0x12);
  check("order: 8 payload TLPs, write-back, message",
        memory.order.size() == 100 && memory.order[8] == kRing && memory.order[9] == kMsi);
  nic.check_conservation();
  std::printf("waveform: %s, %llu changes\n", vcd.path().c_str(),
              static_cast<unsigned long long>(vcd.changes()));
  return failures == 0 && sim.payloads().outstanding() == 0 ? 0 : 1;
}

int main(int argc, char** argv) { return sc_core::sc_elab_and_sim(argc, argv); }
