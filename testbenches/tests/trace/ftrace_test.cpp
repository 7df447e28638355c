// SPDX-License-Identifier: Apache-2.0
// The model's own trace, read like a machine's: it is whole, and its replay comes to what the run said.
#include "testbenches/trace/ftrace.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <regex>
#include <set>

#include "testbenches/replay/ftrace_reader.h"
#include "testbenches/replay/replay.h"
#include "testbenches/scenario/run.h"
#include "testbenches/trace/capture_script.h"

namespace {

std::string temporary(const std::string& name) {
  return ::testing::TempDir() + std::to_string(::getpid()) + "_" + name;
}

struct Run {
  const char *strategy, *device, *dma_mode;
};

/// One run in a process of its own (SystemC elaborates once), with its trace in `path`.
scenario::RunResult traced_run(const Run& r, const std::string& path,
                               const std::string& file = "unbind_short") {
  int channel[2];
  EXPECT_EQ(::pipe(channel), 0);
  if (::fork() == 0) {
    scenario::RunConfig config;
    // With room in the ring: two cores that race for its last place within a microsecond are beyond a trace.
    scenario::load(
        config, POOLSIM_SOURCE_DIR "/testbenches/scenarios/" + file + ".yaml",
        {"nic.driver.pool_size=256", std::string("pool.strategy=") + r.strategy,
         std::string("scenario.device=") + r.device, std::string("kernel.dma_mode=") + r.dma_mode});
    scenario::RunOptions options;
    options.ftrace = path;
    scenario::ScenarioRun run(config, options);
    const std::string text = run.run().to_json().dump();
    ::_exit(::write(channel[1], text.data(), text.size()) == static_cast<ssize_t>(text.size()) ? 0 : 1);
  }
  ::close(channel[1]);
  std::string text;
  char buffer[4096];
  for (ssize_t n; (n = ::read(channel[0], buffer, sizeof buffer)) > 0;)
    text.append(buffer, static_cast<std::size_t>(n));
  int status = 0;
  ::wait(&status);
  EXPECT_EQ(status, 0);
  return scenario::RunResult::from_json(nlohmann::ordered_json::parse(text));
}

void expect_agreement(const Run& r, const std::string& file) {
  const std::string path = temporary("trace.txt");
  const scenario::RunResult run = traced_run(r, path, file);
  replay::ReplayOptions options;
  options.capture = path;
  const replay::Replay result = replay::replay(options);
  EXPECT_TRUE(result.comparison.agree) << result.comparison.first_difference << "\n"
                                       << replay::report_text(result);
  EXPECT_EQ(result.behaviour.strategy.value, r.strategy);
  // The numbers of the run, counted by its checker, are those that the replay predicts.
  std::uint64_t before = 0, inside = 0, after = 0;
  for (const auto& pool : result.model.pools) {
    before += pool.unmap_before_destroy;
    inside += pool.unmap_inside_destroy;
    after += pool.unmap_after_destroy;
  }
  EXPECT_EQ(before, run.unmap_before);
  EXPECT_EQ(inside, run.unmap_inside);
  EXPECT_EQ(after, run.unmap_after);
  EXPECT_EQ(result.model.oops.has_value(), !run.oops.empty());
  std::filesystem::remove(path);
}

/// For the names of tests: without it they hold host pointers.
void PrintTo(const Run& run, std::ostream* out) { *out << run.strategy << ' ' << run.device << ' ' << run.dma_mode; }

class RoundTrip : public ::testing::TestWithParam<Run> {};

TEST_P(RoundTrip, TheReplayOfTheModelsOwnTraceAgreesWithTheRun) {
  expect_agreement(GetParam(), "unbind_short");
}

TEST(RoundTripOfTheMainStory, EndsInTheSameOops) {
  expect_agreement({"stock", "removed", "strict"}, "unbind_outstanding");
}

INSTANTIATE_TEST_SUITE_P(All, RoundTrip, ::testing::ValuesIn([] {
                           std::vector<Run> all;
                           for (const char* strategy : {"stock", "xarray_merged"}) {
                             for (const char* device : {"stays", "removed", "rebound"}) {
                               for (const char* mode : {"strict", "lazy", "passthrough"})
                                 all.push_back({strategy, device, mode});
                             }
                           }
                           return all;
                         }()),
                         [](const auto& info) {
                           return std::string(info.param.strategy) + "_" + info.param.device + "_" +
                                  info.param.dma_mode;
                         });

TEST(Ftrace, ALineIsWhatTheKernelPrints) {
  const std::string path = temporary("lines.txt");
  traced_run({"stock", "stays", "strict"}, path);
  std::ifstream in(path);
  const std::regex line(
      R"( *[^ ].{0,15}-\d+ +\[\d{3}\] [.dDb][.nN][.hs][.0-9][.0-9] +\d+\.\d{6}: [a-z_]+: .*)");
  std::size_t events = 0, wrong = 0;
  double last = 0;
  bool ordered = true;
  std::string counts;
  for (std::string text; std::getline(in, text);) {
    if (text.rfind("# entries-in-buffer", 0) == 0) counts = text;
    if (text[0] == '#') continue;
    ++events;
    if (!std::regex_match(text, line) && wrong++ == 0) ADD_FAILURE() << text;
    const double time = std::stod(text.substr(text.find(']') + 7));
    ordered = ordered && time >= last;
    last = time;
  }
  EXPECT_EQ(wrong, 0u);
  EXPECT_TRUE(ordered);
  EXPECT_GT(events, 1000u);
  const std::string n = std::to_string(events);
  EXPECT_EQ(counts.find("# entries-in-buffer/entries-written: " + n + "/" + n + " "), 0u) << counts;
  EXPECT_NE(counts.find("#P:2"), std::string::npos);
}

/// The fields of an event without what differs from line to line: numbers by how they are printed, who
/// called.
std::string shape(std::string text) {
  static const std::pair<std::regex, const char*> kRules[] = {
      {std::regex(R"(\([^)]*<-[^)]*\))"), "(CALLER <- FUNCTION)"},
      {std::regex(R"(\([^<)]*\))"), "(FUNCTION)"},
      {std::regex(R"([\w.]+\+0x[0-9a-f]+/0x[0-9a-f]+( \[\w+\])?)"), "FUNCTION"},
      {std::regex(R"(reason: \w+)"), "reason: REASON"},
      {std::regex(R"(for device \S+)"), "for device NAME"},
      {std::regex(R"(0x00[0-9a-f]{14}\b)"), "%#018x"},
      {std::regex(R"(0x[0-9a-f]+\b)"), "%#x"},
      {std::regex(R"(\b[0-9a-f]{16}\b)"), "%p"},
      {std::regex(R"(\b\d+\b)"), "%d"}};
  for (const auto& [rule, name] : kRules) text = std::regex_replace(text, rule, name);
  return text;
}

/// By event, the shapes of its first lines.
std::map<std::string, std::set<std::string>> shapes(const std::string& path) {
  constexpr unsigned kEnough = 50;
  std::map<std::string, std::set<std::string>> all;
  std::map<std::string, unsigned> seen;
  replay::FtraceReader reader(path);
  for (replay::TraceEvent event; reader.next(event);) {
    const std::string name(event.name);
    if (name != "tracing_mark_write" && seen[name]++ < kEnough)
      all[name].insert(shape(std::string(event.fields)));
  }
  return all;
}

TEST(Ftrace, EventsHaveTheShapeThatLinux612Printed) {
  const std::string path = temporary("shapes.txt");
  traced_run({"stock", "stays", "strict"}, path);
  const auto model = shapes(path);
  const auto recorded = shapes(POOLSIM_SOURCE_DIR "/testbenches/data/captures/script6.12.117-hold5.txt.gz");
  for (const char* name :
       {"page_pool_state_hold", "page_pool_state_release", "page_pool_release", "map", "unmap", "consume_skb",
        "kfree_skb", "netif_receive_skb", "napi_poll", "pp_create", "pp_destroy", "pp_retry", "pp_put",
        "pp_alloc", "dma_map", "dma_map_ret", "dma_unmap", "drv_probe", "drv_remove"}) {
    ASSERT_TRUE(model.contains(name)) << name;
    ASSERT_TRUE(recorded.contains(name)) << name;
    for (const std::string& one : model.at(name))
      EXPECT_TRUE(recorded.at(name).contains(one)) << name << ": " << one;
  }
  std::filesystem::remove(path);
}

// ---- the script for a real machine

TEST(CaptureScript, TheVersionDecidesTheFunctions) {
  const auto script = [](const char* version) {
    return trace::capture_script(trace::KernelVersion::parse(version));
  };
  EXPECT_NE(script("6.12.26").find("page_pool_put_unrefed_netmem pool=$arg1:x64 netmem=$arg2:x64"),
            std::string::npos);
  EXPECT_NE(script("6.12.26").find("drv=dev->driver:x64"), std::string::npos);
  EXPECT_NE(script("6.1.0-18-amd64").find("page_pool_put_defragged_page pool=$arg1:x64 page=$arg2:x64"),
            std::string::npos);
  EXPECT_EQ(script("6.1.0-18-amd64").find("dev->driver"), std::string::npos);
  EXPECT_NE(script("6.9").find("page_pool_put_unrefed_page"), std::string::npos);
  EXPECT_NE(script("5.15.0").find("page_pool_put_page"), std::string::npos);
}

TEST(CaptureScript, ForASeriesItIsAShellScript) {
  for (const char* version : {"5.15.100", "6.1", "6.6.1", "6.9", "6.12.26", "6.18-rc1"}) {
    const std::string path = temporary("capture.sh");
    std::ofstream(path) << trace::capture_script(trace::KernelVersion::parse(version));
    EXPECT_EQ(std::system(("sh -n " + path).c_str()), 0) << version;
    if (std::system("command -v shellcheck > /dev/null") == 0) {
      EXPECT_EQ(std::system(("shellcheck -s sh -e SC2016 " + path).c_str()), 0) << version;
    }
    EXPECT_NE(std::system(("sh " + path + " -z 2> /dev/null").c_str()), 0);
  }
}

TEST(CaptureScript, WhatIsNoVersionIsRefused) {
  for (const char* text : {"", "6", "6.", "six", "6.12;rm", "6.12.1 x", "5.10.0", "6.12$(x)"}) {
    EXPECT_THROW(trace::KernelVersion::parse(text), sim::Error) << text;
  }
}

}  // namespace
