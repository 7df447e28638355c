// SPDX-License-Identifier: Apache-2.0
// The on-chip side of one descriptor ring, receive or transmit: which descriptors the host has posted, which
// the device has asked for, holds, has used, and has written back.
//
// Four free-running counters, written <= used <= fetched <= requested, cut the descriptors held on chip:
//   [written, used)      used, waiting for their write-back
//   [used, fetched)      valid: on chip, ready for use (their buffers' addresses are now the device's)
//   [fetched, requested) asked for, still on the way
// Source: 82576 datasheet 7.1.4 (receive descriptor fetch and write-back), 7.2.2 (transmit).
#pragma once
#include <algorithm>
#include <cstdint>
#include <vector>

#include "nic/device/register_file.h"
#include "sim/error.h"

namespace nic {

class DescriptorQueue {
 public:
  struct Entry {
    std::uint64_t qw0 = 0;
    std::uint64_t qw1 = 0;
    std::uint32_t index = 0;  ///< in the ring
    bool arrived = false;
    bool report = false;  ///< its write-back raises the queue's interrupt cause (RX: EOP, TX: RS)
  };
  struct Fetch {
    std::uint64_t address;
    std::uint32_t count;  ///< 0: nothing to fetch now
    std::uint32_t first;  ///< counter of the first
    bool demand;          ///< the device has no valid descriptor left
  };
  struct WriteBackRun {
    std::uint32_t first;  ///< counter
    std::uint32_t count;
  };

  DescriptorQueue(RegisterFile& regs, unsigned index, bool transmit, std::uint32_t depth);

  // The ring as software programmed it.
  std::uint64_t base() const {
    return regs_[base_reg_] | static_cast<std::uint64_t>(regs_[base_reg_ + 4]) << 32;
  }
  std::uint32_t ring_size() const { return regs_[base_reg_ + 0x08] / 16; }
  std::uint32_t control() const { return regs_[base_reg_ + 0x28]; }
  std::uint64_t address_of(std::uint32_t ring_index) const { return base() + 16ull * ring_index; }

  /// Posted by software, not yet asked for. A tail beyond the ring posts nothing.
  std::uint32_t posted() const {
    const std::uint32_t n = ring_size();
    if (tail_ >= n || fetch_index_ >= n) return 0;
    return tail_ >= fetch_index_ ? tail_ - fetch_index_ : tail_ + n - fetch_index_;
  }
  std::uint32_t on_chip() const { return requested_ - written_; }
  std::uint32_t valid() const { return fetched_ - used_; }
  std::uint32_t on_the_way() const { return requested_ - fetched_; }
  std::uint32_t unwritten() const { return used_ - written_; }
  std::uint32_t available() const { return requested_ - used_ + posted(); }
  bool full() const { return on_chip() == depth_; }
  /// Free for the hardware: what RDMTS compares.
  std::uint32_t free_descriptors() const { return requested_ - written_ + posted(); }

  /// Whether next_fetch() would ask for any.
  bool may_fetch() const {
    if (!accepts_work() || full()) return false;
    const std::uint32_t held = requested_ - used_;
    const std::uint32_t ctl = control();
    if (held != 0 && held >= dctl::pthresh(ctl)) return false;
    const std::uint32_t host = posted();
    return host != 0 && (held == 0 || host >= dctl::hthresh(ctl));
  }
  /// What PTHRESH, HTHRESH, the cache and the burst rules allow to fetch now.
  /// Both sizes are powers of two.
  Fetch next_fetch(std::uint32_t burst_bytes, std::uint32_t read_request_bytes) const;
  void fetch_issued(const Fetch& fetch);
  /// Data of a fetch. Returns false for an answer to a question from before a reset of the queue.
  bool fetch_arrived(std::uint32_t generation, std::uint32_t first, std::uint32_t count,
                     const std::uint8_t* data);
  void fetch_failed(std::uint32_t generation);

  /// Oldest valid descriptor; valid() > 0.
  Entry& front() { return cache_[used_ & mask_]; }
  void consume() { ++used_; }
  Entry& entry(std::uint32_t counter) { return cache_[counter & mask_]; }
  const Entry& entry(std::uint32_t counter) const { return cache_[counter & mask_]; }
  std::uint32_t written_counter() const { return written_; }
  std::uint32_t used_counter() const { return used_; }
  std::uint32_t requested_counter() const { return requested_; }

  /// Used descriptors, contiguous in the ring, that fit one TLP ending on a line of `line_bytes` (a power of
  /// two) at most.
  WriteBackRun next_write_back(std::uint32_t line_bytes) const {
    const std::uint32_t waiting = unwritten();
    if (waiting == 0) return {written_, 0};
    const Entry& first = cache_[written_ & mask_];
    const std::uint64_t in_line = address_of(first.index) & (line_bytes - 1);
    const auto to_line_end = static_cast<std::uint32_t>(line_bytes - in_line) / 16;
    const std::uint32_t most = std::min(waiting, std::max(to_line_end, 1u));
    std::uint32_t count = 1;
    while (count < most && cache_[(written_ + count) & mask_].index == first.index + count) ++count;
    return {written_, count};
  }
  /// Moves head past the first `count` used descriptors.
  void written_back(std::uint32_t count) {
    POOLSIM_ASSERT(count <= unwritten());
    const std::uint32_t last = cache_[(written_ + count - 1) & mask_].index;
    written_ += count;
    regs_[base_reg_ + 0x10] = last + 1 >= ring_size() ? 0 : last + 1;
  }

  void write_tail(std::uint16_t tail);
  void write_head(std::uint16_t head);
  std::uint16_t tail() const { return static_cast<std::uint16_t>(tail_); }
  std::uint16_t head() const { return static_cast<std::uint16_t>(regs_[base_reg_ + 0x10]); }

  bool enabled() const { return enabled_; }
  bool accepts_work() const { return enabled_ && !disabling_ && !stopped_; }
  bool disabling() const { return disabling_; }
  bool stopped() const { return stopped_; }
  std::uint32_t generation() const { return generation_; }
  unsigned reads_in_flight() const { return reads_in_flight_; }

  void enable();
  /// ENABLE was cleared: no new work; finish_disable() when what is under way is done.
  void begin_disable();
  /// ENABLE reads 0 from now on. Returns how many valid descriptors were forgotten.
  std::uint32_t finish_disable();
  void stop() { stopped_ = true; }
  /// Follows the reset value of RXDCTL/TXDCTL in the register file. Returns how many valid ones were
  /// forgotten.
  std::uint32_t reset();

  unsigned index() const { return index_; }
  bool transmit() const { return transmit_; }

 private:
  std::uint32_t forget();

  RegisterFile& regs_;
  unsigned index_;
  bool transmit_;
  std::uint32_t base_reg_;
  std::uint32_t depth_;
  std::uint32_t mask_;
  std::vector<Entry> cache_;
  std::uint32_t written_ = 0, used_ = 0, fetched_ = 0, requested_ = 0;
  std::uint32_t fetch_index_ = 0;
  std::uint32_t tail_ = 0;
  std::uint32_t generation_ = 0;
  unsigned reads_in_flight_ = 0;  // of this generation
  bool enabled_ = false;
  bool disabling_ = false;
  bool stopped_ = false;
};

}  // namespace nic
