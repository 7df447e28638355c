// SPDX-License-Identifier: Apache-2.0
// Laws of the register file, configuration space, mailbox, NVM and PHY.
#include <gtest/gtest.h>

#include "nic_host.h"
#include "sim/error.h"

namespace {

using namespace nic;
using nic_test::Host;

TEST(Registers, ResetValues) {
  NicConfig c;
  c.link_up_at_reset = false;
  Host h("h", c);
  h.bring_up(0);
  const std::pair<std::uint32_t, std::uint32_t> kValues[] = {{reg::CTRL, 0x00100209},
                                                             {reg::STATUS, 0x80080481},
                                                             {reg::EECD, 0x1110},
                                                             {reg::VET, 0x81008100},
                                                             {reg::RAL(0), 0x12005452},
                                                             {reg::RAH(0), 0x80005634},
                                                             {reg::TIPG, 0x601008},
                                                             {reg::TCTL_EXT, 0x10840},
                                                             {reg::MBVFIMR, 0xFF},
                                                             {reg::VFRE, 0xFF},
                                                             {reg::VFTE, 0xFF},
                                                             {reg::LEDCTL, 0x07068302},
                                                             {reg::EEMNGCTL, 0x80000000},
                                                             {reg::RXPBS, 0x40},
                                                             {reg::TXPBS, 0x28},
                                                             {reg::RXDCTL(0), 0x02010000},
                                                             {reg::RXDCTL(15), 0x10000},
                                                             {reg::DTXCTL, 0x44},
                                                             {reg::TXCTL(7), 0x2A00},
                                                             {reg::TXDCTL(0), 0x02000000},
                                                             {reg::TXDCTL(1), 0},
                                                             {reg::RLPML, 0x2600},
                                                             {reg::VMOLR(3), 0x80002600},
                                                             {reg::RPLOLR, 0x80000000},
                                                             {reg::GCR, 0x06850200},
                                                             {reg::V2PMAILBOX(5), 0x40},
                                                             {0x1FFFC, 0}};
  for (const auto& [offset, value] : kValues) EXPECT_EQ(h.read(offset), value) << std::hex << offset;
}

/// The register map of the datasheet, section 8, in plain numbers: offset, how many, stride, value after
/// reset, and the bits that keep what is written (-1: not checked here, the register has side effects and its
/// own test).
struct Row {
  std::uint32_t offset, count, stride, reset;
  std::int64_t keeps;
};
constexpr std::int64_t kAll = 0xFFFFFFFF, kSpecial = -1;
constexpr Row kMap[] = {{0x00000, 1, 4, 0x00100209, kSpecial},
                        {0x00008, 1, 4, 0x80080481, kSpecial},
                        {0x00010, 1, 4, 0x1110, kSpecial},
                        {0x00014, 1, 4, 0, kSpecial},
                        {0x00018, 1, 4, 0, 0xFFFF9FFF},
                        {0x0001C, 1, 4, 0, kAll},
                        {0x00020, 1, 4, 0, kSpecial},
                        {0x00024, 1, 4, 0, kAll},
                        {0x00028, 1, 4, 0, kAll},
                        {0x0002C, 1, 4, 0, kAll},
                        {0x00030, 1, 4, 0, kAll},
                        {0x00038, 1, 4, 0x81008100, kAll},
                        {0x00E00, 1, 4, 0x07068302, kAll},
                        {0x01010, 1, 4, 0x80000000, kAll},
                        {0x05B50, 1, 4, 0, kSpecial},
                        {0x05B54, 1, 4, 0, 0},
                        {0x05B5C, 1, 4, 0, kAll},
                        {0x05B00, 1, 4, 0x06850200, kAll},
                        {0x05B30, 1, 4, 0, 0},
                        {0x05B68, 1, 4, 0, 0},
                        {0x05820, 1, 4, 0, kAll},
                        {0x05800, 1, 4, 0, kAll},
                        {0x05808, 1, 4, 0, kAll},
                        {0x05810, 1, 4, 0, 0},
                        // Interrupt.
                        {0x000C0, 1, 4, 0, kSpecial},
                        {0x000C8, 1, 4, 0, kSpecial},
                        {0x000D0, 1, 4, 0, kSpecial},
                        {0x000D8, 1, 4, 0, kSpecial},
                        {0x000E0, 1, 4, 0, kAll},
                        {0x01520, 1, 4, 0, kSpecial},
                        {0x01524, 1, 4, 0, kSpecial},
                        {0x01528, 1, 4, 0, kSpecial},
                        {0x0152C, 1, 4, 0, 0x1FFFFFF},
                        {0x01530, 1, 4, 0, 0x1FFFFFF},
                        {0x01580, 1, 4, 0, kSpecial},
                        {0x01514, 1, 4, 0, kAll},
                        {0x01680, 25, 4, 0, kSpecial},
                        {0x01700, 8, 4, 0, 0x9F9F9F9F},
                        {0x01740, 1, 4, 0, 0x9F9F},
                        // Receive.
                        {0x00100, 1, 4, 0, kAll},
                        {0x02160, 1, 4, 0, kAll},
                        {0x02168, 1, 4, 0, kAll},
                        {0x02404, 1, 4, 0x40, kAll},
                        {0x02408, 1, 4, 0, 0xFFFF},
                        {0x05000, 1, 4, 0x300, kAll},
                        {0x05004, 1, 4, 0x2600, 0x3FFF},
                        {0x05008, 1, 4, 0, kAll},
                        {0x05200, 128, 4, 0, kAll},
                        {0x05408, 15, 8, 0, kAll},
                        {0x0540C, 15, 8, 0, kAll},
                        {0x05480, 8, 4, 0, kAll},
                        {0x054E0, 8, 8, 0, kAll},
                        {0x054E4, 8, 8, 0, kAll},
                        {0x05600, 128, 4, 0, kAll},
                        {0x05818, 1, 4, 0, kAll},
                        {0x0581C, 1, 4, 0, kAll},
                        {0x05C00, 32, 4, 0, kAll},
                        {0x05C80, 10, 4, 0, kAll},
                        {0x05CB0, 8, 4, 0, kAll},
                        {0x05D00, 32, 4, 0, 0x801FFFFF},
                        {0x0A000, 128, 4, 0, kAll},
                        {0x05AD0, 8, 4, 0x80002600, kAll},
                        {0x05AF0, 1, 4, 0x80000000, kAll},
                        {0x05BBC, 1, 4, 0, kAll},
                        {0x05ACC, 1, 4, 0, kAll},
                        {0x05980, 8, 4, 0, kAll},
                        {0x059A0, 8, 4, 0, kAll},
                        {0x059C0, 8, 4, 0, kAll},
                        {0x059E0, 8, 4, 0, kAll},
                        {0x055FC, 1, 4, 0, kAll},
                        // Receive queues; RDH and RDT of idle queues keep what is written.
                        {0x0C000, 16, 0x40, 0, 0xFFFFFF80},
                        {0x0C004, 16, 0x40, 0, kAll},
                        {0x0C008, 16, 0x40, 0, 0xFFF80},
                        {0x0C00C, 16, 0x40, 0, kAll},
                        {0x0C010, 16, 0x40, 0, 0xFFFF},
                        {0x0C014, 16, 0x40, 0, kAll},
                        {0x0C018, 16, 0x40, 0, 0xFFFF},
                        {0x0C068, 15, 0x40, 0x10000, 0x021F1F1F},
                        {0x0C030, 16, 0x40, 0, 0},
                        {0x0C038, 16, 0x40, 0, kAll},
                        {0x0C028, 1, 4, 0x02010000, kSpecial},
                        // Transmit.
                        {0x00400, 1, 4, 0xA40400F8, kAll},
                        {0x00404, 1, 4, 0x10840, kAll},
                        {0x00410, 1, 4, 0x601008, kAll},
                        {0x03404, 1, 4, 0x28, kAll},
                        {0x03500, 1, 4, 0, kAll},
                        {0x03548, 1, 4, 0, 0},
                        {0x03554, 1, 4, 0, 0},
                        {0x03590, 1, 4, 0x44, kAll},
                        {0x03700, 8, 4, 0, 0xC000FFFF},
                        {0x0E000, 16, 0x40, 0, 0xFFFFFF80},
                        {0x0E004, 16, 0x40, 0, kAll},
                        {0x0E008, 16, 0x40, 0, 0xFFF80},
                        {0x0E010, 16, 0x40, 0, 0xFFFF},
                        {0x0E014, 16, 0x40, 0x2A00, kAll},
                        {0x0E018, 16, 0x40, 0, 0xFFFF},
                        {0x0E068, 15, 0x40, 0, 0x0A1F1F1F},
                        {0x0E028, 1, 4, 0x02000000, kSpecial},
                        {0x0E038, 16, 0x40, 0, 0xFFFFFFFD},
                        {0x0E03C, 16, 0x40, 0, kAll},
                        // SR-IOV.
                        {0x00800, 128, 4, 0, kAll},
                        {0x00C00, 8, 4, 0, kSpecial},
                        {0x00C40, 8, 4, 0x40, kSpecial},
                        {0x00C80, 1, 4, 0, 0},
                        {0x00C84, 1, 4, 0xFF, 0xFF},
                        {0x00C88, 1, 4, 0, 0},
                        {0x00C8C, 1, 4, 0xFF, 0xFF},
                        {0x00C90, 1, 4, 0xFF, 0xFF},
                        // Statistics: read only.
                        {0x04000, 75, 4, 0, 0}};

TEST(Registers, TheWholeMapResetsAndKeepsItsBits) {
  NicConfig c;
  c.link_up_at_reset = false;
  Host h("h", c);
  h.config_write(0, pci::BAR0, nic_test::kBar0);
  h.config_write(0, pci::COMMAND, pci::COMMAND_MEM, 2);  // no bus mastering: enabling queues fetches nothing
  for (const Row& r : kMap) {
    for (std::uint32_t i = 0; i < r.count; ++i) {
      ASSERT_EQ(h.read(r.offset + i * r.stride), r.reset) << std::hex << r.offset << " [" << i << "]";
    }
  }
  for (const Row& r : kMap) {
    if (r.keeps == kSpecial) continue;
    for (std::uint32_t i = 0; i < r.count; ++i) {
      const std::uint32_t at = r.offset + i * r.stride;
      const auto keeps = static_cast<std::uint32_t>(r.keeps);
      h.write(at, ~0u);
      ASSERT_EQ(h.read(at), (r.reset & ~keeps) | keeps) << std::hex << at;
      h.write(at, 0);
      h.settle();  // a queue that was enabled takes a moment to stop
      ASSERT_EQ(h.read(at), r.reset & ~keeps) << std::hex << at;
    }
  }
}

TEST(Registers, EveryAliasIsTheSameRegister) {
  Host h;
  h.bring_up();
  struct Alias {
    std::uint32_t from, to, words, stride;
  };
  const Alias kAliases[] = {
      {0x0168, 0x2160, 1, 4}, {0x0040, 0x5400, 32, 4}, {0x0600, 0x5600, 128, 4}, {0x0200, 0x5200, 128, 4}};
  for (const Alias& a : kAliases) {
    for (std::uint32_t i = 0; i < a.words; ++i) {
      h.write(a.from + i * a.stride, 0x1000 + i);
      ASSERT_EQ(h.read(a.to + i * a.stride), 0x1000 + i) << std::hex << a.from << " " << i;
    }
  }
  for (unsigned n = 0; n < 4; ++n) {
    for (const std::uint32_t low : {0x00, 0x04, 0x08, 0x14, 0x38}) {
      h.write(0x2800 + 0x100 * n + low, 0x1000 * (n + 1));
      EXPECT_EQ(h.read(reg::RDBAL(n) + low), 0x1000 * (n + 1));
      h.write(0x3800 + 0x100 * n + low, 0x1000 * (n + 1));
      EXPECT_EQ(h.read(reg::TDBAL(n) + low), 0x1000 * (n + 1));
    }
  }
  h.write(reg::CTRL_ALIAS, 0x00100249);
  EXPECT_EQ(h.read(reg::CTRL), 0x00100249u);
}

TEST(Registers, MasksAliasesAndClearOnRead) {
  Host h;
  h.bring_up();
  h.write(reg::RDBAL(2), 0xFFFFFFFF);
  EXPECT_EQ(h.read(0x2A00), 0xFFFFFF80u);  // alias, 128-byte aligned
  h.write(0x2A08, 0xFFFFFFFF);
  EXPECT_EQ(h.read(reg::RDLEN(2)), 0xFFF80u);
  h.write(reg::STATUS, 0);
  EXPECT_NE(h.read(reg::STATUS) & status::LU, 0u);
  h.write(reg::GPRC, 5);
  EXPECT_EQ(h.read(reg::GPRC), 0u);  // statistics are read only
  h.send(nic_test::plain_frame(60));
  h.settle();
  EXPECT_EQ(h.read(reg::GPRC), 1u);
  EXPECT_EQ(h.read(reg::GPRC), 0u);
  EXPECT_EQ(h.read(reg::GORCL), 64u);
  EXPECT_EQ(h.read(reg::GORCH), 0u);
  EXPECT_EQ(h.read(reg::GORCL), 0u);
  EXPECT_EQ(h.read(reg::SWSM) & 1, 0u);  // the semaphore is taken by reading
  EXPECT_EQ(h.read(reg::SWSM) & 1, 1u);
}

TEST(Registers, SoftwareResetKeepsPacketBuffersAndModeration) {
  Host h;
  h.bring_up();
  h.write(reg::RXPBS, 0x20);
  h.write(reg::EITR(3), eitr::from_us(100));
  h.write(reg::RETA(0), 0x01010101);
  h.write(reg::CTRL, ctrl::RST);
  EXPECT_EQ(h.read(reg::RXPBS), 0x20u);
  EXPECT_EQ(h.read(reg::EITR(3)) & 0x7FFC, eitr::from_us(100));
  EXPECT_EQ(h.read(reg::RETA(0)), 0u);
  EXPECT_EQ(h.read(reg::CTRL) & ctrl::RST, 0u);
  EXPECT_EQ(h.config_read(0, pci::COMMAND, 2), 6u);  // configuration space is untouched
}

TEST(ConfigSpace, IdentityCapabilitiesAndBars) {
  Host h;
  EXPECT_EQ(h.config_read(0, 0), 0x10C98086u);
  EXPECT_EQ(h.config_read(0, 8), 0x02000001u);
  std::vector<unsigned> found;
  for (std::uint32_t at = h.config_read(0, 0x34, 1); at != 0; at = h.config_read(0, at + 1, 1)) {
    found.push_back(h.config_read(0, at, 1));
    ASSERT_LE(found.size(), 8u);
  }
  EXPECT_EQ(found, (std::vector<unsigned>{0x01, 0x05, 0x11, 0x10}));
  h.config_write(0, pci::BAR0, 0xFFFFFFFF);
  EXPECT_EQ(h.config_read(0, pci::BAR0), 0xFFFE0000u);
  h.config_write(0, pci::BAR0 + 12, 0xFFFFFFFF);
  EXPECT_EQ(h.config_read(0, pci::BAR0 + 12), 0xFFFFC004u);
  h.config_write(0, pci::SRIOV_BAR0, 0xFFFFFFFF);
  EXPECT_EQ(h.config_read(0, pci::SRIOV_BAR0), 0xFFFFC00Cu);
  EXPECT_EQ(h.config_read(0, pci::EXP_DEVCAP) >> 28 & 1, 1u);  // FLR
  h.config_read(pci::vf_function(0), 0);
  EXPECT_TRUE(h.refused);  // no VF before VFE
}

TEST(ConfigSpace, NumVfsIsFixedWhileVfsAreEnabled) {
  Host h;
  h.bring_up();
  h.enable_vfs(3);
  EXPECT_EQ(status::num_vfs(h.read(reg::STATUS)), 3u);
  h.config_write(0, pci::SRIOV_NUM_VFS, 5, 2);
  EXPECT_EQ(h.config_read(0, pci::SRIOV_NUM_VFS, 2), 3u);
  EXPECT_EQ(h.config_read(pci::vf_function(2), 0), 0xFFFFFFFFu);
  EXPECT_FALSE(h.refused);
  h.config_read(pci::vf_function(3), 0);
  EXPECT_TRUE(h.refused);
  h.config_write(pci::vf_function(0), pci::COMMAND, 0xFFFF, 2);
  EXPECT_EQ(h.config_read(pci::vf_function(0), pci::COMMAND, 2), 4u);  // MEM of a VF is read only 0
  h.config_write(0, pci::SRIOV_CTRL, pci::SRIOV_VFE, 2);               // VF MSE off
  h.read(vfreg::STATUS, Host::vf_bar0(0));
  EXPECT_TRUE(h.refused);
}

TEST(ConfigSpace, MemoryDecodesOnlyWithCommandMem) {
  Host h;
  h.bring_up();
  EXPECT_NE(h.read(reg::STATUS), ~0u);
  h.config_write(0, pci::COMMAND, pci::COMMAND_BME, 2);
  h.read(reg::STATUS);
  EXPECT_TRUE(h.refused);
}

TEST(Mailbox, MessagesLocksAndReset) {
  Host h;
  h.bring_up();
  h.enable_vfs(2);
  const std::uint64_t vf1 = Host::vf_bar0(1);
  EXPECT_EQ(h.read(vfreg::V2PMAILBOX, vf1), v2p::RSTI);
  h.write(reg::CTRL_EXT, ctrl_ext::PFRSTD);
  EXPECT_EQ(h.read(vfreg::V2PMAILBOX, vf1), v2p::RSTD);
  EXPECT_EQ(h.read(vfreg::V2PMAILBOX, vf1), 0u);  // RSTD clears on read
  h.write(vfreg::V2PMAILBOX, v2p::VFU, vf1);
  h.write(reg::P2VMAILBOX(1), p2v::PFU);
  EXPECT_EQ(h.read(reg::P2VMAILBOX(1)), p2v::VFU);  // the PF did not get the lock
  h.write(vfreg::VMBMEM, 0x20000001, vf1);
  h.write(vfreg::V2PMAILBOX, v2p::REQ, vf1);
  EXPECT_EQ(h.read(reg::MBVFICR), 2u);
  EXPECT_NE(h.read(reg::ICR) & icr::VMMB, 0u);
  EXPECT_EQ(h.read(reg::VMBMEM(1)), 0x20000001u);
  h.write(reg::MBVFICR, 2);
  EXPECT_EQ(h.read(reg::MBVFICR), 0u);
  h.write(reg::P2VMAILBOX(1), p2v::STS | p2v::ACK | p2v::RVFU);
  EXPECT_EQ(h.read(vfreg::V2PMAILBOX, vf1), v2p::PFSTS | v2p::PFACK);
  EXPECT_EQ(h.read(vfreg::V2PMAILBOX, vf1), 0u);
}

TEST(NvmPhy, ChecksumAndAutonegotiation) {
  NicConfig c;
  c.link_up_at_reset = false;
  c.autonegotiation_us = 100;
  Host h("h", c);
  h.bring_up();
  std::uint16_t sum = 0;
  for (unsigned word = 0; word < 0x40; ++word) {
    h.write(reg::EERD, word << 2 | 1);
    const std::uint32_t v = h.read(reg::EERD);
    ASSERT_NE(v & 2, 0u);
    sum = static_cast<std::uint16_t>(sum + (v >> 16));
  }
  EXPECT_EQ(sum, 0xBABA);
  h.write(reg::MDIC, bit(26) | 1u << 21 | 0x1200);
  h.run(50 * sim::kMicrosecond);
  EXPECT_EQ(h.read(reg::STATUS) & status::LU, 0u);
  h.run(60 * sim::kMicrosecond);
  EXPECT_NE(h.read(reg::STATUS) & status::LU, 0u);
  EXPECT_NE(h.read(reg::ICR) & icr::LSC, 0u);
  h.write(reg::MDIC, bit(27) | 1u << 21 | 1u << 16);
  EXPECT_EQ(h.read(reg::MDIC) & 0xFFFF, 0x796Du);
}

TEST(Config, ValidationNamesTheField) {
  NicConfig c;
  c.descriptor_cache_depth = 65;
  try {
    c.validate();
    FAIL();
  } catch (const sim::Error& e) {
    EXPECT_NE(std::string(e.what()).find("nic.descriptor_cache_depth"), std::string::npos);
  }
  for (unsigned gigabits : {1u, 10u, 25u, 100u}) EXPECT_NO_THROW(NicConfig::profile(gigabits));
}

}  // namespace
