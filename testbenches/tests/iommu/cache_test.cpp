// SPDX-License-Identifier: Apache-2.0
// The translation caches without time: replacement, page-size classes, what an invalidation drops.
#include <gtest/gtest.h>

#include <set>

#include "iommu/caches.h"
#include "iommu/set_associative.h"

namespace {

using iommu::CacheConfig;
using iommu::Caches;
using iommu::IommuConfig;
using iommu::Outcome;
using iommu::Replacement;
using iommu::Request;
using iommu::Space;

struct Item {
  bool valid = false;
  unsigned id = 0;
};

struct Row {
  explicit Row(Replacement replacement, unsigned ways = 4)
      : array(CacheConfig{1, ways, replacement}, sim::RandomStream(5, 0, "replacement")) {}
  void use(unsigned id) {
    Item* at = array.find(0, [&](const Item& x) { return x.id == id; });
    if (at == nullptr) *(at = array.place(0)) = {true, id};
    array.touch(at);
  }
  std::set<unsigned> content() const {
    std::set<unsigned> ids;
    for (const Item& i : array.all()) {
      if (i.valid) ids.insert(i.id);
    }
    return ids;
  }
  iommu::SetAssociative<Item> array;
};

TEST(IommuReplacement, LruDropsWhatWasUsedLongestAgo) {
  Row row(Replacement::kLru);
  for (unsigned id : {1, 2, 3, 4, 1, 3}) row.use(id);
  row.use(5);
  EXPECT_EQ(row.content(), (std::set<unsigned>{1, 3, 4, 5}));
  row.use(6);
  EXPECT_EQ(row.content(), (std::set<unsigned>{1, 3, 5, 6}));
}

TEST(IommuReplacement, TreePlruFollowsItsBits) {
  Row row(Replacement::kPlru);
  for (unsigned id : {1, 2, 3, 4}) row.use(id);
  // The root points away from 3 and 4, the left node away from 2: way 0 goes, although LRU agrees by chance
  // ...
  row.use(1);  // ... now the root points right, the right node away from 4: 3 goes, where LRU would drop 2.
  row.use(5);
  EXPECT_EQ(row.content(), (std::set<unsigned>{1, 2, 4, 5}));
}

TEST(IommuReplacement, RandomIsGivenByItsStream) {
  Row a(Replacement::kRandom), b(Replacement::kRandom);
  std::set<std::set<unsigned>> seen;
  for (unsigned id = 1; id <= 64; ++id) {
    a.use(id);
    b.use(id);
    ASSERT_EQ(a.content(), b.content());
    ASSERT_TRUE(a.content().contains(id));
  }
  EXPECT_EQ(a.content().size(), 4u);
  EXPECT_LT(*a.content().begin(), 61u);  // not simply the last four
}

Outcome page_of(unsigned shift, std::uint64_t address) {
  Outcome o;
  o.page_shift = o.leaf_shift = static_cast<std::uint8_t>(shift);
  o.address = address;
  o.readable = o.writable = true;
  return o;
}

Request read_of(std::uint64_t iova) {
  Request r;
  r.read = true;
  r.iova = iova;
  return r;
}

TEST(IommuCaches, APageIsHeldInTheLargestClassThatFits) {
  IommuConfig c;
  c.iotlb_page_sizes = {12, 21};
  Caches caches(c, sim::RandomStream(1, 0, "caches"));
  const Space space(true, 1, false, 0);
  caches.fill_translation(0x4000'5000, space, page_of(30, 0x8000'5000));  // 1 GiB: as 2 MiB
  const auto* e = caches.find_translation(read_of(0x401f'f000), space, false);
  ASSERT_NE(e, nullptr);
  EXPECT_EQ(caches.class_shift(*e), 21u);
  EXPECT_EQ(e->frame, 0x8000'0000u);
  EXPECT_EQ(caches.find_translation(read_of(0x4020'0000), space, false), nullptr);
  EXPECT_EQ(caches.find_translation(read_of(0x4000'5000), Space(true, 2, false, 0), false), nullptr);
  // An address anywhere in the 1 GiB page drops it.
  iommu::Invalidation what;
  what.has_address = true;
  what.address = 0x7fff'f000;
  what.bytes = 4096;
  EXPECT_EQ(caches.invalidate(what), 1u);
  EXPECT_EQ(caches.iotlb_valid(), 0u);
}

TEST(IommuCaches, GlobalEntriesSurviveAnInvalidationByPscid) {
  Caches caches(IommuConfig{}, sim::RandomStream(1, 0, "caches"));
  const Space space(true, 7, false, 0);
  Outcome global = page_of(12, 0x8000'0000);
  global.global = true;
  caches.fill_translation(0x1000, space, global);
  caches.fill_translation(0x2000, space, page_of(12, 0x8000'1000));
  iommu::Invalidation what;
  what.has_pscid = true;
  what.pscid = 7;
  EXPECT_EQ(caches.invalidate(what), 1u);
  EXPECT_NE(caches.find_translation(read_of(0x1000), space, false), nullptr);
  what.has_pscid = false;
  EXPECT_EQ(caches.invalidate(what), 1u);
}

// Where an entry was last is a guess that may be wrong in every way: find_both() against a look at one cache after the other.
TEST(IommuCaches, BothAtOnceIsOneAfterTheOther) {
  IommuConfig c;
  c.iotlb = {8, 2, Replacement::kLru};
  c.ddt_cache = {2, 2, Replacement::kPlru};
  c.iotlb_page_sizes = {12, 21};
  Caches a(c, sim::RandomStream(1, 0, "caches")), b(c, sim::RandomStream(1, 0, "caches"));
  sim::RandomStream random(2, 0, "both");
  const auto page = [&] { return random.below(2) << 21 | random.below(4) << 12 | random.below(2) << 30; };
  const auto space_of = [](const iommu::DeviceContext& d) {
    return Space(!d.first.bare(), d.pscid, !d.second.bare(), d.gscid);
  };
  unsigned hits = 0, misses = 0;
  for (unsigned i = 0; i < 50'000; ++i) {
    const auto device = static_cast<std::uint32_t>(random.below(6));
    iommu::DeviceContext context;
    context.first.levels = random.below(4) != 0 ? 3 : 0;
    context.second.levels = random.below(8) == 0 ? 3 : 0;
    context.pscid = static_cast<std::uint32_t>(random.below(2));
    context.gscid = static_cast<std::uint32_t>(random.below(2));
    if (random.below(8) == 0) context.word[iommu::dc::kTc] |= iommu::dc::kPdtv;
    Outcome outcome = page_of(random.below(4) == 0 ? 21 : 12, random.below(1 << 20) << 21);
    outcome.user = random.below(8) != 0;
    outcome.writable = random.below(4) != 0;
    Request r = read_of(page() | random.below(4096));
    r.device_id = device;
    r.write = random.below(3) == 0;
    iommu::Invalidation what;
    what.has_address = true;
    what.address = page();
    what.bytes = 4096;
    const std::uint64_t choice = random.below(100), filled = page();
    for (Caches* caches : {&a, &b}) {
      if (choice < 6) caches->fill_device(device, context);
      if (choice >= 6 && choice < 30) caches->fill_translation(filled, space_of(context), outcome);
      if (choice >= 30 && choice < 33) caches->invalidate(what);
      if (choice == 33) caches->invalidate_ddt(device);
    }
    if (choice < 34) continue;
    const Caches::Hit hit = a.find_both(r);
    const iommu::DeviceContext* const d = b.find_device(device, /*count=*/false);
    const iommu::IotlbEntry* e = nullptr;
    if (d != nullptr && !d->tc(iommu::dc::kPdtv) && space_of(*d).key != 0) e = b.peek_translation(r, space_of(*d), false);
    ASSERT_EQ(hit.entry != nullptr, e != nullptr) << i;
    ++(e != nullptr ? hits : misses);
    if (e == nullptr) continue;
    ASSERT_EQ(a.translated(*hit.entry, r.iova), b.translated(*e, r.iova)) << i;
    ASSERT_EQ(hit.device->pscid, d->pscid);
    b.find_translation(r, space_of(*d), false);  // their ages
    b.find_device(device);
    ASSERT_EQ(a.digest(), b.digest());
  }
  EXPECT_GT(hits, 1'000u);
  EXPECT_GT(misses, 5'000u);
}

}  // namespace
