// SPDX-License-Identifier: Apache-2.0
// What the captures say of themselves must be what the people who took them counted
// (testbenches/data/captures/README.md).
#include "testbenches/replay/recorded.h"

#include <gtest/gtest.h>

namespace replay {
namespace {

struct Expected {
  const char* capture;
  std::uint64_t hold, release;
  std::int64_t inflight;
  std::uint64_t before, inside, after, no_driver, rounds;
  double last_release;
  bool oops;
};

class FirstPool : public ::testing::TestWithParam<Expected> {};

TEST_P(FirstPool, EqualsTheTableOfTheCaptures) {
  const Expected& want = GetParam();
  const Capture capture =
      read_capture(std::string(POOLSIM_SOURCE_DIR "/testbenches/data/captures/") + want.capture + ".txt.gz");
  const Joined joined = join(capture);
  const std::vector<PoolNumbers> pools = recorded_numbers(capture, joined);
  ASSERT_FALSE(pools.empty());
  const PoolNumbers& got = pools.front();
  EXPECT_EQ(got.hold, want.hold);
  EXPECT_EQ(got.release, want.release);
  EXPECT_EQ(got.inflight_at_destroy, want.inflight);
  EXPECT_EQ(got.unmap_before_destroy, want.before);
  EXPECT_EQ(got.unmap_inside_destroy, want.inside);
  EXPECT_EQ(got.unmap_after_destroy, want.after);
  EXPECT_EQ(got.of_these_no_driver, want.no_driver);
  EXPECT_EQ(got.release_rounds, want.rounds);
  ASSERT_TRUE(got.last_release_after_removal_s);
  EXPECT_NEAR(*got.last_release_after_removal_s, want.last_release, 0.001);
  EXPECT_FALSE(got.iova_reused_while_held);
  EXPECT_EQ(!joined.oopses.empty(), want.oops);
  EXPECT_TRUE(joined.notes.empty());
}

INSTANTIATE_TEST_SUITE_P(
    Captures, FirstPool,
    ::testing::Values(Expected{"deb6.12.117-hold5", 1280, 1280, 200, 0, 1280, 0, 0, 7, 6.209, false},
                      Expected{"fec6.1-hold5", 448, 448, 150, 0, 298, 150, 150, 6, 7.267, false},
                      Expected{"fec6.1-steady", 320, 320, 0, 24, 296, 0, 0, 1, -2.524, false},
                      Expected{"prefix6.12.117-hold5", 1280, 1280, 200, 0, 1080, 200, 200, 7, 6.155, false},
                      Expected{"prefix2-remove", 1280, 1080, 200, 0, 1080, 1, 1, 3, 0.025, true},
                      // Counted with grep and awk.
                      Expected{"script6.12.117-hold5", 1152, 1152, 100, 0, 1152, 0, 0, 8, 7.626, false}),
    [](const auto& info) {
      std::string name = info.param.capture;
      for (char& c : name) c = std::isalnum(static_cast<unsigned char>(c)) ? c : '_';
      return name;
    });

}  // namespace
}  // namespace replay
