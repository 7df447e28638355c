// SPDX-License-Identifier: Apache-2.0
// XArray against std::map: lowest free index, compare-and-exchange, ordered walk, node accounting, failing
// slab.
#include "pagepool/xarray.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <cerrno>
#include <map>
#include <set>

#include "pagepool/host_memory.h"

namespace {

/// A slab that counts what is out and can run dry.
struct CountingMemory : pagepool::HostMemory {
  std::int64_t out = 0;
  std::int64_t limit = INT64_MAX;
  bool memory_new(const void*, std::size_t) {
    if (out >= limit) return false;
    ++out;
    return true;
  }
  void memory_delete(const void*, std::size_t) { --out; }
};
using Array = pagepool::XArray<std::uint64_t, CountingMemory>;

/// Nodes that a 64-ary tree over these indices needs: each distinct prefix, up to the height of the largest
/// index.
std::uint64_t nodes_needed(const std::map<std::uint32_t, std::uint64_t>& model) {
  if (model.empty()) return 0;
  std::uint64_t nodes = 0;
  for (unsigned shift = 6;; shift += 6) {
    std::set<std::uint32_t> prefixes;
    for (auto [id, entry] : model) prefixes.insert(static_cast<std::uint32_t>(std::uint64_t{id} >> shift));
    nodes += prefixes.size();
    if ((std::uint64_t{model.rbegin()->first} >> shift) == 0) return nodes;
  }
}

std::uint32_t lowest_free(const std::map<std::uint32_t, std::uint64_t>& model, std::uint32_t min) {
  std::uint32_t id = min;
  for (auto it = model.lower_bound(min); it != model.end() && it->first == id; ++it) ++id;
  return id;
}

RC_GTEST_PROP(XArray, BehavesLikeAMap, ()) {
  CountingMemory memory;
  {
    Array array(memory);
    std::map<std::uint32_t, std::uint64_t> model;
    std::uint64_t next = 1;
    const auto ops = *rc::gen::container<std::vector<std::pair<int, std::uint32_t>>>(
        rc::gen::pair(rc::gen::inRange(0, 10), rc::gen::inRange(0u, 9000u)));
    for (auto [kind, number] : ops) {
      if (kind < 4) {  // a burst of allocations
        for (std::uint32_t i = 0; i < number % 200 + 1; ++i) {
          std::uint32_t id = 0;
          RC_ASSERT(array.alloc(id, next, 1, UINT32_MAX) == 0);
          RC_ASSERT(id == lowest_free(model, 1));
          model[id] = next++;
        }
      } else if (kind < 5) {  // far away
        std::uint32_t id = 0, min = number * 1001;
        RC_ASSERT(array.alloc(id, next, min, UINT32_MAX) == 0);
        RC_ASSERT(id == lowest_free(model, min));
        model[id] = next++;
      } else if (kind < 8 && !model.empty()) {  // erase a run
        auto it = model.lower_bound(number);
        for (int i = 0; i < 150 && it != model.end(); ++i) {
          RC_ASSERT(array.cmpxchg(it->first, it->second, 0) == it->second);
          it = model.erase(it);
        }
      } else {  // a loser changes nothing
        auto found = model.find(number);
        RC_ASSERT(array.cmpxchg(number, ~0ull, 0) == (found == model.end() ? 0 : found->second));
        RC_ASSERT(array.load(number) == (found == model.end() ? 0 : found->second));
      }
      RC_ASSERT(array.size() == model.size());
      RC_ASSERT(array.empty() == model.empty());
      RC_ASSERT(array.nodes() == static_cast<std::uint64_t>(memory.out));
      RC_ASSERT(array.nodes() == nodes_needed(model));
      RC_ASSERT(array.bytes() == array.nodes() * 576);
    }
    std::map<std::uint32_t, std::uint64_t> walked;
    std::uint32_t last = 0;
    array.for_each([&](std::uint32_t id, std::uint64_t entry) {
      RC_ASSERT(walked.empty() || id > last);
      last = id;
      walked[id] = entry;
    });
    RC_ASSERT(walked == model);
  }
  RC_ASSERT(memory.out == 0);
}

TEST(XArray, WalkMayErase) {
  CountingMemory memory;
  Array array(memory);
  for (std::uint64_t i = 1; i <= 5000; ++i) {
    std::uint32_t id = 0;
    ASSERT_EQ(array.alloc(id, i, 1, UINT32_MAX), 0);
  }
  std::uint64_t seen = 0;
  array.for_each([&](std::uint32_t id, std::uint64_t entry) {
    EXPECT_EQ(id, entry);
    EXPECT_EQ(array.erase(id), entry);
    ++seen;
  });
  EXPECT_EQ(seen, 5000u);
  EXPECT_TRUE(array.empty());
  EXPECT_EQ(memory.out, 0);
}

TEST(XArray, NineBytesAPageWhenFull) {
  CountingMemory memory;
  Array array(memory);
  for (std::uint64_t i = 1; i < 4096; ++i) {
    std::uint32_t id = 0;
    ASSERT_EQ(array.alloc(id, i, 1, UINT32_MAX), 0);
  }
  // 64 leaves and one root for 4095 pages.
  EXPECT_EQ(array.bytes(), 65u * 576u);
  EXPECT_NEAR(static_cast<double>(array.bytes()) / 4095.0, 9.0, 0.2);
}

TEST(XArray, FullRangeIsBusy) {
  CountingMemory memory;
  Array array(memory);
  std::uint32_t id = 0;
  for (std::uint32_t i = 1; i <= 100; ++i) ASSERT_EQ(array.alloc(id, i, 1, 100), 0);
  EXPECT_EQ(array.alloc(id, 1, 1, 100), -EBUSY);
  array.erase(50);
  ASSERT_EQ(array.alloc(id, 1, 1, 100), 0);
  EXPECT_EQ(id, 50u);
}

TEST(XArray, NoMemoryLeavesEverythingAsItWas) {
  CountingMemory memory;
  Array array(memory);
  std::uint32_t id = 0;
  memory.limit = 0;
  EXPECT_EQ(array.alloc(id, 1, 1, UINT32_MAX), -ENOMEM);
  EXPECT_EQ(memory.out, 0);
  memory.limit = 1;
  for (std::uint32_t i = 1; i < 64; ++i) ASSERT_EQ(array.alloc(id, i, 1, UINT32_MAX), 0);
  // Index 64 needs a root and a second leaf.
  for (memory.limit = 1; memory.limit < 3; ++memory.limit) {
    EXPECT_EQ(array.alloc(id, 64, 1, UINT32_MAX), -ENOMEM);
    EXPECT_EQ(array.size(), 63u);
    EXPECT_EQ(array.load(63), 63u);
  }
  EXPECT_EQ(array.alloc(id, 64, 1, UINT32_MAX), 0);
  EXPECT_EQ(id, 64u);
}

}  // namespace
