// SPDX-License-Identifier: Apache-2.0
// stock: kernels up to 6.15. get_device() keeps the memory of struct device and no more; whoever returns a
// page late, or the release work, unmaps it whenever that is. Source: net/core/page_pool.c, Linux 6.12.
#pragma once
#include "pagepool/strategy.h"

namespace pagepool {

template <class Env, class Pool>
class Stock : public StrategyBase<Env, Pool> {
 public:
  static constexpr const char* kKey = "stock";
  static constexpr const char* kSummary =
      "kernels up to 6.15: the returner or the release work unmaps, whenever that is";
  using StrategyBase<Env, Pool>::StrategyBase;
};

}  // namespace pagepool
