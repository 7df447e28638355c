// SPDX-License-Identifier: Apache-2.0
// poolsim conform MODEL: runs test vectors through one model and prints, or compares, its answers.
#include <CLI/CLI.hpp>

#include "sim/error.h"
#include "testbenches/cli/command.h"

namespace {

const cli::Subcommand kConform("conform", "Run test vectors through one model",
                               [](CLI::App& app, const cli::Context& context) {
                                 std::vector<std::pair<CLI::App*, std::function<int()>>> actions;
                                 app.require_subcommand(0, 1);
                                 for (const cli::Conformance& c : cli::conformances()) {
                                   CLI::App* sub = app.add_subcommand(c.name, c.summary);
                                   actions.emplace_back(sub, c.setup(*sub, context));
                                 }
                                 return [actions]() -> int {
                                   std::vector<std::string> names;
                                   for (const auto& [sub, action] : actions) {
                                     if (sub->parsed()) return action();
                                     names.push_back(sub->get_name());
                                   }
                                   throw sim::Error(fmt::format("name the model to run (one of: {})",
                                                                fmt::join(names, ", ")));
                                 };
                               });

}  // namespace
