// SPDX-License-Identifier: Apache-2.0
// The buddy allocator of the modelled kernel (mm/page_alloc.c, Linux 6.12, in its results): blocks of
// 2^0..2^10 pages per zone, per-core lists of single pages in front of them, zone fallback NORMAL -> DMA32 ->
// other nodes, bulk allocation, pfmemalloc reserve, fail_page_alloc, hotplug. Free lists are threaded through struct page in simulated memory (lru, private,
// page_type), last freed first out. Deterministic. Memory that was never handed out is not on any list:
// blocks are carved from it, lowest address first, when the lists are empty, so the size of the machine costs
// nothing.
//
// Costs no simulated time and takes no lock: the kernel model pays for both. Errors of the modelled software
// (double free, wrong order, page still referenced) are returned, so that they can become findings.
#pragma once
#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "mm/page_frames.h"
#include "mm/trace.h"
#include "sim/random.h"

namespace mm {

inline constexpr unsigned kMaxPageOrder = 10;
/// Any node: the first one with memory.
inline constexpr unsigned kNumaNoNode = ~0u;

/// Allocation flags (bits), named after the kernel's.
enum GfpFlags : unsigned {
  kGfpKernel = 0,
  kGfpComp = 1,      ///< tail pages point to the head
  kGfpZero = 2,      ///< contents cleared
  kGfpDma32 = 4,     ///< below 4 GiB
  kGfpThisNode = 8,  ///< no fallback to another node
  kGfpMemalloc = 16  ///< may use the reserve below the min watermark; such pages are pfmemalloc
};

enum class FreeStatus : std::uint8_t {
  kOk,
  kNotMemory,       ///< no struct page, or not aligned to the order
  kDoubleFree,      ///< already free (or never handed out)
  kWrongOrder,      ///< handed out with another order
  kStillReferenced  ///< _refcount is not 0 (kernel: "Bad page state", nonzero _refcount)
};
const char* to_string(FreeStatus status);

/// fail_page_alloc: fails an allocation at random. All integers; `probability_percent` 0 = off.
struct FailPageAlloc {
  unsigned probability_percent = 0;
  unsigned min_order = 0;                   ///< smaller orders never fail
  std::uint64_t interval = 1;               ///< only every n-th candidate
  std::uint64_t space = 0;                  ///< so many candidates pass first
  std::uint64_t times = ~std::uint64_t{0};  ///< at most so many failures
};

struct BuddyConfig {
  /// Per zone, pages that only kGfpMemalloc may use (zone->_watermark[WMARK_MIN]).
  std::uint64_t min_free_pages = 0;
  /// Per-core page lists (struct per_cpu_pages), used once set_cpus() was called: single pages move between a
  /// list and the zone in batches; a list longer than `pcp_high` gives a batch back. Batch 63, high 6 batches.
  unsigned pcp_batch = 63;  ///< 0: no lists
  unsigned pcp_high = 378;
  FailPageAlloc fail_page_alloc = {};
  void validate() const;
};

class BuddyAllocator {
 public:
  /// `random` feeds fail_page_alloc only.
  BuddyAllocator(PageFrames& frames, Trace& trace, sim::RandomStream random, BuddyConfig config = {});

  /// 2^order pages, aligned to their size, first page with _refcount 1. Nothing: exhausted or injected
  /// failure. `order` > kMaxPageOrder yields nothing, as in the kernel.
  std::optional<sim::Pfn> alloc_pages(unsigned order, unsigned nid = kNumaNoNode, unsigned gfp = kGfpKernel);
  /// Fills `out` with single pages as far as possible; how many (kernel: alloc_pages_bulk).
  std::size_t alloc_pages_bulk(std::span<sim::Pfn> out, unsigned nid = kNumaNoNode,
                               unsigned gfp = kGfpKernel);

  /// Takes back a block as it was handed out; its _refcount must be 0 already. Changes nothing unless kOk.
  FreeStatus free_pages(sim::Pfn pfn, unsigned order);

  /// Per-core lists for `cpus` cores; `current` says which one calls. At most once, before the first allocation
  /// whose place matters.
  void set_cpus(unsigned cpus, std::function<unsigned()> current);
  /// drain_all_pages: every per-core list into its zone.
  void drain_all_pages();

  // Hotplug; sections as in PageFrames. The caller sets them on or off line.
  /// start_isolate_page_range and __offline_isolated_pages: drains the per-core lists, and if no page of the range
  /// is in use, takes all of it out of the allocator. Otherwise nothing but the draining happens, and the first
  /// page in use is returned.
  std::optional<sim::Pfn> take_offline(sim::Pfn start, sim::Pfn end);
  /// online_pages_range: the range's pages become free, at the end of what is handed out.
  void put_online(sim::Pfn start, sim::Pfn end);

  /// Called for every allocation before it is tried; true = fails. Beside fail_page_alloc.
  void set_failure_hook(std::function<bool(unsigned order, unsigned nid)> hook) { hook_ = std::move(hook); }

  struct Counters {
    std::uint64_t managed_pages = 0;  ///< allocated + free, always
    std::uint64_t free_pages = 0;     ///< per-core lists included
    std::uint64_t pcp_pages = 0;      ///< of these, on per-core lists
    std::uint64_t allocated_pages = 0;
    std::uint64_t allocations = 0;
    std::uint64_t frees = 0;
    std::uint64_t failures = 0;  ///< injected ones included
    std::uint64_t injected_failures = 0;
    std::uint64_t numa_miss = 0;  ///< served by another node than asked
    std::uint64_t pfmemalloc = 0;
    std::uint64_t splits = 0;
    std::uint64_t merges = 0;
    std::uint64_t pcp_batches = 0;  ///< moved between a per-core list and its zone, either way
  };
  const Counters& counters() const { return counters_; }

  struct ZoneState {
    unsigned nid;
    ZoneType type;
    std::uint64_t managed_pages;
    std::uint64_t free_pages;  ///< without those on per-core lists
    /// The next page that was never handed out, or the zone's end. At boot all pages from here on are such.
    sim::Pfn untouched_from;
  };
  std::vector<ZoneState> zones() const;

  /// Walks all free lists and compares with the counters and struct pages. Empty text = consistent.
  std::string verify() const;

  void stats(
      const std::function<void(std::string_view name, double value, std::string_view unit)>& out) const;

 private:
  struct FreeArea {
    std::uint64_t head = ~std::uint64_t{0};  // pfn, all ones = empty
    std::uint64_t blocks = 0;
  };
  /// Single pages of one core, most recently freed first.
  struct PageList {
    std::uint64_t head = ~std::uint64_t{0}, tail = ~std::uint64_t{0};
    std::uint64_t pages = 0;
  };
  struct Zone {
    unsigned nid;
    ZoneType type;
    std::array<FreeArea, kMaxPageOrder + 1> areas;
    std::vector<PageFrames::FreeRange> untouched;  // not yet carved, ascending
    std::size_t next_range = 0;
    std::uint64_t managed = 0;
    std::uint64_t free = 0;
    std::vector<PageList> pcp;  // per core
  };

  bool injected_failure(unsigned order, unsigned nid);
  std::optional<sim::Pfn> take(unsigned order, unsigned nid, unsigned gfp);
  std::optional<sim::Pfn> rmqueue(Zone& zone, unsigned order);
  bool carve(Zone& zone);
  void hand_out(Zone& zone, sim::Pfn pfn, unsigned order, unsigned gfp, bool reserve);
  void push(Zone& zone, std::uint64_t pfn, unsigned order);
  void unlink(Zone& zone, std::uint64_t pfn, unsigned order);
  bool is_free_block(const Zone& zone, std::uint64_t pfn, unsigned order) const;
  Zone& zone_at(sim::Pfn pfn);
  Zone& add_zone(unsigned nid, ZoneType type);
  void build_zonelists();
  /// Back to the zone's lists, merged with its buddies.
  void free_to_zone(Zone& zone, std::uint64_t pfn, unsigned order);
  std::optional<sim::Pfn> take_once(unsigned order, unsigned nid, unsigned gfp);
  PageList* pcp_of(Zone& zone, unsigned order);
  void pcp_refill(Zone& zone, PageList& list);
  void pcp_drain(Zone& zone, PageList& list, std::uint64_t pages);
  void pcp_push(PageList& list, std::uint64_t pfn, bool at_head);
  std::uint64_t pcp_pop(PageList& list, bool at_head);
  std::optional<sim::Pfn> first_in_use(sim::Pfn start, sim::Pfn end) const;

  PageFrames& frames_;
  Trace& trace_;
  sim::RandomStream random_;
  BuddyConfig config_;
  std::vector<Zone> zones_;                      // once populated, kept
  std::vector<std::vector<unsigned>> fallback_;  // per nid: zone indices in the order they are tried
  std::vector<int> zone_index_;                  // nid * kZoneTypes + type -> index or -1
  unsigned first_nid_ = 0;
  std::uint64_t fail_candidates_ = 0;
  std::uint64_t fail_times_ = 0;
  std::function<bool(unsigned, unsigned)> hook_;
  unsigned cpus_ = 0;
  std::function<unsigned()> current_cpu_;
  Counters counters_;
};

}  // namespace mm
