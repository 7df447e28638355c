// SPDX-License-Identifier: Apache-2.0
// SystemC elaborates once a process, so every benchmark that needs modules makes them before the first one runs.
#pragma once
#include <vector>

namespace bench {

inline std::vector<void (*)()>& elaborations() {
  static std::vector<void (*)()> all;
  return all;
}

/// `static bench::Elaborate e([] { machine(); });` - where machine() holds a function-local static.
struct Elaborate {
  explicit Elaborate(void (*make)()) { elaborations().push_back(make); }
};

}  // namespace bench
