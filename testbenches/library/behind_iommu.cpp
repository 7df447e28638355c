// SPDX-License-Identifier: Apache-2.0
// iommu::Iommu in somebody else's platform: an ordinary TLM-2.0 initiator and an ordinary memory, both of tlm_utils,
// know nothing of poolsim. One gigabyte at IOVA 0x4000_0000 is mapped to the start of the memory.
#include <cstdio>
#include <cstring>
#include <systemc>
#include <tlm_utils/simple_initiator_socket.h>
#include <tlm_utils/simple_target_socket.h>
#include <vector>

#include "iommu/iommu.h"

constexpr std::uint64_t kMemory = 0x8000'0000, kIova = 0x4000'0000, kDirectory = 0x1000, kRoot = 0x2000;

struct Memory : sc_core::sc_module {
  tlm_utils::simple_target_socket<Memory, 64> data{"data"}, tables{"tables"};
  std::vector<std::uint8_t> bytes = std::vector<std::uint8_t>(1 << 20);

  explicit Memory(sc_core::sc_module_name name) : sc_module(name) {
    data.register_b_transport(this, &Memory::access);
    tables.register_b_transport(this, &Memory::access);
    tables.register_transport_dbg(this, &Memory::debug);
  }
  void access(tlm::tlm_generic_payload& p, sc_core::sc_time& delay) {
    delay += sc_core::sc_time(50, sc_core::SC_NS);
    const bool ok = debug(p) != 0;
    p.set_response_status(ok ? tlm::TLM_OK_RESPONSE : tlm::TLM_ADDRESS_ERROR_RESPONSE);
  }
  unsigned debug(tlm::tlm_generic_payload& p) {
    const std::uint64_t at = p.get_address() - kMemory;
    if (p.get_address() < kMemory || at + p.get_data_length() > bytes.size()) return 0;
    if (p.is_write()) std::memcpy(&bytes[at], p.get_data_ptr(), p.get_data_length());
    if (p.is_read()) std::memcpy(p.get_data_ptr(), &bytes[at], p.get_data_length());
    return p.get_data_length();
  }
  void put(std::uint64_t offset, std::uint64_t value) { std::memcpy(&bytes[offset], &value, 8); }
};

struct Device : sc_core::sc_module {
  tlm_utils::simple_initiator_socket<Device, 64> dma{"dma"}, registers{"registers"};
  int failures = 0;

  SC_HAS_PROCESS(Device);
  explicit Device(sc_core::sc_module_name name) : sc_module(name) { SC_THREAD(run); }

  template <class Socket>
  tlm::tlm_response_status write(Socket& socket, std::uint64_t address, std::uint64_t value, unsigned bytes) {
    tlm::tlm_generic_payload p;
    p.set_command(tlm::TLM_WRITE_COMMAND);
    p.set_address(address);
    p.set_data_ptr(reinterpret_cast<unsigned char*>(&value));
    p.set_data_length(bytes);
    p.set_streaming_width(bytes);
    sc_core::sc_time delay;
    socket->b_transport(p, delay);
    wait(delay);
    return p.get_response_status();
  }
  void check(bool ok, const char* what) {
    std::printf("%-50s %s\n", what, ok ? "ok" : "FAILED");
    failures += ok ? 0 : 1;
  }
  void run() {
    namespace reg = iommu::reg;
    write(registers, reg::kDdtp, iommu::ddtp(iommu::DdtMode::k1Lvl, kMemory + kDirectory), 8);
    const auto before = sc_core::sc_time_stamp();
    check(write(dma, kIova + 0x40, 42, 8) == tlm::TLM_OK_RESPONSE, "a mapped write arrives");
    check(sc_core::sc_time_stamp() > before, "... and takes time");
    check(write(dma, 0x1000, 42, 8) != tlm::TLM_OK_RESPONSE, "an unmapped one is refused");
  }
};

int sc_main(int, char**) {
  sim::Simulation simulation;
  iommu::Iommu iommu("iommu", simulation);
  Memory memory("memory");
  Device device("device");
  device.dma.bind(iommu.device);
  device.registers.bind(iommu.registers);
  iommu.downstream.bind(memory.data);
  iommu.walker.bind(memory.tables);

  memory.put(kDirectory, iommu::dc::kV);
  memory.put(kDirectory + 16, iommu::dc::ta(1));
  memory.put(kDirectory + 24, iommu::iosatp(iommu::SatpMode::kSv39, kMemory + kRoot));
  memory.put(kRoot + 8 * (kIova >> 30), iommu::pte::leaf(kMemory, iommu::pte::kR | iommu::pte::kW | iommu::pte::kU |
                                                                      iommu::pte::kA | iommu::pte::kD));
  sc_core::sc_start();
  device.check(memory.bytes[0x40] == 42, "it is where the page table says");
  return device.failures;
}
