// SPDX-License-Identifier: Apache-2.0
// What the device counts about itself, beside the chip's statistics registers: conservation of frames and
// copies, and what went over the link. Never reset by software.
#pragma once
#include <array>
#include <cstdint>

#include "nic/device/trace.h"

namespace nic {

struct NicStats {
  // Receive. frames_arrived = frames_delivered + sum(frames_dropped) + frames still inside.
  std::uint64_t frames_arrived = 0;    ///< from the wire or by local loopback
  std::uint64_t frames_delivered = 0;  ///< at least one copy reached a host buffer
  std::array<std::uint64_t, static_cast<std::size_t>(DropReason::kCount)> frames_dropped{};
  std::uint64_t bytes_delivered = 0;  ///< payload bytes of delivered copies
  // Copies: one per pool that a frame is for. copies_made = copies_delivered + sum(copies_dropped) + inside.
  std::uint64_t copies_made = 0;
  std::uint64_t copies_delivered = 0;
  std::array<std::uint64_t, static_cast<std::size_t>(DropReason::kCount)> copies_dropped{};
  // Transmit. tx_frames_started = tx_frames_sent + tx_frames_dropped.
  std::uint64_t tx_frames_sent = 0;
  std::uint64_t tx_frames_dropped = 0;  ///< malformed, gated, failed reads, resets
  std::uint64_t tx_frames_looped = 0;   ///< VM-to-VM copies
  // The link.
  std::uint64_t tlps_written = 0;
  std::uint64_t tlps_read = 0;
  std::uint64_t bytes_written = 0;
  std::uint64_t bytes_read = 0;
  std::uint64_t descriptor_fetches = 0;
  std::uint64_t descriptors_fetched = 0;
  std::uint64_t write_backs = 0;
  std::uint64_t descriptors_written_back = 0;
  std::uint64_t interrupts = 0;
  std::uint64_t interrupts_lost = 0;  ///< no bus mastering or MSI-X off when due
  std::uint64_t reads_failed = 0;

  std::uint64_t total_frames_dropped() const {
    std::uint64_t sum = 0;
    for (auto n : frames_dropped) sum += n;
    return sum;
  }
  std::uint64_t total_copies_dropped() const {
    std::uint64_t sum = 0;
    for (auto n : copies_dropped) sum += n;
    return sum;
  }
};

}  // namespace nic
