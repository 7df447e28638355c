// SPDX-License-Identifier: Apache-2.0
// DRAM timing as data: the speed bins, and the constraints between commands that follow from them.
//
// Unit: cycles of the memory clock (nCK). 64-byte accesses: BL8 on a 64-bit DDR4 channel, BL16 on a 32-bit
// DDR5 subchannel; x8 devices. Sources: JEDEC JESD79-4 (DDR4) and JESD79-5 (DDR5) by the rule max(nCK, ns) at
// each bin; every number with its source in mm/configs/*.yaml.
//
// Convention of command times: a DDR5 ACT, RD or WR occupies the command bus for two cycles; its time is the
// second of them, so PRE to ACT is tRP and ACT to RD is tRCD in both generations.
#pragma once
#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "sim/clock.h"

namespace mm {

/// kPreSb, kRefSb: one bank of every bank group (DDR5 PREsb, REFsb). A RD or WR with auto-precharge is a kRd
/// or kWr with a flag.
enum class DramCommand : std::uint8_t { kAct, kPre, kRd, kWr, kPreAll, kRef, kPreSb, kRefSb };
inline constexpr unsigned kDramCommands = 8;
const char* to_string(DramCommand command);

struct DramTiming {
  std::string name;
  sim::Clock clock{1};          ///< memory clock
  unsigned burst_length;        ///< BL; data occupies the bus for BL/2
  unsigned cl, rcd, rp, cwl;    ///< read latency, ACT to RD/WR, PRE to ACT, write latency
  unsigned ras, rc;             ///< ACT to PRE, ACT to ACT of one bank
  unsigned wr, rtp;             ///< end of write data to PRE, RD to PRE
  unsigned ccd_s, ccd_l;        ///< column to column: other bank group, same bank group
  unsigned ccd_l_wr;            ///< the same, write to write in one bank group
  unsigned rrd_s, rrd_l, faw;   ///< ACT to ACT of other banks; window of four ACTs of a rank
  unsigned wtr_s, wtr_l;        ///< end of write data to RD
  unsigned ppd;                 ///< PRE to PRE of a rank (0: DDR4 has none)
  unsigned rfc, refi;           ///< refresh time and interval
  unsigned rfc_sb, refsb_rd;    ///< same-bank refresh: its time, and REFsb to ACT of other banks (0: DDR4)
  unsigned rtrs;                ///< bus turnaround: gap for RD to WR, and between ranks
  bool two_cycle_commands;      ///< ACT, RD and WR take two cycles of the command bus
  unsigned bank_groups, banks;  ///< banks = per bank group
  unsigned rows, columns;       ///< columns of 64 bytes

  unsigned data_cycles() const { return burst_length / 2; }
  /// Unloaded latencies from acceptance to the end of data.
  unsigned hit_cycles() const { return 1 + cl + data_cycles(); }
  unsigned closed_cycles() const { return hit_cycles() + rcd; }
  unsigned conflict_cycles() const { return closed_cycles() + rp; }
  /// REFsb to REFsb. Same-bank refresh runs at twice the rate (fine granularity), and takes the banks in
  /// turn.
  unsigned refi_sb() const { return refi / 2 / banks; }
  bool has_same_bank_refresh() const { return rfc_sb != 0; }
  /// RD to WR of one rank: the write data may start `rtrs` cycles after the end of the read data.
  unsigned rtw() const { return cl + data_cycles() + rtrs - cwl; }

  /// Throws sim::Error with the name, the field and the rule that is broken.
  void validate() const;
};

/// The built-in bins.
const std::vector<DramTiming>& dram_standards();
/// By name; throws sim::Error with the nearest name.
const DramTiming& dram_standard(std::string_view name);

/// How far a constraint reaches. kSibling: between different ranks of one channel.
enum class DramLevel : std::uint8_t { kBank, kBankGroup, kRank, kSibling };
inline constexpr unsigned kDramLevels = 4;

/// `following` may come `latency` cycles after the `window`-th last `preceding` at the same place of `level`.
struct DramConstraint {
  DramLevel level;
  DramCommand preceding;
  DramCommand following;
  unsigned latency;
  unsigned window = 1;
};

/// All constraints of a bin, command bus included.
std::vector<DramConstraint> dram_constraints(const DramTiming& timing);

}  // namespace mm
