// SPDX-License-Identifier: Apache-2.0
// A FIFO in a power-of-two array. Allocates only when it outgrows its past maximum.
#pragma once
#include <bit>
#include <cstddef>
#include <memory>

#include "sim/error.h"

namespace platform {

template <class T>
class Ring {
 public:
  explicit Ring(std::size_t capacity = 16)
      : mask_(std::bit_ceil(capacity) - 1), slots_(std::make_unique<T[]>(mask_ + 1)) {}

  bool empty() const { return head_ == tail_; }
  std::size_t size() const { return tail_ - head_; }
  T& front() { return slots_[head_ & mask_]; }
  const T& front() const { return slots_[head_ & mask_]; }
  /// The `n`th from the front.
  T& at(std::size_t n) { return slots_[(head_ + n) & mask_]; }

  void push(const T& value) {
    if (__builtin_expect(size() > mask_, 0)) grow();
    slots_[tail_++ & mask_] = value;
  }
  T pop() {
    POOLSIM_ASSERT(!empty());
    return slots_[head_++ & mask_];
  }

 private:
  void grow() {
    auto wider = std::make_unique<T[]>(2 * (mask_ + 1));
    const std::size_t n = size();
    for (std::size_t i = 0; i < n; ++i) wider[i] = at(i);
    slots_.swap(wider);
    mask_ = 2 * mask_ + 1;
    head_ = 0;
    tail_ = n;
  }
  std::size_t mask_;  // places less one
  std::unique_ptr<T[]> slots_;
  std::size_t head_ = 0;
  std::size_t tail_ = 0;
};

}  // namespace platform
