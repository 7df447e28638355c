// SPDX-License-Identifier: Apache-2.0
// The small world of a nic script: one 82576, memory, and in `world iommu` a RISC-V IOMMU between them.
#pragma once
#include <memory>
#include <string>

#include "mm/sparse_store.h"
#include "nic/device/nic.h"
#include "sim/simulation.h"
#include "testbenches/conform/memory_target.h"
#include "testbenches/conform/nic_script.h"

namespace conform {

/// Collects what the device sends.
class WireSink final : public sc_core::sc_module, public tlm::tlm_fw_transport_if<> {
 public:
  tlm::tlm_target_socket<64> in{"in"};
  explicit WireSink(sc_core::sc_module_name name) : sc_module(name) { in.bind(*this); }
  std::vector<std::vector<std::uint8_t>> frames;

  tlm::tlm_sync_enum nb_transport_fw(tlm::tlm_generic_payload& p, tlm::tlm_phase&,
                                     sc_core::sc_time&) override {
    frames.emplace_back(p.get_data_ptr(), p.get_data_ptr() + p.get_data_length());
    p.set_response_status(tlm::TLM_OK_RESPONSE);
    return tlm::TLM_COMPLETED;
  }
  void b_transport(tlm::tlm_generic_payload&, sc_core::sc_time&) override {}
  unsigned transport_dbg(tlm::tlm_generic_payload&) override { return 0; }
  bool get_direct_mem_ptr(tlm::tlm_generic_payload&, tlm::tlm_dmi&) override { return false; }
};

/// A socket of the bench itself, for b_transport calls.
class Requester final : public sc_core::sc_module, public tlm::tlm_bw_transport_if<> {
 public:
  tlm::tlm_initiator_socket<64> out{"out"};
  explicit Requester(sc_core::sc_module_name name) : sc_module(name) { out.bind(*this); }
  /// One access; false if it was refused.
  bool access(sim::PayloadPool& pool, bool write, std::uint64_t address, void* data, unsigned bytes);

  tlm::tlm_sync_enum nb_transport_bw(tlm::tlm_generic_payload&, tlm::tlm_phase&, sc_core::sc_time&) override {
    return tlm::TLM_COMPLETED;
  }
  void invalidate_direct_mem_ptr(sc_dt::uint64, sc_dt::uint64) override {}
};

/// Between the NIC and memory, if anything.
class Translation {
 public:
  virtual ~Translation() = default;
  virtual bool idle() const = 0;
  virtual std::uint64_t read(std::uint32_t offset, unsigned bytes) = 0;
  virtual void write(std::uint32_t offset, unsigned bytes, std::uint64_t value) = 0;
};

class NicWorld {
 public:
  explicit NicWorld(bool with_iommu);
  ~NicWorld();

  /// Runs all ops; the answer file.
  std::string run(const NicScript& script);

 private:
  void answer(std::size_t number, std::string_view text);
  void execute(const NicScriptOp& op, std::size_t number);
  void settle();
  void setup(int function);
  void linkup(std::size_t number);
  void set_vfs(unsigned n);
  std::uint32_t config_read(int function, std::uint32_t offset, unsigned bytes);
  void config_write(int function, std::uint32_t offset, unsigned bytes, std::uint32_t value);
  std::uint64_t bar(const NicScriptOp& op) const;
  std::uint32_t csr_read(std::uint64_t address);
  void csr_write(std::uint64_t address, std::uint32_t value);
  std::vector<std::uint8_t> memory(std::uint64_t address, std::uint64_t bytes) const;
  void store(std::uint64_t address, std::span<const std::uint8_t> bytes);
  std::string interrupts();
  std::string rx_descriptor(const NicScriptOp& op) const;
  std::string faults();

  std::string out_;
  sim::Simulation sim_;
  mm::SparseStore store_;
  nic::Nic nic_;
  MemoryTarget memory_;
  Requester config_{"config_port"}, mmio_{"mmio_port"}, wire_{"wire_port"};
  WireSink sink_{"sink"};
  std::unique_ptr<Translation> translation_;
  std::uint64_t doorbells_;
};

}  // namespace conform
