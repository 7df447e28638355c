// SPDX-License-Identifier: Apache-2.0
// poolsim study FILE: what figures of the machine do when parameters change.
#include <CLI/CLI.hpp>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "sim/error.h"
#include "testbenches/cli/command.h"
#include "testbenches/explore/token.h"
#include "testbenches/study/report.h"

namespace {

struct Options {
  std::string file, db, csv, html, markdown;
  unsigned jobs = 0;
  bool list = false, quiet = false;
};

volatile bool interrupted = false;

void write_file(const std::string& path, const std::string& text) {
  std::ofstream out(path, std::ios::binary);
  out << text;
  if (!out.flush()) throw sim::Error(fmt::format("{}: cannot be written", path));
}

scenario::Progress progress(bool quiet) {
  const auto begin = std::chrono::steady_clock::now();
  return [quiet, begin, last = -1.0](std::size_t ended, std::size_t all) mutable {
    const double s = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    if (quiet || (ended != all && s - last < 2)) return;
    last = s;
    const double rate = static_cast<double>(ended) / std::max(s, 1e-3);
    std::fprintf(stderr, "%zu of %zu runs, %.1f a second, %.0f s to go\n", ended, all, rate,
                 static_cast<double>(all - ended) / rate);
  };
}

std::string today() {
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  ::localtime_r(&now, &local);
  char text[64];
  return std::string(text, std::strftime(text, sizeof text, "%-d %B %Y", &local));
}

/// Model name of the CPU, as the system tells it.
std::string machine() {
  std::ifstream in("/proc/cpuinfo");
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
  }
  return "unknown CPU";
}

void write_markdown(const study::Results& results, const std::string& path) {
  std::vector<std::string> images;
  const std::filesystem::path base(path);
  for (std::size_t i = 0; i < results.study.plots.size(); ++i) {
    images.push_back(fmt::format("{}-{}.svg", base.stem().string(), i + 1));
    write_file((base.parent_path() / images.back()).string(),
               study::plot_svg(results, results.study.plots[i]));
  }
  write_file(path, study::report_markdown(results, images));
}

int list_points(const study::Study& s) {
  for (const study::Point& p : study::points(s)) {
    std::printf("%s %s\n", p.scenario.c_str(), fmt::format("{}", fmt::join(p.assignments, " ")).c_str());
  }
  return cli::kOk;
}

void print_json(const study::Results& r) {
  nlohmann::ordered_json all = nlohmann::ordered_json::array();
  for (std::size_t p = 0; p < r.points.size(); ++p) {
    for (std::size_t k = 0; k < r.study.repeats; ++k) {
      nlohmann::ordered_json j;
      for (std::size_t a = 0; a < r.study.axes.size(); ++a) j[r.study.axes[a].name] = r.points[p].levels[a];
      j["seed"] = r.runs[p][k].seed;
      for (const study::Measure& m : r.study.measures) {
        const auto v = r.value(m, p, k);
        j[m.name] = v ? nlohmann::ordered_json(*v) : nlohmann::ordered_json();
      }
      j["digest"] = r.runs[p][k].digest;
      if (!r.runs[p][k].error.empty()) j["error"] = r.runs[p][k].error;
      all.push_back(std::move(j));
    }
  }
  std::printf("%s\n", all.dump(2).c_str());
}

int execute(const Options& o, const cli::Context& context) {
  const study::Study s = study::load(o.file);
  if (o.list) return list_points(s);
  const std::string db = o.db.empty() ? s.name + ".study.db" : o.db;
  struct sigaction action {
  }, before{};
  action.sa_handler = [](int) { interrupted = true; };
  ::sigaction(SIGINT, &action, &before);
  study::Results results;
  try {
    study::Store store(db, explore::build_id());
    const unsigned jobs = o.jobs != 0 ? o.jobs : std::max(1u, std::thread::hardware_concurrency());
    results = study::run(s, store, jobs, progress(o.quiet), &interrupted);
  } catch (const study::Store::NotReproducible& e) {
    std::fprintf(stderr, "poolsim study: %s\n", e.what());
    return cli::kNotReproducible;
  }
  ::sigaction(SIGINT, &before, nullptr);
  results.command = "poolsim study " + o.file, results.machine = machine(), results.date = today();
  if (!o.csv.empty()) write_file(o.csv, study::report_csv(results));
  if (!o.html.empty()) write_file(o.html, study::report_html(results));
  if (!o.markdown.empty()) write_markdown(results, o.markdown);
  if (context.json) {
    print_json(results);
  } else {
    std::fputs(study::report_text(results, context.terminal).c_str(), stdout);
  }
  return results.complete ? cli::kOk : cli::kInterrupted;
}

const cli::Subcommand kStudy(
    "study", "run a scenario over ranges of parameters and plot its figures",
    [](CLI::App& app, const cli::Context& context) {
      auto o = std::make_shared<Options>();
      app.add_option("study", o->file, "study file (YAML; docs/studies/README.md)")->required();
      app.add_option("--db", o->db, "results, kept as they come; default: NAME.study.db here");
      app.add_option("--csv", o->csv, "write a line for each run");
      app.add_option("--html", o->html, "write one self-contained page");
      app.add_option("--markdown", o->markdown, "write a page, and its plots as SVG files beside it");
      app.add_option("-j,--jobs", o->jobs, "runs at a time; default: one a core");
      app.add_flag("--list", o->list, "print what would be run, and run nothing");
      app.add_flag("--quiet", o->quiet, "no progress");
      app.footer("Ctrl-C keeps what has been run; the same command goes on.");
      return [o, &context] { return execute(*o, context); };
    });

}  // namespace
