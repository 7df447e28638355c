// SPDX-License-Identifier: Apache-2.0
// Memory hotplug (mm/memory_hotplug.c, Linux 6.12) in its steps: add, on line, off line, remove, in whole sections
// of 128 MiB. All of them write mem_hotplug_lock; who walks the struct pages of the machine reads it
// (get_online_mems), and then hotplug waits for the walk.
//
// Modelled memory holds nothing that could be migrated: a section goes off line only when no page of it is in use.
#pragma once
#include <cstdint>

#include "kernel/locks.h"
#include "kernel/trace.h"
#include "sim/types.h"

namespace kernel {

class Kernel;

class MemoryHotplug {
 public:
  explicit MemoryHotplug(Kernel& kernel) : kernel_(kernel) {}

  // Task context; may sleep. 0 or a negative errno.
  /// New memory of node `nid`, off line. -EINVAL: not whole sections of the store, -EEXIST: is memory already.
  int add_memory(unsigned nid, sim::Pfn start, std::uint64_t pages);
  /// Its pages become free and its zone grows. -EINVAL: not memory that is off line.
  int online_pages(sim::Pfn start, std::uint64_t pages);
  /// -EBUSY: a page is in use; -EINVAL: not memory that is on line.
  int offline_pages(sim::Pfn start, std::uint64_t pages);
  /// -EINVAL: not memory that is off line.
  int remove_memory(sim::Pfn start, std::uint64_t pages);

  /// While between these, no section comes or goes.
  void get_online_mems() { lock_.down_read(); }
  void put_online_mems() { lock_.up_read(); }
  const PercpuRwSemaphore& lock() const { return lock_; }

 private:
  int locked(HotplugStep step, sim::Pfn start, std::uint64_t pages, unsigned nid);
  int add(unsigned nid, sim::Pfn start, std::uint64_t pages);
  int online(sim::Pfn start, std::uint64_t pages);
  int offline(sim::Pfn start, std::uint64_t pages);
  int remove(sim::Pfn start, std::uint64_t pages);

  Kernel& kernel_;
  PercpuRwSemaphore lock_;
};

}  // namespace kernel
