// SPDX-License-Identifier: Apache-2.0
#include "nic/device/rss.h"

#include <cstring>

namespace nic {

void ToeplitzHash::set_key(std::span<const std::uint8_t, kKeyBytes> key) {
  for (std::size_t i = 0; i < kMaxInput; ++i) {
    // The 32 + 7 key bits that the eight bits of input byte i may select.
    std::uint64_t window = 0;
    for (std::size_t k = 0; k < 5; ++k) window = window << 8 | (i + k < kKeyBytes ? key[i + k] : 0);
    for (unsigned value = 0; value < 256; ++value) {
      std::uint32_t hash = 0;
      for (unsigned b = 0; b < 8; ++b) {
        if ((value & (0x80u >> b)) != 0) hash ^= static_cast<std::uint32_t>(window >> (8 - b));
      }
      table_[i][value] = hash;
    }
  }
}

RssResult rss_hash(const ToeplitzHash& toeplitz, std::span<const std::uint8_t> frame, const FrameInfo& info,
                   std::uint32_t m) {
  if (!info.ipv4 && !info.ipv6) return {};
  std::uint8_t type = 0;
  const bool ports = info.l4_header_bytes != 0;
  if (info.ipv4) {
    if (ports && info.l4 == L4::kTcp && (m & mrqc::TCP_IPV4) != 0) {
      type = 1;
    } else if (ports && info.l4 == L4::kUdp && (m & mrqc::UDP_IPV4) != 0) {
      type = 7;
    } else if ((m & mrqc::IPV4) != 0) {
      type = 2;
    }
  } else {
    const auto choose = [&](std::uint32_t plain, std::uint8_t plain_type, std::uint32_t ex,
                            std::uint8_t ex_type) {
      // Both enabled: the Ex type for packets that carry the addresses it is about.
      const bool mobile = info.home_address != 0 || info.routing_address != 0;
      if ((m & ex) != 0 && (mobile || (m & plain) == 0)) return ex_type;
      return (m & plain) != 0 ? plain_type : std::uint8_t{0};
    };
    if (ports && info.l4 == L4::kTcp) type = choose(mrqc::TCP_IPV6, 3, mrqc::TCP_IPV6_EX, 6);
    if (ports && info.l4 == L4::kUdp) type = choose(mrqc::UDP_IPV6, 8, mrqc::UDP_IPV6_EX, 9);
    if (type == 0) type = choose(mrqc::IPV6, 5, mrqc::IPV6_EX, 4);
  }
  if (type == 0) return {};
  std::array<std::uint8_t, ToeplitzHash::kMaxInput> input;
  const std::size_t addresses = info.ipv4 ? 8 : 32;
  std::memcpy(input.data(), frame.data() + info.l3_offset + (info.ipv4 ? 12 : 8), addresses);
  if (type == 4 || type == 6 || type == 9) {
    if (info.home_address != 0) std::memcpy(input.data(), frame.data() + info.home_address, 16);
    if (info.routing_address != 0) std::memcpy(input.data() + 16, frame.data() + info.routing_address, 16);
  }
  std::size_t bytes = addresses;
  if (type != 2 && type != 4 && type != 5) {
    std::memcpy(input.data() + bytes, frame.data() + info.l4_offset, 4);
    bytes += 4;
  }
  return {type, toeplitz(std::span(input).first(bytes))};
}

}  // namespace nic
