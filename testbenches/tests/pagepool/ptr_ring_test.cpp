// SPDX-License-Identifier: Apache-2.0
// PtrRing against a model: a std::deque, and the rule of when consumed slots are given back.
#include "pagepool/ptr_ring.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <cstdint>
#include <deque>

#include "pagepool/host_memory.h"

namespace {

using Ring = pagepool::PtrRing<std::uint64_t, pagepool::HostMemory>;

/// What the ring promises: first in, first out; full when size items are in it *or consumed but not given
/// back*.
struct Model {
  unsigned size;
  std::deque<std::uint64_t> items;
  unsigned unreclaimed = 0;  // consumed since slots were last given back
  unsigned head = 0;         // consumer position in the array

  unsigned batch() const { return 16 > size / 2 ? 1 : 16; }
  bool produce(std::uint64_t item) {
    if (items.size() + unreclaimed >= size) return false;
    items.push_back(item);
    return true;
  }
  std::uint64_t consume() {
    if (items.empty()) return 0;
    std::uint64_t item = items.front();
    items.pop_front();
    ++unreclaimed;
    ++head;
    if (unreclaimed >= batch() || head == size) unreclaimed = 0;
    if (head == size) head = 0;
    return item;
  }
};

RC_GTEST_PROP(PtrRing, BehavesLikeTheModel, ()) {
  const auto size = *rc::gen::inRange(0u, 100u);
  const auto ops = *rc::gen::container<std::vector<int>>(rc::gen::inRange(-40, 40));
  pagepool::HostMemory memory;
  Ring ring(memory);
  ring.init(size);
  Model model{size, {}};
  std::uint64_t next = 1;
  // A positive number produces so many, a negative one consumes so many.
  for (int op : ops) {
    for (int i = 0; i < op; ++i) {
      RC_ASSERT(ring.produce(next) == model.produce(next));
      ++next;
    }
    for (int i = op; i < 0; ++i) {
      RC_ASSERT(ring.empty() == model.items.empty());
      RC_ASSERT(ring.consume() == model.consume());
    }
    RC_ASSERT(ring.used() == model.items.size());
    RC_ASSERT(ring.unreclaimed() == model.unreclaimed);
    std::vector<std::uint64_t> seen;
    ring.for_each([&](std::uint64_t item) { seen.push_back(item); });
    RC_ASSERT(std::equal(seen.begin(), seen.end(), model.items.begin(), model.items.end()));
  }
}

TEST(PtrRing, SmallRingsGiveSlotsBackAtOnce) {
  pagepool::HostMemory memory;
  for (unsigned size : {1u, 2u, 31u}) {
    Ring ring(memory);
    ring.init(size);
    EXPECT_EQ(ring.batch(), 1u);
    for (std::uint64_t i = 1; i <= size; ++i) EXPECT_TRUE(ring.produce(i));
    EXPECT_FALSE(ring.produce(99));
    EXPECT_EQ(ring.consume(), 1u);
    EXPECT_TRUE(ring.produce(99));
  }
}

TEST(PtrRing, LargeRingsStayFullUntilSixteenAreConsumed) {
  pagepool::HostMemory memory;
  Ring ring(memory);
  ring.init(64);
  for (std::uint64_t i = 1; i <= 64; ++i) ASSERT_TRUE(ring.produce(i));
  for (int i = 0; i < 15; ++i) {
    ring.consume();
    EXPECT_FALSE(ring.produce(99)) << "after " << i + 1;
  }
  ring.consume();
  for (int i = 0; i < 16; ++i) EXPECT_TRUE(ring.produce(99));
  EXPECT_FALSE(ring.produce(99));
}

TEST(PtrRing, EndOfTheArrayGivesSlotsBack) {
  pagepool::HostMemory memory;
  Ring ring(memory);
  ring.init(40);  // 16, 16, then 8 at the end
  for (std::uint64_t i = 1; i <= 40; ++i) ASSERT_TRUE(ring.produce(i));
  for (int i = 0; i < 40; ++i) ring.consume();
  EXPECT_EQ(ring.unreclaimed(), 0u);
}

}  // namespace
