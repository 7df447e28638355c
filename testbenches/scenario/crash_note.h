// SPDX-License-Identifier: Apache-2.0
// Where the model was when its process crashed, for those who run it in a process of its own.
#pragma once
#include <cstddef>
#include <cstring>

#include "kernel/kernel.h"

namespace scenario {

/// Writes the call chain of the running core, innermost first, as "a <- b <- c" and a zero into `size` bytes;
/// what does not fit is left out. Nothing outside kernel code. Calling context: a signal handler (no
/// allocation).
inline void note_call_chain(char* to, std::size_t size) {
  if (to == nullptr || !kernel::in_kernel_code()) return;
  std::size_t n = 0;
  for (const char* function : kernel::this_cpu().call_chain()) {
    const std::size_t length = std::strlen(function);
    if (n + length + 5 > size) break;
    if (n != 0) std::memcpy(to + n, " <- ", 4), n += 4;
    std::memcpy(to + n, function, length);
    n += length;
  }
  to[n] = 0;
}

}  // namespace scenario
