// SPDX-License-Identifier: Apache-2.0
// What few drivers switch on: packet and fragment checksums, PCSD, CRCOFL (SCTP), RFCTL, IPv6 mobility in
// RSS, CFI and MAC control filters, double VLAN, anti-spoof checks, frames with their own FCS, MSI, PBA
// clear, I/O space, flush before the interrupt.
#include <gtest/gtest.h>

#include "nic/device/frame.h"
#include "nic/device/rss.h"
#include "nic/stack/packet.h"
#include "nic_host.h"

namespace {

using namespace nic;
using nic_test::from_hex;
using nic_test::Host;
using nic_test::kOneBuffer2K;
using nic_test::plain_frame;

Ipv4Flow flow() {
  return {{0x52, 0x54, 0, 0x12, 0x34, 0x56}, {2, 0, 0, 0, 0, 0x99}, 0x0A000002, 0x0A000001, 4000, 4001};
}

/// Sum of 16-bit big-endian words with end-around carry, written independently of the device's.
std::uint16_t plain_sum(std::span<const std::uint8_t> bytes) {
  std::uint32_t sum = 0;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    sum += i % 2 == 0 ? bytes[i] * 256u : bytes[i];
    if (sum > 0xFFFF) sum -= 0xFFFF;
  }
  return static_cast<std::uint16_t>(sum);
}

/// Receives `frame` into queue 0 (one-buffer, fresh ring) and returns its write-back.
RxDescriptor receive(Host& h, std::span<const std::uint8_t> frame,
                     std::uint32_t srrctl_value = kOneBuffer2K) {
  h.write(reg::RXDCTL(0), 0);
  h.settle();
  h.rx_ring(0, 16, srrctl_value);
  h.send(frame);
  h.settle();
  return h.rx_descriptor(0, 0);
}

TEST(PacketChecksum, SumsFromPcssWhenRssIsNotReported) {
  Host h;
  h.bring_up();
  h.write(reg::RXCSUM, rxcsum::IPOFLD | rxcsum::TUOFLD | 14);
  const std::vector<std::uint8_t> payload(33, 0xA5);
  const auto f = build_udp_frame(flow(), 0x1234, payload);
  const RxDescriptor d = receive(h, f);
  EXPECT_EQ(d.qw0 >> 48, plain_sum(std::span(f).subspan(14)));
  EXPECT_EQ(d.qw0 >> 32 & 0xFFFF, 0x1234u);  // IP identification
  EXPECT_EQ(d.status_error() & rxd::UDPV, 0u);
}

TEST(PacketChecksum, FragmentsOfUdpWithIppcse) {
  Host h;
  h.bring_up();
  h.write(reg::RXCSUM, rxcsum::IPOFLD | rxcsum::TUOFLD | rxcsum::IPPCSE);
  std::vector<std::uint8_t> payload(72, 0x11);
  auto f = build_first_fragment(flow(), 7, payload);
  const auto ip = parse_ipv4(f);
  ASSERT_TRUE(ip && ip->more_fragments);
  f[40] = 0x12;  // UDP checksum field: not 0, so it can be verified once all fragments are there
  RxDescriptor d = receive(h, f);
  EXPECT_EQ(d.qw0 >> 48, plain_sum(std::span(f).subspan(ip->payload_offset, ip->payload_bytes)));
  EXPECT_NE(d.status_error() & rxd::UDPV, 0u);
  EXPECT_EQ(d.status_error() & rxd::L4I, 0u);
  f[40] = f[41] = 0;
  d = receive(h, f);
  EXPECT_EQ(d.status_error() & rxd::UDPV, 0u);
  d = receive(h, build_udp_frame(flow(), 7, payload));  // no fragment: nothing to report
  EXPECT_EQ(d.qw0 >> 48, 0u);
}

TEST(Pcsd, ChoosesBetweenTheHashAndTheChecksumWithTheIdentification) {
  Host h;
  h.bring_up();
  h.write(reg::MRQC, mrqc::kRss | mrqc::IPV4 | mrqc::UDP_IPV4);
  for (unsigned i = 0; i < 10; ++i) h.write(reg::RSSRK(i), 0x01234567u * (i + 1));
  const std::vector<std::uint8_t> payload(40, 0x3C);
  const auto f = build_udp_frame(flow(), 0x4321, payload);
  h.write(reg::RXCSUM, rxcsum::TUOFLD | rxcsum::PCSD);
  const RxDescriptor with = receive(h, f);
  h.write(reg::RXCSUM, rxcsum::TUOFLD | 34);
  const RxDescriptor without = receive(h, f);
  EXPECT_EQ(with.rss_type(), 7u);  // UDP over IPv4
  EXPECT_EQ(without.rss_type(), 7u);
  EXPECT_EQ(without.qw0 >> 32, std::uint64_t{plain_sum(std::span(f).subspan(34))} << 16 | 0x4321);
  EXPECT_NE(with.rss_hash(), 0u);
  EXPECT_NE(with.rss_hash(), without.rss_hash());
  // The hash is that of the flow, whatever the packet carries.
  h.write(reg::RXCSUM, rxcsum::PCSD);
  EXPECT_EQ(receive(h, build_udp_frame(flow(), 9, std::vector<std::uint8_t>(90, 1))).rss_hash(),
            with.rss_hash());
}

// RFC 3720, appendix B.4.
TEST(Crcofl, Crc32cAgreesWithThePublishedVectors) {
  std::array<std::uint8_t, 32> bytes{};
  EXPECT_EQ(~crc32c(~0u, bytes), 0x8A9136AAu);
  bytes.fill(0xFF);
  EXPECT_EQ(~crc32c(~0u, bytes), 0x62A8AB43u);
  for (unsigned i = 0; i < 32; ++i) bytes[i] = static_cast<std::uint8_t>(i);
  EXPECT_EQ(~crc32c(~0u, bytes), 0x46DD794Eu);
}

/// An SCTP packet over IPv4: common header and a DATA chunk of 20 bytes, with its CRC.
std::vector<std::uint8_t> sctp_frame() {
  auto f = from_hex("5254001234560200000000990800");
  const auto headers = from_hex(
      "45000034000000004084"
      "0000"
      "0a0000020a000001"
      "0fa00fa1deadbeef00000000"
      "0003001400000001000000000000000041424344");
  f.insert(f.end(), headers.begin(), headers.end());
  const std::uint16_t sum = static_cast<std::uint16_t>(~plain_sum(std::span(f).subspan(14, 20)));
  f[24] = static_cast<std::uint8_t>(sum >> 8);
  f[25] = static_cast<std::uint8_t>(sum);
  // Bit by bit, written independently of the device's.
  std::uint32_t crc = ~0u;
  for (const std::uint8_t byte : std::span(f).subspan(34)) {
    crc ^= byte;
    for (unsigned bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ ((crc & 1) != 0 ? 0x82F63B78u : 0);
  }
  for (unsigned i = 0; i < 4; ++i) f[42 + i] = static_cast<std::uint8_t>(~crc >> (8 * i));
  f.resize(std::max<std::size_t>(f.size(), 80), 0);  // padding is not part of the packet
  return f;
}

TEST(Crcofl, TheCrcOfSctpIsVerifiedWhenItIsOnAndOnlyThen) {
  Host h;
  h.bring_up();
  const auto good = sctp_frame();
  ASSERT_EQ(std::size_t{14 + 52}, 14 + static_cast<std::size_t>(good[16] * 256 + good[17]));
  h.write(reg::RXCSUM, rxcsum::IPOFLD | rxcsum::CRCOFL | rxcsum::PCSD);
  RxDescriptor d = receive(h, good);
  EXPECT_EQ(d.packet_type(), rxd::IPV4 | rxd::SCTP);
  EXPECT_EQ(d.status_error(), rxd::DD | rxd::EOP | rxd::IPCS | rxd::L4I);
  for (const std::size_t at :
       {std::size_t{34}, std::size_t{43}, std::size_t{65}}) {  // port, CRC, last data byte
    auto damaged = good;
    damaged[at] ^= 0x40;
    EXPECT_EQ(receive(h, damaged).status_error(), rxd::DD | rxd::EOP | rxd::IPCS | rxd::L4I | rxd::L4E) << at;
  }
  auto padding = good;
  padding[70] = 1;
  EXPECT_EQ(receive(h, padding).status_error() & rxd::L4E, 0u);
  // TUOFLD is for TCP and UDP, CRCOFL for SCTP alone.
  auto damaged = good;
  damaged[60] ^= 1;
  h.write(reg::RXCSUM, rxcsum::IPOFLD | rxcsum::TUOFLD | rxcsum::PCSD);
  EXPECT_EQ(receive(h, damaged).status_error() & (rxd::L4I | rxd::L4E), 0u);
  const std::vector<std::uint8_t> payload(40, 0x3C);
  auto udp = build_udp_frame(flow(), 1, payload);
  udp[45] ^= 1;
  EXPECT_NE(receive(h, udp).status_error() & rxd::L4E, 0u);
  h.write(reg::RXCSUM, rxcsum::IPOFLD | rxcsum::CRCOFL | rxcsum::PCSD);
  EXPECT_EQ(receive(h, udp).status_error() & (rxd::L4I | rxd::L4E), 0u);
}

TEST(Rfctl, SwitchesOffWhatItNames) {
  Host h;
  h.bring_up();
  auto nfs = flow();
  nfs.dst_port = 2049;
  const std::vector<std::uint8_t> payload(30, 1);
  const auto request = build_udp_frame(nfs, 1, payload);
  EXPECT_NE(receive(h, request).packet_type() & rxd::NFS, 0u);
  h.write(reg::RFCTL, rfctl::NFSW_DIS);
  EXPECT_EQ(receive(h, request).packet_type(), rxd::IPV4 | rxd::UDP);
  std::swap(nfs.src_port, nfs.dst_port);
  EXPECT_NE(receive(h, build_udp_frame(nfs, 1, payload)).packet_type() & rxd::NFS, 0u);
  h.write(reg::RFCTL, rfctl::NFSR_DIS);
  EXPECT_EQ(receive(h, build_udp_frame(nfs, 1, payload)).packet_type(), rxd::IPV4 | rxd::UDP);

  auto v6 = from_hex(
      "52540012345602000000009986dd6000000000140640"
      "20010db800000000000000000000000120010db8000000000000000000000002"
      "0400005000000001000000025010100012340000");
  v6.resize(74);
  EXPECT_EQ(receive(h, v6).status_error() & (rxd::L4I | rxd::L4E), rxd::L4I | rxd::L4E);
  h.write(reg::RFCTL, rfctl::IPV6_XSUM_DIS);
  EXPECT_EQ(receive(h, v6).status_error() & (rxd::L4I | rxd::L4E), 0u);
  EXPECT_EQ(receive(h, v6).packet_type(), rxd::IPV6 | rxd::TCP);
  h.write(reg::RFCTL, rfctl::IPV6_DIS);
  EXPECT_EQ(receive(h, v6).packet_type(), 0u);

  // Header split of fragments.
  h.write(reg::RFCTL, 0);
  h.write(reg::PSRTYPE(0), 0x3FE);
  const std::uint32_t split = srrctl::make(2, srrctl::kHeaderSplit, false, 128);
  const auto fragment = build_first_fragment(flow(), 7, std::vector<std::uint8_t>(72, 0x11));
  EXPECT_EQ(receive(h, fragment, split).header_length(), 34u);
  h.write(reg::RFCTL, rfctl::IPFRSP_DIS);
  EXPECT_FALSE(receive(h, fragment, split).split_header());
}

TEST(Rss, Ipv6ExHashesTheHomeAddress) {
  // IPv6, destination options with a home address, no next header: hashed like a packet from that address.
  const std::string source = "20010db8000000000000000000000001", home = "3ffe2501020000010000000000000007",
                    destination = "20010db8000000000000000000000002";
  auto mobile = from_hex("52540012345602000000009986dd6000000000183c40" + source + destination +
                         "3b02010201"
                         "00"
                         "c910" +
                         home);
  mobile.resize(86);
  auto fixed = from_hex("52540012345602000000009986dd6000000000003b40" + home + destination);
  fixed.resize(60);
  std::array<std::uint8_t, ToeplitzHash::kKeyBytes> key;
  for (unsigned i = 0; i < key.size(); ++i) key[i] = static_cast<std::uint8_t>(17 * i + 3);
  ToeplitzHash toeplitz;
  toeplitz.set_key(key);
  const FrameInfo info = parse_frame(mobile);
  EXPECT_EQ(info.home_address, 14 + 40 + 8);
  const RssResult ex = rss_hash(toeplitz, mobile, info, mrqc::IPV6 | mrqc::IPV6_EX);
  EXPECT_EQ(ex.type, 4);
  EXPECT_EQ(ex.hash, rss_hash(toeplitz, fixed, parse_frame(fixed), mrqc::IPV6).hash);
  // Without the Ex type, or with the option switched off, the header's addresses count.
  EXPECT_EQ(rss_hash(toeplitz, mobile, info, mrqc::IPV6).type, 5);
  const FrameInfo plain = parse_frame(mobile, {0x81008100, false, rfctl::NEW_IPV6_EXT_DIS});
  EXPECT_EQ(plain.home_address, 0);
  EXPECT_EQ(rss_hash(toeplitz, mobile, plain, mrqc::IPV6 | mrqc::IPV6_EX).type, 5);
  EXPECT_FALSE(parse_frame(mobile, {0x81008100, false, rfctl::IPV6_EX_DIS}).ipv6_extension);
}

TEST(Filter, CfiOfTheTagWithCfien) {
  Host h;
  h.bring_up(rctl::EN | rctl::SECRC | rctl::VFE | rctl::CFIEN);
  h.write(reg::VFTA(0), bit(5));
  h.rx_ring(0, 16, kOneBuffer2K);
  auto f = plain_frame(64);
  const std::uint8_t tag[] = {0x81, 0x00, 0x00, 0x05, 0x88, 0xB5};
  std::copy(std::begin(tag), std::end(tag), f.begin() + 12);
  h.send(f);
  f[14] = 0x10;  // CFI
  h.send(f);
  h.settle();
  EXPECT_EQ(h.nic.stats().frames_delivered, 1u);
  h.write(reg::RCTL, rctl::EN | rctl::SECRC | rctl::VFE | rctl::CFIEN | rctl::CFI);
  h.send(f);
  h.settle();
  EXPECT_EQ(h.nic.stats().frames_delivered, 2u);
}

TEST(Filter, MacControlFrames) {
  Host h;
  h.bring_up(rctl::EN | rctl::SECRC);
  h.rx_ring(0, 16, kOneBuffer2K);
  auto pause = plain_frame(60);
  const std::uint8_t control[] = {0x88, 0x08, 0x00, 0x01};
  std::copy(std::begin(control), std::end(control), pause.begin() + 12);
  auto other = plain_frame(60, {0x01, 0x80, 0xC2, 0, 0, 1});
  std::copy(std::begin(control), std::end(control), other.begin() + 12);
  other[15] = 0x77;
  h.send(pause);  // to our own address: matches
  h.send(other);  // matches nothing
  h.settle();
  EXPECT_EQ(h.nic.stats().frames_delivered, 1u);
  h.write(reg::RCTL, rctl::EN | rctl::SECRC | rctl::DPF | rctl::PMCF);
  h.send(pause);
  h.send(other);
  h.settle();
  EXPECT_EQ(h.nic.stats().frames_delivered, 2u);
  EXPECT_EQ(h.bytes(Host::buffer_of(0, 1), 60), other);
}

TEST(DoubleVlan, OuterTagStaysInnerTagIsStripped) {
  Host h;
  h.bring_up();
  h.write(reg::CTRL_EXT, ctrl_ext::EXT_VLAN);
  h.write(reg::VET, 0x88A88100);
  h.write(reg::CTRL, h.read(reg::CTRL) | ctrl::VME);
  auto f = plain_frame(100);
  const std::uint8_t tags[] = {0x88, 0xA8, 0x00, 0x07, 0x81, 0x00, 0x60, 0x05, 0x88, 0xB5};
  std::copy(std::begin(tags), std::end(tags), f.begin() + 12);
  const RxDescriptor d = receive(h, f);
  EXPECT_EQ(d.status_error() & (rxd::VEXT | rxd::VP), rxd::VEXT | rxd::VP);
  EXPECT_EQ(d.vlan(), 0x6005);
  EXPECT_EQ(d.packet_length(), 96);
  auto expected = f;
  expected.erase(expected.begin() + 16, expected.begin() + 20);
  EXPECT_EQ(h.bytes(Host::buffer_of(0, 0), 96), expected);
}

/// Posts one transmit descriptor on queue `queue` and runs.
void transmit(Host& h, unsigned queue, std::span<const std::uint8_t> frame, std::uint32_t flags) {
  const sim::PhysAddr ring(Host::ring_of(queue) + 0x800), buffer(nic_test::kMemory + 0x300000);
  std::memcpy(h.store.host(buffer, frame.size()), frame.data(), frame.size());
  const auto n = static_cast<std::uint32_t>(frame.size());
  const TxDescriptor d = TxDescriptor::data(buffer.value, n, n, flags | txd::EOP | txd::RS);
  std::memcpy(h.store.host(ring, 16), &d, 16);
  h.write(reg::TXDCTL(queue), 0);
  h.settle();
  h.write(reg::TDBAL(queue), static_cast<std::uint32_t>(ring.value));
  h.write(reg::TDBAH(queue), 0);
  h.write(reg::TDLEN(queue), 256);
  h.write(reg::TDH(queue), 0);
  h.write(reg::TXDCTL(queue), dctl::ENABLE);
  h.write(reg::TDT(queue), 1);
  h.settle();
}

TEST(Transmit, WithoutIfcsTheLastFourBytesAreTheFcs) {
  Host h;
  h.bring_up();
  auto f = plain_frame(100);
  transmit(h, 0, f, txd::IFCS);
  transmit(h, 0, f, 0);
  ASSERT_EQ(h.sink.frames.size(), 2u);
  EXPECT_EQ(h.sink.frames[0], f);
  f.resize(96);
  EXPECT_EQ(h.sink.frames[1], f);
}

TEST(AntiSpoof, ForeignAddressesAndVlansAreDroppedAndReported) {
  Host h;
  h.bring_up();
  h.enable_vfs(2);
  h.enable_vmdq(2);
  h.write(reg::DTXSWC, dtxswc::MACAS(1) | dtxswc::VLANAS(1));
  h.write(reg::VLVF(0), vlvf::VI_EN | bit(12 + 1) | 5);
  auto f = plain_frame(64, {2, 0, 0, 0, 0, 0x77});
  const std::uint8_t own[] = {2, 0x55, 0, 0, 0, 1};
  std::copy(std::begin(own), std::end(own), f.begin() + 6);
  transmit(h, 1, f, txd::IFCS);
  EXPECT_EQ(h.sink.frames.size(), 1u);
  EXPECT_EQ(h.read(reg::WVBR), 0u);
  f[11] = 0;  // VF 0's address
  transmit(h, 1, f, txd::IFCS);
  EXPECT_EQ(h.sink.frames.size(), 1u);
  EXPECT_EQ(h.read(reg::WVBR), bit(1));
  EXPECT_EQ(h.read(reg::WVBR), 0u);  // clear on read
  f[11] = 1;
  const std::uint8_t tag[] = {0x81, 0x00, 0x00, 0x05, 0x88, 0xB5};
  std::copy(std::begin(tag), std::end(tag), f.begin() + 12);
  transmit(h, 1, f, txd::IFCS);
  EXPECT_EQ(h.sink.frames.size(), 2u);
  f[15] = 6;  // a VLAN it is no member of
  transmit(h, 1, f, txd::IFCS);
  EXPECT_EQ(h.sink.frames.size(), 2u);
  EXPECT_EQ(h.read(reg::WVBR), bit(1));
}

TEST(Msi, OneVectorWithItsMaskWhileMsixIsOff) {
  Host h;
  h.bring_up();
  h.config_write(0, pci::MSI + 4, static_cast<std::uint32_t>(Host::doorbell(0)));
  h.config_write(0, pci::MSI + 12, 0x4321, 2);
  h.config_write(0, pci::MSI + 16, 1);
  h.config_write(0, pci::MSI + 2, pci::MSI_ENABLE, 2);
  h.write(reg::IMS, icr::LSC);
  h.write(reg::ICS, icr::LSC);
  h.settle();
  EXPECT_EQ(h.take_doorbell(0), 0u);
  EXPECT_EQ(h.config_read(0, pci::MSI + 20), 1u);  // pending
  h.config_write(0, pci::MSI + 16, 0);
  h.settle();
  EXPECT_EQ(h.take_doorbell(0), 0x4321u);
  EXPECT_EQ(h.config_read(0, pci::MSI + 20), 0u);
}

TEST(Pba, PendingBitsClearByWriting1) {
  Host h;
  h.bring_up();
  h.msix(1, 0x11);
  h.write(16 + 12, 1, nic_test::kBar3);
  h.config_write(0, pci::MSIX, pci::MSIX_ENABLE << 16);
  h.write(reg::GPIE, gpie::MULTIPLE_MSIX | gpie::NSICR);
  h.write(reg::EIMS, bit(1));
  h.write(reg::EICS, bit(1));
  h.settle();
  EXPECT_EQ(h.read(reg::PBACLR), 2u);
  h.write(reg::PBACLR, 2);
  EXPECT_EQ(h.read(pci::kPbaOffset, nic_test::kBar3), 0u);
  h.write(16 + 12, 0, nic_test::kBar3);
  h.settle();
  EXPECT_EQ(h.take_doorbell(1), 0u);
}

TEST(IoSpace, ReachesTheRegistersThroughBar2) {
  Host h;
  h.bring_up();
  h.config_write(0, pci::BAR0 + 8, 0xFFFFFFFF);
  EXPECT_EQ(h.config_read(0, pci::BAR0 + 8), 0xFFFFFFE1u);  // 32 bytes of I/O space
  h.config_write(0, pci::BAR0 + 8, 0x1000);
  h.read(pci::kIoAddr, 0x1000);
  EXPECT_TRUE(h.refused);  // COMMAND.IO is clear
  h.config_write(0, pci::COMMAND, pci::COMMAND_IO | pci::COMMAND_MEM | pci::COMMAND_BME, 2);
  h.write(pci::kIoAddr, reg::RLPML, 0x1000);
  EXPECT_EQ(h.read(pci::kIoAddr, 0x1000), reg::RLPML);
  EXPECT_EQ(h.read(pci::kIoData, 0x1000), 0x2600u);
  h.write(pci::kIoData, 0x1234, 0x1000);
  EXPECT_EQ(h.read(reg::RLPML), 0x1234u);
  h.write(pci::kIoAddr, 0x20000, 0x1000);  // beyond the registers
  EXPECT_EQ(h.read(pci::kIoData, 0x1000), 0u);
}

TEST(WriteBack, IsFlushedBeforeAnotherCauseOfTheSameVectorInterrupts) {
  Host h;
  h.bring_up();
  h.msix(1, 0x11);
  h.config_write(0, pci::MSIX, pci::MSIX_ENABLE << 16);
  h.write(reg::GPIE, gpie::MULTIPLE_MSIX | gpie::NSICR);
  h.write(reg::IVAR(0), ivar::VALID | 1);
  h.write(reg::EITR(1), eitr::from_us(1000));
  h.write(reg::EIAC, bit(1));
  h.write(reg::EIMS, bit(1));
  h.write(reg::EICS, bit(1));  // starts the moderation counter
  h.settle();
  EXPECT_EQ(h.take_doorbell(1), 0x11u);
  h.rx_ring(0, 16, kOneBuffer2K, dctl::make(8, 4, 8));
  h.send(plain_frame(60));
  h.run(20 * sim::kMicrosecond);
  EXPECT_FALSE(h.rx_descriptor(0, 0).dd());  // below WTHRESH, the timer runs
  h.write(reg::EITR(1),
          eitr::from_us(1000));  // the write restarts the counter at 0: a cause may interrupt at once
  h.watch();
  h.write(reg::EICS, bit(1));
  h.run(20 * sim::kMicrosecond);
  ASSERT_GE(h.log.size(), 2u);
  EXPECT_EQ(h.log[0].address, Host::ring_of(0));
  EXPECT_EQ(h.log[1].address, Host::doorbell(1));
}

TEST(VfRegisters, PbaClearAndPfOnlyRegisters) {
  Host h;
  h.bring_up();
  h.enable_vfs(1);
  h.msix(0, 0x40, Host::vf_bar3(0));
  h.write(12, 1, Host::vf_bar3(0));  // masked
  h.config_write(pci::vf_function(0), pci::MSIX, pci::MSIX_ENABLE << 16);
  h.write(vfreg::EIMS, 1, Host::vf_bar0(0));
  h.write(vfreg::EICS, 1, Host::vf_bar0(0));
  h.settle();
  EXPECT_EQ(h.read(vfreg::PBACL, Host::vf_bar0(0)), 1u);
  h.write(vfreg::PBACL, 1, Host::vf_bar0(0));
  EXPECT_EQ(h.read(pci::kPbaOffset, Host::vf_bar3(0)), 0u);
  h.write(reg::DVMOLR(0), 0x40000000);
  EXPECT_EQ(h.read(vfreg::RX(0) + 0x38, Host::vf_bar0(0)), 0u);
  h.write(vfreg::RX(0) + 0x38, 7, Host::vf_bar0(0));
  EXPECT_EQ(h.read(reg::DVMOLR(0)), 0x40000000u);
}

}  // namespace
