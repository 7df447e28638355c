// SPDX-License-Identifier: Apache-2.0
// poolsim replay CAPTURE: a real kernel's page_pool, replayed on the model and compared.
// poolsim replay TOKEN: a schedule that explore found, run again to the same finding and digest.
#include "testbenches/replay/replay.h"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <iostream>

#include "testbenches/cli/command.h"
#include "testbenches/explore/explore.h"

namespace {

struct Options {
  replay::ReplayOptions replay;
  std::string strategy;
  std::vector<std::string> assignments;
  std::string vcd;
};

int replay_token(const Options& o, const cli::Context& context) {
  const explore::Token token = explore::read_token(o.replay.capture);
  const explore::Replayed r = explore::replay(token, o.vcd);
  const bool same = token.digest.empty() || token.digest == r.outcome.digest;
  const bool found = token.finding.empty() ? !r.outcome.findings.empty() : r.outcome.has(token.finding);
  if (context.json) {
    nlohmann::ordered_json j = {{"digest", r.outcome.digest}, {"same_digest", same}, {"findings", nlohmann::ordered_json::array()}};
    for (const auto& f : r.outcome.findings) {
      j["findings"].push_back({{"class", f.kind}, {"place", f.place}, {"who", f.who}, {"whom", f.whom}, {"detail", f.detail}});
    }
    std::printf("%s\n", j.dump(2).c_str());
  } else {
    std::printf("%s\ndigest %s\n", r.report.c_str(), r.outcome.digest.c_str());
  }
  if (!same || (!found && !token.finding.empty())) {
    std::fprintf(stderr, "not the same %s as recorded%s\n", found ? "digest" : "finding",
                 token.build == explore::build_id() ? "" : ": the token was made by another build");
    return cli::kNotReproducible;
  }
  return found ? cli::kFindings : cli::kOk;
}

const cli::Subcommand kReplay(
    "replay", "Replay a capture of a real kernel and compare",
    [](CLI::App& app, const cli::Context& context) {
      auto o = std::make_shared<Options>();
      app.add_option("capture", o->replay.capture, "ftrace text, plain or .gz; or a token of poolsim explore, or a file with one")->required();
      app.add_option("--vcd", o->vcd, "token: write a waveform");
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
        if (explore::is_token(o->replay.capture)) return replay_token(*o, context);
        for (const std::string& assignment : o->assignments) replay::assign(o->replay, assignment);
        if (!o->strategy.empty()) o->replay.strategy = o->strategy;
        o->replay.json = context.json;
        const int code = replay::run_replay(o->replay, std::cout, std::cerr);
        std::cout.flush();
        return code;
      };
    });

}  // namespace
