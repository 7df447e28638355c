// SPDX-License-Identifier: Apache-2.0
// Every strategy of the thread, crossed with every mode of the DMA API, with dma-debug off and on, in one
// short scenario: the VF is removed while datagrams are unread and fragments wait, and everything comes back
// within milliseconds. Each cell runs, keeps the laws of conservation (which the run checks at its end), and
// finds what follows from the published facts about the strategy and the mode - no more, no less. The facts
// stand here; no strategy knows them.
#include <gtest/gtest.h>

#include <set>

#include "pagepool/page_pools.h"
#include "testbenches/scenario/compare.h"

namespace {

using scenario::RunConfig;
using scenario::RunResult;
using Classes = std::set<std::string>;

struct Cell {
  std::string strategy, mode;
  bool debug;
};
void PrintTo(const Cell& c, std::ostream* out) {
  *out << c.strategy << '_' << c.mode << (c.debug ? "_debug" : "");
}

constexpr const char* kOfTheThread[] = {
    "stock",          "stall_unregister", "item_array",         "item_blocks",  "scan",
    "scan_release",   "destroy_flag",     "scan_lock_on_match", "tracked_list", "tracked_xarray_flag",
    "dma_bulk_unmap", "domain_detach",    "robust_dma_api",     "xarray_merged"};

bool any_of(const std::string& strategy, std::initializer_list<const char*> all) {
  return std::ranges::any_of(all, [&](const char* s) { return strategy == s; });
}

/// Facts: sheet page_pool, section 3 (late unmaps by situation) and section 4 (the strategies).
Classes expected(const Cell& c) {
  const bool translated = c.mode == "strict" || c.mode == "lazy";
  const bool syncs = c.mode == "swiotlb";  // only there does a coherent device need them
  // Whose destroy does not set dma_sync := false, and whose pages go on belonging to the pool.
  const bool goes_on_syncing = any_of(c.strategy, {"stock", "scan", "scan_lock_on_match", "tracked_list",
                                                   "tracked_xarray_flag", "dma_bulk_unmap", "domain_detach"});
  Classes found;
  if (c.strategy == "stock") {
    found.insert("late_unmap");
    // "iommu, device removed: NULL deref of dev->iommu_group"; what was to be released after it never is.
    if (translated) found.insert({"null_domain_oops", "leaked_page", "leaked_mapping", "stalled_shutdown"});
  }
  // "destroyer cannot tell a page already returned from one still held": it frees what a socket has.
  if (c.strategy == "destroy_flag") found.insert("use_after_free");
  // "leave the pool believing that it no longer has to unmap": nobody does.
  if (c.strategy == "domain_detach") found.insert("leaked_mapping");
  // "unmap everything this device has": the ring's descriptors, too, which the driver then frees. Coherent
  // memory is in the IOMMU's page table, and in dma-debug's; not in the bounce slots.
  if (c.strategy == "dma_bulk_unmap" && translated) found.insert({"double_unmap", "kernel_warning"});
  if (goes_on_syncing && syncs) found.insert("late_dma_api");
  if (c.debug) {
    // "device driver has pending DMA allocations while released from device": what nobody had unmapped by
    // then.
    if (any_of(c.strategy, {"stock", "domain_detach"})) found.insert("kernel_warning");
    // "tries to free DMA memory it has not allocated": the descriptors again.
    if (c.strategy == "dma_bulk_unmap") found.insert("kernel_warning");
    // "tries to sync DMA memory it has not allocated".
    if (goes_on_syncing && syncs) found.insert("kernel_warning");
  }
  return found;
}

class Matrix : public ::testing::TestWithParam<Cell> {};

TEST_P(Matrix, FindsWhatFollowsFromTheFacts) {
  const Cell& cell = GetParam();
  RunConfig config;
  scenario::load(
      config, POOLSIM_SOURCE_DIR "/testbenches/scenarios/unbind_short.yaml",
      {"pool.strategy=" + cell.strategy, "kernel.dma_mode=" + cell.mode,
       std::string("kernel.dma_debug=") + (cell.debug ? "true" : "false"),
       // All is held until the unbind is over, and back before the end; the memory can be walked meanwhile.
       "scenario.close_delay=4 ms", "stack.ipfrag_time=4 ms", "scenario.end_delay=12 ms",
       "memory.size=192 MiB", "kernel.swiotlb=4 MiB"});
  const RunResult r = scenario::run_jobs({{config, {}}}, 1)[0];
  EXPECT_TRUE(r.finished);
  EXPECT_EQ(r.bind_error, 0);
  EXPECT_EQ(r.pages_outstanding, 32u);
  Classes found;
  for (const auto& [kind, n] : r.findings) found.insert(kind);
  EXPECT_EQ(found, expected(cell)) << r.findings_text();
  EXPECT_EQ(r.dma_debug, cell.debug);
  if (cell.debug) {
    const bool left = any_of(cell.strategy, {"stock", "domain_detach"});
    EXPECT_EQ(r.dma_debug_pending, left ? 32u : 0u);
    EXPECT_FALSE(r.dma_debug_disabled);
  }
  EXPECT_EQ(r.swiotlb_full, 0u);
}

std::vector<Cell> cells() {
  std::vector<Cell> all;
  for (const char* strategy : kOfTheThread) {
    for (const char* mode : {"strict", "lazy", "passthrough", "swiotlb"}) {
      for (const bool debug : {false, true}) all.push_back({strategy, mode, debug});
    }
  }
  return all;
}
INSTANTIATE_TEST_SUITE_P(Strategies, Matrix, ::testing::ValuesIn(cells()),
                         [](const auto& info) { return ::testing::PrintToString(info.param); });

TEST(MatrixOf, FourteenStrategiesThatAllExist) {
  EXPECT_EQ(cells().size(), 14u * 4 * 2);
  for (const char* strategy : kOfTheThread) EXPECT_NO_THROW(pagepool::find_strategy(strategy));
}

}  // namespace
