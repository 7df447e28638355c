// SPDX-License-Identifier: Apache-2.0
// What the receive parser sees in an Ethernet frame: layers, header lengths, packet type of the descriptor,
// and the verified checksums. Reads nothing outside the bytes it is given, whatever they claim. Source: 82576
// datasheet 7.1.5 (packet type), 7.1.6 (header splitting), 7.1.10 (receive checksum offloading).
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>

#include "nic/device/registers.h"

namespace nic {

constexpr std::uint16_t load_be16(const std::uint8_t* p) {
  return static_cast<std::uint16_t>(p[0] << 8 | p[1]);
}
constexpr void store_be16(std::uint8_t* p, std::uint16_t v) {
  p[0] = static_cast<std::uint8_t>(v >> 8);
  p[1] = static_cast<std::uint8_t>(v);
}

enum class L4 : std::uint8_t { kNone, kTcp, kUdp, kSctp, kOther };

struct FrameInfo {
  std::uint16_t ethertype = 0;  ///< after a VLAN tag
  std::uint16_t vlan_tci = 0;   ///< valid if tagged
  bool tagged = false;
  bool outer_tagged = false;     ///< CTRL_EXT.EXT_VLAN: an outer tag lies before the other
  std::uint8_t tag_offset = 12;  ///< of the (inner) tag, if tagged
  bool ipv4 = false;
  bool ipv6 = false;
  bool ipv6_extension = false;
  bool fragment = false;
  L4 l4 = L4::kNone;              ///< kNone for fragments
  std::uint16_t packet_type = 0;  ///< descriptor bits 16:4, without ETQF
  std::uint16_t l3_offset = 0;
  std::uint16_t l4_offset = 0;        ///< 0: no complete IP header
  std::uint16_t l4_header_bytes = 0;  ///< 0: no complete TCP or UDP header
  std::uint16_t ip_identification = 0;
  /// IPv6: home address option and type 2 routing header (offset of the address in the frame, 0 = none),
  /// which the "Ex" hash types use instead of the header's source and destination.
  std::uint16_t home_address = 0, routing_address = 0;
  std::uint32_t l4_bytes = 0;  ///< IP payload by the header's own length, if it lies inside the frame

  /// Length of the headers through L3; 0 if no IP header was recognised.
  std::uint32_t l3_end() const { return l4_offset; }
  std::uint32_t l4_end() const { return l4_header_bytes != 0 ? l4_offset + l4_header_bytes : 0u; }
};

struct ParseOptions {
  std::uint32_t vet = 0x81008100;  ///< VET: 15:0 type of a VLAN tag, 31:16 of an outer tag
  bool double_vlan = false;        ///< CTRL_EXT.EXT_VLAN
  std::uint32_t rfctl = 0;         ///< RFCTL: what not to recognise
};
FrameInfo parse_frame(std::span<const std::uint8_t> frame, const ParseOptions& options = {});

/// Status and error bits (descriptor QW1 31:0) of the checksum offload: IPCS, L4I, UDPCS, IPE, L4E.
std::uint32_t verify_checksums(std::span<const std::uint8_t> frame, const FrameInfo& info,
                               std::uint32_t rxcsum, std::uint32_t rfctl = 0);

/// What a write-back reports with RXCSUM.PCSD = 0: IPPCSE = 0, the sum over the frame from byte PCSS; IPPCSE
/// = 1, the sum over the IP payload of a UDP fragment, whose `udp_valid` says that the first fragment carries
/// a checksum.
struct PacketChecksum {
  std::uint16_t value = 0;
  bool udp_valid = false;
};
PacketChecksum packet_checksum(std::span<const std::uint8_t> frame, const FrameInfo& info,
                               std::uint32_t rxcsum);

/// Ones' complement sum of bytes (RFC 1071), folded to 16 bits, not complemented; `start` in host order.
std::uint16_t ones_complement_sum(std::span<const std::uint8_t> bytes, std::uint32_t start = 0);
/// Sum of the TCP/UDP pseudo header of the packet whose IP header is at `info.l3_offset`.
std::uint32_t pseudo_header_sum(std::span<const std::uint8_t> frame, const FrameInfo& info,
                                std::uint32_t length, std::uint8_t protocol);

/// Ethernet frame check sequence (IEEE 802.3 CRC-32), stored least significant byte first.
std::uint32_t ethernet_fcs(std::span<const std::uint8_t> frame);
/// CRC-32c of SCTP (RFC 4960 appendix B); `crc` chains, start with all ones, complement at the end.
std::uint32_t crc32c(std::uint32_t crc, std::span<const std::uint8_t> bytes);

}  // namespace nic
