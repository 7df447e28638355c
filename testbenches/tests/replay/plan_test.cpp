// SPDX-License-Identifier: Apache-2.0
// The plan of a capture: calls only, each page handed out once and given back at most once; and what the
// recorded kernel was.
#include "testbenches/replay/plan.h"

#include <gtest/gtest.h>

#include "testbenches/replay/infer.h"

namespace replay {
namespace {

struct Expected {
  const char* capture;
  const char* strategy;
  kernel::DmaMode mode;
  std::uint32_t pool_size;
  std::size_t allocs, puts;
  unsigned users;
};

class Planned : public ::testing::TestWithParam<Expected> {};

TEST_P(Planned, StepsAndKernel) {
  const Expected& want = GetParam();
  const Capture capture =
      read_capture(std::string(POOLSIM_SOURCE_DIR "/testbenches/data/captures/") + want.capture + ".txt.gz");
  const Joined joined = join(capture);
  Plan plan = make_plan(capture, joined);
  const Behaviour kernel = infer(capture, joined, plan);
  EXPECT_EQ(kernel.strategy.value, want.strategy) << kernel.strategy.how;
  EXPECT_EQ(kernel.dma_mode.value, want.mode) << kernel.dma_mode.how;
  EXPECT_EQ(kernel.release_period_ms.value, 1000u);
  EXPECT_FALSE(kernel.clear_dma_ops_on_unbind.value) << kernel.clear_dma_ops_on_unbind.how;
  EXPECT_FALSE(kernel.clear_dma_ops_on_release.value) << kernel.clear_dma_ops_on_release.how;
  EXPECT_TRUE(plan.notes.empty()) << plan.notes.front();
  ASSERT_EQ(plan.devices.size(), 1u);
  EXPECT_FALSE(plan.devices[0].bound_at_start);
  for (std::size_t p = 0; p < plan.pools.size(); ++p) {
    EXPECT_EQ(kernel.pools[p].size.value, want.pool_size) << kernel.pools[p].size.how;
    EXPECT_EQ(kernel.pools[p].unexplained, 0u);
    EXPECT_EQ(plan.pools[p].users, want.users);
    EXPECT_EQ(plan.pools[p].order, 0u);
    EXPECT_TRUE(plan.pools[p].dma_map);
    EXPECT_NE(plan.pools[p].removal_step, kNone);
  }
  std::size_t allocs = 0, puts = 0, probes = 0, removes = 0;
  std::vector<int> out(plan.outcomes.size(), 0);
  std::uint64_t time = 0;
  for (const Step& step : plan.steps) {
    EXPECT_GE(step.time_ns, time);
    time = step.time_ns;
    EXPECT_FALSE(step.extra_reference);
    if (step.kind == StepKind::kAlloc) ++allocs, ++out[step.handle];
    if (step.kind == StepKind::kPut) ++puts, --out[step.handle];
    probes += step.kind == StepKind::kProbe;
    removes += step.kind == StepKind::kRemove;
    if (step.kind == StepKind::kPut) {
      EXPECT_GE(out[step.handle], 0) << "line " << step.line;
    }
  }
  EXPECT_EQ(allocs, want.allocs);
  EXPECT_EQ(puts, want.puts);
  EXPECT_EQ(probes, 1u);
  EXPECT_EQ(removes, 1u);
}

INSTANTIATE_TEST_SUITE_P(
    Captures, Planned,
    ::testing::Values(
        Expected{"deb6.12.117-hold5", "xarray_merged", kernel::DmaMode::kStrict, 1024, 2248, 2248, 2},
        Expected{"fec6.1-hold5", "stock", kernel::DmaMode::kDirect, 256, 406, 406, 2},
        Expected{"fec6.1-steady", "stock", kernel::DmaMode::kDirect, 256, 3256, 3256, 2},
        Expected{"prefix6.12.117-hold5", "stock", kernel::DmaMode::kStrict, 1024, 2248, 2248, 2},
        Expected{"prefix2-remove", "stock", kernel::DmaMode::kStrict, 1024, 2248, 2248, 2}),
    [](const auto& info) {
      std::string name = info.param.capture;
      for (char& c : name) c = std::isalnum(static_cast<unsigned char>(c)) ? c : '_';
      return name;
    });

}  // namespace
}  // namespace replay
