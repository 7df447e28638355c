// SPDX-License-Identifier: Apache-2.0
// A queue of things that are linked by their own `next`: no memory of its own, so each is in one queue at
// most.
#pragma once

namespace mm {

template <class T>
class LinkedQueue {
 public:
  LinkedQueue() = default;
  LinkedQueue(const LinkedQueue&) = delete;
  LinkedQueue& operator=(const LinkedQueue&) = delete;
  bool empty() const { return first_ == nullptr; }
  const T& front() const { return *first_; }
  void push_back(T& item) {
    item.next = nullptr;
    *end_ = &item;
    end_ = &item.next;
  }
  T& pop_front() {
    T& item = *first_;
    first_ = item.next;
    if (first_ == nullptr) end_ = &first_;
    return item;
  }

 private:
  T* first_ = nullptr;
  T** end_ = &first_;  // where the next one goes
};

}  // namespace mm
