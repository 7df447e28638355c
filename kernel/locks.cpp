// SPDX-License-Identifier: Apache-2.0
#include "kernel/locks.h"

#include "kernel/kernel.h"

namespace kernel {

// ---- SpinLock ----

void SpinLock::take(Core& core) {
  holder_ = &core;
  acquired_at_ = core.now();
  held_before_ = core.held();
  ++acquisitions_;
  core.acquires(this);
}

void SpinLock::acquire() {
  Core& core = this_core();
  if (last_ != &core) {
    shared_ = last_ != nullptr;
    last_ = &core;
  }
  // While only one core has ever used the lock nobody can notice when it takes it.
  core.point("spin_lock", reinterpret_cast<std::uintptr_t>(this), true);
  if (shared_) core.sync();
  const AccessCost access = touch_store(line_, core.cpu(), core.costs());
  core.work(core.costs().spin_lock + access.cycles - core.costs().l1_store);
  if (shared_) core.sync();
  if (holder_ == nullptr && waiters_.empty() && free_at_ <= core.now()) {
    take(core);
    return;
  }
  if (holder_ == &core) {
    core.kernel().oops(fmt::format("BUG: spinlock recursion on CPU#{}, {}", core.cpu(), name_),
                       "do_raw_spin_lock", 0);
  }
  const Tick begin = core.now();
  const unsigned holder = holder_ != nullptr ? holder_->cpu() : core.cpu();
  ++contended_;
  if (holder_ == nullptr && waiters_.empty()) {
    // Released in the releaser's local future: nobody else can be queued, so it is ours at that moment.
    Waiter me{&core};
    waiters_.push_back(&me);
    me.granted = true;
    core.release_stall(free_at_);
    core.stall(me.granted, true);
    std::erase(waiters_, &me);
  } else {
    Waiter me{&core};
    waiters_.push_back(&me);
    core.set_spins_for(this);
    core.stall(me.granted, true);
    core.set_spins_for(nullptr);
  }
  touch_store(line_, core.cpu(), core.costs());
  core.work(core.costs().remote_core);
  take(core);
  spun_ += core.kernel().config().clock.at_or_before(core.now()) -
           core.kernel().config().clock.at_or_before(begin);
  auto& trace = core.kernel().trace().spin;
  if (trace.enabled()) {
    trace.emit({name_, core.cpu(), holder, begin, core.now(), core.in_serving_softirq(), core.call_chain()});
  }
}

void SpinLock::release() {
  Core& core = this_core();
  POOLSIM_ASSERT(holder_ == &core);
  core.releases(this);
  core.work(core.costs().spin_unlock);
  if (!waiters_.empty()) core.sync();
  auto& trace = core.kernel().trace().lock_held;
  if (trace.enabled()) trace.emit({name_, core.cpu(), acquired_at_, core.now(), core.held() - held_before_});
  if (waiters_.empty()) {
    holder_ = nullptr;
    free_at_ = core.now();
    core.point("spin_unlock", reinterpret_cast<std::uintptr_t>(this), true);
    return;
  }
  Waiter* next = waiters_.front();
  waiters_.pop_front();
  holder_ = next->core;
  last_ = next->core;
  next->granted = true;
  next->core->release_stall(core.now());
  core.point("spin_unlock", reinterpret_cast<std::uintptr_t>(this), true);
}

void SpinLock::lock() {
  this_cpu().preempt_disable();
  acquire();
}

void SpinLock::unlock() {
  release();
  this_cpu().preempt_enable();
}

bool SpinLock::trylock() {
  Core& core = this_core();
  if (last_ != nullptr && last_ != &core) shared_ = true;
  core.point("spin_trylock", reinterpret_cast<std::uintptr_t>(this), true);
  if (shared_) core.sync();
  const AccessCost access = touch_store(line_, core.cpu(), core.costs());
  core.work(core.costs().spin_lock + access.cycles - core.costs().l1_store);
  if (shared_) core.sync();
  if (holder_ != nullptr || !waiters_.empty() || free_at_ > core.now()) return false;
  last_ = &core;
  core.preempt_disable();
  take(core);
  return true;
}

void SpinLock::lock_bh() {
  local_bh_disable();
  acquire();
}

void SpinLock::unlock_bh() {
  release();
  local_bh_enable();
}

void SpinLock::lock_irqsave() {
  this_cpu().local_irq_disable();
  acquire();
}

void SpinLock::unlock_irqrestore() {
  release();
  this_cpu().local_irq_enable();
}

// ---- WaitQueue ----

void WaitQueue::prepare() {
  Core& core = this_core();
  core.prepare_to_wait();
  waiters_.push_back(&core.current());
}

void WaitQueue::block() { this_core().schedule(); }

void WaitQueue::finish() { std::erase(waiters_, &this_cpu().current()); }

bool WaitQueue::wait_event_timeout(const std::function<bool()>& condition, std::uint64_t jiffies) {
  Core& core = this_core();
  Kernel& kernel = core.kernel();
  core.sync();
  bool expired = false;
  TimerList timer([&kernel, &expired, task = &core.current()] {
    expired = true;
    kernel.wake_up_process(*task);
  });
  timer.mod_timer(kernel.jiffies() + jiffies);
  while (!condition() && !expired) {
    prepare();
    if (!condition() && !expired) block();
    finish();
  }
  timer.del_timer_sync();
  return condition();
}

void WaitQueue::pay_wake() {
  if (!in_kernel_code()) return;
  Context& cpu = this_cpu();
  cpu.work(cpu.costs().wake_up);
  cpu.sync();
  cpu.point("wake_up", cpu.cpu(), false);
}

void WaitQueue::wake_now(bool all) {
  const std::size_t n = all ? waiters_.size() : std::min<std::size_t>(1, waiters_.size());
  for (std::size_t i = 0; i < n; ++i) {
    Task* task = waiters_.front();
    waiters_.pop_front();
    Core::wake_task(*task);
  }
}

void WaitQueue::wake_up() {
  pay_wake();
  wake_now(false);
}

void WaitQueue::wake_up_all() {
  pay_wake();
  wake_now(true);
}

// ---- Mutex, Completion ----

void Mutex::lock() {
  Context& cpu = this_cpu();
  Task& me = cpu.current();
  POOLSIM_ASSERT(owner_ != &me);
  cpu.atomic(line_);
  cpu.work(cpu.costs().mutex_lock);
  me.set_waits_for(this);
  queue_.wait_event([this] { return owner_ == nullptr; });
  me.set_waits_for(nullptr);
  owner_ = &me;
  this_cpu().acquires(this);
}

void Mutex::unlock() {
  Context& cpu = this_cpu();
  POOLSIM_ASSERT(owner_ == &cpu.current());
  cpu.releases(this);
  cpu.work(cpu.costs().mutex_unlock);
  WaitQueue::pay_wake();
  owner_ = nullptr;
  queue_.wake_now(false);
}

// ---- PercpuRwSemaphore ----

void PercpuRwSemaphore::down_read() {
  Context& cpu = this_cpu();
  cpu.work(cpu.costs().rcu_read_lock);
  queue_.wait_event([this] { return !writer_; });
  ++readers_;
  this_cpu().acquires(this);
}

void PercpuRwSemaphore::up_read() {
  Context& cpu = this_cpu();
  POOLSIM_ASSERT(readers_ > 0);
  cpu.releases(this);
  cpu.work(cpu.costs().rcu_read_unlock);
  cpu.sync();
  if (--readers_ == 0 && writer_) queue_.wake_up_all();
}

void PercpuRwSemaphore::down_write() {
  Context& cpu = this_cpu();
  cpu.work(cpu.costs().mutex_lock);
  queue_.wait_event([this] { return !writer_; });
  writer_ = true;
  synchronize_rcu();  // until every core sees that a writer is there
  queue_.wait_event([this] { return readers_ == 0; });
  this_cpu().acquires(this);
}

void PercpuRwSemaphore::up_write() {
  Context& cpu = this_cpu();
  POOLSIM_ASSERT(writer_ && readers_ == 0);
  cpu.releases(this);
  cpu.work(cpu.costs().mutex_unlock);
  WaitQueue::pay_wake();
  writer_ = false;
  queue_.wake_now(true);
}

// Pays first: once done_ is set the waiter may return and the Completion be gone.
void Completion::complete() {
  WaitQueue::pay_wake();
  if (in_kernel_code()) this_cpu().releases(this);
  if (done_ != kAll) ++done_;
  queue_.wake_now(false);
}

void Completion::complete_all() {
  WaitQueue::pay_wake();
  if (in_kernel_code()) this_cpu().releases(this);
  done_ = kAll;
  queue_.wake_now(true);
}

}  // namespace kernel
