// SPDX-License-Identifier: Apache-2.0
// Ethernet, IPv4, IPv6, UDP and TCP as bytes on the wire: building frames for the generator and parsing what
// the NIC stored. Network byte order throughout. Frames carry no FCS. Sources: RFC 791 (IPv4, fragmentation),
// RFC 8200 (IPv6, fragment header), RFC 768 (UDP), RFC 9293 (TCP).
#pragma once
#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace nic {

using MacAddress = std::array<std::uint8_t, 6>;

inline constexpr std::uint16_t kEtherTypeIpv4 = 0x0800;
inline constexpr std::uint16_t kEtherTypeIpv6 = 0x86DD;
inline constexpr std::uint8_t kProtocolTcp = 6;
inline constexpr std::uint8_t kProtocolUdp = 17;
inline constexpr std::uint8_t kIpv6FragmentHeader = 44;
inline constexpr std::size_t kEthernetHeaderBytes = 14;
inline constexpr std::size_t kIpv4HeaderBytes = 20;
inline constexpr std::size_t kIpv6HeaderBytes = 40;
inline constexpr std::size_t kIpv6FragmentBytes = 8;
inline constexpr std::size_t kUdpHeaderBytes = 8;
inline constexpr std::size_t kTcpHeaderBytes = 20;
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

/// The first fragment (offset 0, More Fragments set) of a longer UDP datagram; `payload` is cut so that the
/// IPv4 payload is a multiple of 8 bytes, as the offset field requires.
std::vector<std::uint8_t> build_first_fragment(const Ipv4Flow& flow, std::uint16_t ip_id,
                                               std::span<const std::uint8_t> payload);

/// The first fragment of a longer UDP datagram over IPv6 (fragment header, M set), cut like its IPv4 sister.
/// The addresses are those of the flow, mapped (::ffff:a.b.c.d).
std::vector<std::uint8_t> build_first_fragment6(const Ipv4Flow& flow, std::uint32_t id,
                                                std::span<const std::uint8_t> payload);

/// A TCP segment (ACK and PSH as given, window 0xffff, no options) with valid checksums.
std::vector<std::uint8_t> build_tcp_frame(const Ipv4Flow& flow, std::uint16_t ip_id, std::uint32_t seq,
                                          std::uint8_t flags, std::span<const std::uint8_t> payload);

/// TCP header flags.
enum TcpFlags : std::uint8_t { kTcpFin = 1, kTcpSyn = 2, kTcpRst = 4, kTcpPsh = 8, kTcpAck = 16 };

using IpAddress = std::array<std::uint8_t, 16>;  ///< IPv4 addresses are mapped: ::ffff:a.b.c.d

/// What a receiver learns from the headers of a frame.
struct IpPacket {
  std::uint32_t src_ip, dst_ip;  ///< IPv4; 0 for IPv6
  IpAddress src{}, dst{};
  std::uint8_t version;           ///< 4 or 6
  std::uint32_t id;               ///< IPv4: 16 bits; IPv6: of the fragment header, 0 without one
  std::uint16_t fragment_offset;  ///< in bytes
  bool more_fragments;
  std::uint8_t protocol;
  std::uint16_t src_port, dst_port;  ///< 0 unless offset 0 and UDP or TCP
  std::size_t payload_offset;        ///< of the transport header from the start of the frame
  std::size_t payload_bytes;         ///< transport header and data, by the IP length
  std::uint32_t tcp_seq = 0;
  std::uint8_t tcp_flags = 0;
  std::uint8_t tcp_header_bytes = 0;  ///< 0 unless TCP
  bool is_fragment() const { return more_fragments || fragment_offset != 0; }
};
using Ipv4Packet = IpPacket;

/// Parses an untrusted frame; nothing on anything malformed (lengths, version, header checksum, other
/// protocols).
std::optional<IpPacket> parse_ip(std::span<const std::uint8_t> frame);
/// The same for IPv4 only.
std::optional<Ipv4Packet> parse_ipv4(std::span<const std::uint8_t> frame);

/// RFC 1071 sum over 16-bit big-endian words, folded and complemented.
std::uint16_t internet_checksum(std::span<const std::uint8_t> bytes, std::uint32_t seed = 0);

}  // namespace nic
