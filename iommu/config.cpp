// SPDX-License-Identifier: Apache-2.0
#include "iommu/config.h"

#include <bit>

#include "sim/error.h"

namespace iommu {
namespace {

void check(bool ok, const std::string& field, std::string_view rule) {
  if (!ok) throw sim::Error(fmt::format("{}: {}", field, rule));
}

void check_cache(const CacheConfig& c, const std::string& field) {
  check(std::has_single_bit(c.sets) && c.sets <= (1u << 20), field + ".sets",
        "must be a power of two, 1..1048576");
  check(std::has_single_bit(c.ways) && c.ways <= 64, field + ".ways", "must be a power of two, 1..64");
}

}  // namespace

void IommuConfig::validate(const std::string& prefix) const {
  check_cache(iotlb, prefix + "iotlb");
  check_cache(ddt_cache, prefix + "ddt_cache");
  check_cache(pdt_cache, prefix + "pdt_cache");
  check_cache(walk_cache, prefix + "walk_cache");
  check(!iotlb_page_sizes.empty() && iotlb_page_sizes.front() == 12 && iotlb_page_sizes.size() <= 8,
        prefix + "iotlb_page_sizes", "needs 1..8 sizes, the first 12");
  for (std::size_t i = 1; i < iotlb_page_sizes.size(); ++i) {
    check(iotlb_page_sizes[i] > iotlb_page_sizes[i - 1] && iotlb_page_sizes[i] < 58,
          prefix + "iotlb_page_sizes", "must ascend and stay below 58");
  }
  check(input_queue >= 1 && input_queue <= 4096, prefix + "input_queue", "must be 1..4096");
  check(miss_queue >= 1 && miss_queue <= 4096, prefix + "miss_queue", "must be 1..4096");
  check(walkers >= 1 && walkers <= 256, prefix + "walkers", "must be 1..256");
  check(fault_buffer >= 1 && fault_buffer <= 4096, prefix + "fault_buffer", "must be 1..4096");
  check(lookup_interval >= 1, prefix + "lookup_interval", "must be at least 1");

  const ArchitectureConfig& a = architecture;
  const std::string arch = prefix + "architecture.";
  check(bits(a.capabilities, 7, 0) == cap::kVersion1_0, arch + "capabilities", "version must be 1.0 (0x10)");
  check(bits(a.capabilities, 29, 28) != 3, arch + "capabilities", "IGS 3 is reserved");
  check(bits(a.capabilities, 37, 32) >= 13 && bits(a.capabilities, 37, 32) <= 56, arch + "capabilities",
        "PAS must be 13..56");
  check(a.vector_bits <= 4, arch + "vector_bits", "must be 0..4");
  check(a.hpm_counters <= 32, arch + "hpm_counters", "must be 0..32");
  check(a.hpm_counter_bits <= 64, arch + "hpm_counter_bits", "must be 0..64");
  check(a.max_mode >= DdtMode::k1Lvl && a.max_mode <= DdtMode::k3Lvl, arch + "max_mode",
        "at least one directory depth is mandatory");
  check(a.reset_mode == DdtMode::kOff || a.reset_mode == DdtMode::kBare, arch + "reset_mode",
        "must be Off or Bare");
  check(std::has_single_bit(a.bare_stage_bytes) && a.bare_stage_bytes >= 4096 &&
            a.bare_stage_bytes <= (1ull << 57),
        arch + "bare_stage_bytes", "must be a power of two of at least 4096");
}

}  // namespace iommu
