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
