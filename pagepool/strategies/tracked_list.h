// SPDX-License-Identifier: Apache-2.0
// tracked_list: M. Almasry (#7). Mapped pages stand in an rculist of the pool, a node each: added at map,
// removed at unmap. Destroy walks it and unmaps all; a return that sees destroy_cnt > 0 skips the unmap and
// counts on the walk.
#pragma once
#include <algorithm>
#include <atomic>
#include <deque>
#include <vector>

#include "pagepool/strategy.h"

namespace pagepool {

template <class Env, class Pool>
class TrackedList : public StrategyBase<Env, Pool> {
 public:
  static constexpr const char* kKey = "tracked_list";
  static constexpr const char* kSummary =
      "Mina #7: rculist of mapped pages, returns after destroy skip the unmap";
  using Netmem = typename Env::Netmem;

  explicit TrackedList(Env& env) : StrategyBase<Env, Pool>(env), env_(env) {}
  ~TrackedList() {
    for (Node& node : nodes_)
      if (node.memory) env_.memory_delete(&node, kNodeBytes);
  }

  bool map(Pool&, Netmem netmem) {
    env_.spin_lock_bh(lock_);
    std::uint32_t id;
    if (free_.empty()) {
      id = static_cast<std::uint32_t>(nodes_.size());
      nodes_.emplace_back();
    } else {
      id = free_.back();
      free_.pop_back();
    }
    Node& node = nodes_[id];
    if (node.memory) env_.memory_delete(&node, kNodeBytes);
    bool memory = node.memory = env_.memory_new(&node, kNodeBytes);
    if (memory) {
      // list_add_rcu: the new node and the first one are written.
      node.netmem = netmem;
      node.prev = kNone;
      node.next = first_;
      node.linked = true;
      env_.store(node);
      if (first_ != kNone) {
        env_.store(nodes_[first_]);
        nodes_[first_].prev = id;
      }
      first_ = id;
      peak_ = std::max(peak_, ++count_);
    } else {
      free_.push_back(id);
    }
    env_.spin_unlock_bh(lock_);
    if (memory) env_.set_dma_index(netmem, id + 1);
    return memory;
  }

  void unmap(Pool& pool, Netmem netmem) {
    if (!pool.dma_map()) return;
    std::uint32_t id = env_.dma_index(netmem);
    if (pool.destroy_cnt() == 0 && id != 0) {
      pool.unmap_page(netmem);
      remove(id - 1);
    }
    env_.set_dma_index(netmem, 0);
  }

  void destroy_scrub(Pool& pool) {
    if (!pool.dma_map()) return;
    // A walk as list_for_each_entry_rcu: it goes on from a node that a remover takes out meanwhile, whose
    // fields stay (a removed node is freed after a grace period).
    for (std::uint32_t id = first(); id != kNone;) {
      const Node& node = at(id);
      env_.load(node.next);
      pool.unmap_page(node.netmem);
      std::uint32_t next = node.next.load(std::memory_order_acquire);
      remove(id);
      id = next;
    }
  }

  std::uint64_t tracking_bytes() const { return count_ * kNodeBytes; }
  std::uint64_t tracking_bytes_peak() const { return peak_ * kNodeBytes; }

 private:
  static constexpr std::uint32_t kNone = ~0u;
  static constexpr std::size_t kNodeBytes = 64;  // list_head, page, rcu_head: kmalloc-64
  struct Node {
    Netmem netmem{};
    std::atomic<std::uint32_t> next{kNone};  // read by the walk without the lock
    std::uint32_t prev = kNone;
    bool linked = false;
    bool memory = false;  // kfree_rcu: at the latest when its place is used again
  };

  std::uint32_t first() {
    env_.spin_lock_bh(lock_);
    env_.load_plain(first_, "list->first");
    std::uint32_t id = first_;
    env_.spin_unlock_bh(lock_);
    return id;
  }
  /// Nodes never move, and only the consumer, who is gone when this is used, makes new ones.
  const Node& at(std::uint32_t id) const { return nodes_[id]; }

  void remove(std::uint32_t id) {
    env_.spin_lock_bh(lock_);
    if (id < nodes_.size() && nodes_[id].linked) {
      Node& node = nodes_[id];
      // list_del_rcu: both neighbours are written.
      env_.load(node.next);
      env_.load_plain(node.prev, "list->prev");
      const std::uint32_t next = node.next.load(std::memory_order_relaxed), prev = node.prev;
      if (next != kNone) {
        env_.store_plain(nodes_[next].prev, "list->prev");
        nodes_[next].prev = prev;
      }
      if (prev != kNone) {
        env_.store(nodes_[prev].next);
        nodes_[prev].next.store(next, std::memory_order_release);
      } else {
        env_.store_plain(first_, "list->first");
        first_ = next;
      }
      node.linked = false;
      free_.push_back(id);
      --count_;
    }
    env_.spin_unlock_bh(lock_);
  }

  Env& env_;
  typename Env::SpinLock lock_{"tracked_list_lock"};
  std::deque<Node> nodes_;
  std::vector<std::uint32_t> free_;
  std::uint32_t first_ = kNone;
  std::uint64_t count_ = 0, peak_ = 0;
};

}  // namespace pagepool
