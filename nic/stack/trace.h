// SPDX-License-Identifier: Apache-2.0
// What the receive path tells of: the kernel's skb:consume_skb, skb:kfree_skb, net:netif_receive_skb and
// napi:napi_poll, for text traces. Nothing without a subscriber. Listeners run in the context that tells, and
// must not call back into the stack.
#pragma once
#include "kernel/trace.h"
#include "sim/probe.h"
#include "sim/types.h"

namespace nic {

class Napi;
struct Skb;

/// An skb is about to be freed; what it was is still there. Each of a frag_list has its own.
struct SkbFreed {
  static constexpr const char* kName = "skb_freed";
  const Skb* skb;
  const char* reason;       ///< enum skb_drop_reason without SKB_DROP_REASON_; null: consumed
  kernel::CallChain chain;  ///< innermost: who frees it
  sim::Tick time;
};
/// An skb, with what GRO has merged into it, goes to the protocols.
struct NetifReceived {
  static constexpr const char* kName = "netif_receive_skb";
  const Skb* skb;
  sim::Tick time;
};
/// A poll has returned.
struct NapiPolled {
  static constexpr const char* kName = "napi_poll";
  const Napi* napi;
  int work, budget;
  sim::Tick time;
};

struct StackTrace {
  sim::Tracepoint<SkbFreed> skb_freed;
  sim::Tracepoint<NetifReceived> netif_received;
  sim::Tracepoint<NapiPolled> napi_polled;
};

}  // namespace nic
