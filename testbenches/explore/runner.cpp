// SPDX-License-Identifier: Apache-2.0
#include "testbenches/explore/runner.h"

#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstring>
#include <ctime>

#include "sim/error.h"
#include "sim/snapshot.h"
#include "testbenches/scenario/crash_note.h"

namespace explore {
namespace {

constexpr std::size_t kRecords = 1u << 16;
constexpr std::size_t kSteps = 1u << 14;
constexpr std::size_t kText = 1u << 16;
constexpr std::size_t kChanges = 256;
constexpr std::size_t kCrashChain = 512;

/// What a process wrote whose heap may have been in ruins: as much of it as makes sense.
std::vector<FoundFinding> read_findings(const char* at, const char* end, std::uint32_t n) {
  std::vector<FoundFinding> findings;
  bool good = true;
  const auto next = [&at, end, &good] {
    const std::size_t length = ::strnlen(at, static_cast<std::size_t>(end - at));
    good &= at + length < end;
    std::string text(at, length);
    at += good ? length + 1 : length;
    return text;
  };
  while (findings.size() < n) {
    FoundFinding f;
    f.kind = next(), f.place = next(), f.who = next(), f.whom = next(), f.detail = next(), f.holder = next();
    const std::string time = next();
    const auto [rest, error] = std::from_chars(time.data(), time.data() + time.size(), f.time);
    if (!good || f.kind.empty() || error != std::errc{} || rest != time.data() + time.size()) break;
    findings.push_back(std::move(f));
  }
  return findings;
}

/// Strings one after another, each ended by 0.
class Writer {
 public:
  Writer(char* at, std::size_t room) : at_(at), left_(room) {}
  bool put(std::string_view text) {
    if (text.size() + 1 > left_) return false;
    std::memcpy(at_, text.data(), text.size());
    at_[text.size()] = 0;
    at_ += text.size() + 1;
    left_ -= text.size() + 1;
    return true;
  }

 private:
  char* at_;
  std::size_t left_;
};

}  // namespace

struct Runner::Shared {
  // What is asked for.
  std::uint32_t asked_steps, changes;
  Policy::Kind kind;
  std::uint64_t seed;
  double switch_probability;
  unsigned cores;
  std::uint32_t change_at[kChanges];
  Step asked_for[kSteps];
  // What came of it.
  std::uint32_t complete, finished, asked, findings, steps;
  std::uint64_t wakeups;
  char digest[40];
  char crash_chain[kCrashChain];  // where the model was when it crashed
  char crash_others[2 * kCrashChain];  // and what the other cores were in
  Step taken[kSteps];
  char text[kText];
  Record records[kRecords];
};

namespace {
// Of the process that crashes: there is one stage a process.
Stage* crashing = nullptr;
char *crash_chain = nullptr, *crash_others = nullptr;

void note_crash(int) {
  scenario::note_call_chain(crash_chain, kCrashChain);
  crashing->note_held_cores(crash_others, 2 * kCrashChain);
}

int end_of(pid_t pid) {
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  return status;
}
}  // namespace

Isolation usual_isolation() { return sim::Snapshot::supported() ? Isolation::kSnapshot : Isolation::kFork; }

bool Outcome::has(std::string_view kind) const {
  for (const FoundFinding& f : findings) {
    if (f.kind == kind) return true;
  }
  return false;
}

Runner::Runner(const StageConfig& config, Isolation isolation) : config_(config), isolation_(isolation) {
  if (isolation_ == Isolation::kSnapshot) sim::Snapshot::prepare();
  void* p = ::mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED) throw sim::ModelError("no memory for the results of explored schedules");
  shared_ = static_cast<Shared*>(p);
  crash_chain = shared_->crash_chain, crash_others = shared_->crash_others;
  stage_ = std::make_unique<Stage>(config);
  crashing = stage_.get();
  stage_->warm_up();
}

Runner::~Runner() {
  if (executor_ > 0) {
    ::close(channel_);
    end_of(executor_);
  }
  ::munmap(shared_, sizeof(Shared));
}

const Record* Runner::records() const { return shared_->records; }
std::uint32_t Runner::recorded() const {
  return std::min<std::uint32_t>(shared_->asked, static_cast<std::uint32_t>(kRecords));
}

void Runner::ask(const Schedule& schedule, const Policy& policy) {
  if (schedule.size() > kSteps || policy.change_at.size() > kChanges) {
    throw sim::Error(fmt::format("a schedule has at most {} steps and {} change points", kSteps, kChanges));
  }
  Shared& s = *shared_;
  s.asked_steps = static_cast<std::uint32_t>(schedule.size());
  std::copy(schedule.begin(), schedule.end(), s.asked_for);
  s.kind = policy.kind, s.seed = policy.seed, s.switch_probability = policy.switch_probability;
  s.cores = policy.cores;
  s.changes = static_cast<std::uint32_t>(policy.change_at.size());
  std::copy(policy.change_at.begin(), policy.change_at.end(), s.change_at);
  s.complete = s.finished = s.asked = s.findings = s.steps = 0;
  s.crash_chain[0] = s.crash_others[0] = s.digest[0] = 0;
}

/// Runs what is asked for, on the warm stage of this process, which is used up by it.
void Runner::execute() {
  const Schedule schedule(shared_->asked_for, shared_->asked_for + shared_->asked_steps);
  Policy policy;
  policy.kind = shared_->kind, policy.seed = shared_->seed, policy.cores = shared_->cores;
  policy.switch_probability = shared_->switch_probability;
  policy.change_at.assign(shared_->change_at, shared_->change_at + shared_->changes);

  ScheduleOracle oracle(shared_->records, kRecords);
  oracle.start(schedule, policy);
  Writer text(shared_->text, kText);
  try {
    const StageResult result = stage_->race(oracle);
    shared_->finished = result.finished;
    shared_->wakeups = result.wakeups;
    std::memcpy(shared_->digest, result.digest.c_str(), std::min<std::size_t>(result.digest.size() + 1, 39));
  } catch (const std::exception& e) {
    text.put("oops"), text.put("the model"), text.put(e.what()), text.put(""), text.put(""), text.put(""),
        text.put("0");
    shared_->findings = 1;
  }
  for (const checker::Finding& f : stage_->checker().findings().all()) {
    if (!(text.put(checker::key(f.kind)) && text.put(f.place) && text.put(f.who) && text.put(f.whom) &&
          text.put(f.detail) && text.put(f.samples.empty() ? "" : f.samples.front().holder) &&
          text.put(fmt::to_string(f.first)))) {
      break;
    }
    ++shared_->findings;
  }
  const Schedule& taken = oracle.taken();
  shared_->steps = static_cast<std::uint32_t>(std::min(taken.size(), kSteps));
  std::copy_n(taken.begin(), shared_->steps, shared_->taken);
  shared_->asked = oracle.asked();
  shared_->complete = 1;
}

[[noreturn]] void Runner::executor(int channel) {
  ::signal(SIGINT, SIG_IGN);
  sim::Snapshot::run_apart([this, channel] {
    sim::Snapshot snapshot;
    snapshot.on_crash(note_crash);
    char go = 0;
    // Ends with the process that asks, or when too little memory is left: that one starts another.
    while (!snapshot.outgrown() && ::read(channel, &go, 1) == 1) {
      execute();
      if (::write(channel, &go, 1) != 1) break;
      snapshot.restore();
    }
    ::_exit(0);
  });
  ::_exit(1);
}

void Runner::start_executor() {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
    throw sim::ModelError("socketpair() failed");
  executor_ = ::fork();
  if (executor_ < 0) throw sim::ModelError("fork() failed");
  if (executor_ == 0) {
    ::close(ends[0]);
    executor(ends[1]);
  }
  ::close(ends[1]);
  channel_ = ends[0];
}

/// The status of a process that ended, or 0.
int Runner::run_in_executor() {
  if (executor_ <= 0) start_executor();
  char go = 1;
  ssize_t n = ::send(channel_, &go, 1, MSG_NOSIGNAL);
  if (n == 1) {
    while ((n = ::read(channel_, &go, 1)) < 0 && errno == EINTR) {
    }
  }
  if (n == 1) return 0;
  ::close(channel_);
  const int status = end_of(executor_);
  executor_ = channel_ = -1;
  // It left in good order before it heard of this schedule: another one runs it.
  return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? run_in_executor() : status;
}

double Runner::executor_cpu_seconds() const {
  clockid_t clock = 0;
  timespec used{};
  if (executor_ <= 0 || ::clock_getcpuclockid(executor_, &clock) != 0 || ::clock_gettime(clock, &used) != 0)
    return 0;
  return static_cast<double>(used.tv_sec) + 1e-9 * static_cast<double>(used.tv_nsec);
}

int Runner::run_in_fork() {
  const pid_t pid = ::fork();
  if (pid < 0) throw sim::ModelError("fork() failed");
  if (pid == 0) {
    ::signal(SIGINT, SIG_IGN);
    scenario::on_crash(note_crash);
    execute();
    ::_exit(0);
  }
  return end_of(pid);
}

Outcome Runner::run(const Schedule& schedule, const Policy& policy) {
  ask(schedule, policy);
  ++runs_;
  const int status = isolation_ == Isolation::kSnapshot ? run_in_executor() : run_in_fork();
  if (shared_->complete == 0 && !WIFSIGNALED(status)) {
    throw sim::ModelError(
        fmt::format("explore: the process that runs schedules ended with status {}", status));
  }
  Outcome outcome;
  outcome.points = shared_->asked;
  outcome.digest = shared_->digest;
  outcome.finished = shared_->finished != 0;
  outcome.wakeups = shared_->wakeups;
  outcome.taken.assign(shared_->taken, shared_->taken + std::min<std::size_t>(shared_->steps, kSteps));
  outcome.findings = read_findings(shared_->text, shared_->text + kText, shared_->findings);
  if (WIFSIGNALED(status)) {
    outcome.signal = WTERMSIG(status);
    outcome.taken = schedule;
    // The strategy's code walked over memory that another core had freed: on the host, too.
    outcome.findings.push_back({"use_after_free", shared_->crash_chain, "the code itself", shared_->crash_others,
                                fmt::format("the model crashed with signal {}", outcome.signal), "", 0});
  }
  return outcome;
}

}  // namespace explore
