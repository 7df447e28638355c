// SPDX-License-Identifier: Apache-2.0
// The performance monitor in time: iohpmcycles sets its overflow bit, its pending bit and its interrupt on
// the very cycle, without anybody touching a register.
#include <gtest/gtest.h>

#include "testbenches/tests/iommu/fixture.h"

namespace {

using iommu::IommuConfig;
using iommu_test::Cycle;
using iommu_test::kCycle;
using iommu_test::World;
namespace reg = iommu::reg;

constexpr std::uint64_t kOverflow = 1ull << 63;
constexpr std::uint64_t kMailbox = 0x2400'0010;

void message_vector(World& w) {
  w.registers.write(reg::kIcvec, 8, 0x300);  // pmiv 3
  w.registers.write(reg::msi_addr(3), 8, kMailbox);
  w.registers.write(reg::msi_data(3), 4, 0x77);
}

/// Cycles at which the message was written.
std::vector<Cycle> messages(const World& w) {
  std::vector<Cycle> at;
  for (const auto& a : w.memory.walked) {
    if (a.write && a.address == kMailbox) at.push_back(a.at);
  }
  return at;
}

TEST(IommuCounters, CyclesOverflowInterruptsOnItsCycleInEveryModeOfTime) {
  IommuConfig c;
  c.register_cycles = 6;
  c.interrupt_cycles = 5;
  World skip("skip", c, {}), every("every", c, {true, true}), step("step", c, {false, false});
  World* all[] = {&skip, &every, &step};
  constexpr Cycle kLeft = 700;
  for (World* w : all) {
    w->start();
    message_vector(*w);
    w->registers.write_at(1000, reg::kIohpmcycles, 8, kOverflow - kLeft);
  }
  for (World* w : all) w->sim.timeline().run_until(3000 * kCycle);
  // Written at the edge that sees the access (1001) + register_cycles; then it counts every edge.
  const Cycle overflow = 1001 + c.register_cycles + kLeft;
  for (World* w : all) {
    EXPECT_EQ(messages(*w), std::vector<Cycle>{overflow + c.interrupt_cycles});
    EXPECT_EQ(w->registers.read(reg::kIpsr, 4), iommu::ipsr::kPmip);
    EXPECT_EQ(w->registers.read(reg::kIocountovf, 4), 1u);
    EXPECT_EQ(w->registers.read(reg::kIohpmcycles, 8), kOverflow | (3000 - overflow));
    EXPECT_EQ(w->sim.digest().hex(), skip.sim.digest().hex());
  }
}

TEST(IommuCounters, CyclesOverflowFollowsInhibitAndRewritingAndHappensOnce) {
  IommuConfig c;
  World w("w", c);
  w.start();
  message_vector(w);
  w.registers.write_at(1000, reg::kIohpmcycles, 8, kOverflow - 500);
  w.registers.write_at(1100, reg::kIocountinh, 4, 1);  // stands still for 1000 cycles
  w.registers.write_at(2100, reg::kIocountinh, 4, 0);
  w.registers.write_at(2200, reg::kIohpmcycles, 8, kOverflow - 900);  // and begins once more
  w.run(2200 + 899);
  EXPECT_TRUE(messages(w).empty());
  const Cycle overflow = 2201 + c.register_cycles + 900;
  w.run(1000);
  EXPECT_EQ(messages(w), std::vector<Cycle>{overflow + c.interrupt_cycles});
  // OF stays set: another wrap is silent.
  w.registers.write(reg::kIpsr, 4, iommu::ipsr::kPmip);
  w.registers.write(reg::kIohpmcycles, 8, kOverflow | (kOverflow - 100));
  w.run(1000);
  EXPECT_EQ(w.registers.read(reg::kIpsr, 4), 0u);
  EXPECT_EQ(messages(w).size(), 1u);
  // Cleared, the next one counts.
  w.registers.write(reg::kIohpmcycles, 8, kOverflow - 100);
  w.run(1000);
  EXPECT_EQ(w.registers.read(reg::kIpsr, 4), iommu::ipsr::kPmip);
  EXPECT_EQ(messages(w).size(), 2u);
}

TEST(IommuCounters, CyclesOverflowDrivesItsWireAndALookAtTheCounterChangesNothing) {
  IommuConfig c;
  c.architecture.capabilities = (c.architecture.capabilities & ~iommu::mask(29, 28)) | iommu::cap::kIgsWsi;
  c.architecture.fctl_reset = iommu::fctl::kWsi;
  World w("w", c), watched("watched", c);
  std::vector<sim::Tick> risen[2];
  World* const both[] = {&w, &watched};
  for (int i = 0; i < 2; ++i) {
    World& x = *both[i];
    x.unit.interrupt_wire = [&, i](unsigned, bool level) {
      if (level) risen[i].push_back(both[i]->sim.now());
    };
    x.start();
    message_vector(x);
    x.registers.write_at(100, reg::kIohpmcycles, 8, kOverflow - 300);
  }
  for (Cycle end = 10; end < 1000; end += 7) {
    for (World* x : both) x->sim.timeline().run_until(end * kCycle);
    sim::Transaction* t = watched.sim.payloads().acquire(tlm::TLM_READ_COMMAND, reg::kIohpmcycles, 8);
    ASSERT_EQ(watched.registers.socket->transport_dbg(*t), 8u);
    std::uint64_t seen = 0;
    std::memcpy(&seen, t->get_data_ptr(), 8);
    if (const Cycle set = 101 + c.register_cycles; end >= set) {
      EXPECT_EQ(seen & ~kOverflow, (kOverflow - 300 + end - set) & ~kOverflow);
    }
    t->release();
  }
  const std::vector<sim::Tick> expected{(101 + c.register_cycles + 300) * kCycle};
  EXPECT_EQ(risen[0], expected);
  EXPECT_EQ(risen[1], expected);
}

/// Every statistic of a miss, from the tables that were built: which level of the walk caches is hit, how
/// many reads remain, merged misses, invalidations, causes.
TEST(IommuStatistics, WalkCacheHitsByLevelMergedMissesInvalidationsAndCauses) {
  World w("w");
  w.start();
  w.attach(1, 1);
  const std::uint64_t target = 0x8100'0000;
  w.map(1, 0x4000'0000, target);
  w.map(1, 0x4000'1000, target);  // shares the leaf table
  w.map(1, 0x4020'0000, target);  // shares the table above it
  w.map(1, 0x8000'0000, target);  // shares the root only
  w.device.send(100, 1, true, 0x4000'0000);
  w.device.send(1000, 1, true, 0x4000'1000);
  w.device.send(2000, 1, true, 0x4020'0000);
  w.device.send(3000, 1, true, 0x8000'0000);
  w.device.send(4000, 1, true, 0x8020'0000);                                    // 15: nothing there
  w.device.send(4100, 1, false, 0x8020'0000, false);                            // 13
  w.device.send(4200, 2, false, 0x4000'0000, false);                            // 258: no such device
  for (Cycle i = 0; i < 3; ++i) w.device.send(5000 + i, 1, true, 0x4020'1000);  // one walk, three faults
  w.run(8000);
  auto s = w.stats();
  EXPECT_EQ(s.at("walk_cache.first_stage.level_0.hits"), 1 + 1);  // the second; 0x40201000, one walk of three
  EXPECT_EQ(s.at("walk_cache.first_stage.level_1.hits"), 1 + 2);  // the third; 0x80200000 twice
  EXPECT_EQ(s.at("walk_cache.second_stage.level_0.hits"), 0);
  EXPECT_EQ(s.at("walks.first_stage.level_2"), 2);  // from the root: 1 GiB apart
  EXPECT_EQ(s.at("walks.accesses.ddt"), 3 + 3);     // once for device 1, as far as it goes for device 2
  EXPECT_EQ(s.at("iotlb.merged_misses"), 2);
  EXPECT_EQ(s.at("faults.cause_15"), 1 + 3);
  EXPECT_EQ(s.at("faults.cause_13"), 1);
  EXPECT_EQ(s.at("faults.cause_258"), 1);
  EXPECT_EQ(s.at("faults"), 6);
  EXPECT_EQ(s.at("invalidations"), 0);
  w.queue_command(iommu::cmd::with_address(iommu::cmd::iotinval_vma(), 0x4000'0000));
  w.queue_command(iommu::cmd::iotinval_vma());
  w.queue_command(iommu::cmd::iodir_inval_ddt());
  w.queue_command(iommu::cmd::iofence(false, false));
  w.ring();
  w.run(1000);
  s = w.stats();
  EXPECT_EQ(s.at("invalidations"), 3);
  EXPECT_EQ(s.at("iotlb.invalidated"), 4);
  EXPECT_EQ(s.at("iotlb.valid"), 0);
  EXPECT_EQ(s.at("fences"), 1);
}

}  // namespace
