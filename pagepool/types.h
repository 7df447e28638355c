// SPDX-License-Identifier: Apache-2.0
// Ground types of page_pool: flags, constants, counters, the NAPI instance as the pool sees it, and the
// versions. Source: net/core/page_pool.c and include/net/page_pool/types.h of Linux 6.12 and 6.18, described
// in our own words. Depends on nothing of the machine, so that the native build of the pool can stand alone.
#pragma once
#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>

namespace pagepool {

#define PAGEPOOL_LIKELY(x) __builtin_expect(static_cast<bool>(x), 1)
#define PAGEPOOL_UNLIKELY(x) __builtin_expect(static_cast<bool>(x), 0)

inline constexpr unsigned kPageShift = 12;
inline constexpr unsigned kPageSize = 1u << kPageShift;
/// PP_ALLOC_CACHE_SIZE, PP_ALLOC_CACHE_REFILL: entries of the lockless cache, and how many a refill or a bulk
/// allocation brings.
inline constexpr unsigned kAllocCacheSize = 128;
inline constexpr unsigned kAllocCacheRefill = 64;
/// Ring entries when the driver asks for 0; most that may be asked for (6.12); what is given at most (6.18).
inline constexpr unsigned kDefaultRingSize = 1024;
inline constexpr unsigned kMaxRingSize = 32768;
inline constexpr unsigned kCappedRingSize = 16384;
/// Entries of one bulk return (XDP_BULK_QUEUE_SIZE).
inline constexpr unsigned kBulkQueueSize = 16;
/// Delay of the release work and interval of its warning.
inline constexpr std::uint64_t kDeferTimeMs = 1000;
inline constexpr std::uint64_t kDeferWarnIntervalMs = 60'000;
/// BIAS_MAX: references that a fresh fragment page starts with.
inline constexpr std::int64_t kBiasMax = INT64_MAX >> 1;
/// PP_SIGNATURE (0x40 + POISON_POINTER_DELTA of x86-64) in page->pp_magic. Bits 0 and 1 belong to others
/// (compound page, pfmemalloc); bits 7..38 hold the DMA tracking index (since 6.16; 0 = none).
inline constexpr std::uint64_t kPageSignature = 0xdead'0000'0000'0040;
inline constexpr unsigned kDmaIndexShift = 7;
inline constexpr std::uint64_t kDmaIndexMask = std::uint64_t{UINT32_MAX} << kDmaIndexShift;
constexpr bool has_signature(std::uint64_t magic) { return (magic & ~(kDmaIndexMask | 3)) == kPageSignature; }
constexpr std::uint32_t magic_dma_index(std::uint64_t magic) {
  return static_cast<std::uint32_t>((magic & kDmaIndexMask) >> kDmaIndexShift);
}
inline constexpr int kNumaNoNode = -1;

enum Flags : std::uint32_t {
  PP_FLAG_DMA_MAP = 1u << 0,
  PP_FLAG_DMA_SYNC_DEV = 1u << 1,
  PP_FLAG_SYSTEM_POOL = 1u << 2,
  PP_FLAG_ALLOW_UNREADABLE_NETMEM = 1u << 3,
  PP_FLAG_ALL = 0xf,
};

/// enum dma_data_direction.
enum class DmaDirection : std::uint8_t { bidirectional = 0, to_device = 1, from_device = 2, none = 3 };
using DmaAddr = std::uint64_t;

/// A counter that one context at a time writes and any thread may read: no locked instruction.
class Counter {
 public:
  void inc(std::uint64_t n = 1) {
    value_.store(value_.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
  }
  std::uint64_t value() const { return value_.load(std::memory_order_relaxed); }
  operator std::uint64_t() const { return value(); }

 private:
  std::atomic<std::uint64_t> value_{0};
};

/// struct page_pool_alloc_stats.
struct AllocStats {
  Counter fast, slow, slow_high_order, empty, refill, waive;
};
/// struct page_pool_recycle_stats; one instance per core.
struct alignas(64) RecycleStats {
  Counter cached, cache_full, ring, ring_full, released_refcnt;
};

/// What page_pool_get_stats() gives: plain numbers, recycle counters summed over the cores.
struct StatsSnapshot {
  std::uint64_t alloc_fast = 0, alloc_slow = 0, alloc_slow_high_order = 0, alloc_empty = 0, alloc_refill = 0,
                alloc_waive = 0;
  std::uint64_t recycle_cached = 0, recycle_cache_full = 0, recycle_ring = 0, recycle_ring_full = 0,
                recycle_released_refcnt = 0;
};

/// The part of struct napi_struct that the pool looks at. A NAPI instance of a driver embeds it.
struct Napi {
  std::atomic<int> list_owner{-1};  ///< core whose softirq polls it now; -1: none
  std::atomic<bool> sched{true};    ///< NAPI_STATE_SCHED; set while disabled, too
  bool initialised = true;          ///< netif_napi_add() was done
  unsigned id = 0;
};

/// The net device that a pool belongs to, for netlink and for the stalled-shutdown warning.
struct Netdev {
  int ifindex = 0;
  std::string name;
};
/// NET_PTR_POISON: the net device is gone.
inline const Netdev* net_ptr_poison() { return reinterpret_cast<const Netdev*>(std::uintptr_t{0x801}); }

/// What became of a page at its return.
enum class RecycleOutcome : std::uint8_t { cached, ring, ring_full, released_refcnt };

/// The warnings of page_pool.c. `a`, `b` are described at each.
enum class Warning : std::uint8_t {
  create_failed,        ///< page_pool_create_percpu() gave up; a = errno (positive)
  frag_too_big,         ///< fragment larger than the page; a = size
  napi_not_sched,       ///< napi_assert_will_not_race: not disabled
  napi_owned,           ///< napi_assert_will_not_race: a core may be polling it
  napi_already_set,     ///< enable_direct_recycling: linked to another NAPI
  refcnt_violation,     ///< page_pool_empty_ring() page_pool refcnt %d violation; a = count
  stalled,              ///< stalled pool shutdown; a = inflight, b = seconds
  dma_track_failed,     ///< couldn't track DMA mapping
  negative_inflight,    ///< Negative(%d) inflight packet-pages; a = inflight
  unref_negative,       ///< more references returned than given; a = result
  dma_index_left,       ///< page left the pool with a tracking index
  item_full,            ///< strategy item_array: no free slot
  unmapped_mismatch,    ///< strategy scan: unmapped(a) != inflight pages(b)
  stalling_unregister,  ///< strategy stall_unregister: a = inflight
};
const char* to_string(Warning w);

/// Facts in which versions differ; a policy. V612 and V618 are fixed at compile time, AnyVersion at run time;
/// the pool reads both in the same way.
struct V612 {
  static constexpr bool ring_size_capped = false;           ///< else > 32768 is refused with -E2BIG
  static constexpr bool every_fragment_counts_fast = true;  ///< else only the reuse of a drained page
  static constexpr bool fragment_reuse_counts_cached = false;
  static constexpr bool bulk_over_pools = false;
  static constexpr bool has_enable_direct_recycling = false;
  static constexpr bool uninitialised_napi_cannot_race = false;
  static constexpr bool negative_inflight_ends_retry = false;
  /// release() takes and drops the producer lock before it judges the pool empty, so that a producer that
  /// just published the last page has left the ring before it is freed (since 6.16).
  static constexpr bool waits_for_producers = false;
};
struct V618 {
  static constexpr bool ring_size_capped = true;
  static constexpr bool every_fragment_counts_fast = false;
  static constexpr bool fragment_reuse_counts_cached = true;
  static constexpr bool bulk_over_pools = true;
  static constexpr bool has_enable_direct_recycling = true;
  static constexpr bool uninitialised_napi_cannot_race = true;
  static constexpr bool negative_inflight_ends_retry = true;
  static constexpr bool waits_for_producers = true;
};
struct AnyVersion {
  bool ring_size_capped, every_fragment_counts_fast, fragment_reuse_counts_cached, bulk_over_pools,
      has_enable_direct_recycling, uninitialised_napi_cannot_race, negative_inflight_ends_retry,
      waits_for_producers;
  template <class V>
  static constexpr AnyVersion of() {
    return {V::ring_size_capped,
            V::every_fragment_counts_fast,
            V::fragment_reuse_counts_cached,
            V::bulk_over_pools,
            V::has_enable_direct_recycling,
            V::uninitialised_napi_cannot_race,
            V::negative_inflight_ends_retry,
            V::waits_for_producers};
  }
};

inline const char* to_string(Warning w) {
  switch (w) {
    case Warning::create_failed:
      return "create_failed";
    case Warning::frag_too_big:
      return "frag_too_big";
    case Warning::napi_not_sched:
      return "napi_not_sched";
    case Warning::napi_owned:
      return "napi_owned";
    case Warning::napi_already_set:
      return "napi_already_set";
    case Warning::refcnt_violation:
      return "refcnt_violation";
    case Warning::stalled:
      return "stalled";
    case Warning::dma_track_failed:
      return "dma_track_failed";
    case Warning::negative_inflight:
      return "negative_inflight";
    case Warning::unref_negative:
      return "unref_negative";
    case Warning::dma_index_left:
      return "dma_index_left";
    case Warning::item_full:
      return "item_full";
    case Warning::unmapped_mismatch:
      return "unmapped_mismatch";
    case Warning::stalling_unregister:
      return "stalling_unregister";
  }
  return "?";
}

}  // namespace pagepool
