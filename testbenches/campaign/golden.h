// SPDX-License-Identifier: Apache-2.0
// The run without a fault, written down where all processes of a variant can read it: every event of the
// digest, observations and state at a ladder of times, and when each trigger of the campaign comes.
#pragma once
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "testbenches/campaign/world.h"

namespace campaign {

/// One event of the digest as a number; equal for equal events.
std::uint64_t event_hash(const std::uint64_t* event);

/// The machine at one time of the ladder.
struct Rung {
  sim::Tick time;
  std::uint64_t events;    ///< of the digest, from the start of the machine
  std::uint64_t interval;  ///< hash of the events since the rung before
  std::uint64_t state;     ///< World::state_digest()
  Observation observation;
};

class Golden {
 public:
  /// Runs `world`, which is warm, to its end in a child of this process and keeps what it says. `to_end`:
  /// laws of the end are checked in the last observation.
  static Golden record(World& world, const Campaign& campaign);

  std::span<const Rung> rungs() const { return {rungs_, header_->rungs}; }
  /// The first rung at or after `t`, at most the last.
  std::size_t rung_at(sim::Tick t) const;
  const Rung& last() const { return rungs_[header_->rungs - 1]; }
  /// Hash and time of event number `n` (of the digest); nothing beyond what was kept.
  struct EventAt {
    std::uint64_t hash;
    sim::Tick time;
  };
  std::optional<EventAt> event(std::uint64_t n) const;
  std::uint64_t first_event() const { return header_->first_event; }
  /// Times at which the trigger's mark came, in order.
  std::span<const sim::Tick> times(const std::string& mark) const;
  /// Cells of fault spec `n` with a defuse trigger, as they were at the end of the warm-up.
  const std::vector<Cell>& cells(std::size_t n) const { return cells_[n]; }
  const DefUse& def_use() const { return def_use_; }
  /// Classes of fault spec `n` with a trigger defuse(..., each), in the order in which they are run: any
  /// first part of them is a fair sample.
  const std::vector<CensusEntry>& census(std::size_t n) const { return censuses_[n]; }
  /// Bits x picoseconds that fault spec `n` can hit; 0 if it is no defuse trigger.
  std::uint64_t space(std::size_t n) const { return spaces_[n]; }
  std::string digest() const { return header_->digest; }
  sim::Tick origin() const { return header_->origin; }

 private:
  struct Header {
    std::uint32_t complete;
    std::uint32_t rungs;
    sim::Tick origin;
    std::uint64_t first_event, events;
    char digest[40];
    char error[512];
    std::uint64_t mark_counts[64];
    std::uint64_t accesses;
  };
  void fill(World& world, const Campaign& campaign);

  Header* header_ = nullptr;
  Rung* rungs_ = nullptr;
  EventAt* events_ = nullptr;
  sim::Tick* marks_ = nullptr;
  std::map<std::string, std::size_t> mark_index_;
  WordAccess* accesses_ = nullptr;
  std::vector<std::vector<Cell>> cells_;  // by fault spec
  DefUse def_use_;
  void measure_spaces(const Campaign& campaign);
  std::vector<std::vector<CensusEntry>> censuses_;  // by fault spec
  std::vector<std::uint64_t> spaces_;
};

/// Memory that this process and all its descendants share; never given back. Touched on demand.
void* shared_memory(std::size_t bytes);

}  // namespace campaign
