// SPDX-License-Identifier: Apache-2.0
// poolsim config dump | check | schema: the parameters of a run, their values and where each came from.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <iostream>
#include <nlohmann/json.hpp>

#include "sim/error.h"
#include "testbenches/cli/command.h"
#include "testbenches/scenario/scenario.h"

namespace {

struct Options {
  std::string file;
  std::vector<std::string> assignments;
};

/// A configuration with everything that a run would give it; validated.
struct Loaded {
  scenario::RunConfig config;
  platform::ParameterSet set;

  explicit Loaded(const Options& o) {
    scenario::register_all(set, config);
    if (!o.file.empty()) set.load_file(o.file);
    set.load_environment(environ);
    for (const auto& a : o.assignments) set.assign(a);
    set.check([&] {
      config.scenario.validate();
      config.machine.finish();
    });
  }
};

const cli::Subcommand kConfig(
    "config", "Parameters of a run: values and origins, check of a file, JSON schema",
    [](CLI::App& app, const cli::Context& context) {
      auto o = std::make_shared<Options>();
      app.require_subcommand(0, 1);
      CLI::App* dump = app.add_subcommand("dump", "Every parameter with its value and origin");
      CLI::App* check = app.add_subcommand("check", "Is this file right? Says nothing if it is");
      CLI::App* schema = app.add_subcommand("schema", "JSON schema (draft 7) of scenario files");
      for (CLI::App* sub : {dump, check}) {
        sub->add_option("file", o->file, "Scenario or machine file (YAML)")->required(sub == check);
        sub->add_option("--set", o->assignments, "a.b=c: set a parameter")->allow_extra_args(false);
      }
      return [=, &context]() -> int {
        if (dump->parsed()) {
          const Loaded loaded(*o);
          if (context.json) {
            std::cout << loaded.set.dump_json().dump(2) << '\n';
          } else {
            loaded.set.dump(std::cout);
          }
        } else if (check->parsed()) {
          const Loaded loaded(*o);
        } else if (schema->parsed()) {
          scenario::RunConfig config;
          platform::ParameterSet set;
          scenario::register_all(set, config);
          std::cout << set.schema().dump(2) << '\n';
        } else {
          throw sim::Error("say what to do (one of: dump, check, schema)");
        }
        return cli::kOk;
      };
    });

const cli::Listing kParameters("params", {"path", "default", "what it is"}, [] {
  scenario::RunConfig config;
  platform::ParameterSet set;
  scenario::register_all(set, config);
  cli::Listing::Rows rows;
  for (const auto& p : set.parameters()) rows.push_back({p.path, p.default_text, p.doc});
  return rows;
});

}  // namespace
