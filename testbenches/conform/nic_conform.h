// SPDX-License-Identifier: Apache-2.0
// `poolsim conform nic`: runs nic scripts against nic::Nic alone in a small memory world (and, for `world
// iommu`, with iommu::Iommu in front of memory), letting the device run until it is idle after each op.
// Prints the answer file.
#pragma once
#include <iosfwd>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "testbenches/conform/nic_script.h"

namespace conform {

/// The answers of one script, in a process of its own (SystemC elaborates once a process). A model error in
/// it is thrown here as sim::ModelError.
std::string run_nic_script(const NicScript& script);

struct NicConformOptions {
  std::vector<std::string> files;     ///< none: standard input
  std::optional<std::string> expect;  ///< compare with this file instead of printing (one script only)
};
/// The command. 0: printed, or equal; 1: differs (difference on `out`). Bad input throws sim::Error.
int run_nic_conform(const NicConformOptions& options, std::ostream& out);

}  // namespace conform
