// SPDX-License-Identifier: Apache-2.0
#include "sim/timeline.h"

#include <algorithm>
#include <bit>
#include <stdexcept>
#include <utility>

namespace sim {
namespace {

Tick ticks_per_resolution_unit() {
  static const Tick unit = [] {
    const double fs = sc_core::sc_get_time_resolution().to_seconds() * 1e15;
    return fs < 1.0 ? Tick{1} : static_cast<Tick>(fs + 0.5);
  }();
  return unit;
}

}  // namespace

Sleeper::Sleeper(Timeline& timeline) : timeline_(timeline), rank_(timeline.enrol(this)) {}
Sleeper::~Sleeper() { timeline_.withdraw(rank_); }

Clocked::Clocked(Timeline& timeline, Clock clock) : Sleeper(timeline), clock_(clock) {
  if (timeline.mode().every_cycle) wake_by(clock_.edge(clock_.after(timeline.now())));
}

void Clocked::wake(Tick now) {
  current_ = clock_.at_or_before(now);
  const Wakeup next = tick(current_);
  if (timeline().mode().every_cycle) {
    wake_by(clock_.edge(current_ + 1));
    return;
  }
  if (next.cycle != kNeverCycle) wake_by(clock_.edge(next.cycle > current_ ? next.cycle : current_ + 1));
}

Timeline::Timeline(sc_core::sc_module_name name, TimeMode mode) : sc_module(name), mode_(mode) {
  SC_HAS_PROCESS(Timeline);
  SC_METHOD(drive);
  sensitive << kick_;
  grow(16);
}

Timeline::~Timeline() = default;

Tick Timeline::to_ticks(const sc_core::sc_time& t) { return t.value() * ticks_per_resolution_unit(); }

sc_core::sc_time Timeline::to_sc_time(Tick t) {
  const Tick unit = ticks_per_resolution_unit();
  return sc_core::sc_time::from_value((t + unit - 1) / unit);
}

void Timeline::grow(std::uint32_t leaves) {
  leaves_ = leaves;
  keys_.resize(leaves, kNever);
  winner_.assign(2 * leaves, 0);
  for (std::uint32_t i = 0; i < leaves; ++i) winner_[leaves + i] = i;
  for (std::uint32_t n = leaves - 1; n > 0; --n) {
    const std::uint32_t left = winner_[2 * n], right = winner_[2 * n + 1];
    winner_[n] = keys_[right] < keys_[left] ? right : left;
  }
}

std::uint32_t Timeline::enrol(Sleeper* s) {
  const auto rank = static_cast<std::uint32_t>(sleepers_.size());
  sleepers_.push_back(s);
  if (sleepers_.size() > leaves_) grow(std::bit_ceil(rank + 1));
  return rank;
}

void Timeline::withdraw(std::uint32_t rank) {
  set_key(rank, kNever);
  sleepers_[rank] = nullptr;
}

void Timeline::set_key(std::uint32_t rank, Tick t) {
  if (keys_[rank] == t) return;
  keys_[rank] = t;
  if (rank == waking_) return;  // its place in the tree is found once, after wake()
  replay(rank);
  if (!driving_ && t != kNever && sc_core::sc_is_running()) {
    const Tick sc_now = to_ticks(sc_core::sc_time_stamp());
    kick_.notify(t > sc_now ? to_sc_time(t - sc_now) : sc_core::SC_ZERO_TIME);
  }
}

/// Plays the matches of `rank` again, up to where its key changes nothing.
void Timeline::replay(std::uint32_t rank) {
  // Equal keys: the left child, which has the lower rank, wins.
  for (std::uint32_t n = (leaves_ + rank) >> 1; n > 0; n >>= 1) {
    const std::uint32_t left = winner_[2 * n], right = winner_[2 * n + 1];
    const std::uint32_t winner = keys_[right] < keys_[left] ? right : left;
    if (winner == winner_[n] && winner != rank) return;
    winner_[n] = winner;
  }
}

Tick Timeline::horizon() const {
  if (!mode_.run_ahead) return base_;
  const sc_core::sc_time pending = sc_core::sc_time_to_pending_activity();
  const Tick ahead = to_ticks(pending);
  const Tick free = ahead == 0 ? base_ : base_ + ahead - 1;
  return free < limit_ ? free : (limit_ > base_ ? limit_ : base_);
}

Tick Timeline::earliest_of_others(std::uint32_t rank) const {
  Tick first = horizon();
  if (first != kNever) ++first;
  // Whom `rank` would meet on its way to the root: between them they have beaten everybody else.
  for (std::uint32_t n = leaves_ + rank; n > 1; n >>= 1) first = std::min(first, keys_[winner_[n ^ 1]]);
  return first;
}

void Timeline::drive() {
  base_ = to_ticks(sc_core::sc_time_stamp());
  driving_ = true;
  try {
    wake_all_due();
  } catch (...) {
    failure_ = std::current_exception();
    if (waking_ != kNobody) replay(std::exchange(waking_, kNobody));
    stopped_ = true;
  }
  driving_ = false;
  if (stopped_) sc_core::sc_pause();
}

void Timeline::wake_all_due() {
  for (;;) {
    const std::uint32_t rank = winner_[1];
    const Tick t = keys_[rank];
    if (t == kNever || stopped_) break;
    if (t > base_ && t > horizon()) {
      // Our own notification may not count as foreign activity, so it is made last.
      kick_.notify(to_sc_time(t - base_));
      break;
    }
    if (t > now_) now_ = t;
    keys_[rank] = kNever;
    waking_ = rank;
    ++wakeups_;
    sleepers_[rank]->wake(now_);
    waking_ = kNobody;
    replay(rank);
  }
}

Tick Timeline::run_until(Tick end) {
  stopped_ = false;
  limit_ = end;
  const Tick sc_now = to_ticks(sc_core::sc_time_stamp());
  if (const Tick first = keys_[winner_[1]]; first != kNever) {
    kick_.notify(first > sc_now ? to_sc_time(first - sc_now) : sc_core::SC_ZERO_TIME);
  }
  if (end > sc_now) sc_core::sc_start(to_sc_time(end - sc_now), sc_core::SC_RUN_TO_TIME);
  // sc_start() holds off what is due at exactly `end`; that belongs to this run.
  if (!stopped_ && keys_[winner_[1]] <= end) drive();
  if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
  if (!stopped_ && now_ < end) now_ = end;
  return now_;
}

sc_core::sc_time Timeline::outgoing_delay() const {
  const Tick sc_now = driving_ ? base_ : to_ticks(sc_core::sc_time_stamp());
  return now_ > sc_now ? to_sc_time(now_ - sc_now) : sc_core::SC_ZERO_TIME;
}

Tick Timeline::incoming(const sc_core::sc_time& delay) {
  const Tick sc_now = driving_ ? base_ : to_ticks(sc_core::sc_time_stamp());
  if (!driving_ && sc_now > now_) now_ = sc_now;
  return sc_now + to_ticks(delay);
}

}  // namespace sim
