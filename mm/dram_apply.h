// SPDX-License-Identifier: Apache-2.0
// What a command to one bank does to the times of its bank, bank group and rank: for the parts of
// DramChannel, which include this, and for nobody else.
#pragma once
#include <algorithm>

#include "mm/dram_channel.h"

namespace mm {
namespace dram {

constexpr unsigned index(DramCommand c) { return static_cast<unsigned>(c); }
constexpr bool is_column(DramCommand c) { return c == DramCommand::kRd || c == DramCommand::kWr; }
/// Kinds of candidates: ACT, PRE, and the column commands.
constexpr unsigned kColumn = 2;
constexpr unsigned kind_of(DramCommand c) {
  return c == DramCommand::kAct ? 0 : c == DramCommand::kPre ? 1 : kColumn;
}

using CommandTimes = std::array<sim::Cycle, kDramCommands>;
/// Moves the next legal times of the commands `kFollowing` behind one issued at `now`.
template <DramCommand... kFollowing>
[[gnu::always_inline]] inline void raise(CommandTimes& next, const CommandTimes& latency, sim::Cycle now) {
  ((next[index(kFollowing)] = std::max(next[index(kFollowing)], now + latency[index(kFollowing)])), ...);
}

}  // namespace dram

/// The constraints that every standard has; the others are in tables.
template <DramCommand kCommand>
[[gnu::always_inline]] inline void DramChannel::delay(Bank& bank, sim::Cycle now) {
  using enum DramCommand;
  using dram::index, dram::raise;
  const Latencies& l = latency_[index(kCommand)];
  Rank& rank = *bank.rank_state;
  if constexpr (kCommand == kAct) {
    raise<kAct, kPre, kRd, kWr>(bank.next, l.bank, now);
    raise<kAct>(*bank.group_next, l.group, now);
    raise<kAct>(rank.next, l.rank, now);
    rank.act_times[rank.acts++ & 3] = now;
    if (rank.acts >= 4) {
      rank.next[index(kAct)] = std::max(rank.next[index(kAct)], rank.act_times[rank.acts & 3] + faw_);
    }
  } else if constexpr (kCommand == kPre) {
    raise<kAct>(bank.next, l.bank, now);
  } else {
    raise<kPre>(bank.next, l.bank, now);
    raise<kRd, kWr>(*bank.group_next, l.group, now);
    raise<kRd, kWr>(rank.next, l.rank, now);
  }
}

inline void DramChannel::count(DramCommand command, const Bank& bank) {
  ++counters_.commands[dram::index(command)];
  ++counters_.group_commands[bank.group_in_rank];
}

}  // namespace mm
