// SPDX-License-Identifier: Apache-2.0
// poolsim replay CAPTURE: a real kernel's page_pool, replayed on the model and compared.
// poolsim replay TOKEN: a schedule that explore found, run again to the same finding and digest.
#include "testbenches/replay/replay.h"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <iostream>

#include "testbenches/campaign/replay.h"
#include "sim/error.h"
#include "testbenches/cli/command.h"
#include "testbenches/explore/explore.h"

namespace {

struct Options {
  replay::ReplayOptions replay;
  std::string strategy;
  std::vector<std::string> assignments;
  std::string vcd, pcap, perfetto;
  bool force = false;
};

/// An experiment of a campaign: DB#ID or its token.
int replay_experiment(const Options& o, const cli::Context& context) {
  try {
    const campaign::Reference reference =
        campaign::read_reference(o.replay.capture, o.force ? "" : explore::build_id());
    scenario::RunOptions run;
    run.vcd = o.vcd;
    run.pcap = o.pcap;
    run.perfetto = o.perfetto;
    const campaign::Replayed r = campaign::replay(reference, run);
    const bool same = r.outcome == reference.outcome && r.digest == reference.digest;
    if (context.json) {
      const nlohmann::ordered_json j = {
          {"outcome", r.outcome},    {"digest", r.digest}, {"same", same},
          {"entity", r.entity},      {"detail", r.detail}, {"injected_fs", r.injected},
          {"signature", r.signature}};
      std::printf("%s\n", j.dump(2).c_str());
    } else {
      std::printf("%s\nexperiment %llu: %s\n  into   %s\n  detail %s\n  digest %s\n", r.report.c_str(),
                  static_cast<unsigned long long>(reference.id), r.signature.c_str(), r.entity.c_str(),
                  r.detail.c_str(), r.digest.c_str());
    }
    if (same) return cli::kOk;
    std::fprintf(stderr, "not as recorded: %s %s\n", reference.outcome.c_str(), reference.digest.c_str());
  } catch (const campaign::NotReproducible& e) {
    std::fprintf(stderr, "poolsim replay: %s\n", e.what());
  }
  return cli::kNotReproducible;
}

int replay_token(const Options& o, const cli::Context& context) {
  const explore::Token token = explore::read_token(o.replay.capture);
  const explore::Replayed r = explore::replay(token, o.vcd, o.perfetto);
  const bool same = token.digest.empty() || token.digest == r.outcome.digest;
  const bool found = token.finding.empty() ? !r.outcome.findings.empty() : r.outcome.has(token.finding);
  if (context.json) {
    nlohmann::ordered_json j = {
        {"digest", r.outcome.digest}, {"same_digest", same}, {"findings", nlohmann::ordered_json::array()}};
    for (const auto& f : r.outcome.findings) {
      j["findings"].push_back({{"class", f.kind},
                               {"place", f.place},
                               {"who", f.who},
                               {"whom", f.whom},
                               {"detail", f.detail},
                               {"holder", f.holder}});
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
      app.add_option("capture", o->replay.capture,
                     "ftrace text, plain or .gz; a token of poolsim explore or campaign; DB#ID of a "
                     "campaign's database")
          ->required();
      app.add_option("--vcd", o->vcd, "token, DB#ID: write a waveform");
      app.add_option("--perfetto", o->perfetto, "write a timeline for ui.perfetto.dev (Chrome trace JSON)");
      app.add_option("--pcap", o->pcap, "DB#ID: write the packets");
      app.add_flag("--force", o->force, "DB#ID: although another build made it");
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
        if (campaign::is_reference(o->replay.capture)) return replay_experiment(*o, context);
        if (explore::is_token(o->replay.capture)) {
          if (!o->pcap.empty())
            throw sim::Error("--pcap: not for a token of poolsim explore; --vcd and --perfetto are");
          return replay_token(*o, context);
        }
        o->replay.perfetto = o->perfetto;
        for (const std::string& assignment : o->assignments) replay::assign(o->replay, assignment);
        if (!o->strategy.empty()) o->replay.strategy = o->strategy;
        o->replay.json = context.json;
        const int code = replay::run_replay(o->replay, std::cout, std::cerr);
        std::cout.flush();
        return code;
      };
    });

}  // namespace
