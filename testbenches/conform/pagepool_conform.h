// SPDX-License-Identifier: Apache-2.0
// `poolsim conform pagepool`: runs pool scripts through the page_pool template in ScriptEnv and prints, op by
// op, what the kernel's own code was recorded to do. 6.12 is V612 with strategy `stock`, 6.18 is V618 with
// `xarray_merged`. An op of the format that a version lacks answers `unsupported`.
#pragma once
#include <iosfwd>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "testbenches/conform/pool_script.h"

namespace conform {

enum class PoolVersion { v6_12, v6_18 };
/// "6.12" or "6.18"; sim::Error otherwise.
PoolVersion parse_pool_version(std::string_view word);

/// The output of one script, from a fresh world.
std::string run_pool_script(const PoolScriptText& script, PoolVersion version);
/// The outputs of all scripts of `text` (from `file`, for errors); each after its `=== NAME` line when it has
/// one.
std::string run_pool_scripts(std::string_view file, std::string_view text, PoolVersion version);

/// Where two outputs part: the scripts's name, the last state line before, both lines. Nothing when equal.
std::optional<std::string> first_difference(std::string_view got, std::string_view expected);

/// A whole file, unpacked when it is gzip; "-" is standard input. sim::Error when unreadable or truncated.
std::string read_text_file(const std::string& path);

struct PagepoolConformOptions {
  PoolVersion version = PoolVersion::v6_12;
  std::vector<std::string> files;     // none: standard input
  std::optional<std::string> expect;  // compare with this file instead of printing
};
/// The command. 0: printed, or equal; 1: differs (difference on `out`). Bad input throws sim::Error.
int run_pagepool_conform(const PagepoolConformOptions& options, std::ostream& out);

}  // namespace conform
