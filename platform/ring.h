// SPDX-License-Identifier: Apache-2.0
// A FIFO in a power-of-two array. Allocates only when it outgrows its past maximum.
#pragma once
#include <bit>
#include <cstddef>
#include <vector>

#include "sim/error.h"

namespace platform {

template <class T>
class Ring {
 public:
  explicit Ring(std::size_t capacity = 16) : slots_(std::bit_ceil(capacity)) {}

  bool empty() const { return head_ == tail_; }
  std::size_t size() const { return tail_ - head_; }
  T& front() { return slots_[head_ & (slots_.size() - 1)]; }
  const T& front() const { return slots_[head_ & (slots_.size() - 1)]; }
  /// The `n`th from the front.
  T& at(std::size_t n) { return slots_[(head_ + n) & (slots_.size() - 1)]; }

  void push(const T& value) {
    if (size() == slots_.size()) grow();
    slots_[tail_++ & (slots_.size() - 1)] = value;
  }
  T pop() {
    POOLSIM_ASSERT(!empty());
    return slots_[head_++ & (slots_.size() - 1)];
  }

 private:
  void grow() {
    std::vector<T> wider(2 * slots_.size());
    const std::size_t n = size();
    for (std::size_t i = 0; i < n; ++i) wider[i] = at(i);
    slots_.swap(wider);
    head_ = 0;
    tail_ = n;
  }
  std::vector<T> slots_;
  std::size_t head_ = 0;
  std::size_t tail_ = 0;
};

}  // namespace platform
