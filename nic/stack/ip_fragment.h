// SPDX-License-Identifier: Apache-2.0
// IPv4 defragmentation (net/ipv4/ip_fragment.c, Linux 6.12): incomplete datagrams wait IP_FRAG_TIME (30 s), then in TIMER
// softirq context ip_expire() drops them. Memory of all queues is bounded by ipfrag_high_thresh (4 MiB).
#pragma once
#include <map>
#include <memory>
#include <tuple>

#include "kernel/timers.h"
#include "nic/stack/skb.h"

namespace nic {

class IpDefrag {
 public:
  static constexpr std::uint64_t kHighThreshBytes = 4 << 20;

  /// `frag_time`: net.ipv4.ipfrag_time, rounded up to jiffies.
  IpDefrag(SkbAllocator& skbs, kernel::Kernel& kernel, sim::Tick frag_time)
      : skbs_(skbs), kernel_(kernel), frag_time_(frag_time) {}

  /// ip_defrag(): takes the fragment. Returns the whole datagram (fragments in frag_list) when it is complete, else
  /// null; the fragment then waits or was dropped. Softirq context.
  Skb* ip_defrag(Skb* skb);

  std::size_t queues() const { return queues_.size(); }
  std::uint64_t fragments_waiting() const { return waiting_; }
  std::uint64_t timeouts() const { return timeouts_; }
  std::uint64_t drops() const { return drops_; }
  std::uint64_t reassembled() const { return reassembled_; }

 private:
  using Key = std::tuple<std::uint32_t, std::uint32_t, std::uint16_t, std::uint8_t>;  // src, dst, id, protocol
  struct Queue {
    explicit Queue(std::function<void()> expire) : timer(std::move(expire)) {}
    std::map<std::uint32_t, Skb*> fragments;  // by offset
    std::uint32_t total = 0;                  // datagram length, known from the last fragment
    std::uint64_t truesize = 0;
    kernel::TimerList timer;
  };
  void ip_expire(Key key);
  Skb* complete(Queue& queue);
  void forget(std::map<Key, std::unique_ptr<Queue>>::iterator it);

  SkbAllocator& skbs_;
  kernel::Kernel& kernel_;
  sim::Tick frag_time_;
  std::map<Key, std::unique_ptr<Queue>> queues_;
  std::vector<std::unique_ptr<Queue>> retired_;  // a queue may not die inside its own timer
  std::uint64_t memory_ = 0, waiting_ = 0, timeouts_ = 0, drops_ = 0, reassembled_ = 0;
};

}  // namespace nic
