// SPDX-License-Identifier: Apache-2.0
#include "testbenches/campaign/fault.h"

#include "testbenches/campaign/world.h"

namespace campaign {

void Injection::acted() {
  if (acted_) return;
  acted_ = true;
  acted_at_ = world.now();
}

const std::vector<FaultKind>& fault_kinds() {
  static const std::vector<FaultKind> all = [] {
    std::vector<FaultKind> kinds = memory_kinds();
    for (auto table : {device_kinds(), kernel_kinds()}) kinds.insert(kinds.end(), table.begin(), table.end());
    return kinds;
  }();
  return all;
}

const FaultKind& find_fault_kind(std::string_view key) {
  std::vector<std::string> keys;
  for (const FaultKind& k : fault_kinds()) {
    if (key == k.key) return k;
    keys.emplace_back(k.key);
  }
  throw sim::Error(fmt::format("no fault kind '{}'{}", key, sim::suggestion(std::string(key), keys)));
}

}  // namespace campaign
