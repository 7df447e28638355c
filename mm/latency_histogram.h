// SPDX-License-Identifier: Apache-2.0
// Latencies in cycles: exact below 4096, above by powers of two. Mean and maximum are exact.
#pragma once
#include <algorithm>
#include <bit>
#include <cstdint>
#include <vector>

namespace mm {

class LatencyHistogram {
 public:
  LatencyHistogram() : buckets_(kExact + 64, 0) {}

  void add(std::uint64_t cycles) {
    ++buckets_[cycles < kExact ? cycles : kExact + static_cast<std::uint64_t>(std::bit_width(cycles))];
    ++count_;
    sum_ += cycles;
    max_ = std::max(max_, cycles);
  }
  std::uint64_t count() const { return count_; }
  std::uint64_t max() const { return max_; }
  double mean() const { return count_ == 0 ? 0.0 : static_cast<double>(sum_) / static_cast<double>(count_); }

  /// Smallest latency that at least `q` (0..1) of all do not exceed; a power of two - 1 above 4095.
  std::uint64_t quantile(double q) const {
    const double wanted = q * static_cast<double>(count_);
    std::uint64_t seen = 0;
    for (std::size_t i = 0; i < buckets_.size(); ++i) {
      seen += buckets_[i];
      if (seen == 0 || static_cast<double>(seen) < wanted) continue;
      return i < kExact ? i : std::min(max_, (std::uint64_t{1} << (i - kExact)) - 1);
    }
    return max_;
  }

 private:
  static constexpr std::uint64_t kExact = 4096;
  std::vector<std::uint64_t> buckets_;
  std::uint64_t count_ = 0, sum_ = 0, max_ = 0;
};

}  // namespace mm
