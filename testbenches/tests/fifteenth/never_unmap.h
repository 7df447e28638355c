// SPDX-License-Identifier: Apache-2.0
// never_unmap: a strategy that nobody has proposed, for the proof that one more touches no other file. A page
// that is returned to a destroyed pool is not unmapped; the mapping is left to whoever cares.
#pragma once
#include "pagepool/strategy.h"

namespace pagepool {

template <class Env, class Pool>
class NeverUnmap : public StrategyBase<Env, Pool> {
 public:
  static constexpr const char* kKey = "never_unmap";
  static constexpr const char* kSummary = "test only: returns after destroy leave the mapping behind";
  using Netmem = typename Env::Netmem;
  using StrategyBase<Env, Pool>::StrategyBase;

  void unmap(Pool& pool, Netmem netmem) {
    if (pool.destroy_cnt() == 0) StrategyBase<Env, Pool>::unmap(pool, netmem);
  }
};

}  // namespace pagepool
