// SPDX-License-Identifier: Apache-2.0
#include "kernel/rcu.h"

#include "kernel/kernel.h"

namespace kernel {

constexpr auto kNoteGrace = sim::digest_tag("kernel.rcu_grace_period");

Rcu::Machine::Machine(Rcu& owner, bool is_expedited)
    : Sleeper(owner.kernel_.simulation().timeline()), rcu(owner), expedited(is_expedited) {}

Rcu::Rcu(Kernel& kernel)
    : kernel_(kernel), normal_(*this, false), expedited_(*this, true), ready_(kernel.config().cores) {
  kernel.open_softirq(Softirq::kRcu, [this] { run_callbacks(this_cpu().cpu()); });
}

// A grace period that is already running may have begun before the caller's last change: it needs the next
// one.
void Rcu::Machine::request() {
  if (!running) start();
}

void Rcu::Machine::start() {
  running = true;
  begin = timeline().now();
  const Kernel& k = rcu.kernel_;
  const sim::Clock& clock = k.config().clock;
  earliest_end = expedited ? clock.edge(clock.after(begin) + k.config().rcu_expedited_cycles)
                           : (begin / k.jiffy_tick() + k.config().rcu_grace_jiffies) * k.jiffy_tick();
  if (earliest_end <= begin) earliest_end = begin + 1;
  waiting_for = 0;
  for (unsigned cpu = 0; cpu < rcu.kernel_.cores(); ++cpu) {
    Core& core = rcu.kernel_.core(cpu);
    if (core.quiescent()) continue;
    waiting_for |= 1u << cpu;
    core.request_quiescent_state();
  }
  if (waiting_for == 0) sleep_until(earliest_end);
}

void Rcu::Machine::quiescent(unsigned cpu, Tick when) {
  if (!running || (waiting_for >> cpu & 1) == 0) return;
  waiting_for &= ~(1u << cpu);
  earliest_end = std::max(earliest_end, when);
  if (waiting_for == 0) sleep_until(std::max(earliest_end, timeline().now() + 1));
}

void Rcu::Machine::wake(Tick now) {
  ++sequence;
  rcu.kernel_.simulation().note(kNoteGrace, sequence, expedited);
  auto& trace = rcu.kernel_.trace().rcu_grace_period;
  if (trace.enabled()) trace.emit({sequence, expedited, begin, now});
  Batch done = std::exchange(current, std::exchange(next, Batch{}));
  running = false;
  for (Completion* waiter : done.waiters) waiter->complete();
  for (Callback& callback : done.callbacks) {
    rcu.ready_[callback.cpu].push_back(std::move(callback.function));
    rcu.kernel_.core(callback.cpu).raise_interrupt(InterruptController::kNoVector, now);
  }
  if (!current.empty()) start();
}

void Rcu::synchronize(bool expedited) {
  Context& cpu = this_cpu();
  if (cpu.in_atomic())
    kernel_.oops("BUG: sleeping function called from invalid context", "synchronize_rcu", 0);
  cpu.sync();
  cpu.point("synchronize_rcu", cpu.cpu(), false);
  Machine& machine = expedited ? expedited_ : normal_;
  Completion done;
  machine.open().waiters.push_back(&done);
  machine.request();
  done.wait_for_completion();
  this_cpu().acquires(&rcu_readers);
  this_cpu().releases(&kernel::grace_periods);
}

void Rcu::call(unsigned cpu, std::function<void()> callback) {
  this_cpu().sync();
  this_cpu().point("call_rcu", cpu, false);
  this_cpu().releases(&rcu_readers);
  normal_.open().callbacks.push_back({cpu, std::move(callback)});
  normal_.request();
}

void Rcu::quiescent(unsigned cpu, Tick when) {
  normal_.quiescent(cpu, when);
  expedited_.quiescent(cpu, when);
}

void Rcu::run_callbacks(unsigned cpu) {
  auto callbacks = std::exchange(ready_[cpu], {});
  this_cpu().acquires(&rcu_readers);
  for (auto& callback : callbacks) callback();
}

void synchronize_rcu() {
  KFUNC("synchronize_rcu");
  this_cpu().kernel().rcu().synchronize(false);
}

void synchronize_rcu_expedited() {
  KFUNC("synchronize_rcu_expedited");
  this_cpu().kernel().rcu().synchronize(true);
}

void synchronize_net() {
  KFUNC("synchronize_net");
  Context& cpu = this_cpu();
  cpu.kernel().rcu().synchronize(cpu.kernel().rtnl().owner() == &cpu.current());
}

void call_rcu(std::function<void()> callback) {
  Context& cpu = this_cpu();
  cpu.kernel().rcu().call(cpu.cpu(), std::move(callback));
}

}  // namespace kernel
