// SPDX-License-Identifier: Apache-2.0
// What the tests of campaigns share: a campaign on unbind_short from a few lines, and a directory for its
// databases.
#pragma once
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include "testbenches/campaign/run.h"

namespace campaign_test {

using namespace campaign;
namespace fs = std::filesystem;

inline const std::string kSource = POOLSIM_SOURCE_DIR;
inline const std::string kBase = kSource + "/testbenches/scenarios/unbind_short.yaml";

/// A campaign on unbind_short with these fault lines.
inline Campaign make(const std::string& faults, unsigned experiments, const std::string& more = "") {
  const std::string text =
      "schema: 1\nname: test\nbase: x\nseed: 7\nwarmup: on(driver_bound, nth=2)\n"
      "settings: {memory.size: 64 MiB, dram.ecc.secded: false, pool.strategy: scan}\n" +
      more + "sampling: {experiments: " + std::to_string(experiments) +
      "}\nwindow: {ladder: 20 us}\nfaults:\n" + faults;
  std::ifstream in(kBase);
  std::ostringstream base;
  base << in.rdbuf();
  return parse_campaign("test.yaml", text, kBase, base.str());
}

class CampaignRun : public ::testing::Test {
 protected:
  CampaignRun() : dir_(fs::temp_directory_path() / fmt::format("poolsim_campaign_{}", ::getpid())) {
    fs::create_directories(dir_);
  }
  ~CampaignRun() override { fs::remove_all(dir_); }
  std::string file(const std::string& name) const { return (dir_ / name).string(); }
  RunSettings settings(const std::string& db, unsigned jobs = 2) const {
    RunSettings s;
    s.db = file(db);
    s.jobs = jobs;
    s.quiet = true;
    s.build = "this";
    return s;
  }
  std::string rows(const std::string& db) const { return Database::open(file(db)).meta("rows_digest"); }

 private:
  fs::path dir_;
};

}  // namespace campaign_test
