// SPDX-License-Identifier: Apache-2.0
// When and where a figure was made: what every document that holds figures says.
#pragma once
#include <string>

namespace cli {

/// "28 November 2026".
std::string today();
/// Model name of the CPU, as the system tells it.
std::string machine();

}  // namespace cli
