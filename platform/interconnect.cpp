// SPDX-License-Identifier: Apache-2.0
#include "platform/interconnect.h"

#include <algorithm>
#include <bit>

namespace platform {

using sim::Cycle;
using sim::kNeverCycle;
using tlm::tlm_generic_payload;

namespace {
const InterconnectConfig& checked(const InterconnectConfig& config) {
  config.validate();
  return config;
}

bool wants_no_answer(const tlm_generic_payload& p) { return p.is_write() && sim::tag_of(p).posted; }
}  // namespace

void InterconnectConfig::validate() const {
  if (request_cycles < 1 || response_cycles < 1) {
    throw sim::Error("interconnect.request_cycles, response_cycles: at least 1");
  }
  if (width_bytes < 1) throw sim::Error("interconnect.width: at least 1 byte");
  if (outstanding < 1) throw sim::Error("interconnect.outstanding: at least 1");
}

Interconnect::Interconnect(sc_core::sc_module_name name, sim::Simulation& simulation,
                           const InterconnectConfig& config)
    : sc_module(name),
      Clocked(simulation.timeline(), config.clock),
      simulation_(simulation),
      config_(checked(config)),
      outstanding_(simulation.probes(), "interconnect.outstanding", 12) {}

Interconnect::~Interconnect() = default;

TargetPort<Interconnect>& Interconnect::add_initiator(const std::string& name) {
  Input in;
  simcontext()->hierarchy_push(this);
  in.socket = std::make_unique<TargetPort<Interconnect>>(("from_" + name).c_str(), *this,
                                                         static_cast<unsigned>(inputs_.size()));
  simcontext()->hierarchy_pop();
  in.name = name;
  in.number = static_cast<unsigned>(inputs_.size());
  POOLSIM_ASSERT(inputs_.size() < 64);
  inputs_.push_back(std::move(in));
  return *inputs_.back().socket;
}

InitiatorPort<Interconnect>& Interconnect::add_target(const std::string& name, AddressWindow window,
                                                      Handover handover) {
  for (const Output& o : outputs_) {
    if (window.base < o.window.base + o.window.size && o.window.base < window.base + window.size) {
      throw sim::Error(fmt::format(
          "the address window of {} ({:#x}, {:#x} bytes) overlaps that of {} ({:#x}, {:#x} bytes)", name,
          window.base, window.size, o.name, o.window.base, o.window.size));
    }
  }
  Output out;
  simcontext()->hierarchy_push(this);
  out.socket = std::make_unique<InitiatorPort<Interconnect>>(("to_" + name).c_str(), *this,
                                                             static_cast<unsigned>(outputs_.size()));
  simcontext()->hierarchy_pop();
  out.name = name;
  out.window = window;
  out.handover = handover;
  outputs_.push_back(std::move(out));
  return *outputs_.back().socket;
}

Interconnect::Output* Interconnect::decode(const tlm_generic_payload& p) {
  const std::uint64_t first = p.get_address(), last = first + p.get_data_length() - 1;
  for (Output& o : outputs_) {
    if (o.window.contains(first) && o.window.contains(last)) return &o;
  }
  return nullptr;
}

/// The cycle in which what arrives at `arrival` is seen: the first edge at or after it and after the present.
Cycle Interconnect::seen_at(sim::Tick arrival) const {
  const sim::Tick now = simulation_.now();
  return arrival > now ? clock().at_or_after(arrival) : clock().after(now);
}

tlm::tlm_sync_enum Interconnect::request(unsigned input, tlm_generic_payload& p, tlm::tlm_phase& phase,
                                         sc_core::sc_time& delay) {
  if (phase != tlm::BEGIN_REQ) return tlm::TLM_COMPLETED;  // END_RESP of a four-phase initiator
  Input& in = inputs_[input];
  POOLSIM_ASSERT(in.end_request_from == kNeverCycle);  // the initiator ignored back-pressure
  const sim::Tick arrival = simulation_.timeline().incoming(delay);
  const Cycle due = seen_at(arrival) + config_.request_cycles - 1;
  Output* const target = decode(p);
  if (target != nullptr && waits_for_nobody(in, *target, arrival, due)) return pass_ahead(in, *target, p, phase, delay, due);
  tick_by(due);
  in.requests.push({due, &p, target});
  waiting_ |= std::uint64_t{1} << input;
  flights_.insert(p, input);
  outstanding_.set(flights_.size());
  if (++in.outstanding >= config_.outstanding) {
    in.end_request_from = clock().after(simulation_.now());
    in.stalled = &p;
    held_back_ |= std::uint64_t{1} << input;
    return tlm::TLM_ACCEPTED;
  }
  phase = tlm::END_REQ;
  return tlm::TLM_UPDATED;
}

/// Whether the request could go to its target at `due` whatever else comes in, and the target takes it now.
bool Interconnect::waits_for_nobody(const Input& in, const Output& out, sim::Tick arrival, Cycle due) const {
  return waiting_ == 0 && out.handover == Handover::kAhead && arrival <= simulation_.now() && out.free_from <= due &&
         out.busy_until <= due && in.free_from <= due && in.outstanding + 1 < config_.outstanding;
}

/// Just after the edge `due`, as what a tick would hand over there.
tlm::tlm_sync_enum Interconnect::pass_ahead(Input& in, Output& out, tlm_generic_payload& p, tlm::tlm_phase& phase,
                                            sc_core::sc_time& delay, Cycle due) {
  occupy(in, out, p.get_data_length(), due);
  flights_.insert(p, in.number);
  ++in.outstanding;
  tlm::tlm_phase request = tlm::BEGIN_REQ;
  delay = simulation_.timeline().delay_until(clock().edge(due) + 1);
  const tlm::tlm_sync_enum status = (*out.socket)->nb_transport_fw(p, request, delay);
  if (status == tlm::TLM_COMPLETED) {
    --in.outstanding;
    flights_.take(p);
    if (wants_no_answer(p)) return tlm::TLM_COMPLETED;
    answer_later(in, p, delay);
  } else {
    outstanding_.set(flights_.size());
    if (status == tlm::TLM_ACCEPTED) out.free_from = kNeverCycle;
  }
  phase = tlm::END_REQ;
  return tlm::TLM_UPDATED;
}

/// A request of this length passes at `now`.
void Interconnect::occupy(Input& in, Output& out, unsigned length, Cycle now) {
  const unsigned width = config_.width_bytes;
  const Cycle beats = length <= width ? 1 : (length + width - 1) / width;
  in.free_from = now + 1;
  ++in.served;
  out.busy_until = now + beats;
  out.last_input = in.number;
  ++out.requests;
  out.bytes += length;
  out.busy_cycles += beats;
}

tlm::tlm_sync_enum Interconnect::response(unsigned output, tlm_generic_payload& p, tlm::tlm_phase& phase,
                                          sc_core::sc_time& delay) {
  if (phase == tlm::END_REQ) {
    outputs_[output].free_from = poke(simulation_.timeline().incoming(delay));
    return tlm::TLM_ACCEPTED;
  }
  POOLSIM_ASSERT(phase == tlm::BEGIN_RESP);
  answer(inputs_[flights_.take(p)], p, delay);
  return tlm::TLM_COMPLETED;
}

/// `delay`: of the target's response.
void Interconnect::answer(Input& in, tlm_generic_payload& p, sc_core::sc_time delay) {
  outstanding_.set(flights_.size());
  --in.outstanding;
  if (in.end_request_from != kNeverCycle) {
    in.end_request_from = std::max(in.end_request_from, seen_at(simulation_.timeline().incoming(delay)));
    tick_by(in.end_request_from);
  }
  if (wants_no_answer(p)) {
    respond(in, p, delay);
    return;
  }
  answer_later(in, p, delay);
}

void Interconnect::answer_later(Input& in, tlm_generic_payload& p, sc_core::sc_time delay) {
  const Cycle due = seen_at(simulation_.timeline().incoming(delay)) + config_.response_cycles - 1;
  answers_.push({due, &p, &in});
  // Behind nobody who leaves later: of a request that was handed over ahead of its time, the answer may be, too.
  for (std::size_t n = answers_.size() - 1; n != 0 && answers_.at(n - 1).due > due; --n) {
    std::swap(answers_.at(n - 1), answers_.at(n));
  }
  tick_by(due);
}

void Interconnect::respond(Input& in, tlm_generic_payload& p, sc_core::sc_time delay) {
  if (in.stalled == &p) end_request(in, delay);  // never after the response
  phase_back(in, p, tlm::BEGIN_RESP, delay);
}

void Interconnect::end_request(Input& in, sc_core::sc_time delay) {
  tlm_generic_payload& p = *in.stalled;
  in.stalled = nullptr;
  in.end_request_from = kNeverCycle;
  held_back_ &= ~(std::uint64_t{1} << in.number);
  phase_back(in, p, tlm::END_REQ, delay);
}

void Interconnect::phase_back(Input& in, tlm_generic_payload& p, tlm::tlm_phase phase, sc_core::sc_time delay) {
  (*in.socket)->nb_transport_bw(p, phase, delay);
}

/// Hands the request at the head of `in` to its target.
[[gnu::flatten]] void Interconnect::grant(Input& in, Cycle now) {
  const Item item = in.requests.pop();
  if (in.requests.empty()) waiting_ &= ~(std::uint64_t{1} << in.number);
  tlm_generic_payload& p = *item.payload;
  if (item.target == nullptr) {
    in.free_from = now + 1;
    ++in.served;
    ++decode_errors_;
    static constexpr std::uint64_t kTag = sim::digest_tag("interconnect.decode_error");
    simulation_.note(kTag, p.get_address(), in.number);
    flights_.take(p);
    sim::complete(p, sim::CompletionStatus::kUnsupportedRequest);
    answer(in, p, simulation_.timeline().outgoing_delay());
    return;
  }
  Output& out = *item.target;
  occupy(in, out, p.get_data_length(), now);
  tlm::tlm_phase phase = tlm::BEGIN_REQ;
  sc_core::sc_time delay = simulation_.timeline().outgoing_delay();
  switch ((*out.socket)->nb_transport_fw(p, phase, delay)) {
    case tlm::TLM_UPDATED:
      break;
    case tlm::TLM_ACCEPTED:
      out.free_from = kNeverCycle;
      break;
    case tlm::TLM_COMPLETED:
      answer(inputs_[flights_.take(p)], p, delay);
      break;
  }
}

/// First cycle at which the head of `in` could go, as far as is known.
Cycle Interconnect::earliest(const Input& in) const {
  if (in.requests.empty()) return kNeverCycle;
  const Item& head = in.requests.front();
  const Cycle own = std::max(head.due, in.free_from);
  if (head.target == nullptr) return own;
  const Output& out = *head.target;
  if (out.free_from == kNeverCycle) return kNeverCycle;
  return std::max({own, out.free_from, out.busy_until});
}

/// Round robin: of the inputs whose head can go to the target that the head of `first` wants, the next after the one
/// served last.
Interconnect::Input& Interconnect::next_in_turn(Input& first, Cycle now) {
  const Output* const target = first.requests.front().target;
  const bool alone = (waiting_ & (waiting_ - 1)) == 0;
  if (alone || target == nullptr) return first;
  const auto inputs = static_cast<unsigned>(inputs_.size());
  for (unsigned k = 1; k <= inputs; ++k) {
    Input& in = inputs_[(target->last_input + k) % inputs];
    if (!in.requests.empty() && in.requests.front().target == target && earliest(in) <= now) return in;
  }
  return first;
}

sim::Wakeup Interconnect::tick(Cycle now) {
  while (!answers_.empty() && answers_.front().due <= now) {
    const Answer a = answers_.pop();
    respond(*a.input, *a.payload, simulation_.timeline().outgoing_delay());
  }
  for (std::uint64_t left = waiting_; left != 0; left &= left - 1) {
    Input& in = inputs_[static_cast<unsigned>(std::countr_zero(left))];
    if (earliest(in) <= now) grant(next_in_turn(in, now), now);
  }
  Cycle next = answers_.empty() ? kNeverCycle : answers_.front().due;
  for (std::uint64_t left = waiting_ | held_back_; left != 0; left &= left - 1) {
    Input& in = inputs_[static_cast<unsigned>(std::countr_zero(left))];
    if (in.end_request_from <= now && in.outstanding < config_.outstanding) {
      end_request(in, simulation_.timeline().outgoing_delay());
    }
    // Waiting for a response needs no wake-up: it comes with one.
    if (in.end_request_from != kNeverCycle && in.end_request_from > now &&
        in.outstanding < config_.outstanding) {
      next = std::min(next, in.end_request_from);
    }
    next = std::min(next, earliest(in));
  }
  return {next};
}

void Interconnect::blocking(unsigned, tlm_generic_payload& p, sc_core::sc_time& delay) {
  delay += sim::Timeline::to_sc_time(clock().span(config_.request_cycles));
  if (Output* const target = decode(p)) {
    (*target->socket)->b_transport(p, delay);
  } else {
    ++decode_errors_;
    sim::complete(p, sim::CompletionStatus::kUnsupportedRequest);
  }
  delay += sim::Timeline::to_sc_time(clock().span(config_.response_cycles));
}

unsigned Interconnect::debug(unsigned, tlm_generic_payload& p) {
  Output* const target = decode(p);
  return target == nullptr ? 0 : (*target->socket)->transport_dbg(p);
}

void Interconnect::stats(
    const std::function<void(std::string_view, double, std::string_view)>& report) const {
  for (const Input& in : inputs_)
    report("from_" + in.name + ".requests", static_cast<double>(in.served), "1");
  for (const Output& o : outputs_) {
    report("to_" + o.name + ".requests", static_cast<double>(o.requests), "1");
    report("to_" + o.name + ".bytes", static_cast<double>(o.bytes), "B");
    report("to_" + o.name + ".busy", static_cast<double>(o.busy_cycles), "cycles");
  }
  report("decode_errors", static_cast<double>(decode_errors_), "1");
}

}  // namespace platform
