// SPDX-License-Identifier: Apache-2.0
#include "kernel/timers.h"

#include "kernel/kernel.h"

namespace kernel {

// ---- TimerList ----

TimerList::~TimerList() {
  if (core_ != nullptr) core_->kernel().timers(core_->cpu()).disarm(*this);
  if (running_on_ != nullptr) running_on_->kernel().timers(running_on_->cpu()).forget(*this);
}

bool TimerList::mod_timer(std::uint64_t expires) {
  Context& cpu = this_cpu();
  cpu.work(cpu.costs().timer_arm);
  cpu.point("mod_timer", reinterpret_cast<std::uintptr_t>(this), true);
  cpu.releases(this);
  const bool was_pending = del_timer();
  cpu.kernel().timers(cpu.cpu()).arm(*this, expires);
  return was_pending;
}

bool TimerList::del_timer() {
  if (core_ == nullptr) return false;
  return core_->kernel().timers(core_->cpu()).disarm(*this);
}

bool TimerList::del_timer_sync() {
  Context& cpu = this_cpu();
  cpu.sync();
  while (running_on_ != nullptr) {
    cpu.work(cpu.costs().remote_core);
    cpu.sync();
    cpu.relax();
  }
  cpu.acquires(this);
  return del_timer();
}

// ---- TimerBase ----

// calc_wheel_index: rounds up to the granularity of the level that the delay falls into.
std::uint64_t TimerBase::wheel_expiry(std::uint64_t expires) const {
  const std::uint64_t now = kernel_.jiffies();
  const std::uint64_t delta = expires > now ? expires - now : 0;
  if (expires < now) expires = now;
  unsigned level = 0;
  while (level < 8 && delta >= (std::uint64_t{63} << (3 * level))) ++level;
  return ((expires >> (3 * level)) + 1) << (3 * level);
}

void TimerBase::arm(TimerList& timer, std::uint64_t expires) {
  if (__builtin_expect(static_cast<bool>(late_), 0)) expires += late_();
  timer.core_ = &core_;
  timer.expires_ = expires;
  timer.key_ = {wheel_expiry(expires), ++sequence_};
  timers_.emplace(timer.key_, &timer);
  program();
}

bool TimerBase::disarm(TimerList& timer) {
  timers_.erase(timer.key_);
  timer.core_ = nullptr;
  return true;
}

std::uint64_t TimerBase::arm_hrtimer(Tick t, std::function<void()> function) {
  hrtimers_.emplace(std::pair{t, ++sequence_}, std::move(function));
  program();
  return sequence_;
}

bool TimerBase::cancel_hrtimer(Tick t, std::uint64_t number) { return hrtimers_.erase({t, number}) != 0; }

// Jiffy timers that are due already wait for the TIMER softirq, which programs again.
void TimerBase::program() {
  Tick next = sim::kNever;
  const std::uint64_t due = core_.timeline().now() / kernel_.jiffy_tick();
  if (const auto it = timers_.upper_bound({due, ~std::uint64_t{0}}); it != timers_.end()) {
    next = it->first.first * kernel_.jiffy_tick();
  }
  if (!hrtimers_.empty()) next = std::min(next, hrtimers_.begin()->first.first);
  core_.program_timer(next);
}

void TimerBase::interrupt(Tick now) {
  while (!hrtimers_.empty() && hrtimers_.begin()->first.first <= now) {
    auto function = std::move(hrtimers_.begin()->second);
    hrtimers_.erase(hrtimers_.begin());
    core_.work(core_.costs().timer_fire);
    function();
  }
  if (!timers_.empty() && timers_.begin()->first.first * kernel_.jiffy_tick() <= now) {
    core_.raise_softirq(static_cast<unsigned>(Softirq::kTimer));
  }
  program();
}

void TimerBase::run_expired() {
  core_.sync();
  const std::uint64_t now = kernel_.jiffies();
  while (!timers_.empty() && timers_.begin()->first.first <= now) {
    TimerList& timer = *timers_.begin()->second;
    timers_.erase(timers_.begin());
    timer.core_ = nullptr;
    core_.work(core_.costs().timer_fire);
    // The function may free the timer; it can do so only if nobody waits for it.
    auto function = timer.function_;
    running_ = &timer;
    timer.running_on_ = &core_;
    core_.acquires(&timer);
    function();
    if (running_ == &timer) timer.running_on_ = nullptr;
    running_ = nullptr;
  }
  program();
}

// ---- sleeping ----

namespace {

/// A timer sets `expired` and wakes this task.
void sleep_until_set(const bool& expired) {
  Core& core = this_core();
  Task& me = core.current();
  me.set_sleeps_for_a_time(true);
  while (!expired) {
    core.prepare_to_wait();
    if (!expired) core.schedule();
  }
  me.set_sleeps_for_a_time(false);
}

void sleep_on_hrtimer(Tick t) {
  Core& core = this_core();
  Kernel& kernel = core.kernel();
  core.sync();
  bool expired = false;
  kernel.timers(core.cpu()).arm_hrtimer(t, [&expired, task = &core.current()] {
    expired = true;
    Core::wake_task(*task);
  });
  sleep_until_set(expired);
}

}  // namespace

void msleep(std::uint64_t ms) {
  KFUNC("msleep");
  Core& core = this_core();
  Kernel& kernel = core.kernel();
  core.sync();
  bool expired = false;
  TimerList timer([&expired, task = &core.current()] {
    expired = true;
    this_cpu().sync();
    Core::wake_task(*task);
  });
  timer.mod_timer(kernel.jiffies() + kernel.msecs_to_jiffies(ms));
  sleep_until_set(expired);
  timer.del_timer_sync();
}

void usleep(std::uint64_t us) { sleep_on_hrtimer(this_cpu().now() + us * sim::kMicrosecond); }

void sleep_until_tick(Tick t) {
  if (t > this_cpu().now()) sleep_on_hrtimer(t);
}

void udelay(std::uint64_t us) {
  Context& cpu = this_cpu();
  cpu.work(cpu.kernel().config().clock.cycles(us * sim::kMicrosecond));
  cpu.sync();
}

}  // namespace kernel
