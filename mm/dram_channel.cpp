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
constexpr std::uint64_t kRowCommand = std::uint64_t{1} << 43;
constexpr unsigned kDelayShift = 44;
/// Which of a group's three bounds a command is subject to.
constexpr unsigned bound_of(DramCommand c) { return c == kAct ? 0 : c == kPre ? 1 : 2; }

void raise(std::array<sim::Cycle, kDramCommands>& next, const std::array<sim::Cycle, kDramCommands>& latency,
           sim::Cycle now) {
  for (unsigned i = 0; i < kDramCommands; ++i) next[i] = std::max(next[i], now + latency[i]);
}

}  // namespace

DramChannel::DramChannel(const DramTiming& timing, const DramChannelConfig& config)
    : timing_(timing), config_(config), capacity_{config.read_queue, config.write_queue} {
  timing_.validate();
  groups_per_rank_ = timing.bank_groups;
  banks_per_group_log2_ = static_cast<unsigned>(std::bit_width(timing.banks) - 1);
  banks_per_rank_ = timing.bank_groups * timing.banks;
  POOLSIM_ASSERT(banks_per_rank_ <= 64 && config.ranks >= 1 && config.ranks * banks_per_rank_ <= 0x4000);
  POOLSIM_ASSERT(config.read_queue + config.write_queue < kNil);

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
        config.refresh ? std::uint64_t{timing_.refi} * (config.ranks + r) / config.ranks : kNone;
  }
  idle_refresh_ = ranks_[0].refresh_due;
  active_.assign((banks_.size() + 63) / 64, 0);
  slots_.resize(config.read_queue + config.write_queue);
  for (unsigned i = static_cast<unsigned>(slots_.size()); i-- > 0;) {
    free_slots_.push_back(static_cast<std::uint16_t>(i));
  }
  // At most so many bursts lie between their command and the end of their data.
  const unsigned in_flight =
      (timing_.cl + timing_.cwl) / timing_.data_cycles() + 4 + capacity_[0] + capacity_[1];
  done_.resize(std::bit_ceil(in_flight));
  done_mask_ = static_cast<std::uint32_t>(done_.size() - 1);
}

// --- queues and candidates ---

void DramChannel::enqueue(sim::Cycle now, bool write, const DramAddress& a, std::uint32_t token) {
  POOLSIM_ASSERT(has_room(write));
  const bool was_empty = waiting() == 0;
  const unsigned b = (a.rank * groups_per_rank_ + a.bank_group) << banks_per_group_log2_ | a.bank;
  Bank& bank = banks_[b];
  const std::uint16_t s = free_slots_.back();
  free_slots_.pop_back();
  List& list = bank.list[write];
  slots_[s] = {now, ++sequence_, a.row, token, kNil, list.tail, RowOutcome::kHit};
  if (list.tail != kNil) {
    slots_[list.tail].next = s;
  } else {
    list.head = s;
  }
  list.tail = s;
  ++waiting_[write];

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

/// Which queue is served from now on; true if that changed.
bool DramChannel::update_mode() {
  const bool before = draining_;
  if (draining_ && waiting_[0] != 0) {
    // A drain that had to be runs to the low watermark; one that used idle time gives way to the first read.
    draining_ = waiting_[1] != 0 && forced_ && waiting_[1] >= config_.write_low;
  }
  if (!draining_) forced_ = false;
  if (waiting_[1] >= config_.write_high) draining_ = forced_ = true;
  if (waiting_[0] == 0 && waiting_[1] != 0) draining_ = true;
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
  if (slot == kNil) {
    active_[b >> 6] &= ~bit;
    return;
  }
  active_[b >> 6] |= bit;
  // One comparable number: row command (1 bit), sequence (43); the delay goes above.
  const std::uint64_t order =
      (is_column(kind) ? 0 : kRowCommand) | (slots_[slot].sequence & (kRowCommand - 1));
  ready_[b] = {bank.next[index(kind)], order, bank.group * 3u + bound_of(kind)};
}

/// FR-FCFS within the bank.
void DramChannel::choose(unsigned b, sim::Cycle now) {
  const Bank& bank = banks_[b];
  const std::uint16_t head = bank.list[draining_].head;
  if (head == kNil) return set_candidate(b, kNil, kAct);
  if (bank.open_row == kClosed) return set_candidate(b, head, kAct);
  const DramCommand column = draining_ ? kWr : kRd;
  if (slots_[head].row == bank.open_row) return set_candidate(b, head, column);
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

/// Among all candidates: the earliest, then column before row commands, then the oldest.
template <bool kOneRank>
void DramChannel::best_candidate(sim::Cycle now) {
  const unsigned column = index(draining_ ? kWr : kRd);
  for (unsigned g = 0, rank = 0, in_rank = 0; g < groups_.size(); ++g) {
    const Times& r = ranks_[rank].next;
    const Times& t = groups_[g];
    bounds_[g * 3] = std::max({t[index(kAct)], r[index(kAct)], now});
    bounds_[g * 3 + 1] = std::max({t[index(kPre)], r[index(kPre)], now});
    bounds_[g * 3 + 2] = std::max({t[column], r[column], now});
    if (!kOneRank && ++in_rank == groups_per_rank_) ++rank, in_rank = 0;
  }
  std::uint64_t best = ~std::uint64_t{0};
  unsigned best_bank = 0;
  for (unsigned w = 0; w < active_.size(); ++w) {
    for (std::uint64_t left = active_[w]; left != 0; left &= left - 1) {
      const unsigned b = w * 64 + static_cast<unsigned>(std::countr_zero(left));
      const Ready& r = ready_[b];
      const sim::Cycle t = std::max(r.time, bounds_[r.bound]);
      if (!kOneRank && t >= ranks_[banks_[b].rank].refresh_due) continue;
      const std::uint64_t key = (t - now) << kDelayShift | r.order;
      best_bank = key < best ? b : best_bank;
      best = std::min(best, key);
    }
  }
  const sim::Cycle t = now + (best >> kDelayShift);
  if (best == ~std::uint64_t{0} || (kOneRank && t >= ranks_[0].refresh_due)) return;
  next_time_ = t;
  next_key_ = best & ((std::uint64_t{1} << kDelayShift) - 1);
  next_bank_ = best_bank;
}

/// Chooses the next command, refresh included.
void DramChannel::schedule(sim::Cycle now) {
  next_time_ = kNone;
  if (waiting() == 0) {
    idle_refresh_ = kNone;
    for (const Rank& r : ranks_) idle_refresh_ = std::min(idle_refresh_, refresh_time(r));
    return;
  }
  if (ranks_.size() == 1) {
    best_candidate<true>(now);
  } else {
    best_candidate<false>(now);
  }
  for (unsigned r = 0; r < ranks_.size(); ++r) {
    if (ranks_[r].refresh_due > next_time_) continue;
    const sim::Cycle t = std::max(refresh_time(ranks_[r]), now);
    if (t > next_time_ || (t == next_time_ && next_key_ == 0)) continue;
    next_time_ = t;
    next_key_ = 0;
    next_bank_ = r;
  }
}

/// Corrects the choice for a bank that got its first candidate.
void DramChannel::consider(unsigned b, sim::Cycle now) {
  const Bank& bank = banks_[b];
  if (bank.candidate == kNil) return;
  const sim::Cycle t = std::max(legal(b), now);
  if (t >= ranks_[bank.rank].refresh_due || t > next_time_) return;
  if (t == next_time_ && ready_[b].order > next_key_) return;
  next_time_ = t;
  next_key_ = ready_[b].order;
  next_bank_ = b;
}

DramChannel::Step DramChannel::issue(sim::Cycle now) {
  if (next_key_ == 0) {
    issue_refresh(next_bank_, now);
    schedule(now);
    return Step::kNothing;
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
    record(kind, bank.rank, &bank, b, now);
    bank.open_row = kClosed;
    rank.open_banks &= ~bit;
    set_candidate(b, bank.candidate, kAct);
  } else if (kind == kAct) {
    if (slot.outcome == RowOutcome::kHit) slot.outcome = RowOutcome::kClosed;
    bank.open_row = slot.row;
    rank.open_banks |= bit;
    set_candidate(b, bank.candidate, draining_ ? kWr : kRd);
    record(kind, bank.rank, &bank, b, now);
  } else {
    record(kind, bank.rank, &bank, b, now);
    complete(b, now);
    const bool changed = update_mode();
    choose(b, now);
    if (changed) rechoose(now);
  }
  schedule(now);
  return kind == kRd ? Step::kReadIssued : kind == kWr ? Step::kWriteIssued : Step::kNothing;
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
  ++(write ? counters_.writes : counters_.reads)[static_cast<unsigned>(slot.outcome)];
  if (!write || report_writes_) {
    const sim::Cycle end = now + (write ? timing_.cwl : timing_.cl) + timing_.data_cycles();
    POOLSIM_ASSERT(done_tail_ - done_head_ <= done_mask_);
    done_[done_tail_++ & done_mask_] = {slot.arrival, now, end, slot.token, write, slot.outcome};
  }
}

void DramChannel::apply(DramCommand command, unsigned r, unsigned b, sim::Cycle now) {
  const Latencies& l = latency_[index(command)];
  Rank& rank = ranks_[r];
  if (command != kPreAll && command != kRef) {
    raise(banks_[b].next, l.bank, now);
    raise(groups_[banks_[b].group], l.group, now);
  }
  raise(rank.next, l.rank, now);
  for (unsigned other = 0; ranks_.size() > 1 && other < ranks_.size(); ++other) {
    if (other != r) raise(ranks_[other].next, l.sibling, now);
  }
  if (command == kAct) {
    rank.act_times[rank.acts++ & 3] = now;
    if (rank.acts >= 4) {
      rank.next[index(kAct)] = std::max(rank.next[index(kAct)], rank.act_times[rank.acts & 3] + faw_);
    }
  }
}

void DramChannel::record(DramCommand command, unsigned r, const Bank* bank, unsigned b, sim::Cycle now) {
  ++counters_.commands[index(command)];
  if (bank != nullptr) {
    ++bank_commands_;
    ++counters_.group_commands[bank->group & (groups_per_rank_ - 1)];
  }
  if (listener_ == nullptr) return;
  DramCommandRecord record{now, command, r, 0, 0, 0};
  if (bank != nullptr) {
    record.bank_group = bank->group % groups_per_rank_;
    record.bank = b & (timing_.banks - 1);
    record.row = bank->open_row;
  }
  listener_->on_command(record);
}

// --- refresh ---

sim::Cycle DramChannel::refresh_time(const Rank& rank) const {
  return std::max(rank.refresh_due, rank.next[index(refresh_command(rank))]);
}

void DramChannel::issue_refresh(unsigned r, sim::Cycle now) {
  Rank& rank = ranks_[r];
  const DramCommand command = refresh_command(rank);
  apply(command, r, 0, now);
  record(command, r, nullptr, 0, now);
  if (command == kRef) {
    rank.refresh_due += timing_.refi;
    return;
  }
  rank.open_banks = 0;
  for (unsigned b = r * banks_per_rank_; b < (r + 1) * banks_per_rank_; ++b) {
    banks_[b].open_row = kClosed;
    if (banks_[b].candidate != kNil) choose(b, now);
  }
}

void DramChannel::make_up_refreshes(sim::Cycle now) {
  for (;;) {
    unsigned r = 0;
    for (unsigned i = 1; i < ranks_.size(); ++i) {
      if (refresh_time(ranks_[i]) < refresh_time(ranks_[r])) r = i;
    }
    const sim::Cycle t = refresh_time(ranks_[r]);
    idle_refresh_ = t;
    if (t > now) return;
    Rank& rank = ranks_[r];
    // Precharged and on time: all but the last of the refreshes due are alike, and no later command sees
    // them.
    if (listener_ == nullptr && rank.open_banks == 0 && t == rank.refresh_due && now - t > 2 * timing_.refi) {
      const std::uint64_t alike = (now - t) / timing_.refi - 1;
      counters_.commands[index(kRef)] += alike;
      rank.refresh_due += alike * timing_.refi;
      continue;
    }
    issue_refresh(r, t);
  }
}

}  // namespace mm
