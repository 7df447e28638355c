// SPDX-License-Identifier: Apache-2.0
// Laws of the timed IOMMU: latencies derived from the parameters, order, merging, faults, invalidation and
// fence.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "testbenches/tests/iommu/fixture.h"

namespace {

using iommu::IommuConfig;
using iommu_test::Cycle;
using iommu_test::kCycle;
using iommu_test::World;
namespace cmd = iommu::cmd;
namespace reg = iommu::reg;

constexpr std::uint64_t kTarget = 0x8100'0000;

/// A read of the walker port: request at c, seen by the memory at c+1, answered `latency` later, seen at +1.
Cycle read_cycles(const IommuConfig& c, Cycle memory_latency) {
  return memory_latency + 2 + c.walk_step_cycles;
}

TEST(IommuLatency, MissAndHitFollowFromTheParameters) {
  std::vector<IommuConfig> configs(3);
  configs[1].lookup_cycles = 5;
  configs[1].walk_start_cycles = 3;
  configs[1].walk_step_cycles = 0;
  configs[1].forward_cycles = 4;
  configs[2].lookup_cycles = 0;
  configs[2].walk_step_cycles = 7;
  configs[2].walk_cache_enabled = false;
  const Cycle memory_latency[] = {20, 33, 1};
  std::vector<std::unique_ptr<World>> worlds;
  for (int i = 0; i < 3; ++i) {
    worlds.push_back(
        std::make_unique<World>("w" + std::to_string(i), configs[i], sim::TimeMode{}, memory_latency[i]));
    World& w = *worlds.back();
    w.start();
    w.attach(0x1234, 1);
    w.map(1, 0x4000'1000, kTarget);
    w.map(1, 0x4000'2000, kTarget + 0x1000);
    w.device.send(1000, 0x1234, true, 0x4000'1040);  // three directory levels, three table levels
    w.device.send(3000, 0x1234, true, 0x4000'1080);  // hit
    w.device.send(4000, 0x1234, true, 0x4000'2000);  // context cached; only the leaf if tables are cached
  }
  for (int i = 0; i < 3; ++i) {
    World& w = *worlds[static_cast<std::size_t>(i)];
    const IommuConfig& c = configs[static_cast<std::size_t>(i)];
    w.sim.timeline().run_until((6000 + static_cast<Cycle>(i)) * kCycle);
    ASSERT_EQ(w.translated.size(), 3u);
    const auto walk = [&](unsigned reads) {
      return c.lookup_cycles + c.walk_start_cycles + reads * read_cycles(c, memory_latency[i]) +
             c.forward_cycles;
    };
    // Sent at edge n, seen at edge n+1.
    EXPECT_EQ(w.translated[0].time, (1001 + walk(6)) * kCycle);
    EXPECT_FALSE(w.translated[0].iotlb_hit);
    EXPECT_EQ(w.translated[1].time, (3001 + c.lookup_cycles) * kCycle);
    EXPECT_TRUE(w.translated[1].iotlb_hit);
    EXPECT_EQ(w.translated[2].time, (4001 + walk(c.walk_cache_enabled ? 1 : 3)) * kCycle);
    EXPECT_EQ(w.memory.seen[0].address, kTarget + 0x40);
    EXPECT_EQ(w.device.done[0].address, 0x4000'1040u);  // the address is restored
  }
}

TEST(IommuOrder, PostedWritesOfOneRequesterLeaveInOrderOthersOvertake) {
  World w("w");
  w.start();
  w.attach(1, 1);
  w.attach(2, 2);
  for (std::uint64_t i = 0; i < 4; ++i) {
    w.map(1, 0x10'0000 + i * 0x1000, kTarget + i * 0x1000);
    w.map(2, 0x10'0000 + i * 0x1000, kTarget + 0x10'0000 + i * 0x1000);
  }
  w.device.send(100, 1, true, 0x10'0000);
  w.device.send(100, 2, true, 0x10'0000);
  // Now page 0 hits for both. Requester 1: miss, then hit; requester 2: hit; requester 1: read hit.
  const auto miss = w.device.send(2000, 1, true, 0x10'1000);
  const auto behind = w.device.send(2001, 1, true, 0x10'0000);
  const auto other = w.device.send(2002, 2, true, 0x10'0040);
  const auto read = w.device.send(2003, 1, false, 0x10'0080, false);
  w.run(5000);
  ASSERT_EQ(w.translated.size(), 6u);
  EXPECT_EQ(w.translated[2].requester.value, 2u);
  EXPECT_EQ(w.translated[2].time, (2003 + IommuConfig{}.lookup_cycles) * kCycle);
  EXPECT_EQ(w.translated[3].iova.value, 0x10'1000u);
  EXPECT_EQ(w.translated[4].iova.value, 0x10'0000u);
  EXPECT_EQ(w.translated[5].iova.value, 0x10'0080u);
  EXPECT_EQ(w.translated[4].time, w.translated[3].time + kCycle);
  for (auto tag : {miss, behind, other, read}) EXPECT_NE(w.device.completion(tag), nullptr);
}

TEST(IommuOrder, APostedWriteOvertakesAWaitingRead) {
  World w("w");
  w.start();
  w.attach(1, 1);
  w.map(1, 0x10'0000, kTarget);
  w.map(1, 0x10'1000, kTarget + 0x1000);
  w.device.send(100, 1, true, 0x10'0000);
  w.device.send(2000, 1, false, 0x10'1000, false);  // miss
  w.device.send(2001, 1, true, 0x10'0000);          // hit
  w.run(5000);
  ASSERT_EQ(w.translated.size(), 3u);
  EXPECT_TRUE(w.translated[1].write);
  EXPECT_FALSE(w.translated[2].write);
}

TEST(IommuFault, PostedWriteIsDroppedAndLoggedOnceReadIsRefused) {
  World w("w");
  w.start(8, true);
  w.attach(1, 1);
  w.map(1, 0x10'0000, kTarget);
  const auto good0 = w.device.send(100, 1, true, 0x10'0000);
  const auto bad_write = w.device.send(101, 1, true, 0x20'0000);
  const auto good1 = w.device.send(102, 1, true, 0x10'0040);
  const auto bad_read = w.device.send(103, 1, false, 0x20'0008, false, 8);
  w.run(3000);
  EXPECT_EQ(w.memory.seen.size(), 2u);  // the faulting write never reaches memory
  EXPECT_EQ(w.device.completion(good0)->status, sim::CompletionStatus::kSuccess);
  EXPECT_EQ(w.device.completion(good1)->status, sim::CompletionStatus::kSuccess);
  EXPECT_EQ(w.device.completion(bad_write)->status, sim::CompletionStatus::kUnsupportedRequest);
  EXPECT_EQ(w.device.completion(bad_read)->status, sim::CompletionStatus::kUnsupportedRequest);
  ASSERT_EQ(w.faults.size(), 2u);
  EXPECT_TRUE(w.faults[0].posted && w.faults[0].recorded);
  EXPECT_EQ(w.registers.read(reg::kFqt, 4), 2u);
  EXPECT_EQ(w.record(0).cause(), iommu::Cause::kWritePageFault);
  EXPECT_EQ(w.record(0).ttyp(), iommu::Ttyp::kUntranslatedWrite);
  EXPECT_EQ(w.record(0).device_id(), 1u);
  EXPECT_EQ(w.record(0).iotval(), 0x20'0000u);
  EXPECT_EQ(w.record(1).cause(), iommu::Cause::kReadPageFault);
  EXPECT_EQ(w.record(1).iotval(), 0x20'0008u);
  // One message although two records came: the pending bit stayed set.
  const auto msi = std::count_if(w.memory.walked.begin(), w.memory.walked.end(),
                                 [](const auto& a) { return a.write && a.address == 0x2400'0000; });
  EXPECT_EQ(msi, 1);
  EXPECT_EQ(w.registers.read(reg::kIpsr, 4), iommu::ipsr::kFip);
  EXPECT_TRUE(w.unit.idle());
}

TEST(IommuFault, OverflowOfTheFaultQueueNeverBlocksTranslation) {
  IommuConfig c;
  c.fault_buffer = 2;
  World w("w", c);
  w.start(1);  // two entries: one record fits
  w.attach(1, 1);
  w.map(1, 0x10'0000, kTarget);
  for (unsigned i = 0; i < 20; ++i) w.device.send(100 + i, 1, true, 0x20'0000 + i * 0x1000);
  const auto good = w.device.send(130, 1, true, 0x10'0000);
  w.run(20000);
  EXPECT_EQ(w.faults.size(), 20u);
  EXPECT_NE(w.device.completion(good), nullptr);
  EXPECT_EQ(w.memory.seen.size(), 1u);
  EXPECT_EQ(w.registers.read(reg::kFqt, 4), 1u);
  EXPECT_NE(w.registers.read(reg::kFqcsr, 4) & iommu::qcsr::kOverflow, 0u);
}

TEST(IommuMiss, MissesToOnePageShareOneWalk) {
  World w("w");
  w.start();
  w.attach(1, 1);
  w.map(1, 0x10'0000, kTarget);
  for (unsigned i = 0; i < 8; ++i) w.device.send(100 + i, 1, true, 0x10'0000 + i * 64);
  w.run(3000);
  const auto s = w.stats();
  EXPECT_EQ(s.at("walks"), 1);
  EXPECT_EQ(s.at("iotlb.merged_misses"), 7);
  EXPECT_EQ(w.memory.seen.size(), 8u);
  for (unsigned i = 0; i < 8; ++i) EXPECT_EQ(w.memory.seen[i].address, kTarget + i * 64);
}

TEST(IommuMiss, HitUnderMissAndTheMissQueueAreParameters) {
  std::vector<IommuConfig> configs(4);
  configs[1].hit_under_miss = false;
  configs[2].miss_queue = 2;
  configs[3].miss_queue = 3;
  std::vector<std::unique_ptr<World>> worlds;
  for (int i = 0; i < 4; ++i) {
    worlds.push_back(std::make_unique<World>("w" + std::to_string(i), configs[i]));
    World& w = *worlds.back();
    w.start();
    w.attach(1, 1);
    w.attach(2, 2);
    w.map(1, 0x10'0000, kTarget);
    w.map(1, 0x10'1000, kTarget + 0x1000);
    w.map(2, 0x10'0000, kTarget + 0x2000);
    w.device.send(100, 2, true, 0x10'0000);
    w.device.send(2000, 1, true, 0x10'0000);  // two misses
    w.device.send(2001, 1, true, 0x10'1000);
    w.device.send(2002, 2, true, 0x10'0000);  // and a hit of somebody else
  }
  for (int i = 0; i < 4; ++i) worlds[i]->sim.timeline().run_until((4000 + static_cast<Cycle>(i)) * kCycle);
  const auto departure = [&](int world, std::uint32_t requester) {
    for (const auto& t : worlds[world]->translated) {
      if (t.requester.value == requester && t.time > 1900 * kCycle) return t.time / kCycle;
    }
    return Cycle{0};
  };
  const Cycle undisturbed = 2003 + IommuConfig{}.lookup_cycles;
  EXPECT_EQ(departure(0, 2), undisturbed);
  EXPECT_EQ(departure(3, 2), undisturbed);
  EXPECT_GT(departure(1, 2),
            departure(1, 1));  // a blocking IOTLB: even the second miss begins after the first
  // The walk of the first miss has ended when the hit is looked up; it leaves at once, the miss one cycle
  // later.
  EXPECT_EQ(departure(2, 2) + IommuConfig{}.forward_cycles, departure(2, 1));
  for (auto& w : worlds) EXPECT_EQ(w->translated.size(), 4u);
  EXPECT_EQ(worlds[1]->stats().at("iotlb.misses"), 3);
}

TEST(IommuMiss, WalksRunSideBySideAndTheQueueStallsWhenFull) {
  IommuConfig c;
  c.walkers = 4;
  c.input_queue = 8;
  World w("w", c);
  w.start();
  w.attach(1, 1);
  for (std::uint64_t i = 0; i < 32; ++i) w.map(1, 0x10'0000 + i * 0x1000, kTarget + i * 0x1000);
  for (std::uint64_t i = 0; i < 32; ++i) w.device.send(100, 1, true, 0x10'0000 + i * 0x1000);
  w.run(20000);
  EXPECT_EQ(w.device.done.size(), 32u);
  for (std::uint64_t i = 0; i < 32; ++i) EXPECT_EQ(w.memory.seen[i].address, kTarget + i * 0x1000);
  EXPECT_GT(w.stats().at("walks.waited_for_walker"), 0);
  EXPECT_TRUE(w.unit.idle());
}

TEST(IommuInvalidation, StaleEntryIsServedUntilTheInvalidationAndNotAfterTheFence) {
  World w("w");
  w.start();
  w.attach(1, 1);
  w.map(1, 0x10'0000, kTarget);
  w.device.send(100, 1, true, 0x10'0000);
  w.run(1000);
  w.put(w.leaf_entry(1, 0x10'0000), 0);  // unmapped in memory, still cached
  for (Cycle t = 1500; t < 2500; ++t) w.device.send(t, 1, true, 0x10'0000);
  w.queue_command(cmd::with_pscid(cmd::with_address(cmd::iotinval_vma(), 0x10'0000), 1));
  w.queue_command(cmd::iofence(true, true));
  w.ring_at(1800);
  w.run(20000);
  ASSERT_EQ(w.invalidations.size(), 1u);
  EXPECT_EQ(w.invalidations[0].dropped, 1u);
  ASSERT_EQ(w.fences.size(), 1u);
  const auto inval = w.invalidations[0].time, fence = w.fences[0].time;
  EXPECT_GT(fence, inval);
  // Every request that was looked up before the invalidation used the stale entry, none afterwards.
  ASSERT_GT(w.translated.size(), 1u);
  EXPECT_EQ(w.translated.back().time, inval);  // one lookup a cycle: the last is that of the same edge
  EXPECT_LT(w.translated.back().time, fence);
  EXPECT_EQ(w.translated.size() + w.faults.size(), 1001u);
  EXPECT_GT(w.faults.front().time, inval);
}

/// The law to the cycle: one request is looked up in every cycle around the invalidation. The entry is served
/// up to the very edge at which the command executes (one derived from the parameters), by no lookup after
/// it; what it let through has left before the fence completes, and the fence takes fence_cycles and no more.
TEST(IommuInvalidation, AStaleEntryLivesToTheCycleOfItsInvalidation) {
  std::vector<IommuConfig> configs(3);
  configs[1].command_fetch_cycles = 7;
  configs[1].command_cycles = 9;
  configs[1].fence_cycles = 0;
  configs[2].command_fetch_cycles = 0;
  configs[2].command_cycles = 0;
  configs[2].fence_cycles = 11;
  configs[2].invalidate_scan_cycles = 4;
  constexpr Cycle kLatency = 20;
  std::vector<std::unique_ptr<World>> worlds;
  for (int i = 0; i < 3; ++i) {
    worlds.push_back(std::make_unique<World>("w" + std::to_string(i), configs[i], sim::TimeMode{}, kLatency));
    World& w = *worlds.back();
    w.start();
    w.attach(1, 1);
    w.map(1, 0x10'0000, kTarget);
    w.device.send(100, 1, true, 0x10'0000);
    for (Cycle at = 1500; at < 2500; ++at) w.device.send(at, 1, true, 0x10'0000);
    w.queue_command(cmd::with_pscid(cmd::with_address(cmd::iotinval_vma(), 0x10'0000), 1));
    w.queue_command(cmd::iofence(false, false));
    w.ring_at(1800);
  }
  for (auto& w : worlds) w->sim.timeline().run_until(1400 * kCycle);
  for (auto& w : worlds) w->put(w->leaf_entry(1, 0x10'0000), 0);
  for (auto& w : worlds) w->sim.timeline().run_until(40'000 * kCycle);
  for (int i = 0; i < 3; ++i) {
    World& w = *worlds[static_cast<std::size_t>(i)];
    const IommuConfig& c = configs[static_cast<std::size_t>(i)];
    // The doorbell is seen at 1801, takes effect register_cycles later; then fetch, read of the command,
    // execution.
    const Cycle read = kLatency + 2;
    const Cycle executed = 1801 + c.register_cycles + c.command_fetch_cycles + read + c.command_cycles +
                           3 * c.invalidate_scan_cycles;  // a set for each class of page sizes
    ASSERT_EQ(w.invalidations.size(), 1u);
    EXPECT_EQ(w.invalidations[0].time, executed * kCycle);
    EXPECT_EQ(w.invalidations[0].dropped, 1u);
    // A request sent at t is looked up at t + 1 + lookup_cycles and leaves there.
    const Cycle first_lookup = 1501 + c.lookup_cycles;
    ASSERT_EQ(w.translated.size(), 1 + (executed - first_lookup + 1));
    EXPECT_EQ(w.translated.back().time, executed * kCycle);
    EXPECT_TRUE(w.translated.back().iotlb_hit);
    EXPECT_EQ(w.translated.size() + w.faults.size(), 1001u);
    // The fence behind it: fetched, read, executed; no translation older than the invalidation is under way.
    const Cycle fetched = executed + c.command_fetch_cycles + read + c.command_cycles;
    ASSERT_EQ(w.fences.size(), 1u);
    EXPECT_EQ(w.fences[0].time, (fetched + c.fence_cycles) * kCycle);
  }
}

TEST(IommuInvalidation, AFenceWaitsForAStaleHitThatIsHeldBehindAnEarlierWrite) {
  World w("w", {}, {}, 300);  // slow memory: the miss in front takes long
  w.start();
  w.attach(1, 1);
  w.map(1, 0x10'0000, kTarget);
  w.map(1, 0x20'0000, kTarget + 0x1000);
  w.device.send(100, 1, true, 0x10'0000);
  w.run(4000);
  w.put(w.leaf_entry(1, 0x10'0000), 0);
  const Cycle now = w.now();
  w.device.send(now + 10, 1, true, 0x20'0000);  // a miss, of the same requester
  w.device.send(now + 11, 1, true, 0x10'0000);  // a stale hit that may not pass it
  w.queue_command(cmd::with_pscid(cmd::with_address(cmd::iotinval_vma(), 0x10'0000), 1));
  w.queue_command(cmd::iofence(false, false));
  w.ring_at(now + 20);
  w.device.send(now + 3000, 1, true, 0x10'0000);  // after the fence
  w.run(6000);
  ASSERT_EQ(w.translated.size(), 3u);
  EXPECT_TRUE(w.translated[2].iotlb_hit);
  EXPECT_GT(w.translated[2].time, w.invalidations[0].time);  // found before, gone after
  EXPECT_LE(w.translated[2].time, w.fences[0].time);
  ASSERT_EQ(w.faults.size(), 1u);
}

TEST(IommuInvalidation, ScanningTakesEachSetIndexingThoseOfTheAddress) {
  std::vector<IommuConfig> configs(3);
  configs[1].invalidate_scan_cycles = 3;
  configs[2].invalidate_scan_cycles = 3;
  configs[2].invalidate_indexed = false;
  std::vector<std::unique_ptr<World>> worlds;
  for (int i = 0; i < 3; ++i) {
    worlds.push_back(std::make_unique<World>("w" + std::to_string(i), configs[i]));
    World& w = *worlds.back();
    w.start();
    w.queue_command(cmd::with_address(cmd::iotinval_vma(), 0x10'0000));
    w.queue_command(cmd::iotinval_vma());
    w.queue_command(cmd::iodir_inval_ddt(1));
    w.ring_at(1000);
  }
  for (int i = 0; i < 3; ++i) worlds[i]->sim.timeline().run_until((4000 + static_cast<Cycle>(i)) * kCycle);
  const auto time = [&](int world, int command) {
    return worlds[world]->invalidations.at(command).time / kCycle;
  };
  const Cycle page = time(1, 0) - time(0, 0), all = time(1, 1) - time(0, 1) - page;
  EXPECT_EQ(page, 3u * 3);   // one set for each of the three page sizes
  EXPECT_EQ(all, 3u * 64u);  // every set
  EXPECT_EQ(time(2, 0) - time(0, 0), 3u * 64u);
  EXPECT_EQ(time(1, 2) - time(0, 2) - page - all, 3u * 8u);  // the process contexts of a device lie anywhere
}

TEST(IommuInvalidation, AnotherAddressOrSpaceKeepsTheEntry) {
  World w("w");
  w.start();
  w.attach(1, 1);
  w.attach(2, 2);
  w.map(1, 0x10'0000, kTarget);
  w.map(2, 0x10'0000, kTarget);
  w.device.send(100, 1, true, 0x10'0000);
  w.device.send(101, 2, true, 0x10'0000);
  w.run(1000);
  w.queue_command(cmd::with_pscid(cmd::with_address(cmd::iotinval_vma(), 0x10'1000), 1));
  w.queue_command(cmd::with_pscid(cmd::iotinval_vma(), 2));
  w.queue_command(cmd::iofence(false, false));
  w.ring();
  w.run(1000);
  EXPECT_EQ(w.invalidations[0].dropped, 0u);
  EXPECT_EQ(w.invalidations[1].dropped, 1u);
  w.device.send(w.now() + 1, 1, true, 0x10'0000);
  w.device.send(w.now() + 1, 2, true, 0x10'0000);
  w.run(1000);
  EXPECT_TRUE(w.translated[2].iotlb_hit);
  EXPECT_FALSE(w.translated[3].iotlb_hit);
}

TEST(IommuInvalidation, AWalkOvertakenByAnInvalidationIsNotCachedAndTheFenceWaitsForIt) {
  World w("w", {}, {}, 200);  // slow memory: the walk is long
  w.start();
  w.attach(1, 1);
  w.map(1, 0x10'0000, kTarget);
  w.device.send(100, 1, true, 0x10'0000);
  w.queue_command(cmd::iotinval_vma());
  w.queue_command(cmd::iofence(false, false));
  w.ring_at(600);
  w.device.send(3000, 1, true, 0x10'0000);
  w.run(6000);
  ASSERT_EQ(w.translated.size(), 2u);
  EXPECT_FALSE(w.translated[1].iotlb_hit);
  EXPECT_LT(w.invalidations[0].time, w.translated[0].time);
  EXPECT_GE(w.fences[0].time, w.translated[0].time);
}

TEST(IommuFence, PwWaitsForWritesToBeAnsweredAndStoresItsData) {
  World w("w");
  w.memory.write_latency = 500;
  w.start();
  w.attach(1, 1);
  w.map(1, 0x10'0000, kTarget);
  w.device.send(100, 1, true, 0x10'0000);
  w.run(1000);
  const std::uint64_t flag = w.page();
  const auto write = w.device.send(2000, 1, true, 0x10'0000);
  w.queue_command(cmd::iofence(true, false));
  w.queue_command(cmd::iofence_store(false, true, flag, 0xcafe));
  w.ring_at(2001);
  w.run(3000);
  ASSERT_EQ(w.fences.size(), 2u);
  const Cycle answered = w.device.completion(write)->at;
  EXPECT_LT(w.fences[0].time, answered * kCycle);
  EXPECT_GE(w.fences[1].time, answered * kCycle);
  EXPECT_EQ(w.load(flag) & 0xffffffff, 0xcafeu);
  EXPECT_EQ(w.registers.read(reg::kCqh, 4), 2u);
}

TEST(IommuCommands, IllegalCommandStallsAtItsIndexUntilCleared) {
  World w("w");
  w.start();
  w.queue_command(cmd::iofence(false, false));
  w.queue_command({0x7f, 0});
  w.queue_command(cmd::iofence(false, false));
  w.ring();
  w.run(1000);
  EXPECT_EQ(w.registers.read(reg::kCqh, 4), 1u);
  EXPECT_NE(w.registers.read(reg::kCqcsr, 4) & iommu::qcsr::kCmdIll, 0u);
  w.put(w.cq + 16, cmd::iofence(false, false).dw0);
  w.registers.write(reg::kCqcsr, 4, iommu::qcsr::kEnable | iommu::qcsr::kCmdIll);
  w.run(1000);
  EXPECT_EQ(w.registers.read(reg::kCqh, 4), 3u);
}

TEST(IommuPages, SuperpagesAndAccessedDirtyUpdates) {
  IommuConfig c;
  World w("w", c);
  w.start();
  w.attach(1, 1, iommu::dc::kSade);
  w.map(1, 0x4000'0000, 0x8000'0000, World::kRw, 1);  // 2 MiB
  const std::uint64_t fresh = iommu::pte::kR | iommu::pte::kW | iommu::pte::kU;
  w.map(1, 0x4020'0000, kTarget, fresh);
  w.device.send(100, 1, false, 0x4010'1000, false);
  w.device.send(1000, 1, false, 0x401f'f000, false);  // the same large page
  const auto read = w.device.send(2000, 1, false, 0x4020'0000, false);
  w.run(2900);
  EXPECT_NE(w.device.completion(read), nullptr);
  const std::uint64_t entry = w.leaf_entry(1, 0x4020'0000);
  EXPECT_EQ(w.load(entry) & (iommu::pte::kA | iommu::pte::kD), iommu::pte::kA);
  w.device.send(3000, 1, true, 0x4020'0000);  // the cached entry is clean: walk again and set D
  w.run(1000);
  EXPECT_EQ(w.load(entry) & (iommu::pte::kA | iommu::pte::kD), iommu::pte::kA | iommu::pte::kD);
  ASSERT_EQ(w.translated.size(), 4u);
  EXPECT_TRUE(w.translated[1].iotlb_hit);
  EXPECT_EQ(w.translated[1].page_shift, 21);
  EXPECT_EQ(w.translated[1].phys.value, 0x801f'f000u);
}

TEST(IommuDebug, TransportDbgTranslatesAndChangesNothing) {
  World w("w");
  w.start();
  w.attach(1, 1, iommu::dc::kSade);
  w.map(1, 0x10'0000, kTarget, iommu::pte::kR | iommu::pte::kW | iommu::pte::kU);
  w.put(kTarget + 8, 0x1122334455667788);
  w.run(10);
  const auto before = w.stats();
  sim::Transaction* t = w.sim.payloads().acquire(tlm::TLM_READ_COMMAND, 0x10'0008, 8);
  t->tag.requester = sim::RequesterId(1);
  EXPECT_EQ(w.device.dma->transport_dbg(*t), 8u);
  EXPECT_EQ(*reinterpret_cast<std::uint64_t*>(t->get_data_ptr()), 0x1122334455667788u);
  t->set_address(0x90'0000);
  EXPECT_EQ(w.device.dma->transport_dbg(*t), 0u);
  t->release();
  EXPECT_EQ(w.stats(), before);
  EXPECT_EQ(w.load(w.leaf_entry(1, 0x10'0000)) & iommu::pte::kA, 0u);
}

TEST(IommuDebug, BTransportTranslatesWithDelay) {
  World w("w");
  w.start();
  w.attach(1, 1);
  w.map(1, 0x10'0000, kTarget);
  w.put(kTarget, 42);
  sim::Transaction* t = w.sim.payloads().acquire(tlm::TLM_READ_COMMAND, 0x10'0000, 8);
  t->tag.requester = sim::RequesterId(1);
  sc_core::sc_time miss, hit;
  w.device.dma->b_transport(*t, miss);
  EXPECT_EQ(*reinterpret_cast<std::uint64_t*>(t->get_data_ptr()), 42u);
  w.device.dma->b_transport(*t, hit);
  EXPECT_GT(miss, hit);
  t->set_address(0x90'0000);
  w.device.dma->b_transport(*t, hit);
  EXPECT_EQ(t->get_response_status(), tlm::TLM_ADDRESS_ERROR_RESPONSE);
  t->release();
  w.run(100);
  EXPECT_EQ(w.registers.read(reg::kFqt, 4), 1u);
}

/// A busy mixture: hits, misses, faults, invalidations, fences, a small queue and few walkers.
void exercise(World& w) {
  w.start(8, true);
  for (std::uint32_t d = 1; d <= 3; ++d) w.attach(d, d);
  for (std::uint32_t d = 1; d <= 3; ++d) {
    for (std::uint64_t i = 0; i < 40; ++i) w.map(d, 0x10'0000 + i * 0x1000, kTarget + (d * 64 + i) * 0x1000);
  }
  sim::RandomStream r(7, 0, "exercise");
  Cycle at = 50;
  for (int i = 0; i < 600; ++i) {
    at += r.below(6);
    w.device.send(at, 1 + static_cast<std::uint32_t>(r.below(3)), r.below(3) != 0,
                  0x10'0000 + r.below(44) * 0x1000, true, 64);
  }
  for (int i = 0; i < 30; ++i) {
    w.queue_command(cmd::with_pscid(cmd::with_address(cmd::iotinval_vma(), 0x10'0000 + r.below(40) * 0x1000),
                                    1 + static_cast<std::uint32_t>(r.below(3))));
    w.queue_command(cmd::iofence(true, true));
    w.ring_at(100 + static_cast<Cycle>(i) * 60);
  }
}

TEST(IommuTime, DigestAndWaveformAreEqualInAllModes) {
  IommuConfig c;
  c.iotlb = {4, 2, iommu::Replacement::kPlru};
  c.walkers = 2;
  c.input_queue = 12;
  c.miss_queue = 5;
  c.invalidate_scan_cycles = 2;
  World skip("skip", c, {}), every("every", c, {true, true}), step("step", c, {false, false});
  struct Recorder : sim::ProbeListener {
    explicit Recorder(World& w) {
      for (sim::Probe* p : w.sim.probes().probes()) p->listen(this);
    }
    void on_change(const sim::Probe& p, sim::Tick now) override {
      const auto& path = p.path();
      changes.push_back(fmt::format("{} {} {}", now, path.substr(path.find('.')), p.value()));
    }
    std::vector<std::string> changes;
  };
  World* all[] = {&skip, &every, &step};
  std::vector<std::unique_ptr<Recorder>> recorders;
  for (World* w : all) {
    recorders.push_back(std::make_unique<Recorder>(*w));
    exercise(*w);
  }
  for (int i = 0; i < 3; ++i) all[i]->sim.timeline().run_until((12'000 + static_cast<Cycle>(i)) * kCycle);
  for (World* w : all) w->sim.timeline().run_until(40'000 * kCycle);
  EXPECT_EQ(skip.device.done.size(), 600u);
  EXPECT_GT(skip.faults.size(), 10u);
  EXPECT_GT(skip.fences.size(), 5u);
  EXPECT_EQ(skip.sim.digest().hex(), every.sim.digest().hex());
  EXPECT_EQ(skip.sim.digest().hex(), step.sim.digest().hex());
  EXPECT_EQ(recorders[0]->changes, recorders[1]->changes);
  EXPECT_EQ(recorders[0]->changes, recorders[2]->changes);
}

}  // namespace
