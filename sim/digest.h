// SPDX-License-Identifier: Apache-2.0
// The 128-bit digest of a run: every module folds what it did, with its time. Same build, configuration and seed
// give the same digest, in every mode of keeping time.
#pragma once
#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "sim/types.h"

namespace sim {

class Digest {
 public:
  Digest();
  ~Digest();
  Digest(const Digest&) = delete;
  Digest& operator=(const Digest&) = delete;

  /// Folds one event. `what` names its kind (a compile-time hash, see digest_tag).
  void add(std::uint64_t what, Tick when, std::uint64_t a = 0, std::uint64_t b = 0) {
    if (fill_ == buffer_.size()) flush();
    std::uint64_t* const event = buffer_.data() + fill_;
    event[0] = what;
    event[1] = when;
    event[2] = a;
    event[3] = b;
    fill_ += 4;
    ++events_;
  }

  /// 32 hexadecimal digits over everything folded so far.
  std::string hex();
  std::uint64_t events() const { return events_; }

  /// `tap` sees all that is folded from now on, some hundred events at a time: four words (what, when, a, b) each.
  /// Empty: nobody looks. See drain().
  using Tap = std::function<void(std::span<const std::uint64_t>)>;
  void set_tap(Tap tap) {
    flush();
    tap_ = std::move(tap);
  }
  /// Shows the tap what it has not seen yet.
  void drain() { flush(); }

 private:
  void flush();
  std::array<std::uint64_t, 512> buffer_;
  std::size_t fill_ = 0;
  std::uint64_t events_ = 0;
  struct Hash;
  std::unique_ptr<Hash> hash_;
  Tap tap_;
};

/// FNV-1a of a name, for Digest::add.
constexpr std::uint64_t digest_tag(std::string_view name) {
  std::uint64_t h = 0xcbf29ce484222325;
  for (char c : name) h = (h ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return h;
}

/// XXH3-64 of bytes, for payload digests.
std::uint64_t hash64(const void* data, std::size_t bytes, std::uint64_t seed = 0);

}  // namespace sim
