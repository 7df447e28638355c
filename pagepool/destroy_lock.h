// SPDX-License-Identifier: Apache-2.0
// What several proposals share: returners that see a destroyed pool take the lock under which destroy unmaps.
// An rcu_read_lock pair and one load on every return that leaves the pool; a lock pair once it is destroyed.
#pragma once
#include "pagepool/strategy.h"

namespace pagepool {

template <class Env, class Pool>
class DestroyLockStrategy : public StrategyBase<Env, Pool> {
 public:
  using Netmem = typename Env::Netmem;
  using StrategyBase<Env, Pool>::StrategyBase;

  template <class F>
  void put_side_release(Pool& pool, Netmem, F&& release) {
    Env& env = pool.env();
    env.rcu_read_lock();
    if (pool.destroy_cnt() > 0) {
      env.spin_lock_bh(destroy_lock_);
      release();
      env.spin_unlock_bh(destroy_lock_);
    } else {
      release();
    }
    env.rcu_read_unlock();
  }

 protected:
  typename Env::SpinLock destroy_lock_{"destroy_lock"};
};

}  // namespace pagepool
