// SPDX-License-Identifier: Apache-2.0
// Receive side scaling: the Toeplitz hash and which fields MRQC lets into it.
// Source: 82576 datasheet 7.1.1.7; Microsoft, "Verifying the RSS hash calculation".
#pragma once
#include <array>
#include <cstdint>
#include <span>

#include "nic/device/frame.h"

namespace nic {

/// The Toeplitz hash over at most 36 input bytes, by tables of one key.
class ToeplitzHash {
 public:
  static constexpr std::size_t kKeyBytes = 40, kMaxInput = 36;

  void set_key(std::span<const std::uint8_t, kKeyBytes> key);
  std::uint32_t operator()(std::span<const std::uint8_t> input) const {
    std::uint32_t hash = 0;
    for (std::size_t i = 0; i < input.size(); ++i) hash ^= table_[i][input[i]];
    return hash;
  }

 private:
  std::array<std::array<std::uint32_t, 256>, kMaxInput> table_{};
};

struct RssResult {
  std::uint8_t type = 0;  ///< descriptor RSS type, 0 = not hashed
  std::uint32_t hash = 0;
};

/// Hash and type of a parsed frame under MRQC's field enables.
RssResult rss_hash(const ToeplitzHash& toeplitz, std::span<const std::uint8_t> frame, const FrameInfo& info,
                   std::uint32_t mrqc);

}  // namespace nic
