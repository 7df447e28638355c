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

std::vector<CensusEntry> DefUse::census(std::span<const Cell> cells, unsigned low, unsigned high,
                                        sim::Tick from, sim::Tick to) const {
  std::vector<CensusEntry> all;
  for (std::size_t n = 0; n < cells.size(); ++n) {
    const unsigned end = std::min(high + 1, cells[n].bytes * 8);
    // Word by word: its bits have their classes in common.
    for (unsigned bit = low, next = 0; bit < end; bit = next) {
      const std::uint64_t address = cells[n].address.value + bit / 8;
      next =
          std::min<unsigned>(end, static_cast<unsigned>((address / 8 + 1) * 8 - cells[n].address.value) * 8);
      for (sim::Tick t = from; t < to;) {
        DefUseClass c = find(sim::PhysAddr(address), t);
        c.from = t, c.to = std::min(c.to, to);
        t = c.to;
        if (c.fate != ClassFate::kLive) {
          all.push_back({n, bit, next - bit, c});
          continue;
        }
        for (unsigned b = bit; b < next; ++b) all.push_back({n, b, 1, c});
      }
    }
  }
  return all;
}

}  // namespace campaign
