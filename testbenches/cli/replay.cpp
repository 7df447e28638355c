// SPDX-License-Identifier: Apache-2.0
// poolsim replay CAPTURE: a real kernel's page_pool, replayed on the model and compared.
#include "testbenches/replay/replay.h"

#include <CLI/CLI.hpp>
#include <iostream>

#include "testbenches/cli/command.h"

namespace {

struct Options {
  replay::ReplayOptions replay;
  std::string strategy;
  std::vector<std::string> assignments;
};

const cli::Subcommand kReplay(
    "replay", "Replay a capture of a real kernel and compare",
    [](CLI::App& app, const cli::Context& context) {
      auto o = std::make_shared<Options>();
      app.add_option("capture", o->replay.capture, "ftrace text, plain or .gz")->required();
      app.add_option("--strategy", o->strategy,
                     "Another strategy than the recorded kernel's: what would have happened");
      app.add_option("--set", o->assignments,
                     "a.b=c instead of what the capture suggests: pool.size, pool.release_period_ms, "
                     "kernel.dma_mode, "
                     "kernel.clear_dma_ops_on_unbind, kernel.clear_dma_ops_on_release, "
                     "kernel.replace_domain_on_rebind")
          ->allow_extra_args(false);
      app.footer("Exit code 1: model and capture differ; the first event where they part is on stderr.");
      return [o, &context]() -> int {
        for (const std::string& assignment : o->assignments) replay::assign(o->replay, assignment);
        if (!o->strategy.empty()) o->replay.strategy = o->strategy;
        o->replay.json = context.json;
        const int code = replay::run_replay(o->replay, std::cout, std::cerr);
        std::cout.flush();
        return code;
      };
    });

}  // namespace
