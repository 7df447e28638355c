// SPDX-License-Identifier: Apache-2.0
// Following an entry in memory to the table that it points to, as phys_to_virt() and a load would. The entry
// is in simulated DRAM, where a fault may have changed it.
#pragma once
#include <fmt/format.h>

#include "kernel/kernel.h"

namespace kernel {

/// `address` of a table. Where there is no memory the access faults, and the kernel dies of it (oops); does
/// not return then. Task, softirq or interrupt context.
inline PhysAddr table_at(Kernel& kernel, std::uint64_t address, const char* symbol) {
  const PhysAddr table(address);
  if (kernel.store().contains(table, sim::kPageSize)) return table;
  kernel.oops(fmt::format("BUG: unable to handle page fault for address: {:016x}", address), symbol, address);
}

}  // namespace kernel
