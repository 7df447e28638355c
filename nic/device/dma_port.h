// SPDX-License-Identifier: Apache-2.0
// The PCIe core's transaction side: one TLP at a time over the internal data path, posted order kept, reads
// with tags. Order of choice: write-backs and messages, packet data, then reads (demand fetches and transmit
// data before prefetches); after some posted TLPs in a row a waiting read gets its turn.
#pragma once
#include <bit>
#include <cstdint>
#include <functional>
#include <vector>

#include "nic/device/tx_engine.h"

namespace nic {

class DmaPort {
 public:
  /// Hands a request to the link. TLM_COMPLETED: a posted write is done with; TLM_UPDATED: its answer comes
  /// later; TLM_ACCEPTED: so, and the link takes no more until unblock().
  using Send = std::function<tlm::tlm_sync_enum(sim::Transaction&)>;

  DmaPort(Device& device, Interrupts& interrupts, ControlQueue& control, RxEngine& rx, TxEngine& tx,
          Send send);

  /// Issues at most one TLP. True if one left.
  bool issue() {
    return blocked_ || path_free_ > d_.now || !(posted_waiting() || read_wanted()) ? false : issue_next();
  }
  /// The link has room again (END_REQ).
  void unblock() { blocked_ = false; }
  bool blocked() const { return blocked_; }

  /// A read has been answered: hands its data to who asked. Releases the transaction.
  void completed(sim::Transaction& transaction);

  /// To be asked at the end of each tick. Queues that may want to fetch, but have nothing to fetch, are no
  /// reason for a tick, which would only strike them off: catch_up() does it before anything else can change
  /// them.
  sim::Cycle next_wakeup() {
    look_at_ = sim::kNeverCycle;
    if (!waits_for_path()) return sim::kNeverCycle;
    if (posted_waiting() || tx_.data_read_waiting() || fetch_possible()) return path_free_;
    look_at_ = path_free_;
    return sim::kNeverCycle;
  }
  /// Does what the tick that next_wakeup() saved would have done, if its cycle is over at the beginning of
  /// `now`.
  void catch_up(sim::Cycle now) {
    if (look_at_ < now) strike_off();
  }
  /// Something may leave once the data path is free: not idle. `now` is the cycle that begins next.
  bool waits(sim::Cycle now) const { return waits_for_path() && look_at_ >= now; }
  /// Write-backs, messages or packet data wait to leave.
  bool posted_waiting() const { return !control_.empty() || rx_.payload_waiting(); }
  unsigned reads_outstanding() const { return reads_outstanding_; }
  unsigned reads_outstanding(FunctionIndex f) const { return reads_of_function_[f]; }
  /// What a read was for, by its transaction's user word.
  static constexpr unsigned kUserSlot = 0;

 private:
  enum class ReadKind : std::uint8_t { kRxFetch, kTxFetch, kTxData };
  struct Read {
    ReadKind kind = ReadKind::kRxFetch;
    std::uint8_t queue = 0;
    FunctionIndex function = kPf;
    std::uint32_t generation = 0;
    std::uint32_t first = 0;  ///< counter of the first descriptor, or offset in the packet
    std::uint32_t count = 0;
  };

  bool issue_next();
  inline sim::Transaction* next_posted();
  inline sim::Transaction* next_read();
  struct FetchChoice {
    bool transmit = false;
    unsigned queue = 0;
    DescriptorQueue::Fetch fetch{};
  };
  inline FetchChoice choose_fetch();
  inline sim::Transaction* make_fetch(const FetchChoice& choice);
  inline sim::Transaction* make_read(const Read& read, std::uint64_t address, std::uint32_t bytes);
  sim::Transaction* make_message(FunctionIndex function, unsigned entry);
  bool read_wanted() const {
    return !free_slots_.empty() &&
           (rx_.fetch_candidates() != 0 || tx_.fetch_candidates() != 0 || tx_.data_read_waiting());
  }
  bool waits_for_path() const {
    return !blocked_ && path_free_ > d_.now && (posted_waiting() || read_wanted());
  }
  bool fetch_possible() const {
    for (std::uint32_t m = rx_.fetch_candidates(); m != 0; m &= m - 1) {
      if (rx_.queue(static_cast<unsigned>(std::countr_zero(m))).may_fetch()) return true;
    }
    for (std::uint32_t m = tx_.fetch_candidates(); m != 0; m &= m - 1) {
      if (tx_.queue(static_cast<unsigned>(std::countr_zero(m))).may_fetch()) return true;
    }
    return false;
  }
  /// Whether next_read() may find one. The usual case is that it does not: queues that have used a descriptor
  /// and hold enough others.
  bool read_ready() {
    if (!read_wanted()) return false;
    if (fetch_possible()) return true;
    strike_off();
    return tx_.data_read_waiting();
  }
  /// None of the candidates has anything to fetch.
  void strike_off() {
    look_at_ = sim::kNeverCycle;
    rx_.clear_fetch_candidates();
    tx_.clear_fetch_candidates();
  }
  inline void hand_over(sim::Transaction& transaction);

  Device& d_;
  Interrupts& irq_;
  ControlQueue& control_;
  RxEngine& rx_;
  TxEngine& tx_;
  Send send_;
  bool blocked_ = false;
  sim::Cycle path_free_ = 0;
  sim::Cycle look_at_ =
      sim::kNeverCycle;  // the candidates, none of which has anything to fetch, are struck off
  unsigned posted_in_a_row_ = 0;
  std::vector<Read> reads_;
  std::vector<std::uint16_t> free_slots_;
  unsigned reads_outstanding_ = 0;
  std::array<unsigned, kFunctions> reads_of_function_{};
  unsigned next_queue_ = 0;
};

}  // namespace nic
