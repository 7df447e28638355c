// SPDX-License-Identifier: Apache-2.0
#include "pagepool/page_pools.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "pagepool/dump.h"
#include "sim/error.h"

namespace pagepool {

const char* to_string(PoolVersion version) { return version == PoolVersion::v6_12 ? "6.12" : "6.18"; }

PoolVersion parse_pool_version(const std::string& word) {
  if (word == "6.12") return PoolVersion::v6_12;
  if (word == "6.18") return PoolVersion::v6_18;
  throw sim::Error(
      fmt::format("unknown page_pool version '{}'{}", word, sim::suggestion(word, {"6.12", "6.18"})));
}

const char* to_string(Mutant mutant) {
  static constexpr const char* kNames[] = {
      "none",         "no_destroy_lock",  "early_destroy_unlock",  "no_xa_lock",       "no_list_lock",
      "no_hash_lock", "no_producer_lock", "early_producer_unlock", "no_recheck", "keep_dma_sync", "no_synchronize_rcu",
      "no_rcu_read_lock", "keep_dma_index", "keep_dma_addr", "torn_reference"};
  static_assert(std::size(kNames) == static_cast<std::size_t>(Mutant::kCount));
  return kNames[static_cast<std::size_t>(mutant)];
}

const char* to_string(MisuseKind kind) {
  switch (kind) {
    case MisuseKind::foreign_pool:
      return "put into a foreign pool";
    case MisuseKind::not_in_pool:
      return "put after release";
    case MisuseKind::double_put:
      return "double put";
    case MisuseKind::pool_gone:
      return "use of a freed pool";
    case MisuseKind::node_gone:
      return "use of a freed tracking node";
  }
  return "?";
}

void PoolOptions::validate() const {
  find_strategy(strategy);
  if (release_period_ms == 0) throw sim::Error("page_pool.release_period_ms must not be 0");
  if (warn_interval_ms == 0) throw sim::Error("page_pool.warn_interval_ms must not be 0");
}

const StrategyInfo& find_strategy(std::string_view key) {
  std::vector<std::string> keys;
  for (const StrategyInfo& s : strategies()) {
    if (s.key == key) return s;
    keys.push_back(s.key);
  }
  throw sim::Error(fmt::format("unknown strategy '{}'{}", key, sim::suggestion(key, keys)));
}

PagePools::Totals::Totals(sim::ProbeHub& hub)
    : pools(hub, "pagepool.pools", 16),
      hold(hub, "pagepool.hold"),
      release(hub, "pagepool.release"),
      inflight(hub, "pagepool.inflight"),
      cache(hub, "pagepool.cache"),
      ring(hub, "pagepool.ring") {}

PagePools::PagePools(kernel::Kernel& kernel, mm::Trace& mm_trace, PoolOptions options)
    : kernel_(kernel),
      mm_trace_(mm_trace),
      totals_(kernel.simulation().probes()),
      memory_(kernel),
      system_stats_(kernel.cores()) {
  set_options(std::move(options));
}

void PagePools::set_options(PoolOptions options) {
  options.validate();
  options_ = std::move(options);
}

std::shared_ptr<Pool> PagePools::create(kernel::Device& device, const PoolParams& params, int* error) {
  return create(device, params, options_, error);
}

std::shared_ptr<Pool> PagePools::create(kernel::Device& device, const PoolParams& params,
                                        const PoolOptions& options, int* error) {
  int err = 0;
  const StrategyInfo& strategy = find_strategy(options.strategy);
  auto pool = strategy.create(*this, device, params, options, static_cast<unsigned>(pools_.size()) + 1, err);
  if (error) *error = err;
  if (pool) pools_.push_back(pool);
  return pool;
}

Pool* PagePools::pool_of(sim::Pfn pfn) const { return pool_of_struct(kernel_.frames().page(pfn)); }

Pool* PagePools::pool_of_struct(sim::PhysAddr address) const {
  // One test of the address for both fields.
  const mm::SparseStore& store = kernel_.store();
  const std::uint8_t* host = store.host(address, mm::page_field::kBytes);
  const auto field = [&](unsigned offset) {
    std::uint64_t value;
    std::memcpy(&value, host + offset, sizeof(value));
    store.note_read(address + offset, sizeof(value));
    return value;
  };
  if (!has_signature(field(mm::page_field::kPpMagic))) return nullptr;
  std::uint64_t pp = field(mm::page_field::kPp);
  for (auto [address, id] : by_address_)
    if (address == pp) return find(id);
  return nullptr;
}

bool PagePools::napi_pp_put_page(sim::Pfn pfn) {
  KFUNC("napi_pp_put_page");
  const sim::Pfn head = kernel_.frames().compound_head(pfn);
  const sim::PhysAddr page = kernel_.frames().page(head);
  kernel::Context& cpu = kernel::this_cpu();
  cpu.load(page);
  if (cpu.exploring()) {
    cpu.tell_access(page.value + mm::page_field::kPpMagic, "page->pp_magic",
                    kernel::MemoryAccess::Kind::kLoad);
    cpu.tell_access(page.value + mm::page_field::kPp, "page->pp", kernel::MemoryAccess::Kind::kLoad);
  }
  Pool* pool = pool_of_struct(page);
  if (!pool) return false;
  pool->put_full_page(head, false);
  return true;
}

void PagePools::device_unbind(kernel::Device& device) {
  for (std::size_t i = 0; i < pools_.size(); ++i)
    if (!pools_[i]->gone() && &pools_[i]->device() == &device) pools_[i]->device_unbind();
}

void PagePools::unregister_address(std::uint64_t address) {
  std::erase_if(by_address_, [address](const auto& entry) { return entry.first == address; });
}

TraceContext PagePools::where() const {
  if (!kernel::in_kernel_code()) return {0, kernel_.simulation().now(), {}};
  const kernel::Context& cpu = kernel::this_cpu();
  return {cpu.cpu(), cpu.now(), cpu.call_chain()};
}

void PagePools::misuse(MisuseKind kind, unsigned pool, unsigned page_pool, sim::Pfn pfn) {
  if (trace_.misused.enabled()) trace_.misused.emit({kind, pool, page_pool, pfn, where()});
  kernel_.warn(fmt::format("page_pool({}): {}, pfn 0x{:x} of {}", pool, to_string(kind), pfn.value,
                           page_pool != 0 ? fmt::format("pool {}", page_pool) : std::string("no pool")));
}

bool PagePools::first_time(Warning what) {
  std::uint32_t bit = 1u << static_cast<unsigned>(what);
  bool first = (warned_once_ & bit) == 0;
  warned_once_ |= bit;
  return first;
}

std::string dump_pool(const Pool& pool) {
  const PoolState s = pool.state();
  std::string out = fmt::format("page-pool id={} device={} ", s.id, pool.device().name());
  // The driver's objects may be gone together with the driver, which destroys the pool first.
  const bool live = !s.gone && !s.detached;
  if (const Netdev* netdev = pool.params().netdev; netdev && live)
    out += fmt::format("ifindex={} ", netdev->ifindex);
  if (const Napi* napi = pool.params().napi; napi && live) out += fmt::format("napi-id={} ", napi->id);
  out += fmt::format("inflight={} inflight-mem={} ", s.inflight,
                     static_cast<std::int64_t>(s.inflight) * (std::int64_t{kPageSize} << s.order));
  if (s.detached) out += fmt::format("detach-time={} ", s.detach_time_ms / 1000);
  out += fmt::format(
      "strategy={} version={} state={}\n"
      "  hold={} release={} cache={} ring={}/{} users={} destroy-cnt={} release-rounds={} "
      "tracking-bytes={}\n"
      "  alloc-fast={} alloc-slow={} alloc-slow-high-order={} alloc-empty={} alloc-refill={} "
      "alloc-waive={}\n"
      "  recycle-cached={} recycle-cache-full={} recycle-ring={} recycle-ring-full={} "
      "recycle-released-refcnt={}\n",
      s.strategy, to_string(s.version),
      s.gone       ? "gone"
      : s.detached ? "detached"
                   : "live",
      s.hold, s.release, s.cache, s.ring, s.ring_size, s.users, s.destroy_cnt, s.release_rounds,
      s.tracking_bytes, s.stats.alloc_fast, s.stats.alloc_slow, s.stats.alloc_slow_high_order,
      s.stats.alloc_empty, s.stats.alloc_refill, s.stats.alloc_waive, s.stats.recycle_cached,
      s.stats.recycle_cache_full, s.stats.recycle_ring, s.stats.recycle_ring_full,
      s.stats.recycle_released_refcnt);
  return out;
}

std::string PagePools::dump(bool gone_too) const {
  std::string out;
  for (const auto& pool : pools_)
    if (gone_too || !pool->gone()) out += dump_pool(*pool);
  return out;
}

void PagePools::stats(
    const std::function<void(std::string_view name, double value, std::string_view unit)>& out) const {
  for (const auto& pool : pools_) {
    PoolState s = pool->state();
    auto put = [&](const char* name, double value, const char* unit) {
      out(fmt::format("pool{}.{}", s.id, name), value, unit);
    };
    put("hold", s.hold, "pages");
    put("release", s.release, "pages");
    put("inflight", s.inflight, "pages");
    put("cache", s.cache, "pages");
    put("ring", s.ring, "pages");
    put("release_rounds", static_cast<double>(s.release_rounds), "1");
    put("tracking_bytes_peak", static_cast<double>(s.tracking_bytes_peak), "bytes");
    put("track_failures", static_cast<double>(s.track_failures), "1");
    put("alloc_fast", static_cast<double>(s.stats.alloc_fast), "1");
    put("alloc_slow", static_cast<double>(s.stats.alloc_slow), "1");
    put("alloc_slow_high_order", static_cast<double>(s.stats.alloc_slow_high_order), "1");
    put("alloc_empty", static_cast<double>(s.stats.alloc_empty), "1");
    put("alloc_refill", static_cast<double>(s.stats.alloc_refill), "1");
    put("alloc_waive", static_cast<double>(s.stats.alloc_waive), "1");
    put("recycle_cached", static_cast<double>(s.stats.recycle_cached), "1");
    put("recycle_cache_full", static_cast<double>(s.stats.recycle_cache_full), "1");
    put("recycle_ring", static_cast<double>(s.stats.recycle_ring), "1");
    put("recycle_ring_full", static_cast<double>(s.stats.recycle_ring_full), "1");
    put("recycle_released_refcnt", static_cast<double>(s.stats.recycle_released_refcnt), "1");
  }
}

}  // namespace pagepool
