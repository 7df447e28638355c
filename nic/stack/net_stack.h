// SPDX-License-Identifier: Apache-2.0
// From napi_gro_receive() to whoever holds the packet: GRO, packet sockets, IP defragmentation, UDP and TCP
// sockets, the deferred-free lists (Linux 6.12, in its steps). Frames are parsed from the bytes that the NIC
// wrote into simulated DRAM; nothing about them is trusted.
#pragma once
#include <functional>
#include <map>
#include <memory>

#include "nic/stack/ip_fragment.h"
#include "nic/stack/napi.h"
#include "nic/stack/qdisc.h"
#include "nic/stack/skb.h"
#include "nic/stack/skb_defer.h"
#include "nic/stack/sockets.h"
#include "nic/stack/trace.h"

namespace nic {

struct StackConfig {
  sim::Tick ipfrag_time = 30 * sim::kSecond;   ///< net.ipv4.ipfrag_time
  sim::Tick ip6frag_time = 60 * sim::kSecond;  ///< net.ipv6.ip6frag_time
  std::uint32_t ipfrag_max_dist = 64;          ///< net.ipv4.ipfrag_max_dist
  unsigned skb_defer_max = 64;                 ///< net.core.skb_defer_max
  sim::Tick gro_flush_timeout = 0;             ///< of every device; 0 = flush whenever NAPI completes
  /// How long an orphaned TCP socket waits for the acknowledgement of its FIN: 8 retransmissions from 200 ms
  /// on, each twice as long after the last (tcp_orphan_retries).
  sim::Tick tcp_orphan_time = 102'200 * sim::kMillisecond;
};

class NetStack {
 public:
  /// `verify` (optional) judges the payload of every datagram or segment that a socket reads.
  using Verifier = std::function<bool(std::span<const std::uint8_t> payload, std::uint64_t* sequence)>;

  NetStack(kernel::Kernel& kernel, pagepool::PagePools& pools, const mm::Trace& trace,
           const StackConfig& config = {});

  kernel::Kernel& kernel() { return kernel_; }
  SkbAllocator& skbs() { return skbs_; }
  StackTrace& trace() { return trace_; }
  SoftNet& softnet() { return softnet_; }
  IpDefrag& defrag() { return defrag4_; }
  const IpDefrag& defrag() const { return defrag4_; }
  IpDefrag& defrag6() { return defrag6_; }
  const IpDefrag& defrag6() const { return defrag6_; }
  SkbDefer& defer() { return defer_; }
  const StackConfig& config() const { return config_; }
  void set_verifier(Verifier verify) { verify_ = std::move(verify); }

  /// Softirq context. Takes the skb.
  void napi_gro_receive(Napi& napi, Skb* skb);
  void netif_receive_skb(Skb* skb);

  /// SO_RCVBUF `rcvbuf` bytes of truesize. Lives as long as the stack.
  UdpSocket& bind_udp(std::uint16_t port, std::uint64_t rcvbuf);
  /// An established connection of local port `port` that expects sequence number `rcv_nxt`.
  TcpSocket& connect_tcp(std::uint16_t port, std::uint64_t rcvbuf, std::uint32_t rcv_nxt);
  /// From now on, it gets a clone of everything.
  PacketSocket& bind_packet(std::uint64_t rcvbuf);
  /// ip_forward: packets for this address leave through `out`.
  void route(std::uint32_t dst_ip, Qdisc& out) { routes_[dst_ip] = &out; }
  /// An XDP program on every receiving device: UDP datagrams for `port` are redirected to `out`.
  void xdp_redirect(std::uint16_t port, Transmitter& out) { redirects_[port] = &out; }
  /// bpf_prog_run_xdp: where the frame is redirected to; null: it goes on into the stack (XDP_PASS). Softirq.
  Transmitter* run_xdp(std::span<const std::uint8_t> frame);
  /// End of a poll: what was redirected is announced (xdp_do_flush).
  void xdp_do_flush();
  /// A device that sends, for lets_go().
  void add_transmitter(Qdisc& out) { transmitters_.push_back(&out); }

  /// A filter that lets nothing more through (SO_ATTACH_FILTER); what waits goes on waiting.
  void mute(const Socket& tap) { std::erase(taps_, &tap); }

  /// Asked for every skb that netif_receive_skb() gets: how long somebody keeps it, and then drops it; 0: nobody.
  /// Empty: nobody ever.
  void set_keeper(std::function<sim::Tick(const Skb&)> keeper) { keeper_ = std::move(keeper); }

  /// What would make `holder` (nic/stack/holders.h) number `id` let its pages go; "" if it is none of ours.
  std::string lets_go(std::string_view holder, std::uint64_t id) const;

  struct Counters {
    std::uint64_t received = 0;   ///< skbs given to netif_receive_skb
    std::uint64_t malformed = 0;  ///< IpInHdrErrors and non-IPv4
    std::uint64_t no_port = 0;    ///< UdpNoPorts
    std::uint64_t rcvbuf_errors = 0;
    std::uint64_t read = 0;     ///< datagrams read by a user
    std::uint64_t corrupt = 0;  ///< of these, payload not what was sent
    std::uint64_t forwarded = 0;   ///< given to a qdisc
    std::uint64_t redirected = 0;  ///< by XDP
  };
  const Counters& counters() const { return counters_; }

 private:
  friend class UdpSocket;
  friend class TcpSocket;
  friend class PacketSocket;
  void ip_rcv(Skb* skb);
  void ip_forward(Skb* skb, Qdisc& out);
  bool kept(Skb* skb);
  void udp_rcv(Skb* skb);
  void tcp_rcv(Skb* skb);
  void verify(const Skb& skb, std::size_t header_bytes);
  /// Of a UDP datagram that was put together: what its fragments carry, one after the other.
  void verify_datagram(const Skb& skb);
  void drop(Skb* skb, std::uint64_t& counter, const char* reason) {
    ++counter;
    skbs_.kfree_skb(skb, reason);
  }

  kernel::Kernel& kernel_;
  StackConfig config_;
  StackTrace trace_;
  SoftNet softnet_;
  SkbAllocator skbs_;
  SkbDefer defer_;
  IpDefrag defrag4_, defrag6_;
  Verifier verify_;
  std::function<sim::Tick(const Skb&)> keeper_;
  std::map<std::uint16_t, UdpSocket*> udp_ports_;
  std::map<std::uint16_t, TcpSocket*> tcp_ports_;
  std::vector<PacketSocket*> taps_;
  std::map<std::uint32_t, Qdisc*> routes_;
  std::map<std::uint16_t, Transmitter*> redirects_;
  std::vector<Qdisc*> transmitters_;
  std::vector<std::unique_ptr<UdpSocket>> udp_sockets_;  // all ever made
  std::vector<std::unique_ptr<TcpSocket>> tcp_sockets_;
  std::vector<std::unique_ptr<PacketSocket>> packet_sockets_;
  Counters counters_;
};

}  // namespace nic
