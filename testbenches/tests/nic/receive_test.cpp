// SPDX-License-Identifier: Apache-2.0
// Receive: golden write-backs, TLP order and splitting, thresholds, drop rules, VMDq.
#include <gtest/gtest.h>

#include <algorithm>

#include "nic_host.h"

namespace {

using namespace nic;
using nic_test::from_hex;
using nic_test::Host;
using nic_test::kOneBuffer2K;
using nic_test::plain_frame;

constexpr const char* kStation = "525400123456020000000099";

/// Puts `l3` behind an Ethernet header and zeroes up to `bytes`.
std::vector<std::uint8_t> frame_of(const std::string& ethertype, const std::string& l3, std::size_t bytes) {
  auto f = from_hex(std::string(kStation) + ethertype + l3);
  f.resize(bytes);
  return f;
}

TEST(Receive, GoldenWriteBacks) {
  Host h;
  h.bring_up();
  h.write(reg::MRQC, 0x01FF0000 | mrqc::kRss);
  h.rx_ring(0, 16, kOneBuffer2K);
  // 60 bytes of TCP over IPv4, 46 bytes of IP, header checksum right, TCP checksum wrong.
  h.send(frame_of("0800", "4500002e00004000400626c80a0000010a0000020400005000000001000000025010100012340000",
                  60));
  // IPv4, protocol 99, 60 bytes of IP.
  h.send(frame_of("0800", "4500003c000040004063265d0a0000010a000002", 74));
  const std::string v6 = "20010db800000000000000000000000120010db8000000000000000000000002";
  // TCP over IPv6 with a wrong checksum, 20 bytes of payload; IPv6 with an unknown protocol; no IP at all.
  h.send(frame_of("86dd", "6000000000140640" + v6 + "0400005000000001000000025010100012340000", 74));
  h.send(frame_of("86dd", "6000000000286340" + v6, 94));
  h.send(frame_of("88b5", "", 74));
  h.settle();
  const std::pair<std::uint32_t, std::uint32_t> kExpected[] = {
      {0x111, 0x20000063}, {0x012, 0x43}, {0x143, 0x20000023}, {0x045, 0x3}, {0x000, 0x3}};
  for (unsigned i = 0; i < 5; ++i) {
    const RxDescriptor d = h.rx_descriptor(0, i);
    EXPECT_EQ(static_cast<std::uint32_t>(d.qw0), kExpected[i].first) << i;
    EXPECT_EQ(d.status_error(), kExpected[i].second) << i;
  }
  EXPECT_EQ(h.rx_descriptor(0, 0).packet_length(), 60);
  EXPECT_EQ(h.read(reg::RDH(0)), 5u);
}

TEST(Receive, PayloadThenWriteBackThenInterrupt) {
  Host h;
  h.bring_up();
  h.rx_ring(0, 16, kOneBuffer2K);
  h.msix(3, 0x33);
  h.config_write(0, pci::MSIX, pci::MSIX_ENABLE << 16);
  h.write(reg::GPIE, gpie::MULTIPLE_MSIX | gpie::NSICR);
  h.write(reg::IVAR(0), ivar::VALID | 3);
  h.write(reg::EIAC, bit(3));
  h.write(reg::EIMS, bit(3));
  h.settle();
  h.watch();
  h.send(plain_frame(1000));
  h.settle();
  // 1000 bytes at MPS 128, then the descriptor, then the message.
  ASSERT_EQ(h.log.size(), 10u);
  std::size_t sum = 0;
  for (unsigned i = 0; i < 8; ++i) {
    EXPECT_EQ(h.log[i].address, Host::buffer_of(0, 0) + sum);
    EXPECT_LE(h.log[i].data.size(), 128u);
    sum += h.log[i].data.size();
  }
  EXPECT_EQ(sum, 1000u);
  EXPECT_EQ(h.log[8].address, Host::ring_of(0));
  EXPECT_EQ(h.log[8].data.size(), 16u);
  EXPECT_EQ(h.log[9].address, Host::doorbell(3));
  EXPECT_EQ(h.log[9].data[0], 0x33);
  for (const auto& tlp : h.log) EXPECT_EQ(tlp.requester, 0x100u);
  EXPECT_EQ(h.bytes(Host::buffer_of(0, 0), 1000), plain_frame(1000));
}

TEST(Receive, TlpsDoNotCrossPages) {
  NicConfig c;
  c.reset_payload_bytes = 512;
  Host h("h", c);
  h.bring_up();
  h.rx_ring(0, 8, kOneBuffer2K);
  h.settle();
  h.write(reg::RXDCTL(0), 0);
  h.settle();
  h.store.store<std::uint64_t>(sim::PhysAddr(Host::ring_of(0)), Host::buffer_of(0, 0) + 0xF00);
  h.write(reg::RXDCTL(0), dctl::ENABLE);
  h.write(reg::RDH(0), 0);
  h.write(reg::RDT(0), 4);
  h.watch();
  h.send(plain_frame(1500));
  h.settle();
  std::size_t sum = 0;
  for (const auto& tlp : h.log) {
    if (!tlp.write || tlp.address < nic_test::kBuffers) continue;
    EXPECT_EQ(tlp.address >> 12, (tlp.address + tlp.data.size() - 1) >> 12);
    EXPECT_LE(tlp.data.size(), 512u);
    sum += tlp.data.size();
  }
  EXPECT_EQ(sum, 1500u);
}

TEST(Receive, MultiDescriptorFramesAndNullBuffers) {
  Host h;
  h.bring_up(rctl::EN | rctl::BAM | rctl::SECRC | rctl::LPE);
  h.rx_ring(0, 16, 0x0200'0001);  // 1 KiB buffers
  h.settle();
  h.send(plain_frame(2500));
  h.settle();
  EXPECT_EQ(h.rx_descriptor(0, 0).status_error(), rxd::DD);
  EXPECT_EQ(h.rx_descriptor(0, 0).packet_length(), 1024);
  EXPECT_EQ(h.rx_descriptor(0, 1).packet_length(), 1024);
  EXPECT_TRUE(h.rx_descriptor(0, 2).eop());
  EXPECT_EQ(h.rx_descriptor(0, 2).packet_length(), 2500 - 2048);
}

TEST(Receive, PrefetchHoldsDescriptorsUpToTheCacheDepth) {
  NicConfig c;
  c.descriptor_cache_depth = 16;
  Host h("h", c);
  h.bring_up();
  h.rx_ring(0, 64, kOneBuffer2K, dctl::make(31, 4, 1));
  h.settle();
  unsigned held = 0;
  h.nic.held_descriptors(0, [&](const Nic::HeldDescriptor& d) {
    EXPECT_EQ(d.index, held);
    EXPECT_EQ(d.buffer.value, Host::buffer_of(0, held));
    ++held;
  });
  EXPECT_EQ(held, 16u);
  // Without PTHRESH only a demand fetch, one burst to the line's end.
  h.rx_ring(1, 64, kOneBuffer2K, dctl::make(0, 0, 1));
  h.settle();
  held = 0;
  h.nic.held_descriptors(1, [&](const Nic::HeldDescriptor&) { ++held; });
  EXPECT_EQ(held, 8u);
}

TEST(Receive, WriteBackThresholdModerationAndFlush) {
  Host h;
  h.bring_up();
  h.rx_ring(0, 64, kOneBuffer2K, dctl::make(8, 8, 4));
  for (int i = 0; i < 3; ++i) h.send(plain_frame(60));
  h.settle();
  EXPECT_EQ(h.read(reg::RDH(0)), 0u);  // three used, threshold four, nothing moderates
  EXPECT_FALSE(h.rx_descriptor(0, 0).dd());
  h.write(reg::RXDCTL(0), dctl::make(8, 8, 4, dctl::ENABLE | dctl::SWFLUSH));
  h.settle();
  EXPECT_EQ(h.read(reg::RDH(0)), 3u);
  EXPECT_EQ(h.nic.stats().write_backs, 1u);  // coalesced
  EXPECT_EQ(h.read(reg::RXDCTL(0)) & dctl::SWFLUSH, 0u);
  for (int i = 0; i < 4; ++i) h.send(plain_frame(60));
  h.settle();
  EXPECT_EQ(h.read(reg::RDH(0)), 7u);
  // With moderation: the first flushes at once, the second when the counter has run out.
  h.msix(2, 0x22);
  h.config_write(0, pci::MSIX, pci::MSIX_ENABLE << 16);
  h.write(reg::GPIE, gpie::MULTIPLE_MSIX | gpie::NSICR);
  h.write(reg::IVAR(0), ivar::VALID | 2);
  h.write(reg::EITR(2), eitr::from_us(50));
  h.write(reg::EIAC, bit(2));
  h.write(reg::EIMS, bit(2));
  h.send(plain_frame(60));
  h.run(5 * sim::kMicrosecond);
  EXPECT_EQ(h.read(reg::RDH(0)), 8u);
  EXPECT_EQ(h.take_doorbell(2), 0x22u);
  h.send(plain_frame(60));
  h.run(40 * sim::kMicrosecond);
  EXPECT_EQ(h.read(reg::RDH(0)), 8u);
  EXPECT_EQ(h.take_doorbell(2), 0u);
  h.run(10 * sim::kMicrosecond);
  EXPECT_EQ(h.read(reg::RDH(0)), 9u);
  EXPECT_EQ(h.take_doorbell(2), 0x22u);
}

TEST(Receive, DropEnableCountsOthersBlock) {
  Host h;
  h.bring_up();
  h.rx_ring(0, 8, kOneBuffer2K | srrctl::DROP_EN);
  for (int i = 0; i < 10; ++i) h.send(plain_frame(60));
  h.settle();
  const auto& s = h.nic.stats();
  EXPECT_EQ(s.frames_delivered, 7u);
  EXPECT_EQ(h.read(reg::RQDPC(0)), 3u);
  EXPECT_EQ(h.read(reg::RQDPC(0)), 0u);
  EXPECT_EQ(s.frames_dropped[static_cast<std::size_t>(DropReason::kNoDescriptor)], 3u);
  // Without DROP_EN the frame waits at the head of the packet buffer, and those behind it, too.
  h.write(reg::SRRCTL(0), kOneBuffer2K);
  for (int i = 0; i < 3; ++i) h.send(plain_frame(60));
  h.settle();
  EXPECT_EQ(h.read(reg::RNBC), 1u);
  EXPECT_EQ(s.frames_delivered, 7u);
  for (unsigned i = 0; i < 8; ++i) h.post(0, i);
  h.write(reg::RDT(0), 6);
  h.settle();
  EXPECT_EQ(s.frames_delivered, 10u);
}

TEST(Receive, FullPacketBufferIsCountedAtTheMac) {
  NicConfig c;
  c.packet_buffer_bytes = 8 * 1024;
  Host h("h", c);
  h.bring_up();
  h.rx_ring(0, 8, kOneBuffer2K, 0x10000, 8);  // nothing posted
  for (int i = 0; i < 10; ++i) h.send(plain_frame(1500));
  h.settle();
  EXPECT_EQ(h.read(reg::MPC), 5u);  // 1504 bytes round up to 1536: five fit
  EXPECT_EQ(h.nic.stats().frames_dropped[static_cast<std::size_t>(DropReason::kPacketBufferFull)], 5u);
}

TEST(Receive, UndersizeOversizeFilteredAndDisabled) {
  Host h;
  h.bring_up();
  h.rx_ring(0, 16, kOneBuffer2K);
  h.send(plain_frame(59));
  h.send(plain_frame(1600));
  h.send(plain_frame(60, {2, 2, 2, 2, 2, 2}));
  h.send(std::vector<std::uint8_t>{});
  h.settle();
  h.write(reg::RCTL, 0);
  h.send(plain_frame(60));
  h.settle();
  const auto& dropped = h.nic.stats().frames_dropped;
  EXPECT_EQ(dropped[static_cast<std::size_t>(DropReason::kUndersize)], 2u);
  EXPECT_EQ(dropped[static_cast<std::size_t>(DropReason::kOversize)], 1u);
  EXPECT_EQ(dropped[static_cast<std::size_t>(DropReason::kAddressFilter)], 1u);
  EXPECT_EQ(dropped[static_cast<std::size_t>(DropReason::kReceiveDisabled)], 1u);
  EXPECT_EQ(h.read(reg::RUC), 2u);
  EXPECT_EQ(h.read(reg::ROC), 1u);
}

TEST(Receive, LineRate) {
  for (const auto& [gigabits, name] : {std::pair{1u, "a"}, std::pair{10u, "b"}}) {
    NicConfig c = NicConfig::profile(gigabits);
    Host* h = new Host(name, c);  // modules live until the process ends
    static std::vector<Host*> hosts;
    hosts.push_back(h);
    if (hosts.size() < 2) continue;
    for (Host* each : hosts) {
      std::vector<sim::Tick> at;
      each->nic.trace().packet_arrived.subscribe([&](const PacketArrived& p) { at.push_back(p.time); });
      for (int i = 0; i < 10; ++i) each->send(plain_frame(60));
      each->run(100 * sim::kMicrosecond);
      ASSERT_EQ(at.size(), 10u);
      // 8 preamble + 64 + 12 gap = 84 bytes a frame; arrivals are rounded up to the device's clock.
      const double per_frame =
          84 * 8 / (static_cast<double>(each->nic.configuration().wire_bits_per_second) / 1e15);
      EXPECT_NEAR(static_cast<double>(at[9] - at[0]), 9 * per_frame, 4e6);
    }
  }
}

TEST(Receive, SplitAlwaysPutsSmallFramesIntoTheHeaderBuffer) {
  Host h;
  h.bring_up();
  h.rx_ring(0, 16, srrctl::make(2, srrctl::kSplitAlways, false, 256));
  h.send(plain_frame(100));
  h.send(plain_frame(600));
  h.settle();
  const RxDescriptor small = h.rx_descriptor(0, 0), large = h.rx_descriptor(0, 1);
  EXPECT_EQ(small.header_length(), 100u);
  EXPECT_EQ(small.packet_length(), 0);
  EXPECT_EQ(h.bytes(Host::buffer_of(0, 0) + 0x800, 100), plain_frame(100));
  // Not recognised: the first 256 bytes.
  EXPECT_EQ(large.header_length(), 256u);
  EXPECT_FALSE(large.split_header());
  EXPECT_EQ(large.packet_length(), 600 - 256);
}

TEST(Vmdq, BroadcastIsCopiedOncePerPoolUnderItsOwnRequester) {
  Host h;
  h.bring_up();
  h.enable_vfs(2);
  h.enable_vmdq(2);
  for (unsigned vf = 0; vf < 2; ++vf)
    h.rx_ring(vf, 16, kOneBuffer2K, 0x10000, 1, Host::vf_bar0(vf), vfreg::RX(0));
  h.rx_ring(2, 16, kOneBuffer2K);
  h.settle();
  h.watch();
  h.send(plain_frame(60, {0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF}));
  h.settle();
  for (unsigned q = 0; q < 3; ++q) EXPECT_TRUE(h.rx_descriptor(q, 0).dd());
  for (const auto& tlp : h.log) {
    if (!tlp.write) continue;
    const unsigned queue = tlp.address >= nic_test::kBuffers ? (tlp.address - nic_test::kBuffers) >> 20
                                                             : (tlp.address - nic_test::kRing) >> 12;
    EXPECT_EQ(tlp.requester, queue == 2 ? 0x100u : 0x180u + 2 * queue);
  }
  EXPECT_EQ(h.nic.stats().frames_arrived, 1u);
  EXPECT_EQ(h.nic.stats().copies_delivered, 3u);
  EXPECT_EQ(h.read(vfreg::VFGPRC, Host::vf_bar0(1)), 1u);
}

}  // namespace
