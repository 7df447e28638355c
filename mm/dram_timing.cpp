// SPDX-License-Identifier: Apache-2.0
#include "mm/dram_timing.h"

#include <fmt/format.h>

#include <bit>

#include "sim/error.h"

namespace mm {

const char* to_string(DramCommand command) {
  static constexpr const char* kNames[] = {"ACT", "PRE", "RD", "WR", "PREA", "REF", "PREsb", "REFsb"};
  return kNames[static_cast<unsigned>(command)];
}

const std::vector<DramTiming>& dram_standards() {
  static const std::vector<DramTiming> standards = [] {
    std::vector<DramTiming> s(4);
    s[0] = {.name = "DDR4-2400R",
            .clock = sim::Clock::from_hz(1'200'000'000),
            .burst_length = 8,
            .cl = 16,
            .rcd = 16,
            .rp = 16,
            .cwl = 12,
            .ras = 39,
            .rc = 55,
            .wr = 18,
            .rtp = 9,
            .ccd_s = 4,
            .ccd_l = 6,
            .ccd_l_wr = 6,
            .rrd_s = 4,
            .rrd_l = 6,
            .faw = 26,
            .wtr_s = 3,
            .wtr_l = 9,
            .ppd = 0,
            .rfc = 433,
            .refi = 9364,
            .rfc_sb = 0,
            .refsb_rd = 0,
            .rtrs = 2,
            .two_cycle_commands = false,
            .bank_groups = 4,
            .banks = 4,
            .rows = 65536,
            .columns = 128};
    s[1] = {.name = "DDR4-3200AA",
            .clock = sim::Clock::from_hz(1'600'000'000),
            .burst_length = 8,
            .cl = 22,
            .rcd = 22,
            .rp = 22,
            .cwl = 16,
            .ras = 52,
            .rc = 74,
            .wr = 24,
            .rtp = 12,
            .ccd_s = 4,
            .ccd_l = 8,
            .ccd_l_wr = 8,
            .rrd_s = 4,
            .rrd_l = 8,
            .faw = 34,
            .wtr_s = 4,
            .wtr_l = 12,
            .ppd = 0,
            .rfc = 576,
            .refi = 12480,
            .rfc_sb = 0,
            .refsb_rd = 0,
            .rtrs = 2,
            .two_cycle_commands = false,
            .bank_groups = 4,
            .banks = 4,
            .rows = 65536,
            .columns = 128};
    s[2] = {.name = "DDR5-4800BN",
            .clock = sim::Clock::from_hz(2'400'000'000),
            .burst_length = 16,
            .cl = 36,
            .rcd = 36,
            .rp = 36,
            .cwl = 34,
            .ras = 77,
            .rc = 113,
            .wr = 72,
            .rtp = 18,
            .ccd_s = 8,
            .ccd_l = 12,
            .ccd_l_wr = 48,
            .rrd_s = 8,
            .rrd_l = 12,
            .faw = 32,
            .wtr_s = 6,
            .wtr_l = 24,
            .ppd = 2,
            .rfc = 710,
            .refi = 9375,
            .rfc_sb = 312,
            .refsb_rd = 72,
            .rtrs = 2,
            .two_cycle_commands = true,
            .bank_groups = 8,
            .banks = 4,
            .rows = 65536,
            .columns = 64};
    s[3] = {.name = "DDR5-5600AN",
            .clock = sim::Clock::from_hz(2'800'000'000),
            .burst_length = 16,
            .cl = 40,
            .rcd = 40,
            .rp = 40,
            .cwl = 38,
            .ras = 90,
            .rc = 130,
            .wr = 84,
            .rtp = 20,
            .ccd_s = 8,
            .ccd_l = 12,
            .ccd_l_wr = 56,
            .rrd_s = 8,
            .rrd_l = 14,
            .faw = 32,
            .wtr_s = 7,
            .wtr_l = 28,
            .ppd = 2,
            .rfc = 827,
            .refi = 10925,
            .rfc_sb = 364,
            .refsb_rd = 84,
            .rtrs = 2,
            .two_cycle_commands = true,
            .bank_groups = 8,
            .banks = 4,
            .rows = 65536,
            .columns = 64};
    return s;
  }();
  return standards;
}

const DramTiming& dram_standard(std::string_view name) {
  std::vector<std::string> names;
  for (const DramTiming& t : dram_standards()) {
    if (t.name == name) return t;
    names.push_back(t.name);
  }
  throw sim::Error(fmt::format("unknown DRAM standard '{}'{}", name, sim::suggestion(name, names)));
}

void DramTiming::validate() const {
  const auto rule = [this](bool ok, const char* text) {
    if (!ok) throw sim::Error(fmt::format("DRAM timing '{}': {}", name, text));
  };
  rule(burst_length == 8 || burst_length == 16, "burst_length must be 8 or 16");
  rule(cl > 0 && cwl > 0 && rcd > 0 && rp > 0, "cl, cwl, rcd and rp must be above 0");
  rule(cl + data_cycles() + rtrs > cwl, "cl + burst_length / 2 + rtrs must be above cwl");
  rule(cwl + data_cycles() + rtrs >= cl, "cwl + burst_length / 2 + rtrs must be at least cl");
  rule(rc >= ras + rp, "rc must be at least ras + rp");
  rule(ras >= rcd + rtp, "ras must be at least rcd + rtp");
  rule(ccd_s >= data_cycles(), "ccd_s must be at least burst_length / 2");
  rule(ccd_l >= ccd_s && ccd_l_wr >= ccd_l, "ccd_s <= ccd_l <= ccd_l_wr must hold");
  rule(rrd_l >= rrd_s, "rrd_l must be at least rrd_s");
  rule(faw >= 4 * rrd_s, "faw must be at least 4 * rrd_s");
  rule(wtr_l >= wtr_s, "wtr_l must be at least wtr_s");
  rule(rrd_s > 0 && rrd_l > 0 && wr > 0 && rtp > 0, "rrd_s, rrd_l, wr and rtp must be above 0");
  rule(refi > rfc + rc + rp, "refi must be above rfc + rc + rp");
  rule(rfc_sb <= rfc && refsb_rd <= rfc_sb, "refsb_rd <= rfc_sb <= rfc must hold");
  rule(std::has_single_bit(bank_groups) && bank_groups <= 8, "bank_groups must be 1, 2, 4 or 8");
  rule(std::has_single_bit(banks) && banks <= 8, "banks must be 1, 2, 4 or 8");
  rule(std::has_single_bit(rows) && std::has_single_bit(columns), "rows and columns must be powers of two");
  rule(rfc_sb == 0 || refi_sb() > rfc_sb + rc + rp, "refi / 2 / banks must be above rfc_sb + rc + rp");
}

std::vector<DramConstraint> dram_constraints(const DramTiming& t) {
  using enum DramCommand;
  using enum DramLevel;
  const unsigned data = t.data_cycles();
  const unsigned wr_to_pre = t.cwl + data + t.wr;
  std::vector<DramConstraint> c = {
      {kBank, kAct, kRd, t.rcd},
      {kBank, kAct, kWr, t.rcd},
      {kBank, kAct, kPre, t.ras},
      {kBank, kAct, kAct, t.rc},
      {kBank, kPre, kAct, t.rp},
      {kBank, kRd, kPre, t.rtp},
      {kBank, kWr, kPre, wr_to_pre},

      {kBankGroup, kAct, kAct, t.rrd_l},
      {kBankGroup, kRd, kRd, t.ccd_l},
      {kBankGroup, kWr, kWr, t.ccd_l_wr},
      {kBankGroup, kWr, kRd, t.cwl + data + t.wtr_l},

      {kRank, kAct, kAct, t.rrd_s},
      {kRank, kAct, kAct, t.faw, 4},
      {kRank, kRd, kRd, t.ccd_s},
      {kRank, kWr, kWr, t.ccd_s},
      {kRank, kRd, kWr, t.rtw()},
      {kRank, kWr, kRd, t.cwl + data + t.wtr_s},
      {kRank, kPre, kPre, t.ppd},
      {kRank, kPre, kPreAll, t.ppd},
      {kRank, kAct, kPreAll, t.ras},
      {kRank, kRd, kPreAll, t.rtp},
      {kRank, kWr, kPreAll, wr_to_pre},
      {kRank, kPreAll, kAct, t.rp},
      {kRank, kPreAll, kRef, t.rp},
      {kRank, kPre, kRef, t.rp},
      {kRank, kAct, kRef, t.rc},
      {kRank, kRef, kAct, t.rfc},
      {kRank, kRef, kRef, t.rfc},
      {kRank, kRef, kPreAll, t.rfc},

      // REFsb is to its banks what ACT is, and to the others a command of tREFSBRD.
      {kBank, kAct, kPreSb, t.ras},
      {kBank, kRd, kPreSb, t.rtp},
      {kBank, kWr, kPreSb, wr_to_pre},
      {kBank, kPreSb, kAct, t.rp},
      {kBank, kPreSb, kRefSb, t.rp},
      {kBank, kPre, kRefSb, t.rp},
      {kBank, kAct, kRefSb, t.rc},
      {kBank, kRefSb, kAct, t.rfc_sb},
      {kRank, kRefSb, kRefSb, t.rfc_sb},
      {kRank, kRefSb, kAct, t.refsb_rd},
      {kRank, kAct, kRefSb, t.rrd_l},
      {kRank, kPre, kPreSb, t.ppd},
      {kRank, kPreSb, kPre, t.ppd},
      {kRank, kPreSb, kPreSb, t.ppd},

      {kSibling, kRd, kRd, data + t.rtrs},
      {kSibling, kWr, kWr, data + t.rtrs},
      {kSibling, kRd, kWr, t.rtw()},
      {kSibling, kWr, kRd, t.cwl + data + t.rtrs - t.cl},
  };
  // The command bus: one command a cycle; two-cycle commands start the cycle before their time.
  for (unsigned p = 0; p < kDramCommands; ++p) {
    for (unsigned f = 0; f < kDramCommands; ++f) {
      const auto following = static_cast<DramCommand>(f);
      const bool two = t.two_cycle_commands && (following == kAct || following == kRd || following == kWr);
      c.push_back({kRank, static_cast<DramCommand>(p), following, two ? 2u : 1u});
      c.push_back({kSibling, static_cast<DramCommand>(p), following, two ? 2u : 1u});
    }
  }
  return c;
}

}  // namespace mm
