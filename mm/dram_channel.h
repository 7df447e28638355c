// SPDX-License-Identifier: Apache-2.0
// One DRAM channel: command scheduler and the state of its ranks, bank groups and banks. No SystemC, no
// addresses, no data: bursts go in, commands are issued cycle by cycle, completions come out. DramController
// puts TLM around it, the conformance runner drives it directly.
//
// Scheduler. fr_fcfs: in each bank the oldest row hit, else the oldest request; a request older than the age
// cap when its bank next chooses is not passed any more; between banks the oldest request whose command is
// legal. fcfs: the same, but column commands go strictly in the order of arrival (rows are opened ahead of
// it). Reads before writes; writes are served when no reads wait, or from `write_high` waiting on; once
// begun, a drain ends when reads wait and no more than `write_low` writes do. A read of a burst that waits in
// the write queue gets it from there, in the cycle in which it is first seen.
//
// Pages. open: a row stays open until another row of the bank is wanted, or a refresh. closed: each RD and WR
// precharges its bank (auto-precharge). adaptive: the row stays open while requests for it wait, is closed
// with the last of them when another row is waited for, and otherwise as a two-bit counter of the bank says,
// which learns from whether the next request was to the same row.
//
// Refresh of a rank is due every tREFI: from then on the rank takes no new commands, its banks are precharged
// as soon as they may be, and it is refreshed. Same-bank (DDR5): every tREFI / 2 / banks, one bank of each
// bank group, in turn; the others go on. Refreshes that fall into idle time are made up, with their right
// times, at the next arrival: idle time costs nothing.
//
// How it is fast: constraints are compiled into "next legal time" tables per bank, bank group and rank,
// updated at each command; a bank knows its candidate; of the candidates of each kind (ACT, PRE, column) the
// first is remembered, and looked for again only when a command moved the times of that kind. As long as a
// few bursts wait, and no two for different rows of a bank, they stay out of all this: the next command is the
// first of theirs (mm/dram_few.cpp).
#pragma once
#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "mm/address_mapping.h"
#include "mm/dram_timing.h"
#include "mm/fifo.h"
#include "sim/types.h"

namespace mm {

enum class DramScheduler : std::uint8_t { kFrFcfs, kFcfs };
enum class PagePolicy : std::uint8_t { kOpen, kClosed, kAdaptive };

/// By their names in configurations.
const std::map<std::string, DramScheduler>& dram_schedulers();
const std::map<std::string, PagePolicy>& page_policies();

struct DramChannelConfig {
  unsigned ranks = 1;
  unsigned read_queue = 32;
  unsigned write_queue = 32;
  unsigned write_high = 26;
  unsigned write_low = 6;
  std::uint64_t age_cap_cycles = 1024;
  bool refresh = true;
  bool same_bank_refresh = false;  ///< needs DramTiming::has_same_bank_refresh()
  DramScheduler scheduler = DramScheduler::kFrFcfs;
  PagePolicy page_policy = PagePolicy::kOpen;
  /// A few bursts go through the queues too, which they do not need: the same commands at the same times. For tests.
  bool always_queue = false;
};

/// What a burst found in its bank.
enum class RowOutcome : std::uint8_t { kHit, kClosed, kConflict };

/// A burst whose data have passed. Times in memory cycles.
struct DramCompletion {
  sim::Cycle arrival;  ///< entered the queue
  sim::Cycle issue;    ///< time of its RD or WR; of a read answered by the write queue, when it was seen
  sim::Cycle end;      ///< end of data
  std::uint32_t token;
  bool write;
  RowOutcome outcome;
};

/// A command as issued, for checkers and traces. Fields are 0 where the command has none; PREsb and REFsb
/// have a bank and no bank group.
struct DramCommandRecord {
  sim::Cycle time;
  DramCommand command;
  std::uint32_t rank, bank_group, bank, row;
  bool auto_precharge = false;
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
  DramChannel(const DramChannel&) = delete;
  DramChannel& operator=(const DramChannel&) = delete;

  const DramTiming& timing() const { return timing_; }

  /// Issues, with their right times, what was due before `now`, and makes up the refreshes of idle time up to
  /// `now`. Before enqueue() and step() of a cycle. So the owner may sleep over commands that nobody outside
  /// sees.
  void advance(sim::Cycle now) {
    while (next_time_ < now) issue(next_time_);
    if (waiting() == 0 && now >= idle_refresh_) make_up_refreshes(now);
  }

  bool has_room(bool write) const { return waiting_[write] < capacity_[write]; }
  unsigned waiting(bool write) const { return waiting_[write]; }
  unsigned waiting() const { return waiting_[0] + waiting_[1]; }

  /// Puts a burst into its queue; has_room() required. Its first command may be issued at `now`.
  void enqueue(sim::Cycle now, bool write, const DramAddress& address, std::uint32_t token);

  /// Issues the command that is due at `now`, if any. True if a place became free in a queue (RD or WR).
  bool step(sim::Cycle now) { return now >= next_time_ && issue(now); }
  /// Time of the next command, kNone when nothing waits.
  sim::Cycle next_command() const { return next_time_; }
  /// No read that waits now can be complete before this; kNone when none waits.
  sim::Cycle earliest_completion() const {
    return waiting_[0] == 0 ? next_completion()
                            : std::min(next_completion(), next_time_ + timing_.cl + timing_.data_cycles());
  }
  /// Bursts that waited when no place had become free at `now` yet; after advance(now).
  unsigned waiting_before(bool write, sim::Cycle now) const {
    return waiting_[write] + (last_column_ == now && last_column_write_ == write ? 1 : 0) +
           (!write && last_forward_ == now ? forwards_ : 0);
  }

  /// Completions of reads (and of writes, if asked for) in the order of their end.
  void report_writes(bool on) { report_writes_ = on; }
  sim::Cycle next_completion() const { return done_.empty() ? kNone : done_.front().end; }
  const DramCompletion& front() const { return done_.front(); }
  void pop() { done_.pop_front(); }

  void listen(DramCommandListener* listener) { listener_ = listener; }

  struct Counters {
    std::array<std::uint64_t, kDramCommands> commands{};
    std::array<std::uint64_t, 8> group_commands{};  ///< per bank group, over the ranks
    std::array<std::uint64_t, 3> reads{};           ///< by RowOutcome
    std::array<std::uint64_t, 3> writes{};
    std::uint64_t drains = 0;           ///< switches from reads to writes
    std::uint64_t aged = 0;             ///< choices where the age cap overruled a row hit
    std::uint64_t auto_precharges = 0;  ///< RD and WR with auto-precharge
    std::uint64_t forwarded = 0;        ///< reads answered by the write queue; they are in no other counter
  };
  const Counters& counters() const { return counters_; }
  /// Changes whenever a burst enters or a command is issued to a bank.
  std::uint64_t activity() const { return sequence_ + bank_commands(); }
  std::uint64_t bank_commands() const {
    const auto& c = counters_.commands;
    return c[0] + c[1] + c[2] + c[3];
  }

 private:
  using Times = std::array<sim::Cycle, kDramCommands>;
  static constexpr std::uint16_t kNil = 0xffff;
  static constexpr std::uint32_t kClosed = ~std::uint32_t{0};

  struct Slot {
    sim::Cycle arrival;
    std::uint64_t sequence;
    std::uint32_t row, column;
    std::uint32_t token;
    std::uint16_t next, prev, bank;
    RowOutcome outcome;
  };
  struct List {
    std::uint16_t head = kNil, tail = kNil;
  };
  struct Rank {
    Times next{};
    sim::Cycle refresh_due = 0;
    std::uint64_t open_banks = 0;  // bit mask of the rank's banks
    unsigned same_bank = 0;        // bank that REFsb is due for
    std::uint32_t acts = 0;
    std::array<sim::Cycle, 4> act_times{};
  };
  struct Bank {
    Times next{};
    std::uint32_t open_row = kClosed;
    std::uint16_t candidate = kNil;
    DramCommand kind = DramCommand::kAct;
    std::uint8_t rank = 0, group = 0;  // group: over all ranks
    std::uint8_t closes = 1;           // adaptive page policy: 2 and 3 = close
    std::uint8_t group_in_rank = 0;
    std::uint32_t last_row = kClosed;
    Times* group_next = nullptr;  // of its bank group
    Rank* rank_state = nullptr;
    std::uint64_t bit = 0;  // in its rank's masks
    List list[2];           // reads, writes
  };
  static constexpr unsigned kFew = 4;
  struct Few {
    sim::Cycle arrival;
    std::uint64_t sequence;
    Bank* bank;
    std::uint32_t row, column, token;
    RowOutcome outcome;
    bool write;
  };
  struct Latencies {
    Times bank{}, group{}, rank{}, sibling{};
  };
  /// What a command delays at one level, by more than the command bus does, beside what apply() knows by
  /// itself.
  struct Delays {
    struct Delay {
      std::uint32_t following, latency;
    };
    std::array<Delay, kDramCommands> list;
    unsigned size = 0;
    void raise(Times& next, sim::Cycle now) const {
      for (unsigned i = 0; i < size; ++i)
        next[list[i].following] = std::max(next[list[i].following], now + list[i].latency);
    }
  };

  bool issue(sim::Cycle now);
  void issue_column(unsigned bank, sim::Cycle now);
  void issue_refresh(unsigned rank, sim::Cycle now);
  void make_up_refreshes(sim::Cycle now);
  void refresh_moved();
  sim::Cycle refresh_time(unsigned rank) const;
  DramCommand refresh_command(const Rank& rank) const;
  std::uint64_t refreshed_banks(const Rank& rank) const {
    return config_.same_bank_refresh ? same_bank_mask_ << rank.same_bank : ~std::uint64_t{0};
  }
  void apply(DramCommand command, unsigned rank, unsigned bank, sim::Cycle now);
  void apply_tables(DramCommand command, unsigned rank, unsigned bank, sim::Cycle now);
  template <DramCommand kCommand>
  void delay(Bank& bank, sim::Cycle now);
  void count(DramCommand command, const Bank& bank);
  void record(DramCommand command, const Bank& bank, sim::Cycle now, bool auto_precharge = false);
  void tell(DramCommand command, const Bank& bank, sim::Cycle now, bool auto_precharge);
  void choose(unsigned bank, sim::Cycle now);
  void set_candidate(unsigned bank, std::uint16_t slot, DramCommand kind);
  bool forward(const DramAddress& address, const Bank& bank, sim::Cycle now, std::uint32_t token);
  bool closes_row(const Bank& bank) const;
  void learn(Bank& bank, std::uint32_t row) const;
  void auto_precharge(Bank& bank);
  bool update_mode();
  void rechoose(sim::Cycle now);
  void enqueue_queued(sim::Cycle now, bool write, unsigned bank, const DramAddress& a, std::uint32_t token);
  [[gnu::always_inline]] inline bool joins_few(bool write, const Bank& bank, const DramAddress& a) const;
  void queue_few();
  [[gnu::always_inline]] inline void offer_few(unsigned i, sim::Cycle now);
  void choose_few(sim::Cycle now);
  template <DramCommand kCommand>
  [[gnu::always_inline]] inline void apply_few(Bank& bank, sim::Cycle now);
  template <DramCommand kCommand>
  [[gnu::always_inline]] inline void complete_few(sim::Cycle now);
  void fall_idle();
  bool issue_few(sim::Cycle now);
  bool issue_queued(sim::Cycle now);
  bool issue_due_refresh(sim::Cycle now);
  void put(bool write, const Slot& slot);
  /// Counts a burst whose column command is issued; who waits for its data is told when they end.
  void finish(bool write, const DramCompletion& burst) {
    ++(write ? counters_.writes : counters_.reads)[static_cast<unsigned>(burst.outcome)];
    if (write && !report_writes_) return;
    done_.push_back(burst);
    done_.back().end = burst.issue + (write ? timing_.cwl : timing_.cl) + timing_.data_cycles();
  }
  void schedule(sim::Cycle now);
  void schedule_refresh(sim::Cycle now);
  void choose_only(sim::Cycle now);
  [[gnu::always_inline]] inline void choose_among(sim::Cycle now);
  void complete(unsigned bank, sim::Cycle now);
  /// Column commands are of one kind: which of RD and WR are served is the channel's state.
  static constexpr unsigned kKinds = 3;
  /// The first candidate of a kind: the earliest, then the oldest.
  struct First {
    sim::Cycle time = kNone;
    std::uint64_t order = 0;
    unsigned bank = 0;
  };
  static constexpr unsigned bit_of(unsigned kind) { return 1u << kind; }
  bool blocked_by_refresh(const Bank& bank, sim::Cycle time) const;
  void offer(unsigned bank, unsigned kind);
  void find_first(unsigned kind, sim::Cycle from);
  /// kSimple: one rank, all-bank refresh.
  template <bool kSimple>
  void find_first_of(unsigned kind, sim::Cycle from);
  void compile_delays();

  DramTiming timing_;
  DramChannelConfig config_;
  unsigned banks_per_group_log2_, groups_per_rank_, banks_per_rank_;
  std::array<Latencies, kDramCommands> latency_{};
  unsigned tabled_ = 0;  // commands that have such a list, a bit each
  std::array<Delays, kDramCommands> in_bank_, in_group_, in_rank_, in_siblings_;
  unsigned faw_ = 0;
  std::uint64_t same_bank_mask_ = 0;  // bank 0 of every bank group
  unsigned refresh_interval_ = 0;

  std::vector<Bank> banks_;
  std::vector<Times> groups_;
  std::vector<Rank> ranks_;
  // Of each bank's candidate: when the bank itself allows its command, and its order.
  struct Ready {
    sim::Cycle time;
    std::uint64_t order;
    std::uint32_t group, rank;
  };
  std::vector<Ready> ready_;
  std::vector<std::uint64_t> active_[kKinds];  // banks that have a candidate of the kind, 64 a word
  std::vector<std::uint64_t> occupied_;        // banks that have a burst waiting
  std::array<First, kKinds> first_;
  unsigned known_ = 0;              // kinds whose first is known, a bit each
  sim::Cycle floor_[kKinds] = {};   // no command of the kind before this: the command bus, and the present
  unsigned bus_[kKinds];            // cycles from any command to one of the kind on the command bus
  sim::Cycle refresh_due_ = kNone;  // the first of the ranks
  std::array<std::uint8_t, kDramCommands> moves_{};  // kinds that a command delays by more than that
  std::vector<Slot> slots_;
  std::vector<std::uint16_t> free_slots_;
  Fifo<std::uint16_t> order_[2];  // fcfs: slots in order of arrival
  unsigned capacity_[2];
  unsigned waiting_[2] = {0, 0};
  bool draining_ = false;  // the queue that is served: false = reads
  std::uint64_t sequence_ = 0;
  sim::Cycle last_column_ = kNone;  // the last RD or WR
  bool last_column_write_ = false;
  sim::Cycle last_forward_ = kNone;  // and how many reads were answered by the write queue then
  unsigned forwards_ = 0;

  // The chosen next command.
  sim::Cycle next_time_ = kNone;
  std::uint64_t next_key_ = 0;       // order among those legal at next_time_: 0 = refresh
  unsigned next_bank_ = 0;           // or the rank to refresh
  sim::Cycle idle_refresh_ = kNone;  // next refresh command if nothing arrives

  Fifo<DramCompletion> done_;
  bool report_writes_ = false;
  DramCommandListener* listener_ = nullptr;
  Counters counters_;

  // A few bursts, no two of one direction for different rows of a bank, that came since none waited, in order of arrival:
  // they count in waiting_, but are in no list and no bank's candidate.
  unsigned few_ = 0;
  unsigned next_few_ = 0;  // whose turn it is, if it is not a refresh's, and its command
  DramCommand next_few_command_ = DramCommand::kAct;
  std::array<Few, kFew> few_bursts_;
};

}  // namespace mm
