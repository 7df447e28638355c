// SPDX-License-Identifier: Apache-2.0
// The translation caches of the IOMMU: IOTLB (combined IOVA -> SPA), directory caches, and one cache of
// non-leaf entries per level and stage. Entries stay until a command invalidates them or they are replaced:
// stale entries are served, as in hardware. What each invalidation command drops: specification, "Caching
// in-memory data structures".
#pragma once
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "iommu/config.h"
#include "iommu/context.h"
#include "iommu/request.h"
#include "iommu/set_associative.h"

namespace iommu {

/// Which address space an entry belongs to: PSCID when the first stage is active, GSCID when the second is.
struct Space {
  std::uint64_t key = 0;
  Space() = default;
  Space(bool first, std::uint32_t pscid, bool second, std::uint32_t gscid)
      : key((first ? 1u : 0u) | (second ? 2u : 0u) | (first ? std::uint64_t{pscid} << 2 : 0) |
            (second ? std::uint64_t{gscid} << 22 : 0)) {}
  bool first() const { return (key & 1) != 0; }
  bool second() const { return (key & 2) != 0; }
  std::uint32_t pscid() const { return static_cast<std::uint32_t>((key >> 2) & 0xfffff); }
  std::uint32_t gscid() const { return static_cast<std::uint32_t>(key >> 22); }
  bool operator==(const Space&) const = default;
};

struct IotlbEntry {
  bool valid = false;
  std::uint8_t page_class = 0;   ///< index into IommuConfig::iotlb_page_sizes
  std::uint8_t page_shift = 12;  ///< what the walk found; the class is at most this
  std::uint8_t leaf_shift =
      12;  ///< first-stage leaf it came from: an invalidation anywhere in that drops this
  std::uint8_t pbmt = 0;
  bool readable = false, writable = false, executable = false, user = false, global = false, msi = false;
  Space space;
  std::uint64_t page = 0;   ///< IOVA >> class shift
  std::uint64_t frame = 0;  ///< SPA of the first byte of that page
};

/// An IOTINVAL command, decoded. Ranges are [address, address + bytes).
struct Invalidation {
  bool gvma = false;
  bool has_address = false, has_pscid = false, has_gscid = false, non_leaf = false;
  std::uint32_t pscid = 0, gscid = 0;
  std::uint64_t address = 0;
  std::uint64_t bytes = 0;  ///< 0 with has_address: the whole space
};

struct CacheCounters {
  std::uint64_t iotlb_fills = 0, iotlb_dropped = 0;
  std::uint64_t ddt_hits = 0, ddt_misses = 0, pdt_hits = 0, pdt_misses = 0;
};

class Caches {
 public:
  Caches(const IommuConfig& config, const sim::RandomStream& random);

  /// The entry that translates `iova` and allows what `request` asks; null = walk. `sum`: PC.ta.SUM.
  const IotlbEntry* find_translation(const Request& request, Space space, bool sum);
  /// The same without any change of age (transport_dbg).
  const IotlbEntry* peek_translation(const Request& request, Space space, bool sum) const;
  void fill_translation(std::uint64_t iova, Space space, const Outcome& outcome);

  /// All that translating a request takes, when both are cached.
  struct Hit {
    const DeviceContext* device = nullptr;
    const IotlbEntry* entry = nullptr;
    explicit operator bool() const { return entry != nullptr; }
  };
  /// Of an untranslated request without a process id, whose device has no process directory. A hit counts
  /// and ages as find_device() and find_translation() do; without one nothing changes, and it takes a walk to
  /// tell.
  Hit find_both(const Request& request);
  /// Where the entry translates `iova` to.
  std::uint64_t translated(const IotlbEntry& entry, std::uint64_t iova) const {
    return entry.frame + (iova & ((std::uint64_t{1} << class_shift(entry)) - 1));
  }

  /// `count` false: neither ages nor counters change.
  const DeviceContext* find_device(std::uint32_t device_id, bool count = true);
  void fill_device(std::uint32_t device_id, const DeviceContext& context);
  const ProcessContext* find_process(std::uint32_t device_id, std::uint32_t process_id, bool count = true);
  void fill_process(std::uint32_t device_id, std::uint32_t process_id, const ProcessContext& context);

  /// The deepest cached table on the way to `address`: its level (0 = holds leaf entries) and base.
  struct TableHit {
    unsigned level;
    std::uint64_t table;
    bool global;
  };
  std::optional<TableHit> find_table(unsigned stage, Space space, const Stage& root, std::uint64_t address,
                                     bool count = true);
  void fill_table(unsigned stage, Space space, const Stage& root, std::uint64_t address, unsigned level,
                  std::uint64_t table, bool global);

  /// Each returns the number of entries dropped.
  unsigned invalidate(const Invalidation& what);
  unsigned invalidate_ddt(std::optional<std::uint32_t> device_id);
  unsigned invalidate_pdt(std::uint32_t device_id, std::uint32_t process_id);
  void clear();
  /// Sets that an invalidation looks at: all, or with `indexed` those that its address or device id selects.
  unsigned sets_of(const Invalidation& what, bool indexed) const;
  /// The same of IODIR.INVAL_DDT and, with `process`, INVAL_PDT.
  unsigned directory_sets_of(bool process, bool has_device, bool indexed) const;

  unsigned class_shift(const IotlbEntry& entry) const { return class_shift_[entry.page_class]; }
  unsigned iotlb_valid() const;
  /// Hash of all valid entries with their places.
  std::uint64_t digest() const;
  /// Valid entries of the IOTLB (`tables` false) or of the caches of non-leaf entries.
  unsigned valid_entries(bool tables) const;
  /// Flips bit `bit` (0..63) of what valid entry `n` translates to; what it was about, for people.
  std::string corrupt(bool tables, unsigned n, unsigned bit);
  const CacheCounters& counters() const { return counters_; }

 private:
  struct DeviceEntry {
    bool valid = false;
    std::uint32_t device_id = 0;
    /// Of its untranslated requests without a process id; key 0 if a table says so, or nothing is translated.
    Space space;
    DeviceContext context;
  };
  struct ProcessEntry {
    bool valid = false;
    std::uint32_t device_id = 0, process_id = 0;
    ProcessContext context;
  };
  struct TableEntry {
    bool valid = false;
    bool global = false;
    Space space;
    std::uint64_t prefix = 0;
    std::uint64_t table = 0;
  };
  static bool allows(const IotlbEntry& entry, const Request& request, bool sum);
  const DeviceEntry* find_device_entry(std::uint32_t device_id);
  const IotlbEntry* find_guessed(const Request& request, Space space);
  static unsigned prefix_shift(const Stage& root, unsigned level) {
    return 12u + root.index_bits * (level + 1u);
  }
  unsigned class_of(unsigned page_shift) const;
  template <class Visit>
  void visit_tables(Visit&& visit);

  std::vector<unsigned> class_shift_;
  std::array<std::uint32_t, 8> class_valid_{};  // valid entries of each class: empty classes are not probed
  /// Places in the caches where something was found last: an entry says itself whether it is the one looked for.
  std::uint32_t device_guess_ = 0;
  std::array<std::uint32_t, 512> page_guesses_{};  // of the first class, by the page
  bool tables_enabled_;
  SetAssociative<IotlbEntry> iotlb_;
  SetAssociative<DeviceEntry> ddt_;
  SetAssociative<ProcessEntry> pdt_;
  std::vector<SetAssociative<TableEntry>> first_tables_, second_tables_;  // by level 0..3
  CacheCounters counters_;
};

}  // namespace iommu
