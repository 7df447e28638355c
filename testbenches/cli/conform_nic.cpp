// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <iostream>

#include "testbenches/cli/command.h"
#include "testbenches/conform/nic_conform.h"

namespace {

const cli::Conformance kNic("nic", "82576 scripts against recordings of another model of the chip",
                            [](CLI::App& app, const cli::Context&) {
                              auto options = std::make_shared<conform::NicConformOptions>();
                              auto expect = std::make_shared<std::string>();
                              app.add_option(
                                  "--expect", *expect,
                                  "Compare with this file instead of printing; exit 1 if they differ");
                              app.add_option("files", options->files,
                                             "Scripts, plain or .gz, - or none: standard input");
                              return [=] {
                                if (!expect->empty()) options->expect = *expect;
                                return conform::run_nic_conform(*options, std::cout);
                              };
                            });

}  // namespace
