// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <iostream>

#include "testbenches/cli/command.h"
#include "testbenches/conform/iommu_conform.h"

namespace {

const cli::Conformance kIommu(
    "iommu", "Random cases of the RISC-V IOMMU architecture", [](CLI::App& app, const cli::Context&) {
      auto options = std::make_shared<conform::IommuOptions>();
      auto file = std::make_shared<std::string>("-");
      app.add_flag("--caches", options->caches, "Translate with IOTLB, directory and walk caches");
      app.add_option("file", *file, "Cases, plain or .xz, - or none: standard input");
      return [=] {
        conform::replay_iommu_file(*file, std::cout, *options);
        return 0;
      };
    });

}  // namespace
