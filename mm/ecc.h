// SPDX-License-Identifier: Apache-2.0
// The two error-correcting codes of server memory.
//
// SecDed: Hsiao's odd-weight-column code (72, 64) that a memory controller keeps in the ECC devices of a
// rank: corrects one bit of a 64-bit word and its 8 check bits, detects two. (M. Y. Hsiao, "A Class of
// Optimal Minimum Odd-weight-column SEC-DED Codes", IBM J. R&D, 1970.) OnDieSec: the Hamming code (136, 128)
// inside a DDR5 device (JESD79-5, on-die ECC): corrects one bit of 128; what is more it does not see, and may
// make worse: it "corrects" the bit that the syndrome happens to name.
#pragma once
#include <array>
#include <cstdint>

namespace mm {

enum class EccOutcome : std::uint8_t { kClean, kCorrected, kUncorrectable };

class SecDed {
 public:
  static std::uint8_t encode(std::uint64_t data);
  /// Corrects `data` and `check` in place where it can.
  static EccOutcome decode(std::uint64_t& data, std::uint8_t& check);
};

class OnDieSec {
 public:
  using Word = std::array<std::uint64_t, 2>;
  static std::uint8_t encode(const Word& data);
  /// As a device does: kClean or kCorrected is what it believes; it has no way to say more.
  static EccOutcome decode(Word& data, std::uint8_t check);
};

}  // namespace mm
