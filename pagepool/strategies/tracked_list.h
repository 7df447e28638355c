// SPDX-License-Identifier: Apache-2.0
// tracked_list: M. Almasry (#7). Mapped pages stand in an rculist of the pool, a node each: added at map,
// removed at unmap. Destroy walks it and unmaps all; a return that sees destroy_cnt > 0 skips the unmap and
// counts on the walk.
#pragma once
#include <algorithm>
#include <memory>
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
    for (auto& node : nodes_)
      if (node) env_.memory_delete(node.get(), kNodeBytes);
  }

  bool map(Pool&, Netmem netmem) {
    auto node = std::make_unique<Node>();
    if (!env_.memory_new(node.get(), kNodeBytes)) return false;
    node->netmem = netmem;
    env_.spin_lock_bh(lock_);
    std::uint32_t id;
    if (free_.empty()) {
      id = static_cast<std::uint32_t>(nodes_.size());
      nodes_.emplace_back();
    } else {
      id = free_.back();
      free_.pop_back();
    }
    // list_add_rcu: the new node and the first one are written.
    node->next = first_;
    env_.store(*node);
    if (first_ != kNone) {
      env_.store(*nodes_[first_]);
      nodes_[first_]->prev = id;
    }
    first_ = id;
    nodes_[id] = std::move(node);
    ++count_;
    peak_ = std::max(peak_, count_);
    env_.spin_unlock_bh(lock_);
    env_.set_dma_index(netmem, id + 1);
    return true;
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
    for (std::uint32_t id = first_; id != kNone;) {
      env_.load(*nodes_[id]);
      std::uint32_t next = nodes_[id]->next;
      pool.unmap_page(nodes_[id]->netmem);
      remove(id);
      // A remover that did not see destroy_cnt may have taken the next one out.
      id = next != kNone && nodes_[next] ? next : first_;
    }
  }

  std::uint64_t tracking_bytes() const { return count_ * kNodeBytes; }
  std::uint64_t tracking_bytes_peak() const { return peak_ * kNodeBytes; }

 private:
  static constexpr std::uint32_t kNone = ~0u;
  static constexpr std::size_t kNodeBytes = 64;  // list_head, page, rcu_head: kmalloc-64
  struct Node {
    Netmem netmem{};
    std::uint32_t next = kNone, prev = kNone;
  };

  void remove(std::uint32_t id) {
    env_.spin_lock_bh(lock_);
    if (id < nodes_.size() && nodes_[id]) {
      std::unique_ptr<Node> node = std::move(nodes_[id]);
      env_.store(*node);
      if (node->next != kNone) nodes_[node->next]->prev = node->prev;
      (node->prev != kNone ? nodes_[node->prev]->next : first_) = node->next;
      free_.push_back(id);
      --count_;
      env_.memory_delete(node.get(), kNodeBytes);
    }
    env_.spin_unlock_bh(lock_);
  }

  Env& env_;
  typename Env::SpinLock lock_{"tracked_list_lock"};
  std::vector<std::unique_ptr<Node>> nodes_;
  std::vector<std::uint32_t> free_;
  std::uint32_t first_ = kNone;
  std::uint64_t count_ = 0, peak_ = 0;
};

}  // namespace pagepool
