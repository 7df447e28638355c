// SPDX-License-Identifier: Apache-2.0
// PagePool: the kernel's page_pool as one template over its environment, its version and the strategy that
// decides what happens to DMA mappings at destroy. The same source is
//  - replayed against recordings of the kernel's own code (ScriptEnv, testbenches/conform),
//  - run by real threads (NativeEnv, pagepool/native_env.h),
//  - run by the modelled kernel, paying cycles and interleaving (SimEnv, pagepool/sim_env.h).
// Source: net/core/page_pool.c, Linux 6.12 and 6.18; functions carry the kernel's names.
//
// `Env` gives: Netmem (a word; false = null), Device, SpinLock and the memory hooks of HostMemory, and the
// functions called as env_.xxx() below. `Strategy<Env, PagePool>` derives from StrategyBase
// (pagepool/strategy.h).
//
// Contexts: alloc*, put with allow_direct, update_nid and disable/enable_direct_recycling belong to one
// context at a time (the NAPI poll, or the driver's bring-up); put without allow_direct may come from any
// context; release_retry() is the delayed work. destroy() and release_retry() may free the pool: do not touch
// it afterwards.
#pragma once
#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <span>

#include "pagepool/ptr_ring.h"
#include "pagepool/types.h"

namespace pagepool {

/// A provider of memory that is not pages (net_iov), struct memory_provider_ops.
template <class Pool>
class MemoryProvider {
 public:
  using Netmem = typename Pool::Netmem;
  virtual ~MemoryProvider() = default;
  /// 0 or a negative errno, which fails the create.
  virtual int init(Pool& pool) = 0;
  virtual void uninit(Pool& pool) = 0;
  /// Counts the hold itself (pool.provider_hold()).
  virtual Netmem alloc_netmems(Pool& pool) = 0;
  /// True: the pool still has to drop the page reference.
  virtual bool release_netmem(Pool& pool, Netmem netmem) = 0;
};

/// struct page_pool_params.
template <class Env, class Pool>
struct PagePoolParams {
  unsigned order = 0;
  unsigned pool_size = 0;
  unsigned ring_batch = 16;  ///< see PtrRing::kBatch
  int nid = kNumaNoNode;
  typename Env::Device* dev = nullptr;
  Napi* napi = nullptr;
  DmaDirection dma_dir = DmaDirection::from_device;
  unsigned max_len = 0;
  unsigned offset = 0;
  const Netdev* netdev = nullptr;
  unsigned queue_idx = 0;
  std::uint32_t flags = 0;
  void (*init_callback)(typename Env::Netmem netmem, void* arg) = nullptr;
  void* init_arg = nullptr;
  MemoryProvider<Pool>* provider = nullptr;
  std::uint64_t defer_time_ms = kDeferTimeMs;
  std::uint64_t defer_warn_interval_ms = kDeferWarnIntervalMs;
};

/// What alloc_frag() and alloc() give: `size` bytes at `offset` of `netmem`.
template <class Netmem>
struct Fragment {
  Netmem netmem{};
  unsigned offset = 0;
  unsigned size = 0;
};

template <class Env, class Version, template <class, class> class StrategyTemplate>
class PagePool {
 public:
  using Netmem = typename Env::Netmem;
  using Device = typename Env::Device;
  using Params = PagePoolParams<Env, PagePool>;
  using Strategy = StrategyTemplate<Env, PagePool>;
  using VersionPolicy = Version;

  /// page_pool_create_percpu. Null with err < 0: -EINVAL, -E2BIG, -ENOMEM, or the provider's.
  static PagePool* create(Env& env, const Params& params, int cpuid, int& err, Version version = {}) {
    err = -ENOMEM;
    if (!env.alloc_pool()) return nullptr;
    PagePool* pool = new PagePool(env, version);
    if (!env.memory_new(pool, sizeof(PagePool))) {
      delete pool;
      return nullptr;
    }
    pool->counted_ = true;
    err = pool->init(params, cpuid);
    if (err == 0) {
      err = env.list_pool(*pool, pool->id_);
      if (err == 0) return pool;
      pool->uninit();
    }
    env.warn(*pool, Warning::create_failed, -err, 0);
    env.free_pool(pool);
    return nullptr;
  }

  ~PagePool() {
    if (counted_) env_.memory_delete(this, sizeof(PagePool));
  }
  PagePool(const PagePool&) = delete;
  PagePool& operator=(const PagePool&) = delete;

  // --- Allocation
  // ---------------------------------------------------------------------------------------------

  /// page_pool_alloc_netmems: a whole page, or null.
  Netmem alloc_netmems() {
    Netmem netmem = get_cached();
    if (PAGEPOOL_UNLIKELY(!netmem))
      netmem = provider_ ? provider_->alloc_netmems(*this) : alloc_netmems_slow();
    if (PAGEPOOL_LIKELY(netmem)) env_.page_out(netmem);
    return netmem;
  }

  /// page_pool_alloc_frag_netmem: a piece of a page shared with other fragments.
  Fragment<Netmem> alloc_frag(unsigned size) {
    unsigned max_size = kPageSize << params_.order;
    if (PAGEPOOL_UNLIKELY(size > max_size)) {
      env_.warn(*this, Warning::frag_too_big, static_cast<int>(size), 0);
      return {};
    }
    const unsigned requested = size;
    const unsigned align = env_.dma_cache_alignment();
    size = (size + align - 1) & ~(align - 1);
    env_.load(frag_offset_);
    Netmem netmem = frag_page_;
    unsigned offset = frag_offset_;
    bool fresh = false;
    if (netmem && offset + size > max_size) {
      netmem = drain_frag(netmem);
      if (netmem) {
        if (version_.fragment_reuse_counts_cached) recycle().cached.inc();
        inc(alloc_stats_.fast);
        fresh = true;
      }
    }
    if (!netmem) {
      netmem = alloc_netmems();
      frag_page_ = netmem;
      if (PAGEPOOL_UNLIKELY(!netmem)) return {};
      fresh = true;
    }
    if (fresh) {
      frag_users_ = 1;
      frag_offset_ = size;
      env_.store(frag_offset_);
      env_.pp_ref_set(netmem, kBiasMax);
      return {netmem, 0, requested};
    }
    ++frag_users_;
    frag_offset_ = offset + size;
    env_.store(frag_offset_);
    if (version_.every_fragment_counts_fast) inc(alloc_stats_.fast);
    return {netmem, offset, requested};
  }

  /// page_pool_alloc: a whole page when no two pieces of `size` fit into one, else a fragment; the last
  /// fragment of a page is given all that is left.
  Fragment<Netmem> alloc(unsigned size) {
    unsigned max_size = kPageSize << params_.order;
    if ((size << 1) > max_size) return {alloc_netmems(), 0, max_size};
    Fragment<Netmem> frag = alloc_frag(size);
    if (!frag.netmem) return frag;
    frag.size = size;
    if (frag_offset_ + size > max_size) {
      frag.size = max_size - frag.offset;
      frag_offset_ = max_size;
    }
    return frag;
  }

  // --- Return
  // -------------------------------------------------------------------------------------------------

  /// page_pool_put_netmem: gives one pool reference back. `dma_sync_size` -1: all of the page that the device
  /// may have been given. `allow_direct`: the caller is the pool's own softirq context.
  void put_netmem(Netmem netmem, unsigned dma_sync_size, bool allow_direct) {
    if (!env_.check_put(*this, netmem)) return;
    if (unref_netmem(netmem, 1) != 0) return;
    put_unrefed_netmem(netmem, dma_sync_size, allow_direct);
  }
  void put_full_netmem(Netmem netmem, bool allow_direct) { put_netmem(netmem, ~0u, allow_direct); }

  /// page_pool_put_unrefed_netmem.
  [[gnu::always_inline]] inline void put_unrefed_netmem(Netmem netmem, unsigned dma_sync_size, bool allow_direct) {
    [[maybe_unused]] auto scope = env_.function("page_pool_put_unrefed_page");
    if (!allow_direct) allow_direct = napi_local();
    netmem = put_page(netmem, dma_sync_size, allow_direct);
    if (netmem && !recycle_in_ring(netmem)) {
      recycle().ring_full.inc();
      env_.trace_recycle(*this, netmem, RecycleOutcome::ring_full);
      put_side_release(netmem);
    }
  }

  /// page_pool_put_netmem_bulk, for pages of this pool (6.12 knows no other). At most kBulkQueueSize.
  void put_netmem_bulk(std::span<Netmem> data) {
    [[maybe_unused]] auto scope = env_.function("page_pool_put_page_bulk");
    std::size_t n = 0;
    bool allow_direct = napi_local();
    for (Netmem netmem : data) {
      if (!env_.check_put(*this, netmem) || unref_netmem(netmem, 1) != 0) continue;
      netmem = put_page(netmem, ~0u, allow_direct);
      if (netmem) data[n++] = netmem;
    }
    if (n != 0) recycle_ring_bulk(data.first(n));
  }

  /// page_pool_put_netmem_bulk since 6.13: references are dropped first, then the pools are served one after
  /// another in order of first appearance. `pool_of(netmem)` gives the pool that a page says it belongs to;
  /// null: it has reported that there is none, and the page is left alone.
  template <class PoolOf>
  static void put_netmem_bulk_over_pools(std::span<Netmem> data, PoolOf&& pool_of) {
    std::size_t count = 0;
    for (Netmem netmem : data) {
      PagePool* pool = pool_of(netmem);
      if (PAGEPOOL_UNLIKELY(!pool)) continue;
      if (pool->env_.check_put(*pool, netmem) && pool->unref_netmem(netmem, 1) == 0) data[count++] = netmem;
    }
    std::array<Netmem, kBulkQueueSize> bulk;
    while (count != 0) {
      PagePool* pool = pool_of(data[0]);
      if (PAGEPOOL_UNLIKELY(!pool)) {  // released by a destroyer that took it for its own
        data = data.subspan(1);
        --count;
        continue;
      }
      bool allow_direct = pool->napi_local();
      std::size_t n = 0, foreign = 0;
      for (std::size_t i = 0; i < count; ++i) {
        if (pool_of(data[i]) != pool) {
          data[foreign++] = data[i];
        } else if (Netmem netmem = pool->put_page(data[i], ~0u, allow_direct)) {
          bulk[n++] = netmem;
        }
      }
      if (n != 0) pool->recycle_ring_bulk(std::span(bulk).first(n));
      count = foreign;
    }
  }

  /// page_pool_ref_netmem: one more pool reference on a page that the caller holds.
  void ref_netmem(Netmem netmem) { env_.pp_ref_inc(netmem); }

  /// page_pool_unref_netmem: gives `nr` references back; 0: the caller was the last user. The last user of
  /// all does no atomic write.
  [[gnu::always_inline]] inline std::int64_t unref_netmem(Netmem netmem, std::int64_t nr) {
    if (env_.pp_ref_read(netmem) == nr) {
      if (nr != 1) env_.pp_ref_set(netmem, 1);
      return 0;
    }
    std::int64_t left = env_.pp_ref_sub_return(netmem, nr);
    if (PAGEPOOL_UNLIKELY(left < 0)) env_.warn(*this, Warning::unref_negative, static_cast<int>(left), 0);
    if (PAGEPOOL_UNLIKELY(left == 0)) env_.pp_ref_set(netmem, 1);
    return left;
  }

  /// page_pool_dma_sync_netmem_for_cpu. The page must be mapped.
  void dma_sync_for_cpu(Netmem netmem, unsigned offset, unsigned size) {
    env_.dma_sync_for_cpu(*this, env_.dma_addr(netmem), offset + params_.offset, size);
  }

  // --- Control
  // ------------------------------------------------------------------------------------------------

  /// page_pool_update_nid: new node, and every cached page goes back.
  void update_nid(int new_nid) {
    [[maybe_unused]] auto scope = env_.function("page_pool_update_nid");
    env_.trace_update_nid(*this, new_nid);
    params_.nid = new_nid;
    while (alloc_.count != 0) return_page(alloc_.cache[--alloc_.count]);
  }
  void nid_changed(int new_nid) {
    if (params_.nid != new_nid) update_nid(new_nid);
  }

  /// page_pool_disable_direct_recycling: no other context may take the cache for its own any more.
  void disable_direct_recycling() {
    env_.store(cpuid_);
    cpuid_.store(-1, std::memory_order_relaxed);
    Napi* napi = napi_.load(std::memory_order_relaxed);
    if (!napi) return;
    if (!(version_.uninitialised_napi_cannot_race && !napi->initialised)) {
      if (!napi->sched) env_.warn(*this, Warning::napi_not_sched, 0, 0);
      if (napi->list_owner != -1) env_.warn(*this, Warning::napi_owned, napi->list_owner, 0);
    }
    env_.store(napi_);
    napi_.store(nullptr, std::memory_order_relaxed);
  }
  /// page_pool_enable_direct_recycling (6.13+).
  void enable_direct_recycling(Napi* napi) {
    Napi* now = napi_.load(std::memory_order_relaxed);
    if (now && now != napi) env_.warn(*this, Warning::napi_already_set, 0, 0);
    env_.store(napi_);
    napi_.store(napi, std::memory_order_relaxed);
  }

  /// page_pool_use_xdp_mem: a second user, whose disconnect is called at the very end. Returns the users.
  int use_xdp_mem(void (*disconnect)(void*), void* arg) {
    disconnect_ = disconnect;
    disconnect_arg_ = arg;
    return user_cnt_.fetch_add(1, std::memory_order_relaxed) + 1;
  }

  /// The net device of the pool was unregistered and nobody took the pool over.
  void netdev_gone() { netdev_.store(net_ptr_poison(), std::memory_order_relaxed); }

  enum class Destroyed { shared, released, pending };
  /// page_pool_destroy: drops one user; the last one stops the pool. `pending`: pages are out, the release
  /// work goes on; `released`: the pool is gone.
  Destroyed destroy() {
    [[maybe_unused]] auto scope = env_.function("page_pool_destroy");
    env_.look(user_cnt_);
    if (user_cnt_.fetch_sub(1, std::memory_order_acq_rel) != 1) return Destroyed::shared;
    disable_direct_recycling();
    free_frag();
    if (release() == 0) return Destroyed::released;
    env_.trace_detached(*this);
    detach_time_ms_ = defer_start_ms_ = env_.now_ms();
    defer_warn_ms_ = defer_start_ms_ + params_.defer_warn_interval_ms;
    strategy_.destroy_detached(*this);
    env_.schedule_delayed_work(*this, params_.defer_time_ms);
    return Destroyed::pending;
  }

  /// page_pool_release_retry, the delayed work. Returns the pages still out; 0: the pool is gone.
  int release_retry() {
    [[maybe_unused]] auto scope = env_.function("page_pool_release_retry");
    strategy_.periodic_work(*this);
    int inflight = release();
    if (inflight == 0) return 0;
    if (version_.negative_inflight_ends_retry && inflight < 0) return inflight;
    const Netdev* netdev = netdev_.load(std::memory_order_relaxed);
    std::uint64_t now = env_.now_ms();
    if (now >= defer_warn_ms_ && (!netdev || netdev == net_ptr_poison())) {
      // 32-bit jiffies of HZ 1000, as the kernel computes it.
      int sec = static_cast<std::int32_t>(static_cast<std::uint32_t>(now - defer_start_ms_)) / 1000;
      env_.warn(*this, Warning::stalled, inflight, sec);
      defer_warn_ms_ = now + params_.defer_warn_interval_ms;
    }
    env_.schedule_delayed_work(*this, params_.defer_time_ms);
    return inflight;
  }

  /// The driver core unbinds the device while the pool exists (strategies that hook there).
  void device_unbind() { strategy_.device_unbind(*this); }

  // --- What the pool shows
  // ------------------------------------------------------------------------------------

  unsigned id() const { return id_; }
  const Params& params() const { return params_; }
  Device* dev() const { return params_.dev; }
  Napi* napi() const { return napi_.load(std::memory_order_relaxed); }
  const Netdev* netdev() const { return netdev_.load(std::memory_order_relaxed); }
  std::uint32_t hold_cnt() const { return static_cast<std::uint32_t>(hold_cnt_.value()); }
  std::uint32_t release_cnt() const { return release_cnt_.load(std::memory_order_relaxed); }
  /// page_pool_inflight, not strict: hold - release.
  int inflight() const {
    env_.look(release_cnt_);
    return static_cast<int>(hold_cnt() - release_cnt());
  }
  unsigned cache_count() const { return alloc_.count; }
  unsigned ring_count() const { return ring_.used(); }
  const PtrRing<Netmem, Env>& ring() const { return ring_; }
  /// Calls f(netmem) for the pages of the alloc cache. Diagnostic.
  template <class F>
  void for_each_cached(F&& f) const {
    for (unsigned i = 0; i < alloc_.count; ++i) f(alloc_.cache[i]);
  }
  std::uint64_t destroy_cnt() const {
    env_.look_plain(destroy_cnt_, "pool->destroy_cnt");
    return destroy_cnt_.load(std::memory_order_acquire);
  }
  int user_cnt() const { return user_cnt_.load(std::memory_order_relaxed); }
  std::uint64_t detach_time_ms() const { return detach_time_ms_; }
  StatsSnapshot stats() const {
    StatsSnapshot s{alloc_stats_.fast,  alloc_stats_.slow,   alloc_stats_.slow_high_order,
                    alloc_stats_.empty, alloc_stats_.refill, alloc_stats_.waive};
    env_.for_each_cpu_stats(recycle_stats_, [&s](const RecycleStats& r) {
      s.recycle_cached += r.cached;
      s.recycle_cache_full += r.cache_full;
      s.recycle_ring += r.ring;
      s.recycle_ring_full += r.ring_full;
      s.recycle_released_refcnt += r.released_refcnt;
    });
    return s;
  }
  Strategy& strategy() { return strategy_; }
  Env& env() { return env_; }

  // --- For strategies and providers
  // ---------------------------------------------------------------------------

  bool dma_map() const {
    env_.load_plain(dma_map_, "pool->dma_map");
    return dma_map_.load(std::memory_order_relaxed);
  }
  void set_dma_map(bool on) {
    env_.store_plain(dma_map_, "pool->dma_map");
    dma_map_.store(on, std::memory_order_relaxed);
  }
  // Sequentially consistent: pairs with rcu_read_lock() of those who test it again inside.
  bool dma_sync() const {
    env_.load_plain(dma_sync_, "pool->dma_sync");
    return dma_sync_.load(std::memory_order_seq_cst);
  }
  void set_dma_sync(bool on) {
    if (PAGEPOOL_UNLIKELY(env_.keeps_dma_sync()) && !on) return;
    env_.store_plain(dma_sync_, "pool->dma_sync");
    dma_sync_.store(on, std::memory_order_seq_cst);
  }
  bool has_provider() const { return provider_ != nullptr; }
  std::size_t page_bytes() const { return std::size_t{kPageSize} << params_.order; }

  /// page_pool_release_page_dma: unmaps the page and forgets the address.
  void unmap_page(Netmem netmem) {
    DmaAddr addr = env_.dma_addr(netmem);
    env_.dma_unmap(*this, netmem, addr, page_bytes(), params_.dma_dir);
    env_.set_dma_addr(netmem, 0);
  }
  /// __page_pool_dma_sync_for_device.
  void dma_sync_for_device_now(Netmem netmem, unsigned dma_sync_size) {
    env_.dma_sync_for_device(*this, env_.dma_addr(netmem), params_.offset,
                             std::min(dma_sync_size, params_.max_len));
  }
  /// page_pool_return_page: the page leaves the pool. The pool may be freed by another context as soon as the
  /// release is counted.
  void return_page(Netmem netmem) {
    Env& env = env_;
    [[maybe_unused]] auto scope = env.function("page_pool_return_page");
    bool put = true;
    if (PAGEPOOL_UNLIKELY(provider_)) {
      put = provider_->release_netmem(*this, netmem);
    } else {
      strategy_.unmap(*this, netmem);
    }
    env.rmw(release_cnt_);
    std::uint32_t count = release_cnt_.fetch_add(1, std::memory_order_acq_rel) + 1;
    env.trace_state_release(this, netmem, count);
    if (put) {
      env.clear_pp_info(netmem);
      env.put_page(netmem);
    }
  }
  /// The page leaves the pool but keeps its reference: from now on it is an ordinary page of whoever holds
  /// it.
  void detach_page(Netmem netmem) {
    env_.rmw(release_cnt_);
    std::uint32_t count = release_cnt_.fetch_add(1, std::memory_order_acq_rel) + 1;
    env_.trace_state_release(this, netmem, count);
    env_.clear_pp_info(netmem);
  }
  /// A page of a provider enters the pool.
  void provider_hold(Netmem netmem) { enter_pool(netmem); }

 private:
  PagePool(Env& env, Version version) : env_(env), version_(version), strategy_(env), ring_(env) {}

  // --- Create and free
  // ----------------------------------------------------------------------------------------

  /// page_pool_init: the checks in the kernel's order.
  int init(const Params& params, int cpuid) {
    params_ = params;
    if ((params.flags & ~std::uint32_t{PP_FLAG_ALL}) != 0) return -EINVAL;
    unsigned ring_size = params.pool_size ? params.pool_size : kDefaultRingSize;
    if (version_.ring_size_capped) {
      ring_size = std::min(ring_size, kCappedRingSize);
    } else if (ring_size > kMaxRingSize) {
      return -E2BIG;
    }
    if ((params.flags & PP_FLAG_DMA_MAP) != 0) {
      if (params.dma_dir != DmaDirection::from_device && params.dma_dir != DmaDirection::bidirectional)
        return -EINVAL;
      dma_map_ = true;
    }
    if ((params.flags & PP_FLAG_DMA_SYNC_DEV) != 0) {
      if (!dma_map_ || params.max_len == 0) return -EINVAL;
      dma_sync_ = true;
    }
    napi_ = params.napi;
    netdev_ = params.netdev;
    cpuid_ = cpuid;
    recycle_stats_ = env_.alloc_recycle_stats((params.flags & PP_FLAG_SYSTEM_POOL) != 0);
    if (!recycle_stats_) return -ENOMEM;
    if (!env_.alloc_ring(ring_size) || !ring_.init(ring_size, params.ring_batch)) {
      env_.free_recycle_stats(recycle_stats_);
      return -ENOMEM;
    }
    user_cnt_ = 1;
    provider_ = params.provider;
    if (provider_) {
      int err = !dma_map_ || !dma_sync_ ? -EOPNOTSUPP : provider_->init(*this);
      if (err != 0) {
        provider_ = nullptr;
        env_.free_recycle_stats(recycle_stats_);
        return err;
      }
      set_dma_sync(false);  // the device reads and writes memory that no CPU touches
    }
    int err = strategy_.create(*this);
    if (err != 0) uninit();
    return err;
  }
  void uninit() {
    if (provider_) provider_->uninit(*this);
    strategy_.uninit(*this);
    env_.free_recycle_stats(recycle_stats_);
  }

  // --- Allocation
  // ---------------------------------------------------------------------------------------------

  Netmem get_cached() {
    env_.load(alloc_.count);
    if (PAGEPOOL_LIKELY(alloc_.count != 0)) {
      inc(alloc_stats_.fast);
      env_.load(alloc_.cache[alloc_.count - 1]);
      env_.store(alloc_.count);
      return alloc_.cache[--alloc_.count];
    }
    return refill_alloc_cache();
  }

  /// page_pool_refill_alloc_cache: up to 64 pages from the ring; a page of the wrong node ends it.
  __attribute__((noinline)) Netmem refill_alloc_cache() {
    [[maybe_unused]] auto scope = env_.function("page_pool_refill_alloc_cache");
    if (ring_.empty()) {
      inc(alloc_stats_.empty);
      return Netmem{};
    }
    int pref_nid = params_.nid == kNumaNoNode ? env_.numa_mem_id() : params_.nid;
    do {
      Netmem netmem = ring_.consume();
      if (PAGEPOOL_UNLIKELY(!netmem)) break;
      if (PAGEPOOL_UNLIKELY(!env_.is_pref_nid(netmem, pref_nid))) {
        return_page(netmem);
        inc(alloc_stats_.waive);
        break;
      }
      env_.store(alloc_.cache[alloc_.count]);
      alloc_.cache[alloc_.count++] = netmem;
    } while (alloc_.count < kAllocCacheRefill);
    if (PAGEPOOL_UNLIKELY(alloc_.count == 0)) return Netmem{};
    inc(alloc_stats_.refill);
    return alloc_.cache[--alloc_.count];
  }

  /// __page_pool_alloc_netmems_slow: 64 pages from the allocator, or one of a higher order.
  __attribute__((noinline)) Netmem alloc_netmems_slow() {
    [[maybe_unused]] auto scope = env_.function("page_pool_alloc_pages_slow");
    if (PAGEPOOL_UNLIKELY(params_.order != 0)) return alloc_page_order();
    std::array<Netmem, kAllocCacheRefill> pages;
    unsigned got = env_.alloc_pages_bulk(*this, params_.nid, std::span(pages));
    bool map = dma_map();
    for (unsigned i = 0; i < got; ++i) {
      if (PAGEPOOL_UNLIKELY(!take_in(pages[i], map))) {
        env_.put_page(pages[i]);
        continue;
      }
      enter_pool(pages[i]);
      env_.store(alloc_.cache[alloc_.count]);
      alloc_.cache[alloc_.count++] = pages[i];
    }
    if (PAGEPOOL_UNLIKELY(alloc_.count == 0)) return Netmem{};
    inc(alloc_stats_.slow);
    return alloc_.cache[--alloc_.count];
  }

  /// __page_pool_alloc_page_order.
  Netmem alloc_page_order() {
    Netmem netmem = env_.alloc_page(*this, params_.nid, params_.order);
    if (PAGEPOOL_UNLIKELY(!netmem)) return Netmem{};
    if (PAGEPOOL_UNLIKELY(!take_in(netmem, dma_map()))) {
      env_.put_page(netmem);
      return Netmem{};
    }
    inc(alloc_stats_.slow_high_order);
    enter_pool(netmem);
    return netmem;
  }

  /// What a fresh page needs before it enters. False: nothing of it is left.
  bool take_in(Netmem netmem, bool map) {
    if (map && !map_page(netmem)) return false;
    if (PAGEPOOL_LIKELY(strategy_.enter(*this, netmem))) return true;
    if (map) unmap_page(netmem);
    return false;
  }

  /// page_pool_set_pp_info and the hold count.
  void enter_pool(Netmem netmem) {
    env_.set_pp_info(netmem, this);
    if (params_.init_callback) params_.init_callback(netmem, params_.init_arg);
    env_.store(hold_cnt_);
    hold_cnt_.inc();
    env_.trace_state_hold(*this, netmem, hold_cnt());
  }

  /// page_pool_dma_map.
  bool map_page(Netmem netmem) {
    DmaAddr addr = 0;
    if (!env_.dma_map(*this, netmem, page_bytes(), params_.dma_dir, addr)) return false;
    env_.set_dma_addr(netmem, addr);
    if (PAGEPOOL_UNLIKELY(!strategy_.map(*this, netmem))) {
      env_.set_dma_addr(netmem, 0);
      env_.dma_unmap(*this, netmem, addr, page_bytes(), params_.dma_dir);
      return false;
    }
    strategy_.sync_for_device(*this, netmem, params_.max_len);
    return true;
  }

  /// page_pool_drain_frag: the pool's own share of a used-up fragment page. Not null: nobody else had a
  /// share, the page can be cut again.
  Netmem drain_frag(Netmem netmem) {
    if (unref_netmem(netmem, kBiasMax - frag_users_) != 0) return Netmem{};
    if (can_be_recycled(netmem)) {
      strategy_.sync_for_device(*this, netmem, ~0u);
      return netmem;
    }
    put_side_release(netmem);
    return Netmem{};
  }
  /// page_pool_free_frag: the same, at destroy.
  void free_frag() {
    Netmem netmem = frag_page_;
    frag_page_ = Netmem{};
    if (netmem && unref_netmem(netmem, kBiasMax - frag_users_) == 0) return_page(netmem);
  }

  // --- Return
  // -------------------------------------------------------------------------------------------------

  /// page_pool_napi_local: this softirq is the one that owns the cache.
  [[gnu::always_inline]] inline bool napi_local() {
    if (PAGEPOOL_UNLIKELY(!env_.in_softirq())) return false;
    int cpu = env_.smp_processor_id();
    env_.load(cpuid_);
    if (cpuid_.load(std::memory_order_relaxed) == cpu) return true;
    Napi* napi = napi_.load(std::memory_order_relaxed);
    if (!napi) return false;
    env_.load(napi->list_owner);
    return napi->list_owner.load(std::memory_order_relaxed) == cpu;
  }

  /// __page_pool_page_can_be_recycled: nobody but the pool has a reference, and the page is no emergency
  /// reserve.
  bool can_be_recycled(Netmem netmem) {
    return env_.page_ref_count(netmem) == 1 && !env_.is_pfmemalloc(netmem);
  }

  /// __page_pool_put_page: into the cache, or to be put into the ring (returned), or out of the pool.
  [[gnu::always_inline]] inline Netmem put_page(Netmem netmem, unsigned dma_sync_size, bool allow_direct) {
    env_.page_back(netmem);  // before another consumer can have it
    if (PAGEPOOL_LIKELY(can_be_recycled(netmem))) {
      strategy_.sync_for_device(*this, netmem, dma_sync_size);
      if (allow_direct && recycle_in_cache(netmem)) return Netmem{};
      return netmem;
    }
    recycle().released_refcnt.inc();
    env_.trace_recycle(*this, netmem, RecycleOutcome::released_refcnt);
    put_side_release(netmem);
    return Netmem{};
  }

  bool recycle_in_cache(Netmem netmem) {
    env_.load(alloc_.count);
    if (PAGEPOOL_UNLIKELY(alloc_.count == kAllocCacheSize)) {
      recycle().cache_full.inc();
      return false;
    }
    env_.store(alloc_.cache[alloc_.count]);
    env_.store(alloc_.count);
    alloc_.cache[alloc_.count++] = netmem;
    recycle().cached.inc();
    env_.trace_recycle(*this, netmem, RecycleOutcome::cached);
    return true;
  }

  /// page_pool_recycle_in_ring.
  bool recycle_in_ring(Netmem netmem) {
    bool in_softirq = producer_lock();
    bool produced = ring_.produce(netmem);
    if (produced) {
      env_.trace_recycle(*this, netmem, RecycleOutcome::ring);
      if (version_.waits_for_producers) recycle().ring.inc();
    }
    producer_unlock(in_softirq);
    // Before 6.16 the statistic came last, when the page may have been consumed and the pool freed.
    if (produced && !version_.waits_for_producers) recycle().ring.inc();
    return produced;
  }

  /// page_pool_recycle_ring_bulk: one lock for all; what does not fit counts ring_full once and leaves the
  /// pool outside the lock.
  void recycle_ring_bulk(std::span<Netmem> bulk) {
    std::size_t i = 0;
    bool in_softirq = producer_lock();
    while (i < bulk.size() && ring_.produce(bulk[i])) {
      env_.trace_recycle(*this, bulk[i], RecycleOutcome::ring);
      ++i;
    }
    if (i < bulk.size()) recycle().ring_full.inc();
    recycle().ring.inc(i);
    producer_unlock(in_softirq);
    for (; i < bulk.size(); ++i) {
      env_.trace_recycle(*this, bulk[i], RecycleOutcome::ring_full);
      put_side_release(bulk[i]);
    }
  }

  /// page_pool_producer_lock: bottom halves are off already in softirq.
  bool producer_lock() {
    bool in_softirq = env_.in_softirq();
    if (in_softirq) {
      env_.spin_lock(ring_.producer_lock());
    } else {
      env_.spin_lock_bh(ring_.producer_lock());
    }
    return in_softirq;
  }
  void producer_unlock(bool in_softirq) {
    if (in_softirq) {
      env_.spin_unlock(ring_.producer_lock());
    } else {
      env_.spin_unlock_bh(ring_.producer_lock());
    }
  }

  /// A page leaves the pool in the context of whoever returned it.
  void put_side_release(Netmem netmem) {
    strategy_.put_side_release(*this, netmem, [this, netmem] { return_page(netmem); });
  }

  // --- Destroy
  // ------------------------------------------------------------------------------------------------

  /// page_pool_release: empties what can be emptied; with nothing out, the pool is freed.
  int release() {
    [[maybe_unused]] auto scope = env_.function("page_pool_release");
    scrub();
    int inflight = inflight_strict();
    if (version_.waits_for_producers) producer_unlock(producer_lock());
    if (inflight == 0) free();
    return inflight;
  }

  /// page_pool_inflight(strict): with trace and warning.
  int inflight_strict() {
    env_.load(release_cnt_);
    std::uint32_t release = release_cnt_.load(std::memory_order_acquire);
    int inflight = static_cast<int>(hold_cnt() - release);
    env_.trace_release(*this, inflight, hold_cnt(), release, destroy_cnt());
    if (PAGEPOOL_UNLIKELY(inflight < 0)) env_.warn(*this, Warning::negative_inflight, inflight, 0);
    return inflight;
  }

  /// page_pool_scrub. The cache is emptied only the first time: after that no consumer may touch it.
  void scrub() {
    [[maybe_unused]] auto scope = env_.function("page_pool_scrub");
    bool first = destroy_cnt() == 0;
    if (first)
      while (alloc_.count != 0) return_page(alloc_.cache[--alloc_.count]);
    env_.store_plain(destroy_cnt_, "pool->destroy_cnt");
    destroy_cnt_.fetch_add(1, std::memory_order_seq_cst);
    if (first) strategy_.destroy_scrub(*this);
    empty_ring();
  }

  /// page_pool_empty_ring.
  void empty_ring() {
    [[maybe_unused]] auto scope = env_.function("page_pool_empty_ring");
    while (Netmem netmem = ring_.consume_bh()) {
      int count = env_.page_ref_count(netmem);
      if (PAGEPOOL_UNLIKELY(count != 1)) env_.warn(*this, Warning::refcnt_violation, count, 0);
      return_page(netmem);
    }
  }

  /// __page_pool_destroy.
  void free() {
    if (disconnect_) disconnect_(disconnect_arg_);
    env_.unlist_pool(*this);
    uninit();
    env_.free_pool(this);
  }

  RecycleStats& recycle() { return env_.this_cpu_stats(recycle_stats_); }
  void inc(Counter& counter) {
    env_.store(counter);
    counter.inc();
  }

  // In the kernel's order of cache lines: parameters, what the consumer writes, the cache, the ring, the
  // rest.
  Env& env_;
  [[no_unique_address]] Version version_;
  Params params_;
  std::atomic<Napi*> napi_{nullptr};
  std::atomic<int> cpuid_{-1};
  std::atomic<bool> dma_map_{false};
  std::atomic<bool> dma_sync_{false};
  MemoryProvider<PagePool>* provider_ = nullptr;
  RecycleStats* recycle_stats_ = nullptr;  // per core
  [[no_unique_address]] Strategy strategy_;

  alignas(64) Counter hold_cnt_;
  std::int64_t frag_users_ = 0;
  Netmem frag_page_{};
  unsigned frag_offset_ = 0;
  AllocStats alloc_stats_;
  struct alignas(64) {
    unsigned count = 0;
    std::array<Netmem, kAllocCacheSize> cache;
  } alloc_;

  PtrRing<Netmem, Env> ring_;
  alignas(64) std::atomic<std::uint32_t> release_cnt_{0};
  std::atomic<int> user_cnt_{0};
  std::atomic<std::uint64_t> destroy_cnt_{0};
  std::atomic<const Netdev*> netdev_{nullptr};
  unsigned id_ = 0;
  bool counted_ = false;  // memory_new() was done
  std::uint64_t detach_time_ms_ = 0;
  std::uint64_t defer_start_ms_ = 0;
  std::uint64_t defer_warn_ms_ = 0;
  void (*disconnect_)(void*) = nullptr;
  void* disconnect_arg_ = nullptr;
};

}  // namespace pagepool
