// SPDX-License-Identifier: Apache-2.0
// A plain memory for benches that drive one device alone: writes land and reads are taken at BEGIN_REQ (the
// coherence point, as in mm::DramController), reads are answered after a fixed latency. Outside its range:
// UR.
#pragma once
#include <functional>
#include <systemc>
#include <tlm>
#include <vector>

#include "mm/sparse_store.h"
#include "sim/simulation.h"

namespace conform {

class MemoryTarget final : public sc_core::sc_module, public sim::Clocked, public tlm::tlm_fw_transport_if<> {
 public:
  tlm::tlm_target_socket<64> port{"port"};

  /// `latency_cycles` of a 1 GHz clock between a read and its answer.
  MemoryTarget(sc_core::sc_module_name name, sim::Simulation& sim, mm::SparseStore& store,
               unsigned latency_cycles)
      : sc_module(name),
        Clocked(sim.timeline(), sim::Clock::from_hz(1'000'000'000)),
        store_(store),
        latency_(latency_cycles) {
    port.bind(*this);
  }

  /// Sees every request as it is accepted.
  std::function<void(const tlm::tlm_generic_payload&)> observer;
  /// Refuses requests at these addresses (completion status UR), if set.
  std::function<bool(const tlm::tlm_generic_payload&)> refuses;
  /// What is read there carries the error/poison bit, if set.
  std::function<bool(const tlm::tlm_generic_payload&)> poisons;
  /// If not 0: every such request fills the target, which has room again `hold_cycles` later.
  unsigned hold_every = 0;
  unsigned hold_cycles = 50;

  bool idle() const { return waiting_.size() == head_ && held_ == nullptr; }

  tlm::tlm_sync_enum nb_transport_fw(tlm::tlm_generic_payload& p, tlm::tlm_phase& phase,
                                     sc_core::sc_time& delay) override {
    if (phase != tlm::BEGIN_REQ) return tlm::TLM_COMPLETED;
    POOLSIM_ASSERT(held_ == nullptr);  // the initiator must wait for END_REQ
    const sim::Tick arrival = timeline().incoming(delay);
    const bool done = access(p);
    if (observer) observer(p);
    const bool hold = hold_every != 0 && ++requests_ % hold_every == 0;
    if (!hold && (p.is_write() || !done)) return tlm::TLM_COMPLETED;
    const sim::Cycle now = poke(arrival);
    waiting_.push_back({now + latency_, &p});
    if (hold) {
      held_ = &p;
      release_at_ = now + hold_cycles;
      return tlm::TLM_ACCEPTED;
    }
    phase = tlm::END_REQ;
    return tlm::TLM_UPDATED;
  }
  void b_transport(tlm::tlm_generic_payload& p, sc_core::sc_time&) override { access(p); }
  unsigned transport_dbg(tlm::tlm_generic_payload&) override { return 0; }
  bool get_direct_mem_ptr(tlm::tlm_generic_payload&, tlm::tlm_dmi&) override { return false; }

  sim::Wakeup tick(sim::Cycle now) override {
    if (held_ != nullptr && release_at_ <= now) {
      tlm::tlm_generic_payload* p = std::exchange(held_, nullptr);
      send(*p, tlm::END_REQ);
    }
    while (head_ != waiting_.size() && waiting_[head_].due <= now && waiting_[head_].payload != held_) {
      send(*waiting_[head_++].payload, tlm::BEGIN_RESP);
    }
    if (head_ == waiting_.size()) {
      waiting_.clear();
      head_ = 0;
    }
    sim::Cycle next = sim::kNeverCycle;
    if (held_ != nullptr) next = release_at_;
    if (head_ != waiting_.size() && waiting_[head_].due < next) next = waiting_[head_].due;
    return next == sim::kNeverCycle ? sim::Wakeup::never() : sim::Wakeup::at(next);
  }

 private:
  struct Waiting {
    sim::Cycle due;
    tlm::tlm_generic_payload* payload;
  };

  bool access(tlm::tlm_generic_payload& p) {
    const sim::PhysAddr at(p.get_address());
    const std::size_t n = p.get_data_length();
    if (!store_.contains(at, n) || (refuses && refuses(p))) {
      sim::complete(p, sim::CompletionStatus::kUnsupportedRequest);
      return false;
    }
    if (p.is_write()) {
      std::memcpy(store_.host(at, n), p.get_data_ptr(), n);
    } else {
      std::memcpy(p.get_data_ptr(), store_.host(at, n), n);
    }
    sim::complete(p, sim::CompletionStatus::kSuccess);
    if (p.is_read() && poisons && poisons(p)) {
      if (auto* tag = p.get_extension<sim::DmaTag>()) tag->poisoned = true;
      p.set_response_status(tlm::TLM_GENERIC_ERROR_RESPONSE);
    }
    return true;
  }
  void send(tlm::tlm_generic_payload& p, tlm::tlm_phase_enum which) {
    tlm::tlm_phase phase = which;
    sc_core::sc_time delay = timeline().outgoing_delay();
    port->nb_transport_bw(p, phase, delay);
  }

  mm::SparseStore& store_;
  unsigned latency_;
  std::vector<Waiting> waiting_;
  std::size_t head_ = 0;
  tlm::tlm_generic_payload* held_ = nullptr;
  sim::Cycle release_at_ = 0;
  std::uint64_t requests_ = 0;
};

}  // namespace conform
