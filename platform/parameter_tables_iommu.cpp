// SPDX-License-Identifier: Apache-2.0
#include "platform/parameter_tables.h"

namespace platform {
namespace {

void register_cache(ParameterSet& set, const std::string& path, iommu::CacheConfig& c,
                    const std::string& what) {
  using iommu::Replacement;
  set.integer(path + ".sets", c.sets, 1, 1 << 20, what + ": sets, a power of two");
  set.integer(path + ".ways", c.ways, 1, 64, what + ": ways, a power of two");
  set.choice(path + ".replacement", c.replacement,
             {{"lru", Replacement::kLru}, {"plru", Replacement::kPlru}, {"random", Replacement::kRandom}},
             what + ": which way is replaced");
}

void register_architecture(ParameterSet& set, iommu::ArchitectureConfig& c) {
  using iommu::DdtMode;
  namespace cap = iommu::cap;
  struct Bit {
    const char* name;
    std::uint64_t mask;
    const char* doc;
  };
  static constexpr Bit kBits[] = {
      {"sv32", cap::kSv32, "first stage Sv32"},
      {"sv39", cap::kSv39, "first stage Sv39"},
      {"sv48", cap::kSv48, "first stage Sv48"},
      {"sv57", cap::kSv57, "first stage Sv57"},
      {"svrsw60t59b", cap::kSvrsw60t59b, "PTE bits 60:59 for software"},
      {"svpbmt", cap::kSvpbmt, "page-based memory types"},
      {"sv32x4", cap::kSv32x4, "second stage Sv32x4"},
      {"sv39x4", cap::kSv39x4, "second stage Sv39x4"},
      {"sv48x4", cap::kSv48x4, "second stage Sv48x4"},
      {"sv57x4", cap::kSv57x4, "second stage Sv57x4"},
      {"amo_mrif", cap::kAmoMrif, "atomic update of memory-resident interrupt files"},
      {"msi_flat", cap::kMsiFlat, "MSI translation, basic mode; extended device contexts"},
      {"msi_mrif", cap::kMsiMrif, "MSI translation to memory-resident interrupt files"},
      {"amo_hwad", cap::kAmoHwad, "hardware update of A and D bits"},
      {"ats", cap::kAts, "PCIe ATS and PRI"},
      {"t2gpa", cap::kT2gpa, "ATS may return guest physical addresses"},
      {"end", cap::kEnd, "both endiannesses"},
      {"hpm", cap::kHpm, "performance counters"},
      {"dbg", cap::kDbg, "translation request interface"},
      {"pd8", cap::kPd8, "process directory of one level"},
      {"pd17", cap::kPd17, "process directory of two levels"},
      {"pd20", cap::kPd20, "process directory of three levels"},
      {"qosid", cap::kQosid, "QoS identifiers"},
      {"nl", cap::kNl, "invalidation of non-leaf entries"},
      {"s", cap::kS, "invalidation of address ranges"},
  };
  for (const Bit& b : kBits) {
    set.bit(std::string("iommu.architecture.capabilities.") + b.name, c.capabilities, b.mask, b.doc);
  }
  set.bits("iommu.architecture.physical_address_bits", c.capabilities, 37, 32, 13, 56, "capabilities.PAS");
  set.integer("iommu.architecture.hpm_counters", c.hpm_counters, 0, 32,
              "performance counters, with iohpmcycles");
  set.integer("iommu.architecture.hpm_counter_bits", c.hpm_counter_bits, 1, 64, "their width");
  set.integer("iommu.architecture.hpm_max_event", c.hpm_max_event, 0, 32767,
              "largest eventID that iohpmevt takes");
  set.boolean("iommu.architecture.gxl_writable", c.gxl_writable, "fctl.GXL can be written");
  set.boolean("iommu.architecture.be_writable", c.be_writable,
              "fctl.BE can be written (with capability end)");
  set.size("iommu.architecture.bare_stage_bytes", c.bare_stage_bytes, 4096, std::uint64_t{1} << 57,
           "page size reported for a stage that is Bare, a power of two");
  set.integer("iommu.architecture.qosid_mask", c.qosid_mask, 0, 0xffffffff,
              "writable bits of iommu_qosid: RCID 11:0, MCID 27:16");
  set.integer("iommu.architecture.vector_bits", c.vector_bits, 0, 4, "2^n MSI vectors");
  set.choice("iommu.architecture.max_mode", c.max_mode,
             {{"1lvl", DdtMode::k1Lvl}, {"2lvl", DdtMode::k2Lvl}, {"3lvl", DdtMode::k3Lvl}},
             "deepest device directory");
  set.choice("iommu.architecture.reset_mode", c.reset_mode,
             {{"off", DdtMode::kOff}, {"bare", DdtMode::kBare}}, "ddtp.iommu_mode after reset");
}

}  // namespace

void register_iommu(ParameterSet& set, iommu::IommuConfig& c) {
  set.clock("iommu.clock", c.clock, "clock of the IOMMU; all its cycles are of this clock");
  register_architecture(set, c.architecture);
  register_cache(set, "iommu.iotlb", c.iotlb, "translations of both stages");
  set.integers("iommu.iotlb_page_sizes", c.iotlb_page_sizes, 12, 57, "log2 bytes, ascending, first is 12");
  register_cache(set, "iommu.ddt_cache", c.ddt_cache, "device contexts");
  register_cache(set, "iommu.pdt_cache", c.pdt_cache, "process contexts");
  register_cache(set, "iommu.walk_cache", c.walk_cache, "non-leaf entries, one cache a level");
  set.boolean("iommu.walk_cache_enabled", c.walk_cache_enabled, "have the walk caches");
  set.integer("iommu.input_queue", c.input_queue, 1, 4096, "device requests held inside");
  set.integer("iommu.walkers", c.walkers, 1, 256, "walks in flight");
  set.integer("iommu.miss_queue", c.miss_queue, 1, 4096, "requests that wait for a walk; full: lookups stop");
  set.boolean("iommu.hit_under_miss", c.hit_under_miss, "no: lookups stop while a request waits for a walk");
  set.boolean("iommu.invalidate_indexed", c.invalidate_indexed,
              "a page or device selects its sets; no: every set is scanned");
  set.integer("iommu.fault_buffer", c.fault_buffer, 1, 4096, "fault records waiting to be written");
  struct Latency {
    const char* name;
    sim::Cycle iommu::IommuConfig::*member;
    const char* doc;
  };
  using C = iommu::IommuConfig;
  static constexpr Latency kLatencies[] = {
      {"lookup_cycles", &C::lookup_cycles, "IOTLB hit: arrival to departure"},
      {"lookup_interval", &C::lookup_interval, "between two lookups"},
      {"walk_start_cycles", &C::walk_start_cycles, "miss to first memory read"},
      {"walk_step_cycles", &C::walk_step_cycles, "memory answer to next read, or to the translation"},
      {"forward_cycles", &C::forward_cycles, "translation known to departure"},
      {"command_fetch_cycles", &C::command_fetch_cycles, "cqt written, or last command done, to fetch"},
      {"command_cycles", &C::command_cycles, "command read to executed"},
      {"invalidate_scan_cycles", &C::invalidate_scan_cycles, "for each set an invalidation looks at"},
      {"fence_cycles", &C::fence_cycles, "IOFENCE.C: conditions met to store"},
      {"fault_cycles", &C::fault_cycles, "fault to record write"},
      {"ats_timeout_cycles", &C::ats_timeout_cycles, "ATS invalidation request to given up"},
      {"interrupt_cycles", &C::interrupt_cycles, "pending bit to MSI write"},
      {"register_cycles", &C::register_cycles, "register access to response"},
  };
  for (const Latency& l : kLatencies) {
    const sim::Cycle low = l.member == &C::lookup_interval ? 1 : 0;
    const sim::Cycle high = l.member == &C::ats_timeout_cycles ? 1'000'000'000'000 : 1'000'000;
    set.integer(std::string("iommu.") + l.name, c.*l.member, low, high, l.doc);
  }
}

}  // namespace platform
