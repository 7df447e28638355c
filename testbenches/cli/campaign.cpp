// SPDX-License-Identifier: Apache-2.0
// poolsim campaign run|status|resume|merge|report|shrink|schema: fault injection, experiment after
// experiment.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <thread>

#include "testbenches/campaign/replay.h"
#include "testbenches/campaign/run.h"
#include "testbenches/cli/command.h"
#include "testbenches/cli/table.h"
#include "testbenches/explore/token.h"

namespace {

using campaign::Campaign;
using campaign::Database;
using nlohmann::ordered_json;

struct Options {
  std::string file, db, shard;
  std::vector<std::string> shards;
  unsigned jobs = 1;
  std::uint64_t shard_count = 1, limit = ~std::uint64_t{0};
  bool quiet = false, json_progress = false;
};

std::string default_db(const std::string& file) {
  return std::filesystem::path(file).stem().string() + ".db";
}

ordered_json figures(const Campaign& c, const Database& db) {
  std::size_t look = 0;
  std::uint64_t faults = c.sampling.experiments;
  if (db.count() == faults * c.variants.size()) faults = campaign::stopping_point(c, db, &look);
  ordered_json j;
  j["campaign"] = db.meta("campaign");
  j["database"] = db.file();
  j["build"] = db.meta("build");
  j["experiments"] = db.count();
  j["of"] = c.sampling.experiments * c.variants.size();
  j["shard"] = db.meta("shard");
  j["rows_digest"] = db.meta("rows_digest");
  j["cpu_seconds"] = db.cpu_seconds();
  j["variants"] = ordered_json::array();
  for (const auto& e : campaign::estimate(c, db, faults, c.sampling.confidence)) {
    ordered_json v = {
        {"name", e.variant}, {"experiments", e.n}, {"failures", e.k}, {"share", e.p}, {"margin", e.margin}};
    v["golden_findings"] = db.meta("golden_findings_" + e.variant);
    for (const auto& [outcome, n] : e.outcomes) v["outcomes"][outcome] = n;
    j["variants"].push_back(std::move(v));
  }
  j["buckets"] = ordered_json::array();
  for (const auto& b : db.buckets()) {
    j["buckets"].push_back(
        {{"signature", b.signature}, {"count", b.count}, {"first", b.first}, {"smallest", b.smallest}});
  }
  return j;
}

bool is_failure_bucket(const std::string& signature) {
  for (std::size_t o = 0; o < campaign::kOutcomes; ++o) {
    const auto outcome = static_cast<campaign::Outcome>(o);
    if (campaign::is_failure(outcome) && signature.starts_with(campaign::to_string(outcome))) return true;
  }
  return false;
}

void print_figures(const ordered_json& j, const cli::Context& context) {
  std::printf(
      "%s: %s of %s experiments in %s%s\n", j["campaign"].get<std::string>().c_str(),
      j["experiments"].dump().c_str(), j["of"].dump().c_str(), j["database"].get<std::string>().c_str(),
      j["shard"].get<std::string>().empty() ? "" : (", shard " + j["shard"].get<std::string>()).c_str());
  cli::Table outcomes({"variant", "experiments", "failures", "share", "outcomes"});
  for (const auto& v : j["variants"]) {
    std::string text;
    if (v.contains("outcomes")) {
      for (const auto& [key, n] : v["outcomes"].items())
        text += fmt::format("{}{} {}", text.empty() ? "" : ", ", n.dump(), key);
    }
    outcomes.row(
        {v["name"], v["experiments"].dump(), v["failures"].dump(),
         fmt::format("{:.3f} % +- {:.3f}", 100 * v["share"].get<double>(), 100 * v["margin"].get<double>()),
         text});
  }
  std::printf("%s\n", outcomes.text(context.terminal).c_str());
  cli::Table buckets({"failures", "what", "smallest example"});
  bool any = false;
  for (const auto& b : j["buckets"]) {
    if (!is_failure_bucket(b["signature"])) continue;
    any = true;
    buckets.row(
        {b["count"].dump(), b["signature"],
         fmt::format("poolsim replay '{}#{}'", j["database"].get<std::string>(), b["smallest"].dump())});
  }
  if (any) std::printf("%s\n", buckets.text(context.terminal).c_str());
}

void show(const Campaign& c, const Database& db, const cli::Context& context) {
  const ordered_json j = figures(c, db);
  if (context.json) {
    std::printf("%s\n", j.dump(2).c_str());
  } else {
    print_figures(j, context);
  }
}

/// What the exit code must say beside the results.
int guarded(const std::function<int()>& action) {
  try {
    return action();
  } catch (const campaign::NotReproducible& e) {
    std::fflush(stdout);
    std::fprintf(stderr, "poolsim campaign: %s\n", e.what());
    return cli::kNotReproducible;
  }
}

int run(const Campaign& c, Options o, const cli::Context& context) {
  campaign::catch_signals();
  campaign::RunSettings s;
  s.db = o.db;
  s.jobs = o.jobs;
  s.shard = o.shard.empty() ? campaign::shard_of_environment(o.shard_count) : campaign::parse_shard(o.shard);
  s.quiet = o.quiet, s.json_progress = o.json_progress;
  s.limit = o.limit;
  s.build = explore::build_id();
  const campaign::RunSummary r = campaign::run_campaign(c, s);
  show(c, Database::open(o.db), context);
  if (!o.quiet) {
    std::fprintf(stderr, "%llu experiments in %.1f s%s\n", static_cast<unsigned long long>(r.done), r.seconds,
                 r.enough ? "; the margin was reached" : "");
  }
  if (r.interrupted) {
    std::fprintf(stderr, "interrupted; poolsim campaign resume %s goes on\n", o.db.c_str());
    return cli::kInterrupted;
  }
  if (r.failures != 0) return cli::kFindings;
  const bool open = c.sampling.margin > 0 && !r.enough && r.margin > c.sampling.margin;
  return !r.complete || open ? cli::kInconclusive : cli::kOk;
}

void add_run_options(CLI::App& app, const std::shared_ptr<Options>& o) {
  o->jobs = std::max(1u, std::thread::hardware_concurrency());
  app.add_option("--jobs,-j", o->jobs, "experiments at a time")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  app.add_option("--limit", o->limit, "stop after so many experiments; what is left can be resumed");
  app.add_flag("--quiet", o->quiet, "no progress");
  app.add_flag("--json-progress", o->json_progress, "progress as JSON lines on stderr");
}

std::function<int()> setup_run(CLI::App& app, const cli::Context& context) {
  auto o = std::make_shared<Options>();
  app.add_option("campaign", o->file, "campaign file (YAML)")->required();
  app.add_option("--db", o->db, "database; default: the name of the campaign file with .db, here");
  app.add_option("--shard", o->shard, "i/n: only this part, i from 0; or SLURM_ARRAY_TASK_ID, LSB_JOBINDEX");
  app.add_option("--shards", o->shard_count, "number of parts, if the part comes from the environment");
  add_run_options(app, o);
  return [o, &context] {
    return guarded([&] {
      const Campaign c = campaign::load_campaign(o->file);
      if (o->db.empty()) o->db = default_db(o->file);
      return run(c, *o, context);
    });
  };
}

std::function<int()> setup_resume(CLI::App& app, const cli::Context& context) {
  auto o = std::make_shared<Options>();
  app.add_option("database", o->db, "of an interrupted run")->required();
  add_run_options(app, o);
  return [o, &context] {
    return guarded([&] {
      Campaign c;
      {
        const Database db = Database::open(o->db);
        c = db.campaign();
        o->shard = db.meta("shard");
      }
      return run(c, *o, context);
    });
  };
}

std::function<int()> setup_status(CLI::App& app, const cli::Context& context) {
  auto o = std::make_shared<Options>();
  app.add_option("database", o->db, "of a campaign, running or not")->required();
  return [o, &context] {
    return guarded([&] {
      const Database db = Database::open(o->db);
      show(db.campaign(), db, context);
      return cli::kOk;
    });
  };
}

std::function<int()> setup_merge(CLI::App& app, const cli::Context& context) {
  auto o = std::make_shared<Options>();
  app.add_option("database", o->db, "to merge into; made if it is not there")->required();
  app.add_option("shards", o->shards, "databases of the shards")->required();
  return [o, &context] {
    return guarded([&] {
      Campaign c;
      std::string build;
      {
        const Database first = Database::open(o->shards.front());
        c = first.campaign();
        build = first.meta("build");
      }
      campaign::merge_shards(c, o->db, o->shards, build);
      const Database db = Database::open(o->db);
      show(c, db, context);
      const std::uint64_t missing = campaign::stopping_point(c, db) * c.variants.size();
      if (db.count() >= missing) return cli::kOk;
      std::fprintf(stderr, "%llu experiments are missing\n",
                   static_cast<unsigned long long>(missing - db.count()));
      return cli::kInconclusive;
    });
  };
}

std::function<int()> setup_schema(CLI::App&, const cli::Context&) {
  return [] {
    std::printf("%s\n", campaign::campaign_schema().dump(2).c_str());
    return cli::kOk;
  };
}

const cli::Subcommand kCampaign(
    "campaign", "Inject faults, experiment after experiment, and count what becomes of them",
    [](CLI::App& app, const cli::Context& context) {
      struct Step {
        const char* name;
        const char* summary;
        std::function<int()> (*setup)(CLI::App&, const cli::Context&);
      };
      static const Step steps[] = {
          {"run", "Run what is missing of a campaign", setup_run},
          {"resume", "Go on with an interrupted one", setup_resume},
          {"status", "What a database holds", setup_status},
          {"merge", "Put the databases of shards together", setup_merge},
          {"schema", "JSON schema of campaign files", setup_schema},
      };
      auto actions = std::make_shared<std::vector<std::pair<CLI::App*, std::function<int()>>>>();
      for (const Step& s : steps) {
        CLI::App* sub = app.add_subcommand(s.name, s.summary);
        actions->emplace_back(sub, s.setup(*sub, context));
      }
      app.require_subcommand(1);
      app.footer(
          "Exit codes: 1 failures were found, 3 the margin was not reached or rows are missing, 4 made by "
          "another\n"
          "build or from another file. docs/campaigns.md tells the format of campaign files.");
      return [actions]() -> int {
        for (const auto& [sub, action] : *actions) {
          if (sub->parsed()) return action();
        }
        return cli::kUsage;
      };
    });

const cli::Listing kFaults("faults", {"kind", "sites", "what it does"}, [] {
  cli::Listing::Rows rows;
  for (const auto& k : campaign::fault_kinds()) {
    rows.push_back({k.key, fmt::format("{}", fmt::join(k.make()->sites(), ", ")), k.summary});
  }
  return rows;
});

const cli::Listing kEvents("events", {"event"}, [] {
  cli::Listing::Rows rows;
  for (const auto& e : campaign::events()) rows.push_back({e.name});
  return rows;
});

const cli::Listing kOutcomes("outcomes", {"outcome", "failure", "when"}, [] {
  cli::Listing::Rows rows;
  for (std::size_t o = 0; o < campaign::kOutcomes; ++o) {
    const auto outcome = static_cast<campaign::Outcome>(o);
    rows.push_back({campaign::to_string(outcome), campaign::is_failure(outcome) ? "yes" : "",
                    campaign::summary(outcome)});
  }
  return rows;
});

}  // namespace
