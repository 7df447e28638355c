// SPDX-License-Identifier: Apache-2.0
// RCU of a kernel without preemption in readers: a grace period ends when every core has been seen outside
// reader sections (rcu_read_lock, BH off, softirq, irqs or preemption off) since it began. Idle cores count
// as seen.
#pragma once
#include <cstdint>
#include <functional>
#include <vector>

#include "kernel/core.h"
#include "kernel/locks.h"
#include "sim/timeline.h"

namespace kernel {

class Kernel;

// In the order of things (Context::acquires): what readers have done, and that a grace period has ended.
inline constexpr char rcu_readers = 0, grace_periods = 0;

inline void rcu_read_lock() {
  Core& core = this_core();
  core.work(core.costs().rcu_read_lock);
  core.point("rcu_read_lock", core.cpu(), false);
  core.rcu_read_lock();
  core.acquires(&grace_periods);
}
inline void rcu_read_unlock() {
  Core& core = this_core();
  core.work(core.costs().rcu_read_unlock);
  core.releases(&rcu_readers);
  core.rcu_read_unlock();
  core.point("rcu_read_unlock", core.cpu(), false);
}
/// Waits for a grace period that begins now. Task context.
void synchronize_rcu();
void synchronize_rcu_expedited();
/// synchronize_net(): expedited if the caller holds the rtnl lock (Kernel::rtnl), else a normal grace period.
void synchronize_net();
/// Runs `callback` in RCU softirq context on this core after a grace period.
void call_rcu(std::function<void()> callback);

/// Grace periods of one Kernel: a normal and an expedited machine that do not wait for each other.
class Rcu {
 public:
  explicit Rcu(Kernel& kernel);

  void synchronize(bool expedited);
  void call(unsigned cpu, std::function<void()> callback);
  /// Core `cpu` was outside reader sections at `when`.
  void quiescent(unsigned cpu, Tick when);
  /// Grace periods completed, both kinds.
  std::uint64_t grace_periods() const { return normal_.sequence + expedited_.sequence; }
  bool callbacks_ready(unsigned cpu) const { return !ready_[cpu].empty(); }
  /// RCU softirq: runs the callbacks that are due on `cpu`.
  void run_callbacks(unsigned cpu);

 private:
  struct Callback {
    unsigned cpu;
    std::function<void()> function;
  };
  struct Batch {
    std::vector<Completion*> waiters;
    std::vector<Callback> callbacks;
    bool empty() const { return waiters.empty() && callbacks.empty(); }
  };
  struct Machine final : sim::Sleeper {
    Machine(Rcu& owner, bool is_expedited);
    void request();
    void start();
    void quiescent(unsigned cpu, Tick when);
    void wake(Tick now) override;

    Rcu& rcu;
    bool expedited;
    bool running = false;
    std::uint32_t waiting_for = 0;  // bit per core
    Tick begin = 0, earliest_end = 0;
    std::uint64_t sequence = 0;
    Batch current, next;
    Batch& open() { return running ? next : current; }
  };

  Kernel& kernel_;
  Machine normal_, expedited_;
  std::vector<std::vector<std::function<void()>>> ready_;  // per core
};

}  // namespace kernel
