// SPDX-License-Identifier: Apache-2.0
// The DMA API and the device life cycle over the IOMMU driver: what the page tables, the commands and the
// IOVA allocator do in each mode, and what late calls do in each situation.
#include "dma_fixture.h"

namespace {

using namespace testing_kernel;
namespace cmd = iommu::cmd;

TEST(IommuDriver, ProbeSetsUpQueuesDirectoryAndContext) {
  Fixture f(mode(DmaMode::kStrict));
  f.task([&] {
    const auto& r = f.bus.regs;
    const std::uint64_t base = testing_kernel::Bus::kIommu;
    const std::uint64_t ddtp = r.at(base + iommu::reg::kDdtp);
    EXPECT_EQ(iommu::bits(ddtp, 3, 0), 4u);
    EXPECT_EQ(r.at(base + iommu::reg::kMsiCfgTbl), 0x2400'0000u);
    // Walk the directory as the hardware does: 3 levels, 7 + 9 + 8 bits of the device id 0x180.
    sim::PhysAddr table(iommu::ppn_address(ddtp));
    auto entry = f.store.load<std::uint64_t>(table);
    EXPECT_TRUE(entry & 1);
    table = sim::PhysAddr(iommu::ppn_address(entry)) + 8 * (0x180 >> 7);
    entry = f.store.load<std::uint64_t>(table);
    EXPECT_TRUE(entry & 1);
    const sim::PhysAddr context = sim::PhysAddr(iommu::ppn_address(entry)) + 32 * (0x180 & 0x7f);
    EXPECT_EQ(f.store.load<std::uint64_t>(context), iommu::dc::kV);
    EXPECT_EQ(f.store.load<std::uint64_t>(context + 8), 0u);
    EXPECT_EQ(f.store.load<std::uint64_t>(context + 16), std::uint64_t{f.domain().id()} << 12);
    EXPECT_EQ(f.store.load<std::uint64_t>(context + 24),
              iommu::iosatp(iommu::SatpMode::kSv39, f.domain().root().value));
  });
  EXPECT_TRUE(f.finished);
}

TEST(DmaStrict, UnmapClearsInvalidatesFencesAndThenFreesTheIova) {
  Fixture f(mode(DmaMode::kStrict));
  f.task([&] {
    const sim::Pfn p = f.page();
    const Iova iova = f.map(p);
    EXPECT_EQ(iova.value, 0xffff'f000u);
    EXPECT_EQ(f.domain().iova_to_phys(iova.value), sim::to_phys(p));
    f.bus.commands.clear();
    f.unmap(iova);
    EXPECT_EQ(f.domain().iova_to_phys(iova.value).value, 0u);
    ASSERT_EQ(f.bus.commands.size(), 2u);
    EXPECT_EQ(f.bus.commands[0],
              cmd::with_pscid(cmd::with_address(cmd::iotinval_vma(), iova.value), f.domain().id()));
    EXPECT_EQ(cmd::opcode(f.bus.commands[1]), cmd::kIofence);
    ASSERT_EQ(f.freed.size(), 1u);
    ASSERT_FALSE(f.synced.empty());
    EXPECT_GE(f.freed[0].time, f.synced.back().time);
    EXPECT_EQ(f.map(p), iova);  // last in, first out
  });
  ASSERT_EQ(f.unmaps.size(), 1u);
  EXPECT_EQ(f.unmaps[0].result, UnmapResult::kDone);
  EXPECT_TRUE(f.unmaps[0].driver_bound);
  EXPECT_TRUE(f.finished);
}

TEST(DmaStrict, EveryPagingModeReachesItsWholeSpace) {
  Fixture f(mode(DmaMode::kStrict));
  f.task([&] {
    unsigned bits = 38, warnings = 0;
    for (const PagingMode paging : {PagingMode::kSv39, PagingMode::kSv48, PagingMode::kSv57}) {
      IommuDomain& domain = f.k.iommu().domain_alloc(DomainType::kDma, paging);
      EXPECT_EQ(domain.max_pfn(), (std::uint64_t{1} << (bits - 12)) - 1);
      bits += 9;
      const std::uint64_t top = domain.max_pfn() << 12;
      EXPECT_TRUE(domain.map(top, 0x8000'0000, 4096));
      EXPECT_EQ(domain.iova_to_phys(top + 5).value, 0x8000'0005u);
      EXPECT_FALSE(domain.map(top, 0x8000'1000, 4096));  // taken: WARN, nothing changed
      EXPECT_EQ(f.k.warnings().size(), ++warnings);
      EXPECT_EQ(domain.iova_to_phys(top).value, 0x8000'0000u);
      EXPECT_EQ(domain.unmap(top, 4096), 4096u);
      EXPECT_EQ(domain.unmap(top, 4096), 0u);
    }
  });
  EXPECT_TRUE(f.finished);
}

TEST(DmaLazy, IovasComeBackAfterTheFlushTimerOnly) {
  Fixture f(mode(DmaMode::kLazy));
  sim::Tick unmapped_at = 0;
  f.task([&] {
    const Iova a = f.map(f.page());
    f.bus.commands.clear();
    f.unmap(a);
    unmapped_at = this_cpu().now();
    EXPECT_TRUE(f.bus.commands.empty());
    EXPECT_EQ(f.domain().queued_iovas(), 1u);
    EXPECT_NE(f.map(f.page()), a);
    msleep(20);
    EXPECT_EQ(f.domain().queued_iovas(), 0u);
    EXPECT_EQ(f.map(f.page()), a);
  });
  ASSERT_EQ(f.freed.size(), 1u);
  EXPECT_GE(f.freed[0].time - unmapped_at, 9 * sim::kMillisecond);
  EXPECT_LE(f.freed[0].time - unmapped_at, 12 * sim::kMillisecond);
  EXPECT_TRUE(f.finished);
}

TEST(DmaLazy, AFullQueueIsFlushedAtOnce) {
  Fixture f(mode(DmaMode::kLazy));
  f.task(
      [&] {
        std::vector<Iova> iovas;
        for (int i = 0; i < 300; ++i) iovas.push_back(f.map(f.page()));
        for (const Iova iova : iovas) f.unmap(iova);
      },
      0.008);  // before the timer
  EXPECT_TRUE(f.finished);
  EXPECT_EQ(f.freed.size(), 255u);
  EXPECT_EQ(f.k.iommu().counters().fences, 3u);  // directory, device context, one flush
}

TEST(DmaPassthrough, AddressesAreIdentical) {
  Fixture f(mode(DmaMode::kPassthrough));
  f.task([&] {
    const sim::Pfn p = f.page();
    const Iova iova = f.map(p);
    EXPECT_EQ(iova.value, sim::to_phys(p).value);
    EXPECT_EQ(f.device->dma_ops(), DmaOps::kDirect);
    const auto fences = f.k.iommu().counters().fences;
    f.unmap(iova);
    EXPECT_EQ(f.k.iommu().counters().fences, fences);
  });
  EXPECT_EQ(f.unmaps.at(0).result, UnmapResult::kDone);
}

/// Pages of the identity domain, and tables that 1 GiB of memory and an interrupt file need: the root, one of
/// the middle level for each, and the leaf tables.
class IdentityDomain : public testing::TestWithParam<std::pair<IdentityPages, std::uint64_t>> {};
INSTANTIATE_TEST_SUITE_P(Pages, IdentityDomain,
                         testing::Values(std::pair{IdentityPages::k4K, 1 + 2 + 512 + 1},
                                         std::pair{IdentityPages::k2M, 1 + 2 + 1},
                                         std::pair{IdentityPages::k1G, 1 + 1 + 1}));

TEST_P(IdentityDomain, MapsMemoryToItselfWithTheLargestPagesThatFit) {
  KernelConfig c = mode(DmaMode::kPassthrough);
  c.identity_pages = GetParam().first;
  Fixture f(c);
  f.task([&] {
    const sim::Pfn p = f.page();
    const Iova iova = f.map(p);
    EXPECT_EQ(iova.value, sim::to_phys(p).value);
    EXPECT_EQ(f.device->dma_ops(), DmaOps::kDirect);
    EXPECT_EQ(f.domain().mapped_pages(), f.k.store().bytes() / sim::kPageSize + c.cores);
    EXPECT_EQ(f.domain().table_pages(), GetParam().second);
    f.unmap(iova);
  });
  EXPECT_TRUE(f.finished);
}

TEST(DmaCoherent, AllocAndFree) {
  Fixture f(mode(DmaMode::kStrict));
  f.task([&] {
    const auto free_before = f.pages.counters().free_pages;
    const auto tables = f.domain().table_pages();
    const CoherentBuffer b = f.k.dma().dma_alloc_coherent(*f.device, 3 * 4096 - 100);
    EXPECT_EQ(b.bytes, 3u * 4096);
    EXPECT_EQ(b.iova.value % (4 * 4096), 0u);
    EXPECT_EQ(f.domain().iova_to_phys(b.iova.value + 0x2345).value, b.phys.value + 0x2345);
    f.k.dma().dma_free_coherent(*f.device, b);
    EXPECT_EQ(f.pages.counters().free_pages + (f.domain().table_pages() - tables), free_before);
  });
  EXPECT_TRUE(f.finished);
}

TEST(DmaMsi, TheInterruptPageIsMappedOncePerDevice) {
  Fixture f(mode(DmaMode::kStrict));
  f.task([&] {
    const MsiMessage a = f.k.interrupts().request_msi(*f.device, 0, "rx", [] {});
    const MsiMessage b = f.k.interrupts().request_msi(*f.device, 0, "tx", [] {});
    const MsiMessage c = f.k.interrupts().request_msi(*f.device, 1, "rx1", [] {});
    EXPECT_EQ(a.address, b.address);
    EXPECT_NE(a.data, b.data);
    EXPECT_NE(a.address, c.address);
    EXPECT_EQ(f.domain().iova_to_phys(a.address).value, 0x2400'0000u);
    EXPECT_EQ(f.domain().iova_to_phys(c.address).value, 0x2400'1000u);
  });
  EXPECT_TRUE(f.finished);
}

// ---- late unmaps: page_pool.md section 3, the table of situations ----

TEST(LateUnmap, DevicePresentStillReachesTheIommu) {
  Fixture f(mode(DmaMode::kStrict));
  f.task([&] {
    const Iova iova = f.map(f.page());
    f.k.devices().device_unbind(*f.device);
    EXPECT_EQ(f.driver.removes, 1);
    f.unmap(iova);
    EXPECT_EQ(f.domain().iova_to_phys(iova.value).value, 0u);
  });
  ASSERT_EQ(f.unmaps.size(), 1u);
  EXPECT_EQ(f.unmaps[0].result, UnmapResult::kDone);
  EXPECT_FALSE(f.unmaps[0].driver_bound);
  EXPECT_TRUE(f.unmaps[0].device_present);
  EXPECT_EQ(f.freed.size(), 1u);
}

TEST(LateUnmap, WithDmaOpsClearedAtUnbindIovaAndPteLeak) {
  KernelConfig c = mode(DmaMode::kStrict);
  c.clear_dma_ops_on_unbind = true;
  Fixture f(c);
  f.task([&] {
    const Iova iova = f.map(f.page());
    f.k.devices().device_unbind(*f.device);
    f.unmap(iova);
    EXPECT_NE(f.domain().iova_to_phys(iova.value).value, 0u);
  });
  EXPECT_EQ(f.unmaps.at(0).result, UnmapResult::kDirectLeaked);
  EXPECT_TRUE(f.freed.empty());
}

TEST(LateUnmap, DeviceRemovedIsTheOopsOfTheThread) {
  Fixture f(mode(DmaMode::kStrict));
  std::unique_ptr<Work> work;
  bool survived = false;
  f.task([&] {
    const Iova iova = f.map(f.page());
    f.device->get_device();
    f.k.devices().device_del(*f.device);
    EXPECT_EQ(f.driver.removes, 1);
    EXPECT_FALSE(f.device->present());
    EXPECT_FALSE(f.device->memory_freed());
    work = std::make_unique<Work>("page_pool_release_retry", [&f, &survived, iova] {
      KFUNC("page_pool_release_retry");
      KFUNC("page_pool_release");
      KFUNC("page_pool_return_page");
      f.unmap(iova);
      survived = true;
    });
    work->queue();
    msleep(10);
  });
  EXPECT_FALSE(survived);
  ASSERT_EQ(f.k.oopses().size(), 1u);
  const Oops& o = f.k.oopses()[0];
  EXPECT_EQ(o.symbol, "iommu_get_dma_domain");
  EXPECT_EQ(o.address, 0xa8u);
  EXPECT_EQ(o.title, "BUG: kernel NULL pointer dereference, address: 00000000000000a8");
  EXPECT_EQ(o.workqueue, "events page_pool_release_retry");
  EXPECT_EQ(o.chain,
            (std::vector<std::string>{"iommu_dma_unmap_page", "dma_unmap_page_attrs", "page_pool_return_page",
                                      "page_pool_release", "page_pool_release_retry", "process_one_work"}));
  ASSERT_EQ(f.unmaps.size(), 1u);
  EXPECT_EQ(f.unmaps[0].result, UnmapResult::kOops);
  EXPECT_FALSE(f.unmaps[0].device_present);
}

TEST(LateUnmap, WithDmaOpsClearedAtReleaseThereIsNoOopsButALeak) {
  KernelConfig c = mode(DmaMode::kStrict);
  c.clear_dma_ops_on_release = true;
  Fixture f(c);
  f.task([&] {
    const Iova iova = f.map(f.page());
    f.device->get_device();
    f.k.devices().device_del(*f.device);
    f.unmap(iova);
  });
  EXPECT_TRUE(f.finished);
  EXPECT_TRUE(f.k.oopses().empty());
  EXPECT_EQ(f.unmaps.at(0).result, UnmapResult::kDirectLeaked);
}

TEST(LateUnmap, AfterRebindWithAnotherDomainItHitsSomebodyElse) {
  KernelConfig c = mode(DmaMode::kStrict);
  c.replace_domain_on_rebind = true;
  Fixture f(c);
  f.task([&] {
    const Iova first = f.map(f.page());
    const Iova second = f.map(f.page());
    const auto old_domain = f.domain().id();
    f.k.devices().device_unbind(*f.device);
    EXPECT_EQ(f.k.devices().device_bind(*f.device, f.driver), 0);
    EXPECT_NE(f.domain().id(), old_domain);
    const Iova mine = f.map(f.page());  // the new owner gets the same address
    EXPECT_EQ(mine, first);
    f.unmap(first);  // late: takes the new owner's mapping away
    EXPECT_EQ(f.domain().iova_to_phys(mine.value).value, 0u);
    EXPECT_TRUE(f.k.warnings().empty());
    f.unmap(second);  // nothing there: WARN
    EXPECT_EQ(f.k.warnings().size(), 1u);
  });
  ASSERT_EQ(f.unmaps.size(), 2u);
  EXPECT_EQ(f.unmaps[0].result, UnmapResult::kDone);
  EXPECT_EQ(f.unmaps[1].result, UnmapResult::kMismatch);
  EXPECT_TRUE(f.finished);
}

TEST(DeviceCore, RemovalBlocksTheDeviceAndGivesTheTablesBack) {
  Fixture f(mode(DmaMode::kStrict));
  f.task([&] {
    const auto before = f.pages.counters().allocated_pages;
    const sim::Pfn p = f.page();
    f.map(p);
    bool freed = false;
    f.k.trace().device_freed.subscribe([&](const DeviceFreed&) { freed = true; });
    const auto tables = f.domain().table_pages();
    f.k.devices().device_del(*f.device);
    EXPECT_TRUE(freed);
    EXPECT_EQ(f.pages.counters().allocated_pages,
              before + 1 + 2 - tables);  // the page; root was there before
    const Device* gone = f.k.devices().find("0000:01:10.0");
    EXPECT_EQ(gone, nullptr);
    EXPECT_EQ(f.k.devices().device_bind(*f.device, f.driver), -19);
    // It can come back as a new device with the same name and requester id.
    Device& again = f.k.devices().device_add("0000:01:10.0", sim::RequesterId(0x180));
    EXPECT_EQ(f.k.devices().device_bind(again, f.driver), 0);
    EXPECT_EQ(f.k.devices().device_bind(again, f.driver), -16);
  });
  EXPECT_TRUE(f.finished);
}

TEST(DeviceCore, DevresRunsInReverseAfterRemoveAndAfterAFailedProbe) {
  struct Devres : Driver {
    explicit Devres(std::string& log) : Driver("devres"), log(log) {}
    int probe(Device& d) override {
      d.devm_add_action([this] { log += 'a'; });
      d.devm_add_action([this] { log += 'b'; });
      return error;
    }
    void remove(Device&) override { log += 'r'; }
    std::string& log;
    int error = 0;
  };
  Machine m(mode(DmaMode::kDirect));
  std::string log;
  Devres driver(log);
  m.k.spawn(0, "init", [&] {
    Device& d = m.k.devices().device_add("dev", sim::RequesterId(1));
    m.k.devices().device_bind(d, driver);
    m.k.devices().device_unbind(d);
    EXPECT_EQ(log, "rba");
    driver.error = -12;
    EXPECT_EQ(m.k.devices().device_bind(d, driver), -12);
    EXPECT_EQ(log, "rbaba");
    EXPECT_FALSE(d.bound());
  });
  m.run(1);
  EXPECT_EQ(log, "rbaba");
}

TEST(DmaApi, TwoCoresMapAndUnmapAtOnce) {
  Fixture f(mode(DmaMode::kStrict));
  unsigned done = 0;
  f.task([&] {
    for (unsigned cpu = 0; cpu < 2; ++cpu) {
      f.k.spawn(cpu, "mapper", [&] {
        std::vector<std::pair<Iova, sim::Pfn>> live;
        for (unsigned i = 0; i < 200; ++i) {
          const sim::Pfn p = f.page();
          const Iova iova = f.map(p);
          ASSERT_NE(iova, kDmaMappingError);
          live.emplace_back(iova, p);
          if (i % 3 == 2) {
            EXPECT_EQ(f.domain().iova_to_phys(live.front().first.value), sim::to_phys(live.front().second));
            f.unmap(live.front().first);
            live.erase(live.begin());
          }
        }
        for (auto& [iova, p] : live) f.unmap(iova);
        ++done;
      });
    }
  });
  EXPECT_EQ(done, 2u);
  EXPECT_TRUE(f.k.warnings().empty());
  EXPECT_EQ(f.domain().mapped_pages(), 0u);
  EXPECT_EQ(f.domain().iova().verify(), "");
  EXPECT_EQ(f.domain().iova().allocated_pages(), f.domain().iova().cached_pages());
  for (const auto& u : f.unmaps) EXPECT_EQ(u.result, UnmapResult::kDone);
}

}  // namespace
