// SPDX-License-Identifier: Apache-2.0
// Where the lines that devices write end up: in the last-level cache (DDIO: write allocation into some of its
// ways) or in DRAM only. It answers one question of the cores' price model (kernel/coherence.h,
// Context::load_from_device): is the line that a device wrote last still in a cache, or must it be fetched
// from DRAM?
//
// ddio = false: a device's write invalidates the cached copy, and the next load of the line goes to DRAM.
// ddio_ways = n: device writes share n ways of `sets` sets, least recently written out first; what they push
// out is in DRAM only. ddio_ways = 0: as many as are needed, so that nothing is ever pushed out; then there
// is nothing to keep and no DeviceCache is needed.
//
// Lines are hashed to sets by page and line, as LineDirectory does. A line that no device ever wrote counts
// as cached.
#pragma once
#include <cstdint>
#include <unordered_set>
#include <vector>

#include "sim/error.h"
#include "sim/types.h"

namespace mm {

struct DeviceCacheConfig {
  bool ddio = true;
  unsigned ddio_ways = 0;  ///< 0: no limit
  unsigned sets = 8192;    ///< power of two; 8192 sets of 16 ways of 64 bytes are 8 MiB

  /// Whether there is anything to track.
  bool tracked() const { return !ddio || ddio_ways != 0; }
  void validate() const {
    if (sets == 0 || (sets & (sets - 1)) != 0) throw sim::Error("memory.cache.sets: not a power of two");
  }
};

class DeviceCache {
 public:
  explicit DeviceCache(const DeviceCacheConfig& config)
      : config_(config), tags_(std::size_t{config.sets} * config.ddio_ways, kEmpty) {}

  /// A device wrote the range. In the order of the writes.
  void device_wrote(sim::PhysAddr address, std::uint64_t length) {
    for (std::uint64_t line = address.value / 64; line <= (address.value + length - 1) / 64; ++line)
      wrote(line);
  }
  /// A core loads the line: true if it must come from DRAM; it is cached from then on.
  bool fetch(sim::PhysAddr address) {
    const bool miss = in_memory_only_.erase(address.value / 64) != 0;
    misses_ += miss;
    return miss;
  }
  std::uint64_t misses() const { return misses_; }
  std::uint64_t evictions() const { return evictions_; }

 private:
  static constexpr std::uint64_t kEmpty = ~std::uint64_t{0};
  void wrote(std::uint64_t line) {
    if (!config_.ddio) {
      in_memory_only_.insert(line);
      return;
    }
    const std::uint64_t page = (line >> 6) * 0x9e37'79b9'7f4a'7c15;
    const std::size_t set = (page >> 32 << 6 | (line & 63)) & (config_.sets - 1);
    std::uint64_t* const ways = &tags_[set * config_.ddio_ways];
    // The ways of a set in order of their last write.
    std::uint64_t moved = line;
    unsigned way = 0;
    for (; way < config_.ddio_ways; ++way) {
      std::swap(moved, ways[way]);
      if (moved == line || moved == kEmpty) break;
    }
    if (way == config_.ddio_ways) {
      in_memory_only_.insert(moved);
      ++evictions_;
    }
    in_memory_only_.erase(line);
  }

  DeviceCacheConfig config_;
  std::vector<std::uint64_t> tags_;
  std::unordered_set<std::uint64_t> in_memory_only_;  // looked up, never walked
  std::uint64_t misses_ = 0, evictions_ = 0;
};

}  // namespace mm
