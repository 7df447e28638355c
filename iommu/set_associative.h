// SPDX-License-Identifier: Apache-2.0
// A set-associative array with LRU, tree-PLRU or random replacement. The user says which set an item belongs
// to and how to recognise it; the array knows age and victims only. No allocation after construction.
#pragma once
#include <cstdint>
#include <vector>

#include "iommu/config.h"
#include "sim/random.h"

namespace iommu {

/// `Entry` is default constructible and has a member `bool valid`.
template <class Entry>
class SetAssociative {
 public:
  SetAssociative(const CacheConfig& config, sim::RandomStream random)
      : config_(config),
        random_(random),
        entries_(config.entries()),
        stamp_(config.entries(), 0),
        tree_(config.sets, 0) {}

  unsigned sets() const { return config_.sets; }
  unsigned ways() const { return config_.ways; }
  std::vector<Entry>& all() { return entries_; }
  const std::vector<Entry>& all() const { return entries_; }

  /// The valid entry of set `index % sets` that `match` accepts, or null. Does not change ages: see touch().
  template <class Match>
  Entry* find(std::uint64_t index, Match&& match) {
    Entry* row = &entries_[(index & (config_.sets - 1)) * config_.ways];
    for (unsigned way = 0; way < config_.ways; ++way) {
      if (row[way].valid && match(row[way])) return &row[way];
    }
    return nullptr;
  }

  /// Makes `entry` the most recently used of its set.
  void touch(const Entry* entry) {
    const auto at = static_cast<std::size_t>(entry - entries_.data());
    switch (config_.replacement) {
      case Replacement::kLru:
        stamp_[at] = ++clock_;
        break;
      case Replacement::kPlru:
        touch_tree(at / config_.ways, static_cast<unsigned>(at % config_.ways));
        break;
      case Replacement::kRandom:
        break;
    }
  }

  /// The place for a new item of set `index % sets`: an invalid way, else the victim. The caller fills it and
  /// touches it.
  Entry* place(std::uint64_t index) {
    const std::size_t set = index & (config_.sets - 1);
    Entry* row = &entries_[set * config_.ways];
    for (unsigned way = 0; way < config_.ways; ++way) {
      if (!row[way].valid) return &row[way];
    }
    return &row[victim(set)];
  }

  /// Invalidates every valid entry that `match` accepts. Returns how many.
  template <class Match>
  unsigned drop(Match&& match) {
    unsigned n = 0;
    for (Entry& e : entries_) {
      if (e.valid && match(e)) {
        e.valid = false;
        ++n;
      }
    }
    return n;
  }

 private:
  unsigned victim(std::size_t set) {
    switch (config_.replacement) {
      case Replacement::kRandom:
        return static_cast<unsigned>(random_.below(config_.ways));
      case Replacement::kPlru:
        return victim_of_tree(set);
      case Replacement::kLru:
        break;
    }
    const std::uint64_t* stamp = &stamp_[set * config_.ways];
    unsigned oldest = 0;
    for (unsigned way = 1; way < config_.ways; ++way) {
      if (stamp[way] < stamp[oldest]) oldest = way;
    }
    return oldest;
  }

  // Tree-PLRU: node n (root 1) holds a bit that points to the half to evict from next.
  void touch_tree(std::size_t set, unsigned way) {
    unsigned node = 1;
    for (unsigned half = config_.ways / 2; half > 0; half /= 2) {
      const unsigned right = (way / half) & 1;
      if (right != 0) {
        tree_[set] &= ~(std::uint64_t{1} << node);
      } else {
        tree_[set] |= std::uint64_t{1} << node;
      }
      node = 2 * node + right;
    }
  }
  unsigned victim_of_tree(std::size_t set) const {
    unsigned node = 1, way = 0;
    for (unsigned half = config_.ways / 2; half > 0; half /= 2) {
      const auto right = static_cast<unsigned>((tree_[set] >> node) & 1);
      way += right * half;
      node = 2 * node + right;
    }
    return way;
  }

  CacheConfig config_;
  sim::RandomStream random_;
  std::vector<Entry> entries_;
  std::vector<std::uint64_t> stamp_;
  std::vector<std::uint64_t> tree_;
  std::uint64_t clock_ = 0;
};

}  // namespace iommu
