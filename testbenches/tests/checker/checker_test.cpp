// SPDX-License-Identifier: Apache-2.0
// The checker alone: stories told event by event, each with the findings that must and must not come out.
#include "testbenches/checker/checker.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <cstdlib>
#include <map>
#include <new>
#include <nlohmann/json.hpp>

#include "kernel/device.h"
#include "kernel/dma.h"
#include "sim/error.h"
#include "sim/simulation.h"
#include "testbenches/checker/report.h"

namespace {
std::size_t allocations = 0;
}
[[gnu::noinline]] void* operator new(std::size_t n) {
  ++allocations;
  if (void* p = std::malloc(n)) return p;
  throw std::bad_alloc();
}
[[gnu::noinline]] void* operator new(std::size_t n, const std::nothrow_t&) noexcept {
  ++allocations;
  return std::malloc(n);
}
[[gnu::noinline]] void operator delete(void* p) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete(void* p, std::size_t) noexcept { std::free(p); }

namespace {

using checker::FindingClass;
using sim::Iova;
using sim::Pfn;
using sim::PhysAddr;

/// Tells a story about one device, one pool and some pages.
struct Story {
  Story() { checker.on(kernel::DeviceAdded{&device, now()}); }

  sim::Tick now() { return simulation.now(); }
  pagepool::TraceContext where() { return {0, now(), kUnmapChain}; }
  void later(sim::Tick t = sim::kMicrosecond) { simulation.timeline().run_until(now() + t); }
  std::uint64_t count(FindingClass c) const { return checker.findings().count(c); }
  /// Every class but those named has no finding.
  void expect_only(std::initializer_list<FindingClass> some) {
    for (std::size_t i = 0; i < checker::kFindingClasses; ++i) {
      const auto c = static_cast<FindingClass>(i);
      if (std::ranges::find(some, c) != some.end()) continue;
      EXPECT_EQ(count(c), 0u) << checker::key(c) << "\n" << checker::findings_text(checker);
    }
  }

  void bind() {
    bound = true;
    checker.on(kernel::DeviceBound{&device, now()});
    checker.on(pagepool::PoolCreated{++pool, &device, 0, 0, where()});
  }
  void unbind() {
    checker.on(kernel::DeviceUnbinding{&device, now()});
    later();
    destroy();
    bound = false;
    checker.on(kernel::DeviceUnbound{&device, now(), 0});
  }
  void destroy() {
    checker.on(pagepool::Destroying{pool, 0, where()});
    checker.on(pagepool::Destroyed{pool, true, 0, where()});
  }
  void remove() {
    present = false;
    checker.on(kernel::DeviceRemoved{&device, now()});
  }

  void map(std::uint64_t pfn, std::uint64_t iova) {
    if (translated) {
      checker.on(kernel::IovaAllocated{domain, Iova(iova), 1, now()});
      checker.on(kernel::IommuMapped{domain, Iova(iova), to_phys(Pfn(pfn)), 4096, now()});
    }
    checker.on(kernel::DmaMapped{&device, bound, to_phys(Pfn(pfn)), Iova(iova), 4096,
                                 kernel::DmaDirection::kFromDevice, 0, now(), kMapChain});
  }
  /// A page as the pool's slow path gets it.
  void page(std::uint64_t pfn, std::uint64_t iova) {
    checker.on(mm::PageAllocated{Pfn(pfn), 0, 0});
    map(pfn, iova);
    checker.on(pagepool::StateHold{pool, Pfn(pfn), 0, where()});
    checker.on(mm::PageHeld{Pfn(pfn), "RX ring", pfn & 255});
  }
  void unmap(std::uint64_t pfn, std::uint64_t iova, kernel::UnmapResult result = kernel::UnmapResult::kDone,
             std::uint64_t found_pfn = 0) {
    checker.on(pagepool::Unmapping{pool, Pfn(pfn), Iova(iova)});
    if (translated && result == kernel::UnmapResult::kDone) {
      checker.on(kernel::IommuUnmapped{domain, Iova(iova), 4096, 4096, now()});
      checker.on(kernel::IovaFreed{domain, Iova(iova), 1, now()});
    }
    const std::uint64_t there = translated ? (found_pfn != 0 ? found_pfn : pfn) : 0;
    checker.on(kernel::DmaUnmapped{&device, bound, present, Iova(iova), to_phys(Pfn(there)), 4096,
                                   kernel::DmaDirection::kFromDevice, result, 0, now(), kUnmapChain});
  }
  void release(std::uint64_t pfn, std::uint64_t iova) {
    unmap(pfn, iova);
    checker.on(pagepool::StateRelease{pool, Pfn(pfn), 0, where()});
    checker.on(mm::PageFreed{Pfn(pfn), 0});
  }
  /// With AT = 10: to an address that the device translated itself.
  void device_writes_translated(std::uint64_t pfn) {
    iommu::Translated t;
    t.requester = device.requester();
    t.iova = Iova(to_phys(Pfn(pfn)).value);
    t.phys = to_phys(Pfn(pfn));
    t.length = 64;
    t.write = t.by_device = true;
    t.time = now();
    checker.on(t);
  }
  void device_writes(std::uint64_t iova, std::uint64_t pfn, bool hit = true) {
    iommu::Translated t;
    t.requester = device.requester();
    t.iova = Iova(iova);
    t.phys = to_phys(Pfn(pfn));
    t.length = 64;
    t.write = true;
    t.iotlb_hit = hit;
    t.time = now();
    checker.on(t);
  }
  void fetch(unsigned index, std::uint64_t iova) {
    checker.on(nic::DescriptorFetched{0, false, index, Iova(iova), Iova(0), device.requester(), now()});
  }
  void write_buffer(unsigned index, std::uint64_t iova) {
    checker.on(nic::BufferWritten{1, 0, index, Iova(iova), 64, device.requester(), now()});
  }

  static constexpr const char* kMapChain[] = {"dma_map_page_attrs", "page_pool_dma_map"};
  static constexpr const char* kUnmapChain[] = {"dma_unmap_page_attrs", "page_pool_return_page"};

  sim::Simulation simulation;
  alignas(64) std::byte nobody[64];  // the kernel of a device that never asks it anything
  kernel::Device device{reinterpret_cast<kernel::Kernel&>(nobody), "0000:01:10.0", sim::RequesterId(0x180)};
  checker::Checker checker{simulation.timeline()};
  std::uint32_t pool = 0, domain = 1;
  bool bound = false, present = true, translated = true;
};

void proper_life(bool translated) {
  Story s;
  s.translated = translated;
  s.bind();
  const auto iova = [&](std::uint64_t p) { return translated ? 0xfff00000 + p * 4096 : (0x1000 + p) * 4096; };
  for (std::uint64_t p = 1; p <= 100; ++p) s.page(0x1000 + p, iova(p));
  s.later();
  for (std::uint64_t p = 1; p <= 100; ++p) {
    s.fetch(p, iova(p));
    s.write_buffer(p, iova(p));
    s.device_writes(iova(p), 0x1000 + p);
    s.checker.on(mm::PageHeld{Pfn(0x1000 + p), "UDP socket receive queue", 7});
  }
  for (std::uint64_t p = 1; p <= 100; ++p) s.release(0x1000 + p, iova(p));
  s.later();
  s.unbind();
  s.checker.on(pagepool::PoolFreed{s.pool, s.where()});
  s.later();
  s.checker.finish();
  s.expect_only({});
  EXPECT_EQ(s.checker.summary().unmap_before_destroy, 100u);
  EXPECT_EQ(s.checker.pools().front().hold, 100u);
  EXPECT_EQ(s.checker.pools().front().release, 100u);
}
TEST(Checker, AProperLifeHasNoFindings) { proper_life(true); }
TEST(Checker, AProperLifeInPassthroughHasNoFindings) { proper_life(false); }

TEST(Checker, LateUnmapNamesDeviceMappingAndHolders) {
  Story s;
  s.bind();
  for (std::uint64_t p = 1; p <= 50; ++p) {
    s.page(0x1000 + p, 0xfff00000 + p * 4096);
    s.checker.on(
        mm::PageHeld{Pfn(0x1000 + p), p <= 30 ? "UDP socket receive queue" : "IP fragment queue", 9});
  }
  s.unbind();
  s.later(5 * sim::kSecond);
  for (std::uint64_t p = 1; p <= 50; ++p) s.release(0x1000 + p, 0xfff00000 + p * 4096);
  s.checker.on(pagepool::PoolFreed{s.pool, s.where()});
  s.checker.finish();
  s.expect_only({FindingClass::kLateUnmap});
  EXPECT_EQ(s.count(FindingClass::kLateUnmap), 50u);
  ASSERT_EQ(s.checker.findings().all().size(), 1u);
  const checker::Finding& f = s.checker.findings().all().front();
  EXPECT_EQ(f.count, 50u);
  EXPECT_EQ(f.place, "dma_unmap_page_attrs <- page_pool_return_page");
  EXPECT_NE(f.who.find("0000:01:10.0 (no driver since"), std::string::npos);
  EXPECT_NE(f.whom.find("IOVA 0xfff01000"), std::string::npos);
  ASSERT_EQ(f.holders.size(), 2u);
  EXPECT_EQ(f.holders[0].holder, "UDP socket receive queue");
  EXPECT_EQ(f.holders[0].pages, 30u);
  EXPECT_EQ(f.samples.size(), checker::FindingLog::kSamples);
  EXPECT_EQ(s.checker.summary().unmap_after_destroy, 50u);
  EXPECT_EQ(s.checker.summary().late_unmaps, 50u);
  EXPECT_EQ(s.checker.pools().front().inflight_at_destroy, 50u);
  EXPECT_EQ(s.checker.pools().front().unmap_no_driver, 50u);
}

TEST(Checker, UnmapForAnEarlierBindingIsLateEvenWithADriver) {
  Story s;
  s.bind();
  s.page(0x1001, 0xfff01000);
  s.unbind();
  s.later();
  s.bind();
  s.pool = 1;  // the first binding's
  s.release(0x1001, 0xfff01000);
  s.expect_only({FindingClass::kLateUnmap});
  EXPECT_EQ(s.count(FindingClass::kLateUnmap), 1u);
}

TEST(Checker, UnmapThatHitsTheNextOwnerIsForeign) {
  Story s;
  s.bind();
  s.page(0x1001, 0xfff01000);
  s.checker.on(mm::PageHeld{Pfn(0x1001), "UDP socket receive queue", 9});
  s.unbind();
  s.later();
  s.domain = 2;  // a new domain gives out the same IOVA
  s.bind();
  s.page(0x2002, 0xfff01000);
  EXPECT_TRUE(s.checker.summary().iova_reused_while_held);
  s.pool = 1;
  s.unmap(0x1001, 0xfff01000, kernel::UnmapResult::kDone, 0x2002);
  s.expect_only({FindingClass::kLateUnmap, FindingClass::kForeignUnmap});
  EXPECT_EQ(s.count(FindingClass::kForeignUnmap), 1u);
  EXPECT_EQ(s.count(FindingClass::kLateUnmap), 1u);
  // The rightful owner comes second.
  s.pool = 2;
  s.unmap(0x2002, 0xfff01000, kernel::UnmapResult::kMismatch);
  EXPECT_EQ(s.count(FindingClass::kDoubleUnmap), 1u);
}

TEST(Checker, UnmapTwice) {
  Story s;
  s.bind();
  s.page(0x1001, 0xfff01000);
  s.unmap(0x1001, 0xfff01000);
  s.expect_only({});
  s.checker.on(kernel::DmaUnmapped{&s.device, true, true, Iova(0xfff01000), PhysAddr(0), 4096,
                                   kernel::DmaDirection::kFromDevice, kernel::UnmapResult::kMismatch, 0,
                                   s.now(), Story::kUnmapChain});
  s.expect_only({FindingClass::kDoubleUnmap});
  EXPECT_EQ(s.count(FindingClass::kDoubleUnmap), 1u);
}

TEST(Checker, WriteThroughAStaleIotlbEntry) {
  Story s;
  s.bind();
  s.page(0x1001, 0xfff01000);
  s.device_writes(0xfff01000, 0x1001);
  s.expect_only({});
  s.release(0x1001, 0xfff01000);
  s.device_writes(0xfff01000, 0x1001);  // the IOTLB was not told
  s.expect_only({FindingClass::kStaleIotlb, FindingClass::kUseAfterFree});
  EXPECT_EQ(s.count(FindingClass::kStaleIotlb), 1u);
  EXPECT_EQ(s.count(FindingClass::kUseAfterFree), 1u);
  s.checker.on(mm::PageAllocated{Pfn(0x1001), 0, 0});
  s.checker.on(mm::PageHeld{Pfn(0x1001), "page cache", 1});
  s.device_writes(0xfff01000, 0x1001);
  EXPECT_EQ(s.count(FindingClass::kStaleIotlb), 2u);
  EXPECT_EQ(s.checker.summary().stale_hits, 2u);
  EXPECT_EQ(s.count(FindingClass::kDmaNotOwned), 1u);
  EXPECT_EQ(s.count(FindingClass::kUseAfterFree), 1u);
}

TEST(Checker, WriteThroughAStaleTranslationOfTheDevice) {
  Story s;
  s.bind();
  s.page(0x1001, 0xfff01000);
  s.page(0x1002, 0xfff02000);
  s.device_writes_translated(0x1001);
  s.device_writes_translated(0x1002);
  s.expect_only({});
  s.release(0x1001, 0xfff01000);
  s.device_writes_translated(0x1002);
  s.expect_only({});
  s.device_writes_translated(0x1001);  // the device's cache was not told
  s.expect_only({FindingClass::kStaleIotlb, FindingClass::kUseAfterFree});
  EXPECT_EQ(s.count(FindingClass::kStaleIotlb), 1u);
  EXPECT_NE(s.checker.findings().all().front().place.find("ATC"), std::string::npos);
  s.checker.on(mm::PageAllocated{Pfn(0x1001), 0, 0});
  s.checker.on(mm::PageHeld{Pfn(0x1001), "page cache", 1});
  s.device_writes_translated(0x1001);
  EXPECT_EQ(s.count(FindingClass::kStaleIotlb), 2u);
  EXPECT_EQ(s.count(FindingClass::kDmaNotOwned), 1u);
}

TEST(Checker, PrefetchedDescriptorWritesIntoTheNextMapping) {
  Story s;
  s.bind();
  s.page(0x1001, 0xfff01000);
  s.fetch(3, 0xfff01000);
  s.release(0x1001, 0xfff01000);
  s.page(0x2002, 0xfff01000);  // the IOVA is somebody else's now
  s.write_buffer(3, 0xfff01000);
  s.device_writes(0xfff01000, 0x2002, false);
  s.expect_only({FindingClass::kDmaNotOwned});
  EXPECT_EQ(s.count(FindingClass::kDmaNotOwned), 1u);
  EXPECT_NE(s.checker.findings().all().front().whom.find("page 0x2002"), std::string::npos);
  // Fetched anew, it is right again.
  s.fetch(3, 0xfff01000);
  s.write_buffer(3, 0xfff01000);
  EXPECT_EQ(s.count(FindingClass::kDmaNotOwned), 1u);
}

TEST(Checker, PassthroughWriteAfterTheUnmapIsNotOwned) {
  Story s;
  s.translated = false;
  s.bind();
  s.page(0x1001, 0x1001000);
  s.fetch(3, 0x1001000);
  s.write_buffer(3, 0x1001000);
  s.expect_only({});
  s.release(0x1001, 0x1001000);
  s.write_buffer(3, 0x1001000);
  s.expect_only({FindingClass::kDmaNotOwned});
}

TEST(Checker, PassthroughDescriptorFetchedAfterTheUnmapIsNotOwnedEither) {
  Story s;
  s.translated = false;
  s.bind();
  s.page(0x1001, 0x1001000);
  s.release(0x1001, 0x1001000);
  s.fetch(3, 0x1001000);
  s.write_buffer(3, 0x1001000);
  s.expect_only({FindingClass::kDmaNotOwned});
}

TEST(Checker, MappingOfADomainThatWasReplacedIsNoUseAfterFree) {
  Story s;
  s.bind();
  s.page(0x1001, 0xfff01000);
  s.checker.on(mm::PageHeld{Pfn(0x1001), "UDP socket receive queue", 9});
  s.unbind();
  s.domain = 2;
  s.bind();
  s.page(0x2002, 0xfff01000);
  s.pool = 1;
  s.unmap(0x1001, 0xfff01000, kernel::UnmapResult::kDone, 0x2002);
  s.checker.on(pagepool::StateRelease{1, Pfn(0x1001), 0, s.where()});
  s.checker.on(mm::PageFreed{Pfn(0x1001), 0});
  s.expect_only({FindingClass::kLateUnmap, FindingClass::kForeignUnmap});
}

TEST(Checker, DescriptorOfAnUnmappedBufferFaultsAndOnlyFaults) {
  Story s;
  s.bind();
  s.page(0x1001, 0xfff01000);
  s.fetch(3, 0xfff01000);
  s.release(0x1001, 0xfff01000);
  s.write_buffer(3, 0xfff01000);
  iommu::Fault fault;
  fault.requester = s.device.requester();
  fault.iova = Iova(0xfff01000);
  fault.length = 64;
  fault.write = fault.posted = fault.recorded = true;
  s.checker.on(fault);
  s.checker.on(fault);
  s.expect_only({FindingClass::kIommuFault});
  EXPECT_EQ(s.count(FindingClass::kIommuFault), 2u);
  EXPECT_EQ(s.checker.findings().all().size(), 1u);
}

TEST(Checker, UseAfterFreeOfPages) {
  Story s;
  s.bind();
  s.page(0x1001, 0xfff01000);
  s.checker.on(mm::PageFreed{Pfn(0x1001), 0});  // counted by a pool and mapped
  EXPECT_EQ(s.count(FindingClass::kUseAfterFree), 2u);
  s.checker.on(mm::PageFreed{Pfn(0x1001), 0});
  EXPECT_EQ(s.count(FindingClass::kUseAfterFree), 3u + 1u);  // free again, and still mapped
  s.checker.on(mm::PageHeld{Pfn(0x1001), "RX ring", 1});
  EXPECT_EQ(s.count(FindingClass::kUseAfterFree), 5u);
  s.expect_only({FindingClass::kUseAfterFree});
}

TEST(Checker, PoolsMisused) {
  Story s;
  s.bind();
  s.page(0x1001, 0xfff01000);
  s.checker.on(pagepool::Misused{pagepool::MisuseKind::double_put, s.pool, s.pool, Pfn(0x1001), s.where()});
  s.expect_only({FindingClass::kPoolMisuse});
  s.release(0x1001, 0xfff01000);
  s.checker.on(pagepool::StateRelease{s.pool, Pfn(0x1001), 0, s.where()});
  EXPECT_EQ(s.count(FindingClass::kPoolMisuse), 2u);
  s.destroy();
  s.checker.on(pagepool::PoolFreed{s.pool, s.where()});
  s.checker.on(pagepool::Misused{pagepool::MisuseKind::pool_gone, s.pool, 0, Pfn(0x1001), s.where()});
  s.expect_only({FindingClass::kPoolMisuse, FindingClass::kUseAfterFree});
}

TEST(Checker, AFreedDomainThatIsUsedIsNamedWithItsUser) {
  Story s;
  s.bind();
  static const char* const kChain[] = {"iommu_unmap_fast", "__iommu_dma_unmap"};
  s.checker.on(kernel::DomainUsedAfterFree{7, 1, kChain, 5});
  s.expect_only({FindingClass::kUseAfterFree});
  const checker::Finding& f = s.checker.findings().all().back();
  EXPECT_EQ(f.place, "iommu_unmap_fast <- __iommu_dma_unmap");
  EXPECT_EQ(f.who, "core 1");
  EXPECT_EQ(f.whom, "IOMMU domain 7");
}

TEST(Checker, OopsNamesPagesAndHoldersAndTheirLeak) {
  Story s;
  s.bind();
  for (std::uint64_t p = 1; p <= 20; ++p) {
    s.page(0x1000 + p, 0xfff00000 + p * 4096);
    s.checker.on(mm::PageHeld{Pfn(0x1000 + p), p <= 5 ? "UDP socket receive queue" : "page_pool ring", 1});
  }
  s.unbind();
  s.remove();
  s.later(sim::kSecond);
  s.unmap(0x1010, 0xfff10000, kernel::UnmapResult::kOops);
  s.checker.on(kernel::Oops{"BUG: kernel NULL pointer dereference, address: 00000000000000a8",
                            "iommu_get_dma_domain",
                            0xa8,
                            "kworker/0:1",
                            "events page_pool_release_retry",
                            {"iommu_dma_unmap_page", "dma_unmap_page_attrs"},
                            0,
                            s.now(),
                            false});
  s.later(sim::kSecond);
  s.checker.finish();
  s.expect_only({FindingClass::kLateUnmap, FindingClass::kNullDomainOops, FindingClass::kLeakedPage,
                 FindingClass::kLeakedMapping, FindingClass::kStalledShutdown});
  EXPECT_EQ(s.count(FindingClass::kNullDomainOops), 1u);
  EXPECT_EQ(s.count(FindingClass::kLeakedPage), 15u);  // the socket may still give its five back
  EXPECT_EQ(s.checker.summary().leaked_pages, 15u);
  EXPECT_EQ(s.checker.summary().leaked_iovas, 0u);  // the domain, and its IOVAs, went with the device
  ASSERT_TRUE(s.checker.summary().oops.has_value());
  const auto& all = s.checker.findings().all();
  const auto oops = std::ranges::find(all, FindingClass::kNullDomainOops, &checker::Finding::kind);
  EXPECT_EQ(oops->place, "iommu_get_dma_domain <- iommu_dma_unmap_page <- dma_unmap_page_attrs");
  ASSERT_EQ(oops->holders.size(), 2u);
  EXPECT_EQ(oops->holders[0].pages, 15u);
  EXPECT_EQ(oops->holders[1].holder, "UDP socket receive queue");
  const auto json = checker::summary_json(s.checker);
  EXPECT_EQ(json["oops"]["address"], "0xa8");
  EXPECT_EQ(json["pools"][0]["unmap_after_destroy"], 1);
}

TEST(Checker, UnmapWithoutDmaOpsLeaksMappingAndIova) {
  Story s;
  s.bind();
  s.page(0x1001, 0xfff01000);
  s.unbind();
  s.unmap(0x1001, 0xfff01000, kernel::UnmapResult::kDirectLeaked);
  s.checker.on(pagepool::StateRelease{s.pool, Pfn(0x1001), 0, s.where()});
  s.checker.on(mm::PageFreed{Pfn(0x1001), 0});
  s.checker.on(pagepool::PoolFreed{s.pool, s.where()});
  s.checker.finish();
  s.expect_only({FindingClass::kLateUnmap, FindingClass::kLeakedMapping, FindingClass::kLeakedIova});
  EXPECT_EQ(s.checker.summary().leaked_mappings, 1u);
  EXPECT_EQ(s.checker.summary().leaked_iovas, 1u);
}

TEST(Checker, PoolThatDoesNotEnd) {
  Story s;
  s.bind();
  s.page(0x1001, 0xfff01000);
  s.checker.on(mm::PageHeld{Pfn(0x1001), "UDP socket receive queue", 1});
  s.unbind();
  s.later(59 * sim::kSecond);
  s.expect_only({});
  s.later(2 * sim::kSecond);
  s.checker.finish();
  s.expect_only({FindingClass::kStalledShutdown});
}

TEST(Checker, TimeWithBottomHalvesOffAndLocksHeld) {
  Story s;
  s.checker.on(kernel::BhSection{0, 10, 10 + sim::kMillisecond, "napi_schedule", {}});
  s.checker.on(kernel::LockHeld{"pool lock", 0, 0, sim::kMillisecond});
  s.expect_only({});
  s.checker.on(kernel::BhSection{1, 10, 11 + sim::kMillisecond, "page_pool_scan", {}});
  s.checker.on(kernel::LockHeld{"pool lock", 0, 0, 1 + sim::kMillisecond});
  s.expect_only({FindingClass::kBhOff, FindingClass::kLockHeld});
  EXPECT_EQ(s.checker.summary().longest_bh_off, sim::kMillisecond + 1);
  EXPECT_STREQ(s.checker.summary().longest_bh_off_function, "page_pool_scan");
}

TEST(Checker, LostFramesAreThoseThatLaterOnesOvertook) {
  Story s;
  for (std::uint64_t i = 0; i < 10; ++i) s.checker.on(nic::PacketArrived{i, {}, s.now()});
  for (std::uint64_t i = 0; i < 8; ++i) {
    if (i == 5) continue;
    if (i == 6) {
      s.checker.on(nic::PacketDropped{i, nic::DropReason::kNoDescriptor, 0, s.now()});
    } else {
      s.checker.on(nic::PacketDelivered{i, 0, 64, s.now()});
    }
  }
  s.checker.finish();
  EXPECT_EQ(s.count(FindingClass::kLostPacket), 1u);  // 8 and 9 still wait for a descriptor
  s.expect_only({FindingClass::kLostPacket});
}

TEST(Checker, KnowsWhoHoldsAPageSinceWhenAndThroughWhatPath) {
  Story s;
  EXPECT_FALSE(s.checker.who_holds(Pfn(0x1001)).has_value());
  s.bind();
  s.page(0x1001, 0xfff01000);
  s.later();
  const char* names[] = {
      "skb", "UDP socket receive queue", "skb", "page_pool ring", "page_pool cache", "RX ring", "skb"};
  for (const char* n : names) {
    s.checker.on(mm::PageHeld{Pfn(0x1001), n, 5});
    s.later();
  }
  const auto r = s.checker.who_holds(Pfn(0x1001));
  ASSERT_TRUE(r.has_value());
  EXPECT_EQ(r->holder, "skb");
  EXPECT_EQ(r->holder_id, 5u);
  EXPECT_EQ(r->since, s.now() - sim::kMicrosecond);
  EXPECT_EQ(r->pool, 1u);
  EXPECT_EQ(r->iova, Iova(0xfff01000));
  EXPECT_EQ(r->device, "0000:01:10.0");
  ASSERT_EQ(r->path.size(), checker::PageShadow::kPath);
  EXPECT_EQ(r->path.front().holder, "UDP socket receive queue");
  EXPECT_EQ(r->path.back().holder, "skb");
  EXPECT_EQ(s.checker.in_flight().size(), 1u);
  EXPECT_NE(checker::in_flight_text(s.checker).find("page_pool ring 5 at"), std::string::npos);
}

TEST(Checker, SteadyTrafficAllocatesNothing) {
  Story s;
  s.bind();
  for (std::uint64_t p = 0; p < 256; ++p) s.page(0x1000 + p, 0xfff00000 + p * 4096);
  const auto round = [&](std::uint64_t base) {
    for (std::uint64_t i = 0; i < 256; ++i) {
      s.checker.on(nic::PacketArrived{base + i, {}, 0});
      s.fetch(i, 0xfff00000 + i * 4096);
      s.write_buffer(i, 0xfff00000 + i * 4096);
      s.device_writes(0xfff00000 + i * 4096, 0x1000 + i);
      s.checker.on(nic::PacketDelivered{base + i, 0, 64, 0});
      s.checker.on(mm::PageHeld{Pfn(0x1000 + i), "skb", i});
      s.checker.on(mm::PageHeld{Pfn(0x1000 + i), "RX ring", i});
      s.unmap(0x1000 + i, 0xfff00000 + i * 4096);
      s.map(0x1000 + i, 0xfff00000 + i * 4096);
    }
  };
  round(0);
  const std::size_t before = allocations;
  for (std::uint64_t r = 1; r < 20; ++r) round(r * 256);
  EXPECT_EQ(allocations, before);
  s.expect_only({});
}

TEST(Checker, BoundsMustBeLongerThanNothing) {
  checker::CheckerConfig c;
  c.bh_off_bound = 0;
  EXPECT_THROW(c.validate(), sim::Error);
}

TEST(FindingTime, IsExactAndShort) {
  EXPECT_EQ(checker::format_time(0), "0 fs");
  EXPECT_EQ(checker::format_time(833'333), "833.333 ps");
  EXPECT_EQ(checker::format_time(30 * sim::kSecond), "30 s");
  EXPECT_EQ(checker::format_time(1'500 * sim::kMicrosecond), "1.5 ms");
}

RC_GTEST_PROP(FlatMap, BehavesLikeAMap, ()) {
  checker::FlatMap flat;
  std::map<std::pair<std::uint64_t, std::uint32_t>, std::uint32_t> model;
  const auto steps = *rc::gen::container<std::vector<std::tuple<std::uint8_t, std::uint8_t, std::uint16_t>>>(
      rc::gen::arbitrary<std::tuple<std::uint8_t, std::uint8_t, std::uint16_t>>());
  for (const auto& [op, key, value] : steps) {
    const std::uint64_t a = key & 63;
    const std::uint32_t b = key >> 6;
    if (op % 3 == 0) {
      const std::uint32_t expected = model.contains({a, b}) ? model[{a, b}] : checker::FlatMap::kNone;
      RC_ASSERT(flat.erase(a, b) == expected);
      model.erase({a, b});
    } else {
      flat.set(a, b, value);
      model[{a, b}] = value;
    }
    RC_ASSERT(flat.size() == model.size());
  }
  for (std::uint64_t a = 0; a < 64; ++a) {
    for (std::uint32_t b = 0; b < 4; ++b) {
      const auto at = model.find({a, b});
      RC_ASSERT(flat.find(a, b) == (at != model.end() ? at->second : checker::FlatMap::kNone));
    }
  }
}

}  // namespace
