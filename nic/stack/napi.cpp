// SPDX-License-Identifier: Apache-2.0
#include "nic/stack/napi.h"

#include "nic/stack/costs.h"
#include "nic/stack/net_stack.h"

namespace nic {

Napi::Napi(SoftNet& softnet, std::string name, std::function<int(int)> poll)
    : softnet_(softnet),
      name_(std::move(name)),
      poll_(std::move(poll)),
      gro_(softnet.stack(), softnet.next_napi_id()) {
  state_.id = gro_.napi_id();
}

void Napi::napi_schedule() {
  KFUNC("napi_schedule");
  kernel::work(kStackCosts.napi_schedule);
  if (state_.sched.load(std::memory_order_relaxed)) {
    missed_ = true;
    return;
  }
  state_.sched.store(true, std::memory_order_relaxed);
  softnet_.enqueue(*this);
}

bool Napi::napi_complete_done(int) {
  KFUNC("napi_complete_done");
  kernel::work(kStackCosts.napi_complete);
  if (!gro_.empty()) {
    const bool timeout = softnet_.stack().config().gro_flush_timeout != 0;
    gro_.napi_gro_flush(/*old=*/timeout);
    if (timeout && !gro_.empty()) watch_gro();
  }
  state_.list_owner.store(-1, std::memory_order_relaxed);
  if (missed_ && !disable_pending_) {
    missed_ = false;
    softnet_.enqueue(*this);
    return false;
  }
  state_.sched.store(false, std::memory_order_relaxed);
  return true;
}

/// napi_watchdog(): polls again when gro_flush_timeout has passed.
void Napi::watch_gro() {
  if (watched_) return;
  watched_ = true;
  softnet_.kernel()
      .timers(kernel::this_cpu().cpu())
      .arm_hrtimer(kernel::this_cpu().now() + softnet_.stack().config().gro_flush_timeout, [this] {
        KFUNC("napi_watchdog");
        watched_ = false;
        if (!disable_pending_) napi_schedule();
      });
}

void Napi::netif_napi_del() {
  KFUNC("netif_napi_del");
  gro_.flush_gro_hash();
}

void Napi::napi_enable() {
  disable_pending_ = missed_ = false;
  state_.sched.store(false, std::memory_order_relaxed);
}

void Napi::napi_disable() {
  KFUNC("napi_disable");
  disable_pending_ = true;
  kernel::this_cpu().sync();
  while (state_.sched.load(std::memory_order_relaxed)) kernel::usleep(20);
  state_.sched.store(true, std::memory_order_relaxed);  // keeps it off the lists
  disable_pending_ = false;
}

SoftNet::SoftNet(kernel::Kernel& kernel, NetStack& stack)
    : kernel_(kernel), stack_(stack), poll_lists_(kernel.cores()) {
  kernel.open_softirq(kernel::Softirq::kNetRx, [this] { net_rx_action(); });
}

void SoftNet::enqueue(Napi& napi) {
  poll_lists_[kernel::this_cpu().cpu()].push_back(&napi);
  kernel::raise_softirq(kernel::Softirq::kNetRx);
}

void SoftNet::net_rx_action() {
  KFUNC("net_rx_action");
  const unsigned cpu = kernel::this_cpu().cpu();
  auto& list = poll_lists_[cpu];
  int budget = kBudget;
  const std::uint64_t time_limit = kernel_.jiffies() + 2;
  std::deque<Napi*> repoll;
  stack_.defer().skb_defer_free_flush(cpu);
  while (!list.empty()) {
    Napi& napi = *list.front();
    list.pop_front();
    napi.state_.list_owner.store(static_cast<int>(cpu), std::memory_order_relaxed);
    ++polls_;
    const int work = [&] {
      KFUNC("__napi_poll");
      kernel::work(kStackCosts.napi_poll);
      return napi.poll_(Napi::kWeight);
    }();
    POOLSIM_ASSERT(work <= Napi::kWeight);
    if (const auto& polled = stack_.trace().napi_polled; __builtin_expect(polled.enabled(), 0)) {
      polled.emit({&napi, work, Napi::kWeight, kernel::this_cpu().now()});
    }
    // A full poll stays on the list; list_owner is ours only while we poll.
    if (work == Napi::kWeight) {
      if (!napi.gro_.empty()) napi.gro_.napi_gro_flush(/*old=*/true);
      napi.state_.list_owner.store(-1, std::memory_order_relaxed);
      if (napi.disable_pending_) {
        napi.state_.sched.store(false, std::memory_order_relaxed);
      } else {
        repoll.push_back(&napi);
      }
    }
    budget -= work;
    if (budget <= 0 || kernel_.jiffies() >= time_limit) {
      ++squeezes_;
      break;
    }
  }
  list.insert(list.end(), repoll.begin(), repoll.end());
  if (!list.empty()) kernel::raise_softirq(kernel::Softirq::kNetRx);
}

}  // namespace nic
