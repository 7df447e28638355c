// SPDX-License-Identifier: Apache-2.0
// A table of DMA mappings as dma-debug keeps it (kernel/dma/debug.c, Linux 6.12): 16384 buckets by bits 13
// and up of the device's address, each with its own lock, and entries that are made in advance. What tracks
// mappings inside the DMA API - dma-debug, and the proposal `robust_dma_api` - stands on it.
//
// `Memory` pays for what is touched and locks for real, or as the modelled kernel does:
//   typename Lock; void lock(Lock&), unlock(Lock&);
//   void load(std::uint32_t entry), store(std::uint32_t entry);   // the line of an entry
// The list head of a bucket shares its lock's line. Depends on the standard library only.
#pragma once
#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

namespace kernel {

/// What the table knows of a mapping. `kind` is the user's.
struct TrackedMapping {
  const void* device = nullptr;
  std::uint64_t address = 0;  ///< as the device uses it
  std::uint64_t phys = 0;
  std::uint64_t size = 0;
  std::uint8_t direction = 0;
  std::uint8_t kind = 0;
};

template <class Memory>
class MappingHash {
 public:
  static constexpr std::size_t kBuckets = 16384;
  static constexpr unsigned kShift = 13;
  static constexpr std::size_t kEntryBytes = 128;  ///< struct dma_debug_entry, cache line aligned
  static constexpr std::size_t kBucketBytes = 24;  ///< list head and lock
  /// A range that contains an address begins at most this far below it (dma_get_max_seg_size).
  static constexpr std::uint64_t kMaxRange = 65536;

  MappingHash(Memory& memory, std::uint32_t entries)
      : memory_(memory), buckets_(kBuckets), entries_(entries) {
    for (std::uint32_t i = 0; i < entries; ++i) entries_[i].next = i + 1 < entries ? i + 1 : kNone;
    free_ = entries == 0 ? kNone : 0;
    free_count_ = least_free_ = entries;
  }

  std::uint32_t entries() const { return static_cast<std::uint32_t>(entries_.size()); }
  std::uint32_t free_entries() const { return free_count_; }
  std::uint32_t least_free_entries() const { return least_free_; }
  static constexpr std::uint64_t bytes_for(std::uint32_t entries) {
    return std::uint64_t{entries} * kEntryBytes + kBuckets * kBucketBytes;
  }
  std::uint64_t bytes() const { return bytes_for(entries()); }

  /// False: no entry is left.
  bool add(const TrackedMapping& mapping) {
    const std::uint32_t id = new_entry();
    if (id == kNone) return false;
    Bucket& bucket = bucket_of(mapping.address);
    memory_.lock(bucket.lock);
    Entry& entry = entries_[id];
    memory_.store(id);
    entry.mapping = mapping;
    entry.next = bucket.head;
    entry.linked = true;
    bucket.head = id;
    memory_.unlock(bucket.lock);
    return true;
  }

  /// Takes out the device's mapping that begins at `address`; of several the one of `size`, if there is one.
  std::optional<TrackedMapping> take(const void* device, std::uint64_t address, std::uint64_t size) {
    Bucket& bucket = bucket_of(address);
    memory_.lock(bucket.lock);
    const std::uint32_t id = find(bucket, device, [&](const TrackedMapping& m) {
      return m.address != address ? 0 : m.size == size ? 2 : 1;
    });
    std::optional<TrackedMapping> found;
    if (id != kNone) {
      found = entries_[id].mapping;
      unlink(bucket, id);
    }
    memory_.unlock(bucket.lock);
    if (id != kNone) free_entry(id);
    return found;
  }

  /// The device's mapping that `address` lies in.
  std::optional<TrackedMapping> find_containing(const void* device, std::uint64_t address) {
    constexpr std::uint64_t kStep = std::uint64_t{1} << kShift;
    for (std::uint64_t back = 0; back <= kMaxRange && back <= address; back += kStep) {
      Bucket& bucket = bucket_of(address - back);
      memory_.lock(bucket.lock);
      const std::uint32_t id = find(bucket, device, [&](const TrackedMapping& m) {
        return address >= m.address && address - m.address < m.size ? 2 : 0;
      });
      std::optional<TrackedMapping> found;
      if (id != kNone) found = entries_[id].mapping;
      memory_.unlock(bucket.lock);
      if (found) return found;
    }
    return std::nullopt;
  }

  /// Takes out every mapping of the device; each is given to f with no lock held. How many.
  template <class F>
  std::uint64_t take_all(const void* device, F&& f) {
    std::uint64_t taken = 0;
    for (Bucket& bucket : buckets_) {
      for (;;) {
        memory_.lock(bucket.lock);
        const std::uint32_t id = find(bucket, device, [](const TrackedMapping&) { return 2; });
        std::optional<TrackedMapping> found;
        if (id != kNone) {
          found = entries_[id].mapping;
          unlink(bucket, id);
        }
        memory_.unlock(bucket.lock);
        if (!found) break;
        free_entry(id);
        ++taken;
        f(*found);
      }
    }
    return taken;
  }

  /// Walks the whole table: how many mappings the device has, and one of them.
  std::uint64_t count(const void* device, std::optional<TrackedMapping>& one) {
    std::uint64_t n = 0;
    for (Bucket& bucket : buckets_) {
      memory_.lock(bucket.lock);
      for (std::uint32_t id = bucket.head; id != kNone && entries_[id].linked; id = entries_[id].next) {
        memory_.load(id);
        if (entries_[id].mapping.device != device) continue;
        ++n;
        one = entries_[id].mapping;
      }
      memory_.unlock(bucket.lock);
    }
    return n;
  }

 private:
  static constexpr std::uint32_t kNone = ~0u;
  struct Bucket {
    typename Memory::Lock lock;
    std::uint32_t head = kNone;
  };
  struct Entry {
    TrackedMapping mapping;
    std::uint32_t next = kNone;
    bool linked = false;  // in a bucket; else free
  };

  Bucket& bucket_of(std::uint64_t address) { return buckets_[(address >> kShift) % kBuckets]; }

  /// `fit`: 0 no, 1 if nothing better comes, 2 this one.
  template <class Fit>
  std::uint32_t find(Bucket& bucket, const void* device, Fit&& fit) {
    std::uint32_t best = kNone;
    for (std::uint32_t id = bucket.head; id != kNone && entries_[id].linked; id = entries_[id].next) {
      memory_.load(id);
      const int how = entries_[id].mapping.device == device ? fit(entries_[id].mapping) : 0;
      if (how == 2) return id;
      if (how == 1) best = id;
    }
    return best;
  }

  void unlink(Bucket& bucket, std::uint32_t id) {
    memory_.store(id);
    std::uint32_t* link = &bucket.head;
    while (*link != kNone && *link != id && entries_[*link].linked) link = &entries_[*link].next;
    if (*link == id) *link = entries_[id].next;
  }

  std::uint32_t new_entry() {
    memory_.lock(free_lock_);
    const std::uint32_t id = free_;
    if (id != kNone) {
      memory_.load(id);
      free_ = entries_[id].next;
      if (--free_count_ < least_free_) least_free_ = free_count_;
    }
    memory_.unlock(free_lock_);
    return id;
  }

  void free_entry(std::uint32_t id) {
    memory_.lock(free_lock_);
    if (entries_[id].linked) {  // else somebody else has freed it: only without the bucket's lock
      memory_.store(id);
      entries_[id].linked = false;
      entries_[id].next = free_;
      free_ = id;
      ++free_count_;
    }
    memory_.unlock(free_lock_);
  }

  Memory& memory_;
  std::deque<Bucket> buckets_;  // locks do not move
  std::vector<Entry> entries_;
  typename Memory::Lock free_lock_;
  std::uint32_t free_ = kNone;
  std::uint32_t free_count_ = 0, least_free_ = 0;
};

}  // namespace kernel
