// SPDX-License-Identifier: Apache-2.0
// page_pool in the modelled kernel: the same state machine on struct pages in simulated memory, with real
// mappings, contexts and time; and what each strategy does with mappings that outlive the driver.
#include <sys/wait.h>
#include <unistd.h>

#include "pagepool/sim_env.h"
#include "sim/error.h"
#include "sim_harness.h"

namespace {

using namespace pagepool;
using kernel::DmaMode;
using testing_pagepool::mapped_params;
using testing_pagepool::options;
using testing_pagepool::PoolMachine;

TEST(SimPool, StructPageFieldsLieInSimulatedMemory) {
  PoolMachine m;
  m.run_bound(DmaMode::kDirect, 1, [&](kernel::Device& device) {
    auto pool = m.pools.create(device, mapped_params());
    ASSERT_TRUE(pool);
    sim::Pfn page = *pool->alloc_page();
    EXPECT_EQ(m.frames.get<std::uint64_t>(page, mm::page_field::kPpMagic), kPageSignature);
    EXPECT_EQ(m.frames.get<std::int64_t>(page, mm::page_field::kPpRefCount), 1);
    EXPECT_EQ(m.frames.get<std::uint64_t>(page, mm::page_field::kDmaAddr), sim::to_phys(page).value);
    EXPECT_EQ(pool->dma_addr(page).value, sim::to_phys(page).value);
    EXPECT_EQ(m.pools.pool_of(page), pool.get());
    EXPECT_EQ(pool->state().hold, 64u);
    EXPECT_EQ(pool->state().cache, 63u);
    pool->put_full_page(page, true);
    EXPECT_EQ(pool->state().cache, 64u);
    EXPECT_EQ(pool->state().stats.recycle_cached, 1u);
    auto a = pool->alloc_frag(1000), b = pool->alloc_frag(1000);
    EXPECT_EQ(a->page, b->page);
    EXPECT_EQ(b->offset, 1000u);
    pool->put_full_page(a->page, false);
    pool->put_full_page(b->page, false);
    pool->destroy();
    EXPECT_TRUE(pool->gone());
    EXPECT_EQ(m.pools.pool_of(page), nullptr);
    EXPECT_EQ(m.frames.get<std::uint64_t>(page, mm::page_field::kPpMagic) & kPageSignature, 0u);
    EXPECT_EQ(pool->state().hold, pool->state().release);
  });
  EXPECT_EQ(m.pages.verify(), "");
  EXPECT_TRUE(m.k.warnings().empty());
}

TEST(SimPool, RefusedParametersGiveTheKernelsErrno) {
  PoolMachine m;
  m.run_bound(DmaMode::kDirect, 1, [&](kernel::Device& device) {
    int error = 0;
    auto params = mapped_params();
    params.max_len = 0;
    EXPECT_FALSE(m.pools.create(device, params, &error));
    EXPECT_EQ(error, -EINVAL);
    params = mapped_params(40000);
    EXPECT_FALSE(m.pools.create(device, params, &error));
    EXPECT_EQ(error, -E2BIG);
  });
  EXPECT_TRUE(m.pools.pools().empty());
  ASSERT_FALSE(m.k.dmesg().empty());
  EXPECT_EQ(m.k.dmesg().back().text, "page_pool_create_percpu() gave up with errno -7");
}

TEST(SimPool, NoMemoryGivesNoPage) {
  PoolMachine m;
  m.run_bound(DmaMode::kDirect, 1, [&](kernel::Device& device) {
    auto pool = m.pools.create(device, mapped_params());
    m.pages.set_failure_hook([](unsigned, unsigned) { return true; });
    EXPECT_FALSE(pool->alloc_page());
    EXPECT_EQ(pool->state().stats.alloc_empty, 1u);
    EXPECT_EQ(pool->state().stats.alloc_slow, 0u);
    m.pages.set_failure_hook({});
    EXPECT_TRUE(pool->alloc_page());
  });
}

/// What happened to mappings in a run where `out` pages were held over unbind for two seconds.
struct Unbind {
  explicit Unbind(std::string strategy, DmaMode mode, unsigned out = 10, bool remove_device = false,
                  sim::SimulationConfig time = {})
      : m(options(strategy), {}, time) {
    m.k.trace().dma_unmapped.subscribe([this](const kernel::DmaUnmapped& e) {
      bool in_destroy = std::find_if(e.chain.begin(), e.chain.end(), [](const char* f) {
                          return std::string_view(f) == "page_pool_destroy";
                        }) != e.chain.end();
      ++(in_destroy ? inside : e.driver_bound ? before : late);
    });
    m.k.trace().bh_section.subscribe(
        [this](const kernel::BhSection& e) { longest_bh_off = std::max(longest_bh_off, e.end - e.begin); });
    m.driver.on_remove = [this](kernel::Device&) { pool->destroy(); };
    m.run_bound(mode, 8, [=, this](kernel::Device& device) {
      pool = m.pools.create(device, mapped_params());
      for (unsigned i = 0; i < out + 5; ++i) held.push_back(*pool->alloc_page());
      for (unsigned i = 0; i < 5; ++i) {
        pool->recycle_direct(held.back());
        held.pop_back();
      }
      sim::Tick begin = m.k.now();
      m.k.devices().device_unbind(device);
      unbind_time = m.k.now() - begin;
      state_after_destroy = pool->state();
      if (remove_device) m.k.devices().device_del(device);
      kernel::msleep(1500);
      m.k.spawn(1, "reader", [this] {
        for (sim::Pfn page : held) m.pools.napi_pp_put_page(page);
      });
    });
  }
  PoolMachine m;
  std::shared_ptr<Pool> pool;
  std::vector<sim::Pfn> held;
  PoolState state_after_destroy;
  unsigned before = 0, inside = 0, late = 0;
  sim::Tick longest_bh_off = 0, unbind_time = 0;
};

TEST(Strategies, StockUnmapsLate) {
  Unbind u("stock", DmaMode::kStrict);
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
  Unbind u("xarray_merged", DmaMode::kStrict);
  EXPECT_EQ(u.state_after_destroy.inflight, 10);
  EXPECT_EQ(u.inside, 64u);
  EXPECT_EQ(u.late, 0u);
  EXPECT_EQ(u.state_after_destroy.tracking_bytes, 0u);
  EXPECT_GT(u.state_after_destroy.tracking_bytes_peak, 0u);
  EXPECT_TRUE(u.pool->gone());
  EXPECT_EQ(u.m.pages.verify(), "");
}

TEST(Strategies, ScanFindsWhatIsOutAndTakesItsTimeWithBhOff) {
  Unbind u("scan", DmaMode::kStrict);
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
  Unbind u("stock", DmaMode::kStrict, 10, /*remove_device=*/true);
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
  Unbind u("xarray_merged", DmaMode::kStrict, 10, /*remove_device=*/true);
  EXPECT_TRUE(u.m.k.oopses().empty());
  EXPECT_TRUE(u.pool->gone());
}

TEST(Strategies, ScanSurvivesRemovalOfTheDevice) {
  Unbind u("scan", DmaMode::kStrict, 10, /*remove_device=*/true);
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

TEST(SimPool, StalledShutdownWarnsOnceAMinute) {
  auto o = options("stock");
  PoolMachine m(o);
  std::vector<std::pair<int, int>> stalled;
  m.pools.trace().warned.subscribe([&](const Warned& w) {
    if (w.what == Warning::stalled) stalled.emplace_back(w.a, w.b);
  });
  unsigned rounds = 0;
  m.pools.trace().release_retried.subscribe([&](const ReleaseRetried&) { ++rounds; });
  m.run_bound(DmaMode::kDirect, 200, [&](kernel::Device& device) {
    auto pool = m.pools.create(device, mapped_params());
    pool->alloc_page();
    pool->destroy();
  });
  ASSERT_EQ(stalled.size(), 3u);
  EXPECT_EQ(stalled[0].first, 1);
  EXPECT_EQ(stalled[0].second / 60, 1);
  EXPECT_EQ(stalled[2].second / 60, 3);
  EXPECT_NEAR(rounds, 193, 8);  // a second on the timer wheel is up to 64 jiffies more
}

TEST(SimPool, MisuseIsReportedWithBothParties) {
  PoolMachine m;
  std::vector<Misused> seen;
  m.pools.trace().misused.subscribe([&](const Misused& e) { seen.push_back(e); });
  m.run_bound(DmaMode::kDirect, 1, [&](kernel::Device& device) {
    auto a = m.pools.create(device, mapped_params()), b = m.pools.create(device, mapped_params());
    sim::Pfn page = *a->alloc_page();
    b->put_full_page(page, false);  // foreign
    a->put_full_page(page, true);
    a->put_full_page(page, true);  // double
    b->destroy();
    EXPECT_FALSE(b->alloc_page());  // gone
    a->destroy();
    a->put_full_page(page, false);
  });
  ASSERT_EQ(seen.size(), 4u);
  EXPECT_EQ(seen[0].kind, MisuseKind::foreign_pool);
  EXPECT_EQ(seen[0].pool, 2u);
  EXPECT_EQ(seen[0].page_pool, 1u);
  EXPECT_EQ(seen[1].kind, MisuseKind::double_put);
  EXPECT_EQ(seen[2].kind, MisuseKind::pool_gone);
  EXPECT_EQ(seen[3].kind, MisuseKind::pool_gone);
  EXPECT_EQ(m.pages.verify(), "");
}

/// Digest of a run with two cores and a destroy with pages out, in a process of its own.
std::string digest_in_child(sim::TimeMode mode) {
  int pipe_ends[2];
  EXPECT_EQ(pipe(pipe_ends), 0);
  pid_t child = fork();
  if (child == 0) {
    sim::SimulationConfig config;
    config.time = mode;
    Unbind u("xarray_merged", DmaMode::kStrict, 40, false, config);
    std::string text = u.m.s.digest().hex();
    _exit(write(pipe_ends[1], text.data(), text.size()) == static_cast<ssize_t>(text.size()) ? 0 : 1);
  }
  std::string text(32, '?');
  EXPECT_EQ(read(pipe_ends[0], text.data(), text.size()), 32);
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
  close(pipe_ends[0]);
  close(pipe_ends[1]);
  return text;
}

TEST(SimPool, TheModesOfKeepingTimeAgree) {
  std::string skipping = digest_in_child({});
  EXPECT_EQ(digest_in_child({}), skipping);
  sim::TimeMode step;
  step.run_ahead = false;
  EXPECT_EQ(digest_in_child(step), skipping);
}

TEST(SimPool, DumpNamesEverything) {
  PoolMachine m(options("xarray_merged"));
  m.run_bound(DmaMode::kDirect, 1, [&](kernel::Device& device) {
    auto params = mapped_params();
    Netdev netdev{7, "eth0"};
    params.netdev = &netdev;
    auto pool = m.pools.create(device, params);
    pool->alloc_page();
    EXPECT_THAT(
        m.pools.dump(),
        ::testing::AllOf(::testing::HasSubstr("page-pool id=1 device=0000:01:10.0 ifindex=7"),
                         ::testing::HasSubstr("inflight=64 inflight-mem=262144"),
                         ::testing::HasSubstr("alloc-slow=1"), ::testing::HasSubstr("strategy=xarray_merged"),
                         ::testing::HasSubstr("tracking-bytes=1728")));
    EXPECT_EQ(pool->cached_pages().size(), 63u);
  });
}

}  // namespace
