// SPDX-License-Identifier: Apache-2.0
// The walk over all struct pages skips what nobody touched and what nobody can disturb. That must be what a walk page
// by page gives: same order, same findings, same cycles - with other cores allocating and freeing, with memory going
// and coming, with timers on the walking core, and with returners that spin for the lock of the scan.
#include <sys/resource.h>

#include "pagepool/sim_env.h"
#include "sim/digest.h"
#include "sim/random.h"
#include "testbenches/tests/pagepool/sim_harness.h"

namespace {

using namespace pagepool;
using kernel::DmaMode;
using testing_kernel::in_child;
using testing_pagepool::mapped_params;
using testing_pagepool::options;
using testing_pagepool::PoolMachine;
using testing_pagepool::Unbind;

constexpr std::uint64_t kSection = mm::PageFrames::kPagesPerSection;
constexpr std::uint64_t kSectionBytes = kSection * sim::kPageSize;
constexpr sim::PhysAddr kBase(0x8000'0000);

sim::SimulationConfig every_cycle() {
  sim::SimulationConfig c;
  c.time.every_cycle = true;
  return c;
}

/// Order, time and content of what was noticed.
struct Log {
  sim::Digest digest;
  std::uint64_t entries = 0;
  void add(std::uint64_t what, sim::Tick time, std::uint64_t a, std::uint64_t b = 0) {
    digest.add(what, time, a, b);
    ++entries;
  }
  std::string text() { return fmt::format("{} {}", entries, digest.hex()); }
};

/// The law, in words of its own.
std::uint64_t page_by_page(PoolMachine& m, const std::function<bool(sim::Pfn)>& f, bool schedulable) {
  kernel::Context& cpu = kernel::this_cpu();
  std::uint64_t walked = 0;
  for (int key = -1;;) {
    const auto zone = [&]() -> std::optional<mm::ZoneInfo> {
      for (const auto& z : m.frames.zones())
        if (static_cast<int>(z.nid * 2 + static_cast<unsigned>(z.type)) > key) return z;
      return std::nullopt;
    };
    const auto first = zone();
    if (!first) return walked;
    for (sim::Pfn pfn = first->start;; pfn += 1) {
      const auto now = zone();
      if (!now || now->nid != first->nid || now->type != first->type || pfn >= now->end) break;
      if (schedulable && walked % kScanStep == 0) cpu.cond_resched();
      const bool online = m.frames.pfn_to_online_page(pfn);
      cpu.work(online ? cpu.costs().scan_page : cpu.costs().scan_hole);
      cpu.sync();
      ++walked;
      if (online && !f(pfn)) return walked;
    }
    key = static_cast<int>(first->nid * 2 + static_cast<unsigned>(first->type));
  }
}

enum class Walk { kNaive, kFast, kFastEveryCycle };

/// Two nodes with a hole; cores 1 and 2 allocate, free, take memory away and bring it back while core 0 walks.
std::string disturbed_walk(Walk how, std::uint64_t seed, bool schedulable) {
  kernel::KernelConfig config;
  config.cores = 3;
  PoolMachine m({}, config, how == Walk::kFastEveryCycle ? every_cycle() : sim::SimulationConfig{},
                4 * kSectionBytes,
                {.nodes = {{0, kBase, 2 * kSectionBytes}, {1, kBase + 2 * kSectionBytes, 2 * kSectionBytes}},
                 .holes = {{kBase + kSectionBytes / 2, 4 << 20}}});
  SimEnv env(m.pools, 1);
  Log log;
  bool over = false;
  m.k.trace().memory_hotplug.subscribe([&](const kernel::MemoryHotplugged& e) {
    log.add(1, e.end, static_cast<std::uint64_t>(e.step), static_cast<std::uint64_t>(e.error));
  });
  m.k.spawn(0, "walker", [&] {
    kernel::msleep(1);
    const auto look = [&](sim::Pfn pfn) {
      if (m.frames.page_count(pfn) == 0) return true;
      kernel::this_cpu().sync();
      log.add(2, kernel::this_cpu().now(), pfn.value, static_cast<std::uint64_t>(m.frames.page_count(pfn)));
      kernel::work(pfn.value % 7 * 100);  // the finding costs something, or nothing
      return true;
    };
    const sim::Tick begin = kernel::this_cpu().now();
    const std::uint64_t walked =
        how == Walk::kNaive
            ? page_by_page(m, look, schedulable)
            : env.for_each_online_page([&](SimNetmem n) { return look(env.pfn(n)); }, schedulable);
    log.add(3, kernel::this_cpu().now() - begin, walked);
    over = true;
  });
  m.k.spawn(0, "beside", [&] {
    while (!over) {
      kernel::usleep(300);
      log.add(4, kernel::this_cpu().now(), 0);
    }
  });
  m.k.spawn(1, "allocator", [&] {
    sim::RandomStream random(seed, 0, "allocator");
    std::vector<sim::Pfn> mine;
    while (!over) {
      for (std::uint64_t n = random.below(80); n > 0; --n) {
        sim::Pfn page{};
        if (random.below(3) != 0) {
          if (alloc_pages(m.k, static_cast<int>(random.below(2)), random.below(8) == 0 ? 9 : 0, page))
            mine.push_back(page);
        } else if (!mine.empty()) {
          put_page(m.k, mine.back());
          mine.pop_back();
        }
      }
      kernel::usleep(5 + random.below(60));
    }
  });
  m.k.spawn(2, "operator", [&] {
    sim::RandomStream random(seed, 0, "operator");
    const sim::Pfn at = sim::to_pfn(kBase) + kSection;
    while (!over) {
      kernel::usleep(random.below(200));
      if (m.frames.pfn_to_online_page(at)) {
        m.k.hotplug().offline_pages(at, kSection);
      } else {
        m.k.hotplug().online_pages(at, kSection);
      }
    }
  });
  m.run(0.1);
  EXPECT_TRUE(over);
  EXPECT_GT(log.entries, 100u);
  EXPECT_EQ(m.pages.verify(), "");
  return log.text();
}

class DisturbedWalk : public ::testing::TestWithParam<std::uint64_t> {};
TEST_P(DisturbedWalk, IsWhatAWalkPageByPageGives) {
  const bool schedulable = GetParam() % 2 != 0;
  const std::string naive = in_child([&] { return disturbed_walk(Walk::kNaive, GetParam(), schedulable); });
  const std::string fast = in_child([&] { return disturbed_walk(Walk::kFast, GetParam(), schedulable); });
  EXPECT_FALSE(naive.empty());
  EXPECT_EQ(fast, naive);
}
INSTANTIATE_TEST_SUITE_P(Seeds, DisturbedWalk, ::testing::Range<std::uint64_t>(1, 9));

TEST(ScanWalk, EveryCycleGivesTheSame) {
  const std::string fast = in_child([] { return disturbed_walk(Walk::kFast, 77, false); });
  EXPECT_EQ(in_child([] { return disturbed_walk(Walk::kFastEveryCycle, 77, false); }), fast);
}

/// A whole unbind with a returner that meets the scan: who unmapped what and when, locks, spins, softirqs.
std::string unbind_story(const std::string& strategy, const sim::SimulationConfig& time) {
  Unbind u(strategy, time, 3 * kSectionBytes);
  Log log;
  u.m.k.trace().dma_unmapped.subscribe(
      [&](const kernel::DmaUnmapped& e) { log.add(1, e.time, e.iova.value, e.cpu); });
  u.m.k.trace().spin.subscribe(
      [&](const kernel::Spin& e) { log.add(2, e.end, e.begin, sim::digest_tag(e.lock)); });
  u.m.k.trace().lock_held.subscribe(
      [&](const kernel::LockHeld& e) { log.add(3, e.released, e.acquired, sim::digest_tag(e.lock)); });
  u.m.k.trace().bh_section.subscribe([&](const kernel::BhSection& e) { log.add(4, e.end, e.begin, e.cpu); });
  u.m.k.trace().memory_hotplug.subscribe(
      [&](const kernel::MemoryHotplugged& e) { log.add(5, e.end, e.got_lock, e.begin); });
  // Full pages of others keep the scan going to its end; the returner comes while it runs.
  u.m.k.spawn(1, "returner", [&] {
    while (!u.pool || u.pool->state().destroy_cnt == 0) kernel::usleep(100);
    kernel::usleep(3200);
    for (int i = 0; i < 3 && !u.held.empty(); ++i) {
      const sim::Pfn page = u.held.back();
      u.held.pop_back();
      kernel::local_bh_disable();
      pagepool::get_page(u.m.k, page);  // not recyclable: it leaves the pool here
      if (!u.m.pools.napi_pp_put_page(page)) put_page(u.m.k, page);
      kernel::local_bh_enable();
      kernel::usleep(50);
    }
    u.m.k.hotplug().offline_pages(sim::to_pfn(kBase) + kSection, kSection);
  });
  u.run(DmaMode::kStrict, 10, false, 0.02);  // every cycle of it
  for (const auto& line : u.m.k.dmesg()) log.add(6, line.time, sim::digest_tag(line.text.c_str()));
  EXPECT_GT(log.entries, 64u);
  return log.text();
}

class ScanStory : public ::testing::TestWithParam<const char*> {};
TEST_P(ScanStory, IsTheSamePageByPage) {
  const std::string fast = in_child([] { return unbind_story(GetParam(), {}); });
  EXPECT_FALSE(fast.empty());
  EXPECT_EQ(in_child([] { return unbind_story(GetParam(), every_cycle()); }), fast);
}
INSTANTIATE_TEST_SUITE_P(Strategies, ScanStory,
                         ::testing::Values("scan", "scan_release", "scan_lock_on_match", "destroy_flag"));

TEST(ScanWalk, AStructPageThatADeviceOverwroteIsLookedAt) {
  PoolMachine m;
  std::vector<sim::Pfn> seen;
  const sim::Pfn far = m.frames.begin_pfn() + 200'000;
  m.run_bound(DmaMode::kDirect, 1, [&](kernel::Device&) {
    SimEnv env(m.pools, 1);
    m.store.store<std::uint32_t>(m.frames.page(far) + mm::page_field::kRefcount, 1);
    env.for_each_online_page([&](SimNetmem n) {
      if (env.pfn(n) >= far && m.frames.page_count(env.pfn(n)) != 0) seen.push_back(env.pfn(n));
      return true;
    });
  });
  EXPECT_EQ(seen, std::vector<sim::Pfn>{far});
}

TEST(ScanWalk, TwelveTerabytesTakeTheirTimeAndCostNothing) {
  constexpr std::uint64_t kBytes = 12'300'000'000'000ull / kSectionBytes * kSectionBytes;
  auto o = options("scan");
  o.debug_net = true;  // no early end
  PoolMachine m(o, {}, {}, kBytes);
  sim::Tick longest = 0;
  m.k.trace().bh_section.subscribe(
      [&](const kernel::BhSection& e) { longest = std::max(longest, e.end - e.begin); });
  m.run_bound(DmaMode::kDirect, 100, [&](kernel::Device& device) {
    auto pool = m.pools.create(device, mapped_params());
    pool->alloc_page();
    pool->destroy();
    EXPECT_EQ(pool->state().inflight, 1);
  });
  // Every pfn at 41 cycles of 0.4 ns.
  const double expected_s = static_cast<double>(kBytes / 4096) * 41 / 2.5e9;
  EXPECT_NEAR(static_cast<double>(longest) / 1e15, expected_s, expected_s * 1e-4);
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  EXPECT_LT(usage.ru_maxrss, 1024 * 1024);  // KiB
}

TEST(ScanWalk, EachOfManyPoolsWalksAllMemoryAnew) {
  auto o = options("scan");
  o.debug_net = true;
  PoolMachine m(o);
  sim::Tick bh_off = 0;
  m.k.trace().bh_section.subscribe([&](const kernel::BhSection& e) {
    if (e.end - e.begin > sim::kMillisecond) bh_off += e.end - e.begin;
  });
  m.run_bound(DmaMode::kDirect, 5, [&](kernel::Device& device) {
    std::vector<std::shared_ptr<Pool>> queues;
    for (unsigned i = 0; i < 8; ++i) queues.push_back(m.pools.create(device, mapped_params()));
    for (auto& q : queues) ASSERT_TRUE(q->alloc_page());
    for (auto& q : queues) q->destroy();
  });
  const double expected_ns = 8 * 262144 * 41 / 2.5;
  EXPECT_NEAR(static_cast<double>(bh_off) / sim::kNanosecond, expected_ns, expected_ns * 0.02);
}

}  // namespace
