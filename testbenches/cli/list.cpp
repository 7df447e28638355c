// SPDX-License-Identifier: Apache-2.0
// poolsim list KIND: what there is to choose from.
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "sim/error.h"
#include "testbenches/cli/command.h"
#include "testbenches/cli/table.h"

namespace {

int list(const std::string& kind, const cli::Context& context) {
  std::vector<std::string> kinds;
  for (const auto& l : cli::listings()) {
    kinds.push_back(l.kind);
    if (l.kind != kind) continue;
    const auto rows = l.rows();
    if (context.json) {
      auto array = nlohmann::ordered_json::array();
      for (const auto& row : rows) {
        nlohmann::ordered_json object;
        for (std::size_t i = 0; i < row.size(); ++i) object[l.columns[i]] = row[i];
        array.push_back(std::move(object));
      }
      fmt::print("{}\n", array.dump(2));
      return cli::kOk;
    }
    cli::Table table(l.columns);
    for (const auto& row : rows) table.row(row);
    fmt::print("{}", table.text(context.terminal));
    return cli::kOk;
  }
  throw sim::Error(fmt::format("unknown kind '{}'{}", kind, sim::suggestion(kind, kinds)));
}

const cli::Subcommand kList(
    "list", "What there is to choose from: strategies, scenarios, findings, ...",
    [](CLI::App& app, const cli::Context& context) {
      auto kind = std::make_shared<std::string>();
      std::vector<std::string> kinds;
      for (const auto& l : cli::listings()) kinds.push_back(l.kind);
      app.add_option("kind", *kind, fmt::format("One of: {}", fmt::join(kinds, ", ")))->required();
      return [kind, &context] { return list(*kind, context); };
    });

}  // namespace
