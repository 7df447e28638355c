// SPDX-License-Identifier: Apache-2.0
// A stackful coroutine (Boost.Context), so that the kernel model can read like kernel code.
// Not tied to time: whoever owns a Fiber resumes it; the fiber gives control back with suspend().
#pragma once
#include <boost/context/detail/fcontext.hpp>
#include <cstddef>
#include <exception>
#include <functional>
#include <string>

namespace sim {

class Fiber {
 public:
  static constexpr std::size_t kStackBytes = 64 * 1024;

  /// `body` runs on its own stack at the first resume(). An exception that leaves it is rethrown by resume().
  Fiber(std::string name, std::function<void()> body, std::size_t stack_bytes = kStackBytes);
  ~Fiber();  // a fiber that has not finished is dropped without unwinding
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  /// Runs until the fiber suspends or ends. Not from within itself.
  void resume();
  /// Back to whoever resumed. Only from within the fiber.
  void suspend();

  /// Makes sure that `n` more fibers with stacks of the usual size can begin without new memory being mapped.
  static void reserve_stacks(std::size_t n);

  bool done() const { return done_; }
  const std::string& name() const { return name_; }

 private:
  static void entry(boost::context::detail::transfer_t from);

  std::string name_;
  std::function<void()> body_;
  std::byte* stack_ = nullptr;
  std::size_t stack_bytes_;
  boost::context::detail::fcontext_t self_ = nullptr;
  boost::context::detail::fcontext_t caller_ = nullptr;
  std::exception_ptr failure_;
  bool done_ = false;
  // For the sanitizers, which must be told about stack switches.
  void* fake_stack_ = nullptr;
  const void* caller_stack_ = nullptr;
  std::size_t caller_stack_bytes_ = 0;
};

}  // namespace sim
