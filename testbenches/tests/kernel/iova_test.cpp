// SPDX-License-Identifier: Apache-2.0
// The IOVA allocator: what captured kernels show, and laws over random sequences.
#include "kernel/iova.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <bit>
#include <map>

namespace {

using kernel::IovaAllocator;
using kernel::IovaPath;
constexpr std::uint64_t k32 = 0xfffff;

TEST(Iova, TopDownAlignedToThePowerOfTwoOfTheSize) {
  // As recorded from Linux 6.12.117 (vmxnet3 behind an intel-iommu): ten pages, one, one, one, one, two.
  IovaAllocator a(2);
  EXPECT_EQ(a.alloc(0, 10, k32, false), 0xffff0u);
  EXPECT_EQ(a.alloc(0, 1, k32, false), 0xfffefu);
  EXPECT_EQ(a.alloc(0, 1, k32, false), 0xfffeeu);
  EXPECT_EQ(a.alloc(0, 1, k32, false), 0xfffedu);
  EXPECT_EQ(a.alloc(0, 1, k32, false), 0xfffecu);
  EXPECT_EQ(a.alloc(0, 2, k32, false), 0xfffeau);
  EXPECT_EQ(a.alloc(0, 16, k32, false), 0xfffd0u);
  EXPECT_EQ(a.verify(), "");
}

TEST(Iova, LastFreedIsFirstReused) {
  IovaAllocator a(2);
  std::vector<std::uint64_t> p;
  for (int i = 0; i < 50; ++i) p.push_back(a.alloc(0, 1, k32, false));
  for (auto pfn : p) EXPECT_TRUE(a.free(0, pfn, 1));
  IovaPath path;
  for (int i = 49; i >= 0; --i) {
    EXPECT_EQ(a.alloc(0, 1, k32, false, &path), p[i]);
    EXPECT_EQ(path, IovaPath::kMagazine);
  }
}

TEST(Iova, EachCoreHasItsOwnMagazines) {
  IovaAllocator a(2);
  const auto mine = a.alloc(0, 1, k32, false);
  a.free(0, mine, 1);
  EXPECT_NE(a.alloc(1, 1, k32, false), mine);
  EXPECT_EQ(a.alloc(0, 1, k32, false), mine);
}

TEST(Iova, FullMagazinesGoThroughTheDepotToOtherCores) {
  IovaAllocator a(2);
  std::vector<std::uint64_t> p;
  for (unsigned i = 0; i < 3 * IovaAllocator::kMagazineSize; ++i) p.push_back(a.alloc(0, 1, k32, false));
  for (auto pfn : p) a.free(0, pfn, 1);  // two magazines here, one in the depot
  IovaPath path;
  const auto got = a.alloc(1, 1, k32, false, &path);
  EXPECT_EQ(path, IovaPath::kDepot);
  EXPECT_NE(std::find(p.begin(), p.end(), got), p.end());
  EXPECT_EQ(a.verify(), "");
}

TEST(Iova, LimitIsKeptAndTheSpaceAbove4GIsUsedOnRequest) {
  IovaAllocator a(1);
  // 2^20 - 1 frames below 4 GiB, in blocks of 2^15: frame 0 is never handed out, so one block less.
  unsigned n = 0;
  while (a.alloc(0, 1 << 15, k32, false) != 0) ++n;
  EXPECT_EQ(n, 31u);
  EXPECT_GT(a.alloc(0, 1 << 15, (std::uint64_t{1} << 26) - 1, true), k32);
  EXPECT_EQ(a.verify(), "");
}

TEST(Iova, LargeRangesGoBackToTheTreeAtOnce) {
  IovaAllocator a(1);
  const auto p = a.alloc(0, 64, k32, false);
  EXPECT_EQ(a.allocated_pages(), 64u);
  EXPECT_TRUE(a.free(0, p, 64));
  EXPECT_EQ(a.allocated_pages(), 0u);
  EXPECT_EQ(a.alloc(0, 64, k32, false), p);
}

TEST(Iova, FreeingWhatIsNotAllocatedIsReported) {
  IovaAllocator a(1);
  EXPECT_FALSE(a.free(0, 0x1234, 1));
  EXPECT_FALSE(a.free(0, 0x1000, 64));
}

TEST(Iova, CachedRangesComeBackWhenTheSpaceIsFull) {
  IovaAllocator a(2);
  const std::uint64_t limit = 300;
  std::vector<std::uint64_t> p;
  for (std::uint64_t pfn; (pfn = a.alloc(0, 1, limit, false)) != 0;) p.push_back(pfn);
  EXPECT_EQ(p.size(), 300u);  // frames 1..300
  for (auto pfn : p) a.free(0, pfn, 1);
  EXPECT_EQ(a.alloc(1, 64, limit, false), 0u);  // all still lie in core 0's magazines and the depot
  EXPECT_NE(a.alloc(1, 64, limit, true), 0u);
  EXPECT_EQ(a.verify(), "");
}

// No two live ranges overlap, each is aligned and inside the limit, and frames are conserved.
TEST(IovaProperty, NoOverlapAlignmentConservation) {
  EXPECT_TRUE(rc::check("iova", [] {
    IovaAllocator a(3);
    std::map<std::uint64_t, std::uint64_t> live;  // first -> pages asked for
    const auto steps = *rc::gen::container<std::vector<std::tuple<unsigned, unsigned, unsigned>>>(
        rc::gen::tuple(rc::gen::inRange(0u, 3u), rc::gen::inRange(0u, 100u), rc::gen::inRange(0u, 1000u)));
    for (const auto& [cpu, size, what] : steps) {
      if (what < 600 || live.empty()) {
        const std::uint64_t pages = 1 + size % 40;
        const std::uint64_t limit = what % 7 == 0 ? 4000 : k32;
        const std::uint64_t pfn = a.alloc(cpu, pages, limit, true);
        if (pfn == 0) continue;
        RC_ASSERT(pfn + pages - 1 <= limit);
        RC_ASSERT(pfn % std::bit_ceil(pages) == 0u);
        const auto after = live.lower_bound(pfn);
        const bool clear_above = after == live.end() || pfn + pages <= after->first;
        const bool clear_below =
            after == live.begin() || std::prev(after)->first + std::prev(after)->second <= pfn;
        RC_ASSERT(clear_above);
        RC_ASSERT(clear_below);
        live[pfn] = pages;
      } else {
        auto it = live.begin();
        std::advance(it, what % live.size());
        RC_ASSERT(a.free(cpu, it->first, it->second));
        live.erase(it);
      }
      RC_ASSERT(a.verify().empty());
    }
    std::uint64_t pages = 0;
    for (const auto& [pfn, n] : live) pages += n < 32 ? std::bit_ceil(n) : n;
    RC_ASSERT(a.allocated_pages() - a.cached_pages() == pages);
  }));
}

}  // namespace
