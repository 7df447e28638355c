// SPDX-License-Identifier: Apache-2.0
// A request to translate and what comes of it (RISC-V IOMMU specification, "Process to translate an IOVA").
#pragma once
#include <cstdint>

#include "iommu/layout.h"
#include "sim/payload.h"

namespace iommu {

struct Request {
  std::uint32_t device_id = 0;
  std::uint32_t process_id = 0;
  bool has_process_id = false;
  bool privileged = false;  ///< as requested; counts only with a process id
  bool execute = false;
  bool read = false;
  bool write = false;
  bool no_write = false;  ///< ATS translation request: NW
  bool cxl = false;       ///< ATS translation request of a CXL type 1/2 device
  bool message =
      false;  ///< a PCIe message (page request): only the device context is looked up; iova = its code
  sim::AddressType address_type = sim::AddressType::kUntranslated;
  std::uint64_t iova = 0;

  constexpr bool is_ats() const { return address_type == sim::AddressType::kTranslationRequest; }
  constexpr bool supervisor() const { return has_process_id && privileged; }

  constexpr Ttyp ttyp() const {
    if (message) return Ttyp::kMessage;
    if (is_ats()) return Ttyp::kAtsRequest;
    if (address_type == sim::AddressType::kTranslated) {
      return write ? Ttyp::kTranslatedWrite : execute ? Ttyp::kTranslatedExecute : Ttyp::kTranslatedRead;
    }
    return execute ? Ttyp::kUntranslatedExecute : write ? Ttyp::kUntranslatedWrite : Ttyp::kUntranslatedRead;
  }
};

struct Outcome {
  Cause cause = Cause::kNone;
  bool dtf = false;  ///< DC.tc.DTF, once the device context is known
  std::uint64_t iotval2 = 0;

  std::uint64_t address = 0;     ///< SPA (ATS with T2GPA: GPA) of the requested byte
  std::uint8_t page_shift = 12;  ///< log2 of the naturally aligned range around it that translates alike
  std::uint8_t leaf_shift =
      12;                 ///< log2 of the first-stage page (NAPOT: 16), however the second stage divides it
  std::uint8_t pbmt = 0;  ///< 0 PMA, 1 NC, 2 IO
  bool msi = false;       ///< translated by an MSI page table entry
  bool mrif = false;      ///< the target is a memory-resident interrupt file:
  std::uint64_t mrif_address = 0;
  std::uint64_t notice_address = 0;
  std::uint16_t notice_id = 0;

  // For ATS completions and for the IOTLB.
  bool readable = false, writable = false, executable = false;
  bool user = true;     ///< first-stage U, or first stage Bare
  bool global = false;  ///< first-stage G
  bool t2gpa = false;
  bool prpr = false;  ///< messages: DC.tc.PRPR
  bool iotlb_hit = false;
  std::uint8_t page_class = 0;                       ///< of the IOTLB entry, if iotlb_hit
  bool first_active = false, second_active = false;  ///< stages that are not Bare
  std::uint32_t pscid = 0;
  std::uint32_t gscid = 0;
  std::uint16_t rcid = 0, mcid = 0;

  constexpr bool ok() const { return cause == Cause::kNone; }
};

/// What a device gets for a cause.
enum class Refusal : std::uint8_t { kUnsupportedRequest, kCompleterAbort, kNothingGranted };

/// ATS translation requests: by the cause table. Everything else: Unsupported Request.
constexpr Refusal refusal(const Request& request, Cause cause) {
  if (!request.is_ats()) return Refusal::kUnsupportedRequest;
  switch (cause) {
    case Cause::kInstructionPageFault:
    case Cause::kReadPageFault:
    case Cause::kWritePageFault:
    case Cause::kInstructionGuestPageFault:
    case Cause::kReadGuestPageFault:
    case Cause::kWriteGuestPageFault:
    case Cause::kMsiPteInvalid:
    case Cause::kPdtInvalid:
      return Refusal::kNothingGranted;
    case Cause::kAllDisallowed:
    case Cause::kDdtLoadFault:
    case Cause::kDdtInvalid:
    case Cause::kDdtMisconfigured:
    case Cause::kTypeDisallowed:
      return Refusal::kUnsupportedRequest;
    default:
      return Refusal::kCompleterAbort;
  }
}

/// Fields of an ATS translation completion with status Success (specification, "ATS translation request
/// handling").
struct AtsGrant {
  bool read = false, write = false, execute = false;
  bool untranslated_only = false;  ///< U
  bool privileged = false, global = false;
  bool cxl_io_known = true, cxl_io = false;
};
constexpr AtsGrant ats_grant(const Request& request, const Outcome& outcome) {
  AtsGrant g;
  g.read = outcome.readable;
  g.write = outcome.writable;
  g.execute = outcome.executable && g.read && request.execute;
  g.untranslated_only = outcome.mrif;
  g.privileged = request.supervisor();
  g.global = request.has_process_id && outcome.global && !outcome.msi;
  if (request.cxl) {
    g.cxl_io = outcome.msi || outcome.t2gpa || outcome.pbmt != 0;
    g.cxl_io_known = g.cxl_io;
  }
  return g;
}

/// The 8-byte entry of a PCIe ATS translation completion as a number: address and size at 63:11, then N,
/// Global, Priv, Exe, U, W, R at their PCIe places (PCI Express Base Specification, "Translation
/// Completion").
constexpr std::uint64_t ats_completion_entry(const Request& request, const Outcome& outcome) {
  if (!outcome.ok() || (!outcome.readable && !outcome.writable)) return 0;
  const AtsGrant g = ats_grant(request, outcome);
  std::uint64_t page = outcome.address >> 12;
  const bool super = outcome.page_shift > 12;
  if (super) {
    const unsigned x = outcome.page_shift - 13u;  // position of the lowest zero
    page = (page & ~mask(x, 0)) | (x > 0 ? mask(x - 1, 0) : 0);
  }
  return (g.untranslated_only ? 0 : page << 12) | (super ? 1u << 11 : 0u) | (g.global ? 1u << 5 : 0u) |
         (g.privileged ? 1u << 4 : 0u) | (g.execute ? 1u << 3 : 0u) | (g.untranslated_only ? 1u << 2 : 0u) |
         (g.write ? 1u << 1 : 0u) | (g.read ? 1u : 0u);
}

/// Is a fault of this cause written to the fault queue (before looking at the state of the queue)?
constexpr bool is_recorded(const Request& request, const Outcome& outcome) {
  if (refusal(request, outcome.cause) == Refusal::kNothingGranted) return false;
  if (!outcome.dtf) return true;
  const auto c = static_cast<unsigned>(outcome.cause);
  return (c >= 256 && c <= 259) || c == 268 || c == 272 || c == 273;
}

}  // namespace iommu
