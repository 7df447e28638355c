// SPDX-License-Identifier: Apache-2.0
#include "testbenches/explore/watch.h"

#include <algorithm>

#include "testbenches/checker/checker.h"

namespace explore {
namespace {

using checker::FindingClass;

std::string describe(const kernel::Task& task) {
  const std::string chain = checker::chain_text(task.call_chain());
  return fmt::format("{} on core {}{}{}", task.name(), task.core().cpu(), chain.empty() ? "" : " in ", chain);
}

/// Its core spins on behalf of it (or of an interrupt that it was interrupted by).
const kernel::SpinLock* spins_for(const kernel::Task& task) {
  return &task.core().current() == &task ? task.core().spins_for() : nullptr;
}

struct Wait {
  const char* lock = nullptr;
  const kernel::Task* holder = nullptr;  ///< null: nobody who could let it go
};

/// The lock that the task cannot get, if any.
std::optional<Wait> wait_of(const kernel::Task& task) {
  if (const kernel::SpinLock* lock = spins_for(task)) {
    const kernel::Core* core = lock->holder();
    // Nobody's, or handed over to it already: it goes on as soon as it is let.
    if (core == nullptr || core == &task.core()) return std::nullopt;
    return Wait{lock->name(), core->idle() ? nullptr : &core->current()};
  }
  const kernel::Mutex* mutex = task.waits_for();
  if (mutex == nullptr || task.state() != kernel::TaskState::kBlocked || mutex->owner() == nullptr)
    return std::nullopt;
  return Wait{mutex->name(), mutex->owner()->dead() ? nullptr : mutex->owner()};
}

std::string others_of(const kernel::Task& task, const std::vector<kernel::Task*>& racers) {
  std::string text;
  for (const kernel::Task* other : racers) {
    if (other == &task) continue;
    text += text.empty() ? "" : "; ";
    text += other->dead() ? fmt::format("{} on core {} has ended", other->name(), other->core().cpu())
                          : describe(*other);
  }
  return text;
}

}  // namespace

Watch::Watch(platform::Machine& machine, const kernel::Baton& baton, std::uint64_t futile_steps)
    : machine_(machine), baton_(baton), futile_steps_(futile_steps) {
  const auto change = [this](const auto&) { ++changes_; };
  mm::Trace& memory = machine.memory_trace();
  memory.page_allocated.subscribe(change);
  memory.page_freed.subscribe(change);
  kernel::Trace& k = machine.kernel().trace();
  k.dma_mapped.subscribe(change);
  k.dma_unmapped.subscribe(change);
  k.iova_allocated.subscribe(change);
  k.iova_freed.subscribe(change);
  k.device_bound.subscribe(change);
  k.device_unbinding.subscribe(change);
  k.device_unbound.subscribe(change);
  k.device_removed.subscribe(change);
  k.memory_hotplug.subscribe(change);
  pagepool::Trace& pools = machine.pools().trace();
  pools.state_hold.subscribe(change);
  pools.state_release.subscribe(change);
  pools.destroyed.subscribe(change);
  pools.freed.subscribe(change);
  nic::NicTracepoints& nic = machine.nic().trace();
  nic.buffer_written.subscribe(change);
  nic.packet_delivered.subscribe(change);
  steps_then_ = steps();
}

std::uint64_t Watch::steps() const { return baton_.points() + machine_.simulation().timeline().wakeups(); }

std::optional<Stuck> Watch::circle_from(const kernel::Task& task) const {
  const auto first = wait_of(task);
  if (!first) return std::nullopt;
  const std::string detail = fmt::format("waits for {}", first->lock);
  if (first->holder == nullptr) {
    return Stuck{FindingClass::kDeadlock, &task,
                 fmt::format("{}, which nobody is left to release", first->lock), detail};
  }
  std::string whom = fmt::format("{}, held by {}", first->lock, describe(*first->holder));
  const kernel::Task* at = first->holder;
  for (unsigned links = 0; links < 32; ++links) {
    if (at == &task) return Stuck{FindingClass::kDeadlock, &task, whom, detail};
    const auto wait = wait_of(*at);
    if (!wait || wait->holder == nullptr) return std::nullopt;
    whom += wait->holder == &task
                ? fmt::format(", who waits for {}, held by {}", wait->lock, task.name())
                : fmt::format(", who waits for {}, held by {}", wait->lock, describe(*wait->holder));
    at = wait->holder;
  }
  return std::nullopt;  // a circle further on; it is found from there
}

/// Who runs and runs: a racer, or else whoever is on a core that is not idle.
const kernel::Task* Watch::futile_task(const std::vector<kernel::Task*>& racers) const {
  for (const kernel::Task* task : racers) {
    if (task->state() == kernel::TaskState::kRunning && spins_for(*task) == nullptr) return task;
  }
  for (const kernel::Task* task : racers) {
    if (!task->dead()) return task;
  }
  kernel::Kernel& k = machine_.kernel();
  for (unsigned cpu = 0; cpu < k.cores(); ++cpu) {
    if (!k.core(cpu).idle()) return &k.core(cpu).current();
  }
  return nullptr;
}

bool Watch::somebody_is_held() const {
  kernel::Kernel& k = machine_.kernel();
  for (unsigned cpu = 0; cpu < k.cores(); ++cpu) {
    const kernel::Core& core = k.core(cpu);
    if (!core.idle() && core.spins_for() == nullptr && !baton_.has(core)) return true;
  }
  return false;
}

std::optional<Stuck> Watch::look(const std::vector<kernel::Task*>& racers) {
  kernel::Kernel& k = machine_.kernel();
  for (unsigned cpu = 0; cpu < k.cores(); ++cpu) {
    if (k.core(cpu).spins_for() == nullptr) continue;
    if (auto stuck = circle_from(k.core(cpu).current())) return stuck;
  }
  for (const kernel::Task* task : racers) {
    if (task->waits_for() == nullptr) continue;
    if (auto stuck = circle_from(*task)) return stuck;
  }
  const std::uint64_t now = steps();
  if (changes_ != seen_changes_) {
    seen_changes_ = changes_;
    steps_then_ = now;
  } else if (now - steps_then_ >= futile_steps_) {
    // A core that could have gone on and was never let: the schedule's fault, and nobody's livelock.
    if (somebody_is_held()) return Stuck{};
    if (const kernel::Task* task = futile_task(racers)) {
      return Stuck{FindingClass::kLivelock, task, others_of(*task, racers),
                   fmt::format("{} points and wake-ups, and no page, mapping, device or packet has changed",
                               now - steps_then_)};
    }
  }
  return std::nullopt;
}

Stuck Watch::judge(const kernel::Task& task, const std::vector<kernel::Task*>& racers) const {
  if (const auto wait = wait_of(task)) {
    return {FindingClass::kDeadlock, &task,
            wait->holder != nullptr ? fmt::format("{}, held by {}", wait->lock, describe(*wait->holder))
                                    : fmt::format("{}, which nobody is left to release", wait->lock),
            fmt::format("waits for {}", wait->lock)};
  }
  if (task.state() != kernel::TaskState::kBlocked) {
    return {FindingClass::kLivelock, &task, others_of(task, racers), "runs on and on"};
  }
  if (task.sleeps_for_a_time()) {
    return {FindingClass::kLivelock, &task, others_of(task, racers),
            "looks again and again for what does not come"};
  }
  return {FindingClass::kLostWakeup, &task, others_of(task, racers), "sleeps, and nobody has woken it"};
}

}  // namespace explore
