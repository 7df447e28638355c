// SPDX-License-Identifier: Apache-2.0
// A DRAM configuration from YAML (mm/configs/*.yaml): the fields of mm::DramConfig and, under `timing`, of
// mm::DramTiming. What is not given comes from `standard` and the defaults.
#pragma once
#include <string>

#include "mm/dram_controller.h"

namespace conform {

/// Throws sim::Error: file:line and the key for unknown keys and wrong types; the file and the rule for
/// values that break one.
mm::DramConfig read_dram_config(const std::string& path);

}  // namespace conform
