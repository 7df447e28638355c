// SPDX-License-Identifier: Apache-2.0
// Def/use classes of memory: a wrong bit does nothing before its word is read, so all moments between two
// accesses of a word are one experiment. The golden run notes who reads and writes the words that a fault may
// hit; then
//   dead      the next access overwrites the word: masked, not run
//   dormant   there is no next access: latent, not run
//   live      the next access reads it: run once, right after the access before
// Coordinates (cell, bit, time) are drawn uniformly, so a class comes up as often as it is large and each
// experiment weighs 1. With `each` every class is one experiment, and weighs what it is large: bits x
// picoseconds. Either way the share of failures is that of the whole fault space S, and |S| * share their
// number in it (Schirmeier 2015).
#pragma once
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "mm/sparse_store.h"
#include "sim/timeline.h"

namespace campaign {

/// A structure in memory that a bit can be flipped in.
struct Cell {
  sim::PhysAddr address;
  unsigned bytes;
  std::string what;
};

/// An access to a word (8 bytes) that is watched.
struct WordAccess {
  sim::Tick time;
  std::uint32_t word;
  bool defines;  ///< the whole word is overwritten
};

/// Notes accesses to the words of cells, in memory that somebody else provides.
class WordWatch final : public mm::AccessWatch {
 public:
  WordWatch(const std::map<std::uint64_t, std::uint32_t>& words, WordAccess* log, std::uint64_t* count,
            std::uint64_t capacity, const sim::Timeline& timeline)
      : words_(words), log_(log), count_(count), capacity_(capacity), timeline_(timeline) {}
  void accessed(sim::PhysAddr address, std::uint64_t length, bool write) override;

 private:
  const std::map<std::uint64_t, std::uint32_t>& words_;
  WordAccess* log_;
  std::uint64_t* count_;
  std::uint64_t capacity_;
  const sim::Timeline& timeline_;
};

enum class ClassFate : std::uint8_t { kLive, kDead, kDormant };
struct DefUseClass {
  ClassFate fate = ClassFate::kLive;
  sim::Tick from = 0,
            to = 0;  ///< [from, to): all injections in it are the same (at `from`: behind its access)
};

/// Some bits of a cell that are one experiment: of a live class one bit, of another all that are asked for.
struct CensusEntry {
  std::size_t cell;  ///< index
  unsigned bit, bits;
  DefUseClass of;  ///< within the interval asked for
  /// Its size in bits x picoseconds. Those of all entries add up to that of the fault space, exactly.
  std::uint64_t weight() const { return bits * (of.to / sim::kPicosecond - of.from / sim::kPicosecond); }
};

/// Accesses by word.
class DefUse {
 public:
  void add_cells(std::span<const Cell> cells);
  /// Address / 8 -> number of the word.
  const std::map<std::uint64_t, std::uint32_t>& words() const { return words_; }
  bool empty() const { return words_.empty(); }
  void load(std::span<const WordAccess> log);
  /// Of an injection into the word at `address` at `t`.
  DefUseClass find(sim::PhysAddr address, sim::Tick t) const;
  /// Every class of bits low..high of the cells in [from, to).
  std::vector<CensusEntry> census(std::span<const Cell> cells, unsigned low, unsigned high, sim::Tick from,
                                  sim::Tick to) const;

 private:
  std::map<std::uint64_t, std::uint32_t> words_;
  std::vector<std::vector<WordAccess>> accesses_;
};

}  // namespace campaign
