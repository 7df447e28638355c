// SPDX-License-Identifier: Apache-2.0
// Parameters of the modelled 82576. The programming interface is the chip's; rates, depths and latencies are
// parameters so that 10, 25 and 100 Gb/s profiles can be studied with the same driver.
#pragma once
#include <array>
#include <cstdint>
#include <string>

#include "sim/clock.h"
#include "sim/types.h"

namespace nic {

struct NicConfig {
  /// Core clock of the device; all latencies below are in its cycles.
  std::uint64_t clock_hz = 250'000'000;
  /// MAC rate, bits per second; 1, 10, 25 or 100 Gb/s.
  std::uint64_t wire_bits_per_second = 10'000'000'000;
  /// Frames that may wait on the wire in front of the MAC before the sender is held back (1..256).
  std::uint32_t wire_queue_frames = 16;

  /// Descriptors held on chip per queue, fetched or used but not written back (8..256) [82576: 64].
  std::uint32_t descriptor_cache_depth = 64;
  /// Largest descriptor fetch, bytes: a multiple of 16, power of two (64..512).
  std::uint32_t descriptor_fetch_bytes = 128;
  /// RX packet buffer, bytes (8 KiB..1 MiB) [82576: RXPBS = 64 KiB].
  std::uint32_t packet_buffer_bytes = 64 * 1024;

  /// Largest payload the device supports, DevCap.MPS (128, 256, 512, 1024, 2048 or 4096) [82576: 512].
  std::uint32_t max_payload_bytes = 512;
  /// DevCtl.MPS and DevCtl.MRRS after reset; firmware or the OS may change them. Powers of two, 128..4096.
  std::uint32_t reset_payload_bytes = 128;
  std::uint32_t reset_read_request_bytes = 512;
  /// Memory reads in flight at a time (1..256).
  std::uint32_t outstanding_reads = 16;
  /// Internal data path to the PCIe core, bytes per cycle (8..256).
  std::uint32_t datapath_bytes_per_cycle = 64;

  /// SR-IOV TotalVFs (0..8).
  std::uint32_t total_vfs = 8;
  /// Requester id of the PF; VF n is at +0x80 + 2n (First VF Offset, VF Stride).
  sim::RequesterId pf_requester{0x100};
  std::array<std::uint8_t, 6> mac_address{0x52, 0x54, 0x00, 0x12, 0x34, 0x56};
  /// Cable present and link already up at reset (false: the driver must negotiate through the PHY).
  bool link_up_at_reset = true;

  /// End of frame to first data TLP: parsing, filtering, hashing.
  std::uint32_t rx_filter_cycles = 20;
  /// Completion of a descriptor fetch to the descriptors' use.
  std::uint32_t descriptor_decode_cycles = 4;
  /// Cause to MSI-X TLP.
  std::uint32_t interrupt_cycles = 8;
  /// Register read or write inside the device.
  std::uint32_t register_cycles = 6;
  /// All data of a packet on chip to its first bit on the wire.
  std::uint32_t tx_pipeline_cycles = 20;
  /// PHY auto-negotiation after a restart.
  std::uint64_t autonegotiation_us = 500'000;

  /// Cycle-level description of a 1, 10, 25 or 100 Gb/s device: sets the wire rate and a data path that keeps
  /// up.
  static NicConfig profile(std::uint64_t gigabits_per_second);
  /// Throws sim::Error naming the field.
  void validate() const;

  sim::Clock clock() const { return sim::Clock::from_hz(clock_hz); }
};

}  // namespace nic
