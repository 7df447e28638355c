// SPDX-License-Identifier: Apache-2.0
// What code running on a core sees: its clock, its memory accesses, its nesting of interrupt contexts, its
// call chain. Kernel code reaches it through this_cpu(), which is the modelled `current`.
//
// Time. Every core has a local clock in cycles. work(), load(), store() and atomic() only pay into it. sync()
// waits until the machine's time has caught up; it is called before anything another party could notice
// (MMIO, PTE changes, looking at memory a device writes, lock hand-over, waking a task) and by itself when
// the local clock is max_run_ahead_cycles ahead, or when an access needs a line that another core holds.
// Interrupts are taken at these points: an interrupt that falls into a stretch of work is served at its own
// time, the rest of the stretch follows.
//
// So: between two synchronisation points code runs atomically for the model. Code that must not be
// interrupted or interleaved says so with the kernel's own means (local_bh_disable, spin locks), as in the
// kernel. Exploration (kernel/baton.h) asks at every access, so that any order of them can happen.
#pragma once
#include <array>
#include <cstdint>

#include "kernel/coherence.h"
#include "kernel/costs.h"
#include "kernel/trace.h"
#include "sim/error.h"
#include "sim/types.h"

namespace kernel {

class Baton;
class Core;
class Kernel;
class Task;

/// The functions a stack is in, outermost first. Names are string literals.
struct CallStack {
  static constexpr unsigned kMax = 48;
  std::array<const char*, kMax> names{};
  unsigned depth = 0;
};

class Context {
 public:
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  Kernel& kernel() const { return kernel_; }
  const Costs& costs() const { return costs_; }
  /// Number of this core, 0..cores-1 (smp_processor_id).
  unsigned cpu() const { return cpu_; }
  /// The task whose stack we are on; never null while code runs (the idle task has pid 0).
  Task& current() const { return *current_; }

  /// Computing for `cycles`. May take interrupts (see above).
  void work(Cycle cycles) {
    local_ += cycles;
    if (__builtin_expect(local_ >= horizon_, 0)) run_ahead_exceeded();
  }
  /// Local time in cycles of the core's clock, and in ticks.
  Cycle now_cycles() const { return local_; }
  Tick now() const;
  /// Waits until the machine has reached the local clock; interrupts are served meanwhile.
  void sync();

  // Shared memory. An access that needs another core's copy synchronises first, so that the order of the two
  // is the order of simulated time.
  void load(CacheLine& line) { pay(touch_load(line, cpu_, costs_), id_of(line), false); }
  void store(CacheLine& line) { pay(touch_store(line, cpu_, costs_), id_of(line), true); }
  void atomic(CacheLine& line) {
    pay(touch_store(line, cpu_, costs_), id_of(line), true);
    work(costs_.atomic_extra);
  }
  // The same on a line of simulated memory (struct page, descriptors, packet bytes).
  void load(PhysAddr address) { pay(prices_.of_load(caches_.load(cpu_, address)), address.value, false); }
  void store(PhysAddr address) { pay(prices_.of_store(caches_.store(cpu_, address)), address.value, true); }
  void atomic(PhysAddr address) {
    store(address);
    work(costs_.atomic_extra);
  }
  /// Looks at a line that a device may have written: synchronises, then pays for where the line is. If nobody wrote it
  /// since the last look that is this core's cache; if a device did, the last-level cache (costs.device_line); or it is
  /// fetched from DRAM, through the interconnect. A line that cannot be corrected is an oops. Read the SparseStore
  /// after it.
  void load_from_device(PhysAddr address);

  // Where we are. As in the kernel, in_softirq() is also true with bottom halves disabled.
  bool in_hardirq() const { return hardirq_ != 0; }
  bool in_serving_softirq() const { return softirq_ != 0; }
  bool in_softirq() const { return softirq_ != 0 || bh_off_ != 0; }
  bool in_interrupt() const { return in_hardirq() || in_softirq(); }
  bool in_task() const { return hardirq_ == 0 && softirq_ == 0; }
  bool irqs_disabled() const { return irq_off_ != 0 || hardirq_ != 0; }
  /// May not sleep here: any interrupt context, BH, irqs or preemption off, inside rcu_read_lock or a spin
  /// lock.
  bool in_atomic() const {
    return hardirq_ != 0 || softirq_ != 0 || bh_off_ != 0 || irq_off_ != 0 || preempt_off_ != 0 || rcu_ != 0;
  }

  void local_irq_disable() { ++irq_off_; }
  /// Pending interrupts are taken at once.
  void local_irq_enable();
  void preempt_disable() { ++preempt_off_; }
  void preempt_enable();

  /// An interleaving point that costs nothing: exploration may let somebody else go first. Plain runs: one
  /// predictable branch. Accesses of shared memory, locks, RCU and the like are points by themselves; which
  /// runnable task a core takes next is asked too. `subject`: address or id of what is about to be looked at, or
  /// changed (`writes`).
  void point(const char* place, std::uint64_t subject, bool writes) {
    if (__builtin_expect(exploring_, 0)) ask(place, subject, writes);
  }
  /// For loops that wait for another core without sleeping: cpu_relax().
  void relax();
  /// A Baton is in charge (kernel/baton.h).
  bool exploring() const { return exploring_; }

  /// Of `steps` stretches of `cycles` each that begin now, how many end before anybody else (another core, a
  /// device, an interrupt of this core) could do anything. What those stretches read cannot change under them, so
  /// they may be paid at once, with pay_undisturbed(), and give what paying and synchronising each would.
  std::uint64_t undisturbed_steps(Cycle cycles, std::uint64_t steps);
  void pay_undisturbed(Cycle cycles) { local_ += cycles; }

  // For the analysis of what happens before what, while a schedule is explored: nothing otherwise.
  void acquires(const void* object) {
    if (__builtin_expect(exploring_, 0)) tell_ordered(object, true);
  }
  void releases(const void* object) {
    if (__builtin_expect(exploring_, 0)) tell_ordered(object, false);
  }
  /// An access that has just been made. `field`: a string literal.
  void tell_access(std::uint64_t address, const char* field, MemoryAccess::Kind kind);

  /// Gives other runnable tasks of this core a turn. Task context, not atomic; otherwise it does nothing.
  void cond_resched();

  /// Innermost function first. Valid until the call chain changes.
  CallChain call_chain() const;
  /// Innermost KFUNC, or "".
  const char* function() const;

 protected:
  Context(Kernel& kernel, const Costs& costs, mm::CacheHierarchy& caches, unsigned cpu)
      : kernel_(kernel), costs_(costs), caches_(caches), prices_(costs), cpu_(cpu) {}
  ~Context() = default;

  static std::uint64_t id_of(const CacheLine& line) { return reinterpret_cast<std::uintptr_t>(&line); }
  void pay(AccessCost cost, std::uint64_t subject, bool writes) {
    if (__builtin_expect(cost.remote | exploring_, 0)) shared_access(subject, writes);
    work(cost.cycles);
  }
  void run_ahead_exceeded();
  void shared_access(std::uint64_t subject, bool writes);
  void tell_ordered(const void* object, bool acquire);
  void ask(const char* place, std::uint64_t subject, bool writes);
  Core& core();

  friend class KernelFunction;
  Kernel& kernel_;
  const Costs& costs_;
  mm::CacheHierarchy& caches_;
  const LinePrices prices_;
  const unsigned cpu_;
  Cycle local_ = 0;
  Cycle horizon_ = 0;  // local_ may grow up to here without synchronising
  bool exploring_ = false;  // baton_ is there
  Baton* baton_ = nullptr;
  Task* current_ = nullptr;
  CallStack* stack_ = nullptr;  // of current_
  unsigned hardirq_ = 0, softirq_ = 0, bh_off_ = 0, irq_off_ = 0, preempt_off_ = 0, rcu_ = 0;
  mutable std::array<const char*, CallStack::kMax> chain_{};
};

namespace detail {
/// Set while a core runs its fiber. One per host thread, because one core runs at a time.
inline thread_local Context* running = nullptr;
}  // namespace detail

/// The core that executes this code. Only on a fiber of the modelled kernel.
inline Context& this_cpu() {
  POOLSIM_ASSERT(detail::running != nullptr);
  return *detail::running;
}
/// True while kernel code runs (false in hardware models and in sc_main).
inline bool in_kernel_code() { return detail::running != nullptr; }

/// Pays `cycles` on the core that executes this code.
inline void work(Cycle cycles) { this_cpu().work(cycles); }

/// Keeps the modelled call chain; use through KFUNC.
class KernelFunction {
 public:
  explicit KernelFunction(const char* name) : stack_(this_cpu().stack_) {
    if (stack_->depth < CallStack::kMax) stack_->names[stack_->depth] = name;
    ++stack_->depth;
  }
  ~KernelFunction() { --stack_->depth; }
  KernelFunction(const KernelFunction&) = delete;
  KernelFunction& operator=(const KernelFunction&) = delete;

 private:
  CallStack* stack_;
};

}  // namespace kernel

#define POOLSIM_KFUNC_CAT2(a, b) a##b
#define POOLSIM_KFUNC_CAT(a, b) POOLSIM_KFUNC_CAT2(a, b)
/// First line of a modelled kernel function: its name appears in call chains until the scope ends.
#define KFUNC(name) ::kernel::KernelFunction POOLSIM_KFUNC_CAT(kfunc_, __LINE__)(name)
