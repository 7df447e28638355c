// SPDX-License-Identifier: Apache-2.0
#include "nic/device/frame.h"

#include <array>
#include <cstring>

namespace nic {
namespace {

constexpr std::uint16_t kEthIpv4 = 0x0800, kEthIpv6 = 0x86DD;
constexpr std::uint16_t kNfsPort = 2049;
constexpr std::uint8_t kProtoTcp = 6, kProtoUdp = 17, kProtoEsp = 50, kProtoAh = 51, kProtoSctp = 132;

constexpr std::array<std::uint32_t, 256> crc_table(std::uint32_t polynomial) {
  std::array<std::uint32_t, 256> t{};
  for (std::uint32_t i = 0; i < 256; ++i) {
    std::uint32_t c = i;
    for (int k = 0; k < 8; ++k) c = (c & 1) != 0 ? polynomial ^ (c >> 1) : c >> 1;
    t[i] = c;
  }
  return t;
}
constexpr auto kEthernetCrc = crc_table(0xEDB88320);
constexpr auto kCastagnoli = crc_table(0x82F63B78);

/// NFS by its port: write requests go to it, read replies come from it; RFCTL may switch off either.
void recognise_nfs(const std::uint8_t* l4, FrameInfo& info, std::uint32_t rfctl_reg) {
  const bool request = load_be16(l4 + 2) == kNfsPort && (rfctl_reg & rfctl::NFSW_DIS) == 0;
  const bool reply = load_be16(l4) == kNfsPort && (rfctl_reg & rfctl::NFSR_DIS) == 0;
  if (request || reply) info.packet_type |= rxd::NFS;
}

void parse_l4(std::span<const std::uint8_t> frame, FrameInfo& info, std::uint8_t protocol,
              std::uint32_t rfctl_reg) {
  const std::size_t left = frame.size() - info.l4_offset;
  switch (protocol) {
    case kProtoTcp: {
      info.l4 = L4::kTcp;
      info.packet_type |= rxd::TCP;
      if (left < 20) return;
      const unsigned header = (frame[info.l4_offset + 12] >> 4) * 4u;
      if (header >= 20 && header <= left) info.l4_header_bytes = static_cast<std::uint16_t>(header);
      recognise_nfs(&frame[info.l4_offset], info, rfctl_reg);
      return;
    }
    case kProtoUdp:
      info.l4 = L4::kUdp;
      info.packet_type |= rxd::UDP;
      if (left < 8) return;
      info.l4_header_bytes = 8;
      recognise_nfs(&frame[info.l4_offset], info, rfctl_reg);
      return;
    case kProtoSctp:
      info.l4 = L4::kSctp;
      info.packet_type |= rxd::SCTP;
      return;
    case kProtoEsp:
      info.packet_type |= rxd::ESP;
      break;
    case kProtoAh:
      info.packet_type |= rxd::AH;
      break;
    default:
      break;
  }
  info.l4 = L4::kOther;
}

void parse_ipv4(std::span<const std::uint8_t> frame, FrameInfo& info, std::uint32_t rfctl_reg) {
  const std::size_t left = frame.size() - info.l3_offset;
  const std::uint8_t* ip = frame.data() + info.l3_offset;
  if (left < 20 || ip[0] >> 4 != 4) return;
  const unsigned header = (ip[0] & 0xF) * 4u;
  if (header < 20 || header > left) return;
  info.ipv4 = true;
  info.packet_type |= rxd::IPV4;
  if (header > 20) info.packet_type |= rxd::IPV4_OPTIONS;
  info.l4_offset = static_cast<std::uint16_t>(info.l3_offset + header);
  info.ip_identification = load_be16(ip + 4);
  const unsigned total = load_be16(ip + 2);
  if (total >= header && total <= left) info.l4_bytes = total - header;
  info.fragment = (load_be16(ip + 6) & 0x3FFF) != 0;  // more fragments, or an offset
  if (!info.fragment) parse_l4(frame, info, ip[9], rfctl_reg);
}

/// Addresses that stand in for those of the IPv6 header: a home address option (RFC 6275, option 201 of a
/// destination options header), and that of a type 2 routing header. `at`: the extension header in the
/// packet.
void note_mobility(const std::uint8_t* ip, std::size_t at, std::size_t length, std::uint8_t kind,
                   FrameInfo& info) {
  constexpr std::uint8_t kRouting = 43, kDestinationOptions = 60, kHomeAddress = 201, kPad1 = 0;
  if (kind == kRouting && length >= 24 && ip[at + 2] == 2) {
    info.routing_address = static_cast<std::uint16_t>(info.l3_offset + at + 8);
  }
  if (kind != kDestinationOptions) return;
  for (std::size_t o = at + 2; o + 2 <= at + length;) {
    if (ip[o] == kPad1) {
      ++o;
      continue;
    }
    const std::size_t option = 2u + ip[o + 1];
    if (ip[o] == kHomeAddress && option == 18 && o + option <= at + length) {
      info.home_address = static_cast<std::uint16_t>(info.l3_offset + o + 2);
    }
    o += option;
  }
}

void parse_ipv6(std::span<const std::uint8_t> frame, FrameInfo& info, std::uint32_t rfctl_reg) {
  const std::size_t left = frame.size() - info.l3_offset;
  const std::uint8_t* ip = frame.data() + info.l3_offset;
  if (left < 40 || ip[0] >> 4 != 6) return;
  info.ipv6 = true;
  info.packet_type |= rxd::IPV6;
  const unsigned payload = load_be16(ip + 4);
  std::size_t at = 40;  // within the packet
  std::uint8_t next = ip[6];
  // Hop-by-hop, routing, fragment, destination options. Stops at the first header it cannot read completely.
  const bool extensions = (rfctl_reg & rfctl::IPV6_EX_DIS) == 0;
  while (extensions && (next == 0 || next == 43 || next == 44 || next == 60)) {
    if (at + 8 > left) break;
    const std::size_t length = next == 44 ? 8 : (ip[at + 1] + 1u) * 8u;
    if (at + length > left) break;
    info.packet_type |= rxd::IPV6_EXT;
    info.ipv6_extension = true;
    if ((rfctl_reg & rfctl::NEW_IPV6_EXT_DIS) == 0) note_mobility(ip, at, length, next, info);
    if (next == 44) info.fragment = info.fragment || (load_be16(ip + at + 2) & 0xFFF9) != 0;
    next = ip[at];
    at += length;
  }
  info.l4_offset = static_cast<std::uint16_t>(info.l3_offset + at);
  if (payload + 40u >= at && payload + 40u <= left)
    info.l4_bytes = static_cast<std::uint32_t>(payload + 40u - at);
  if (!info.fragment) parse_l4(frame, info, next, rfctl_reg);
}

std::uint8_t l4_protocol(const FrameInfo& info) {
  return info.l4 == L4::kTcp ? kProtoTcp : info.l4 == L4::kUdp ? kProtoUdp : kProtoSctp;
}

}  // namespace

FrameInfo parse_frame(std::span<const std::uint8_t> frame, const ParseOptions& options) {
  FrameInfo info;
  if (frame.size() < 14) return info;
  std::size_t at = 12;
  info.ethertype = load_be16(frame.data() + at);
  if (options.double_vlan && info.ethertype == options.vet >> 16 && frame.size() >= 18) {
    info.outer_tagged = true;
    at = 16;
    info.ethertype = load_be16(frame.data() + at);
  }
  if (info.ethertype == (options.vet & 0xFFFF) && frame.size() >= at + 6) {
    info.tagged = true;
    info.tag_offset = static_cast<std::uint8_t>(at);
    info.vlan_tci = load_be16(frame.data() + at + 2);
    at += 4;
    info.ethertype = load_be16(frame.data() + at);
  }
  info.l3_offset = static_cast<std::uint16_t>(at + 2);
  if (info.ethertype == kEthIpv4) parse_ipv4(frame, info, options.rfctl);
  if (info.ethertype == kEthIpv6 && (options.rfctl & rfctl::IPV6_DIS) == 0) {
    parse_ipv6(frame, info, options.rfctl);
  }
  return info;
}

namespace {

inline void add_with_carry(std::uint64_t& sum, const std::uint8_t* p) {
  std::uint64_t v;
  std::memcpy(&v, p, 8);
  sum += v;
  if (sum < v) ++sum;
}

/// Ones' complement sum in memory order, 8 bytes at a time with end-around carry: 35 bits at most, to be
/// folded.
inline std::uint64_t memory_sum(std::span<const std::uint8_t> bytes) {
  std::uint64_t sum = 0;
  const std::uint8_t* p = bytes.data();
  std::size_t n = bytes.size();
  for (; n >= 32; n -= 32, p += 32) {
    for (int i = 0; i < 32; i += 8) add_with_carry(sum, p + i);
  }
  for (; n >= 8; n -= 8, p += 8) add_with_carry(sum, p);
  sum = (sum & 0xFFFFFFFF) + (sum >> 32);
  if (n >= 4) {
    std::uint32_t v;
    std::memcpy(&v, p, 4);
    sum += v;
    p += 4;
    n -= 4;
  }
  if (n >= 2) {
    std::uint16_t v;
    std::memcpy(&v, p, 2);
    sum += v;
    p += 2;
    n -= 2;
  }
  if (n == 1) sum += *p;
  return sum;
}

/// To 16 bits, of a memory_sum().
inline std::uint16_t fold(std::uint64_t sum) {
  sum = (sum & 0xFFFFFFFF) + (sum >> 32);
  sum = (sum & 0xFFFF) + (sum >> 16 & 0xFFFF) + (sum >> 32);
  return static_cast<std::uint16_t>((sum & 0xFFFF) + (sum >> 16));
}

/// Whether it would fold to 0xFFFF, which is what a right checksum makes of the sum, in either byte order.
inline bool all_ones(std::uint64_t sum) { return sum != 0 && sum % 0xFFFF == 0; }

/// Of an IP header or the addresses in it: few bytes, a multiple of 4.
inline std::uint64_t header_sum(const std::uint8_t* p, std::size_t bytes) {
  std::uint64_t sum = 0;
  for (const std::uint8_t* end = p + bytes; p != end; p += 4) {
    std::uint32_t v;
    std::memcpy(&v, p, 4);
    sum += v;
  }
  return sum;
}

inline std::uint16_t swap16(std::uint32_t v) {
  return static_cast<std::uint16_t>((v & 0xFF) << 8 | (v >> 8 & 0xFF));
}

/// Whether the checksum of a TCP segment or UDP datagram of `length` bytes is right.
bool l4_checksum_right(std::span<const std::uint8_t> frame, const FrameInfo& info, std::uint32_t length) {
  const std::size_t addresses = info.ipv4 ? 12 : 8, bytes = info.ipv4 ? 8 : 32;
  return all_ones(memory_sum(frame.subspan(info.l4_offset, length)) +
                  header_sum(frame.data() + info.l3_offset + addresses, bytes) + swap16(length >> 16) +
                  swap16(length) + swap16(l4_protocol(info)));
}

}  // namespace

std::uint16_t ones_complement_sum(std::span<const std::uint8_t> bytes, std::uint32_t start) {
  // The byte order is put right at the end.
  std::uint32_t folded = swap16(fold(memory_sum(bytes)));
  folded += start;
  while (folded >> 16 != 0) folded = (folded & 0xFFFF) + (folded >> 16);
  return static_cast<std::uint16_t>(folded);
}

std::uint32_t pseudo_header_sum(std::span<const std::uint8_t> frame, const FrameInfo& info,
                                std::uint32_t length, std::uint8_t protocol) {
  const std::size_t addresses = info.ipv4 ? 12 : 8, bytes = info.ipv4 ? 8 : 32;
  return ones_complement_sum(frame.subspan(info.l3_offset + addresses, bytes),
                             (length >> 16) + (length & 0xFFFF) + protocol);
}

std::uint32_t verify_checksums(std::span<const std::uint8_t> frame, const FrameInfo& info,
                               std::uint32_t rxcsum_reg, std::uint32_t rfctl_reg) {
  std::uint32_t status = 0;
  if (info.ipv4 && (rxcsum_reg & rxcsum::IPOFLD) != 0) {
    status |= rxd::IPCS;
    const std::size_t header = static_cast<std::size_t>(info.l4_offset - info.l3_offset);
    if (!all_ones(header_sum(frame.data() + info.l3_offset, header))) status |= rxd::IPE;
  }
  if (info.l4_bytes == 0 || (info.ipv6 && (rfctl_reg & rfctl::IPV6_XSUM_DIS) != 0)) return status;
  std::uint32_t length = info.l4_bytes;
  switch (info.l4) {
    case L4::kTcp:
      if ((rxcsum_reg & rxcsum::TUOFLD) == 0 || length < 20) return status;
      status |= rxd::L4I;
      break;
    case L4::kUdp: {
      if ((rxcsum_reg & rxcsum::TUOFLD) == 0 || length < 8) return status;
      const std::uint32_t stated = load_be16(frame.data() + info.l4_offset + 4);
      const bool unused = load_be16(frame.data() + info.l4_offset + 6) == 0;
      if (unused || stated < 8 || stated > length) return status;
      length = stated;
      status |= rxd::L4I | rxd::UDPCS;
      break;
    }
    case L4::kSctp: {
      if ((rxcsum_reg & rxcsum::CRCOFL) == 0 || length < 12) return status;
      status |= rxd::L4I;
      const auto packet = frame.subspan(info.l4_offset, length);
      constexpr std::uint8_t kZero[4] = {};
      std::uint32_t crc = crc32c(~0u, packet.first(8));
      crc = crc32c(crc, kZero);
      crc = ~crc32c(crc, packet.subspan(12));
      const std::uint8_t* c = packet.data() + 8;
      const std::uint32_t stored = c[0] | c[1] << 8 | c[2] << 16 | static_cast<std::uint32_t>(c[3]) << 24;
      return crc == stored ? status : status | rxd::L4E;
    }
    default:
      return status;
  }
  return l4_checksum_right(frame, info, length) ? status : status | rxd::L4E;
}

PacketChecksum packet_checksum(std::span<const std::uint8_t> frame, const FrameInfo& info,
                               std::uint32_t rxcsum_reg) {
  if ((rxcsum_reg & rxcsum::IPPCSE) == 0) {
    const std::size_t start = rxcsum_reg & 0xFF;
    return {start < frame.size() ? ones_complement_sum(frame.subspan(start)) : std::uint16_t{0}, false};
  }
  const bool udp_fragment = info.ipv4 && info.fragment && frame[info.l3_offset + 9u] == kProtoUdp;
  if (!udp_fragment || info.l4_bytes == 0) return {};
  const auto payload = frame.subspan(info.l4_offset, info.l4_bytes);
  const bool first = (load_be16(frame.data() + info.l3_offset + 6) & 0x1FFF) == 0;
  return {ones_complement_sum(payload), first && payload.size() >= 8 && load_be16(payload.data() + 6) != 0};
}

std::uint32_t ethernet_fcs(std::span<const std::uint8_t> frame) {
  std::uint32_t crc = ~0u;
  for (std::uint8_t b : frame) crc = kEthernetCrc[(crc ^ b) & 0xFF] ^ (crc >> 8);
  return ~crc;
}

std::uint32_t crc32c(std::uint32_t crc, std::span<const std::uint8_t> bytes) {
  for (std::uint8_t b : bytes) crc = kCastagnoli[(crc ^ b) & 0xFF] ^ (crc >> 8);
  return crc;
}

}  // namespace nic
