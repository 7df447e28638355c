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

// Where the model was when it crashed, in the row of the experiment. One experiment a process.
Row* crashing = nullptr;

void on_crash(int signal) {
  if (crashing != nullptr) scenario::note_call_chain(crashing->crash_chain, sizeof crashing->crash_chain);
  ::signal(signal, SIG_DFL);
  ::raise(signal);
}

void catch_crashes(Row& row) {
  static char stack[16384];
  const stack_t alternate{stack, 0, sizeof stack};
  ::sigaltstack(&alternate, nullptr);
  struct sigaction action {};
  action.sa_handler = on_crash;
  action.sa_flags = SA_ONSTACK | SA_NODEFER;
  for (const int signal : {SIGSEGV, SIGBUS, SIGABRT, SIGFPE}) ::sigaction(signal, &action, nullptr);
  crashing = &row;
}

std::uint64_t address_space() {
  unsigned long long pages = 0;
  if (std::FILE* f = std::fopen("/proc/self/statm", "r"); f != nullptr) {
    if (std::fscanf(f, "%llu", &pages) != 1) pages = 0;
    std::fclose(f);
  }
  return pages * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

void limit_child(const Limits& limits, std::uint64_t address_space_now) {
  itimerval timer{};
  timer.it_value.tv_sec = static_cast<time_t>(limits.cpu / sim::kSecond);
  timer.it_value.tv_usec = static_cast<suseconds_t>(limits.cpu % sim::kSecond / sim::kMicrosecond);
  ::setitimer(ITIMER_PROF, &timer, nullptr);
  const rlimit memory{address_space_now + limits.memory, address_space_now + limits.memory};
  ::setrlimit(RLIMIT_AS, &memory);
  const rlimit core{0, 0};
  ::setrlimit(RLIMIT_CORE, &core);
}

void blame(Row& row, Outcome outcome, const std::string& signature, const std::string& detail) {
  row.outcome = outcome;
  row.stop = Stop::kDied;
  row.detector = Detector::kCount;
  row.detected = row.first_divergence = row.ended = sim::kNever;
  row.audit_agrees = true;
  row.weight = 1;
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

/// The child has ended: what the row does not say itself. False: it must be done again.
bool conclude(Row& row, int status, const rusage& usage) {
  row.cpu_us = static_cast<std::uint64_t>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1'000'000 +
               static_cast<std::uint64_t>(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
  row.minor_faults = static_cast<std::uint64_t>(usage.ru_minflt);
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

/// Walks the warm machine through the plans, in order of time, and forks each off.
class Worker {
 public:
  Worker(World& world, const Campaign& campaign, const Golden& golden, Row* rows)
      : world_(world), campaign_(campaign), golden_(golden), rows_(rows) {}

  void run(const std::vector<std::pair<Plan, std::size_t>>& share, const std::atomic<std::uint32_t>& stop) {
    address_space_ = address_space();
    for (const auto& [plan, n] : share) {
      if (stop.load() != 0) return;
      Row& row = rows_[n];
      if (row.state.load() == 2) continue;
      if (plan.fork > world_.now()) world_.run_until(plan.fork);
      if (plan.classed && plan.audit) {
        audit(plan, row);
      } else {
        while (!experiment(plan, row)) {
        }
      }
      row.state.store(2, std::memory_order_release);
    }
  }

 private:
  /// What the class says, and then the experiment itself at the moment that was drawn.
  void audit(const Plan& plan, Row& row) {
    if (scratch_ == nullptr) scratch_ = static_cast<Row*>(shared_memory(sizeof(Row)));
    Plan pilot = plan;
    pilot.audit = false;
    if (plan.fate == ClassFate::kLive) {
      while (!experiment(pilot, *scratch_)) {
      }
    } else {
      not_run(pilot, *scratch_);
    }
    while (!experiment(plan, row)) {
    }
    row.audit_agrees = row.audit_agrees && row.outcome == scratch_->outcome;
  }

  bool experiment(const Plan& plan, Row& row) {
    row.id = plan.id;
    row.state.store(0);
    row.injected = row.acted = world_.now();
    row.crash_chain[0] = row.entity[0] = 0;
    const pid_t parent = ::getpid();
    const pid_t pid = ::fork();
    if (pid < 0) throw sim::ModelError("fork() failed");
    if (pid == 0) {
      belong_to(parent);
      limit_child(campaign_.limits, address_space_);
      catch_crashes(row);
      if (plan.audit && plan.drawn > world_.now()) world_.run_until(plan.drawn);
      run_guarded(world_, campaign_, golden_, plan, row);
      row.state.store(1, std::memory_order_release);
      ::_exit(0);
    }
    rusage usage{};
    const int status = wait_for(pid, &usage);
    return conclude(row, status, usage);
  }

  World& world_;
  const Campaign& campaign_;
  const Golden& golden_;
  Row* rows_;
  std::uint64_t address_space_ = 0;
  Row* scratch_ = nullptr;
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
    World& world = *new World(campaign_, campaign_.variants[variant_]);
    world.warm_up();
    const Golden golden = Golden::record(world, campaign_);
    put(golden_->digest, golden.digest());
    golden_->origin = golden.origin();
    golden_->end = golden.last().time;
    golden_->last = golden.last().observation;
    golden_->events = golden.last().events;
    golden_->seconds = cpu_of_all();
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
      Worker(world, campaign_, golden, rows_).run(shares[w], control_->stop);
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
