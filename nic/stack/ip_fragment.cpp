// SPDX-License-Identifier: Apache-2.0
#include "nic/stack/ip_fragment.h"

#include "nic/stack/costs.h"

namespace nic {

Skb* IpDefrag::ip_defrag(Skb* skb) {
  KFUNC("ip_defrag");
  kernel::work(kStackCosts.ip_defrag);
  retired_.clear();
  const Ipv4Packet& p = skb->ip;
  const Key key{p.src_ip, p.dst_ip, p.id, p.protocol};
  if (memory_ + skb->truesize > kHighThreshBytes) {
    ++drops_;
    skbs_.kfree_skb(skb);
    return nullptr;
  }
  auto it = queues_.find(key);
  if (it == queues_.end()) {
    it = queues_.emplace(key, std::make_unique<Queue>([this, key] { ip_expire(key); })).first;
    it->second->timer.mod_timer(kernel_.jiffies() + (frag_time_ + kernel_.jiffy_tick() - 1) / kernel_.jiffy_tick());
  }
  Queue& q = *it->second;
  if (!q.fragments.emplace(p.fragment_offset, skb).second) {  // same offset again
    ++drops_;
    skbs_.kfree_skb(skb);
    return nullptr;
  }
  if (!p.more_fragments) q.total = p.fragment_offset + static_cast<std::uint32_t>(p.payload_bytes);
  q.truesize += skb->truesize;
  memory_ += skb->truesize;
  ++waiting_;
  Skb* whole = complete(q);
  if (whole == nullptr) {
    skbs_.held(*skb, "IPv4 fragment queue", p.id);
    return nullptr;
  }
  ++reassembled_;
  q.timer.del_timer();
  forget(it);
  return whole;
}

Skb* IpDefrag::complete(Queue& q) {
  if (q.total == 0) return nullptr;
  std::uint32_t reached = 0;
  for (const auto& [offset, skb] : q.fragments) {
    if (offset != reached) return nullptr;
    reached += static_cast<std::uint32_t>(skb->ip.payload_bytes);
  }
  if (reached != q.total) return nullptr;
  Skb *head = nullptr, *last = nullptr;
  for (const auto& [offset, skb] : q.fragments) {
    (last == nullptr ? head : last->frag_list) = skb;
    last = skb;
  }
  return head;
}

void IpDefrag::forget(std::map<Key, std::unique_ptr<Queue>>::iterator it) {
  memory_ -= it->second->truesize;
  waiting_ -= it->second->fragments.size();
  retired_.push_back(std::move(it->second));
  queues_.erase(it);
}

void IpDefrag::ip_expire(Key key) {
  KFUNC("ip_expire");
  const auto it = queues_.find(key);
  if (it == queues_.end()) return;
  ++timeouts_;
  const auto fragments = std::move(it->second->fragments);
  memory_ -= it->second->truesize;
  it->second->truesize = 0;
  waiting_ -= fragments.size();
  forget(it);
  for (const auto& [offset, skb] : fragments) skbs_.kfree_skb(skb);
}

}  // namespace nic
