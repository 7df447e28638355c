// SPDX-License-Identifier: Apache-2.0
#include "nic/device/tx_offload.h"

#include <algorithm>
#include <cstring>

#include "nic/device/frame.h"

namespace nic {
namespace {

using L4Type = TxOffload::L4Type;
constexpr std::size_t kMinFrame = 60, kTagAt = 12, kTagBytes = 4, kFcsBytes = 4;
constexpr std::uint8_t kFin = 0x01, kPsh = 0x08, kCwr = 0x80;

std::uint32_t load_be32(const std::uint8_t* p) {
  return static_cast<std::uint32_t>(load_be16(p)) << 16 | load_be16(p + 2);
}
void store_be32(std::uint8_t* p, std::uint32_t v) {
  store_be16(p, static_cast<std::uint16_t>(v >> 16));
  store_be16(p + 2, static_cast<std::uint16_t>(v));
}

/// Segment `i` of `count`: IP lengths and identification, TCP sequence and flags, UDP length.
void patch_segment(std::span<std::uint8_t> frame, const TxOffload& o, std::uint32_t i, std::uint32_t count) {
  std::uint8_t* ip = frame.data() + o.mac_bytes;
  std::uint8_t* l4 = ip + o.ip_bytes;
  const std::size_t after_mac = frame.size() - o.mac_bytes;
  if (o.ipv4 && o.ip_bytes >= 20) {
    store_be16(ip + 2, static_cast<std::uint16_t>(after_mac));
    store_be16(ip + 4, static_cast<std::uint16_t>(load_be16(ip + 4) + i));
  } else if (!o.ipv4 && o.ip_bytes >= 40) {
    store_be16(ip + 4, static_cast<std::uint16_t>(after_mac - 40));
  }
  if (o.l4 == L4Type::kTcp && o.l4_bytes >= 20) {
    store_be32(l4 + 4, load_be32(l4 + 4) + i * o.mss);
    if (i + 1 != count) l4[13] &= static_cast<std::uint8_t>(~(kFin | kPsh));
    if (i != 0) l4[13] &= static_cast<std::uint8_t>(~kCwr);
  } else if (o.l4 == L4Type::kUdp && o.l4_bytes >= 8) {
    store_be16(l4 + 4, static_cast<std::uint16_t>(after_mac - o.ip_bytes));
  }
}

void insert_ip_checksum(std::span<std::uint8_t> frame, const TxOffload& o) {
  if (o.ip_bytes < 12 || o.mac_bytes + std::size_t{o.ip_bytes} > frame.size()) return;
  std::uint8_t* field = frame.data() + o.mac_bytes + 10;
  store_be16(field, 0);
  const std::uint16_t sum = ones_complement_sum(frame.subspan(o.mac_bytes, o.ip_bytes));
  store_be16(field, static_cast<std::uint16_t>(~sum));
}

void insert_l4_checksum(std::span<std::uint8_t> frame, const TxOffload& o) {
  const std::size_t start = std::size_t{o.mac_bytes} + o.ip_bytes;
  if (start >= frame.size()) return;
  const auto l4 = frame.subspan(start);
  if (o.l4 == L4Type::kSctp) {
    if (l4.size() < 12) return;
    std::memset(l4.data() + 8, 0, 4);
    const std::uint32_t crc = ~crc32c(~0u, l4);
    for (unsigned k = 0; k < 4; ++k) l4[8 + k] = static_cast<std::uint8_t>(crc >> (8 * k));
    return;
  }
  const std::size_t at = o.l4 == L4Type::kTcp ? 16 : 6;
  if (l4.size() < at + 2) return;
  // The field holds the pseudo header's sum; for segments without the length.
  const std::uint32_t extra = o.segment ? static_cast<std::uint32_t>(l4.size()) : 0;
  auto sum = static_cast<std::uint16_t>(~ones_complement_sum(l4, extra));
  if (sum == 0 && o.l4 == L4Type::kUdp) sum = 0xFFFF;
  store_be16(l4.data() + at, sum);
}

}  // namespace

std::uint32_t tx_frames(std::size_t packet_bytes, const TxOffload& o) {
  if (packet_bytes == 0) return 0;
  if (!o.segment) return packet_bytes <= kMaxTxFrame && (o.insert_fcs || packet_bytes > kFcsBytes) ? 1 : 0;
  const std::size_t header = o.header_bytes();
  if (header == 0 || header > packet_bytes || o.mss == 0 || header + o.mss > kMaxTxFrame) return 0;
  const std::size_t payload = packet_bytes - header;
  return static_cast<std::uint32_t>(std::max<std::size_t>(1, (payload + o.mss - 1) / o.mss));
}

std::size_t build_tx_frame(std::span<const std::uint8_t> packet, const TxOffload& o, std::uint32_t i,
                           std::span<std::uint8_t> out) {
  std::size_t bytes = packet.size();
  if (o.segment) {
    const std::size_t header = o.header_bytes();
    const std::size_t from = header + std::size_t{i} * o.mss;
    const std::size_t payload = std::min<std::size_t>(o.mss, packet.size() - from);
    std::memcpy(out.data(), packet.data(), header);
    if (payload != 0) std::memcpy(out.data() + header, packet.data() + from, payload);
    bytes = header + payload;
    patch_segment(out.first(bytes), o, i, tx_frames(packet.size(), o));
  } else {
    if (!o.insert_fcs) bytes -= kFcsBytes;  // frames on our wire carry no FCS
    std::memcpy(out.data(), packet.data(), bytes);
  }
  const auto frame = out.first(bytes);
  if (o.ip_checksum && o.ipv4) insert_ip_checksum(frame, o);
  if (o.l4_checksum) insert_l4_checksum(frame, o);
  if (o.legacy_checksum && o.legacy_start < bytes && std::size_t{o.legacy_offset} + 2 <= bytes) {
    const std::uint16_t sum = ones_complement_sum(frame.subspan(o.legacy_start));
    store_be16(out.data() + o.legacy_offset, static_cast<std::uint16_t>(~sum));
  }
  const std::size_t tag_at = o.double_vlan ? kTagAt + kTagBytes : kTagAt;
  if (o.insert_vlan && bytes >= tag_at) {
    std::memmove(out.data() + tag_at + kTagBytes, out.data() + tag_at, bytes - tag_at);
    store_be16(out.data() + tag_at, o.vlan_ethertype);
    store_be16(out.data() + tag_at + 2, o.vlan_tci);
    bytes += kTagBytes;
  }
  if (o.pad_short && bytes < kMinFrame) {
    std::memset(out.data() + bytes, 0, kMinFrame - bytes);
    bytes = kMinFrame;
  }
  return bytes;
}

}  // namespace nic
