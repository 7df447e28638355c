// SPDX-License-Identifier: Apache-2.0
// NativeEnv: page_pool on real threads with real atomics, for stress tests under the sanitizers, for
// benchmarks, and for whoever wants a page recycler in user space. Header-only: link
// poolsim::pagepool.
//
//   pagepool::NativeEnv env(16384);                           // pages
//   using Pool = pagepool::NativePool<pagepool::V618>;
//   int err; Pool* pool = Pool::create(env, {.pool_size = 1024}, -1, err);
//   pagepool::NativeEnv::enter_cpu(0, true);                   // this thread is the softirq of core 0
//   auto page = pool->alloc_netmems();  ...  pool->put_full_netmem(page, true);
//   pool->destroy();  while (env.run_delayed_work() != 0) {}   // until no pool waits for its pages
//
// A thread says which core it stands for; two threads must not stand for one core at a time. Pages are
// descriptors (struct page) without bytes. The DMA API is a set of counters that notices unmaps of what is
// not mapped, and unmaps and syncs that come after the driver has left the device.
//
// Callers that break the rules are reported (reports(): what, which pool, whose page) and their put is
// dropped: a page of another pool, of none any more, or one that lies in the pool already. The memory of a
// freed pool is kept until the environment goes (keep_freed_pools), so that a late put() finds an object that
// knows it is dead. Two threads that put one page at the very same time may both pass; then `Negative(%d)
// inflight` tells at the end, and nothing is undefined. Calling alloc functions of a freed pool is not
// covered.
#pragma once
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <thread>
#include <vector>

#include "kernel/mapping_hash.h"
#include "pagepool/page_pool.h"
#include "pagepool/strategies/stock.h"
#include "pagepool/strategies/xarray_merged.h"

namespace pagepool {

/// struct page and struct net_iov as far as page_pool looks at them (netmem_desc).
struct alignas(64) NativePage {
  std::atomic<std::uint64_t> pp_magic{0};
  std::atomic<void*> pp{nullptr};
  std::atomic<std::uint64_t> dma_addr{0};
  std::atomic<std::int64_t> pp_ref_count{0};
  std::atomic<int> ref_count{0};
  std::atomic<int> pool_id{0};  ///< of the pool that `pp` is; 0 = none
  std::atomic<bool> mapped{false};
  std::atomic<bool> idle{false};  ///< lies in the cache or the ring of its pool
  bool pfmemalloc = false;
  bool free = true;  ///< lies with the allocator; under its lock
  std::int16_t nid = 0;
  std::atomic<const void*> pool_type{nullptr};
};
static_assert(sizeof(NativePage) == 64);

/// netmem_ref: a page, or with bit 0 set a net_iov.
struct NativeNetmem {
  std::uintptr_t word = 0;
  NativeNetmem() = default;
  explicit NativeNetmem(NativePage* page, bool net_iov = false)
      : word(reinterpret_cast<std::uintptr_t>(page) | (net_iov ? 1 : 0)) {}
  explicit operator bool() const { return word != 0; }
  bool operator==(const NativeNetmem&) const = default;
  bool is_net_iov() const { return (word & 1) != 0; }
  NativePage* desc() const { return reinterpret_cast<NativePage*>(word & ~std::uintptr_t{1}); }
};

/// What to do where threads may meet (a load or store of shared state, a lock, RCU): nothing.
struct NoInterleaving {
  static void point() {}
};

/// `Interleaving::point()` is called at every place where another thread may come between; a stress test
/// waits there for random times.
template <class Interleaving = NoInterleaving>
class BasicNativeEnv {
 public:
  using Netmem = NativeNetmem;
  /// What dma_map_page() counts for.
  struct Device {
    bool need_sync = true;
    std::atomic<bool> bound{true};      ///< a driver has the device: the DMA API may be called for it
    std::atomic<bool> detached{false};  ///< taken out of its IOMMU domain
    std::atomic<std::int64_t> mapped{0};
    std::atomic<std::uint64_t> syncs{0};
    std::atomic<std::uint64_t> bad_unmaps{0};   ///< of a page that was not mapped
    std::atomic<std::uint64_t> late_unmaps{0};  ///< for a device without a driver
    std::atomic<std::uint64_t> bad_syncs{0};    ///< of a page that was not mapped
  };
  static constexpr unsigned kMaxCpus = 64;

  /// A rule that a caller broke, or a warning of page_pool.c.
  struct Report {
    enum class What : std::uint8_t {
      foreign_pool,  ///< put into a pool that the page does not belong to
      not_in_pool,   ///< put of a page that is in no pool
      double_put,    ///< put of a page that lies in its pool
      double_free,   ///< put_page of a page that has no reference, or is with the allocator already
      warning        ///< of page_pool.c
    } what;
    Warning warning = Warning::negative_inflight;  ///< when what == warning
    int pool = 0;                                  ///< that was called
    int page_pool = 0;                             ///< that the page belongs to; 0 = none
    std::size_t page = 0;                          ///< number of the page; SIZE_MAX: a net_iov, or none
    int a = 0, b = 0;                              ///< numbers of the warning
    bool operator==(const Report&) const = default;
  };
  static constexpr std::size_t kMaxReports = 256;

  explicit BasicNativeEnv(std::size_t pages, int nid = 0)
      : arena_(std::make_unique<NativePage[]>(pages)), pages_(pages) {
    free_.reserve(pages);
    for (std::size_t i = pages; i-- > 0;) {
      arena_[i].nid = static_cast<std::int16_t>(nid);
      free_.push_back(&arena_[i]);
    }
  }
  ~BasicNativeEnv() {
    // Pools that never ended: somebody kept a page, or broke their count.
    for (auto [pool, destroy] : listed_) destroy(pool);
    for (auto [pool, destroy] : freed_) destroy(pool);
    for (RecycleStats* stats : stats_) delete[] stats;
  }
  BasicNativeEnv(const BasicNativeEnv&) = delete;
  BasicNativeEnv& operator=(const BasicNativeEnv&) = delete;

  /// Off: a freed pool is freed at once, so that AddressSanitizer and ThreadSanitizer see who still touches
  /// it.
  void keep_freed_pools(bool keep) { keep_freed_pools_ = keep; }

  /// This thread is core `cpu` from now on, in softirq context or not.
  static void enter_cpu(int cpu, bool softirq) {
    self().cpu = cpu;
    self().softirq = softirq;
  }

  // --- What a test looks at
  // -----------------------------------------------------------------------------------
  std::size_t free_pages() {
    Guard guard(*this, allocator_lock_);
    return free_.size();
  }
  std::size_t total_pages() const { return pages_; }
  std::uint64_t warnings() const { return warnings_.load(std::memory_order_relaxed); }
  /// Puts that were dropped.
  std::uint64_t misuses() const { return misuses_.load(std::memory_order_relaxed); }
  /// The first kMaxReports of both.
  std::vector<Report> reports() {
    std::lock_guard guard(report_mutex_);
    return reports_;
  }
  std::uint64_t freed_pools() const { return freed_pools_.load(std::memory_order_relaxed); }
  /// get_page / put_page of a holder outside the pool.
  void get_page(Netmem netmem) { netmem.desc()->ref_count.fetch_add(1, std::memory_order_relaxed); }
  const NativePage& page(std::size_t number) const { return arena_[number]; }

  /// Runs the release work of every pool that waits, whatever its due time. Returns how many still wait.
  std::size_t run_delayed_work() {
    std::vector<std::pair<void*, void (*)(void*)>> due;
    {
      std::lock_guard guard(work_mutex_);
      due.swap(work_);
    }
    for (auto [pool, retry] : due) retry(pool);
    now_ms_.fetch_add(kDeferTimeMs, std::memory_order_relaxed);
    std::lock_guard guard(work_mutex_);
    return work_.size();
  }

  // --- Memory and locks
  // ---------------------------------------------------------------------------------------
  class alignas(8) SpinLock {
   public:
    explicit SpinLock(const char* = "") {}
    void lock() {
      while (locked_.exchange(true, std::memory_order_acquire))
        for (unsigned spins = 0; locked_.load(std::memory_order_relaxed);)
          if (++spins > 256) std::this_thread::yield();
    }
    void unlock() { locked_.store(false, std::memory_order_release); }

   private:
    std::atomic<bool> locked_{false};
  };
  void spin_lock(SpinLock& lock) {
    Interleaving::point();
    lock.lock();
  }
  void spin_unlock(SpinLock& lock) {
    Interleaving::point();
    lock.unlock();
  }
  void spin_lock_bh(SpinLock& lock) { spin_lock(lock); }
  void spin_unlock_bh(SpinLock& lock) { spin_unlock(lock); }
  template <class T>
  void load(const T&) const {
    Interleaving::point();
  }
  template <class T>
  void look(const T&) const {
    Interleaving::point();
  }
  template <class T>
  void store(const T&) const {
    Interleaving::point();
  }
  static constexpr bool keeps_dma_sync() { return false; }
  template <class T>
  void look_plain(const T&, const char*) const {
    Interleaving::point();
  }
  template <class T>
  void load_plain(const T&, const char*) const {
    Interleaving::point();
  }
  template <class T>
  void store_plain(const T&, const char*) const {
    Interleaving::point();
  }
  template <class T>
  void rmw(const T&) const {
    Interleaving::point();
  }
  bool memory_new(const void*, std::size_t) { return true; }
  void memory_delete(const void*, std::size_t) {}
  struct Function {};
  Function function(const char*) { return {}; }

  // --- The pool object
  // ----------------------------------------------------------------------------------------
  bool alloc_pool() { return true; }
  bool alloc_ring(unsigned) { return true; }
  RecycleStats* alloc_recycle_stats(bool system) {
    if (system) return system_stats_;
    auto* stats = new RecycleStats[kMaxCpus];
    std::lock_guard guard(work_mutex_);
    stats_.push_back(stats);
    return stats;
  }
  void free_recycle_stats(RecycleStats* stats) {
    if (stats == system_stats_) return;
    if (keep_freed_pools_) return;  // they go with the environment, as their pool does
    {
      std::lock_guard guard(work_mutex_);
      std::erase(stats_, stats);
    }
    delete[] stats;
  }
  RecycleStats& this_cpu_stats(RecycleStats* stats) { return stats[self().cpu]; }
  template <class F>
  void for_each_cpu_stats(const RecycleStats* stats, F&& f) const {
    for (unsigned cpu = 0; cpu < kMaxCpus; ++cpu) f(stats[cpu]);
  }
  template <class Pool>
  int list_pool(Pool& pool, unsigned& id) {
    id = next_id_.fetch_add(1, std::memory_order_relaxed);
    std::lock_guard guard(work_mutex_);
    listed_.emplace_back(&pool, [](void* p) { delete static_cast<Pool*>(p); });
    return 0;
  }
  template <class Pool>
  void unlist_pool(Pool&) {}
  template <class Pool>
  void free_pool(Pool* pool) {
    {
      std::lock_guard guard(work_mutex_);
      std::erase_if(listed_, [pool](const auto& p) { return p.first == pool; });
    }
    if (keep_freed_pools_) {
      std::lock_guard guard(work_mutex_);
      freed_.emplace_back(pool, [](void* p) { delete static_cast<Pool*>(p); });
    } else {
      delete pool;
    }
    freed_pools_.fetch_add(1, std::memory_order_release);
  }

  // --- Pages
  // --------------------------------------------------------------------------------------------------
  template <class Pool>
  unsigned alloc_pages_bulk(Pool&, int, std::span<Netmem> pages) {
    Guard guard(*this, allocator_lock_);
    auto got = static_cast<unsigned>(std::min(pages.size(), free_.size()));
    for (unsigned i = 0; i < got; ++i) pages[i] = take();
    return got;
  }
  template <class Pool>
  Netmem alloc_page(Pool&, int, unsigned) {
    Guard guard(*this, allocator_lock_);
    return free_.empty() ? Netmem{} : take();
  }
  void put_page(Netmem netmem) {
    NativePage* page = netmem.desc();
    int before = page->ref_count.fetch_sub(1, std::memory_order_acq_rel);
    if (PAGEPOOL_UNLIKELY(before < 1)) report_misuse(Report::What::double_free, 0, page);
    if (before != 1) return;
    Guard guard(*this, allocator_lock_);
    if (PAGEPOOL_UNLIKELY(page->free)) {
      report_misuse(Report::What::double_free, 0, page);
    } else {
      page->free = true;
      free_.push_back(page);
    }
  }
  bool is_pref_nid(Netmem netmem, int nid) const { return netmem.is_net_iov() || netmem.desc()->nid == nid; }
  bool is_pfmemalloc(Netmem netmem) const { return !netmem.is_net_iov() && netmem.desc()->pfmemalloc; }
  int page_ref_count(Netmem netmem) const {
    return netmem.is_net_iov() ? 1 : netmem.desc()->ref_count.load(std::memory_order_acquire);
  }
  std::int64_t pp_ref_read(Netmem netmem) const {
    return netmem.desc()->pp_ref_count.load(std::memory_order_acquire);
  }
  void pp_ref_set(Netmem netmem, std::int64_t n) {
    netmem.desc()->pp_ref_count.store(n, std::memory_order_relaxed);
  }
  void pp_ref_inc(Netmem netmem) { netmem.desc()->pp_ref_count.fetch_add(1, std::memory_order_relaxed); }
  std::int64_t pp_ref_sub_return(Netmem netmem, std::int64_t n) {
    return netmem.desc()->pp_ref_count.fetch_sub(n, std::memory_order_acq_rel) - n;
  }
  template <class Pool>
  void set_pp_info(Netmem netmem, Pool* pool) {
    NativePage* page = netmem.desc();
    page->pp.store(pool, std::memory_order_relaxed);
    page->pool_id.store(static_cast<int>(pool->id()), std::memory_order_relaxed);
    page->pool_type.store(&kTypeOf<Pool>, std::memory_order_relaxed);
    page->pp_magic.fetch_or(kPageSignature, std::memory_order_relaxed);
    page->pp_ref_count.store(1, std::memory_order_relaxed);
  }
  void clear_pp_info(Netmem netmem) {
    netmem.desc()->pp_magic.store(0, std::memory_order_relaxed);
    netmem.desc()->pp.store(nullptr, std::memory_order_relaxed);
    netmem.desc()->pool_id.store(0, std::memory_order_relaxed);
    netmem.desc()->pool_type.store(nullptr, std::memory_order_relaxed);
    netmem.desc()->idle.store(false, std::memory_order_relaxed);
  }
  DmaAddr dma_addr(Netmem netmem) const { return netmem.desc()->dma_addr.load(std::memory_order_relaxed); }
  void set_dma_addr(Netmem netmem, DmaAddr addr) {
    netmem.desc()->dma_addr.store(addr, std::memory_order_relaxed);
  }
  std::uint32_t dma_index(Netmem netmem) const {
    return magic_dma_index(netmem.desc()->pp_magic.load(std::memory_order_relaxed));
  }
  void set_dma_index(Netmem netmem, std::uint32_t index) {
    std::uint64_t magic = netmem.desc()->pp_magic.load(std::memory_order_relaxed) & ~kDmaIndexMask;
    netmem.desc()->pp_magic.store(magic | std::uint64_t{index} << kDmaIndexShift, std::memory_order_relaxed);
  }
  static constexpr std::uint32_t dma_index_limit() { return UINT32_MAX; }
  template <class Pool>
  int track_fault(Pool&, Netmem) {
    return 0;
  }
  void page_back(Netmem netmem) { netmem.desc()->idle.store(true, std::memory_order_relaxed); }
  void page_out(Netmem netmem) { netmem.desc()->idle.store(false, std::memory_order_relaxed); }
  template <class Pool>
  bool check_put(Pool& pool, Netmem netmem) {
    const NativePage* page = netmem.desc();
    if (PAGEPOOL_LIKELY(page && page->pp.load(std::memory_order_relaxed) == &pool &&
                        !page->idle.load(std::memory_order_relaxed)))
      return true;
    report_put(static_cast<int>(pool.id()), page, page && page->pp.load(std::memory_order_relaxed) == &pool);
    return false;
  }
  /// The pool that a page belongs to, or null: also when it is a pool of another type.
  template <class Pool>
  static Pool* pool_of(Netmem netmem) {
    const NativePage* page = netmem.desc();
    if (!page || page->pool_type.load(std::memory_order_relaxed) != &kTypeOf<Pool>) return nullptr;
    return static_cast<Pool*>(page->pp.load(std::memory_order_relaxed));
  }
  /// page_pool_put_netmem_bulk of 6.18: pages without a pool are reported and left alone.
  template <class Pool>
  void put_netmem_bulk(std::span<Netmem> pages) {
    Pool::put_netmem_bulk_over_pools(pages, [this](Netmem netmem) {
      Pool* pool = pool_of<Pool>(netmem);
      if (PAGEPOOL_UNLIKELY(!pool)) report_put(0, netmem.desc(), false);
      return pool;
    });
  }

  // --- DMA
  // ----------------------------------------------------------------------------------------------------
  template <class Pool>
  bool dma_map(Pool& pool, Netmem netmem, std::size_t, DmaDirection, DmaAddr& addr) {
    addr = reinterpret_cast<std::uintptr_t>(netmem.desc());
    netmem.desc()->mapped.store(true, std::memory_order_relaxed);
    if (tracked_ && !tracked_->add({pool.dev(), bus_address(addr), addr, kPageSize, 0, 0})) {
      netmem.desc()->mapped.store(false, std::memory_order_relaxed);
      return false;
    }
    pool.dev()->mapped.fetch_add(1, std::memory_order_relaxed);
    return true;
  }
  template <class Pool>
  void dma_unmap(Pool& pool, Netmem, DmaAddr addr, std::size_t, DmaDirection) {
    Interleaving::point();
    if (tracked_ && !tracked_->take(pool.dev(), bus_address(addr), kPageSize)) return;
    auto* page = reinterpret_cast<NativePage*>(static_cast<std::uintptr_t>(addr));
    if (!pool.dev()->bound.load(std::memory_order_relaxed))
      pool.dev()->late_unmaps.fetch_add(1, std::memory_order_relaxed);
    if (page && page->mapped.exchange(false, std::memory_order_acq_rel)) {
      pool.dev()->mapped.fetch_sub(1, std::memory_order_relaxed);
    } else {
      pool.dev()->bad_unmaps.fetch_add(1, std::memory_order_relaxed);
    }
  }
  template <class Pool>
  void dma_sync_for_device(Pool& pool, DmaAddr addr, std::uint64_t, std::uint64_t) {
    Interleaving::point();
    if (tracked_ && !tracked_->find_containing(pool.dev(), bus_address(addr))) return;
    const auto* page = reinterpret_cast<const NativePage*>(static_cast<std::uintptr_t>(addr));
    if (!page || !page->mapped.load(std::memory_order_relaxed))
      pool.dev()->bad_syncs.fetch_add(1, std::memory_order_relaxed);
    pool.dev()->syncs.fetch_add(1, std::memory_order_relaxed);
  }
  template <class Pool>
  void dma_sync_for_cpu(Pool& pool, DmaAddr addr, std::uint64_t offset, std::uint64_t size) {
    dma_sync_for_device(pool, addr, offset, size);
  }
  /// The DMA API that tracks mappings by itself (kernel/mapping_hash.h). Before threads meet.
  bool dma_track_mappings() {
    if (!tracked_) tracked_ = std::make_unique<kernel::MappingHash<HashMemory>>(hash_memory_, 65536);
    return true;
  }
  std::uint64_t dma_tracking_bytes() const { return tracked_ ? tracked_->bytes() : 0; }
  /// The driver core: the driver leaves the device.
  void driver_unbound(Device& device) {
    if (tracked_) {
      tracked_->take_all(&device, [&](const kernel::TrackedMapping& m) {
        auto* page = reinterpret_cast<NativePage*>(static_cast<std::uintptr_t>(m.phys));
        if (page->mapped.exchange(false, std::memory_order_acq_rel))
          device.mapped.fetch_sub(1, std::memory_order_relaxed);
      });
    }
    device.bound.store(false, std::memory_order_relaxed);
  }
  /// Bulk unmap: a mapping of this environment is a page's flag, and all are the device's.
  void dma_unmap_all(Device& device) {
    for (std::size_t i = 0; i < pages_; ++i) {
      Interleaving::point();
      if (arena_[i].mapped.exchange(false, std::memory_order_acq_rel))
        device.mapped.fetch_sub(1, std::memory_order_relaxed);
    }
  }
  static constexpr std::uint64_t dma_unmap_all_bytes() { return 0; }
  void iommu_detach_device(Device& device) { device.detached.store(true, std::memory_order_relaxed); }
  bool dma_dev_need_sync(const Device* device) const { return device->need_sync; }
  static constexpr unsigned dma_cache_alignment() { return 1; }

  // --- Context, RCU, time
  // -------------------------------------------------------------------------------------
  bool in_softirq() const { return self().softirq; }
  int smp_processor_id() const { return self().cpu; }
  int numa_mem_id() const { return 0; }
  void rcu_read_lock() {
    Interleaving::point();
    auto& me = rcu_[self().cpu];
    if (me.nesting++ == 0)
      me.entered.store(rcu_epoch_.load(std::memory_order_relaxed), std::memory_order_seq_cst);
  }
  void rcu_read_unlock() {
    auto& me = rcu_[self().cpu];
    if (--me.nesting == 0) me.entered.store(0, std::memory_order_release);
  }
  /// Waits for every reader that entered before.
  void synchronize_rcu() {
    std::uint64_t epoch = rcu_epoch_.fetch_add(1, std::memory_order_seq_cst) + 1;
    for (auto& reader : rcu_) {
      while (true) {
        std::uint64_t entered = reader.entered.load(std::memory_order_seq_cst);
        if (entered == 0 || entered >= epoch) break;
        std::this_thread::yield();
      }
    }
  }
  void synchronize_net() { synchronize_rcu(); }
  void cond_resched() { std::this_thread::yield(); }
  void msleep(std::uint64_t ms) { std::this_thread::sleep_for(std::chrono::milliseconds(ms)); }

  /// for_each_online_page of a scan: f(netmem) for every page in order, until f returns false.
  template <class F>
  std::uint64_t for_each_online_page(F&& f, bool schedulable = false) {
    for (std::size_t i = 0; i < pages_; ++i) {
      Interleaving::point();
      if (schedulable && i % 1024 == 0) cond_resched();
      if (!f(Netmem(&arena_[i]))) return i + 1;
    }
    return pages_;
  }
  template <class Pool>
  bool belongs_to_pool(const Pool& pool, Netmem netmem) const {
    const NativePage& page = *netmem.desc();
    return page.ref_count.load(std::memory_order_acquire) != 0 &&
           has_signature(page.pp_magic.load(std::memory_order_relaxed)) &&
           page.pp.load(std::memory_order_relaxed) == &pool;
  }
  void get_online_mems() {}  // this memory stays
  void put_online_mems() {}
  static constexpr bool debug_net() { return false; }
  std::uint64_t now_ms() const { return now_ms_.load(std::memory_order_relaxed); }
  template <class Pool>
  void schedule_delayed_work(Pool& pool, std::uint64_t) {
    std::lock_guard guard(work_mutex_);
    work_.emplace_back(&pool, [](void* p) { static_cast<Pool*>(p)->release_retry(); });
  }

  // --- Tracepoints
  // --------------------------------------------------------------------------------------------
  template <class Pool>
  void warn(Pool& pool, Warning what, int a, int b) {
    warnings_.fetch_add(1, std::memory_order_relaxed);
    report({Report::What::warning, what, static_cast<int>(pool.id()), 0, SIZE_MAX, a, b});
  }
  template <class Pool>
  void warn_once(Pool& pool, Warning what, int a, int b) {
    warn(pool, what, a, b);
  }
  template <class... A>
  void trace_state_hold(const A&...) {}
  template <class... A>
  void trace_state_release(const A&...) {}
  template <class... A>
  void trace_release(const A&...) {}
  template <class... A>
  void trace_recycle(const A&...) {}
  template <class... A>
  void trace_update_nid(const A&...) {}
  template <class... A>
  void trace_detached(const A&...) {}

 private:
  struct Self {
    int cpu = 0;
    bool softirq = true;
  };
  static Self& self() {
    static thread_local constinit Self self;
    return self;
  }
  /// Its address tells pool types apart.
  template <class Pool>
  static constexpr char kTypeOf = 0;
  void report(const Report& what) {
    std::lock_guard guard(report_mutex_);
    if (reports_.size() < kMaxReports) reports_.push_back(what);
  }
  __attribute__((noinline)) void report_put(int pool, const NativePage* page, bool ours) {
    using What = typename Report::What;
    bool has_pool = page && page->pool_id.load(std::memory_order_relaxed) != 0;
    report_misuse(ours ? What::double_put : has_pool ? What::foreign_pool : What::not_in_pool, pool, page);
  }
  void report_misuse(typename Report::What what, int pool, const NativePage* page) {
    misuses_.fetch_add(1, std::memory_order_relaxed);
    int owner = page ? page->pool_id.load(std::memory_order_relaxed) : 0;
    std::size_t number = page >= arena_.get() && page < arena_.get() + pages_
                             ? static_cast<std::size_t>(page - arena_.get())
                             : SIZE_MAX;
    report({what, {}, pool, owner, number});
  }

  struct Guard {
    Guard(BasicNativeEnv&, SpinLock& l) : lock(l) { lock.lock(); }
    ~Guard() { lock.unlock(); }
    SpinLock& lock;
  };
  Netmem take() {
    NativePage* page = free_.back();
    free_.pop_back();
    page->free = false;
    page->ref_count.store(1, std::memory_order_relaxed);
    return Netmem(page);
  }

  std::unique_ptr<NativePage[]> arena_;
  std::size_t pages_;
  /// The table of dma_track_mappings(): real locks, no cost of its own.
  struct HashMemory {
    using Lock = SpinLock;
    void lock(SpinLock& l) {
      Interleaving::point();
      l.lock();
    }
    void unlock(SpinLock& l) { l.unlock(); }
    void load(std::uint32_t) {}
    void store(std::uint32_t) {}
  };
  /// Pages lie one behind the other for the device.
  std::uint64_t bus_address(DmaAddr addr) const {
    return static_cast<std::uint64_t>(reinterpret_cast<const NativePage*>(static_cast<std::uintptr_t>(addr)) -
                                      arena_.get())
           << kPageShift;
  }
  HashMemory hash_memory_;
  std::unique_ptr<kernel::MappingHash<HashMemory>> tracked_;

  alignas(64) SpinLock allocator_lock_;
  std::vector<NativePage*> free_;
  RecycleStats system_stats_[kMaxCpus];
  std::atomic<unsigned> next_id_{1};
  std::atomic<std::uint64_t> warnings_{0}, freed_pools_{0}, now_ms_{0};
  std::atomic<std::uint64_t> misuses_{0};
  std::mutex report_mutex_;
  std::vector<Report> reports_;
  bool keep_freed_pools_ = true;
  std::vector<std::pair<void*, void (*)(void*)>> listed_, freed_;  // under work_mutex_, like work_
  std::vector<RecycleStats*> stats_;                               // the same
  std::mutex work_mutex_;
  std::vector<std::pair<void*, void (*)(void*)>> work_;
  struct alignas(64) RcuReader {
    std::atomic<std::uint64_t> entered{0};  // epoch at the outermost rcu_read_lock; 0 = outside
    unsigned nesting = 0;                   // of the core's own thread
  };
  RcuReader rcu_[kMaxCpus];
  std::atomic<std::uint64_t> rcu_epoch_{1};
};

using NativeEnv = BasicNativeEnv<>;
template <class Version, template <class, class> class Strategy = XarrayMerged>
using NativePool = PagePool<NativeEnv, Version, Strategy>;

}  // namespace pagepool
