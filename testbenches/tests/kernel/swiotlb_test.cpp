// SPDX-License-Identifier: Apache-2.0
// Bounce buffers: where a mapping's slots lie, when the bytes are copied and what that costs, what a full
// pool does, and what late and repeated unmaps meet.
#include <cstring>

#include "dma_fixture.h"

namespace {

using namespace testing_kernel;

struct Bounce : Fixture {
  explicit Bounce(std::uint64_t bytes = 256 << 10)
      : Fixture([bytes] {
          KernelConfig c = mode(DmaMode::kSwiotlb);
          c.swiotlb_bytes = bytes;
          return c;
        }()) {}
  const Swiotlb& slots() { return k.dma().swiotlb(); }
  Iova map_bytes(sim::Pfn page, std::uint64_t offset, std::uint64_t size, DmaDirection direction) {
    return k.dma().dma_map_page_attrs(*device, page, offset, size, direction);
  }
  void fill(sim::PhysAddr at, std::uint8_t value, std::size_t bytes) {
    std::memset(store.host(at, bytes), value, bytes);
  }
  std::uint8_t byte(sim::PhysAddr at) { return *store.host(at); }
};

TEST(Swiotlb, ADeviceHasAnIdentityDomainAndBounces) {
  Bounce f;
  f.task([&] {
    EXPECT_EQ(f.domain().type(), DomainType::kIdentity);
    EXPECT_EQ(f.device->dma_ops(), DmaOps::kDirect);
    EXPECT_TRUE(f.k.dma().dma_need_sync(*f.device));
    const sim::Pfn p = f.page();
    const Iova at = f.map(p);
    EXPECT_NE(at.value, sim::to_phys(p).value);
    EXPECT_EQ(f.slots().original(sim::PhysAddr(at.value + 77)), sim::to_phys(p) + 77);
    EXPECT_EQ(f.slots().used(), 2u);  // a page is two slots of 2 KiB
    EXPECT_EQ(at.value % sim::kPageSize, 0u);
    f.unmap(at);
    EXPECT_EQ(f.slots().used(), 0u);
  });
  EXPECT_TRUE(f.finished);
  EXPECT_EQ(f.unmaps.at(0).result, UnmapResult::kDone);
}

TEST(Swiotlb, BytesAreCopiedInAtMapAndOutAtSyncAndUnmap) {
  Bounce f;
  f.task([&] {
    const sim::Pfn p = f.page();
    const sim::PhysAddr page = sim::to_phys(p);
    f.fill(page, 0x11, 4096);
    const Iova at = f.map_bytes(p, 0, 4096, DmaDirection::kFromDevice);
    const sim::PhysAddr slots(at.value);
    EXPECT_EQ(f.byte(slots + 4000), 0x11);  // so that what the device leaves out comes back unchanged
    f.fill(slots, 0x22, 100);               // the device writes
    EXPECT_EQ(f.byte(page), 0x11);
    f.k.dma().dma_sync_single_for_cpu(*f.device, at, 50, DmaDirection::kFromDevice);
    EXPECT_EQ(f.byte(page + 49), 0x22);
    EXPECT_EQ(f.byte(page + 50), 0x11);
    f.fill(page, 0x33, 4096);
    f.k.dma().dma_sync_single_for_device(*f.device, at, 4096, DmaDirection::kFromDevice);
    EXPECT_EQ(f.byte(slots), 0x22);  // the device only writes: nothing of ours is for it
    f.k.dma().dma_unmap_page_attrs(*f.device, at, 4096, DmaDirection::kFromDevice);
    EXPECT_EQ(f.byte(page), 0x22);
    EXPECT_EQ(f.byte(page + 4000), 0x11);

    const Iova out = f.map_bytes(p, 128, 1000, DmaDirection::kToDevice);
    EXPECT_EQ(f.byte(sim::PhysAddr(out.value)), f.byte(page + 128));
    f.fill(page + 128, 0x44, 1000);
    f.k.dma().dma_sync_single_for_device(*f.device, out, 1000, DmaDirection::kToDevice);
    EXPECT_EQ(f.byte(sim::PhysAddr(out.value + 999)), 0x44);
    f.fill(sim::PhysAddr(out.value), 0x55, 1000);
    f.k.dma().dma_unmap_page_attrs(*f.device, out, 1000, DmaDirection::kToDevice);
    EXPECT_EQ(f.byte(page + 128), 0x44);  // the device only reads
  });
  EXPECT_TRUE(f.finished);
  EXPECT_EQ(f.slots().counters().bytes_in, 4096u + 1000 + 1000);
  EXPECT_EQ(f.slots().counters().bytes_out, 50u + 4096);
}

TEST(Swiotlb, TheCopyIsPaidByTheLine) {
  Bounce f;
  f.task([&] {
    const Iova at = f.map(f.page());
    const auto cost = [&](std::uint64_t bytes) {
      this_cpu().sync();
      const Cycle begin = this_cpu().now_cycles();
      f.k.dma().dma_sync_single_for_cpu(*f.device, at, bytes, DmaDirection::kFromDevice);
      return this_cpu().now_cycles() - begin;
    };
    const Cycle line = f.k.config().costs.swiotlb_copy_line;
    cost(64);
    EXPECT_EQ(cost(4096) - cost(64), 63 * line);
    EXPECT_EQ(cost(65), cost(128));
  });
  EXPECT_TRUE(f.finished);
}

TEST(Swiotlb, AFullPoolFailsTheMappingAndSaysSo) {
  Bounce f;  // 128 slots
  f.task([&] {
    std::vector<Iova> all;
    for (unsigned i = 0; i < 64; ++i) {
      all.push_back(f.map(f.page()));
      ASSERT_NE(all.back(), kDmaMappingError) << i;
    }
    EXPECT_EQ(f.map(f.page()), kDmaMappingError);
    EXPECT_EQ(f.k.dma().counters().map_failures, 1u);
    f.unmap(all[5]);
    EXPECT_EQ(f.map(f.page()), all[5]);
    for (unsigned i = 0; i < 30; ++i) f.map(f.page());
  });
  EXPECT_TRUE(f.finished);
  EXPECT_EQ(f.slots().counters().full, 31u);
  EXPECT_EQ(f.slots().counters().used_most, 128u);
  unsigned told = 0;
  for (const auto& line : f.k.dmesg())
    told += line.text ==
            "0000:01:10.0: swiotlb buffer is full (sz: 4096 bytes), total 128 (slots), used 128 (slots)";
  EXPECT_EQ(told, 10u);  // the rate limit
}

TEST(Swiotlb, AMappingNeverCrossesASegmentAndIsAtMostOne) {
  Bounce f(1 << 20);
  f.task([&] {
    const sim::Pfn block = *f.pages.alloc_pages(7);
    EXPECT_EQ(f.map_bytes(block, 0, Swiotlb::kSegmentBytes + 1, DmaDirection::kToDevice), kDmaMappingError);
    for (int i = 0; i < 10; ++i) {
      const Iova at = f.map_bytes(block, 0, 100 << 10, DmaDirection::kToDevice);
      if (at == kDmaMappingError) break;
      EXPECT_EQ(at.value / Swiotlb::kSegmentBytes, (at.value + (100 << 10) - 1) / Swiotlb::kSegmentBytes);
    }
    EXPECT_EQ(f.slots().used(), 4u * 2 * 50);  // two of 50 slots in each of four segments
  });
  EXPECT_TRUE(f.finished);
}

TEST(Swiotlb, SmallMappingsShareAPageAndKeepApart) {
  Bounce f;
  f.task([&] {
    const Iova a = f.map_bytes(f.page(), 0, 100, DmaDirection::kToDevice);
    const Iova b = f.map_bytes(f.page(), 0, 100, DmaDirection::kToDevice);
    EXPECT_EQ(b.value - a.value, Swiotlb::kSlotBytes);
    const Iova c = f.map(f.page());  // of a page: begins at one
    EXPECT_EQ(c.value % sim::kPageSize, 0u);
    EXPECT_EQ(f.slots().used(), 4u);
  });
  EXPECT_TRUE(f.finished);
}

TEST(Swiotlb, ALateUnmapFreesItsSlotsAndASecondOneFindsNothing) {
  Bounce f;
  f.task([&] {
    const Iova at = f.map(f.page());
    f.device->get_device();
    f.k.devices().device_del(*f.device);
    EXPECT_EQ(f.slots().used(), 2u);  // leaked until then (page_pool.md, table of late unmaps)
    f.unmap(at);
    EXPECT_EQ(f.slots().used(), 0u);
    f.unmap(at);
  });
  EXPECT_TRUE(f.finished);
  EXPECT_TRUE(f.k.oopses().empty());
  ASSERT_EQ(f.unmaps.size(), 2u);
  EXPECT_EQ(f.unmaps[0].result, UnmapResult::kDone);
  EXPECT_EQ(f.unmaps[1].result, UnmapResult::kMismatch);
}

TEST(Swiotlb, BulkUnmapGivesUpTheSlotsOfOneDeviceByItsBitmap) {
  Bounce f(1 << 20);
  f.task([&] {
    TestDriver driver;
    Device& other = f.k.devices().device_add("0000:01:10.2", sim::RequesterId(0x182));
    f.k.devices().device_bind(other, driver);
    for (int i = 0; i < 5; ++i) f.map(f.page());
    const Iova kept = f.k.dma().dma_map_page_attrs(other, f.page(), 0, 4096, DmaDirection::kFromDevice,
                                                   kDmaAttrSkipCpuSync);
    EXPECT_EQ(f.k.dma().dma_unmap_all(*f.device), 5u);
    EXPECT_EQ(f.slots().used_by(*f.device), 0u);
    EXPECT_EQ(f.slots().used_by(other), 2u);
    EXPECT_NE(f.slots().original(sim::PhysAddr(kept.value)).value, 0u);
  });
  EXPECT_TRUE(f.finished);
  EXPECT_EQ(f.slots().bitmap_bytes(), 512u / 8);
}

TEST(Swiotlb, TwoCoresWorkInAreasOfTheirOwn) {
  Bounce f(1 << 20);
  unsigned done = 0;
  f.task([&] {
    for (unsigned cpu = 0; cpu < 2; ++cpu) {
      f.k.spawn(cpu, "mapper", [&] {
        for (unsigned round = 0; round < 20; ++round) {
          std::vector<Iova> live;
          for (unsigned i = 0; i < 100; ++i) live.push_back(f.map(f.page()));
          for (const Iova at : live) f.unmap(at);
        }
        ++done;
      });
    }
  });
  EXPECT_EQ(done, 2u);
  EXPECT_EQ(f.slots().used(), 0u);
  EXPECT_EQ(f.slots().counters().full, 0u);
  for (const auto& u : f.unmaps) EXPECT_EQ(u.result, UnmapResult::kDone);
}

}  // namespace
