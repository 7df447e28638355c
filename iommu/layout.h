// SPDX-License-Identifier: Apache-2.0
// The programming model of the RISC-V IOMMU as constants and tiny encoders: register offsets, register
// fields, device and process directory entries, page-table entries, commands, fault records. For: whoever
// programs the device (the modelled kernel's driver, test benches) and the device itself. Source: RISC-V
// IOMMU Architecture Specification (base 1.0, QoS-ID, non-leaf and range invalidation).
#pragma once
#include <cstdint>

namespace iommu {

/// Bits hi:lo of `v`.
constexpr std::uint64_t bits(std::uint64_t v, unsigned hi, unsigned lo) {
  return (v >> lo) & (~std::uint64_t{0} >> (63 - (hi - lo)));
}
constexpr bool bit(std::uint64_t v, unsigned n) { return ((v >> n) & 1) != 0; }
/// Mask with ones at hi:lo.
constexpr std::uint64_t mask(unsigned hi, unsigned lo) {
  return (~std::uint64_t{0} >> (63 - (hi - lo))) << lo;
}

/// Register offsets in the 4 KiB register page.
namespace reg {
inline constexpr std::uint32_t kCapabilities = 0x000;  // 8 bytes
inline constexpr std::uint32_t kFctl = 0x008;          // 4
inline constexpr std::uint32_t kDdtp = 0x010;          // 8
inline constexpr std::uint32_t kCqb = 0x018;           // 8
inline constexpr std::uint32_t kCqh = 0x020;           // 4
inline constexpr std::uint32_t kCqt = 0x024;           // 4
inline constexpr std::uint32_t kFqb = 0x028;           // 8
inline constexpr std::uint32_t kFqh = 0x030;           // 4
inline constexpr std::uint32_t kFqt = 0x034;           // 4
inline constexpr std::uint32_t kPqb = 0x038;           // 8
inline constexpr std::uint32_t kPqh = 0x040;           // 4
inline constexpr std::uint32_t kPqt = 0x044;           // 4
inline constexpr std::uint32_t kCqcsr = 0x048;         // 4
inline constexpr std::uint32_t kFqcsr = 0x04c;         // 4
inline constexpr std::uint32_t kPqcsr = 0x050;         // 4
inline constexpr std::uint32_t kIpsr = 0x054;          // 4
inline constexpr std::uint32_t kIocountovf = 0x058;    // 4
inline constexpr std::uint32_t kIocountinh = 0x05c;    // 4
inline constexpr std::uint32_t kIohpmcycles = 0x060;   // 8
inline constexpr std::uint32_t kIohpmctr = 0x068;      // 8 each, counters 1..31
inline constexpr std::uint32_t kIohpmevt = 0x160;      // 8 each, counters 1..31
inline constexpr std::uint32_t kTrReqIova = 0x258;     // 8
inline constexpr std::uint32_t kTrReqCtl = 0x260;      // 8
inline constexpr std::uint32_t kTrResponse = 0x268;    // 8
inline constexpr std::uint32_t kQosid = 0x270;         // 4
inline constexpr std::uint32_t kIcvec = 0x2f8;         // 8
inline constexpr std::uint32_t kMsiCfgTbl = 0x300;     // 16 entries of 16 bytes: addr 8, data 4, vec_ctl 4
inline constexpr std::uint32_t kPageSize = 0x1000;
constexpr std::uint32_t msi_addr(unsigned x) { return kMsiCfgTbl + 16 * x; }
constexpr std::uint32_t msi_data(unsigned x) { return kMsiCfgTbl + 16 * x + 8; }
constexpr std::uint32_t msi_vec_ctl(unsigned x) { return kMsiCfgTbl + 16 * x + 12; }
}  // namespace reg

/// capabilities
namespace cap {
inline constexpr std::uint64_t kVersion1_0 = 0x10;
inline constexpr std::uint64_t kSv32 = 1ull << 8, kSv39 = 1ull << 9, kSv48 = 1ull << 10, kSv57 = 1ull << 11;
inline constexpr std::uint64_t kSvrsw60t59b = 1ull << 14, kSvpbmt = 1ull << 15;
inline constexpr std::uint64_t kSv32x4 = 1ull << 16, kSv39x4 = 1ull << 17, kSv48x4 = 1ull << 18,
                               kSv57x4 = 1ull << 19;
inline constexpr std::uint64_t kAmoMrif = 1ull << 21, kMsiFlat = 1ull << 22, kMsiMrif = 1ull << 23;
inline constexpr std::uint64_t kAmoHwad = 1ull << 24, kAts = 1ull << 25, kT2gpa = 1ull << 26,
                               kEnd = 1ull << 27;
inline constexpr std::uint64_t kIgsMsi = 0ull << 28, kIgsWsi = 1ull << 28, kIgsBoth = 2ull << 28;
inline constexpr std::uint64_t kHpm = 1ull << 30, kDbg = 1ull << 31;
constexpr std::uint64_t pas(unsigned bits) { return std::uint64_t{bits} << 32; }
inline constexpr std::uint64_t kPd8 = 1ull << 38, kPd17 = 1ull << 39, kPd20 = 1ull << 40;
inline constexpr std::uint64_t kQosid = 1ull << 41, kNl = 1ull << 42, kS = 1ull << 43;
}  // namespace cap

/// fctl
namespace fctl {
inline constexpr std::uint32_t kBe = 1u << 0, kWsi = 1u << 1, kGxl = 1u << 2;
}

/// ddtp.iommu_mode
enum class DdtMode : std::uint8_t { kOff = 0, kBare = 1, k1Lvl = 2, k2Lvl = 3, k3Lvl = 4 };

/// A pointer register: PPN at 53:10.
constexpr std::uint64_t ppn_field(std::uint64_t address) { return (address >> 12) << 10; }
constexpr std::uint64_t ppn_address(std::uint64_t field) { return bits(field, 53, 10) << 12; }
constexpr std::uint64_t ddtp(DdtMode mode, std::uint64_t root_address) {
  return ppn_field(root_address) | static_cast<std::uint64_t>(mode);
}
/// cqb, fqb, pqb of a queue with 2^log2_entries entries (log2_entries >= 1).
constexpr std::uint64_t queue_base(std::uint64_t address, unsigned log2_entries) {
  return ppn_field(address) | (log2_entries - 1);
}
inline constexpr unsigned kCommandBytes = 16, kFaultRecordBytes = 32, kPageRequestBytes = 16;

/// cqcsr, fqcsr, pqcsr. The enable, interrupt-enable, memory-fault, on and busy bits lie at the same place in
/// all.
namespace qcsr {
inline constexpr std::uint32_t kEnable = 1u << 0, kInterruptEnable = 1u << 1;
inline constexpr std::uint32_t kMemoryFault = 1u << 8;
inline constexpr std::uint32_t kOverflow = 1u << 9;                                         // fqcsr, pqcsr
inline constexpr std::uint32_t kCmdTo = 1u << 9, kCmdIll = 1u << 10, kFenceWIp = 1u << 11;  // cqcsr
inline constexpr std::uint32_t kOn = 1u << 16, kBusy = 1u << 17;
}  // namespace qcsr

/// ipsr
namespace ipsr {
inline constexpr std::uint32_t kCip = 1u << 0, kFip = 1u << 1, kPmip = 1u << 2, kPip = 1u << 3;
}

/// Device directory. Base format DC = 32 bytes (4 doublewords), extended format (cap.MSI_FLAT) = 64 bytes.
namespace dc {
inline constexpr std::uint64_t kV = 1ull << 0, kEnAts = 1ull << 1, kEnPri = 1ull << 2, kT2gpa = 1ull << 3,
                               kDtf = 1ull << 4, kPdtv = 1ull << 5, kPrpr = 1ull << 6, kGade = 1ull << 7,
                               kSade = 1ull << 8, kDpe = 1ull << 9, kSbe = 1ull << 10, kSxl = 1ull << 11;
/// Indexes of the doublewords.
enum Word : unsigned { kTc = 0, kIohgatp, kTa, kFsc, kMsiptp, kMsiAddrMask, kMsiAddrPattern, kReserved };
constexpr unsigned bytes(bool extended) { return extended ? 64 : 32; }
/// Width in bits of the directory index `level` (0 = leaf).
constexpr unsigned index_low(bool extended, unsigned level) {
  constexpr unsigned base[] = {0, 7, 16, 24}, ext[] = {0, 6, 15, 24};
  return extended ? ext[level] : base[level];
}
constexpr unsigned index(bool extended, unsigned level, std::uint32_t device_id) {
  return static_cast<unsigned>(
      bits(device_id, index_low(extended, level + 1) - 1, index_low(extended, level)));
}
/// Non-leaf directory entry.
constexpr std::uint64_t pointer(std::uint64_t table_address) { return ppn_field(table_address) | kV; }
/// ta: PSCID of the device when PDTV=0.
constexpr std::uint64_t ta(std::uint32_t pscid) { return std::uint64_t{pscid} << 12; }
}  // namespace dc

/// MODE values of iosatp / fsc (bits 63:60).
enum class SatpMode : std::uint8_t { kBare = 0, kSv32 = 8, kSv39 = 8, kSv48 = 9, kSv57 = 10 };
constexpr std::uint64_t iosatp(SatpMode mode, std::uint64_t root_address) {
  return (static_cast<std::uint64_t>(mode) << 60) | (root_address >> 12);
}
constexpr std::uint64_t iohgatp(SatpMode mode, std::uint32_t gscid, std::uint64_t root_address) {
  return (static_cast<std::uint64_t>(mode) << 60) | (std::uint64_t{gscid} << 44) | (root_address >> 12);
}
enum class PdtMode : std::uint8_t { kBare = 0, kPd8 = 1, kPd17 = 2, kPd20 = 3 };
constexpr std::uint64_t pdtp(PdtMode mode, std::uint64_t root_address) {
  return (static_cast<std::uint64_t>(mode) << 60) | (root_address >> 12);
}

/// Process context (16 bytes: ta, fsc).
namespace pc {
inline constexpr std::uint64_t kV = 1ull << 0, kEns = 1ull << 1, kSum = 1ull << 2;
constexpr std::uint64_t ta(std::uint32_t pscid, bool ens = false, bool sum = false) {
  return kV | (ens ? kEns : 0) | (sum ? kSum : 0) | (std::uint64_t{pscid} << 12);
}
}  // namespace pc

/// Page-table entries (64-bit; Sv32 has the same low ten bits and PPN at 31:10).
namespace pte {
inline constexpr std::uint64_t kV = 1ull << 0, kR = 1ull << 1, kW = 1ull << 2, kX = 1ull << 3, kU = 1ull << 4,
                               kG = 1ull << 5, kA = 1ull << 6, kD = 1ull << 7, kN = 1ull << 63;
constexpr std::uint64_t leaf(std::uint64_t address, std::uint64_t flags) {
  return ppn_field(address) | flags | kV;
}
constexpr std::uint64_t pointer(std::uint64_t table_address) { return ppn_field(table_address) | kV; }
constexpr std::uint64_t address(std::uint64_t entry) { return ppn_address(entry); }
}  // namespace pte

/// Commands: two doublewords.
struct Command {
  std::uint64_t dw0 = 0, dw1 = 0;
  constexpr bool operator==(const Command&) const = default;
};
namespace cmd {
enum Opcode : unsigned { kIotinval = 1, kIofence = 2, kIodir = 3, kAts = 4 };
constexpr unsigned opcode(const Command& c) { return static_cast<unsigned>(bits(c.dw0, 6, 0)); }
constexpr unsigned func3(const Command& c) { return static_cast<unsigned>(bits(c.dw0, 9, 7)); }

/// IOTINVAL.VMA of everything (GV=AV=PSCV=0); narrow it with the helpers below.
constexpr Command iotinval_vma() { return {kIotinval, 0}; }
constexpr Command iotinval_gvma() { return {kIotinval | (1u << 7), 0}; }
constexpr Command with_address(Command c, std::uint64_t address) {
  c.dw0 |= 1ull << 10;  // AV
  c.dw1 |= (address >> 12) << 10;
  return c;
}
constexpr Command with_pscid(Command c, std::uint32_t pscid) {
  c.dw0 |= (1ull << 32) | (std::uint64_t{pscid} << 12);  // PSCV
  return c;
}
constexpr Command with_gscid(Command c, std::uint32_t gscid) {
  c.dw0 |= (1ull << 33) | (std::uint64_t{gscid} << 44);  // GV
  return c;
}
/// NAPOT range of 2^log2_bytes bytes around `address` (cap.S; log2_bytes >= 13).
constexpr Command with_range(Command c, std::uint64_t address, unsigned log2_bytes) {
  const std::uint64_t page = address >> 12;
  const unsigned x = log2_bytes - 13;  // position of the lowest 0 bit
  const std::uint64_t napot = (page & ~mask(x, 0)) | (x == 0 ? 0 : mask(x - 1, 0));
  c.dw0 |= 1ull << 10;
  c.dw1 |= (napot << 10) | (1ull << 9);
  return c;
}
constexpr Command iofence(bool pr, bool pw) {
  return {kIofence | (pr ? 1ull << 12 : 0) | (pw ? 1ull << 13 : 0), 0};
}
/// IOFENCE.C that stores `data` (4 bytes) to `address` when done.
constexpr Command iofence_store(bool pr, bool pw, std::uint64_t address, std::uint32_t data) {
  Command c = iofence(pr, pw);
  c.dw0 |= (1ull << 10) | (std::uint64_t{data} << 32);
  c.dw1 = address >> 2;
  return c;
}
constexpr Command iofence_wsi(Command c) {
  c.dw0 |= 1ull << 11;
  return c;
}
constexpr Command iodir_inval_ddt() { return {kIodir, 0}; }
constexpr Command iodir_inval_ddt(std::uint32_t device_id) {
  return {kIodir | (1ull << 33) | (std::uint64_t{device_id} << 40), 0};
}
constexpr Command iodir_inval_pdt(std::uint32_t device_id, std::uint32_t process_id) {
  return {kIodir | (1u << 7) | (std::uint64_t{process_id} << 12) | (1ull << 33) |
              (std::uint64_t{device_id} << 40),
          0};
}
}  // namespace cmd

/// CAUSE of a fault record.
enum class Cause : std::uint16_t {
  kNone = 0,
  kInstructionAccessFault = 1,
  kReadMisaligned = 4,
  kReadAccessFault = 5,
  kWriteMisaligned = 6,
  kWriteAccessFault = 7,
  kInstructionPageFault = 12,
  kReadPageFault = 13,
  kWritePageFault = 15,
  kInstructionGuestPageFault = 20,
  kReadGuestPageFault = 21,
  kWriteGuestPageFault = 23,
  kAllDisallowed = 256,
  kDdtLoadFault = 257,
  kDdtInvalid = 258,
  kDdtMisconfigured = 259,
  kTypeDisallowed = 260,
  kMsiPteLoadFault = 261,
  kMsiPteInvalid = 262,
  kMsiPteMisconfigured = 263,
  kMrifAccessFault = 264,
  kPdtLoadFault = 265,
  kPdtInvalid = 266,
  kPdtMisconfigured = 267,
  kDdtCorruption = 268,
  kPdtCorruption = 269,
  kMsiPtCorruption = 270,
  kMrifCorruption = 271,
  kInternalError = 272,
  kMsiWriteFault = 273,
  kPtCorruption = 274,
};

/// TTYP of a fault record.
enum class Ttyp : std::uint8_t {
  kNone = 0,
  kUntranslatedExecute = 1,
  kUntranslatedRead = 2,
  kUntranslatedWrite = 3,
  kTranslatedExecute = 5,
  kTranslatedRead = 6,
  kTranslatedWrite = 7,
  kAtsRequest = 8,
  kMessage = 9,
};

/// A fault-queue record as software reads it (four doublewords).
struct FaultRecord {
  std::uint64_t dw[4] = {0, 0, 0, 0};
  constexpr Cause cause() const { return static_cast<Cause>(bits(dw[0], 11, 0)); }
  constexpr std::uint32_t process_id() const { return static_cast<std::uint32_t>(bits(dw[0], 31, 12)); }
  constexpr bool has_process_id() const { return bit(dw[0], 32); }
  constexpr bool privileged() const { return bit(dw[0], 33); }
  constexpr Ttyp ttyp() const { return static_cast<Ttyp>(bits(dw[0], 39, 34)); }
  constexpr std::uint32_t device_id() const { return static_cast<std::uint32_t>(bits(dw[0], 63, 40)); }
  constexpr std::uint64_t iotval() const { return dw[2]; }
  constexpr std::uint64_t iotval2() const { return dw[3]; }
};

}  // namespace iommu
