// SPDX-License-Identifier: Apache-2.0
// The one deterministic scheduler of the machine.
//
// Everything that sleeps is a Sleeper with one pending wake-up at most. The Timeline wakes them in the order
// (time, rank); rank is the order of registration, so the order at one time stamp does not depend on who
// asked first. Pending wake-ups are one list in that order: the machine has tens of sleepers, not thousands,
// and what is asked for is nearly always among the next few to come, so a step or two from the front finds
// its place (docs/performance.md has what else was tried).
//
// The Timeline is driven by one SC_METHOD. It runs ahead of SystemC exactly as far as nothing else in SystemC
// could notice: up to the next pending SystemC activity and never beyond the limit given to run_until(). If
// there is no SystemC process but its own, nobody can notice anything, and only the limit counts.
//
// The rule that makes all modes of keeping time equal: what one module sends to another at time t is seen by
// the receiver at its first edge strictly after t (Clocked::poke), never at t itself.
#pragma once
#include <cstring>
#include <exception>
#include <systemc>
#include <vector>

#include "sim/clock.h"
#include "sim/types.h"

namespace sim {

class Timeline;

/// A place in the Timeline's list of pending wake-ups.
class TimelinePlace {
 private:
  friend class Sleeper;
  friend class Timeline;
  TimelinePlace() = default;
  Tick at_ = kNever;
  TimelinePlace *previous_ = nullptr, *next_ = nullptr;
  std::uint32_t rank_ = 0;
};

/// Something that sleeps on a Timeline. Registered for life by its constructor.
class Sleeper : private TimelinePlace {
 public:
  explicit Sleeper(Timeline& timeline) : Sleeper(timeline, Served::kByWake) {}
  virtual ~Sleeper();
  Sleeper(const Sleeper&) = delete;
  Sleeper& operator=(const Sleeper&) = delete;

  /// Called by the Timeline at the time asked for. The pending wake-up is already cleared.
  virtual void wake(Tick now) = 0;

  Timeline& timeline() const { return timeline_; }
  /// Pending wake-up, or kNever.
  Tick pending() const { return at_; }

 protected:
  enum class Served : std::uint8_t { kByWake, kByTick };
  Sleeper(Timeline& timeline, Served served);

  /// Replaces the pending wake-up. `t` may not lie in the past.
  void sleep_until(Tick t);
  /// Makes the pending wake-up no later than `t`.
  void wake_by(Tick t);
  void cancel() { sleep_until(kNever); }
  /// Nobody but this sleeper can do anything before this time: the earliest wake-up of any other one, or what
  /// SystemC has pending. Calling context: inside wake().
  Tick others_pending() const;

 private:
  friend class Timeline;
  Timeline& timeline_;
  Served served_;  // a Clocked: the Timeline calls its tick() and not wake(), which would call it
};

/// How a Timeline keeps time; the same digest in all three is the proof of cycle accuracy.
struct TimeMode {
  bool every_cycle = false;  ///< tick every Clocked at every edge of its clock instead of sleeping
  bool run_ahead = true;     ///< false: step SystemC at each time
};

/// When a Clocked wants its next tick.
struct Wakeup {
  Cycle cycle;
  static constexpr Wakeup never() { return {kNeverCycle}; }
  static constexpr Wakeup at(Cycle c) { return {c}; }
};

/// A clocked state machine. `tick(now)` does one cycle's work and says when it next has something to do.
/// It must be harmless to tick earlier than asked: a tick with nothing due changes nothing. There is one
/// pending wake-up: a poke() for a later edge than the pending one is not kept, so the Wakeup that tick()
/// returns must cover everything that is queued with its due cycle.
class Clocked : public Sleeper {
 public:
  Clocked(Timeline& timeline, Clock clock);

  virtual Wakeup tick(Cycle now) = 0;

  const Clock& clock() const { return clock_; }

  /// For what arrives at `arrival` from outside: the cycle at which this module will see it, which is the
  /// first edge at or after `arrival` and strictly after the present. Asks for a tick there.
  Cycle poke(Tick arrival);

 protected:
  /// The cycle that poke() returns, without asking for a tick: for what can wait until another one.
  Cycle seen_at(Tick arrival) const { return edge_of(arrival).cycle; }
  /// Asks for a tick no later than at `cycle`, which may not lie in the past.
  void tick_by(Cycle cycle) { tick_by(Clock::Edge{cycle, clock_.edge(cycle)}); }
  void tick_by(Clock::Edge edge) {
    if (edge.at >= pending()) return;
    due_ = edge;
    sleep_until(edge.at);
  }
  /// The edge being ticked, valid inside tick().
  Cycle current_cycle() const { return current_; }

 private:
  friend class Timeline;
  void wake(Tick now) final;
  Clock::Edge edge_of(Tick arrival) const;
  Clock clock_;
  Cycle current_ = 0;
  Clock::Edge due_{0, 0};  // last asked for: the usual wake-up needs no division to know its cycle
};

class Timeline final : public sc_core::sc_module {
 public:
  explicit Timeline(sc_core::sc_module_name name, TimeMode mode = {});
  ~Timeline() override;

  Tick now() const { return now_; }
  const TimeMode& mode() const { return mode_; }

  /// Runs SystemC up to and including `end`, or until stop(). Returns the time reached. An exception that
  /// leaves a wake-up ends the run and comes out here as it was thrown (SystemC would make a text of it).
  /// Calling context: sc_main, outside any process.
  Tick run_until(Tick end);
  /// Ends run_until() after the present wake-up.
  void stop() { stopped_ = true; }

  /// Delay to put on an outgoing TLM call: how far the Timeline is ahead of SystemC.
  sc_core::sc_time outgoing_delay() const { return delay_until(now_); }
  /// The same for a call that is of the time `t`, which is not past: as arriving then, or as early after it as SystemC's
  /// resolution can say.
  sc_core::sc_time delay_until(Tick t) const {
    // Nearly always; a division by a constant is a multiplication. What is served may lie before base_: by less than a
    // picosecond, or by more where somebody asked for a wake-up that SystemC had passed.
    if (__builtin_expect(plain_, 1)) return sc_time_of(((t > base_ ? t - base_ : 0) + kPicosecond - 1) / kPicosecond);
    const Tick sc_now = driving_ ? base_ : to_ticks(sc_core::sc_time_stamp());
    const Tick ahead = t > sc_now ? t - sc_now : 0;
    return sc_time_of((ahead + unit_ - 1) / unit_);
  }
  /// Absolute time of an incoming TLM call with this annotated delay. Brings the Timeline up to SystemC's
  /// time if the call comes from a process outside it.
  Tick incoming(const sc_core::sc_time& delay) {
    if (__builtin_expect(plain_, 1)) return base_ + delay.value() * kPicosecond;
    return (driving_ ? base_ : catch_up()) + delay.value() * unit_;
  }

  /// The earliest pending wake-up of anybody, or kNever.
  Tick earliest() const { return ends_.next_->at_; }

  /// Wake-ups served so far (a Clocked tick or a context resume counts one).
  std::uint64_t wakeups() const { return wakeups_; }

  static Tick to_ticks(const sc_core::sc_time& t);
  static sc_core::sc_time to_sc_time(Tick t);

  /// Whether SystemC has a process besides this Timeline's own. Looked up at every run_until(); a module that
  /// spawns the first foreign process while running calls company().
  bool has_company() const { return company_; }
  void company() { company_ = true; }

 private:
  friend class Sleeper;
  friend class Clocked;
  inline void serve(Clocked& c, Tick now);
  void set(TimelinePlace& p, Tick t);
  void kick_for(Tick t);
  inline void link(TimelinePlace& p, Tick t);
  inline static void unlink(TimelinePlace& p);
  bool finds_company() const;
  /// sc_time::from_value() without the call into the library: an sc_time is its number of units of the
  /// resolution. Made for every TLM call.
  static sc_core::sc_time sc_time_of(sc_core::sc_time::value_type units) {
    sc_core::sc_time t;
    static_assert(sizeof t == sizeof units);
    std::memcpy(static_cast<void*>(&t), &units, sizeof t);
    return t;
  }
  Tick catch_up();
  void drive();
  void wake_all_due();
  Tick horizon() const;
  Tick earliest_of_others(const TimelinePlace& p) const;

  TimeMode mode_;
  Tick now_ = 0;
  Tick base_ = 0;   // SystemC's time at the present activation of drive()
  Tick limit_ = 0;  // never run past this
  bool company_ = true;
  bool driving_ = false;
  bool plain_ = false;  // driving_, and SystemC's resolution is the usual one, a picosecond
  bool stopped_ = false;
  std::exception_ptr failure_;
  std::uint64_t wakeups_ = 0;
  sc_core::sc_event kick_;

  TimelinePlace ends_;  // before the first and after the last pending one, at kNever
  std::uint32_t enrolled_ = 0;
  Tick unit_;                       // ticks a unit of SystemC's resolution
};

inline Tick Sleeper::others_pending() const { return timeline_.earliest_of_others(*this); }
inline void Sleeper::sleep_until(Tick t) { timeline_.set(*this, t); }
inline void Sleeper::wake_by(Tick t) {
  if (t < at_) timeline_.set(*this, t);
}

inline Clock::Edge Clocked::edge_of(Tick arrival) const {
  const Tick now = timeline().now();
  return clock_.first_at_or_after(arrival > now ? arrival : now + 1);
}
inline Cycle Clocked::poke(Tick arrival) {
  const Clock::Edge edge = edge_of(arrival);
  tick_by(edge);
  return edge.cycle;
}

}  // namespace sim
