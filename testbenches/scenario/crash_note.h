// SPDX-License-Identifier: Apache-2.0
// Where the model was when its process crashed, for those who run it in a process of its own.
#pragma once
#include <csignal>
#include <cstddef>
#include <cstring>

#include "kernel/kernel.h"

namespace scenario {

/// Writes a chain, innermost first, as "a <- b <- c" and a zero into `size` bytes; what does not fit is left
/// out. Returns the characters. Calling context: a signal handler (no allocation).
inline std::size_t note_chain(char* to, std::size_t size, kernel::CallChain chain) {
  std::size_t n = 0;
  for (const char* function : chain) {
    const std::size_t length = std::strlen(function);
    if (n + length + 5 > size) break;
    if (n != 0) std::memcpy(to + n, " <- ", 4), n += 4;
    std::memcpy(to + n, function, length);
    n += length;
  }
  to[n] = 0;
  return n;
}

/// The same of the running core; nothing outside kernel code.
inline void note_call_chain(char* to, std::size_t size) {
  if (to == nullptr || !kernel::in_kernel_code()) return;
  note_chain(to, size, kernel::this_cpu().call_chain());
}

/// From now on `note(signal)` is called, on a stack of its own, when this process crashes; the signal's
/// default action follows. The same that sim::Snapshot does for a process whose memory it holds.
inline void on_crash(void (*note)(int signal)) {
  static void (*noted_by)(int) = nullptr;
  static char stack[16384];
  noted_by = note;
  const stack_t alternate{stack, 0, sizeof stack};
  ::sigaltstack(&alternate, nullptr);
  struct sigaction action {};
  action.sa_handler = [](int signal) {
    noted_by(signal);
    ::signal(signal, SIG_DFL);
    ::raise(signal);
  };
  action.sa_flags = SA_ONSTACK | SA_NODEFER;
  for (const int signal : {SIGSEGV, SIGBUS, SIGABRT, SIGFPE}) ::sigaction(signal, &action, nullptr);
}

}  // namespace scenario
