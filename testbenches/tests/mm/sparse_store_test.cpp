// SPDX-License-Identifier: Apache-2.0
#include "mm/sparse_store.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>

namespace {

using sim::PhysAddr;
constexpr PhysAddr kBase(0x8000'0000);

std::uint64_t resident_bytes() {
  std::ifstream statm("/proc/self/statm");
  std::uint64_t total = 0, resident = 0;
  statm >> total >> resident;
  return resident * 4096;
}

TEST(SparseStore, LoadsWhatWasStoredAndZeroElsewhere) {
  mm::SparseStore store(kBase, 1 << 20);
  store.store<std::uint32_t>(kBase + 0x123, 0x11223344);
  EXPECT_EQ(store.load<std::uint32_t>(kBase + 0x123), 0x11223344u);
  EXPECT_EQ(store.load<std::uint8_t>(kBase + 0x123), 0x44u);  // little endian
  EXPECT_EQ(store.load<std::uint64_t>(kBase + 0x8000), 0u);
}

TEST(SparseStore, BoundsAreExactAndSafeForAnyAddress) {
  mm::SparseStore store(kBase, 1 << 20);
  EXPECT_TRUE(store.contains(kBase, 1 << 20));
  EXPECT_FALSE(store.contains(kBase, (1 << 20) + 1));
  EXPECT_TRUE(store.contains(store.end() - 1));
  EXPECT_FALSE(store.contains(store.end()));
  EXPECT_FALSE(store.contains(kBase - 1));
  EXPECT_FALSE(store.contains(PhysAddr(0)));
  EXPECT_FALSE(store.contains(PhysAddr(~0ull), 2));
  EXPECT_FALSE(store.contains(kBase + 8, ~0ull));
  EXPECT_THROW(store.load<std::uint64_t>(store.end() - 7), sim::ModelError);
  EXPECT_THROW(store.host(kBase - 1), sim::ModelError);
}

TEST(SparseStore, TwelveTerabytesCostWhatIsTouched) {
  const std::uint64_t bytes = 12'300'000'000'000ull / 4096 * 4096;
  const std::uint64_t before = resident_bytes();
  mm::SparseStore store(kBase, bytes);
  for (int i = 0; i < 100; ++i) store.store<std::uint64_t>(kBase + bytes / 100 * i / 8 * 8, i + 1);
  EXPECT_EQ(store.load<std::uint64_t>(kBase + bytes / 100 * 99 / 8 * 8), 100u);
  EXPECT_LT(resident_bytes() - before, 4u << 20);
}

TEST(SparseStore, ForkedChildrenDoNotSeeEachOther) {
  mm::SparseStore store(kBase, 1 << 20);
  store.store<int>(kBase, 1);
  const pid_t child = ::fork();
  if (child == 0) {
    store.store<int>(kBase, 2);
    ::_exit(store.load<int>(kBase) == 2 ? 0 : 1);
  }
  int status = -1;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(store.load<int>(kBase), 1);
}

TEST(SparseStore, DiscardedPagesReadZero) {
  mm::SparseStore store(kBase, 1 << 20);
  store.store<int>(kBase + 0x1000, 7);
  store.store<int>(kBase + 0x2000, 8);
  store.discard(kBase + 0x1000, 0x1000);
  EXPECT_EQ(store.load<int>(kBase + 0x1000), 0);
  EXPECT_EQ(store.load<int>(kBase + 0x2000), 8);
}

TEST(SparseStore, HugeHostPagesHoldTheSame) {
  mm::SparseStore store(kBase, 64 << 20, mm::HostPages::kHuge);
  EXPECT_EQ(store.load<std::uint64_t>(kBase + 0x20'0000), 0u);
  store.store<int>(kBase + 0x1f'fffc, 7);
  store.store<int>(kBase + 0x20'0000, 8);
  store.discard(kBase + 0x1f'f000, 0x1000);
  EXPECT_EQ(store.load<int>(kBase + 0x1f'fffc), 0);
  EXPECT_EQ(store.load<int>(kBase + 0x20'0000), 8);
}

TEST(SparseStore, RefusesBadRanges) {
  EXPECT_THROW(mm::SparseStore(kBase, 0), sim::Error);
  EXPECT_THROW(mm::SparseStore(kBase, 4097), sim::Error);
  EXPECT_THROW(mm::SparseStore(PhysAddr(1), 4096), sim::Error);
  EXPECT_THROW(mm::SparseStore(PhysAddr(~0ull << 12), 1 << 20), sim::Error);
}

}  // namespace
