// SPDX-License-Identifier: Apache-2.0
#include "mm/dram_channel.h"

#include <algorithm>
#include <bit>

#include "mm/dram_apply.h"
#include "sim/error.h"

namespace mm {
namespace {

using enum DramCommand;
using namespace dram;

/// What delay() raises without a table: the constraints that every standard has.
constexpr bool is_plain(DramLevel level, DramCommand preceding, DramCommand following) {
  switch (level) {
    case DramLevel::kBank:
      return preceding == kAct ? following <= kWr : preceding == kPre ? following == kAct : following == kPre;
    case DramLevel::kBankGroup:
    case DramLevel::kRank:
      return preceding == kAct ? following == kAct : is_column(preceding) && is_column(following);
    case DramLevel::kSibling:
      return false;
  }
  return false;
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

  banks_.resize(config.ranks * banks_per_rank_);
  for (unsigned b = 0; b < banks_.size(); ++b) {
    banks_[b].rank = static_cast<std::uint8_t>(b / banks_per_rank_);
    banks_[b].group = static_cast<std::uint8_t>(b >> banks_per_group_log2_);
  }
  groups_.resize(config.ranks * groups_per_rank_);
  ranks_.resize(config.ranks);
  for (unsigned b = 0; b < banks_.size(); ++b) {
    Bank& bank = banks_[b];
    bank.group_next = &groups_[bank.group];
    bank.rank_state = &ranks_[bank.rank];
    bank.bit = std::uint64_t{1} << b % banks_per_rank_;
    bank.group_in_rank = static_cast<std::uint8_t>(bank.group % groups_per_rank_);
  }
  ready_.resize(banks_.size());
  for (unsigned kind = 0; kind < kKinds; ++kind) {
    active_[kind].assign((banks_.size() + 63) / 64, 0);
    bus_[kind] = timing_.two_cycle_commands && kind != kind_of(kPre) ? 2 : 1;
  }
  occupied_.assign((banks_.size() + 63) / 64, 0);
  for (unsigned b = 0; b < banks_.size(); ++b) ready_[b] = {kNone, 0, banks_[b].group, banks_[b].rank};
  compile_delays();
  // Ranks take turns: their refreshes are spread over tREFI.
  for (unsigned r = 0; r < config.ranks; ++r) {
    ranks_[r].refresh_due =
        config.refresh ? std::uint64_t{refresh_interval_} * (config.ranks + r) / config.ranks : kNone;
  }
  refresh_due_ = idle_refresh_ = ranks_[0].refresh_due;
  slots_.resize(config.read_queue + config.write_queue);
  for (unsigned i = static_cast<unsigned>(slots_.size()); i-- > 0;) {
    free_slots_.push_back(static_cast<std::uint16_t>(i));
  }
}

void DramChannel::compile_delays() {
  const auto kind_of_any = [](unsigned command) {
    return command == index(kAct) ? 0u : command == index(kRd) || command == index(kWr) ? kColumn : 1u;
  };
  for (unsigned i = 0; i < kDramCommands; ++i) {
    const Latencies& l = latency_[i];
    for (unsigned following = 0; following < kDramCommands; ++following) {
      const unsigned kind = kind_of_any(following), bus = bus_[kind];
      const auto add = [&](Delays& to, DramLevel level, sim::Cycle latency) {
        if (following >= index(kPreSb) && !config_.same_bank_refresh) return;
        const bool plain = i <= index(kWr) &&
                           is_plain(level, static_cast<DramCommand>(i), static_cast<DramCommand>(following));
        if (latency > bus && !plain) to.list[to.size++] = {following, static_cast<std::uint32_t>(latency)};
      };
      // All-bank commands have no bank; the rank's table has what they delay.
      const bool all_banks = i == index(kPreAll) || i == index(kRef);
      if (!all_banks) {
        add(in_bank_[i], DramLevel::kBank, l.bank[following]);
        add(in_group_[i], DramLevel::kBankGroup, l.group[following]);
      }
      // What an all-bank command of the refresh waits for in the banks is looked up there when one is due.
      const bool looked_up = i <= index(kWr) && l.bank[following] == 0 && following >= index(kPreAll) &&
                             following <= index(kRef) && !(i == index(kPre) && following == index(kPreAll));
      if (!looked_up) add(in_rank_[i], DramLevel::kRank, l.rank[following]);
      if (config_.ranks > 1) add(in_siblings_[i], DramLevel::kSibling, l.sibling[following]);
      for (const Delays* d : {&in_bank_[i], &in_group_[i], &in_rank_[i], &in_siblings_[i]})
        if (d->size != 0) tabled_ |= 1u << i;
      const bool one_bank = following <= index(kWr);
      if (one_bank && std::max({l.group[following], l.rank[following], l.sibling[following]}) > bus)
        moves_[i] |= static_cast<std::uint8_t>(1u << kind);
    }
  }
}

// --- queues and candidates ---

/// Puts a burst at the end of its bank's queue.
void DramChannel::put(bool write, const Slot& slot) {
  const std::uint16_t s = free_slots_.back();
  free_slots_.pop_back();
  List& list = banks_[slot.bank].list[write];
  slots_[s] = slot;
  slots_[s].prev = list.tail;
  (list.tail != kNil ? slots_[list.tail].next : list.head) = s;
  list.tail = s;
  occupied_[slot.bank >> 6] |= std::uint64_t{1} << (slot.bank & 63);
  if (config_.scheduler == DramScheduler::kFcfs) order_[write].push_back(s);
}

/// Where a few bursts for different banks are not all.
void DramChannel::enqueue_queued(sim::Cycle now, bool write, unsigned b, const DramAddress& a,
                                 std::uint32_t token) {
  if (few_ != 0) queue_few();
  const Bank& bank = banks_[b];
  if (!write && forward(a, bank, now, token)) return;
  put(write, {now, ++sequence_, a.row, a.column, token, kNil, kNil, static_cast<std::uint16_t>(b),
              RowOutcome::kHit});
  ++waiting_[write];

  if (update_mode()) {
    rechoose(now);
    schedule(now);
    return;
  }
  if (write != draining_) return;
  // The bank had nothing to do, or a row hit came before its row was closed.
  if (bank.candidate == kNil || (bank.kind == kPre && a.row == bank.open_row)) {
    choose(b, now);
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
  known_ = 0;
  for (unsigned w = 0; w < occupied_.size(); ++w) {
    for (std::uint64_t left = occupied_[w]; left != 0; left &= left - 1) {
      choose(w * 64 + static_cast<unsigned>(std::countr_zero(left)), now);
    }
  }
}

void DramChannel::set_candidate(unsigned b, std::uint16_t slot, DramCommand command) {
  Bank& bank = banks_[b];
  const std::uint64_t bit = std::uint64_t{1} << (b & 63);
  const unsigned before = kind_of(bank.kind), kind = kind_of(command);
  active_[before][b >> 6] &= ~bit;
  if (first_[before].bank == b) known_ &= ~bit_of(before);
  bank.candidate = slot;
  bank.kind = command;
  const bool in_turn = config_.scheduler != DramScheduler::kFcfs || kind != kColumn;
  if (slot == kNil || !(in_turn || order_[draining_].front() == slot)) return;
  active_[kind][b >> 6] |= bit;
  ready_[b].time = bank.next[index(command)];
  ready_[b].order = slots_[slot].sequence;
  if ((known_ & bit_of(kind)) != 0) offer(b, kind);
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

bool DramChannel::blocked_by_refresh(const Bank& bank, sim::Cycle time) const {
  const Rank& rank = *bank.rank_state;
  return time >= rank.refresh_due && (refreshed_banks(rank) & bank.bit) != 0;
}

/// The bank has a new candidate of a kind whose first is known.
void DramChannel::offer(unsigned b, unsigned kind) {
  const Bank& bank = banks_[b];
  const unsigned k = index(bank.kind);
  const sim::Cycle t =
      std::max({ready_[b].time, groups_[bank.group][k], ranks_[bank.rank].next[k], floor_[kind]});
  First& first = first_[kind];
  if (t > first.time || (t == first.time && ready_[b].order > first.order) || blocked_by_refresh(bank, t))
    return;
  first = {t, ready_[b].order, b};
}

template <bool kSimple>
void DramChannel::find_first_of(unsigned kind, sim::Cycle from) {
  constexpr unsigned kDelayShift = 44;  // of a key: delay above, order below
  constexpr DramCommand kCommands[kKinds] = {kAct, kPre, kRd};
  const unsigned k = kind == kColumn && draining_ ? index(kWr) : index(kCommands[kind]);
  const Ready* const ready = ready_.data();
  const Times* const groups = groups_.data();
  const sim::Cycle all = std::max(ranks_[0].next[k], from);
  std::uint64_t best = ~std::uint64_t{0};
  unsigned bank = 0;
  for (unsigned w = 0; w < active_[kind].size(); ++w) {
    for (std::uint64_t left = active_[kind][w]; left != 0; left &= left - 1) {
      const unsigned b = w * 64 + static_cast<unsigned>(std::countr_zero(left));
      const Ready& r = ready[b];
      sim::Cycle t = std::max(r.time, groups[r.group][k]);
      t = std::max(t, kSimple ? all : std::max(ranks_[r.rank].next[k], from));
      if (!kSimple && blocked_by_refresh(banks_[b], t)) continue;
      const std::uint64_t key = (t - from) << kDelayShift | r.order;
      bank = key < best ? b : bank;
      best = std::min(best, key);
    }
  }
  First& first = first_[kind];
  first.time = from + (best >> kDelayShift);
  first.bank = bank;
  first.order = ready[bank].order;
  const bool none = best == ~std::uint64_t{0} || (kSimple && first.time >= ranks_[0].refresh_due);
  if (none) first = First{};
}

/// The first candidate of a kind, none before `from`.
void DramChannel::find_first(unsigned kind, sim::Cycle from) {
  const bool simple = ranks_.size() == 1 && !config_.same_bank_refresh;
  known_ |= bit_of(kind);
  simple ? find_first_of<true>(kind, from) : find_first_of<false>(kind, from);
}

/// Chooses the next command, refresh included.
void DramChannel::schedule(sim::Cycle now) {
  next_time_ = kNone;
  next_key_ = 0;
  if (waiting() == 0) {
    idle_refresh_ = refresh_due_;  // or later
    return;
  }
  if (few_ != 0) return choose_few(now);
  if (waiting() == 1) {
    choose_only(now);
  } else {
    choose_among(now);
  }
  if (refresh_due_ <= next_time_) schedule_refresh(now);
}

/// A refresh that can come as early as what was chosen is next.
void DramChannel::schedule_refresh(sim::Cycle now) {
  for (unsigned r = 0; refresh_due_ <= next_time_ && r < ranks_.size(); ++r) {
    if (ranks_[r].refresh_due > next_time_) continue;
    const sim::Cycle t = std::max(refresh_time(r), now);
    if (t > next_time_ || (t == next_time_ && next_key_ == 0)) continue;
    next_time_ = t;
    next_key_ = 0;
    next_bank_ = r;
  }
}

/// One burst waits: its command is the next one, refresh aside.
void DramChannel::choose_only(sim::Cycle now) {
  unsigned b = 0;
  for (unsigned w = 0; w < occupied_.size(); ++w) {
    if (occupied_[w] != 0) b = w * 64 + static_cast<unsigned>(std::countr_zero(occupied_[w]));
  }
  const Bank& bank = banks_[b];
  if (bank.candidate == kNil) return;
  const unsigned k = index(bank.kind), kind = kind_of(bank.kind);
  const sim::Cycle t =
      std::max({ready_[b].time, groups_[bank.group][k], ranks_[bank.rank].next[k], floor_[kind], now});
  if (blocked_by_refresh(bank, t)) return;
  next_time_ = t;
  next_key_ = ready_[b].order;
  next_bank_ = b;
}

void DramChannel::choose_among(sim::Cycle now) {
#pragma GCC unroll 3
  for (unsigned kind = 0; kind < kKinds; ++kind) {
    if (active_[kind].size() == 1 && active_[kind][0] == 0) continue;
    const sim::Cycle from = std::max(floor_[kind], now);
    const First& first = first_[kind];
    // One that was legal before the bus is free competes by age with those that became legal since.
    if ((known_ & bit_of(kind)) == 0 || first.time < from) find_first(kind, from);
    if (first.time > next_time_ || (first.time == next_time_ && first.order >= next_key_)) continue;
    next_time_ = first.time;
    next_key_ = first.order;
    next_bank_ = first.bank;
  }
}

bool DramChannel::issue(sim::Cycle now) {
  if (__builtin_expect(next_key_ == 0, 0)) return issue_due_refresh(now);
  return few_ != 0 ? issue_few(now) : issue_queued(now);
}

[[gnu::noinline, gnu::cold]] bool DramChannel::issue_due_refresh(sim::Cycle now) {
  issue_refresh(next_bank_, now);
  schedule(now);
  return false;
}

bool DramChannel::issue_queued(sim::Cycle now) {
  const unsigned b = next_bank_;
  Bank& bank = banks_[b];
  const DramCommand kind = bank.kind;
  Slot& slot = slots_[bank.candidate];
  Rank& rank = ranks_[bank.rank];
  apply(kind, bank.rank, b, now);
  if (kind == kPre) {
    slot.outcome = RowOutcome::kConflict;
    record(kind, bank, now);
    bank.open_row = kClosed;
    rank.open_banks &= ~bank.bit;
    set_candidate(b, bank.candidate, kAct);
  } else if (kind == kAct) {
    if (slot.outcome == RowOutcome::kHit) slot.outcome = RowOutcome::kClosed;
    bank.open_row = slot.row;
    rank.open_banks |= bank.bit;
    set_candidate(b, bank.candidate, draining_ ? kWr : kRd);
    record(kind, bank, now);
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
  record(kind, bank, now, closing);
  if (closing) auto_precharge(bank);
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
void DramChannel::auto_precharge(Bank& bank) {
  ++counters_.auto_precharges;
  bank.open_row = kClosed;
  bank.rank_state->open_banks &= ~bank.bit;
  const sim::Cycle closed = bank.next[index(kPre)] + timing_.rp;
  for (const DramCommand c : {kAct, kRefSb}) bank.next[index(c)] = std::max(bank.next[index(c)], closed);
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
  if (list.head == kNil && bank.list[!write].head == kNil)
    occupied_[b >> 6] &= ~(std::uint64_t{1} << (b & 63));
  --waiting_[write];
  free_slots_.push_back(s);
  if (config_.scheduler == DramScheduler::kFcfs) order_[write].pop_front();
  finish(write, {slot.arrival, now, now, slot.token, write, slot.outcome});
}

void DramChannel::apply_tables(DramCommand command, unsigned r, unsigned b, sim::Cycle now) {
  in_bank_[index(command)].raise(banks_[b].next, now);
  in_group_[index(command)].raise(groups_[banks_[b].group], now);
  in_rank_[index(command)].raise(ranks_[r].next, now);
  for (unsigned other = 0; other < ranks_.size(); ++other) {
    if (other != r) in_siblings_[index(command)].raise(ranks_[other].next, now);
  }
}

void DramChannel::apply(DramCommand command, unsigned r, unsigned b, sim::Cycle now) {
  if ((tabled_ >> index(command) & 1) != 0) apply_tables(command, r, b, now);
  for (unsigned kind = 0; kind < kKinds; ++kind) floor_[kind] = now + bus_[kind];
  known_ &= ~unsigned{moves_[index(command)]};
  Bank& bank = banks_[b];
  if (command == kAct) return delay<kAct>(bank, now);
  if (command == kPre) return delay<kPre>(bank, now);
  if (command == kRd) return delay<kRd>(bank, now);
  if (command == kWr) return delay<kWr>(bank, now);
}

/// A command to one bank.
void DramChannel::record(DramCommand command, const Bank& bank, sim::Cycle now, bool auto_precharge) {
  count(command, bank);
  if (listener_ != nullptr) tell(command, bank, now, auto_precharge);
}

void DramChannel::tell(DramCommand command, const Bank& bank, sim::Cycle now, bool auto_precharge) {
  const auto b = static_cast<unsigned>(&bank - banks_.data());
  listener_->on_command(
      {now, command, bank.rank, bank.group_in_rank, b & (timing_.banks - 1), bank.open_row, auto_precharge});
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
  sim::Cycle t = std::max({rank.refresh_due, rank.next[index(command)], floor_[kind_of(kPre)]});
  // To its banks PREA is what PRE is, and REF what ACT is.
  const DramCommand in_bank = command == kPreAll ? kPre : command == kRef ? kAct : command;
  std::uint64_t left = refreshed_banks(rank);
  if (command == kPreAll || command == kPreSb) left &= rank.open_banks;
  if (banks_per_rank_ < 64) left &= (std::uint64_t{1} << banks_per_rank_) - 1;
  for (; left != 0; left &= left - 1) {
    const auto b = r * banks_per_rank_ + static_cast<unsigned>(std::countr_zero(left));
    t = std::max(t, banks_[b].next[index(in_bank)]);
  }
  return t;
}

void DramChannel::issue_refresh(unsigned r, sim::Cycle now) {
  Rank& rank = ranks_[r];
  const DramCommand command = refresh_command(rank);
  const std::uint64_t refreshed = refreshed_banks(rank);
  const unsigned first = r * banks_per_rank_;
  ++counters_.commands[index(command)];
  if (listener_ != nullptr) {
    const bool one = command == kPreSb || command == kRefSb;
    listener_->on_command({now, command, r, 0, one ? rank.same_bank : 0, 0});
  }
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
  refresh_moved();
  if (config_.same_bank_refresh) rank.same_bank = (rank.same_bank + 1) % timing_.banks;
}

void DramChannel::refresh_moved() {
  known_ = 0;
  refresh_due_ = kNone;
  for (const Rank& rank : ranks_) refresh_due_ = std::min(refresh_due_, rank.refresh_due);
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
      refresh_moved();
      continue;
    }
    issue_refresh(r, t);
  }
}

}  // namespace mm
