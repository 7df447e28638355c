// SPDX-License-Identifier: Apache-2.0
// poolsim report RUN...: what runs printed as JSON, as one page to look at.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "sim/error.h"
#include "testbenches/cli/command.h"
#include "testbenches/scenario/report_page.h"

namespace {

struct Options {
  std::vector<std::string> files;
  std::string output;
};

scenario::ReportedRun read(const std::string& file) {
  std::ifstream in(file);
  if (!in) throw sim::Error(fmt::format("{}: cannot be read", file));
  scenario::ReportedRun run{std::filesystem::path(file).stem().string(), {}};
  try {
    run.json = nlohmann::ordered_json::parse(in);
  } catch (const nlohmann::ordered_json::parse_error& e) {
    throw sim::Error(fmt::format("{}: no JSON, at byte {} (make it with `poolsim run SCENARIO --json > {}`)",
                                 file, e.byte, file));
  }
  return run;
}

int execute(const Options& o) {
  std::vector<scenario::ReportedRun> runs;
  for (const std::string& file : o.files) runs.push_back(read(file));
  const std::string html = scenario::report_page(runs);
  if (o.output.empty() || o.output == "-") {
    std::fputs(html.c_str(), stdout);
    return cli::kOk;
  }
  const std::string beside = o.output + ".tmp";
  std::ofstream out(beside, std::ios::binary);
  out << html;
  out.close();
  std::error_code error;
  if (out) std::filesystem::rename(beside, o.output, error);
  if (!out || error) throw sim::Error(fmt::format("{}: cannot be written", o.output));
  return cli::kOk;
}

const cli::Subcommand kReport("report", "make one HTML page of runs", [](CLI::App& app, const cli::Context&) {
  auto o = std::make_shared<Options>();
  app.add_option("run", o->files, "what `poolsim run SCENARIO --json` printed")->required();
  app.add_option("-o,--html", o->output, "file to write; default: standard output");
  app.footer(
      "poolsim run testbenches/scenarios/unbind_short.yaml --json > stock.json; poolsim report stock.json -o "
      "report.html");
  return [o] { return execute(*o); };
});

}  // namespace
