// SPDX-License-Identifier: Apache-2.0
#include "testbenches/campaign/workers.h"

#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <map>
#include <new>
#include <tuple>

#include "sim/snapshot.h"
#include "testbenches/campaign/experiment.h"
#include "testbenches/checker/report.h"
#include "testbenches/scenario/crash_note.h"

namespace campaign {
namespace {

constexpr unsigned kAttempts = 3;  // of an experiment whose process was killed from outside

int wait_for(pid_t pid, rusage* usage = nullptr) {
  int status = 0;
  while (::wait4(pid, &status, 0, usage) < 0 && errno == EINTR) {
  }
  return status;
}

/// This process goes when its parent goes; keys pressed at the terminal are for the coordinator.
void belong_to(pid_t parent) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(1);
  ::signal(SIGINT, SIG_IGN);
  ::signal(SIGTERM, SIG_IGN);
}

// Where the model was when it crashed, in the row of the experiment that this process is at.
Row* crashing = nullptr;

void note_crash(int) {
  if (crashing != nullptr) scenario::note_call_chain(crashing->crash_chain, sizeof crashing->crash_chain);
}

std::uint64_t address_space() {
  unsigned long long pages = 0;
  if (std::FILE* f = std::fopen("/proc/self/statm", "r"); f != nullptr) {
    if (std::fscanf(f, "%llu", &pages) != 1) pages = 0;
    std::fclose(f);
  }
  return pages * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

void limit_memory(const Limits& limits, std::uint64_t address_space_now) {
  const rlimit memory{address_space_now + limits.memory, address_space_now + limits.memory};
  ::setrlimit(RLIMIT_AS, &memory);
  const rlimit core{0, 0};
  ::setrlimit(RLIMIT_CORE, &core);
}

/// CPU time from now on; SIGPROF ends what takes longer.
void limit_cpu(const Limits& limits) {
  itimerval timer{};
  timer.it_value.tv_sec = static_cast<time_t>(limits.cpu / sim::kSecond);
  timer.it_value.tv_usec = static_cast<suseconds_t>(limits.cpu % sim::kSecond / sim::kMicrosecond);
  ::setitimer(ITIMER_PROF, &timer, nullptr);
}

std::uint64_t microseconds(const rusage& usage) {
  return static_cast<std::uint64_t>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1'000'000 +
         static_cast<std::uint64_t>(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

void blame(Row& row, Outcome outcome, const std::string& signature, const std::string& detail) {
  row.outcome = outcome;
  row.stop = Stop::kDied;
  row.detector = Detector::kCount;
  row.detected = row.first_divergence = row.ended = sim::kNever;
  row.audit_agrees = true;
  row.weight = std::max<std::uint64_t>(1, row.weight);
  row.digest[0] = 0;
  put(row.signature, signature);
  put(row.detail, detail);
}

/// run_experiment(), and what it throws as an outcome.
void run_guarded(World& world, const Campaign& campaign, const Golden& golden, const Plan& plan, Row& row) {
  try {
    run_experiment(world, campaign, golden, plan, row);
  } catch (const std::bad_alloc&) {
    blame(row, Outcome::kCrashTool, "crash_tool: out of memory", "limits.memory was used up");
  } catch (const sim::ModelError& e) {
    blame(row, Outcome::kInvalid, fmt::format("invalid: {}", e.what()).substr(0, 150), e.what());
  } catch (const std::exception& e) {
    blame(row, Outcome::kCrashTool, fmt::format("crash_tool: {}", e.what()).substr(0, 150), e.what());
  }
}

/// The process of an experiment has ended: what the row does not say itself. False: it must be done again.
bool conclude(Row& row, int status) {
  if (row.state.load() == 1) return true;
  const int signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
  if (signal == SIGKILL && ++row.attempts < kAttempts) return false;
  if (signal == SIGPROF || signal == SIGXCPU) {
    blame(row, Outcome::kHangHost, "hang_host", "limits.cpu was used up");
  } else if (signal == SIGKILL) {
    blame(row, Outcome::kCrashTool, "crash_tool: killed", "killed from outside, again and again");
  } else if (signal != 0) {
    const std::string chain = row.crash_chain;
    blame(row, Outcome::kCrashTool, fmt::format("crash_tool: signal {} at {}", signal, chain.substr(0, 120)),
          chain);
  } else {
    blame(row, Outcome::kCrashTool, "crash_tool: exit", fmt::format("exit status {}", WEXITSTATUS(status)));
  }
  return true;
}

}  // namespace

struct Batch::Control {
  std::atomic<std::uint32_t> stop;
};

Batch::Batch(const Campaign& campaign, std::size_t variant, std::vector<std::uint64_t> ids, unsigned workers)
    : campaign_(campaign), variant_(variant), ids_(std::move(ids)), workers_(std::max(1u, workers)) {
  rows_ = static_cast<Row*>(shared_memory(std::max<std::size_t>(1, ids_.size()) * sizeof(Row)));
  golden_ = static_cast<GoldenSummary*>(shared_memory(sizeof(GoldenSummary)));
  control_ = static_cast<Control*>(shared_memory(sizeof(Control)));
}

Batch::~Batch() {
  kill();
  ::munmap(rows_, std::max<std::size_t>(1, ids_.size()) * sizeof(Row));
  ::munmap(golden_, sizeof(GoldenSummary));
  ::munmap(control_, sizeof(Control));
}

void Batch::stop() { control_->stop = 1; }

void Batch::kill() {
  if (pid_ < 0) return;
  ::kill(pid_, SIGKILL);
  status_ = wait_for(pid_);
  pid_ = -1;
}

bool Batch::running() {
  if (pid_ < 0) return false;
  if (::waitpid(pid_, &status_, WNOHANG) == pid_) pid_ = -1;
  return pid_ >= 0;
}

void Batch::give_up_on_rest() {
  for (std::size_t n = 0; n < size(); ++n) {
    if (complete(n)) continue;
    rows_[n].id = ids_[n];
    blame(rows_[n], Outcome::kCrashTool, "crash_tool: worker", "the worker died of it again and again");
    rows_[n].state.store(2, std::memory_order_release);
  }
}

void Batch::start() {
  std::fflush(nullptr);
  const pid_t parent = ::getpid();
  pid_ = ::fork();
  if (pid_ < 0) throw sim::ModelError("fork() failed");
  if (pid_ != 0) return;
  belong_to(parent);
  variant_process();
}

namespace {

/// Walks the warm machine through the plans of a share, in order of time. An *executor*, forked from it, does
/// the experiments and puts its memory back after each (sim/snapshot.h); one that an experiment brought down
/// is replaced. Where snapshots are not possible every experiment has an executor of its own.
class Worker {
 public:
  using Share = std::vector<std::pair<Plan, std::size_t>>;

  Worker(World& world, const Campaign& campaign, const Golden& golden, Row* rows, const Share& share,
         const std::atomic<std::uint32_t>& stop)
      : world_(world), campaign_(campaign), golden_(golden), rows_(rows), share_(share), stop_(stop) {
    at_ = static_cast<Position*>(shared_memory(sizeof(Position)));
    scratch_ = static_cast<Row*>(shared_memory(sizeof(Row)));
  }

  void run() {
    while (skip_done()) {
      const Plan& plan = share_[at_->plan].first;
      if (plan.fork > world_.now()) world_.run_until(plan.fork);
      const pid_t parent = ::getpid();
      const pid_t pid = ::fork();
      if (pid < 0) throw sim::ModelError("fork() failed");
      if (pid == 0) {
        belong_to(parent);
        sim::Snapshot::supported() ? with_snapshot() : once();
        ::_exit(0);
      }
      rusage usage{};
      const int status = wait_for(pid, &usage);
      if (status == 0) continue;
      Row& row = current_row();
      row.cpu_us = microseconds(usage), row.minor_faults = static_cast<std::uint64_t>(usage.ru_minflt);
      if (conclude(row, status)) step_done();
    }
  }

 private:
  /// Where the share is; in shared memory, for the worker and its executor.
  struct Position {
    std::size_t plan = 0;
    bool pilot_done = false;  ///< of an experiment that is an audit: what its class says is known
  };

  /// Goes over what is complete already. False: nothing is left, or no more is wanted. Whoever is killed in
  /// the middle of this leaves what the next one does the same with.
  bool skip_done() {
    while (at_->plan < share_.size() && rows_[share_[at_->plan].second].state.load() == 2) {
      at_->pilot_done = false;
      scratch_->state.store(0);
      scratch_->attempts = 0;
      std::atomic_signal_fence(std::memory_order_seq_cst);
      ++at_->plan;
    }
    return at_->plan < share_.size() && stop_.load() == 0;
  }
  static bool audits(const Plan& plan) { return plan.classed && plan.audit; }
  bool at_pilot() const { return audits(share_[at_->plan].first) && !at_->pilot_done; }
  Row& current_row() { return at_pilot() ? *scratch_ : rows_[share_[at_->plan].second]; }

  /// The pilot, or the experiment, has a row that says all.
  void step_done() {
    if (at_pilot()) {
      at_->pilot_done = true;
      return;
    }
    Row& row = current_row();
    if (audits(share_[at_->plan].first)) {
      row.audit_agrees = row.audit_agrees && row.outcome == scratch_->outcome;
    }
    row.state.store(2, std::memory_order_release);
  }

  /// Experiments until the share is done or the process is worn out.
  void with_snapshot() {
    sim::Snapshot::run_apart([this] {
      sim::Snapshot snapshot;
      snapshot.on_crash(note_crash);
      limit_memory(campaign_.limits, address_space());
      sim::Tick taken_at = sim::kNever;
      while (!snapshot.outgrown() && skip_done()) {
        const Plan& plan = share_[at_->plan].first;
        if (plan.fork > world_.now()) world_.run_until(plan.fork);
        if (taken_at != world_.now()) snapshot.take();
        taken_at = world_.now();
        step();
        snapshot.restore();
        step_done();
      }
      ::_exit(0);
    });
  }

  void once() {
    scenario::on_crash(note_crash);
    limit_memory(campaign_.limits, address_space());
    step();
    step_done();
  }

  /// The next pilot or experiment, in this process.
  void step() {
    Plan plan = share_[at_->plan].first;
    Row& row = current_row();
    row.id = plan.id;
    row.weight = plan.weight;
    row.state.store(0);
    row.injected = row.acted = world_.now();
    row.crash_chain[0] = row.entity[0] = 0;
    rusage before{}, after{};
    ::getrusage(RUSAGE_SELF, &before);
    crashing = &row;
    if (at_pilot()) plan.audit = false;
    if (at_pilot() && plan.fate != ClassFate::kLive) {
      not_run(plan, row);
    } else {
      limit_cpu(campaign_.limits);
      if (plan.audit && plan.drawn > world_.now()) world_.run_until(plan.drawn);
      run_guarded(world_, campaign_, golden_, plan, row);
    }
    ::getrusage(RUSAGE_SELF, &after);
    row.cpu_us = microseconds(after) - microseconds(before);
    row.minor_faults = static_cast<std::uint64_t>(after.ru_minflt - before.ru_minflt);
    row.state.store(1, std::memory_order_release);
  }

  World& world_;
  const Campaign& campaign_;
  const Golden& golden_;
  Row* rows_;
  const Share& share_;
  const std::atomic<std::uint32_t>& stop_;
  Position* at_;
  Row* scratch_;
};

/// An experiment whose class another one stands for: its plan, its row, the row of that one.
struct Copy {
  Plan plan;
  std::size_t row, pilot;
};

/// Leaves one experiment of each class in `work`, which is sorted by time; the others are copies of it.
std::vector<Copy> keep_pilots(std::vector<std::pair<Plan, std::size_t>>& work) {
  std::vector<Copy> copies;
  std::map<std::tuple<sim::Tick, std::size_t, std::uint64_t, unsigned>, std::size_t> pilots;
  std::erase_if(work, [&](const std::pair<Plan, std::size_t>& w) {
    const Plan& p = w.first;
    if (!p.classed || p.audit) return false;
    const auto [pilot, fresh] =
        pilots.try_emplace({p.fork, p.spec, p.target.address.value, p.target_bit}, w.second);
    if (!fresh) copies.push_back({p, w.second, pilot->second});
    return !fresh;
  });
  return copies;
}

void copy_row(const Plan& plan, const Row& from, Row& to) {
  to.outcome = from.outcome, to.stop = from.stop, to.detector = from.detector;
  to.audited = false, to.audit_agrees = true;
  to.injected = from.injected, to.acted = from.acted, to.first_divergence = from.first_divergence;
  to.detected = from.detected, to.ended = from.ended;
  to.cpu_us = to.minor_faults = 0;
  to.weight = from.weight;
  put(to.digest, from.digest), put(to.entity, from.entity), put(to.signature, from.signature);
  put(to.detail, from.detail);
  to.id = plan.id;
  to.state.store(2, std::memory_order_release);
}

double cpu_of_all() {
  rusage self{}, children{};
  ::getrusage(RUSAGE_SELF, &self);
  ::getrusage(RUSAGE_CHILDREN, &children);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec);
  };
  return seconds(self.ru_utime) + seconds(self.ru_stime) + seconds(children.ru_utime) +
         seconds(children.ru_stime);
}

}  // namespace

void Batch::variant_process() {
  try {
    // Never taken down: this process ends with it, and code of the modelled kernel may be in the middle of
    // things.
    if (sim::Snapshot::supported()) sim::Snapshot::prepare();
    World& world = *new World(campaign_, campaign_.variants[variant_]);
    world.warm_up();
    const Golden golden = Golden::record(world, campaign_);
    put(golden_->digest, golden.digest());
    golden_->origin = golden.origin();
    golden_->end = golden.last().time;
    golden_->last = golden.last().observation;
    golden_->events = golden.last().events;
    golden_->seconds = cpu_of_all();
    for (std::size_t n = 0; n < std::min(campaign_.faults.size(), std::size(golden_->space)); ++n)
      golden_->space[n] = golden.space(n);
    std::vector<std::pair<Plan, std::size_t>> work;
    for (std::size_t n = 0; n < ids_.size(); ++n) {
      if (complete(n)) continue;
      const Plan plan = make_plan(campaign_, golden, ids_[n]);
      if (plan.reached && (!plan.classed || plan.fate == ClassFate::kLive || plan.audit)) {
        work.emplace_back(plan, n);
        continue;
      }
      plan.reached ? not_run(plan, rows_[n]) : not_reached(plan, rows_[n]);
      rows_[n].state.store(2, std::memory_order_release);
    }
    std::stable_sort(work.begin(), work.end(),
                     [](const auto& a, const auto& b) { return a.first.fork < b.first.fork; });
    const auto copies = keep_pilots(work);
    std::vector<std::vector<std::pair<Plan, std::size_t>>> shares(workers_);
    for (std::size_t i = 0; i < work.size(); ++i) shares[i % workers_].push_back(work[i]);
    std::vector<pid_t> pids(workers_, -1);
    const pid_t self = ::getpid();
    for (unsigned w = 0; w < workers_; ++w) {
      pids[w] = ::fork();
      if (pids[w] != 0) continue;
      belong_to(self);
      Worker(world, campaign_, golden, rows_, shares[w], control_->stop).run();
      ::_exit(0);
    }
    int worst = 0;
    for (const pid_t pid : pids) {
      if (const int status = wait_for(pid); status != 0) worst = 1;
    }
    for (const auto& [plan, n, pilot] : copies) {
      if (complete(pilot)) copy_row(plan, rows_[pilot], rows_[n]);
    }
    ::_exit(worst);
  } catch (const sim::Error& e) {
    put(golden_->error, e.what());
    ::_exit(2);
  } catch (const std::exception& e) {
    put(golden_->error, e.what());
    ::_exit(70);
  }
}

std::string run_cold(const Campaign& campaign, std::uint64_t id, Row& row,
                     const scenario::RunOptions& options) {
  const Variant& variant = campaign.variants[id % campaign.variants.size()];
  World& world = *new World(campaign, variant, options);
  world.warm_up();
  const Golden golden = Golden::record(world, campaign);
  const Plan plan = make_plan(campaign, golden, id);
  if (!plan.reached) {
    not_reached(plan, row);
    return "the trigger never comes\n";
  }
  row.id = id;
  if (plan.classed && plan.fate != ClassFate::kLive && !plan.audit) {
    not_run(plan, row);
    return fmt::format("{}: {}\n", row.entity, row.detail);
  }
  const sim::Tick moment = plan.classed && plan.audit ? plan.drawn : plan.fork;
  if (moment > world.now()) world.run_until(moment);
  run_guarded(world, campaign, golden, plan, row);
  world.run().close_outputs();
  std::string text = "Kernel log\n";
  for (const auto& line : world.machine().kernel().dmesg()) {
    text += fmt::format("  [{:>13.6f}] {}\n", static_cast<double>(line.time) / sim::kSecond, line.text);
  }
  const std::string findings = checker::findings_text(world.run().checker());
  return text + "\nFindings\n" + (findings.empty() ? "  none\n" : findings);
}

}  // namespace campaign
