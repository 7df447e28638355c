// SPDX-License-Identifier: Apache-2.0
#include "iommu/context.h"

#include <algorithm>

namespace iommu {
namespace {

/// MODE of iosatp is legal for SXL and implemented.
bool first_stage_mode_ok(unsigned mode, bool sxl, const Environment& env) {
  if (mode == 0) return true;
  if (sxl) return mode == 8 && env.has(cap::kSv32);
  return (mode == 8 && env.has(cap::kSv39)) || (mode == 9 && env.has(cap::kSv48)) ||
         (mode == 10 && env.has(cap::kSv57));
}

bool second_stage_mode_ok(unsigned mode, const Environment& env) {
  if (mode == 0) return true;
  if (env.gxl()) return mode == 8 && env.has(cap::kSv32x4);
  return (mode == 8 && env.has(cap::kSv39x4)) || (mode == 9 && env.has(cap::kSv48x4)) ||
         (mode == 10 && env.has(cap::kSv57x4));
}

bool pdt_mode_ok(unsigned mode, const Environment& env) {
  switch (mode) {
    case 0:
      return true;
    case 1:
      return env.has(cap::kPd8);
    case 2:
      return env.has(cap::kPd17);
    case 3:
      return env.has(cap::kPd20);
    default:
      return false;
  }
}

bool reserved_bits_set(const DeviceContext& c, const Environment& env) {
  if ((c.word[dc::kTc] & (mask(23, 12) | mask(63, 32))) != 0) return true;
  if ((c.word[dc::kTa] & (mask(11, 0) | mask(39, 32))) != 0) return true;
  if ((c.word[dc::kFsc] & mask(59, 44)) != 0) return true;
  if (!env.extended()) return false;
  return (c.word[dc::kMsiptp] & mask(59, 44)) != 0 || (c.word[dc::kMsiAddrMask] & mask(63, 52)) != 0 ||
         (c.word[dc::kMsiAddrPattern] & mask(63, 52)) != 0 || c.word[dc::kReserved] != 0;
}

bool ats_bits_bad(const DeviceContext& c, const Environment& env) {
  if (!env.has(cap::kAts) && c.tc(dc::kEnAts | dc::kEnPri | dc::kPrpr)) return true;
  if (!c.tc(dc::kEnAts) && c.tc(dc::kT2gpa | dc::kEnPri)) return true;
  if (!c.tc(dc::kEnPri) && c.tc(dc::kPrpr)) return true;
  return c.tc(dc::kT2gpa) && (!env.has(cap::kT2gpa) || bits(c.word[dc::kIohgatp], 63, 60) == 0);
}

bool endianness_or_width_bad(const DeviceContext& c, const Environment& env) {
  const bool sbe = c.tc(dc::kSbe), sxl = c.tc(dc::kSxl);
  if (!env.has(cap::kEnd) && sbe != env.big_endian()) return true;
  if (!env.config.be_writable && sbe != env.big_endian()) return true;
  if (env.gxl()) return !sxl;
  return !env.config.gxl_writable && sxl;
}

bool qos_bad(const DeviceContext& c, const Environment& env) {
  const auto rcid = bits(c.word[dc::kTa], 51, 40), mcid = bits(c.word[dc::kTa], 63, 52);
  if (!env.has(cap::kQosid)) return rcid != 0 || mcid != 0;
  return (rcid & ~std::uint64_t{env.config.qosid_mask & 0xfff}) != 0 ||
         (mcid & ~std::uint64_t{(env.config.qosid_mask >> 16) & 0xfff}) != 0;
}

Stage stage(unsigned mode, bool rv32, std::uint64_t root) {
  if (mode == 0) return {};
  if (rv32) return {root, 2, 10, 4};
  return {root, static_cast<std::uint8_t>(mode - 5), 9, 8};
}

}  // namespace

bool device_context_misconfigured(const DeviceContext& c, const Environment& env) {
  if (reserved_bits_set(c, env) || ats_bits_bad(c, env) || endianness_or_width_bad(c, env) ||
      qos_bad(c, env)) {
    return true;
  }
  const auto fsc_mode = static_cast<unsigned>(bits(c.word[dc::kFsc], 63, 60));
  if (c.tc(dc::kPdtv)) {
    if (!pdt_mode_ok(fsc_mode, env)) return true;
  } else {
    if (!first_stage_mode_ok(fsc_mode, c.tc(dc::kSxl), env) || c.tc(dc::kDpe)) return true;
  }
  const auto g_mode = static_cast<unsigned>(bits(c.word[dc::kIohgatp], 63, 60));
  if (!second_stage_mode_ok(g_mode, env)) return true;
  if (g_mode != 0 && (c.word[dc::kIohgatp] & 3) != 0) return true;
  if (!env.has(cap::kAmoHwad) && c.tc(dc::kSade | dc::kGade)) return true;
  if (env.extended()) {
    const auto msi_mode = bits(c.word[dc::kMsiptp], 63, 60);
    if (msi_mode > 1 || (g_mode == 0 && msi_mode != 0)) return true;
  }
  return false;
}

bool process_context_misconfigured(const ProcessContext& c, bool sxl, const Environment& env) {
  if ((c.ta & (mask(11, 3) | mask(63, 32))) != 0 || (c.fsc & mask(59, 44)) != 0) return true;
  return !first_stage_mode_ok(static_cast<unsigned>(bits(c.fsc, 63, 60)), sxl, env);
}

void derive(DeviceContext& c, const Environment& env) {
  const auto fsc_mode = static_cast<unsigned>(bits(c.word[dc::kFsc], 63, 60));
  const std::uint64_t fsc_root = bits(c.word[dc::kFsc], 43, 0) << 12;
  c.first = c.tc(dc::kPdtv) ? Stage{} : stage(fsc_mode, c.tc(dc::kSxl), fsc_root);
  c.pdt_levels = c.tc(dc::kPdtv) ? static_cast<std::uint8_t>(fsc_mode) : std::uint8_t{0};
  c.second = stage(static_cast<unsigned>(bits(c.word[dc::kIohgatp], 63, 60)), env.gxl(),
                   bits(c.word[dc::kIohgatp], 43, 0) << 12);
  c.gscid = static_cast<std::uint32_t>(bits(c.word[dc::kIohgatp], 59, 44));
  c.pscid = static_cast<std::uint32_t>(bits(c.word[dc::kTa], 31, 12));
  c.rcid = static_cast<std::uint16_t>(bits(c.word[dc::kTa], 51, 40));
  c.mcid = static_cast<std::uint16_t>(bits(c.word[dc::kTa], 63, 52));
  c.msi = env.extended() && bits(c.word[dc::kMsiptp], 63, 60) == 1;
  if (c.msi) {
    const std::uint64_t implemented = mask(std::min(env.guest_page_bits(), 52u) - 1, 0);
    c.msi_mask = c.word[dc::kMsiAddrMask] & implemented;
    c.msi_pattern = c.word[dc::kMsiAddrPattern] & implemented;
  }
}

void derive(ProcessContext& c, bool sxl) {
  c.first = stage(static_cast<unsigned>(bits(c.fsc, 63, 60)), sxl, bits(c.fsc, 43, 0) << 12);
}

}  // namespace iommu
