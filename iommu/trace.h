// SPDX-License-Identifier: Apache-2.0
// Typed events of the IOMMU, for the checker and for text traces.
#pragma once
#include <cstdint>

#include "iommu/layout.h"
#include "sim/types.h"

namespace iommu {

/// A device request leaves with its translation (at that cycle).
struct Translated {
  static constexpr const char* kName = "iommu:translated";
  sim::RequesterId requester;
  sim::Iova iova;
  sim::PhysAddr phys;
  std::uint32_t length = 0;
  bool write = false;
  bool iotlb_hit = false;
  std::uint8_t page_shift = 12;  ///< log2 of the page size the translation was valid for
  sim::Tick time = 0;
  bool by_device = false;  ///< the device had translated it (AT = 10b): `iova` is what it sent
};

/// A device request was refused. `recorded` is false when DTF or a full or disabled queue kept it from
/// software.
struct Fault {
  static constexpr const char* kName = "iommu:fault";
  sim::RequesterId requester;
  sim::Iova iova;
  std::uint32_t length = 0;
  bool write = false;
  bool posted = false;
  Cause cause = Cause::kNone;
  std::uint64_t iotval2 = 0;
  bool recorded = false;
  sim::Tick time = 0;
};

/// A page walk ended. Its walker was busy from `begin` to `end`.
struct Walked {
  static constexpr const char* kName = "iommu:walked";
  sim::RequesterId requester;
  sim::Iova iova;
  std::uint32_t walker = 0;   ///< which one, 0..walkers-1
  std::uint32_t waiting = 0;  ///< device requests that waited for its answer
  Cause cause = Cause::kNone;
  sim::Tick begin = 0;
  sim::Tick end = 0;
};

/// An invalidation command took effect (cached entries are gone from here on).
struct Invalidate {
  static constexpr const char* kName = "iommu:invalidate";
  enum class Kind : std::uint8_t { kVma, kGvma, kDdt, kPdt };
  Kind kind = Kind::kVma;
  bool has_address = false, has_pscid = false, has_gscid = false, has_device = false;
  std::uint64_t address = 0;  ///< first byte of the range
  std::uint64_t bytes = 0;    ///< of the range, 0 = all
  std::uint32_t pscid = 0, gscid = 0, device_id = 0, process_id = 0;
  std::uint32_t dropped = 0;  ///< entries of the IOTLB or directory caches that went
  sim::Tick time = 0;
};

/// An IOFENCE.C completed: all earlier invalidations are in effect, no older translation is in use.
struct FenceDone {
  static constexpr const char* kName = "iommu:fence_done";
  std::uint32_t index = 0;  ///< cqh of the command
  bool pr = false, pw = false;
  sim::Tick time = 0;
};

}  // namespace iommu
