// SPDX-License-Identifier: Apache-2.0
#include "nic/device/config.h"

#include <bit>

#include "sim/error.h"

namespace nic {
namespace {

void check_range(const char* field, std::uint64_t value, std::uint64_t low, std::uint64_t high) {
  if (value < low || value > high) {
    throw sim::Error(fmt::format("nic.{}: {} is not within {}..{}", field, value, low, high));
  }
}

void check_power_of_two(const char* field, std::uint64_t value, std::uint64_t low, std::uint64_t high) {
  check_range(field, value, low, high);
  if (!std::has_single_bit(value))
    throw sim::Error(fmt::format("nic.{}: {} is not a power of two", field, value));
}

}  // namespace

NicConfig NicConfig::profile(std::uint64_t gigabits_per_second) {
  NicConfig c;
  c.wire_bits_per_second = gigabits_per_second * 1'000'000'000;
  c.datapath_bytes_per_cycle = gigabits_per_second >= 100 ? 128 : 64;
  if (gigabits_per_second >= 25) {
    c.outstanding_reads = 64;
    c.packet_buffer_bytes = 256 * 1024;
    c.descriptor_cache_depth = 128;
  }
  c.validate();
  return c;
}

void NicConfig::validate() const {
  check_range("clock_hz", clock_hz, 1'000'000, 10'000'000'000);
  const auto gigabits = wire_bits_per_second / 1'000'000'000;
  if (wire_bits_per_second % 1'000'000'000 != 0 ||
      (gigabits != 1 && gigabits != 10 && gigabits != 25 && gigabits != 100)) {
    throw sim::Error(
        fmt::format("nic.wire_bits_per_second: {} is not 1, 10, 25 or 100 Gb/s", wire_bits_per_second));
  }
  check_range("wire_queue_frames", wire_queue_frames, 1, 256);
  check_power_of_two("descriptor_cache_depth", descriptor_cache_depth, 8, 256);
  check_power_of_two("descriptor_fetch_bytes", descriptor_fetch_bytes, 64, 512);
  check_range("packet_buffer_bytes", packet_buffer_bytes, 8 * 1024, 1024 * 1024);
  check_power_of_two("max_payload_bytes", max_payload_bytes, 128, 4096);
  check_power_of_two("reset_payload_bytes", reset_payload_bytes, 128, 4096);
  if (reset_payload_bytes > max_payload_bytes) {
    throw sim::Error(fmt::format("nic.reset_payload_bytes: {} is more than nic.max_payload_bytes ({})",
                                 reset_payload_bytes, max_payload_bytes));
  }
  check_power_of_two("reset_read_request_bytes", reset_read_request_bytes, 128, 4096);
  check_range("outstanding_reads", outstanding_reads, 1, 256);
  check_range("datapath_bytes_per_cycle", datapath_bytes_per_cycle, 8, 256);
  check_range("total_vfs", total_vfs, 0, 8);
  check_range("pf_requester", pf_requester.value, 0, 0xFF7F - 0x80);
  check_range("rx_filter_cycles", rx_filter_cycles, 1, 100'000);
  check_range("descriptor_decode_cycles", descriptor_decode_cycles, 1, 100'000);
  check_range("interrupt_cycles", interrupt_cycles, 1, 100'000);
  check_range("register_cycles", register_cycles, 1, 100'000);
  check_range("tx_pipeline_cycles", tx_pipeline_cycles, 1, 100'000);
  check_range("autonegotiation_us", autonegotiation_us, 1, 10'000'000);
  if ((mac_address[0] & 1) != 0) throw sim::Error("nic.mac_address: is a multicast address");
}

}  // namespace nic
