// SPDX-License-Identifier: Apache-2.0
// The checker over the modelled kernel and its page_pool: what it must say, and must not say, of lives that
// end well and badly. No NIC: a driver that holds pages is enough.
#include <nlohmann/json.hpp>

#include "pagepool/page_pools.h"
#include "testbenches/checker/report.h"
#include "testbenches/tests/kernel/harness.h"

namespace {

using checker::FindingClass;
using kernel::DmaMode;

struct Outcome {
  std::map<std::string, std::uint64_t> findings;
  checker::Summary summary;
  std::string text;
};

struct Case {
  std::string strategy = "stock";
  DmaMode mode = DmaMode::kStrict;
  bool remove = false, rebind = false;
  kernel::KernelConfig config = {};
  unsigned pages = 40;
  bool return_before_unbind = false;
};

/// A driver whose pool has `pages` pages out when it goes; they come back 100 ms later.
struct HoldingDriver final : kernel::Driver {
  HoldingDriver(pagepool::PagePools& pools, unsigned pages) : Driver("holder"), pools(pools), pages(pages) {}
  int probe(kernel::Device& device) override {
    pagepool::PoolParams p;
    p.flags = pagepool::PP_FLAG_DMA_MAP | pagepool::PP_FLAG_DMA_SYNC_DEV;
    p.max_len = 2048;
    pool = pools.create(device, p);
    for (unsigned i = 0; i < pages; ++i) {
      held.push_back(*pool->alloc_page());
      pools.mm_trace().held(held.back(), "UDP socket receive queue", 7);
    }
    return 0;
  }
  void remove(kernel::Device&) override { pool->destroy(); }
  void give_back() {
    for (const sim::Pfn page : held) pool->put_full_page(page, false);
    held.clear();
  }
  pagepool::PagePools& pools;
  unsigned pages;
  std::shared_ptr<pagepool::Pool> pool;
  std::vector<sim::Pfn> held;
};

Outcome run(const Case& c) {
  testing_kernel::Machine m(c.config);
  pagepool::PoolOptions options;
  options.strategy = c.strategy;
  if (c.strategy == "xarray_merged") options.version = pagepool::PoolVersion::v6_18;
  pagepool::PagePools pools(m.k, m.mm_trace, options);
  checker::CheckerConfig bounds;
  bounds.bh_off_bound = sim::kSecond;  // the scan's time is judged elsewhere
  bounds.lock_bound = sim::kSecond;
  checker::Checker check(m.s.timeline(), bounds);
  check.attach(m.mm_trace);
  check.attach(m.k.trace());
  check.attach(pools.trace());
  HoldingDriver first(pools, c.pages), second(pools, c.pages);
  bool finished = false;
  m.k.spawn(0, "admin", [&] {
    if (c.mode != DmaMode::kDirect) m.k.iommu().probe(sim::PhysAddr(testing_kernel::Bus::kIommu));
    kernel::Device& device = m.k.devices().device_add("0000:01:10.0", sim::RequesterId(0x180), c.mode);
    m.k.devices().device_bind(device, first);
    if (c.return_before_unbind) first.give_back();
    m.k.devices().device_unbind(device);
    if (c.remove) m.k.devices().device_del(device);
    if (c.rebind) m.k.devices().device_bind(device, second);
    kernel::msleep(100);
    first.give_back();
    kernel::msleep(3000);
    if (c.rebind) {
      second.give_back();
      m.k.devices().device_unbind(device);
      kernel::msleep(3000);
    }
    finished = true;
  });
  m.run(20);
  EXPECT_TRUE(finished || !m.k.oopses().empty());
  check.finish();
  Outcome o{{}, check.summary(), checker::findings_text(check)};
  const auto counts = checker::finding_counts(check);
  for (const auto& [name, count] : counts.items()) o.findings[name] = count;
  return o;
}

using Findings = std::map<std::string, std::uint64_t>;

TEST(CheckerLaws, PagesThatCameBackInTimeLeaveNothingToFind) {
  const Outcome o = run({.return_before_unbind = true});
  EXPECT_EQ(o.findings, Findings{}) << o.text;
  EXPECT_EQ(o.summary.unmap_after_destroy, 0u);
  EXPECT_EQ(o.summary.unmap_inside_destroy, 64u);
}

TEST(CheckerLaws, StockUnmapsLateAndTheCheckerCountsEachPage) {
  const Outcome o = run({});
  EXPECT_EQ(o.findings, (Findings{{"late_unmap", 40}})) << o.text;
  EXPECT_EQ(o.summary.unmap_inside_destroy, 24u);
  EXPECT_EQ(o.summary.unmap_after_destroy, 40u);
  EXPECT_NE(o.text.find("held by 40 x"), std::string::npos) << o.text;
}

TEST(CheckerLaws, StockIsLateInLazyModeToo) {
  const Outcome o = run({.mode = DmaMode::kLazy});
  EXPECT_EQ(o.findings, (Findings{{"late_unmap", 40}})) << o.text;
}

TEST(CheckerLaws, StockIsLateInPassthroughToo) {
  const Outcome o = run({.mode = DmaMode::kPassthrough});
  EXPECT_EQ(o.findings, (Findings{{"late_unmap", 40}})) << o.text;
}

TEST(CheckerLaws, StockWithTheDeviceRemovedOopses) {
  const Outcome o = run({.remove = true});
  EXPECT_EQ(o.findings.at("null_domain_oops"), 1u) << o.text;
  EXPECT_EQ(o.findings.at("late_unmap"), 1u) << o.text;
  EXPECT_EQ(o.findings.at("stalled_shutdown"), 1u) << o.text;
  ASSERT_TRUE(o.summary.oops.has_value());
  EXPECT_EQ(o.summary.oops->symbol, "iommu_get_dma_domain");
  EXPECT_EQ(o.summary.oops->address, 0xa8u);
  EXPECT_EQ(o.summary.leaked_pages, 40u) << o.text;
}

TEST(CheckerLaws, MergedFixUnmapsInsideDestroy) {
  const Outcome o = run({.strategy = "xarray_merged", .remove = true});
  EXPECT_EQ(o.findings, Findings{}) << o.text;
  EXPECT_EQ(o.summary.unmap_inside_destroy, 64u);
  EXPECT_EQ(o.summary.unmap_after_destroy, 0u);
}

TEST(CheckerLaws, ScanUnmapsInsideDestroy) {
  const Outcome o = run({.strategy = "scan", .remove = true});
  EXPECT_EQ(o.findings, Findings{}) << o.text;
  EXPECT_EQ(o.summary.unmap_inside_destroy, 64u);
}

TEST(CheckerLaws, ResetDmaOpsLeakMappingsAndIovas) {
  Case c;
  c.config.clear_dma_ops_on_unbind = true;
  const Outcome o = run(c);
  EXPECT_EQ(o.findings, (Findings{{"late_unmap", 40}, {"leaked_mapping", 40}, {"leaked_iova", 40}}))
      << o.text;
}

TEST(CheckerLaws, BoundAgainWithTheSameDomainIsStillLate) {
  const Outcome o = run({.rebind = true});
  EXPECT_EQ(o.findings, (Findings{{"late_unmap", 40}})) << o.text;
}

TEST(CheckerLaws, BoundAgainWithANewDomainHitsTheNextOwner) {
  Case c;
  c.rebind = true;
  c.config.replace_domain_on_rebind = true;
  const Outcome o = run(c);
  EXPECT_EQ(o.findings.at("late_unmap"), 40u) << o.text;
  EXPECT_GT(o.findings.at("foreign_unmap"), 0u) << o.text;
  EXPECT_GT(o.findings.at("double_unmap"), 0u) << o.text;
  EXPECT_TRUE(o.summary.iova_reused_while_held);
}

}  // namespace
