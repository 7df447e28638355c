// SPDX-License-Identifier: Apache-2.0
#include "kernel/core.h"

#include "kernel/baton.h"
#include "kernel/kernel.h"
#include "mm/memory_faults.h"

namespace kernel {
namespace {

constexpr auto kNoteIrq = sim::digest_tag("kernel.irq");
constexpr auto kNoteSwitch = sim::digest_tag("kernel.sched_switch");

/// Restores who runs, also when a model error passes through.
class Running {
 public:
  explicit Running(Context& context) : saved_(std::exchange(detail::running, &context)) {}
  ~Running() { detail::running = saved_; }

 private:
  Context* saved_;
};

}  // namespace

Task::Task(Core& core, std::uint32_t pid, std::string name, Body body)
    : core_(core),
      pid_(pid),
      name_(std::move(name)),
      fiber_(std::make_unique<sim::Fiber>(name_, std::move(body))) {}

Core::Core(Kernel& kernel, const Costs& costs, mm::CacheHierarchy& caches, unsigned cpu)
    : Context(kernel, costs, caches, cpu),
      Sleeper(kernel.simulation().timeline()),
      context_probe_(kernel.simulation().probes(), fmt::format("kernel.cpu{}.context", cpu), 2,
                     {"task", "softirq", "hardirq", "idle"}),
      runnable_probe_(kernel.simulation().probes(), fmt::format("kernel.cpu{}.runnable", cpu), 16) {
  idle_task_ = std::make_unique<Task>(*this, 0, fmt::format("swapper/{}", cpu), [this] { idle_loop(); });
  current_ = idle_task_.get();
  stack_ = &current_->stack_;
  context_probe_.set(static_cast<unsigned>(ContextKind::kIdle));
}

Core::~Core() = default;

// ---- the machine's side ----

void Core::wake(Tick) {
  Running running(*this);
  do {
    if (kernel_.panicked_) return;
    switching_ = false;
    Task& task = *current_;
    task.fiber_->resume();
    if (task.fiber_->done()) {
      task.state_ = TaskState::kDead;
      task.fiber_.reset();
      make_current(pick_next());
      switching_ = true;
    }
  } while (switching_);
}

void Core::raise_interrupt(unsigned vector, Tick arrival) {
  const sim::Clock& clock = kernel_.config().clock;
  const Tick now = timeline().now();
  if (in_kernel_code()) this_cpu().releases(this);
  const Cycle due = arrival > now ? clock.at_or_after(arrival) : clock.after(now);
  wake_by(clock.edge(due));
  for (Pending& p : pending_) {
    if (p.vector == vector) return;
  }
  pending_.push_back({due, arrival, vector});
}

void Core::release_stall(Tick arrival) {
  const sim::Clock& clock = kernel_.config().clock;
  const Tick now = timeline().now();
  stall_until_ = clock.edge(arrival > now ? clock.at_or_after(arrival) : clock.after(now));
  wake_by(stall_until_);
}

void Core::wake_task(Task& task) {
  if (in_kernel_code()) this_cpu().releases(&task);
  switch (task.state_) {
    case TaskState::kRunning:
      task.wake_pending_ = true;
      return;
    case TaskState::kBlocked:
      break;
    default:
      return;
  }
  Core& core = task.core_;
  task.state_ = TaskState::kRunnable;
  core.run_queue_.push_back(&task);
  core.runnable_probe_.set(core.run_queue_.size());
  if (task.busy_in_ != nullptr) task.busy_in_->worker_waking();
  if (core.idle_) {
    const sim::Clock& clock = core.kernel_.config().clock;
    core.wake_by(clock.edge(clock.after(core.timeline().now()) + core.costs_.ipi));
  }
}

// ---- time ----

Tick Context::now() const { return kernel_.config().clock.edge(local_); }
void Context::sync() { core().sync_to_local(); }
void Context::run_ahead_exceeded() { core().sync_to_local(); }

void Context::shared_access(std::uint64_t subject, bool writes) {
  if (exploring_) {
    baton_->point(core(), "access", subject, writes);
  } else {
    sync();
  }
}

std::uint64_t Context::undisturbed_steps(Cycle cycles, std::uint64_t steps) {
  Core& self = core();
  Tick until = self.others_pending();
  if (!irqs_disabled()) until = std::min(until, self.next_interrupt());
  if (until == sim::kNever || cycles == 0) return steps;
  const Tick here = now();
  if (until <= here) return 0;
  // Strictly before: who acts at the same time may come first.
  const Cycle whole = kernel_.config().clock.at_or_before(until - 1);
  return whole <= local_ ? 0 : std::min<std::uint64_t>(steps, (whole - local_) / cycles);
}

void Context::ask(const char* place, std::uint64_t subject, bool writes) {
  baton_->point(core(), place, subject, writes);
}

void Context::tell_access(std::uint64_t address, const char* field, MemoryAccess::Kind kind) {
  auto& trace = kernel_.trace().memory_access;
  if (trace.enabled()) trace.emit({address, field, cpu_, kind, call_chain(), now()});
}

void Context::tell_ordered(const void* object, bool acquire) {
  auto& trace = kernel_.trace().ordered;
  if (trace.enabled()) trace.emit({reinterpret_cast<std::uintptr_t>(object), cpu_, acquire});
}

void Context::relax() {
  if (exploring_) baton_->relax(core());
}

void Core::hold() {
  held_since_ = timeline().now();
  Tick until = sim::kNever;
  if (!irqs_disabled()) {
    const Tick t = next_interrupt();
    if (t > timeline().now()) until = t;
  }
  sleep_until(until);
  suspend();
}

void Core::resumed(Tick held) {
  held_since_ = timeline().now();
  held_ += held;
  catch_up();
  horizon_ = local_ + kernel_.config().max_run_ahead_cycles;
}

void Context::load_from_device(PhysAddr address) {
  sync();
  const mm::CacheLevel level = caches_.load(cpu_, address);
  const bool here = level == mm::CacheLevel::kL1 || level == mm::CacheLevel::kL2;
  work(here ? prices_.of_load(level).cycles : costs_.device_line);
  if (level == mm::CacheLevel::kMemory) kernel_.port().fetch_line(address);
  const mm::MemoryFaults* faults = kernel_.store().faults();
  if (faults != nullptr && !faults->empty() && faults->poisoned(PhysAddr(address.value / 64 * 64), 64)) {
    kernel_.oops(fmt::format("Hardware error: uncorrected memory error at {:#x}", address.value),
                 "memory_failure", address.value);
  }
}

void Core::suspend() { current_->fiber_->suspend(); }

void Core::stop_forever() {
  for (;;) suspend();
}

Tick Core::next_interrupt() const {
  Tick t = timer_at_;
  for (const Pending& p : pending_) t = std::min(t, kernel_.config().clock.edge(p.due));
  return t;
}

bool Core::interrupt_due(Tick now) const {
  return (!pending_.empty() || timer_at_ != sim::kNever) && next_interrupt() <= now;
}

void Core::catch_up() { local_ = std::max(local_, kernel_.config().clock.at_or_after(timeline().now())); }

void Core::sync_to_local() {
  const sim::Clock& clock = kernel_.config().clock;
  for (;;) {
    const Tick now = timeline().now(), target = clock.edge(local_);
    const Tick interrupt = irqs_disabled() ? sim::kNever : pending_.empty() ? timer_at_ : next_interrupt();
    if (__builtin_expect(interrupt <= now, 0)) {
      // The stretch of work is cut here; what is left of it follows the interrupt.
      const Cycle here = clock.at_or_after(now);
      const Cycle left = local_ > here ? local_ - here : 0;
      local_ = here;
      take_interrupts();
      local_ += left;
      continue;
    }
    if (now >= target) break;
    sleep_until(std::min(target, interrupt));
    suspend();
  }
  horizon_ = local_ + kernel_.config().max_run_ahead_cycles;
}

void Core::stall(const bool& done, bool interruptible) {
  bool given = false;  // the baton
  // While the holder of the lock is held we spin for nothing of the code's.
  Tick given_at = 0;
  const auto take_again = [&] {
    if (interruptible) held_ += timeline().now() - given_at;
    baton_->take(*this);
  };
  while (!done || timeline().now() < stall_until_) {
    const bool open = interruptible && !irqs_disabled();
    if (open && interrupt_due(timeline().now())) {
      if (std::exchange(given, false)) take_again();
      catch_up();
      take_interrupts();
      continue;
    }
    Tick until = done ? stall_until_ : sim::kNever;
    if (open) until = std::min(until, next_interrupt());
    if (exploring_ && !done && !given) {
      given = true;
      given_at = timeline().now();
      baton_->give(*this, interruptible ? Baton::Why::kSpin : Baton::Why::kHardware);
    }
    sleep_until(until);
    suspend();
  }
  if (given) take_again();
  catch_up();
  horizon_ = local_ + kernel_.config().max_run_ahead_cycles;
}

void Core::program_timer(Tick t) {
  const sim::Clock& clock = kernel_.config().clock;
  timer_at_ = t == sim::kNever ? t : clock.edge(clock.at_or_after(t));
  if (timer_at_ != sim::kNever && detail::running != this) wake_by(std::max(timer_at_, timeline().now()));
}

// ---- contexts ----

ContextKind Core::context_kind() const { return kind_; }

void Core::enter(ContextKind kind) {
  if (kind == kind_) return;
  spent_[static_cast<unsigned>(kind_)] += local_ - kind_since_;
  kind_ = kind;
  kind_since_ = local_;
  context_probe_.set(static_cast<unsigned>(kind));
  if (kernel_.trace().context_changed.enabled()) kernel_.trace().context_changed.emit({cpu_, kind, now()});
}

void Core::take_interrupts() {
  const sim::Clock& clock = kernel_.config().clock;
  while (!irqs_disabled()) {
    const Tick now = timeline().now();
    if (timer_at_ <= now) {
      timer_at_ = sim::kNever;
      handle_irq(nullptr);
      continue;
    }
    // Among those that are due the lowest identity has the highest priority, as in an IMSIC.
    std::size_t best = pending_.size();
    for (std::size_t i = 0; i < pending_.size(); ++i) {
      if (clock.edge(pending_[i].due) <= now &&
          (best == pending_.size() || pending_[i].vector < pending_[best].vector)) {
        best = i;
      }
    }
    if (best == pending_.size()) return;
    const Pending irq = pending_[best];
    pending_.erase(pending_.begin() + static_cast<std::ptrdiff_t>(best));
    handle_irq(&irq);
  }
}

// `irq` null: the core's own timer.
void Core::handle_irq(const Pending* irq) {
  const ContextKind interrupted = kind_;
  const Tick begin = now();
  enter(ContextKind::kHardirq);
  ++hardirq_;
  acquires(this);
  ++interrupts_;
  const unsigned vector = irq != nullptr ? irq->vector : InterruptController::kNoVector;
  kernel_.simulation().note(kNoteIrq, cpu_, irq != nullptr ? vector : ~0u);
  work(costs_.irq_entry);
  const char* name = "timer";
  if (irq == nullptr) {
    kernel_.timers(cpu_).interrupt(timeline().now());
  } else if (vector == InterruptController::kNoVector) {
    name = "ipi";
    if (kernel_.rcu().callbacks_ready(cpu_)) raise_softirq(static_cast<unsigned>(Softirq::kRcu));
  } else {
    auto& entry = kernel_.interrupts().entry(cpu_, vector);
    name = entry.name.c_str();
    if (entry.handler) {
      entry.handler();
    } else {
      ++kernel_.interrupts().spurious_;
    }
  }
  work(costs_.irq_exit);
  sync_to_local();
  --hardirq_;
  if (kernel_.trace().irq_handled.enabled()) {
    kernel_.trace().irq_handled.emit(
        {cpu_, vector, name, irq != nullptr ? irq->raised : begin, begin, now()});
  }
  if (softirq_pending_ != 0 && softirq_ == 0 && bh_off_ == 0) run_softirqs();
  enter(interrupted);
  left_section();
}

void Core::run_softirqs() {
  const ContextKind interrupted = kind_;
  const Cycle begin = local_;
  const Cycle limit =
      kernel_.config().clock.cycles(kernel_.jiffy_tick() * kernel_.config().softirq_max_jiffies);
  unsigned rounds = kernel_.config().softirq_max_restart;
  enter(ContextKind::kSoftirq);
  ++softirq_;
  work(costs_.softirq_entry);
  for (;;) {
    const std::uint32_t pending = std::exchange(softirq_pending_, 0);
    for (unsigned nr = 0; nr < kSoftirqs; ++nr) {
      if ((pending >> nr & 1) == 0 || !kernel_.softirqs_[nr]) continue;
      const Tick from = now();
      kernel_.softirqs_[nr]();
      if (kernel_.trace().softirq_run.enabled()) kernel_.trace().softirq_run.emit({cpu_, nr, from, now()});
    }
    sync_to_local();
    if (softirq_pending_ == 0) break;
    if (--rounds == 0 || local_ - begin > limit) {
      wake_task(*ksoftirqd_);
      break;
    }
  }
  work(costs_.softirq_exit);
  sync_to_local();
  --softirq_;
  enter(interrupted);
  left_section();
}

void Core::ksoftirqd() {
  for (;;) {
    prepare_to_wait();
    if (softirq_pending_ == 0) schedule();
    if (softirq_pending_ != 0) run_softirqs();
    cond_resched();
  }
}

void Core::local_bh_disable() {
  work(costs_.local_bh);
  if (bh_off_++ == 0) {
    bh_begin_ = local_;
    bh_held_ = held_;
    bh_function_ = function();
  }
}

void Core::report_bh_section() {
  // Outside softirq its end is the end of the section; inside, bottom halves stay off anyway.
  if (bh_off_ == 0 || softirq_ != 0 || local_ - bh_begin_ < kernel_.config().bh_off_report_cycles ||
      !kernel_.trace().bh_section.enabled())
    return;
  // Time in which this core was held is no fault of the code.
  const Tick begin = kernel_.config().clock.edge(bh_begin_) + (held_ - bh_held_);
  kernel_.trace().bh_section.emit({cpu_, begin, now(), bh_function_, call_chain()});
}

void Core::local_bh_enable() {
  POOLSIM_ASSERT(bh_off_ > 0);
  work(costs_.local_bh);
  if (bh_off_ > 1) {
    --bh_off_;
    return;
  }
  report_bh_section();
  bh_off_ = 0;
  point("local_bh_enable", cpu_, false);
  if (softirq_pending_ != 0 && softirq_ == 0 && !irqs_disabled()) run_softirqs();
  left_section();
}

void Context::local_irq_enable() {
  POOLSIM_ASSERT(irq_off_ > 0);
  if (--irq_off_ != 0) return;
  point("local_irq_enable", cpu_, false);
  Core& self = core();
  if (self.interrupt_due(self.timeline().now())) self.sync_to_local();
  self.left_section();
}

void Context::preempt_enable() {
  POOLSIM_ASSERT(preempt_off_ > 0);
  --preempt_off_;
  core().left_section();
}

void Core::report_quiescent() {
  need_qs_ = false;
  releases(&rcu_readers);
  kernel_.rcu().quiescent(cpu_, now());
}

// ---- tasks ----

Task& Core::pick_next() {
  while (!run_queue_.empty()) {
    std::size_t turn = 0;
    if (run_queue_.size() > 1) {
      turn = kernel_.simulation().oracle().choose(static_cast<std::uint32_t>(run_queue_.size()),
                                                  {"schedule", cpu_});
    }
    Task& next = *run_queue_[turn];
    run_queue_.erase(run_queue_.begin() + static_cast<std::ptrdiff_t>(turn));
    runnable_probe_.set(run_queue_.size());
    if (!next.dead()) return next;
  }
  return *idle_task_;
}

void Core::make_current(Task& next) {
  if (kernel_.trace().task_switched.enabled()) {
    auto visible = [this](Task* t) { return t == idle_task_.get() ? nullptr : t; };
    kernel_.trace().task_switched.emit({cpu_, visible(current_), visible(&next), now()});
  }
  kernel_.simulation().note(kNoteSwitch, cpu_, next.pid_);
  current_ = &next;
  stack_ = &next.stack_;
  acquires(&next);
  next.state_ = TaskState::kRunning;
  ++switches_;
  if (&next != idle_task_.get()) {
    enter(ContextKind::kTask);
    local_ += costs_.context_switch;
  }
}

void Core::switch_to(Task& next) {
  Task& me = *current_;
  if (&next == &me) {
    me.state_ = TaskState::kRunning;
    return;
  }
  make_current(next);
  switching_ = true;
  me.fiber_->suspend();
}

void Core::prepare_to_wait() { current_->wake_pending_ = false; }

void Core::schedule() {
  if (in_atomic()) {
    kernel_.oops(fmt::format("BUG: scheduling while atomic: {}/{}", current_->name_, current_->pid_),
                 "schedule", 0);
  }
  Task& me = *current_;
  sync_to_local();
  if (std::exchange(me.wake_pending_, false)) return;
  me.state_ = TaskState::kBlocked;
  if (me.busy_in_ != nullptr) me.busy_in_->worker_sleeping(me);
  switch_to(pick_next());
}

void Context::cond_resched() {
  Core& self = core();
  if (in_atomic() || self.run_queue_.empty() || current_ == self.idle_task_.get()) return;
  sync();
  if (self.run_queue_.empty()) return;
  current_->state_ = TaskState::kRunnable;
  self.run_queue_.push_back(current_);
  self.switch_to(self.pick_next());
}

void Core::idle_loop() {
  idle_ = false;
  catch_up();
  for (;;) {
    sync_to_local();
    if (!run_queue_.empty()) {
      switch_to(pick_next());
      continue;
    }
    enter(ContextKind::kIdle);
    releases(&rcu_readers);
    idle_ = true;
    left_section();
    if (exploring_ && baton_->has(*this)) baton_->give(*this, Baton::Why::kIdle);
    sleep_until(next_interrupt());
    suspend();
    idle_ = false;
    catch_up();
    if (exploring_) baton_->take(*this);
    if (!run_queue_.empty() || interrupt_due(timeline().now())) local_ += costs_.idle_exit;
  }
}

void Core::kill_current() {
  Task& me = *current_;
  me.state_ = TaskState::kDead;
  me.oopsed_ = true;
  // The dead task's preempt count dies with it (make_task_dead); what it had locked stays locked.
  bh_off_ = irq_off_ = preempt_off_ = rcu_ = 0;
  left_section();
  if (me.busy_in_ != nullptr) me.busy_in_->worker_died(me);
  switch_to(pick_next());
  stop_forever();
}

// ---- call chain ----

CallChain Context::call_chain() const {
  const unsigned depth = std::min(stack_->depth, CallStack::kMax);
  for (unsigned i = 0; i < depth; ++i) chain_[i] = stack_->names[depth - 1 - i];
  return {chain_.data(), depth};
}

CallChain Task::call_chain() const {
  const unsigned depth = std::min(stack_.depth, CallStack::kMax);
  for (unsigned i = 0; i < depth; ++i) chain_[i] = stack_.names[depth - 1 - i];
  return {chain_.data(), depth};
}

const char* Context::function() const {
  return stack_->depth == 0 ? "" : stack_->names[std::min(stack_->depth, CallStack::kMax) - 1];
}

void raise_softirq(Softirq nr) {
  Core& core = this_core();
  core.raise_softirq(static_cast<unsigned>(nr));
  if (!core.in_interrupt()) core.wake_ksoftirqd();
}

}  // namespace kernel
