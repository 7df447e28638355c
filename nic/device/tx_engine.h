// SPDX-License-Identifier: Apache-2.0
// The transmit side: descriptor use, data fetch, offloads, the wire, write-back, VM-to-VM switching.
// One packet is gathered at a time; the queues take turns packet by packet.
// Source: 82576 datasheet 7.2 (transmit), 7.10.3.6 (VM-to-VM switching).
#pragma once
#include <array>
#include <functional>
#include <span>
#include <vector>

#include "nic/device/rx_engine.h"
#include "nic/device/tx_offload.h"

namespace nic {

class TxEngine {
 public:
  /// `send` puts a frame on the wire now.
  using Send = std::function<void(std::span<const std::uint8_t>)>;

  TxEngine(Device& device, Interrupts& interrupts, ControlQueue& control, RxEngine& rx, RxFilter& filter,
           Send send);

  /// Whether advance() may find something to do.
  bool has_work() const { return state_ != State::kIdle || (work_ | flush_mask_ | disabling_mask_) != 0; }
  /// Does what needs no TLP. True if anything changed.
  bool advance(bool link_up);
  /// The vector's message is about to leave: what its queues have used is written back before it.
  void flush_vector(unsigned vector);
  /// The next data read (address, bytes, offset in the packet) if one is wanted.
  struct DataRead {
    std::uint64_t address;
    std::uint32_t bytes;
    std::uint32_t offset;
  };
  bool data_read_waiting() const { return range_bytes_ != 0 && d_.may_master(function_); }
  DataRead take_data_read();
  unsigned data_queue() const { return queue_; }
  FunctionIndex data_function() const { return function_; }
  std::uint32_t packet_generation() const { return packet_generation_; }
  void data_arrived(std::uint32_t packet_generation, std::uint32_t offset, std::span<const std::uint8_t> data,
                    bool failed);

  sim::Transaction* next_write_back(unsigned queue, bool& more);
  std::uint32_t fetch_candidates() const { return fetch_candidates_; }
  void clear_fetch_candidate(unsigned queue) { fetch_candidates_ &= ~(1u << queue); }
  void clear_fetch_candidates() { fetch_candidates_ = 0; }
  void fetch_done(unsigned queue, std::uint32_t generation, std::uint32_t first, std::uint32_t count,
                  const std::uint8_t* data, bool failed);

  DescriptorQueue& queue(unsigned n) { return queues_[n]; }
  const DescriptorQueue& queue(unsigned n) const { return queues_[n]; }
  void write_tail(unsigned queue, std::uint16_t tail);
  void write_control(unsigned queue, std::uint32_t value);
  void queue_changed(unsigned queue) {
    fetch_candidates_ |= 1u << queue;
    work_ |= 1u << queue;
  }
  void mastering_resumed(unsigned queue) {
    queue_changed(queue);
    if (queues_[queue].unwritten() != 0) control_.write_back(queue, true);
  }
  void reset_queue(unsigned queue);
  void reset();

  sim::Cycle next_wakeup() const {
    return state_ == State::kEmit || flush_mask_ != 0 ? next_due() : sim::kNeverCycle;
  }
  bool busy() const { return state_ != State::kIdle; }

 private:
  enum class State : std::uint8_t { kIdle, kGather, kEmit };
  struct Context {
    std::uint32_t dw0 = 0, dw2 = 0, dw3 = 0;
  };

  sim::Cycle next_due() const;
  bool may_send(unsigned queue) const;
  bool pick_queue();
  bool take_descriptor();
  void take_data(DescriptorQueue::Entry& e);
  void take_options(std::uint32_t dw2, std::uint32_t dw3);
  void gathered();
  void emit_frame();
  void switch_frame(std::span<const std::uint8_t> frame);
  bool spoofed(std::span<const std::uint8_t> frame);
  void count_sent(std::span<const std::uint8_t> frame);
  void mark_done();
  void packet_over();
  void drop_packet();
  void maybe_finish_disable(DescriptorQueue& q);
  void flush_due();

  Device& d_;
  Interrupts& irq_;
  ControlQueue& control_;
  RxEngine& rx_;
  RxFilter& filter_;
  Send send_;
  std::vector<DescriptorQueue> queues_;
  std::array<std::array<Context, 2>, kQueues> contexts_{};
  std::uint32_t fetch_candidates_ = 0;
  std::uint32_t work_ = 0;  // queues that may have valid descriptors
  std::uint32_t disabling_mask_ = 0;
  std::uint32_t flush_mask_ = 0;
  std::array<sim::Cycle, kQueues> flush_at_{};
  unsigned next_queue_ = 0;

  State state_ = State::kIdle;
  unsigned queue_ = 0;
  FunctionIndex function_ = kPf;
  std::uint32_t packet_generation_ = 0;
  std::vector<std::uint8_t> packet_;
  std::vector<std::uint8_t> frame_;
  std::size_t packet_bytes_ = 0;
  std::uint64_t range_address_ = 0;
  std::uint32_t range_bytes_ = 0;  // of the descriptor being read
  unsigned reads_in_flight_ = 0;
  bool options_known_ = false;
  bool eop_ = false;
  bool broken_ = false;
  TxOffload offload_;
  std::uint32_t frames_ = 0, frame_index_ = 0;
  sim::Cycle emit_at_ = 0;
  sim::Tick wire_free_ = 0;
};

}  // namespace nic
