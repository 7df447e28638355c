// SPDX-License-Identifier: Apache-2.0
// Timers on jiffies (kernel/time/timer.c) and high-resolution timers. There is no periodic tick: a core is
// woken at the next jiffy at which one of its timers is due.
#pragma once
#include <cstdint>
#include <functional>
#include <map>
#include <utility>

#include "kernel/core.h"

namespace kernel {

class Kernel;

/// A timer_list. The function runs in TIMER softirq context on the core that armed it.
/// As in the timer wheel, expiry is rounded up to the granularity of the level: exact to one jiffy below 64
/// jiffies of delay, 8 jiffies below 512, 64 below 4096, 512 below 32768, 4096 above. A timer never fires
/// early.
class TimerList {
 public:
  explicit TimerList(std::function<void()> function) : function_(std::move(function)) {}
  ~TimerList();
  TimerList(const TimerList&) = delete;
  TimerList& operator=(const TimerList&) = delete;

  /// Arms (or re-arms) for absolute jiffy `expires`. True if it was pending.
  bool mod_timer(std::uint64_t expires);
  /// True if it was pending.
  bool del_timer();
  /// Also waits until a running function has returned. Not from the function itself.
  bool del_timer_sync();
  bool pending() const { return core_ != nullptr; }
  std::uint64_t expires() const { return expires_; }

 private:
  friend class TimerBase;
  std::function<void()> function_;
  Core* core_ = nullptr;
  std::uint64_t expires_ = 0;
  std::pair<std::uint64_t, std::uint64_t> key_{};
  Core* running_on_ = nullptr;
};

/// Timers of one core.
class TimerBase {
 public:
  TimerBase(Kernel& kernel, Core& core) : kernel_(kernel), core_(core) {}

  void arm(TimerList& timer, std::uint64_t expires);
  /// Jiffies to add to each timer that is armed here; empty: none.
  void set_lateness(std::function<std::uint64_t()> late) { late_ = std::move(late); }
  bool disarm(TimerList& timer);
  /// `timer` is destroyed, perhaps by its own function.
  void forget(TimerList& timer) {
    if (running_ == &timer) running_ = nullptr;
  }
  /// One-shot function at tick `t` in hard irq context (hrtimer). Returns its number for cancel.
  std::uint64_t arm_hrtimer(Tick t, std::function<void()> function);
  bool cancel_hrtimer(Tick t, std::uint64_t number);

  /// Timer interrupt: runs due hrtimers, raises TIMER if a jiffy timer is due.
  void interrupt(Tick now);
  /// TIMER softirq.
  void run_expired();

 private:
  void program();
  std::uint64_t wheel_expiry(std::uint64_t expires) const;

  Kernel& kernel_;
  Core& core_;
  std::function<std::uint64_t()> late_;
  std::uint64_t sequence_ = 0;
  TimerList* running_ = nullptr;                                          // whose function runs now
  std::map<std::pair<std::uint64_t, std::uint64_t>, TimerList*> timers_;  // (jiffy, order)
  std::map<std::pair<Tick, std::uint64_t>, std::function<void()>> hrtimers_;
};

/// Sleeps at least `ms`, on the timer wheel (msleep). Task context.
void msleep(std::uint64_t ms);
/// Sleeps `us` microseconds on a high-resolution timer (usleep_range with equal bounds).
void usleep(std::uint64_t us);
/// Sleeps until absolute simulated time `t`.
void sleep_until_tick(Tick t);
/// Busy-waits (udelay).
void udelay(std::uint64_t us);

}  // namespace kernel
