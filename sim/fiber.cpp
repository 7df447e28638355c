// SPDX-License-Identifier: Apache-2.0
#include "sim/fiber.h"

#include <sys/mman.h>

#include <new>

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
}

Fiber::Fiber(std::string name, std::function<void()> body, std::size_t stack_bytes)
    : name_(std::move(name)), body_(std::move(body)), stack_bytes_(stack_bytes * (POOLSIM_ASAN ? 4 : 1)) {
  void* p = ::mmap(nullptr, stack_bytes_ + kGuard, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
  if (p == MAP_FAILED) throw std::bad_alloc();
  ::mprotect(p, kGuard, PROT_NONE);
  stack_ = static_cast<std::byte*>(p);
  self_ = ctx::make_fcontext(stack_ + kGuard + stack_bytes_, stack_bytes_, &Fiber::entry);
}

Fiber::~Fiber() {
#if POOLSIM_ASAN
  __asan_unpoison_memory_region(stack_ + kGuard, stack_bytes_);
#endif
  ::munmap(stack_, stack_bytes_ + kGuard);
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
