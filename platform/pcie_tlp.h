// SPDX-License-Identifier: Apache-2.0
// The byte arithmetic of a PCIe link, generations 1 to 5: what a request costs on the wire. Pure functions.
//
// A transaction may be longer than one TLP: a write is counted as ceil(length / MPS) TLPs, a read as
// ceil(length / MRRS) requests, its data as completions cut at RCB boundaries. No transaction crosses 4 KiB.
// Source: PCIe Base specification (TLP format, read completion boundary, Ack transmission latency limit and
// UpdateFC latency tables); the share of Ack, UpdateFC and SKP traffic follows the published pcie-bench
// model.
#pragma once
#include <cstdint>

#include "platform/pcie_credits.h"
#include "sim/clock.h"

namespace platform {

struct PcieLinkConfig {
  sim::Clock clock = sim::Clock::from_hz(1'000'000'000);
  unsigned generation = 1;                       ///< 1..5; the 82576 is generation 1
  unsigned width = 4;                            ///< lanes: 1, 2, 4, 8, 12, 16, 32
  unsigned max_payload_bytes = 128;              ///< MPS: 128..4096, a power of two
  unsigned max_read_request_bytes = 512;         ///< MRRS: 128..4096, a power of two
  unsigned read_completion_boundary_bytes = 64;  ///< RCB: 64 or 128
  bool split_at_rcb = false;  ///< completions of one RCB each (many root complexes) instead of up to MPS
  bool ecrc = false;          ///< 4 more bytes a TLP
  bool pad_to_dword = false;  ///< count payload in whole DWs; the published model counts bytes
  bool dllp_overhead = true;  ///< take the share of Ack, UpdateFC and SKP from the bandwidth
  sim::Tick latency = 125 * sim::kNanosecond;  ///< one way: PHY, controller and trace, without serialisation
  unsigned tags = 256;                         ///< outstanding read requests of the device: 32, 256, 768
  unsigned transmit_buffer_bytes = 4096;       ///< what a transmitter takes beyond the TLP on the wire
  unsigned receive_buffer_requests = 256;      ///< requests sent and not yet taken by the other side
  CreditLimits root_credits;                   ///< advertised by the root port: what the device may send
  CreditLimits device_credits;                 ///< advertised by the device: what the root port may send
  unsigned update_fc_symbols = 0;              ///< between two UpdateFC DLLPs at least; 0: one for each TLP freed

  /// Throws sim::Error naming the field.
  void validate() const;
};

/// Raw bandwidth after line coding, bits per second.
double raw_bits_per_second(const PcieLinkConfig& link);
/// Ack transmission latency limit = UpdateFC guideline, in symbol times.
unsigned ack_latency_limit(const PcieLinkConfig& link);
/// Bandwidth left for TLPs, bits per second.
double tlp_bits_per_second(const PcieLinkConfig& link);

/// Time of an Ack, Nak or UpdateFC DLLP on the wire (8 bytes at the raw rate).
sim::Tick dllp_time(const PcieLinkConfig& link);
/// Time of one symbol (8 bits a lane).
sim::Tick symbol_time(const PcieLinkConfig& link);

/// Data link and physical framing of a TLP (STP, sequence number, LCRC, END).
inline constexpr unsigned kFramingBytes = 8;
inline constexpr unsigned kHeader3Dw = 12;
inline constexpr unsigned kHeader4Dw = 16;

/// Memory header: 3 DW below 4 GiB, else 4 DW; plus a PASID prefix if asked.
constexpr unsigned memory_header_bytes(std::uint64_t address, bool pasid_prefix) {
  return (address >> 32 != 0 ? kHeader4Dw : kHeader3Dw) + (pasid_prefix ? 4u : 0u);
}

/// Number of MRd TLPs (= tags) of a read.
constexpr unsigned read_request_tlps(const PcieLinkConfig& link, std::uint64_t length) {
  return static_cast<unsigned>((length + link.max_read_request_bytes - 1) / link.max_read_request_bytes);
}
/// Payload of the first completion of `length` bytes at `address`, within one read request.
unsigned first_completion_bytes(const PcieLinkConfig& link, std::uint64_t address, std::uint64_t length);
/// Number of CplD TLPs that carry the data of a read.
unsigned completion_tlps(const PcieLinkConfig& link, std::uint64_t address, std::uint64_t length);

/// Bytes on the wire, all TLPs of the transaction.
std::uint64_t write_wire_bytes(const PcieLinkConfig& link, std::uint64_t address, std::uint64_t length,
                               bool pasid_prefix = false);
std::uint64_t read_request_wire_bytes(const PcieLinkConfig& link, std::uint64_t address, std::uint64_t length,
                                      bool pasid_prefix = false);
std::uint64_t completion_wire_bytes(const PcieLinkConfig& link, std::uint64_t address, std::uint64_t length);
/// A message: 4 DW header, `data_bytes` (ATS Invalidate Request: 8, all others of ATS and PRI: none).
std::uint64_t message_wire_bytes(const PcieLinkConfig& link, std::uint64_t data_bytes, bool pasid_prefix);
/// A configuration request, or a completion without data.
std::uint64_t bare_wire_bytes(const PcieLinkConfig& link, std::uint64_t payload_bytes = 0);

/// One direction of the link: a serialiser that sends in order, and a latency. No events: times are computed.
class TlpWire {
 public:
  explicit TlpWire(const PcieLinkConfig& link);

  /// Sends `bytes` that are ready at `ready`; time at which the last of them has arrived.
  sim::Tick send(sim::Tick ready, std::uint64_t bytes) {
    const sim::Tick start = ready > free_at_ ? ready : free_at_;
    const sim::Tick time = serialisation(bytes);
    free_at_ = start + time;
    busy_ += time;
    bytes_ += bytes;
    return free_at_ + latency_;
  }
  sim::Tick serialisation(std::uint64_t bytes) const { return (bytes * fs_per_byte_q16_) >> 16; }
  sim::Tick latency() const { return latency_; }
  /// When the transmitter has room again for what it buffers.
  sim::Tick room_at() const { return free_at_ > buffer_ ? free_at_ - buffer_ : 0; }

  std::uint64_t bytes() const { return bytes_; }
  sim::Tick busy() const { return busy_; }

 private:
  std::uint64_t fs_per_byte_q16_;
  sim::Tick latency_;
  sim::Tick buffer_;
  sim::Tick free_at_ = 0;
  sim::Tick busy_ = 0;
  std::uint64_t bytes_ = 0;
};

}  // namespace platform
