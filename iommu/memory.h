// SPDX-License-Identifier: Apache-2.0
// What the functional core asks of memory, and how a step of it is described. The core never touches memory
// itself: its state machines (Walk, CommandProcessor, FaultQueue, ...) publish one MemoryAccess at a time and
// are handed the answer. The functional path serves it at once from a Memory; the timed path serves it
// through the walker socket.
#pragma once
#include <array>
#include <bit>
#include <cstdint>
#include <cstring>
#include <span>

namespace iommu {

enum class MemoryStatus : std::uint8_t {
  kOk,
  kAccessFault,  ///< PMA/PMP violation or no such memory
  kPoison,       ///< data corruption
};

struct MemoryAccess {
  enum class Kind : std::uint8_t { kNone, kRead, kWrite, kCompareExchange };
  Kind kind = Kind::kNone;
  std::uint8_t bytes = 0;  ///< 4..64; compare-exchange 4 or 8
  std::uint64_t address = 0;
  std::array<std::uint8_t, 64> data{};  ///< write: the bytes; read: the answer
  std::uint64_t expected = 0;  ///< compare-exchange: raw value as loaded from memory by a little-endian host
  std::uint64_t desired = 0;
};

/// Memory as the functional path sees it.
class Memory {
 public:
  virtual ~Memory() = default;
  virtual MemoryStatus read(std::uint64_t address, std::span<std::uint8_t> into) = 0;
  virtual MemoryStatus write(std::uint64_t address, std::span<const std::uint8_t> from) = 0;
  /// Stores `desired` if the `bytes` (4 or 8) at `address` equal `expected`; `swapped` says so.
  virtual MemoryStatus compare_exchange(std::uint64_t address, unsigned bytes, std::uint64_t expected,
                                        std::uint64_t desired, bool& swapped) = 0;
};

inline std::uint64_t load64(const std::uint8_t* p, bool big_endian) {
  std::uint64_t v;
  std::memcpy(&v, p, 8);
  return big_endian ? __builtin_bswap64(v) : v;
}
inline std::uint32_t load32(const std::uint8_t* p, bool big_endian) {
  std::uint32_t v;
  std::memcpy(&v, p, 4);
  return big_endian ? __builtin_bswap32(v) : v;
}
inline void store64(std::uint8_t* p, std::uint64_t v, bool big_endian) {
  if (big_endian) v = __builtin_bswap64(v);
  std::memcpy(p, &v, 8);
}
inline void store32(std::uint8_t* p, std::uint32_t v, bool big_endian) {
  if (big_endian) v = __builtin_bswap32(v);
  std::memcpy(p, &v, 4);
}

}  // namespace iommu
