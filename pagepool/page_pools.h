// SPDX-License-Identifier: Apache-2.0
// All page pools of a machine: makes them, numbers them, finds the pool of a page, and dumps them
// (net/core/page_pool_user.c).
//
//   pagepool::PagePools pools(kernel, mm_trace, {.strategy = "xarray_merged", .version =
//   PoolVersion::v6_18}); auto pool = pools.create(device, params);          // on a fiber of the kernel
//   driver.probe(..., pools.factory());
#pragma once
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "kernel/kernel.h"
#include "mm/trace.h"
#include "pagepool/page_ops.h"
#include "pagepool/pool.h"
#include "pagepool/trace.h"
#include "sim/probe.h"

namespace pagepool {

class PagePools {
 public:
  /// `mm_trace` is told who holds a page while the pool has it.
  PagePools(kernel::Kernel& kernel, mm::Trace& mm_trace, PoolOptions options = {});
  PagePools(const PagePools&) = delete;
  PagePools& operator=(const PagePools&) = delete;

  kernel::Kernel& kernel() { return kernel_; }
  mm::Trace& mm_trace() { return mm_trace_; }
  Trace& trace() { return trace_; }
  const PoolOptions& options() const { return options_; }
  /// For pools created from now on.
  void set_options(PoolOptions options);

  /// page_pool_create_percpu. Null: refused, errno in `error` (negative) when given. On a fiber of the
  /// kernel.
  std::shared_ptr<Pool> create(kernel::Device& device, const PoolParams& params, int* error = nullptr);
  std::shared_ptr<Pool> create(kernel::Device& device, const PoolParams& params, const PoolOptions& options,
                               int* error = nullptr);
  PoolFactory factory() {
    return [this](kernel::Device& device, const PoolParams& params) { return create(device, params); };
  }

  /// The pool that the struct page of `pfn` belongs to (signature and pp), or null.
  Pool* pool_of(sim::Pfn pfn) const;
  /// The same for a struct page or struct net_iov at `address`.
  Pool* pool_of_struct(sim::PhysAddr address) const;
  /// skb_pp_recycle / napi_pp_put_page: returns a page to its pool; false: it belongs to none, put_page() it.
  bool napi_pp_put_page(sim::Pfn pfn);
  /// Hook of the driver core: all pools of the device get device_unbind().
  void device_unbind(kernel::Device& device);

  /// Every pool ever made, by id (ids start at 1).
  const std::vector<std::shared_ptr<Pool>>& pools() const { return pools_; }
  Pool* find(unsigned id) const { return id - 1 < pools_.size() ? pools_[id - 1].get() : nullptr; }
  /// netlink's view as text, a line per value; `gone_too`: freed pools as well.
  std::string dump(bool gone_too = false) const;
  void stats(
      const std::function<void(std::string_view name, double value, std::string_view unit)>& out) const;

  // --- For the pools ---
  struct Totals {
    sim::Probe pools, hold, release, inflight, cache, ring;
    explicit Totals(sim::ProbeHub& hub);
  };
  Totals& totals() { return totals_; }
  TraceContext where() const;
  KernelMemory& memory() { return memory_; }
  /// Recycle counters that all pools with PP_FLAG_SYSTEM_POOL share, one a core.
  RecycleStats* system_stats() { return system_stats_.data(); }
  /// A scan asked for so many pfns.
  void walked(std::uint64_t pfns) { walked_pfns_ += pfns; }
  std::uint64_t walked_pfns() const { return walked_pfns_; }
  /// WARN_ONCE.
  bool first_time(Warning what);
  void misuse(MisuseKind kind, unsigned pool, unsigned page_pool, sim::Pfn pfn);
  /// Simulated memory of a pool object, so that page->pp is a real address.
  void register_address(std::uint64_t address, unsigned id) { by_address_.emplace_back(address, id); }
  void unregister_address(std::uint64_t address);

 private:
  kernel::Kernel& kernel_;
  mm::Trace& mm_trace_;
  PoolOptions options_;
  Trace trace_;
  Totals totals_;
  KernelMemory memory_;
  std::vector<RecycleStats> system_stats_;
  std::uint64_t walked_pfns_ = 0;
  std::uint32_t warned_once_ = 0;  // bit per Warning
  std::vector<std::shared_ptr<Pool>> pools_;
  std::vector<std::pair<std::uint64_t, unsigned>> by_address_;  // live pools
};

/// One strategy, as registered by its file in pagepool/strategies/.
struct StrategyInfo {
  std::string key;
  std::string summary;
  std::function<std::shared_ptr<Pool>(PagePools&, kernel::Device&, const PoolParams&, const PoolOptions&,
                                      unsigned id, int& error)>
      create;
};
/// All of them, by key.
const std::vector<StrategyInfo>& strategies();
/// sim::Error with the nearest key when there is none.
const StrategyInfo& find_strategy(std::string_view key);

}  // namespace pagepool
