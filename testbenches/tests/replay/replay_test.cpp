// SPDX-License-Identifier: Apache-2.0
// The model, driven by the recorded driver calls, must come to what the captures say.
#include "testbenches/replay/replay.h"

#include <gtest/gtest.h>

#include <functional>
#include <nlohmann/json.hpp>
#include <sstream>

#include "sim/error.h"

namespace replay {
namespace {

std::string capture_path(const std::string& name) {
  return POOLSIM_SOURCE_DIR "/testbenches/data/captures/" + name + ".txt.gz";
}

std::string test_name(const ::testing::TestParamInfo<const char*>& info) {
  std::string name = info.param;
  for (char& c : name) c = std::isalnum(static_cast<unsigned char>(c)) ? c : '_';
  return name;
}

class Replayed : public ::testing::TestWithParam<const char*> {};

TEST_P(Replayed, AgreesWithTheCapture) {
  ReplayOptions options;
  options.capture = capture_path(GetParam());
  const Replay result = replay(options);
  EXPECT_TRUE(result.comparison.agree) << report_text(result);
  EXPECT_EQ(result.comparison.first_difference, "");
  EXPECT_TRUE(result.model.notes.empty()) << result.model.notes.front();
}

INSTANTIATE_TEST_SUITE_P(Captures, Replayed,
                         ::testing::Values("deb6.12.117-hold5", "fec6.1-hold5", "fec6.1-steady",
                                           "prefix6.12.117-hold5", "prefix2-remove", "script6.12.117-hold5",
                                           "script6.12.117-veth-delete", "script6.1.187-live"),
                         test_name);
INSTANTIATE_TEST_SUITE_P(Synthetic, Replayed,
                         ::testing::Values("synthetic-armhf-link-down", "synthetic-bulk-returns",
                                           "synthetic-extra-references", "synthetic-no-alloc-probe",
                                           "synthetic-oops-goes-on", "synthetic-oops-in-put",
                                           "synthetic-ops-cleared-at-unbind", "synthetic-overflow-lazy",
                                           "synthetic-race", "synthetic-rebind", "synthetic-rebind-fix",
                                           "synthetic-rescan", "synthetic-short-bulk",
                                           "synthetic-two-devices"),
                         test_name);

// ---- what would have happened

PoolNumbers first_pool(ReplayOptions options, std::optional<kernel::Oops>& oops) {
  const Replay result = replay(options);
  EXPECT_FALSE(result.comparison.agree);
  EXPECT_NE(result.comparison.first_difference.find(options.capture + ":"), std::string::npos)
      << result.comparison.first_difference;
  oops = result.model.oops;
  return result.model.pools.front();
}

TEST(WhatIf, TrackingUnmapsAllBeforeTheDeviceGoesAndNothingDies) {
  ReplayOptions options;
  options.capture = capture_path("prefix2-remove");
  options.strategy = "xarray_merged";
  std::optional<kernel::Oops> oops;
  const PoolNumbers pool = first_pool(options, oops);
  EXPECT_FALSE(oops);
  EXPECT_EQ(pool.unmap_inside_destroy, 1280u);
  EXPECT_EQ(pool.unmap_after_destroy, 0u);
  EXPECT_EQ(pool.release, 1280u);
}

TEST(WhatIf, DmaOpsClearedLetTheLateUnmapsGoNowhere) {
  ReplayOptions options;
  options.capture = capture_path("prefix2-remove");
  assign(options, "kernel.clear_dma_ops_on_unbind=true");
  std::optional<kernel::Oops> oops;
  const PoolNumbers pool = first_pool(options, oops);
  EXPECT_FALSE(oops);
  EXPECT_EQ(pool.unmap_after_destroy, 200u);
  EXPECT_EQ(pool.of_these_no_driver, 200u);
}

TEST(WhatIf, WithoutTrackingTheFixedKernelUnmapsLate) {
  ReplayOptions options;
  options.capture = capture_path("deb6.12.117-hold5");
  options.strategy = "stock";
  std::optional<kernel::Oops> oops;
  const PoolNumbers pool = first_pool(options, oops);
  EXPECT_FALSE(oops);  // the device stays
  EXPECT_EQ(pool.unmap_inside_destroy, 1080u);
  EXPECT_EQ(pool.of_these_no_driver, 200u);
}

TEST(WhatIf, ASmallerRingOverflows) {
  ReplayOptions options;
  options.capture = capture_path("fec6.1-steady");
  assign(options, "pool.size=64");
  std::optional<kernel::Oops> oops;
  EXPECT_GT(first_pool(options, oops).unmap_before_destroy, 24u);
}

// ---- the command

struct Outcome {
  int code;
  std::string out, err;
};

Outcome command(const ReplayOptions& options) {
  std::ostringstream out, err;
  const int code = run_replay(options, out, err);
  return {code, out.str(), err.str()};
}

TEST(Command, JsonHasExactlyTheKeysOfTheContract) {
  ReplayOptions options;
  options.capture = capture_path("prefix2-remove");
  options.json = true;
  const Outcome o = command(options);
  EXPECT_EQ(o.code, 0);
  EXPECT_EQ(o.err, "");
  const auto j = nlohmann::ordered_json::parse(o.out);
  const auto keys = [](const nlohmann::ordered_json& object) {
    std::vector<std::string> names;
    for (const auto& [key, value] : object.items()) names.push_back(key);
    return names;
  };
  EXPECT_EQ(keys(j), (std::vector<std::string>{"capture", "strategy", "pools", "oops", "findings", "agree"}));
  std::vector<std::string> numbers{"pool",
                                   "hold",
                                   "release",
                                   "inflight_at_destroy",
                                   "unmap_before_destroy",
                                   "unmap_inside_destroy",
                                   "unmap_after_destroy",
                                   "of_these_no_driver",
                                   "release_rounds",
                                   "last_release_after_removal_s",
                                   "iova_reused_while_held"};
  ASSERT_EQ(j["pools"].size(), 2u);
  EXPECT_EQ(keys(j["pools"][0]["recorded"]), numbers);
  numbers.push_back("recorded");
  EXPECT_EQ(keys(j["pools"][0]), numbers);
  EXPECT_EQ(j["oops"]["symbol"], "iommu_get_dma_domain");
  EXPECT_EQ(j["oops"]["address"], "0xa8");
  EXPECT_EQ(j["strategy"], "stock");
  EXPECT_EQ(j["agree"], true);
  EXPECT_EQ(j["findings"]["null_domain_oops"], 1);
}

TEST(Command, TextTellsTheOopsWithItsCallChain) {
  ReplayOptions options;
  options.capture = capture_path("prefix2-remove");
  const Outcome o = command(options);
  EXPECT_EQ(o.code, 0);
  std::size_t at = 0;
  for (const char* word :
       {"BUG: kernel NULL pointer dereference, address: 00000000000000a8",
        "Workqueue: events page_pool_release_retry", "RIP: iommu_get_dma_domain", "iommu_dma_unmap_page",
        "dma_unmap_page_attrs", "page_pool_return_page", "page_pool_release", "page_pool_release_retry"}) {
    at = o.out.find(word, at);
    ASSERT_NE(at, std::string::npos) << word << "\n" << o.out;
  }
  EXPECT_NE(o.out.find("inferred: "), std::string::npos);
}

TEST(Command, ADifferenceIsExitCode1AndSaysWhere) {
  ReplayOptions options;
  options.capture = capture_path("fec6.1-hold5");
  options.strategy = "xarray_merged";
  options.json = true;
  const Outcome o = command(options);
  EXPECT_EQ(o.code, 1);
  EXPECT_NE(o.err.find("fec6.1-hold5.txt.gz:"), std::string::npos);
  EXPECT_EQ(nlohmann::json::parse(o.out)["agree"], false);
}

TEST(Command, BadInputIsOneLineAndNothingElse) {
  for (const auto& [change, words] : std::vector<std::pair<std::function<void(ReplayOptions&)>, std::string>>{
           {[](ReplayOptions& o) { o.strategy = "stok"; }, "unknown strategy 'stok' (did you mean 'stock'?)"},
           {[](ReplayOptions& o) { o.capture = "/nowhere"; }, "/nowhere: No such file"},
           {[](ReplayOptions& o) { o.dma_mode = "lzy"; }, "'lzy' is not a mode (did you mean 'lazy'?)"},
           {[](ReplayOptions& o) { o.pool_size = 40000; }, "pool.size: 40000"}}) {
    ReplayOptions options;
    options.capture = capture_path("fec6.1-hold5");
    change(options);
    const Outcome o = command(options);
    EXPECT_EQ(o.code, 2);
    EXPECT_EQ(o.out, "");
    EXPECT_NE(o.err.find(words), std::string::npos) << o.err;
    EXPECT_EQ(std::count(o.err.begin(), o.err.end(), '\n'), 1);
  }
  ReplayOptions options;
  EXPECT_THROW(assign(options, "pool.sise=1"), sim::Error);
  EXPECT_THROW(assign(options, "pool.size"), sim::Error);
  EXPECT_THROW(assign(options, "kernel.clear_dma_ops_on_unbind=maybe"), sim::Error);
}

}  // namespace
}  // namespace replay
