// SPDX-License-Identifier: Apache-2.0
// What is stuck, and why: deadlock, livelock, lost wake-up. Two of them are certain before the end of
// patience: a circle of tasks of which each waits for what the next one has, and code that has taken many
// steps while nothing changed.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "platform/machine.h"
#include "testbenches/checker/finding.h"

namespace explore {

struct Stuck {
  checker::FindingClass kind = checker::FindingClass::kLivelock;
  const kernel::Task* task = nullptr;  ///< one side; null: the schedule starves somebody, and that is all
  std::string whom;                    ///< the other one
  std::string detail;
};

class Watch {
 public:
  /// `futile_steps`: points of the baton and wake-ups without any change of pages, mappings, devices or
  /// packets that make a livelock.
  Watch(platform::Machine& machine, const kernel::Baton& baton, std::uint64_t futile_steps);

  /// Something that is stuck for certain, if anything is. Outside of the modelled code. `racers`: the tasks
  /// that should come to an end.
  std::optional<Stuck> look(const std::vector<kernel::Task*>& racers);
  /// Patience is over and `task` has not ended.
  Stuck judge(const kernel::Task& task, const std::vector<kernel::Task*>& racers) const;

 private:
  std::uint64_t steps() const;
  bool somebody_is_held() const;
  std::optional<Stuck> circle_from(const kernel::Task& task) const;
  const kernel::Task* futile_task(const std::vector<kernel::Task*>& racers) const;

  platform::Machine& machine_;
  const kernel::Baton& baton_;
  std::uint64_t futile_steps_;
  std::uint64_t changes_ = 0, seen_changes_ = 0;
  std::uint64_t steps_then_ = 0;  // when the last change was seen
};

}  // namespace explore
