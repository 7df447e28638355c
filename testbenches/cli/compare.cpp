// SPDX-License-Identifier: Apache-2.0
// poolsim compare SCENARIO...: the same scenarios with several strategies and DMA API modes, a row each.
#include "testbenches/scenario/compare.h"

#include <CLI/CLI.hpp>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "pagepool/page_pools.h"
#include "sim/error.h"
#include "testbenches/cli/command.h"

namespace {

struct Options {
  scenario::CompareRequest request;
  std::string html, csv, in_flight;
  unsigned jobs = 0;
  bool quick = false;
  std::optional<std::uint64_t> seed;
};

volatile bool interrupted = false;

void write_file(const std::string& path, const std::string& text) {
  std::ofstream out(path, std::ios::binary);
  out << text;
  if (!out.flush()) throw sim::Error(fmt::format("{}: cannot be written", path));
}

std::string command_line(const Options& o) {
  std::string text = "poolsim compare " + fmt::format("{}", fmt::join(o.request.files, " "));
  if (!o.request.strategies.empty())
    text += fmt::format(" --strategies {}", fmt::join(o.request.strategies, ","));
  if (!o.request.modes.empty()) text += fmt::format(" --modes {}", fmt::join(o.request.modes, ","));
  for (const auto& a : o.request.assignments) text += " --set " + a;
  if (o.quick) text += " --quick";
  if (!o.in_flight.empty()) text += " --in-flight " + o.in_flight;
  return text;
}

/// Runs ended, rate, and when the rest will be, on stderr; over itself on a terminal, else now and then.
scenario::Progress progress() {
  const auto begin = std::chrono::steady_clock::now();
  return [begin, last = -1.0](std::size_t ended, std::size_t all) mutable {
    const double s = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    const bool terminal = ::isatty(2) != 0;
    if (ended != all && s - last < (terminal ? 0.1 : 5.0)) return;
    last = s;
    const double rate = static_cast<double>(ended) / std::max(s, 1e-3);
    std::fprintf(stderr, "%s%zu of %zu runs, %.1f a second, %.0f s to go%s", terminal ? "\r" : "", ended, all,
                 rate, static_cast<double>(all - ended) / rate, !terminal || ended == all ? "\n" : "   ");
    std::fflush(stderr);
  };
}

int execute(Options o, const cli::Context& context) {
  o.request.jobs = o.jobs != 0 ? o.jobs : std::max(1u, std::thread::hardware_concurrency());
  o.request.costs = !o.quick;
  const std::string command = command_line(o);
  if (o.seed) o.request.assignments.push_back(fmt::format("simulation.seed={}", *o.seed));
  if (!o.in_flight.empty()) {
    o.request.in_flight = platform::parse_quantity(o.in_flight, platform::Dimension::kSize);
    if (o.request.in_flight < sim::kPageSize || o.request.in_flight > std::uint64_t{1} << 40)
      throw sim::Error(fmt::format("--in-flight {}: not in 4 KiB..1 TiB", o.in_flight));
  }
  struct sigaction action {
  }, before{};
  action.sa_handler = [](int) { interrupted = true; };
  ::sigaction(SIGINT, &action, &before);
  scenario::Comparison result = scenario::compare(o.request, progress(), &interrupted);
  ::sigaction(SIGINT, &before, nullptr);
  result.command = command;
  if (!o.csv.empty()) write_file(o.csv, scenario::comparison_csv(result));
  if (!o.html.empty()) write_file(o.html, scenario::comparison_html(result));
  if (context.json) {
    std::printf("%s\n", scenario::comparison_json(result).dump(2).c_str());
  } else {
    std::fputs(scenario::comparison_text(result, context.terminal).c_str(), stdout);
  }
  if (!result.complete) return cli::kInterrupted;
  return result.clean() ? cli::kOk : cli::kFindings;
}

const cli::Subcommand kCompare(
    "compare", "run scenarios with several strategies and DMA modes and compare them",
    [](CLI::App& app, const cli::Context& context) {
      auto o = std::make_shared<Options>();
      app.add_option("scenario", o->request.files, "scenario files (YAML)")->required();
      app.add_option("--strategies", o->request.strategies,
                     "strategy keys, separated by commas; default: all")
          ->delimiter(',');
      app.add_option(
             "--modes", o->request.modes,
             "values of kernel.dma_mode, separated by commas, +debug adds dma-debug; default: the scenario's")
          ->delimiter(',');
      app.add_option("--set", o->request.assignments, "a.b=c: set a parameter")->allow_extra_args(false);
      app.add_option("--csv", o->csv, "write all figures, a line for each run");
      app.add_option("--html", o->html, "write one self-contained page");
      app.add_flag("--quick", o->quick,
                   "only the scenarios: no costs, limits, re-binding, failing allocations");
      app.add_option("--in-flight", o->in_flight, "memory in flight of the cost runs; default 1GiB");
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
