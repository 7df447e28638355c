// SPDX-License-Identifier: Apache-2.0
// The objections of the thread: what each must show follows from the facts that were published with it.
#include "testbenches/scenario/objections.h"

#include <gtest/gtest.h>

#include "sim/error.h"

namespace {

using scenario::ObjectionAnswer;
using scenario::RunResult;

const std::string kScenarios = POOLSIM_SOURCE_DIR "/testbenches/scenarios";

ObjectionAnswer ask(const std::string& key) {
  auto answers = scenario::answer_objections(kScenarios, {key}, 2);
  EXPECT_EQ(answers.size(), 1u);
  EXPECT_EQ(answers[0].error, "");
  return answers[0];
}
const RunResult& of(const ObjectionAnswer& a, const std::string& strategy) {
  for (const RunResult& r : a.runs)
    if (r.strategy == strategy) return r;
  throw sim::Error("no run of " + strategy);
}
std::uint64_t count(const RunResult& r, const std::string& kind) {
  for (const auto& [k, n] : r.findings)
    if (k == kind) return n;
  return 0;
}

TEST(Objections, AnArrayLimitsThePagesInFlightAndNothingElseDoes) {
  const auto a = ask("inflight_limit");
  EXPECT_TRUE(a.shown);
  // pow2(256 + 128 + 512) items, and some of them have the pages of the receive ring.
  EXPECT_LE(of(a, "item_array").pages_outstanding, 1024u);
  EXPECT_EQ(of(a, "xarray_merged").pages_outstanding, 1600u);
  EXPECT_EQ(of(a, "stock").pages_outstanding, 1600u);
}
TEST(Objections, AScanOf300GigabytesTakesThe1Point3SecondsOfTheThread) {
  const auto a = ask("scan_300gb");
  EXPECT_TRUE(a.shown) << a.numbers;
  const double s = static_cast<double>(of(a, "scan").longest_bh_off) / sim::kSecond;
  EXPECT_NEAR(s, 1.3, 0.13);
  EXPECT_GT(count(of(a, "scan"), "bh_off"), 0u);
  // The same walk without the lock; and no walk at all.
  EXPECT_LT(of(a, "scan_lock_on_match").longest_bh_off, sim::kMillisecond);
  EXPECT_GT(of(a, "scan_lock_on_match").unbind, sim::kSecond);
  EXPECT_LT(of(a, "xarray_merged").unbind, 10 * sim::kMillisecond);
}
TEST(Objections, AScanOf12TerabytesTakesFarMoreThanTheGuess) {
  const auto a = ask("scan_12tb");
  EXPECT_FALSE(a.shown) << a.numbers;
  // 16.5 ns for each of 3.0e9 pages.
  EXPECT_NEAR(static_cast<double>(of(a, "scan").longest_bh_off) / sim::kSecond, 49.5, 2);
  EXPECT_LT(of(a, "xarray_merged").unbind, 10 * sim::kMillisecond);
}
TEST(Objections, ReturnersSpinInSoftirqWhileTheScanHasTheLock) {
  const auto a = ask("softirq_spin");
  EXPECT_TRUE(a.shown) << a.numbers;
  EXPECT_EQ(of(a, "scan").longest_spin_lock, "destroy_lock");
  EXPECT_NE(of(a, "scan").longest_spin_chain.find("ip_expire"), std::string::npos);
  EXPECT_LT(of(a, "xarray_merged").longest_spin, sim::kMillisecond);
}
TEST(Objections, ADetachedPageIsFreedUnderItsSecondOwner) {
  const auto a = ask("refcount_while_owned");
  EXPECT_TRUE(a.shown) << a.numbers;
  EXPECT_GT(count(of(a, "scan_release"), "use_after_free"), 0u);
  EXPECT_EQ(count(of(a, "scan"), "use_after_free"), 0u);
  EXPECT_EQ(count(of(a, "xarray_merged"), "use_after_free"), 0u);
}
TEST(Objections, WithAnIdentityDomainNothingIsDamaged) {
  const auto a = ask("iommu_pt");
  EXPECT_TRUE(a.shown) << a.numbers;
  EXPECT_EQ(of(a, "stock").oops, "");
  EXPECT_GT(of(a, "stock").late_unmaps, 0u);  // against the rule of the DMA API all the same
}
TEST(Objections, ASocketThatNeverClosesStallsOnlyWhoWaitsForIt) {
  const auto a = ask("socket_never_closes");
  EXPECT_TRUE(a.shown) << a.numbers;
  EXPECT_FALSE(of(a, "stall_unregister").unbind_ended);
  EXPECT_GT(of(a, "stall_unregister").unbind, 170 * sim::kSecond);
  EXPECT_TRUE(of(a, "xarray_merged").unbind_ended);
}
TEST(Objections, AnIdleCoreKeepsItsDeferredListForEver) {
  const auto a = ask("idle_core");
  EXPECT_TRUE(a.shown) << a.numbers;
  for (const RunResult& r : a.runs)
    EXPECT_NE(r.held_by.find("20 x skb defer list of core"), std::string::npos);
}
TEST(Objections, TrackingIsPaidAtMapAndUnmapNotPerRecycledPacket) {
  const auto a = ask("tracking_cost");
  // The published bench: no difference on the fast path; the xarray is touched at map and unmap only.
  EXPECT_LT(of(a, "xarray_merged").cycles_per_packet, 1.01 * of(a, "stock").cycles_per_packet);
}
TEST(Objections, GroHeldAtUnbindStallsWhoWaitsBeforeNapiIsDeleted) {
  scenario::CompareRequest r;
  r.files = {kScenarios + "/gro_at_unbind.yaml"};
  r.strategies = {"stall_unregister", "xarray_merged"};
  r.costs = false;
  const auto c = scenario::compare(r);
  ASSERT_TRUE(c.cells[0].run && c.cells[1].run);
  EXPECT_FALSE(c.cells[0].run->unbind_ended);
  EXPECT_NE(c.cells[0].run->held_by.find("6 x GRO list of NAPI"), std::string::npos)
      << c.cells[0].run->held_by;
  EXPECT_TRUE(c.cells[1].run->unbind_ended);
  EXPECT_EQ(c.cells[1].run->held_by, "");
}
TEST(Objections, HotplugWaitsForTheScanAndNothingIsMissed) {
  const auto a = ask("hotplug");
  EXPECT_TRUE(a.shown) << a.numbers;
  const RunResult& scan = of(a, "scan");
  // 16 GiB less 1 GiB at 16.5 ns a page is 65 ms (holes cost less), of which 5 are over when hotplug comes.
  EXPECT_GT(scan.longest_hotplug_wait, 50 * sim::kMillisecond);
  EXPECT_LT(scan.longest_hotplug_wait, 70 * sim::kMillisecond);
  for (const RunResult& r : a.runs) {
    EXPECT_EQ(r.hotplug_steps, 2u) << r.strategy;  // added, brought on line
    EXPECT_EQ(r.hotplug_errors, 0u) << r.strategy;
    EXPECT_EQ(r.late_unmaps, 0u) << r.strategy;
    EXPECT_EQ(count(r, "leaked_mapping"), 0u) << r.strategy;
  }
  // Nobody walks: a grace period, as for every writer of the lock.
  EXPECT_LT(of(a, "xarray_merged").longest_hotplug_wait, 10 * sim::kMillisecond);
  // Without the lock around it, the walk still keeps hotplug out.
  EXPECT_GT(of(a, "scan_lock_on_match").longest_hotplug_wait, 50 * sim::kMillisecond);
}
TEST(Objections, EachOfManyPoolsWalksAllMemory) {
  const auto a = ask("many_pools");
  EXPECT_TRUE(a.shown) << a.numbers;
  const RunResult& scan = of(a, "scan");
  EXPECT_EQ(scan.pools, 4u);
  EXPECT_EQ(scan.scanned_pfns, 4u * (std::uint64_t{16} << 30) / 4096);
  EXPECT_EQ(of(a, "xarray_merged").scanned_pfns, 0u);
  EXPECT_EQ(of(a, "xarray_merged").pools, 4u);
}
TEST(Objections, ABulkUnmapBlindsDmaDebug) {
  const auto a = ask("dma_debug_blinded");
  EXPECT_TRUE(a.shown) << a.numbers;
  EXPECT_EQ(of(a, "xarray_merged").dma_debug_pending, 3u);   // what the driver leaked
  EXPECT_EQ(of(a, "stock").dma_debug_pending, 3u + 32);      // and what waits in the socket
  EXPECT_EQ(of(a, "domain_detach").dma_debug_pending, 3u + 32);
  EXPECT_EQ(of(a, "dma_bulk_unmap").dma_debug_pending, 0u);
}
TEST(Objections, UnknownKeysAreRefusedWithTheNearest) {
  try {
    scenario::answer_objections(kScenarios, {"idle_cor"}, 1);
    FAIL();
  } catch (const sim::Error& e) {
    EXPECT_NE(std::string(e.what()).find("idle_core"), std::string::npos);
  }
}

}  // namespace
