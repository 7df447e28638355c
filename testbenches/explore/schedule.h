// SPDX-License-Identifier: Apache-2.0
// A schedule: where the order of things departed from the natural one. Each step says "when PARTY comes to its
// COUNTth point, NEXT goes on". Points are counted for each party by itself, so that a step keeps its meaning when
// another one is taken out: that is what makes schedules shrink.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "sim/oracle.h"
#include "sim/random.h"

namespace explore {

using sim::Party;
/// The choice which runnable task a core takes next; `next` is then the place in the queue.
inline constexpr Party kQueueParty = 253;

struct Step {
  Party party = 0;          ///< who was running; sim::kNoParty: nobody was
  std::uint32_t count = 0;  ///< its point, from 1
  Party next = 0;           ///< who goes on; sim::kTimeParty: time passes while all cores are held
  bool operator==(const Step&) const = default;
};
using Schedule = std::vector<Step>;

/// "0.17>1,n.3>t": core 0 at its 17th point yields to core 1; the third time nobody had it, time passes.
std::string to_text(const Schedule& schedule);
/// Throws sim::Error naming the step that cannot be read.
Schedule parse_schedule(std::string_view text);

/// One question and its answer, as the searches see them.
struct Record {
  std::uint64_t subject;
  const char* place;
  std::uint32_t count;  ///< of `running`
  Party running;
  std::uint8_t n, answer;
  bool writes;
  Party parties[5];  ///< the first five alternatives
};

/// How questions are answered beyond the given schedule.
struct Policy {
  enum class Kind : std::uint8_t { kNatural, kRandom, kPct } kind = Kind::kNatural;
  std::uint64_t seed = 0;
  double switch_probability = 0;           ///< kRandom: at a point
  std::vector<std::uint32_t> change_at;    ///< kPct: points of all, counted together, ascending
  unsigned cores = 0;                      ///< kPct: priorities of that many cores and of time
};

/// Answers by a schedule, then by a policy; records what it was asked.
class ScheduleOracle final : public sim::Oracle {
 public:
  /// `records`: room for `capacity` of them; what does not fit is counted and not kept.
  ScheduleOracle(Record* records, std::size_t capacity) : records_(records), capacity_(capacity) {}
  void start(const Schedule& schedule, const Policy& policy);

  std::uint32_t choose(std::uint32_t n, const sim::ChoicePoint& point) override;

  std::uint32_t asked() const { return asked_; }
  /// The answers that were not natural.
  const Schedule& taken() const { return taken_; }
  /// Points of a party so far.
  std::uint32_t count(Party party) const { return counts_[party]; }

 private:
  std::uint32_t by_policy(std::uint32_t n, const sim::ChoicePoint& point);
  std::uint32_t by_priority(const sim::ChoicePoint& point);
  std::uint64_t random(std::uint64_t below);

  Record* records_;
  std::size_t capacity_;
  Schedule schedule_, taken_;
  Policy policy_;
  std::uint64_t state_ = 0;
  std::size_t next_change_ = 0;
  std::uint32_t asked_ = 0;
  std::uint32_t counts_[256] = {};
  std::uint32_t priority_[256] = {};
};

}  // namespace explore
