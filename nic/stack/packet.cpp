// SPDX-License-Identifier: Apache-2.0
#include "nic/stack/packet.h"

#include <algorithm>

namespace nic {
namespace {

void put16(std::uint8_t* p, std::uint16_t v) {
  p[0] = static_cast<std::uint8_t>(v >> 8);
  p[1] = static_cast<std::uint8_t>(v);
}
void put32(std::uint8_t* p, std::uint32_t v) {
  put16(p, static_cast<std::uint16_t>(v >> 16));
  put16(p + 2, static_cast<std::uint16_t>(v));
}
std::uint16_t get16(const std::uint8_t* p) { return static_cast<std::uint16_t>(p[0] << 8 | p[1]); }
std::uint32_t get32(const std::uint8_t* p) { return std::uint32_t{get16(p)} << 16 | get16(p + 2); }

constexpr std::uint16_t kMoreFragments = 0x2000;

/// `fragment_field` is the IPv4 flags and offset word, `udp_bytes` the length the UDP header announces (that of the
/// whole datagram, also in a first fragment).
std::vector<std::uint8_t> build(const Ipv4Flow& flow, std::uint16_t ip_id, std::uint16_t fragment_field,
                                std::size_t udp_bytes, std::span<const std::uint8_t> payload) {
  const std::size_t ip_bytes = kIpv4HeaderBytes + kUdpHeaderBytes + payload.size();
  std::vector<std::uint8_t> f(std::max(kEthernetHeaderBytes + ip_bytes, kMinFrameBytes), 0);
  std::copy(flow.dst_mac.begin(), flow.dst_mac.end(), f.begin());
  std::copy(flow.src_mac.begin(), flow.src_mac.end(), f.begin() + 6);
  put16(&f[12], kEtherTypeIpv4);

  std::uint8_t* ip = &f[kEthernetHeaderBytes];
  ip[0] = 0x45;
  put16(ip + 2, static_cast<std::uint16_t>(ip_bytes));
  put16(ip + 4, ip_id);
  put16(ip + 6, fragment_field);
  ip[8] = 64;
  ip[9] = kProtocolUdp;
  put32(ip + 12, flow.src_ip);
  put32(ip + 16, flow.dst_ip);
  put16(ip + 10, internet_checksum({ip, kIpv4HeaderBytes}));

  std::uint8_t* udp = ip + kIpv4HeaderBytes;
  put16(udp, flow.src_port);
  put16(udp + 2, flow.dst_port);
  put16(udp + 4, static_cast<std::uint16_t>(udp_bytes));
  std::copy(payload.begin(), payload.end(), udp + kUdpHeaderBytes);
  if (fragment_field == 0) {
    std::uint32_t pseudo = kProtocolUdp + static_cast<std::uint32_t>(udp_bytes);
    for (const std::uint32_t a : {flow.src_ip, flow.dst_ip}) pseudo += (a >> 16) + (a & 0xffff);
    const std::uint16_t sum = internet_checksum({udp, udp_bytes}, pseudo);
    put16(udp + 6, sum == 0 ? 0xffff : sum);  // 0 would mean "no checksum"
  }
  return f;
}

}  // namespace

std::uint16_t internet_checksum(std::span<const std::uint8_t> bytes, std::uint32_t seed) {
  std::uint64_t sum = seed;
  std::size_t i = 0;
  for (; i + 1 < bytes.size(); i += 2) sum += get16(&bytes[i]);
  if (i < bytes.size()) sum += std::uint64_t{bytes[i]} << 8;
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<std::uint16_t>(~sum);
}

std::vector<std::uint8_t> build_udp_frame(const Ipv4Flow& flow, std::uint16_t ip_id,
                                          std::span<const std::uint8_t> payload) {
  return build(flow, ip_id, 0, kUdpHeaderBytes + payload.size(), payload);
}

std::vector<std::uint8_t> build_first_fragment(const Ipv4Flow& flow, std::uint16_t ip_id,
                                               std::span<const std::uint8_t> payload) {
  const std::size_t carried = (kUdpHeaderBytes + payload.size()) / 8 * 8 - kUdpHeaderBytes;
  return build(flow, ip_id, kMoreFragments, kUdpHeaderBytes + 2 * payload.size(), payload.first(carried));
}

std::optional<Ipv4Packet> parse_ipv4(std::span<const std::uint8_t> frame) {
  if (frame.size() < kEthernetHeaderBytes + kIpv4HeaderBytes || get16(&frame[12]) != kEtherTypeIpv4) return {};
  const std::uint8_t* ip = &frame[kEthernetHeaderBytes];
  const std::size_t header = 4u * (ip[0] & 0xf);
  const std::size_t total = get16(ip + 2);
  if (ip[0] >> 4 != 4 || header < kIpv4HeaderBytes || total < header) return {};
  if (kEthernetHeaderBytes + total > frame.size()) return {};
  if (internet_checksum({ip, header}) != 0) return {};

  Ipv4Packet p{};
  p.src_ip = get32(ip + 12);
  p.dst_ip = get32(ip + 16);
  p.id = get16(ip + 4);
  const std::uint16_t field = get16(ip + 6);
  p.more_fragments = (field & kMoreFragments) != 0;
  p.fragment_offset = static_cast<std::uint16_t>((field & 0x1fff) * 8);
  p.protocol = ip[9];
  p.payload_offset = kEthernetHeaderBytes + header;
  p.payload_bytes = total - header;
  if (p.protocol == kProtocolUdp && p.fragment_offset == 0) {
    if (p.payload_bytes < kUdpHeaderBytes) return {};
    p.src_port = get16(&frame[p.payload_offset]);
    p.dst_port = get16(&frame[p.payload_offset + 2]);
  }
  return p;
}

}  // namespace nic
