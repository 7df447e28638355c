// SPDX-License-Identifier: Apache-2.0
#include "mm/dram_legality.h"

#include <fmt/format.h>

#include <algorithm>

namespace mm {

DramLegalityChecker::DramLegalityChecker(const DramTiming& timing, unsigned ranks)
    : t_(timing), ranks_(ranks) {
  for (Rank& r : ranks_) {
    r.banks.resize(timing.bank_groups * timing.banks);
    r.groups.resize(timing.bank_groups);
    r.acts.assign(4, kLongAgo);
  }
}

void DramLegalityChecker::violation(const std::string& text) {
  ++violations_;
  if (messages_.size() >= 20) return;
  messages_.push_back(fmt::format("cycle {}: {} rank {} group {} bank {}: {}", now_.time,
                                  to_string(now_.command), now_.rank, now_.bank_group, now_.bank, text));
}

void DramLegalityChecker::at_least(const char* rule, std::int64_t since, std::int64_t cycles) {
  const auto gap = static_cast<std::int64_t>(now_.time) - since;
  if (gap < cycles) violation(fmt::format("{} {}, got {} (since cycle {})", rule, cycles, gap, since));
}

void DramLegalityChecker::require(bool ok, const char* rule) {
  if (!ok) violation(rule);
}

void DramLegalityChecker::on_command(const DramCommandRecord& record) {
  now_ = record;
  ++commands_;
  const auto time = static_cast<std::int64_t>(record.time);
  const DramCommand c = record.command;
  const bool wide =
      t_.two_cycle_commands && (c == DramCommand::kAct || c == DramCommand::kRd || c == DramCommand::kWr);
  require(time - (wide ? 1 : 0) >= bus_free_, "two commands at one time on the command bus");
  bus_free_ = time + 1;

  Rank& rank = ranks_.at(record.rank);
  Group& group = rank.groups.at(record.bank_group);
  Bank& bank = rank.banks.at(record.bank_group * t_.banks + record.bank);
  switch (c) {
    case DramCommand::kAct:
      check_activate(rank, group, bank);
      break;
    case DramCommand::kRd:
      check_column(rank, group, bank, false);
      break;
    case DramCommand::kWr:
      check_column(rank, group, bank, true);
      break;
    case DramCommand::kPre:
      at_least("tPPD", rank.pre, t_.ppd);
      check_precharge(rank, bank);
      break;
    case DramCommand::kPreAll:
      at_least("tPPD", rank.pre, t_.ppd);
      for (Bank& b : rank.banks) {
        if (b.open) check_precharge(rank, b);
      }
      break;
    case DramCommand::kRef:
      check_refresh(rank);
      break;
    case DramCommand::kPreSb:
      at_least("tPPD", rank.pre, t_.ppd);
      for (unsigned g = 0; g < t_.bank_groups; ++g) {
        Bank& b = rank.banks[g * t_.banks + record.bank];
        if (b.open) check_precharge(rank, b);
      }
      break;
    case DramCommand::kRefSb:
      check_same_bank_refresh(rank);
      break;
  }
}

void DramLegalityChecker::check_activate(Rank& rank, Group& group, Bank& bank) {
  const auto time = static_cast<std::int64_t>(now_.time);
  require(!bank.open, "ACT of an open bank");
  at_least("tRC", bank.act, t_.rc);
  at_least("tRP", bank.pre, t_.rp);
  at_least("tRRD_L", group.act, t_.rrd_l);
  at_least("tRRD_S", rank.act, t_.rrd_s);
  at_least("tFAW", *std::min_element(rank.acts.begin(), rank.acts.end()), t_.faw);
  at_least("tRFC", rank.ref, t_.rfc);
  at_least("tRFCsb", bank.ref_sb, t_.rfc_sb);
  at_least("tREFSBRD", rank.ref_sb, t_.refsb_rd);
  *std::min_element(rank.acts.begin(), rank.acts.end()) = time;
  bank.open = true;
  bank.row = now_.row;
  bank.act = group.act = rank.act = time;
}

void DramLegalityChecker::check_column(Rank& rank, Group& group, Bank& bank, bool write) {
  const auto time = static_cast<std::int64_t>(now_.time);
  const std::int64_t data = t_.burst_length / 2;
  require(bank.open, "column command to a closed bank");
  require(!bank.open || bank.row == now_.row, "column command to another row");
  at_least("tRCD", bank.act, t_.rcd);
  at_least("tRFC", rank.ref, t_.rfc);
  if (write) {
    at_least("tCCD_L write", group.wr, t_.ccd_l_wr);
    at_least("tCCD_S", rank.wr, t_.ccd_s);
    at_least("tRTW", rank.rd, t_.cl + data + t_.rtrs - t_.cwl);
  } else {
    at_least("tCCD_L", group.rd, t_.ccd_l);
    at_least("tCCD_S", rank.rd, t_.ccd_s);
    at_least("tWTR_L", group.wr, t_.cwl + data + t_.wtr_l);
    at_least("tWTR_S", rank.wr, t_.cwl + data + t_.wtr_s);
  }
  for (const Rank& other : ranks_) {
    if (&other == &rank) continue;
    const std::int64_t own = write ? t_.cwl : t_.cl;
    at_least("rank switch after RD", other.rd, t_.cl + data + t_.rtrs - own);
    at_least("rank switch after WR", other.wr, t_.cwl + data + t_.rtrs - own);
  }
  const std::int64_t start = time + (write ? t_.cwl : t_.cl);
  require(start >= data_free_, "two bursts at one time on the data bus");
  data_free_ = start + data;
  (write ? bank.wr : bank.rd) = time;
  (write ? group.wr : group.rd) = time;
  (write ? rank.wr : rank.rd) = time;
  if (now_.auto_precharge) precharge_itself(bank);
}

/// Auto-precharge: as a PRE at the first moment that is allowed, without the command bus.
void DramLegalityChecker::precharge_itself(Bank& bank) {
  const std::int64_t after_write = bank.wr + t_.cwl + t_.burst_length / 2 + t_.wr;
  bank.pre = std::max({bank.act + t_.ras, bank.rd + t_.rtp, after_write});
  bank.open = false;
}

void DramLegalityChecker::check_precharge(Rank& rank, Bank& bank) {
  at_least("tRAS", bank.act, t_.ras);
  at_least("tRTP", bank.rd, t_.rtp);
  at_least("tWR", bank.wr, std::int64_t{t_.cwl} + t_.burst_length / 2 + t_.wr);
  at_least("tRFC", rank.ref, t_.rfc);
  bank.open = false;
  bank.pre = rank.pre = static_cast<std::int64_t>(now_.time);
}

void DramLegalityChecker::check_refresh(Rank& rank) {
  for (const Bank& b : rank.banks) {
    require(!b.open, "REF with an open bank");
    at_least("tRP before REF", b.pre, t_.rp);
    at_least("tRC before REF", b.act, t_.rc);
  }
  at_least("tRFC", rank.ref, t_.rfc);
  at_least("tRFCsb", rank.ref_sb, t_.rfc_sb);
  // JEDEC lets eight refreshes be postponed, no more.
  if (rank.ref != kLongAgo) {
    require(static_cast<std::int64_t>(now_.time) - rank.ref <= 9 * std::int64_t{t_.refi},
            "refresh postponed too long");
  }
  rank.ref = static_cast<std::int64_t>(now_.time);
}

void DramLegalityChecker::check_same_bank_refresh(Rank& rank) {
  require(t_.has_same_bank_refresh(), "REFsb of a device that has none");
  for (unsigned g = 0; g < t_.bank_groups; ++g) {
    Bank& b = rank.banks[g * t_.banks + now_.bank];
    require(!b.open, "REFsb with an open bank");
    at_least("tRP before REFsb", b.pre, t_.rp);
    at_least("tRC before REFsb", b.act, t_.rc);
    if (b.ref_sb != kLongAgo) {
      const std::int64_t turn = std::int64_t{t_.refi_sb()} * t_.banks;
      require(static_cast<std::int64_t>(now_.time) - b.ref_sb <= 9 * turn, "refresh postponed too long");
    }
    b.ref_sb = static_cast<std::int64_t>(now_.time);
  }
  at_least("tRRD_L before REFsb", rank.act, t_.rrd_l);
  at_least("tRFC", rank.ref, t_.rfc);
  at_least("tRFCsb", rank.ref_sb, t_.rfc_sb);
  rank.ref_sb = static_cast<std::int64_t>(now_.time);
}

}  // namespace mm
