// SPDX-License-Identifier: Apache-2.0
// The shell script that records on a real machine what `poolsim replay` reads: tracefs and kprobes, no other
// tool.
#pragma once
#include <string>

namespace trace {

/// A kernel release, "6.12.26" or "6.6" (what follows, "-amd64", is of no account).
struct KernelVersion {
  unsigned major = 0, minor = 0;
  std::string text;

  /// Throws sim::Error for what is no version, or older than 5.15: its page_pool has other functions.
  static KernelVersion parse(const std::string& text);
  auto operator<=>(const KernelVersion& other) const = default;
  bool at_least(unsigned a, unsigned b) const { return major != a ? major > a : minor >= b; }
};

/// Runs under a POSIX shell as root.
std::string capture_script(const KernelVersion& version);

}  // namespace trace
