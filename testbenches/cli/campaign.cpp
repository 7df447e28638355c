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

#include "testbenches/campaign/allocation.h"
#include "testbenches/campaign/cluster.h"
#include "testbenches/campaign/keep.h"
#include "testbenches/campaign/point_of_no_return.h"
#include "testbenches/campaign/replay.h"
#include "testbenches/campaign/report.h"
#include "testbenches/campaign/run.h"
#include "testbenches/campaign/shrink.h"
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
  bool quiet = false, json_progress = false, slurm = false, no_submit = false;
  std::vector<std::string> sbatch;
  std::string html, csv, junit, keep, reference;
  std::uint64_t tries = 24;
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
  j["unscheduled"] = db.unscheduled();
  j["variants"] = ordered_json::array();
  for (const auto& e : campaign::estimate(c, db, faults, c.sampling.confidence)) {
    ordered_json v = {
        {"name", e.variant}, {"experiments", e.n}, {"failures", e.k}, {"share", e.p}, {"margin", e.margin}};
    v["golden_findings"] = db.meta("golden_findings_" + e.variant);
    for (const auto& [outcome, n] : e.outcomes) v["outcomes"][outcome] = n;
    for (const auto& s : e.strata) {
      ordered_json one = {{"fault", s.label}, {"experiments", s.n}, {"failures", s.k}, {"share", s.p}};
      if (s.whole) one["whole"] = true;
      if (s.space != 0) {
        one["space_bit_ps"] = s.space;
        one["failures_in_space_bit_ps"] = static_cast<double>(s.space) * s.p;
      }
      v["faults"].push_back(std::move(one));
    }
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
  if (j["unscheduled"] != 0)
    std::printf("warning: %s\n\n", campaign::unscheduled_warning(j["unscheduled"], j["experiments"]).c_str());
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

ordered_json comparisons_json(const std::vector<campaign::PairedComparison>& all) {
  ordered_json j = ordered_json::array();
  for (const auto& c : all) {
    j.push_back({{"a", c.a},
                 {"b", c.b},
                 {"both", c.both},
                 {"only_a", c.only_a},
                 {"only_b", c.only_b},
                 {"neither", c.neither},
                 {"p", c.p_value},
                 {"difference_low", c.difference.low},
                 {"difference_high", c.difference.high},
                 {"faults", c.examples}});
  }
  return j;
}

void print_comparisons(const std::vector<campaign::PairedComparison>& all, const cli::Context& context) {
  if (all.empty()) return;
  if (context.json) {
    std::printf("%s\n", comparisons_json(all).dump(2).c_str());
    return;
  }
  cli::Table t({"A", "B", "both fail", "only A", "only B", "neither", "difference A - B", "p"});
  for (const auto& c : all) {
    t.row({c.a, c.b, std::to_string(c.both), std::to_string(c.only_a), std::to_string(c.only_b),
           std::to_string(c.neither),
           fmt::format("{:+.3f} .. {:+.3f} %", 100 * c.difference.low, 100 * c.difference.high),
           fmt::format("{:.3g}", c.p_value)});
  }
  std::printf("%s\n", t.text(context.terminal).c_str());
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

/// What the file wants kept, beside the database.
void keep(const std::string& file, bool quiet) {
  const Database db = Database::open(file);
  campaign::keep_examples(db, [quiet](const std::string& dir) {
    if (!quiet) std::fprintf(stderr, "keeps %s\n", dir.c_str());
  });
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
  // Of a part, whoever merges keeps.
  if (r.complete && s.shard.count == 1) keep(o.db, o.quiet);
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

int submit(const Options& o, const cli::Context& context) {
  campaign::SlurmJob job;
  job.program = std::filesystem::read_symlink("/proc/self/exe").string();
  job.campaign_file = std::filesystem::absolute(o.file).string();
  job.db = std::filesystem::absolute(o.db).string();
  job.shards = o.shard_count;
  job.jobs = o.jobs;
  job.options = o.sbatch;
  const campaign::SlurmFiles files = campaign::write_slurm_job(job);
  campaign::SlurmIds ids;
  if (!o.no_submit) ids = campaign::submit_slurm_job(job, files);
  if (context.json) {
    const ordered_json j = {{"directory", files.directory}, {"array", ids.array}, {"merge", ids.merge}};
    std::printf("%s\n", j.dump(2).c_str());
  } else {
    std::printf("scripts %s and %s\n", files.shard_script.c_str(), files.merge_script.c_str());
    if (!ids.array.empty())
      std::printf("job array %s, merge %s: results in %s\n", ids.array.c_str(), ids.merge.c_str(),
                  job.db.c_str());
  }
  return cli::kOk;
}

std::function<int()> setup_run(CLI::App& app, const cli::Context& context) {
  auto o = std::make_shared<Options>();
  app.add_option("campaign", o->file, "campaign file (YAML)")->required();
  app.add_option("--db", o->db, "database; default: the name of the campaign file with .db, here");
  app.add_option("--shard", o->shard, "i/n: only this part, i from 0; or SLURM_ARRAY_TASK_ID, LSB_JOBINDEX");
  app.add_option("--shards", o->shard_count, "number of parts, if the part comes from the environment");
  app.add_flag("--slurm", o->slurm,
               "submit --shards parts as a job array, and the merge behind it; runs nothing here");
  app.add_flag("--no-submit", o->no_submit, "--slurm: only write the scripts");
  app.add_option("--sbatch", o->sbatch, "--slurm: an option for sbatch, such as --sbatch=--partition=long")
      ->allow_extra_args(false);
  add_run_options(app, o);
  return [o, &context] {
    return guarded([&] {
      const Campaign c = campaign::load_campaign(o->file);
      if (o->db.empty()) o->db = default_db(o->file);
      if (o->slurm) return submit(*o, context);
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
      if (db.count() >= missing) {
        keep(o->db, false);
        return cli::kOk;
      }
      std::fprintf(stderr, "%llu experiments are missing\n",
                   static_cast<unsigned long long>(missing - db.count()));
      return cli::kInconclusive;
    });
  };
}

void write_file(const std::string& file, const std::string& text) {
  std::ofstream out(file);
  out << text;
  out.close();
  if (!out) throw sim::Error(fmt::format("{}: cannot be written", file));
}

std::function<int()> setup_report(CLI::App& app, const cli::Context& context) {
  auto o = std::make_shared<Options>();
  app.add_option("database", o->db, "of a campaign")->required();
  app.add_option("--html", o->html, "one page without network");
  app.add_option("--csv", o->csv, "one line an experiment");
  app.add_option("--junit", o->junit, "JUnit XML: one test case a bucket of failures");
  return [o, &context] {
    return guarded([&] {
      const Database db = Database::open(o->db);
      const campaign::Report r = campaign::gather(db);
      if (!o->html.empty()) write_file(o->html, campaign::html(r));
      if (!o->csv.empty()) write_file(o->csv, campaign::csv(db));
      if (!o->junit.empty()) write_file(o->junit, campaign::junit(r));
      if (context.json) {
        ordered_json j = figures(r.campaign, db);
        j["comparisons"] = comparisons_json(r.comparisons);
        std::printf("%s\n", j.dump(2).c_str());
      } else {
        show(r.campaign, db, context);
        print_comparisons(r.comparisons, context);
      }
      std::uint64_t failures = 0;
      for (const auto& v : r.variants) failures += v.k;
      return failures != 0 ? cli::kFindings : cli::kOk;
    });
  };
}

std::function<int()> setup_compare(CLI::App& app, const cli::Context& context) {
  auto o = std::make_shared<Options>();
  app.add_option("a", o->db, "database of the campaign before")->required();
  app.add_option("b", o->file, "and after")->required();
  app.footer("Exit code 1: B fails with faults that A survives, more often than chance (p < 0.05).");
  return [o, &context] {
    return guarded([&] {
      const auto all = campaign::compare_databases(Database::open(o->db), Database::open(o->file));
      if (all.empty()) throw sim::Error("no variant is in both databases");
      print_comparisons(all, context);
      return std::any_of(all.begin(), all.end(),
                         [](const auto& c) { return c.only_b > c.only_a && c.p_value < 0.05; })
                 ? cli::kFindings
                 : cli::kOk;
    });
  };
}

std::function<int()> setup_allocate(CLI::App& app, const cli::Context& context) {
  auto o = std::make_shared<Options>();
  o->limit = 1000;
  app.add_option("database", o->db, "of a pilot: at least 30 experiments for each fault and variant")
      ->required();
  app.add_option("--experiments,-n", o->limit, "to share out among the faults")->capture_default_str();
  app.add_option(
      "--write", o->keep,
      "write the campaign file with these numbers: runs: of each fault, sampling.experiments. Beside the "
      "pilot's, whose base: is relative to it");
  app.footer("Neyman's rule: the same total tells most.");
  return [o, &context] {
    return guarded([&] {
      const Database db = Database::open(o->db);
      const Campaign c = db.campaign();
      const auto runs = campaign::allocate(c, db, o->limit);
      if (!o->keep.empty()) write_file(o->keep, campaign::with_runs(c, runs));
      cli::Table t({"fault", "weight", "runs"});
      ordered_json j = ordered_json::array();
      for (std::size_t n = 0; n < runs.size(); ++n) {
        t.row({c.faults[n].label, std::to_string(c.faults[n].weight), std::to_string(runs[n])});
        j.push_back({{"fault", c.faults[n].label}, {"weight", c.faults[n].weight}, {"runs", runs[n]}});
      }
      std::printf("%s\n", context.json ? j.dump(2).c_str() : t.text(context.terminal).c_str());
      return cli::kOk;
    });
  };
}

std::function<int()> setup_shrink(CLI::App& app, const cli::Context& context) {
  auto o = std::make_shared<Options>();
  app.add_option("experiment", o->reference, "DB#ID, or a token")->required();
  app.add_option("--tries", o->tries, "experiments for each smaller world")
      ->check(CLI::Range(1, 100'000))
      ->capture_default_str();
  app.add_option("--keep", o->keep, "write the token into this file: a regression test for poolsim replay");
  add_run_options(app, o);
  return [o, &context] {
    return guarded([&] {
      const campaign::Reference reference = campaign::read_reference(o->reference);
      const campaign::Shrunk s = campaign::shrink(reference, o->tries, o->jobs, [&](const std::string& step) {
        if (!o->quiet) std::fprintf(stderr, "%s\n", step.c_str());
      });
      if (!s.reproduced)
        throw campaign::NotReproducible(fmt::format("{} does not end as recorded", o->reference));
      const std::string token = campaign::token(s, explore::build_id());
      if (!o->keep.empty()) {
        write_file(o->keep, fmt::format("# poolsim campaign shrink '{}': run it with poolsim replay\n{}\n",
                                        o->reference, token));
      }
      if (context.json) {
        const ordered_json j = {{"token", token}, {"experiments", s.runs}, {"settings", s.settings}};
        std::printf("%s\n", j.dump(2).c_str());
      } else {
        std::printf("%s\n%llu experiments\n", token.c_str(), static_cast<unsigned long long>(s.runs));
      }
      return cli::kOk;
    });
  };
}

std::function<int()> setup_no_return(CLI::App& app, const cli::Context& context) {
  auto o = std::make_shared<Options>();
  auto r = std::make_shared<campaign::ReturnOptions>();
  r->schedule.strategy = campaign::ScheduleSpec::Strategy::kRandom;
  r->jobs = std::max(1u, std::thread::hardware_concurrency());
  app.add_option("experiment", o->reference, "DB#ID, or a token, of a failure")->required();
  app.add_option("--points", r->points, "times between fault and detection, or end")
      ->check(CLI::Range(2, 1000))
      ->capture_default_str();
  app.add_option("--runs", r->runs, "at each of them")->check(CLI::Range(1, 100'000))->capture_default_str();
  app.add_option("--switch", r->schedule.switch_text, "probability that a core gives way at a point")
      ->capture_default_str();
  app.add_option("--jobs,-j", r->jobs, "runs at a time")->check(CLI::Range(1, 1024))->capture_default_str();
  app.footer("Up to each time the run is as recorded, from there on the order of the cores is drawn anew.");
  return [o, r, &context] {
    return guarded([&] {
      r->schedule.validate();
      const campaign::Reference reference = campaign::read_reference(o->reference, explore::build_id());
      const campaign::ReturnCurve curve = campaign::point_of_no_return(reference, *r);
      if (!curve.reproduced)
        throw campaign::NotReproducible(fmt::format("{} does not end as recorded", o->reference));
      cli::Table t({"from the fault, us", "failed", "of", "share"});
      ordered_json j = {{"outcome", reference.outcome}, {"points", ordered_json::array()}};
      for (const auto& p : curve.points) {
        const double us = static_cast<double>(p.at) / sim::kMicrosecond;
        const campaign::Interval i = campaign::wilson(p.failed, p.runs, 0.95);
        t.row({fmt::format("{:.3f}", us), std::to_string(p.failed), std::to_string(p.runs),
               fmt::format("[{:.2f}, {:.2f}]", i.low, i.high)});
        j["points"].push_back(
            {{"at_fs", p.at}, {"failed", p.failed}, {"runs", p.runs}, {"low", i.low}, {"high", i.high}});
      }
      const sim::Tick end = curve.no_return();
      j["no_return_fs"] = end == sim::kNever ? ordered_json() : ordered_json(end);
      if (context.json) {
        std::printf("%s\n", j.dump(2).c_str());
      } else {
        std::printf("%s\n%s\n", t.text(context.terminal).c_str(),
                    end == sim::kNever ? "no time from which on all fail"
                                       : fmt::format("all fail from {:.3f} us after the fault on",
                                                     static_cast<double>(end) / sim::kMicrosecond)
                                             .c_str());
      }
      return cli::kOk;
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
          {"report", "Page, CSV, JUnit XML of a database", setup_report},
          {"compare", "The same faults in two databases", setup_compare},
          {"allocate", "How to share out experiments after a pilot", setup_allocate},
          {"shrink", "A failure in a smaller world", setup_shrink},
          {"no-return", "Up to when a failure could still have gone well", setup_no_return},
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
