// SPDX-License-Identifier: Apache-2.0
// NAPI and the receive softirq (net/core/dev.c, Linux 6.12): a driver's interrupt schedules its NAPI
// instance, the NET_RX softirq of that core polls it with a budget until there is nothing left.
//
// States: SCHED is set while the instance is on a poll list or disabled. list_owner is the core that polls it
// now; page_pool reads both (may a page go straight into the cache?). Budgets: 64 packets a poll, 300 a
// softirq run.
#pragma once
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "kernel/kernel.h"
#include "nic/stack/gro.h"
#include "pagepool/types.h"

namespace nic {

class NetStack;
class SoftNet;

class Napi {
 public:
  static constexpr int kWeight = 64;
  /// `poll(budget)` handles up to `budget` packets and returns how many; below the budget it must have called
  /// napi_complete_done(). netif_napi_add(); starts disabled.
  Napi(SoftNet& softnet, std::string name, std::function<int(int budget)> poll);

  /// napi_schedule(): from the driver's hard irq handler. No effect if already scheduled or disabled.
  void napi_schedule();
  /// From poll(): leaves the poll list. False if it was scheduled again meanwhile (napi_disable in progress).
  bool napi_complete_done(int work);
  void napi_enable();
  /// Waits until the instance is off the poll list and keeps it off. Task context.
  void napi_disable();
  /// Frees what GRO holds. Disabled; task context.
  void netif_napi_del();

  /// What page_pool looks at; goes into PoolParams.
  pagepool::Napi& state() { return state_; }
  const std::string& name() const { return name_; }
  GroList& gro() { return gro_; }

 private:
  friend class SoftNet;
  void watch_gro();
  SoftNet& softnet_;
  std::string name_;
  std::function<int(int)> poll_;
  pagepool::Napi state_;
  GroList gro_;
  bool watched_ = false;  // the timer of gro_flush_timeout runs
  bool disable_pending_ = false;
  bool missed_ = false;
};

/// Per-core poll lists (struct softnet_data) and net_rx_action(), which also empties the deferred-free list
/// of its core.
class SoftNet {
 public:
  static constexpr int kBudget = 300;  ///< net.core.netdev_budget
  SoftNet(kernel::Kernel& kernel, NetStack& stack);

  kernel::Kernel& kernel() { return kernel_; }
  NetStack& stack() { return stack_; }
  std::uint64_t polls() const { return polls_; }
  std::uint64_t time_squeezes() const { return squeezes_; }
  /// napi_hash_add(): ids start above those of cores (MIN_NAPI_ID = CONFIG_NR_CPUS + 1; riscv defconfig: 64).
  unsigned next_napi_id() { return napi_id_++; }

 private:
  friend class Napi;
  void enqueue(Napi& napi);
  void net_rx_action();

  kernel::Kernel& kernel_;
  NetStack& stack_;
  std::vector<std::deque<Napi*>> poll_lists_;  // per core
  std::uint64_t polls_ = 0, squeezes_ = 0;
  unsigned napi_id_ = 65;
};

}  // namespace nic
