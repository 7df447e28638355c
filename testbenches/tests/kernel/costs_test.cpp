// SPDX-License-Identifier: Apache-2.0
#include "kernel/costs.h"

#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <regex>
#include <string>

#include "kernel/config.h"
#include "sim/error.h"

namespace {

TEST(Costs, TheFileNamesEveryCostWithItsBuiltInValueAndASource) {
  std::ifstream file(POOLSIM_SOURCE_DIR "/kernel/costs.yaml");
  ASSERT_TRUE(file);
  std::map<std::string, std::pair<kernel::Cycle, std::string>> in_file;
  const std::regex line_form(R"(^    (\w+): (\d+) +# (.*)$)");
  for (std::string line; std::getline(file, line);) {
    std::smatch m;
    if (std::regex_match(line, m, line_form)) in_file[m[1]] = {std::stoull(m[2]), m[3]};
  }
  const kernel::Costs costs;
  EXPECT_EQ(in_file.size(), kernel::cost_fields().size());
  for (const kernel::CostField& field : kernel::cost_fields()) {
    const auto it = in_file.find(std::string(field.name));
    ASSERT_NE(it, in_file.end()) << field.name;
    EXPECT_EQ(it->second.first, costs.*field.member) << field.name;
    EXPECT_TRUE(std::regex_search(it->second.second, std::regex(R"(^\[[JLMI]\])"))) << field.name;
  }
}

TEST(KernelConfig, NonsenseIsRefusedByName) {
  auto message = [](auto change) {
    kernel::KernelConfig c;
    change(c);
    try {
      c.validate();
    } catch (const sim::Error& e) {
      return std::string(e.what());
    }
    return std::string();
  };
  EXPECT_EQ(message([](auto&) {}), "");
  EXPECT_EQ(message([](auto& c) { c.cores = 0; }), "kernel.cores: must be 1..32");
  EXPECT_EQ(message([](auto& c) { c.cores = 33; }), "kernel.cores: must be 1..32");
  EXPECT_EQ(message([](auto& c) { c.hz = 50; }), "kernel.hz: must be 100..1000");
  EXPECT_EQ(message([](auto& c) { c.dma_mask = 0xffff; }), "kernel.dma_mask: must cover at least 32 bits");
}

}  // namespace
