// SPDX-License-Identifier: Apache-2.0
// A command line run in this process, with what it prints.
#pragma once
#include <gtest/gtest.h>

#include <cstdio>
#include <string>
#include <vector>

#include "testbenches/cli/command.h"

namespace cli_test {

struct Outcome {
  int code;
  std::string out, err;
};

/// `words` without "poolsim".
inline Outcome run(const std::vector<std::string>& words) {
  std::vector<const char*> argv{"poolsim"};
  for (const std::string& word : words) argv.push_back(word.c_str());
  testing::internal::CaptureStdout();
  testing::internal::CaptureStderr();
  const int code = cli::run_command(static_cast<int>(argv.size()), argv.data());
  std::fflush(stdout);
  return {code, testing::internal::GetCapturedStdout(), testing::internal::GetCapturedStderr()};
}

}  // namespace cli_test
