// SPDX-License-Identifier: Apache-2.0
// poolsim explore: searches the schedules of a small scenario for what the checker calls a finding.
#include "testbenches/explore/explore.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>

#include "sim/error.h"
#include "testbenches/cli/command.h"
#include "testbenches/explore/mutants.h"

namespace {

struct Options {
  std::string file, strategy, method = "pct", story, resume;
  std::vector<std::string> assignments;
  explore::SearchOptions search;
  std::string markdown;
  bool all = false, no_shrink = false, quiet = false, mutants = false;
};

/// The settings of each story that is to be explored. Without a file, a story brings what it needs.
std::vector<std::vector<std::string>> settings_by_story(const Options& o) {
  std::vector<std::string> stories{o.story};
  if (o.all) {
    stories.clear();
    for (const auto& s : explore::stories()) stories.emplace_back(s.key);
  } else if (o.story.empty() && o.file.empty()) {
    stories = {explore::ExploreConfig{}.story};
    constexpr std::string_view kName = "explore.story=";
    for (const auto& a : o.assignments) {
      if (a.starts_with(kName)) stories = {a.substr(kName.size())};
    }
  }
  std::vector<std::vector<std::string>> all;
  for (const auto& story : stories) {
    std::vector<std::string> settings;
    if (o.all || o.file.empty()) settings = explore::find_story(story).settings;
    settings.insert(settings.end(), o.assignments.begin(), o.assignments.end());
    if (!story.empty()) settings.push_back("explore.story=" + story);
    all.push_back(std::move(settings));
  }
  return all;
}

std::vector<explore::Cell> cells(const Options& o) {
  explore::Cell cell;
  cell.token.file = o.file;
  cell.search = o.search;
  cell.search.method = explore::parse_method(o.method);
  const bool numbered =
      cell.search.method == explore::Method::kRandom || cell.search.method == explore::Method::kPct;
  if (o.search.first != 0 && !numbered) {
    throw sim::Error(
        fmt::format("--first: the schedules of {} are not numbered; random and pct have numbers", o.method));
  }
  cell.shrink = !o.no_shrink;
  cell.quiet = o.quiet;
  std::vector<std::string> strategies{o.strategy};
  if (o.strategy.empty()) {
    strategies.clear();
    for (const auto& s : pagepool::strategies()) strategies.push_back(s.key);
  } else {
    pagepool::find_strategy(o.strategy);
  }
  std::vector<explore::Cell> all;
  for (const auto& settings : settings_by_story(o)) {
    for (const auto& strategy : strategies) {
      all.push_back(cell);
      all.back().token.strategy = strategy;
      all.back().token.settings = settings;
    }
  }
  for (explore::Cell& c : all) {
    c.token = explore::self_contained(c.token);
    c.token.build = explore::build_id();
  }
  return all;
}

using Json = nlohmann::ordered_json;

/// What a result is the result of; an interrupted one may go on.
std::string name_of(const explore::Cell& cell) {
  return fmt::format("{} method={} depth={} budget={} seed={} first={}", explore::to_text(cell.token),
                     explore::to_string(cell.search.method), cell.search.depth, cell.search.budget,
                     cell.search.seed, cell.search.first);
}

/// The file of --resume: one result a line. A line that says more of the same cell replaces the earlier one.
class ResultFile {
 public:
  ResultFile(std::string file, const std::vector<explore::Cell>& work) : file_(std::move(file)) {
    if (file_.empty()) return;
    std::ifstream in(file_);
    std::string line;
    std::uintmax_t whole = 0;  // bytes of complete lines
    for (int number = 1; std::getline(in, line); ++number) {
      if (in.eof()) break;  // its end was never written
      whole += line.size() + 1;
      if (line.empty()) continue;
      Json result = Json::parse(line, nullptr, /*allow_exceptions=*/false);
      if (!result.is_object() || !result["cell"].is_string()) {
        throw sim::Error(file_, number, "this is no result of poolsim explore --resume");
      }
      const std::string cell = result["cell"];
      if (std::none_of(work.begin(), work.end(), [&](const auto& c) { return name_of(c) == cell; })) {
        throw sim::Error(
            file_, number,
            "this is the result of another search (other options, or another build): name a new file");
      }
      results_[cell] = std::move(result);
    }
    out_.open(file_, std::ios::app);
    if (!out_) throw sim::Error(fmt::format("{}: cannot be written", file_));
    if (std::filesystem::file_size(file_) > whole) std::filesystem::resize_file(file_, whole);
  }

  /// Null if the cell has none yet.
  const Json* find(const explore::Cell& cell) const {
    const auto it = results_.find(name_of(cell));
    return it == results_.end() ? nullptr : &it->second;
  }
  void keep(const explore::Cell& cell, Json result) {
    if (file_.empty()) return;
    result["cell"] = name_of(cell);
    out_ << result.dump() << std::endl;
  }

 private:
  std::string file_;
  std::ofstream out_;
  std::map<std::string, Json> results_;
};

/// Runs the cell, or what an interrupted run of it has left to do.
Json run(const explore::Cell& cell, const Json* before) {
  if (before == nullptr) return explore::run_cell(cell);
  if (!(*before)["interrupted"]) return *before;
  const std::optional<explore::Cell> rest = explore::rest_of(cell, *before);
  if (!rest) return explore::run_cell(cell);
  return explore::together(*before, explore::run_cell(*rest));
}

std::string minutes(double seconds) {
  return seconds < 90 ? fmt::format("{:.0f} s", seconds) : fmt::format("{:.0f} min", seconds / 60);
}

int execute(const Options& o, const cli::Context& context) {
  explore::catch_interrupts();
  const auto work = cells(o);
  ResultFile file(o.resume, work);
  std::vector<Json> results;
  const auto begin = std::chrono::steady_clock::now();
  std::size_t ran = 0, left = 0;
  for (const auto& cell : work) {
    const Json* before = file.find(cell);
    left += before == nullptr || (*before)["interrupted"];
  }
  for (std::size_t i = 0; i < work.size() && !explore::interrupted(); ++i) {
    const Json* before = file.find(work[i]);
    results.push_back(run(work[i], before));
    if (before != nullptr && !(*before)["interrupted"]) continue;
    file.keep(work[i], results.back());
    ++ran;
    if (work.size() == 1 || o.quiet) continue;
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    fmt::print(stderr, "{} of {}: {} {}: {}; {} left\n", i + 1, work.size(),
               results.back()["story"].get<std::string>(), work[i].token.strategy,
               explore::verdict(results.back()),
               minutes(seconds / static_cast<double>(ran) * static_cast<double>(left - ran)));
  }
  std::vector<Json> mutants;
  if (o.mutants) mutants = explore::try_mutants(o.search.budget, o.search.seed, o.quiet);
  // Half a matrix is no document.
  if (!o.markdown.empty() && !explore::interrupted()) {
    const std::string command = fmt::format(
        "poolsim explore{}{}{} --method {} --depth {} --budget {} --seed {} --markdown docs/findings.md",
        o.file.empty() ? "" : " " + o.file, o.all ? " --all" : "", o.mutants ? " --mutants" : "", o.method,
        o.search.depth, o.search.budget, o.search.seed);
    std::ofstream(o.markdown) << explore::findings_markdown(command, results, mutants);
  }
  bool found = false;
  for (const auto& r : results) found |= !r["found"].empty();
  if (context.json) {
    Json j = results;
    if (o.mutants) j = {{"results", results}, {"mutants", mutants}};
    std::printf("%s\n", j.dump(2).c_str());
  } else {
    if (results.size() > 1) std::printf("%s\n", explore::matrix(results, context.terminal).c_str());
    if (o.mutants) std::printf("%s\n", explore::mutant_table(mutants, context.terminal).c_str());
    for (const auto& r : results) {
      if (results.size() == 1 || !r["found"].empty()) std::printf("%s\n", explore::report(r).c_str());
    }
  }
  if (explore::interrupted()) return cli::kInterrupted;
  return found ? cli::kFindings : cli::kOk;
}

const cli::Subcommand kExplore(
    "explore", "search the schedules of a small scenario for races",
    [](CLI::App& app, const cli::Context& context) {
      auto o = std::make_shared<Options>();
      app.add_option("scenario", o->file,
                     "scenario file (YAML) with an explore: section; none: the defaults");
      app.add_option("--story", o->story, "what happens, instead of the file's (poolsim list stories)");
      app.add_option("--strategy", o->strategy, "strategy of the page pools; none: every one");
      app.add_option("--method", o->method, "random, pct, preempt, dfs or dpor")->capture_default_str();
      app.add_option("--depth", o->search.depth, "pct: depth of the bug; preempt: most departures")
          ->check(CLI::Range(1, 64))
          ->capture_default_str();
      app.add_option("--budget", o->search.budget, "schedules for each scenario and strategy")
          ->check(CLI::Range(1, 1'000'000'000))
          ->capture_default_str();
      app.add_option("--seed", o->search.seed, "seed of the random methods")->capture_default_str();
      app.add_option("--first", o->search.first, "random, pct: number of the first schedule");
      app.add_option("--set", o->assignments, "a.b=c: set a parameter")->allow_extra_args(false);
      app.add_flag("--all", o->all, "every story")->excludes("--story");
      app.add_flag("--mutants", o->mutants, "also try how many seeded mistakes are found");
      app.add_option("--markdown", o->markdown,
                     "write the matrix, the findings and the mutants to this file");
      app.add_flag("--no-shrink", o->no_shrink, "tell findings by the schedule that led to them");
      app.add_flag("--quiet", o->quiet, "no progress");
      app.add_option("--resume", o->resume, "keep the results in this file, and do not do again what it has");
      app.footer(
          "Exit code 1: findings. Ctrl-C: what was found is told (and kept, with --resume), exit code 130. "
          "The same "
          "command with the same --resume FILE goes on.");
      return [o, &context] { return execute(*o, context); };
    });

const cli::Listing kStories("stories", {"story", "what happens"}, [] {
  cli::Listing::Rows rows;
  for (const auto& s : explore::stories()) rows.push_back({s.key, s.summary});
  return rows;
});

}  // namespace
