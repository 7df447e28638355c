// SPDX-License-Identifier: Apache-2.0
#include "testbenches/replay/model.h"

#include <fmt/format.h>

#include <algorithm>
#include <deque>

#include "testbenches/replay/observer.h"
#include "testbenches/trace/perfetto.h"

namespace replay {
namespace {

using sim::Tick;

/// The capture begins when the machine is up.
constexpr Tick kBegin = 10 * sim::kMillisecond;
/// What the last calls of the capture set going may still end.
constexpr Tick kAfterEnd = 10 * sim::kMillisecond;
/// The pool's own delayed work stays out of the way: the recorded times of the worker drive it (plan.h).
constexpr std::uint64_t kNeverMs = 10'000'000;
constexpr Tick kPoll = sim::kMicrosecond;

kernel::KernelConfig kernel_config(const Plan& plan, const Behaviour& behaviour) {
  kernel::KernelConfig config;
  config.cores = std::min(plan.cpus, 32u);
  config.clock = RecordedMachine::core_clock();
  config.dma_mode = behaviour.dma_mode.value;
  config.clear_dma_ops_on_unbind = behaviour.clear_dma_ops_on_unbind.value;
  config.clear_dma_ops_on_release = behaviour.clear_dma_ops_on_release.value;
  config.replace_domain_on_rebind = behaviour.replace_domain_on_rebind.value;
  return config;
}

pagepool::PoolOptions pool_options(const Behaviour& behaviour) {
  pagepool::PoolOptions options;
  options.strategy = behaviour.strategy.value;
  options.release_period_ms = kNeverMs;
  options.ring_batch = behaviour.ring_batch;
  return options;
}

class Model {
 public:
  Model(const Capture& capture, const Plan& plan, const Behaviour& behaviour)
      : capture_(capture),
        plan_(plan),
        behaviour_(behaviour),
        machine_(kernel_config(plan, behaviour), pool_options(behaviour)),
        kernel_(machine_.kernel()),
        observer_(machine_, plan, kBegin),
        driver_(*this),
        devices_(plan.devices.size()),
        pools_(plan.pools.size()),
        pages_(plan.outcomes.size()),
        done_(plan.steps.size(), 0),
        claimed_(plan.steps.size(), 0),
        cpu_steps_(kernel_.cores()) {}

  ModelResult run(const std::string& perfetto) {
    if (!perfetto.empty()) {
      timeline_ = std::make_unique<trace::PerfettoRecorder>(machine_.observed(), perfetto);
      machine_.checker().on_new_finding([this](const checker::Finding& f) { timeline_->finding(f); });
    }
    sort_steps();
    kernel_.spawn(0, "init", [this] { boot(); });
    machine_.simulation().timeline().run_until(kBegin + plan_.end_ns * sim::kNanosecond + kAfterEnd);
    ModelResult result = observer_.finish();
    if (timeline_ != nullptr) timeline_->close();
    result.notes = std::move(notes_);
    if (skipped_ != 0) {
      result.notes.push_back(fmt::format(
          "{} recorded calls, the first at line {}, had no counterpart in the model and were left out",
          skipped_, first_skipped_));
    }
    return result;
  }

 private:
  /// Stands for the recorded driver: its remove() is what the capture shows between kRemove and kRemoveDone.
  class RecordedDriver final : public kernel::Driver {
   public:
    explicit RecordedDriver(Model& model) : Driver("recorded"), model_(model) {}
    int probe(kernel::Device&) override { return 0; }
    void remove(kernel::Device& device) override { model_.inside_remove(model_.planned(device)); }

   private:
    Model& model_;
  };
  struct PoolRun {
    std::shared_ptr<pagepool::Pool> pool;
    pagepool::Napi napi;
    unsigned users = 0;
    bool destroyed = false;
    std::size_t rounds = 0;  // of the release work
    std::unique_ptr<kernel::Work> work;
  };
  struct OwnMapping {
    kernel::CoherentBuffer coherent;
    sim::Pfn pfn{0};
    sim::Iova iova{0};
    unsigned order = 0;
    bool alive = false;
  };

  static Tick at(std::uint64_t time_ns) { return kBegin + time_ns * sim::kNanosecond; }
  Tick at(const Step& step) const { return at(step.time_ns); }
  unsigned cpu_of(std::uint32_t cpu) const { return std::min(cpu, kernel_.cores() - 1); }

  // ---- who runs what

  void sort_steps() {
    for (std::size_t s = 0; s < plan_.steps.size(); ++s) {
      const Step& step = plan_.steps[s];
      if (step.kind == StepKind::kMark) continue;
      if (step.context == CpuContext::kThread) {
        task_steps_[task_key(step)].push_back(s);
      } else {
        cpu_steps_[cpu_of(step.cpu)].push_back(s);
      }
    }
  }

  std::uint64_t task_key(const Step& step) const {
    return step.pid != 0 ? step.pid : (std::uint64_t{1} << 32 | step.cpu);
  }

  void boot() {
    kernel_.iommu().probe(sim::PhysAddr(RecordedMachine::kIommuRegisters));
    for (std::size_t d = 0; d < plan_.devices.size(); ++d) {
      if (plan_.devices[d].bound_at_start) kernel_.devices().device_bind(device(d), driver_);
    }
    kernel_.open_softirq(kernel::Softirq::kNetRx, [this] { run_softirq_steps(); });
    for (unsigned cpu = 0; cpu < kernel_.cores(); ++cpu) {
      kernel_.spawn(cpu, fmt::format("softirq/{}", cpu), [this] { arm_softirq(); });
    }
    for (const auto& [key, steps] : task_steps_) {
      std::vector<char> spawned(kernel_.cores(), 0);
      for (const std::size_t s : steps) {
        const unsigned cpu = cpu_of(plan_.steps[s].cpu);
        if (std::exchange(spawned[cpu], 1) != 0) continue;
        kernel_.spawn(cpu, fmt::format("task-{}", plan_.steps[s].pid),
                      [this, key = key, cpu] { run_task(key, cpu); });
      }
    }
  }

  /// The steps of one recorded task on one CPU; the others of the same task run on their CPUs, one after
  /// another.
  void run_task(std::uint64_t key, unsigned cpu) {
    struct Life {
      bool& dead;
      bool ended = false;
      ~Life() { dead |= !ended; }
    };
    Life life{dead_[key]};
    const std::vector<std::size_t>& steps = task_steps_.at(key);
    for (std::size_t n = 0; n < steps.size(); ++n) {
      const std::size_t s = steps[n];
      const Step& step = plan_.steps[s];
      if (cpu_of(step.cpu) != cpu || done_[s]) continue;
      kernel::sleep_until_tick(at(step));
      while (n > 0 && !done_[steps[n - 1]] && !dead_[key]) kernel::sleep_until_tick(kernel_.now() + kPoll);
      if (dead_[key]) break;
      if (done_[s] || claimed_[s]) continue;  // runs inside the remove() on another CPU
      run_in_task(key, n);
    }
    life.ended = true;
  }

  void run_in_task(std::uint64_t key, std::size_t n) {
    const std::size_t s = task_steps_[key][n];
    const Step& step = plan_.steps[s];
    if (step.kind == StepKind::kRemove) {
      removals_[step.device] = {key, n};
      claim(key, n);
      done_[s] = 1;
      observer_.removal_begins(step.device, kernel_.now());
      kernel::Device& device = this->device(step.device);
      if (device.bound()) {
        kernel_.devices().device_unbind(device);
      } else {
        skip(step);
        inside_remove(step.device);
      }
      return;
    }
    execute(step);
    done_[s] = 1;
  }

  /// From now on the steps of remove() belong to the CPU that began it.
  void claim(std::uint64_t key, std::size_t first) {
    const std::vector<std::size_t>& steps = task_steps_.at(key);
    for (std::size_t n = first + 1; n <= end_of_remove(key, first) && n < steps.size(); ++n)
      claimed_[steps[n]] = 1;
  }

  std::size_t end_of_remove(std::uint64_t key, std::size_t first) const {
    const std::vector<std::size_t>& steps = task_steps_.at(key);
    std::size_t n = first + 1;
    while (n < steps.size() && !(plan_.steps[steps[n]].kind == StepKind::kRemoveDone &&
                                 plan_.steps[steps[n]].device == plan_.steps[steps[first]].device)) {
      ++n;
    }
    return n;
  }

  /// Runs the steps of the removing task up to the end of remove().
  void inside_remove(std::size_t planned) {
    const auto removal = removals_.find(planned);
    if (removal == removals_.end()) {  // device_del() of a bound device, without a recorded drv_remove
      machine_.pools().device_unbind(device(planned));
      return;
    }
    const auto [key, first] = removal->second;
    const std::vector<std::size_t>& steps = task_steps_.at(key);
    const std::size_t end = end_of_remove(key, first);
    for (std::size_t n = first + 1; n < end; ++n) {
      if (done_[steps[n]]) continue;
      kernel::sleep_until_tick(at(plan_.steps[steps[n]]));
      run_in_task(key, n);
    }
    if (end < steps.size()) {
      kernel::sleep_until_tick(at(plan_.steps[steps[end]]));
      done_[steps[end]] = 1;
    }
    machine_.pools().device_unbind(device(planned));
  }

  void arm_softirq() {
    const unsigned cpu = kernel_.current().cpu();
    const auto& steps = cpu_steps_[cpu];
    if (steps.empty()) return;
    kernel_.timers(cpu).arm_hrtimer(std::max(at(plan_.steps[steps.front()]), kernel_.now()),
                                    [] { kernel::raise_softirq(kernel::Softirq::kNetRx); });
  }

  void run_softirq_steps() {
    const unsigned cpu = kernel_.current().cpu();
    auto& steps = cpu_steps_[cpu];
    while (!steps.empty() && at(plan_.steps[steps.front()]) <= kernel_.now()) {
      const std::size_t s = steps.front();
      steps.pop_front();
      execute(plan_.steps[s]);
      done_[s] = 1;
    }
    arm_softirq();
  }

  // ---- steps

  void execute(const Step& step) {
    switch (step.kind) {
      case StepKind::kProbe:
        if (kernel_.devices().device_bind(device(step.device), driver_) != 0) skip(step);
        break;
      case StepKind::kDeviceDel:
        kernel_.devices().device_del(device(step.device));
        break;
      case StepKind::kCreatePool:
        create_pool(step);
        break;
      case StepKind::kDestroyPool:
        destroy_pool(step);
        break;
      case StepKind::kAlloc:
        alloc(step);
        break;
      case StepKind::kPut:
        put(step);
        break;
      case StepKind::kMap:
        map(step);
        break;
      case StepKind::kUnmap:
        unmap(step);
        break;
      case StepKind::kMapCoherent: {
        OwnMapping& own = own_[step.handle];
        own.coherent = kernel_.dma().dma_alloc_coherent(device(step.device), step.size);
        own.alive = own.coherent.bytes != 0;
        observer_.coherent_mapped(device(step.device), own.coherent);
        break;
      }
      case StepKind::kUnmapCoherent: {
        OwnMapping& own = own_[step.handle];
        if (std::exchange(own.alive, false))
          kernel_.dma().dma_free_coherent(device(step.device), own.coherent);
        break;
      }
      case StepKind::kRemove:
      case StepKind::kRemoveDone:
      case StepKind::kMark:
        break;
    }
  }

  void skip(const Step& step) {
    if (skipped_++ == 0) first_skipped_ = step.line;
  }

  kernel::Device& device(std::size_t d) {
    if (devices_[d] == nullptr) {
      devices_[d] = &kernel_.devices().device_add(
          fmt::format("recorded:{:02x}.0", d), sim::RequesterId(static_cast<std::uint32_t>(0x100 + 8 * d)));
      observer_.device_is(*devices_[d], d);
    }
    return *devices_[d];
  }

  std::size_t planned(const kernel::Device& device) const {
    return static_cast<std::size_t>(std::find(devices_.begin(), devices_.end(), &device) - devices_.begin());
  }

  /// Pools that map nothing still belong to some device.
  kernel::Device& device_of(const PlannedPool& pool) {
    return device(pool.device == kNone ? 0 : pool.device);
  }

  void create_pool(const Step& step) {
    const PlannedPool& planned = plan_.pools[step.pool];
    PoolRun& run = pools_[step.pool];
    pagepool::PoolParams params;
    params.order = planned.order;
    params.pool_size = behaviour_.pools[step.pool].size.value;
    params.dma_dir =
        planned.direction == 0 ? pagepool::DmaDirection::bidirectional : pagepool::DmaDirection::from_device;
    params.flags = planned.dma_map ? static_cast<std::uint32_t>(pagepool::PP_FLAG_DMA_MAP) : 0;
    if (behaviour_.pools[step.pool].napi_local) params.napi = &run.napi;
    run.users = planned.users;
    // The first page may be counted inside create() already, so the id is announced before.
    observer_.pool_is(static_cast<unsigned>(machine_.pools().pools().size() + 1), step.pool);
    run.pool = machine_.pools().create(device_of(planned), params);
    if (run.pool == nullptr) {
      notes_.push_back(fmt::format("line {}: the model refuses this pool", step.line));
      return;
    }
    for (unsigned user = 1; user < planned.users; ++user) run.pool->use_xdp_mem([] {});
    run.work = std::make_unique<kernel::Work>("page_pool_release_retry",
                                              [this, pool = step.pool] { release_work(pool); });
  }

  void destroy_pool(const Step& step) {
    PoolRun& run = pools_[step.pool];
    if (run.pool == nullptr || run.users == 0) {
      skip(step);
      return;
    }
    if (--run.users == 0) run.destroyed = true;
    run.pool->destroy();
    if (run.users == 0 && !run.pool->gone()) schedule_work(step.pool);
  }

  /// The next run of the release work: when the recorded worker ran, or after the release period where the
  /// capture has no more to say because its worker was done (or dead). Not at all if the capture merely ended
  /// before.
  void schedule_work(std::size_t p) {
    const PlannedPool& planned = plan_.pools[p];
    PoolRun& run = pools_[p];
    Tick when = kernel_.now() + behaviour_.release_period_ms.value * sim::kMillisecond;
    unsigned cpu = kernel_.current().cpu();
    if (run.rounds < planned.work.size()) {
      when = std::max(at(planned.work[run.rounds].time_ns), kernel_.now());
      cpu = cpu_of(planned.work[run.rounds].cpu);
    } else if (!planned.work_ended) {
      return;
    }
    ++run.rounds;
    kernel_.timers(kernel_.current().cpu()).arm_hrtimer(when, [work = run.work.get(), cpu] {
      work->queue_on(cpu);
    });
  }

  void release_work(std::size_t p) {
    PoolRun& run = pools_[p];
    run.pool->release_retry();
    if (!run.pool->gone()) schedule_work(p);
  }

  void alloc(const Step& step) {
    PoolRun& run = pools_[step.pool];
    if (run.pool == nullptr || run.pool->gone()) {
      skip(step);
      return;
    }
    if (step.granted != 0) {  // the bulk request ends at its first failure
      machine_.pages().set_failure_hook(
          [n = 0u, granted = step.granted](unsigned, unsigned) mutable { return n++ == granted; });
    }
    with_napi(step, run, [&] { pages_[step.handle] = run.pool->alloc_page(); });
    if (step.granted != 0) machine_.pages().set_failure_hook({});
  }

  void put(const Step& step) {
    PoolRun& run = pools_[step.pool];
    const std::optional<sim::Pfn> page = std::exchange(pages_[step.handle], std::nullopt);
    if (run.pool == nullptr || run.pool->gone() || !page) {
      skip(step);
      return;
    }
    const bool softirq = step.context != CpuContext::kThread;
    const bool direct = step.direct && (softirq || !behaviour_.direct_needs_softirq);
    if (step.extra_reference) machine_.frames().get_page(*page);
    with_napi(step, run, [&] { run.pool->put_full_page(*page, direct); });
    if (step.extra_reference && machine_.frames().put_page_testzero(*page)) {
      machine_.pages().free_pages(*page, plan_.pools[step.pool].order);
    }
  }

  /// Calls of a NAPI poll: its instance is owned by this CPU meanwhile.
  template <class Call>
  void with_napi(const Step& step, PoolRun& run, Call call) {
    const bool poll = step.context == CpuContext::kSoftirq && !run.destroyed;
    if (poll) run.napi.list_owner = static_cast<int>(kernel_.current().cpu());
    call();
    if (poll) run.napi.list_owner = -1;
  }

  void map(const Step& step) {
    OwnMapping& own = own_[step.handle];
    const std::uint64_t bytes = std::max<std::uint64_t>(step.offset + step.size, 1);
    while ((sim::kPageSize << own.order) < bytes) ++own.order;
    const auto pfn = machine_.pages().alloc_pages(own.order);
    if (!pfn) {
      skip(step);
      return;
    }
    own.pfn = *pfn;
    own.iova = kernel_.dma().dma_map_page_attrs(device(step.device), *pfn, step.offset,
                                                std::max<std::uint64_t>(step.size, 1),
                                                static_cast<kernel::DmaDirection>(step.direction % 3));
    own.alive = own.iova != kernel::kDmaMappingError;
    if (!own.alive) free_pages(own);
  }

  void unmap(const Step& step) {
    OwnMapping& own = own_[step.handle];
    if (!std::exchange(own.alive, false)) {
      skip(step);
      return;
    }
    kernel_.dma().dma_unmap_page_attrs(device(step.device), own.iova, std::max<std::uint64_t>(step.size, 1),
                                       static_cast<kernel::DmaDirection>(step.direction % 3));
    free_pages(own);
  }

  void free_pages(const OwnMapping& own) {
    if (machine_.frames().put_page_testzero(own.pfn)) machine_.pages().free_pages(own.pfn, own.order);
  }

  const Capture& capture_;
  const Plan& plan_;
  const Behaviour& behaviour_;
  RecordedMachine machine_;
  kernel::Kernel& kernel_;
  Observer observer_;
  std::unique_ptr<trace::PerfettoRecorder> timeline_;
  RecordedDriver driver_;
  std::vector<kernel::Device*> devices_;
  std::vector<PoolRun> pools_;
  std::vector<std::optional<sim::Pfn>> pages_;  // per allocation handle
  std::map<std::size_t, OwnMapping> own_;       // per mapping handle
  std::vector<char> done_;                      // per step
  std::vector<char> claimed_;                   // per step: runs inside a remove()
  std::map<std::uint64_t, std::vector<std::size_t>> task_steps_;
  std::vector<std::deque<std::size_t>> cpu_steps_;
  std::map<std::uint64_t, bool> dead_;
  std::map<std::size_t, std::pair<std::uint64_t, std::size_t>> removals_;  // device -> task and its kRemove
  std::size_t skipped_ = 0;
  std::uint32_t first_skipped_ = 0;
  std::vector<std::string> notes_;
};

}  // namespace

ModelResult run_model(const Capture& capture, const Plan& plan, const Behaviour& behaviour,
                      const std::string& perfetto) {
  pagepool::find_strategy(behaviour.strategy.value);
  return Model(capture, plan, behaviour).run(perfetto);
}

}  // namespace replay
