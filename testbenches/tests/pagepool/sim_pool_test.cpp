// SPDX-License-Identifier: Apache-2.0
// page_pool in the modelled kernel: the same state machine on struct pages in simulated memory, with real
// mappings, contexts and time; and what each strategy does with mappings that outlive the driver.
#include <sys/wait.h>
#include <unistd.h>

#include "pagepool/dmabuf_binding.h"
#include "pagepool/sim_env.h"
#include "sim/error.h"
#include "sim_harness.h"

namespace {

using namespace pagepool;
using kernel::DmaMode;
using testing_pagepool::mapped_params;
using testing_pagepool::options;
using testing_pagepool::PoolMachine;
using testing_pagepool::Unbind;

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
    EXPECT_FALSE(has_signature(m.frames.get<std::uint64_t>(page, mm::page_field::kPpMagic)));
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
    Unbind u("xarray_merged", config);
    u.run(DmaMode::kStrict, 40);
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

PoolParams devmem_params(std::shared_ptr<DmabufBinding> dmabuf) {
  PoolParams params = mapped_params();
  params.flags |= PP_FLAG_ALLOW_UNREADABLE_NETMEM;
  params.dmabuf = std::move(dmabuf);
  return params;
}

class DevmemPool : public ::testing::TestWithParam<std::string> {};

TEST_P(DevmemPool, GivesPiecesOfTheDmabufAndNeverMapsOrUnmapsThem) {
  PoolMachine m(options(GetParam()));
  unsigned mapped = 0, unmapped = 0, holds = 0, releases = 0, misuses = 0;
  m.k.trace().dma_mapped.subscribe([&](const kernel::DmaMapped&) { ++mapped; });
  m.k.trace().dma_unmapped.subscribe([&](const kernel::DmaUnmapped&) { ++unmapped; });
  m.pools.trace().state_hold.subscribe(
      [&](const StateHold& e) { holds += e.is_net_iov && e.pfn.value == 0; });
  m.pools.trace().state_release.subscribe([&](const StateRelease& e) { releases += e.is_net_iov; });
  m.pools.trace().misused.subscribe([&](const Misused& e) {
    ++misuses;
    EXPECT_EQ(e.kind, MisuseKind::double_put);
    EXPECT_EQ(e.page_pool, 1u);
  });
  m.run_bound(DmaMode::kDirect, 5, [&](kernel::Device& device) {
    auto dmabuf = DmabufBinding::bind(m.pools, device, 32);
    ASSERT_TRUE(dmabuf);
    EXPECT_EQ(mapped, 32u);
    auto pool = m.pools.create(device, devmem_params(dmabuf));
    ASSERT_TRUE(pool);
    EXPECT_FALSE(pool->alloc_page());
    EXPECT_FALSE(pool->alloc_frag(100));
    std::vector<NetIov> out;
    while (auto iov = pool->alloc_net_iov()) out.push_back(*iov);
    ASSERT_EQ(out.size(), 32u);
    EXPECT_EQ(out[0], NetIov{0});
    EXPECT_NE(dmabuf->dma_addr(out[1]), dmabuf->dma_addr(out[2]));
    EXPECT_EQ(pool->state().inflight, 32);
    pool->put_net_iov(out[3], false);
    pool->put_net_iov(out[3], false);  // it lies in the ring
    EXPECT_EQ(misuses, 1u);
    EXPECT_EQ(*pool->alloc_net_iov(), out[3]);
    dmabuf->unbind();
    pool->destroy();
    EXPECT_FALSE(pool->gone());
    EXPECT_TRUE(dmabuf->mapped());
    for (NetIov iov : out) pool->put_net_iov(iov, false);
    EXPECT_EQ(unmapped, 0u);
    kernel::msleep(1500);
    EXPECT_TRUE(pool->gone());
    EXPECT_FALSE(dmabuf->mapped());
  });
  EXPECT_EQ(mapped, 32u);
  EXPECT_EQ(unmapped, 32u);
  EXPECT_EQ(holds, 32u);
  EXPECT_EQ(releases, 32u);
}
INSTANTIATE_TEST_SUITE_P(Strategies, DevmemPool, ::testing::Values("stock", "scan", "xarray_merged"));

TEST(SimPool, DmabufIsRefusedWhereTheKernelRefuses) {
  PoolMachine m(options("xarray_merged"));
  m.run_bound(DmaMode::kDirect, 1, [&](kernel::Device& device) {
    auto dmabuf = DmabufBinding::bind(m.pools, device, 8);
    auto refused = [&](PoolParams params) {
      int error = 0;
      EXPECT_EQ(m.pools.create(device, params, &error), nullptr);
      return error;
    };
    PoolParams params = devmem_params(dmabuf);
    params.flags &= ~PP_FLAG_DMA_SYNC_DEV;
    EXPECT_EQ(refused(params), -EOPNOTSUPP);
    params = devmem_params(dmabuf);
    params.order = 1;
    EXPECT_EQ(refused(params), -E2BIG);
    EXPECT_EQ(refused(devmem_params(DmabufBinding::bind(m.pools, device, 0))), -EINVAL);
    // Without the flag the queue's provider is not the pool's.
    params = devmem_params(dmabuf);
    params.flags &= ~PP_FLAG_ALLOW_UNREADABLE_NETMEM;
    auto pool = m.pools.create(device, params);
    ASSERT_TRUE(pool);
    EXPECT_TRUE(pool->alloc_page());
    EXPECT_FALSE(pool->alloc_net_iov());
    dmabuf->unbind();
    EXPECT_FALSE(dmabuf->mapped());
  });
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
