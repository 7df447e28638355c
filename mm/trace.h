// SPDX-License-Identifier: Apache-2.0
// What the memory management tells listeners (checker, trace writers). Emitted at the moment it happens;
// listeners take the time from the Timeline. One Trace a machine; with no listener an event costs one test.
#pragma once
#include <cstdint>
#include <string_view>

#include "sim/probe.h"
#include "sim/types.h"

namespace mm {

/// 2^order pages left the allocator (kernel: mm_page_alloc).
struct PageAllocated {
  static constexpr const char* kName = "mm_page_alloc";
  sim::Pfn pfn;
  unsigned order;
  unsigned nid;
};

/// 2^order pages came back (kernel: mm_page_free).
struct PageFreed {
  static constexpr const char* kName = "mm_page_free";
  sim::Pfn pfn;
  unsigned order;
};

/// Somebody now holds the page: "alloc cache", "ptr_ring", "rx ring slot 5", "sk_receive_queue", ... The text
/// must live as long as the machine (literals); `id` says which one (pool, socket, fragment queue).
struct PageHeld {
  static constexpr const char* kName = "page_held";
  sim::Pfn pfn;
  std::string_view holder;
  std::uint64_t id;
};

/// An allocation that got nothing, by exhaustion or by injection.
struct PageAllocFailed {
  static constexpr const char* kName = "mm_page_alloc_failed";
  unsigned order;
  unsigned nid;
  bool injected;
};

struct Trace {
  sim::Tracepoint<PageAllocated> page_allocated;
  sim::Tracepoint<PageFreed> page_freed;
  sim::Tracepoint<PageHeld> page_held;
  sim::Tracepoint<PageAllocFailed> page_alloc_failed;

  void held(sim::Pfn pfn, std::string_view holder, std::uint64_t id = 0) const {
    if (page_held.enabled()) page_held.emit({pfn, holder, id});
  }
};

}  // namespace mm
