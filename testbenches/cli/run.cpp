// SPDX-License-Identifier: Apache-2.0
// poolsim run SCENARIO: one run with the checker watching; report, waveform.
#include <signal.h>

#include <CLI/CLI.hpp>
#include <charconv>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "sim/error.h"
#include "testbenches/cli/command.h"
#include "testbenches/scenario/run.h"

namespace {

struct Options {
  std::string file;
  std::vector<std::string> assignments;
  std::string strategy;
  scenario::RunOptions run;
  std::string vcd_from, vcd_to, before, after, rx_rate;
  bool every_cycle = false, no_run_ahead = false, dump_pools = false, digest_only = false;
  std::optional<std::uint64_t> seed;
};

scenario::ScenarioRun* running = nullptr;

/// Runs; the first SIGINT or SIGTERM ends the run, with its outputs whole, a second one the process. True: one came.
bool run_interruptible(scenario::ScenarioRun& run, scenario::RunResult& result) {
  static volatile sig_atomic_t came = 0;
  running = &run;
  struct sigaction action {};
  action.sa_handler = [](int) {
    came = 1;
    running->interrupt();
  };
  action.sa_flags = static_cast<int>(SA_RESETHAND);
  struct sigaction before[2];
  ::sigaction(SIGINT, &action, &before[0]);
  ::sigaction(SIGTERM, &action, &before[1]);
  result = run.run();
  ::sigaction(SIGINT, &before[0], nullptr);
  ::sigaction(SIGTERM, &before[1], nullptr);
  return came != 0;
}

int execute(const Options& o, const cli::Context& context) {
  scenario::RunConfig config;
  auto assignments = o.assignments;
  if (o.seed) assignments.push_back(fmt::format("simulation.seed={}", *o.seed));
  if (o.every_cycle) assignments.push_back("simulation.every_cycle=true");
  if (o.no_run_ahead) assignments.push_back("simulation.run_ahead=false");
  if (!o.strategy.empty()) assignments.push_back("pool.strategy=" + o.strategy);
  scenario::load(config, o.file, assignments);
  scenario::RunOptions options = o.run;
  if (!o.vcd_from.empty()) options.vcd_from = platform::parse_quantity(o.vcd_from, platform::Dimension::kTime);
  if (!o.vcd_to.empty()) options.vcd_to = platform::parse_quantity(o.vcd_to, platform::Dimension::kTime);
  if (options.trigger.empty() && (!o.before.empty() || !o.after.empty())) {
    throw sim::Error("--before and --after need a --trigger");
  }
  if (!options.trigger.empty() && options.vcd.empty()) throw sim::Error("--trigger needs a --vcd");
  if (!o.before.empty()) options.trigger_before = platform::parse_quantity(o.before, platform::Dimension::kTime);
  if (!o.after.empty()) options.trigger_after = platform::parse_quantity(o.after, platform::Dimension::kTime);
  if (o.rx_rate == "line") {
    options.rx_line_rate = true;
  } else if (!o.rx_rate.empty()) {
    const char* end = o.rx_rate.data() + o.rx_rate.size();
    const auto [at, error] = std::from_chars(o.rx_rate.data(), end, options.rx_frames_per_second);
    if (error != std::errc{} || at != end || options.rx_frames_per_second == 0) {
      throw sim::Error(fmt::format("--rx-rate: '{}' is neither a number of frames a second nor 'line'", o.rx_rate));
    }
  }

  scenario::ScenarioRun run(config, options);
  scenario::RunResult result;
  const bool interrupted = run_interruptible(run, result);
  if (o.digest_only) {
    std::printf("%s\n", result.digest.c_str());
  } else if (context.json) {
    std::printf("%s\n", run.report_json().dump(2).c_str());
  } else if (o.dump_pools) {
    std::fputs(run.dump_pools().c_str(), stdout);
  } else {
    std::fputs(run.report().c_str(), stdout);
  }
  if (!run.triggered()) {
    std::fprintf(stderr, "%s: the trigger '%s' never came\n", options.vcd.c_str(), options.trigger.c_str());
  }
  if (interrupted) return cli::kInterrupted;
  if (!result.finished && result.oops.empty()) return cli::kInconclusive;
  return result.findings.empty() ? cli::kOk : cli::kFindings;
}

const cli::Subcommand kRun(
    "run", "run a scenario on the machine, with the checker watching", [](CLI::App& app, const cli::Context& context) {
      auto o = std::make_shared<Options>();
      app.add_option("scenario", o->file, "scenario file (YAML)")->required();
      app.add_option("--set", o->assignments, "a.b=c: set a parameter (poolsim config dump lists them)")->allow_extra_args(false);
      app.add_option("--strategy", o->strategy, "strategy of the page pools (poolsim list strategies)");
      app.add_option("--seed", o->seed, "seed of all random streams");
      app.add_option("--vcd", o->run.vcd, "write a waveform (FST if it ends in .fst), and a .gtkw beside it");
      app.add_option("--probes", o->run.vcd_probes, "globs of the probes to record");
      app.add_option("--perfetto", o->run.perfetto, "write a timeline for ui.perfetto.dev (Chrome trace JSON)");
      app.add_option("--ftrace", o->run.ftrace, "write the tracepoints as Linux prints them (poolsim replay reads it)");
      app.add_option("--pcap", o->run.pcap, "write every frame the NIC receives and sends (pcap, nanoseconds)");
      app.add_option("--rx", o->run.rx_pcap, "capture (pcap) that arrives after the steady traffic, with its own timing");
      app.add_option("--rx-rate", o->rx_rate, "frames a second, or 'line', instead of the capture's timing");
      app.add_option("--from", o->vcd_from, "first time recorded, e.g. 20.1ms");
      app.add_option("--to", o->vcd_to, "last time recorded");
      app.add_option("--trigger", o->run.trigger,
                     "waveform only around the first: finding, finding:CLASS (poolsim list findings), oops, unbind");
      app.add_option("--before", o->before, "how much of it from before the trigger (5us)");
      app.add_option("--after", o->after, "and after it (5us)");
      app.add_flag("--every-cycle", o->every_cycle, "tick every module at every edge of its clock");
      app.add_flag("--no-run-ahead", o->no_run_ahead, "step SystemC at each time");
      app.add_flag("--dump-pools", o->dump_pools, "print the pools as netlink would, and who holds their pages, instead of the report");
      app.add_flag("--digest", o->digest_only, "print only the digest of the run");
      return [o, &context] { return execute(*o, context); };
    });

}  // namespace
