// SPDX-License-Identifier: Apache-2.0
// A few bursts wait in a channel, and no two of one direction for different rows of a bank: each is its bank's
// candidate, or behind another of the same row and with no command of its own before that one's, and the next command is
// the first of those of the direction that is served. The answers are those of the queues.
#include <algorithm>

#include "mm/dram_apply.h"
#include "mm/dram_channel.h"
#include "sim/error.h"

namespace mm {

using enum DramCommand;
using namespace dram;

void DramChannel::enqueue(sim::Cycle now, bool write, const DramAddress& a, std::uint32_t token) {
  POOLSIM_ASSERT(has_room(write));
  const unsigned b = (a.rank * groups_per_rank_ + a.bank_group) << banks_per_group_log2_ | a.bank;
  Bank& bank = banks_[b];
  const bool needs_queues = few_ == 0 ? waiting() != 0 || config_.always_queue : !joins_few(write, bank, a);
  if (needs_queues) return enqueue_queued(now, write, b, a, token);
  few_bursts_[few_] = {now, ++sequence_, &bank, a.row, a.column, token, RowOutcome::kHit, write};
  ++waiting_[write];
  if (few_++ == 0) {
    draining_ = write;  // an empty channel serves reads
    counters_.drains += write;
    return choose_few(now);
  }
  if (waiting_[!write] != 0 && update_mode()) return choose_few(now);
  if (write != draining_) return;
  // What was chosen is still the first of those that were there: nothing moved their times, and none of them
  // was due before now. A refresh is weighed against all of them.
  if (next_key_ == 0 || next_time_ < now) return choose_few(now);
  offer_few(few_ - 1, now);
}

/// Whether a new burst needs no queue as the few need none.
bool DramChannel::joins_few(bool write, const Bank& bank, const DramAddress& a) const {
  if (few_ == kFew || config_.scheduler == DramScheduler::kFcfs) return false;
  for (unsigned i = 0; i < few_; ++i) {
    const Few& f = few_bursts_[i];
    if (f.bank != &bank) continue;
    // Other policies ask what else waits for the row.
    if (config_.page_policy != PagePolicy::kOpen) return false;
    const bool same_row = f.row == a.row;
    const bool answers = f.write && same_row && f.column == a.column;  // a read of what is to be written
    if (f.write == write ? !same_row : answers) return false;
  }
  return true;
}

/// The few take the places in the queues that they would have had.
void DramChannel::queue_few() {
  known_ = 0;
  const auto number = [this](const Bank* bank) { return static_cast<std::uint16_t>(bank - banks_.data()); };
  if (next_key_ != 0) next_bank_ = number(few_bursts_[next_few_].bank);  // the next command stays what it is
  for (unsigned i = 0; i < few_; ++i) {
    const Few& f = few_bursts_[i];
    put(f.write, {f.arrival, f.sequence, f.row, f.column, f.token, kNil, kNil, number(f.bank), f.outcome});
    choose(number(f.bank), f.arrival);
  }
  few_ = 0;
}

/// One of the few is next if its command comes before what was chosen so far.
void DramChannel::offer_few(unsigned i, sim::Cycle now) {
  const Few& burst = few_bursts_[i];
  const Bank& bank = *burst.bank;
  const DramCommand column = draining_ ? kWr : kRd;
  const DramCommand command = bank.open_row == burst.row ? column : bank.open_row == kClosed ? kAct : kPre;
  const unsigned k = index(command);
  sim::Cycle t = std::max(now, floor_[std::min(k, kColumn)]);
  t = std::max(t, bank.next[k]);
  t = std::max(t, (*bank.group_next)[k]);
  t = std::max(t, bank.rank_state->next[k]);
  if (t >= next_time_ || (t >= refresh_due_ && blocked_by_refresh(bank, t))) return;
  next_time_ = t;
  next_key_ = burst.sequence;
  next_few_ = i;
  next_few_command_ = command;
}

/// The first of the few's next commands, refresh included.
void DramChannel::choose_few(sim::Cycle now) {
  next_time_ = kNone;
  next_key_ = 0;
  for (unsigned i = 0; i < few_; ++i) {
    if (few_bursts_[i].write == draining_) offer_few(i, now);
  }
  if (refresh_due_ <= next_time_) schedule_refresh(now);
}

/// What apply() and record() do, for a bank that no list knows.
template <DramCommand kCommand>
void DramChannel::apply_few(Bank& bank, sim::Cycle now) {
  if ((tabled_ >> index(kCommand) & 1) != 0) {
    apply_tables(kCommand, bank.rank, static_cast<unsigned>(&bank - banks_.data()), now);
  }
  for (unsigned kind = 0; kind < kKinds; ++kind) floor_[kind] = now + bus_[kind];
  delay<kCommand>(bank, now);
  count(kCommand, bank);
}

/// The column command of whose turn it is is issued.
template <DramCommand kCommand>
void DramChannel::complete_few(sim::Cycle now) {
  const Few& burst = few_bursts_[next_few_];
  Bank& bank = *burst.bank;
  constexpr bool write = kCommand == kWr;
  apply_few<kCommand>(bank, now);
  last_column_ = now;
  last_column_write_ = write;
  finish(write, {burst.arrival, now, now, burst.token, write, burst.outcome});
  if (config_.page_policy == PagePolicy::kAdaptive) learn(bank, burst.row);
  const bool closing = config_.page_policy != PagePolicy::kOpen && closes_row(bank);
  if (listener_ != nullptr) tell(kCommand, bank, now, closing);
  if (closing) auto_precharge(bank);
  --few_;
  --waiting_[write];
  for (unsigned i = next_few_; i < few_; ++i) few_bursts_[i] = few_bursts_[i + 1];
}

/// The few are no more.
void DramChannel::fall_idle() {
  draining_ = false;
  next_time_ = kNone;
  next_key_ = 0;
  idle_refresh_ = refresh_due_;  // or later
}

bool DramChannel::issue_few(sim::Cycle now) {
  const DramCommand command = next_few_command_;
  if (is_column(command)) {
    command == kWr ? complete_few<kWr>(now) : complete_few<kRd>(now);
    if (few_ == 0) {
      fall_idle();
      return true;
    }
    if (waiting_[!draining_] != 0) update_mode();
    choose_few(now);
    return true;
  }
  Few& burst = few_bursts_[next_few_];
  Bank& bank = *burst.bank;
  if (command == kPre) {
    burst.outcome = RowOutcome::kConflict;
    apply_few<kPre>(bank, now);
    if (listener_ != nullptr) tell(kPre, bank, now, false);
    bank.open_row = kClosed;
    bank.rank_state->open_banks &= ~bank.bit;
  } else {
    if (burst.outcome == RowOutcome::kHit) burst.outcome = RowOutcome::kClosed;
    bank.open_row = burst.row;
    bank.rank_state->open_banks |= bank.bit;
    apply_few<kAct>(bank, now);
    if (listener_ != nullptr) tell(kAct, bank, now, false);
  }
  choose_few(now);
  return false;
}

}  // namespace mm
