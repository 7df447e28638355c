// SPDX-License-Identifier: Apache-2.0
// Page frames: one `struct page` of 64 bytes a pfn, in simulated memory at the top of DRAM (the kernel's
// vmemmap), so that the modelled kernel, a fault injector and a scan all see the same bytes. Field offsets
// are those of 64-bit Linux 6.12 (include/linux/mm_types.h, page_pool view). Nodes, zones, holes and sections
// as in mm/memory_hotplug and SPARSEMEM_VMEMMAP: sections of 128 MiB, ZONE_DMA32 below 4 GiB and ZONE_NORMAL
// above.
//
// A struct page that nobody touched is all zero: a free page without references. Nothing is initialised in
// advance, so 12.3 TB cost nothing; next_written() tells a walker which ones may be anything else.
//
// Hotplug (mm/memory_hotplug.c) in its results: memory is added (struct pages exist, sections are off line),
// brought on line (its zone grows), taken off line, removed. kernel/memory_hotplug.h has the steps, locks and
// costs. Functions here cost no simulated time; the kernel model pays for what it
// calls. Errors: sim::Error for a bad configuration; a pfn without struct page breaks a law
// (sim::ModelError).
#pragma once
#include <cstdint>
#include <optional>
#include <vector>

#include "mm/sparse_store.h"
#include "sim/types.h"

namespace mm {

/// Offsets inside struct page. lru.next, pp_magic and compound_head share offset 8.
namespace page_field {
inline constexpr unsigned kFlags = 0;         // u64
inline constexpr unsigned kLruNext = 8;       // u64; pp_magic; compound_head; bit 1 = pfmemalloc
inline constexpr unsigned kPpMagic = 8;       // u64
inline constexpr unsigned kCompoundHead = 8;  // u64; address of the head's struct page | 1
inline constexpr unsigned kLruPrev = 16;      // u64
inline constexpr unsigned kPp = 16;           // u64
inline constexpr unsigned kMappingPad = 24;   // u64
inline constexpr unsigned kDmaAddr = 32;      // u64
inline constexpr unsigned kPpRefCount = 40;   // i64
inline constexpr unsigned kPrivate = 40;      // u64; order of a free block
inline constexpr unsigned kMapcount = 48;     // i32; page_type
inline constexpr unsigned kRefcount = 52;     // i32
inline constexpr unsigned kMemcgData = 56;    // u64
inline constexpr unsigned kBytes = 64;
}  // namespace page_field

/// Bits of page->flags that the model uses.
namespace page_flag {
inline constexpr std::uint64_t kHead = 1ull << 6;  ///< head of a compound page (PG_head)
inline constexpr std::uint64_t kAllocated = 1ull
                                            << 20;  ///< first page of an allocated block (the model's own)
inline constexpr unsigned kOrderShift = 24;  ///< order of the allocated block, 4 bits (the model's own)
inline constexpr unsigned kZoneShift = 56;   ///< zone number, 2 bits
inline constexpr unsigned kNodeShift = 58;   ///< node number, 6 bits
}  // namespace page_flag

/// pfmemalloc mark in lru.next (page_is_pfmemalloc()).
inline constexpr std::uint64_t kPfMemallocBit = 2;

enum class ZoneType : std::uint8_t { kDma32 = 0, kNormal = 1 };
inline constexpr unsigned kZoneTypes = 2;
const char* zone_name(ZoneType type);

struct MemoryRange {
  sim::PhysAddr base{0};
  std::uint64_t bytes = 0;
};

struct NodeConfig {
  unsigned nid = 0;  ///< 0..63, each used once
  sim::PhysAddr base{0};
  std::uint64_t bytes = 0;
};

struct PageFramesConfig {
  /// Empty: everything is node 0. Otherwise ranges in ascending order, inside the store, not overlapping;
  /// what lies between them is a hole. The vmemmap is taken from the top of the store.
  std::vector<NodeConfig> nodes = {};
  /// No struct page: pfn_valid() is false. Multiples of 2 MiB (a subsection).
  std::vector<MemoryRange> holes = {};
  /// struct page exists, but the allocator never hands these out (firmware, kernel image). Multiples of 4
  /// KiB.
  std::vector<MemoryRange> reserved = {};
  /// Not there at boot, but can be added. Multiples of 128 MiB (a section), in no node's way: counted as holes
  /// of the nodes that they lie in until then.
  std::vector<MemoryRange> absent = {};
  std::uint64_t dma32_limit = std::uint64_t{4} << 30;

  /// Throws sim::Error naming the field.
  void validate(const SparseStore& store) const;
};

/// A populated zone of a node: pfns [start, end), holes included.
struct ZoneInfo {
  unsigned nid;
  ZoneType type;
  sim::Pfn start;
  sim::Pfn end;
  std::uint64_t present_pages;  ///< without holes
};

class PageFrames {
 public:
  static constexpr unsigned kSectionShift = 27;
  static constexpr std::uint64_t kPagesPerSection = std::uint64_t{1} << (kSectionShift - sim::kPageShift);

  explicit PageFrames(SparseStore& store, PageFramesConfig config = {});

  SparseStore& store() const { return store_; }

  /// First and last + 1 pfn of the store. [vmemmap_base, end of store) holds the struct pages.
  sim::Pfn begin_pfn() const { return first_; }
  sim::Pfn end_pfn() const { return end_; }
  sim::PhysAddr vmemmap_base() const { return vmemmap_; }

  /// A struct page exists for it (kernel: pfn_valid). Any value may be asked.
  bool pfn_valid(sim::Pfn pfn) const;
  /// pfn_valid and its section is online (kernel: pfn_to_online_page).
  bool pfn_to_online_page(sim::Pfn pfn) const {
    return pfn >= first_ && pfn < end_ && online_[section_of(pfn)] != 0 && pfn_valid(pfn);
  }
  /// From `pfn` on, pages that are all online or all not, inside one section.
  struct Run {
    bool online;
    sim::Pfn end;
  };
  Run online_run(sim::Pfn pfn) const;
  /// First page in [pfn, end) whose struct page may be other than zero, or `end`.
  sim::Pfn next_written(sim::Pfn pfn, sim::Pfn end) const {
    const sim::PhysAddr at = store_.next_written(page(pfn), page(end));
    return std::max(pfn, page_to_pfn(at));
  }

  // Hotplug. All ranges are whole sections; false (and nothing changed): the range is not what it should be.
  /// add_memory_resource: [start, end) becomes memory of node `nid`, off line. It must be no memory yet, and lie
  /// in the store below the vmemmap, in one zone, and in no other node's range.
  bool add_memory(unsigned nid, sim::Pfn start, sim::Pfn end);
  /// Sections on line; the zone grows to hold them. All of it must be memory, of one node, off line.
  bool set_online(sim::Pfn start, sim::Pfn end);
  /// Sections off line; the zone shrinks. All of it must be on line, of one node.
  bool set_offline(sim::Pfn start, sim::Pfn end);
  /// remove_memory: no memory any more; contents and struct pages are gone. All of it must be off line.
  bool remove_memory(sim::Pfn start, sim::Pfn end);

  /// Node and zone; pfn_valid(pfn) required.
  unsigned nid_of(sim::Pfn pfn) const;
  ZoneType zone_of(sim::Pfn pfn) const {
    return sim::to_phys(pfn).value < config_.dma32_limit ? ZoneType::kDma32 : ZoneType::kNormal;
  }
  /// All populated zones, by node, then zone type (for_each_populated_zone).
  const std::vector<ZoneInfo>& zones() const { return zones_; }
  unsigned node_count() const { return node_count_; }
  /// Ranges of pages the allocator may use, ascending: memory without holes, reserved ranges and the vmemmap.
  struct FreeRange {
    unsigned nid;
    ZoneType zone;
    sim::Pfn start;
    sim::Pfn end;
  };
  const std::vector<FreeRange>& free_ranges() const { return free_ranges_; }

  /// Address of the struct page of `pfn` (kernel: pfn_to_page) and back (page_to_pfn).
  sim::PhysAddr page(sim::Pfn pfn) const { return vmemmap_ + (pfn - first_) * page_field::kBytes; }
  sim::Pfn page_to_pfn(sim::PhysAddr page) const { return first_ + (page - vmemmap_) / page_field::kBytes; }
  bool is_page(sim::PhysAddr addr) const {
    return addr >= vmemmap_ && addr < page(end_) && (addr - vmemmap_) % page_field::kBytes == 0;
  }

  /// A field of the struct page of `pfn`, e.g. get<std::uint64_t>(pfn, page_field::kPpMagic).
  template <class T>
  T get(sim::Pfn pfn, unsigned field) const {
    T value;
    std::memcpy(&value, host(pfn) + field, sizeof(T));
    return value;
  }
  template <class T>
  void set(sim::Pfn pfn, unsigned field, std::type_identity_t<T> value) {
    std::memcpy(host(pfn) + field, &value, sizeof(T));
    store_.mark_written(page(pfn), page_field::kBytes);
  }
  /// All bytes of the struct page to zero.
  void clear(sim::Pfn pfn) {
    std::memset(host(pfn), 0, page_field::kBytes);
    store_.mark_written(page(pfn), page_field::kBytes);
  }

  // Reference count (kernel names).
  std::int32_t page_count(sim::Pfn pfn) const { return get<std::int32_t>(pfn, page_field::kRefcount); }
  void set_page_count(sim::Pfn pfn, std::int32_t n) { set<std::int32_t>(pfn, page_field::kRefcount, n); }
  void get_page(sim::Pfn pfn) { set_page_count(pfn, page_count(pfn) + 1); }
  /// Drops one reference; true if it was the last one: the caller frees the page.
  bool put_page_testzero(sim::Pfn pfn) {
    const std::int32_t n = page_count(pfn) - 1;
    set_page_count(pfn, n);
    return n == 0;
  }

  /// Head of the compound page that `pfn` belongs to, or `pfn` itself.
  sim::Pfn compound_head(sim::Pfn pfn) const {
    const auto head = get<std::uint64_t>(pfn, page_field::kCompoundHead);
    const sim::PhysAddr page_addr(head & ~std::uint64_t{1});
    return (head & 1) != 0 && is_page(page_addr) ? page_to_pfn(page_addr) : pfn;
  }
  /// Order of the allocated block that starts at `pfn` (kernel: compound_order).
  unsigned order(sim::Pfn pfn) const {
    return (get<std::uint64_t>(pfn, page_field::kFlags) >> page_flag::kOrderShift) & 15;
  }
  bool page_is_pfmemalloc(sim::Pfn pfn) const {
    return (get<std::uint64_t>(pfn, page_field::kLruNext) & kPfMemallocBit) != 0;
  }

 private:
  std::uint8_t* host(sim::Pfn pfn) const {
    POOLSIM_ASSERT(pfn >= first_ && pfn < end_);
    return vmemmap_host_ + (pfn - first_) * page_field::kBytes;
  }
  /// The entry of present_ that holds `pfn`, or its end.
  std::vector<FreeRange>::const_iterator present_at(sim::Pfn pfn) const;
  bool whole_sections(sim::Pfn start, sim::Pfn end) const;
  /// All pages of the range are memory of one node, with all sections on (off) line.
  bool all_present(sim::Pfn start, sim::Pfn end, bool online) const;
  void rebuild_zones();
  std::size_t section_of(sim::Pfn pfn) const {
    return (pfn.value >> (kSectionShift - sim::kPageShift)) -
           (first_.value >> (kSectionShift - sim::kPageShift));
  }

  SparseStore& store_;
  PageFramesConfig config_;
  sim::Pfn first_, end_;
  sim::PhysAddr vmemmap_;
  std::uint8_t* vmemmap_host_;
  std::vector<FreeRange> present_;  // ascending
  std::vector<FreeRange> free_ranges_;
  std::vector<ZoneInfo> zones_;
  std::vector<std::uint8_t> online_;  // per section
  unsigned node_count_ = 0;
};

}  // namespace mm
