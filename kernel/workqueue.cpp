// SPDX-License-Identifier: Apache-2.0
#include "kernel/workqueue.h"

#include "kernel/kernel.h"

namespace kernel {

// ---- Work ----

Work::~Work() {
  if (pool_ != nullptr) pool_->forget(*this);
}

bool Work::queue() { return queue_on(this_cpu().cpu()); }

bool Work::queue_on(unsigned cpu) {
  Context& context = this_cpu();
  context.sync();
  context.point("queue_work", reinterpret_cast<std::uintptr_t>(this), true);
  context.releases(this);
  if (pending_) return false;
  pending_ = true;
  // A running item is queued where it runs: it is never executed by two workers at once.
  if (!running_) pool_ = &context.kernel().workers(cpu);
  pool_->insert(*this);
  return true;
}

bool Work::cancel_sync() {
  this_cpu().sync();
  this_cpu().point("cancel_work_sync", reinterpret_cast<std::uintptr_t>(this), true);
  const bool was_pending = pending_ && pool_->remove(*this);
  finished_.wait_event([this] { return !running_; });
  this_cpu().acquires(this);
  return was_pending;
}

void Work::flush() {
  finished_.wait_event([this] { return !running_ && !pending_; });
  this_cpu().acquires(this);
}

// ---- DelayedWork ----

DelayedWork::DelayedWork(const char* name, std::function<void()> function)
    : work_(name, std::move(function)), timer_([this] { work_.queue(); }) {}

bool DelayedWork::queue(std::uint64_t delay_jiffies) {
  this_cpu().sync();
  if (pending()) return false;
  if (delay_jiffies == 0) return work_.queue();
  timer_.mod_timer(this_cpu().kernel().jiffies() + delay_jiffies);
  return true;
}

bool DelayedWork::mod(std::uint64_t delay_jiffies) {
  const bool was_pending = cancel();
  queue(delay_jiffies);
  return was_pending;
}

bool DelayedWork::cancel() {
  this_cpu().sync();
  if (timer_.del_timer()) return true;
  return work_.pending() && work_.pool_->remove(work_);
}

bool DelayedWork::cancel_sync() {
  const bool had_timer = timer_.del_timer_sync();
  return work_.cancel_sync() || had_timer;
}

// ---- WorkerPool ----

void WorkerPool::insert(Work& work) {
  list_.push_back(&work);
  if (active_ == 0) need_worker();
}

bool WorkerPool::remove(Work& work) {
  if (std::erase(list_, &work) == 0) return false;
  work.pending_ = false;
  return true;
}

void WorkerPool::forget(Work& work) {
  std::erase(list_, &work);
  for (auto& execution : executions_) {
    if (execution->work == &work) execution->work = nullptr;
  }
}

void WorkerPool::need_worker() {
  ++active_;
  if (!idle_.empty()) {
    Task* worker = idle_.back();
    idle_.pop_back();
    Core::wake_task(*worker);
    return;
  }
  kernel_.spawn(cpu_, fmt::format("kworker/{}:{}", cpu_, created_++), [this] { worker_thread(); });
}

void WorkerPool::worker_thread() {
  Core& core = this_core();
  Task& me = core.current();
  executions_.push_back(std::make_unique<Execution>());
  Execution& now = *executions_.back();
  me.busy_in_ = this;
  for (;;) {
    while (!list_.empty()) {
      now.work = list_.front();
      list_.pop_front();
      now.work->pending_ = false;
      now.work->running_ = true;
      now.function = now.work->function_;
      me.workqueue = fmt::format("events {}", now.work->name_);
      core.work(core.costs().work_item);
      {
        KFUNC("process_one_work");
        core.point("process_one_work", reinterpret_cast<std::uintptr_t>(now.work), true);
        core.acquires(now.work);
        now.function();
      }
      core.sync();
      ++executed_;
      me.workqueue.clear();
      now.function = nullptr;
      if (Work* done = std::exchange(now.work, nullptr); done != nullptr) {
        core.releases(done);
        done->running_ = false;
        done->finished_.wake_now(true);
      }
    }
    me.busy_in_ = nullptr;
    --active_;
    idle_.push_back(&me);
    core.prepare_to_wait();
    core.schedule();
    me.busy_in_ = this;
  }
}

void WorkerPool::worker_sleeping(Task&) {
  --active_;
  if (active_ == 0 && !list_.empty()) need_worker();
}

void WorkerPool::worker_waking() { ++active_; }

void WorkerPool::worker_died(Task& task) {
  task.busy_in_ = nullptr;
  worker_sleeping(task);
}

}  // namespace kernel
