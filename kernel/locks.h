// SPDX-License-Identifier: Apache-2.0
// Locks and waiting. Spin locks are queued (first come, first served, as the kernel's qspinlock): a waiting
// core burns its time until the holder hands over, and takes interrupts meanwhile unless they are off. A lock
// that its own core already holds is a lock recursion: an oops.
#pragma once
#include <cstdint>
#include <deque>
#include <functional>

#include "kernel/context.h"
#include "sim/digest.h"

namespace kernel {

class SpinLock {
 public:
  /// `name` appears in events; a string literal.
  explicit SpinLock(const char* name = "lock") : name_(name) {}
  SpinLock(const SpinLock&) = delete;
  SpinLock& operator=(const SpinLock&) = delete;

  void lock();
  void unlock();
  /// Also disables bottom halves on this core; unlock_bh() runs what was raised meanwhile.
  void lock_bh();
  void unlock_bh();
  /// Also disables interrupts on this core.
  void lock_irqsave();
  void unlock_irqrestore();
  bool trylock();

  bool is_locked() const { return holder_ != nullptr; }
  /// The core that holds it; null: none.
  const Core* holder() const { return holder_; }
  const char* name() const { return name_; }
  std::uint64_t acquisitions() const { return acquisitions_; }
  std::uint64_t contended() const { return contended_; }
  /// Cycles that cores have spun for this lock.
  Cycle spun_cycles() const { return spun_; }

 private:
  struct Waiter {
    Core* core;
    bool granted = false;
  };
  void acquire();
  void release();
  void take(Core& core);

  const char* name_;
  CacheLine line_;
  Core* holder_ = nullptr;
  bool shared_ = false;  // two cores have used it
  Core* last_ = nullptr;
  Tick free_at_ = 0;  // local time of the last release
  Tick acquired_at_ = 0;
  Tick held_before_ = 0;  // time its core had been held by then (kernel/baton.h)
  std::deque<Waiter*> waiters_;
  std::uint64_t acquisitions_ = 0, contended_ = 0;
  Cycle spun_ = 0;
};

/// RAII for code where an oops cannot strike inside.
class SpinLockBhGuard {
 public:
  explicit SpinLockBhGuard(SpinLock& l) : lock_(l) { lock_.lock_bh(); }
  ~SpinLockBhGuard() { lock_.unlock_bh(); }
  SpinLockBhGuard(const SpinLockBhGuard&) = delete;
  SpinLockBhGuard& operator=(const SpinLockBhGuard&) = delete;

 private:
  SpinLock& lock_;
};

/// Tasks that wait for something. wake_up from any context of the kernel, or from hardware at the machine's
/// time.
class WaitQueue {
 public:
  WaitQueue() = default;
  WaitQueue(const WaitQueue&) = delete;
  WaitQueue& operator=(const WaitQueue&) = delete;

  /// Sleeps until `condition()` holds (wait_event). Task context.
  template <class Condition>
  void wait_event(Condition condition) {
    this_cpu().sync();
    while (!condition()) {
      prepare();
      if (!condition()) block();
      finish();
    }
  }
  /// The same for at most `jiffies`; false: timed out with the condition still false.
  bool wait_event_timeout(const std::function<bool()>& condition, std::uint64_t jiffies);
  void wake_up();  ///< the one that has waited longest
  void wake_up_all();
  bool empty() const { return waiters_.empty(); }

 private:
  void prepare();
  void block();
  void finish();
  friend class Mutex;
  friend class Completion;
  friend class PercpuRwSemaphore;
  friend class WorkerPool;
  static void pay_wake();
  /// Without paying or synchronising: the waker has, before it changed the condition.
  void wake_now(bool all);
  std::deque<Task*> waiters_;
};

/// Sleeping lock, first come, first served.
class Mutex {
 public:
  explicit Mutex(const char* name = "mutex") : name_(name) {}
  void lock();
  void unlock();
  bool is_locked() const { return owner_ != nullptr; }
  Task* owner() const { return owner_; }
  const char* name() const { return name_; }

 private:
  const char* name_;
  CacheLine line_;
  Task* owner_ = nullptr;
  WaitQueue queue_;
};

/// A per-cpu reader-writer semaphore (percpu_rw_semaphore): any number of readers or one writer. A writer that
/// waits holds off new readers. Task context, may sleep.
class PercpuRwSemaphore {
 public:
  void down_read();
  void up_read();
  void down_write();
  void up_write();
  unsigned readers() const { return readers_; }
  bool has_writer() const { return writer_; }

 private:
  unsigned readers_ = 0;
  bool writer_ = false;  // holds it, or waits for the last reader
  WaitQueue queue_;
};

class Completion {
 public:
  void wait_for_completion() {
    queue_.wait_event([this] { return done_ != 0; });
    if (done_ != kAll) --done_;
    this_cpu().acquires(this);
  }
  /// False: timed out.
  bool wait_for_completion_timeout(std::uint64_t jiffies) {
    if (!queue_.wait_event_timeout([this] { return done_ != 0; }, jiffies)) return false;
    if (done_ != kAll) --done_;
    this_cpu().acquires(this);
    return true;
  }
  void complete();
  void complete_all();
  void reinit() { done_ = 0; }
  bool done() const { return done_ != 0; }

 private:
  static constexpr std::uint32_t kAll = ~std::uint32_t{0};
  std::uint32_t done_ = 0;
  WaitQueue queue_;
};

}  // namespace kernel
