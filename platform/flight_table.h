// SPDX-License-Identifier: Apache-2.0
// By which port each payload came, for modules that must send an answer back the way the request came. Our own
// payloads carry it themselves; of foreign ones a small open-addressed table knows it, which is looked up only, never
// walked, so that the order of pointers matters to nothing.
#pragma once
#include <bit>
#include <cstdint>
#include <vector>

#include "sim/error.h"
#include "sim/payload.h"

namespace platform {

class FlightTable {
 public:
  explicit FlightTable(std::size_t capacity = 256) : mask_(std::bit_ceil(2 * capacity) - 1), slots_(mask_ + 1) {}

  bool empty() const { return size_ == 0; }
  std::size_t size() const { return size_; }

  void insert(tlm::tlm_generic_payload& payload, unsigned port) {
    ++size_;
    if (sim::Transaction* t = sim::own(payload)) return t->push_port(port);
    insert_foreign(&payload, port);
  }

  /// Removes the payload; the port it was inserted with.
  unsigned take(tlm::tlm_generic_payload& payload) {
    POOLSIM_ASSERT(size_ != 0);
    --size_;
    if (sim::Transaction* t = sim::own(payload)) return t->pop_port();
    return take_foreign(&payload);
  }

 private:
  void insert_foreign(const void* payload, unsigned port) {
    if (2 * (foreign_ + 1) > slots_.size()) grow();
    std::size_t i = home(payload);
    while (slots_[i].payload != nullptr) {
      POOLSIM_ASSERT(slots_[i].payload != payload);  // sent twice before it was answered
      i = (i + 1) & mask_;
    }
    slots_[i] = {payload, port};
    ++foreign_;
  }

  unsigned take_foreign(const void* payload) {
    std::size_t i = home(payload);
    while (slots_[i].payload != payload) {
      POOLSIM_ASSERT(slots_[i].payload != nullptr);  // an answer to what was never sent
      i = (i + 1) & mask_;
    }
    const unsigned port = slots_[i].port;
    // Close the gap: move back what had been pushed past it.
    for (std::size_t j = (i + 1) & mask_; slots_[j].payload != nullptr; j = (j + 1) & mask_) {
      if (((j - home(slots_[j].payload)) & mask_) >= ((j - i) & mask_)) {
        slots_[i] = slots_[j];
        i = j;
      }
    }
    slots_[i].payload = nullptr;
    --foreign_;
    return port;
  }

  struct Slot {
    const void* payload = nullptr;
    unsigned port = 0;
  };
  std::size_t home(const void* payload) const {
    return (reinterpret_cast<std::uintptr_t>(payload) * 0x9e3779b97f4a7c15ull >> 40) & mask_;
  }
  void grow() {
    std::vector<Slot> old(2 * slots_.size());
    old.swap(slots_);
    mask_ = slots_.size() - 1;
    foreign_ = 0;
    for (const Slot& s : old) {
      if (s.payload != nullptr) insert_foreign(s.payload, s.port);
    }
  }
  std::size_t mask_;  // places less one
  std::vector<Slot> slots_;
  std::size_t size_ = 0;     // of both kinds
  std::size_t foreign_ = 0;  // in the table
};

}  // namespace platform
