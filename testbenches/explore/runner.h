// SPDX-License-Identifier: Apache-2.0
// Runs schedules, each from the warm stage, in another process: nothing has to be undone here, and a schedule that
// makes the model itself crash takes nothing along. What that process has to say goes through shared memory.
//
// One executor runs schedule after schedule and puts its memory back in between (sim/snapshot.h); one that crashed is
// replaced by a new fork of the warm stage. Where snapshots are not possible every schedule has a fork of its own.
#pragma once
#include <sys/types.h>

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

/// How one schedule is kept from the next.
enum class Isolation : std::uint8_t { kSnapshot, kFork };
/// kSnapshot where this build can do it.
Isolation usual_isolation();

class Runner {
 public:
  /// Builds the stage and warms it up. One a process.
  explicit Runner(const StageConfig& config, Isolation isolation = usual_isolation());
  ~Runner();

  Outcome run(const Schedule& schedule, const Policy& policy = {});
  /// What the last run was asked, up to the capacity. Valid until the next run.
  const Record* records() const;
  std::uint32_t recorded() const;

  unsigned cores() const { return config_.run.machine.kernel.cores; }
  const StageConfig& config() const { return config_; }
  std::uint64_t runs() const { return runs_; }
  /// From the next schedule on.
  void set_isolation(Isolation isolation) { isolation_ = isolation; }
  /// CPU time of the executor so far, which nobody has waited for yet.
  double executor_cpu_seconds() const;

 private:
  struct Shared;
  void ask(const Schedule& schedule, const Policy& policy);
  int run_in_fork();
  int run_in_executor();
  void start_executor();
  [[noreturn]] void executor(int channel);
  void execute();

  StageConfig config_;
  Isolation isolation_;
  std::unique_ptr<Stage> stage_;
  Shared* shared_ = nullptr;
  pid_t executor_ = -1;
  int channel_ = -1;  ///< to the executor: one byte = run what is asked; back: it has ended
  std::uint64_t runs_ = 0;
};

}  // namespace explore
