// SPDX-License-Identifier: Apache-2.0
#include "nic/stack/gro.h"

#include "nic/stack/costs.h"
#include "nic/stack/holders.h"
#include "nic/stack/net_stack.h"

namespace nic {
namespace {

/// Of IPv4 one byte at a fixed place says so, whatever else may be wrong with the packet.
bool surely_not_tcp(std::span<const std::uint8_t> frame) {
  constexpr std::size_t kType = 12, kProtocol = kEthernetHeaderBytes + 9;
  return frame.size() > kProtocol && frame[kType] == kEtherTypeIpv4 >> 8 &&
         frame[kType + 1] == (kEtherTypeIpv4 & 0xff) && frame[kProtocol] != kProtocolTcp;
}

bool same_flow(const IpPacket& a, const IpPacket& b) {
  return a.src == b.src && a.dst == b.dst && a.src_port == b.src_port && a.dst_port == b.dst_port;
}

}  // namespace

bool GroList::dev_gro_receive(Skb* skb) {
  const auto frame = stack_.skbs().bytes(*skb);
  if (surely_not_tcp(frame)) return false;
  const auto packet = parse_ip(frame);
  if (!packet || packet->protocol != kProtocolTcp || packet->is_fragment()) return false;
  KFUNC("dev_gro_receive");
  kernel::work(kStackCosts.gro_receive);
  skb->ip = *packet;
  skb->tcp_bytes = static_cast<std::uint32_t>(packet->payload_bytes - packet->tcp_header_bytes);
  const bool plain = (packet->tcp_flags & (kTcpFin | kTcpSyn | kTcpRst)) == 0 && skb->tcp_bytes != 0;
  for (std::size_t i = 0; i < held_.size(); ++i) {
    Held& h = held_[i];
    if (!same_flow(h.head->ip, *packet)) continue;
    const bool follows = plain && h.head->ip.tcp_seq + h.head->tcp_bytes == packet->tcp_seq &&
                         h.segments < kMaxSegments && h.head->tcp_bytes + skb->tcp_bytes + 40 <= kMaxBytes;
    if (!follows) {
      complete(i);
      break;
    }
    h.last->frag_list = skb;
    h.last = skb;
    ++h.segments;
    ++merged_;
    h.head->tcp_bytes += skb->tcp_bytes;
    h.head->truesize += skb->truesize;
    stack_.skbs().held(*skb, holder::kGro, napi_id_);
    if ((packet->tcp_flags & kTcpPsh) != 0) complete(i);
    return true;
  }
  if (!plain || (packet->tcp_flags & kTcpPsh) != 0) {
    stack_.netif_receive_skb(skb);
    return true;
  }
  if (held_.size() >= kMaxFlows) complete(0);
  held_.push_back({skb, skb, 1, stack_.kernel().jiffies()});
  stack_.skbs().held(*skb, holder::kGro, napi_id_);
  return true;
}

void GroList::complete(std::size_t index) {
  KFUNC("napi_gro_complete");
  Skb* skb = held_[index].head;
  held_.erase(held_.begin() + static_cast<std::ptrdiff_t>(index));
  stack_.netif_receive_skb(skb);
}

void GroList::napi_gro_flush(bool old) {
  const std::uint64_t now = stack_.kernel().jiffies();
  while (!held_.empty() && !(old && held_.front().jiffies == now)) complete(0);
}

void GroList::flush_gro_hash() {
  for (const Held& h : held_) stack_.skbs().kfree_skb(h.head);
  held_.clear();
}

}  // namespace nic
