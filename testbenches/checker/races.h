// SPDX-License-Identifier: Apache-2.0
// Data races by what happens before what: vector clocks over the modelled locks, atomics, wake-ups,
// interrupts, work and RCU, one clock a core (Flanagan, Freund: FastTrack, 2009; the rule is that of the
// kernel's memory model: two cores access a location, one writes, at least one access is not marked, and
// nothing orders them).
//
// Marked accesses count as ordering, as in the sequentially consistent machine that exploration runs. So a
// race that is told is one under every memory model; one that needs a weaker memory is not.
#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <unordered_map>
#include <vector>

#include "kernel/trace.h"

namespace checker {

/// One side of a race.
struct RaceSide {
  unsigned cpu = 0;
  bool write = false, plain = false;
  std::string chain;  ///< innermost first
  sim::Tick time = 0;
};
struct DataRace {
  std::string field;
  RaceSide earlier, later;
};

class RaceDetector {
 public:
  using Report = std::function<void(const DataRace&)>;
  RaceDetector(unsigned cores, Report report);

  void on(const kernel::MemoryAccess& e);
  void on(const kernel::Ordered& e);

 private:
  using Clock = std::vector<std::uint32_t>;  // by core
  static constexpr unsigned kChain = 8;
  struct Last {
    std::uint32_t at = 0;  // of its core's clock; 0: never
    bool plain = false;
    std::uint8_t depth = 0;
    const char* chain[kChain];  // innermost first
    sim::Tick time = 0;
  };
  struct Location {
    unsigned writer = 0;
    Last write;
    std::vector<Last> reads;  // by core
  };
  static void join(Clock& to, const Clock& from);
  Clock& object(std::uint64_t id);
  void compare(const kernel::MemoryAccess& e, unsigned other, const Last& last, bool last_writes);

  unsigned cores_;
  Report report_;
  std::vector<Clock> now_;  // of the cores
  std::unordered_map<std::uint64_t, Clock> objects_;
  std::unordered_map<std::uint64_t, Location> locations_;
};

}  // namespace checker
