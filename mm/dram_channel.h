// SPDX-License-Identifier: Apache-2.0
// One DRAM channel: command scheduler and the state of its ranks, bank groups and banks. No SystemC, no
// addresses, no data: bursts go in, commands are issued cycle by cycle, completions come out. DramController
// puts TLM around it, the conformance runner drives it directly.
//
// Policy: FR-FCFS per bank (oldest row hit, else oldest; a request older than the age cap when its bank next
// chooses is not passed any more), open page, column commands before row commands, then oldest first. Reads
// before writes; writes are served when no reads wait, and from `write_high` waiting on down to `write_low`
// whatever waits. Refresh of a rank is due every tREFI: from then on the rank takes no new commands, its
// banks are precharged as soon as they may be, and it is refreshed. Refreshes that fall into idle time are
// made up, with their right times, at the next arrival: idle time costs nothing.
//
// How it is fast: constraints are compiled into "next legal time" tables per bank, bank group and rank,
// updated at each command; a bank knows its candidate; the next command and its time are chosen once, after
// the last one, and corrected when a request arrives in between.
#pragma once
#include <array>
#include <cstdint>
#include <vector>

#include "mm/address_mapping.h"
#include "mm/dram_timing.h"
#include "sim/types.h"

namespace mm {

struct DramChannelConfig {
  unsigned ranks = 1;
  unsigned read_queue = 32;
  unsigned write_queue = 32;
  unsigned write_high = 26;
  unsigned write_low = 6;
  std::uint64_t age_cap_cycles = 1024;
  bool refresh = true;
};

/// What a burst found in its bank.
enum class RowOutcome : std::uint8_t { kHit, kClosed, kConflict };

/// A burst whose data have passed. Times in memory cycles.
struct DramCompletion {
  sim::Cycle arrival;  ///< entered the queue
  sim::Cycle issue;    ///< time of its RD or WR
  sim::Cycle end;      ///< end of data
  std::uint32_t token;
  bool write;
  RowOutcome outcome;
};

/// A command as issued, for checkers and traces. Bank fields are 0 where the command has none.
struct DramCommandRecord {
  sim::Cycle time;
  DramCommand command;
  std::uint32_t rank, bank_group, bank, row;
};

class DramCommandListener {
 public:
  virtual ~DramCommandListener() = default;
  virtual void on_command(const DramCommandRecord& record) = 0;
};

class DramChannel {
 public:
  static constexpr sim::Cycle kNone = sim::kNeverCycle;

  DramChannel(const DramTiming& timing, const DramChannelConfig& config);

  const DramTiming& timing() const { return timing_; }

  /// Makes up the refreshes of idle time up to `now`. Before enqueue() and step() of a cycle.
  void advance(sim::Cycle now) {
    if (waiting() == 0 && now >= idle_refresh_) make_up_refreshes(now);
  }

  bool has_room(bool write) const { return waiting_[write] < capacity_[write]; }
  unsigned waiting(bool write) const { return waiting_[write]; }
  unsigned waiting() const { return waiting_[0] + waiting_[1]; }

  /// Puts a burst into its queue; has_room() required. Its first command may be issued at `now`.
  void enqueue(sim::Cycle now, bool write, const DramAddress& address, std::uint32_t token);

  /// What step() did: nothing that matters outside, or a place became free in a queue (RD or WR issued).
  enum class Step : std::uint8_t { kNothing, kReadIssued, kWriteIssued };
  /// Issues the command that is due at `now`, if any.
  Step step(sim::Cycle now) { return now < next_time_ ? Step::kNothing : issue(now); }
  /// Time of the next command, kNone when nothing waits.
  sim::Cycle next_command() const { return next_time_; }

  /// Completions of reads (and of writes, if asked for) in the order of their end.
  void report_writes(bool on) { report_writes_ = on; }
  sim::Cycle next_completion() const {
    return done_head_ == done_tail_ ? kNone : done_[done_head_ & done_mask_].end;
  }
  const DramCompletion& front() const { return done_[done_head_ & done_mask_]; }
  void pop() { ++done_head_; }

  void listen(DramCommandListener* listener) { listener_ = listener; }

  struct Counters {
    std::array<std::uint64_t, kDramCommands> commands{};
    std::array<std::uint64_t, 8> group_commands{};  ///< per bank group, over the ranks
    std::array<std::uint64_t, 3> reads{};           ///< by RowOutcome
    std::array<std::uint64_t, 3> writes{};
    std::uint64_t drains = 0;  ///< switches from reads to writes
    std::uint64_t aged = 0;    ///< choices where the age cap overruled a row hit
  };
  const Counters& counters() const { return counters_; }
  /// Changes whenever a burst enters or a command is issued to a bank.
  std::uint64_t activity() const { return sequence_ + bank_commands_; }

 private:
  using Times = std::array<sim::Cycle, kDramCommands>;
  static constexpr std::uint16_t kNil = 0xffff;
  static constexpr std::uint32_t kClosed = ~std::uint32_t{0};

  struct Slot {
    sim::Cycle arrival;
    std::uint64_t sequence;
    std::uint32_t row;
    std::uint32_t token;
    std::uint16_t next, prev;
    RowOutcome outcome;
  };
  struct List {
    std::uint16_t head = kNil, tail = kNil;
  };
  struct Bank {
    Times next{};
    std::uint32_t open_row = kClosed;
    std::uint16_t candidate = kNil;
    DramCommand kind = DramCommand::kAct;
    std::uint8_t rank = 0, group = 0;  // group: over all ranks
    List list[2];                      // reads, writes
  };
  struct Rank {
    Times next{};
    sim::Cycle refresh_due = 0;
    std::uint64_t open_banks = 0;  // bit mask of the rank's banks
    std::uint32_t acts = 0;
    std::array<sim::Cycle, 4> act_times{};
  };
  struct Latencies {
    Times bank{}, group{}, rank{}, sibling{};
  };

  Step issue(sim::Cycle now);
  void issue_refresh(unsigned rank, sim::Cycle now);
  void make_up_refreshes(sim::Cycle now);
  sim::Cycle refresh_time(const Rank& rank) const;
  DramCommand refresh_command(const Rank& rank) const {
    return rank.open_banks != 0 ? DramCommand::kPreAll : DramCommand::kRef;
  }
  void apply(DramCommand command, unsigned rank, unsigned bank, sim::Cycle now);
  void record(DramCommand command, unsigned rank, const Bank* bank, unsigned index, sim::Cycle now);
  void choose(unsigned bank, sim::Cycle now);
  void set_candidate(unsigned bank, std::uint16_t slot, DramCommand kind);
  void close(unsigned rank);
  bool update_mode();
  void rechoose(sim::Cycle now);
  void schedule(sim::Cycle now);
  void consider(unsigned bank, sim::Cycle now);
  void complete(unsigned bank, sim::Cycle now);
  sim::Cycle legal(unsigned bank) const;
  template <bool kOneRank>
  void best_candidate(sim::Cycle now);

  DramTiming timing_;
  DramChannelConfig config_;
  unsigned banks_per_group_log2_, groups_per_rank_, banks_per_rank_;
  std::array<Latencies, kDramCommands> latency_{};
  unsigned faw_ = 0;

  std::vector<Bank> banks_;
  std::vector<Times> groups_;
  std::vector<Rank> ranks_;
  std::vector<std::uint64_t> active_;  // banks that have a candidate, 64 a word
  // Of each bank's candidate: when the bank itself allows its command; which bound of its group applies; its
  // order.
  struct Ready {
    sim::Cycle time;
    std::uint64_t order;
    std::uint32_t bound;
  };
  std::vector<Ready> ready_;
  std::vector<sim::Cycle> bounds_;  // scratch of best_candidate(): per group ACT, PRE, RD or WR
  std::vector<Slot> slots_;
  std::vector<std::uint16_t> free_slots_;
  unsigned capacity_[2];
  unsigned waiting_[2] = {0, 0};
  bool draining_ = false;  // the queue that is served: false = reads
  bool forced_ = false;    // the drain began at the high watermark
  std::uint64_t sequence_ = 0;
  std::uint64_t bank_commands_ = 0;

  // The chosen next command.
  sim::Cycle next_time_ = kNone;
  std::uint64_t next_key_ = 0;       // order among those legal at next_time_: 0 = refresh
  unsigned next_bank_ = 0;           // or the rank to refresh
  sim::Cycle idle_refresh_ = kNone;  // next refresh command if nothing arrives

  std::vector<DramCompletion> done_;
  std::uint32_t done_head_ = 0, done_tail_ = 0, done_mask_ = 0;
  bool report_writes_ = false;
  DramCommandListener* listener_ = nullptr;
  Counters counters_;
};

}  // namespace mm
