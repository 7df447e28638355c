// SPDX-License-Identifier: Apache-2.0
// RCU of a kernel without preemption in readers: a grace period ends when every core has been seen outside reader
// sections (rcu_read_lock, BH off, softirq, irqs or preemption off) since it began. Idle cores count as seen.
#pragma once
#include <cstdint>
#include <functional>
#include <vector>

#include "kernel/core.h"
#include "kernel/locks.h"
#include "sim/timeline.h"

namespace kernel {

class Kernel;

inline void rcu_read_lock() {
  Core& core = this_core();
  core.work(core.costs().rcu_read_lock);
  core.rcu_read_lock();
}
inline void rcu_read_unlock() {
  Core& core = this_core();
  core.work(core.costs().rcu_read_unlock);
  core.rcu_read_unlock();
}
/// Waits for a grace period that begins now. Task context.
void synchronize_rcu();
void synchronize_rcu_expedited();
/// synchronize_net(): expedited if the caller holds the rtnl lock (Kernel::rtnl), else a normal grace period.
void synchronize_net();
/// Runs `callback` in RCU softirq context on this core after a grace period.
void call_rcu(std::function<void()> callback);

/// Grace-period machinery of one Kernel.
class Rcu final : public sim::Sleeper {
 public:
  explicit Rcu(Kernel& kernel);

  void synchronize(bool expedited);
  void call(unsigned cpu, std::function<void()> callback);
  /// Core `cpu` was outside reader sections at `when`.
  void quiescent(unsigned cpu, Tick when);
  std::uint64_t grace_periods() const { return sequence_; }
  /// RCU softirq: runs the callbacks that are due on `cpu`.
  void run_callbacks(unsigned cpu);

 private:
  struct Callback {
    unsigned cpu;
    std::function<void()> function;
  };
  struct Batch {
    bool wanted = false;
    bool expedited = false;
    std::vector<Completion*> waiters;
    std::vector<Callback> callbacks;
  };
  void request(bool expedited);
  void start();
  void finish();
  void wake(Tick now) override;

  Kernel& kernel_;
  bool running_ = false;
  std::uint32_t waiting_for_ = 0;  // bit per core
  Tick begin_ = 0, earliest_end_ = 0, last_seen_ = 0;
  std::uint64_t sequence_ = 0;
  Batch current_, next_;
  std::vector<std::vector<std::function<void()>>> done_;  // per core
};

}  // namespace kernel
