// SPDX-License-Identifier: Apache-2.0
// The cores' way to registers: one TLM initiator socket shared by all cores. Loads block the calling core
// until the completion is there (interrupts wait); stores are posted: the core goes on after issuing them,
// order is kept. Memory itself is not accessed through it: modelled cores read and write the SparseStore and
// pay through Context.
#pragma once
#include <cstdint>
#include <functional>
#include <string_view>
#include <tlm>

#include "sim/payload.h"
#include "sim/simulation.h"

namespace kernel {

using sim::PhysAddr;

class Core;

class CpuPort final : public sc_core::sc_module, public tlm::tlm_bw_transport_if<> {
 public:
  CpuPort(sc_core::sc_module_name name, sim::Simulation& simulation);

  tlm::tlm_initiator_socket<64> socket{"socket"};

  // On a core's fiber. A load that is refused returns all ones (as a PCI master abort does) and counts as an
  // error.
  std::uint32_t read32(PhysAddr address);
  std::uint64_t read64(PhysAddr address);
  void write32(PhysAddr address, std::uint32_t value);
  void write64(PhysAddr address, std::uint64_t value);
  /// 8- and 16-bit accesses (PCI configuration space).
  std::uint64_t read(PhysAddr address, unsigned bytes);
  void write(PhysAddr address, std::uint64_t value, unsigned bytes);

  /// A cache line from memory: blocks until it is there. The data are in the SparseStore; only time passes.
  void fetch_line(PhysAddr address);

  std::uint64_t reads() const { return reads_; }
  std::uint64_t writes() const { return writes_; }
  std::uint64_t errors() const { return errors_; }
  void stats(
      const std::function<void(std::string_view name, double value, std::string_view unit)>& out) const;

  tlm::tlm_sync_enum nb_transport_bw(tlm::tlm_generic_payload& payload, tlm::tlm_phase& phase,
                                     sc_core::sc_time& delay) override;
  void invalidate_direct_mem_ptr(sc_dt::uint64, sc_dt::uint64) override {}

 private:
  struct Waiter {
    Core* core;
    bool done = false;
  };
  /// Sends; true: completed at once, the answer is in the payload.
  bool send(Core& core, sim::Transaction& transaction);
  void unblock(sim::Tick at);

  sim::Simulation& simulation_;
  sim::Transaction* blocking_ = nullptr;  // the target is full since this one: wait for END_REQ
  std::vector<Waiter*> waiting_;          // cores that wait for the socket
  std::uint64_t reads_ = 0, writes_ = 0, errors_ = 0, lines_ = 0;
  sim::Tick read_time_ = 0;
};

}  // namespace kernel
