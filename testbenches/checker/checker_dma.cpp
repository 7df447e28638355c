// SPDX-License-Identifier: Apache-2.0
// Checker: the DMA API, page tables, translations, descriptors and device writes.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "kernel/dma.h"
#include "testbenches/checker/checker.h"

namespace checker {
namespace {

constexpr std::uint64_t page_of(std::uint64_t address) { return address >> sim::kPageShift; }

/// Equal for equal chains of one process; never leaves it.
std::uint64_t chain_key(kernel::CallChain chain) {
  std::uint64_t key = 0;
  for (const char* function : chain) key = (key ^ reinterpret_cast<std::uintptr_t>(function)) * 0x100000001b3;
  return key;
}

bool called_from(kernel::CallChain chain, const char* function) {
  return std::ranges::any_of(chain, [&](const char* f) { return std::strcmp(f, function) == 0; });
}

}  // namespace

// --- Mappings
// ---------------------------------------------------------------------------------------------------

void Checker::add_mapping(std::uint32_t d, const kernel::DmaMapped& e) {
  std::uint32_t index;
  if (!free_mappings_.empty()) {
    index = free_mappings_.back();
    free_mappings_.pop_back();
  } else {
    index = static_cast<std::uint32_t>(mappings_.size());
    mappings_.emplace_back();
  }
  Mapping& m = mappings_[index];
  PageShadow& page = pages_.at(to_pfn(e.phys));
  m = Mapping{.serial = next_serial_++,
              .device = d,
              .binding = devices_[d].binding,
              .chained = by_iova_.find(page_of(e.iova.value), d),
              .domain = devices_[d].domain,
              .live = true,
              .abandoned = false,
              .iova = e.iova.value,
              .phys = e.phys.value,
              .size = e.size,
              .since = e.time};
  ++page.mappings;
  const std::uint32_t requester = devices_[d].requester.value;
  const std::uint32_t before = by_requester_.find(page_of(m.iova), requester);
  if (before != kNoIndex && before != index && devices_[d].domain != kNoIndex &&
      devices_[mappings_[before].device].requester.value == requester && still_held(before, m.iova)) {
    summary_.iova_reused_while_held = true;
  }
  for (std::uint64_t p = page_of(m.iova); p <= page_of(m.iova + m.size - 1); ++p) {
    by_iova_.set(p, d, index);
    by_requester_.set(p, requester, index);
  }
}

/// Does a page that a pool has not released still believe that it has this IOVA?
bool Checker::still_held(std::uint32_t mapping, std::uint64_t iova) const {
  const Mapping& m = mappings_[mapping];
  if (!m.live || m.iova != iova) return false;
  const PageShadow* page = head_page(to_pfn(sim::PhysAddr(m.phys)));
  if (page == nullptr || page->pool == 0) return false;
  return std::ranges::none_of(unmapping_, [&](const Expected& x) { return x.iova.value == iova; });
}

/// Can its device still get at the page? Not when the page table went with a domain that was replaced.
bool Checker::reachable(const Mapping& m) const {
  const DeviceShadow& d = devices_[m.device];
  if (d.blocked) return false;
  if (m.domain == kNoIndex) return m.iova == m.phys;  // else it has bounce slots, not the page
  return d.present && d.domain == m.domain && table_.find(page_of(m.iova), m.domain) == page_of(m.phys);
}

void Checker::remove_mapping(std::uint32_t index, bool abandon) {
  Mapping& m = mappings_[index];
  PageShadow& page = pages_.at(to_pfn(sim::PhysAddr(m.phys)));
  if (page.mappings > 0) --page.mappings;
  if (abandon) {
    // Still in the page table and in the IOVA allocator, but nobody is left who could undo it: found at the
    // end.
    m.abandoned = true;
    return;
  }
  for (std::uint64_t p = page_of(m.iova); p <= page_of(m.iova + m.size - 1); ++p) {
    std::uint32_t at = by_iova_.find(p, m.device);
    if (at == index) {
      if (p == page_of(m.iova) && m.chained != kNoIndex) {
        by_iova_.set(p, m.device, m.chained);
      } else {
        by_iova_.erase(p, m.device);
      }
      continue;
    }
    while (at != kNoIndex && mappings_[at].chained != index) at = mappings_[at].chained;
    if (at != kNoIndex) mappings_[at].chained = m.chained;
  }
  m.live = false;
  free_mappings_.push_back(index);
}

std::string Checker::describe(const Mapping& m) const {
  return fmt::format("mapping of {} at IOVA {:#x} for {} (made at {})",
                     describe_page(to_pfn(sim::PhysAddr(m.phys))), m.iova, devices_[m.device].name,
                     format_time(m.since));
}

void Checker::on(const kernel::DmaMapped& e) {
  const std::uint32_t index = device_index(e.device);
  DeviceShadow& d = devices_[index];
  note_binding(d, e.driver_bound, e.time);
  if (d.driverless() || d.freed) {
    report(d.freed ? FindingClass::kUseAfterFree : FindingClass::kLateDmaApi, chain_key(e.chain),
           to_pfn(e.phys).value, e.iova.value, [&](Finding& f) {
             f.place = chain_text(e.chain);
             f.who = "dma_map_page_attrs";
             f.whom = describe(d);
             f.detail = "mapped for a device without a driver";
           });
  }
  if (e.iova == kernel::kDmaMappingError) return;
  // The page table entry written just before tells the domain.
  d.domain = last_map_.iova == e.iova && last_map_.size != 0 ? last_map_.domain : kNoIndex;
  add_mapping(index, e);
}

void Checker::on(const kernel::DmaUnmapped& e) {
  const std::uint32_t index = device_index(e.device);
  DeviceShadow& d = devices_[index];
  note_binding(d, e.driver_bound, e.time);

  // Which page does the caller mean? Its pool has said so, if it is a pool.
  std::optional<Expected> meant;
  for (auto at = unmapping_.begin(); at != unmapping_.end(); ++at) {
    if (at->iova != e.iova) continue;
    meant = *at;
    unmapping_.erase(at);
    break;
  }
  const std::uint32_t newest = find_mapping(index, e.iova.value);
  std::uint32_t own = kNoIndex, hit = kNoIndex;  // what the caller mapped; what the page table had there
  for (std::uint32_t i = newest; i != kNoIndex; i = mappings_[i].chained) {
    const std::uint64_t pfn = page_of(mappings_[i].phys);
    if (meant && pfn == meant->pfn.value) own = i;
    if (e.phys.value != 0 && pfn == page_of(e.phys.value)) hit = i;
  }
  if (!meant) own = hit != kNoIndex ? hit : newest;
  if (hit == kNoIndex && (e.phys.value == 0 || d.domain == kNoIndex)) hit = own;

  const std::uint64_t pfn = meant ? meant->pfn.value : own != kNoIndex ? page_of(mappings_[own].phys) : 0;
  const PageShadow* page = pfn != 0 ? head_page(sim::Pfn(pfn)) : nullptr;
  const bool earlier_binding = own != kNoIndex && mappings_[own].binding != d.binding;
  const bool late = d.driverless() || earlier_binding;

  if (PoolShadow* p = pool(meant ? meant->pool : page != nullptr ? page->pool : 0)) {
    count_unmap(*p, e.chain, late);
  }
  const std::uint64_t key = chain_key(e.chain) ^ index;
  const auto texts = [&](const char* detail) {
    return [&, detail](Finding& f) {
      f.place = chain_text(e.chain);
      f.who = describe(d);
      f.whom = own != kNoIndex ? describe(mappings_[own]) : pfn != 0 ? describe_page(sim::Pfn(pfn)) : "";
      f.detail = detail;
    };
  };
  if (d.freed) {
    report(FindingClass::kUseAfterFree, key, pfn, e.iova.value,
           texts("the DMA API was given a freed struct device"));
  }
  if (late) {
    ++summary_.late_unmaps;
    report(FindingClass::kLateUnmap, key, pfn, e.iova.value,
           texts(!d.present        ? "unmapped for a removed device"
                 : earlier_binding ? "unmapped for a mapping that an earlier driver binding made"
                                   : "unmapped for a device without a driver"));
  }
  if (e.result == kernel::UnmapResult::kOops) return;  // the mapping stays; the oops is a finding of its own

  const bool foreign = hit != kNoIndex && own != hit;
  if (foreign || (hit != kNoIndex && mappings_[hit].size != e.size)) {
    report(FindingClass::kForeignUnmap, key, pfn, e.iova.value, [&](Finding& f) {
      f.place = chain_text(e.chain);
      f.who = meant ? fmt::format("pool {} for {}", meant->pool, describe_page(meant->pfn)) : describe(d);
      f.whom = describe(mappings_[hit]);
      f.detail = foreign ? "unmapped what somebody else has mapped there"
                         : fmt::format("unmapped {} bytes of {}", e.size, mappings_[hit].size);
    });
  } else if (own == kNoIndex || e.result == kernel::UnmapResult::kMismatch) {
    report(FindingClass::kDoubleUnmap, key, pfn, e.iova.value, texts("unmapped what is not mapped"));
  }
  if (hit == kNoIndex) return;
  remove_mapping(hit, e.result == kernel::UnmapResult::kDirectLeaked);
}

void Checker::count_unmap(PoolShadow& p, kernel::CallChain chain, bool late) {
  if (p.destroying || called_from(chain, "page_pool_destroy")) {
    ++p.unmap_inside_destroy, ++summary_.unmap_inside_destroy;
  } else if (p.destroyed) {
    ++p.unmap_after_destroy, ++summary_.unmap_after_destroy;
  } else {
    ++p.unmap_before_destroy, ++summary_.unmap_before_destroy;
  }
  if (late) ++p.unmap_no_driver;
}

void Checker::on(const kernel::DmaUnmappedAll& e) {
  const std::uint32_t index = device_index(e.device);
  DeviceShadow& d = devices_[index];
  note_binding(d, e.driver_bound, e.time);
  if (d.driverless() || d.freed) {
    report(d.freed ? FindingClass::kUseAfterFree : FindingClass::kLateDmaApi, chain_key(e.chain), 0, 0,
           [&](Finding& f) {
             f.place = chain_text(e.chain);
             f.who = "dma_unmap_all";
             f.whom = describe(d);
             f.detail = "unmapped in bulk for a device without a driver";
           });
  }
  for (std::uint32_t i = 0; i < mappings_.size(); ++i) {
    if (!mappings_[i].live || mappings_[i].device != index) continue;
    const PageShadow* page = head_page(to_pfn(sim::PhysAddr(mappings_[i].phys)));
    if (PoolShadow* p = pool(page != nullptr ? page->pool : 0)) count_unmap(*p, e.chain, d.driverless());
    remove_mapping(i, false);
  }
}

void Checker::on(const kernel::DmaSynced& e) {
  DeviceShadow& d = device(e.device);
  note_binding(d, e.driver_bound, e.time);
  if (__builtin_expect(d.driverless() || d.freed, 0)) synced_without_driver(e, d);
}

[[gnu::cold, gnu::noinline]] void Checker::synced_without_driver(const kernel::DmaSynced& e,
                                                                 const DeviceShadow& d) {
  const std::uint32_t own = find_mapping(device_index(e.device), e.iova.value);
  report(d.freed ? FindingClass::kUseAfterFree : FindingClass::kLateDmaApi, chain_key(e.chain),
         own != kNoIndex ? page_of(mappings_[own].phys) : 0, e.iova.value, [&](Finding& f) {
           f.place = chain_text(e.chain);
           f.who = "dma_sync_single";
           f.whom = describe(d);
           f.detail = "synced for a device without a driver";
         });
}

// --- IOVAs and page tables
// --------------------------------------------------------------------------------------

void Checker::on(const kernel::IovaAllocated& e) {
  iovas_.set(page_of(e.iova.value), e.domain, static_cast<std::uint32_t>(e.pages));
}

void Checker::on(const kernel::IovaFreed& e) {
  if (iovas_.erase(page_of(e.iova.value), e.domain) != kNoIndex) return;
  report(FindingClass::kDoubleUnmap, 0x40000000u + e.domain, 0, e.iova.value, [&](Finding& f) {
    f.place = "IOVA allocator";
    f.who = fmt::format("domain {}", e.domain);
    f.detail = "an IOVA was freed that is not allocated";
  });
}

void Checker::on(const kernel::IommuAttached& e) { device(e.device).blocked = e.domain == 0; }

void Checker::on(const kernel::IommuMapped& e) {
  last_map_ = e;
  for (std::uint64_t i = 0; i < (e.size + sim::kPageSize - 1) / sim::kPageSize; ++i) {
    table_.set(page_of(e.iova.value) + i, e.domain, static_cast<std::uint32_t>(page_of(e.phys.value) + i));
  }
}

void Checker::on(const kernel::IommuUnmapped& e) {
  for (std::uint64_t i = 0; i < (e.unmapped_size + sim::kPageSize - 1) / sim::kPageSize; ++i) {
    table_.erase(page_of(e.iova.value) + i, e.domain);
  }
}

// --- The device's side
// ------------------------------------------------------------------------------------------

std::optional<std::uint64_t> Checker::landing(const DeviceShadow& d, std::uint64_t iova) const {
  if (d.domain == kNoIndex) return iova;
  const std::uint32_t frame = table_.find(page_of(iova), d.domain);
  if (frame == kNoIndex) return std::nullopt;
  return (std::uint64_t{frame} << sim::kPageShift) | (iova & (sim::kPageSize - 1));
}

/// A request that the device had translated itself: the page must be one that the domain still maps
/// somewhere.
[[gnu::cold, gnu::noinline]] void Checker::judge_translated(const iommu::Translated& e, std::uint32_t index,
                                                            std::uint64_t frame) {
  const DeviceShadow& d = devices_[index];
  if (d.domain == kNoIndex || table_.has_value(d.domain, static_cast<std::uint32_t>(frame))) return;
  ++summary_.stale_hits;
  report(FindingClass::kStaleIotlb, index * 2 + e.write, frame, e.iova.value, [&](Finding& f) {
    f.place = "translation cache of the device (ATC)";
    f.who = describe(d);
    f.whom = describe_page(sim::Pfn(frame));
    f.detail = fmt::format(
        "{} of {} bytes, translated by the device to {:#x}, which its page table does not map any more",
        e.write ? "a write" : "a read", e.length, e.phys.value);
  });
  const PageShadow* page = head_page(sim::Pfn(frame));
  if (!e.write || page == nullptr || !page->allocated || page->mappings != 0) return;
  report(FindingClass::kDmaNotOwned, index, frame, e.iova.value, [&](Finding& f) {
    f.place = "IOMMU";
    f.who = describe(d);
    f.whom = describe_page(sim::Pfn(frame));
    f.detail =
        "written through a stale translation of the device into a page that is not mapped for any device";
  });
}

void Checker::on(const iommu::Translated& e) {
  const std::uint32_t index = device_of(e.requester);
  if (index == kNoIndex) return;
  const std::uint32_t domain = devices_[index].domain;
  const std::uint64_t last = page_of(e.iova.value + (e.length != 0 ? e.length - 1 : 0));
  std::uint64_t frame = page_of(e.phys.value);
  // Nearly all: within one page, which is where the page table says and is somebody's.
  if (const std::uint64_t p = page_of(e.iova.value); __builtin_expect(p == last && !e.by_device, 1)) {
    const bool mapped = domain == kNoIndex || table_.find(p, domain) == frame;
    const PageShadow* page = e.write ? pages_.find(sim::Pfn(frame)) : nullptr;
    if (__builtin_expect(mapped && (page == nullptr || page->allocated), 1)) return;
  }
  for (std::uint64_t p = page_of(e.iova.value); p <= last; ++p, ++frame) {
    if (__builtin_expect(e.by_device, 0)) {
      judge_translated(e, index, frame);
    } else if (domain != kNoIndex && __builtin_expect(table_.find(p, domain) != frame, 0)) {
      judge_stale(e, index, p, frame);
    }
    if (!e.write) continue;
    const PageShadow* page = pages_.find(sim::Pfn(frame));
    if (page != nullptr && __builtin_expect(!page->allocated, 0)) judge_write(e, index, frame);
  }
}

/// The device reached `frame` by IOVA page `p`; its page table has something else there.
[[gnu::cold, gnu::noinline]] void Checker::judge_stale(const iommu::Translated& e, std::uint32_t index,
                                                       std::uint64_t p, std::uint64_t frame) {
  const DeviceShadow& d = devices_[index];
  const PageShadow* page = head_page(sim::Pfn(frame));
  if (e.iotlb_hit) ++summary_.stale_hits;
  report(FindingClass::kStaleIotlb, index * 2 + e.write, frame, e.iova.value, [&](Finding& f) {
    f.place = e.iotlb_hit ? "IOTLB hit" : "walk that began before the unmap";
    f.who = describe(d);
    f.whom = describe_page(sim::Pfn(frame));
    f.detail = fmt::format(
        "{} of {} bytes at IOVA {:#x}, which the page table {}", e.write ? "a write" : "a read", e.length,
        e.iova.value, table_.find(p, d.domain) == kNoIndex ? "does not map any more" : "maps elsewhere now");
  });
  if (!e.write || page == nullptr || !page->allocated || page->mappings != 0) return;
  report(FindingClass::kDmaNotOwned, index, frame, e.iova.value, [&](Finding& f) {
    f.place = "IOMMU";
    f.who = describe(d);
    f.whom = describe_page(sim::Pfn(frame));
    f.detail = "written through a stale IOTLB entry into a page that is not mapped for any device";
  });
}

/// A write into `frame`, which is free.
[[gnu::cold, gnu::noinline]] void Checker::judge_write(const iommu::Translated& e, std::uint32_t index,
                                                       std::uint64_t frame) {
  report(FindingClass::kUseAfterFree, 0x50000000u + index, frame, e.iova.value, [&](Finding& f) {
    f.place = "IOMMU";
    f.who = describe(devices_[index]);
    f.whom = describe_page(sim::Pfn(frame));
    f.detail = "a device wrote into a free page";
  });
}

void Checker::on(const iommu::Fault& e) {
  ++summary_.iommu_faults;
  const std::uint32_t index = device_of(e.requester);
  // What was last mapped there, if nothing else has taken its place in the books.
  const std::uint32_t last = by_requester_.find(page_of(e.iova.value), e.requester.value);
  const bool known = last != kNoIndex && page_of(mappings_[last].iova) == page_of(e.iova.value) &&
                     devices_[mappings_[last].device].requester == e.requester;
  report(FindingClass::kIommuFault,
         (std::uint64_t{e.requester.value} << 16) | (static_cast<std::uint64_t>(e.cause) << 1) | e.write,
         known ? page_of(mappings_[last].phys) : 0, e.iova.value, [&](Finding& f) {
           f.place = "IOMMU";
           f.who = index != kNoIndex ? describe(devices_[index])
                                     : fmt::format("requester {:#x}", e.requester.value);
           if (known) f.whom = (mappings_[last].live ? "" : "former ") + describe(mappings_[last]);
           f.detail = fmt::format("{} of {} bytes at IOVA {:#x}: cause {}{}", e.write ? "write" : "read",
                                  e.length, e.iova.value, static_cast<unsigned>(e.cause),
                                  e.recorded ? "" : ", not recorded in the fault queue");
         });
}

void Checker::on(const nic::DescriptorFetched& e) {
  if (e.transmit) return;
  const std::uint32_t index = device_of(e.requester);
  const std::uint32_t m = index != kNoIndex ? find_mapping(index, e.buffer.value) : kNoIndex;
  descriptors_.set((std::uint64_t{e.requester.value} << 16) | e.queue, e.index,
                   m != kNoIndex ? mappings_[m].serial : 0);
}

void Checker::on(const nic::BufferWritten& e) {
  const std::uint32_t index = device_of(e.requester);
  if (index == kNoIndex) return;
  const std::uint32_t fetched =
      descriptors_.find((std::uint64_t{e.requester.value} << 16) | e.queue, e.index);
  if (fetched == kNoIndex) return;
  const std::uint32_t m = find_mapping(index, e.address.value);
  const bool mapped = m != kNoIndex;
  // Without a mapping then and now: coherent memory, if an IOMMU's page table has it.
  if (mapped ? mappings_[m].serial == fetched : fetched == 0 && devices_[index].domain != kNoIndex) return;
  written_elsewhere(e, index, fetched);
}

[[gnu::cold, gnu::noinline]] void Checker::written_elsewhere(const nic::BufferWritten& e, std::uint32_t index,
                                                             std::uint32_t fetched) {
  // The buffer that the descriptor named is gone. Does the write land somewhere?
  const auto phys = landing(devices_[index], e.address.value);
  if (!phys) return;  // the IOMMU will refuse it, or a stale entry let it through: seen there
  report(FindingClass::kDmaNotOwned, 0x10000 + index, page_of(*phys), e.address.value, [&](Finding& f) {
    f.place = fmt::format("RX queue {}, descriptor {}", e.queue, e.index);
    f.who = describe(devices_[index]);
    f.whom = describe_page(sim::Pfn(page_of(*phys)));
    f.detail =
        fmt::format("{} bytes at {:#x}, by a descriptor fetched {}", e.bytes, e.address.value,
                    fetched != 0 ? "while another mapping was there" : "for a buffer without a mapping");
  });
}

void Checker::on(const nic::PacketArrived& e) {
  ++summary_.frames_arrived;
  frames_.set(e.serial, 0, 0);
}
void Checker::on(const nic::PacketDropped& e) {
  ++summary_.frames_dropped;
  frames_.erase(e.serial, 0);
  last_outcome_ = std::max(last_outcome_, e.serial);
}
void Checker::on(const nic::PacketDelivered& e) {
  ++summary_.frames_delivered;
  frames_.erase(e.serial, 0);
  last_outcome_ = std::max(last_outcome_, e.serial);
}

void Checker::on(const kernel::DomainUsedAfterFree& e) {
  report(FindingClass::kUseAfterFree, chain_key(e.chain) ^ (0x60000 + e.domain), 0, 0, [&](Finding& f) {
    f.place = chain_text(e.chain);
    f.who = fmt::format("core {}", e.cpu);
    f.whom = fmt::format("IOMMU domain {}", e.domain);
    f.detail = "use of a freed IOMMU domain";
  });
}

}  // namespace checker
