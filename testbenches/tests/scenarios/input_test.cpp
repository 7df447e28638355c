// SPDX-License-Identifier: Apache-2.0
// Bad scenario files: one line with file, line, and the nearest valid name.
#include <gtest/gtest.h>

#include <unistd.h>

#include <fstream>

#include "testbenches/scenario/scenario.h"

namespace {

std::string complaint(const std::string& yaml, const std::vector<std::string>& assignments = {}) {
  const std::string file = ::testing::TempDir() + std::to_string(::getpid()) + "_bad.yaml";  // tests run side by side
  std::ofstream(file) << yaml;
  scenario::RunConfig config;
  try {
    scenario::load(config, file, assignments);
  } catch (const sim::Error& e) {
    std::string what = e.what();
    EXPECT_EQ(what.find('\n'), std::string::npos) << what;
    if (const auto at = what.find(file); at != std::string::npos) what.replace(at, file.size(), "bad.yaml");
    return what;
  }
  return "accepted";
}

void expect_all(const std::string& text, std::initializer_list<const char*> parts) {
  for (const char* p : parts) EXPECT_NE(text.find(p), std::string::npos) << p << " not in: " << text;
}

TEST(ScenarioInput, UnknownKeyNamesLineAndNearest) {
  expect_all(complaint("scenario:\n  held_updp: 3\n"), {"bad.yaml:2", "held_updp", "held_udp"});
}
TEST(ScenarioInput, WrongTypeAndRange) {
  expect_all(complaint("kernel:\n  cores: many\n"), {"bad.yaml:2", "kernel.cores", "many"});
  expect_all(complaint("scenario:\n  held_payload: 4 KiB\n"), {"bad.yaml:2", "scenario.held_payload"});
}
TEST(ScenarioInput, UnknownStrategy) {
  expect_all(complaint("pool:\n  strategy: xaray_merged\n"), {"bad.yaml:2", "xaray_merged", "xarray_merged"});
  expect_all(complaint("", {"pool.strategy=stok"}), {"--set", "stok", "stock"});
}
TEST(ScenarioInput, ImpossibleTogether) {
  expect_all(complaint("scenario:\n  close_delay: 50 s\n  end_delay: 1 s\n"), {"bad.yaml:2", "close_delay"});
  expect_all(complaint("kernel:\n  cores: 1\nnic:\n  driver:\n    rx_cpu: 3\n"), {"rx_cpu", "3"});
}
TEST(ScenarioInput, MissingFile) {
  scenario::RunConfig config;
  EXPECT_THROW(scenario::load(config, "/nonexistent/x.yaml", {}), sim::Error);
}

}  // namespace
