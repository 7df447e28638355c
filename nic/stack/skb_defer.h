// SPDX-License-Identifier: Apache-2.0
// skb_attempt_defer_free() (net/core/skbuff.c, 6.12; the list in struct softnet_data): a reader on another
// core does not free an skb but puts it on the list of the core that built it. The list is emptied by
// net_rx_action() of that core and by nothing else; the core is kicked (IPI) when the list reaches half of
// its limit. There is no timer: a core that has nothing more to receive keeps up to half of the limit for
// ever.
#pragma once
#include <vector>

#include "kernel/locks.h"
#include "nic/stack/skb.h"

namespace nic {

class SoftNet;

class SkbDefer {
 public:
  /// `max`: net.core.skb_defer_max; 0 = every skb is freed where it is read.
  SkbDefer(SkbAllocator& skbs, unsigned max);

  /// Takes the skb. Any context but hard irq.
  void skb_attempt_defer_free(Skb* skb);
  /// From net_rx_action() of core `cpu`.
  void skb_defer_free_flush(unsigned cpu);

  std::size_t count(unsigned cpu) const { return lists_[cpu]->queue.size(); }
  unsigned max() const { return max_; }
  std::uint64_t deferred() const { return deferred_; }
  std::uint64_t kicks() const { return kicks_; }

 private:
  struct List {
    kernel::SpinLock lock{"defer_lock"};
    SkbQueue queue;
    bool ipi_scheduled = false;
    unsigned vector = 0;  // of the kick; 0 = not requested yet
  };
  void kick(unsigned cpu);

  SkbAllocator& skbs_;
  unsigned max_;
  std::vector<std::unique_ptr<List>> lists_;  // per core
  std::uint64_t deferred_ = 0, kicks_ = 0;
};

}  // namespace nic
