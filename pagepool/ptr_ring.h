// SPDX-License-Identifier: Apache-2.0
// PtrRing: the kernel's ptr_ring, a bounded FIFO of non-null words with one lock per side.
// The ring is full when the slot at the producer is not null. The consumer gives slots back lazily: it clears
// them backwards, a batch at a time (16, or 1 in rings of less than 32) or at the end of the array, so that a
// ring can refuse producers while up to 15 slots are already consumed. Source: include/linux/ptr_ring.h
// (6.12, 6.18).
//
// `T` is a trivially copyable word whose value T{} means null. `Env` gives the locks and is told of every
// access. Contexts: any number of producers under the producer lock; consume_locked() under the consumer
// lock; consume() and empty() without a lock when the caller is the only consumer.
#pragma once
#include <atomic>
#include <cerrno>
#include <memory>

#include "pagepool/types.h"

namespace pagepool {

template <class T, class Env>
class PtrRing {
 public:
  /// 2 * SMP_CACHE_BYTES / sizeof(pointer) of a 64-bit kernel; 32 on 32-bit ones.
  static constexpr unsigned kBatch = 2 * 64 / 8;

  explicit PtrRing(Env& env) : env_(env) {}
  PtrRing(const PtrRing&) = delete;
  PtrRing& operator=(const PtrRing&) = delete;
  ~PtrRing() {
    if (queue_) env_.memory_delete(queue_.get(), size_ * sizeof(Slot));
  }

  /// ptr_ring_init: false when there is no memory. A ring of size 0 refuses everything.
  bool init(unsigned size, unsigned batch = kBatch) {
    auto queue = std::make_unique<Slot[]>(size);
    if (!env_.memory_new(queue.get(), size * sizeof(Slot))) return false;
    queue_ = std::move(queue);
    size_ = size;
    batch_ = batch > size / 2 ? 1 : batch;
    return true;
  }

  unsigned size() const { return size_; }
  unsigned batch() const { return batch_; }

  /// __ptr_ring_produce: under the producer lock. False: full.
  bool produce(T item) {
    env_.load_plain(producer_, "ring->producer");
    if (PAGEPOOL_UNLIKELY(size_ == 0)) return false;
    unsigned at = producer_.load(std::memory_order_relaxed);
    Slot& slot = queue_[at];
    env_.load(slot);
    if (PAGEPOOL_UNLIKELY(!is_null(slot.load(std::memory_order_acquire)))) return false;
    env_.store(slot);
    env_.store_plain(producer_, "ring->producer");
    // From here on the consumer may have it.
    slot.store(item, std::memory_order_release);
    producer_.store(PAGEPOOL_UNLIKELY(++at >= size_) ? 0 : at, std::memory_order_relaxed);
    return true;
  }

  /// __ptr_ring_empty: without a lock, for the only consumer.
  bool empty() const {
    env_.load(consumer_head_);
    if (PAGEPOOL_UNLIKELY(size_ == 0)) return true;
    const Slot& slot = queue_[consumer_head_.load(std::memory_order_relaxed)];
    env_.load(slot);
    return is_null(slot.load(std::memory_order_acquire));
  }

  /// __ptr_ring_consume: the oldest item, or T{}.
  T consume() {
    env_.load(consumer_head_);
    if (PAGEPOOL_UNLIKELY(size_ == 0)) return T{};
    Slot& slot = queue_[consumer_head_.load(std::memory_order_relaxed)];
    env_.load(slot);
    T item = slot.load(std::memory_order_acquire);
    if (!is_null(item)) discard_one();
    return item;
  }

  /// ptr_ring_consume_bh.
  T consume_bh() {
    env_.spin_lock_bh(consumer_lock_);
    T item = consume();
    env_.spin_unlock_bh(consumer_lock_);
    return item;
  }

  typename Env::SpinLock& producer_lock() { return producer_lock_; }
  typename Env::SpinLock& consumer_lock() { return consumer_lock_; }

  /// Items that can still be consumed. Diagnostic: exact only when nobody produces or consumes meanwhile.
  unsigned used() const {
    unsigned head = consumer_head_.load(std::memory_order_relaxed);
    if (size_ == 0 || is_null(queue_[head].load(std::memory_order_relaxed))) return 0;
    unsigned producer = producer_.load(std::memory_order_relaxed);
    return producer > head ? producer - head : producer + size_ - head;
  }
  /// Consumed slots not yet given back to producers. Diagnostic, as used().
  unsigned unreclaimed() const { return consumer_head_.load(std::memory_order_relaxed) - consumer_tail_; }
  /// Calls f(item) for all that can be consumed, oldest first. Diagnostic, as used().
  template <class F>
  void for_each(F&& f) const {
    unsigned head = consumer_head_.load(std::memory_order_relaxed);
    for (unsigned n = used(), i = head; n > 0; --n, i = i + 1 == size_ ? 0 : i + 1)
      f(queue_[i].load(std::memory_order_relaxed));
  }

 private:
  using Slot = std::atomic<T>;
  static bool is_null(const T& item) { return item == T{}; }

  /// __ptr_ring_discard_one: past the head; clears a batch when it is complete or the array ends.
  void discard_one() {
    unsigned head = consumer_head_.load(std::memory_order_relaxed);
    unsigned next = head + 1;
    if (PAGEPOOL_UNLIKELY(next - consumer_tail_ >= batch_ || next >= size_)) {
      // Backwards: the producer may be looking at the first of these; it must not go on before all are clear.
      for (unsigned i = next; i-- > consumer_tail_;) {
        env_.store(queue_[i]);
        queue_[i].store(T{}, std::memory_order_release);
      }
      consumer_tail_ = next;
    }
    if (PAGEPOOL_UNLIKELY(next >= size_)) {
      next = 0;
      consumer_tail_ = 0;
    }
    env_.store(consumer_head_);
    consumer_head_.store(next, std::memory_order_relaxed);
  }

  Env& env_;
  alignas(64) std::atomic<unsigned> producer_{0};  // written under its lock
  typename Env::SpinLock producer_lock_{"ptr_ring.producer_lock"};
  alignas(64) std::atomic<unsigned> consumer_head_{0};  // next to consume
  unsigned consumer_tail_ = 0;                          // first slot not yet given back
  typename Env::SpinLock consumer_lock_{"ptr_ring.consumer_lock"};
  // Read-only after init().
  alignas(64) unsigned size_ = 0;
  unsigned batch_ = 1;
  std::unique_ptr<Slot[]> queue_;
};

}  // namespace pagepool
