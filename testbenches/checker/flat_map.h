// SPDX-License-Identifier: Apache-2.0
// A small open-addressing hash from (64-bit, 32-bit) keys to 32-bit values: what the checker looks up for
// every transaction. Linear probing, backward-shift deletion, no allocation while the number of entries does
// not grow. Iterated only for a yes or no, so the order of its slots cannot reach any output.
#pragma once
#include <cstdint>
#include <vector>

namespace checker {

class FlatMap {
 public:
  static constexpr std::uint32_t kNone = ~std::uint32_t{0};

  FlatMap() : slots_(1024), mask_(slots_.size() - 1) {}

  /// The value of the key, or kNone.
  std::uint32_t find(std::uint64_t a, std::uint32_t b) const {
    for (std::size_t i = home(a, b);; i = (i + 1) & mask_) {
      const Slot& s = slots_[i];
      if (s.value == kNone || (s.a == a && s.b == b)) return s.value;
    }
  }

  /// Sets the value (not kNone) of the key.
  void set(std::uint64_t a, std::uint32_t b, std::uint32_t value) {
    if (__builtin_expect(used_ * 2 > mask_, 0)) grow();
    place(a, b, value);
  }

  /// Removes the key if it is there; its value, or kNone.
  std::uint32_t erase(std::uint64_t a, std::uint32_t b) {
    std::size_t i = home(a, b);
    for (; slots_[i].value != kNone; i = (i + 1) & mask_) {
      if (slots_[i].a == a && slots_[i].b == b) break;
    }
    const std::uint32_t value = slots_[i].value;
    if (value == kNone) return kNone;
    --used_;
    // Close the gap: move up whoever was pushed past it.
    for (std::size_t j = (i + 1) & mask_; slots_[j].value != kNone; j = (j + 1) & mask_) {
      const std::size_t h = home(slots_[j].a, slots_[j].b);
      if (((j - h) & mask_) >= ((j - i) & mask_)) {
        slots_[i] = slots_[j];
        i = j;
      }
    }
    slots_[i].value = kNone;
    return value;
  }

  std::size_t size() const { return used_; }
  /// Does any key (., b) have this value? Looks at all of them.
  bool has_value(std::uint32_t b, std::uint32_t value) const {
    for (const Slot& s : slots_) {
      if (s.value == value && s.b == b) return true;
    }
    return false;
  }

 private:
  struct Slot {
    std::uint64_t a = 0;
    std::uint32_t b = 0;
    std::uint32_t value = kNone;
  };

  std::size_t home(std::uint64_t a, std::uint32_t b) const {
    // Both spread over all bits before they meet: a run of one of them under one of the other must not collide.
    std::uint64_t h = (a ^ b * 0xff51'afd7'ed55'8ccd) * 0x9e37'79b9'7f4a'7c15;
    h ^= h >> 32;
    return h & mask_;
  }

  void place(std::uint64_t a, std::uint32_t b, std::uint32_t value) {
    std::size_t i = home(a, b);
    for (; slots_[i].value != kNone; i = (i + 1) & mask_) {
      if (slots_[i].a == a && slots_[i].b == b) {
        slots_[i].value = value;
        return;
      }
    }
    slots_[i] = {a, b, value};
    ++used_;
  }

  [[gnu::noinline, gnu::cold]] void grow() {
    std::vector<Slot> old(slots_.size() * 2);
    old.swap(slots_);
    mask_ = slots_.size() - 1;
    used_ = 0;
    for (const Slot& s : old) {
      if (s.value != kNone) place(s.a, s.b, s.value);
    }
  }

  std::vector<Slot> slots_;  // a power of two of them
  std::size_t mask_;         // of them, less one
  std::size_t used_ = 0;
};

}  // namespace checker
