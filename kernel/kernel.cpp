// SPDX-License-Identifier: Apache-2.0
#include "kernel/kernel.h"

namespace kernel {

constexpr auto kNoteOops = sim::digest_tag("kernel.oops");
constexpr auto kNoteWarn = sim::digest_tag("kernel.warn");
constexpr auto kNoteSpawn = sim::digest_tag("kernel.spawn");

Kernel::Kernel(sim::Simulation& simulation, mm::SparseStore& store, mm::PageFrames& frames,
               mm::BuddyAllocator& pages, CpuPort& port, const KernelConfig& config)
    : simulation_(simulation),
      store_(store),
      frames_(frames),
      pages_(pages),
      port_(port),
      config_((config.validate(), config)),
      jiffy_(sim::kSecond / config.hz),
      caches_(config.cache, config.cores),
      interrupts_(*this),
      devices_(*this),
      dma_(*this),
      hotplug_(*this) {
  store_.set_caches(&caches_);
  pages_.set_cpus(config_.cores, [] { return in_kernel_code() ? this_cpu().cpu() : 0u; });
  rcu_ = std::make_unique<Rcu>(*this);
  iommu_ = std::make_unique<IommuDriver>(*this);
  for (unsigned cpu = 0; cpu < config_.cores; ++cpu) {
    cores_.push_back(std::make_unique<Core>(*this, config_.costs, caches_, cpu));
    timers_.push_back(std::make_unique<TimerBase>(*this, *cores_.back()));
    workers_.push_back(std::make_unique<WorkerPool>(*this, cpu));
  }
  open_softirq(Softirq::kTimer, [this] { timers(this_cpu().cpu()).run_expired(); });
  for (auto& core : cores_) {
    core->ksoftirqd_ =
        &spawn(core->cpu(), fmt::format("ksoftirqd/{}", core->cpu()), [c = core.get()] { c->ksoftirqd(); });
  }
  dma_.init();
}

Kernel::~Kernel() { store_.set_caches(nullptr); }

void Kernel::report_open_sections() {
  for (auto& core : cores_) core->report_bh_section();
}

Baton& Kernel::explore(Tick longest_hold) {
  POOLSIM_ASSERT(baton_ == nullptr && !in_kernel_code());
  for (auto& core : cores_) POOLSIM_ASSERT(core->idle());
  baton_ = std::make_unique<Baton>(*this, longest_hold);
  for (auto& core : cores_) core->explore(baton_.get());
  return *baton_;
}

Task& Kernel::spawn(unsigned cpu, std::string name, Task::Body body) {
  POOLSIM_ASSERT(cpu < cores_.size());
  if (in_kernel_code()) this_cpu().sync();
  Core& core = *cores_[cpu];
  tasks_.push_back(std::make_unique<Task>(core, next_pid_++, std::move(name), [body = std::move(body)] {
    body();
    this_cpu().sync();
  }));
  Task& task = *tasks_.back();
  simulation_.note(kNoteSpawn, task.pid(), cpu);
  task.state_ = TaskState::kBlocked;
  Core::wake_task(task);
  return task;
}

void Kernel::wake_up_process(Task& task) {
  if (in_kernel_code()) {
    this_cpu().work(config_.costs.wake_up);
    this_cpu().sync();
  }
  Core::wake_task(task);
}

void Kernel::open_softirq(Softirq nr, std::function<void()> handler) {
  softirqs_[static_cast<unsigned>(nr)] = std::move(handler);
}

// ---- log ----

void Kernel::log_line(std::string text) {
  log_.push_back({now(), std::move(text)});
  if (trace_.log.enabled()) trace_.log.emit(log_.back());
}

std::vector<std::string> Kernel::chain_now() const {
  std::vector<std::string> chain;
  if (in_kernel_code()) {
    for (const char* function : this_cpu().call_chain()) chain.emplace_back(function);
  }
  return chain;
}

void Kernel::warn(std::string text) {
  const unsigned cpu = in_kernel_code() ? this_cpu().cpu() : 0;
  printk("WARNING: CPU: {} {}", cpu, text);
  warnings_.push_back({std::move(text), chain_now(), cpu, now()});
  simulation_.digest().add(kNoteWarn, now(), cpu, warnings_.size());
  if (trace_.warn.enabled()) trace_.warn.emit(warnings_.back());
}

void Kernel::oops(std::string title, std::string symbol, std::uint64_t address) {
  Core& core = this_core();
  core.sync();
  Oops o;
  o.title = std::move(title);
  o.symbol = std::move(symbol);
  o.address = address;
  o.task = core.current().name();
  o.workqueue = core.current().workqueue;
  o.chain = chain_now();
  if (!o.chain.empty() && o.chain.front() == o.symbol) o.chain.erase(o.chain.begin());
  o.cpu = core.cpu();
  o.time = core.now();
  o.fatal = !core.in_task() || config_.panic_on_oops || core.current().pid() == 0;

  printk("{}", o.title);
  printk("Oops: {:04x} [#{}] CPU: {} PID: {} Comm: {} Tainted: {}", 0, oopses_.size() + 1, o.cpu,
         core.current().pid(), o.task, tainted().empty() ? "G" : tainted());
  if (!o.workqueue.empty()) printk("Workqueue: {}", o.workqueue);
  printk("pc : {}", o.symbol);
  printk("Call trace:");
  for (const std::string& function : o.chain) printk(" {}", function);
  if (o.fatal) {
    printk("Kernel panic - not syncing: Fatal exception{}", core.in_task() ? "" : " in interrupt");
  }
  simulation_.note(kNoteOops, address, o.cpu);
  const bool fatal = o.fatal;
  oopses_.push_back(std::move(o));
  if (trace_.oops.enabled()) trace_.oops.emit(oopses_.back());
  if (fatal) {
    panicked_ = true;
    core.stop_forever();
  }
  core.kill_current();
}

void Kernel::null_dereference(std::string symbol, std::uint64_t address) {
  oops(fmt::format("BUG: kernel NULL pointer dereference, address: {:016x}", address), std::move(symbol),
       address);
}

std::string Kernel::tainted() const {
  std::string taint;
  if (!oopses_.empty()) taint += 'D';
  if (!warnings_.empty()) taint += 'W';
  return taint;
}

void Kernel::stats(const std::function<void(std::string_view, double, std::string_view)>& out) const {
  auto number = [&](std::string name, auto value, std::string_view unit) {
    out(name, static_cast<double>(value), unit);
  };
  static constexpr const char* kKinds[] = {"task", "softirq", "hardirq", "idle"};
  for (const auto& core : cores_) {
    for (unsigned kind = 0; kind < 4; ++kind) {
      number(fmt::format("cpu{}.{}_cycles", core->cpu(), kKinds[kind]),
             core->busy_cycles(static_cast<ContextKind>(kind)), "cycles");
    }
    number(fmt::format("cpu{}.context_switches", core->cpu()), core->context_switches(), "switches");
    number(fmt::format("cpu{}.interrupts", core->cpu()), core->interrupts(), "interrupts");
    number(fmt::format("cpu{}.work_items", core->cpu()), workers_[core->cpu()]->executed(), "items");
  }
  const mm::CacheHierarchy::Counters& lines = caches_.counters();
  static constexpr const char* kLevels[] = {"l1", "l2", "llc", "other_core", "memory"};
  for (unsigned level = 0; level < 5; ++level) {
    number(fmt::format("cache.loads_{}", kLevels[level]), lines.loads[level], "lines");
    number(fmt::format("cache.stores_{}", kLevels[level]), lines.stores[level], "lines");
  }
  number("cache.device_lines", lines.device_lines, "lines");
  number("cache.ddio_evictions", lines.ddio_evictions, "lines");
  number("cache.llc_evictions", lines.llc_evictions, "lines");
  number("rcu.grace_periods", rcu_->grace_periods(), "periods");
  number("irq.spurious", interrupts_.spurious(), "interrupts");
  dma_.stats(out);
  number("iommu.commands", iommu_->counters().commands, "commands");
  number("iommu.fences", iommu_->counters().fences, "fences");
  number("iommu.fence_wait", iommu_->counters().fence_wait, "cycles");
  number("iommu.faults_reported", iommu_->counters().faults, "records");
  std::uint64_t mapped = 0, queued = 0, allocated = 0, cached = 0;
  for (const auto& domain : iommu_->domains()) {
    mapped += domain->mapped_pages();
    queued += domain->queued_iovas();
    allocated += domain->iova().allocated_pages();
    cached += domain->iova().cached_pages();
  }
  number("iommu.mapped_pages", mapped, "pages");
  number("iommu.flush_queued", queued, "iovas");
  number("iova.allocated_pages", allocated, "pages");
  number("iova.cached_pages", cached, "pages");
  number("oopses", oopses_.size(), "oopses");
  number("warnings", warnings_.size(), "warnings");
  port_.stats(out);
}

}  // namespace kernel
