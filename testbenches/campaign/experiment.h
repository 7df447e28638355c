// SPDX-License-Identifier: Apache-2.0
// One experiment: which fault and when, run from a warm machine, compared with the golden run, judged.
#pragma once
#include "testbenches/campaign/golden.h"
#include "testbenches/campaign/record.h"

namespace campaign {

/// What experiment `id` is, as far as it is known before it runs.
struct Plan {
  std::uint64_t id = 0, fault = 0;  ///< fault number: the same for every variant
  std::size_t variant = 0, spec = 0;
  bool reached = false;    ///< false: the trigger never comes
  bool exhausted = false;  ///< nth=all, each: there are not that many
  bool audit = false;
  sim::Tick fork = 0;      ///< last moment that it shares with the golden run
  std::uint64_t pass = 0;  ///< Injection::pass
  // defuse(...) only.
  bool classed = false;
  ClassFate fate = ClassFate::kLive;
  Cell target{sim::PhysAddr(0), 0, {}};
  unsigned target_bit = 0;
  sim::Tick drawn = 0;  ///< the coordinate; `fork` is the start of its class
  std::uint64_t weight = 1;
};
Plan make_plan(const Campaign& campaign, const Golden& golden, std::uint64_t id);

/// From `at` on another order of the cores than that of the campaign: what the experiment would have led to.
struct Deviation {
  sim::Tick at;
  ScheduleSpec schedule;
  std::uint64_t seed;
};
/// Runs the experiment on `world`, which stands at plan.fork, and fills the row. The world is used up.
void run_experiment(World& world, const Campaign& campaign, const Golden& golden, const Plan& plan, Row& row,
                    const Deviation* deviation = nullptr);
/// The row of an experiment of a dead or dormant class: known without running it.
void not_run(const Plan& plan, Row& row);
/// The row of an experiment whose trigger never comes: known without running it.
void not_reached(const Plan& plan, Row& row);

}  // namespace campaign
