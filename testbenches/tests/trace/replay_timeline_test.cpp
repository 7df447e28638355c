// SPDX-License-Identifier: Apache-2.0
// poolsim replay --perfetto for what explore and campaign print: the same run as without, and a timeline that
// holds together. Through the command.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <filesystem>
#include <fstream>

#include "testbenches/tests/trace/timeline_reader.h"

namespace {

namespace fs = std::filesystem;

struct Ended {
  int code = -1;
  std::string out, err;
};

class ReplayTimeline : public ::testing::Test {
 protected:
  ReplayTimeline() : dir_(fs::path(::testing::TempDir()) / ("timeline_" + std::to_string(::getpid()))) {
    fs::create_directories(dir_);
  }
  ~ReplayTimeline() override { fs::remove_all(dir_); }
  std::string file(const std::string& name) const { return (dir_ / name).string(); }

  Ended poolsim(const std::vector<std::string>& arguments) const {
    std::string line = std::string("'") + POOLSIM_COMMAND + "'";
    for (const auto& a : arguments) line += " '" + a + "'";
    line += " 2>'" + file("err") + "'";
    Ended ended;
    std::FILE* out = ::popen(line.c_str(), "r");
    std::array<char, 4096> block;
    for (std::size_t n; (n = std::fread(block.data(), 1, block.size(), out)) != 0;)
      ended.out.append(block.data(), n);
    const int status = ::pclose(out);
    ended.code = WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
    std::ifstream err(file("err"));
    ended.err.assign(std::istreambuf_iterator<char>(err), {});
    return ended;
  }

 private:
  fs::path dir_;
};

TEST_F(ReplayTimeline, AScheduleOfExploreHasOne) {
  const Ended explored =
      poolsim({"explore", POOLSIM_SOURCE_DIR "/testbenches/scenarios/explore/return_vs_destroy.yaml",
               "--strategy", "scan", "--budget", "10", "--no-shrink", "--quiet", "--json"});
  ASSERT_EQ(explored.code, 1) << explored.err;
  auto j = nlohmann::json::parse(explored.out);
  if (j.is_array()) j = j.at(0);
  const std::string token = j.at("found").at(0).at("token");
  const Ended plain = poolsim({"replay", token});
  const Ended watched = poolsim({"replay", token, "--perfetto", file("t.json"), "--vcd", file("t.vcd")});
  EXPECT_EQ(plain.code, 1) << plain.err;
  EXPECT_EQ(watched.code, 1) << watched.err;
  EXPECT_EQ(plain.out, watched.out);  // findings and digest: who watches changes nothing
  const Timeline t(file("t.json"));
  EXPECT_TRUE(t.errors.empty()) << t.errors.front();
  EXPECT_FALSE(t.on("pool 1").empty());
  EXPECT_GE(t.global_instants, 1u);  // the finding
  EXPECT_GT(fs::file_size(file("t.vcd")), 0u);
}

TEST_F(ReplayTimeline, ATokenHasNoPackets) {
  const Ended refused =
      poolsim({"replay", "poolsim:1 strategy=scan schedule=natural", "--pcap", file("t.pcap")});
  EXPECT_EQ(refused.code, 2);
  EXPECT_NE(refused.err.find("--pcap"), std::string::npos) << refused.err;
}

TEST_F(ReplayTimeline, AnExperimentOfACampaignHasOne) {
  std::ofstream(file("c.yaml")) << "schema: 1\nname: timeline\nbase: " << POOLSIM_SOURCE_DIR
                                << "/testbenches/scenarios/unbind_short.yaml\nseed: 7\n"
                                   "warmup: on(driver_bound, nth=2)\nsettings: {memory.size: 64 MiB, "
                                   "pool.strategy: scan}\nwindow: {after_injection: 20 us, ladder: 10 us}\n"
                                   "sampling: {experiments: 3}\nfaults:\n"
                                   "  - {kind: none, when: \"uniform(0, 100us)\"}\n";
  const Ended run = poolsim({"campaign", "run", file("c.yaml"), "--db", file("c.db"), "--quiet"});
  ASSERT_EQ(run.code, 0) << run.err;
  const Ended watched = poolsim({"replay", file("c.db") + "#1", "--perfetto", file("e.json")});
  EXPECT_EQ(watched.code, 0) << watched.err;  // 4, were it not the same
  const Timeline t(file("e.json"));
  EXPECT_TRUE(t.errors.empty()) << t.errors.front();
  EXPECT_FALSE(t.slices.empty());
}

}  // namespace
