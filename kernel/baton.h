// SPDX-License-Identifier: Apache-2.0
// The baton: controlled scheduling of the cores, for exploration only.
//
// A plain run orders the cores by simulated time. With a Baton exactly one core executes kernel code at a time;
// every other core that has something to do is *held*, stalled as by a system management interrupt or a
// hypervisor: a legal execution of the same machine, in which time goes on. At every interleaving point the core
// that has the baton asks the oracle who goes on: itself (alternative 0), another core that is held, or *time*:
// every core is held until something happens that a core can notice (an interrupt, a timer, a completion).
// So the order of cores, interrupts, timers, DMA and wire relative to the code are all choices, and the list of
// the answers that are not 0 is the schedule.
//
// A core takes part from leaving idle until it is idle again. It does not while it spins for a lock that another
// one holds or waits for a register: then the baton goes on to somebody else. Held time is no fault of the code:
// it does not count in the length of BH-off sections and in the time locks are held.
#pragma once
#include <array>
#include <cstdint>

#include "sim/oracle.h"
#include "sim/timeline.h"

namespace kernel {

class Core;
class Kernel;
using sim::Tick;

class Baton final : public sim::Sleeper {
 public:
  /// Why a core gives the baton away without being able to go on.
  enum class Why : std::uint8_t { kIdle, kSpin, kHardware };
  static constexpr unsigned kMaxCores = 32;

  /// `longest_hold`: time never waits longer than this for something to happen.
  Baton(Kernel& kernel, Tick longest_hold);

  /// The running core is about to do something another party could notice, or be influenced by.
  void point(Core& core, const char* place, std::uint64_t subject, bool writes);
  /// Waits until `core` has the baton. From idle, or when what it waited for has come.
  void take(Core& core);
  void give(Core& core, Why why);
  /// The running core polls for something that another core does: that one goes first, if there is one.
  void relax(Core& core);
  /// Hardware did something that code can see without an interrupt (a DMA write, a translation): time that was
  /// chosen ends here.
  void hardware_event();

  bool has(const Core& core) const { return holder_ == &core; }
  std::uint64_t points() const { return points_; }
  /// Time in which all cores were held.
  Tick all_held() const { return all_held_; }

 private:
  enum class State : std::uint8_t { kOut, kHeld, kRunning };
  void wake(Tick now) override;
  unsigned list(const Core* first, bool with_self);
  bool time_may_pass() const;
  void decide(Core* first, const char* place, bool time_first);
  void pass(Core& core, sim::Party to);
  void grant(Core& core);
  void let_time_pass();
  void wait(Core& core);
  bool anyone_held() const;
  Core& core(unsigned cpu) const;

  Kernel& kernel_;
  Tick longest_hold_;
  Core* holder_ = nullptr;
  Core* interrupted_ = nullptr;  // had the baton when time was chosen
  bool time_chosen_ = false;
  std::array<State, kMaxCores> state_{};
  std::array<sim::Party, kMaxCores + 1> parties_{};
  std::uint64_t points_ = 0;
  bool barren_ = false;  // time has passed for nothing, and nothing has been started since
  Tick all_held_since_ = 0, all_held_ = 0;
};

}  // namespace kernel
