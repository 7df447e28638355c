// SPDX-License-Identifier: Apache-2.0
#include "testbenches/scenario/compare.h"

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>

#include "pagepool/page_pools.h"
#include "sim/error.h"

namespace scenario {
namespace {

using Json = nlohmann::ordered_json;

/// Every allocation from the n-th on fails.
constexpr const char* kForEver = "pool.fail_track_times=18446744073709551615";

std::string run_text(const RunConfig& config, const RunOptions& options = {}) {
  ScenarioRun run(config, options);
  return run.run().to_json().dump();
}

RunConfig configure(const std::string& file, const CompareRequest& request, const std::string& mode,
                    const std::string& strategy, std::vector<std::string> more = {}) {
  std::vector<std::string> assignments = request.assignments;
  const auto plus = mode.find('+');
  assignments.push_back("kernel.dma_mode=" + mode.substr(0, plus));
  if (plus != std::string::npos) {
    if (mode.substr(plus) != "+debug")
      throw sim::Error(fmt::format("mode '{}': only +debug may be added", mode));
    assignments.push_back("kernel.dma_debug=true");
  }
  assignments.push_back("pool.strategy=" + strategy);
  assignments.insert(assignments.end(), more.begin(), more.end());
  RunConfig config;
  load(config, file, assignments);
  return config;
}

/// The task that fills `into` with what `work` gives.
template <class Result>
ProcessTask task(std::string name, std::optional<Result>& into, std::string& error,
                 std::function<std::string()> work) {
  return {name, std::move(work),
          [&into](const std::string& text) { into = Result::from_json(Json::parse(text)); },
          [&error, name](const std::string& why) {
            error += fmt::format("{}{}: {}", error.empty() ? "" : "; ", name, why);
          }};
}

ProcessTask run_task(std::string name, std::optional<RunResult>& into, std::string& error, RunConfig config) {
  return task(std::move(name), into, error, [config = std::move(config)] { return run_text(config); });
}

void add_cost_tasks(std::vector<ProcessTask>& tasks, CompareCosts& c, const CompareRequest& request) {
  const std::string& file = request.files.front();
  const auto with = [&](std::vector<std::string> more) {
    return configure(file, request, c.mode, c.strategy, std::move(more));
  };
  const std::uint64_t pages = request.in_flight / sim::kPageSize;
  tasks.push_back(task("costs", c.probe, c.error,
                       [config = with({}), pages] { return probe(config, pages).to_json().dump(); }));
  tasks.push_back(run_task("re-bind", c.rebind, c.error, with({"scenario.device=rebound"})));
  tasks.push_back(run_task("no memory", c.no_memory, c.error, with({"pool.fail_track_nth=1", kForEver})));
  tasks.push_back(
      run_task("short of memory", c.short_of_memory, c.error, with({"pool.fail_track_nth=5", kForEver})));
}

void resolve(CompareRequest& request, Comparison& c) {
  if (request.files.empty()) throw sim::Error("compare needs a scenario file");
  if (request.strategies.empty()) {
    for (const auto& s : pagepool::strategies()) request.strategies.push_back(s.key);
  }
  for (const auto& key : request.strategies) pagepool::find_strategy(key);
  if (request.modes.empty()) {
    RunConfig config;
    platform::ParameterSet set;
    register_all(set, config);
    load(config, request.files.front(), request.assignments);
    request.modes.push_back(set.find("kernel.dma_mode")->text());
  }
  c.modes = request.modes;
  c.strategies = request.strategies;
  for (const auto& file : request.files) {
    c.scenarios.push_back(configure(file, request, c.modes.front(), c.strategies.front()).scenario.name);
  }
}

}  // namespace

std::vector<RunResult> run_jobs(const std::vector<Job>& jobs, unsigned at_a_time) {
  std::vector<std::optional<RunResult>> results(jobs.size());
  std::string error;
  std::vector<ProcessTask> tasks;
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    tasks.push_back(task("strategy " + jobs[i].config.machine.pool.strategy, results[i], error,
                         [&job = jobs[i]] { return run_text(job.config, job.options); }));
  }
  run_processes(tasks, at_a_time);
  if (!error.empty()) throw sim::ModelError(error);
  std::vector<RunResult> all;
  for (auto& r : results) all.push_back(std::move(*r));
  return all;
}

std::vector<RunResult> compare(const RunConfig& config, const std::vector<std::string>& strategies,
                               unsigned at_a_time) {
  std::vector<Job> jobs;
  for (const auto& key : strategies) {
    jobs.push_back({config, {}});
    jobs.back().config.machine.pool.strategy = key;
  }
  return run_jobs(jobs, at_a_time);
}

Comparison compare(const CompareRequest& asked, const Progress& progress, const volatile bool* stop) {
  CompareRequest request = asked;
  Comparison c;
  resolve(request, c);
  const auto begin = std::chrono::steady_clock::now();
  for (const auto& scenario : c.scenarios)
    for (const auto& mode : c.modes)
      for (const auto& strategy : c.strategies) c.cells.push_back({scenario, mode, strategy, {}, {}});
  if (request.costs) {
    for (const auto& mode : c.modes)
      for (const auto& strategy : c.strategies) c.costs.push_back({mode, strategy, {}, {}, {}, {}, {}, {}});
  }
  std::vector<ProcessTask> tasks;
  std::size_t next = 0;
  for (const auto& file : request.files) {
    for (const auto& mode : c.modes) {
      for (const auto& strategy : c.strategies) {
        CompareCell& cell = c.cells[next++];
        tasks.push_back(run_task("run", cell.run, cell.error, configure(file, request, mode, strategy)));
      }
    }
  }
  for (CompareCosts& costs : c.costs) add_cost_tasks(tasks, costs, request);
  c.complete = run_processes(tasks, request.jobs, progress, stop);
  for (CompareCosts& costs : c.costs) {
    const CompareCell* usual = c.cell(c.scenarios.front(), costs.mode, costs.strategy);
    if (usual->run) costs.usual_findings = usual->run->findings_text();
  }
  c.wall_seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return c;
}

const CompareCell* Comparison::cell(const std::string& scenario, const std::string& mode,
                                    const std::string& strategy) const {
  const auto at = std::ranges::find_if(cells, [&](const CompareCell& x) {
    return x.scenario == scenario && x.mode == mode && x.strategy == strategy;
  });
  return at != cells.end() ? &*at : nullptr;
}

const CompareCosts* Comparison::cost(const std::string& mode, const std::string& strategy) const {
  const auto at = std::ranges::find_if(
      costs, [&](const CompareCosts& x) { return x.mode == mode && x.strategy == strategy; });
  return at != costs.end() ? &*at : nullptr;
}

bool Comparison::clean() const {
  return std::ranges::all_of(cells, [](const CompareCell& x) { return x.run && x.run->findings.empty(); });
}

}  // namespace scenario
