// SPDX-License-Identifier: Apache-2.0
// XArray: the part of the kernel's xarray that page_pool uses: a radix tree of 64-slot nodes from a small
// integer to a word, allocation of the lowest free index (XA_FLAGS_ALLOC1), compare-and-exchange, ordered
// walk. A node takes 576 bytes of slab memory; it is freed when its last entry goes, and the tree shrinks
// when only slot 0 is left. Source: lib/xarray.c, include/linux/xarray.h (6.16). Search marks other than
// "free" are not needed here.
//
// `T` is a trivially copyable word whose value T{} means null. `Env` gives the lock and the slab and is told
// of every access. alloc(), cmpxchg() and erase() take xa_lock with bottom halves off; find() takes it per
// step, so that a walk may run against them. Errors are negative errno values: -ENOMEM (no node), -EBUSY (no
// free index).
#pragma once
#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstdint>

#include "pagepool/types.h"

namespace pagepool {

template <class T, class Env>
class XArray {
 public:
  static constexpr unsigned kChunkShift = 6;
  static constexpr unsigned kChunkSize = 1u << kChunkShift;
  static constexpr std::size_t kNodeBytes = 576;

  explicit XArray(Env& env) : env_(env) {}
  XArray(const XArray&) = delete;
  XArray& operator=(const XArray&) = delete;
  ~XArray() {
    if (head_) free_tree(head_);
  }

  /// xa_alloc_bh: stores `entry` (not null) at the lowest free index in [min, max].
  int alloc(std::uint32_t& id, T entry, std::uint32_t min, std::uint32_t max) {
    env_.spin_lock_bh(lock_);
    int err = alloc_locked(id, entry, min, max);
    env_.spin_unlock_bh(lock_);
    return err;
  }

  /// xa_cmpxchg_bh: if the entry at `id` is `old`, makes it `entry` (T{} erases). Returns what was there.
  T cmpxchg(std::uint32_t id, T old, T entry) {
    env_.spin_lock_bh(lock_);
    T found = T{};
    if (Node* node = leaf(id)) {
      Word& slot = node->slots[id & (kChunkSize - 1)];
      env_.load(slot);
      found = slot.entry;
      if (found == old && !(found == T{})) {
        env_.store(slot);
        slot.entry = entry;
        if (entry == T{}) removed(node, id & (kChunkSize - 1));
      }
    }
    env_.spin_unlock_bh(lock_);
    return found;
  }
  /// xa_erase_bh.
  T erase(std::uint32_t id) {
    T found = load(id);
    return found == T{} ? found : cmpxchg(id, found, T{});
  }

  /// xa_load.
  T load(std::uint32_t id) {
    env_.spin_lock_bh(lock_);
    T found = T{};
    if (Node* node = leaf(id)) {
      env_.load(node->slots[id & (kChunkSize - 1)]);
      found = node->slots[id & (kChunkSize - 1)].entry;
    }
    env_.spin_unlock_bh(lock_);
    return found;
  }

  /// xa_find: the first entry at an index >= `id` (updated), or T{}.
  T find(std::uint32_t& id) {
    env_.spin_lock_bh(lock_);
    T found = T{};
    std::uint64_t at = id;
    if (head_) found = find_in(head_, at);
    if (!(found == T{})) id = static_cast<std::uint32_t>(at);
    env_.spin_unlock_bh(lock_);
    return found;
  }
  /// xa_for_each: calls f(id, entry) in ascending order of what is there when the walk gets to it. `f` may
  /// erase.
  template <class F>
  void for_each(F&& f) {
    std::uint32_t id = 0;
    for (T entry = find(id); !(entry == T{}); entry = find(id)) {
      f(id, entry);
      if (id == UINT32_MAX) return;
      ++id;
    }
  }

  /// xa_empty: without the lock.
  bool empty() const {
    env_.load(count_);
    return count_.value() == 0;
  }
  std::uint64_t size() const { return count_.value(); }
  /// Tracking memory now, and the most it ever was.
  std::uint64_t nodes() const { return nodes_.value(); }
  std::uint64_t bytes() const { return nodes() * kNodeBytes; }
  std::uint64_t peak_bytes() const { return peak_nodes_.value() * kNodeBytes; }

 private:
  struct Node;
  union Word {
    Word() : child(nullptr) {}
    Node* child;  // in nodes with shift > 0
    T entry;      // in leaves
  };
  struct Node {
    Node* parent = nullptr;
    unsigned offset = 0;              // in the parent
    unsigned shift = 0;               // of the index, below this node's slots; 0 = leaf
    unsigned count = 0;               // slots in use
    std::uint64_t free_mark = ~0ull;  // XA_FREE_MARK: a free index lies below this slot
    std::array<Word, kChunkSize> slots{};
  };

  static std::uint64_t span(const Node* node) { return 1ull << (node->shift + kChunkShift); }

  Node* new_node(Node* parent, unsigned offset, unsigned shift) {
    Node* node = new Node;
    static_assert(sizeof(Node) <= kNodeBytes);
    if (!env_.memory_new(node, kNodeBytes)) {
      delete node;
      return nullptr;
    }
    node->parent = parent;
    node->offset = offset;
    node->shift = shift;
    if (shift == 0)
      for (Word& slot : node->slots) slot.entry = T{};
    env_.store(node->count);
    nodes_.inc();
    if (nodes() > peak_nodes_.value()) peak_nodes_.inc();
    return node;
  }
  void free_node(Node* node) {
    env_.memory_delete(node, kNodeBytes);
    nodes_.inc(~0ull);
    delete node;
  }
  void free_tree(Node* node) {
    if (node->shift != 0)
      for (Word& slot : node->slots)
        if (slot.child) free_tree(slot.child);
    free_node(node);
  }

  /// The leaf of `id`, or null.
  Node* leaf(std::uint32_t id) const {
    Node* node = head_;
    env_.load(head_);
    if (!node || id >= span(node)) return nullptr;
    while (node && node->shift != 0) {
      const Word& slot = node->slots[(id >> node->shift) & (kChunkSize - 1)];
      env_.load(slot);
      node = slot.child;
    }
    return node;
  }

  /// Lowest index >= at below `node` (whose indices start at 0 for the head) that is free; absent children
  /// are free.
  bool find_free(const Node* node, std::uint64_t base, std::uint64_t min, std::uint64_t& at) const {
    std::uint64_t step = 1ull << node->shift;
    unsigned first = min > base ? static_cast<unsigned>((min - base) >> node->shift) : 0;
    if (first >= kChunkSize) return false;
    env_.load(node->free_mark);
    std::uint64_t candidates = node->free_mark & (~0ull << first);
    while (candidates != 0) {
      unsigned i = static_cast<unsigned>(std::countr_zero(candidates));
      candidates &= candidates - 1;
      std::uint64_t here = base + i * step;
      if (node->shift == 0 || !node->slots[i].child) {
        at = std::max(here, min);
        return true;
      }
      env_.load(node->slots[i]);
      if (find_free(node->slots[i].child, here, min, at)) return true;
    }
    return false;
  }

  int alloc_locked(std::uint32_t& id, T entry, std::uint32_t min, std::uint32_t max) {
    std::uint64_t at = min;
    env_.load(head_);
    if (head_ && !find_free(head_, 0, min, at)) at = std::max<std::uint64_t>(span(head_), min);
    if (at > max) return -EBUSY;
    // Room for the index: grow at the top, then down to the leaf.
    unsigned shift = 0;
    if (!head_) {
      while ((at >> shift) >= kChunkSize) shift += kChunkShift;
      head_ = new_node(nullptr, 0, shift);
      if (!head_) return -ENOMEM;
    }
    while (at >= span(head_)) {
      Node* top = new_node(nullptr, 0, head_->shift + kChunkShift);
      if (!top) return -ENOMEM;
      top->slots[0].child = head_;
      top->count = 1;
      if (head_->free_mark == 0) top->free_mark &= ~1ull;
      head_->parent = top;
      env_.store(head_);
      head_ = top;
    }
    Node* node = head_;
    while (node->shift != 0) {
      unsigned i = static_cast<unsigned>(at >> node->shift) & (kChunkSize - 1);
      env_.load(node->slots[i]);
      if (!node->slots[i].child) {
        Node* child = new_node(node, i, node->shift - kChunkShift);
        if (!child) {
          drop_if_empty(node);
          return -ENOMEM;
        }
        env_.store(node->slots[i]);
        node->slots[i].child = child;
        ++node->count;
      }
      node = node->slots[i].child;
    }
    unsigned i = static_cast<unsigned>(at) & (kChunkSize - 1);
    env_.store(node->slots[i]);
    node->slots[i].entry = entry;
    ++node->count;
    // The free mark of an ancestor goes when nothing below it is free.
    for (Node* n = node;; i = n->offset, n = n->parent) {
      env_.store(n->free_mark);
      n->free_mark &= ~(1ull << i);
      if (n->free_mark != 0 || !n->parent) break;
    }
    count_.inc();
    id = static_cast<std::uint32_t>(at);
    return 0;
  }

  /// After a slot of a leaf became null: marks, empty nodes, height.
  void removed(Node* node, unsigned i) {
    count_.inc(~0ull);
    for (Node* n = node; n; i = n->offset, n = n->parent) {
      bool had = (n->free_mark >> i) & 1;
      env_.store(n->free_mark);
      n->free_mark |= 1ull << i;
      if (had) break;
    }
    env_.store(node->count);
    --node->count;
    drop_if_empty(node);
    shrink();
  }
  void drop_if_empty(Node* node) {
    while (node && node->count == 0) {
      Node* parent = node->parent;
      if (parent) {
        env_.store(parent->slots[node->offset]);
        parent->slots[node->offset].child = nullptr;
        --parent->count;
      } else {
        env_.store(head_);
        head_ = nullptr;
      }
      free_node(node);
      node = parent;
    }
  }
  /// xas_shrink: a head whose only child is slot 0 is replaced by that child.
  void shrink() {
    while (head_ && head_->shift != 0 && head_->count == 1 && head_->slots[0].child) {
      Node* old = head_;
      env_.store(head_);
      head_ = old->slots[0].child;
      head_->parent = nullptr;
      head_->offset = 0;
      free_node(old);
    }
  }

  /// First entry at index >= at below `node`.
  T find_in(const Node* node, std::uint64_t& at, std::uint64_t base = 0) const {
    if (at >= base + span(node)) return T{};
    unsigned first = at > base ? static_cast<unsigned>((at - base) >> node->shift) : 0;
    for (unsigned i = first; i < kChunkSize; ++i) {
      env_.load(node->slots[i]);
      std::uint64_t here = base + (static_cast<std::uint64_t>(i) << node->shift);
      if (node->shift == 0) {
        if (!(node->slots[i].entry == T{})) {
          at = here;
          return node->slots[i].entry;
        }
      } else if (node->slots[i].child) {
        T found = find_in(node->slots[i].child, at, here);
        if (!(found == T{})) return found;
      }
    }
    return T{};
  }

  Env& env_;
  mutable typename Env::SpinLock lock_{"xa_lock"};
  Node* head_ = nullptr;
  Counter count_, nodes_, peak_nodes_;  // written under the lock
};

}  // namespace pagepool
