// SPDX-License-Identifier: Apache-2.0
// Dynamic partial-order reduction (Flanagan, Godefroid 2005) with sleep sets, over the records of runs. A step is
// what a core does between two of its points: the access named by the record at which it was let go. Two steps are
// dependent when they are of the same core, or access the same thing and one of them changes it.
//
// Covered: all orders of the cores' dependent steps. Not covered: hardware, timers and interrupts keep their natural
// place ("time" is never chosen where somebody could run).
#pragma once
#include <cstdint>
#include <vector>

#include "testbenches/explore/schedule.h"

namespace explore {

class Dpor {
 public:
  explicit Dpor(unsigned cores) : cores_(cores) {}

  /// The records of the run of the last schedule.
  void learn(const Record* records, std::uint32_t n);
  /// The schedule to run next; false: all have been run.
  bool next(Schedule& schedule);

 private:
  struct Access {
    std::uint64_t subject = 0;
    bool writes = false;
    bool known = false;
  };
  /// A choice that was made: who could go on, who went on, who has been tried, who must be.
  struct Node {
    Party running;
    std::uint32_t count;
    Party natural;
    std::uint32_t enabled = 0;    // cores
    std::uint32_t backtrack = 0;  // cores to try
    std::uint32_t done = 0;       // cores tried
    std::uint32_t sleep = 0;      // cores whose next step has been explored from here in another order
    Party chosen = 0;
    std::vector<Access> next{};   // per core: what its next step accesses, as far as known
  };
  static bool dependent(const Access& a, const Access& b) {
    return a.subject == b.subject && (a.writes || b.writes);
  }

  unsigned cores_;
  std::vector<Node> path_;
};

}  // namespace explore
