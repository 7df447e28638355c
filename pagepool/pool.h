// SPDX-License-Identifier: Apache-2.0
// The page_pool of the modelled kernel as its users see it: drivers and the network stack hold a
// pagepool::Pool and need not know strategy or version. Made by PagePools (pagepool/page_pools.h). Pages are
// named by their pfn (first page of a block when order > 0).
//
// Contexts, as in the kernel: alloc*, recycle_direct, update_nid and disable/enable_direct_recycling belong
// to the pool's NAPI context (or the driver's bring-up and tear-down); put_* without allow_direct may come
// from any context; destroy() needs task context. All of them must run on a fiber of the modelled kernel.
// After destroy() of the last user the Pool object stays, for questions and statistics; the pool behind it
// may be gone (`gone()`), and using it then is reported as a misuse.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "kernel/device.h"
#include "pagepool/types.h"
#include "sim/types.h"

namespace pagepool {

/// Behaviour of which kernel (beside the strategy).
enum class PoolVersion : std::uint8_t { v6_12, v6_18 };
const char* to_string(PoolVersion version);
/// "6.12" or "6.18"; sim::Error otherwise.
PoolVersion parse_pool_version(const std::string& word);

class DmabufBinding;

/// struct net_iov: a piece of a dmabuf, by its number.
struct NetIov {
  std::uint32_t index = 0;
  bool operator==(const NetIov&) const = default;
};

/// struct page_pool_params: what a driver asks for.
struct PoolParams {
  unsigned order = 0;
  unsigned pool_size = 0;  ///< ring entries; 0 = 1024
  int nid = kNumaNoNode;
  Napi* napi = nullptr;
  DmaDirection dma_dir = DmaDirection::from_device;
  unsigned max_len = 0;  ///< bytes of a page that the device may write, for DMA syncs
  unsigned offset = 0;   ///< first of these bytes
  const Netdev* netdev = nullptr;
  unsigned queue_idx = 0;
  std::uint32_t flags = 0;  ///< PP_FLAG_*
  int cpuid = -1;           ///< page_pool_create_percpu
  /// Memory provider of the RX queue (pagepool/dmabuf_binding.h): used when PP_FLAG_ALLOW_UNREADABLE_NETMEM
  /// is set; the pool then gives net_iovs instead of pages.
  std::shared_ptr<DmabufBinding> dmabuf = nullptr;
};

/// For tests of the explorer only: one synchronisation of the pool and its strategy is left out.
enum class Mutant : std::uint8_t {
  none,
  no_destroy_lock,     ///< the strategy's lock around destroy is not taken
  early_destroy_unlock,  ///< ... is given back at once: the check moves behind the unlock
  no_xa_lock,          ///< the xarray is not locked
  no_list_lock,        ///< the list of mapped pages is not locked
  no_hash_lock,        ///< the buckets of the DMA API's table are not locked
  no_producer_lock,    ///< ptr_ring producers are not locked
  early_producer_unlock,
  no_recheck,          ///< what was seen before the lock is believed under it
  keep_dma_sync,       ///< the flag that stops syncs stays on
  no_synchronize_rcu,  ///< grace periods are not waited for
  no_rcu_read_lock,    ///< readers do not say so
  keep_dma_index,      ///< the tracking index is not cleared with the mapping
  keep_dma_addr,       ///< the address is not cleared with the mapping
  torn_reference,      ///< the pool's reference count is read and written, not atomically changed
  kCount
};
const char* to_string(Mutant mutant);

/// What the user of the program chooses for all pools.
struct PoolOptions {
  std::string strategy = "stock";  ///< key of pagepool/strategies/
  PoolVersion version = PoolVersion::v6_12;
  std::uint64_t release_period_ms = kDeferTimeMs;
  std::uint64_t warn_interval_ms = kDeferWarnIntervalMs;
  unsigned pool_size = 0;    ///< not 0: instead of what the driver asks for
  unsigned ring_batch = 16;  ///< slots that a ptr_ring consumer gives back at once: 32 in a 32-bit kernel
  Mutant mutant = Mutant::none;
  bool debug_net = false;    ///< CONFIG_DEBUG_NET, where a strategy looks at it
  /// fail_nth for what a strategy allocates to track mappings: from the n-th allocation of a pool on (from 1; 0:
  /// never) so many fail.
  std::uint64_t fail_track_nth = 0, fail_track_times = 1;
  /// Throws sim::Error naming the field.
  void validate() const;
};

/// `size` bytes at `offset` of a page.
struct PageFragment {
  sim::Pfn page;
  unsigned offset = 0;
  unsigned size = 0;
};

/// One look at a pool, as netlink's page-pool-get and page-pool-stats-get give it, and more.
struct PoolState {
  unsigned id = 0;
  std::string strategy;
  PoolVersion version = PoolVersion::v6_12;
  unsigned order = 0;
  unsigned ring_size = 0;
  std::uint32_t hold = 0, release = 0;
  int inflight = 0;  ///< hold - release; pages in cache and ring count
  unsigned cache = 0, ring = 0;
  std::uint64_t destroy_cnt = 0;
  int users = 0;
  bool detached = false;  ///< destroyed with pages out
  bool gone = false;
  std::uint64_t detach_time_ms = 0;
  std::uint64_t release_rounds = 0;  ///< runs of page_pool_release_retry
  std::uint64_t tracking_bytes = 0, tracking_bytes_peak = 0;
  std::uint64_t track_failures = 0;  ///< allocations of tracking memory that got nothing
  StatsSnapshot stats;
};

class Pool {
 public:
  virtual ~Pool() = default;

  /// page_pool_alloc_pages, _alloc_frag, page_pool_alloc.
  virtual std::optional<sim::Pfn> alloc_page() = 0;
  virtual std::optional<PageFragment> alloc_frag(unsigned size) = 0;
  virtual std::optional<PageFragment> alloc(unsigned size) = 0;
  /// page_pool_alloc_netmems and page_pool_put_full_netmem of a pool whose memory is a dmabuf. Such a pool
  /// has no pages: alloc_page() and the fragments give nothing; and a pool of pages has no net_iov.
  virtual std::optional<NetIov> alloc_net_iov() = 0;
  virtual void put_net_iov(NetIov iov, bool allow_direct) = 0;
  /// page_pool_get_dma_addr; 0 when not mapped. No cost: the caller has the struct page at hand.
  virtual sim::Iova dma_addr(sim::Pfn page) const = 0;

  /// page_pool_put_page: one reference back; `dma_sync_size` bytes may have been touched by the CPU (~0 =
  /// all).
  virtual void put_page(sim::Pfn page, unsigned dma_sync_size, bool allow_direct) = 0;
  void put_full_page(sim::Pfn page, bool allow_direct) { put_page(page, ~0u, allow_direct); }
  /// page_pool_recycle_direct: from the pool's own softirq.
  void recycle_direct(sim::Pfn page) { put_page(page, ~0u, true); }
  /// page_pool_put_page_bulk: at most 16; over several pools only in 6.18.
  virtual void put_page_bulk(std::span<sim::Pfn> pages) = 0;
  /// page_pool_ref_page: one more reference on a page that the caller holds.
  virtual void ref_page(sim::Pfn page) = 0;
  /// page_pool_dma_sync_for_cpu.
  virtual void dma_sync_for_cpu(sim::Pfn page, unsigned offset, unsigned size) = 0;

  virtual void update_nid(int nid) = 0;
  virtual void nid_changed(int nid) = 0;
  virtual void disable_direct_recycling() = 0;
  virtual void enable_direct_recycling(Napi* napi) = 0;
  /// A second user (XDP memory model); `disconnect` is called when the pool is finally freed. Returns the
  /// users.
  virtual int use_xdp_mem(std::function<void()> disconnect) = 0;
  /// The net device was unregistered.
  virtual void netdev_gone() = 0;
  /// The driver core unbinds the device (a hook of strategies).
  virtual void device_unbind() = 0;
  /// page_pool_destroy: drops one user; the last one stops the pool.
  virtual void destroy() = 0;
  /// page_pool_release_retry now (the delayed work calls it; replays may, too). Pages still out.
  virtual int release_retry() = 0;

  virtual unsigned id() const = 0;
  virtual kernel::Device& device() const = 0;
  virtual const PoolParams& params() const = 0;
  virtual bool gone() const = 0;
  virtual PoolState state() const = 0;
  /// Pages that lie in the alloc cache and in the ring now, in order.
  virtual std::vector<sim::Pfn> cached_pages() const = 0;
};

/// How a driver makes its pools.
using PoolFactory = std::function<std::shared_ptr<Pool>(kernel::Device&, const PoolParams&)>;

}  // namespace pagepool
