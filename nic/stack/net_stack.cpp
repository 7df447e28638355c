// SPDX-License-Identifier: Apache-2.0
#include "nic/stack/net_stack.h"

#include "nic/stack/costs.h"

namespace nic {

NetStack::NetStack(kernel::Kernel& kernel, pagepool::PagePools& pools, const mm::Trace& trace,
                   const StackConfig& config)
    : kernel_(kernel), softnet_(kernel), skbs_(kernel, pools, trace), defrag_(skbs_, kernel, config.ipfrag_time) {}

void NetStack::netif_receive_skb(Skb* skb) {
  KFUNC("netif_receive_skb");
  kernel::work(kStackCosts.eth_type_trans + kStackCosts.netif_receive_skb);
  ++counters_.received;
  ip_rcv(skb);
}

void NetStack::ip_rcv(Skb* skb) {
  KFUNC("ip_rcv");
  kernel::work(kStackCosts.ip_rcv);
  const auto packet = parse_ipv4(skbs_.bytes(*skb));
  if (!packet) return drop(skb, counters_.malformed);
  skb->ip = *packet;
  if (packet->is_fragment()) {
    skb = defrag_.ip_defrag(skb);
    if (skb == nullptr) return;
  }
  if (skb->ip.protocol != kProtocolUdp) return drop(skb, counters_.no_port);
  udp_rcv(skb);
}

void NetStack::udp_rcv(Skb* skb) {
  KFUNC("udp_rcv");
  kernel::work(kStackCosts.udp_rcv);
  const auto it = ports_.find(skb->ip.dst_port);
  if (it == ports_.end()) return drop(skb, counters_.no_port);
  it->second->udp_queue_rcv_skb(skb);
}

UdpSocket& NetStack::bind_udp(std::uint16_t port, std::uint64_t rcvbuf) {
  sockets_.push_back(std::make_unique<UdpSocket>(*this, port, rcvbuf));
  ports_[port] = sockets_.back().get();
  return *sockets_.back();
}

void UdpSocket::udp_queue_rcv_skb(Skb* skb) {
  KFUNC("__udp_enqueue_schedule_skb");
  kernel::work(kStackCosts.sock_queue);
  if (rmem_ + skb->truesize > rcvbuf_) {
    ++dropped_;
    return stack_.drop(skb, stack_.counters_.rcvbuf_errors);
  }
  rmem_ += skb->truesize;
  ++received_;
  stack_.skbs_.held(*skb, "UDP socket receive queue", port_);
  queue_.push(skb);
  if (!readers_.empty()) readers_.wake_up();
}

bool UdpSocket::recvmsg() {
  KFUNC("udp_recvmsg");
  Skb* skb = queue_.pop();
  if (skb == nullptr) return false;
  rmem_ -= skb->truesize;
  kernel::work(kStackCosts.recvmsg + kStackCosts.copy_line * ((skb->length + 63) / 64));
  ++stack_.counters_.read;
  if (stack_.verify_ && skb->frag_list == nullptr && skb->ip.payload_bytes > kUdpHeaderBytes) {
    std::uint64_t sequence = 0;
    const auto payload = stack_.skbs_.bytes(*skb).subspan(skb->ip.payload_offset + kUdpHeaderBytes,
                                                          skb->ip.payload_bytes - kUdpHeaderBytes);
    if (!stack_.verify_(payload, &sequence)) ++stack_.counters_.corrupt;
  }
  stack_.skbs_.kfree_skb(skb);
  return true;
}

bool UdpSocket::recvmsg_wait() {
  readers_.wait_event([this] { return !queue_.empty() || closed_; });
  return recvmsg();
}

void UdpSocket::close() {
  KFUNC("udp_destroy_sock");
  closed_ = true;
  stack_.ports_.erase(port_);
  readers_.wake_up_all();
  while (Skb* skb = queue_.pop()) stack_.skbs_.kfree_skb(skb);
  rmem_ = 0;
}

}  // namespace nic
