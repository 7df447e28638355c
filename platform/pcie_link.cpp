// SPDX-License-Identifier: Apache-2.0
#include "platform/pcie_link.h"

#include <algorithm>

namespace platform {

using sim::Cycle;
using sim::kNeverCycle;
using sim::Tick;
using tlm::tlm_generic_payload;

namespace {
const PcieLinkConfig& checked(const PcieLinkConfig& config) {
  config.validate();
  return config;
}
}  // namespace

PcieLink::PcieLink(sc_core::sc_module_name name, sim::Simulation& simulation, const PcieLinkConfig& config)
    : sc_module(name),
      Clocked(simulation.timeline(), config.clock),
      from_device("from_device", *this, kDma),
      to_device_config("to_device_config", *this, kConfig),
      to_device_mmio("to_device_mmio", *this, kMmio),
      to_root("to_root", *this, kDma),
      from_root_config("from_root_config", *this, kConfig),
      from_root_mmio("from_root_mmio", *this, kMmio),
      simulation_(simulation),
      config_(checked(config)),
      up_(config_, config_.root_credits),
      down_(config_, config_.device_credits),
      credits_limited_(up_.credits.limited() || down_.credits.limited()),
      tags_free_(config_.tags),
      up_requests_(simulation.probes(), "link.up.requests", 10),
      down_requests_(simulation.probes(), "link.down.requests", 10),
      tags_in_use_(simulation.probes(), "link.tags_in_use", 10) {
  simulation.probes().refresh_with([this] {
    up_requests_.set(up_.requests.size());
    down_requests_.set(down_.requests.size());
  });
}

bool PcieLink::idle() const {
  for (const Direction* d : {&up_, &down_}) {
    if (!d->requests.empty() || !d->completions.empty()) return false;
    for (const auto& t : d->trains) {
      if (!t.empty()) return false;
    }
  }
  return reads_outstanding_ == 0;
}

tlm::tlm_target_socket<64>& PcieLink::entry_of(Stream s) {
  if (s == kDma) return from_device;
  return s == kConfig ? from_root_config : from_root_mmio;
}

tlm::tlm_initiator_socket<64>& PcieLink::exit_of(Stream s) {
  if (s == kDma) return to_root;
  return s == kConfig ? to_device_config : to_device_mmio;
}

std::uint64_t PcieLink::request_bytes(Stream s, const tlm_generic_payload& p) const {
  if (s == kConfig) return bare_wire_bytes(config_, p.is_write() ? p.get_data_length() : 0);
  if (s >= kStreams) {
    const PcieMessage m = PcieMessage::of(p);
    return message_wire_bytes(config_, m.data_bytes(), m.has_process_id);
  }
  const bool prefix = sim::tag_of(p).has_process_id;
  return p.is_write() ? write_wire_bytes(config_, p.get_address(), p.get_data_length(), prefix)
                      : read_request_wire_bytes(config_, p.get_address(), p.get_data_length(), prefix);
}

std::uint64_t PcieLink::completion_bytes(const tlm_generic_payload& p, Stream s) const {
  if (p.is_write() || !p.is_response_ok()) return bare_wire_bytes(config_);
  if (s == kConfig) return bare_wire_bytes(config_, p.get_data_length());
  return completion_wire_bytes(config_, p.get_address(), p.get_data_length());
}

/// When what arrives at `arrival` is seen: the first edge at or after it and after the present.
Tick PcieLink::seen_at(Tick arrival) const {
  const Tick now = simulation_.now();
  return clock().first_at_or_after(arrival > now ? arrival : now + 1).at;
}

void PcieLink::send_request(Stream s, tlm_generic_payload& p, Tick ready) {
  Direction& d = request_direction(s);
  const bool posted = is_posted(s, p);
  if (d.credits.limited()) return queue_train(d, posted ? CreditClass::kPosted : CreditClass::kNonPosted, s, p, ready);
  push_request(d, s, &p, posted, 0, d.wire.send(ready, request_bytes(s, p)));
}

void PcieLink::push_request(Direction& d, Stream s, tlm_generic_payload* p, bool posted, unsigned data, Tick arrival) {
  const sim::Clock::Edge due = clock().first_at_or_after(arrival);
  if (posted && p != nullptr) ++d.posted_sent;
  d.requests.push({due.cycle, p, s, posted, static_cast<std::uint16_t>(data)});
  show_requests(d);
  tick_by(due);
}

void PcieLink::send_completion(Stream s, tlm_generic_payload& p, Tick ready) {
  Direction& d = completion_direction(s);
  if (d.credits.limited()) return queue_train(d, CreditClass::kCompletion, s, p, ready);
  push_completion(d, s, &p, 0, d.wire.send(ready, completion_bytes(p, s)));
}

void PcieLink::push_completion(Direction& d, Stream s, tlm_generic_payload* p, unsigned data, Tick arrival) {
  const sim::Clock::Edge due = clock().first_at_or_after(arrival);
  d.completions.push({due.cycle, p, s, static_cast<std::uint16_t>(data), d.posted_sent});
  tick_by(due);
}

// Flow control.

void PcieLink::queue_train(Direction& d, CreditClass c, Stream s, tlm_generic_payload& p, Tick ready) {
  d.trains[static_cast<unsigned>(c)].push({ready, &p, s, d.trains_made++, 0});
  pump(d);
}

/// Sends what credits and the ordering table allow, the classes in turn.
void PcieLink::pump(Direction& d) {
  const Ring<Train>& posted = d.trains[static_cast<unsigned>(CreditClass::kPosted)];
  for (bool sent = true; sent;) {
    sent = false;
    for (unsigned c = 0; c < kCreditClasses; ++c) {
      Ring<Train>& queue = d.trains[c];
      if (queue.empty()) continue;
      // Reads and completions never pass a posted write.
      const bool behind = &queue != &posted && !posted.empty() && posted.front().sequence < queue.front().sequence;
      if (behind) continue;
      sent = send_tlp(d, static_cast<CreditClass>(c), queue.front()) || sent;
      const Train& t = queue.front();
      if (t.payload == nullptr) queue.pop();
    }
  }
}

PcieLink::TlpPiece PcieLink::next_piece(CreditClass c, const Train& t) const {
  const tlm_generic_payload& p = *t.payload;
  const auto length = static_cast<std::uint32_t>(p.get_data_length());
  const std::uint32_t left = length - t.offset;
  const std::uint64_t address = p.get_address() + t.offset;
  if (c == CreditClass::kCompletion) {
    if (p.is_write() || !p.is_response_ok()) return {left, 0, bare_wire_bytes(config_)};
    if (t.stream == kConfig) return {left, left, bare_wire_bytes(config_, left)};
    // The completions of each read request are cut on their own.
    const std::uint32_t request_left = config_.max_read_request_bytes - t.offset % config_.max_read_request_bytes;
    const std::uint32_t bytes = first_completion_bytes(config_, address, left < request_left ? left : request_left);
    return {bytes, bytes, bare_wire_bytes(config_, bytes)};
  }
  if (t.stream >= kStreams) return {left, PcieMessage::of(p).data_bytes(), request_bytes(t.stream, p)};
  if (t.stream == kConfig) {
    const std::uint32_t data = p.is_write() ? left : 0;
    return {left, data, bare_wire_bytes(config_, data)};
  }
  const bool prefix = sim::tag_of(p).has_process_id;
  const std::uint32_t most = p.is_write() ? config_.max_payload_bytes : config_.max_read_request_bytes;
  const std::uint32_t bytes = left < most ? left : most;
  if (p.is_write()) return {bytes, bytes, write_wire_bytes(config_, address, bytes, prefix)};
  return {bytes, 0, read_request_wire_bytes(config_, address, bytes, prefix)};
}

/// False: not enough credits. A train whose last TLP has left has no payload any more.
bool PcieLink::send_tlp(Direction& d, CreditClass c, Train& t) {
  const TlpPiece piece = next_piece(c, t);
  const unsigned data = data_credits(piece.payload);
  if (!d.credits.fits(c, data)) return false;
  d.credits.take(c, data);
  const Tick now = simulation_.now();
  const Tick arrival = d.wire.send(t.ready > now ? t.ready : now, piece.wire_bytes);
  t.offset += piece.covers;
  const bool last = t.offset >= t.payload->get_data_length();
  tlm_generic_payload* p = last ? t.payload : nullptr;
  if (last) t.payload = nullptr;
  if (c == CreditClass::kCompletion) {
    push_completion(d, t.stream, p, data, arrival);
  } else {
    push_request(d, t.stream, p, c == CreditClass::kPosted, data, arrival);
  }
  return true;
}

/// The other side is done with a request: frees a posted write at once, sends a completion for anything else.
void PcieLink::answer(Stream s, tlm_generic_payload& p, sc_core::sc_time delay) {
  if (!is_posted(s, p)) {
    send_completion(s, p, seen_at(simulation_.timeline().incoming(delay)));
    return;
  }
  if (sim::Transaction* own = sim::own(p); own != nullptr && own->let_go(sim::Transaction::Keeper::kLink)) return;
  sim::complete(p, sim::CompletionStatus::kSuccess);
  begin_response(s, p, delay);
}

void PcieLink::begin_response(Stream s, tlm_generic_payload& p, sc_core::sc_time delay) {
  if (__builtin_expect(!injected_.empty(), 0) && std::erase(injected_, &p) != 0) return p.release();
  if (flow_[s].stalled == &p) end_request(s, delay);  // never after the response
  phase_back(s, p, tlm::BEGIN_RESP, delay);
}

void PcieLink::end_request(Stream s, sc_core::sc_time delay) {
  tlm_generic_payload& p = *flow_[s].stalled;
  flow_[s].stalled = nullptr;
  flow_[s].end_request_from = kNeverCycle;
  --callers_waiting_;
  phase_back(s, p, tlm::END_REQ, delay);
}

void PcieLink::phase_back(Stream s, tlm_generic_payload& p, tlm::tlm_phase phase, sc_core::sc_time delay) {
  entry_of(s)->nb_transport_bw(p, phase, delay);
}

bool PcieLink::full(Stream s) const {
  const Direction& d = s == kDma ? up_ : down_;
  if (d.requests.size() >= config_.receive_buffer_requests) return true;
  if (s == kDma && waiting_reads_.size() >= config_.tags) return true;
  if (d.credits.limited()) {
    if (!d.trains[static_cast<unsigned>(CreditClass::kPosted)].empty()) return true;
    if (d.trains[static_cast<unsigned>(CreditClass::kNonPosted)].size() >= config_.tags) return true;
  }
  return d.wire.room_at() > simulation_.now();
}

[[gnu::flatten]] tlm::tlm_sync_enum PcieLink::request(unsigned stream, tlm_generic_payload& p, tlm::tlm_phase& phase,
                                     sc_core::sc_time& delay) {
  if (phase != tlm::BEGIN_REQ) return tlm::TLM_COMPLETED;  // END_RESP of a four-phase initiator
  const auto s = static_cast<Stream>(stream);
  POOLSIM_ASSERT(flow_[s].end_request_from == kNeverCycle);  // the caller ignored back-pressure
  if (s == kDma && (p.get_address() & (sim::kPageSize - 1)) + p.get_data_length() > sim::kPageSize) {
    ++malformed_;
    sim::complete(p, sim::CompletionStatus::kCompleterAbort);
    return tlm::TLM_COMPLETED;
  }
  const Tick ready = seen_at(simulation_.timeline().incoming(delay));
  if (__builtin_expect(static_cast<bool>(tlp_fault_), 0) && tamper(s, p, ready)) {
    if (is_posted(s, p) && (kept_.empty() || kept_.back().payload != &p)) {
      sim::complete(p, sim::CompletionStatus::kSuccess);
      return tlm::TLM_COMPLETED;
    }
  } else {
    enter(s, p, ready);
  }
  if (full(s)) {
    flow_[s].end_request_from = poke(simulation_.now());
    flow_[s].stalled = &p;
    ++callers_waiting_;
    return tlm::TLM_ACCEPTED;
  }
  // A posted write of a device has left and wants no answer: ours are kept here until they are delivered.
  if (sim::Transaction* own = sim::own(p);
      s == kDma && own != nullptr && p.is_write() && own->keep(sim::Transaction::Keeper::kLink)) {
    p.set_response_status(tlm::TLM_OK_RESPONSE);
    return tlm::TLM_COMPLETED;
  }
  phase = tlm::END_REQ;
  return tlm::TLM_UPDATED;
}

void PcieLink::enter(Stream s, tlm_generic_payload& p, Tick ready) {
  if (s == kDma && p.is_read()) {
    ++reads_outstanding_;
    const unsigned tags = read_request_tlps(config_, p.get_data_length());
    POOLSIM_ASSERT(tags <= config_.tags);
    if (!waiting_reads_.empty() || tags > tags_free_) {
      waiting_reads_.push({ready, &p});
    } else {
      tags_free_ -= tags;
      tags_in_use_.set(config_.tags - tags_free_);
      send_request(s, p, ready);
    }
  } else {
    send_request(s, p, ready);
  }
}

/// True: a fault keeps or loses it.
bool PcieLink::tamper(Stream s, tlm_generic_payload& p, Tick ready) {
  const bool doorbell = s == kMmio;
  if (s == kConfig || (doorbell && !p.is_write())) return false;
  const TlpVerdict verdict = tlp_fault_(p, doorbell);
  if (verdict.what == TlpVerdict::What::kPass) return false;
  const bool lost = verdict.what == TlpVerdict::What::kLose;
  if (lost && is_posted(s, p)) return true;
  kept_.push_back({ready + verdict.time, &p, s, lost});
  poke(ready + verdict.time);
  return true;
}

/// What a fault has kept long enough.
void PcieLink::let_go() {
  const Tick now = simulation_.now();
  for (std::size_t i = 0; i < kept_.size();) {
    if (kept_[i].at > now) {
      ++i;
      continue;
    }
    const Kept k = kept_[i];
    kept_.erase(kept_.begin() + static_cast<std::ptrdiff_t>(i));
    if (k.lost) {
      // No completion has come, and so no status of one; who does not ask takes it for an abort.
      sim::complete(*k.payload, sim::CompletionStatus::kCompleterAbort);
      k.payload->set_response_status(tlm::TLM_INCOMPLETE_RESPONSE);
      begin_response(k.stream, *k.payload, at_once());
    } else {
      enter(k.stream, *k.payload, now);
    }
  }
}

void PcieLink::inject_write(sim::RequesterId requester, std::uint64_t address, std::span<const std::uint8_t> bytes) {
  sim::Transaction* t = simulation_.payloads().acquire(tlm::TLM_WRITE_COMMAND, address, bytes.size());
  std::copy(bytes.begin(), bytes.end(), t->get_data_ptr());
  t->tag = {};
  t->tag.requester = requester;
  t->tag.posted = true;
  injected_.push_back(t);
  send_request(kDma, *t, seen_at(simulation_.now()));
}

bool PcieLink::lose_credits(CreditClass c, unsigned headers, unsigned data) {
  if (!up_.credits.limited()) return false;
  for (unsigned i = 0; i < headers; ++i) {
    if (!up_.credits.fits(c, data)) return i != 0;
    up_.credits.take(c, data);
  }
  return true;
}

tlm::tlm_sync_enum PcieLink::response(unsigned stream, tlm_generic_payload& p, tlm::tlm_phase& phase,
                                      sc_core::sc_time& delay) {
  const auto s = static_cast<Stream>(stream);
  if (phase == tlm::END_REQ) {
    flow_[s].open_from = poke(simulation_.timeline().incoming(delay));
    return tlm::TLM_ACCEPTED;
  }
  POOLSIM_ASSERT(phase == tlm::BEGIN_RESP);
  answer(s, p, delay);
  return tlm::TLM_COMPLETED;
}

void PcieLink::deliver_requests(Direction& d, Cycle now) {
  while (!d.requests.empty() && d.requests.front().due <= now) {
    const Request r = d.requests.front();
    if (r.payload != nullptr && flow_[r.stream].open_from > now) return;
    d.requests.pop();
    show_requests(d);
    if (d.credits.limited()) {
      d.credits.give_back(r.posted ? CreditClass::kPosted : CreditClass::kNonPosted, r.data_credits, clock().edge(now));
      if (r.payload == nullptr) continue;
    }
    if (r.posted) ++d.posted_delivered;
    ++d.requests_delivered;
    if (r.stream >= kStreams) {
      deliver_message(r.stream, *r.payload);
      continue;
    }
    static constexpr std::uint64_t kTag = sim::digest_tag("link.request");
    simulation_.note(kTag, r.payload->get_address(),
                     r.payload->get_data_length() << 3 | unsigned{r.payload->is_write()} << 2 | r.stream);
    tlm::tlm_phase phase = tlm::BEGIN_REQ;
    sc_core::sc_time delay = simulation_.timeline().outgoing_delay();
    switch (exit_of(r.stream)->nb_transport_fw(*r.payload, phase, delay)) {
      case tlm::TLM_UPDATED:
        break;
      case tlm::TLM_ACCEPTED:
        flow_[r.stream].open_from = kNeverCycle;
        break;
      case tlm::TLM_COMPLETED:
        answer(r.stream, *r.payload, delay);
        break;
    }
  }
}

void PcieLink::send(const PcieMessage& message) {
  sim::Transaction& t = message.carry(simulation_.payloads());
  send_request(message.upstream() ? kMessageUp : kMessageDown, t, seen_at(simulation_.now()));
}

void PcieLink::deliver_message(Stream s, tlm_generic_payload& p) {
  const PcieMessage message = PcieMessage::of(p);
  p.release();
  ++messages_[s == kMessageDown];
  static constexpr std::uint64_t kTag = sim::digest_tag("link.message");
  simulation_.note(kTag, message.payload,
                   static_cast<std::uint64_t>(message.kind) << 32 | message.function.value);
  const auto& to = s == kMessageUp ? message_to_root : message_to_device;
  if (to) to(message);
}

void PcieLink::deliver_completions(Direction& d, Cycle now) {
  while (!d.completions.empty() && d.completions.front().due <= now) {
    // A completion never passes a posted write.
    if (d.completions.front().posted_before > d.posted_delivered) return;
    const Completion c = d.completions.pop();
    if (d.credits.limited()) {
      d.credits.give_back(CreditClass::kCompletion, c.data_credits, clock().edge(now));
      if (c.payload == nullptr) continue;
    }
    ++d.completions_delivered;
    if (c.stream == kDma) {
      tags_free_ += read_request_tlps(config_, c.payload->get_data_length());
      tags_in_use_.set(config_.tags - tags_free_);
      --reads_outstanding_;
    }
    static constexpr std::uint64_t kTag = sim::digest_tag("link.completion");
    simulation_.note(kTag, c.payload->get_address(), c.stream);
    begin_response(c.stream, *c.payload, at_once());
  }
}

void PcieLink::launch_waiting_reads() {
  while (!waiting_reads_.empty()) {
    const WaitingRead r = waiting_reads_.front();
    const unsigned tags = read_request_tlps(config_, r.payload->get_data_length());
    if (tags > tags_free_) return;
    waiting_reads_.pop();
    tags_free_ -= tags;
    tags_in_use_.set(config_.tags - tags_free_);
    const Tick now = simulation_.now();
    send_request(kDma, *r.payload, r.ready > now ? r.ready : now);
  }
}

void PcieLink::end_requests(Cycle now) {
  for (unsigned s = 0; s < kStreams; ++s) {
    if (flow_[s].end_request_from <= now && !full(static_cast<Stream>(s)))
      end_request(static_cast<Stream>(s), at_once());
  }
}

Cycle PcieLink::next_work(Cycle now) const {
  if (nothing_travels() && callers_waiting_ == 0 && !credits_limited_ && kept_.empty()) return kNeverCycle;
  Cycle next = kNeverCycle;
  const auto earlier = [&](Cycle c) {
    if (c < next) next = c;
  };
  const auto look_at = [&](const Direction& d) {
    if (d.credits.limited() && d.credits.next_update() != sim::kNever) {
      earlier(clock().at_or_after(d.credits.next_update()));
    }
    if (!d.requests.empty()) {
      const Request& r = d.requests.front();
      const Cycle open = r.payload == nullptr ? 0 : flow_[r.stream].open_from;
      if (open != kNeverCycle) earlier(r.due > open ? r.due : open);
    }
    // A completion behind a posted write goes in the tick that delivers the write.
    if (!d.completions.empty() && d.completions.front().posted_before <= d.posted_delivered) {
      earlier(d.completions.front().due);
    }
  };
  look_at(up_);
  look_at(down_);
  for (const Kept& k : kept_) {
    const Cycle due = clock().at_or_after(k.at);
    earlier(due > now ? due : now + 1);
  }
  if (callers_waiting_ == 0) return next;
  for (unsigned s = 0; s < kStreams; ++s) {
    if (flow_[s].end_request_from == kNeverCycle) continue;
    // Room in the transmitter comes with time; room in the receiver with a delivery, which is a tick anyway.
    const Cycle room = clock().at_or_after((s == kDma ? up_ : down_).wire.room_at());
    const Cycle from = flow_[s].end_request_from;
    if (room > now || from > now) earlier(room > from ? room : from);
  }
  return next;
}

sim::Wakeup PcieLink::tick(Cycle now) {
  for (Direction* d : {&up_, &down_}) {
    if (!d->requests.empty()) deliver_requests(*d, now);
    if (!d->completions.empty()) deliver_completions(*d, now);
  }
  if (credits_limited_) {
    for (Direction* d : {&up_, &down_}) {
      if (d->credits.limited() && d->credits.update(clock().edge(now))) pump(*d);
    }
  }
  if (!waiting_reads_.empty()) launch_waiting_reads();
  if (__builtin_expect(!kept_.empty(), 0)) let_go();
  if (callers_waiting_ != 0) end_requests(now);
  return {next_work(now)};
}

void PcieLink::blocking(unsigned stream, tlm_generic_payload& p, sc_core::sc_time& delay) {
  const auto s = static_cast<Stream>(stream);
  const TlpWire& out = request_direction(s).wire;
  delay += sim::Timeline::to_sc_time(out.serialisation(request_bytes(s, p)) + out.latency());
  exit_of(s)->b_transport(p, delay);
  if (is_posted(s, p)) {
    sim::complete(p, sim::CompletionStatus::kSuccess);
    return;
  }
  const TlpWire& back = completion_direction(s).wire;
  delay += sim::Timeline::to_sc_time(back.serialisation(completion_bytes(p, s)) + back.latency());
}

unsigned PcieLink::debug(unsigned stream, tlm_generic_payload& p) {
  return exit_of(static_cast<Stream>(stream))->transport_dbg(p);
}

void PcieLink::stats(const std::function<void(std::string_view, double, std::string_view)>& report) const {
  const auto direction = [&](const char* name, const Direction& d) {
    const auto field = [&](const char* what) { return fmt::format("{}.{}", name, what); };
    report(field("requests"), static_cast<double>(d.requests_delivered), "1");
    report(field("posted"), static_cast<double>(d.posted_delivered), "1");
    report(field("completions"), static_cast<double>(d.completions_delivered), "1");
    report(field("bytes"), static_cast<double>(d.wire.bytes()), "B");
    report(field("busy"), static_cast<double>(d.wire.busy()) * 1e-15, "s");
    report(field("update_fc"), static_cast<double>(d.credits.updates()), "1");
  };
  direction("up", up_);
  direction("down", down_);
  report("up.messages", static_cast<double>(messages_[0]), "1");
  report("down.messages", static_cast<double>(messages_[1]), "1");
  report("malformed", static_cast<double>(malformed_), "1");
  report("bandwidth", tlp_bits_per_second(config_), "bit/s");
}

}  // namespace platform
