// SPDX-License-Identifier: Apache-2.0
// The CSR space of the 82576 as a table: for each 32-bit register its reset value, its writable bits and the
// kind of side effect it has. Values live here; side effects are the device's (csr.cpp).
#pragma once
#include <array>
#include <cstdint>

#include "nic/device/registers.h"

namespace nic {

/// What reading or writing a register does beside keeping its writable bits.
enum class RegisterKind : std::uint8_t {
  kAbsent,  ///< reads 0, ignores writes
  kPlain,
  kCtrl,
  kStatus,
  kEerd,
  kCtrlExt,
  kMdic,
  kIcr,
  kIcs,
  kIms,
  kImc,
  kEics,
  kEims,
  kEimc,
  kEiac,
  kEiam,
  kEicr,
  kEitr,
  kSwsm,
  kP2vMailbox,
  kV2pMailbox,
  kWriteOneToClear,
  kFilter,  ///< plain, but a write may let a waiting frame go on
  kRdh,
  kRdt,
  kRxdctl,
  kRqdpc,
  kTdh,
  kTdt,
  kTxdctl,
  kStatistic,      ///< clear on read, saturating
  kStatisticHigh,  ///< high half: a read clears both halves
  kVfMirror,       ///< PVTCTRL block
  kFrtimer,
  kPbaClear  ///< MSI-X pending bits, write 1 to clear
};

struct RegisterInfo {
  std::uint32_t reset = 0;
  std::uint32_t writable = 0;
  RegisterKind kind = RegisterKind::kAbsent;
  std::uint8_t index = 0;  ///< queue, VF or vector
  bool survives_software_reset = false;
  std::uint32_t alias_of = 0;  ///< nonzero: another name of that register
};

class RegisterFile {
 public:
  static constexpr std::uint32_t kBytes = pci::kBar0Bytes;

  RegisterFile();

  /// `offset` is masked to the register space; aliases are resolved.
  static std::uint32_t canonical(std::uint32_t offset);
  static const RegisterInfo& info(std::uint32_t canonical_offset);

  std::uint32_t operator[](std::uint32_t offset) const { return values_[offset / 4]; }
  std::uint32_t& operator[](std::uint32_t offset) { return values_[offset / 4]; }

  /// Keeps the writable bits of `value`.
  void write_masked(std::uint32_t offset, std::uint32_t value);

  /// Adds to a saturating statistics register.
  void count(std::uint32_t offset, std::uint32_t n = 1) {
    std::uint32_t& v = values_[offset / 4];
    v = v > ~std::uint32_t{0} - n ? ~std::uint32_t{0} : v + n;
  }
  /// Adds to a 64-bit statistics pair (low at `offset`).
  void count64(std::uint32_t offset, std::uint64_t n) {
    std::uint32_t& low = values_[offset / 4];
    std::uint32_t& high = values_[offset / 4 + 1];
    const std::uint64_t sum = (static_cast<std::uint64_t>(high) << 32 | low) + n;
    low = static_cast<std::uint32_t>(sum);
    high = static_cast<std::uint32_t>(sum >> 32);
  }

  void power_on_reset();
  void software_reset();

 private:
  std::array<std::uint32_t, kBytes / 4> values_;
};

}  // namespace nic
