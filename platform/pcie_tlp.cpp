// SPDX-License-Identifier: Apache-2.0
#include "platform/pcie_tlp.h"

#include <bit>
#include <initializer_list>

#include "sim/error.h"

namespace platform {
namespace {

void expect(bool ok, const char* field, std::uint64_t value, const char* allowed) {
  if (!ok) throw sim::Error(fmt::format("link.{}: {} is not possible ({})", field, value, allowed));
}

bool one_of(unsigned value, std::initializer_list<unsigned> allowed) {
  for (unsigned a : allowed) {
    if (a == value) return true;
  }
  return false;
}

bool power_of_two_in(unsigned value, unsigned low, unsigned high) {
  return value >= low && value <= high && std::has_single_bit(value);
}

unsigned per_tlp(const PcieLinkConfig& link) { return kFramingBytes + (link.ecrc ? 4 : 0); }

std::uint64_t padded(const PcieLinkConfig& link, std::uint64_t bytes) {
  return link.pad_to_dword ? (bytes + 3) & ~std::uint64_t{3} : bytes;
}

}  // namespace

void PcieLinkConfig::validate() const {
  expect(generation >= 1 && generation <= 5, "generation", generation, "1 to 5");
  expect(one_of(width, {1, 2, 4, 8, 12, 16, 32}), "width", width, "1, 2, 4, 8, 12, 16 or 32 lanes");
  expect(power_of_two_in(max_payload_bytes, 128, 4096), "max_payload", max_payload_bytes,
         "a power of two, 128 to 4096 bytes");
  expect(power_of_two_in(max_read_request_bytes, 128, 4096), "max_read_request", max_read_request_bytes,
         "a power of two, 128 to 4096 bytes");
  expect(one_of(read_completion_boundary_bytes, {64, 128}), "read_completion_boundary",
         read_completion_boundary_bytes, "64 or 128 bytes");
  expect(one_of(tags, {32, 256, 768}), "tags", tags, "32, 256 or 768");
  for (const auto& [name, credits] : {std::pair("root_credits", &root_credits), std::pair("device_credits", &device_credits)}) {
    // A TLP of the largest payload must fit, or nothing would ever leave (specification, table 2-43).
    const unsigned most = data_credits(max_payload_bytes);
    const auto data = [side = name](const char* kind, unsigned units, unsigned least) {
      if (units != 0 && units < least) {
        throw sim::Error(fmt::format("link.{}.{}: {} is too few (0 = infinite, else at least {}: the largest payload)",
                                     side, kind, units, least));
      }
    };
    data("posted_data", credits->posted_data, most);
    data("completion_data", credits->completion_data, most);
  }
  expect(receive_buffer_requests >= 1, "receive_buffer", receive_buffer_requests, "at least 1 request");
}

double raw_bits_per_second(const PcieLinkConfig& link) {
  static constexpr double kTransfers[] = {2.5e9, 5e9, 8e9, 16e9, 32e9};
  const double coding = link.generation <= 2 ? 8.0 / 10.0 : 128.0 / 130.0;
  return kTransfers[link.generation - 1] * coding * link.width;
}

unsigned ack_latency_limit(const PcieLinkConfig& link) {
  // (MPS + TLP overhead) * AckFactor / width + internal delay; factor and delay from the tables of the
  // specification (times ten, to stay with integers). Generations 4 and 5 keep the delay of generation 3.
  const bool short_payload = link.max_payload_bytes <= 256;
  unsigned factor10;
  if (link.width <= 4) {
    factor10 = short_payload ? 14 : 10;
  } else if (link.width == 8) {
    factor10 = short_payload ? 25 : 10;
  } else {
    factor10 = short_payload ? 30 : 20;
  }
  const unsigned internal_delay = link.generation == 1 ? 19 : link.generation == 2 ? 70 : 115;
  return (link.max_payload_bytes + 28) * factor10 / (10 * link.width) + internal_delay;
}

double tlp_bits_per_second(const PcieLinkConfig& link) {
  const double raw = raw_bits_per_second(link);
  if (!link.dllp_overhead) return raw;
  const double limit = ack_latency_limit(link);
  return raw * (1.0 - 8.0 / limit - 8.0 / limit - 4.0 / 1538.0);
}

sim::Tick symbol_time(const PcieLinkConfig& link) {
  return static_cast<sim::Tick>(8e15 / (raw_bits_per_second(link) / link.width) + 0.5);
}

sim::Tick dllp_time(const PcieLinkConfig& link) {
  constexpr double kDllpBytes = 8;
  return static_cast<sim::Tick>(8 * kDllpBytes * 1e15 / raw_bits_per_second(link) + 0.5);
}

unsigned first_completion_bytes(const PcieLinkConfig& link, std::uint64_t address, std::uint64_t length) {
  const std::uint64_t rcb = link.read_completion_boundary_bytes;
  const std::uint64_t piece = link.split_at_rcb ? rcb : link.max_payload_bytes;
  const std::uint64_t first = ((address + piece) & ~(rcb - 1)) - address;
  return static_cast<unsigned>(first < length ? first : length);
}

unsigned completion_tlps(const PcieLinkConfig& link, std::uint64_t address, std::uint64_t length) {
  if (length == 0) return 1;
  const std::uint64_t rcb = link.read_completion_boundary_bytes;
  const std::uint64_t piece = link.split_at_rcb ? rcb : link.max_payload_bytes;
  unsigned tlps = 0;
  // Each MRd of at most MRRS bytes is completed on its own. All completions but the last end on an RCB
  // multiple.
  while (length > 0) {
    const std::uint64_t rest = length < link.max_read_request_bytes ? length : link.max_read_request_bytes;
    length -= rest;
    const std::uint64_t first = first_completion_bytes(link, address, rest);
    address += rest;
    ++tlps;
    if (rest > first) tlps += static_cast<unsigned>((rest - first + piece - 1) / piece);
  }
  return tlps;
}

std::uint64_t write_wire_bytes(const PcieLinkConfig& link, std::uint64_t address, std::uint64_t length,
                               bool pasid_prefix) {
  const std::uint64_t tlps = (length + link.max_payload_bytes - 1) >> std::countr_zero(link.max_payload_bytes);
  return padded(link, length) + tlps * (per_tlp(link) + memory_header_bytes(address, pasid_prefix));
}

std::uint64_t read_request_wire_bytes(const PcieLinkConfig& link, std::uint64_t address, std::uint64_t length,
                                      bool pasid_prefix) {
  return read_request_tlps(link, length) * (per_tlp(link) + memory_header_bytes(address, pasid_prefix));
}

std::uint64_t completion_wire_bytes(const PcieLinkConfig& link, std::uint64_t address, std::uint64_t length) {
  return padded(link, length) + completion_tlps(link, address, length) * (per_tlp(link) + kHeader3Dw);
}

std::uint64_t message_wire_bytes(const PcieLinkConfig& link, std::uint64_t data_bytes, bool pasid_prefix) {
  return padded(link, data_bytes) + per_tlp(link) + kHeader4Dw + (pasid_prefix ? 4u : 0u);
}

std::uint64_t bare_wire_bytes(const PcieLinkConfig& link, std::uint64_t payload_bytes) {
  return padded(link, payload_bytes) + per_tlp(link) + kHeader3Dw;
}

TlpWire::TlpWire(const PcieLinkConfig& link)
    : fs_per_byte_q16_(static_cast<std::uint64_t>(8e15 / tlp_bits_per_second(link) * 65536.0 + 0.5)),
      latency_(link.latency),
      buffer_(serialisation(link.transmit_buffer_bytes)) {}

}  // namespace platform
