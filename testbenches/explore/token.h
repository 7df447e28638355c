// SPDX-License-Identifier: Apache-2.0
// A finding in one line: scenario, strategy, settings, schedule, what it leads to and which build made it.
//
//   poolsim:1 strategy=scan set=explore.story=return_vs_destroy set=explore.pages=2 schedule=0.17>1
//   finding=double_unmap digest=... build=...        (one line)
//
// file=, the name of a scenario file, may stand for some of the settings.
#pragma once
#include <string>
#include <vector>

#include "testbenches/explore/stage.h"

namespace explore {

struct Token {
  std::string file;                ///< scenario file; empty: the defaults
  std::string strategy;
  std::vector<std::string> settings;  ///< a.b=c
  Schedule schedule;
  std::string finding;  ///< class
  std::string digest;
  std::string build;
};

std::string to_text(const Token& token);
/// The same without a file: what the file and the environment say is in the settings. Throws sim::Error.
Token self_contained(const Token& token);
/// Does this look like a token, or like a file that holds one?
bool is_token(const std::string& text);
/// A token, or the name of a file whose first line that is no comment is one. Throws sim::Error.
Token read_token(const std::string& text_or_file);

/// Identifies the code of this program: a schedule means what it meant only in the build that made it.
std::string build_id();
/// The stage that a token names.
StageConfig load(const Token& token);

}  // namespace explore
