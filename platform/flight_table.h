// SPDX-License-Identifier: Apache-2.0
// Who sent which payload: a small open-addressed table from payload to port number, for modules that must
// send an answer back the way the request came. Looked up only, never walked, so the order of pointers
// matters to nothing.
#pragma once
#include <bit>
#include <cstdint>
#include <vector>

#include "sim/error.h"

namespace platform {

class FlightTable {
 public:
  explicit FlightTable(std::size_t capacity = 256) : slots_(std::bit_ceil(2 * capacity)) {}

  bool empty() const { return size_ == 0; }
  std::size_t size() const { return size_; }

  void insert(const void* payload, unsigned port) {
    if (2 * (size_ + 1) > slots_.size()) grow();
    std::size_t i = home(payload);
    while (slots_[i].payload != nullptr) {
      POOLSIM_ASSERT(slots_[i].payload != payload);  // sent twice before it was answered
      i = (i + 1) & mask();
    }
    slots_[i] = {payload, port};
    ++size_;
  }

  /// Removes the payload; the port it was inserted with.
  unsigned take(const void* payload) {
    std::size_t i = home(payload);
    while (slots_[i].payload != payload) {
      POOLSIM_ASSERT(slots_[i].payload != nullptr);  // an answer to what was never sent
      i = (i + 1) & mask();
    }
    const unsigned port = slots_[i].port;
    // Close the gap: move back what had been pushed past it.
    for (std::size_t j = (i + 1) & mask(); slots_[j].payload != nullptr; j = (j + 1) & mask()) {
      if (((j - home(slots_[j].payload)) & mask()) >= ((j - i) & mask())) {
        slots_[i] = slots_[j];
        i = j;
      }
    }
    slots_[i].payload = nullptr;
    --size_;
    return port;
  }

 private:
  struct Slot {
    const void* payload = nullptr;
    unsigned port = 0;
  };
  std::size_t mask() const { return slots_.size() - 1; }
  std::size_t home(const void* payload) const {
    return (reinterpret_cast<std::uintptr_t>(payload) * 0x9e3779b97f4a7c15ull >> 40) & mask();
  }
  void grow() {
    std::vector<Slot> old(2 * slots_.size());
    old.swap(slots_);
    size_ = 0;
    for (const Slot& s : old) {
      if (s.payload != nullptr) insert(s.payload, s.port);
    }
  }
  std::vector<Slot> slots_;
  std::size_t size_ = 0;
};

}  // namespace platform
