// SPDX-License-Identifier: Apache-2.0
// Runs schedules, each in a fork of the warm stage: nothing has to be undone, and a schedule that makes the model
// itself crash takes nothing along. What a child has to say goes through one shared page range.
#pragma once
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "testbenches/explore/schedule.h"
#include "testbenches/explore/stage.h"

namespace explore {

struct FoundFinding {
  std::string kind;    ///< class, as the checker spells it
  std::string place;   ///< chain, innermost first
  std::string who, whom, detail, holder;
  sim::Tick time = 0;
  /// Same class at the same place by the same kind of party: the same thing.
  std::string key() const { return kind + " at " + place.substr(0, place.find(" <- ", place.find(" <- ") + 1)); }
};

/// What became of one schedule.
struct Outcome {
  std::vector<FoundFinding> findings;
  Schedule taken;  ///< the answers that were not natural
  std::uint32_t points = 0;
  std::string digest;
  bool finished = false;
  int signal = 0;  ///< that ended the child, or 0
  std::uint64_t wakeups = 0;
  bool has(std::string_view kind) const;
};

class Runner {
 public:
  /// Builds the stage and warms it up. One a process.
  explicit Runner(const StageConfig& config);
  ~Runner();

  Outcome run(const Schedule& schedule, const Policy& policy = {});
  /// What the last run was asked, up to the capacity. Valid until the next run.
  const Record* records() const;
  std::uint32_t recorded() const;

  unsigned cores() const { return config_.run.machine.kernel.cores; }
  const StageConfig& config() const { return config_; }
  std::uint64_t runs() const { return runs_; }

 private:
  struct Shared;
  void child(const Schedule& schedule, const Policy& policy);

  StageConfig config_;
  std::unique_ptr<Stage> stage_;
  Shared* shared_ = nullptr;
  std::uint64_t runs_ = 0;
};

}  // namespace explore
