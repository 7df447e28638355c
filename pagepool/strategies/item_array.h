// SPDX-License-Identifier: Apache-2.0
// item_array: Y. Lin's series v1 to v3. page->pp leads to an item of an array that follows the pool object;
// the array has the next power of two of (pool_size ?: 1024) + 128 + 512 items. Map takes a free item by
// linear probing; with none free the allocation fails. Destroy stops syncing, waits for readers, and under a
// lock unmaps what the items hold. Returns and syncs are RCU readers; a return to a destroyed pool takes the
// lock.
#pragma once
#include <atomic>
#include <bit>
#include <vector>

#include "pagepool/destroy_lock.h"

namespace pagepool {

template <class Env, class Pool>
class ItemArray : public DestroyLockStrategy<Env, Pool> {
 public:
  static constexpr const char* kKey = "item_array";
  static constexpr const char* kSummary =
      "Lin v1-v3: fixed array of items beside the pool; none free fails the allocation";
  using Netmem = typename Env::Netmem;

  explicit ItemArray(Env& env) : DestroyLockStrategy<Env, Pool>(env), env_(env) {}
  ~ItemArray() {
    if (!items_.empty()) env_.memory_delete(items_.data(), items_.size() * sizeof(Item));
  }

  int create(Pool& pool) {
    std::size_t asked = pool.params().pool_size ? pool.params().pool_size : kDefaultRingSize;
    std::vector<Item> items(std::bit_ceil(asked + kAllocCacheSize + 512));
    if (!env_.memory_new(items.data(), items.size() * sizeof(Item))) return -ENOMEM;
    items_ = std::move(items);
    return 0;
  }

  bool map(Pool& pool, Netmem netmem) {
    for (std::size_t tried = 0; tried < items_.size(); ++tried) {
      Item& item = items_[next_++ & (items_.size() - 1)];
      env_.load(item.netmem);
      if (item.netmem.load(std::memory_order_acquire)) continue;
      env_.store(item.netmem);
      item.netmem.store(netmem, std::memory_order_release);
      env_.set_dma_index(netmem, static_cast<std::uint32_t>(&item - items_.data()) + 1);
      return true;
    }
    item_full_.inc();
    env_.warn_once(pool, Warning::item_full, static_cast<int>(items_.size()), 0);
    return false;
  }

  void unmap(Pool& pool, Netmem netmem) {
    std::uint32_t id = env_.dma_index(netmem);
    if (id == 0) return;
    Item& item = items_[id - 1];
    env_.load(item.netmem);  // page->pp is the item; the pool comes from it
    if (pool.dma_map()) pool.unmap_page(netmem);
    env_.store(item.netmem);
    env_.set_dma_index(netmem, 0);
    item.netmem.store(Netmem{}, std::memory_order_release);  // from here on the consumer may take it
  }

  void sync_for_device(Pool& pool, Netmem netmem, unsigned size) {
    env_.rcu_read_lock();
    StrategyBase<Env, Pool>::sync_for_device(pool, netmem, size);
    env_.rcu_read_unlock();
  }

  void destroy_detached(Pool& pool) {
    if (!pool.dma_map()) return;
    pool.set_dma_sync(false);
    env_.synchronize_rcu();
    env_.spin_lock_bh(this->destroy_lock_);
    for (Item& item : items_) {
      env_.load(item.netmem);
      if (Netmem netmem = item.netmem.load(std::memory_order_acquire)) pool.unmap_page(netmem);
    }
    pool.set_dma_map(false);
    env_.spin_unlock_bh(this->destroy_lock_);
  }

  std::uint64_t item_full() const { return item_full_; }
  std::uint64_t tracking_bytes() const { return items_.size() * sizeof(Item); }
  std::uint64_t tracking_bytes_peak() const { return tracking_bytes(); }

 private:
  struct Item {
    std::atomic<Netmem> netmem{};  // set by the consumer, cleared by whoever releases the page
    std::uint64_t pool = 0;
  };
  static_assert(sizeof(Item) == 16);

  Env& env_;
  std::vector<Item> items_;
  std::size_t next_ = 0;
  Counter item_full_;
};

}  // namespace pagepool
