// SPDX-License-Identifier: Apache-2.0
// dma-debug: what it reports and what it lets pass, in the kernel's words; and the table that the proposal of
// a robust DMA API stands on.
#include "dma_fixture.h"

namespace {

using namespace testing_kernel;
using Error = DmaDebug::Error;

KernelConfig debugged(DmaMode m, unsigned entries = 65536) {
  KernelConfig c = mode(m);
  c.dma_debug = true;
  c.dma_debug_entries = entries;
  c.dma_debug_show_errors = 100;
  return c;
}

struct Debugged : Fixture {
  explicit Debugged(DmaMode m = DmaMode::kPassthrough, unsigned entries = 65536)
      : Fixture(debugged(m, entries)) {}
  const DmaDebug& debug() { return k.dma().debug(); }
  bool said(std::string_view words) {
    for (const auto& w : k.warnings())
      if (w.text.find(words) != std::string::npos) return true;
    return false;
  }
};

TEST(DmaDebug, AProperDriverIsNotReported) {
  Debugged f(DmaMode::kStrict);
  f.task([&] {
    const CoherentBuffer ring = f.k.dma().dma_alloc_coherent(*f.device, 4096);
    const Iova at = f.map(f.page());
    f.k.dma().dma_sync_single_for_cpu(*f.device, at + 100, 200, DmaDirection::kFromDevice);
    f.k.dma().dma_sync_single_for_device(*f.device, at, 4096, DmaDirection::kFromDevice);
    f.unmap(at);
    f.k.dma().dma_free_coherent(*f.device, ring);
    f.k.devices().device_unbind(*f.device);
  });
  EXPECT_TRUE(f.finished);
  EXPECT_EQ(f.debug().errors(), 0u);
  EXPECT_EQ(f.debug().entries_used_most(), 2u);
  EXPECT_TRUE(f.k.warnings().empty());
}

TEST(DmaDebug, UnmappedTwiceOrNeverMapped) {
  Debugged f;
  f.task([&] {
    const Iova at = f.map(f.page());
    f.unmap(at);
    f.unmap(at);
  });
  EXPECT_EQ(f.debug().errors(Error::kUnmapUnknown), 1u);
  EXPECT_TRUE(
      f.said("DMA-API: test 0000:01:10.0: device driver tries to free DMA memory it has not allocated"));
}

TEST(DmaDebug, SizeDirectionAndFunctionMustBeThoseOfTheMapping) {
  Debugged f;
  f.task([&] {
    f.k.dma().dma_unmap_page_attrs(*f.device, f.map(f.page()), 2048, DmaDirection::kFromDevice);
    f.k.dma().dma_unmap_page_attrs(*f.device, f.map(f.page()), 4096, DmaDirection::kToDevice);
    const CoherentBuffer ring = f.k.dma().dma_alloc_coherent(*f.device, 4096);
    f.k.dma().dma_unmap_page_attrs(*f.device, ring.iova, 4096, DmaDirection::kBidirectional);
  });
  EXPECT_EQ(f.debug().errors(Error::kUnmapSize), 1u);
  EXPECT_EQ(f.debug().errors(Error::kUnmapDirection), 1u);
  EXPECT_EQ(f.debug().errors(Error::kUnmapFunction), 1u);
  EXPECT_EQ(f.debug().errors(), 3u);
  EXPECT_TRUE(f.said("frees DMA memory with different size"));
  EXPECT_TRUE(f.said("[map size=4096 bytes] [unmap size=2048 bytes]"));
  EXPECT_TRUE(f.said("[mapped with DMA_FROM_DEVICE] [unmapped with DMA_TO_DEVICE]"));
  EXPECT_TRUE(f.said("[mapped as coherent] [unmapped as single]"));
}

TEST(DmaDebug, SyncsMustStayInsideAMapping) {
  Debugged f;
  f.task([&] {
    const sim::Pfn block = *f.pages.alloc_pages(4);
    const Iova at = f.k.dma().dma_map_page_attrs(*f.device, block, 0, 65536, DmaDirection::kFromDevice);
    auto& dma = f.k.dma();
    dma.dma_sync_single_for_cpu(*f.device, at + 60000, 5536, DmaDirection::kFromDevice);  // to the last byte
    EXPECT_EQ(f.debug().errors(), 0u);
    dma.dma_sync_single_for_cpu(*f.device, at + 60000, 5537, DmaDirection::kFromDevice);
    dma.dma_sync_single_for_cpu(*f.device, at + 65536, 1, DmaDirection::kFromDevice);
    dma.dma_sync_single_for_device(*f.device, at, 1, DmaDirection::kToDevice);
  });
  EXPECT_EQ(f.debug().errors(Error::kSyncOutside), 1u);
  EXPECT_EQ(f.debug().errors(Error::kSyncUnknown), 1u);
  EXPECT_EQ(f.debug().errors(Error::kSyncDirection), 1u);
}

TEST(DmaDebug, MappingsLeftAtUnbindAreCounted) {
  Debugged f(DmaMode::kStrict);
  f.task([&] {
    for (int i = 0; i < 7; ++i) f.map(f.page());
    f.k.devices().device_unbind(*f.device);
  });
  EXPECT_EQ(f.debug().errors(Error::kPendingAtUnbind), 1u);
  EXPECT_EQ(f.debug().pending_at_unbind(), 7u);
  EXPECT_TRUE(f.said("device driver has pending DMA allocations while released from device [count=7]"));
}

TEST(DmaDebug, ABulkUnmapBlindsIt) {
  Debugged f(DmaMode::kStrict);
  f.task([&] {
    for (int i = 0; i < 7; ++i) f.map(f.page());  // which the driver has forgotten
    f.k.dma().dma_unmap_all(*f.device);
    f.k.devices().device_unbind(*f.device);
  });
  EXPECT_EQ(f.debug().errors(), 0u);
  EXPECT_EQ(f.debug().forgotten(), 7u);
}

TEST(DmaDebug, OnlyTheFirstErrorWarnsAsByDefault) {
  KernelConfig c = debugged(DmaMode::kPassthrough);
  c.dma_debug_show_errors = KernelConfig{}.dma_debug_show_errors;
  Fixture f(c);
  f.task([&] {
    for (int i = 0; i < 5; ++i) f.unmap(Iova(0x9000'0000 + 4096u * static_cast<unsigned>(i)));
  });
  EXPECT_EQ(f.k.dma().debug().errors(), 5u);
  EXPECT_EQ(f.k.warnings().size(), 1u);
}

TEST(DmaDebug, OutOfEntriesItDisablesItself) {
  Debugged f(DmaMode::kPassthrough, 8);
  f.task([&] {
    std::vector<Iova> all;
    for (int i = 0; i < 9; ++i) all.push_back(f.map(f.page()));
    for (const Iova at : all) f.unmap(at);
    f.unmap(all[0]);  // nobody is watching
  });
  EXPECT_TRUE(f.debug().disabled());
  EXPECT_EQ(f.debug().errors(), 0u);
  bool told = false;
  for (const auto& line : f.k.dmesg()) told |= line.text == "DMA-API: debugging out of memory - disabling";
  EXPECT_TRUE(told);
}

TEST(DmaDebug, ItCostsAtMapSyncAndUnmap) {
  const auto cycles = [](bool debug) {
    return std::stoull(in_child([debug] {
      KernelConfig c = mode(DmaMode::kPassthrough);
      c.dma_debug = debug;
      Fixture f(c);
      Cycle spent = 0;
      f.task([&] {
        const sim::Pfn p = f.page();
        f.unmap(f.map(p));
        const Cycle begin = this_cpu().now_cycles();
        for (int i = 0; i < 100; ++i) f.unmap(f.map(p));
        spent = this_cpu().now_cycles() - begin;
      });
      return std::to_string(spent);
    }));
  };
  const auto without = cycles(false), with = cycles(true);
  // Four pairs of locks for each: entry list and bucket, at map and at unmap.
  const Costs costs;
  EXPECT_GE(with - without, 100 * 4 * (costs.spin_lock + costs.spin_unlock));
}

TEST(MappingHash, MappingsOfOneBucketAndOfSeveralDevicesKeepApart) {
  Fixture f(mode(DmaMode::kPassthrough));
  f.task([&] {
    KernelHashMemory memory(f.k);
    ASSERT_TRUE(memory.allocate(64));
    MappingHash<KernelHashMemory> table(memory, 64);
    int a = 0, b = 0;
    constexpr std::uint64_t kRound = MappingHash<KernelHashMemory>::kBuckets << 13;  // same bucket again
    for (std::uint64_t i = 0; i < 20; ++i) {
      EXPECT_TRUE(table.add({&a, 0x1000 + i * kRound, i, 4096, 2, 0}));
      EXPECT_TRUE(table.add({&b, 0x1000 + i * kRound, 100 + i, 2048, 2, 0}));
    }
    EXPECT_EQ(table.free_entries(), 24u);
    EXPECT_EQ(table.take(&b, 0x1000 + 7 * kRound, 2048)->phys, 107u);
    EXPECT_FALSE(table.take(&b, 0x1000 + 7 * kRound, 2048));
    EXPECT_EQ(table.find_containing(&a, 0x1fff + 7 * kRound)->phys, 7u);
    EXPECT_FALSE(table.find_containing(&a, 0x2000 + 7 * kRound));
    std::optional<TrackedMapping> one;
    EXPECT_EQ(table.count(&a, one), 20u);
    EXPECT_EQ(table.take_all(&a, [](const TrackedMapping&) {}), 20u);
    EXPECT_EQ(table.count(&b, one), 19u);
    EXPECT_EQ(table.free_entries(), 45u);
    for (int i = 0; i < 45; ++i) EXPECT_TRUE(table.add({&a, 0x5000, 0, 4096, 0, 0}));
    EXPECT_FALSE(table.add({&a, 0x5000, 0, 4096, 0, 0}));
    EXPECT_EQ(table.least_free_entries(), 0u);
  });
  EXPECT_TRUE(f.finished);
}

TEST(RobustDmaApi, TheDriverCoreCleansUpAndLateUnmapsFindNothing) {
  Fixture f(mode(DmaMode::kStrict));
  f.task([&] {
    ASSERT_TRUE(f.k.dma().track_mappings());
    const Iova a = f.map(f.page()), b = f.map(f.page());
    f.unmap(a);
    f.k.devices().device_unbind(*f.device);
    EXPECT_EQ(f.domain().mapped_pages(), 0u);
    ASSERT_EQ(f.unmaps.size(), 2u);
    EXPECT_TRUE(f.unmaps[1].driver_bound);
    f.unmap(b);
  });
  EXPECT_TRUE(f.finished);
  EXPECT_EQ(f.unmaps.size(), 2u);
  EXPECT_EQ(f.k.dma().tracker().counters.unknown, 1u);
  EXPECT_EQ(f.k.dma().tracker().counters.cleaned, 1u);
  EXPECT_TRUE(f.k.warnings().empty());
}

TEST(RobustDmaApi, NoEntryLeftFailsTheMapping) {
  Fixture f(mode(DmaMode::kPassthrough));
  f.task(
      [&] {
        ASSERT_TRUE(f.k.dma().track_mappings());
        const sim::Pfn p = f.page();
        for (std::uint32_t i = 0; i < MappingTracker::kEntries; ++i) ASSERT_NE(f.map(p), kDmaMappingError);
        EXPECT_EQ(f.map(p), kDmaMappingError);
        EXPECT_EQ(f.k.dma().tracker().counters.full, 1u);
      },
      1000);
  EXPECT_TRUE(f.finished);
}

}  // namespace
