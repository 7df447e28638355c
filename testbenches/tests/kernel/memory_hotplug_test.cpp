// SPDX-License-Identifier: Apache-2.0
// Hotplug: what the page allocator, the zones and pfn_to_online_page see, and who waits for whom.
#include <cerrno>

#include "harness.h"

namespace {

using namespace kernel;
using testing_kernel::Machine;
constexpr std::uint64_t kSection = mm::PageFrames::kPagesPerSection;
constexpr std::uint64_t kSectionBytes = kSection * sim::kPageSize;
constexpr sim::PhysAddr kBase(0x8000'0000);

/// Eight sections, the fourth one absent at boot; the vmemmap lies in the last.
struct Fixture : Machine {
  Fixture() : Machine({}, {}, 8 * kSectionBytes, {.absent = {{kBase + 3 * kSectionBytes, kSectionBytes}}}) {}
  void task(std::function<void()> body) {
    k.spawn(0, "test", [this, body] {
      body();
      finished = true;
    });
    run(10);
    EXPECT_TRUE(finished);
    EXPECT_EQ(pages.verify(), "");
  }
  sim::Pfn section(unsigned n) const { return sim::to_pfn(kBase) + n * kSection; }
  std::uint64_t present() const {
    std::uint64_t n = 0;
    for (const auto& z : frames.zones()) n += z.present_pages;
    return n;
  }
  bool finished = false;
};

TEST(MemoryHotplug, AddedMemoryServesOnlyOnceItIsOnline) {
  Fixture f;
  const auto before = f.pages.counters().managed_pages;
  EXPECT_EQ(f.present(), 7 * kSection);
  f.task([&] {
    const sim::Pfn at = f.section(3);
    EXPECT_FALSE(f.frames.pfn_valid(at));
    EXPECT_EQ(f.k.hotplug().online_pages(at, kSection), -EINVAL);
    EXPECT_EQ(f.k.hotplug().add_memory(0, at, kSection), 0);
    EXPECT_EQ(f.k.hotplug().add_memory(0, at, kSection), -EEXIST);
    EXPECT_TRUE(f.frames.pfn_valid(at));
    EXPECT_FALSE(f.frames.pfn_to_online_page(at));
    EXPECT_EQ(f.pages.counters().managed_pages, before);
    EXPECT_EQ(f.k.hotplug().online_pages(at, kSection), 0);
    EXPECT_TRUE(f.frames.pfn_to_online_page(at));
    EXPECT_EQ(f.pages.counters().managed_pages, before + kSection);
    EXPECT_EQ(f.present(), 8 * kSection);
  });
}

TEST(MemoryHotplug, ANewNodeGetsAZoneAndServesItsOwn) {
  Fixture f;
  f.task([&] {
    EXPECT_EQ(f.k.hotplug().add_memory(1, f.section(3), kSection), 0);
    EXPECT_EQ(f.k.hotplug().online_pages(f.section(3), kSection), 0);
    ASSERT_EQ(f.frames.zones().size(), 2u);
    EXPECT_EQ(f.frames.zones()[1].nid, 1u);
    EXPECT_EQ(f.frames.zones()[1].start, f.section(3));
    EXPECT_EQ(f.frames.nid_of(*f.pages.alloc_pages(0, 1)), 1u);
    EXPECT_EQ(f.k.hotplug().offline_pages(f.section(3), kSection), -EBUSY);  // the page just taken
  });
}

TEST(MemoryHotplug, OfflineTakesFreePagesOnlyAndDrainsTheLists) {
  Fixture f;
  f.task([&] {
    // Section 0 is where allocation begins: one page out, and its batch on the list of this core.
    const sim::Pfn page = *f.pages.alloc_pages(0);
    EXPECT_GE(page, f.section(0));
    EXPECT_LT(page, f.section(1));
    EXPECT_GT(f.pages.counters().pcp_pages, 0u);
    EXPECT_EQ(f.k.hotplug().offline_pages(f.section(0), kSection), -EBUSY);
    EXPECT_TRUE(f.frames.pfn_to_online_page(page));
    f.frames.set_page_count(page, 0);
    EXPECT_EQ(f.pages.free_pages(page, 0), mm::FreeStatus::kOk);
    EXPECT_EQ(f.k.hotplug().offline_pages(f.section(0), kSection), 0);
    EXPECT_FALSE(f.frames.pfn_to_online_page(page));
    EXPECT_EQ(f.frames.zones()[0].start, f.section(1));  // the zone shrank
    EXPECT_GE(*f.pages.alloc_pages(0), f.section(1));
    // The last section has the struct pages of the machine in it.
    EXPECT_EQ(f.k.hotplug().offline_pages(f.section(7), kSection), -EBUSY);
  });
}

TEST(MemoryHotplug, RemovedMemoryLeavesNothingBehind) {
  Fixture f;
  f.task([&] {
    const sim::Pfn at = f.section(5);
    f.store.store<std::uint64_t>(sim::to_phys(at), 42);
    f.frames.set<std::uint64_t>(at, mm::page_field::kPp, 43);
    EXPECT_EQ(f.k.hotplug().remove_memory(at, kSection), -EINVAL);  // still on line
    EXPECT_EQ(f.k.hotplug().offline_pages(at, kSection), 0);
    EXPECT_EQ(f.k.hotplug().remove_memory(at, kSection), 0);
    EXPECT_FALSE(f.frames.pfn_valid(at));
    EXPECT_EQ(f.store.load<std::uint64_t>(sim::to_phys(at)), 0u);
    EXPECT_EQ(f.k.hotplug().add_memory(0, at, kSection), 0);
    EXPECT_EQ(f.k.hotplug().online_pages(at, kSection), 0);
    EXPECT_EQ(f.frames.get<std::uint64_t>(at, mm::page_field::kPp), 0u);
  });
}

TEST(MemoryHotplug, RangesMustBeWholeSectionsOfMemory) {
  Fixture f;
  f.task([&] {
    EXPECT_EQ(f.k.hotplug().offline_pages(f.section(1) + 1, kSection), -EINVAL);
    EXPECT_EQ(f.k.hotplug().offline_pages(f.section(1), kSection - 1), -EINVAL);
    EXPECT_EQ(f.k.hotplug().offline_pages(f.section(1), 0), -EINVAL);
    EXPECT_EQ(f.k.hotplug().offline_pages(f.section(2), 2 * kSection), -EINVAL);  // the absent one is in it
    EXPECT_EQ(f.k.hotplug().add_memory(0, f.section(9), kSection), -EINVAL);
    EXPECT_EQ(f.k.hotplug().add_memory(64, f.section(3), kSection), -EINVAL);
  });
}

TEST(MemoryHotplug, WaitsForThoseWhoHoldItOff) {
  Fixture f;
  sim::Tick released = 0;
  MemoryHotplugged seen{};
  f.k.trace().memory_hotplug.subscribe([&](const MemoryHotplugged& e) { seen = e; });
  f.k.spawn(1, "reader", [&] {
    f.k.hotplug().get_online_mems();
    msleep(50);
    released = this_cpu().now();
    f.k.hotplug().put_online_mems();
  });
  f.task([&] {
    msleep(5);
    EXPECT_EQ(f.k.hotplug().offline_pages(f.section(5), kSection), 0);
  });
  EXPECT_EQ(seen.step, HotplugStep::kOffline);
  EXPECT_EQ(seen.error, 0);
  EXPECT_GE(seen.got_lock, released);
  EXPECT_LT(seen.begin, released);
}

TEST(PerCoreLists, PagesComeBackToTheCoreThatFreedThem) {
  Fixture f;
  f.task([&] {
    const sim::Pfn a = *f.pages.alloc_pages(0);
    EXPECT_EQ(f.pages.counters().pcp_batches, 1u);
    EXPECT_EQ(f.pages.counters().pcp_pages, 62u);
    f.frames.set_page_count(a, 0);
    f.pages.free_pages(a, 0);
    sim::Pfn other{};
    bool done = false;
    f.k.spawn(1, "other", [&] {
      other = *f.pages.alloc_pages(0);
      done = true;
    });
    msleep(1);
    EXPECT_TRUE(done);
    EXPECT_EQ(f.pages.counters().pcp_batches, 2u);  // the other core filled a list of its own
    EXPECT_NE(other, a);
    EXPECT_EQ(*f.pages.alloc_pages(0), a);
  });
}

TEST(PerCoreLists, LongListsGiveABatchBackAndEmptyMemoryDrainsThem) {
  Fixture f;
  f.task([&] {
    std::vector<sim::Pfn> all;
    for (int i = 0; i < 1000; ++i) all.push_back(*f.pages.alloc_pages(0));
    for (const sim::Pfn p : all) {
      f.frames.set_page_count(p, 0);
      f.pages.free_pages(p, 0);
      EXPECT_LE(f.pages.counters().pcp_pages, 378u + 63);
    }
    EXPECT_EQ(f.pages.verify(), "");
    // A block that only exists if the lists are given back.
    std::uint64_t blocks = 0;
    while (f.pages.alloc_pages(10)) ++blocks;
    EXPECT_EQ(f.pages.counters().pcp_pages, 0u);
    EXPECT_EQ(blocks, 7 * kSection / 1024 - 4);  // 16 MiB of struct pages
  });
}

}  // namespace
