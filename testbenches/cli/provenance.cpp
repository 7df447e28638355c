// SPDX-License-Identifier: Apache-2.0
#include "testbenches/cli/provenance.h"

#include <ctime>
#include <fstream>

namespace cli {

std::string today() {
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  ::localtime_r(&now, &local);
  char text[64];
  return std::string(text, std::strftime(text, sizeof text, "%-d %B %Y", &local));
}

std::string machine() {
  std::ifstream in("/proc/cpuinfo");
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
  }
  return "unknown CPU";
}

}  // namespace cli
