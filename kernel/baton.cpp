// SPDX-License-Identifier: Apache-2.0
#include "kernel/baton.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "kernel/kernel.h"

namespace kernel {

Baton::Baton(Kernel& kernel, Tick longest_hold)
    : Sleeper(kernel.simulation().timeline()), kernel_(kernel), longest_hold_(longest_hold) {
  POOLSIM_ASSERT(kernel.cores() <= kMaxCores);
}

Core& Baton::core(unsigned cpu) const { return kernel_.core(cpu); }

bool Baton::anyone_held() const {
  for (unsigned cpu = 0; cpu < kernel_.cores(); ++cpu) {
    if (state_[cpu] == State::kHeld) return true;
  }
  return false;
}

/// Something will happen by itself, soon enough. Hardware may be busy with itself only (refresh): when time has
/// passed for nothing, it does not pass again before somebody starts something.
bool Baton::time_may_pass() const {
  const Tick limit = timeline().now() + longest_hold_;
  if (!barren_) return timeline().earliest() <= limit;
  for (unsigned cpu = 0; cpu < kernel_.cores(); ++cpu) {
    if (core(cpu).pending() <= limit) return true;
  }
  return false;
}

/// Places after which hardware, a timer or another core has something to do.
static bool starts_something(std::string_view place) {
  for (const char* starter : {"mmio_write", "mod_timer", "queue_work", "call_rcu", "synchronize_rcu", "wake_up"}) {
    if (place == starter) return true;
  }
  return false;
}

/// Cores that could go on: `first`, then the others by number.
unsigned Baton::list(const Core* first, bool with_self) {
  unsigned n = 0;
  if (first != nullptr && with_self) parties_[n++] = static_cast<sim::Party>(first->cpu());
  for (unsigned cpu = 0; cpu < kernel_.cores(); ++cpu) {
    if (state_[cpu] == State::kHeld && (first == nullptr || cpu != first->cpu())) {
      parties_[n++] = static_cast<sim::Party>(cpu);
    }
  }
  return n;
}

void Baton::point(Core& core, const char* place, std::uint64_t subject, bool writes) {
  if (holder_ != &core) return;
  ++points_;
  if (barren_ && starts_something(place)) barren_ = false;
  unsigned n = list(&core, true);
  if (time_may_pass()) parties_[n++] = sim::kTimeParty;
  const std::uint32_t answer = kernel_.simulation().oracle().choose(
      n, {place, subject, writes, static_cast<sim::Party>(core.cpu()), {parties_.data(), n}});
  if (answer != 0) pass(core, parties_[answer]);
}

void Baton::pass(Core& core, sim::Party to) {
  core.sync_to_local();  // may serve an interrupt, with points of its own
  if (to != sim::kTimeParty && state_[to] != State::kHeld) return;
  state_[core.cpu()] = State::kHeld;
  if (to == sim::kTimeParty) {
    interrupted_ = &core;
    time_chosen_ = true;
    let_time_pass();
  } else {
    grant(this->core(to));
  }
  wait(core);
}

void Baton::relax(Core& core) {
  if (holder_ != &core) return;
  const unsigned n = list(&core, false);
  if (n == 0) return;
  const std::uint32_t answer = kernel_.simulation().oracle().choose(
      n, {"relax", core.cpu(), false, static_cast<sim::Party>(core.cpu()), {parties_.data(), n}});
  pass(core, parties_[answer]);
}

void Baton::take(Core& core) {
  if (holder_ == &core) return;
  state_[core.cpu()] = State::kHeld;
  barren_ = false;
  if (holder_ == nullptr) decide(&core, "arrive", false);
  wait(core);
}

void Baton::give(Core& core, Why why) {
  POOLSIM_ASSERT(holder_ == &core);
  state_[core.cpu()] = State::kOut;
  holder_ = nullptr;
  decide(nullptr, why == Why::kIdle ? "idle" : why == Why::kSpin ? "spin" : "hardware_wait",
         why == Why::kHardware);
}

/// Nobody has the baton. `first`: the natural one, if any.
void Baton::decide(Core* first, const char* place, bool time_first) {
  if (std::exchange(time_chosen_, false)) all_held_ += timeline().now() - all_held_since_;
  unsigned n = list(first, true);
  if (n != 0 && time_may_pass()) {
    parties_[n++] = sim::kTimeParty;
    if (time_first) std::rotate(parties_.begin(), parties_.begin() + n - 1, parties_.begin() + n);
  }
  if (n == 0) return;
  std::uint32_t answer = 0;
  if (n > 1) {
    ++points_;
    answer = kernel_.simulation().oracle().choose(n, {place, first != nullptr ? first->cpu() : ~0ull, false,
                                                      sim::kNoParty, {parties_.data(), n}});
  }
  if (parties_[answer] == sim::kTimeParty) {
    interrupted_ = nullptr;
    time_chosen_ = true;
    let_time_pass();
  } else {
    grant(core(parties_[answer]));
  }
}

void Baton::grant(Core& core) {
  if (time_chosen_) all_held_ += timeline().now() - all_held_since_;
  holder_ = &core;
  time_chosen_ = false;
  cancel();
  if (detail::running == static_cast<Context*>(&core)) return;
  const sim::Clock& clock = kernel_.config().clock;
  core.wake_by(clock.edge(clock.after(timeline().now())));
}

void Baton::let_time_pass() {
  holder_ = nullptr;
  all_held_since_ = timeline().now();
  sleep_until(timeline().now() + longest_hold_);
}

/// Held long enough.
void Baton::wake(Tick) {
  if (holder_ != nullptr || !anyone_held()) return;
  if (time_chosen_) barren_ = true;
  decide(interrupted_ != nullptr && state_[interrupted_->cpu()] == State::kHeld ? interrupted_ : nullptr,
         "held_long", false);
}

void Baton::hardware_event() {
  if (holder_ != nullptr || !time_chosen_ || !anyone_held()) return;
  // At the machine's next step, not within the call of the hardware model.
  all_held_ += timeline().now() - all_held_since_;
  time_chosen_ = false;
  sleep_until(timeline().now() + 1);
}

void Baton::wait(Core& core) {
  const Tick begin = timeline().now();
  while (holder_ != &core) {
    core.hold();
    if (holder_ == nullptr && core.interrupt_waits()) decide(&core, "interrupt", false);
  }
  state_[core.cpu()] = State::kRunning;
  core.resumed(timeline().now() - begin);
}

}  // namespace kernel
