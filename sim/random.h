// SPDX-License-Identifier: Apache-2.0
// Counter-based random numbers: Philox4x64 keyed by (seed, experiment), one stream per consumer, so that adding a
// consumer shifts nobody else's numbers. Integer mappings are our own: std:: distributions differ by library.
#pragma once
#include <array>
#include <cstdint>
#include <string_view>

namespace sim {

class RandomStream {
 public:
  RandomStream(std::uint64_t seed, std::uint64_t experiment, std::string_view consumer);

  std::uint64_t next();
  /// Uniform in [0, n), n > 0, without modulo bias.
  std::uint64_t below(std::uint64_t n);
  /// Uniform in [0, 1), 53 bits.
  double unit() { return static_cast<double>(next() >> 11) * 0x1.0p-53; }

 private:
  std::array<std::uint64_t, 2> key_;
  std::uint64_t stream_;
  std::uint64_t counter_ = 0;
  std::array<std::uint64_t, 4> block_{};
  unsigned used_ = 4;
};

}  // namespace sim
