// SPDX-License-Identifier: Apache-2.0
// The system workqueue ("events"): per-core pools of workers named kworker/CPU:N. One worker of a pool runs
// at a time; when it blocks and work is pending, another one goes on (kernel/workqueue.c, concurrency
// management).
#pragma once
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "kernel/core.h"
#include "kernel/locks.h"
#include "kernel/timers.h"

namespace kernel {

class Kernel;
class WorkerPool;

/// A work_struct. `name` is the function's name, as an oops prints it ("Workqueue: events NAME").
class Work {
 public:
  Work(const char* name, std::function<void()> function) : name_(name), function_(std::move(function)) {}
  ~Work();
  Work(const Work&) = delete;
  Work& operator=(const Work&) = delete;

  /// On the pool of this core. False if already pending.
  bool queue();
  bool queue_on(unsigned cpu);
  /// Takes it back if pending, and waits until a running instance has returned. True if it was pending.
  bool cancel_sync();
  /// Waits until the present instance (pending or running) has returned.
  void flush();
  bool pending() const { return pending_; }
  bool running() const { return running_; }
  const char* name() const { return name_; }

 private:
  friend class WorkerPool;
  friend class DelayedWork;
  const char* name_;
  std::function<void()> function_;
  WorkerPool* pool_ = nullptr;
  bool pending_ = false;
  bool running_ = false;
  WaitQueue finished_;
};

/// A delayed_work.
class DelayedWork {
 public:
  DelayedWork(const char* name, std::function<void()> function);

  /// schedule_delayed_work(): false if already pending (then nothing changes).
  bool queue(std::uint64_t delay_jiffies);
  /// mod_delayed_work(): true if it was pending.
  bool mod(std::uint64_t delay_jiffies);
  /// cancel_delayed_work(): does not wait for a running instance.
  bool cancel();
  bool cancel_sync();
  bool pending() const { return timer_.pending() || work_.pending(); }
  Work& work() { return work_; }

 private:
  Work work_;
  TimerList timer_;
};

class WorkerPool {
 public:
  WorkerPool(Kernel& kernel, unsigned cpu) : kernel_(kernel), cpu_(cpu) {}
  void insert(Work& work);
  bool remove(Work& work);
  /// A task of this core blocks: if it is the busy worker, another one takes over.
  void worker_sleeping(Task& task);
  void worker_waking();
  void worker_died(Task& task);
  /// `work` is destroyed, perhaps by its own function.
  void forget(Work& work);
  std::size_t pending() const { return list_.size(); }
  std::uint64_t executed() const { return executed_; }

 private:
  /// What a worker runs now. Not on its stack: an item may be freed by its own function, and a dead worker's
  /// stack is never unwound.
  struct Execution {
    Work* work = nullptr;
    std::function<void()> function;
  };
  void need_worker();
  void worker_thread();

  Kernel& kernel_;
  unsigned cpu_;
  unsigned created_ = 0;
  unsigned active_ = 0;  // workers that run or are runnable with work
  std::deque<Work*> list_;
  std::vector<Task*> idle_;
  std::vector<std::unique_ptr<Execution>> executions_;  // one for each worker
  std::uint64_t executed_ = 0;
};

}  // namespace kernel
