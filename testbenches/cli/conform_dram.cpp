// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <iostream>

#include "testbenches/cli/command.h"
#include "testbenches/conform/dram_config.h"
#include "testbenches/conform/dram_conform.h"

namespace {

const cli::Conformance kDram(
    "dram", "Request traces through the DRAM channels", [](CLI::App& app, const cli::Context&) {
      auto options = std::make_shared<conform::DramOptions>();
      auto config = std::make_shared<std::string>();
      auto mapping = std::make_shared<std::string>();
      auto trace = std::make_shared<std::string>("-");
      app.add_option("--config", *config, "DRAM configuration (mm/configs/*.yaml)")->required();
      app.add_option("--mapping", *mapping,
                     "Address mapping instead of the configuration's: il, ro, brc or a list");
      app.add_option("--trace", *trace, "Lines `<cycle> R|W <hex address>`, - = standard input")
          ->capture_default_str();
      app.add_option("--outstanding", options->outstanding,
                     "Ignore the cycles, keep so many requests in flight");
      auto random = std::make_shared<std::uint64_t>(0);
      auto seed = std::make_shared<std::uint64_t>(1);
      app.add_option(
          "--random", *random,
          "No trace: so many DRAM commands of random traffic, under every policy, for the legality checker");
      app.add_option("--seed", *seed, "of the random traffic")->capture_default_str();
      app.add_flag("--totals", options->totals_only, "Print the totals only");
      return [=] {
        if (*random != 0) {
          mm::DramConfig c = conform::read_dram_config(*config);
          if (!mapping->empty()) c.mapping = *mapping;
          return conform::run_dram_random(c, *random, *seed, std::cout, std::cerr);
        }
        return conform::run_dram_conform(*config, *mapping, *trace, *options, std::cout, std::cerr);
      };
    });

}  // namespace
