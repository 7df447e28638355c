// SPDX-License-Identifier: Apache-2.0
#include "sim/digest.h"

#include <fmt/format.h>
// Inline, so that it is compiled for the processor of the build: with AVX2 (scripts/fastest.sh) it takes a third of the
// instructions of the library, which Debian builds for every x86-64.
#define XXH_INLINE_ALL
#include <xxhash.h>

namespace sim {

struct Digest::Hash {
  XXH3_state_t state;
};

Digest::Digest() : hash_(std::make_unique<Hash>()) { XXH3_128bits_reset(&hash_->state); }
Digest::~Digest() = default;

void Digest::flush() {
  XXH3_128bits_update(&hash_->state, buffer_.data(), fill_ * sizeof buffer_[0]);
  if (tap_ && fill_ != 0) tap_({buffer_.data(), fill_});
  fill_ = 0;
}

std::string Digest::hex() {
  flush();
  const XXH128_hash_t h = XXH3_128bits_digest(&hash_->state);
  return fmt::format("{:016x}{:016x}", h.high64, h.low64);
}

std::uint64_t hash64(const void* data, std::size_t bytes, std::uint64_t seed) {
  return XXH3_64bits_withSeed(data, bytes, seed);
}

}  // namespace sim
