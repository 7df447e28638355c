// SPDX-License-Identifier: Apache-2.0
// When could it still have gone well? An experiment that failed once more, up to a time as it was and from
// there on in another order of the cores, drawn again and again: the share of runs that fail all the same,
// over that time. Low at first where it takes a race, and 1 from the point of no return on.
#pragma once
#include <cstdint>
#include <vector>

#include "testbenches/campaign/replay.h"
#include "testbenches/campaign/schedule.h"

namespace campaign {

struct ReturnCurve {
  struct Point {
    sim::Tick at;  ///< from the fault
    std::uint64_t failed = 0, runs = 0;
  };
  std::vector<Point> points;
  bool reproduced = false;  ///< the experiment itself comes to what is recorded
  /// The first point from which on every run fails; kNever.
  sim::Tick no_return() const;
};
struct ReturnOptions {
  unsigned points = 20, runs = 50;  ///< times, evenly from the fault to `until`; schedules at each
  sim::Tick until = 0;              ///< from the fault; 0: when the experiment ended or was detected
  unsigned jobs = 1;
  ScheduleSpec schedule;  ///< of the other order
};
/// In a process of its own, which forks one for each run. Throws sim::Error.
ReturnCurve point_of_no_return(const Reference& reference, const ReturnOptions& options);

}  // namespace campaign
