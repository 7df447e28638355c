// SPDX-License-Identifier: Apache-2.0
// What is wrong with the *user's* input: one exception type with place and the nearest valid choice.
// The model's own laws are assertions (POOLSIM_ASSERT), never Errors.
#pragma once
#include <fmt/format.h>

#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace sim {

/// Bad input. what() is one line: `FILE:LINE: message (did you mean 'x'?)`. The command exits with 2.
class Error : public std::runtime_error {
 public:
  explicit Error(const std::string& message) : std::runtime_error(message) {}
  /// `line` 0 = no line known.
  Error(std::string_view file, std::size_t line, std::string_view message)
      : std::runtime_error(line != 0 ? fmt::format("{}:{}: {}", file, line, message)
                                     : fmt::format("{}: {}", file, message)) {}
};

/// The candidate nearest to `word` by edit distance, or "" if none is near.
std::string nearest(std::string_view word, const std::vector<std::string>& candidates);

/// ` (did you mean 'x'?)`, or ` (one of: a, b, c)` when nothing is near.
std::string suggestion(std::string_view word, const std::vector<std::string>& candidates);

/// A broken law of the model itself.
class ModelError : public std::logic_error {
 public:
  using std::logic_error::logic_error;
};

[[noreturn]] void model_error(const char* expression, const char* file, int line);

}  // namespace sim

/// Laws of the model; stay on in release builds.
#define POOLSIM_ASSERT(expr) \
  (__builtin_expect(static_cast<bool>(expr), 1) ? void(0) : ::sim::model_error(#expr, __FILE__, __LINE__))
