// SPDX-License-Identifier: Apache-2.0
// nic scripts: agreement with recordings (testbenches/data/nic), and bad input.
#include "testbenches/conform/nic_conform.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <sstream>

#include "sim/error.h"

namespace {

const std::string kData = std::string(POOLSIM_SOURCE_DIR) + "/testbenches/data/nic/";

TEST(NicConform, EveryRecordedScriptAgrees) {
  int scripts = 0;
  for (const auto& entry : std::filesystem::directory_iterator(kData)) {
    const std::string path = entry.path().string();
    if (!path.ends_with(".nic.gz")) continue;
    conform::NicConformOptions options;
    options.files = {path};
    options.expect = path.substr(0, path.size() - 7) + ".exp.gz";
    std::ostringstream out;
    EXPECT_EQ(conform::run_nic_conform(options, out), 0) << out.str();
    ++scripts;
  }
  EXPECT_GT(scripts, 35);
}

TEST(NicConform, DifferenceIsShownWithItsLine) {
  conform::NicConformOptions options;
  options.files = {kData + "sriov_cap.nic.gz"};
  options.expect = kData + "mdic_phy.exp.gz";
  std::ostringstream out;
  EXPECT_EQ(conform::run_nic_conform(options, out), 1);
  EXPECT_THAT(out.str(), testing::HasSubstr("line 1:"));
}

TEST(NicConform, BadInputNamesFileAndLine) {
  const std::pair<const char*, const char*> kBad[] = {
      {"name x\nworld plain\nsetup pf\nrr pf 0\n", "f.nic:4: unknown op 'rr'"},
      {"world moon\n", "f.nic:1: unknown world 'moon'"},
      {"r vf8 0\n", "f.nic:1: 'vf8' is not a function"},
      {"w pf 0\n", "f.nic:1: 'w' wants more fields"},
      {"rx 012\n", "f.nic:1: '012' has an odd number of hex digits"},
      {"mw 0x1000 zz\n", "f.nic:1: 'zz' are not hex digits"},
      {"cr pf 0 3\n", "f.nic:1: size 3 is not 1, 2 or 4"},
      {"vfs 1 2\n", "f.nic:1: '2': too many fields for 'vfs'"},
      {"vfs 9\n", "f.nic:1: 9 is more than 8 VFs"},
      {"world plain iommu\n", "f.nic:1: 'iommu': too many fields for 'world'"},
      {"world plain\nsetup pf\nfq\n", "f.nic:3: 'ir', 'iw' and 'fq' want 'world iommu'"},
      {"md 0x1000000 0x1000000000\n", "f.nic:1: 68719476736 bytes are more than the memory has"},
      {"setup pf.msix\n", "f.nic:1: 'setup' wants a function, not its MSI-X table"},
      {"world plain\r\nrr\r\n", "f.nic:2: unknown op 'rr'"}};
  for (const auto& [text, message] : kBad) {
    try {
      conform::parse_nic_script("f.nic", text);
      ADD_FAILURE() << text;
    } catch (const sim::Error& e) {
      EXPECT_THAT(e.what(), testing::StartsWith(message));
    }
  }
}

}  // namespace
