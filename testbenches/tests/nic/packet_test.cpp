// SPDX-License-Identifier: Apache-2.0
#include "nic/stack/packet.h"

#include <gtest/gtest.h>

#include <numeric>

namespace {

const nic::Ipv4Flow kFlow{{2, 0, 0, 0, 0, 1}, {2, 0, 0, 0, 0, 2}, 0x0a000002, 0x0a000001, 40000, 9000};

std::vector<std::uint8_t> counting(std::size_t n) {
  std::vector<std::uint8_t> v(n);
  std::iota(v.begin(), v.end(), std::uint8_t{0});
  return v;
}

TEST(Packet, UdpFrameParsesBack) {
  for (std::size_t n : {0u, 1u, 18u, 19u, 1472u}) {
    const auto frame = nic::build_udp_frame(kFlow, 7, counting(n));
    EXPECT_EQ(frame.size(), std::max<std::size_t>(60, 42 + n));
    const auto p = nic::parse_ipv4(frame);
    ASSERT_TRUE(p);
    EXPECT_EQ(p->src_ip, kFlow.src_ip);
    EXPECT_EQ(p->dst_port, 9000);
    EXPECT_EQ(p->id, 7);
    EXPECT_FALSE(p->is_fragment());
    EXPECT_EQ(p->payload_bytes, 8 + n);
    EXPECT_EQ(p->payload_offset, 34u);
  }
}

TEST(Packet, UdpChecksumIsValidOverPseudoHeader) {
  const auto frame = nic::build_udp_frame(kFlow, 7, counting(101));
  const std::size_t udp = 8 + 101;
  std::uint32_t pseudo = 17 + udp;
  for (std::uint32_t a : {kFlow.src_ip, kFlow.dst_ip}) pseudo += (a >> 16) + (a & 0xffff);
  EXPECT_EQ(nic::internet_checksum({&frame[34], udp}, pseudo), 0);
}

TEST(Packet, FirstFragmentHasMoreFragmentsAndEightByteMultiple) {
  const auto frame = nic::build_first_fragment(kFlow, 99, counting(1475));
  const auto p = nic::parse_ipv4(frame);
  ASSERT_TRUE(p);
  EXPECT_TRUE(p->is_fragment());
  EXPECT_TRUE(p->more_fragments);
  EXPECT_EQ(p->fragment_offset, 0);
  EXPECT_EQ(p->payload_bytes % 8, 0u);
  EXPECT_EQ(p->dst_port, 9000);
}

TEST(Packet, EveryTruncationAndHeaderDamageIsRefused) {
  const auto frame = nic::build_udp_frame(kFlow, 7, counting(64));
  for (std::size_t n = 0; n < 42 + 64; ++n) EXPECT_FALSE(nic::parse_ipv4({frame.data(), n})) << n;
  for (std::size_t i = 12; i < 34; ++i) {
    auto bad = frame;
    bad[i] ^= 0x10;
    EXPECT_FALSE(nic::parse_ipv4(bad)) << "byte " << i;
  }
}

}  // namespace
