// SPDX-License-Identifier: Apache-2.0
// `schedule:` of a campaign file: who decides the order of the cores once the fault is in. Without it
// simulated time does, in the golden run and in experiments.
//
//   natural   simulated time
//   random    at each point the running core gives way with a probability
//   pct       random priorities of the cores and of time, with depth - 1 changes (explore/search.h)
//   replay    the steps of a schedule, as explore prints them
//
// The golden run is natural, so that an experiment never becomes as the golden run again by itself: what it
// led to is judged by findings, packets and detections; `masked` needs the same state at the end.
#pragma once
#include <string>

#include "platform/parameters.h"
#include "sim/types.h"
#include "testbenches/explore/schedule.h"

namespace campaign {

class World;

/// How the detail of an experiment begins whose schedule never came to decide.
inline constexpr const char* kUnscheduled = "no moment with all cores idle: simulated time ordered them";

struct ScheduleSpec {
  enum class Strategy : std::uint8_t { kNatural, kRandom, kPct, kReplay };
  Strategy strategy = Strategy::kNatural;
  unsigned depth = 3;                          ///< pct
  std::uint64_t points = 2000;                 ///< pct: of which so many changes are drawn
  std::string switch_text = "5%", steps_text;  ///< as in the file
  double switch_probability = 0.05;            ///< random
  explore::Schedule steps;                     ///< replay
  sim::Tick longest_hold =
      50 * sim::kMicrosecond;  ///< all cores are held at most so long for hardware to do something

  void parameters(platform::ParameterSet& set);
  /// Throws sim::Error "schedule.key: what is wrong".
  void validate();
};

/// From now on the spec decides, whoever did before. Runs `world` on to the next moment at which all cores
/// are idle, at most 1 ms. False: there was none, and simulated time goes on to decide. `seed`: of the
/// experiment.
bool interleave(World& world, const ScheduleSpec& spec, std::uint64_t seed);

}  // namespace campaign
