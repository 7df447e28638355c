// SPDX-License-Identifier: Apache-2.0
// What cannot be joined is refused with its event and line; what can be told apart only by order, is.
#include "testbenches/replay/join.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "sim/error.h"
#include "testbenches/replay/recorded.h"

namespace replay {
namespace {

using ::testing::HasSubstr;

/// Lines of one task, a microsecond apart; line 3 of the file is the first.
class Text {
 public:
  Text& add(const std::string& event, const std::string& task = "init-1") {
    char stamp[32];
    std::snprintf(stamp, sizeof stamp, "%.6f", 10.0 + 1e-6 * static_cast<double>(lines_));
    text_ += "  " + task + " [000] ..... " + stamp + ": " + event + "\n";
    ++lines_;
    return *this;
  }
  Text& hold(const std::string& page, const std::string& pfn, int n, const std::string& iova) {
    add("dma_map: (f+0x4/0x9) dev=0x50c0 drv=0x7 page=0x" + page + " off=0x0 size=0x1000 dir=0");
    add("map: IOMMU: iova=0x" + iova + " - 0x" + iova.substr(0, iova.size() - 3) + "fff paddr=0x" + pfn +
        "000 size=4096");
    add("dma_map_ret: (f <- g) iova=0x" + iova);
    return add("page_pool_state_hold: page_pool=a000 page=" + page + " pfn=0x" + pfn +
               " hold=" + std::to_string(n));
  }
  Joined join() const {
    const auto path = std::filesystem::path(::testing::TempDir()) / (std::to_string(::getpid()) + "join.txt");
    std::ofstream(path) << "# entries-in-buffer/entries-written: " << lines_ << "/" << lines_ << " #P:1\n#\n"
                        << text_;
    Capture capture;
    try {
      capture = read_capture(path);
      Joined joined = replay::join(capture);
      recorded_ = recorded_numbers(capture, joined);
      std::filesystem::remove(path);
      return joined;
    } catch (...) {
      std::filesystem::remove(path);
      throw;
    }
  }
  std::string error() const {
    try {
      join();
    } catch (const sim::Error& e) {
      return e.what();
    }
    return "no error";
  }
  const PoolNumbers& pool(std::size_t p) const { return recorded_.at(p); }

 private:
  std::string text_;
  int lines_ = 0;
  mutable std::vector<PoolNumbers> recorded_;
};

const char* const kCreate = "pp_create: (f <- page_pool_create) pool=0xa000";

TEST(Join, WhatFitsNothingIsNamedWithItsLine) {
  EXPECT_THAT(Text().add("page_pool_state_hold: page_pool=a000 page=1 pfn=0x1 hold=5").error(),
              HasSubstr("join.txt:3: page_pool_state_hold cannot be joined: pool a000 has 4 pages already"));
  EXPECT_THAT(Text().add(kCreate).add("pp_alloc: (f <- g) page=0x77").error(),
              HasSubstr("join.txt:4: pp_alloc cannot be joined: no pool holds page 77"));
  EXPECT_THAT(
      Text().add(kCreate).hold("1", "1", 1, "fff000").hold("1", "1", 2, "ffe000").error(),
      HasSubstr("join.txt:11: page_pool_state_hold cannot be joined: page 1 is still held since line 7"));
  EXPECT_THAT(Text().add("pp_retry: (f+0x4/0x9) work=0x99").error(),
              HasSubstr("join.txt:3: pp_retry cannot be joined"));
  EXPECT_THAT(
      Text().add(kCreate).add("page_pool_release: page_pool=a000 inflight=0 hold=0 release=0 cnt=1").error(),
      HasSubstr("no pp_destroy of pool a000"));
  EXPECT_THAT(Text().add("dma_map_ret: (f <- g) iova=0x1000").error(),
              HasSubstr("dma_map_ret cannot be joined"));
  EXPECT_THAT(Text()
                  .add(kCreate)
                  .hold("1", "1", 1, "fff000")
                  .add("page_pool_state_hold: page_pool=a000 page=2 pfn=0x2 hold=2")
                  .error(),
              HasSubstr("no dma_map of page 2 (pfn 2) before it"));
}

TEST(Join, APoolAtTheAddressOfAFinishedOneIsAnotherPool) {
  Text text;
  for (int round = 0; round < 2; ++round) {
    text.add(kCreate).hold("1", "1", 1, "fff000");
    text.add("pp_destroy: (f+0x4/0x9) pool=0xa000");
    text.add("dma_unmap: (f+0x4/0x9) dev=0x50c0 drv=0x7 grp=0x8 iova=0xfff000 size=0x1000 dir=0");
    text.add("page_pool_state_release: page_pool=a000 page=1 pfn=0x1 release=1");
    text.add("page_pool_release: page_pool=a000 inflight=0 hold=1 release=1 cnt=1");
  }
  const Joined joined = text.join();
  ASSERT_EQ(joined.pools.size(), 2u);
  for (const std::size_t p : {0u, 1u}) {
    EXPECT_EQ(text.pool(p).hold, 1u);
    EXPECT_EQ(text.pool(p).unmap_inside_destroy, 1u);
    EXPECT_FALSE(text.pool(p).iova_reused_while_held);
  }
}

TEST(Join, AnAddressThatIsStillMappedAndHandedOutAgainIsReuse) {
  Text text;
  text.add(kCreate).hold("1", "1", 1, "fff000").hold("2", "2", 2, "fff000");
  text.join();
  EXPECT_TRUE(text.pool(0).iova_reused_while_held);
}

TEST(Join, ATaskThatDiesInALateUnmapIsAnOops) {
  Text text;
  text.add(kCreate).hold("1", "1", 1, "fff000");
  text.add("drv_remove: (f+0x4/0x9) dev=0x5000");
  text.add("pp_destroy: (f+0x4/0x9) pool=0xa000");
  text.add("page_pool_release: page_pool=a000 inflight=1 hold=1 release=0 cnt=1");
  text.add("pp_put: (f+0x4/0x9) pool=0xa000 page=0x1 sync=0x1 direct=0");
  text.add("pp_retry: (f+0x4/0x9) work=0xa060", "kworker/0:1-9");
  text.add("dma_unmap: (f+0x4/0x9) dev=0x50c0 drv=0x0 grp=0x0 iova=0xfff000 size=0x1000 dir=0",
           "kworker/0:1-9");
  text.add("tracing_mark_write: MARK end");
  const Joined joined = text.join();
  EXPECT_EQ(joined.oopses.size(), 1u);
  EXPECT_EQ(text.pool(0).unmap_after_destroy, 1u);
  EXPECT_EQ(text.pool(0).of_these_no_driver, 1u);
  EXPECT_EQ(text.pool(0).release, 0u);
}

/// Kprobes without drv= and grp=: that the driver is gone is known by time.
TEST(Join, ATaskThatDiesInALateUnmapIsAnOopsWithoutDriverAndGroupToo) {
  Text text;
  text.add(kCreate).hold("1", "1", 1, "fff000");
  text.add("drv_remove: (f+0x4/0x9) dev=0x5000");
  text.add("pp_destroy: (f+0x4/0x9) pool=0xa000");
  text.add("page_pool_release: page_pool=a000 inflight=1 hold=1 release=0 cnt=1");
  text.add("pp_put: (f+0x4/0x9) pool=0xa000 page=0x1 sync=0x1 direct=0");
  text.add("pp_retry: (f+0x4/0x9) work=0xa060", "kworker/0:1-9");
  text.add("dma_unmap: (f+0x4/0x9) dev=0x50c0 iova=0xfff000 size=0x1000 dir=0", "kworker/0:1-9");
  EXPECT_EQ(text.join().oopses.size(), 1u);
}

TEST(Join, AnUnmapElsewhereThanTheReleasedPageIsLeftOutWithANote) {
  Text text;
  text.add(kCreate).hold("1", "1", 1, "fff000");
  text.add("dma_unmap: (f+0x4/0x9) dev=0x50c0 drv=0x7 grp=0x8 iova=0xaaa000 size=0x1000 dir=0");
  text.add("page_pool_state_release: page_pool=a000 page=1 pfn=0x1 release=1");
  const auto joined = text.join();
  EXPECT_EQ(joined.mappings.at(0).unmap, replay::kNone);
  ASSERT_EQ(joined.notes.size(), 1u);
  EXPECT_THAT(joined.notes[0], HasSubstr("page 1, which is released next, is mapped at fff000, not at aaa000"));
}

/// What a kprobe prints whose definition gives no type, or u64, has no 0x and is decimal.
TEST(Join, DecimalSizesAndAddressesAreDecimal) {
  Text text;
  text.add(kCreate);
  text.add("dma_map: (f+0x4/0x9) dev=0x50c0 drv=0x7 page=0x1 off=0 size=4096 dir=2");
  text.add("dma_map_ret: (f <- g) iova=16773120");
  text.add("page_pool_state_hold: page_pool=a000 page=1 pfn=0x1 hold=1");
  text.add("dma_unmap: (f+0x4/0x9) dev=0x50c0 drv=0x7 grp=0x8 iova=16773120 size=4096 dir=2");
  text.add("page_pool_state_release: page_pool=a000 page=1 pfn=0x1 release=1");
  const Joined joined = text.join();
  EXPECT_EQ(joined.mappings.at(0).size, 4096u);
  EXPECT_EQ(text.pool(0).unmap_before_destroy, 1u);
}

/// Platform devices are smaller than 4 KiB: the removal of the neighbour below is not that of the pool's.
TEST(Join, TheRemovalOfANeighbourIsNotThatOfThePoolsDevice) {
  Text text;
  text.add("drv_probe: (f+0x4/0x9) dev=0x4c00").add("drv_probe: (f+0x4/0x9) dev=0x5000");
  text.add(kCreate).hold("1", "1", 1, "fff000");
  text.add("drv_remove: (f+0x4/0x9) dev=0x4c00");
  const Joined joined = text.join();
  EXPECT_EQ(joined.pools.at(0).removal, kNone);
}

TEST(Join, TheRemovalOfAnotherDeviceIsNotThatOfAPoolWhoseDeviceStays) {
  Text text;  // neither probe nor removal of the pool's device was recorded
  text.add(kCreate).hold("1", "1", 1, "fff000");
  text.add("dma_map: (f+0x4/0x9) dev=0x90c0 drv=0x7 page=0x2 off=0x0 size=0x1000 dir=0");
  text.add("dma_map_ret: (f <- g) iova=0xaaa000");
  text.add("drv_remove: (f+0x4/0x9) dev=0x9000");
  EXPECT_EQ(text.join().pools.at(0).removal, kNone);
}

TEST(Join, AFailedCreateIsNoPool) {
  Text text;
  text.add("pp_create: (f <- page_pool_create) pool=0xfffffffffffffff4").add(kCreate);
  const Joined joined = text.join();
  EXPECT_EQ(joined.pools.size(), 1u);
  EXPECT_EQ(joined.notes.size(), 1u);
}

}  // namespace
}  // namespace replay
