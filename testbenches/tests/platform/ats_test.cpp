// SPDX-License-Identifier: Apache-2.0
// ATS and PRI end to end: a device with a translation cache behind link and root port, and the IOMMU's side
// of both.
#include <gtest/gtest.h>

#include "ats_guest.h"
#include "ats_world.h"
#include "testbenches/tests/iommu/random_case.h"

namespace {

using namespace ats_test;

TEST(Ats, AnAccessGoesWithTheTranslationThatWasAskedFor) {
  AtsWorld w("w");
  const std::uint64_t target = w.page();
  w.map(kPscid, kIova, target);
  w.write(kIova + 0x40, 0x1234);
  w.settle();
  ASSERT_EQ(w.results.size(), 1u);
  EXPECT_TRUE(w.results[0].translated);
  EXPECT_EQ(w.load(target + 0x40), 0x1234u);
  // On the wire: MRd (3 DW, AT = 01) 20 bytes and MWr (3 DW) 20 + 64 up; CplD 20 + 8 down.
  EXPECT_EQ(w.link_stat("up.bytes"), 20 + 84);
  EXPECT_EQ(w.link_stat("down.bytes"), 28);
  w.read(kIova + 0x40);
  w.settle();
  EXPECT_EQ(w.results[1].data, 0x1234u);
  EXPECT_TRUE(w.results[1].translated);
  EXPECT_EQ(w.device_stat("atc.translation_requests"), 1);
  EXPECT_EQ(w.device_stat("atc.hits"), 1);
  EXPECT_EQ(w.device_stat("atc.misses"), 1);
  // The IOMMU passes what the device has translated as it is.
  ASSERT_EQ(w.translated.size(), 2u);
  for (const auto& e : w.translated) {
    EXPECT_TRUE(e.by_device);
    EXPECT_EQ(e.iova.value, target + 0x40);
    EXPECT_EQ(e.phys.value, target + 0x40);
  }
  EXPECT_EQ(w.sim.payloads().outstanding(), 0u);
}

TEST(Ats, ASuperpageIsOneEntry) {
  AtsWorld w("w");
  w.map(kPscid, kIova, iommu_test::kDram + (32 << 20), World::kRw, 1);  // 2 MiB
  for (unsigned i = 0; i < 20; ++i) w.write(kIova + 0x1000 * (i * 23 % 512) + 8 * i, 100 + i);
  w.settle();
  for (unsigned i = 0; i < 20; ++i) {
    EXPECT_EQ(w.load(iommu_test::kDram + (32 << 20) + 0x1000 * (i * 23 % 512) + 8 * i), 100 + i);
  }
  EXPECT_EQ(w.endpoint.atc_size(), 1u);
}

TEST(Ats, TheCacheReplacesTheLeastRecentlyUsed) {
  platform::DmaDeviceConfig c;
  c.atc_entries = 2;
  AtsWorld w("w", dc::kEnAts, c);
  for (unsigned i = 0; i < 3; ++i)
    w.map(kPscid, kIova + 0x1000 * i, iommu_test::kDram + (32 << 20) + 0x1000 * i);
  const unsigned order[] = {0, 1, 0, 2, 0, 1};  // 2 replaces 1, 1 replaces 2
  for (const unsigned i : order) {
    w.write(kIova + 0x1000 * i, i);
    w.settle();
  }
  EXPECT_EQ(w.endpoint.atc_size(), 2u);
  EXPECT_EQ(w.device_stat("atc.translation_requests"), 4);
}

/// What a driver does when it unmaps a page: PTE, IOMMU, device, each with its fence.
void invalidate(AtsWorld& w, std::uint64_t iova) {
  w.put(w.leaf_entry(kPscid, iova), 0);
  w.queue_command(iommu::cmd::with_address(iommu::cmd::with_pscid(iommu::cmd::iotinval_vma(), kPscid), iova));
  w.queue_command(iommu::cmd::iofence(true, true));
  w.queue_command(ats_inval(iova));
  w.queue_command(iommu::cmd::iofence(true, true));
  const sim::Tick begin = w.sim.now();
  const std::size_t before = w.fences.size();
  w.ring();
  while (w.fences.size() < before + 2 && w.sim.now() < begin + 60 * sim::kMicrosecond) w.run(10);
  EXPECT_EQ(w.fences.size(), before + 2);
}

TEST(Ats, AnInvalidationWaitsForTheReadThatUsesIt) {
  AtsWorld w("w", dc::kEnAts, {}, {}, {}, /*memory_latency=*/4000);
  for (unsigned i = 0; i < 2; ++i) w.map(kPscid, kIova + 0x1000 * i, w.page());
  for (unsigned i = 0; i < 2; ++i) w.write(kIova + 0x1000 * i, 7);
  w.settle();
  // Nobody uses page 1: the answer is the device's next cycle.
  const double down = w.link_stat("down.bytes"), up = w.link_stat("up.bytes");
  invalidate(w, kIova + 0x1000);
  EXPECT_LE(w.completed_at.at(0) - w.requested_at.at(0), 4 * sim::kNanosecond);
  EXPECT_EQ(w.link_stat("down.bytes") - down, 32);  // MsgD: 8 + 16 + 8
  EXPECT_EQ(w.link_stat("up.bytes") - up, 24);      // Msg: 8 + 16
  EXPECT_EQ(w.endpoint.atc_size(), 1u);
  // A read of page 0 that is on its way to memory when the request comes.
  w.queue_command(ats_inval(kIova));
  w.queue_command(iommu::cmd::iofence(true, true));
  w.ring();
  w.run(3500);
  ASSERT_EQ(w.requested_at.size(), 1u);
  w.read(kIova);
  while (w.completed_at.size() < 2 && w.sim.now() < sim::kMillisecond) w.run(1);
  ASSERT_EQ(w.results.size(), 3u);
  EXPECT_EQ(w.results[2].status, CompletionStatus::kSuccess);
  EXPECT_TRUE(w.results[2].translated);
  EXPECT_EQ(w.results[2].data, 7u);
  EXPECT_LT(w.requested_at[1], w.results[2].at);
  EXPECT_GE(w.completed_at[1], w.results[2].at);
  EXPECT_GT(w.completed_at[1] - w.requested_at[1], 3 * sim::kMicrosecond);
  EXPECT_EQ(w.endpoint.atc_size(), 0u);
  w.settle();
  EXPECT_EQ(w.stats().at("ats.unexpected_completions"), 0);
}

TEST(Ats, AnInvalidationDoesNotPassTheWritesThatUsedIt) {
  platform::PcieLinkConfig narrow;
  narrow.width = 1;
  narrow.root_credits = {1, 8, 1, 0, 0, 0};
  AtsWorld w("w", dc::kEnAts, {}, narrow);
  const std::uint64_t target = w.page();
  w.map(kPscid, kIova, target);
  w.write(kIova, 1);
  w.settle();
  for (unsigned i = 1; i < 40; ++i) w.write(kIova + 64 * i, 1000 + i);
  w.run(300);  // some have left, none of them is far
  std::uint64_t at_fence = 0, left = 0;
  left = w.results.size();
  invalidate(w, kIova);
  for (unsigned i = 1; i < 40; ++i) at_fence += w.load(target + 64 * i) == 1000 + i;
  EXPECT_GT(at_fence, 0u);
  EXPECT_LT(at_fence, 39u);
  EXPECT_GE(at_fence + 1, left);
  w.settle();
  // Nothing reaches the page after its invalidation: the rest found it unmapped.
  std::uint64_t in_the_end = 0, refused = 0;
  for (unsigned i = 1; i < 40; ++i) in_the_end += w.load(target + 64 * i) == 1000 + i;
  for (const auto& r : w.results) refused += r.status == CompletionStatus::kUnsupportedRequest;
  EXPECT_EQ(in_the_end, at_fence);
  EXPECT_EQ(in_the_end + refused, 39u);
}

TEST(Ats, ATranslationThatIsInvalidatedOnItsWayIsNotUsed) {
  AtsWorld w("w", dc::kEnAts, {}, {}, {}, /*memory_latency=*/1000);
  const std::uint64_t old_page = w.page(), new_page = w.page();
  w.map(kPscid, kIova, old_page);
  w.write(kIova, 5);
  w.run(1500);  // the walk is under way
  ASSERT_TRUE(w.results.empty());
  w.map(kPscid, kIova, new_page);
  w.queue_command(iommu::cmd::iotinval_vma());
  w.queue_command(ats_inval(kIova));
  w.queue_command(iommu::cmd::iofence(true, true));
  w.ring();
  w.settle();
  EXPECT_EQ(w.load(new_page), 5u);
  EXPECT_EQ(w.load(old_page), 0u);
}

TEST(Ats, GlobalAndRangeInvalidations) {
  AtsWorld w("w", dc::kEnAts);
  for (unsigned i = 0; i < 16; ++i)
    w.map(kPscid, kIova + 0x1000 * i, iommu_test::kDram + (32 << 20) + 0x1000 * i);
  for (unsigned i = 0; i < 16; ++i) w.write(kIova + 0x1000 * i, i);
  w.settle();
  ASSERT_EQ(w.endpoint.atc_size(), 16u);
  w.queue_command(ats_inval(kIova | 1 << 11 | 0x1000));  // S, page number ...01: four pages
  w.ring();
  w.settle();
  EXPECT_EQ(w.endpoint.atc_size(), 12u);
  w.queue_command(ats_inval(0x7fff'ffff'ffff'f800));  // everything
  w.ring();
  w.settle();
  EXPECT_EQ(w.endpoint.atc_size(), 0u);
}

// What testbenches/checker finds: the IOMMU has no way to know.
TEST(Ats, ADeviceThatIgnoresAnInvalidationGoesOnWritingToThePage) {
  AtsWorld w("w", dc::kEnAts);
  const std::uint64_t target = w.page();
  w.map(kPscid, kIova, target);
  w.write(kIova, 1);
  w.settle();
  w.endpoint.ignore_invalidations(true);
  invalidate(w, kIova);  // answered all the same
  w.write(kIova, 2);
  w.settle();
  EXPECT_EQ(w.load(target), 2u);
  ASSERT_EQ(w.translated.size(), 2u);
  EXPECT_TRUE(w.translated[1].by_device);
  EXPECT_EQ(w.translated[1].phys.value, target);
  w.endpoint.ignore_invalidations(false);
  invalidate(w, kIova);
  w.write(kIova, 3);
  w.settle();
  EXPECT_EQ(w.load(target), 2u);
}

TEST(Ats, DisabledByTheIommuIsAnUnsupportedRequest) {
  AtsWorld w("w", /*tc=*/0);
  const std::uint64_t target = w.page();
  w.map(kPscid, kIova, target);
  w.write(kIova, 3);
  w.settle();
  ASSERT_EQ(w.results.size(), 1u);
  EXPECT_EQ(w.results[0].status, CompletionStatus::kUnsupportedRequest);
  EXPECT_EQ(w.record(0).cause(), iommu::Cause::kTypeDisallowed);
  EXPECT_EQ(w.record(0).ttyp(), iommu::Ttyp::kAtsRequest);
  EXPECT_EQ(w.load(target), 0u);
  // Disabled in the device, too, it leaves the translation to the IOMMU.
  w.configure(DmaDevice::kAtsControl, 0);
  w.write(kIova, 4);
  w.settle();
  EXPECT_EQ(w.results[1].status, CompletionStatus::kSuccess);
  EXPECT_FALSE(w.results[1].translated);
  EXPECT_EQ(w.load(target), 4u);
}

TEST(Ats, InvalidatingADeviceThatIsGoneTimesOut) {
  AtsWorld w("w");
  w.port.remove(sim::RequesterId(kDid));
  w.run(10);
  w.queue_command(ats_inval(kIova));
  w.queue_command(iommu::cmd::iofence(true, true));
  w.ring();
  w.run(50'000);
  EXPECT_TRUE(w.fences.empty());
  EXPECT_NE(w.registers.read(reg::kCqcsr, 4) & iommu::qcsr::kCmdTo, 0u);
}

TEST(Pri, APageIsAskedForBroughtAndUsed) {
  AtsWorld w("w");
  w.write(kIova + 8, 0x77);
  w.run(3000);
  EXPECT_TRUE(w.results.empty());
  ASSERT_EQ(w.registers.read(reg::kPqt, 4), 1u);
  EXPECT_EQ(w.load(w.pq) >> 40, kDid);
  EXPECT_EQ(w.load(w.pq + 8), kIova | 0 << 3 | 4 | 2);  // group 0, last, write
  // Translation request 20, page request 24; CplD 28.
  EXPECT_EQ(w.link_stat("up.bytes"), 44);
  EXPECT_EQ(w.link_stat("down.bytes"), 28);
  const std::uint64_t target = w.page();
  w.map(kPscid, kIova, target);
  w.queue_command(ats_prgr(0, 0));
  w.ring();
  w.settle();
  ASSERT_EQ(w.results.size(), 1u);
  EXPECT_EQ(w.results[0].status, CompletionStatus::kSuccess);
  EXPECT_EQ(w.load(target + 8), 0x77u);
  EXPECT_EQ(w.link_stat("down.bytes"), 28 + 24 + 28);
  EXPECT_EQ(w.device_stat("pri.page_requests"), 1);
}

TEST(Pri, MessagesTakePostedCreditsAndGiveThemBack) {
  platform::PcieLinkConfig c;
  c.root_credits = {1, 8, 1, 0, 0, 0};
  c.device_credits = {1, 8, 0, 0, 0, 0};
  AtsWorld w("w", dc::kEnAts | dc::kEnPri, {}, c);
  for (unsigned i = 0; i < 3; ++i) w.read(kIova + 0x1000 * i);
  w.run(5000);
  ASSERT_EQ(w.registers.read(reg::kPqt, 4), 3u);
  // Three translation requests and three page requests, each freed by an UpdateFC; three completions the
  // other way.
  EXPECT_EQ(w.link_stat("up.update_fc"), 6);
  EXPECT_EQ(w.link_stat("up.messages"), 3);
  EXPECT_EQ(w.link_stat("up.bytes"), 3 * 20 + 3 * 24);
  for (std::uint16_t group = 0; group < 3; ++group) w.queue_command(ats_prgr(group, 1));
  w.ring();
  w.settle();
  EXPECT_EQ(w.link_stat("down.messages"), 3);
  EXPECT_EQ(w.link_stat("down.bytes"), 3 * 28 + 3 * 24);
  EXPECT_EQ(w.results.size(), 3u);
  EXPECT_EQ(w.configuration(DmaDevice::kPriStatus), 0);  // Invalid Request is no Response Failure
}

TEST(Pri, AFailureEndsTheAccessAndIsInTheStatus) {
  AtsWorld w("w");
  w.read(kIova);
  w.run(3000);
  w.queue_command(ats_prgr(0, 15));
  w.ring();
  w.settle();
  ASSERT_EQ(w.results.size(), 1u);
  EXPECT_EQ(w.results[0].status, CompletionStatus::kUnsupportedRequest);
  EXPECT_EQ(w.configuration(DmaDevice::kPriStatus), DmaDevice::kPriResponseFailure);
  w.configure(DmaDevice::kPriStatus, DmaDevice::kPriResponseFailure);  // RW1C
  EXPECT_EQ(w.configuration(DmaDevice::kPriStatus), 0);
  w.queue_command(ats_prgr(9, 0));
  w.ring();
  w.settle();
  EXPECT_EQ(w.configuration(DmaDevice::kPriStatus), DmaDevice::kPriUnexpected);
}

TEST(Pri, WithoutItThePageIsRefused) {
  AtsWorld w("w", dc::kEnAts);
  // Enabled in the device only: the IOMMU answers Invalid Request.
  w.write(kIova, 1);
  w.settle();
  EXPECT_EQ(w.results.at(0).status, CompletionStatus::kUnsupportedRequest);
  EXPECT_EQ(w.device_stat("pri.failures"), 1);
  w.configure(DmaDevice::kPriControl, 0);
  w.write(kIova, 1);
  w.settle();
  EXPECT_EQ(w.results.at(1).status, CompletionStatus::kUnsupportedRequest);
  EXPECT_EQ(w.device_stat("pri.page_requests"), 1);
}

TEST(Ats, CapabilitiesAreWhatTheConfigurationSays) {
  AtsWorld w("w");
  EXPECT_EQ(w.configuration(DmaDevice::kAts), 0x000f);
  EXPECT_EQ(w.configuration(DmaDevice::kAts + 2) >> 4, DmaDevice::kPri);
  EXPECT_EQ(w.configuration(DmaDevice::kPri), 0x0013);
  EXPECT_EQ(w.configuration(DmaDevice::kPriCapacity), 4);
}

/// Accesses, misses, page requests and invalidations, all at times that do not depend on the machine.
void story(AtsWorld& w) {
  for (unsigned i = 0; i < 8; ++i) {
    if (i != 5) w.map(kPscid, kIova + 0x1000 * i, iommu_test::kDram + (32 << 20) + 0x1000 * i);
  }
  for (unsigned i = 0; i < 60; ++i) {
    const std::uint64_t iova = kIova + 0x1000 * (i * 7 % 8) + 64 * (i % 50);
    i % 3 == 0 ? w.read(iova) : w.write(iova, i);
  }
  w.queue_command(ats_prgr(0, 15));
  w.queue_command(ats_inval(kIova | 1 << 11 | 0x3000));
  w.queue_command(iommu::cmd::iofence(true, true));
  w.ring_at(3000);
}

TEST(Ats, AllTimeModesGiveOneDigest) {
  AtsWorld skip("skip"), every("every", dc::kEnAts | dc::kEnPri, {}, {}, {true, true}),
      step("step", dc::kEnAts | dc::kEnPri, {}, {}, {false, false});
  for (AtsWorld* w : {&skip, &every, &step}) story(*w);
  for (sim::Cycle t = 0; t < 30; ++t) {
    for (AtsWorld* w : {&skip, &every, &step}) w->run(1000);
  }
  EXPECT_TRUE(skip.endpoint.idle());
  EXPECT_EQ(skip.results.size(), 60u);
  EXPECT_EQ(skip.fences.size(), 1u);
  EXPECT_EQ(skip.sim.digest().hex(), every.sim.digest().hex());
  EXPECT_EQ(skip.sim.digest().hex(), step.sim.digest().hex());
}

// testbenches/fuzz/ats_fuzz.cpp does the same with a fuzzer's choices.
TEST(Ats, WhateverAGuestOrANeighbourDoesEachAccessEndsOnce) {
  AtsWorld w("w");
  for (std::uint64_t seed = 1; seed <= 100; ++seed) {
    iommu_test::StreamChoices choices(seed);
    Guest<iommu_test::StreamChoices> guest(w, choices);
    for (unsigned i = 0; i < 200; ++i) guest.step();
    ASSERT_TRUE(guest.comes_to_rest()) << "seed " << seed;
  }
  for (const char* what :
       {"atc.hits", "atc.translation_requests", "atc.invalidations", "pri.page_requests", "refused"}) {
    EXPECT_GT(w.device_stat(what), 20) << what;
  }
}

}  // namespace
