// SPDX-License-Identifier: Apache-2.0
// The model, driven by the recorded driver calls, must come to what the captures say.
#include "testbenches/replay/replay.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <sstream>

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
                                           "prefix6.12.117-hold5", "prefix2-remove"),
                         test_name);

}  // namespace
}  // namespace replay
