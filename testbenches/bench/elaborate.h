// SPDX-License-Identifier: Apache-2.0
// SystemC elaborates once a process, so every benchmark that needs modules makes them before the first one runs. A
// process makes those of one family only: what else hangs on the same SystemC kernel would keep a machine from running
// ahead as it does in `poolsim run`.
#pragma once
#include <string>
#include <vector>

namespace bench {

struct Family {
  std::string prefix;  ///< of the names of its benchmarks
  void (*make)();
};

inline std::vector<Family>& families() {
  static std::vector<Family> all;
  return all;
}

/// `const bench::Elaborate kMake("BM_Machine", [] { machine(); });` - where machine() holds a function-local static.
struct Elaborate {
  Elaborate(std::string prefix, void (*make)()) { families().push_back({std::move(prefix), make}); }
};

}  // namespace bench
