// SPDX-License-Identifier: Apache-2.0
// A thread of the modelled kernel (struct task_struct): a name, a core, a stack.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "kernel/context.h"
#include "sim/fiber.h"

namespace kernel {

class Core;
class Mutex;
class WorkerPool;

enum class TaskState : std::uint8_t { kRunnable, kRunning, kBlocked, kDead };

class Task {
 public:
  using Body = std::function<void()>;
  Task(Core& core, std::uint32_t pid, std::string name, Body body);

  const std::string& name() const { return name_; }  ///< comm, e.g. "kworker/0:0"
  std::uint32_t pid() const { return pid_; }
  Core& core() const { return core_; }
  TaskState state() const { return state_; }
  bool dead() const { return state_ == TaskState::kDead; }
  /// Died of an oops.
  bool oopsed() const { return oopsed_; }
  /// Where it is, innermost function first. Valid until the call chain changes.
  CallChain call_chain() const;

  /// The mutex it wants and does not have yet; null: none.
  const Mutex* waits_for() const { return waits_for_; }
  void set_waits_for(const Mutex* mutex) { waits_for_ = mutex; }
  /// It sleeps for a time (msleep, usleep), and will go on by itself.
  bool sleeps_for_a_time() const { return timed_sleep_; }
  void set_sleeps_for_a_time(bool does) { timed_sleep_ = does; }

  /// Set by a worker around the work it runs: "events page_pool_release_retry".
  std::string workqueue;

 private:
  friend class Context;
  friend class Core;
  friend class Kernel;
  friend class WorkerPool;

  Core& core_;
  std::uint32_t pid_;
  std::string name_;
  TaskState state_ = TaskState::kRunnable;
  bool wake_pending_ = false;  // woken between preparing to sleep and sleeping
  bool oopsed_ = false;
  bool timed_sleep_ = false;
  const Mutex* waits_for_ = nullptr;
  CallStack stack_;
  mutable std::array<const char*, CallStack::kMax> chain_{};
  WorkerPool* busy_in_ = nullptr;      // a worker that executes work
  std::unique_ptr<sim::Fiber> fiber_;  // gone when the body has returned
};

}  // namespace kernel
