// SPDX-License-Identifier: Apache-2.0
// Tracepoints of the modelled page_pool, for the checker, text traces and tests; names and fields of the
// kernel's where it has them. They cost the model no cycles. `time` is the local time of the core that runs
// the code; `chain` is valid during the call only.
#pragma once
#include <cstdint>

#include "kernel/trace.h"
#include "pagepool/types.h"
#include "sim/probe.h"
#include "sim/types.h"

namespace pagepool {

/// Where code ran.
struct TraceContext {
  unsigned cpu = 0;
  sim::Tick time = 0;
  kernel::CallChain chain;
};

struct PoolCreated {
  static constexpr const char* kName = "page_pool_create";
  unsigned pool;
  const kernel::Device* device;
  std::uint32_t flags;
  unsigned order;
  TraceContext where;
};
/// A page was counted in: it entered the pool.
struct StateHold {
  static constexpr const char* kName = "page_pool_state_hold";
  unsigned pool;
  sim::Pfn pfn;
  std::uint32_t hold;
  TraceContext where;
  bool is_net_iov = false;  ///< then pfn is 0
};
/// A page was counted out. It is unmapped already, if it ever will be.
struct StateRelease {
  static constexpr const char* kName = "page_pool_state_release";
  unsigned pool;
  sim::Pfn pfn;
  std::uint32_t release;
  TraceContext where;
  bool is_net_iov = false;  ///< then pfn is 0
};
/// The pool is about to call dma_unmap_page for a page that it believes to be mapped at `iova`. What the DMA
/// API finds there (kernel::DmaUnmapped) may be somebody else's by now.
struct Unmapping {
  static constexpr const char* kName = "page_pool_unmap";
  unsigned pool;
  sim::Pfn pfn;
  sim::Iova iova;
};
/// Handed to the user of the pool.
struct Allocated {
  static constexpr const char* kName = "page_pool_alloc";
  unsigned pool;
  sim::Pfn pfn;
  TraceContext where;
};
/// Fate of a page at its return.
struct Recycled {
  static constexpr const char* kName = "page_pool_recycle";
  unsigned pool;
  sim::Pfn pfn;
  RecycleOutcome outcome;
  TraceContext where;
};
/// page_pool_destroy of the last user begins.
struct Destroying {
  static constexpr const char* kName = "page_pool_destroy";
  unsigned pool;
  int inflight;
  TraceContext where;
};
/// page_pool_destroy of the last user returns; `pending`: pages are out and the release work goes on.
struct Destroyed {
  static constexpr const char* kName = "page_pool_destroyed";
  unsigned pool;
  bool pending;
  int inflight;
  TraceContext where;
};
/// page_pool_release() counted.
struct Released {
  static constexpr const char* kName = "page_pool_release";
  unsigned pool;
  int inflight;
  std::uint32_t hold, release;
  std::uint64_t cnt;  ///< destroy_cnt
  TraceContext where;
};
/// A round of page_pool_release_retry() begins.
struct ReleaseRetrying {
  static constexpr const char* kName = "page_pool_release_retrying";
  unsigned pool;
  TraceContext where;
};
/// A round of page_pool_release_retry() ends.
struct ReleaseRetried {
  static constexpr const char* kName = "page_pool_release_retry";
  unsigned pool;
  int inflight;
  TraceContext where;
};
/// The pool object is freed.
struct PoolFreed {
  static constexpr const char* kName = "page_pool_free";
  unsigned pool;
  TraceContext where;
};
struct NidUpdated {
  static constexpr const char* kName = "page_pool_update_nid";
  unsigned pool;
  int pool_nid, new_nid;
  TraceContext where;
};
/// A WARN or message of page_pool.c; a and b as described at the Warning.
struct Warned {
  static constexpr const char* kName = "page_pool_warn";
  unsigned pool;
  Warning what;
  int a, b;
  TraceContext where;
};

enum class MisuseKind : std::uint8_t {
  foreign_pool,  ///< put into a pool that the page does not belong to
  not_in_pool,   ///< put of a page that is in no pool (already released)
  double_put,    ///< put of a page that lies in the cache or the ring
  pool_gone,     ///< a freed pool was used
  node_gone,     ///< freed memory of a pool's own tracking was used
};
const char* to_string(MisuseKind kind);
/// A caller broke the rules; the call is dropped after this.
struct Misused {
  static constexpr const char* kName = "page_pool_misuse";
  MisuseKind kind;
  unsigned pool;       ///< that was called
  unsigned page_pool;  ///< that the page says it belongs to; 0 = none
  sim::Pfn pfn;
  TraceContext where;
};

struct Trace {
  sim::Tracepoint<PoolCreated> created;
  sim::Tracepoint<StateHold> state_hold;
  sim::Tracepoint<StateRelease> state_release;
  sim::Tracepoint<Unmapping> unmapping;
  sim::Tracepoint<Allocated> allocated;
  sim::Tracepoint<Recycled> recycled;
  sim::Tracepoint<Destroying> destroying;
  sim::Tracepoint<Destroyed> destroyed;
  sim::Tracepoint<Released> released;
  sim::Tracepoint<ReleaseRetrying> release_retrying;
  sim::Tracepoint<ReleaseRetried> release_retried;
  sim::Tracepoint<PoolFreed> freed;
  sim::Tracepoint<NidUpdated> nid_updated;
  sim::Tracepoint<Warned> warned;
  sim::Tracepoint<Misused> misused;
};

}  // namespace pagepool
