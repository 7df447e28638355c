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

  explicit ItemBlocks(Env& env) : DestroyLockStrategy<Env, Pool>(env), env_(env) {}
  ~ItemBlocks() {
    for (auto& block : blocks_)
      if (block) env_.memory_delete(block.get(), sizeof(Block));
  }

  int create(Pool& pool) {
    std::size_t asked = pool.params().pool_size ? pool.params().pool_size : kDefaultRingSize;
    std::size_t items = 2 * asked + kAllocCacheSize + 512;
    for (std::size_t n = 0; n < items; n += kItemsPerBlock) {
      std::uint32_t number = new_block(/*slow=*/false);
      if (number == kNone) return -ENOMEM;
      for (unsigned i = 0; i < kItemsPerBlock; ++i) hold_.push_back(number * kItemsPerBlock + i);
    }
    std::reverse(hold_.begin(), hold_.end());
    return 0;
  }

  bool enter(Pool& pool, Netmem netmem) {
    std::uint32_t id = take_item();
    if (id == kNone) return false;
    Item& item = item_of(id);
    env_.store(item);
    item = {kUsed | (pool.dma_map() ? kMapped : 0), netmem};
    env_.set_dma_index(netmem, id + 1);
    return true;
  }

  void unmap(Pool& pool, Netmem netmem) {
    std::uint32_t id = env_.dma_index(netmem);
    if (id == 0) return;
    Item& item = item_of(--id);
    env_.load(item);
    if (item.state & kMapped) {
      pool.unmap_page(netmem);
      env_.store(item);
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
    env_.synchronize_rcu();
    for (std::uint32_t id = 0; id < blocks_.size() * kItemsPerBlock; ++id) {
      if (!exists(id)) continue;
      env_.load(item_of(id));
      if (!is_mapped(id)) continue;
      env_.spin_lock_bh(this->destroy_lock_);
      // A returner may have come first; then its block may be gone, too.
      if (is_mapped(id)) {
        pool.unmap_page(item_of(id).netmem);
        env_.store(item_of(id));
        item_of(id).state &= ~kMapped;
      }
      env_.spin_unlock_bh(this->destroy_lock_);
    }
  }

  std::uint64_t item_fast_empty() const { return item_fast_empty_; }
  std::uint64_t item_slow_failed() const { return item_slow_failed_; }
  std::uint64_t tracking_bytes() const { return live_blocks_ * sizeof(Block); }
  std::uint64_t tracking_bytes_peak() const { return peak_blocks_ * sizeof(Block); }

 private:
  static constexpr std::uint32_t kNone = ~0u;
  static constexpr std::uint64_t kUsed = 1, kMapped = 2;
  struct Item {
    std::uint64_t state = 0;
    Netmem netmem{};  // or the link of the list that the item is on
  };
  static_assert(sizeof(Item) == 16);
  struct Block {
    std::uint64_t pool = 0, list = 0;
    std::uint64_t slow = 0;
    std::uint64_t ref = kItemsPerBlock;
    std::array<Item, kItemsPerBlock> items;
  };
  static_assert(sizeof(Block) == kPageSize);

  bool exists(std::uint32_t id) const { return blocks_[id / kItemsPerBlock] != nullptr; }
  Item& item_of(std::uint32_t id) { return blocks_[id / kItemsPerBlock]->items[id % kItemsPerBlock]; }
  bool is_mapped(std::uint32_t id) { return exists(id) && (item_of(id).state & kMapped) != 0; }

  std::uint32_t new_block(bool slow) {
    auto block = std::make_unique<Block>();
    if (!env_.memory_new(block.get(), sizeof(Block))) return kNone;
    block->slow = slow;
    auto place = std::find(blocks_.begin(), blocks_.end(), nullptr);
    if (place == blocks_.end()) place = blocks_.emplace(place);
    *place = std::move(block);
    peak_blocks_ = std::max(peak_blocks_, ++live_blocks_);
    return static_cast<std::uint32_t>(place - blocks_.begin());
  }

  /// The consumer's side: hold_items, then all of release_items, then the slow block.
  std::uint32_t take_item() {
    env_.load(hold_);
    if (hold_.empty()) {
      env_.rmw(release_);  // llist_del_all
      std::swap(hold_, release_);
    }
    if (!hold_.empty()) {
      std::uint32_t id = hold_.back();
      env_.load(item_of(id));  // the next one is behind it
      env_.store(hold_);
      hold_.pop_back();
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
    Block& block = *blocks_[id / kItemsPerBlock];
    env_.load(block.slow);
    if (!block.slow) {
      env_.store(item_of(id));
      item_of(id).state = 0;
      env_.rmw(release_);  // llist_add
      release_.push_back(id);
      return;
    }
    env_.rmw(block.ref);
    item_of(id).state = 0;
    if (--block.ref != 0) return;
    env_.memory_delete(&block, sizeof(Block));
    blocks_[id / kItemsPerBlock].reset();
    --live_blocks_;
  }

  Env& env_;
  std::vector<std::unique_ptr<Block>> blocks_;
  std::vector<std::uint32_t> hold_;     // hold_items, first at the back
  alignas(64) std::vector<std::uint32_t> release_;  // release_items, newest at the back
  std::uint32_t slow_next_ = 0, slow_end_ = 0;
  std::uint64_t live_blocks_ = 0, peak_blocks_ = 0;
  Counter item_fast_empty_, item_slow_failed_;
};

}  // namespace pagepool
