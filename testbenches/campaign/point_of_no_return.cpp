// SPDX-License-Identifier: Apache-2.0
#include "testbenches/campaign/point_of_no_return.h"

#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <nlohmann/json.hpp>

#include "sim/random.h"
#include "testbenches/campaign/experiment.h"
#include "testbenches/scenario/processes.h"

namespace campaign {
namespace {

/// Children that run at the same time, and no more than so many.
class Children {
 public:
  explicit Children(unsigned most) : most_(std::max(1u, most)) {}
  ~Children() { wait_below(1); }
  /// `run` in a child, which ends with it.
  template <class Run>
  void start(const Run& run) {
    wait_below(most_);
    const pid_t pid = ::fork();
    if (pid < 0) throw sim::ModelError("fork() failed");
    if (pid == 0) {
      run();
      ::_exit(0);
    }
    ++alive_;
  }
  void wait_below(unsigned n) {
    while (alive_ >= n) {
      if (::wait(nullptr) > 0) {
        --alive_;
      } else if (errno != EINTR) {
        return;
      }
    }
  }

 private:
  unsigned most_, alive_ = 0;
};

/// What the runs of one machine leave, in memory that they share.
class Runs {
 public:
  Runs(World& world, const Campaign& campaign, const Golden& golden, const Plan& plan, std::size_t count)
      : world_(world), campaign_(campaign), golden_(golden), plan_(plan) {
    rows_ = static_cast<Row*>(shared_memory(count * sizeof(Row)));
  }
  /// Run `n`, in a child that has the machine to itself. One that dies or hangs leaves an empty row.
  void run(std::size_t n, const Deviation* deviation) {
    itimerval timer{};
    timer.it_value.tv_sec = static_cast<time_t>(campaign_.limits.cpu / sim::kSecond) + 1;
    ::setitimer(ITIMER_PROF, &timer, nullptr);
    try {
      run_experiment(world_, campaign_, golden_, plan_, rows_[n], deviation);
      rows_[n].state.store(1);
    } catch (const std::exception&) {
    }
  }
  const Row& row(std::size_t n) const { return rows_[n]; }
  bool ended_as(std::size_t n, const std::string& outcome) const {
    return rows_[n].state.load() == 1 && outcome == to_string(rows_[n].outcome);
  }

 private:
  World& world_;
  const Campaign& campaign_;
  const Golden& golden_;
  const Plan& plan_;
  Row* rows_;
};

nlohmann::json walk(const Reference& reference, const ReturnOptions& o) {
  const Campaign& campaign = reference.campaign;
  World& world = *new World(campaign, campaign.variants[reference.id % campaign.variants.size()]);
  world.warm_up();
  const Golden golden = Golden::record(world, campaign);
  const Plan plan = make_plan(campaign, golden, reference.id);
  if (!plan.reached) throw sim::Error("the trigger of this experiment never comes");
  if (plan.fork > world.now()) world.run_until(plan.fork);
  const std::size_t all = std::size_t{o.points} * o.runs;
  Runs runs(world, campaign, golden, plan, all + 1);
  {
    Children(1).start([&] { runs.run(all, nullptr); });
  }
  nlohmann::json j = {{"reproduced", runs.ended_as(all, reference.outcome)},
                      {"points", nlohmann::json::array()}};
  if (!j["reproduced"].get<bool>()) return j;
  const Row& as_it_was = runs.row(all);
  const sim::Tick end = o.until != 0 ? plan.fork + o.until : std::min(as_it_was.detected, as_it_was.ended);
  const auto time_of = [&](unsigned p) {
    return plan.fork + (end - std::min(end, plan.fork)) / std::max(1u, o.points - 1) * p;
  };
  {
    Children children(o.jobs);
    for (std::size_t n = 0; n < all; ++n) {
      const Deviation d{time_of(static_cast<unsigned>(n / o.runs)), o.schedule,
                        sim::RandomStream(campaign.seed, plan.fault, "return").next() + n};
      children.start([&] { runs.run(n, &d); });
    }
  }
  for (unsigned p = 0; p < o.points; ++p) {
    std::uint64_t failed = 0;
    for (unsigned r = 0; r < o.runs; ++r)
      failed += runs.ended_as(std::size_t{p} * o.runs + r, reference.outcome);
    j["points"].push_back({time_of(p) - plan.fork, failed});
  }
  return j;
}

}  // namespace

sim::Tick ReturnCurve::no_return() const {
  sim::Tick at = sim::kNever;
  for (auto p = points.rbegin(); p != points.rend() && p->failed == p->runs; ++p) at = p->at;
  return at;
}

ReturnCurve point_of_no_return(const Reference& reference, const ReturnOptions& options) {
  const auto j = nlohmann::json::parse(scenario::in_process([&] { return walk(reference, options).dump(); }));
  ReturnCurve curve;
  curve.reproduced = j["reproduced"];
  for (const auto& p : j["points"]) curve.points.push_back({p[0], p[1], options.runs});
  return curve;
}

}  // namespace campaign
