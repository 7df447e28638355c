// SPDX-License-Identifier: Apache-2.0
#include "platform/wire.h"

#include <cmath>
#include <cstring>

#include "sim/error.h"

namespace platform {
namespace {

constexpr std::size_t kWireOverheadBytes = 24;
constexpr std::size_t kIp = nic::kEthernetHeaderBytes;
constexpr std::size_t kTransport = kIp + nic::kIpv4HeaderBytes;  // of the IPv4 kinds
constexpr std::size_t kUdpPort = kTransport, kUdpChecksum = kTransport + 6;
constexpr std::size_t kTcpSequence = kTransport + 4, kTcpChecksum = kTransport + 16;
constexpr std::size_t kFragmentId6 = kIp + nic::kIpv6HeaderBytes + 4;
constexpr std::size_t kStamp = 16;  // sequence number and hash

void put16(std::uint8_t* p, std::uint16_t v) {
  p[0] = static_cast<std::uint8_t>(v >> 8);
  p[1] = static_cast<std::uint8_t>(v);
}

void put32(std::uint8_t* p, std::uint32_t v) {
  put16(p, static_cast<std::uint16_t>(v >> 16));
  put16(p + 2, static_cast<std::uint16_t>(v));
}

std::uint32_t sum16(const std::uint8_t* p, std::size_t bytes) {
  std::uint32_t sum = 0;
  for (std::size_t i = 0; i + 1 < bytes; i += 2) sum += static_cast<std::uint32_t>(p[i] << 8 | p[i + 1]);
  if (bytes % 2 != 0) sum += static_cast<std::uint32_t>(p[bytes - 1] << 8);
  return sum;
}

/// sum16() of a stamp, folded: summed up in memory order, then put into the network's.
std::uint32_t stamp_sum(const std::uint64_t (&stamp)[2]) {
  constexpr std::uint64_t kLow = 0xFFFFFFFF;
  std::uint64_t sum = (stamp[0] & kLow) + (stamp[0] >> 32) + (stamp[1] & kLow) + (stamp[1] >> 32);
  sum = (sum & 0xFFFF) + (sum >> 16);
  sum = (sum & 0xFFFF) + (sum >> 16);
  sum = (sum & 0xFFFF) + (sum >> 16);
  return static_cast<std::uint32_t>((sum & 0xFF) << 8 | sum >> 8);
}

std::uint16_t finish(std::uint32_t sum) {
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<std::uint16_t>(~sum);
}

constexpr std::size_t kMaxIpPayload = 65535 - nic::kIpv4HeaderBytes;

/// What a fragment carries of its datagram.
std::size_t fragment_bytes(const FrameStream& stream) {
  return (stream.payload_bytes + nic::kUdpHeaderBytes) / 8 * 8;
}

}  // namespace

bool verify_payload(std::span<const std::uint8_t> payload, std::uint64_t* sequence) {
  if (payload.size() < kStamp) return false;
  std::uint64_t stamp[2];
  std::memcpy(stamp, payload.data(), kStamp);
  *sequence = stamp[0];
  return sim::hash64(payload.data() + kStamp, payload.size() - kStamp, stamp[0]) == stamp[1];
}

WireGenerator::WireGenerator(sc_core::sc_module_name name, sim::Simulation& sim,
                             std::uint64_t bits_per_second)
    : sc_module(name),
      Clocked(sim.timeline(), sim::Clock::from_hz(125'000'000)),
      sim_(sim),
      rate_(bits_per_second),
      gaps_(sim.random("wire.arrivals")),
      mix_(sim.random("wire.flows")),
      fragments_(sim.random("wire.fragments")),
      sent_probe_(sim.probes(), "wire.frames_sent", 32) {
  wire.bind(*this);
}

sim::Tick WireGenerator::frame_time(std::size_t bytes) const {
  const std::uint64_t bits = (bytes + kWireOverheadBytes) * 8;
  std::uint64_t scaled = 0;
  if (!__builtin_mul_overflow(bits, sim::kSecond, &scaled)) return scaled / rate_;  // frames of up to 2.2 KB
  return static_cast<sim::Tick>(static_cast<unsigned __int128>(bits) * sim::kSecond / rate_);
}

void WireGenerator::send(FrameStream stream) {
  POOLSIM_ASSERT(stream.capture != nullptr || (stream.payload_bytes >= kStamp && stream.payload_bytes <= 1472));
  POOLSIM_ASSERT(stream.burst >= 1 && stream.flows >= 1 && stream.flow.src_port + stream.flows <= 65536);
  if (stream.kind == FrameKind::kFragments) {
    POOLSIM_ASSERT(stream.fragments >= 2 && stream.count % stream.fragments == 0 &&
                   stream.fragments * fragment_bytes(stream) <= kMaxIpPayload);
  }
  if (stream.capture != nullptr) stream.count = stream.capture->size();
  if (stream.count == 0) return;
  stream.start = std::max(stream.start, timeline().now());
  const bool first = streams_.empty();
  streams_.push_back(stream);
  if (first) {
    build_template(stream);
    poke(std::max(stream.start, free_at_));
  }
}

void WireGenerator::build_template(const FrameStream& stream) {
  in_burst_ = 0;
  if (stream.capture != nullptr) return;
  if (stream.kind == FrameKind::kFragments) return build_datagram(stream);
  std::vector<std::uint8_t> payload(stream.payload_bytes, 0);
  for (std::size_t i = kStamp; i < payload.size(); ++i) payload[i] = static_cast<std::uint8_t>(i * 7 + 1);
  switch (stream.kind) {
    case FrameKind::kUdp:
      template_ = nic::build_udp_frame(stream.flow, 0, payload);
      break;
    case FrameKind::kFirstFragment:
      template_ = nic::build_first_fragment(stream.flow, 0, payload);
      break;
    case FrameKind::kFirstFragment6:
      template_ = nic::build_first_fragment6(stream.flow, 0, payload);
      break;
    case FrameKind::kTcp: {
      const std::uint8_t flags = nic::kTcpAck | (stream.tcp_push ? nic::kTcpPsh : 0);
      template_ = nic::build_tcp_frame(stream.flow, 0, 0, flags, payload);
      break;
    }
    case FrameKind::kFragments:
      return;
  }
  const auto packet = nic::parse_ip(template_);
  POOLSIM_ASSERT(packet.has_value());
  const std::size_t header = stream.kind == FrameKind::kTcp ? packet->tcp_header_bytes : nic::kUdpHeaderBytes;
  data_ = packet->payload_offset + header;
  filler_bytes_ = packet->payload_bytes - header - kStamp;
  if (stream.kind == FrameKind::kFirstFragment6) return;
  put16(&template_[kIp + 10], 0);
  ip_sum_ = sum16(&template_[kIp], nic::kIpv4HeaderBytes);
  // The checksum of the template covers everything but the stamp and the sequence number, which are zero in
  // it.
  const std::size_t check = stream.kind == FrameKind::kTcp ? kTcpChecksum : kUdpChecksum;
  transport_sum_ = static_cast<std::uint16_t>(~(template_[check] << 8 | template_[check + 1]));
}

/// The headers are those of any fragment but for identification, offset and checksum.
void WireGenerator::build_datagram(const FrameStream& stream) {
  const std::size_t bytes = fragment_bytes(stream);
  std::vector<std::uint8_t> data(stream.fragments * bytes - nic::kUdpHeaderBytes, 0);
  for (std::size_t i = kStamp; i < data.size(); ++i) data[i] = static_cast<std::uint8_t>(i * 7 + i / 251);
  const auto whole = nic::build_udp_frame(stream.flow, 0, data);
  template_.assign(whole.begin(), whole.begin() + kTransport);
  put16(&template_[kIp + 2], static_cast<std::uint16_t>(nic::kIpv4HeaderBytes + bytes));
  put16(&template_[kIp + 10], 0);
  ip_sum_ = sum16(&template_[kIp], nic::kIpv4HeaderBytes) - sum16(&template_[kIp + 6], 2);
  datagram_.assign(whole.begin() + kTransport, whole.end());
  transport_sum_ = static_cast<std::uint16_t>(~(datagram_[6] << 8 | datagram_[7]));
  next_of_flow_.assign(stream.flows, {});
  datagrams_left_ = stream.count / stream.fragments;
  late_.reset();
}

/// Of a flow chosen at random: of its datagram, or of its next one as long as there are some.
WireGenerator::Fragment WireGenerator::next_fragment(const FrameStream& stream) {
  std::size_t flow = stream.flows == 1 ? 0 : mix_.below(stream.flows);
  while (datagrams_left_ == 0 && next_of_flow_[flow].index == 0) flow = (flow + 1) % stream.flows;
  Fragment& f = next_of_flow_[flow];
  if (f.index == 0) {
    --datagrams_left_;
    f.src_port = static_cast<std::uint16_t>(stream.flow.src_port + flow);
    f.sequence = sequence_++;
    constexpr std::size_t kFiller = nic::kUdpHeaderBytes + kStamp;
    f.hash = sim::hash64(&datagram_[kFiller], datagram_.size() - kFiller, f.sequence);
    const std::uint64_t stamp[2] = {f.sequence, f.hash};
    const std::uint16_t check = finish(transport_sum_ + static_cast<std::uint32_t>(flow) + stamp_sum(stamp));
    f.checksum = check == 0 ? 0xffff : check;
  }
  const Fragment due = f;
  f.index = static_cast<std::uint16_t>((f.index + 1u) % stream.fragments);
  return due;
}

std::size_t WireGenerator::send_fragment(FrameStream& stream) {
  Fragment fragment;
  if (late_) {
    fragment = *late_;
    late_.reset();
  } else {
    fragment = next_fragment(stream);
    if (stream.count > 1 && one_in(stream.reordered_ppm)) {
      late_ = fragment;
      fragment = next_fragment(stream);
    }
  }
  const std::size_t bytes = fragment_bytes(stream), frame = std::max(kTransport + bytes, nic::kMinFrameBytes);
  if (one_in(stream.lost_ppm)) return frame;
  sim::Transaction* t = sim_.payloads().acquire(tlm::TLM_WRITE_COMMAND, 0, frame);
  std::uint8_t* f = t->bytes().data();
  std::memcpy(f, template_.data(), kTransport);
  std::memcpy(f + kTransport, &datagram_[fragment.index * bytes], bytes);
  std::fill(f + kTransport + bytes, f + frame, std::uint8_t{0});
  constexpr std::uint32_t kMoreFragments = 0x2000;
  const auto id = static_cast<std::uint16_t>(fragment.sequence);
  const bool last = fragment.index + 1u == stream.fragments;
  const auto offset = static_cast<std::uint16_t>(fragment.index * bytes / 8 | (last ? 0 : kMoreFragments));
  put16(f + kIp + 4, id);
  put16(f + kIp + 6, offset);
  put16(f + kIp + 10, finish(ip_sum_ + id + offset));
  if (fragment.index == 0) {
    put16(f + kUdpPort, fragment.src_port);
    put16(f + kUdpChecksum, fragment.checksum);
    const std::uint64_t stamp[2] = {fragment.sequence, fragment.hash};
    std::memcpy(f + kTransport + nic::kUdpHeaderBytes, stamp, kStamp);
  }
  hand_over(*t);
  return frame;
}

/// Sends the stream's next frame; its length.
std::size_t WireGenerator::send_next(FrameStream& stream) {
  if (stream.capture != nullptr) {
    const auto& bytes = (*stream.capture)[stream.capture->size() - stream.count].bytes;
    sim::Transaction* captured = sim_.payloads().acquire(tlm::TLM_WRITE_COMMAND, 0, bytes.size());
    std::memcpy(captured->get_data_ptr(), bytes.data(), bytes.size());
    hand_over(*captured);
    return bytes.size();
  }
  if (stream.kind == FrameKind::kFragments) return send_fragment(stream);
  sim::Transaction* t = sim_.payloads().acquire(tlm::TLM_WRITE_COMMAND, 0, template_.size());
  std::uint8_t* f = t->bytes().data();
  std::memcpy(f, template_.data(), template_.size());
  const std::uint64_t stamp[2] = {sequence_, sim::hash64(f + data_ + kStamp, filler_bytes_, sequence_)};
  std::memcpy(f + data_, stamp, kStamp);
  const auto ip_id = static_cast<std::uint16_t>(sequence_);
  if (stream.kind == FrameKind::kFirstFragment6) {
    put32(f + kFragmentId6, static_cast<std::uint32_t>(sequence_));
  } else {
    put16(f + kIp + 4, ip_id);
    put16(f + kIp + 10, finish(ip_sum_ + ip_id));
  }
  if (stream.kind == FrameKind::kUdp) {
    std::uint32_t flow = 0;
    if (stream.flows > 1) {
      flow = static_cast<std::uint32_t>(mix_.below(stream.flows));
      put16(f + kUdpPort, static_cast<std::uint16_t>(stream.flow.src_port + flow));
    }
    const std::uint16_t check = finish(transport_sum_ + flow + stamp_sum(stamp));
    put16(f + kUdpChecksum, check == 0 ? 0xffff : check);
  } else if (stream.kind == FrameKind::kTcp) {
    put32(f + kTcpSequence, stream.tcp_seq);
    put16(f + kTcpChecksum, finish(transport_sum_ + stamp_sum(stamp) + sum16(f + kTcpSequence, 4)));
    stream.tcp_seq += static_cast<std::uint32_t>(stream.payload_bytes);
  }
  ++sequence_;
  hand_over(*t);
  return template_.size();
}

void WireGenerator::hand_over(sim::Transaction& t) {
  sent_probe_.set(++frames_sent_);
  tlm::tlm_phase phase = tlm::BEGIN_REQ;
  sc_core::sc_time delay = timeline().outgoing_delay();
  const auto status = wire->nb_transport_fw(t, phase, delay);
  if (status == tlm::TLM_COMPLETED) {
    t.release();
  } else if (status == tlm::TLM_ACCEPTED) {
    held_back_ = true;
  }
}

tlm::tlm_sync_enum WireGenerator::nb_transport_bw(tlm::tlm_generic_payload& payload, tlm::tlm_phase& phase,
                                                  sc_core::sc_time& delay) {
  if (phase == tlm::END_REQ) {
    held_back_ = false;
    poke(timeline().incoming(delay));
    return tlm::TLM_ACCEPTED;
  }
  payload.release();  // BEGIN_RESP: the frame was taken
  return tlm::TLM_COMPLETED;
}

/// Start of the frame after the one that was due at `due`; the line is free from free_at_ on.
sim::Tick WireGenerator::next_start(FrameStream& s, sim::Tick due) {
  if (s.capture != nullptr && s.recorded_times) {
    const std::size_t sent = s.capture->size() - s.count;
    if (sent + 1 == s.capture->size()) return free_at_;
    const sim::Tick now = (*s.capture)[sent].time, next = (*s.capture)[sent + 1].time;
    return due + (next > now ? next - now : 0);  // captures of several sources are not always in order
  }
  if (s.interval == 0) return free_at_;
  switch (s.arrivals) {
    case Arrivals::kConstant:
      break;
    case Arrivals::kPoisson:
      return due + static_cast<sim::Tick>(-std::log1p(-gaps_.unit()) * static_cast<double>(s.interval));
    case Arrivals::kBursts:
      if (in_burst_ == 0) burst_start_ = due;
      if (++in_burst_ < s.burst) return free_at_;
      in_burst_ = 0;
      return std::max(free_at_, burst_start_ + s.burst * s.interval);
  }
  return std::max(free_at_, due + s.interval);
}

sim::Wakeup WireGenerator::tick(sim::Cycle now) {
  if (streams_.empty() || held_back_) return sim::Wakeup::never();
  const sim::Tick t = clock().edge(now);
  FrameStream& s = streams_.front();
  const sim::Tick due = std::max(s.start, free_at_);
  if (due > t) return sim::Wakeup::at(clock().at_or_after(due));
  const std::size_t bytes = send_next(s);
  // Line rate is kept on the exact grid of frame times, not on the edges of this module's clock - unless the
  // receiver held us back.
  free_at_ = (t - due < clock().edge(1) ? due : t) + frame_time(bytes);
  s.start = next_start(s, due);
  if (--s.count == 0) {
    streams_.pop_front();
    if (streams_.empty()) return sim::Wakeup::never();
    build_template(streams_.front());
  }
  return sim::Wakeup::at(clock().at_or_after(std::max(streams_.front().start, free_at_)));
}

}  // namespace platform
