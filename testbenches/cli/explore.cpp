// SPDX-License-Identifier: Apache-2.0
// poolsim explore: searches the schedules of a small scenario for what the checker calls a finding.
#include "testbenches/explore/explore.h"
#include "testbenches/explore/mutants.h"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <fstream>

#include "sim/error.h"
#include "testbenches/cli/command.h"

namespace {

struct Options {
  std::string file, strategy, method = "pct", story, resume;
  std::vector<std::string> assignments;
  explore::SearchOptions search;
  std::string markdown;
  bool all = false, no_shrink = false, quiet = false, mutants = false;
};

std::vector<explore::Cell> cells(const Options& o) {
  explore::Cell cell;
  cell.token.file = o.file;
  cell.token.settings = o.assignments;
  if (!o.story.empty()) cell.token.settings.push_back("explore.story=" + o.story);
  cell.search = o.search;
  cell.search.method = explore::parse_method(o.method);
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
  std::vector<std::string> stories{""};
  if (o.all) {
    stories.clear();
    for (const auto& s : explore::stories()) stories.emplace_back(s.key);
  }
  for (const auto& story : stories) {
    for (const auto& strategy : strategies) {
      all.push_back(cell);
      all.back().token.strategy = strategy;
      if (story.empty()) continue;
      auto settings = explore::find_story(story).settings;
      settings.insert(settings.end(), o.assignments.begin(), o.assignments.end());
      settings.push_back("explore.story=" + story);
      all.back().token.settings = settings;
    }
  }
  return all;
}

/// Results that an earlier, interrupted run left.
std::vector<nlohmann::ordered_json> earlier(const std::string& file) {
  std::vector<nlohmann::ordered_json> results;
  std::ifstream in(file);
  for (std::string line; std::getline(in, line);) {
    if (!line.empty()) results.push_back(nlohmann::ordered_json::parse(line));
  }
  return results;
}

int execute(const Options& o, const cli::Context& context) {
  explore::catch_interrupts();
  std::vector<nlohmann::ordered_json> results;
  if (!o.resume.empty()) results = earlier(o.resume);
  const auto work = cells(o);
  const std::size_t known = results.size();
  for (std::size_t i = known; i < work.size() && !explore::interrupted(); ++i) {
    results.push_back(explore::run_cell(work[i]));
    if (!o.resume.empty() && !results.back()["interrupted"]) std::ofstream(o.resume, std::ios::app) << results.back().dump() << '\n';
    if (work.size() > 1 && !o.quiet) {
      std::fprintf(stderr, "%zu of %zu: %s %s: %s\n", i + 1, work.size(),
                   results.back()["story"].get<std::string>().c_str(), work[i].token.strategy.c_str(),
                   explore::verdict(results.back()).c_str());
    }
  }
  std::vector<nlohmann::ordered_json> mutants;
  if (o.mutants) mutants = explore::try_mutants(o.search.budget, o.search.seed, o.quiet);
  if (!o.markdown.empty()) {
    const std::string command =
        fmt::format("poolsim explore{}{}{} --method {} --depth {} --budget {} --seed {} --markdown docs/findings.md",
                    o.file.empty() ? "" : " " + o.file, o.all ? " --all" : "", o.mutants ? " --mutants" : "", o.method,
                    o.search.depth, o.search.budget, o.search.seed);
    std::ofstream(o.markdown) << explore::findings_markdown(command, results, mutants);
  }
  bool found = false;
  for (const auto& r : results) found |= !r["found"].empty();
  if (context.json) {
    nlohmann::ordered_json j = results;
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
    "explore", "search the schedules of a small scenario for races", [](CLI::App& app, const cli::Context& context) {
      auto o = std::make_shared<Options>();
      app.add_option("scenario", o->file, "scenario file (YAML) with an explore: section; none: the defaults");
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
      app.add_flag("--all", o->all, "every story");
      app.add_flag("--mutants", o->mutants, "also try how many seeded mistakes are found");
      app.add_option("--markdown", o->markdown, "write the matrix, the findings and the mutants to this file");
      app.add_flag("--no-shrink", o->no_shrink, "tell findings by the schedule that led to them");
      app.add_flag("--quiet", o->quiet, "no progress");
      app.add_option("--resume", o->resume, "keep the results in this file, and do not do again what it has");
      app.footer("Exit code 1: findings. Ctrl-C: what was found is told, exit code 130.");
      return [o, &context] { return execute(*o, context); };
    });

const cli::Listing kStories("stories", {"story", "what happens"}, [] {
  cli::Listing::Rows rows;
  for (const auto& s : explore::stories()) rows.push_back({s.key, s.summary});
  return rows;
});

}  // namespace
