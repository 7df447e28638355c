// SPDX-License-Identifier: Apache-2.0
#include "nic/stack/skb_defer.h"

#include "nic/stack/costs.h"
#include "nic/stack/holders.h"

namespace nic {

SkbDefer::SkbDefer(SkbAllocator& skbs, unsigned max) : skbs_(skbs), max_(max) {
  for (unsigned cpu = 0; cpu < skbs.kernel().cores(); ++cpu) lists_.push_back(std::make_unique<List>());
}

void SkbDefer::skb_attempt_defer_free(Skb* skb) {
  KFUNC("skb_attempt_defer_free");
  const unsigned cpu = skb->alloc_cpu;
  List& list = *lists_[cpu];
  if (cpu == kernel::this_cpu().cpu() || list.queue.size() >= max_) return skbs_.consume_skb(skb);
  list.lock.lock_bh();
  skbs_.held(*skb, holder::kDeferList, cpu);
  list.queue.push(skb);
  ++deferred_;
  const bool half = list.queue.size() == std::max(1u, max_ / 2);
  list.lock.unlock_bh();
  if (half && !list.ipi_scheduled) kick(cpu);
}

void SkbDefer::kick(unsigned cpu) {
  KFUNC("kick_defer_list_purge");
  List& list = *lists_[cpu];
  kernel::Kernel& k = skbs_.kernel();
  if (list.vector == 0) {
    list.vector = k.interrupts().allocate_vector(cpu);
    k.interrupts().request_irq(cpu, list.vector, "trigger_rx_softirq", [&list] {
      KFUNC("trigger_rx_softirq");
      list.ipi_scheduled = false;
      kernel::raise_softirq(kernel::Softirq::kNetRx);
    });
  }
  list.ipi_scheduled = true;
  ++kicks_;
  kernel::this_cpu().sync();
  const sim::Clock& clock = k.config().clock;
  k.interrupts().raise(cpu, list.vector,
                       clock.edge(clock.after(k.simulation().now()) + kernel::this_cpu().costs().ipi));
}

void SkbDefer::skb_defer_free_flush(unsigned cpu) {
  List& list = *lists_[cpu];
  if (list.queue.empty()) return;
  KFUNC("skb_defer_free_flush");
  list.lock.lock();
  SkbQueue mine = std::exchange(list.queue, {});
  list.lock.unlock();
  while (Skb* skb = mine.pop()) skbs_.consume_skb(skb);
}

}  // namespace nic
