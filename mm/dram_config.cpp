// SPDX-License-Identifier: Apache-2.0
// What a configuration of the memory controller may be.
#include <fmt/format.h>

#include <bit>

#include "mm/address_mapping.h"
#include "mm/dram_controller.h"

namespace mm {
namespace {

constexpr std::uint64_t kBurstBytes = 64;

}  // namespace

void DramConfig::validate() const {
  const DramTiming& t = resolved_timing();
  t.validate();
  const auto power = [](const char* field, unsigned v, unsigned max) {
    if (!std::has_single_bit(v) || v > max) {
      throw sim::Error(fmt::format("dram.{}: {} is not a power of two in 1..{}", field, v, max));
    }
  };
  const auto range = [](const char* field, unsigned v, unsigned low, unsigned high) {
    if (v < low || v > high)
      throw sim::Error(fmt::format("dram.{}: {} is not in {}..{}", field, v, low, high));
  };
  power("channels", channels, 64);
  power("ranks", ranks, 16);
  range("read_queue", read_queue, 1, 1024);
  range("write_queue", write_queue, 1, 1024);
  range("write_high", write_high, 1, write_queue);
  range("write_low", write_low, 0, write_high);
  if (same_bank_refresh && !t.has_same_bank_refresh()) {
    throw sim::Error(fmt::format("dram.same_bank_refresh: {} has none (rfc_sb is 0)", t.name));
  }
  AddressMapping(mapping, t, channels, ranks);
  const std::uint64_t bytes =
      std::uint64_t{channels} * ranks * t.bank_groups * t.banks * t.rows * t.columns * kBurstBytes;
  if (size_bytes != 0 && size_bytes != bytes) {
    throw sim::Error(
        fmt::format("dram.size: {} bytes, but {} channels x {} ranks x {} bank groups x {} banks x {} rows x "
                    "{} columns x 64 "
                    "bytes are {}",
                    size_bytes, channels, ranks, t.bank_groups, t.banks, t.rows, t.columns, bytes));
  }
}

DramChannelConfig DramConfig::channel() const {
  return {ranks,          read_queue, write_queue,       write_high, write_low,
          age_cap_cycles, refresh,    same_bank_refresh, scheduler,  page_policy};
}

}  // namespace mm
