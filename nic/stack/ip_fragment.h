// SPDX-License-Identifier: Apache-2.0
// IP defragmentation (net/ipv4/ip_fragment.c, net/ipv6/reassembly.c, net/ipv4/inet_fragment.c; Linux 6.12):
// incomplete datagrams wait IP_FRAG_TIME (30 s) or IPV6_FRAG_TIMEOUT (60 s), then in TIMER softirq context
// they are dropped. The memory of all queues of a family is bounded by its high threshold (4 MiB).
//
// IPv4 only (ip_frag_reinit): when more than ipfrag_max_dist other fragments of the same peer came between
// two fragments of a queue, the queue is taken for another datagram of the same number: what it holds is
// dropped and its time starts anew.
#pragma once
#include <map>
#include <memory>
#include <optional>
#include <string_view>
#include <tuple>

#include "kernel/timers.h"
#include "nic/stack/skb.h"

namespace nic {

struct DefragConfig {
  std::string_view holder;  ///< under which name the pages are held
  const char* receive;      ///< functions for call chains
  const char* expire;
  sim::Tick time;                  ///< net.ipv4.ipfrag_time, net.ipv6.ip6frag_time; rounded up to jiffies
  std::uint32_t max_distance = 0;  ///< net.ipv4.ipfrag_max_dist; 0 = no such check (IPv6)
};

class IpDefrag {
 public:
  static constexpr std::uint64_t kHighThreshBytes = 4 << 20;

  IpDefrag(SkbAllocator& skbs, kernel::Kernel& kernel, DefragConfig config)
      : skbs_(skbs), kernel_(kernel), config_(config) {}

  /// ip_defrag(): takes the fragment. Returns the whole datagram (fragments in frag_list) when it is
  /// complete, else null; the fragment then waits or was dropped. Softirq context.
  Skb* ip_defrag(Skb* skb);

  std::size_t queues() const { return queues_.size(); }
  std::uint64_t fragments_waiting() const { return waiting_; }
  std::uint64_t timeouts() const { return timeouts_; }
  std::uint64_t drops() const { return drops_; }
  std::uint64_t reassembled() const { return reassembled_; }
  std::uint64_t reinits() const { return reinits_; }
  /// Jiffy at which a queue with this identification expires; nothing if there is none.
  std::optional<std::uint64_t> expires(std::uint32_t id) const;

 private:
  using Key = std::tuple<IpAddress, IpAddress, std::uint32_t, std::uint8_t>;  // src, dst, id, protocol
  struct Queue {
    explicit Queue(std::function<void()> expire) : timer(std::move(expire)) {}
    std::map<std::uint32_t, Skb*> fragments;  // by offset
    std::uint32_t total = 0;                  // datagram length, known from the last fragment
    std::uint64_t truesize = 0;
    std::uint32_t rid = 0;  // fragments of the peer seen when the last one came
    kernel::TimerList timer;
  };
  using Queues = std::map<Key, std::unique_ptr<Queue>>;
  void ip_expire(Key key);
  void restart_timer(Queue& queue);
  bool too_far(Queue& queue, const IpAddress& peer);
  static bool overlaps(const Queue& queue, const IpPacket& packet);
  Skb* complete(Queue& queue);
  void purge(Queue& queue);
  void forget(Queues::iterator it);
  Skb* drop(Skb* skb);

  SkbAllocator& skbs_;
  kernel::Kernel& kernel_;
  DefragConfig config_;
  Queues queues_;
  std::map<IpAddress, std::uint32_t> peers_;     // inet_peer.rid
  std::vector<std::unique_ptr<Queue>> retired_;  // a queue may not die inside its own timer
  std::uint64_t memory_ = 0, waiting_ = 0, timeouts_ = 0, drops_ = 0, reassembled_ = 0, reinits_ = 0;
};

}  // namespace nic
