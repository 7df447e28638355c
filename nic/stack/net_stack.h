// SPDX-License-Identifier: Apache-2.0
// From netif_receive_skb() to whoever holds the packet: UDP sockets and the IPv4 fragment queues (Linux 6.12, in its
// steps). Frames are parsed from the bytes that the NIC wrote into simulated DRAM; nothing about them is trusted.
#pragma once
#include <functional>
#include <map>
#include <memory>

#include "nic/stack/ip_fragment.h"
#include "nic/stack/napi.h"
#include "nic/stack/skb.h"

namespace nic {

class NetStack;

struct StackConfig {
  sim::Tick ipfrag_time = 30 * sim::kSecond;  ///< net.ipv4.ipfrag_time
};

/// A bound UDP socket. Packets wait in sk_receive_queue until somebody reads them or closes it.
class UdpSocket {
 public:
  UdpSocket(NetStack& stack, std::uint16_t port, std::uint64_t rcvbuf)
      : stack_(stack), port_(port), rcvbuf_(rcvbuf) {}

  std::uint16_t port() const { return port_; }
  std::size_t queued() const { return queue_.size(); }
  std::uint64_t received() const { return received_; }
  std::uint64_t dropped() const { return dropped_; }
  /// Reads and frees one datagram; false if none waits. Task context.
  bool recvmsg();
  /// recvmsg() that sleeps until there is one. False: the socket was closed.
  bool recvmsg_wait();
  /// udp_destruct_common_sock(): frees everything that waits. Task context.
  void close();

 private:
  friend class NetStack;
  void udp_queue_rcv_skb(Skb* skb);

  NetStack& stack_;
  std::uint16_t port_;
  std::uint64_t rcvbuf_;
  std::uint64_t rmem_ = 0;
  SkbQueue queue_;
  kernel::WaitQueue readers_;
  bool closed_ = false;
  std::uint64_t received_ = 0, dropped_ = 0;
};

class NetStack {
 public:
  /// `verify` (optional) judges the UDP payload of every datagram that a socket reads.
  using Verifier = std::function<bool(std::span<const std::uint8_t> payload, std::uint64_t* sequence)>;

  NetStack(kernel::Kernel& kernel, pagepool::PagePools& pools, const mm::Trace& trace,
           const StackConfig& config = {});

  kernel::Kernel& kernel() { return kernel_; }
  SkbAllocator& skbs() { return skbs_; }
  SoftNet& softnet() { return softnet_; }
  IpDefrag& defrag() { return defrag_; }
  void set_verifier(Verifier verify) { verify_ = std::move(verify); }

  /// Softirq context. Takes the skb.
  void netif_receive_skb(Skb* skb);

  /// SO_RCVBUF `rcvbuf` bytes of truesize. Lives as long as the stack.
  UdpSocket& bind_udp(std::uint16_t port, std::uint64_t rcvbuf);

  struct Counters {
    std::uint64_t received = 0;      ///< skbs given to netif_receive_skb
    std::uint64_t malformed = 0;     ///< IpInHdrErrors and non-IPv4
    std::uint64_t no_port = 0;       ///< UdpNoPorts
    std::uint64_t rcvbuf_errors = 0;
    std::uint64_t read = 0;          ///< datagrams read by a user
    std::uint64_t corrupt = 0;       ///< of these, payload not what was sent
  };
  const Counters& counters() const { return counters_; }

 private:
  friend class UdpSocket;
  void ip_rcv(Skb* skb);
  void udp_rcv(Skb* skb);
  void drop(Skb* skb, std::uint64_t& counter) {
    ++counter;
    skbs_.kfree_skb(skb);
  }

  kernel::Kernel& kernel_;
  SoftNet softnet_;
  SkbAllocator skbs_;
  IpDefrag defrag_;
  Verifier verify_;
  std::map<std::uint16_t, UdpSocket*> ports_;
  std::vector<std::unique_ptr<UdpSocket>> sockets_;
  Counters counters_;
};

}  // namespace nic
