// SPDX-License-Identifier: Apache-2.0
// The receive side behind the MAC: acceptance and drop rules, the packet buffer, descriptor use, payload
// TLPs, descriptor write-back. Source: 82576 datasheet 7.1 (receive), 8.10 (receive registers).
#pragma once
#include <array>
#include <span>
#include <utility>
#include <vector>

#include "nic/device/control_queue.h"
#include "nic/device/descriptor_queue.h"
#include "nic/device/interrupts.h"
#include "nic/device/packet_buffer.h"

namespace nic {

class RxEngine {
 public:
  RxEngine(Device& device, Interrupts& interrupts, ControlQueue& control, RxFilter& filter);

  /// A frame (without FCS) has arrived completely, from the wire (`link_up`: STATUS.LU) or by local loopback,
  /// which `exclude_pools` keeps away from its sender. Frames by loopback go to `only_pools`.
  void frame_arrived(std::span<const std::uint8_t> frame, bool link_up);
  void frame_looped(std::span<const std::uint8_t> frame, unsigned exclude_pools);

  /// Does what needs no TLP: chooses queues, drops, completes descriptors. True if anything changed.
  bool advance() {
    const bool packet = buffer_.front_ready() <= d_.now && !payload_open();
    return packet || (flush_mask_ | disabling_mask_) != 0 ? advance_work() : false;
  }
  /// The vector's message is about to leave: what its queues have used is written back before it.
  void flush_vector(unsigned vector);
  /// The next payload TLP, or null if none is ready.
  sim::Transaction* next_payload();
  bool payload_waiting() const { return active_ && segment_ < segments_ && d_.may_master(function_); }
  /// The next write-back TLP of a queue, or null if all is written. Sets `more` while there is more to write.
  sim::Transaction* next_write_back(unsigned queue, bool& more);
  /// Queues that may want to fetch, one bit each.
  std::uint32_t fetch_candidates() const { return fetch_candidates_; }
  void clear_fetch_candidate(unsigned queue) { fetch_candidates_ &= ~(1u << queue); }
  void clear_fetch_candidates() { fetch_candidates_ = 0; }
  void fetch_done(unsigned queue, std::uint32_t generation, std::uint32_t first, std::uint32_t count,
                  const std::uint8_t* data, bool failed);

  DescriptorQueue& queue(unsigned n) { return queues_[n]; }
  const DescriptorQueue& queue(unsigned n) const { return queues_[n]; }
  void write_tail(unsigned queue, std::uint16_t tail);
  void write_control(unsigned queue, std::uint32_t value);
  /// A register that may let things go on was written.
  void queue_changed(unsigned queue) {
    fetch_candidates_ |= 1u << queue;
    touched_ |= 1u << queue;
  }
  /// Bus mastering came back: what waited goes on.
  void mastering_resumed(unsigned queue) {
    queue_changed(queue);
    if (queues_[queue].unwritten() != 0) control_.write_back(queue, false);
  }
  /// Queues whose state changed since the last call, for the probes.
  std::uint32_t take_touched() { return std::exchange(touched_, 0); }

  void reset_queue(unsigned queue);
  /// Drops everything inside and resets all queues.
  void reset();

  sim::Cycle next_wakeup() const {
    sim::Cycle next = buffer_.front_ready();
    if (next <= d_.now) next = sim::kNeverCycle;  // it waits for something else
    if (flush_mask_ != 0) earliest(next, next_flush());
    return next;
  }
  bool busy() const { return !buffer_.empty() || active_; }
  const PacketBuffer& buffer() const { return buffer_; }
  /// Copies not yet delivered or dropped.
  std::uint64_t copies_inside() const { return copies_inside_; }

 private:
  struct Segment {
    std::uint64_t address = 0;
    std::uint32_t from = 0;  ///< offset in the frame as this queue sees it
    std::uint32_t bytes = 0;
  };

  /// Payload TLPs of the open descriptor are to be sent.
  bool payload_open() const { return active_ && descriptor_open_ && segment_ != segments_; }
  bool advance_work();
  inline FrameInfo parse(std::span<const std::uint8_t> frame) const;
  inline void accept(std::span<const std::uint8_t> frame, const RxDecision& decision, const FrameInfo& info,
              bool looped);
  void drop_frame(std::span<const std::uint8_t> frame, DropReason reason);
  inline void count_good(std::span<const std::uint8_t> frame);
  void drop_copy(unsigned queue, DropReason reason);
  inline void finish_copy();
  inline void finish_packet_if_done();
  inline bool start_copy();
  inline bool start_descriptor();
  inline void plan_split(const DescriptorQueue::Entry& e);
  inline void complete_descriptor();
  inline void write_back_format(DescriptorQueue::Entry& e, bool eop);
  void abort_copy(DropReason reason);
  std::uint32_t packet_buffer_bytes(unsigned queue) const;
  std::uint32_t descriptors_for(unsigned queue, std::uint32_t bytes) const;
  inline std::uint32_t copy_bytes(unsigned queue) const;
  std::uint32_t split_header_bytes(unsigned queue) const;
  inline void copy_out(std::uint32_t from, std::span<std::uint8_t> to);
  inline void after_consume(DescriptorQueue& q);
  void maybe_finish_disable(DescriptorQueue& q);
  void flush_due();
  sim::Cycle next_flush() const;
  void lose_descriptors(DescriptorQueue& q, std::uint32_t count);

  Device& d_;
  Interrupts& irq_;
  ControlQueue& control_;
  RxFilter& filter_;
  std::vector<DescriptorQueue> queues_;
  PacketBuffer buffer_;
  std::uint32_t fetch_candidates_ = 0;
  std::uint32_t touched_ = 0;
  std::uint32_t flush_mask_ = 0;  // used descriptors below WTHRESH wait for flush_at_
  std::uint32_t disabling_mask_ = 0;
  std::array<sim::Cycle, kQueues> flush_at_{};
  std::uint64_t serial_ = 0;
  std::uint64_t copies_inside_ = 0;

  // The copy being written: front packet, one queue.
  bool active_ = false;
  unsigned queue_ = 0;
  FunctionIndex function_ = kPf;
  bool strip_ = false;
  std::uint32_t total_ = 0;     // bytes of this copy
  std::uint32_t position_ = 0;  // bytes placed by completed descriptors
  bool descriptor_open_ = false;
  bool first_descriptor_ = true;
  std::array<Segment, 3> segments_array_{};
  unsigned segments_ = 0, segment_ = 0;
  std::uint32_t segment_done_ = 0;
  // Write-back values of the open descriptor.
  std::uint32_t wb_packet_bytes_ = 0, wb_header_bytes_ = 0;
  bool wb_split_ = false, wb_header_overflow_ = false;
  std::uint32_t consumed_by_descriptor_ = 0;
};

}  // namespace nic
