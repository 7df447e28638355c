// SPDX-License-Identifier: Apache-2.0
// What the checker finds. Equal findings are merged: one entry with a count, its first and last time, the
// holders it concerned and a few samples, so that a machine that misbehaves at every packet stays fast and
// readable.
#pragma once
#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "sim/types.h"

namespace checker {

enum class FindingClass : std::uint8_t {
  kLateUnmap,        ///< dma_unmap for a device whose driver is gone (or for a mapping of an earlier binding)
  kLateDmaApi,       ///< dma_map or dma_sync for a device without a driver
  kNullDomainOops,   ///< the unmap found no IOMMU domain any more: NULL dereference
  kOops,             ///< any other modelled kernel oops
  kKernelWarning,    ///< WARN_ON of the modelled kernel
  kIommuFault,       ///< the IOMMU refused an access
  kStaleIotlb,       ///< an access was translated by an entry that the page table no longer has
  kDmaNotOwned,      ///< a device wrote into memory that is not, or no longer, its buffer
  kForeignUnmap,     ///< an unmap hit a mapping that belongs to somebody else
  kDoubleUnmap,      ///< an unmap of something that is not mapped
  kUseAfterFree,     ///< page, pool or device used after it was freed
  kPoolMisuse,       ///< a page was returned twice, or where it does not belong
  kLeakedPage,       ///< a page never came back to its destroyed pool
  kLeakedMapping,    ///< a mapping outlived its driver for good
  kLeakedIova,       ///< an IOVA that nobody can free any more
  kBhOff,            ///< bottom halves off for longer than the bound
  kLockHeld,         ///< a lock held for longer than the bound
  kStalledShutdown,  ///< a pool that does not end within the bound after its destroy
  kLostPacket,       ///< a frame that was neither delivered nor counted as dropped
  kDeadlock,         ///< cores spin for each other's locks, or for one that nobody will release
  kLivelock,         ///< code runs on and on and gets nowhere
  kLostWakeup,       ///< a task sleeps, and nothing is left that would wake it
  kLockOrder,        ///< two locks are taken in one order here and in the other there
  kDataRace,         ///< two cores access a plain field, one writes, and nothing orders them
  kCount
};

struct FindingClassInfo {
  const char* key;      ///< "late_unmap": in tables, JSON and options
  const char* summary;  ///< one line for people
};
const FindingClassInfo& info(FindingClass c);
inline const char* key(FindingClass c) { return info(c).key; }
inline constexpr std::size_t kFindingClasses = static_cast<std::size_t>(FindingClass::kCount);

/// One of the things a merged finding is about.
struct Sample {
  sim::Tick time;
  std::uint64_t pfn;      ///< page concerned, 0 if none
  std::uint64_t address;  ///< IOVA or address concerned
  std::string holder;     ///< who held the page then, since when
};

struct Finding {
  FindingClass kind;
  sim::Tick first, last;
  std::uint64_t count;
  std::string place;   ///< function chain, innermost first, or the hardware's place
  std::string who;     ///< the party that did it
  std::string whom;    ///< the party it was done to
  std::string detail;  ///< of the first occurrence
  struct HeldBy {
    std::string_view holder;
    std::uint64_t pages;
  };
  std::vector<HeldBy> holders;  ///< occurrences by holder of the page, most frequent first
  std::vector<Sample> samples;  ///< the first few
};

/// Findings of a run by merge key.
class FindingLog {
 public:
  static constexpr std::size_t kSamples = 8;

  /// The finding of this kind and key, newly made if there is none: then `fresh` is true and the caller fills
  /// its texts. Counts the occurrence.
  Finding& hit(FindingClass kind, std::uint64_t key, sim::Tick now, bool& fresh);
  /// The page of an occurrence was held by `holder`.
  static void held(Finding& finding, std::string_view holder);

  const std::vector<Finding>& all() const { return findings_; }
  std::uint64_t count(FindingClass kind) const { return counts_[static_cast<std::size_t>(kind)]; }
  bool empty() const { return findings_.empty(); }

 private:
  struct Key {
    std::uint64_t key;
    FindingClass kind;
  };
  std::vector<Finding> findings_;
  std::vector<Key> keys_;
  std::array<std::uint64_t, kFindingClasses> counts_{};
  std::size_t last_ = 0;
};

/// "12.345678 us": a time for people, exact.
std::string format_time(sim::Tick t);

}  // namespace checker
