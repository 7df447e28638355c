// SPDX-License-Identifier: Apache-2.0
// The Toeplitz hash against Microsoft's published verification vectors.
#include "nic/device/rss.h"

#include <gtest/gtest.h>

namespace {

constexpr std::uint8_t kKey[40] = {0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67,
                                   0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0, 0xd0, 0xca, 0x2b, 0xcb,
                                   0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30,
                                   0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa};

struct Vector {
  std::vector<std::uint8_t> source, destination;
  std::uint16_t source_port, destination_port;
  std::uint32_t addresses_only, with_ports;
};

std::vector<std::uint8_t> v6(std::initializer_list<unsigned> groups) {
  std::vector<std::uint8_t> b;
  for (unsigned g : groups) {
    b.push_back(static_cast<std::uint8_t>(g >> 8));
    b.push_back(static_cast<std::uint8_t>(g));
  }
  return b;
}

const std::vector<Vector>& vectors() {
  static const std::vector<Vector> kVectors = {
      {{66, 9, 149, 187}, {161, 142, 100, 80}, 2794, 1766, 0x323e8fc2, 0x51ccc178},
      {{199, 92, 111, 2}, {65, 69, 140, 83}, 14230, 4739, 0xd718262a, 0xc626b0ea},
      {{24, 19, 198, 95}, {12, 22, 207, 184}, 12898, 38024, 0xd2d0a5de, 0x5c2b394a},
      {{38, 27, 205, 30}, {209, 142, 163, 6}, 48228, 2217, 0x82989176, 0xafc7327f},
      {{153, 39, 163, 191}, {202, 188, 127, 2}, 44251, 1303, 0x5d1809c5, 0x10e828a2},
      {v6({0x3ffe, 0x2501, 0x200, 0x1fff, 0, 0, 0, 7}), v6({0x3ffe, 0x2501, 0x200, 3, 0, 0, 0, 1}), 2794,
       1766, 0x2cc18cd5, 0x40207d3d},
      {v6({0x3ffe, 0x501, 8, 0, 0x260, 0x97ff, 0xfe40, 0xefab}), v6({0xff02, 0, 0, 0, 0, 0, 0, 1}), 14230,
       4739, 0x0f0c461c, 0xdde51bbf},
      {v6({0x3ffe, 0x1900, 0x4545, 3, 0x200, 0xf8ff, 0xfe21, 0x67cf}),
       v6({0xfe80, 0, 0, 0, 0x200, 0xf8ff, 0xfe21, 0x67cf}), 44251, 38024, 0x4b61e985, 0x02d1feef}};
  return kVectors;
}

TEST(Rss, ToeplitzAgreesWithThePublishedVectors) {
  nic::ToeplitzHash hash;
  hash.set_key(kKey);
  for (const Vector& v : vectors()) {
    std::vector<std::uint8_t> input = v.source;
    input.insert(input.end(), v.destination.begin(), v.destination.end());
    EXPECT_EQ(hash(input), v.addresses_only);
    for (std::uint16_t port : {v.source_port, v.destination_port}) {
      input.push_back(static_cast<std::uint8_t>(port >> 8));
      input.push_back(static_cast<std::uint8_t>(port));
    }
    EXPECT_EQ(hash(input), v.with_ports);
  }
}

/// A TCP frame of a vector, without valid checksums.
std::vector<std::uint8_t> tcp_frame(const Vector& v) {
  const bool ipv4 = v.source.size() == 4;
  std::vector<std::uint8_t> f(14, 0);
  f[12] = ipv4 ? 0x08 : 0x86;
  f[13] = ipv4 ? 0x00 : 0xDD;
  if (ipv4) {
    f.insert(f.end(), {0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0, 0});
  } else {
    f.insert(f.end(), {0x60, 0, 0, 0, 0, 20, 6, 64});
  }
  f.insert(f.end(), v.source.begin(), v.source.end());
  f.insert(f.end(), v.destination.begin(), v.destination.end());
  for (std::uint16_t port : {v.source_port, v.destination_port}) {
    f.push_back(static_cast<std::uint8_t>(port >> 8));
    f.push_back(static_cast<std::uint8_t>(port));
  }
  f.insert(f.end(), {0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0, 0, 0, 0, 0, 0, 0});
  return f;
}

TEST(Rss, FieldsFollowTheEnablesOfMrqc) {
  nic::ToeplitzHash hash;
  hash.set_key(kKey);
  for (const Vector& v : vectors()) {
    const auto frame = tcp_frame(v);
    const auto info = nic::parse_frame(frame);
    const bool ipv4 = v.source.size() == 4;
    const auto ports = nic::rss_hash(hash, frame, info, ipv4 ? nic::mrqc::TCP_IPV4 : nic::mrqc::TCP_IPV6);
    EXPECT_EQ(ports.hash, v.with_ports);
    EXPECT_EQ(ports.type, ipv4 ? 1 : 3);
    const auto addresses = nic::rss_hash(hash, frame, info, ipv4 ? nic::mrqc::IPV4 : nic::mrqc::IPV6);
    EXPECT_EQ(addresses.hash, v.addresses_only);
    EXPECT_EQ(addresses.type, ipv4 ? 2 : 5);
    EXPECT_EQ(nic::rss_hash(hash, frame, info, nic::mrqc::UDP_IPV4 | nic::mrqc::UDP_IPV6).type, 0);
  }
}

}  // namespace
