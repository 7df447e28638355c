// SPDX-License-Identifier: Apache-2.0
// A queue in a ring that grows and never shrinks: no allocation once it has reached its size.
#pragma once
#include <cstddef>
#include <vector>

namespace mm {

template <class T>
class Fifo {
 public:
  Fifo() : ring_(16) {}
  bool empty() const { return head_ == tail_; }
  std::size_t size() const { return tail_ - head_; }
  const T& front() const { return ring_[head_ & (ring_.size() - 1)]; }
  T& front() { return ring_[head_ & (ring_.size() - 1)]; }
  T& back() { return ring_[(tail_ - 1) & (ring_.size() - 1)]; }
  void pop_front() { ++head_; }
  void push_front(const T& value) {
    if (size() == ring_.size()) grow();
    ring_[--head_ & (ring_.size() - 1)] = value;
  }
  void push_back(const T& value) {
    if (__builtin_expect(size() == ring_.size(), 0)) grow();
    ring_[tail_++ & (ring_.size() - 1)] = value;
  }

 private:
  [[gnu::noinline, gnu::cold]] void grow() {
    std::vector<T> larger(ring_.size() * 2);
    const std::size_t n = size();
    for (std::size_t i = 0; i < n; ++i) larger[i] = ring_[(head_ + i) & (ring_.size() - 1)];
    ring_.swap(larger);
    head_ = 0;
    tail_ = n;
  }
  std::vector<T> ring_;  // size is a power of two
  std::size_t head_ = 0, tail_ = 0;
};

}  // namespace mm
