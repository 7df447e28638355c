// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <iostream>

#include "testbenches/cli/command.h"
#include "testbenches/conform/pagepool_conform.h"

namespace {

const cli::Conformance kPagepool(
    "pagepool", "Pool scripts against recordings of the kernel's own code",
    [](CLI::App& app, const cli::Context&) {
      auto options = std::make_shared<conform::PagepoolConformOptions>();
      auto version = std::make_shared<std::string>("6.12");
      auto expect = std::make_shared<std::string>();
      app.add_option("--version", *version, "Kernel: 6.12 (strategy stock) or 6.18 (xarray_merged)")
          ->capture_default_str();
      app.add_option("--expect", *expect,
                     "Compare with this file instead of printing; exit 1 if they differ");
      app.add_option("files", options->files, "Scripts, plain or .gz, - or none: standard input");
      return [=] {
        options->version = conform::parse_pool_version(*version);
        if (!expect->empty()) options->expect = *expect;
        return conform::run_pagepool_conform(*options, std::cout);
      };
    });

}  // namespace
