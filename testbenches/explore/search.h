// SPDX-License-Identifier: Apache-2.0
// Searches over schedules of one scenario with one strategy.
//
//   random    a switch at each point with a probability that changes from schedule to schedule
//   pct       random priorities of the cores and of time, DEPTH - 1 places where the running one drops to the bottom
//             (Burckhardt et al. 2010): a bug of that depth is hit with probability >= 1 / (n k^(DEPTH-1))
//   preempt   all schedules with 0, 1, 2, ... departures from the natural one, at points that conflict
//   dfs       all schedules, one after another
//   dpor      all orders of dependent accesses (Flanagan, Godefroid 2005), with sleep sets; time stays natural
#pragma once
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "testbenches/explore/runner.h"

namespace explore {

enum class Method : std::uint8_t { kRandom, kPct, kPreempt, kDfs, kDpor };
const char* to_string(Method method);
/// sim::Error with the nearest name.
Method parse_method(const std::string& word);

struct SearchOptions {
  Method method = Method::kPct;
  unsigned depth = 3;           ///< pct: bug depth; preempt: most departures
  std::uint64_t budget = 1000;  ///< schedules
  std::uint64_t seed = 1;
  std::uint64_t first = 0;      ///< random, pct: go on with this schedule (resume)
};

/// One thing that was found, by its shortest schedule so far.
struct Found {
  FoundFinding finding;
  Schedule schedule;
  std::string digest;
  std::uint64_t after = 0;  ///< schedules until it was first seen
  std::uint64_t seen = 0;   ///< schedules that led to it
  bool natural = false;     ///< it happens without any departure
};

struct SearchResult {
  std::uint64_t schedules = 0;
  std::uint64_t crashes = 0;
  std::uint32_t points = 0;  ///< of the natural run
  std::uint64_t different = 0;  ///< runs that no earlier one had the digest of; counted up to a million
  unsigned level = 0;           ///< preempt: departures of the schedules that are run now
  std::uint64_t in_level = 0, of_level = 0;
  bool exhausted = false;    ///< all of what the method covers
  bool interrupted = false;
  double bound = 0;          ///< pct: probability to hit a bug of that depth in one schedule
  double seconds = 0, cpu_seconds = 0;
  std::map<std::string, Found> found;  ///< by FoundFinding::key()
};

/// Called about once a second; false ends the search.
using Progress = std::function<bool(const SearchResult&)>;

SearchResult search(Runner& runner, const SearchOptions& options, const Progress& progress);

/// The shortest schedule that still leads to a finding of this class at this place (delta debugging over the
/// departures, then each one singly). At most `budget` runs.
Schedule shrink(Runner& runner, const Schedule& schedule, const std::string& key, std::uint64_t budget);

}  // namespace explore
