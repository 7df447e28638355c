// SPDX-License-Identifier: Apache-2.0
#include "mm/cache_hierarchy.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>

#include "sim/error.h"

namespace mm {
namespace {

constexpr std::uint64_t kLineBytes = 64;

void check_level(const std::string& path, const char* level, std::uint64_t bytes, unsigned ways) {
  if (ways == 0 || ways > 32)
    throw sim::Error(fmt::format("{}.{}_ways: {} is not in 1..32", path, level, ways));
  const std::uint64_t set_bytes = ways * kLineBytes, sets = bytes / set_bytes;
  if (sets != 0 && bytes % set_bytes == 0 && std::has_single_bit(sets)) return;
  const std::uint64_t nearest = std::bit_floor(std::max<std::uint64_t>(sets, 1)) * set_bytes;
  throw sim::Error(
      fmt::format("{}.{}_size: {} bytes are not a power of two of sets of {} ways of 64 bytes (nearest: {})",
                  path, level, bytes, ways, nearest));
}

}  // namespace

void CacheConfig::validate(const std::string& path) const {
  check_level(path, "l1", l1_bytes, l1_ways);
  check_level(path, "l2", l2_bytes, l2_ways);
  check_level(path, "llc", llc_bytes, llc_ways);
  if (l2_bytes < l1_bytes)
    throw sim::Error(fmt::format("{}.l2_size: smaller than L1, which it contains", path));
  if (llc_bytes < l2_bytes)
    throw sim::Error(fmt::format("{}.llc_size: smaller than L2, which it contains", path));
  if (ddio_ways == 0 || ddio_ways > llc_ways)
    throw sim::Error(
        fmt::format("{}.ddio_ways: {} is not in 1..{}, the ways of the LLC", path, ddio_ways, llc_ways));
}

CacheHierarchy::Tags::Tags(std::uint64_t bytes, unsigned ways, unsigned apart)
    : ways_(ways),
      apart_(apart),
      set_mask_(bytes / kLineBytes / ways - 1),
      rest_(static_cast<std::uint32_t>((set_mask_ + 1) * apart)),
      tags_(bytes / kLineBytes, kNone),
      used_(bytes / kLineBytes, 0),
      valid_(bytes / kLineBytes / ways, 0) {}

std::uint32_t CacheHierarchy::Tags::victim(Line line, unsigned ways) {
  const std::uint32_t set = set_of(line);
  const std::uint32_t all = ways == 32 ? ~0u : (1u << ways) - 1;
  const std::uint32_t free = ~valid_[set] & all;
  if (free != 0) return index_of(set, static_cast<std::uint32_t>(std::countr_zero(free)));
  const std::uint32_t apart = std::min(ways, apart_), rest = ways - apart;
  const std::uint32_t first = set * apart_, first_of_rest = index_of(set, apart_);
  std::uint32_t i = unused(first, apart);
  if (i == kMiss) i = unused(first_of_rest, rest);
  if (i != kMiss) return i;
  // All were: from now on none was.
  std::fill_n(used_.begin() + first, apart, std::uint8_t{0});
  std::fill_n(used_.begin() + first_of_rest, rest, std::uint8_t{0});
  return index_of(set, 0);
}

CacheHierarchy::CacheHierarchy(const CacheConfig& config, unsigned cores)
    : config_((config.validate(), config)),
      llc_(config.llc_bytes, config.llc_ways, config.ddio ? config.ddio_ways : 0),
      directory_(llc_.size()) {
  POOLSIM_ASSERT(cores >= 1 && cores <= kMaxCores);
  for (unsigned i = 0; i < cores; ++i)
    cores_.push_back({Tags(config.l1_bytes, config.l1_ways), Tags(config.l2_bytes, config.l2_ways),
                      std::vector<std::uint32_t>(config.l2_bytes / kLineBytes)});
}

CacheHierarchy::Entry& CacheHierarchy::entry_of(Line line) {
  const std::uint32_t i = llc_.find(line);
  POOLSIM_ASSERT(i != kMiss);  // the LLC contains what the cores have
  return directory_[i];
}

/// Takes a line from a core. What is not in L2 is not in L1.
[[gnu::noinline]] void CacheHierarchy::drop(unsigned core, Line line) {
  Private& mine = cores_[core];
  if (mine.last == line) mine.last = kNone;
  const std::uint32_t in_l2 = mine.l2.find(line);
  if (in_l2 == kMiss) return;
  if (const std::uint32_t i = mine.find_in_l1(line, in_l2); i != kMiss) mine.l1.remove(line, i);
  mine.l2.remove(line, in_l2);
}

void CacheHierarchy::drop_some(Line line, Entry& entry, unsigned except) {
  for (std::uint32_t left = entry.sharers; left != 0; left &= left - 1) {
    const auto core = static_cast<unsigned>(std::countr_zero(left));
    if (core == except) continue;
    drop(core, line);
    entry.sharers &= ~(1u << core);
  }
  if (entry.owner >= 0 && static_cast<unsigned>(entry.owner) != except) entry.owner = -1;
}

/// A place in the LLC for a line that is not there.
std::uint32_t CacheHierarchy::allocate(Line line, unsigned ways) {
  const std::uint32_t i = llc_.victim(line, ways);
  if (llc_.at(i) != kNone) {
    ++counters_.llc_evictions;
    drop_sharers(llc_.at(i), directory_[i]);
  }
  llc_.place(line, i);
  directory_[i] = Entry{};
  llc_.used(i);
  return i;
}

// Flat, as fill() is: the set of the line is found once for all that is done there.
[[gnu::flatten]] void CacheHierarchy::fill_l1(unsigned core, Line line, std::uint32_t in_l2) {
  Private& mine = cores_[core];
  const std::uint32_t i = mine.l1.victim(line, mine.l1.ways());
  if (mine.last == mine.l1.at(i)) mine.last = kNone;
  mine.l1.place(line, i);
  mine.l1.used(i);
  mine.guess(line).l1 = i;
  mine.in_l1[in_l2] = i;
}

[[gnu::flatten]] void CacheHierarchy::fill(unsigned core, Line line) {
  Tags& l2 = cores_[core].l2;
  const std::uint32_t i = l2.victim(line, l2.ways());
  if (const Line out = l2.at(i); __builtin_expect(out != kNone, 0)) {
    // Written back into the LLC, which has a place for it.
    drop(core, out);
    Entry& entry = entry_of(out);
    entry.sharers &= ~(1u << core);
    if (entry.owner == static_cast<std::int8_t>(core)) entry.owner = -1;
  }
  l2.place(line, i);
  l2.used(i);
  fill_l1(core, line, i);
}

CacheLevel CacheHierarchy::load_slow(unsigned core, Line line) {
  Private& mine = cores_[core];
  const std::uint32_t guess = mine.guess(line).l1;
  if (mine.l1.at(guess) != line) return load_unguessed(core, line);
  mine.l1.used(guess);
  mine.last = line;
  mine.last_owned = false;
  return CacheLevel::kL1;
}

CacheLevel CacheHierarchy::load_unguessed(unsigned core, Line line) {
  Private& mine = cores_[core];
  const auto found = [&](CacheLevel level) {
    mine.last = line;
    mine.last_owned = false;  // looked up when it is written
    return level;
  };
  Guess& guess = mine.guess(line);
  // The common case is a line that a device has just written: what the LLC has and the core has no copy of is
  // in none of the core's caches.
  std::uint32_t i = llc_.find_apart(line);
  const bool elsewhere = i != kMiss && (directory_[i].sharers >> core & 1) == 0;
  if (!elsewhere) {
    if (const std::uint32_t in_l2 = mine.l2.find(line); in_l2 != kMiss) {
      if (const std::uint32_t in_l1 = mine.find_in_l1(line, in_l2); in_l1 != kMiss) {
        guess.l1 = in_l1;
        mine.l1.used(in_l1);
        return found(CacheLevel::kL1);
      }
      mine.l2.used(in_l2);
      fill_l1(core, line, in_l2);
      return found(CacheLevel::kL2);
    }
    i = llc_.find(line, guess.llc);
  }
  CacheLevel level = CacheLevel::kLlc;
  if (i == kMiss) {
    level = CacheLevel::kMemory;
    i = allocate(line, llc_.ways());
  }
  guess.llc = i;
  llc_.used(i);
  Entry& entry = directory_[i];
  if (entry.owner >= 0) {
    level = CacheLevel::kOtherCore;
    Private& owner = cores_[static_cast<unsigned>(entry.owner)];
    if (owner.last == line) owner.last_owned = false;
  }
  entry.owner = entry.sharers == 0 ? static_cast<std::int8_t>(core) : std::int8_t{-1};
  entry.sharers |= 1u << core;
  fill(core, line);
  return found(level);
}

CacheLevel CacheHierarchy::store_slow(unsigned core, Line line) {
  Private& mine = cores_[core];
  const Guess guess = mine.guess(line);
  if (mine.l1.at(guess.l1) != line || llc_.at(guess.llc) != line) return store_unguessed(core, line);
  Entry& entry = directory_[guess.llc];
  if (entry.sharers != 1u << core) return store_unguessed(core, line);
  mine.l1.used(guess.l1);
  llc_.used(guess.llc);
  entry.owner = static_cast<std::int8_t>(core);
  mine.last = line;
  mine.last_owned = true;
  return CacheLevel::kL1;
}

CacheLevel CacheHierarchy::store_unguessed(unsigned core, Line line) {
  Private& mine = cores_[core];
  CacheLevel level = CacheLevel::kMemory;
  Guess& guess = mine.guess(line);
  const std::uint32_t in_l2 = mine.l2.find(line);
  if (in_l2 != kMiss) {
    if (const std::uint32_t in_l1 = mine.find_in_l1(line, in_l2); in_l1 != kMiss) {
      guess.l1 = in_l1;
      mine.l1.used(in_l1);
      level = CacheLevel::kL1;
    } else {
      mine.l2.used(in_l2);
      fill_l1(core, line, in_l2);
      level = CacheLevel::kL2;
    }
  }
  std::uint32_t i = llc_.find(line, guess.llc);
  if (i == kMiss) {
    i = guess.llc = allocate(line, llc_.ways());
  } else if (level == CacheLevel::kMemory) {
    level = CacheLevel::kLlc;
  }
  llc_.used(i);
  Entry& entry = directory_[i];
  if ((entry.sharers & ~(1u << core)) != 0) {
    level = CacheLevel::kOtherCore;
    drop_sharers(line, entry, core);
  }
  entry.owner = static_cast<std::int8_t>(core);
  entry.sharers = 1u << core;
  if (in_l2 == kMiss) fill(core, line);
  mine.last = line;
  mine.last_owned = true;
  return level;
}

void CacheHierarchy::device_wrote(sim::PhysAddr address, std::uint64_t length) {
  const Line last = (address.value + length - 1) / kLineBytes;
  for (Line line = address.value / kLineBytes; line <= last; ++line) {
    ++counters_.device_lines;
    std::uint32_t i = llc_.find(line);
    if (i != kMiss) {
      drop_sharers(line, directory_[i]);
      if (!config_.ddio) llc_.remove(line, i);
    }
    if (!config_.ddio) continue;
    if (i == kMiss) {
      const std::uint64_t before = counters_.llc_evictions;
      i = allocate(line, config_.ddio_ways);
      counters_.ddio_evictions += counters_.llc_evictions - before;
    }
    llc_.used(i);
  }
}

LineState CacheHierarchy::state(unsigned core, sim::PhysAddr address) const {
  const std::uint32_t i = llc_.find(address.value >> 6);
  if (i == kMiss || (directory_[i].sharers >> core & 1) == 0) return LineState::kInvalid;
  return directory_[i].owner == static_cast<std::int8_t>(core) ? LineState::kOwned : LineState::kShared;
}

bool CacheHierarchy::cached(sim::PhysAddr address) const { return llc_.find(address.value >> 6) != kMiss; }

}  // namespace mm
