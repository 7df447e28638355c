// SPDX-License-Identifier: Apache-2.0
// item_blocks: Y. Lin's series v5 to v11. Every page of the pool has an item; items lie in page-sized blocks, and an
// item's block is found by masking its address. The consumer pops items from a list of its own; returners push them
// onto another one without a lock, which the consumer moves over as a whole when its own is empty. When both are,
// a slow block is allocated in atomic context; each of its items is used once, and the block goes with the last.
// Destroy visits every item and unmaps under a lock those whose mapped bit is set; a return to a destroyed pool takes
// the same lock.
#pragma once
#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <memory>
#include <vector>

#include "pagepool/destroy_lock.h"

namespace pagepool {

template <class Env, class Pool>
class ItemBlocks : public DestroyLockStrategy<Env, Pool> {
 public:
  static constexpr const char* kKey = "item_blocks";
  static constexpr const char* kSummary =
      "Lin v5-v11: an item for every page, in page-sized blocks; slow blocks when they run out";
  using Netmem = typename Env::Netmem;
  static constexpr unsigned kItemsPerBlock = 254;

  explicit ItemBlocks(Env& env) : DestroyLockStrategy<Env, Pool>(env), env_(env), blocks_(kMaxBlocks) {}
  ~ItemBlocks() {
    for (std::uint32_t n = 0; n < blocks_end_; ++n)
      if (blocks_[n].load()) free_block(n);
  }

  int create(Pool& pool) {
    std::size_t asked = pool.params().pool_size ? pool.params().pool_size : kDefaultRingSize;
    std::size_t items = 2 * asked + kAllocCacheSize + 512;
    for (std::size_t n = 0; n < items; n += kItemsPerBlock)
      if (new_block(/*slow=*/false) == kNone) return -ENOMEM;
    for (std::uint32_t id = blocks_end_ * kItemsPerBlock; id-- > 0;) {
      item_of(id).state = link_to(hold_);
      hold_ = id;
    }
    return 0;
  }

  bool enter(Pool& pool, Netmem netmem) {
    std::uint32_t id = take_item();
    if (id == kNone) return false;
    Item& item = item_of(id);
    env_.store(item.state);
    item.netmem = netmem;
    item.state = kUsed | (pool.dma_map() ? kMapped : 0);
    env_.set_dma_index(netmem, id + 1);
    return true;
  }

  void unmap(Pool& pool, Netmem netmem) {
    std::uint32_t id = env_.dma_index(netmem);
    if (id == 0) return;
    Item& item = item_of(--id);
    env_.load(item.state);
    if (item.state & kMapped) {
      pool.unmap_page(netmem);
      env_.store(item.state);
      item.state &= ~kMapped;
    }
    env_.set_dma_index(netmem, 0);
    give_item(id);
  }

  void sync_for_device(Pool& pool, Netmem netmem, unsigned size) {
    if (!pool.dma_sync() || !env_.dma_dev_need_sync(pool.dev())) return;
    env_.rcu_read_lock();
    StrategyBase<Env, Pool>::sync_for_device(pool, netmem, size);
    env_.rcu_read_unlock();
  }

  void destroy_detached(Pool& pool) {
    if (!pool.dma_map()) return;
    pool.set_dma_sync(false);
    walking_ = true;  // slow blocks stay until the pool goes
    env_.synchronize_rcu();
    for (std::uint32_t n = 0; n < blocks_end_; ++n) {
      Block* block = blocks_[n];
      for (unsigned i = 0; block && i < kItemsPerBlock; ++i) {
        Item& item = block->items[i];
        env_.load(item.state);
        if (!is_mapped(item)) continue;
        env_.spin_lock_bh(this->destroy_lock_);
        if (is_mapped(item)) {  // else a returner came first
          pool.unmap_page(item.netmem);
          env_.store(item.state);
          item.state &= ~kMapped;
        }
        env_.spin_unlock_bh(this->destroy_lock_);
      }
    }
  }

  std::uint64_t item_fast_empty() const { return item_fast_empty_; }
  std::uint64_t item_slow_failed() const { return item_slow_failed_; }
  std::uint64_t tracking_bytes() const { return live_blocks_ * sizeof(Block); }
  std::uint64_t tracking_bytes_peak() const { return peak_blocks_ * sizeof(Block); }

 private:
  static constexpr std::uint32_t kNone = ~0u;
  static constexpr std::uint32_t kMaxBlocks = 1u << 15;  // the model's own: 8 million pages
  static constexpr std::uint64_t kUsed = 1, kMapped = 2;
  struct Item {
    std::atomic<std::uint64_t> state{0};  // used: the bits; free: the next one of its list
    Netmem netmem{};
  };
  static_assert(sizeof(Item) == 16);
  struct Block {
    std::uint64_t pool = 0, list = 0;
    std::uint64_t slow = 0;
    std::atomic<std::uint64_t> ref{kItemsPerBlock};
    std::array<Item, kItemsPerBlock> items;
  };
  static_assert(sizeof(Block) == kPageSize);

  static std::uint64_t link_to(std::uint32_t id) { return std::uint64_t{id} << 2; }
  static std::uint32_t linked(const Item& item) { return static_cast<std::uint32_t>(item.state >> 2); }
  static bool is_mapped(const Item& item) { return (item.state & kMapped) != 0; }
  Item& item_of(std::uint32_t id) { return blocks_[id / kItemsPerBlock].load()->items[id % kItemsPerBlock]; }

  /// The consumer's.
  std::uint32_t new_block(bool slow) {
    std::uint32_t number = 0;
    while (number < blocks_end_ && blocks_[number].load()) ++number;
    if (number == kMaxBlocks) return kNone;
    auto block = std::make_unique<Block>();
    if (!env_.memory_new(block.get(), sizeof(Block))) return kNone;
    block->slow = slow;
    blocks_[number] = block.release();
    blocks_end_ = std::max(blocks_end_, number + 1);
    std::uint64_t live = ++live_blocks_;
    if (live > peak_blocks_) peak_blocks_ = live;
    return number;
  }
  void free_block(std::uint32_t number) {
    std::unique_ptr<Block> block(blocks_[number].exchange(nullptr));
    env_.memory_delete(block.get(), sizeof(Block));
    --live_blocks_;
  }

  /// The consumer's side: hold_items, then all of release_items, then the slow block.
  std::uint32_t take_item() {
    env_.load(hold_);
    if (hold_ == kNone) {
      env_.rmw(release_);
      hold_ = release_.exchange(kNone);  // llist_del_all
    }
    if (hold_ != kNone) {
      std::uint32_t id = hold_;
      env_.load(item_of(id).state);
      env_.store(hold_);
      hold_ = linked(item_of(id));
      return id;
    }
    item_fast_empty_.inc();
    if (slow_next_ == slow_end_) {
      std::uint32_t number = new_block(/*slow=*/true);
      if (number == kNone) {
        item_slow_failed_.inc();
        return kNone;
      }
      slow_next_ = number * kItemsPerBlock;
      slow_end_ = slow_next_ + kItemsPerBlock;
    }
    env_.store(slow_next_);
    return slow_next_++;
  }

  /// A returner's side.
  void give_item(std::uint32_t id) {
    Block& block = *blocks_[id / kItemsPerBlock].load();
    env_.load(block.slow);
    if (!block.slow) {
      env_.store(item_of(id).state);
      env_.rmw(release_);
      std::uint32_t first = release_;
      do {  // llist_add
        item_of(id).state = link_to(first);
      } while (!release_.compare_exchange_weak(first, id));
      return;
    }
    env_.rmw(block.ref);
    item_of(id).state = 0;
    if (block.ref.fetch_sub(1) == 1 && !walking_) free_block(id / kItemsPerBlock);
  }

  Env& env_;
  std::vector<std::atomic<Block*>> blocks_;  // by number
  std::uint32_t blocks_end_ = 0;
  std::uint32_t hold_ = kNone;                             // hold_items
  alignas(64) std::atomic<std::uint32_t> release_{kNone};  // release_items
  std::uint32_t slow_next_ = 0, slow_end_ = 0;
  std::atomic<std::uint64_t> live_blocks_{0}, peak_blocks_{0};
  std::atomic<bool> walking_{false};
  Counter item_fast_empty_, item_slow_failed_;
};

}  // namespace pagepool
