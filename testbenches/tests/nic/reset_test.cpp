// SPDX-License-Identifier: Apache-2.0
// What stops the device, and what does not: bus mastering, FLR, VF disable, queue disable, failed descriptor
// reads.
#include <gtest/gtest.h>

#include "nic_host.h"

namespace {

using namespace nic;
using nic_test::Host;
using nic_test::kOneBuffer2K;
using nic_test::plain_frame;

std::uint64_t dropped(const Host& h, DropReason r) {
  return h.nic.stats().frames_dropped[static_cast<std::size_t>(r)];
}

TEST(BusMaster, OffStopsEveryRequestOnGoesOn) {
  Host h;
  h.bring_up();
  h.rx_ring(0, 16, kOneBuffer2K);
  h.settle();
  h.config_write(0, pci::COMMAND, pci::COMMAND_MEM, 2);
  h.watch();
  for (int i = 0; i < 3; ++i) h.send(plain_frame(60));
  h.write(reg::RDT(0), 12);
  h.settle();
  EXPECT_TRUE(h.log.empty());
  h.config_write(0, pci::COMMAND, pci::COMMAND_MEM | pci::COMMAND_BME, 2);
  h.settle();
  EXPECT_EQ(h.nic.stats().frames_delivered, 3u);
}

TEST(StaleIova, CachedDescriptorsAreUsedAfterTheHostForgotThem) {
  Host h;
  h.bring_up();
  h.rx_ring(0, 64, kOneBuffer2K, dctl::make(8, 8, 1));
  h.settle();
  // The driver goes away without quiescing the device: ring memory is re-used by somebody else.
  std::vector<std::uint64_t> held;
  h.nic.held_descriptors(0, [&](const Nic::HeldDescriptor& d) { held.push_back(d.buffer.value); });
  ASSERT_EQ(held.size(), 8u);
  for (unsigned i = 0; i < 64; ++i) h.store.store<std::uint64_t>(sim::PhysAddr(Host::ring_of(0) + 16 * i), 0);
  h.watch();
  h.send(plain_frame(60));
  h.settle();
  ASSERT_FALSE(h.log.empty());
  EXPECT_EQ(h.log[0].address, held[0]);  // the old address, long gone from memory
  // FLR forgets them.
  h.log.clear();
  h.config_write(0, pci::EXP_DEVCTL, pci::DEVCTL_FLR, 2);
  h.nic.held_descriptors(0, [](const Nic::HeldDescriptor&) { FAIL(); });
  h.send(plain_frame(60));
  h.settle();
  EXPECT_TRUE(h.log.empty());
}

TEST(Flr, PfLosesEverythingVfsIncluded) {
  Host h;
  h.bring_up();
  h.enable_vfs(2);
  h.config_write(0, pci::EXP_DEVCTL, pci::DEVCTL_FLR, 2);
  EXPECT_EQ(h.config_read(0, pci::COMMAND, 2), 0u);
  EXPECT_EQ(h.config_read(0, pci::BAR0), 0u);
  EXPECT_EQ(h.config_read(0, pci::SRIOV_CTRL, 2), 0u);
  EXPECT_EQ(h.config_read(0, pci::EXP_DEVCTL, 2) & pci::DEVCTL_FLR, 0u);
  h.config_read(pci::vf_function(0), 0);
  EXPECT_TRUE(h.refused);
}

TEST(Flr, PfLosesTheLinkAsAfterPowerOn) {
  NicConfig c;
  c.link_up_at_reset = false;
  c.autonegotiation_us = 100;
  Host h("h", c);
  h.bring_up();
  h.write(reg::MDIC, 1u << 26 | 1u << 21 | 0x1200);  // auto-negotiation
  h.settle();
  ASSERT_EQ(h.read(reg::STATUS), 0x80080483u);
  h.config_write(0, pci::EXP_DEVCTL, pci::DEVCTL_FLR, 2);
  h.settle();
  h.config_write(0, pci::BAR0, nic_test::kBar0);
  h.config_write(0, pci::COMMAND, pci::COMMAND_MEM | pci::COMMAND_BME, 2);
  EXPECT_EQ(h.read(reg::STATUS), 0x80080481u);
  h.write(reg::MDIC, 1u << 27 | 1u << 21);
  EXPECT_EQ(h.read(reg::MDIC) & 0xFFFF, 0x1140u);
}

TEST(Flr, VfStopsItsQueuesAndTellsThePf) {
  Host h;
  h.bring_up();
  h.enable_vfs(2);
  h.enable_vmdq(2);
  for (unsigned vf = 0; vf < 2; ++vf)
    h.rx_ring(vf, 16, kOneBuffer2K, 0x10000, 1, Host::vf_bar0(vf), vfreg::RX(0));
  h.settle();
  h.config_write(pci::vf_function(1), pci::EXP_DEVCTL, pci::DEVCTL_FLR, 2);
  EXPECT_EQ(h.read(reg::VFLRE), 2u);
  EXPECT_EQ(h.read(reg::VFRE), 0xFDu);
  EXPECT_NE(h.read(reg::ICR) & icr::VMMB, 0u);
  EXPECT_EQ(h.read(reg::RXDCTL(1)) & dctl::ENABLE, 0u);
  EXPECT_NE(h.read(reg::RXDCTL(0)) & dctl::ENABLE, 0u);
  h.send(plain_frame(60, {2, 0x55, 0, 0, 0, 1}));
  h.send(plain_frame(60, {2, 0x55, 0, 0, 0, 0}));
  h.settle();
  EXPECT_EQ(h.nic.stats().frames_delivered, 1u);
  EXPECT_EQ(dropped(h, DropReason::kQueueDisabled), 1u);
}

TEST(VfDisable, RemovesFunctionsAndTheirTrafficAtOnce) {
  Host h;
  h.bring_up();
  h.enable_vfs(1);
  h.enable_vmdq(1);
  h.rx_ring(0, 16, kOneBuffer2K, 0x10000, 1, Host::vf_bar0(0), vfreg::RX(0));
  h.settle();
  unsigned gone = 0;
  h.nic.trace().vf_disabled.subscribe([&](const VfDisabled& e) {
    EXPECT_EQ(e.requester.value, 0x180u);
    ++gone;
  });
  for (int i = 0; i < 20; ++i) h.send(plain_frame(1500, {2, 0x55, 0, 0, 0, 0}));
  h.run(8 * sim::kMicrosecond);  // in the middle of it
  ASSERT_GT(h.nic.stats().frames_delivered, 0u);
  h.watch();
  h.config_write(0, pci::SRIOV_CTRL, 0, 2);
  EXPECT_EQ(gone, 1u);
  h.settle();
  for (const auto& tlp : h.log) EXPECT_NE(tlp.requester, 0x180u);
  h.read(vfreg::STATUS, Host::vf_bar0(0));
  EXPECT_TRUE(h.refused);
  EXPECT_EQ(h.nic.stats().frames_arrived, 20u);
}

TEST(QueueDisable, FinishesThenReadsZeroAndRestartsClean) {
  Host h;
  h.bring_up();
  h.rx_ring(0, 16, kOneBuffer2K);
  h.send(plain_frame(60));
  h.settle();
  h.write(reg::RXDCTL(0), 0x10000);
  h.settle();
  EXPECT_EQ(h.read(reg::RXDCTL(0)) & dctl::ENABLE, 0u);
  h.send(plain_frame(60));
  h.settle();
  EXPECT_EQ(dropped(h, DropReason::kQueueDisabled), 1u);
  h.rx_ring(0, 16, kOneBuffer2K);
  h.send(plain_frame(60));
  h.settle();
  EXPECT_EQ(h.read(reg::RDH(0)), 1u);
  EXPECT_TRUE(h.rx_descriptor(0, 0).dd());
}

TEST(MasterDisable, StatusFollowsOutstandingReads) {
  Host h;
  h.bring_up();
  h.rx_ring(0, 64, kOneBuffer2K, dctl::make(8, 8, 1));
  h.run(60 * sim::kNanosecond);  // a fetch is on its way
  h.write(reg::CTRL, h.read(reg::CTRL) | ctrl::GIO_MASTER_DISABLE);
  EXPECT_NE(h.read(reg::STATUS) & status::GIO_MASTER_ENABLE, 0u);
  EXPECT_NE(h.config_read(0, pci::EXP_DEVSTA, 2) & pci::DEVSTA_TRANSACTIONS_PENDING, 0u);
  h.settle();
  EXPECT_EQ(h.read(reg::STATUS) & status::GIO_MASTER_ENABLE, 0u);
  EXPECT_EQ(h.config_read(0, pci::EXP_DEVSTA, 2) & pci::DEVSTA_TRANSACTIONS_PENDING, 0u);
}

TEST(FailedFetch, PoisonedDataAreLoggedAsPoisonAndNotAsARefusal) {
  Host h;
  h.bring_up();
  h.memory.poisons = [](const tlm::tlm_generic_payload& p) { return p.is_read(); };
  h.rx_ring(0, 16, kOneBuffer2K);
  h.send(plain_frame(60));
  h.settle();
  EXPECT_NE(h.read(reg::ICR) & icr::NFER, 0u);
  EXPECT_EQ(h.read(reg::RDH(0)), 0u) << "poisoned descriptors are not used";
  EXPECT_EQ(h.config_read(0, pci::AER + 4) >> 20 & 1, 0u) << "unsupported request";
  EXPECT_EQ(h.config_read(0, pci::AER + 4) >> 12 & 1, 1u) << "poisoned TLP";
  EXPECT_EQ(h.config_read(0, pci::EXP_DEVSTA, 2) & 0x0A, 0x02u) << "non-fatal error, no unsupported request";
  EXPECT_EQ(h.config_read(0, pci::COMMAND + 2, 2) >> 15, 1u) << "detected parity error";
  // Write 1 clears.
  h.config_write(0, pci::COMMAND + 2, 0x8000, 2);
  h.config_write(0, pci::AER + 4, 1u << 12);
  EXPECT_EQ(h.config_read(0, pci::COMMAND + 2, 2) >> 15, 0u);
  EXPECT_EQ(h.config_read(0, pci::AER + 4) >> 12 & 1, 0u);
}

TEST(FailedFetch, StopsTheQueueAndLeavesTheHead) {
  Host h;
  h.bring_up();
  h.memory.refuses = [](const tlm::tlm_generic_payload& p) { return p.is_read(); };
  h.rx_ring(0, 16, kOneBuffer2K);
  h.send(plain_frame(60));
  h.settle();
  EXPECT_NE(h.read(reg::ICR) & icr::NFER, 0u);
  EXPECT_EQ(h.read(reg::RDH(0)), 0u);
  EXPECT_NE(h.config_read(0, pci::AER + 4) >> 20 & 1, 0u);
  EXPECT_EQ(dropped(h, DropReason::kQueueStopped), 1u);
  // Reprogrammed, it works again.
  h.memory.refuses = nullptr;
  h.write(reg::RXDCTL(0), 0);
  h.rx_ring(0, 16, kOneBuffer2K);
  h.send(plain_frame(60));
  h.settle();
  EXPECT_TRUE(h.rx_descriptor(0, 0).dd());
}

TEST(Interrupt, MaskedVectorPendsAndBusMasterOffLosesIt) {
  Host h;
  h.bring_up();
  h.msix(1, 0x11);
  h.write(16 + 12, 1, nic_test::kBar3);
  h.config_write(0, pci::MSIX, pci::MSIX_ENABLE << 16);
  h.write(reg::GPIE, gpie::MULTIPLE_MSIX | gpie::NSICR | gpie::EIAME);
  h.write(reg::EIAC, bit(1));
  h.write(reg::EIAM, bit(1));
  h.write(reg::EIMS, bit(1));
  h.write(reg::EICS, bit(1));
  h.settle();
  EXPECT_EQ(h.read(pci::kPbaOffset, nic_test::kBar3), 2u);
  EXPECT_EQ(h.read(reg::EIMS), 0u);  // auto-masked
  h.write(16 + 12, 0, nic_test::kBar3);
  h.settle();
  EXPECT_EQ(h.take_doorbell(1), 0x11u);
  h.config_write(0, pci::COMMAND, pci::COMMAND_MEM, 2);
  h.write(reg::EIMS, bit(1));
  h.write(reg::EICS, bit(1));
  h.settle();
  h.config_write(0, pci::COMMAND, pci::COMMAND_MEM | pci::COMMAND_BME, 2);
  h.settle();
  EXPECT_EQ(h.take_doorbell(1), 0u);
  EXPECT_EQ(h.nic.stats().interrupts_lost, 1u);
}

TEST(Interrupt, VfVectorsUseTheVfsTableAndRequester) {
  Host h;
  h.bring_up();
  h.enable_vfs(2);
  h.enable_vmdq(2);
  h.msix(1, 0x77, Host::vf_bar3(1));
  h.config_write(pci::vf_function(1), pci::MSIX, pci::MSIX_ENABLE << 16);
  h.write(vfreg::VTIVAR, ivar::VALID | 1, Host::vf_bar0(1));
  h.write(vfreg::EIAC, 2, Host::vf_bar0(1));
  h.write(vfreg::EIAM, 2, Host::vf_bar0(1));
  h.write(vfreg::EIMS, 2, Host::vf_bar0(1));
  h.rx_ring(1, 16, kOneBuffer2K, 0x10000, 1, Host::vf_bar0(1), vfreg::RX(0));
  h.settle();
  h.watch();
  h.send(plain_frame(60, {2, 0x55, 0, 0, 0, 1}));
  h.settle();
  ASSERT_FALSE(h.log.empty());
  EXPECT_EQ(h.log.back().address, Host::doorbell(1));
  EXPECT_EQ(h.log.back().requester, 0x182u);
  EXPECT_EQ(h.read(vfreg::EIMS, Host::vf_bar0(1)), 0u);
}

}  // namespace
