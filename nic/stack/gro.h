// SPDX-License-Identifier: Apache-2.0
// Generic receive offload for TCP (net/core/gro.c, net/ipv4/tcp_offload.c; 6.12): in-sequence segments of a
// flow are merged on a list of their NAPI instance. The list is flushed to the stack when the NAPI instance
// completes; with net.gro_flush_timeout only what is older than a jiffy, and a timer polls again; what is
// there at netif_napi_del() is freed.
#pragma once
#include <vector>

#include "nic/stack/skb.h"

namespace nic {

class NetStack;

class GroList {
 public:
  /// Flows held at once (MAX_GRO_SKBS), segments in one packet (MAX_SKB_FRAGS), and its largest IP length.
  static constexpr std::size_t kMaxFlows = 8, kMaxSegments = 17, kMaxBytes = 65535;

  GroList(NetStack& stack, unsigned napi_id) : stack_(stack), napi_id_(napi_id) {}

  /// Takes the skb if it is a TCP segment that may be merged: then it is held or was passed on. False: not
  /// for GRO.
  bool dev_gro_receive(Skb* skb);
  /// Passes packets to the stack, oldest first; `old`: only those that came before this jiffy.
  void napi_gro_flush(bool old);
  /// netif_napi_del(): frees what is held.
  void flush_gro_hash();
  bool empty() const { return held_.empty(); }
  unsigned napi_id() const { return napi_id_; }
  std::uint64_t merged() const { return merged_; }

 private:
  struct Held {
    Skb* head;
    Skb* last;
    std::size_t segments;
    std::uint64_t jiffies;
  };
  void complete(std::size_t index);

  NetStack& stack_;
  unsigned napi_id_;
  std::vector<Held> held_;  // oldest first
  std::uint64_t merged_ = 0;
};

}  // namespace nic
