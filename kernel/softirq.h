// SPDX-License-Identifier: Apache-2.0
// Softirqs and bottom halves (kernel/softirq.c, 6.12). A raised softirq runs when the hard irq that raised it
// returns, when bottom halves are enabled again, or on ksoftirqd after softirq_max_restart rounds.
#pragma once
#include <functional>

#include "kernel/core.h"

namespace kernel {

enum class Softirq : std::uint8_t {
  kHi,
  kTimer,
  kNetTx,
  kNetRx,
  kBlock,
  kIrqPoll,
  kTasklet,
  kSched,
  kHrtimer,
  kRcu
};
inline constexpr unsigned kSoftirqs = 10;

/// Marks softirq `nr` of this core pending (raise_softirq). In task context with nothing disabled, it runs at
/// once through ksoftirqd's wake-up, as in the kernel; usual callers are hard irq handlers and BH-off
/// sections.
void raise_softirq(Softirq nr);

inline void local_bh_disable() { this_core().local_bh_disable(); }
/// Runs pending softirqs if this was the outermost one.
inline void local_bh_enable() { this_core().local_bh_enable(); }

}  // namespace kernel
