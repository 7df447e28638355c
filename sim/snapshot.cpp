// SPDX-License-Identifier: Apache-2.0
#include "sim/snapshot.h"

#include <fmt/format.h>
#include <malloc.h>
#include <sys/mman.h>
#include <sys/rseq.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <boost/context/detail/fcontext.hpp>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <utility>

#include "sim/error.h"
#include "sim/fiber.h"

namespace sim {
namespace {

constexpr std::size_t kPage = 4096;
constexpr std::size_t kHotPages = std::size_t{1}
                                  << 17;  // 512 MiB of copies at most; only what is used exists
constexpr std::size_t kRanges = 4096;
constexpr std::size_t kApartStack = std::size_t{1} << 20;
constexpr std::size_t kSignalStack = std::size_t{64} << 10;
constexpr int kCrashSignals[] = {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL};

constexpr std::uint8_t kIdleRestores = 20;  // then a page is taken for one that runs leave alone

using Page = std::array<std::byte, kPage>;

/// Memory that snapshots leave alone.
void* shared_memory(std::size_t bytes) {
  void* p = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) throw ModelError(fmt::format("snapshot: no {} MiB of address space", bytes >> 20));
  return p;
}

/// As the system knows it: what the C library believes is put back with everything else.
long heap_end() { return ::syscall(SYS_brk, 0); }

/// What the Linux kernel itself writes to while the process runs (restartable sequences): a stranger in the
/// thread's own page.
std::byte* rseq_begin() { return static_cast<std::byte*>(__builtin_thread_pointer()) + __rseq_offset; }
constexpr std::size_t kRseqBytes = 32;

}  // namespace

struct Snapshot::State {
  struct Range {
    std::uintptr_t from, to;
  };
  std::size_t ranges;
  std::size_t hot;
  std::uintptr_t rseq;
  long heap_end;
  void (*crashed)(int);
  bool in_crash;
  Range range[kRanges];
  std::uintptr_t page[kHotPages];
  std::uint8_t idle[kHotPages];  // restores in a row that found it as it was
  Page copy[kHotPages];
  std::byte signal_stack[kSignalStack];

  bool tracks(std::uintptr_t address) const {
    const Range* end = range + ranges;
    const Range* r = std::upper_bound(range, end, address, [](auto a, const Range& x) { return a < x.to; });
    return r != end && r->from <= address;
  }

  /// From now on `address`' page may be written to and goes back at restore(). Called by a signal handler.
  bool make_hot(std::uintptr_t address) {
    if (hot == kHotPages) return false;
    const std::uintptr_t begin = address & ~(kPage - 1);
    std::memcpy(copy[hot].data(), reinterpret_cast<const void*>(begin), kPage);
    if (::mprotect(reinterpret_cast<void*>(begin), kPage, PROT_READ | PROT_WRITE) != 0) return false;
    idle[hot] = 0;
    page[hot++] = begin;
    return true;
  }
  void cool(std::size_t i) {
    if (::mprotect(reinterpret_cast<void*>(page[i]), kPage, PROT_READ) != 0) return;
    --hot;
    page[i] = page[hot];
    idle[i] = idle[hot];
    copy[i] = copy[hot];
  }
  bool changed(std::size_t i) const {
    return std::memcmp(reinterpret_cast<const void*>(page[i]), copy[i].data(), kPage) != 0;
  }

  bool holds_rseq(std::size_t i) const { return rseq - page[i] < kPage; }

  /// Copies one page back, but for the bytes that belong to the Linux kernel.
  void put_back(std::size_t i) {
    auto* to = reinterpret_cast<std::byte*>(page[i]);
    const std::uintptr_t at = rseq - page[i];
    if (at >= kPage) {
      std::memcpy(to, copy[i].data(), kPage);
      return;
    }
    const std::size_t behind = std::min(at + kRseqBytes, kPage);
    std::memcpy(to, copy[i].data(), at);
    std::memcpy(to + behind, copy[i].data() + behind, kPage - behind);
  }
};

namespace {

// One a process; pages of the program that a handler reads only.
Snapshot::State* tracking = nullptr;

void on_signal(int signal, siginfo_t* info, void*) {
  const int error = errno;
  const auto address = reinterpret_cast<std::uintptr_t>(info->si_addr);
  if (signal == SIGSEGV && info->si_code == SEGV_ACCERR && tracking->tracks(address) &&
      tracking->make_hot(address)) {
    errno = error;
    return;
  }
  // The model has crashed. Its note may be the first to write to some page, which is no crash; one of its own ends it.
  if (!std::exchange(tracking->in_crash, true) && tracking->crashed != nullptr) tracking->crashed(signal);
  for (const int s : kCrashSignals) ::signal(s, SIG_DFL);
  ::raise(signal);
}

struct Apart {
  const std::function<void()>* body;
  std::exception_ptr failure;
};
namespace ctx = boost::context::detail;

[[noreturn]] void apart_entry(ctx::transfer_t from) {
  auto* apart = static_cast<Apart*>(from.data);
  try {
    (*apart->body)();
  } catch (...) {
    apart->failure = std::current_exception();
  }
  ctx::jump_fcontext(from.fctx, nullptr);
  std::abort();  // nobody comes back
}

}  // namespace

bool Snapshot::supported() {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  return false;
#else
  return true;
#endif
}

void Snapshot::prepare() {
  ::mallopt(M_MMAP_MAX, 0);
  ::mallopt(M_TRIM_THRESHOLD, -1);
}

void Snapshot::run_apart(const std::function<void()>& body) {
  auto* stack = static_cast<std::byte*>(shared_memory(kApartStack));
  Apart apart{&body, nullptr};
  ctx::jump_fcontext(ctx::make_fcontext(stack + kApartStack, kApartStack, &apart_entry), &apart);
  ::munmap(stack, kApartStack);
  if (apart.failure) std::rethrow_exception(apart.failure);
}

Snapshot::Snapshot(std::size_t heap_reserve) {
  POOLSIM_ASSERT(supported() && tracking == nullptr);
  prepare();
  // The heap's end is there before the runs that take from it. (Volatile: compilers drop a pair that nobody
  // uses.)
  void* volatile reserve = std::malloc(heap_reserve);
  std::free(reserve);
  Fiber::reserve_stacks(64);

  state_ = static_cast<State*>(shared_memory(sizeof(State)));
  state_->heap_end = heap_end();
  state_->rseq = reinterpret_cast<std::uintptr_t>(rseq_begin());
  std::FILE* maps = std::fopen("/proc/self/maps", "re");
  if (maps == nullptr) throw ModelError("snapshot: /proc/self/maps cannot be read");
  char line[512];
  while (std::fgets(line, sizeof line, maps) != nullptr) {
    std::uintptr_t from = 0, to = 0;
    char rights[8] = {};
    if (std::sscanf(line, "%lx-%lx %7s", &from, &to, rights) != 3 || std::strcmp(rights, "rw-p") != 0)
      continue;
    if (state_->ranges == kRanges) throw ModelError("snapshot: more pieces of memory than there is room for");
    state_->range[state_->ranges++] = {from, to};
  }
  std::fclose(maps);

  tracking = state_;
  const stack_t alternate{state_->signal_stack, 0, kSignalStack};
  ::sigaltstack(&alternate, nullptr);
  struct sigaction action {};
  action.sa_sigaction = on_signal;
  action.sa_flags = SA_ONSTACK | SA_SIGINFO | SA_NODEFER;
  for (const int signal : kCrashSignals) ::sigaction(signal, &action, nullptr);

  // What the handler calls on its way to make_hot() is found by the dynamic linker now, while it may write to its own
  // tables: the first fault would be another fault, and so on. (Volatile: compilers drop what nobody uses.)
  static_cast<void>(*static_cast<volatile int*>(&errno));
  // The Linux kernel may write to the thread's page at any moment: it never becomes read-only.
  for (std::uintptr_t p = state_->rseq; p < state_->rseq + kRseqBytes; p = (p | (kPage - 1)) + 1)
    state_->make_hot(p);
  for (std::size_t i = 0; i < state_->ranges; ++i) {
    std::uintptr_t from = state_->range[i].from;
    const std::uintptr_t to = state_->range[i].to;
    // Around the hot ones.
    for (std::size_t h = 0; h < state_->hot; ++h) {
      const std::uintptr_t hot = state_->page[h];
      if (hot < from || hot >= to) continue;
      if (hot > from) ::mprotect(reinterpret_cast<void*>(from), hot - from, PROT_READ);
      from = hot + kPage;
    }
    if (from < to && ::mprotect(reinterpret_cast<void*>(from), to - from, PROT_READ) != 0) {
      throw ModelError(fmt::format("snapshot: memory cannot be made read-only: {}", std::strerror(errno)));
    }
  }
}

Snapshot::~Snapshot() {
  for (std::size_t i = 0; i < state_->ranges; ++i) {
    const State::Range& r = state_->range[i];
    ::mprotect(reinterpret_cast<void*>(r.from), r.to - r.from, PROT_READ | PROT_WRITE);
  }
  for (const int signal : kCrashSignals) ::signal(signal, SIG_DFL);
  tracking = nullptr;
  State* state = state_;
  ::munmap(state, sizeof(State));
}

void Snapshot::take() {
  State* const state = state_;
  for (std::size_t i = 0; i < state->hot; ++i) {
    if (state->changed(i))
      std::memcpy(state->copy[i].data(), reinterpret_cast<const void*>(state->page[i]), kPage);
  }
}

void Snapshot::restore() {
  State* const state = state_;
  for (std::size_t i = state->hot; i-- > 0;) {
    if (state->changed(i)) {
      state->put_back(i);
      state->idle[i] = 0;
    } else if (++state->idle[i] == kIdleRestores) {
      state->idle[i] = 0;
      if (!state->holds_rseq(i)) state->cool(i);
    }
  }
}

void Snapshot::on_crash(void (*handler)(int signal)) { state_->crashed = handler; }

bool Snapshot::outgrown() const { return heap_end() != state_->heap_end; }

std::size_t Snapshot::hot_pages() const { return state_->hot; }

}  // namespace sim
