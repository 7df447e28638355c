// SPDX-License-Identifier: Apache-2.0
#include "nic/stack/ip_fragment.h"

#include "nic/stack/costs.h"

namespace nic {

Skb* IpDefrag::drop(Skb* skb) {
  ++drops_;
  skbs_.kfree_skb(skb);
  return nullptr;
}

void IpDefrag::restart_timer(Queue& q) {
  q.timer.mod_timer(kernel_.jiffies() + (config_.time + kernel_.jiffy_tick() - 1) / kernel_.jiffy_tick());
}

bool IpDefrag::too_far(Queue& q, const IpAddress& peer) {
  if (config_.max_distance == 0) return false;
  const std::uint32_t before = q.rid;
  q.rid = ++peers_[peer];
  return !q.fragments.empty() && q.rid - before > config_.max_distance;
}

bool IpDefrag::overlaps(const Queue& q, const IpPacket& p) {
  const std::uint32_t begin = p.fragment_offset, end = begin + static_cast<std::uint32_t>(p.payload_bytes);
  auto after = q.fragments.lower_bound(begin);
  if (after != q.fragments.end() && after->first < end) return true;
  if (after == q.fragments.begin()) return false;
  --after;
  return after->first + after->second->ip.payload_bytes > begin;
}

Skb* IpDefrag::ip_defrag(Skb* skb) {
  kernel::KernelFunction function(config_.receive);
  kernel::work(kStackCosts.ip_defrag);
  retired_.clear();
  const IpPacket& p = skb->ip;
  const Key key{p.src, p.dst, p.id, p.protocol};
  if (memory_ + skb->truesize > kHighThreshBytes) return drop(skb);
  auto it = queues_.find(key);
  if (it == queues_.end()) {
    it = queues_.emplace(key, std::make_unique<Queue>([this, key] { ip_expire(key); })).first;
    restart_timer(*it->second);
  }
  Queue& q = *it->second;
  if (too_far(q, p.src)) {
    KFUNC("ip_frag_reinit");
    ++reinits_;
    purge(q);
    restart_timer(q);
  }
  if (overlaps(q, p)) {
    const auto same = q.fragments.find(p.fragment_offset);
    const bool duplicate = same != q.fragments.end() && same->second->ip.payload_bytes == p.payload_bytes;
    drop(skb);
    if (!duplicate) {  // an attack or a broken sender: nothing of the datagram is kept
      q.timer.del_timer();
      purge(q);
      forget(it);
    }
    return nullptr;
  }
  q.fragments.emplace(p.fragment_offset, skb);
  if (!p.more_fragments) q.total = p.fragment_offset + static_cast<std::uint32_t>(p.payload_bytes);
  q.truesize += skb->truesize;
  memory_ += skb->truesize;
  ++waiting_;
  Skb* whole = complete(q);
  if (whole == nullptr) {
    skbs_.held(*skb, config_.holder, p.id);
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
  head->truesize =
      static_cast<decltype(head->truesize)>(q.truesize);  // ip_frag_reasm: the socket pays for all
  return head;
}

void IpDefrag::purge(Queue& q) {
  memory_ -= q.truesize;
  waiting_ -= q.fragments.size();
  q.truesize = 0;
  q.total = 0;
  const auto fragments = std::move(q.fragments);
  q.fragments.clear();
  for (const auto& [offset, skb] : fragments) skbs_.kfree_skb(skb);
}

void IpDefrag::forget(Queues::iterator it) {
  memory_ -= it->second->truesize;
  waiting_ -= it->second->fragments.size();
  retired_.push_back(std::move(it->second));
  queues_.erase(it);
}

void IpDefrag::ip_expire(Key key) {
  kernel::KernelFunction function(config_.expire);
  const auto it = queues_.find(key);
  if (it == queues_.end()) return;
  ++timeouts_;
  Queue& q = *it->second;
  retired_.push_back(std::move(it->second));
  queues_.erase(it);
  purge(q);
}

std::optional<std::uint64_t> IpDefrag::expires(std::uint32_t id) const {
  for (const auto& [key, q] : queues_) {
    if (std::get<2>(key) == id && !q->fragments.empty()) return q->timer.expires();
  }
  return std::nullopt;
}

}  // namespace nic
