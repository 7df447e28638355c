// SPDX-License-Identifier: Apache-2.0
// ScriptEnv: the world of a "pool script": pages with ids, an allocator, DMA addresses and contexts that the
// script sets, with failures injected at its word. Single-threaded; every effect becomes an event line. Pages
// are never reused, so that a script may keep a handle on a freed page for ever.
#pragma once
#include <fmt/format.h>

#include <cerrno>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "pagepool/host_memory.h"
#include "pagepool/page_pool.h"
#include "pagepool/strategies/stock.h"
#include "pagepool/strategies/xarray_merged.h"
#include "testbenches/conform/pool_events.h"

namespace conform {

/// One page, or one block of higher order.
struct ScriptPage {
  std::uint64_t id = 0;
  int node = 0;
  bool pfmemalloc = false;
  int ref_count = 1;
  int extra_refs = 0;  // taken by the script
  std::int64_t pp_ref_count = 0;
  std::uint64_t dma_addr = 0;
  std::uint32_t dma_index = 0;
  void* pp = nullptr;  // the pool
};

/// The device of one pool; maps[] are its live mappings, by page id.
struct ScriptDevice {
  int slot = 0;
  std::set<std::uint64_t> maps;
  const char* when = "live";  // live, destroy, after
};

/// SKIP the next so many, then COUNT are hit.
struct Injection {
  std::uint64_t skip = 0, count = 0;
  bool hits() {
    if (skip > 0) {
      --skip;
      return false;
    }
    if (count == 0) return false;
    --count;
    return true;
  }
};

class ScriptEnv : public pagepool::HostMemory {
 public:
  using Netmem = ScriptPage*;
  using Device = ScriptDevice;

  // --- Set by the script
  // --------------------------------------------------------------------------------------
  bool softirq = true;
  int cpu = 0;
  int local_node = 0;
  bool need_sync = true;
  unsigned dma_align = 1;
  std::uint64_t time_ms = 0;
  Injection inj_nid, inj_pfm, inj_map, inj_track;
  int inj_nid_node = 0;
  int inj_track_errno = 0;
  std::uint64_t inj_fail = 0;
  bool inj_bulk_armed = false;
  unsigned inj_bulk = 0;
  enum class Kmem { off, pool, stats, ring, list } inj_kmem = Kmem::off;

  PoolEvents events;

  // --- What the runner reads
  // ----------------------------------------------------------------------------------
  ScriptPage* page(std::uint64_t id) { return &pages_[id - 1]; }
  bool is_freed(const ScriptPage& page) const { return page.ref_count == 0; }
  void get_page(ScriptPage& page) {
    ++page.ref_count;
    ++page.extra_refs;
  }
  /// Due time of the release work of the pool on `slot`, or none.
  std::map<int, std::uint64_t>& work() { return work_; }
  /// Told when a pool object goes.
  void (*pool_gone)(void* arg, int slot) = nullptr;
  void* pool_gone_arg = nullptr;

  // --- Called by the pool
  // -------------------------------------------------------------------------------------
  bool alloc_pool() { return !kmem_fails(Kmem::pool); }
  pagepool::RecycleStats* alloc_recycle_stats(bool system) {
    if (system) return &system_stats_;
    return kmem_fails(Kmem::stats) ? nullptr : &pool_stats_.emplace_back();
  }
  void free_recycle_stats(pagepool::RecycleStats*) {}  // kept to the end of the world, like the pages
  pagepool::RecycleStats& this_cpu_stats(pagepool::RecycleStats* stats) { return *stats; }
  template <class F>
  void for_each_cpu_stats(const pagepool::RecycleStats* stats, F&& f) const {
    f(*stats);
  }
  bool alloc_ring(unsigned) { return !kmem_fails(Kmem::ring); }
  template <class Pool>
  int list_pool(Pool&, unsigned& id) {
    if (kmem_fails(Kmem::list)) return -ENOMEM;
    id = ++created_;
    return 0;
  }
  template <class Pool>
  void unlist_pool(Pool& pool) {
    pagepool::StatsSnapshot s = pool.stats();
    events.plain(fmt::format("released p{} hold={} release={} stats=[{}] maps={}", pool.dev()->slot,
                             pool.hold_cnt(), pool.release_cnt(), format_stats(s), pool.dev()->maps.size()));
  }
  template <class Pool>
  void free_pool(Pool* pool) {
    int slot = pool->dev() ? pool->dev()->slot : -1;
    delete pool;
    if (slot >= 0 && pool_gone) pool_gone(pool_gone_arg, slot);
  }

  template <class Pool>
  unsigned alloc_pages_bulk(Pool&, int nid, std::span<Netmem> pages) {
    if (allocator_fails(0, pages.size())) return 0;
    std::size_t got = pages.size();
    if (inj_bulk_armed && inj_bulk < got) got = inj_bulk;
    for (std::size_t i = 0; i < got; ++i) pages[i] = new_page(nid, 0);
    if (inj_bulk_armed) {
      inj_bulk_armed = false;
      if (got < pages.size()) events.plain(fmt::format("short got={} want={}", got, pages.size()));
    }
    return static_cast<unsigned>(got);
  }
  template <class Pool>
  Netmem alloc_page(Pool&, int nid, unsigned order) {
    return allocator_fails(order, 1) ? nullptr : new_page(nid, order);
  }
  void put_page(Netmem page);
  bool is_pref_nid(Netmem page, int nid) const { return page->node == nid; }
  bool is_pfmemalloc(Netmem page) const { return page->pfmemalloc; }
  int page_ref_count(Netmem page) const { return page->ref_count; }
  std::int64_t pp_ref_read(Netmem page) const { return page->pp_ref_count; }
  void pp_ref_set(Netmem page, std::int64_t n) { page->pp_ref_count = n; }
  void pp_ref_inc(Netmem page) { ++page->pp_ref_count; }
  std::int64_t pp_ref_sub_return(Netmem page, std::int64_t n) { return page->pp_ref_count -= n; }
  template <class Pool>
  void set_pp_info(Netmem page, Pool* pool) {
    page->pp = pool;
    page->pp_ref_count = 1;
  }
  void clear_pp_info(Netmem page) {
    page->pp = nullptr;
    if (page->dma_index != 0) events.plain("warn dma_index_left");
  }
  std::uint64_t dma_addr(Netmem page) const { return page->dma_addr; }
  void set_dma_addr(Netmem page, std::uint64_t addr) { page->dma_addr = addr; }
  std::uint32_t dma_index(Netmem page) const { return page->dma_index; }
  void set_dma_index(Netmem page, std::uint32_t index) { page->dma_index = index; }
  static constexpr std::uint32_t dma_index_limit() { return UINT32_MAX; }
  void page_back(Netmem) {}
  void page_out(Netmem) {}
  template <class Pool>
  bool check_put(Pool&, Netmem) {
    return true;  // the runner checks handles
  }

  template <class Pool>
  bool dma_map(Pool& pool, Netmem page, std::size_t size, pagepool::DmaDirection dir, std::uint64_t& addr) {
    bool fails = inj_map.hits();
    events.page(fmt::format("{} p{}", fails ? "mapfail" : "map", pool.dev()->slot), page->id,
                map_tail(*pool.dev(), size, dir));
    if (fails) return false;
    addr = kDmaBase + page->id * kDmaStep;
    if (pool.dev()->maps.insert(page->id).second) ++mapped_[page->id];
    return true;
  }
  template <class Pool>
  void dma_unmap(Pool& pool, Netmem, std::uint64_t addr, std::size_t size, pagepool::DmaDirection dir) {
    std::uint64_t id = (addr - kDmaBase) / kDmaStep;
    if (pool.dev()->maps.erase(id) != 0 && --mapped_[id] == 0) mapped_.erase(id);
    events.page(fmt::format("unmap p{}", pool.dev()->slot), id, map_tail(*pool.dev(), size, dir));
  }
  template <class Pool>
  void dma_sync_for_device(Pool& pool, std::uint64_t addr, std::uint64_t offset, std::uint64_t size) {
    sync_event("sync", pool, addr + offset, size);
  }
  template <class Pool>
  void dma_sync_for_cpu(Pool& pool, std::uint64_t addr, std::uint64_t offset, std::uint64_t size) {
    sync_event("synccpu", pool, addr + offset, size);
  }
  bool dma_dev_need_sync(ScriptDevice*) const { return need_sync; }
  unsigned dma_cache_alignment() const { return dma_align; }

  bool in_softirq() const { return softirq; }
  int smp_processor_id() const { return cpu; }
  int numa_mem_id() const { return local_node; }
  void rcu_read_lock() {}
  void rcu_read_unlock() {}
  void synchronize_net() {}
  std::uint64_t now_ms() const { return time_ms; }
  template <class Pool>
  void schedule_delayed_work(Pool& pool, std::uint64_t delay_ms) {
    work_[pool.dev()->slot] = time_ms + delay_ms;
  }

  template <class Pool>
  int track_fault(Pool&, Netmem page) {
    if (!inj_track.hits()) return 0;
    events.page("trackfail", page->id, inj_track_errno == EBUSY ? " EBUSY" : " ENOMEM");
    return -inj_track_errno;
  }
  template <class Pool>
  void warn(Pool& pool, pagepool::Warning what, int a, int b) {
    warn_event(what, a, b, pool.id());
  }
  template <class Pool>
  void warn_once(Pool& pool, pagepool::Warning what, int a, int b) {
    if (warned_.insert(what).second) warn(pool, what, a, b);
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

  static std::string format_stats(const pagepool::StatsSnapshot& s);

 private:
  static constexpr std::uint64_t kDmaBase = 0x100000000, kDmaStep = 0x1000000;

  bool kmem_fails(Kmem what) {
    if (inj_kmem != what) return false;
    inj_kmem = Kmem::off;
    return true;
  }
  bool allocator_fails(unsigned order, std::size_t want);
  ScriptPage* new_page(int nid, unsigned order);
  static std::string map_tail(const ScriptDevice& dev, std::size_t size, pagepool::DmaDirection dir);
  void warn_event(pagepool::Warning what, int a, int b, unsigned pool_id);
  template <class Pool>
  void sync_event(const char* kind, Pool& pool, std::uint64_t addr, std::uint64_t len) {
    std::uint64_t id = (addr - kDmaBase) / kDmaStep;
    events.page(fmt::format("{} p{}", kind, pool.dev()->slot), id,
                fmt::format(" off={} len={} dir={} mapped={} when={}", (addr - kDmaBase) % kDmaStep, len,
                            direction_name(pool.params().dma_dir), pool.dev()->maps.contains(id) ? 1 : 0,
                            pool.dev()->when));
  }
  static const char* direction_name(pagepool::DmaDirection dir);

  std::deque<ScriptPage> pages_;
  std::map<int, std::uint64_t> work_;
  pagepool::RecycleStats system_stats_;
  std::deque<pagepool::RecycleStats> pool_stats_;
  unsigned created_ = 0;
  std::set<pagepool::Warning> warned_;
  std::map<std::uint64_t, unsigned> mapped_;  // page id: live mappings by any device
};

}  // namespace conform
