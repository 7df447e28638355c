// SPDX-License-Identifier: Apache-2.0
// The RX packet buffer: frames in order of arrival, their bytes in on-chip memory of limited size.
#pragma once
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "nic/device/rx_filter.h"

namespace nic {

struct RxPacket {
  std::uint64_t serial = 0;
  sim::Cycle ready = 0;         ///< may leave from this cycle on
  std::uint32_t offset = 0;     ///< into the storage
  std::uint32_t bytes = 0;      ///< without FCS; the FCS is stored behind if some queue keeps it
  std::uint32_t occupancy = 0;  ///< of the buffer
  std::uint16_t checksum = 0;   ///< RXCSUM.PCSD = 0: packet or fragment checksum
  std::uint32_t status = 0;     ///< descriptor status and error bits common to all copies
  RxDecision decision;          ///< queues: those still to be served
  FrameInfo info;
  DropReason last_drop = DropReason::kAddressFilter;
  bool delivered = false;  ///< some copy was
  bool counted_no_buffer = false;
};

class PacketBuffer {
 public:
  static constexpr std::uint32_t kFcsBytes = 4;

  /// `capacity_bytes` is what occupies(); the storage is larger so that a frame never wraps.
  explicit PacketBuffer(std::uint32_t capacity_bytes)
      : capacity_(capacity_bytes),
        places_(capacity_bytes / kGranule + 1),
        storage_(3 * capacity_bytes),
        packets_(places_) {}

  static std::uint32_t occupies(std::size_t frame_bytes) {
    const auto with_fcs = static_cast<std::uint32_t>(frame_bytes) + kFcsBytes;
    return (with_fcs + kGranule - 1) / kGranule * kGranule;
  }

  bool empty() const { return count_ == 0; }
  std::uint32_t frames() const { return count_; }
  std::uint32_t occupied() const { return occupied_; }
  bool fits(std::size_t frame_bytes) const { return occupied_ + occupies(frame_bytes) <= capacity_; }

  /// Room for the frame; the caller fills serial, status, decision and info. fits() first.
  RxPacket& push(std::span<const std::uint8_t> frame, sim::Cycle ready) {
    const std::uint32_t size = occupies(frame.size());
    if (write_ + size > storage_.size()) write_ = 0;
    if (!frame.empty()) std::memcpy(storage_.data() + write_, frame.data(), frame.size());
    const std::size_t place = first_ + count_;
    RxPacket& p = packets_[place < places_ ? place : place - places_];
    p.ready = ready;
    if (count_ == 0) front_ready_ = ready;
    p.offset = write_;
    p.bytes = static_cast<std::uint32_t>(frame.size());
    p.occupancy = size;
    p.checksum = 0;
    p.last_drop = DropReason::kAddressFilter;
    p.delivered = p.counted_no_buffer = false;
    write_ += size;
    occupied_ += size;
    ++count_;
    return p;
  }
  RxPacket& front() { return packets_[first_]; }
  const RxPacket& front() const { return packets_[first_]; }
  void pop() {
    occupied_ -= front().occupancy;
    if (++first_ == places_) first_ = 0;
    --count_;
    front_ready_ = count_ != 0 ? front().ready : sim::kNeverCycle;
  }
  /// From when on the front packet may leave; kNeverCycle without one.
  sim::Cycle front_ready() const { return front_ready_; }
  std::uint8_t* data(const RxPacket& p) { return storage_.data() + p.offset; }

 private:
  static constexpr std::uint32_t kGranule = 64;
  std::uint32_t capacity_;
  std::uint32_t occupied_ = 0;
  std::uint32_t write_ = 0;
  std::size_t places_;  // for packets
  std::vector<std::uint8_t> storage_;
  std::vector<RxPacket> packets_;
  std::size_t first_ = 0;
  std::uint32_t count_ = 0;
  sim::Cycle front_ready_ = sim::kNeverCycle;
};

}  // namespace nic
