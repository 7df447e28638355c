// SPDX-License-Identifier: Apache-2.0
// SimPool: pagepool::Pool over PagePool<SimEnv, AnyVersion, Strategy>. It outlives the pool, keeps its last
// state, owns the delayed work, and tells the tracepoints what the pool itself does not know. Included by the
// registration of each strategy only (generated, see pagepool/CMakeLists.txt).
#pragma once
#include <memory>
#include <utility>
#include <vector>

#include "pagepool/devmem_provider.h"
#include "pagepool/dmabuf_binding.h"
#include "pagepool/page_pool.h"
#include "pagepool/page_pools.h"
#include "pagepool/sim_env.h"

namespace pagepool {

template <template <class, class> class Strategy>
class SimPool final : public Pool {
 public:
  using Core = PagePool<SimEnv, AnyVersion, Strategy>;

  static std::shared_ptr<Pool> create(PagePools& pools, kernel::Device& device, const PoolParams& params,
                                      const PoolOptions& options, unsigned id, int& error) {
    KFUNC("page_pool_create_percpu");
    auto pool = std::make_shared<SimPool>(pools, device, params, options, id);
    if (!pool->init(error)) return nullptr;
    // The hook of strategies at device unbind: with the devres of the driver, after its remove().
    device.devm_add_action([weak = std::weak_ptr<SimPool>(pool)] {
      if (auto p = weak.lock()) p->device_unbind();
    });
    return pool;
  }

  SimPool(PagePools& pools, kernel::Device& device, const PoolParams& params, const PoolOptions& options,
          unsigned id)
      : pools_(pools),
        device_(device),
        params_(params),
        options_(options),
        env_(pools, id),
        work_("page_pool_release_retry", [this] { release_retry(); }) {
    if (options.pool_size != 0) params_.pool_size = options.pool_size;
    env_.set_debug_net(options.debug_net);
    env_.set_mutant(options.mutant);
    env_.set_fail_track(options.fail_track_nth, options.fail_track_times);
    env_.on_unlist = [this] { last_ = state(); };
    env_.on_free = [this](void* core) { core_freed(static_cast<Core*>(core)); };
    env_.on_work = [this](std::uint64_t ms) { work_.queue(pools_.kernel().msecs_to_jiffies(ms)); };
  }

  ~SimPool() override {
    env_.abandon();
    delete core_;
  }

  // --- Allocation ---
  std::optional<sim::Pfn> alloc_page() override {
    if (!usable() || provider_) return std::nullopt;
    SimNetmem netmem = core_->alloc_netmems();
    update_probes();
    if (!netmem) return std::nullopt;
    return handed_out(netmem);
  }
  std::optional<PageFragment> alloc_frag(unsigned size) override {
    if (!usable() || provider_) return std::nullopt;
    return handed_out(core_->alloc_frag(size));
  }
  std::optional<PageFragment> alloc(unsigned size) override {
    if (!usable() || provider_) return std::nullopt;
    return handed_out(core_->alloc(size));
  }
  std::optional<NetIov> alloc_net_iov() override {
    if (!usable() || !provider_) return std::nullopt;
    SimNetmem netmem = core_->alloc_netmems();
    update_probes();
    if (!netmem) return std::nullopt;
    return params_.dmabuf->iov_at(sim::PhysAddr(netmem.address()));
  }
  void put_net_iov(NetIov iov, bool allow_direct) override {
    if (!usable() || !provider_) return;
    core_->put_full_netmem(net_iov(iov), allow_direct);
    update_probes();
  }
  sim::Iova dma_addr(sim::Pfn page) const override {
    return sim::Iova(pools_.kernel().frames().get<std::uint64_t>(page, mm::page_field::kDmaAddr));
  }

  // --- Return ---
  void put_page(sim::Pfn page, unsigned dma_sync_size, bool allow_direct) override {
    if (!usable(page)) return;
    core_->put_netmem(env_.netmem(page), dma_sync_size, allow_direct);
    update_probes();
  }
  void put_page_bulk(std::span<sim::Pfn> pages) override {
    if (!usable()) return;
    POOLSIM_ASSERT(pages.size() <= kBulkQueueSize);
    std::array<SimNetmem, kBulkQueueSize> netmems;
    for (std::size_t i = 0; i < pages.size(); ++i) netmems[i] = env_.netmem(pages[i]);
    std::span<SimNetmem> bulk = std::span(netmems).first(pages.size());
    if (options_.version == PoolVersion::v6_12) {
      core_->put_netmem_bulk(bulk);
    } else {
      // All pools of a machine have one strategy, so the pools of the pages are of this type.
      Core::put_netmem_bulk_over_pools(bulk, [this](SimNetmem netmem) {
        auto* pool = dynamic_cast<SimPool*>(pools_.pool_of(env_.pfn(netmem)));
        return pool && pool->core_ ? pool->core_ : core_;
      });
    }
    update_probes();
  }
  void ref_page(sim::Pfn page) override {
    if (usable(page)) core_->ref_netmem(env_.netmem(page));
  }
  void dma_sync_for_cpu(sim::Pfn page, unsigned offset, unsigned size) override {
    if (usable(page)) core_->dma_sync_for_cpu(env_.netmem(page), offset, size);
  }

  // --- Control ---
  void update_nid(int nid) override {
    if (!usable()) return;
    core_->update_nid(nid);
    update_probes();
  }
  void nid_changed(int nid) override {
    if (usable() && core_->params().nid != nid) update_nid(nid);
  }
  void disable_direct_recycling() override {
    if (usable()) core_->disable_direct_recycling();
  }
  void enable_direct_recycling(Napi* napi) override {
    if (usable()) core_->enable_direct_recycling(napi);
  }
  int use_xdp_mem(std::function<void()> disconnect) override {
    if (!usable()) return 0;
    disconnect_ = std::move(disconnect);
    return core_->use_xdp_mem([](void* self) { static_cast<SimPool*>(self)->disconnect_(); }, this);
  }
  void netdev_gone() override {
    if (core_) core_->netdev_gone();
  }
  void device_unbind() override {
    if (core_) core_->device_unbind();
  }

  void destroy() override {
    if (!usable()) return;
    bool last_user = core_->user_cnt() == 1;
    unsigned id = env_.id();
    if (last_user && pools_.trace().destroying.enabled())
      pools_.trace().destroying.emit({id, core_->inflight(), pools_.where()});
    detached_ = last_user;  // told already to those who look at the pool from inside
    auto result = core_->destroy();
    detached_ = result == Core::Destroyed::pending;
    if (last_user && pools_.trace().destroyed.enabled())
      pools_.trace().destroyed.emit({id, detached_, state().inflight, pools_.where()});
    update_probes();
  }

  int release_retry() override {
    if (!usable()) return 0;
    ++release_rounds_;
    if (pools_.trace().release_retrying.enabled())
      pools_.trace().release_retrying.emit({env_.id(), pools_.where()});
    int inflight = core_->release_retry();
    if (pools_.trace().release_retried.enabled())
      pools_.trace().release_retried.emit({env_.id(), inflight, pools_.where()});
    update_probes();
    return inflight;
  }

  // --- What it shows ---
  unsigned id() const override { return env_.id(); }
  kernel::Device& device() const override { return device_; }
  const PoolParams& params() const override { return params_; }
  bool gone() const override { return core_ == nullptr; }
  PoolState state() const override {
    if (!core_) return last_;
    PoolState s;
    s.id = env_.id();
    s.strategy = options_.strategy;
    s.version = options_.version;
    s.order = params_.order;
    s.ring_size = core_->ring().size();
    s.hold = core_->hold_cnt();
    s.release = core_->release_cnt();
    s.inflight = core_->inflight();
    s.cache = core_->cache_count();
    s.ring = core_->ring_count();
    s.destroy_cnt = core_->destroy_cnt();
    s.users = core_->user_cnt();
    s.detached = detached_;
    s.detach_time_ms = core_->detach_time_ms();
    s.release_rounds = release_rounds_;
    s.tracking_bytes = core_->strategy().tracking_bytes();
    s.tracking_bytes_peak = core_->strategy().tracking_bytes_peak();
    s.track_failures = env_.track_failures();
    s.stats = core_->stats();
    return s;
  }
  std::vector<sim::Pfn> cached_pages() const override {
    std::vector<sim::Pfn> pages;
    if (!core_) return pages;
    if (provider_) return pages;
    core_->for_each_cached([&](SimNetmem netmem) { pages.push_back(env_.pfn(netmem)); });
    core_->ring().for_each([&](SimNetmem netmem) { pages.push_back(env_.pfn(netmem)); });
    return pages;
  }

 private:
  SimNetmem net_iov(NetIov iov) const { return {params_.dmabuf->address(iov).value | 1}; }

  bool init(int& error) {
    typename Core::Params p;
    p.order = params_.order;
    p.pool_size = params_.pool_size;
    p.ring_batch = options_.ring_batch;
    p.nid = params_.nid;
    p.dev = &device_;
    p.napi = params_.napi;
    p.dma_dir = params_.dma_dir;
    p.max_len = params_.max_len;
    p.offset = params_.offset;
    p.netdev = params_.netdev;
    p.queue_idx = params_.queue_idx;
    p.flags = params_.flags;
    if (params_.dmabuf && (params_.flags & PP_FLAG_ALLOW_UNREADABLE_NETMEM) != 0) {
      std::vector<SimNetmem> iovs;
      for (std::uint32_t i = params_.dmabuf->size(); i-- > 0;) iovs.push_back(net_iov({i}));
      provider_ = std::make_unique<DevmemProvider<Core>>(std::move(iovs));
      p.provider = provider_.get();
    }
    p.defer_time_ms = options_.release_period_ms;
    p.defer_warn_interval_ms = options_.warn_interval_ms;
    core_ = Core::create(
        env_, p, params_.cpuid, error,
        options_.version == PoolVersion::v6_12 ? AnyVersion::of<V612>() : AnyVersion::of<V618>());
    if (!core_) return false;
    if (provider_) params_.dmabuf->get();
    // get_device(): until 6.15 a pool that maps keeps the memory of struct device, and nothing else of it.
    holds_device_ = options_.version == PoolVersion::v6_12 && (params_.flags & PP_FLAG_DMA_MAP) != 0;
    if (holds_device_) device_.get_device();
    pools_.totals().pools.add(1);
    if (pools_.trace().created.enabled())
      pools_.trace().created.emit({env_.id(), &device_, params_.flags, params_.order, pools_.where()});
    return true;
  }

  void core_freed(Core* core) {
    freed_.reset(core);
    core_ = nullptr;
    last_.gone = true;
    last_.cache = last_.ring = 0;
    if (created()) {
      if (provider_) params_.dmabuf->put();
      pools_.totals().pools.add(-1);
      if (pools_.trace().freed.enabled()) pools_.trace().freed.emit({env_.id(), pools_.where()});
    }
    if (holds_device_) device_.put_device();
    holds_device_ = false;
  }
  bool created() const { return last_.id != 0; }

  bool usable(sim::Pfn page = sim::Pfn(0)) {
    if (PAGEPOOL_LIKELY(core_ != nullptr)) return true;
    pools_.misuse(MisuseKind::pool_gone, env_.id(), 0, page);
    return false;
  }
  sim::Pfn handed_out(SimNetmem netmem) {
    sim::Pfn page = env_.pfn(netmem);
    pools_.mm_trace().held(page, "page_pool user", env_.id());
    if (pools_.trace().allocated.enabled()) pools_.trace().allocated.emit({env_.id(), page, pools_.where()});
    return page;
  }
  std::optional<PageFragment> handed_out(Fragment<SimNetmem> frag) {
    update_probes();
    if (!frag.netmem) return std::nullopt;
    return PageFragment{handed_out(frag.netmem), frag.offset, frag.size};
  }
  void update_probes() {
    unsigned cache = core_ ? core_->cache_count() : 0, ring = core_ ? core_->ring_count() : 0;
    pools_.totals().cache.add(static_cast<std::int64_t>(cache) - shown_cache_);
    pools_.totals().ring.add(static_cast<std::int64_t>(ring) - shown_ring_);
    shown_cache_ = cache;
    shown_ring_ = ring;
  }

  PagePools& pools_;
  kernel::Device& device_;
  PoolParams params_;
  PoolOptions options_;
  SimEnv env_;
  Core* core_ = nullptr;         // null: freed, or never made
  std::unique_ptr<Core> freed_;  // what was core_: code of another core may still be inside
  kernel::DelayedWork work_;
  std::function<void()> disconnect_;
  std::unique_ptr<DevmemProvider<Core>> provider_;
  PoolState last_;
  bool detached_ = false;
  bool holds_device_ = false;
  std::uint64_t release_rounds_ = 0;
  unsigned shown_cache_ = 0, shown_ring_ = 0;
};

}  // namespace pagepool
