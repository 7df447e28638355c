// SPDX-License-Identifier: Apache-2.0
// Device and process contexts: how they are laid out, when they are misconfigured, and which address space a
// request gets from them (RISC-V IOMMU specification, "Device-Context" and "Process-Context" chapters).
#pragma once
#include <array>
#include <cstdint>

#include "iommu/config.h"
#include "iommu/layout.h"

namespace iommu {

/// The registers and constants that translation depends on.
struct Environment {
  ArchitectureConfig config;
  std::uint64_t capabilities = 0;
  std::uint32_t fctl = 0;
  std::uint64_t ddtp = 0;
  std::uint32_t qosid = 0;  ///< iommu_qosid: of the IOMMU's own accesses, and of everybody's in Bare mode
  std::uint8_t bare_shift = 30;

  bool has(std::uint64_t c) const { return (capabilities & c) != 0; }
  bool big_endian() const { return (fctl & fctl::kBe) != 0; }
  bool gxl() const { return (fctl & fctl::kGxl) != 0; }
  bool extended() const { return has(cap::kMsiFlat); }
  unsigned pas() const { return static_cast<unsigned>(bits(capabilities, 37, 32)); }
  bool beyond_pas(std::uint64_t address) const { return pas() < 64 && (address >> pas()) != 0; }
  std::uint16_t own_rcid() const { return static_cast<std::uint16_t>(bits(qosid, 11, 0)); }
  std::uint16_t own_mcid() const { return static_cast<std::uint16_t>(bits(qosid, 27, 16)); }
  DdtMode mode() const { return static_cast<DdtMode>(ddtp & 0xf); }
  unsigned ddt_levels() const {
    const auto m = static_cast<unsigned>(mode());
    return m >= 2 ? m - 1 : 0;
  }
  /// The device id fits the directory's depth.
  bool device_id_fits(std::uint32_t device_id) const {
    return (device_id >> dc::index_low(extended(), ddt_levels())) == 0;
  }
  /// Implemented bits of a guest page number (MGPAW - 12).
  unsigned guest_page_bits() const {
    const unsigned mgpaw = has(cap::kSv57x4)   ? 59
                           : has(cap::kSv48x4) ? 50
                           : has(cap::kSv39x4) ? 41
                           : has(cap::kSv32x4) ? 34
                                               : pas();
    return mgpaw - 12;
  }
};

/// One stage of translation. levels == 0: Bare.
struct Stage {
  std::uint64_t root = 0;  ///< address of the root table
  std::uint8_t levels = 0;
  std::uint8_t index_bits = 9;  ///< per level: 9, or 10 for Sv32
  std::uint8_t entry_bytes = 8;
  bool bare() const { return levels == 0; }
};

struct DeviceContext {
  std::array<std::uint64_t, 8> word{};
  // Derived once, when the context is loaded.
  Stage first;   ///< iosatp, when PDTV=0
  Stage second;  ///< iohgatp
  std::uint32_t gscid = 0;
  std::uint32_t pscid = 0;  ///< ta.PSCID
  std::uint8_t pdt_levels = 0;
  std::uint16_t rcid = 0, mcid = 0;
  std::uint64_t msi_mask = 0, msi_pattern = 0;
  bool msi = false;

  bool tc(std::uint64_t flag) const { return (word[dc::kTc] & flag) != 0; }
  std::uint64_t pdt_root() const { return bits(word[dc::kFsc], 43, 0) << 12; }
  std::uint64_t msi_root() const { return bits(word[dc::kMsiptp], 43, 0) << 12; }
  /// Process-id width of the process directory (20 when it is Bare).
  unsigned process_id_bits() const {
    constexpr unsigned width[] = {20, 8, 17, 20};
    return width[pdt_levels];
  }
  /// Is guest page `gpn` a virtual interrupt file?
  bool is_interrupt_page(std::uint64_t gpn) const { return msi && ((gpn ^ msi_pattern) & ~msi_mask) == 0; }
};

struct ProcessContext {
  std::uint64_t ta = 0, fsc = 0;
  Stage first;
  std::uint32_t pscid() const { return static_cast<std::uint32_t>(bits(ta, 31, 12)); }
  bool ens() const { return (ta & pc::kEns) != 0; }
  bool sum() const { return (ta & pc::kSum) != 0; }
};

/// Cause 259 rules of the specification, on a context whose V is 1.
bool device_context_misconfigured(const DeviceContext& context, const Environment& env);
/// Cause 267 rules, on a process context whose V is 1.
bool process_context_misconfigured(const ProcessContext& context, bool sxl, const Environment& env);
/// Fills the derived members.
void derive(DeviceContext& context, const Environment& env);
void derive(ProcessContext& context, bool sxl);

}  // namespace iommu
