// SPDX-License-Identifier: Apache-2.0
// poolsim compare SCENARIO --strategies a,b,c: the same scenario with several strategies, one row each.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <thread>

#include "pagepool/page_pools.h"
#include "sim/error.h"
#include "testbenches/cli/command.h"
#include "testbenches/scenario/compare.h"

namespace {

struct Options {
  std::string file;
  std::vector<std::string> assignments;
  std::vector<std::string> strategies;
  unsigned jobs = 0;
  std::optional<std::uint64_t> seed;
};

int execute(Options o, const cli::Context& context) {
  scenario::RunConfig config;
  if (o.seed) o.assignments.push_back(fmt::format("simulation.seed={}", *o.seed));
  scenario::load(config, o.file, o.assignments);
  if (o.strategies.empty()) {
    for (const auto& s : pagepool::strategies()) o.strategies.push_back(s.key);
  }
  for (const auto& key : o.strategies) pagepool::find_strategy(key);
  const unsigned jobs = o.jobs != 0 ? o.jobs : std::max(1u, std::thread::hardware_concurrency());
  const auto results = scenario::compare(config, o.strategies, jobs);
  if (context.json) {
    nlohmann::ordered_json rows = nlohmann::ordered_json::array();
    for (const auto& r : results) rows.push_back(r.to_json());
    std::printf("%s\n", rows.dump(2).c_str());
  } else {
    std::fputs(scenario::comparison_table(results, context.terminal).c_str(), stdout);
  }
  const bool clean = std::all_of(results.begin(), results.end(), [](const auto& r) { return r.findings.empty(); });
  return clean ? cli::kOk : cli::kFindings;
}

const cli::Subcommand kCompare(
    "compare", "run a scenario with several strategies and compare them",
    [](CLI::App& app, const cli::Context& context) {
      auto o = std::make_shared<Options>();
      app.add_option("scenario", o->file, "scenario file (YAML)")->required();
      app.add_option("--strategies", o->strategies, "strategy keys, separated by commas; default: all")->delimiter(',');
      app.add_option("--set", o->assignments, "a.b=c: set a parameter")->allow_extra_args(false);
      app.add_option("--jobs", o->jobs, "runs at a time; default: one a core");
      app.add_option("--seed", o->seed, "seed of all random streams");
      return [o, &context] { return execute(*o, context); };
    });

const cli::Listing kStrategies("strategies", {"key", "summary"}, [] {
  cli::Listing::Rows rows;
  for (const auto& s : pagepool::strategies()) rows.push_back({s.key, s.summary});
  return rows;
});

}  // namespace
