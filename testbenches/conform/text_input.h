// SPDX-License-Identifier: Apache-2.0
// The whole text of a file: plain, .xz, or standard input ("-").
#pragma once
#include <string>

namespace conform {

/// Throws sim::Error if the file cannot be read or is damaged.
std::string read_text(const std::string& path);

}  // namespace conform
