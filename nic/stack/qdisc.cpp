// SPDX-License-Identifier: Apache-2.0
#include "nic/stack/qdisc.h"

#include <algorithm>
#include <utility>

#include "nic/stack/costs.h"
#include "nic/stack/holders.h"

namespace nic {

void Qdisc::dev_queue_xmit(Skb* skb) {
  KFUNC("__dev_queue_xmit");
  kernel::work(kStackCosts.dev_xmit);
  lock_.lock_bh();
  if (queue_.size() >= limit_) {
    ++counters_.dropped;
    lock_.unlock_bh();
    skbs_.kfree_skb(skb, "QDISC_DROP");
    return;
  }
  skbs_.held(*skb, holder::kQdisc, device_.ifindex());
  queue_.push(skb);
  lock_.unlock_bh();
  qdisc_run();
}

// __qdisc_run: one core at a time sends what is queued, as long as the device has room.
void Qdisc::qdisc_run() {
  KFUNC("__qdisc_run");
  lock_.lock_bh();
  if (std::exchange(running_, true)) return lock_.unlock_bh();
  while (!queue_.empty() && !device_.stopped()) {
    Skb* skb = queue_.pop();
    lock_.unlock_bh();
    const bool sent = device_.ndo_start_xmit(skb);
    if (!sent) skbs_.kfree_skb(skb);
    lock_.lock_bh();
    ++(sent ? counters_.sent : counters_.dropped);
  }
  counters_.queued = std::max<std::uint64_t>(counters_.queued, queue_.size());
  running_ = false;
  lock_.unlock_bh();
}

void Qdisc::reset() {
  KFUNC("qdisc_reset");
  lock_.lock_bh();
  SkbQueue all;
  std::swap(all, queue_);
  lock_.unlock_bh();
  while (Skb* skb = all.pop()) skbs_.kfree_skb(skb);
}

}  // namespace nic
