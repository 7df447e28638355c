// SPDX-License-Identifier: Apache-2.0
// One CPU core: hard irq > softirq > thread. A sleeper of the Timeline that runs fibers.
//
// Interrupts and softirqs run nested on the interrupted fiber; an idle core runs them on its idle fiber.
// Threads that block switch fibers. Scheduling is cooperative (PREEMPT_VOLUNTARY): a thread runs until it
// blocks, ends or calls cond_resched(); run queues are first in, first out.
#pragma once
#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "kernel/context.h"
#include "kernel/task.h"
#include "sim/probe.h"
#include "sim/timeline.h"

namespace kernel {

class SpinLock;

class Core final : public Context, public sim::Sleeper {
 public:
  Core(Kernel& kernel, const Costs& costs, mm::CacheHierarchy& caches, unsigned cpu);
  ~Core() override;

  // --- for other parts of the kernel; ordinary code uses Context, locks, wait queues ---

  /// Puts `task` to sleep until wake_task(). Task context, not atomic (otherwise: "scheduling while atomic").
  /// If wake_task() came since prepare_to_wait(), returns at once.
  void prepare_to_wait();
  void schedule();
  /// Makes `task` runnable; the caller has synchronised, its time is the machine's time. Also from hardware.
  static void wake_task(Task& task);

  /// Hardware: interrupt `vector` (IMSIC identity) reaches this core at `arrival`; it is noticed at the first
  /// core edge after it. An identity already pending is merged.
  void raise_interrupt(unsigned vector, Tick arrival);

  /// Stalls the core until `done` becomes true (MMIO load, spin on a queued lock). Whoever sets it calls
  /// release_stall(). With `interruptible` pending interrupts are served while waiting.
  void stall(const bool& done, bool interruptible);
  void release_stall(Tick arrival);

  /// No task: the core waits for an interrupt.
  bool idle() const { return idle_; }
  /// No reader section can be open on this core (RCU quiescent state).
  bool quiescent() const {
    return idle_ || (rcu_ == 0 && bh_off_ == 0 && softirq_ == 0 && hardirq_ == 0 && irq_off_ == 0 &&
                     preempt_off_ == 0);
  }
  ContextKind context_kind() const;
  std::size_t runnable() const { return run_queue_.size(); }
  /// Cycles spent in each ContextKind.
  Cycle busy_cycles(ContextKind kind) const { return spent_[static_cast<unsigned>(kind)]; }
  std::uint64_t context_switches() const { return switches_; }
  std::uint64_t interrupts() const { return interrupts_; }

  // Softirq, bottom halves and RCU nesting (kernel/softirq.h, kernel/rcu.h).
  void raise_softirq(unsigned nr) { softirq_pending_ |= 1u << nr; }
  std::uint32_t softirq_pending() const { return softirq_pending_; }
  void local_bh_disable();
  /// Traces the section with bottom halves off in which this core is, if it is in one and it is long enough.
  void report_bh_section();
  void local_bh_enable();
  void rcu_read_lock() { ++rcu_; }
  void rcu_read_unlock() {
    --rcu_;
    left_section();
  }
  void wake_ksoftirqd() { wake_task(*ksoftirqd_); }
  void request_quiescent_state() { need_qs_ = true; }

  // Exploration (kernel/baton.h).
  void explore(Baton* baton) {
    baton_ = baton;
    exploring_ = baton != nullptr;
  }
  /// Held: waits for the baton, or for an interrupt that was not there before.
  void hold();
  /// An interrupt that this core would serve at once if it had the baton.
  bool interrupt_waits() const { return !irqs_disabled() && interrupt_due(timeline().now()); }
  /// Has the baton again after `held`.
  void resumed(Tick held);
  /// When it last stopped running by itself.
  Tick held_since() const { return held_since_; }
  /// The lock it spins for, which another core holds; null: none.
  const SpinLock* spins_for() const { return spins_for_; }
  void set_spins_for(const SpinLock* lock) { spins_for_ = lock; }
  /// Time this core was held so far.
  Tick held() const { return held_; }
  /// The next local timer event (kernel/timers.h) is at `t`; kNever: none.
  void program_timer(Tick t);

 private:
  friend class Baton;
  friend class Context;
  friend class Kernel;
  friend class Task;
  struct Pending {
    Cycle due;
    Tick raised;
    unsigned vector;
  };

  void wake(Tick now) override;
  void idle_loop();
  Task& pick_next();
  void make_current(Task& next);
  void switch_to(Task& next);
  void suspend();
  [[noreturn]] void stop_forever();
  [[noreturn]] void kill_current();
  void sync_to_local();
  void catch_up();
  Tick next_interrupt() const;
  bool interrupt_due(Tick now) const;
  void take_interrupts();
  void handle_irq(const Pending* irq);
  void run_softirqs();
  void ksoftirqd();
  void enter(ContextKind kind);
  void left_section() {
    if (__builtin_expect(need_qs_, 0) && quiescent()) report_quiescent();
  }
  void report_quiescent();

  std::vector<Pending> pending_;
  Tick timer_at_ = sim::kNever;
  Tick stall_until_ = 0;
  std::deque<Task*> run_queue_;
  std::unique_ptr<Task> idle_task_;
  Task* ksoftirqd_ = nullptr;
  bool idle_ = true;
  bool switching_ = false;
  bool need_qs_ = false;
  std::uint32_t softirq_pending_ = 0;
  Cycle bh_begin_ = 0;
  Tick held_ = 0, held_since_ = 0, bh_held_ = 0;
  const SpinLock* spins_for_ = nullptr;
  const char* bh_function_ = "";
  ContextKind kind_ = ContextKind::kIdle;
  Cycle kind_since_ = 0;
  std::array<Cycle, 4> spent_{};
  std::uint64_t switches_ = 0, interrupts_ = 0;
  sim::Probe context_probe_;
  sim::Probe runnable_probe_;
};

inline Core& Context::core() { return static_cast<Core&>(*this); }
/// The core that executes this code.
inline Core& this_core() { return static_cast<Core&>(this_cpu()); }

}  // namespace kernel
