// SPDX-License-Identifier: Apache-2.0
// poolsim shrink: the same class of finding with fewer departures, pages, packets and cores.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <fstream>

#include "sim/error.h"
#include "testbenches/cli/command.h"
#include "testbenches/explore/explore.h"

namespace {

struct Options {
  std::string token, output;
  std::uint64_t budget = 2000;
};

int execute(const Options& o, const cli::Context& context) {
  explore::catch_interrupts();
  const explore::Token token = explore::read_token(o.token);
  if (token.finding.empty()) throw sim::Error("shrink: the token names no finding=");
  const explore::Shrunk shrunk = explore::shrink_token(token, o.budget);
  if (!shrunk.reproduced) {
    std::fprintf(stderr, "%s does not happen with this token in this build\n", token.finding.c_str());
    return cli::kNotReproducible;
  }
  const std::string line = explore::to_text(shrunk.token);
  const std::string text =
      fmt::format("# {}: {} departure{} from the natural order (was {}), {} runs\n{}\n", token.finding,
                  shrunk.token.schedule.size(), shrunk.token.schedule.size() == 1 ? "" : "s",
                  token.schedule.size(), shrunk.runs, line);
  if (!o.output.empty()) {
    std::ofstream out(o.output);
    out << "# poolsim replay this file: scenario and schedule are one line.\n" << text;
    if (!out.flush()) throw sim::Error(fmt::format("{}: cannot be written", o.output));
  }
  if (context.json) {
    const nlohmann::ordered_json j = {{"token", line},
                                      {"departures", shrunk.token.schedule.size()},
                                      {"before", token.schedule.size()},
                                      {"runs", shrunk.runs}};
    std::printf("%s\n", j.dump(2).c_str());
  } else {
    fmt::print("{}", text);
  }
  return explore::interrupted() ? cli::kInterrupted : cli::kOk;
}

const cli::Subcommand kShrink(
    "shrink", "make the schedule of a finding short", [](CLI::App& app, const cli::Context& context) {
      auto o = std::make_shared<Options>();
      app.add_option("token", o->token, "the line that explore printed, or a file that holds it")->required();
      app.add_option("-o,--output", o->output, "also write the result to this file");
      app.add_option("--budget", o->budget, "most runs for each size that is tried")
          ->check(CLI::Range(1, 1'000'000'000))
          ->capture_default_str();
      app.footer("The output is a file that poolsim replay runs.");
      return [o, &context] { return execute(*o, context); };
    });

}  // namespace
