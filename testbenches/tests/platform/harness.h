// SPDX-License-Identifier: Apache-2.0
// A scripted initiator and a scripted target for the tests of this room.
#pragma once
#include <gtest/gtest.h>

#include <cstring>
#include <deque>
#include <functional>
#include <utility>
#include <vector>

#include "sim/simulation.h"

namespace harness {

/// What happened to one transaction.
struct Event {
  std::uint64_t address;
  bool write;
  sim::Tick time;
  sim::CompletionStatus status = sim::CompletionStatus::kSuccess;
  tlm::tlm_response_status response = tlm::TLM_INCOMPLETE_RESPONSE;
  std::uint64_t data = 0;  ///< first 8 bytes, or fewer
  bool poisoned = false;   ///< the data carry the error/poison bit
};

inline std::uint64_t first_bytes(const tlm::tlm_generic_payload& p) {
  std::uint64_t v = 0;
  std::memcpy(&v, p.get_data_ptr(), std::min<std::size_t>(8, p.get_data_length()));
  return v;
}

/// Sends what it is given in order, as fast as back-pressure lets it, one a cycle.
class Source : public sc_core::sc_module, public sim::Clocked, public tlm::tlm_bw_transport_if<> {
 public:
  Source(sc_core::sc_module_name name, sim::Simulation& s, sim::Clock clock)
      : sc_module(name), Clocked(s.timeline(), clock), sim_(s) {
    socket.bind(*this);
  }
  tlm::tlm_initiator_socket<64> socket{"socket"};
  std::vector<Event> answers;
  std::uint64_t stalls = 0;
  std::uint64_t sent = 0;

  /// Not before `when`.
  sim::Transaction* send(tlm::tlm_command command, std::uint64_t address, std::size_t length,
                         std::uint32_t requester = 0x100, sim::Tick when = 0, std::uint64_t data = 0) {
    sim::Transaction* t = sim_.payloads().acquire(command, address, length);
    t->tag.requester = sim::RequesterId(requester);
    t->tag.posted = command == tlm::TLM_WRITE_COMMAND;
    if (command == tlm::TLM_WRITE_COMMAND) {
      std::memset(t->get_data_ptr(), 0, length);
      std::memcpy(t->get_data_ptr(), &data, std::min<std::size_t>(8, length));
    }
    queue_.push_back({poke(when), t});
    return t;
  }
  bool idle() const { return queue_.empty() && outstanding_ == 0; }

  sim::Wakeup tick(sim::Cycle now) override {
    if (open_from_ > now) return sim::Wakeup::never();
    if (queue_.empty()) return sim::Wakeup::never();
    if (queue_.front().first > now) return sim::Wakeup::at(queue_.front().first);
    sim::Transaction* t = queue_.front().second;
    queue_.pop_front();
    ++outstanding_;
    ++sent;
    tlm::tlm_phase phase = tlm::BEGIN_REQ;
    sc_core::sc_time delay = sim_.timeline().outgoing_delay();
    const auto result = socket->nb_transport_fw(*t, phase, delay);
    if (result == tlm::TLM_ACCEPTED) {
      open_from_ = sim::kNeverCycle;
      stalled_ = t;
      ++stalls;
    }
    if (result == tlm::TLM_COMPLETED) answered(*t);
    if (queue_.empty()) return sim::Wakeup::never();
    return sim::Wakeup::at(std::max(now + 1, queue_.front().first));
  }

 private:
  void answered(tlm::tlm_generic_payload& p) {
    answers.push_back({p.get_address(), p.is_write(), sim_.now(), sim::tag_of(p).status,
                       p.get_response_status(), first_bytes(p), sim::tag_of(p).poisoned});
    static constexpr std::uint64_t kTag = sim::digest_tag("source.answer");
    sim_.note(kTag, p.get_address(), answers.back().data);
    --outstanding_;
    static_cast<sim::Transaction&>(p).release();
  }
  tlm::tlm_sync_enum nb_transport_bw(tlm::tlm_generic_payload& p, tlm::tlm_phase& phase,
                                     sc_core::sc_time& delay) override {
    if (phase == tlm::END_REQ) {
      EXPECT_EQ(&p, std::exchange(stalled_, nullptr)) << "END_REQ of a request that does not wait";
      open_from_ = poke(sim_.timeline().incoming(delay));
      return tlm::TLM_ACCEPTED;
    }
    EXPECT_NE(&p, stalled_) << "a response before END_REQ";
    answered(p);
    return tlm::TLM_COMPLETED;
  }
  void invalidate_direct_mem_ptr(sc_dt::uint64, sc_dt::uint64) override {}

  sim::Simulation& sim_;
  std::deque<std::pair<sim::Cycle, sim::Transaction*>> queue_;
  sim::Cycle open_from_ = 0;
  const tlm::tlm_generic_payload* stalled_ = nullptr;
  unsigned outstanding_ = 0;
};

/// Takes requests; answers each after `latency` cycles (0: at once, TLM_COMPLETED). `capacity` requests at a
/// time. Reads give the address.
class Sink : public sc_core::sc_module, public sim::Clocked, public tlm::tlm_fw_transport_if<> {
 public:
  Sink(sc_core::sc_module_name name, sim::Simulation& s, sim::Clock clock)
      : sc_module(name), Clocked(s.timeline(), clock), sim_(s) {
    socket.bind(*this);
  }
  tlm::tlm_target_socket<64> socket{"socket"};
  std::vector<Event> requests;  ///< each with the time at which it arrives
  sim::Cycle latency = 0;
  sim::Cycle write_latency = 0;
  std::size_t capacity = ~std::size_t{0};
  bool mute = false;  ///< keep reads for ever
  sim::CompletionStatus status = sim::CompletionStatus::kSuccess;
  std::vector<tlm::tlm_generic_payload*> kept;

  sim::Wakeup tick(sim::Cycle now) override {
    sim::Cycle next = sim::kNeverCycle;
    for (std::size_t i = 0; i < pending_.size();) {
      if (pending_[i].first > now) {
        next = std::min(next, pending_[i].first);
        ++i;
        continue;
      }
      tlm::tlm_generic_payload* p = pending_[i].second;
      pending_.erase(pending_.begin() + static_cast<std::ptrdiff_t>(i));
      if (p == full_) phase_back(*std::exchange(full_, nullptr), tlm::END_REQ);
      phase_back(*p, tlm::BEGIN_RESP);
    }
    if (full_ != nullptr && full_from_ <= now && pending_.size() < capacity) {
      phase_back(*std::exchange(full_, nullptr), tlm::END_REQ);
    } else if (full_ != nullptr && full_from_ > now && pending_.size() < capacity) {
      next = std::min(next, full_from_);
    }
    return {next};
  }

  /// Answers what was kept by `mute`.
  void answer_kept() {
    for (auto* p : kept) {
      finish(*p);
      phase_back(*p, tlm::BEGIN_RESP);
    }
    kept.clear();
  }

 private:
  void phase_back(tlm::tlm_generic_payload& p, tlm::tlm_phase phase) {
    sc_core::sc_time delay = sim_.timeline().outgoing_delay();
    socket->nb_transport_bw(p, phase, delay);
  }
  void finish(tlm::tlm_generic_payload& p) {
    sim::complete(p, status);
    if (p.is_read()) {
      const std::uint64_t a = p.get_address();
      std::memset(p.get_data_ptr(), 0, p.get_data_length());
      std::memcpy(p.get_data_ptr(), &a, std::min<std::size_t>(8, p.get_data_length()));
    }
  }
  tlm::tlm_sync_enum nb_transport_fw(tlm::tlm_generic_payload& p, tlm::tlm_phase& phase,
                                     sc_core::sc_time& delay) override {
    if (phase != tlm::BEGIN_REQ) return tlm::TLM_COMPLETED;
    EXPECT_EQ(full_, nullptr) << "the sender ignored back-pressure";
    requests.push_back({p.get_address(), p.is_write(), sim_.timeline().incoming(delay)});
    requests.back().data = p.is_write() ? first_bytes(p) : 0;
    static constexpr std::uint64_t kTag = sim::digest_tag("sink.request");
    sim_.note(kTag, p.get_address(), p.is_write());
    const sim::Cycle due = poke(sim_.timeline().incoming(delay));
    if (mute && p.is_read()) {
      kept.push_back(&p);
      phase = tlm::END_REQ;
      return tlm::TLM_UPDATED;
    }
    finish(p);
    const sim::Cycle wait = p.is_write() ? write_latency : latency;
    if (wait == 0) return tlm::TLM_COMPLETED;
    pending_.emplace_back(due + wait - 1, &p);
    if (pending_.size() >= capacity) {
      full_ = &p;
      full_from_ = due;
      return tlm::TLM_ACCEPTED;
    }
    phase = tlm::END_REQ;
    return tlm::TLM_UPDATED;
  }
  void b_transport(tlm::tlm_generic_payload& p, sc_core::sc_time&) override {
    requests.push_back({p.get_address(), p.is_write(), sim_.now()});
    finish(p);
  }
  unsigned transport_dbg(tlm::tlm_generic_payload& p) override {
    finish(p);
    return p.get_data_length();
  }
  bool get_direct_mem_ptr(tlm::tlm_generic_payload&, tlm::tlm_dmi&) override { return false; }

  sim::Simulation& sim_;
  std::vector<std::pair<sim::Cycle, tlm::tlm_generic_payload*>> pending_;
  tlm::tlm_generic_payload* full_ = nullptr;
  sim::Cycle full_from_ = 0;
};

}  // namespace harness
