// SPDX-License-Identifier: Apache-2.0
#include "mm/dram_channel.h"

#include <algorithm>
#include <bit>

#include "sim/error.h"

namespace mm {
namespace {

using enum DramCommand;
constexpr unsigned index(DramCommand c) { return static_cast<unsigned>(c); }
constexpr bool is_column(DramCommand c) { return c == kRd || c == kWr; }
constexpr unsigned kDelayShift = 44;  // of a candidate's key: delay above, sequence below
/// Which of a group's three bounds a command is subject to.
constexpr unsigned bound_of(DramCommand c) { return c == kAct ? 0 : c == kPre ? 1 : 2; }

using CommandTimes = std::array<sim::Cycle, kDramCommands>;

/// Moves the next legal times of the commands `kFollowing` behind one issued at `now`.
template <DramCommand... kFollowing>
void raise(CommandTimes& next, const CommandTimes& latency, sim::Cycle now) {
  ((next[index(kFollowing)] = std::max(next[index(kFollowing)], now + latency[index(kFollowing)])), ...);
}
void raise_all(CommandTimes& next, const CommandTimes& latency, sim::Cycle now) {
  raise<kAct, kPre, kRd, kWr, kPreAll, kRef, kPreSb, kRefSb>(next, latency, now);
}

/// Which commands a command delays in its bank and in its bank group; the rest of the table is zero there.
constexpr unsigned bits(std::initializer_list<DramCommand> commands) {
  unsigned mask = 0;
  for (const DramCommand c : commands) mask |= 1u << index(c);
  return mask;
}
constexpr std::array<unsigned, kDramCommands> kDelayedInBank = {bits({kAct, kPre, kRd, kWr, kPreSb, kRefSb}),
                                                                bits({kAct, kRefSb}),
                                                                bits({kPre, kPreSb}),
                                                                bits({kPre, kPreSb}),
                                                                0,
                                                                0,
                                                                bits({kAct, kRefSb}),
                                                                bits({kAct})};
constexpr std::array<unsigned, kDramCommands> kDelayedInGroup = {
    bits({kAct}), 0, bits({kRd}), bits({kRd, kWr}), 0, 0, 0, 0};
bool only(const CommandTimes& latency, unsigned mask) {
  for (unsigned i = 0; i < kDramCommands; ++i) {
    if (latency[i] != 0 && (mask >> i & 1) == 0) return false;
  }
  return true;
}

}  // namespace

const std::map<std::string, DramScheduler>& dram_schedulers() {
  static const std::map<std::string, DramScheduler> names = {{"fr_fcfs", DramScheduler::kFrFcfs},
                                                             {"fcfs", DramScheduler::kFcfs}};
  return names;
}

const std::map<std::string, PagePolicy>& page_policies() {
  static const std::map<std::string, PagePolicy> names = {
      {"open", PagePolicy::kOpen}, {"closed", PagePolicy::kClosed}, {"adaptive", PagePolicy::kAdaptive}};
  return names;
}

DramChannel::DramChannel(const DramTiming& timing, const DramChannelConfig& config)
    : timing_(timing), config_(config), capacity_{config.read_queue, config.write_queue} {
  timing_.validate();
  groups_per_rank_ = timing.bank_groups;
  banks_per_group_log2_ = static_cast<unsigned>(std::bit_width(timing.banks) - 1);
  banks_per_rank_ = timing.bank_groups * timing.banks;
  POOLSIM_ASSERT(banks_per_rank_ <= 64 && config.ranks >= 1 && config.ranks * banks_per_rank_ <= 0x4000);
  POOLSIM_ASSERT(config.read_queue + config.write_queue < kNil);
  POOLSIM_ASSERT(!config.same_bank_refresh || timing_.has_same_bank_refresh());
  for (unsigned g = 0; g < timing.bank_groups; ++g) same_bank_mask_ |= std::uint64_t{1} << g * timing.banks;
  refresh_interval_ = config.same_bank_refresh ? timing_.refi_sb() : timing_.refi;

  for (const DramConstraint& c : dram_constraints(timing_)) {
    if (c.window != 1) {
      // The one window constraint there is: four ACTs of a rank.
      POOLSIM_ASSERT(c.level == DramLevel::kRank && c.preceding == kAct && c.following == kAct &&
                     c.window == 4);
      faw_ = c.latency;
      continue;
    }
    Latencies& l = latency_[index(c.preceding)];
    Times* const levels[kDramLevels] = {&l.bank, &l.group, &l.rank, &l.sibling};
    sim::Cycle& latency = (*levels[static_cast<unsigned>(c.level)])[index(c.following)];
    latency = std::max<sim::Cycle>(latency, c.latency);
  }

  for (unsigned i = 0; i < kDramCommands; ++i) {
    POOLSIM_ASSERT(only(latency_[i].bank, kDelayedInBank[i]) && only(latency_[i].group, kDelayedInGroup[i]));
  }

  banks_.resize(config.ranks * banks_per_rank_);
  for (unsigned b = 0; b < banks_.size(); ++b) {
    banks_[b].rank = static_cast<std::uint8_t>(b / banks_per_rank_);
    banks_[b].group = static_cast<std::uint8_t>(b >> banks_per_group_log2_);
  }
  groups_.resize(config.ranks * groups_per_rank_);
  ranks_.resize(config.ranks);
  ready_.resize(banks_.size());
  bounds_.resize(groups_.size() * 3);
  // Ranks take turns: their refreshes are spread over tREFI.
  for (unsigned r = 0; r < config.ranks; ++r) {
    ranks_[r].refresh_due =
        config.refresh ? std::uint64_t{refresh_interval_} * (config.ranks + r) / config.ranks : kNone;
  }
  idle_refresh_ = ranks_[0].refresh_due;
  active_.assign((banks_.size() + 63) / 64, 0);
  slots_.resize(config.read_queue + config.write_queue);
  for (unsigned i = static_cast<unsigned>(slots_.size()); i-- > 0;) {
    free_slots_.push_back(static_cast<std::uint16_t>(i));
  }
}

// --- queues and candidates ---

void DramChannel::enqueue(sim::Cycle now, bool write, const DramAddress& a, std::uint32_t token) {
  POOLSIM_ASSERT(has_room(write));
  const bool was_empty = waiting() == 0;
  const unsigned b = (a.rank * groups_per_rank_ + a.bank_group) << banks_per_group_log2_ | a.bank;
  Bank& bank = banks_[b];
  if (!write && forward(a, bank, now, token)) return;
  const std::uint16_t s = free_slots_.back();
  free_slots_.pop_back();
  List& list = bank.list[write];
  slots_[s] = {now,
               ++sequence_,
               a.row,
               a.column,
               token,
               kNil,
               list.tail,
               static_cast<std::uint16_t>(b),
               RowOutcome::kHit};
  if (list.tail != kNil) {
    slots_[list.tail].next = s;
  } else {
    list.head = s;
  }
  list.tail = s;
  ++waiting_[write];
  if (config_.scheduler == DramScheduler::kFcfs) order_[write].push_back(s);

  if (update_mode()) {
    rechoose(now);
    schedule(now);
    return;
  }
  if (was_empty) {
    choose(b, now);
    schedule(now);
    return;
  }
  if (write != draining_) return;
  if (bank.candidate == kNil) {
    choose(b, now);
    consider(b, now);
  } else if (bank.kind == kPre && a.row == bank.open_row) {
    choose(b, now);  // a row hit came before the row was closed
    schedule(now);
  }
}

/// A read of a burst that waits to be written.
bool DramChannel::forward(const DramAddress& a, const Bank& bank, sim::Cycle now, std::uint32_t token) {
  std::uint16_t s = bank.list[1].head;
  while (s != kNil && (slots_[s].row != a.row || slots_[s].column != a.column)) s = slots_[s].next;
  if (s == kNil) return false;
  ++counters_.forwarded;
  forwards_ = last_forward_ == now ? forwards_ + 1 : 1;
  last_forward_ = now;
  // Nothing in flight ends earlier: what ended before was taken.
  done_.push_front({now, now, now, token, false, RowOutcome::kHit});
  return true;
}

/// Which queue is served from now on; true if that changed.
bool DramChannel::update_mode() {
  const bool before = draining_;
  if (draining_) draining_ = waiting_[1] != 0 && (waiting_[0] == 0 || waiting_[1] > config_.write_low);
  if (waiting_[1] >= config_.write_high || (waiting_[0] == 0 && waiting_[1] != 0)) draining_ = true;
  if (draining_ && !before) ++counters_.drains;
  return draining_ != before;
}

void DramChannel::rechoose(sim::Cycle now) {
  for (unsigned b = 0; b < banks_.size(); ++b) {
    if (banks_[b].list[0].head != kNil || banks_[b].list[1].head != kNil) choose(b, now);
  }
}

void DramChannel::set_candidate(unsigned b, std::uint16_t slot, DramCommand kind) {
  Bank& bank = banks_[b];
  bank.candidate = slot;
  bank.kind = kind;
  const std::uint64_t bit = std::uint64_t{1} << (b & 63);
  const bool in_turn = config_.scheduler != DramScheduler::kFcfs || !is_column(kind);
  if (slot == kNil || !(in_turn || order_[draining_].front() == slot)) {
    active_[b >> 6] &= ~bit;
    return;
  }
  active_[b >> 6] |= bit;
  const std::uint64_t order = slots_[slot].sequence & ((std::uint64_t{1} << kDelayShift) - 1);
  ready_[b] = {bank.next[index(kind)], order, bank.group * 3u + bound_of(kind)};
}

/// Which request of the bank is next, and its next command.
void DramChannel::choose(unsigned b, sim::Cycle now) {
  const Bank& bank = banks_[b];
  const std::uint16_t head = bank.list[draining_].head;
  if (head == kNil) return set_candidate(b, kNil, kAct);
  if (bank.open_row == kClosed) return set_candidate(b, head, kAct);
  const DramCommand column = draining_ ? kWr : kRd;
  if (slots_[head].row == bank.open_row) return set_candidate(b, head, column);
  if (config_.scheduler == DramScheduler::kFcfs) return set_candidate(b, head, kPre);
  const bool aged = now - slots_[head].arrival > config_.age_cap_cycles;
  for (std::uint16_t s = slots_[head].next; s != kNil; s = slots_[s].next) {
    if (slots_[s].row != bank.open_row) continue;
    if (!aged) return set_candidate(b, s, column);
    ++counters_.aged;
    break;
  }
  set_candidate(b, head, kPre);
}

// --- the next command ---

sim::Cycle DramChannel::legal(unsigned b) const {
  const Bank& bank = banks_[b];
  const unsigned k = index(bank.kind);
  return std::max({ready_[b].time, groups_[bank.group][k], ranks_[bank.rank].next[k]});
}

/// Among all candidates: the earliest, then the oldest.
template <bool kSimple>
void DramChannel::best_candidate(sim::Cycle now) {
  const unsigned column = index(draining_ ? kWr : kRd);
  for (unsigned g = 0, rank = 0, in_rank = 0; g < groups_.size(); ++g) {
    const Times& r = ranks_[rank].next;
    const Times& t = groups_[g];
    bounds_[g * 3] = std::max({t[index(kAct)], r[index(kAct)], now});
    bounds_[g * 3 + 1] = std::max({t[index(kPre)], r[index(kPre)], now});
    bounds_[g * 3 + 2] = std::max({t[column], r[column], now});
    if (!kSimple && ++in_rank == groups_per_rank_) ++rank, in_rank = 0;
  }
  std::uint64_t best = ~std::uint64_t{0};
  const Ready* const ready = ready_.data();
  const sim::Cycle* const bounds = bounds_.data();
  unsigned best_bank = 0;
  for (unsigned w = 0; w < active_.size(); ++w) {
    for (std::uint64_t left = active_[w]; left != 0; left &= left - 1) {
      const unsigned b = w * 64 + static_cast<unsigned>(std::countr_zero(left));
      const Ready& r = ready[b];
      const sim::Cycle t = std::max(r.time, bounds[r.bound]);
      if (!kSimple) {
        const Rank& rank = ranks_[banks_[b].rank];
        const bool refreshed = (refreshed_banks(rank) >> (b & (banks_per_rank_ - 1)) & 1) != 0;
        if (refreshed && t >= rank.refresh_due) continue;
      }
      const std::uint64_t key = (t - now) << kDelayShift | r.order;
      if (key >= best) continue;
      best = key;
      best_bank = b;
    }
  }
  const sim::Cycle t = now + (best >> kDelayShift);
  if (best == ~std::uint64_t{0} || (kSimple && t >= ranks_[0].refresh_due)) return;
  next_time_ = t;
  next_key_ = best & ((std::uint64_t{1} << kDelayShift) - 1);
  next_bank_ = best_bank;
}

/// Chooses the next command, refresh included.
void DramChannel::schedule(sim::Cycle now) {
  next_time_ = kNone;
  if (waiting() == 0) {
    idle_refresh_ = kNone;
    for (unsigned r = 0; r < ranks_.size(); ++r) idle_refresh_ = std::min(idle_refresh_, refresh_time(r));
    return;
  }
  if (ranks_.size() == 1 && !config_.same_bank_refresh) {
    best_candidate<true>(now);
  } else {
    best_candidate<false>(now);
  }
  for (unsigned r = 0; r < ranks_.size(); ++r) {
    if (ranks_[r].refresh_due > next_time_) continue;
    const sim::Cycle t = std::max(refresh_time(r), now);
    if (t > next_time_ || (t == next_time_ && next_key_ == 0)) continue;
    next_time_ = t;
    next_key_ = 0;
    next_bank_ = r;
  }
}

/// Corrects the choice for a bank that got its first candidate.
void DramChannel::consider(unsigned b, sim::Cycle now) {
  const Bank& bank = banks_[b];
  if ((active_[b >> 6] >> (b & 63) & 1) == 0) return;
  const Rank& rank = ranks_[bank.rank];
  const sim::Cycle t = std::max(legal(b), now);
  const bool refreshed = (refreshed_banks(rank) >> (b & (banks_per_rank_ - 1)) & 1) != 0;
  if ((refreshed && t >= rank.refresh_due) || t > next_time_) return;
  if (t == next_time_ && ready_[b].order > next_key_) return;
  next_time_ = t;
  next_key_ = ready_[b].order;
  next_bank_ = b;
}

bool DramChannel::issue(sim::Cycle now) {
  if (next_key_ == 0) {
    issue_refresh(next_bank_, now);
    schedule(now);
    return false;
  }
  const unsigned b = next_bank_;
  Bank& bank = banks_[b];
  const DramCommand kind = bank.kind;
  Slot& slot = slots_[bank.candidate];
  Rank& rank = ranks_[bank.rank];
  const std::uint64_t bit = std::uint64_t{1} << (b & (banks_per_rank_ - 1));
  apply(kind, bank.rank, b, now);
  if (kind == kPre) {
    slot.outcome = RowOutcome::kConflict;
    record(kind, bank.rank, b, now);
    bank.open_row = kClosed;
    rank.open_banks &= ~bit;
    set_candidate(b, bank.candidate, kAct);
  } else if (kind == kAct) {
    if (slot.outcome == RowOutcome::kHit) slot.outcome = RowOutcome::kClosed;
    bank.open_row = slot.row;
    rank.open_banks |= bit;
    set_candidate(b, bank.candidate, draining_ ? kWr : kRd);
    record(kind, bank.rank, b, now);
  } else {
    issue_column(b, now);
  }
  schedule(now);
  return is_column(kind);
}

void DramChannel::issue_column(unsigned b, sim::Cycle now) {
  Bank& bank = banks_[b];
  const std::uint32_t row = bank.open_row;
  last_column_ = now;
  last_column_write_ = draining_;
  const DramCommand kind = bank.kind;
  complete(b, now);
  if (config_.page_policy == PagePolicy::kAdaptive) learn(bank, row);
  const bool closing = config_.page_policy != PagePolicy::kOpen && closes_row(bank);
  record(kind, bank.rank, b, now, closing);
  if (closing) auto_precharge(b);
  const bool changed = update_mode();
  choose(b, now);
  if (changed) rechoose(now);
  if (config_.scheduler == DramScheduler::kFcfs && !order_[draining_].empty()) {
    // Whose turn it is now may have been waiting with its row open.
    const unsigned next = slots_[order_[draining_].front()].bank;
    if (next != b) choose(next, now);
  }
}

// --- page policy ---

/// Whether the column command just served closes its row.
bool DramChannel::closes_row(const Bank& bank) const {
  if (config_.page_policy == PagePolicy::kClosed) return true;
  bool other_row = false;
  for (const List& list : bank.list) {
    for (std::uint16_t s = list.head; s != kNil; s = slots_[s].next) {
      if (slots_[s].row == bank.open_row) return false;
      other_row = true;
    }
  }
  return other_row || bank.closes >= 2;
}

void DramChannel::learn(Bank& bank, std::uint32_t row) const {
  if (bank.last_row == row) {
    if (bank.closes != 0) --bank.closes;
  } else if (bank.closes != 3) {
    ++bank.closes;
  }
  bank.last_row = row;
}

/// The bank precharges itself as soon as it may: no command on the bus.
void DramChannel::auto_precharge(unsigned b) {
  Bank& bank = banks_[b];
  Rank& rank = ranks_[bank.rank];
  ++counters_.auto_precharges;
  bank.open_row = kClosed;
  rank.open_banks &= ~(std::uint64_t{1} << (b & (banks_per_rank_ - 1)));
  const sim::Cycle closed = bank.next[index(kPre)] + timing_.rp;
  for (const DramCommand c : {kAct, kRefSb}) bank.next[index(c)] = std::max(bank.next[index(c)], closed);
  rank.next[index(kRef)] = std::max(rank.next[index(kRef)], closed);
}

/// The candidate of `b` had its column command: takes it out of its queue.
void DramChannel::complete(unsigned b, sim::Cycle now) {
  Bank& bank = banks_[b];
  const std::uint16_t s = bank.candidate;
  const Slot& slot = slots_[s];
  const bool write = draining_;
  List& list = bank.list[write];
  (slot.prev != kNil ? slots_[slot.prev].next : list.head) = slot.next;
  (slot.next != kNil ? slots_[slot.next].prev : list.tail) = slot.prev;
  --waiting_[write];
  free_slots_.push_back(s);
  if (config_.scheduler == DramScheduler::kFcfs) order_[write].pop_front();
  ++(write ? counters_.writes : counters_.reads)[static_cast<unsigned>(slot.outcome)];
  if (!write || report_writes_) {
    const sim::Cycle end = now + (write ? timing_.cwl : timing_.cl) + timing_.data_cycles();
    done_.push_back({slot.arrival, now, end, slot.token, write, slot.outcome});
  }
}

void DramChannel::apply(DramCommand command, unsigned r, unsigned b, sim::Cycle now) {
  const Latencies& l = latency_[index(command)];
  Rank& rank = ranks_[r];
  raise_all(rank.next, l.rank, now);
  for (unsigned other = 0; ranks_.size() > 1 && other < ranks_.size(); ++other) {
    if (other != r) raise_all(ranks_[other].next, l.sibling, now);
  }
  Times& bank = banks_[b].next;
  Times& group = groups_[banks_[b].group];
  switch (command) {
    case kAct:
      raise<kAct, kPre, kRd, kWr, kPreSb, kRefSb>(bank, l.bank, now);
      raise<kAct>(group, l.group, now);
      rank.act_times[rank.acts++ & 3] = now;
      if (rank.acts >= 4) {
        rank.next[index(kAct)] = std::max(rank.next[index(kAct)], rank.act_times[rank.acts & 3] + faw_);
      }
      break;
    case kRd:
    case kWr:
      raise<kPre, kPreSb>(bank, l.bank, now);
      raise<kRd, kWr>(group, l.group, now);
      break;
    case kPre:
    case kPreSb:
    case kRefSb:
      raise<kAct, kRefSb>(bank, l.bank, now);
      break;
    case kPreAll:
    case kRef:
      break;
  }
}

void DramChannel::record(DramCommand command, unsigned r, unsigned b, sim::Cycle now, bool auto_precharge) {
  ++counters_.commands[index(command)];
  const bool one_bank = command <= kWr, bank_number = one_bank || command == kPreSb || command == kRefSb;
  if (one_bank) {
    ++bank_commands_;
    ++counters_.group_commands[banks_[b].group & (groups_per_rank_ - 1)];
  }
  if (listener_ == nullptr) return;
  DramCommandRecord record{now, command, r, 0, 0, 0, auto_precharge};
  if (bank_number) record.bank = b & (timing_.banks - 1);
  if (one_bank) {
    record.bank_group = banks_[b].group & (groups_per_rank_ - 1);
    record.row = banks_[b].open_row;
  }
  listener_->on_command(record);
}

// --- refresh ---

DramCommand DramChannel::refresh_command(const Rank& rank) const {
  const bool open = (rank.open_banks & refreshed_banks(rank)) != 0;
  if (config_.same_bank_refresh) return open ? kPreSb : kRefSb;
  return open ? kPreAll : kRef;
}

sim::Cycle DramChannel::refresh_time(unsigned r) const {
  const Rank& rank = ranks_[r];
  const DramCommand command = refresh_command(rank);
  sim::Cycle t = std::max(rank.refresh_due, rank.next[index(command)]);
  if (!config_.same_bank_refresh) return t;
  std::uint64_t left = refreshed_banks(rank);
  if (command == kPreSb) left &= rank.open_banks;
  for (; left != 0; left &= left - 1) {
    const auto b = r * banks_per_rank_ + static_cast<unsigned>(std::countr_zero(left));
    t = std::max(t, banks_[b].next[index(command)]);
  }
  return t;
}

void DramChannel::issue_refresh(unsigned r, sim::Cycle now) {
  Rank& rank = ranks_[r];
  const DramCommand command = refresh_command(rank);
  const std::uint64_t refreshed = refreshed_banks(rank);
  const unsigned first = r * banks_per_rank_;
  record(command, r, first + rank.same_bank, now);
  const bool precharge = command == kPreAll || command == kPreSb;
  if (!config_.same_bank_refresh) apply(command, r, 0, now);
  for (unsigned b = first; b < first + banks_per_rank_; ++b) {
    const std::uint64_t bit = std::uint64_t{1} << (b - first);
    if ((refreshed & bit) == 0) continue;
    if (config_.same_bank_refresh && (!precharge || (rank.open_banks & bit) != 0)) apply(command, r, b, now);
    if (precharge) banks_[b].open_row = kClosed;
    if (banks_[b].candidate != kNil && (precharge || config_.same_bank_refresh)) choose(b, now);
  }
  if (precharge) {
    rank.open_banks &= ~refreshed;
    return;
  }
  rank.refresh_due += refresh_interval_;
  if (config_.same_bank_refresh) rank.same_bank = (rank.same_bank + 1) % timing_.banks;
}

void DramChannel::make_up_refreshes(sim::Cycle now) {
  // In same-bank mode a whole turn of the banks is skipped at a time.
  const std::uint64_t turn = config_.same_bank_refresh ? timing_.banks : 1;
  for (;;) {
    unsigned r = 0;
    for (unsigned i = 1; i < ranks_.size(); ++i) {
      if (refresh_time(i) < refresh_time(r)) r = i;
    }
    const sim::Cycle t = refresh_time(r);
    idle_refresh_ = t;
    if (t > now) return;
    Rank& rank = ranks_[r];
    // Precharged and on time: all but the last of the refreshes due are alike, and no later command sees
    // them.
    const std::uint64_t due = (now - t) / refresh_interval_;
    if (listener_ == nullptr && rank.open_banks == 0 && t == rank.refresh_due && due > 2 * turn) {
      const std::uint64_t alike = (due - turn) / turn * turn;
      counters_.commands[index(refresh_command(rank))] += alike;
      rank.refresh_due += alike * refresh_interval_;
      continue;
    }
    issue_refresh(r, t);
  }
}

}  // namespace mm
