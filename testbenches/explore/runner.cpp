// SPDX-License-Identifier: Apache-2.0
#include "testbenches/explore/runner.h"

#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>

#include "sim/error.h"
#include "testbenches/scenario/crash_note.h"

namespace explore {
namespace {

constexpr std::size_t kRecords = 1u << 16;
constexpr std::size_t kSteps = 1u << 14;
constexpr std::size_t kText = 1u << 16;
constexpr std::size_t kCrashChain = 512;

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
  std::uint32_t complete, finished, asked, findings, steps;
  std::uint64_t wakeups;
  char digest[40];
  char crash_chain[kCrashChain];  // where the model was when it crashed
  Step taken[kSteps];
  char text[kText];
  Record records[kRecords];
};

namespace {
// Of the child that crashes: there is one stage a process.
char* crash_note = nullptr;

void on_crash(int signal) {
  scenario::note_call_chain(crash_note, kCrashChain);
  ::signal(signal, SIG_DFL);
  ::raise(signal);
}
}  // namespace

bool Outcome::has(std::string_view kind) const {
  for (const FoundFinding& f : findings) {
    if (f.kind == kind) return true;
  }
  return false;
}

Runner::Runner(const StageConfig& config) : config_(config), stage_(std::make_unique<Stage>(config)) {
  void* p = ::mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED) throw sim::ModelError("no memory for the results of explored schedules");
  shared_ = static_cast<Shared*>(p);
  stage_->warm_up();
}

Runner::~Runner() { ::munmap(shared_, sizeof(Shared)); }

const Record* Runner::records() const { return shared_->records; }
std::uint32_t Runner::recorded() const {
  return std::min<std::uint32_t>(shared_->asked, static_cast<std::uint32_t>(kRecords));
}

void Runner::child(const Schedule& schedule, const Policy& policy) {
  static char stack[16384];
  const stack_t alternate{stack, 0, sizeof stack};
  ::sigaltstack(&alternate, nullptr);
  struct sigaction action {};
  action.sa_handler = on_crash;
  action.sa_flags = SA_ONSTACK | SA_NODEFER;
  for (const int signal : {SIGSEGV, SIGBUS, SIGABRT, SIGFPE}) ::sigaction(signal, &action, nullptr);
  ::signal(SIGINT, SIG_IGN);
  crash_note = shared_->crash_chain;

  ScheduleOracle oracle(shared_->records, kRecords);
  oracle.start(schedule, policy);
  Writer text(shared_->text, kText);
  try {
    const StageResult result = stage_->race(oracle);
    shared_->finished = result.finished;
    shared_->wakeups = result.wakeups;
    std::memcpy(shared_->digest, result.digest.c_str(), std::min<std::size_t>(result.digest.size() + 1, 39));
  } catch (const std::exception& e) {
    text.put("oops"), text.put("the model"), text.put(e.what()), text.put(""), text.put(""), text.put(""), text.put("0");
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

Outcome Runner::run(const Schedule& schedule, const Policy& policy) {
  shared_->complete = shared_->finished = shared_->asked = shared_->findings = shared_->steps = 0;
  shared_->crash_chain[0] = shared_->digest[0] = 0;
  ++runs_;
  const pid_t pid = ::fork();
  if (pid < 0) throw sim::ModelError("fork() failed");
  if (pid == 0) {
    child(schedule, policy);
    ::_exit(0);
  }
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  Outcome outcome;
  outcome.points = shared_->asked;
  outcome.digest = shared_->digest;
  outcome.finished = shared_->finished != 0;
  outcome.wakeups = shared_->wakeups;
  outcome.taken.assign(shared_->taken, shared_->taken + shared_->steps);
  const char* at = shared_->text;
  const auto next = [&at] {
    std::string text = at;
    at += text.size() + 1;
    return text;
  };
  for (std::uint32_t i = 0; i < shared_->findings; ++i) {
    FoundFinding f;
    f.kind = next(), f.place = next(), f.who = next(), f.whom = next(), f.detail = next(), f.holder = next();
    f.time = std::stoull(next());
    outcome.findings.push_back(std::move(f));
  }
  if (WIFSIGNALED(status)) {
    outcome.signal = WTERMSIG(status);
    outcome.taken = schedule;
    // The strategy's code walked over memory that another core had freed: on the host, too.
    outcome.findings.push_back({"use_after_free", shared_->crash_chain, "the code itself", "",
                                fmt::format("the model crashed with signal {}", outcome.signal), "", 0});
  }
  return outcome;
}

}  // namespace explore
