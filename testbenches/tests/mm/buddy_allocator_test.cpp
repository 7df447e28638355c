// SPDX-License-Identifier: Apache-2.0
#include "mm/buddy_allocator.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <map>
#include <set>

namespace {

using sim::Pfn;
using sim::PhysAddr;
constexpr PhysAddr kBase(0x8000'0000);
constexpr std::uint64_t kMiB = 1 << 20, kGiB = 1 << 30;

struct Memory {
  explicit Memory(std::uint64_t bytes, mm::PageFramesConfig frames_config = {}, mm::BuddyConfig config = {})
      : store(kBase, bytes),
        frames(store, std::move(frames_config)),
        buddy(frames, trace, sim::RandomStream(1, 0, "buddy"), config) {}
  mm::SparseStore store;
  mm::PageFrames frames;
  mm::Trace trace;
  mm::BuddyAllocator buddy;
};

mm::FreeStatus put(Memory& m, Pfn pfn, unsigned order = 0) {
  if (m.frames.page_count(pfn) > 0) m.frames.put_page_testzero(pfn);
  return m.buddy.free_pages(pfn, order);
}

TEST(PageFrames, StructPagesLieAtTheTopAndTranslateBothWays) {
  Memory m(kGiB);
  EXPECT_EQ(m.frames.vmemmap_base(), m.store.end() - kGiB / 4096 * 64);
  const Pfn pfn = m.frames.begin_pfn() + 77;
  EXPECT_EQ(m.frames.page(pfn), m.frames.vmemmap_base() + 77 * 64);
  EXPECT_EQ(m.frames.page_to_pfn(m.frames.page(pfn)), pfn);
  m.frames.set<std::uint64_t>(pfn, mm::page_field::kDmaAddr, 0xabc000);
  EXPECT_EQ(m.store.load<std::uint64_t>(m.frames.page(pfn) + 32), 0xabc000u);
  EXPECT_TRUE(m.frames.pfn_valid(m.frames.end_pfn() - 1));
  EXPECT_FALSE(m.frames.pfn_valid(m.frames.end_pfn()));
  EXPECT_FALSE(m.frames.pfn_valid(Pfn(0)));
}

TEST(PageFrames, ZonesSplitAtFourGibibytesAndHolesHaveNoPages) {
  Memory m(4 * kGiB, {.nodes = {{0, kBase, 3 * kGiB}, {1, kBase + 3 * kGiB, kGiB}},
                      .holes = {{kBase + 16 * kMiB, 2 * kMiB}},
                      .reserved = {{kBase, kMiB}}});
  ASSERT_EQ(m.frames.zones().size(), 3u);
  EXPECT_EQ(m.frames.zones()[0].type, mm::ZoneType::kDma32);
  EXPECT_EQ(m.frames.zones()[0].present_pages, (2 * kGiB - 2 * kMiB) / 4096);
  EXPECT_EQ(m.frames.zones()[1].type, mm::ZoneType::kNormal);
  EXPECT_EQ(m.frames.zones()[2].nid, 1u);
  EXPECT_FALSE(m.frames.pfn_valid(sim::to_pfn(kBase + 16 * kMiB)));
  EXPECT_TRUE(m.frames.pfn_valid(sim::to_pfn(kBase + 18 * kMiB)));
  EXPECT_TRUE(m.frames.pfn_to_online_page(sim::to_pfn(kBase)));
  EXPECT_TRUE(m.frames.set_offline(sim::to_pfn(kBase + 128 * kMiB), sim::to_pfn(kBase + 256 * kMiB)));
  EXPECT_FALSE(m.frames.pfn_to_online_page(sim::to_pfn(kBase + 128 * kMiB)));
  EXPECT_TRUE(m.frames.pfn_to_online_page(sim::to_pfn(kBase + 256 * kMiB)));
  EXPECT_EQ(m.frames.nid_of(sim::to_pfn(kBase + 3 * kGiB)), 1u);
  EXPECT_EQ(m.buddy.counters().managed_pages, (4 * kGiB - 64 * kMiB - 2 * kMiB - kMiB) / 4096);
}

TEST(PageFrames, BadConfigurationsNameTheField) {
  mm::SparseStore store(kBase, kGiB);
  const auto message = [&](mm::PageFramesConfig c) {
    try {
      mm::PageFrames frames(store, std::move(c));
    } catch (const sim::Error& e) {
      return std::string(e.what());
    }
    return std::string();
  };
  EXPECT_NE(message({.nodes = {{0, kBase, kGiB}, {0, kBase, kGiB}}}).find("nodes[1].nid"), std::string::npos);
  EXPECT_NE(message({.nodes = {{0, kBase, 2 * kGiB}}}).find("nodes[0]"), std::string::npos);
  EXPECT_NE(message({.holes = {{kBase, 4096}}}).find("holes[0]"), std::string::npos);
  EXPECT_NE(message({.reserved = {{PhysAddr(0), 4096}}}).find("reserved[0]"), std::string::npos);
}

TEST(BuddyAllocator, HandsOutLowestAddressesFirstAndTheLastFreedAgain) {
  Memory m(kGiB);
  const Pfn a = *m.buddy.alloc_pages(0), b = *m.buddy.alloc_pages(0);
  EXPECT_EQ(a, m.frames.begin_pfn());
  EXPECT_EQ(b, a + 1);
  EXPECT_EQ(m.frames.page_count(a), 1);
  EXPECT_EQ(put(m, a), mm::FreeStatus::kOk);
  EXPECT_EQ(*m.buddy.alloc_pages(0), a);
  EXPECT_EQ(m.buddy.verify(), "");
}

TEST(BuddyAllocator, MergesBackToWholeBlocks) {
  Memory m(16 * kMiB);
  std::vector<Pfn> pages;
  while (auto p = m.buddy.alloc_pages(0)) pages.push_back(*p);
  EXPECT_EQ(pages.size(), m.buddy.counters().managed_pages);
  EXPECT_EQ(std::set<Pfn>(pages.begin(), pages.end()).size(), pages.size());
  EXPECT_FALSE(m.buddy.alloc_pages(0));
  for (std::size_t i = 0; i < pages.size(); i += 2) EXPECT_EQ(put(m, pages[i]), mm::FreeStatus::kOk);
  EXPECT_FALSE(m.buddy.alloc_pages(1));
  for (std::size_t i = 1; i < pages.size(); i += 2) EXPECT_EQ(put(m, pages[i]), mm::FreeStatus::kOk);
  EXPECT_TRUE(m.buddy.alloc_pages(10));
  EXPECT_EQ(m.buddy.verify(), "");
}

TEST(BuddyAllocator, ErrorsOfTheCallerAreReturnedAndChangeNothing) {
  Memory m(kGiB);
  const Pfn p = *m.buddy.alloc_pages(2, mm::kNumaNoNode, mm::kGfpComp);
  EXPECT_EQ(m.frames.compound_head(p + 3), p);
  EXPECT_EQ(m.frames.order(p), 2u);
  EXPECT_EQ(m.buddy.free_pages(p, 2), mm::FreeStatus::kStillReferenced);
  EXPECT_TRUE(m.frames.put_page_testzero(p));
  EXPECT_EQ(m.buddy.free_pages(p, 1), mm::FreeStatus::kWrongOrder);
  EXPECT_EQ(m.buddy.free_pages(p + 1, 2), mm::FreeStatus::kNotMemory);
  EXPECT_EQ(m.buddy.free_pages(Pfn(3), 0), mm::FreeStatus::kNotMemory);
  EXPECT_EQ(m.buddy.free_pages(p, 2), mm::FreeStatus::kOk);
  EXPECT_EQ(m.frames.compound_head(p + 3), p + 3);
  EXPECT_EQ(m.buddy.free_pages(p, 2), mm::FreeStatus::kDoubleFree);
  EXPECT_EQ(m.buddy.free_pages(p + 1, 0), mm::FreeStatus::kDoubleFree);
  EXPECT_FALSE(m.buddy.alloc_pages(11));
  EXPECT_EQ(m.buddy.counters().allocated_pages, 0u);
  EXPECT_EQ(m.buddy.verify(), "");
}

TEST(BuddyAllocator, NodesAndZonesFallBackInOrder) {
  Memory m(4 * kGiB, {.nodes = {{0, kBase, 3 * kGiB}, {1, kBase + 3 * kGiB, kGiB}}});
  EXPECT_EQ(m.frames.nid_of(*m.buddy.alloc_pages(0, 1)), 1u);
  const Pfn normal = *m.buddy.alloc_pages(0, 0);
  EXPECT_EQ(m.frames.zone_of(normal), mm::ZoneType::kNormal);
  EXPECT_EQ(m.frames.zone_of(*m.buddy.alloc_pages(0, 0, mm::kGfpDma32)), mm::ZoneType::kDma32);
  std::uint64_t own = 0;
  while (auto p = m.buddy.alloc_pages(10, 1, mm::kGfpThisNode)) ++own;
  EXPECT_EQ(own, (kGiB - 64 * kMiB) / (4 * kMiB) - 1);
  EXPECT_EQ(m.frames.nid_of(*m.buddy.alloc_pages(10, 1)), 0u);
  EXPECT_EQ(m.buddy.counters().numa_miss, 1u);
}

TEST(BuddyAllocator, ReserveIsForMemallocAndMarksThePage) {
  Memory m(16 * kMiB, {}, {.min_free_pages = 64});
  while (m.buddy.alloc_pages(0)) {
  }
  EXPECT_EQ(m.buddy.counters().free_pages, 64u);
  const Pfn p = *m.buddy.alloc_pages(0, mm::kNumaNoNode, mm::kGfpMemalloc);
  EXPECT_TRUE(m.frames.page_is_pfmemalloc(p));
  EXPECT_EQ(m.buddy.counters().pfmemalloc, 1u);
}

TEST(BuddyAllocator, FailuresAreInjectedAsAsked) {
  Memory m(kGiB, {},
           {.fail_page_alloc = {
                .probability_percent = 100, .min_order = 1, .interval = 3, .space = 2, .times = 2}});
  std::vector<bool> got;
  for (int i = 0; i < 12; ++i) got.push_back(m.buddy.alloc_pages(1).has_value());
  EXPECT_EQ(got, (std::vector<bool>{1, 1, 1, 1, 0, 1, 1, 0, 1, 1, 1, 1}));
  EXPECT_TRUE(m.buddy.alloc_pages(0));
  m.buddy.set_failure_hook([](unsigned order, unsigned) { return order == 3; });
  EXPECT_FALSE(m.buddy.alloc_pages(3));
  EXPECT_TRUE(m.buddy.alloc_pages(2));
  EXPECT_EQ(m.buddy.counters().injected_failures, 3u);
}

TEST(BuddyAllocator, TraceTellsEveryPage) {
  Memory m(kGiB);
  std::map<Pfn, unsigned> live;
  m.trace.page_allocated.subscribe([&](const mm::PageAllocated& e) { live[e.pfn] = e.order; });
  m.trace.page_freed.subscribe([&](const mm::PageFreed& e) { live.erase(e.pfn); });
  std::vector<Pfn> bulk(64);
  EXPECT_EQ(m.buddy.alloc_pages_bulk(bulk), 64u);
  EXPECT_EQ(live.size(), 64u);
  for (Pfn p : bulk) put(m, p);
  EXPECT_TRUE(live.empty());
}

TEST(BuddyAllocator, RandomTrafficConservesPages) {
  Memory m(256 * kMiB, {.holes = {{kBase + 6 * kMiB, 2 * kMiB}}, .reserved = {{kBase + 4096, 3 * 4096}}});
  sim::RandomStream random(7, 0, "test");
  std::vector<std::pair<Pfn, unsigned>> live;
  std::set<std::uint64_t> owned;
  for (int i = 0; i < 100'000; ++i) {
    if (random.below(100) < 55 || live.empty()) {
      const auto order = static_cast<unsigned>(random.below(6));
      const auto p = m.buddy.alloc_pages(order);
      if (!p) continue;
      EXPECT_EQ(p->value % (1u << order), 0u);
      for (std::uint64_t k = 0; k < 1u << order; ++k) {
        ASSERT_TRUE(owned.insert(p->value + k).second) << "page handed out twice";
        ASSERT_TRUE(m.frames.pfn_valid(*p + k));
      }
      live.emplace_back(*p, order);
    } else {
      std::swap(live[random.below(live.size())], live.back());
      const auto [p, order] = live.back();
      live.pop_back();
      ASSERT_EQ(put(m, p, order), mm::FreeStatus::kOk);
      for (std::uint64_t k = 0; k < 1u << order; ++k) owned.erase(p.value + k);
    }
    if (i % 10'000 == 0) {
      ASSERT_EQ(m.buddy.verify(), "");
    }
  }
  EXPECT_EQ(m.buddy.counters().allocated_pages, owned.size());
  EXPECT_EQ(m.buddy.verify(), "");
}

TEST(BuddyAllocator, TwelveTerabytesAreSetUpAtOnce) {
  rusage before{}, after{};
  ::getrusage(RUSAGE_SELF, &before);
  Memory m(12'300'000'000'000ull / (2 * kMiB) * (2 * kMiB));
  for (int i = 0; i < 10'000; ++i) ASSERT_TRUE(m.buddy.alloc_pages(0));
  ::getrusage(RUSAGE_SELF, &after);
  EXPECT_LT(after.ru_maxrss - before.ru_maxrss, 8 * 1024);  // KiB
  EXPECT_LT(m.buddy.zones()[1].untouched_from - m.frames.zones()[1].start, 20'000u);
}

}  // namespace
