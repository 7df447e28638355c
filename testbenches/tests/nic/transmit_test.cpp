// SPDX-License-Identifier: Apache-2.0
// Transmit: data and context descriptors, checksum offload, segmentation, write-back, VM-to-VM switching.
#include <gtest/gtest.h>

#include "nic/device/frame.h"
#include "nic_host.h"

namespace {

using namespace nic;
using nic_test::from_hex;
using nic_test::Host;
using nic_test::plain_frame;

constexpr std::uint64_t kTxRing = nic_test::kMemory + 0x8000, kTxBuffer = nic_test::kMemory + 0x300'0000;

void tx_ring(Host& h, unsigned size, std::uint64_t bar = nic_test::kBar0,
             std::uint32_t base = reg::TDBAL(0)) {
  h.write(base + 0x28, 0, bar);
  h.write(base + 0x00, static_cast<std::uint32_t>(kTxRing), bar);
  h.write(base + 0x04, 0, bar);
  h.write(base + 0x08, size * 16, bar);
  h.write(base + 0x10, 0, bar);
  h.write(base + 0x28, dctl::ENABLE, bar);
}

void put(Host& h, unsigned index, const TxDescriptor& d) {
  std::memcpy(h.store.host(sim::PhysAddr(kTxRing + 16 * index), 16), &d, 16);
}

void put_bytes(Host& h, std::uint64_t at, const std::vector<std::uint8_t>& bytes) {
  std::memcpy(h.store.host(sim::PhysAddr(at), bytes.size()), bytes.data(), bytes.size());
}

bool done(const Host& h, unsigned index) {
  return (h.store.load<std::uint32_t>(sim::PhysAddr(kTxRing + 16 * index + 12)) & 1) != 0;
}

constexpr std::uint32_t kLast = txd::EOP | txd::IFCS | txd::RS;

TxDescriptor context(unsigned mac, unsigned ip, unsigned l4, unsigned mss, bool ipv4, unsigned l4_type) {
  return {ip | mac << 9, txd::DTYP_CONTEXT | txd::DEXT | (ipv4 ? bit(10) : 0) | l4_type << 11,
          l4 << 8 | mss << 16};
}

TEST(Transmit, GathersSeveralBuffersAndWritesBackOnlyRs) {
  Host h;
  h.bring_up();
  tx_ring(h, 16);
  const auto frame = plain_frame(300);
  put_bytes(h, kTxBuffer + 4000, frame);  // crosses a page
  put(h, 0, TxDescriptor::data(kTxBuffer + 4000, 200, 300, txd::IFCS));
  put(h, 1, TxDescriptor::data(kTxBuffer + 4200, 100, 300, kLast));
  h.write(reg::TDT(0), 2);
  h.settle();
  ASSERT_EQ(h.sink.frames.size(), 1u);
  EXPECT_EQ(h.sink.frames[0], frame);
  EXPECT_FALSE(done(h, 0));
  EXPECT_TRUE(done(h, 1));
  EXPECT_EQ(h.read(reg::TDH(0)), 2u);
  EXPECT_EQ(h.read(reg::GPTC), 1u);
  EXPECT_EQ(h.read(reg::TOTL), 304u);
}

TEST(Transmit, HeadWriteBack) {
  Host h;
  h.bring_up();
  tx_ring(h, 16);
  h.write(reg::TDWBAL(0), static_cast<std::uint32_t>(nic_test::kDoorbell) | 1);
  put_bytes(h, kTxBuffer, plain_frame(60));
  for (unsigned i = 0; i < 3; ++i) put(h, i, TxDescriptor::data(kTxBuffer, 60, 60, kLast));
  h.write(reg::TDT(0), 3);
  h.settle();
  EXPECT_EQ(h.sink.frames.size(), 3u);
  EXPECT_EQ(h.store.load<std::uint32_t>(sim::PhysAddr(nic_test::kDoorbell)), 3u);
  EXPECT_FALSE(done(h, 2));
}

TEST(Transmit, SegmentsCarryRightLengthsSequenceFlagsAndChecksums) {
  Host h;
  h.bring_up();
  tx_ring(h, 16);
  auto packet = from_hex(
      "525400000001525400123456"
      "0800"
      "45000000123400004006"
      "0000"
      "0a0000010a000002"
      "0400005000000001000000025019100000000000");
  // The driver stores the pseudo header's sum without the length.
  store_be16(packet.data() + 50, ones_complement_sum(std::span(packet).subspan(26, 8), 6));
  for (unsigned i = 0; i < 2500; ++i) packet.push_back(static_cast<std::uint8_t>(i));
  put_bytes(h, kTxBuffer, packet);
  put(h, 0, context(14, 20, 20, 1000, true, 1));
  TxDescriptor d =
      TxDescriptor::data(kTxBuffer, static_cast<std::uint32_t>(packet.size()), 2500, kLast | txd::TSE);
  d.dw3 |= txd::IXSM | txd::TXSM;
  put(h, 1, d);
  h.write(reg::TDT(0), 2);
  h.settle();
  ASSERT_EQ(h.sink.frames.size(), 3u);
  for (unsigned i = 0; i < 3; ++i) {
    const auto& f = h.sink.frames[i];
    EXPECT_EQ(f.size(), 54 + (i < 2 ? 1000u : 500u));
    const FrameInfo info = parse_frame(f);
    EXPECT_EQ(verify_checksums(f, info, rxcsum::IPOFLD | rxcsum::TUOFLD), rxd::IPCS | rxd::L4I) << i;
    EXPECT_EQ(load_be16(f.data() + 18), 0x1234 + i);
    EXPECT_EQ(load_be16(f.data() + 40), 1 + 1000 * i);
    EXPECT_EQ(f[47], i == 2 ? 0x19 : 0x10);  // PSH and FIN on the last only
  }
}

TEST(Transmit, VmToVmStaysInside) {
  Host h;
  h.bring_up();
  h.enable_vfs(2);
  h.enable_vmdq(2);
  h.write(reg::DTXSWC, dtxswc::LOOPBACK_EN);
  h.rx_ring(1, 16, nic_test::kOneBuffer2K, 0x10000, 1, Host::vf_bar0(1), vfreg::RX(0));
  tx_ring(h, 16, Host::vf_bar0(0), vfreg::TX(0));
  const auto to_vf1 = plain_frame(80, {2, 0x55, 0, 0, 0, 1});
  put_bytes(h, kTxBuffer, to_vf1);
  put_bytes(h, kTxBuffer + 0x1000, plain_frame(90, {2, 0x99, 0, 0, 0, 1}));
  put(h, 0, TxDescriptor::data(kTxBuffer, 80, 80, kLast));
  put(h, 1, TxDescriptor::data(kTxBuffer + 0x1000, 90, 90, kLast));
  h.write(vfreg::TX(0) + 0x18, 2, Host::vf_bar0(0));
  h.settle();
  ASSERT_EQ(h.sink.frames.size(), 1u);
  EXPECT_EQ(h.sink.frames[0].size(), 90u);
  EXPECT_TRUE(h.rx_descriptor(1, 0).dd());
  EXPECT_NE(h.rx_descriptor(1, 0).status_error() & rxd::LB, 0u);
  EXPECT_EQ(h.bytes(Host::buffer_of(1, 0), 80), to_vf1);
}

TEST(Transmit, RefusedDataDropsThePacketAndIsReported) {
  Host h;
  h.bring_up();
  tx_ring(h, 16);
  put(h, 0, TxDescriptor::data(0x1000, 100, 100, kLast));  // not memory
  put_bytes(h, kTxBuffer, plain_frame(60));
  put(h, 1, TxDescriptor::data(kTxBuffer, 60, 60, kLast));
  h.write(reg::TDT(0), 2);
  h.settle();
  EXPECT_EQ(h.sink.frames.size(), 1u);
  EXPECT_EQ(h.nic.stats().tx_frames_dropped, 1u);
  EXPECT_NE(h.read(reg::ICR) & icr::NFER, 0u);
}

}  // namespace
