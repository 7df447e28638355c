// SPDX-License-Identifier: Apache-2.0
// poolsim explore, shrink and replay as people type them.
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "pagepool/page_pools.h"
#include "testbenches/explore/explore.h"
#include "testbenches/tests/cli/run.h"
#include "testbenches/tests/sanitizers.h"

namespace {

using cli_test::Outcome;
using cli_test::run;
using Json = nlohmann::ordered_json;

/// A file of this test's own, which is not there yet: others run at the same time. Gone when the process
/// ends.
std::string file_in_temp(const std::string& name) {
  static const struct Directory {
    std::filesystem::path path =
        std::filesystem::temp_directory_path() / fmt::format("poolsim_explore_command_{}", ::getpid());
    pid_t owner = ::getpid();
    Directory() { std::filesystem::create_directories(path); }
    ~Directory() {
      if (::getpid() == owner) std::filesystem::remove_all(path);
    }
  } directory;
  return (directory.path / name).string();
}

std::vector<std::string> lines_of(const std::string& file) {
  std::vector<std::string> lines;
  std::ifstream in(file);
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

std::string setting_of(const explore::Token& token, const std::string& name) {
  for (const std::string& s : token.settings) {
    if (s.starts_with(name + "=")) return s.substr(name.size() + 1);
  }
  return "";
}

TEST(ExploreCommand, NonsenseGetsTheNearestRightWord) {
  const struct {
    std::vector<std::string> words;
    const char* message;
  } cases[] = {
      {{"--story", "return_vs_destory"}, "did you mean 'return_vs_destroy'?"},
      {{"--strategy", "xarray_mergd"}, "did you mean 'xarray_merged'?"},
      {{"--strategy", "scan", "--method", "pcd"}, "did you mean 'pct'?"},
      {{"--strategy", "scan", "--budget", "0"}, "--budget"},
      {{"--strategy", "scan", "--depth", "0"}, "--depth"},
      {{"--strategy", "scan", "--method", "dfs", "--first", "3"}, "--first"},
      {{"--strategy", "scan", "--set", "explore.pags=2"}, "explore.pages"},
      {{"--all", "--story", "last_page"}, "--story"},
      {{"/nonexistent.yaml", "--strategy", "scan"}, "/nonexistent.yaml"},
      {{"--story", "last_page", "--strategy", "scan", "--budget", "1", "--resume", "/nonexistent/file"},
       "/nonexistent/file"},
  };
  for (const auto& c : cases) {
    auto words = c.words;
    words.insert(words.begin(), "explore");
    const Outcome o = run(words);
    EXPECT_EQ(o.code, cli::kUsage) << c.message;
    EXPECT_NE(o.err.find(c.message), std::string::npos) << o.err;
    EXPECT_EQ(std::ranges::count(o.err, '\n'), 1) << o.err;
    EXPECT_EQ(o.out, "");
  }
}

TEST(ExploreCommand, TokensThatAreNoneAreNamed) {
  EXPECT_EQ(run({"shrink", "/nonexistent.token"}).code, cli::kUsage);
  EXPECT_EQ(run({"shrink", "poolsim:1 strategy=scan schedule=natural build=x"}).code,
            cli::kUsage);  // of what?
  EXPECT_EQ(run({"replay", "poolsim:1 strategy=scan schedule=0.x>1 build=x"}).code, cli::kUsage);
  EXPECT_EQ(run({"replay", "poolsim:1 strategi=scan schedule=natural build=x"}).code, cli::kUsage);
}

/// Explores one cell; the token of its first finding of the class that the natural order does not have.
std::string find(const std::string& story, const std::string& strategy, const std::string& kind,
                 const std::vector<std::string>& more) {
  std::vector<std::string> words{"explore", "--story", story,     "--strategy",
                                 strategy,  "--json",  "--quiet", "--no-shrink"};
  words.insert(words.end(), more.begin(), more.end());
  const Outcome o = run(words);
  EXPECT_EQ(o.code, cli::kFindings) << o.err;
  const Json found = Json::parse(o.out)[0]["found"];
  for (const Json& f : found) {
    if (f["class"] == kind && f["departures"] != 0) return f["token"];
  }
  ADD_FAILURE() << "no " << kind << " in " << o.out;
  return "";
}

/// The file that shrink writes leads to the same class by the same digest, in another process, from any
/// directory.
void shrinks_and_replays(const std::string& token, const std::string& parameter, const std::string& least) {
  const std::string file = file_in_temp("shrunk.token");
  const Outcome shrunk = run({"shrink", token, "--output", file, "--budget", "300"});
  ASSERT_EQ(shrunk.code, cli::kOk) << shrunk.err;
  const explore::Token before = explore::read_token(token), after = explore::read_token(file);
  EXPECT_EQ(after.finding, before.finding);
  EXPECT_LE(after.schedule.size(), before.schedule.size());
  EXPECT_LE(after.schedule.size(), 3u);
  EXPECT_EQ(setting_of(after, parameter), least);
  EXPECT_EQ(after.file, "");
  const Outcome replayed = run({"replay", file, "--json"});
  EXPECT_EQ(replayed.code, cli::kFindings) << replayed.err;
  const Json j = Json::parse(replayed.out);
  EXPECT_EQ(j["digest"], after.digest);
  EXPECT_TRUE(std::ranges::any_of(j["findings"], [&](const Json& f) { return f["class"] == after.finding; }));
  // The line alone does it, too.
  EXPECT_EQ(run({"replay", lines_of(file).back()}).code, cli::kFindings);
}

TEST(ExploreCommand, AFindingShrinksToFewerPagesAndReplays) {
  shrinks_and_replays(
      find("return_vs_destroy", "destroy_flag", "double_unmap",
           {"--method", "preempt", "--depth", "1", "--budget", "150", "--set", "explore.pages=3"}),
      "explore.pages", "1");
}

TEST(ExploreCommand, AFindingShrinksToFewerPacketsAndReplays) {
  shrinks_and_replays(
      find("unbind_vs_napi_poll", "stock", "late_unmap",
           {"--method", "preempt", "--depth", "1", "--budget", "150", "--set", "explore.packets=3"}),
      "explore.packets", "1");
}

const std::vector<std::string> kCells{"explore", "--story", "last_page",       "--method",
                                      "random",  "--set",   "explore.pages=1", "--no-shrink"};

std::vector<std::string> with(std::vector<std::string> words, const std::vector<std::string>& more) {
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

TEST(ExploreCommand, ResumeDoesNothingTwice) {
  const std::string file = file_in_temp("resume.jsonl");
  const auto words = with(kCells, {"--budget", "2", "--resume", file});
  const Outcome first = run(words);
  const std::size_t cells = pagepool::strategies().size();
  auto lines = lines_of(file);
  ASSERT_EQ(lines.size(), cells);
  EXPECT_NE(first.err.find(fmt::format("{} of {}", cells, cells)), std::string::npos) << first.err;

  const Outcome again = run(words);
  EXPECT_EQ(again.out, first.out);
  EXPECT_EQ(again.code, first.code);
  EXPECT_EQ(again.err, "");
  EXPECT_EQ(lines_of(file), lines);

  // Cut off in the middle of the last line: only that cell runs again.
  {
    std::ofstream torn(file);
    for (std::size_t i = 0; i + 1 < cells; ++i) torn << lines[i] << '\n';
    torn << lines.back().substr(0, 40);
  }
  const Outcome third = run(words);
  EXPECT_EQ(third.code, first.code);
  EXPECT_EQ(std::ranges::count(third.err, '\n'), 1) << third.err;
  EXPECT_EQ(run(words).err, "");
  EXPECT_EQ(lines_of(file).size(), cells);

  const Outcome other = run(with(kCells, {"--budget", "3", "--resume", file}));
  EXPECT_EQ(other.code, cli::kUsage);
  EXPECT_NE(other.err.find(file + ":1: "), std::string::npos) << other.err;
  std::ofstream(file) << "hello\n";
  EXPECT_EQ(run(words).code, cli::kUsage);
}

TEST(ExploreCommand, AnInterruptedCellGoesOnWhereItWas) {
  const std::string file = file_in_temp("rest.jsonl");
  const auto words = with(kCells, {"--strategy", "stock", "--budget", "12", "--resume", file, "--json"});
  const Outcome whole = run(words);
  Json half = Json::parse(lines_of(file).front());
  // As if it had been stopped after five.
  half["schedules"] = 5;
  half["interrupted"] = true;
  half["found"] = Json::array();
  std::ofstream(file) << half.dump() << '\n';
  const Outcome rest = run(words);
  const Json a = Json::parse(whole.out)[0], b = Json::parse(rest.out)[0];
  EXPECT_EQ(b["schedules"], 12);
  EXPECT_EQ(b["interrupted"], false);
  EXPECT_EQ(b["found"].size(), a["found"].size());
  const Json kept = Json::parse(lines_of(file).back());
  EXPECT_EQ(kept["schedules"], 12);
  EXPECT_EQ(Json::parse(run(words).out)[0]["schedules"], 12);
}

TEST(ExploreCommand, CtrlCTellsAndKeepsWhatWasFound) {
  const std::string file = file_in_temp("interrupted.jsonl");
  // The 20th schedule, which another process runs, interrupts this one.
  auto* runs = static_cast<std::atomic<unsigned>*>(::mmap(
      nullptr, sizeof(std::atomic<unsigned>), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  ASSERT_NE(static_cast<void*>(runs), MAP_FAILED);
  explore::Story story = explore::find_story("last_page");
  story.key = "interrupts";
  const auto racers = story.racers;
  const pid_t us = ::getpid();
  story.racers = [racers, runs, us](explore::Stage& s) {
    auto all = racers(s);
    const auto body = all.front().body;
    all.front().body = [body, runs, us] {
      if (++*runs == 20) ::kill(us, SIGINT);
      body();
    };
    return all;
  };
  explore::add_story(story);
  const Outcome o = run({"explore", "--story", "interrupts", "--strategy", "stock", "--method", "random",
                         "--budget", "1000000000", "--resume", file});
  EXPECT_EQ(o.code, cli::kInterrupted);
  EXPECT_NE(o.out.find("late_unmap"), std::string::npos) << o.out;  // what stock does in any order
  EXPECT_NE(o.out.find("interrupted; --first"), std::string::npos) << o.out;
  for (const char* part : {" of 1000000000 schedules, ", " different runs, ", "/s, ", " left at most"}) {
    EXPECT_NE(o.err.find(part), std::string::npos) << o.err;
  }
  const Json kept = Json::parse(lines_of(file).at(0));
  EXPECT_EQ(kept["interrupted"], true);
  EXPECT_FALSE(kept["found"].empty());
}

TEST(ExploreCommand, MemoryDoesNotGrowWithTheBudget) {
  if (sanitizers::kAddress) GTEST_SKIP() << "it keeps what was freed";
  const auto most = [](const char* budget) {
    run({"explore", "--story", "last_page", "--strategy", "scan", "--method", "random", "--quiet", "--budget",
         budget});
    rusage use{};
    ::getrusage(RUSAGE_CHILDREN, &use);
    return use.ru_maxrss;  // KiB, the most of any child so far
  };
  const auto few = most("50");
  EXPECT_LE(most("500"), few + 1024);
}

TEST(ExploreCommand, EveryStoryIsListed) {
  const Json rows = Json::parse(run({"list", "stories", "--json"}).out);
  EXPECT_EQ(rows.size(), explore::stories().size());
  for (const char* story : {"unbind_vs_napi_poll", "flr_vs_dma", "flush_timer_vs_reuse"}) {
    EXPECT_TRUE(std::ranges::any_of(rows, [&](const Json& row) { return row["story"] == story; })) << story;
  }
}

}  // namespace
