// SPDX-License-Identifier: Apache-2.0
// The machine that a campaign injects into: a scenario with the checker watching, brought to the end of its
// warm-up, and from there on looked at at any time. One a process.
#pragma once
#include <array>
#include <functional>
#include <map>
#include <memory>

#include "testbenches/campaign/campaign.h"
#include "testbenches/scenario/run.h"
#include "testbenches/scenario/script.h"

namespace campaign {

/// Who in the system itself can notice that something is wrong.
enum class Detector : std::uint8_t {
  kIommu,
  kEccCorrected,
  kEccUncorrectable,
  kPcie,  ///< a completion timeout, of the device or the root port; a read of the device that was refused
  kWarning,
  kOops,
  kDriver,
  kStack,
  kCount
};
const char* to_string(Detector d);
inline constexpr std::size_t kDetectors = static_cast<std::size_t>(Detector::kCount);

/// Counts of what has happened so far. Comparable between machines that stand at the same time.
struct Observation {
  std::array<std::uint64_t, checker::kFindingClasses> findings{};
  std::array<std::uint64_t, kDetectors> detected{};
  std::uint64_t received = 0, read = 0, corrupt = 0;  ///< packets of the stack
  std::uint64_t skbs = 0;                             ///< outstanding
  std::uint64_t progress = 0;                         ///< anything that gets the scenario on
  bool ended = false;
};

class World {
 public:
  World(const Campaign& campaign, const Variant& variant, scenario::RunOptions options = {});

  /// To the trigger of the campaign. Throws sim::Error if it never comes.
  void warm_up();
  /// End of the warm-up: the zero of all times in the campaign file.
  sim::Tick origin() const { return origin_; }
  /// Runs to `t`, or to the end of the scenario. False: it has ended.
  bool run_until(sim::Tick t);
  bool ended() const { return ended_; }
  sim::Tick now() { return timeline().now(); }

  Observation observe();
  /// Hash of what the machine knows and holds: memory, translation caches, descriptors, pools, skbs.
  std::uint64_t state_digest();
  /// The first time at or after `from` that a detector spoke; kNever.
  sim::Tick first_detection(Detector d) const { return first_[static_cast<std::size_t>(d)]; }
  /// Forgets detections so far: what follows has a cause of its own.
  void forget_detections() { first_.fill(sim::kNever); }

  /// Calls back at `t`, inside the Timeline, behind everything else of that time.
  void at(sim::Tick t, std::function<void()> call);

  /// Who orders the cores; null: simulated time (schedule.h).
  std::shared_ptr<explore::ScheduleOracle> schedule;

  platform::Machine& machine() { return run_.machine(); }
  scenario::Script& script() { return run_.script(); }
  scenario::ScenarioRun& run() { return run_; }
  sim::Timeline& timeline() { return machine().simulation().timeline(); }
  const scenario::RunConfig& config() const { return config_; }

 private:
  /// Of faults that act later. Asleep unless somebody asks.
  class Alarm final : public sim::Sleeper {
   public:
    using Sleeper::Sleeper;
    void add(sim::Tick t, std::function<void()> call);
    void wake(sim::Tick now) override;

   private:
    std::multimap<sim::Tick, std::function<void()>> calls_;
  };
  void detected(Detector d);
  const Campaign& campaign_;
  scenario::RunConfig config_;
  scenario::ScenarioRun run_;
  Alarm alarm_;
  sim::Tick origin_ = 0;
  bool ended_ = false;
  void note_mapping(std::uint64_t what, std::uint64_t iova, std::uint64_t phys);
  std::array<std::uint64_t, kDetectors> detections_{};
  std::uint64_t mappings_ = 0;  // sum over all maps and unmaps: the checker remembers them, so they are state
  std::array<sim::Tick, kDetectors> first_{};
};

}  // namespace campaign
