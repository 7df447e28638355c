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

IpAddress mapped(std::uint32_t ip) {
  IpAddress a{};
  a[10] = a[11] = 0xff;
  put32(&a[12], ip);
  return a;
}

void put_ethernet(std::vector<std::uint8_t>& f, const Ipv4Flow& flow, std::uint16_t type) {
  std::copy(flow.dst_mac.begin(), flow.dst_mac.end(), f.begin());
  std::copy(flow.src_mac.begin(), flow.src_mac.end(), f.begin() + 6);
  put16(&f[12], type);
}

void put_ipv4(std::uint8_t* ip, const Ipv4Flow& flow, std::uint16_t id, std::uint16_t fragment_field,
              std::uint8_t protocol, std::size_t bytes) {
  ip[0] = 0x45;
  put16(ip + 2, static_cast<std::uint16_t>(bytes));
  put16(ip + 4, id);
  put16(ip + 6, fragment_field);
  ip[8] = 64;
  ip[9] = protocol;
  put32(ip + 12, flow.src_ip);
  put32(ip + 16, flow.dst_ip);
  put16(ip + 10, internet_checksum({ip, kIpv4HeaderBytes}));
}

/// Sum over the pseudo header of UDP and TCP, a seed for internet_checksum().
std::uint32_t pseudo_header(const Ipv4Flow& flow, std::uint8_t protocol, std::size_t bytes) {
  std::uint32_t sum = protocol + static_cast<std::uint32_t>(bytes);
  for (const std::uint32_t a : {flow.src_ip, flow.dst_ip}) sum += (a >> 16) + (a & 0xffff);
  return sum;
}

/// `fragment_field` is the IPv4 flags and offset word, `udp_bytes` the length the UDP header announces (that
/// of the whole datagram, also in a first fragment).
std::vector<std::uint8_t> build(const Ipv4Flow& flow, std::uint16_t ip_id, std::uint16_t fragment_field,
                                std::size_t udp_bytes, std::span<const std::uint8_t> payload) {
  const std::size_t ip_bytes = kIpv4HeaderBytes + kUdpHeaderBytes + payload.size();
  std::vector<std::uint8_t> f(std::max(kEthernetHeaderBytes + ip_bytes, kMinFrameBytes), 0);
  put_ethernet(f, flow, kEtherTypeIpv4);
  std::uint8_t* ip = &f[kEthernetHeaderBytes];
  put_ipv4(ip, flow, ip_id, fragment_field, kProtocolUdp, ip_bytes);
  std::uint8_t* udp = ip + kIpv4HeaderBytes;
  put16(udp, flow.src_port);
  put16(udp + 2, flow.dst_port);
  put16(udp + 4, static_cast<std::uint16_t>(udp_bytes));
  std::copy(payload.begin(), payload.end(), udp + kUdpHeaderBytes);
  if (fragment_field == 0) {
    const std::uint16_t sum =
        internet_checksum({udp, udp_bytes}, pseudo_header(flow, kProtocolUdp, udp_bytes));
    put16(udp + 6, sum == 0 ? 0xffff : sum);  // 0 would mean "no checksum"
  }
  return f;
}

}  // namespace

std::uint16_t internet_checksum(std::span<const std::uint8_t> bytes, std::uint32_t seed) {
  std::uint64_t sum = seed;
  std::size_t i = 0;
  // 2^16 is 1 in this arithmetic: two words at once add up to the same.
  for (; i + 4 <= bytes.size(); i += 4) sum += get32(&bytes[i]);
  if (i + 2 <= bytes.size()) sum += get16(&bytes[i]), i += 2;
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

std::vector<std::uint8_t> build_first_fragment6(const Ipv4Flow& flow, std::uint32_t id,
                                                std::span<const std::uint8_t> payload) {
  const std::size_t carried = (kUdpHeaderBytes + payload.size()) / 8 * 8 - kUdpHeaderBytes;
  const std::size_t ip_payload = kIpv6FragmentBytes + kUdpHeaderBytes + carried;
  std::vector<std::uint8_t> f(std::max(kEthernetHeaderBytes + kIpv6HeaderBytes + ip_payload, kMinFrameBytes),
                              0);
  put_ethernet(f, flow, kEtherTypeIpv6);
  std::uint8_t* ip = &f[kEthernetHeaderBytes];
  ip[0] = 0x60;
  put16(ip + 4, static_cast<std::uint16_t>(ip_payload));
  ip[6] = kIpv6FragmentHeader;
  ip[7] = 64;
  const IpAddress src = mapped(flow.src_ip), dst = mapped(flow.dst_ip);
  std::copy(src.begin(), src.end(), ip + 8);
  std::copy(dst.begin(), dst.end(), ip + 24);
  std::uint8_t* fragment = ip + kIpv6HeaderBytes;
  fragment[0] = kProtocolUdp;
  put16(fragment + 2, 1);  // offset 0, M
  put32(fragment + 4, id);
  std::uint8_t* udp = fragment + kIpv6FragmentBytes;
  put16(udp, flow.src_port);
  put16(udp + 2, flow.dst_port);
  put16(udp + 4, static_cast<std::uint16_t>(kUdpHeaderBytes + 2 * payload.size()));
  std::copy_n(payload.begin(), carried, udp + kUdpHeaderBytes);
  return f;
}

std::vector<std::uint8_t> build_tcp_frame(const Ipv4Flow& flow, std::uint16_t ip_id, std::uint32_t seq,
                                          std::uint8_t flags, std::span<const std::uint8_t> payload) {
  const std::size_t tcp_bytes = kTcpHeaderBytes + payload.size(), ip_bytes = kIpv4HeaderBytes + tcp_bytes;
  std::vector<std::uint8_t> f(std::max(kEthernetHeaderBytes + ip_bytes, kMinFrameBytes), 0);
  put_ethernet(f, flow, kEtherTypeIpv4);
  put_ipv4(&f[kEthernetHeaderBytes], flow, ip_id, 0, kProtocolTcp, ip_bytes);
  std::uint8_t* tcp = &f[kEthernetHeaderBytes + kIpv4HeaderBytes];
  put16(tcp, flow.src_port);
  put16(tcp + 2, flow.dst_port);
  put32(tcp + 4, seq);
  tcp[12] = kTcpHeaderBytes / 4 << 4;
  tcp[13] = flags;
  put16(tcp + 14, 0xffff);
  std::copy(payload.begin(), payload.end(), tcp + kTcpHeaderBytes);
  put16(tcp + 16, internet_checksum({tcp, tcp_bytes}, pseudo_header(flow, kProtocolTcp, tcp_bytes)));
  return f;
}

namespace {

/// Ports, and for TCP what a receiver needs; false if the header does not fit.
bool parse_transport(IpPacket& p, const std::uint8_t* transport) {
  if (p.fragment_offset != 0) return true;
  if (p.protocol != kProtocolUdp && p.protocol != kProtocolTcp) return true;
  if (p.payload_bytes < (p.protocol == kProtocolUdp ? kUdpHeaderBytes : kTcpHeaderBytes)) return false;
  p.src_port = get16(transport);
  p.dst_port = get16(transport + 2);
  if (p.protocol == kProtocolUdp) return true;
  p.tcp_seq = get32(transport + 4);
  p.tcp_header_bytes = static_cast<std::uint8_t>((transport[12] >> 4) * 4);
  p.tcp_flags = transport[13];
  return p.tcp_header_bytes >= kTcpHeaderBytes && p.tcp_header_bytes <= p.payload_bytes;
}

std::optional<IpPacket> parse_ipv6(std::span<const std::uint8_t> frame) {
  constexpr std::uint8_t kHopByHop = 0, kRouting = 43, kDestination = 60;
  if (frame.size() < kEthernetHeaderBytes + kIpv6HeaderBytes) return {};
  const std::uint8_t* ip = &frame[kEthernetHeaderBytes];
  std::size_t left = get16(ip + 4);
  if (ip[0] >> 4 != 6 || kEthernetHeaderBytes + kIpv6HeaderBytes + left > frame.size()) return {};
  IpPacket p{};
  p.version = 6;
  std::copy_n(ip + 8, 16, p.src.begin());
  std::copy_n(ip + 24, 16, p.dst.begin());
  p.protocol = ip[6];
  std::size_t at = kEthernetHeaderBytes + kIpv6HeaderBytes;
  while (p.protocol == kHopByHop || p.protocol == kRouting || p.protocol == kDestination ||
         p.protocol == kIpv6FragmentHeader) {
    if (left < 8) return {};
    const bool fragment = p.protocol == kIpv6FragmentHeader;
    const std::size_t bytes = fragment ? kIpv6FragmentBytes : 8u * (frame[at + 1] + 1u);
    if (bytes > left) return {};
    p.protocol = frame[at];
    if (fragment) {
      p.fragment_offset = get16(&frame[at + 2]) & 0xfff8;
      p.more_fragments = (frame[at + 3] & 1) != 0;
      p.id = get32(&frame[at + 4]);
    }
    at += bytes;
    left -= bytes;
    if (p.fragment_offset != 0) break;  // what follows is data of the middle
  }
  p.payload_offset = at;
  p.payload_bytes = left;
  if (!parse_transport(p, frame.data() + at)) return {};
  return p;
}

}  // namespace

std::optional<IpPacket> parse_ip(std::span<const std::uint8_t> frame) {
  if (frame.size() < kEthernetHeaderBytes) return {};
  return get16(&frame[12]) == kEtherTypeIpv6 ? parse_ipv6(frame) : parse_ipv4(frame);
}

std::optional<Ipv4Packet> parse_ipv4(std::span<const std::uint8_t> frame) {
  if (frame.size() < kEthernetHeaderBytes + kIpv4HeaderBytes || get16(&frame[12]) != kEtherTypeIpv4)
    return {};
  const std::uint8_t* ip = &frame[kEthernetHeaderBytes];
  const std::size_t header = 4u * (ip[0] & 0xf);
  const std::size_t total = get16(ip + 2);
  if (ip[0] >> 4 != 4 || header < kIpv4HeaderBytes || total < header) return {};
  if (kEthernetHeaderBytes + total > frame.size()) return {};
  if (internet_checksum({ip, header}) != 0) return {};

  Ipv4Packet p{};
  p.version = 4;
  p.src_ip = get32(ip + 12);
  p.dst_ip = get32(ip + 16);
  p.src = mapped(p.src_ip);
  p.dst = mapped(p.dst_ip);
  p.id = get16(ip + 4);
  const std::uint16_t field = get16(ip + 6);
  p.more_fragments = (field & kMoreFragments) != 0;
  p.fragment_offset = static_cast<std::uint16_t>((field & 0x1fff) * 8);
  p.protocol = ip[9];
  p.payload_offset = kEthernetHeaderBytes + header;
  p.payload_bytes = total - header;
  if (!parse_transport(p, frame.data() + p.payload_offset)) return {};
  return p;
}

}  // namespace nic
