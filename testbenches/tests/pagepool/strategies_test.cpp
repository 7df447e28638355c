// SPDX-License-Identifier: Apache-2.0
// Each strategy's own steps, on a driver that is unbound with ten pages out: who unmaps what, and when.
#include "pagepool/sim_env.h"
#include "sim/error.h"
#include "testbenches/tests/pagepool/sim_harness.h"

namespace {

using namespace pagepool;
using kernel::DmaMode;
using testing_pagepool::mapped_params;
using testing_pagepool::options;
using testing_pagepool::PoolMachine;
using testing_pagepool::Unbind;

TEST(Strategies, StockUnmapsLate) {
  Unbind u("stock");
  u.run(DmaMode::kStrict);
  EXPECT_EQ(u.state_after_destroy.inflight, 10);
  EXPECT_TRUE(u.state_after_destroy.detached);
  EXPECT_EQ(u.inside, 54u);
  EXPECT_EQ(u.late, 10u);
  EXPECT_TRUE(u.pool->gone());
  // Held for 1.5 s: the second round of the release work frees the pool.
  EXPECT_EQ(u.pool->state().release_rounds, 2u);
  EXPECT_EQ(u.m.pages.verify(), "");
}

TEST(Strategies, XarrayUnmapsEverythingInsideDestroy) {
  Unbind u("xarray_merged");
  u.run(DmaMode::kStrict);
  EXPECT_EQ(u.state_after_destroy.inflight, 10);
  EXPECT_EQ(u.inside, 64u);
  EXPECT_EQ(u.late, 0u);
  EXPECT_EQ(u.state_after_destroy.tracking_bytes, 0u);
  EXPECT_GT(u.state_after_destroy.tracking_bytes_peak, 0u);
  EXPECT_TRUE(u.pool->gone());
  EXPECT_EQ(u.m.pages.verify(), "");
}

TEST(Strategies, ScanFindsWhatIsOutAndTakesItsTimeWithBhOff) {
  Unbind u("scan");
  u.run(DmaMode::kStrict);
  EXPECT_EQ(u.state_after_destroy.inflight, 10);
  EXPECT_EQ(u.inside, 64u);
  EXPECT_EQ(u.late, 0u);
  EXPECT_TRUE(u.pool->gone());
  EXPECT_TRUE(u.m.k.warnings().empty());
  // synchronize_rcu() is in the price of unbinding.
  EXPECT_GT(u.unbind_time, 2 * sim::kMillisecond);
}

/// 1 GiB are 262144 pages of 41 cycles (16.5 ns).
constexpr double kWholeMemoryNs = 262144 * 41 / 2.5;
/// Longest time with bottom halves off when a pool is destroyed with one page out.
double longest_scan_ns(PoolOptions o) {
  PoolMachine m(std::move(o));
  sim::Tick longest = 0;
  m.k.trace().bh_section.subscribe(
      [&](const kernel::BhSection& e) { longest = std::max(longest, e.end - e.begin); });
  m.run_bound(DmaMode::kDirect, 1, [&](kernel::Device& device) {
    auto pool = m.pools.create(device, mapped_params());
    pool->alloc_page();
    pool->destroy();
    EXPECT_EQ(pool->state().inflight, 1);
  });
  return static_cast<double>(longest) / sim::kNanosecond;
}
TEST(Strategies, ScanWithDebugNetWalksAllMemory) {
  auto o = options("scan");
  o.debug_net = true;
  EXPECT_NEAR(longest_scan_ns(o), kWholeMemoryNs, kWholeMemoryNs * 0.02);
}
TEST(Strategies, ScanStopsWhenItFoundAsManyAsAreOut) {
  EXPECT_LT(longest_scan_ns(options("scan")), kWholeMemoryNs / 2);
}

TEST(Strategies, StockOopsesWhenTheDeviceIsGone) {
  Unbind u("stock");
  u.run(DmaMode::kStrict, 10, /*remove_device=*/true);
  ASSERT_FALSE(u.m.k.oopses().empty());
  const kernel::Oops& oops = u.m.k.oopses().front();
  EXPECT_EQ(oops.symbol, "iommu_get_dma_domain");
  EXPECT_EQ(oops.address, 0xa8u);
  EXPECT_EQ(oops.workqueue, "events page_pool_release_retry");
  EXPECT_THAT(oops.chain, ::testing::IsSupersetOf(
                              {std::string("dma_unmap_page_attrs"), std::string("page_pool_return_page"),
                               std::string("page_pool_release"), std::string("page_pool_release_retry")}));
}

TEST(Strategies, FixesSurviveRemovalOfTheDevice) {
  Unbind u("xarray_merged");
  u.run(DmaMode::kStrict, 10, /*remove_device=*/true);
  EXPECT_TRUE(u.m.k.oopses().empty());
  EXPECT_TRUE(u.pool->gone());
}

TEST(Strategies, ScanSurvivesRemovalOfTheDevice) {
  Unbind u("scan");
  u.run(DmaMode::kStrict, 10, /*remove_device=*/true);
  EXPECT_TRUE(u.m.k.oopses().empty());
  EXPECT_TRUE(u.pool->gone());
}

TEST(Strategies, AreListedByKey) {
  std::vector<std::string> keys;
  for (const auto& s : strategies()) {
    keys.push_back(s.key);
    EXPECT_FALSE(s.summary.empty()) << s.key;
  }
  EXPECT_THAT(keys, ::testing::IsSupersetOf({"stock", "scan", "xarray_merged"}));
  EXPECT_TRUE(std::is_sorted(keys.begin(), keys.end()));
  EXPECT_THROW(find_strategy("stok"), sim::Error);
}

/// 64 pages were mapped, 10 are out: 54 lie in the cache.
struct Expected {
  const char* strategy;
  unsigned inside, before_unbound, late;  // unmaps: in page_pool_destroy, later with the driver, without it
  int inflight_after_destroy;
  bool gone;  // in the end
};
void PrintTo(const Expected& e, std::ostream* out) { *out << e.strategy; }
class Steps : public ::testing::TestWithParam<Expected> {};
TEST_P(Steps, UnmapsWhereItsProposalSays) {
  const Expected& e = GetParam();
  Unbind u(e.strategy);
  u.run(DmaMode::kStrict);
  EXPECT_EQ(u.inside, e.inside);
  EXPECT_EQ(u.before, e.before_unbound);
  EXPECT_EQ(u.late, e.late);
  EXPECT_EQ(u.state_after_destroy.inflight, e.inflight_after_destroy);
  EXPECT_EQ(u.pool->gone(), e.gone);
  EXPECT_TRUE(u.m.k.warnings().empty());
  EXPECT_EQ(u.m.pages.verify(), "");
}
INSTANTIATE_TEST_SUITE_P(All, Steps,
                         ::testing::Values(Expected{"stock", 54, 0, 10, 10, true},
                                           Expected{"item_array", 64, 0, 0, 10, true},
                                           Expected{"item_blocks", 64, 0, 0, 10, true},
                                           Expected{"dma_bulk_unmap", 54, 0, 0, 10, true},
                                           Expected{"scan", 64, 0, 0, 10, true},
                                           Expected{"scan_release", 64, 0, 0, 0, true},
                                           Expected{"scan_lock_on_match", 64, 0, 0, 10, true},
                                           Expected{"tracked_list", 64, 0, 0, 10, true},
                                           Expected{"tracked_xarray_flag", 64, 0, 0, 10, true},
                                           Expected{"domain_detach", 54, 0, 0, 10, true},
                                           Expected{"robust_dma_api", 54, 10, 0, 10, true},
                                           Expected{"xarray_merged", 64, 0, 0, 10, true}),
                         [](const auto& info) { return std::string(info.param.strategy); });

TEST(Strategies, DestroyFlagFreesPagesThatAreStillOwned) {
  // Lin's objection: the destroyer cannot tell a page that came back from one that is still held.
  Unbind u("destroy_flag");
  int freed_while_held = 0;
  u.after_unbind = [&] {
    for (sim::Pfn page : u.held) freed_while_held += u.m.frames.page_count(page) == 0;
    u.held.clear();
  };
  u.run(DmaMode::kStrict);
  EXPECT_EQ(freed_while_held, 10);
  EXPECT_EQ(u.inside, 64u);
}

TEST(Strategies, StallUnregisterHoldsTheDriverUntilThePagesAreBack) {
  Unbind u("stall_unregister");
  u.early_return = true;
  u.run(DmaMode::kStrict);
  EXPECT_EQ(u.inside, 54u);
  EXPECT_EQ(u.before, 10u);
  EXPECT_EQ(u.late, 0u);
  EXPECT_GT(u.unbind_time, 1500 * sim::kMillisecond);
  EXPECT_TRUE(u.pool->gone());
}

TEST(Strategies, StallUnregisterWaitsAsLongAsPagesAreOut) {
  Unbind u("stall_unregister");
  u.run(DmaMode::kStrict);
  EXPECT_EQ(u.unbind_time, 0u);  // device_unbind() did not return
  EXPECT_TRUE(u.m.device->bound());
  u.m.k.spawn(1, "reader", [&] { u.give_back(); });
  u.m.run(5);
  EXPECT_GT(u.unbind_time, 8 * sim::kSecond);
  EXPECT_FALSE(u.m.device->bound());
}

TEST(Strategies, ItemBlocksNeedASlowBlockBeyondWhatTheyBeganWith) {
  PoolMachine m(options("item_blocks"));
  m.run_bound(DmaMode::kDirect, 1, [&](kernel::Device& device) {
    auto pool = m.pools.create(device, mapped_params(256));  // 2 * 256 + 128 + 512 = 1152: 5 blocks of 254
    EXPECT_EQ(pool->state().tracking_bytes, 5u * 4096);
    std::vector<sim::Pfn> out;
    for (unsigned i = 0; i < 1280; ++i) out.push_back(*pool->alloc_page());  // 20 bulks of 64 > 1270
    EXPECT_EQ(pool->state().tracking_bytes, 6u * 4096);
    for (sim::Pfn p : out) pool->put_full_page(p, false);
    pool->destroy();
    EXPECT_TRUE(pool->gone());
    EXPECT_EQ(pool->state().inflight, 0);
  });
  EXPECT_EQ(m.pages.verify(), "");
  EXPECT_TRUE(m.k.warnings().empty());
}

TEST(Strategies, ItemBlocksTrackPoolsThatDoNotMapToo) {
  PoolMachine m(options("item_blocks"));
  m.run_bound(DmaMode::kDirect, 1, [&](kernel::Device& device) {
    auto pool = m.pools.create(device, {.pool_size = 64});
    const sim::Pfn page = *pool->alloc_page();
    EXPECT_NE(magic_dma_index(m.frames.get<std::uint64_t>(page, mm::page_field::kPpMagic)), 0u);
    pool->put_full_page(page, false);
    pool->destroy();
    EXPECT_TRUE(pool->gone());
  });
  EXPECT_TRUE(m.k.warnings().empty());
}

TEST(Strategies, DmaBulkUnmapLeavesNothingInTheDomainOfTheDevice) {
  Unbind u("dma_bulk_unmap");
  std::uint64_t mapped = ~0ull, ranges_given_up = 0, fences = 0;
  u.m.k.trace().dma_unmapped_all.subscribe([&](const kernel::DmaUnmappedAll& e) {
    ranges_given_up = e.given_up;
    EXPECT_TRUE(e.driver_bound);
  });
  sim::Iova ring{};
  kernel::CoherentBuffer other;
  u.m.driver.on_remove = [&](kernel::Device& device) {
    other = u.m.k.dma().dma_alloc_coherent(device, 4096);
    fences = u.m.k.iommu().counters().fences;
    u.pool->destroy();
    fences = u.m.k.iommu().counters().fences - fences;
    mapped = device.iommu_group()->default_domain->mapped_pages();
  };
  u.run(DmaMode::kStrict);
  EXPECT_EQ(mapped, 0u);            // the other user's buffer went, too
  EXPECT_EQ(ranges_given_up, 11u);  // ten pages and that buffer
  EXPECT_EQ(fences, 54u + 1);       // one for each page in the cache, one for all that was out
}

// What ends as "double unmap" in scenarios/unbind_outstanding.yaml: igb destroys the pool of a ring before it frees
// the ring's descriptors, and "everything this device has" includes them. A driver that does it the other way round
// is not hurt; so it is the order of the driver, which the call cannot know, and not the driver's mistake.
class BulkUnmapAndTheRing : public ::testing::TestWithParam<bool> {};
TEST_P(BulkUnmapAndTheRing, WhoFreesFirst) {
  const bool descriptors_first = GetParam();
  Unbind u("dma_bulk_unmap");
  u.m.driver.on_remove = [&](kernel::Device& device) {
    const kernel::CoherentBuffer ring = u.m.k.dma().dma_alloc_coherent(device, 4096);
    if (descriptors_first) u.m.k.dma().dma_free_coherent(device, ring);
    u.pool->destroy();
    if (!descriptors_first) u.m.k.dma().dma_free_coherent(device, ring);
  };
  u.run(DmaMode::kStrict);
  ASSERT_EQ(u.m.k.warnings().size(), descriptors_first ? 0u : 1u);
  if (!descriptors_first) {
    EXPECT_NE(u.m.k.warnings()[0].text.find("unmapped 0 != size 4096"), std::string::npos);
  }
}
INSTANTIATE_TEST_SUITE_P(Strategies, BulkUnmapAndTheRing, ::testing::Bool());

/// fail_nth of tracking memory: the page is not had, nothing is mapped for it, and later ones are.
class TrackFailure : public ::testing::TestWithParam<const char*> {};
TEST_P(TrackFailure, CostsAPageAndNothingElse) {
  auto o = options(GetParam());
  o.fail_track_nth = std::string(GetParam()) == "item_blocks" ? 6 : 2;  // of the first slow block; of the second page
  PoolMachine m(o);
  m.run_bound(DmaMode::kStrict, 5, [&](kernel::Device& device) {
    auto pool = m.pools.create(device, mapped_params(256));
    ASSERT_TRUE(pool);
    std::vector<sim::Pfn> out;
    for (unsigned i = 0; i < 1400; ++i)
      if (auto page = pool->alloc_page()) out.push_back(*page);
    EXPECT_EQ(pool->state().track_failures, 1u);
    EXPECT_EQ(device.iommu_group()->default_domain->mapped_pages(), pool->state().hold);
    for (sim::Pfn p : out) pool->put_full_page(p, false);
    pool->destroy();
    EXPECT_TRUE(pool->gone());
    EXPECT_EQ(device.iommu_group()->default_domain->mapped_pages(), 0u);
  });
  EXPECT_EQ(m.pages.verify(), "");
  EXPECT_TRUE(m.k.warnings().empty());
}
INSTANTIATE_TEST_SUITE_P(Strategies, TrackFailure,
                         ::testing::Values("item_blocks", "tracked_list", "tracked_xarray_flag", "xarray_merged"));

TEST(Strategies, AnItemArrayThatCannotBeHadFailsTheCreate) {
  auto o = options("item_array");
  o.fail_track_nth = 1;
  PoolMachine m(o);
  m.run_bound(DmaMode::kDirect, 1, [&](kernel::Device& device) {
    int error = 0;
    EXPECT_FALSE(m.pools.create(device, mapped_params(), &error));
    EXPECT_EQ(error, -ENOMEM);
  });
  EXPECT_EQ(m.pages.verify(), "");
}

TEST(Strategies, ItemArrayLimitsThePagesInFlight) {
  PoolMachine m(options("item_array"));
  m.run_bound(DmaMode::kDirect, 1, [&](kernel::Device& device) {
    auto pool = m.pools.create(device, mapped_params(256));  // 256 + 128 + 512 -> 1024 items
    unsigned got = 0;
    while (got < 5000 && pool->alloc_page()) ++got;
    EXPECT_EQ(got, 1024u);
    EXPECT_EQ(pool->state().inflight, 1024);
  });
}

}  // namespace
