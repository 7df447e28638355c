// SPDX-License-Identifier: Apache-2.0
// The far end of the cable: sends Ethernet frames to the NIC at line rate or slower.
//
// Every payload can be verified end to end: 8 bytes of sequence number, 8 bytes of hash over the rest seeded
// with that number, then filler (verify_payload). Units: bytes without FCS; a frame occupies its bytes + 24
// (preamble 8, FCS 4, gap 12) on the wire. A receiver that answers TLM_ACCEPTED holds the sender back until
// its END_REQ.
#pragma once
#include <deque>
#include <memory>
#include <optional>
#include <vector>

#include "nic/stack/packet.h"
#include "sim/simulation.h"

namespace platform {

enum class FrameKind : std::uint8_t {
  kUdp,             ///< datagrams over IPv4
  kFirstFragment,   ///< first fragments of IPv4 datagrams, each of another datagram
  kFirstFragment6,  ///< the same over IPv6
  kTcp,             ///< segments of one connection, in sequence
  kFragments        ///< whole datagrams over IPv4, each in several fragments; some may get lost or overtaken
};

/// When the frames of a stream start.
enum class Arrivals : std::uint8_t {
  kConstant,  ///< every `interval`
  kPoisson,   ///< at random, `interval` on the average (exponential gaps; never closer than the line allows)
  kBursts     ///< `burst` frames back to back, then a pause; `interval` on the average
};

/// A frame of a capture and when it arrived, relative to any origin.
struct CapturedFrame {
  sim::Tick time = 0;
  std::vector<std::uint8_t> bytes;
};

/// `count` frames of one kind, back to back or every `interval`.
struct FrameStream {
  FrameKind kind = FrameKind::kUdp;
  nic::Ipv4Flow flow;
  std::uint64_t count = 0;
  std::size_t payload_bytes = 18;  ///< UDP or TCP payload, 16..1472 (TCP and IPv6: 1448; 1500 B MTU)
  sim::Tick start = 0;
  sim::Tick interval = 0;     ///< between starts of frames; 0 = line rate
  std::uint32_t tcp_seq = 0;  ///< kTcp: sequence number of the first byte
  bool tcp_push = false;      ///< kTcp: PSH in every segment: receivers do not wait for more
  Arrivals arrivals = Arrivals::kConstant;
  std::uint32_t burst = 1;  ///< frames of a burst
  /// kUdp, kFragments: so many flows, mixed at random, that differ in their source port (flow.src_port and
  /// following). The fragments of one datagram keep their order; those of datagrams of several flows
  /// interleave.
  std::uint32_t flows = 1;
  /// kFragments: of a datagram; `count` is a multiple of it. Each carries payload_bytes + 8, rounded down to
  /// a multiple of 8, of the datagram, which has at most 65515 B (RFC 791).
  std::uint32_t fragments = 2;
  /// kFragments: shares of the fragments in parts per million. A lost one leaves its place on the line empty;
  /// a reordered one changes places with the one behind it, of whatever datagram.
  std::uint32_t lost_ppm = 0, reordered_ppm = 0;
  /// Instead of made frames: those of a capture, one after the other (count is theirs), with their own timing or,
  /// without `recorded_times`, by `interval` and `arrivals`.
  std::shared_ptr<const std::vector<CapturedFrame>> capture = nullptr;
  bool recorded_times = true;
};

/// True if `payload` (UDP or TCP payload of one of our frames) is what was sent; sets `sequence`.
bool verify_payload(std::span<const std::uint8_t> payload, std::uint64_t* sequence);

class WireGenerator : public sc_core::sc_module, public sim::Clocked, public tlm::tlm_bw_transport_if<> {
 public:
  /// `bits_per_second` is the line rate, the same as the NIC's.
  WireGenerator(sc_core::sc_module_name name, sim::Simulation& sim, std::uint64_t bits_per_second);

  tlm::tlm_initiator_socket<64> wire{"wire"};

  /// Adds a stream. Streams are sent one after the other, in the order given; a start in the past means now.
  void send(FrameStream stream);
  std::uint64_t frames_sent() const { return frames_sent_; }
  bool idle() const { return streams_.empty(); }
  /// Time one frame of `bytes` keeps the wire busy.
  sim::Tick frame_time(std::size_t bytes) const;

 private:
  /// A fragment that is due: which one, of which datagram.
  struct Fragment {
    std::uint64_t sequence = 0;  // of the datagram
    std::uint16_t index = 0, src_port = 0, checksum = 0;
    std::uint64_t hash = 0;  // second word of the stamp
  };

  sim::Wakeup tick(sim::Cycle now) override;
  void build_template(const FrameStream& stream);
  void build_datagram(const FrameStream& stream);
  std::size_t send_next(FrameStream& stream);
  Fragment next_fragment(const FrameStream& stream);
  std::size_t send_fragment(FrameStream& stream);
  bool one_in(std::uint32_t ppm) { return ppm != 0 && fragments_.below(1'000'000) < ppm; }
  void hand_over(sim::Transaction& t);
  sim::Tick next_start(FrameStream& stream, sim::Tick due);

  tlm::tlm_sync_enum nb_transport_bw(tlm::tlm_generic_payload& payload, tlm::tlm_phase& phase,
                                     sc_core::sc_time& delay) override;
  void invalidate_direct_mem_ptr(sc_dt::uint64, sc_dt::uint64) override {}

  sim::Simulation& sim_;
  std::uint64_t rate_;
  std::deque<FrameStream> streams_;
  std::vector<std::uint8_t> template_;       // frame of the stream in front, fields of one packet zero
  std::size_t data_ = 0, filler_bytes_ = 0;  // where the payload begins; how much of it follows the stamp
  std::uint32_t ip_sum_ = 0, transport_sum_ = 0;  // unfolded sums over the template
  sim::Tick free_at_ = 0;                         // when the wire is idle again
  bool held_back_ = false;                        // the receiver's queue is full: wait for END_REQ
  std::uint64_t frames_sent_ = 0;
  std::uint64_t sequence_ = 0;
  std::uint32_t in_burst_ = 0;  // frames of the present burst that have been sent
  sim::Tick burst_start_ = 0;
  sim::RandomStream gaps_, mix_;  // Poisson arrivals; which flow
  sim::RandomStream fragments_;   // which of them are lost or late
  std::vector<std::uint8_t> datagram_;  // kFragments: its IP payload, template_ being the headers before it
  std::vector<Fragment> next_of_flow_;  // index 0: a new datagram is due
  std::uint64_t datagrams_left_ = 0;    // to begin
  std::optional<Fragment> late_;        // goes after the one that overtakes it
  sim::Probe sent_probe_;
};

}  // namespace platform
