// SPDX-License-Identifier: Apache-2.0
// SimEnv: page_pool inside the modelled kernel. Every page field lies in simulated memory (struct page, at
// the kernel's offsets), every access of shared state pays by the coherence model and may interleave other
// cores and interrupts, locks, RCU, DMA API, delayed work and page allocator are the modelled kernel's. One
// SimEnv a pool.
//
// What an access costs. A load pays for its line; an access to one of the two lines touched last is free (its
// latency hides behind theirs); a store to a line that this core owns retires through the store buffer and
// costs costs.l1_store. Counters per core are never anybody else's and cost nothing. No path has a cost of
// its own.
#pragma once
#include <atomic>
#include <cstdint>
#include <cstring>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "kernel/kernel.h"
#include "pagepool/page_ops.h"
#include "pagepool/page_pools.h"
#include "pagepool/types.h"

namespace pagepool {

/// netmem_ref of the modelled kernel: address of the struct page, or with bit 0 set of the struct net_iov,
/// which has the pool's fields at the same offsets. 0 = none.
struct SimNetmem {
  std::uint64_t word = 0;
  bool is_net_iov() const { return (word & 1) != 0; }
  std::uint64_t address() const { return word & ~std::uint64_t{1}; }
  explicit operator bool() const { return word != 0; }
  bool operator==(const SimNetmem&) const = default;
};

/// Pfns that a schedulable scan walks before it gives others a turn.
inline constexpr std::uint64_t kScanStep = 1ull << 16;
/// Bit of page->flags, of the model's own: the page lies in a cache or ring of its pool.
inline constexpr std::uint64_t kPageIdleInPool = 1ull << 21;

class SimEnv {
 public:
  using Netmem = SimNetmem;
  using Device = kernel::Device;
  using SpinLock = kernel::SpinLock;

  SimEnv(PagePools& pools, unsigned id);
  SimEnv(const SimEnv&) = delete;
  SimEnv& operator=(const SimEnv&) = delete;

  // --- Wiring to the Pool object
  // ------------------------------------------------------------------------------
  std::function<void()> on_unlist;          ///< the pool is about to go; it may still be asked
  std::function<void(void* pool)> on_free;  ///< it is gone; the host object is the taker's to delete
  std::function<void(std::uint64_t delay_ms)> on_work;  ///< schedule_delayed_work
  unsigned id() const { return id_; }
  PagePools& pools() { return pools_; }
  kernel::Kernel& kernel() { return kernel_; }
  /// A net_iov has no page: 0, as the kernel's tracepoints say.
  sim::Pfn pfn(Netmem netmem) const {
    return netmem.is_net_iov() ? sim::Pfn(0) : frames_.page_to_pfn(sim::PhysAddr(netmem.address()));
  }
  Netmem netmem(sim::Pfn pfn) const { return {frames_.page(pfn).value}; }
  std::uint64_t pool_address() const { return pool_address_; }
  void mark_idle(Netmem netmem, bool idle) {
    StructPage page = struct_page(netmem);
    const auto flags = page.get<std::uint64_t>(mm::page_field::kFlags);
    page.set<std::uint64_t>(mm::page_field::kFlags,
                            idle ? flags | kPageIdleInPool : flags & ~kPageIdleInPool);
  }

  // --- Memory
  // -------------------------------------------------------------------------------------------------
  void spin_lock(SpinLock& lock) {
    check_alive();
    if (PAGEPOOL_UNLIKELY(mutant_ != Mutant::none) && mutated_lock(lock, false)) return;
    lock.lock();
    remember(address_of(&lock));
  }
  void spin_unlock(SpinLock& lock) {
    before_unlock(lock);
    if (PAGEPOOL_UNLIKELY(mutant_ != Mutant::none) && mutated_unlock(lock, false)) return;
    lock.unlock();
  }
  void spin_lock_bh(SpinLock& lock) {
    check_alive();
    if (PAGEPOOL_UNLIKELY(mutant_ != Mutant::none) && mutated_lock(lock, true)) return;
    lock.lock_bh();
    remember(address_of(&lock));
  }
  void spin_unlock_bh(SpinLock& lock) {
    before_unlock(lock);
    if (PAGEPOOL_UNLIKELY(mutant_ != Mutant::none) && mutated_unlock(lock, true)) return;
    lock.unlock_bh();
  }
  template <class T>
  void load(const T& object) {
    touch(address_of(&object), kIsAtomic<T> ? Access::kMarkedLoad : Access::kLoad);
  }
  template <class T>
  void store(const T& object) {
    touch(address_of(&object), kIsAtomic<T> ? Access::kMarkedStore : Access::kStore);
  }
  template <class T>
  void load_plain(const T& object, const char* name) {
    touch(address_of(&object), Access::kLoad, name);
  }
  template <class T>
  void store_plain(const T& object, const char* name) {
    touch(address_of(&object), Access::kStore, name);
  }
  template <class T>
  void rmw(const T& object) {
    std::uint64_t address = address_of(&object);
    kernel::this_cpu().atomic(sim::PhysAddr(address));
    if (PAGEPOOL_UNLIKELY(kernel::this_cpu().exploring())) tell(address, "", Access::kAtomic);
  }
  template <class T>
  void look(const T& object) {
    if (PAGEPOOL_UNLIKELY(kernel::in_kernel_code() && kernel::this_cpu().exploring()))
      kernel::this_cpu().point("look", address_of(&object), false);
  }
  template <class T>
  void look_plain(const T& object, const char* name) {
    if (PAGEPOOL_UNLIKELY(kernel::in_kernel_code() && kernel::this_cpu().exploring())) {
      const std::uint64_t address = address_of(&object);
      kernel::this_cpu().point("look", address, false);
      tell(address, name, Access::kLoad);
    }
  }
  bool memory_new(const void* host, std::size_t bytes);
  void memory_delete(const void* host, std::size_t bytes);
  kernel::KernelFunction function(const char* name) { return kernel::KernelFunction(name); }

  // --- The pool object
  // ----------------------------------------------------------------------------------------
  bool alloc_pool() { return true; }
  bool alloc_ring(unsigned) { return true; }
  RecycleStats* alloc_recycle_stats(bool system) { return system ? pools_.system_stats() : stats_.data(); }
  void free_recycle_stats(RecycleStats*) {}
  RecycleStats& this_cpu_stats(RecycleStats* stats) {
    // The counters cost nothing, but they go with their pool.
    if (PAGEPOOL_UNLIKELY(kernel::this_cpu().exploring()) && stats == stats_.data()) {
      may_be_freed_here("recycle_stats");
    }
    return stats[kernel::this_cpu().cpu()];
  }
  template <class F>
  void for_each_cpu_stats(const RecycleStats* stats, F&& f) const {
    for (std::size_t cpu = 0; stats && cpu < stats_.size(); ++cpu) f(stats[cpu]);
  }
  template <class P>
  int list_pool(P&, unsigned& id) {
    id = id_;
    return 0;
  }
  template <class P>
  void unlist_pool(P&) {
    on_unlist();
  }
  template <class P>
  void free_pool(P* pool) {
    if (kernel::in_kernel_code()) kernel::this_cpu().point("kfree", pool_address_, true);
    free_regions();
    on_free(pool);
  }
  /// The machine is being taken down: the pool's memory is nobody's business any more.
  void abandon() { freed_ = true; }

  // --- Pages
  // --------------------------------------------------------------------------------------------------
  template <class P>
  unsigned alloc_pages_bulk(P&, int nid, std::span<Netmem> pages) {
    return alloc_bulk(nid, pages);
  }
  template <class P>
  Netmem alloc_page(P&, int nid, unsigned order) {
    sim::Pfn page;
    return pagepool::alloc_pages(kernel_, nid, order, page) ? netmem(page) : Netmem{};
  }
  void put_page(Netmem netmem) { pagepool::put_page(kernel_, pfn(netmem)); }
  bool is_pref_nid(Netmem netmem, int nid) {
    if (netmem.is_net_iov()) return true;
    touch(netmem.address(), Access::kMarkedLoad);  // flags: the node never changes
    return static_cast<int>(frames_.nid_of(pfn(netmem))) == nid;
  }
  bool is_pfmemalloc(Netmem netmem) {
    if (netmem.is_net_iov()) return false;
    touch_field(netmem, mm::page_field::kPpMagic, Access::kLoad, "page->pp_magic");
    return (get<std::uint64_t>(netmem, mm::page_field::kPpMagic) & mm::kPfMemallocBit) != 0;
  }
  int page_ref_count(Netmem netmem) {
    if (netmem.is_net_iov()) return 1;
    touch_field(netmem, mm::page_field::kRefcount, Access::kMarkedLoad, "page->_refcount");
    return get<std::int32_t>(netmem, mm::page_field::kRefcount);
  }
  std::int64_t pp_ref_read(Netmem netmem) {
    touch_field(netmem, mm::page_field::kPpRefCount, Access::kMarkedLoad, "page->pp_ref_count");
    return get<std::int64_t>(netmem, mm::page_field::kPpRefCount);
  }
  void pp_ref_set(Netmem netmem, std::int64_t n) {
    touch_field(netmem, mm::page_field::kPpRefCount, Access::kMarkedStore, "page->pp_ref_count");
    set<std::int64_t>(netmem, mm::page_field::kPpRefCount, n);
  }
  void pp_ref_inc(Netmem netmem) { pp_ref_sub_return(netmem, -1); }
  std::int64_t pp_ref_sub_return(Netmem netmem, std::int64_t n) {
    kernel::this_cpu().atomic(sim::PhysAddr(netmem.address()));
    std::int64_t left = get<std::int64_t>(netmem, mm::page_field::kPpRefCount) - n;
    if (PAGEPOOL_UNLIKELY(mutant_ == Mutant::torn_reference)) kernel::this_cpu().point("torn", netmem.address(), true);
    set<std::int64_t>(netmem, mm::page_field::kPpRefCount, left);
    if (PAGEPOOL_UNLIKELY(kernel::this_cpu().exploring())) {
      tell(netmem.address() + mm::page_field::kPpRefCount, "page->pp_ref_count", Access::kAtomic);
    }
    return left;
  }
  template <class P>
  void set_pp_info(Netmem netmem, P*) {
    touch_field(netmem, mm::page_field::kPp, Access::kStore, "page->pp");
    tell_field(netmem, mm::page_field::kPpMagic, Access::kStore, "page->pp_magic");
    set<std::uint64_t>(netmem, mm::page_field::kPp, pool_address_);
    set<std::uint64_t>(netmem, mm::page_field::kPpMagic,
                       get<std::uint64_t>(netmem, mm::page_field::kPpMagic) | kPageSignature);
    set<std::int64_t>(netmem, mm::page_field::kPpRefCount, 1);
  }
  void clear_pp_info(Netmem netmem);
  DmaAddr dma_addr(Netmem netmem) {
    touch_field(netmem, mm::page_field::kDmaAddr, Access::kLoad, "page->dma_addr");
    return get<std::uint64_t>(netmem, mm::page_field::kDmaAddr);
  }
  void set_dma_addr(Netmem netmem, DmaAddr addr) {
    touch_field(netmem, mm::page_field::kDmaAddr, Access::kStore, "page->dma_addr");
    if (PAGEPOOL_UNLIKELY(mutant_ == Mutant::keep_dma_addr) && addr == 0) return;
    set<std::uint64_t>(netmem, mm::page_field::kDmaAddr, addr);
  }
  /// Tracking index in pp_magic, bits 7..38.
  std::uint32_t dma_index(Netmem netmem) {
    touch_field(netmem, mm::page_field::kPpMagic, Access::kLoad, "page->pp_magic");
    return magic_dma_index(get<std::uint64_t>(netmem, mm::page_field::kPpMagic));
  }
  void set_dma_index(Netmem netmem, std::uint32_t index);
  static constexpr std::uint32_t dma_index_limit() { return UINT32_MAX; }
  template <class P>
  int track_fault(P&, Netmem) {
    return 0;
  }
  /// Where the model of the machine has no say: pages that are back in the pool, and pages that left it for a
  /// user.
  void page_back(Netmem netmem) { mark_idle(netmem, true); }
  void page_out(Netmem netmem) { mark_idle(netmem, false); }
  /// A caller that breaks the rules is reported, and the put dropped.
  template <class P>
  bool check_put(P&, Netmem netmem) {
    const StructPage page = struct_page(netmem);
    const auto flags = page.get<std::uint64_t>(mm::page_field::kFlags);
    const bool ours = page.get<std::uint64_t>(mm::page_field::kPp) == pool_address_ &&
                      has_signature(page.get<std::uint64_t>(mm::page_field::kPpMagic));
    if (PAGEPOOL_LIKELY(ours && (flags & kPageIdleInPool) == 0)) return true;
    report_misuse(netmem, ours);
    return false;
  }

  // --- DMA
  // ----------------------------------------------------------------------------------------------------
  template <class P>
  bool dma_map(P& pool, Netmem netmem, std::size_t size, DmaDirection dir, DmaAddr& addr) {
    return map(*pool.dev(), pfn(netmem), size, dir, addr);
  }
  template <class P>
  void dma_unmap(P& pool, Netmem netmem, DmaAddr addr, std::size_t size, DmaDirection dir) {
    unmap(*pool.dev(), pfn(netmem), addr, size, dir);
  }
  template <class P>
  void dma_sync_for_device(P& pool, DmaAddr addr, std::uint64_t offset, std::uint64_t size) {
    kernel_.dma().dma_sync_single_for_device(*pool.dev(), sim::Iova(addr + offset), size,
                                             static_cast<kernel::DmaDirection>(pool.params().dma_dir));
  }
  template <class P>
  void dma_sync_for_cpu(P& pool, DmaAddr addr, std::uint64_t offset, std::uint64_t size) {
    kernel_.dma().dma_sync_single_for_cpu(*pool.dev(), sim::Iova(addr + offset), size,
                                          static_cast<kernel::DmaDirection>(pool.params().dma_dir));
  }
  /// The proposed DMA API that tracks mappings by itself. False: no memory for its table.
  bool dma_track_mappings();
  std::uint64_t dma_tracking_bytes() const;
  /// The proposed DMA API call "unmap everything this device has".
  void dma_unmap_all(Device& device) { kernel_.dma().dma_unmap_all(device); }
  /// Memory that this call needs for a device.
  std::uint64_t dma_unmap_all_bytes() const {
    return kernel_.dma().swiotlb().initialised() ? kernel_.dma().swiotlb().bitmap_bytes() : 0;
  }
  bool dma_dev_need_sync(Device* device) const { return kernel_.dma().dma_need_sync(*device); }
  /// Takes the device out of its IOMMU domain: its device context becomes invalid, nothing of the domain
  /// stays in the IOTLB. No effect without an IOMMU.
  void iommu_detach_device(Device& device);
  static constexpr unsigned dma_cache_alignment() {
    return 1;
  }  // coherent x86-64, RISC-V with Zicbom: cache line

  // --- Context, RCU, time
  // -------------------------------------------------------------------------------------
  bool in_softirq() const { return kernel::this_cpu().in_softirq(); }
  int smp_processor_id() const { return static_cast<int>(kernel::this_cpu().cpu()); }
  int numa_mem_id() const { return static_cast<int>(frames_.zones().front().nid); }
  void rcu_read_lock() {
    if (PAGEPOOL_LIKELY(mutant_ != Mutant::no_rcu_read_lock)) kernel::rcu_read_lock();
  }
  void rcu_read_unlock() {
    if (PAGEPOOL_LIKELY(mutant_ != Mutant::no_rcu_read_lock)) kernel::rcu_read_unlock();
  }
  void synchronize_rcu() {
    if (PAGEPOOL_LIKELY(mutant_ != Mutant::no_synchronize_rcu)) kernel::synchronize_rcu();
  }
  void synchronize_net() {
    if (PAGEPOOL_LIKELY(mutant_ != Mutant::no_synchronize_rcu)) kernel::synchronize_net();
  }
  void cond_resched() { kernel::this_cpu().cond_resched(); }
  void msleep(std::uint64_t ms) { kernel::msleep(ms); }
  std::uint64_t now_ms() const { return kernel_.now() / sim::kMillisecond; }
  template <class P>
  void schedule_delayed_work(P&, std::uint64_t delay_ms) {
    on_work(delay_ms);
  }

  /// get_online_mems / put_online_mems: no memory hotplug between them. May sleep.
  void get_online_mems() { kernel_.hotplug().get_online_mems(); }
  void put_online_mems() { kernel_.hotplug().put_online_mems(); }
  /// for_each_populated_zone, every pfn, pfn_to_online_page: pays for each pfn and then calls f(netmem), in order,
  /// for those that are on line; f returns false to stop. Pages whose struct page is still zero (free, of nobody)
  /// may be left out. `schedulable`: others of this core get a turn every kScanStep pfns. Returns the pfns walked.
  std::uint64_t for_each_online_page(const std::function<bool(Netmem)>& f, bool schedulable = false);
  /// page_count, signature and pp, as a scan looks at them after it paid for the struct page.
  template <class P>
  bool belongs_to_pool(const P&, Netmem netmem) const {
    kernel::this_cpu().point("scan", netmem.address(), false);
    tell_field(netmem, mm::page_field::kPpMagic, Access::kLoad, "page->pp_magic");
    if (PAGEPOOL_UNLIKELY(mutant_ == Mutant::no_recheck) && kernel::this_cpu().in_atomic()) return true;
    return is_ours(netmem);
  }
  void set_mutant(Mutant mutant) { mutant_ = mutant; }
  bool keeps_dma_sync() const { return mutant_ == Mutant::keep_dma_sync; }
  bool debug_net() const { return debug_net_; }
  void set_debug_net(bool on) { debug_net_ = on; }
  /// From the `nth` allocation of tracking memory on (counted from 1; 0: never) `times` of them fail.
  void set_fail_track(std::uint64_t nth, std::uint64_t times) { fail_track_nth_ = nth, fail_track_times_ = times; }
  std::uint64_t track_failures() const { return track_failures_; }

  // --- Tracepoints
  // --------------------------------------------------------------------------------------------
  template <class P>
  void warn(P& pool, Warning what, int a, int b) {
    warned(pool.id(), what, a, b);
  }
  template <class P>
  void warn_once(P& pool, Warning what, int a, int b) {
    if (pools_.first_time(what)) warned(pool.id(), what, a, b);
  }
  template <class P>
  void trace_state_hold(P&, Netmem netmem, std::uint32_t hold) {
    state_hold(netmem, hold);
  }
  template <class P>
  void trace_state_release(P*, Netmem netmem, std::uint32_t release) {
    state_release(netmem, release);
  }
  template <class P>
  void trace_release(P&, int inflight, std::uint32_t hold, std::uint32_t release, std::uint64_t cnt) {
    if (pools_.trace().released.enabled())
      pools_.trace().released.emit({id_, inflight, hold, release, cnt, pools_.where()});
  }
  template <class P>
  void trace_recycle(P&, Netmem netmem, RecycleOutcome outcome) {
    recycled(netmem, outcome);
  }
  template <class P>
  void trace_update_nid(P& pool, int nid) {
    if (pools_.trace().nid_updated.enabled())
      pools_.trace().nid_updated.emit({id_, pool.params().nid, nid, pools_.where()});
  }
  template <class P>
  void trace_detached(P&) {}

 private:
  struct Region {
    const std::byte* host;
    std::size_t bytes;
    std::uint64_t address;
  };
  template <class T>
  T get(Netmem netmem, unsigned field) const {
    return store_.load<T>(sim::PhysAddr(netmem.address() + field));
  }
  template <class T>
  void set(Netmem netmem, unsigned field, T value) {
    store_.store<T>(sim::PhysAddr(netmem.address() + field), value);
  }
  /// A struct page (or net_iov) in the host's memory, for several of its fields: tested once to be memory.
  class StructPage {
   public:
    StructPage(mm::SparseStore& store, sim::PhysAddr at)
        : store_(store), at_(at), host_(store.host(at, mm::page_field::kBytes)) {}
    template <class T>
    T get(unsigned field) const {
      T value;
      std::memcpy(&value, host_ + field, sizeof(T));
      store_.note_read(at_ + field, sizeof(T));
      return value;
    }
    template <class T>
    void set(unsigned field, T value) {
      std::memcpy(host_ + field, &value, sizeof(T));
      store_.mark_written(at_ + field, sizeof(T));
    }

   private:
    mm::SparseStore& store_;
    const sim::PhysAddr at_;
    std::uint8_t* const host_;
  };
  StructPage struct_page(Netmem netmem) const { return {store_, sim::PhysAddr(netmem.address())}; }
  /// Number of a line, and in bit 0 whether it was written: only then a store to it is free.
  static constexpr std::uint64_t kWritten = 1;
  static constexpr std::uint64_t recent_line(std::uint64_t address, bool written) {
    return address >> 6 << 1 | (written ? kWritten : 0);
  }
  /// The line of a lock just taken is here: what lies beside the lock comes with it.
  void remember(std::uint64_t address) {
    if (kernel::this_cpu().exploring()) return;
    recent_core_ = &kernel::this_cpu();
    recent_[0] = recent_line(address, true);
    recent_[1] = 0;
  }
  using Access = kernel::MemoryAccess::Kind;
  template <class T>
  static constexpr bool kIsAtomic = false;
  static constexpr bool writes(Access kind) { return kind == Access::kStore || kind == Access::kMarkedStore; }
  // Inline: of the dozen accesses of a page on its way through the cache, a third are to lines just touched.
  [[gnu::always_inline]] void touch(std::uint64_t address, Access kind, const char* name = "") {
    const std::uint64_t line = recent_line(address, true), as_if = writes(kind) ? 0 : kWritten;
    const bool recent = (recent_[0] | as_if) == line || (recent_[1] | as_if) == line;
    if (recent && PAGEPOOL_LIKELY(recent_core_ == kernel::detail::running)) return;
    if (writes(kind)) return store_other(address, kind, name);
    load_other(address, kind, name);
  }
  /// A line that was not touched lately, or by another core.
  void load_other(std::uint64_t address, Access kind, const char* name);
  void store_other(std::uint64_t address, Access kind, const char* name);
  void remember_other(const kernel::Context& core, std::uint64_t line) {
    recent_[1] = PAGEPOOL_LIKELY(recent_core_ == &core) ? recent_[0] : 0;
    recent_[0] = line;
    recent_core_ = &core;
  }
  void touch_explored(std::uint64_t address, Access kind, const char* name);
  void touch_field(Netmem netmem, unsigned field, Access kind, const char* name) {
    touch(netmem.address() + field, kind, name);
  }
  static void tell(std::uint64_t address, const char* name, Access kind) {
    kernel::this_cpu().tell_access(address, name, kind);
  }
  void tell_field(Netmem netmem, unsigned field, Access kind, const char* name) const {
    if (PAGEPOOL_UNLIKELY(kernel::this_cpu().exploring())) tell(netmem.address() + field, name, kind);
  }
  /// Others may come between the last access under a lock and its end; the lock may be gone then.
  void before_unlock(SpinLock&) {
    if (PAGEPOOL_UNLIKELY(kernel::this_cpu().exploring())) may_be_freed_here("before_unlock");
    check_alive();
  }
  /// A place at which the pool may be freed under the code, and the code will notice.
  void may_be_freed_here(const char* place) {
    kernel::this_cpu().point(place, pool_address_, false);
    check_alive();
  }
  /// Simulated address of a host object inside a region; objects of others (a driver's NAPI) share one line.
  std::uint64_t address_of(const void* object) {
    check_alive();
    const auto* at = static_cast<const std::byte*>(object);
    if (PAGEPOOL_LIKELY(static_cast<std::size_t>(at - pool_.host) < pool_.bytes))
      return pool_.address + (at - pool_.host);
    if (static_cast<std::size_t>(at - ring_.host) < ring_.bytes) return ring_.address + (at - ring_.host);
    if (PAGEPOOL_LIKELY(others_.empty() && freed_nodes_.empty())) return pool_.address;
    return find_region(at);
  }
  std::uint64_t find_region(const std::byte* at);
  /// This allocation of tracking memory is one of those that fail.
  bool tracking_fails();
  /// kfree of the pool. Its host object stays (the modelled kernel may still be inside), and any access to it
  /// is a use after free.
  void free_regions();
  /// True: this lock is left out.
  bool mutated_lock(SpinLock& lock, bool bh);
  bool mutated_unlock(SpinLock& lock, bool bh);
  void check_alive() {
    if (PAGEPOOL_UNLIKELY(freed_)) report_use_after_free();
  }
  void report_use_after_free(MisuseKind kind = MisuseKind::pool_gone);
  unsigned alloc_bulk(int nid, std::span<Netmem> pages);
  bool is_ours(Netmem netmem) const;
  /// The populated zone after `zone` (null: the first).
  std::optional<mm::ZoneInfo> zone_after(const mm::ZoneInfo* zone) const;
  /// Its present end; 0 when it is not populated any more.
  sim::Pfn zone_end(const mm::ZoneInfo& zone) const;
  bool map(Device& device, sim::Pfn page, std::size_t size, DmaDirection dir, DmaAddr& addr);
  void unmap(Device& device, sim::Pfn page, DmaAddr addr, std::size_t size, DmaDirection dir);
  void report_misuse(Netmem netmem, bool ours);
  void warned(unsigned pool, Warning what, int a, int b);
  void state_hold(Netmem netmem, std::uint32_t hold);
  void state_release(Netmem netmem, std::uint32_t release);
  void recycled(Netmem netmem, RecycleOutcome outcome);

  PagePools& pools_;
  kernel::Kernel& kernel_;
  mm::PageFrames& frames_;
  mm::SparseStore& store_;
  const unsigned id_;
  bool debug_net_ = false;
  Mutant mutant_ = Mutant::none;
  std::uint64_t fail_track_nth_ = 0, fail_track_times_ = 0;
  std::uint64_t track_allocations_ = 0, track_failures_ = 0;
  std::uint64_t pool_address_ = 0;
  Region pool_{}, ring_{};
  bool freed_ = false;
  const char* reported_in_ = nullptr;  // function of the last use after free
  std::vector<Region> others_;         // by host address
  std::vector<Region> freed_nodes_;    // what strategies have given back, while a schedule is explored
  std::uint64_t recent_[2] = {};       // lines of the last two accesses (recent_line) ...
  const kernel::Context* recent_core_ = nullptr;  // ... of this core
  std::vector<RecycleStats> stats_;  // per core
};

template <class T>
inline constexpr bool SimEnv::kIsAtomic<std::atomic<T>> = true;

}  // namespace pagepool
