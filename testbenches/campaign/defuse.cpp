// SPDX-License-Identifier: Apache-2.0
#include "testbenches/campaign/defuse.h"

#include <algorithm>

namespace campaign {

void WordWatch::accessed(sim::PhysAddr address, std::uint64_t length, bool write) {
  if (length == 0) return;
  const std::uint64_t end = address.value + length;
  for (auto w = words_.lower_bound(address.value / 8); w != words_.end() && w->first * 8 < end; ++w) {
    const bool whole = w->first * 8 >= address.value && w->first * 8 + 8 <= end;
    if (*count_ < capacity_) log_[*count_] = {timeline_.now(), w->second, write && whole};
    ++*count_;
  }
}

void DefUse::add_cells(std::span<const Cell> cells) {
  for (const Cell& c : cells) {
    for (std::uint64_t w = c.address.value / 8; w * 8 < c.address.value + c.bytes; ++w) {
      words_.emplace(w, static_cast<std::uint32_t>(words_.size()));
    }
  }
}

void DefUse::load(std::span<const WordAccess> log) {
  accesses_.assign(words_.size(), {});
  for (const WordAccess& a : log) accesses_[a.word].push_back(a);
}

DefUseClass DefUse::find(sim::PhysAddr address, sim::Tick t) const {
  const auto w = words_.find(address.value / 8);
  if (w == words_.end()) return {ClassFate::kLive, t, t};
  const std::vector<WordAccess>& all = accesses_[w->second];
  // An injection at t comes after everything of t.
  const auto next = std::upper_bound(all.begin(), all.end(), t,
                                     [](sim::Tick at, const WordAccess& a) { return at < a.time; });
  DefUseClass c;
  c.from = next == all.begin() ? 0 : std::prev(next)->time;
  c.to = next == all.end() ? sim::kNever : next->time;
  c.fate = next == all.end() ? ClassFate::kDormant : next->defines ? ClassFate::kDead : ClassFate::kLive;
  return c;
}

}  // namespace campaign
