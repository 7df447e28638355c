// SPDX-License-Identifier: Apache-2.0
#include "testbenches/explore/stage.h"

#include <unistd.h>

#include "kernel/baton.h"
#include "testbenches/scenario/crash_note.h"

namespace explore {

void register_all(platform::ParameterSet& set, StageConfig& config) {
  ExploreConfig& e = config.explore;
  constexpr sim::Tick kLong = 3600 * sim::kSecond;
  set.text("explore.story", e.story, "what happens (poolsim list stories)");
  set.integer("explore.pages", e.pages, 1, 64, "pages out of the pool when the race begins");
  set.integer("explore.packets", e.packets, 1, 64, "frames that arrive, in stories with the NIC");
  set.integer("explore.pool_size", e.pool_size, 1, 1024, "slots of the pool's ring");
  set.time("explore.longest_hold", e.longest_hold, sim::kMicrosecond, kLong,
           "cores are held at most this long for something to happen");
  set.time("explore.tail", e.tail, 0, kLong, "from the end of the last racer to the end of the run");
  set.time("explore.patience", e.patience, 0, kLong, "a racer that has not ended by then never will");
  set.integer("explore.futile_steps", e.futile_steps, 1000, std::uint64_t{1} << 40,
              "so many points and wake-ups without any change of pages, mappings, devices or packets are a livelock");
  set.time("explore.shutdown_bound", e.shutdown_bound, 1, kLong, "for a pool to end after its destroy");
  // Only here: tests of the explorer itself.
  std::vector<std::pair<std::string, pagepool::Mutant>> mutants;
  for (unsigned m = 0; m < static_cast<unsigned>(pagepool::Mutant::kCount); ++m) {
    mutants.emplace_back(pagepool::to_string(static_cast<pagepool::Mutant>(m)), static_cast<pagepool::Mutant>(m));
  }
  set.choice("explore.mutant", config.run.machine.pool.mutant, mutants,
             "leaves one synchronisation out, to see whether exploration notices");
  scenario::register_all(set, config.run);
}

namespace {

void read(platform::ParameterSet& set, StageConfig& config, const std::string& file,
          const std::vector<std::string>& assignments) {
  // Small: what a fork has to copy, and a scan has to walk.
  config.run.machine.memory.bytes = std::uint64_t{64} << 20;
  config.run.machine.pool.release_period_ms = 1;
  config.run.scenario.stop_at_oops = true;
  register_all(set, config);
  if (!file.empty()) set.load_file(file);
  set.load_environment(environ);
  for (const auto& a : assignments) set.assign(a);
  set.check([&] {
    config.run.scenario.validate();
    config.run.machine.finish();
    find_story(config.explore.story);
  });
}

}  // namespace

void load(StageConfig& config, const std::string& file, const std::vector<std::string>& assignments) {
  platform::ParameterSet set;
  read(set, config, file, assignments);
}

std::vector<std::string> settings_of(const std::string& file, const std::vector<std::string>& assignments) {
  StageConfig config;
  platform::ParameterSet set;
  read(set, config, file, assignments);
  std::vector<std::string> settings;
  for (const platform::Parameter& p : set.parameters()) {
    std::string value = p.text();
    if (p.kind == platform::Parameter::Kind::kQuantity) std::erase(value, ' ');
    if (p.origin == "default" || value.find_first_of(" \t\n'") != value.npos) continue;
    settings.push_back(p.path + "=" + value);
  }
  return settings;
}

const Story& find_story(std::string_view key) {
  std::vector<std::string> keys;
  for (const Story& s : stories()) {
    if (key == s.key) return s;
    keys.emplace_back(s.key);
  }
  throw sim::Error(fmt::format("explore.story: there is no '{}'{}", key, sim::suggestion(std::string(key), keys)));
}

/// A driver that has page_pools and no hardware: one from its probe on, more if it is told.
class Stage::PoolDriver final : public kernel::Driver {
 public:
  explicit PoolDriver(Stage& stage) : Driver("pool"), stage_(stage) {}
  int probe(kernel::Device& device) override { return make_pool(device) != nullptr ? 0 : -12; }
  void remove(kernel::Device&) override {
    const auto pools = std::exchange(pools_, {});
    for (const auto& pool : pools) pool->destroy();
  }
  std::shared_ptr<pagepool::Pool> make_pool(kernel::Device& device) {
    pagepool::PoolParams params;
    params.pool_size = stage_.config_.explore.pool_size;
    params.flags = pagepool::PP_FLAG_DMA_MAP | pagepool::PP_FLAG_DMA_SYNC_DEV;
    params.max_len = 4096;
    auto pool = stage_.machine_.pools().create(device, params);
    if (pool != nullptr) pools_.push_back(pool);
    return pool;
  }
  std::shared_ptr<pagepool::Pool> pool() const { return pools_.front(); }

 private:
  Stage& stage_;
  std::vector<std::shared_ptr<pagepool::Pool>> pools_;
};

namespace {
constexpr std::uint16_t kPort = 9000;  // UDP

checker::CheckerConfig bounds(const StageConfig& config) {
  checker::CheckerConfig c;
  c.shutdown_bound = config.explore.shutdown_bound;
  return c;
}
}  // namespace

Stage::Stage(const StageConfig& config)
    : config_(config),
      machine_(config.run.machine),
      checker_(machine_.simulation().timeline(), bounds(config)),
      driver_(std::make_unique<PoolDriver>(*this)),
      other_driver_(std::make_unique<PoolDriver>(*this)) {
  checker_.attach(machine_.memory_trace());
  checker_.attach(kernel().trace());
  checker_.attach(machine_.iommu());
  checker_.attach(machine_.nic().trace());
  checker_.attach(machine_.pools().trace());
}

// The pools' timers hang in the kernel: they go first.
Stage::~Stage() {
  driver_.reset();
  other_driver_.reset();
  vf_driver_.reset();
  pf_driver_.reset();
  pool.reset();
  other.reset();
}

void Stage::probe_iommu() {
  kernel::Kernel& k = kernel();
  if (k.config().dma_mode != kernel::DmaMode::kDirect) k.iommu().probe(machine_.config().iommu_registers);
}

void Stage::bind_device() {
  probe_iommu();
  device = &kernel().devices().device_add("0000:01:10.0", sim::RequesterId(0x180));
  rebind_device();
}

void Stage::rebind_device() {
  const int error = kernel().devices().device_bind(*device, *driver_);
  POOLSIM_ASSERT(error == 0);
  pool = driver_->pool();
}

void Stage::bind_other_device() {
  other_device = &kernel().devices().device_add("0000:01:10.1", sim::RequesterId(0x181));
  const int error = kernel().devices().device_bind(*other_device, *other_driver_);
  POOLSIM_ASSERT(error == 0);
  other = other_driver_->pool();
}

void Stage::bind_nic() {
  kernel::Kernel& k = kernel();
  platform::Machine& m = machine_;
  const nic::DriverConfig& driver = m.config().driver;
  probe_iommu();
  pf_driver_ = std::make_unique<nic::IgbDriver>(k, m.stack(), m.memory_trace(), m.bridge(), driver);
  vf_driver_ = std::make_unique<nic::IgbvfDriver>(k, m.stack(), m.memory_trace(), m.bridge(), driver,
                                                  m.pools().factory());
  const sim::RequesterId requester = m.config().nic.pf_requester;
  kernel::Device& pf = k.devices().device_add(nic::pci_name(requester), requester);
  int error = k.devices().device_bind(pf, *pf_driver_);
  POOLSIM_ASSERT(error == 0);
  device = pf_driver_->enable_sriov(1).front();
  error = k.devices().device_bind(*device, *vf_driver_);
  POOLSIM_ASSERT(error == 0);
  pool = m.pools().pools().back();
  socket = &m.stack().bind_udp(kPort, std::uint64_t{1} << 20);
  kernel::usleep(20);  // the device has fetched its first descriptors
}

void Stage::send_frames(unsigned n, bool for_nobody, sim::Tick start) {
  constexpr nic::MacAddress kPeerMac = {0x02, 0, 0, 0, 0, 0x99};
  constexpr std::uint32_t kPeerIp = 0x0a000002, kOurIp = 0x0a000001;
  platform::FrameStream s;
  const std::uint16_t port = for_nobody ? kPort + 1 : kPort;
  s.flow = {vf_driver_->mac(), kPeerMac, kPeerIp, kOurIp, 40000, port};
  s.count = n;
  s.start = start;
  machine_.wire().send(s);
}

std::shared_ptr<pagepool::Pool> Stage::make_pool() { return driver_->make_pool(*device); }

void Stage::take_pages(pagepool::Pool& from, unsigned n) {
  for (unsigned i = 0; i < n; ++i) {
    const auto page = from.alloc_page();
    POOLSIM_ASSERT(page.has_value());
    machine_.memory_trace().held(*page, "skb", i);
    out.push_back(*page);
  }
  // 64 at a time come in; few pages make few points.
  from.update_nid(from.params().nid);
}

void Stage::return_page(sim::Pfn page) {
  KFUNC("skb_release_data");
  if (!machine_.pools().napi_pp_put_page(page)) pagepool::put_page(kernel(), page);
}

void Stage::return_pages(std::size_t from, std::size_t to) {
  for (std::size_t i = from; i < to && i < out.size(); ++i) return_page(out[i]);
}

void Stage::warm_up() {
  const Story& story = find_story(config_.explore.story);
  sim::Timeline& timeline = machine_.simulation().timeline();
  kernel().spawn(0, "setup", [this, &story, &timeline] {
    story.set_up(*this);
    warm_ = true;
    timeline.stop();
  });
  timeline.run_until(60 * sim::kSecond);
  if (!warm_) throw sim::ModelError(fmt::format("story {}: the set-up did not end", story.key));
  // Until nobody runs: then every core is at a place where the baton may come.
  for (int i = 0; i < 1000; ++i) {
    bool idle = true;
    for (unsigned cpu = 0; cpu < kernel().cores(); ++cpu) idle &= kernel().core(cpu).idle();
    if (idle) break;
    timeline.run_until(timeline.now() + sim::kMicrosecond);
  }
  racers_ = story.racers(*this);
}

StageResult Stage::race(ScheduleOracle& oracle) {
  const Story& story = find_story(config_.explore.story);
  sim::Simulation& simulation = machine_.simulation();
  sim::Timeline& timeline = simulation.timeline();
  simulation.set_oracle(oracle);
  kernel::Baton& baton = kernel().explore(config_.explore.longest_hold);
  machine_.nic().trace().buffer_written.subscribe([&baton](const nic::BufferWritten&) { baton.hardware_event(); });
  machine_.iommu().translated.subscribe([&baton](const iommu::Translated&) { baton.hardware_event(); });
  kernel().trace().oops.subscribe([&timeline](const kernel::Oops&) { timeline.stop(); });
  races_ = std::make_unique<checker::RaceDetector>(
      kernel().cores(), [this](const checker::DataRace& race) { checker_.raced(race); });
  kernel().trace().memory_access.subscribe([this](const kernel::MemoryAccess& e) { races_->on(e); });
  kernel().trace().ordered.subscribe([this](const kernel::Ordered& e) { races_->on(e); });
  checker_.on_new_finding([this](checker::Finding& f) {
    note_other_side(f);
    if (on_new_finding_) on_new_finding_(f);
  });
  checker_.forgive([this, &baton] {
    sim::Tick held = baton.all_held();
    for (unsigned cpu = 0; cpu < kernel().cores(); ++cpu) held = std::max(held, kernel().core(cpu).held());
    return held;
  });
  history_ = std::make_unique<History>(machine_);
  watch_ = std::make_unique<Watch>(machine_, baton, config_.explore.futile_steps);

  running_ = static_cast<unsigned>(racers_.size());
  for (Racer& racer : racers_) {
    tasks_.push_back(&kernel().spawn(racer.cpu, racer.name, [this, &racer, &timeline] {
      racer.body();
      if (--running_ == 0) timeline.stop();
    }));
  }
  const sim::Tick begin = timeline.now();
  bool stuck = false;
  // Time in which every core was held is nobody's fault.
  for (sim::Tick end = 0; running_ != 0 && !stuck && !kernel().panicked() && kernel().oopses().empty();) {
    const sim::Tick next = begin + config_.explore.patience + baton.all_held();
    if (next <= end) break;
    end = next;
    stuck = run(end);
  }
  const bool oopsed = !kernel().oopses().empty();
  if (running_ == 0 && !oopsed) {
    if (story.end) kernel().spawn(0, "end", [this, &story] { story.end(*this); });
    stuck = run(timeline.now() + config_.explore.tail);
  }
  if (running_ != 0 && !oopsed && !stuck) judge_racers();
  checker_.finish();
  return {running_ == 0, timeline.now() - begin, timeline.wakeups(), simulation.digest().hex()};
}

/// To `end`, or until somebody stops the machine. True: something is stuck for certain, and has been told.
bool Stage::run(sim::Tick end) {
  constexpr sim::Tick kSlice = 200 * sim::kMicrosecond;
  sim::Timeline& timeline = machine_.simulation().timeline();
  while (timeline.now() < end) {
    // Nothing needs watching before something happens.
    const sim::Tick from = std::max(timeline.now(), timeline.earliest());
    const sim::Tick next = from < end && end - from > kSlice ? from + kSlice : end;
    if (timeline.run_until(next) < next) return false;
    if (const auto stuck = watch_->look(tasks_)) {
      tell_stuck(*stuck);
      return true;
    }
  }
  return false;
}

void Stage::tell_stuck(const Stuck& stuck) {
  if (stuck.task == nullptr) return;
  const kernel::Task& task = *stuck.task;
  accused_ = &task.core();
  checker_.racer_stuck({stuck.kind, task.name(), task.core().cpu(), checker::chain_text(task.call_chain()), stuck.whom,
                        stuck.detail});
  accused_ = nullptr;
}

/// Racers that have not ended: what are they waiting for?
void Stage::judge_racers() {
  for (kernel::Task* task : tasks_) {
    if (!task->dead()) tell_stuck(watch_->judge(*task, tasks_));
  }
}

/// What others did to the same page or pool before, what every other core was in the middle of, and since when.
void Stage::note_other_side(checker::Finding& finding) {
  if (kernel::in_kernel_code()) {
    const kernel::Context& cpu = kernel::this_cpu();
    const bool has_chain = finding.place.find(" <- ") != finding.place.npos;
    const std::string chain = has_chain ? "" : checker::chain_text(cpu.call_chain());
    finding.who += fmt::format("{}{} on core {}{}{}", finding.who.empty() ? "" : ": ", cpu.current().name(), cpu.cpu(),
                               chain.empty() ? "" : " in ", chain);
  }
  if (const std::string before = history_->before(finding); !before.empty()) {
    finding.detail += (finding.detail.empty() ? "" : "; ") + before;
  }
  const kernel::Context* const here = kernel::in_kernel_code() ? &kernel::this_cpu() : accused_;
  for (unsigned cpu = 0; cpu < kernel().cores(); ++cpu) {
    const kernel::Core& core = kernel().core(cpu);
    if (&core == here || core.idle() || core.current().pid() == 0) continue;
    const sim::Cycle window = kernel().config().clock.cycles(machine_.simulation().now() - core.held_since());
    finding.detail += fmt::format("{}core {} held for {} cycles in {}: {}", finding.detail.empty() ? "" : "; ", cpu,
                                  window, core.current().name(), checker::chain_text(core.call_chain()));
  }
}

void Stage::note_held_cores(char* to, std::size_t size) {
  kernel::Kernel& k = kernel();
  const kernel::Context* const here = kernel::in_kernel_code() ? &kernel::this_cpu() : nullptr;
  std::size_t n = 0;
  for (unsigned cpu = 0; cpu < k.cores(); ++cpu) {
    const kernel::Core& core = k.core(cpu);
    if (&core == here || core.idle() || core.current().pid() == 0) continue;
    const sim::Cycle window = k.config().clock.cycles(machine_.simulation().now() - core.held_since());
    const auto end = fmt::format_to_n(to + n, size - n - 1, "{}core {} held for {} cycles in {}: ", n == 0 ? "" : "; ",
                                      cpu, window, core.current().name());
    n = static_cast<std::size_t>(end.out - to);
    n += scenario::note_chain(to + n, size - n, core.call_chain());
  }
  to[n] = 0;
}

}  // namespace explore
