// SPDX-License-Identifier: Apache-2.0
// The parameters of the IOMMU's timing: each is within reach of --set, stands in the table of iommu/README.md
// with its default, and nonsense is refused by its path when the configuration is read.
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "platform/parameter_tables.h"

namespace {

struct Configuration {
  Configuration() { register_iommu(set, iommu); }
  /// What --set PATH=VALUE and the check of the whole say.
  std::string error_of(const std::string& assignment) {
    try {
      set.assign(assignment);
      set.check([&] { iommu.validate(); });
    } catch (const sim::Error& e) {
      return e.what();
    }
    return {};
  }
  iommu::IommuConfig iommu;
  platform::ParameterSet set;
};

bool is_timing(const std::string& path) { return path.find("iommu.architecture.") == std::string::npos; }

TEST(IommuParameters, TheTableOfTheReadmeIsTheTableOfTheProgram) {
  std::ifstream file(POOLSIM_SOURCE_DIR "/iommu/README.md");
  ASSERT_TRUE(file);
  std::stringstream text;
  text << file.rdbuf();
  const std::string readme = text.str();
  Configuration c;
  unsigned documented = 0;
  for (const auto& p : c.set.parameters()) {
    if (!is_timing(p.path)) continue;
    EXPECT_NE(readme.find("| `" + p.path + "` | " + p.text() + " | "), std::string::npos)
        << p.path << " = " << p.text();
    ++documented;
  }
  unsigned rows = 0;
  for (std::size_t at = 0; (at = readme.find("\n| `iommu.", at)) != std::string::npos; ++at) ++rows;
  EXPECT_EQ(rows, documented);
}

TEST(IommuParameters, EachChangesItsFieldByAssignment) {
  const std::pair<const char*, std::function<bool(const iommu::IommuConfig&)>> cases[] = {
      {"iommu.iotlb.sets=32", [](auto& c) { return c.iotlb.sets == 32; }},
      {"iommu.iotlb.ways=8", [](auto& c) { return c.iotlb.ways == 8; }},
      {"iommu.iotlb.replacement=plru",
       [](auto& c) { return c.iotlb.replacement == iommu::Replacement::kPlru; }},
      {"iommu.iotlb.replacement=random",
       [](auto& c) { return c.iotlb.replacement == iommu::Replacement::kRandom; }},
      {"iommu.iotlb_page_sizes=[12, 16, 21]",
       [](auto& c) {
         return c.iotlb_page_sizes == std::vector<unsigned>{12, 16, 21};
       }},
      {"iommu.ddt_cache.sets=4", [](auto& c) { return c.ddt_cache.sets == 4; }},
      {"iommu.pdt_cache.ways=1", [](auto& c) { return c.pdt_cache.ways == 1; }},
      {"iommu.walk_cache.sets=2", [](auto& c) { return c.walk_cache.sets == 2; }},
      {"iommu.walk_cache_enabled=false", [](auto& c) { return !c.walk_cache_enabled; }},
      {"iommu.input_queue=7", [](auto& c) { return c.input_queue == 7; }},
      {"iommu.walkers=3", [](auto& c) { return c.walkers == 3; }},
      {"iommu.miss_queue=5", [](auto& c) { return c.miss_queue == 5; }},
      {"iommu.hit_under_miss=false", [](auto& c) { return !c.hit_under_miss; }},
      {"iommu.fault_buffer=9", [](auto& c) { return c.fault_buffer == 9; }},
      {"iommu.lookup_cycles=11", [](auto& c) { return c.lookup_cycles == 11; }},
      {"iommu.lookup_interval=12", [](auto& c) { return c.lookup_interval == 12; }},
      {"iommu.walk_start_cycles=13", [](auto& c) { return c.walk_start_cycles == 13; }},
      {"iommu.walk_step_cycles=14", [](auto& c) { return c.walk_step_cycles == 14; }},
      {"iommu.forward_cycles=15", [](auto& c) { return c.forward_cycles == 15; }},
      {"iommu.command_fetch_cycles=16", [](auto& c) { return c.command_fetch_cycles == 16; }},
      {"iommu.command_cycles=17", [](auto& c) { return c.command_cycles == 17; }},
      {"iommu.invalidate_scan_cycles=18", [](auto& c) { return c.invalidate_scan_cycles == 18; }},
      {"iommu.invalidate_indexed=false", [](auto& c) { return !c.invalidate_indexed; }},
      {"iommu.fence_cycles=19", [](auto& c) { return c.fence_cycles == 19; }},
      {"iommu.fault_cycles=20", [](auto& c) { return c.fault_cycles == 20; }},
      {"iommu.interrupt_cycles=21", [](auto& c) { return c.interrupt_cycles == 21; }},
      {"iommu.ats_timeout_cycles=22", [](auto& c) { return c.ats_timeout_cycles == 22; }},
      {"iommu.register_cycles=23", [](auto& c) { return c.register_cycles == 23; }},
  };
  for (const auto& [assignment, holds] : cases) {
    Configuration c;
    EXPECT_FALSE(holds(c.iommu)) << assignment;
    EXPECT_EQ(c.error_of(assignment), "") << assignment;
    EXPECT_TRUE(holds(c.iommu)) << assignment;
  }
}

TEST(IommuParameters, NonsenseIsRefusedByItsPath) {
  std::vector<std::string> bad = {
      "iommu.iotlb_page_sizes=[]",
      "iommu.iotlb_page_sizes=[13]",
      "iommu.iotlb_page_sizes=[12, 12]",
      "iommu.iotlb_page_sizes=[12, 30, 21]",
      "iommu.iotlb_page_sizes=[12, 58]",
      "iommu.input_queue=0",
      "iommu.walkers=0",
      "iommu.miss_queue=0",
      "iommu.fault_buffer=0",
      "iommu.lookup_interval=0",
      "iommu.lookup_cycles=-1",
      "iommu.walk_cache_enabled=perhaps",
      "iommu.hit_under_miss=2",
      "iommu.invalidate_indexed=x",
  };
  for (const char* cache : {"iotlb", "ddt_cache", "pdt_cache", "walk_cache"}) {
    for (const char* size : {"sets=0", "sets=48", "sets=2097152", "ways=0", "ways=3", "ways=128"})
      bad.push_back(std::string("iommu.") + cache + "." + size);
    bad.push_back(std::string("iommu.") + cache + ".replacement=fifo");
  }
  for (const std::string& assignment : bad) {
    Configuration c;
    const std::string path = assignment.substr(0, assignment.find('='));
    const std::string error = c.error_of(assignment);
    EXPECT_EQ(error.rfind("--set: " + path, 0), 0u) << assignment << ": '" << error << "'";
  }
}

}  // namespace
