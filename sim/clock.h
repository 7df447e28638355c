// SPDX-License-Identifier: Apache-2.0
// A clock grid: edge n lies at floor(n * period). The period is a rational number of femtoseconds, so that
// DDR5-4800 (5/12 ns) never drifts; cycles are integers.
#pragma once
#include <cstdint>

#include "sim/types.h"

namespace sim {

class Clock {
 public:
  /// Period of `numerator / denominator` femtoseconds; both > 0.
  constexpr Clock(std::uint64_t numerator_fs, std::uint64_t denominator = 1)
      : num_(numerator_fs), den_(denominator), inverse_(~std::uint64_t{0} / numerator_fs) {}

  /// Clock of `hz` cycles a second.
  static constexpr Clock from_hz(std::uint64_t hz) {
    std::uint64_t a = kSecond, b = hz;
    while (b != 0) {
      const std::uint64_t r = a % b;
      a = b;
      b = r;
    }
    return {kSecond / a, hz / a};
  }

  /// Time of edge `n`.
  constexpr Tick edge(Cycle n) const {
    if (den_ == 1) return n * num_;
    return scale(n, num_, den_);
  }

  /// First edge at or after `t`: the smallest n with n * num / den >= t.
  constexpr Cycle at_or_after(Tick t) const { return first_at_or_after(t).cycle; }

  /// The same with its time.
  struct Edge {
    Cycle cycle;
    Tick at;
  };
  constexpr Edge first_at_or_after(Tick t) const {
    if (__builtin_expect(den_ == 1, 1)) {
      Cycle n = about_whole_periods(t);
      Tick at = n * num_;
      const Tick rest = t - at;
      if (rest != 0) ++n, at += num_;
      if (__builtin_expect(rest > num_, 0)) ++n, at += num_;
      return {n, at};
    }
    const Cycle n = scale(t, den_, num_);
    const Tick at = edge(n);
    return at >= t ? Edge{n, at} : Edge{n + 1, edge(n + 1)};
  }

  /// First edge strictly after `t`.
  constexpr Cycle after(Tick t) const { return at_or_after(t + 1); }

  /// Last edge at or before `t`.
  constexpr Cycle at_or_before(Tick t) const {
    if (den_ == 1) return whole_periods(t);
    const Cycle n = at_or_after(t);
    return edge(n) > t ? n - 1 : n;
  }

  /// Time that `n` cycles take when started at an edge whose fraction is zero (rounded up).
  constexpr Tick span(Cycle n) const { return edge(n) + (den_ == 1 ? 0 : 1); }

  /// Cycles needed to cover `t` (rounded up).
  constexpr Cycle cycles(Tick t) const { return at_or_after(t); }

  constexpr double hz() const { return 1e15 * static_cast<double>(den_) / static_cast<double>(num_); }
  constexpr double period_fs() const { return static_cast<double>(num_) / static_cast<double>(den_); }

  constexpr bool operator==(const Clock&) const = default;

 private:
  /// t / num_, or one less, without a division, which costs as much as twenty other instructions: the product with the
  /// rounded down inverse is less than one too small.
  constexpr Cycle about_whole_periods(Tick t) const {
    return static_cast<Cycle>(static_cast<unsigned __int128>(t) * inverse_ >> 64);
  }
  constexpr Cycle whole_periods(Tick t) const {
    const Cycle n = about_whole_periods(t);
    return n + (t - n * num_ >= num_ ? 1 : 0);
  }
  /// floor(value * by / of). 64 bits are enough for the first hour or so of simulated time.
  static constexpr std::uint64_t scale(std::uint64_t value, std::uint64_t by, std::uint64_t of) {
    std::uint64_t product = 0;
    if (__builtin_expect(!__builtin_mul_overflow(value, by, &product), 1)) return product / of;
    return static_cast<std::uint64_t>(static_cast<unsigned __int128>(value) * by / of);
  }

  std::uint64_t num_;
  std::uint64_t den_;
  std::uint64_t inverse_;  // 2^64 / num_
};

}  // namespace sim
