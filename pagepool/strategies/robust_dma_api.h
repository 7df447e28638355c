// SPDX-License-Identifier: Apache-2.0
// robust_dma_api: R. Murphy (#10). The DMA API itself tracks every mapping, as dma-debug does (16384 hash
// buckets, 65536 entries made in advance), looks it up at every sync and unmap, and offers "clean up all
// mappings of this device", which the driver core calls at unbind. An unmap of what was cleaned up finds no
// entry and does nothing.
#pragma once
#include <algorithm>
#include <array>
#include <atomic>
#include <memory>
#include <vector>

#include "pagepool/strategy.h"

namespace pagepool {

template <class Env, class Pool>
class RobustDmaApi : public StrategyBase<Env, Pool> {
 public:
  static constexpr const char* kKey = "robust_dma_api";
  static constexpr const char* kSummary = "Murphy #10: the DMA API tracks mappings and cleans up at unbind";
  using Netmem = typename Env::Netmem;

  explicit RobustDmaApi(Env& env) : StrategyBase<Env, Pool>(env), env_(env) {}
  ~RobustDmaApi() {
    if (table_) env_.memory_delete(table_.get(), sizeof(Table));
  }

  int create(Pool&) {
    auto table = std::make_unique<Table>();
    if (!env_.memory_new(table.get(), sizeof(Table))) return -ENOMEM;
    table_ = std::move(table);
    return 0;
  }

  bool map(Pool&, Netmem netmem) {
    if (used_.load(std::memory_order_relaxed) == kEntries) return false;
    DmaAddr addr = env_.dma_addr(netmem);
    Bucket& bucket = lock(addr);
    env_.store(bucket.head);
    bucket.chain.push_back({addr, netmem});
    used_.fetch_add(1, std::memory_order_relaxed);
    unlock(addr);
    return true;
  }
  void unmap(Pool& pool, Netmem netmem) {
    if (pool.dma_map() && take(env_.dma_addr(netmem))) pool.unmap_page(netmem);
  }
  void sync_for_device(Pool& pool, Netmem netmem, unsigned size) {
    if (!pool.dma_sync() || !env_.dma_dev_need_sync(pool.dev())) return;
    DmaAddr addr = env_.dma_addr(netmem);
    Bucket& bucket = lock(addr);
    bool known = std::find(bucket.chain.begin(), bucket.chain.end(), addr) != bucket.chain.end();
    unlock(addr);
    if (known) pool.dma_sync_for_device_now(netmem, size);
  }
  void device_unbind(Pool& pool) {
    if (!pool.dma_map()) return;
    for (Bucket& bucket : table_->buckets) {
      env_.load(bucket.head);
      while (Netmem netmem = take_any(bucket)) pool.unmap_page(netmem);
    }
  }

  std::uint64_t tracking_bytes() const { return kEntries * kEntryBytes + kBuckets * 16; }
  std::uint64_t tracking_bytes_peak() const { return tracking_bytes(); }

 private:
  static constexpr std::size_t kBuckets = 16384, kEntries = 65536, kEntryBytes = 64, kLocks = 64;
  struct Entry {
    DmaAddr addr;
    Netmem netmem;
    bool operator==(DmaAddr other) const { return addr == other; }
  };
  struct Bucket {
    std::uint64_t head = 0;  // stands for the list head and lock that are touched
    std::vector<Entry> chain;
  };
  struct Table {
    std::array<Bucket, kBuckets> buckets;
  };

  Bucket& lock(DmaAddr addr) {
    Bucket& bucket = table_->buckets[(addr >> kPageShift) % kBuckets];
    env_.spin_lock_bh(locks_[(addr >> kPageShift) % kLocks].spin);
    env_.load(bucket.head);
    return bucket;
  }
  void unlock(DmaAddr addr) { env_.spin_unlock_bh(locks_[(addr >> kPageShift) % kLocks].spin); }
  /// Takes what stands last in the bucket; null when it is empty.
  Netmem take_any(Bucket& bucket) {
    auto& spin = locks_[static_cast<std::size_t>(&bucket - table_->buckets.data()) % kLocks].spin;
    env_.spin_lock_bh(spin);
    Netmem netmem{};
    if (!bucket.chain.empty()) {
      netmem = bucket.chain.back().netmem;
      env_.store(bucket.head);
      bucket.chain.pop_back();
      used_.fetch_sub(1, std::memory_order_relaxed);
    }
    env_.spin_unlock_bh(spin);
    return netmem;
  }
  bool take(DmaAddr addr) {
    Bucket& bucket = lock(addr);
    auto entry = std::find(bucket.chain.begin(), bucket.chain.end(), addr);
    bool found = entry != bucket.chain.end();
    if (found) {
      env_.store(bucket.head);
      bucket.chain.erase(entry);
      used_.fetch_sub(1, std::memory_order_relaxed);
    }
    unlock(addr);
    return found;
  }

  Env& env_;
  std::unique_ptr<Table> table_;
  struct Lock {
    typename Env::SpinLock spin{"dma_entry_hash"};
  };
  std::array<Lock, kLocks> locks_;
  std::atomic<std::size_t> used_{0};
};

}  // namespace pagepool
