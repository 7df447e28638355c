// SPDX-License-Identifier: Apache-2.0
// The modelled Linux kernel: cores, tasks, interrupts, time, locks, devices, DMA. Its code is ordinary C++ on
// fibers that reads like kernel code and pays for what it does (kernel/context.h). Everything hangs from this
// object.
//
//   kernel::Kernel k(simulation, store, frames, pages, cpu_port, config);
//   k.spawn(0, "init", [&] { k.iommu().probe(iommu_registers); ... });
//   simulation.timeline().run_until(end);
#pragma once
#include <fmt/format.h>

#include <array>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "kernel/baton.h"
#include "kernel/config.h"
#include "kernel/core.h"
#include "kernel/cpu_port.h"
#include "kernel/device.h"
#include "kernel/dma.h"
#include "kernel/iommu_driver.h"
#include "kernel/irq.h"
#include "kernel/locks.h"
#include "kernel/memory_hotplug.h"
#include "kernel/rcu.h"
#include "kernel/softirq.h"
#include "kernel/timers.h"
#include "kernel/trace.h"
#include "kernel/workqueue.h"
#include "mm/buddy_allocator.h"
#include "mm/page_frames.h"
#include "mm/sparse_store.h"
#include "sim/simulation.h"

namespace kernel {

class Kernel {
 public:
  Kernel(sim::Simulation& simulation, mm::SparseStore& store, mm::PageFrames& frames,
         mm::BuddyAllocator& pages, CpuPort& port, const KernelConfig& config = {});
  ~Kernel();
  Kernel(const Kernel&) = delete;
  Kernel& operator=(const Kernel&) = delete;

  // --- parts ---
  sim::Simulation& simulation() { return simulation_; }
  mm::SparseStore& store() { return store_; }
  mm::PageFrames& frames() { return frames_; }
  mm::BuddyAllocator& pages() { return pages_; }
  CpuPort& port() { return port_; }
  const KernelConfig& config() const { return config_; }
  const mm::CacheHierarchy& caches() const { return caches_; }
  /// The run is over: sections with bottom halves off that did not end are traced as if they ended now.
  /// Calling context: outside a run.
  void report_open_sections();
  Trace& trace() { return trace_; }
  DeviceCore& devices() { return devices_; }
  DmaApi& dma() { return dma_; }
  MemoryHotplug& hotplug() { return hotplug_; }
  IommuDriver& iommu() { return *iommu_; }
  InterruptController& interrupts() { return interrupts_; }
  Rcu& rcu() { return *rcu_; }
  Core& core(unsigned cpu) { return *cores_[cpu]; }
  unsigned cores() const { return static_cast<unsigned>(cores_.size()); }
  TimerBase& timers(unsigned cpu) { return *timers_[cpu]; }
  WorkerPool& workers(unsigned cpu) { return *workers_[cpu]; }
  /// The rtnl lock; synchronize_net() looks at whether the caller holds it.
  Mutex& rtnl() { return rtnl_; }

  // --- exploration ---
  /// From now on a Baton decides which core goes on (kernel/baton.h); all cores must be idle. `longest_hold`: see
  /// Baton.
  Baton& explore(Tick longest_hold);

  // --- tasks ---
  /// A new runnable thread on core `cpu`. Anywhere, also before the simulation starts.
  Task& spawn(unsigned cpu, std::string name, Task::Body body);
  /// The core that runs code now: this_cpu().
  Context& current() { return this_cpu(); }
  /// wake_up_process(): no effect unless it sleeps.
  void wake_up_process(Task& task);

  // --- time ---
  /// Local time of the running core, else the machine's.
  Tick now() const { return in_kernel_code() ? this_cpu().now() : simulation_.now(); }
  /// Time in jiffies (HZ = config().hz), starting at 0.
  std::uint64_t jiffies() const { return now() / jiffy_; }
  Tick jiffy_tick() const { return jiffy_; }  ///< length of a jiffy
  std::uint64_t msecs_to_jiffies(std::uint64_t ms) const { return (ms * config_.hz + 999) / 1000; }

  // --- softirq ---
  /// The handler runs with bottom halves off on the raising core, to completion.
  void open_softirq(Softirq nr, std::function<void()> handler);

  // --- log, warnings, oopses ---
  template <class... Args>
  void printk(fmt::format_string<Args...> format, Args&&... args) {
    log_line(fmt::format(format, std::forward<Args>(args)...));
  }
  const std::vector<LogLine>& dmesg() const { return log_; }
  /// WARN(): logs and records, goes on.
  void warn(std::string text);
  /// A modelled oops: records it, prints what the kernel would print, and ends the current task. In interrupt
  /// context, or with panic_on_oops, all cores stop. Does not return: as in the kernel, the stack of the dead
  /// task is never unwound, so locks it holds stay held.
  [[noreturn]] void oops(std::string title, std::string symbol, std::uint64_t address);
  /// The NULL dereference form of it: `symbol` faulted at `address`.
  [[noreturn]] void null_dereference(std::string symbol, std::uint64_t address);
  const std::vector<Oops>& oopses() const { return oopses_; }
  const std::vector<Warn>& warnings() const { return warnings_; }
  bool panicked() const { return panicked_; }
  /// TAINT_DIE / TAINT_WARN as letters: "D", "W", "DW", or "".
  std::string tainted() const;

  void stats(
      const std::function<void(std::string_view name, double value, std::string_view unit)>& out) const;

 private:
  friend class Core;
  void log_line(std::string text);
  std::vector<std::string> chain_now() const;

  sim::Simulation& simulation_;
  mm::SparseStore& store_;
  mm::PageFrames& frames_;
  mm::BuddyAllocator& pages_;
  CpuPort& port_;
  KernelConfig config_;
  Tick jiffy_;
  Trace trace_;
  mm::CacheHierarchy caches_;
  std::vector<std::unique_ptr<Core>> cores_;
  std::vector<std::unique_ptr<TimerBase>> timers_;
  std::vector<std::unique_ptr<WorkerPool>> workers_;
  std::vector<std::unique_ptr<Task>> tasks_;
  std::unique_ptr<Baton> baton_;
  std::uint32_t next_pid_ = 1;
  std::array<std::function<void()>, kSoftirqs> softirqs_;
  InterruptController interrupts_;
  DeviceCore devices_;
  DmaApi dma_;
  MemoryHotplug hotplug_;
  std::unique_ptr<Rcu> rcu_;
  std::unique_ptr<IommuDriver> iommu_;
  Mutex rtnl_{"rtnl_mutex"};
  std::vector<LogLine> log_;
  std::vector<Oops> oopses_;
  std::vector<Warn> warnings_;
  bool panicked_ = false;
};

}  // namespace kernel
