// SPDX-License-Identifier: Apache-2.0
// Ground types of the machine. Addresses and identifiers are strong types: mixing them does not compile.
#pragma once
#include <compare>
#include <cstdint>
#include <functional>

namespace sim {

/// Simulated time in femtoseconds since the start. 2^64 fs are 5 hours.
using Tick = std::uint64_t;
/// Number of a clock edge; edge 0 is at tick 0.
using Cycle = std::uint64_t;

inline constexpr Tick kNever = ~Tick{0};
inline constexpr Cycle kNeverCycle = ~Cycle{0};

inline constexpr Tick kFemtosecond = 1;
inline constexpr Tick kPicosecond = 1'000;
inline constexpr Tick kNanosecond = 1'000'000;
inline constexpr Tick kMicrosecond = 1'000'000'000;
inline constexpr Tick kMillisecond = 1'000'000'000'000;
inline constexpr Tick kSecond = 1'000'000'000'000'000;

/// An unsigned integer of its own kind. Same-kind arithmetic by plain offsets only.
template <class Tag, class Rep>
struct Strong {
  Rep value{};
  constexpr Strong() = default;
  constexpr explicit Strong(Rep v) : value(v) {}
  constexpr auto operator<=>(const Strong&) const = default;
  constexpr Strong operator+(Rep n) const { return Strong(value + n); }
  constexpr Strong operator-(Rep n) const { return Strong(value - n); }
  constexpr Rep operator-(Strong other) const { return value - other.value; }
  constexpr Strong& operator+=(Rep n) {
    value += n;
    return *this;
  }
};

/// Address on the memory bus of the machine (SPA in the IOMMU specification).
using PhysAddr = Strong<struct PhysAddrTag, std::uint64_t>;
/// Address as a device issues it, before the IOMMU.
using Iova = Strong<struct IovaTag, std::uint64_t>;
/// Page frame number: PhysAddr >> 12.
using Pfn = Strong<struct PfnTag, std::uint64_t>;
/// PCIe requester id (bus:device.function) = RISC-V IOMMU device_id.
using RequesterId = Strong<struct RequesterIdTag, std::uint32_t>;

inline constexpr unsigned kPageShift = 12;
inline constexpr std::uint64_t kPageSize = 1u << kPageShift;

constexpr PhysAddr to_phys(Pfn pfn) { return PhysAddr(pfn.value << kPageShift); }
constexpr Pfn to_pfn(PhysAddr addr) { return Pfn(addr.value >> kPageShift); }

}  // namespace sim

/// @cond
template <class Tag, class Rep>
struct std::hash<sim::Strong<Tag, Rep>> {
  std::size_t operator()(sim::Strong<Tag, Rep> v) const noexcept { return std::hash<Rep>{}(v.value); }
};
/// @endcond
