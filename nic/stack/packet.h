// SPDX-License-Identifier: Apache-2.0
// Ethernet, IPv4 and UDP as bytes on the wire: building frames for the generator and parsing what the NIC stored.
// Network byte order throughout. Frames carry no FCS. Sources: RFC 791 (IPv4, fragmentation), RFC 768 (UDP).
#pragma once
#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace nic {

using MacAddress = std::array<std::uint8_t, 6>;

inline constexpr std::uint16_t kEtherTypeIpv4 = 0x0800;
inline constexpr std::uint8_t kProtocolUdp = 17;
inline constexpr std::size_t kEthernetHeaderBytes = 14;
inline constexpr std::size_t kIpv4HeaderBytes = 20;
inline constexpr std::size_t kUdpHeaderBytes = 8;
/// Shortest frame without FCS; shorter payloads are padded.
inline constexpr std::size_t kMinFrameBytes = 60;

struct Ipv4Flow {
  MacAddress dst_mac{}, src_mac{};
  std::uint32_t src_ip = 0, dst_ip = 0;
  std::uint16_t src_port = 0, dst_port = 0;
};

/// A UDP datagram that fits one frame: 42 bytes of headers and `payload`.
std::vector<std::uint8_t> build_udp_frame(const Ipv4Flow& flow, std::uint16_t ip_id,
                                          std::span<const std::uint8_t> payload);

/// The first fragment (offset 0, More Fragments set) of a longer UDP datagram; `payload` is cut so that the IPv4
/// payload is a multiple of 8 bytes, as the offset field requires.
std::vector<std::uint8_t> build_first_fragment(const Ipv4Flow& flow, std::uint16_t ip_id,
                                               std::span<const std::uint8_t> payload);

/// What a receiver learns from the first bytes of a frame.
struct Ipv4Packet {
  std::uint32_t src_ip, dst_ip;
  std::uint16_t id;
  std::uint16_t fragment_offset;  ///< in bytes
  bool more_fragments;
  std::uint8_t protocol;
  std::uint16_t src_port, dst_port;  ///< 0 unless offset 0 and UDP
  std::size_t payload_offset;        ///< of the transport header from the start of the frame
  std::size_t payload_bytes;         ///< transport header and data, by the IPv4 total length
  bool is_fragment() const { return more_fragments || fragment_offset != 0; }
};

/// Parses an untrusted frame; nothing on anything malformed (lengths, version, header checksum, non-IPv4).
std::optional<Ipv4Packet> parse_ipv4(std::span<const std::uint8_t> frame);

/// RFC 1071 sum over 16-bit big-endian words, folded and complemented.
std::uint16_t internet_checksum(std::span<const std::uint8_t> bytes, std::uint32_t seed = 0);

}  // namespace nic
