// SPDX-License-Identifier: Apache-2.0
#include "testbenches/study/results.h"

#include <muParser.h>
#include <sqlite3.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "sim/error.h"
#include "testbenches/scenario/run.h"
#include "testbenches/scenario/sqlite_statement.h"

namespace study {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kNameChars = "0123456789_.abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

void flatten(const Json& value, const std::string& path, Figures& into) {
  if (value.is_object()) {
    if (value.contains("value") && value.contains("unit")) return flatten(value["value"], path, into);
    for (const auto& [key, inner] : value.items())
      flatten(inner, path.empty() ? key : path + "." + key, into);
    return;
  }
  if (!value.is_number() && !value.is_boolean()) return;
  const double number = value.is_boolean() ? (value.get<bool>() ? 1.0 : 0.0) : value.get<double>();
  if (path.ends_with("_fs")) {
    into[path.substr(0, path.size() - 3) + "_s"] = number * 1e-15;
  } else {
    into[path] = number;
  }
}

/// A formula with the figures of a run at hand.
double evaluate(const Measure& measure, const Figures& figures) {
  mu::Parser parser;
  parser.DefineNameChars(kNameChars);
  parser.SetExpr(measure.formula);
  std::map<std::string, double> used;
  try {
    for (const auto& [name, unused] : parser.GetUsedVar()) {
      const auto at = figures.find(name);
      if (at == figures.end()) {
        std::vector<std::string> names;
        for (const auto& [key, number] : figures) names.push_back(key);
        throw sim::Error(fmt::format("measure {}: runs have no figure '{}'{}", measure.name, name,
                                     sim::suggestion(name, names)));
      }
      used[name] = at->second;
    }
    for (auto& [name, number] : used) parser.DefineVar(name, &number);
    return parser.Eval();
  } catch (const mu::Parser::exception_type& e) {
    throw sim::Error(fmt::format("measure {}: '{}': {}", measure.name, measure.formula, e.GetMsg()));
  }
}

std::string key_of(const Point& p) { return fmt::format("{} {}", p.scenario, fmt::join(p.assignments, " ")); }

std::string run_one(const Point& p, std::uint64_t seed) {
  std::vector<std::string> assignments = p.assignments;
  assignments.push_back(fmt::format("simulation.seed={}", seed));
  scenario::RunConfig config;
  scenario::load(config, p.scenario, assignments);
  scenario::ScenarioRun run(config, {});
  const scenario::RunResult result = run.run();
  Json j;
  j["figures"] = figures_of(run.report_json());
  j["digest"] = result.digest;
  j["cpu"] = result.cpu_seconds;
  return j.dump();
}

}  // namespace

Figures figures_of(const Json& report) {
  Figures all;
  for (std::size_t c = 0; c < checker::kFindingClasses; ++c) {
    all[fmt::format("finding.{}", checker::key(static_cast<checker::FindingClass>(c)))] = 0;
  }
  for (const auto& [key, value] : report.items()) {
    if (key == "statistics") {
      flatten(value, "", all);
    } else if (key == "findings") {
      flatten(value, "finding", all);
    } else if (key != "cpu_seconds" && key != "wakeups") {  // of the host, not of the machine
      flatten(value, key, all);
    }
  }
  return all;
}

std::optional<double> Results::value(const Measure& measure, std::size_t point, std::size_t repeat) const {
  const Run& run = runs[point][repeat];
  if (!run.figures) return std::nullopt;
  const double v = evaluate(measure, *run.figures);
  return std::isfinite(v) ? std::optional(v) : std::nullopt;
}

// ---- Store ----

namespace {
using Statement = scenario::SqliteStatement<sim::Error>;
}

void Store::fail() { throw sim::Error(fmt::format("{}: {}", file_, scenario::sqlite_error(db_.get()))); }

Store::Store(const std::string& file, const std::string& build) : file_(file) {
  sqlite3* db = nullptr;
  const int opened = sqlite3_open(file.c_str(), &db);
  db_.reset(db);  // there is one to be closed even when it could not be opened
  if (opened != SQLITE_OK) fail();
  constexpr const char* kTables =
      "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;"
      "CREATE TABLE IF NOT EXISTS meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;"
      "CREATE TABLE IF NOT EXISTS run(point TEXT NOT NULL, seed INTEGER NOT NULL, figures TEXT NOT NULL,"
      " digest TEXT NOT NULL, error TEXT NOT NULL, cpu_seconds REAL NOT NULL, PRIMARY KEY(point, seed)) "
      "STRICT;";
  if (sqlite3_exec(db_.get(), kTables, nullptr, nullptr, nullptr) != SQLITE_OK) fail();
  Statement made(db_.get(), "SELECT value FROM meta WHERE key='build'", file_);
  if (!made.step()) {
    Statement(db_.get(), "INSERT INTO meta VALUES('build', ?)", file_).bind(1, build).run();
  } else if (made.text(0) != build) {
    throw NotReproducible(
        fmt::format("{}: made by another build ({}); its figures and new ones would not compare: "
                    "give another --db, or remove it",
                    file, made.text(0)));
  }
}

void Store::Close::operator()(sqlite3* db) const { sqlite3_close(db); }
Store::~Store() = default;

std::optional<Run> Store::find(const Point& point, std::uint64_t seed) {
  Statement s(db_.get(), "SELECT figures, digest, error FROM run WHERE point=? AND seed=?", file_);
  if (!s.bind(1, key_of(point)).bind(2, seed).step()) return std::nullopt;
  Run run{seed, std::nullopt, s.text(1), s.text(2)};
  if (run.error.empty()) run.figures = Json::parse(s.text(0)).get<Figures>();
  return run;
}

void Store::add(const Point& point, const Run& run, double cpu_seconds) {
  const std::string figures = run.figures ? Json(*run.figures).dump() : "{}";
  Statement s(db_.get(), "INSERT OR REPLACE INTO run VALUES(?, ?, ?, ?, ?, ?)", file_);
  s.bind(1, key_of(point)).bind(2, run.seed).bind(3, figures).bind(4, run.digest).bind(5, run.error);
  s.bind(6, cpu_seconds).run();
}

double Store::cpu_seconds() {
  Statement s(db_.get(), "SELECT total(cpu_seconds) FROM run", file_);
  return s.step() ? s.real(0) : 0;
}

// ---- run ----

Results run(const Study& study, Store& store, unsigned jobs, const scenario::Progress& progress,
            const volatile bool* stop) {
  Results results{study, points(study), {}, {}, {}, {}, 0, false};
  std::vector<scenario::ProcessTask> tasks;
  bool checked = false;
  const auto check = [&](const Figures& figures) {
    if (!std::exchange(checked, true)) {
      for (const Measure& m : study.measures) evaluate(m, figures);
    }
  };
  results.runs.resize(results.points.size());
  for (std::size_t i = 0; i < results.points.size(); ++i) {
    results.runs[i].resize(study.repeats);
    for (unsigned r = 0; r < study.repeats; ++r) {
      const Point& point = results.points[i];
      Run& into = results.runs[i][r];
      const std::uint64_t seed = study.seed + r;
      if (auto had = store.find(point, seed); had && had->error.empty()) {
        into = std::move(*had);
        check(*into.figures);
        continue;
      }
      into.seed = seed;
      tasks.push_back({fmt::format("point {}, repeat {}", i, r),
                       [&point, seed] { return run_one(point, seed); },
                       [&, seed](const std::string& text) {
                         const Json j = Json::parse(text);
                         into = {seed, j["figures"].get<Figures>(), j["digest"], ""};
                         store.add(point, into, j["cpu"]);
                         check(*into.figures);
                       },
                       [&, seed](const std::string& why) {
                         into = {seed, std::nullopt, "", why};
                         store.add(point, into, 0);
                       }});
    }
  }
  results.complete = tasks.empty() || scenario::run_processes(tasks, jobs, progress, stop);
  results.cpu_seconds = store.cpu_seconds();
  return results;
}

}  // namespace study
