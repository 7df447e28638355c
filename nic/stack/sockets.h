// SPDX-License-Identifier: Apache-2.0
// Sockets as holders of received packets (net/ipv4/udp.c, net/ipv4/tcp_input.c, net/packet/af_packet.c;
// Linux 6.12). Memory is charged by truesize against SO_RCVBUF. recvmsg*() and close() in task context, the
// receiving functions in softirq context.
#pragma once
#include <map>
#include <string>

#include "kernel/locks.h"
#include "kernel/timers.h"
#include "nic/stack/skb.h"

namespace nic {

class NetStack;

/// What all kinds share: the queue, its memory, readers, and the life of a struct sock.
class Socket {
 public:
  Socket(NetStack& stack, std::uint64_t rcvbuf) : stack_(stack), rcvbuf_(rcvbuf) {}
  virtual ~Socket() = default;
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;

  std::size_t queued() const { return queue_.size(); }
  std::uint64_t received() const { return received_; }
  std::uint64_t dropped() const { return dropped_; }
  bool closed() const { return closed_; }
  /// Reads and frees one skb; false if none waits.
  bool recvmsg();
  /// recvmsg() that sleeps until there is one. False: the socket was closed.
  bool recvmsg_wait();
  /// close() of the last file descriptor. The receive queue goes with the last reference of the struct sock,
  /// which this usually is.
  virtual void close() = 0;
  /// sock_hold() without its sock_put(): somebody leaks a reference.
  void leak_reference() { ++references_; }
  /// What would make the socket give its packets up.
  virtual std::string lets_go(bool out_of_order) const;

 protected:
  bool charge(Skb& skb);
  void enqueue(Skb* skb, std::string_view holder, std::uint64_t id);
  /// sock_put(): at the last one, the queue is purged (sk_destruct).
  void sock_put();
  void purge();
  virtual void consume(Skb* skb) = 0;  ///< copies to the user and frees

  NetStack& stack_;
  std::uint64_t rcvbuf_;
  std::uint64_t rmem_ = 0;
  SkbQueue queue_;
  kernel::WaitQueue readers_;
  unsigned references_ = 1;
  bool closed_ = false;
  std::uint64_t received_ = 0, dropped_ = 0;
};

/// A bound UDP socket. Packets wait in sk_receive_queue until somebody reads them or the socket is destroyed.
class UdpSocket final : public Socket {
 public:
  UdpSocket(NetStack& stack, std::uint16_t port, std::uint64_t rcvbuf) : Socket(stack, rcvbuf), port_(port) {}
  std::uint16_t port() const { return port_; }
  void close() override;

 private:
  friend class NetStack;
  void udp_queue_rcv_skb(Skb* skb);
  void consume(Skb* skb) override;
  std::uint16_t port_;
};

/// The receiving half of an established TCP connection (as TCP_REPAIR leaves it: rcv_nxt is given). Segments
/// in order go to the receive queue, later ones to the out-of-order queue, those beyond the window nowhere.
/// Reading gives memory back through skb_attempt_defer_free(). ACKs and resets are counted, not sent: the
/// peer of this model does not listen.
class TcpSocket final : public Socket {
 public:
  TcpSocket(NetStack& stack, std::uint16_t port, std::uint64_t rcvbuf, std::uint32_t rcv_nxt);
  std::uint16_t port() const { return port_; }
  std::uint32_t rcv_nxt() const { return rcv_nxt_; }
  /// Bytes that the peer may still send.
  std::uint32_t window() const { return right_edge_ - rcv_nxt_; }
  std::size_t out_of_order() const { return out_of_order_.size(); }
  std::uint64_t acks() const { return acks_; }
  std::uint64_t resets() const { return resets_; }  ///< close() with unread data, segments to a closed socket
  std::uint64_t pruned() const {
    return pruned_;
  }  ///< segments of the out-of-order queue given up for memory

  /// With unread data: RST, and everything is freed at once. Else FIN; out-of-order data then stays until the
  /// orphaned socket gives up (StackConfig::tcp_orphan_time), since the peer does not answer.
  void close() override;
  std::string lets_go(bool out_of_order) const override;

 private:
  friend class NetStack;
  struct SeqLess {  // before(): sequence numbers wrap; a queue spans less than 2^31
    bool operator()(std::uint32_t a, std::uint32_t b) const { return static_cast<std::int32_t>(a - b) < 0; }
  };
  void tcp_rcv(Skb* skb);
  void tcp_data_queue_ofo(Skb* skb);
  void tcp_ofo_queue();
  bool tcp_prune_ofo_queue(std::uint32_t needed);
  void tcp_destroy_sock();
  void select_window();
  void consume(Skb* skb) override;
  void drop(Skb* skb);

  std::uint16_t port_;
  std::uint32_t rcv_nxt_, right_edge_;
  std::map<std::uint32_t, Skb*, SeqLess> out_of_order_;
  kernel::TimerList orphan_timer_;
  std::uint64_t acks_ = 0, resets_ = 0, pruned_ = 0;
};

/// AF_PACKET, SOCK_RAW, ETH_P_ALL, without a ring: it gets a clone of every packet, before any protocol.
class PacketSocket final : public Socket {
 public:
  PacketSocket(NetStack& stack, unsigned number, std::uint64_t rcvbuf)
      : Socket(stack, rcvbuf), number_(number) {}
  unsigned number() const { return number_; }
  void close() override;

 private:
  friend class NetStack;
  void packet_rcv(const Skb& skb);
  void consume(Skb* skb) override;
  unsigned number_;
};

}  // namespace nic
