// SPDX-License-Identifier: Apache-2.0
#include "mm/ecc.h"

#include <bit>

namespace mm {
namespace {

/// Column of each data bit in the parity-check matrix; check bit i has the column 1 << i.
/// Hsiao: 56 columns of weight three, then eight of weight five.
constexpr std::array<std::uint8_t, 64> hsiao_columns() {
  std::array<std::uint8_t, 64> columns{};
  unsigned n = 0;
  for (const int weight : {3, 5}) {
    for (unsigned c = 0; c < 256 && n < 64; ++c) {
      if (std::popcount(c) == weight) columns[n++] = static_cast<std::uint8_t>(c);
    }
  }
  return columns;
}

/// Hamming: every column that is neither zero nor a check bit's, in ascending order.
constexpr std::array<std::uint8_t, 128> hamming_columns() {
  std::array<std::uint8_t, 128> columns{};
  unsigned n = 0;
  for (unsigned c = 3; n < 128; ++c) {
    if (!std::has_single_bit(c)) columns[n++] = static_cast<std::uint8_t>(c);
  }
  return columns;
}

constexpr auto kHsiao = hsiao_columns();
constexpr auto kHamming = hamming_columns();

/// Syndrome to data bit, or -1.
template <std::size_t kBits>
constexpr std::array<std::int16_t, 256> inverse(const std::array<std::uint8_t, kBits>& columns) {
  std::array<std::int16_t, 256> bits{};
  bits.fill(-1);
  for (std::size_t i = 0; i < kBits; ++i) bits[columns[i]] = static_cast<std::int16_t>(i);
  return bits;
}
constexpr auto kHsiaoBit = inverse(kHsiao);
constexpr auto kHammingBit = inverse(kHamming);

}  // namespace

std::uint8_t SecDed::encode(std::uint64_t data) {
  std::uint8_t check = 0;
  for (; data != 0; data &= data - 1) check ^= kHsiao[static_cast<unsigned>(std::countr_zero(data))];
  return check;
}

EccOutcome SecDed::decode(std::uint64_t& data, std::uint8_t& check) {
  const auto syndrome = static_cast<std::uint8_t>(encode(data) ^ check);
  if (syndrome == 0) return EccOutcome::kClean;
  if (std::has_single_bit(syndrome)) {
    check ^= syndrome;
    return EccOutcome::kCorrected;
  }
  // An even number of errors gives an even syndrome, which is no column.
  if (kHsiaoBit[syndrome] < 0) return EccOutcome::kUncorrectable;
  data ^= std::uint64_t{1} << kHsiaoBit[syndrome];
  return EccOutcome::kCorrected;
}

std::uint8_t OnDieSec::encode(const Word& data) {
  std::uint8_t check = 0;
  for (unsigned half = 0; half < 2; ++half) {
    for (std::uint64_t d = data[half]; d != 0; d &= d - 1) {
      check ^= kHamming[half * 64 + static_cast<unsigned>(std::countr_zero(d))];
    }
  }
  return check;
}

EccOutcome OnDieSec::decode(Word& data, std::uint8_t check) {
  const auto syndrome = static_cast<std::uint8_t>(encode(data) ^ check);
  if (syndrome == 0) return EccOutcome::kClean;
  if (const int bit = kHammingBit[syndrome]; bit >= 0) data[bit / 64] ^= std::uint64_t{1} << (bit % 64);
  return EccOutcome::kCorrected;
}

}  // namespace mm
