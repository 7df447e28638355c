// SPDX-License-Identifier: Apache-2.0
#include "nic/stack/sockets.h"

#include <fmt/format.h>

#include "nic/stack/costs.h"
#include "nic/stack/holders.h"
#include "nic/stack/net_stack.h"

namespace nic {
namespace {

void pay_recvmsg(std::uint32_t bytes) {
  kernel::work(kStackCosts.recvmsg + kStackCosts.copy_line * ((bytes + 63) / 64));
}

}  // namespace

// --- what all share ---

bool Socket::charge(Skb& skb) {
  if (rmem_ + skb.truesize > rcvbuf_) return false;
  rmem_ += skb.truesize;
  return true;
}

void Socket::enqueue(Skb* skb, std::string_view holder, std::uint64_t id) {
  ++received_;
  stack_.skbs().held(*skb, holder, id);
  queue_.push(skb);
  if (!readers_.empty()) readers_.wake_up();
}

bool Socket::recvmsg() {
  Skb* skb = queue_.pop();
  if (skb == nullptr) return false;
  rmem_ -= skb->truesize;
  consume(skb);
  return true;
}

bool Socket::recvmsg_wait() {
  readers_.wait_event([this] { return !queue_.empty() || closed_; });
  return recvmsg();
}

void Socket::purge() {
  while (Skb* skb = queue_.pop()) {
    rmem_ -= skb->truesize;
    stack_.skbs().kfree_skb(skb);
  }
}

void Socket::sock_put() {
  if (--references_ != 0) return;
  KFUNC("inet_sock_destruct");
  purge();
}

std::string Socket::lets_go(bool) const {
  if (!closed_) return "its user reads it, or closes it";
  return fmt::format("nothing: the file is closed, and {} reference{} to the socket {} never put",
                     references_, references_ == 1 ? "" : "s", references_ == 1 ? "was" : "were");
}

// --- UDP ---

void UdpSocket::udp_queue_rcv_skb(Skb* skb) {
  KFUNC("__udp_enqueue_schedule_skb");
  kernel::work(kStackCosts.sock_queue);
  if (!charge(*skb)) {
    ++dropped_;
    return stack_.drop(skb, stack_.counters_.rcvbuf_errors, "SOCKET_RCVBUFF");
  }
  enqueue(skb, holder::kUdpSocket, port_);
}

void UdpSocket::consume(Skb* skb) {
  KFUNC("udp_recvmsg");
  std::uint32_t bytes = 0;
  for (const Skb* s = skb; s != nullptr; s = s->frag_list) bytes += s->length;
  pay_recvmsg(bytes);
  ++stack_.counters_.read;
  if (skb->frag_list == nullptr) {
    stack_.verify(*skb, kUdpHeaderBytes);
  } else {
    stack_.verify_datagram(*skb);
  }
  stack_.skbs().consume_skb(skb);
}

void UdpSocket::close() {
  KFUNC("udp_destroy_sock");
  if (closed_) return;
  closed_ = true;
  stack_.udp_ports_.erase(port_);
  readers_.wake_up_all();
  sock_put();
}

// --- TCP ---

TcpSocket::TcpSocket(NetStack& stack, std::uint16_t port, std::uint64_t rcvbuf, std::uint32_t rcv_nxt)
    : Socket(stack, rcvbuf), port_(port), rcv_nxt_(rcv_nxt), right_edge_(rcv_nxt), orphan_timer_([this] {
        KFUNC("tcp_write_err");
        tcp_destroy_sock();
      }) {
  select_window();
}

/// tcp_select_window: half of the free memory, since truesize is more than payload; the right edge never
/// moves back.
void TcpSocket::select_window() {
  const std::uint64_t free = rcvbuf_ > rmem_ ? (rcvbuf_ - rmem_) / 2 : 0;
  const std::uint32_t edge = rcv_nxt_ + static_cast<std::uint32_t>(std::min<std::uint64_t>(free, 1u << 30));
  if (SeqLess{}(right_edge_, edge)) right_edge_ = edge;
}

void TcpSocket::drop(Skb* skb) {
  ++dropped_;
  stack_.skbs().kfree_skb(skb);
}

void TcpSocket::tcp_rcv(Skb* skb) {
  KFUNC("tcp_v4_rcv");
  kernel::work(kStackCosts.tcp_rcv);
  if (closed_) {
    ++resets_;
    return drop(skb);
  }
  const std::uint32_t seq = skb->ip.tcp_seq, end = seq + skb->tcp_bytes;
  if (skb->tcp_bytes == 0) return stack_.skbs().consume_skb(skb);  // a pure ACK
  ++acks_;
  const SeqLess before;
  if (!before(rcv_nxt_, end) || !before(seq, right_edge_)) return drop(skb);  // old, or beyond the window
  if (before(rcv_nxt_, seq)) return tcp_data_queue_ofo(skb);
  if (!charge(*skb) && !(tcp_prune_ofo_queue(skb->truesize) && charge(*skb))) {
    ++stack_.counters_.rcvbuf_errors;
    return drop(skb);
  }
  kernel::work(kStackCosts.sock_queue);
  rcv_nxt_ = end;
  enqueue(skb, holder::kTcpSocket, port_);
  tcp_ofo_queue();
  select_window();
}

void TcpSocket::tcp_data_queue_ofo(Skb* skb) {
  KFUNC("tcp_data_queue_ofo");
  kernel::work(kStackCosts.sock_queue);
  if (out_of_order_.contains(skb->ip.tcp_seq)) return drop(skb);
  if (!charge(*skb)) {
    ++stack_.counters_.rcvbuf_errors;
    return drop(skb);
  }
  stack_.skbs().held(*skb, holder::kTcpOutOfOrder, port_);
  out_of_order_.emplace(skb->ip.tcp_seq, skb);
}

/// What has become in order goes to the receive queue.
void TcpSocket::tcp_ofo_queue() {
  KFUNC("tcp_ofo_queue");
  const SeqLess before;
  while (!out_of_order_.empty() && !before(rcv_nxt_, out_of_order_.begin()->first)) {
    Skb* skb = out_of_order_.begin()->second;
    out_of_order_.erase(out_of_order_.begin());
    const std::uint32_t end = skb->ip.tcp_seq + skb->tcp_bytes;
    if (!before(rcv_nxt_, end)) {
      rmem_ -= skb->truesize;
      drop(skb);
      continue;
    }
    rcv_nxt_ = end;
    enqueue(skb, holder::kTcpSocket, port_);
  }
}

/// Gives up out-of-order segments, the last ones first, until `needed` bytes fit. True if they do.
bool TcpSocket::tcp_prune_ofo_queue(std::uint32_t needed) {
  KFUNC("tcp_prune_ofo_queue");
  while (rmem_ + needed > rcvbuf_ && !out_of_order_.empty()) {
    const auto last = std::prev(out_of_order_.end());
    rmem_ -= last->second->truesize;
    ++pruned_;
    stack_.skbs().kfree_skb(last->second);
    out_of_order_.erase(last);
  }
  return rmem_ + needed <= rcvbuf_;
}

void TcpSocket::consume(Skb* skb) {
  KFUNC("tcp_recvmsg_locked");
  pay_recvmsg(skb->tcp_bytes);
  ++stack_.counters_.read;
  for (Skb* s = skb; s != nullptr; s = s->frag_list) stack_.verify(*s, s->ip.tcp_header_bytes);
  select_window();
  stack_.defer().skb_attempt_defer_free(skb);
}

void TcpSocket::tcp_destroy_sock() {
  KFUNC("tcp_v4_destroy_sock");
  for (const auto& [seq, skb] : out_of_order_) {
    rmem_ -= skb->truesize;
    stack_.skbs().kfree_skb(skb);
  }
  out_of_order_.clear();
  sock_put();
}

void TcpSocket::close() {
  KFUNC("tcp_close");
  if (closed_) return;
  closed_ = true;
  readers_.wake_up_all();
  const bool unread = !queue_.empty();
  purge();
  if (!unread && !out_of_order_.empty()) {  // FIN_WAIT1, orphaned; nobody acknowledges the FIN
    auto& k = stack_.kernel();
    orphan_timer_.mod_timer(k.jiffies() + stack_.config().tcp_orphan_time / k.jiffy_tick());
    return;
  }
  if (unread) ++resets_;
  tcp_destroy_sock();
}

std::string TcpSocket::lets_go(bool out_of_order) const {
  if (!out_of_order)
    return closed_ ? Socket::lets_go(false) : "its user reads it, or closes it (which resets the connection)";
  if (!closed_) {
    return fmt::format(
        "the missing segment (sequence {}) comes, memory gets short, or its user closes it with unread data",
        rcv_nxt_);
  }
  return fmt::format("the orphaned connection gives up (FIN_WAIT1) at {:.3f} s",
                     static_cast<double>(orphan_timer_.expires()) *
                         (static_cast<double>(stack_.kernel().jiffy_tick()) / sim::kSecond));
}

// --- packet sockets ---

void PacketSocket::packet_rcv(const Skb& skb) {
  KFUNC("packet_rcv");
  kernel::work(kStackCosts.packet_rcv);
  if (rmem_ + skb.truesize > rcvbuf_) {
    ++dropped_;
    return;
  }
  Skb* clone = stack_.skbs().skb_clone(skb);
  rmem_ += clone->truesize;
  enqueue(clone, holder::kPacketSocket, number_);
}

void PacketSocket::consume(Skb* skb) {
  KFUNC("packet_recvmsg");
  pay_recvmsg(skb->length);
  stack_.skbs().consume_skb(skb);
}

void PacketSocket::close() {
  KFUNC("packet_release");
  if (closed_) return;
  closed_ = true;
  std::erase(stack_.taps_, this);
  readers_.wake_up_all();
  purge();
  sock_put();
}

}  // namespace nic
