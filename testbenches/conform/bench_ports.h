// SPDX-License-Identifier: Apache-2.0
// The two ends that a bench holds itself: an initiator for blocking accesses, and a sink for frames.
#pragma once
#include <cstring>
#include <functional>
#include <span>
#include <systemc>
#include <tlm>
#include <vector>

#include "sim/simulation.h"

namespace conform {

/// Collects what the device sends; `observer`, if set, sees each frame as it is sent.
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

/// A socket of the bench. access() blocks; request() is the timed form, whose answer goes to `answered`.
class Requester final : public sc_core::sc_module, public tlm::tlm_bw_transport_if<> {
 public:
  tlm::tlm_initiator_socket<64> out{"out"};
  Requester(sc_core::sc_module_name name, sim::Simulation& sim) : sc_module(name), sim_(sim) {
    out.bind(*this);
  }

  /// One blocking access; false if it was refused.
  bool access(bool write, std::uint64_t address, void* data, unsigned bytes) {
    sim::Transaction* t = acquire(write, address, data, bytes);
    sc_core::sc_time delay;
    out->b_transport(*t, delay);
    const bool ok = t->is_response_ok();
    if (!write && ok) std::memcpy(data, t->get_data_ptr(), bytes);
    t->release();
    return ok;
  }

  /// Called with the answer of a request(); the payload is released afterwards.
  std::function<void(sim::Transaction&)> answered;
  /// Whether the target has room for another request().
  bool ready() const { return !held_; }
  void request(bool write, std::uint64_t address, const void* data, unsigned bytes) {
    sim::Transaction* t = acquire(write, address, data, bytes);
    t->tag.posted = write;
    tlm::tlm_phase phase = tlm::BEGIN_REQ;
    sc_core::sc_time delay = sim_.timeline().outgoing_delay();
    switch (out->nb_transport_fw(*t, phase, delay)) {
      case tlm::TLM_COMPLETED:
        finish(*t);
        break;
      case tlm::TLM_ACCEPTED:
        held_ = true;
        break;
      case tlm::TLM_UPDATED:
        break;
    }
  }

  tlm::tlm_sync_enum nb_transport_bw(tlm::tlm_generic_payload& p, tlm::tlm_phase& phase,
                                     sc_core::sc_time&) override {
    if (phase == tlm::END_REQ) {
      held_ = false;
      return tlm::TLM_ACCEPTED;
    }
    finish(static_cast<sim::Transaction&>(p));
    return tlm::TLM_COMPLETED;
  }
  void invalidate_direct_mem_ptr(sc_dt::uint64, sc_dt::uint64) override {}

 private:
  sim::Transaction* acquire(bool write, std::uint64_t address, const void* data, unsigned bytes) {
    sim::Transaction* t =
        sim_.payloads().acquire(write ? tlm::TLM_WRITE_COMMAND : tlm::TLM_READ_COMMAND, address, bytes);
    if (write && bytes != 0) std::memcpy(t->get_data_ptr(), data, bytes);
    return t;
  }
  void finish(sim::Transaction& t) {
    if (answered) answered(t);
    t.release();
  }
  sim::Simulation& sim_;
  bool held_ = false;
};

}  // namespace conform
