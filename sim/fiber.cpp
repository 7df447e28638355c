// SPDX-License-Identifier: Apache-2.0
#include "sim/fiber.h"

#include <sys/mman.h>

#include <map>
#include <new>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#define POOLSIM_ASAN 1
#else
#define POOLSIM_ASAN 0
#endif

namespace sim {
namespace ctx = boost::context::detail;
namespace {
constexpr std::size_t kGuard = 4096;
constexpr std::size_t kFactor = POOLSIM_ASAN ? 4 : 1;  // frames are larger there

/// Stacks of fibers that have ended wait here for the next ones, the last one first: its pages are there
/// already. A stack lies behind a page that nobody may touch.
class Stacks {
 public:
  std::byte* take(std::size_t bytes) {
    std::vector<std::byte*>& free = free_[bytes];
    if (free.empty()) map(bytes, 1);
    std::byte* stack = free.back();
    free.pop_back();
    return stack;
  }
  void give_back(std::byte* stack, std::size_t bytes) { free_[bytes].push_back(stack); }
  void reserve(std::size_t bytes, std::size_t n) {
    const std::size_t have = free_[bytes].size();
    if (have < n) map(bytes, n - have);
  }

 private:
  void map(std::size_t bytes, std::size_t n) {
    const std::size_t slot = bytes + kGuard;
    void* p = ::mmap(nullptr, slot * n, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
    if (p == MAP_FAILED) throw std::bad_alloc();
    for (std::size_t i = n; i-- > 0;) {
      std::byte* const stack = static_cast<std::byte*>(p) + i * slot;
      ::mprotect(stack, kGuard, PROT_NONE);
      free_[bytes].push_back(stack);
    }
  }

  std::map<std::size_t, std::vector<std::byte*>> free_;  // by size
};

Stacks& stacks() {
  // Never destroyed: fibers may end after the thread's other objects.
  static thread_local Stacks& all = *new Stacks;
  return all;
}
}  // namespace

void Fiber::reserve_stacks(std::size_t n) { stacks().reserve(kStackBytes * kFactor, n); }

Fiber::Fiber(std::string name, std::function<void()> body, std::size_t stack_bytes)
    : name_(std::move(name)), body_(std::move(body)), stack_bytes_(stack_bytes * kFactor) {
  stack_ = stacks().take(stack_bytes_);
  self_ = ctx::make_fcontext(stack_ + kGuard + stack_bytes_, stack_bytes_, &Fiber::entry);
}

Fiber::~Fiber() {
#if POOLSIM_ASAN
  __asan_unpoison_memory_region(stack_ + kGuard, stack_bytes_);
#endif
  stacks().give_back(stack_, stack_bytes_);
}

void Fiber::entry(ctx::transfer_t from) {
  auto* self = static_cast<Fiber*>(from.data);
  self->caller_ = from.fctx;
#if POOLSIM_ASAN
  __sanitizer_finish_switch_fiber(nullptr, &self->caller_stack_, &self->caller_stack_bytes_);
#endif
  try {
    self->body_();
  } catch (...) {
    self->failure_ = std::current_exception();
  }
  self->done_ = true;
#if POOLSIM_ASAN
  __sanitizer_start_switch_fiber(nullptr, self->caller_stack_, self->caller_stack_bytes_);
#endif
  ctx::jump_fcontext(self->caller_, nullptr);
}

void Fiber::resume() {
#if POOLSIM_ASAN
  void* fake = nullptr;
  __sanitizer_start_switch_fiber(&fake, stack_ + kGuard, stack_bytes_);
#endif
  const ctx::transfer_t back = ctx::jump_fcontext(self_, this);
#if POOLSIM_ASAN
  __sanitizer_finish_switch_fiber(fake, nullptr, nullptr);
#endif
  self_ = back.fctx;
  if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
}

void Fiber::suspend() {
#if POOLSIM_ASAN
  __sanitizer_start_switch_fiber(&fake_stack_, caller_stack_, caller_stack_bytes_);
#endif
  const ctx::transfer_t back = ctx::jump_fcontext(caller_, nullptr);
  caller_ = back.fctx;
#if POOLSIM_ASAN
  __sanitizer_finish_switch_fiber(fake_stack_, &caller_stack_, &caller_stack_bytes_);
#endif
}

}  // namespace sim
