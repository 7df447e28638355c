// SPDX-License-Identifier: Apache-2.0
#include "testbenches/conform/dram_conform.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "sim/error.h"
#include "testbenches/conform/dram_config.h"

namespace {

using ::testing::HasSubstr;
const std::string kConfigs = std::string(POOLSIM_SOURCE_DIR) + "/mm/configs/";

struct Result {
  int code;
  std::vector<std::string> lines;
  std::string err;
};

Result replay(const mm::DramConfig& config, const std::string& trace, conform::DramOptions options = {}) {
  std::istringstream in(trace);
  std::ostringstream out, err;
  const int code = conform::run_dram_conform(config, conform::read_dram_trace(in, "t"), options, out, err);
  Result r{code, {}, err.str()};
  std::istringstream lines(out.str());
  for (std::string line; std::getline(lines, line);) r.lines.push_back(line);
  return r;
}

std::string error_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const sim::Error& e) {
    return e.what();
  }
  return "no error";
}

std::string file_with(const std::string& text) {
  const auto path =
      std::filesystem::temp_directory_path() / ("poolsim_dram_" + std::to_string(::getpid()) + ".yaml");
  std::ofstream(path) << text;
  return path;
}

TEST(DramConform, PrintsEachRequestInMemoryCycles) {
  const auto& t = mm::dram_standard("DDR4-2400R");
  const Result r =
      replay({.refresh = false}, "# a comment\n100 R 0x0\n300 R 40\n500 R 0x20000\n700 W 0x20040\n");
  EXPECT_EQ(r.code, 0);
  ASSERT_GE(r.lines.size(), 4u);
  EXPECT_EQ(r.lines[0], fmt::format("0 0x0 R 100 {} {} closed", 101 + t.rcd, 100 + t.closed_cycles()));
  EXPECT_EQ(r.lines[1], fmt::format("1 0x40 R 300 301 {} hit", 300 + t.hit_cycles()));
  EXPECT_EQ(r.lines[2],
            fmt::format("2 0x20000 R 500 {} {} conflict", 501 + t.rp + t.rcd, 500 + t.conflict_cycles()));
  EXPECT_EQ(r.lines[3], fmt::format("3 0x20040 W 700 701 {} hit", 701 + t.cwl + 4));
  EXPECT_EQ(r.lines.back(), "total commands ACT 2 PRE 1 RD 3 WR 1 PREA 0 REF 0");
}

TEST(DramConform, OutstandingKeepsThatManyInFlight) {
  std::string trace;
  for (int i = 0; i < 50; ++i) trace += fmt::format("0 R {:x}\n", i * 64);
  const Result one = replay({.refresh = false}, trace, {.outstanding = 1});
  const auto& t = mm::dram_standard("DDR4-2400R");
  EXPECT_EQ(one.lines[0], fmt::format("0 0x0 R 0 {} {} closed", 1 + t.rcd, t.closed_cycles()));
  EXPECT_EQ(one.lines[1], fmt::format("1 0x40 R {} {} {} hit", t.closed_cycles(), t.closed_cycles() + 1,
                                      t.closed_cycles() + t.hit_cycles()));
  const Result many =
      replay({.mapping = "il", .refresh = false}, trace, {.outstanding = 32, .totals_only = true});
  EXPECT_THAT(many.lines[0], HasSubstr("total requests 50"));
  EXPECT_EQ(many.code, 0);
}

TEST(DramConform, ConfigurationsInTheTreeAreTheBuiltInOnes) {
  unsigned files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(kConfigs)) {
    const mm::DramConfig c = conform::read_dram_config(entry.path());
    ASSERT_TRUE(c.timing) << entry.path();
    const mm::DramTiming &a = *c.timing, &b = mm::dram_standard(c.standard);
    EXPECT_EQ(a.clock, b.clock) << entry.path();
    const auto numbers = [](const mm::DramTiming& t) {
      return std::vector<unsigned>{
          t.burst_length, t.cl,    t.rcd,   t.rp,       t.cwl,    t.ras,      t.rc,   t.wr,
          t.rtp,          t.ccd_s, t.ccd_l, t.ccd_l_wr, t.rrd_s,  t.rrd_l,    t.faw,  t.wtr_s,
          t.wtr_l,        t.ppd,   t.rfc,   t.refi,     t.rfc_sb, t.refsb_rd, t.rtrs, t.two_cycle_commands,
          t.bank_groups,  t.banks, t.rows,  t.columns};
    };
    EXPECT_EQ(numbers(a), numbers(b)) << entry.path();
    ++files;
  }
  EXPECT_EQ(files, mm::dram_standards().size());
}

TEST(DramConform, RandomCommandsAreLegalUnderEveryPolicy) {
  for (const mm::DramTiming& t : mm::dram_standards()) {
    std::ostringstream out, err;
    EXPECT_EQ(conform::run_dram_random({.standard = t.name}, 20'000, 1, out, err), 0) << err.str();
    EXPECT_THAT(out.str(), HasSubstr("fcfs adaptive"));
    EXPECT_THAT(out.str(), HasSubstr(" 0 violations"));
    EXPECT_EQ(out.str().find("same_bank") != std::string::npos, t.has_same_bank_refresh());
  }
}

TEST(DramConform, BadTracesGiveFileAndLine) {
  const auto read = [](const std::string& text) {
    return error_of([&] {
      std::istringstream in(text);
      conform::read_dram_trace(in, "trace.txt");
    });
  };
  EXPECT_THAT(read("1 R 0\n2 X 0\n"), HasSubstr("trace.txt:2: 'X' is neither R nor W"));
  EXPECT_THAT(read("1 R\n"), HasSubstr("trace.txt:1:"));
  EXPECT_THAT(read("1 R 0 0\n"), HasSubstr("trace.txt:1:"));
  EXPECT_THAT(read("1 R 0\n\n-1 R 0\n"), HasSubstr("trace.txt:3: '-1' is no cycle"));
  EXPECT_THAT(read("1 R 0xzz\n"), HasSubstr("no hexadecimal address"));
  EXPECT_THAT(read("5 R 0\n4 R 0\n"), HasSubstr("trace.txt:2: cycle 4 comes after 5"));
}

TEST(DramConform, BadConfigurationsGiveFileLineAndRule) {
  const auto read = [](const std::string& text) {
    return error_of([&] { conform::read_dram_config(file_with(text)); });
  };
  EXPECT_THAT(read("standard: DDR4-2400R\nmaping: il\n"),
              HasSubstr(".yaml:2: unknown key 'maping' (did you mean 'mapping'?)"));
  EXPECT_THAT(read("timing:\n  rc: 3x\n"), HasSubstr(".yaml:2: 'timing.rc' cannot be '3x'"));
  EXPECT_THAT(read("timing:\n  rc: 50\n"), HasSubstr("rc must be at least ras + rp"));
  EXPECT_THAT(read("mapping: column,row,bank\n"), HasSubstr("bank_group has 0 bits, the geometry needs 2"));
  EXPECT_THAT(read("standard: [\n"), HasSubstr(".yaml:"));
  EXPECT_THAT(read("scheduler: fifo\n"), HasSubstr(".yaml:1: 'scheduler': no choice 'fifo': fcfs, fr_fcfs"));
  EXPECT_THAT(read("page_policy: shut\n"), HasSubstr("no choice 'shut': adaptive, closed, open"));
  EXPECT_THAT(read("same_bank_refresh: true\n"), HasSubstr("dram.same_bank_refresh: DDR4-2400R has none"));
  EXPECT_THAT(read("size: 4 GiB\n"),
              HasSubstr("dram.size: 4294967296 bytes, but 1 channels x 1 ranks x 4 bank groups"));
  EXPECT_THAT(read("size: 4 GiB\ntiming:\n  rows: 32768\n"), ::testing::StrEq("no error"));
  EXPECT_THAT(read("mapping:\n  column: 6-12\n  bank_group: 12-13\n  bank: [14, 15]\n  row: 16-31\n"),
              HasSubstr("bit 12 belongs to column and to bank_group"));
  EXPECT_THAT(read("mapping:\n  column: 6-12\n  bank_group: 14-15\n  bank: [16, 17]\n  row: 18-33\n"),
              HasSubstr("bit 13 belongs to no field"));
  EXPECT_THAT(read("mapping:\n  column: 6-12\n  bank_group: 13-14\n  bank: [15, 16]\n  row: 17-32\n"),
              ::testing::StrEq("no error"));
  EXPECT_THAT(error_of([] { conform::read_dram_config("/nonexistent.yaml"); }), HasSubstr("cannot be read"));
}

}  // namespace
