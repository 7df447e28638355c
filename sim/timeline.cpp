// SPDX-License-Identifier: Apache-2.0
#include "sim/timeline.h"

#include <algorithm>
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

Sleeper::Sleeper(Timeline& timeline, Served served)
    : timeline_(timeline), served_(served) {
  rank_ = timeline.enrolled_++;
}
Sleeper::~Sleeper() { cancel(); }

Clocked::Clocked(Timeline& timeline, Clock clock) : Sleeper(timeline, Served::kByTick), clock_(clock) {
  if (timeline.mode().every_cycle) wake_by(clock_.edge(clock_.after(timeline.now())));
}

void Clocked::wake(Tick now) { timeline().serve(*this, now); }

Timeline::Timeline(sc_core::sc_module_name name, TimeMode mode)
    : sc_module(name), mode_(mode), unit_(ticks_per_resolution_unit()) {
  SC_HAS_PROCESS(Timeline);
  SC_METHOD(drive);
  sensitive << kick_;
  ends_.previous_ = ends_.next_ = &ends_;
}

Timeline::~Timeline() = default;

Tick Timeline::to_ticks(const sc_core::sc_time& t) { return t.value() * ticks_per_resolution_unit(); }

sc_core::sc_time Timeline::to_sc_time(Tick t) {
  const Tick unit = ticks_per_resolution_unit();
  return sc_core::sc_time::from_value(unit == 1 ? t : (t + unit - 1) / unit);
}

inline void Timeline::unlink(TimelinePlace& p) {
  p.previous_->next_ = p.next_;
  p.next_->previous_ = p.previous_;
}

/// The time of the end is kNever, so a search ends there.
inline void Timeline::link(TimelinePlace& p, Tick t) {
  TimelinePlace* after = ends_.next_;
  while (after->at_ < t || (after->at_ == t && after->rank_ < p.rank_)) after = after->next_;
  TimelinePlace* const before = after->previous_;
  p.at_ = t;
  p.previous_ = before;
  p.next_ = after;
  before->next_ = &p;
  after->previous_ = &p;
}

[[gnu::always_inline]] inline void Timeline::serve(Clocked& c, Tick now) {
  const Cycle cycle = __builtin_expect(now == c.due_.at, 1) ? c.due_.cycle : c.clock_.at_or_before(now);
  c.current_ = cycle;
  const Wakeup next = c.tick(cycle);
  if (next.cycle == kNeverCycle && !__builtin_expect(mode_.every_cycle, 0)) return;
  const Cycle wanted = next.cycle > cycle && !mode_.every_cycle ? next.cycle : cycle + 1;
  const Clock::Edge edge{wanted, c.clock_.edge(wanted)};
  if (edge.at >= c.at_) return;
  c.due_ = edge;
  if (c.at_ != kNever) unlink(c);  // a call that came back during the tick
  link(c, edge.at);
}

void Timeline::set(TimelinePlace& p, Tick t) {
  if (p.at_ != kNever) unlink(p);
  if (t != kNever) {
    link(p, t);
  } else {
    p.at_ = kNever;
  }
  if (!driving_) kick_for(t);
}

/// A wake-up has been asked for from outside drive().
void Timeline::kick_for(Tick t) {
  if (t == kNever || !sc_core::sc_is_running()) return;
  const Tick sc_now = to_ticks(sc_core::sc_time_stamp());
  kick_.notify(t > sc_now ? to_sc_time(t - sc_now) : sc_core::SC_ZERO_TIME);
}

bool Timeline::finds_company() const {
  std::vector<sc_core::sc_object*> left = sc_core::sc_get_top_level_objects();
  while (!left.empty()) {
    const sc_core::sc_object* const object = left.back();
    left.pop_back();
    // By its kind and not by dynamic_cast: this is asked at every run_until().
    const bool process = std::string_view(object->kind()).ends_with("_process");
    if (process && object->get_parent_object() != this) return true;
    const auto& children = object->get_child_objects();
    left.insert(left.end(), children.begin(), children.end());
  }
  return false;
}

/// How far wake-ups may be served: never before SystemC's time, never at the end of time.
Tick Timeline::horizon() const {
  if (!mode_.run_ahead) return base_;
  const Tick limit = limit_ > base_ ? std::min(limit_, kNever - 1) : base_;
  if (!company_) return limit;
  const sc_core::sc_time pending = sc_core::sc_time_to_pending_activity();
  const Tick ahead = to_ticks(pending);
  const Tick free = ahead == 0 ? base_ : base_ + ahead - 1;
  return free < limit ? free : limit;
}

Tick Timeline::earliest_of_others(const TimelinePlace& p) const {
  const TimelinePlace* first = ends_.next_;
  if (first == &p) first = first->next_;
  return std::min(horizon() + 1, first->at_);
}

void Timeline::drive() {
  base_ = to_ticks(sc_core::sc_time_stamp());
  driving_ = true;
  plain_ = unit_ == kPicosecond;
  try {
    wake_all_due();
  } catch (...) {
    failure_ = std::current_exception();
    stopped_ = true;
  }
  driving_ = false;
  plain_ = false;
  if (stopped_) sc_core::sc_pause();
}

void Timeline::wake_all_due() {
  Tick free = horizon();
  while (!stopped_) {
    TimelinePlace& first = *ends_.next_;
    const Tick t = first.at_;
    if (company_) free = horizon();
    if (t > free) {
      // Our own notification may not count as foreign activity, so it is made last.
      if (t != kNever) kick_.notify(to_sc_time(t - base_));
      break;
    }
    if (t > now_) now_ = t;
    unlink(first);
    first.at_ = kNever;
    ++wakeups_;
    auto& sleeper = static_cast<Sleeper&>(first);
    if (sleeper.served_ == Sleeper::Served::kByTick) {
      serve(static_cast<Clocked&>(sleeper), now_);
    } else {
      sleeper.wake(now_);
    }
  }
}

Tick Timeline::run_until(Tick end) {
  stopped_ = false;
  limit_ = end;
  company_ = finds_company();
  const Tick sc_now = to_ticks(sc_core::sc_time_stamp());
  if (const Tick first = earliest(); first != kNever) {
    kick_.notify(first > sc_now ? to_sc_time(first - sc_now) : sc_core::SC_ZERO_TIME);
  }
  if (end > sc_now) sc_core::sc_start(to_sc_time(end - sc_now), sc_core::SC_RUN_TO_TIME);
  // sc_start() holds off what is due at exactly `end`; that belongs to this run.
  if (!stopped_ && earliest() <= end) drive();
  if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
  if (!stopped_ && now_ < end) now_ = end;
  return now_;
}

Tick Timeline::catch_up() {
  const Tick sc_now = to_ticks(sc_core::sc_time_stamp());
  now_ = std::max(now_, sc_now);
  return sc_now;
}

}  // namespace sim
