// SPDX-License-Identifier: Apache-2.0
#include "nic/device/nic.h"

#include <algorithm>
#include <cstring>

#include "nic/device/core.h"
#include "sim/error.h"

namespace nic {
namespace {

constexpr std::size_t kLargestFrame = 16 * 1024;
constexpr std::uint64_t kPreambleBytes = 8, kFcsBytes = 4, kGapBytes = 12;

}  // namespace

const char* to_string(DropReason reason) {
  switch (reason) {
    case DropReason::kLinkDown:
      return "link_down";
    case DropReason::kReceiveDisabled:
      return "receive_disabled";
    case DropReason::kUndersize:
      return "undersize";
    case DropReason::kOversize:
      return "oversize";
    case DropReason::kAddressFilter:
      return "address_filter";
    case DropReason::kPacketBufferFull:
      return "packet_buffer_full";
    case DropReason::kQueueDisabled:
      return "queue_disabled";
    case DropReason::kNoDescriptor:
      return "no_descriptor";
    case DropReason::kQueueStopped:
      return "queue_stopped";
    case DropReason::kReset:
      return "reset";
    case DropReason::kCount:
      break;
  }
  return "?";
}

/// The TLM sides of the sockets: arrivals become queued work with the cycle at which the device sees it.
class Nic::Port final : public tlm::tlm_fw_transport_if<>, public tlm::tlm_bw_transport_if<> {
 public:
  enum class Side { kConfig, kMmio, kWireIn, kDma, kWireOut };
  Port(Nic& nic, Side side) : nic_(nic), side_(side) {}

  tlm::tlm_sync_enum nb_transport_fw(tlm::tlm_generic_payload& payload, tlm::tlm_phase& phase,
                                     sc_core::sc_time& delay) override {
    if (phase != tlm::BEGIN_REQ) return tlm::TLM_COMPLETED;  // END_RESP
    const sim::Tick arrival = nic_.timeline().incoming(delay);
    return side_ == Side::kWireIn ? nic_.wire_request(payload, phase, arrival)
                                  : nic_.access_request(payload, phase, arrival, side_ == Side::kConfig);
  }
  void b_transport(tlm::tlm_generic_payload& payload, sc_core::sc_time& delay) override {
    const sim::Tick arrival = nic_.timeline().incoming(delay);
    if (side_ == Side::kWireIn) {
      nic_.wire_push(payload, arrival);
      payload.set_response_status(tlm::TLM_OK_RESPONSE);
      return;
    }
    nic_.blocking_access(payload, side_ == Side::kConfig);
    delay += sim::Timeline::to_sc_time(nic_.clock().span(nic_.core_->device.config.register_cycles));
  }
  unsigned transport_dbg(tlm::tlm_generic_payload& payload) override {
    if (side_ == Side::kWireIn || !payload.is_read()) return 0;
    return nic_.functional_access(payload, side_ == Side::kConfig, false) ? payload.get_data_length() : 0;
  }
  bool get_direct_mem_ptr(tlm::tlm_generic_payload&, tlm::tlm_dmi&) override { return false; }

  tlm::tlm_sync_enum nb_transport_bw(tlm::tlm_generic_payload& payload, tlm::tlm_phase& phase,
                                     sc_core::sc_time& delay) override {
    const sim::Tick arrival = nic_.timeline().incoming(delay);
    if (side_ == Side::kDma) {
      // Nearly always: a posted write that the link did not wait for is done with.
      if (phase == tlm::BEGIN_RESP && payload.is_write() && &payload != nic_.link_waits_for_) {
        payload.release();
        return tlm::TLM_COMPLETED;
      }
      return nic_.dma_answer(payload, phase, arrival);
    }
    if (phase == tlm::BEGIN_RESP) static_cast<sim::Transaction&>(payload).release();
    return phase == tlm::BEGIN_RESP ? tlm::TLM_COMPLETED : tlm::TLM_ACCEPTED;
  }
  void invalidate_direct_mem_ptr(sc_dt::uint64, sc_dt::uint64) override {}

 private:
  Nic& nic_;
  Side side_;
};

Nic::Nic(sc_core::sc_module_name name, sim::Simulation& sim, const NicConfig& configuration)
    : sc_module(name),
      Clocked(sim.timeline(), configuration.clock()),
      config("config"),
      mmio("mmio"),
      dma("dma"),
      wire_in("wire_in"),
      wire_out("wire_out") {
  configuration.validate();
  sim.probes().refresh_with([this] { core_->set_probes(); });
  core_ = std::make_unique<Core>(
      basename(), sim, configuration, [this](sim::Transaction& t) { return send_tlp(t); },
      [this](std::span<const std::uint8_t> frame) { send_frame(frame); });
  for (const Port::Side side : {Port::Side::kConfig, Port::Side::kMmio, Port::Side::kWireIn, Port::Side::kDma,
                                Port::Side::kWireOut}) {
    ports_.push_back(std::make_unique<Port>(*this, side));
  }
  config.bind(*ports_[0]);
  mmio.bind(*ports_[1]);
  wire_in.bind(*ports_[2]);
  dma.bind(*ports_[3]);
  wire_out.bind(*ports_[4]);
}

Nic::~Nic() = default;

NicTracepoints& Nic::trace() { return core_->device.trace; }
const NicStats& Nic::stats() const { return core_->device.stats; }
const NicConfig& Nic::configuration() const { return core_->device.config; }
bool Nic::idle() const { return core_->idle(); }

// ---- arrivals
// -------------------------------------------------------------------------------------------------

void Nic::wire_push(tlm::tlm_generic_payload& payload, sim::Tick arrival) {
  Core& c = *core_;
  // The MAC never has more than one frame's bits at a time: a frame sent early waits for the wire.
  const std::uint64_t bytes = payload.get_data_length();
  const sim::Tick start = std::max(arrival, c.wire_free);
  const sim::Tick end = start + (kPreambleBytes + bytes + kFcsBytes) * c.wire_byte;
  c.wire_free = end + kGapBytes * c.wire_byte;
  if (c.wire_count == c.wire.size()) {  // b_transport has no way to hold its caller back
    std::rotate(c.wire.begin(), c.wire.begin() + static_cast<std::ptrdiff_t>(c.wire_first), c.wire.end());
    c.wire_first = 0;
    c.wire.resize(2 * c.wire.size());
  }
  Core::WireFrame& f = c.wire[Core::place(c.wire_first + c.wire_count, c.wire.size())];
  // Only the length of what is longer than any frame matters.
  f.bytes.resize(std::min<std::size_t>(bytes, kLargestFrame));
  if (!f.bytes.empty()) std::memcpy(f.bytes.data(), payload.get_data_ptr(), f.bytes.size());
  f.due = poke(end);
  ++c.wire_count;
  earliest(c.arrival_due, f.due);
}

tlm::tlm_sync_enum Nic::wire_request(tlm::tlm_generic_payload& payload, tlm::tlm_phase& phase,
                                     sim::Tick arrival) {
  Core& c = *core_;
  wire_push(payload, arrival);
  payload.set_response_status(tlm::TLM_OK_RESPONSE);
  if (c.wire_count < c.device.config.wire_queue_frames) return tlm::TLM_COMPLETED;
  wire_held_ = &payload;
  phase = tlm::BEGIN_REQ;
  return tlm::TLM_ACCEPTED;
}

tlm::tlm_sync_enum Nic::access_request(tlm::tlm_generic_payload& payload, tlm::tlm_phase& phase,
                                       sim::Tick arrival, bool to_config) {
  Core& c = *core_;
  POOLSIM_ASSERT(c.access_count < c.accesses.size());
  const sim::Cycle due = seen_at(arrival) + c.device.config.register_cycles - 1;
  tick_by(due);
  earliest(c.arrival_due, due);
  c.accesses[Core::place(c.access_first + c.access_count, c.accesses.size())] = {due, &payload, to_config};
  ++c.access_count;
  // Two places are kept free, one for each socket's next request.
  if (c.access_count + 2 > c.accesses.size()) {
    (to_config ? config_held_ : mmio_held_) = &payload;
    return tlm::TLM_ACCEPTED;
  }
  phase = tlm::END_REQ;
  return tlm::TLM_UPDATED;
}

bool Nic::functional_access(tlm::tlm_generic_payload& payload, bool to_config, bool side_effects) {
  Core& c = *core_;
  const unsigned bytes = payload.get_data_length();
  if (payload.get_command() == tlm::TLM_IGNORE_COMMAND || payload.get_byte_enable_ptr() != nullptr)
    return false;
  return to_config ? c.config_access(payload.get_address(), payload.is_write(), payload.get_data_ptr(), bytes,
                                     side_effects)
                   : c.mmio_access(payload.get_address(), payload.is_write(), payload.get_data_ptr(), bytes,
                                   side_effects);
}

void Nic::blocking_access(tlm::tlm_generic_payload& payload, bool to_config) {
  Core& c = *core_;
  c.catch_up();
  c.device.now = std::max(c.device.now, clock().at_or_before(timeline().now()));
  const bool claimed = functional_access(payload, to_config, true);
  sim::complete(payload,
                claimed ? sim::CompletionStatus::kSuccess : sim::CompletionStatus::kUnsupportedRequest);
  poke(timeline().now());
}

tlm::tlm_sync_enum Nic::dma_answer(tlm::tlm_generic_payload& payload, const tlm::tlm_phase& phase,
                                   sim::Tick arrival) {
  Core& c = *core_;
  auto& t = static_cast<sim::Transaction&>(payload);
  const bool frees_link = phase == tlm::END_REQ || &payload == link_waits_for_;
  if (frees_link && c.port.blocked()) {
    link_waits_for_ = nullptr;
    c.unblock_at = poke(arrival);
    earliest(c.arrival_due, c.unblock_at);
  }
  if (phase != tlm::BEGIN_RESP) return tlm::TLM_ACCEPTED;
  if (t.is_write()) {
    t.release();
  } else {
    queue_answer(t, arrival);
  }
  return tlm::TLM_COMPLETED;
}

void Nic::queue_answer(sim::Transaction& t, sim::Tick arrival) {
  Core& c = *core_;
  POOLSIM_ASSERT(c.answer_count < c.answers.size());
  const sim::Cycle due = seen_at(arrival) + c.device.config.descriptor_decode_cycles - 1;
  tick_by(due);
  earliest(c.arrival_due, due);
  c.answers[Core::place(c.answer_first + c.answer_count, c.answers.size())] = {due, &t};
  ++c.answer_count;
}

// ---- departures
// -----------------------------------------------------------------------------------------------

tlm::tlm_sync_enum Nic::send_tlp(sim::Transaction& t) {
  tlm::tlm_phase phase = tlm::BEGIN_REQ;
  sc_core::sc_time delay = timeline().outgoing_delay();
  const bool write = t.is_write();
  const tlm::tlm_sync_enum result = dma->nb_transport_fw(t, phase, delay);
  if (result == tlm::TLM_COMPLETED && !write) {
    queue_answer(t, timeline().incoming(delay));
    return tlm::TLM_UPDATED;
  }
  if (result == tlm::TLM_ACCEPTED) link_waits_for_ = &t;
  if (result != tlm::TLM_UPDATED || phase != tlm::BEGIN_RESP) return result;
  // A foreign target that answers on the return path.
  if (!write) queue_answer(t, timeline().incoming(delay));
  return write ? tlm::TLM_COMPLETED : tlm::TLM_UPDATED;
}

void Nic::send_frame(std::span<const std::uint8_t> frame) {
  auto& sent = core_->device.trace.packet_sent;
  if (sent.enabled()) sent.emit({frame, core_->device.sim.now()});
  if (wire_out.size() == 0) return;
  sim::Transaction* t = core_->device.sim.payloads().acquire(tlm::TLM_WRITE_COMMAND, 0, frame.size());
  std::memcpy(t->get_data_ptr(), frame.data(), frame.size());
  tlm::tlm_phase phase = tlm::BEGIN_REQ;
  sc_core::sc_time delay = timeline().outgoing_delay();
  if (wire_out->nb_transport_fw(*t, phase, delay) == tlm::TLM_COMPLETED) t->release();
}

void Nic::answer_access(tlm::tlm_generic_payload& payload, bool to_config) {
  const bool claimed = functional_access(payload, to_config, true);
  sim::complete(payload,
                claimed ? sim::CompletionStatus::kSuccess : sim::CompletionStatus::kUnsupportedRequest);
  tlm::tlm_generic_payload*& held = to_config ? config_held_ : mmio_held_;
  tlm::tlm_target_socket<64>& socket = to_config ? config : mmio;
  if (held != nullptr) {
    tlm::tlm_phase phase = tlm::END_REQ;
    sc_core::sc_time delay = timeline().outgoing_delay();
    socket->nb_transport_bw(*std::exchange(held, nullptr), phase, delay);
  }
  tlm::tlm_phase phase = tlm::BEGIN_RESP;
  sc_core::sc_time delay = timeline().outgoing_delay();
  socket->nb_transport_bw(payload, phase, delay);
}

void Nic::release_wire() {
  tlm::tlm_generic_payload& payload = *std::exchange(wire_held_, nullptr);
  for (const tlm::tlm_phase_enum p : {tlm::END_REQ, tlm::BEGIN_RESP}) {
    tlm::tlm_phase phase = p;
    sc_core::sc_time delay = timeline().outgoing_delay();
    wire_in->nb_transport_bw(payload, phase, delay);
  }
}

// ---- observation
// ----------------------------------------------------------------------------------------------

void Nic::check_conservation() const {
  const NicStats& s = core_->device.stats;
  POOLSIM_ASSERT(s.frames_arrived ==
                 s.frames_delivered + s.total_frames_dropped() + core_->rx.buffer().frames());
  POOLSIM_ASSERT(s.copies_made == s.copies_delivered + s.total_copies_dropped() + core_->rx.copies_inside());
}

bool Nic::corrupt_pointer(unsigned queue, bool tail, std::uint16_t flips) {
  DescriptorQueue& q = core_->rx.queue(queue);
  if (!q.enabled()) return false;
  core_->catch_up();
  if (tail) {
    q.write_tail(q.tail() ^ flips);
  } else {
    q.write_head(q.head() ^ flips);
  }
  poke(timeline().now());
  return true;
}

void Nic::set_cable(bool plugged) {
  core_->phy.set_cable(plugged);
  poke(timeline().now());
}

std::vector<unsigned> Nic::enabled_queues() const {
  std::vector<unsigned> all;
  for (unsigned q = 0; q < kQueues; ++q) {
    if (core_->rx.queue(q).enabled()) all.push_back(q);
  }
  return all;
}

void Nic::held_descriptors(unsigned queue, const std::function<void(const HeldDescriptor&)>& out) const {
  const DescriptorQueue& q = core_->rx.queue(queue);
  const std::uint32_t used = q.used_counter(), end = used + q.valid();
  for (std::uint32_t c = q.written_counter(); c != end; ++c) {
    const auto& e = q.entry(c);
    const bool is_used = static_cast<std::int32_t>(c - used) < 0;
    out({e.index, sim::Iova(is_used ? 0 : e.qw0), sim::Iova(is_used ? 0 : e.qw1 & ~std::uint64_t{1}),
         is_used});
  }
}

void Nic::stats(const std::function<void(std::string_view, double, std::string_view)>& out) const {
  const NicStats& s = core_->device.stats;
  const auto put = [&](std::string_view name, std::uint64_t v, std::string_view unit) {
    out(name, static_cast<double>(v), unit);
  };
  put("frames_arrived", s.frames_arrived, "frames");
  put("frames_delivered", s.frames_delivered, "frames");
  for (std::size_t r = 0; r < s.frames_dropped.size(); ++r) {
    put(fmt::format("frames_dropped.{}", to_string(static_cast<DropReason>(r))), s.frames_dropped[r],
        "frames");
  }
  put("copies_made", s.copies_made, "frames");
  put("copies_delivered", s.copies_delivered, "frames");
  put("bytes_delivered", s.bytes_delivered, "bytes");
  put("tx_frames_sent", s.tx_frames_sent, "frames");
  put("tx_frames_dropped", s.tx_frames_dropped, "frames");
  put("tx_frames_looped", s.tx_frames_looped, "frames");
  put("tlps_written", s.tlps_written, "TLPs");
  put("tlps_read", s.tlps_read, "TLPs");
  put("bytes_written", s.bytes_written, "bytes");
  put("bytes_read", s.bytes_read, "bytes");
  put("descriptor_fetches", s.descriptor_fetches, "TLPs");
  put("descriptors_fetched", s.descriptors_fetched, "descriptors");
  put("write_backs", s.write_backs, "TLPs");
  put("descriptors_written_back", s.descriptors_written_back, "descriptors");
  put("interrupts", s.interrupts, "messages");
  put("interrupts_lost", s.interrupts_lost, "messages");
  put("reads_failed", s.reads_failed, "TLPs");
}

}  // namespace nic
