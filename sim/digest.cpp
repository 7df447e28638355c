// SPDX-License-Identifier: Apache-2.0
#include "sim/digest.h"

#include <fmt/format.h>
#include <xxhash.h>

namespace sim {

Digest::Digest() : state_(XXH3_createState()) { XXH3_128bits_reset(state_); }
Digest::~Digest() { XXH3_freeState(state_); }

void Digest::flush() {
  XXH3_128bits_update(state_, buffer_.data(), fill_ * sizeof buffer_[0]);
  if (tap_ && fill_ != 0) tap_({buffer_.data(), fill_});
  fill_ = 0;
}

std::string Digest::hex() {
  flush();
  const XXH128_hash_t h = XXH3_128bits_digest(state_);
  return fmt::format("{:016x}{:016x}", h.high64, h.low64);
}

std::uint64_t hash64(const void* data, std::size_t bytes, std::uint64_t seed) {
  return XXH3_64bits_withSeed(data, bytes, seed);
}

}  // namespace sim
