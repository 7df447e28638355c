// SPDX-License-Identifier: Apache-2.0
// poolsim objections: each objection that was raised against a strategy, as a run of its scenario, with the
// numbers that show it or refute it; Markdown on stdout (docs/objections.md is made so).
#include "testbenches/scenario/objections.h"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <thread>

#include "sim/error.h"
#include "testbenches/cli/command.h"

namespace {

struct Options {
  std::string folder = "testbenches/scenarios";
  std::vector<std::string> only;
  unsigned jobs = 0;
};

/// "model name" of the first processor, and how many there are.
std::string machine() {
  std::ifstream in("/proc/cpuinfo");
  std::string model = "unknown processor";
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with("model name") && line.find(':') != std::string::npos) {
      model = line.substr(line.find(':') + 2);
      break;
    }
  }
  return fmt::format("{} hardware threads, {}", std::thread::hardware_concurrency(), model);
}

std::string today() {
  char text[32];
  const std::time_t now = std::time(nullptr);
  std::strftime(text, sizeof text, "%Y-%m-%d", std::gmtime(&now));
  return text;
}

int execute(const Options& o, const cli::Context& context) {
  const unsigned jobs = o.jobs != 0 ? o.jobs : std::max(1u, std::thread::hardware_concurrency());
  const auto answers = scenario::answer_objections(
      o.folder, o.only, jobs,
      [](std::size_t ended, std::size_t all) { std::fprintf(stderr, "%zu of %zu runs\n", ended, all); });
  if (context.json) {
    std::printf("%s\n", scenario::objections_json(answers).c_str());
  } else {
    std::fputs(scenario::objections_markdown(answers, machine(), today()).c_str(), stdout);
  }
  return cli::kOk;
}

const cli::Subcommand kObjections(
    "objections", "run the scenario of each objection of the thread; numbers that show or refute it",
    [](CLI::App& app, const cli::Context& context) {
      auto o = std::make_shared<Options>();
      app.add_option("--folder", o->folder, "where the scenarios are")->capture_default_str();
      app.add_option("--only", o->only, "keys of objections, separated by commas; default: all")
          ->delimiter(',');
      app.add_option("--jobs", o->jobs, "runs at a time; default: one a core");
      return [o, &context] { return execute(*o, context); };
    });

}  // namespace
