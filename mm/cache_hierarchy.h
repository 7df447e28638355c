// SPDX-License-Identifier: Apache-2.0
// The cores' caches in front of DRAM: L1 and L2 of each core, one last-level cache (LLC) of the socket. It
// answers one question, for the cores' price model (kernel/context.h): from where does an access get its
// line?
//
// Modelled: 64-byte lines; size and ways of each level; L2 contains L1, and the LLC contains every L2 (what
// falls out of a level falls out of those inside it); MESI by a directory in the LLC (modified/exclusive =
// one owner, shared = a set of cores, invalid); replacement by one not-recently-used bit a line; DDIO. Data
// are not kept here: function is the SparseStore's alone, so no cache can ever be wrong about a value.
//
// DDIO. A device's write takes the line from all cores and, with `ddio`, puts it into one of the first
// `ddio_ways` ways of its LLC set; what is pushed out is in DRAM only. A line that the LLC has already stays
// where it is. Without `ddio` it is in DRAM only. Device reads move nothing.
//
// Sets are chosen by a hash of the whole line number, as last-level caches do: buffers that begin at one
// offset of many pages spread over all sets.
#pragma once
#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "sim/types.h"

namespace mm {

struct CacheConfig {
  std::uint64_t l1_bytes = 32 << 10;
  unsigned l1_ways = 8;
  std::uint64_t l2_bytes = 1 << 20;
  unsigned l2_ways = 16;
  std::uint64_t llc_bytes = 8 << 20;
  unsigned llc_ways = 16;
  bool ddio = true;
  unsigned ddio_ways = 2;  ///< of the LLC's, that device writes may allocate in

  /// Sizes that are not sets x ways x 64 bytes with a power of two of sets, a level smaller than the one
  /// inside it, or more DDIO ways than ways: throws sim::Error naming `path` and the field.
  void validate(const std::string& path = "memory.cache") const;
};

/// Where an access found its line.
enum class CacheLevel : std::uint8_t { kL1, kL2, kLlc, kOtherCore, kMemory };
/// State of a line in a core's caches.
enum class LineState : std::uint8_t { kInvalid, kShared, kOwned };

class CacheHierarchy {
 public:
  static constexpr unsigned kMaxCores = 32;

  CacheHierarchy(const CacheConfig& config, unsigned cores);

  /// Core `core` reads, or writes, the line of `address`. kOtherCore: another core has it modified or
  /// exclusive, or, for a write, has a copy that goes.
  CacheLevel load(unsigned core, sim::PhysAddr address);
  CacheLevel store(unsigned core, sim::PhysAddr address);

  /// A device wrote the range. In the order of the writes.
  void device_wrote(sim::PhysAddr address, std::uint64_t length);

  LineState state(unsigned core, sim::PhysAddr address) const;
  /// Whether any cache holds the line.
  bool cached(sim::PhysAddr address) const;

  struct Counters {
    std::array<std::uint64_t, 5> loads{}, stores{};  ///< by CacheLevel
    std::uint64_t device_lines = 0;                  ///< lines written by devices
    std::uint64_t ddio_evictions = 0;                ///< lines pushed out by them
    std::uint64_t llc_evictions = 0;                 ///< all lines pushed out of the LLC
  };
  const Counters& counters() const { return counters_; }

 private:
  static constexpr std::uint64_t kNone = ~std::uint64_t{0};
  static constexpr std::uint32_t kMiss = ~std::uint32_t{0};
  using Line = std::uint64_t;  // physical address / 64

  /// Tags of one cache. A set has its ways next to each other, the first `apart` of them in an array of their
  /// own: where devices write in two ways of sixteen, an eighth of the host's memory is touched. And a byte a
  /// place for whether it was used recently: set far more often than looked at.
  class Tags {
   public:
    Tags(std::uint64_t bytes, unsigned ways, unsigned apart = 0);
    /// Index of the line, or kMiss.
    std::uint32_t find(Line line) const {
      const std::uint32_t set = set_of(line);
      if (const std::uint32_t i = find_apart(line); i != kMiss) return i;
      return search(line, rest_ + set * (ways_ - apart_), ways_ - apart_);
    }
    /// The same for the ways that are apart.
    std::uint32_t find_apart(Line line) const {
      return search(line, set_of(line) * apart_, apart_);
    }
    /// As find(), with a guess of where it is; the answer becomes the next guess.
    std::uint32_t find(Line line, std::uint32_t& guess) const {
      if (tags_[guess] == line) return guess;
      const std::uint32_t i = find(line);
      if (i != kMiss) guess = i;
      return i;
    }
    /// The line at `index` was used.
    void used(std::uint32_t index) { used_[index] = 1; }
    /// A place for the line among the first `ways` of its set; the line that was there, or kNone, is left in
    /// it.
    std::uint32_t victim(Line line, unsigned ways);
    Line at(std::uint32_t index) const { return tags_[index]; }
    /// Puts the line at `index`, a place of its set, instead of what was there.
    void place(Line line, std::uint32_t index) {
      tags_[index] = line;
      valid_[set_of(line)] |= bit_of(line, index);
    }
    /// Takes out the line, which is at `index`.
    void remove(Line line, std::uint32_t index) {
      tags_[index] = kNone;
      valid_[set_of(line)] &= ~bit_of(line, index);
    }
    unsigned ways() const { return ways_; }
    std::size_t size() const { return tags_.size(); }

   private:
    /// Index of the line among `count` places from `first` on, or kMiss.
    std::uint32_t search(Line line, std::uint32_t first, std::uint32_t count) const {
      const Line* const tags = tags_.data() + first;
      for (std::uint32_t i = 0; i < count; ++i)
        if (tags[i] == line) return first + i;
      return kMiss;
    }
    /// The first of `count` places from `first` on that was not used recently, or kMiss.
    std::uint32_t unused(std::uint32_t first, std::uint32_t count) const {
      for (std::uint32_t i = first; i < first + count; ++i)
        if (used_[i] == 0) return i;
      return kMiss;
    }
    std::uint32_t set_of(Line line) const {
      return static_cast<std::uint32_t>(line * 0x9e37'79b9'7f4a'7c15 >> 32 & set_mask_);
    }
    std::uint32_t index_of(std::uint32_t set, std::uint32_t way) const {
      return way < apart_ ? set * apart_ + way : rest_ + set * (ways_ - apart_) + (way - apart_);
    }
    /// Of the way that `index` is in the line's set.
    std::uint32_t bit_of(Line line, std::uint32_t index) const {
      const std::uint32_t set = set_of(line);
      return 1u << (index < rest_ ? index - set * apart_ : index - rest_ - set * (ways_ - apart_) + apart_);
    }
    unsigned ways_, apart_;
    std::uint64_t set_mask_;
    std::uint32_t rest_;  // index of the first place that is not apart
    std::vector<Line> tags_;
    std::vector<std::uint8_t> used_;    // per place
    std::vector<std::uint32_t> valid_;  // per set, a bit per way
  };
  /// What the LLC knows of a line.
  struct Entry {
    std::uint32_t sharers = 0;  // a bit per core that has a copy in its L2
    std::int8_t owner = -1;     // of them the only one, which may write; -1: none
  };
  /// Where in L1 and in the LLC a line was when it was last looked for.
  struct Guess {
    std::uint32_t l1 = 0, llc = 0;
  };
  struct Private {
    Guess& guess(Line line) { return guesses[line % guesses.size()]; }
    /// Index in L1 of the line that is at `place` of L2, or kMiss. Exact: who puts it into L1 says where.
    std::uint32_t find_in_l1(Line line, std::uint32_t place) const {
      return l1.at(in_l1[place]) == line ? in_l1[place] : kMiss;
    }
    Tags l1, l2;
    std::vector<std::uint32_t> in_l1;  // per place in L2: where in L1 its line was put last
    Line last = kNone;        // the line that is known to be in L1 ...
    bool last_owned = false;  // ... and whether it may be written
    std::array<Guess, 512> guesses{};  // struct pages of a ring are as many lines
  };

  CacheLevel load_slow(unsigned core, Line line);
  CacheLevel store_slow(unsigned core, Line line);
  [[gnu::noinline]] CacheLevel load_unguessed(unsigned core, Line line);
  [[gnu::noinline]] CacheLevel store_unguessed(unsigned core, Line line);
  std::uint32_t allocate(Line line, unsigned ways);
  void fill(unsigned core, Line line);
  void fill_l1(unsigned core, Line line, std::uint32_t in_l2);
  void drop(unsigned core, Line line);
  void drop_sharers(Line line, Entry& entry, unsigned except = kMaxCores) {
    if (entry.sharers != 0) drop_some(line, entry, except);
  }
  void drop_some(Line line, Entry& entry, unsigned except);
  Entry& entry_of(Line line);

  CacheConfig config_;
  std::vector<Private> cores_;
  Tags llc_;
  std::vector<Entry> directory_;  // per place in the LLC
  Counters counters_;
};

inline CacheLevel CacheHierarchy::load(unsigned core, sim::PhysAddr address) {
  const Line line = address.value >> 6;
  CacheLevel level = CacheLevel::kL1;
  if (__builtin_expect(cores_[core].last != line, 0)) level = load_slow(core, line);
  ++counters_.loads[static_cast<unsigned>(level)];
  return level;
}

inline CacheLevel CacheHierarchy::store(unsigned core, sim::PhysAddr address) {
  const Line line = address.value >> 6;
  CacheLevel level = CacheLevel::kL1;
  const Private& mine = cores_[core];
  if (__builtin_expect(mine.last != line || !mine.last_owned, 0)) level = store_slow(core, line);
  ++counters_.stores[static_cast<unsigned>(level)];
  return level;
}

}  // namespace mm
