// SPDX-License-Identifier: Apache-2.0
// The kernel's page_pool bench, in the modelled kernel: same shape (pool of 1024, softirq, nothing mapped),
// cost of one alloc and put in cycles. Published (J. Dangaard Brouer, x86): fast 19, ptr_ring 54, slow 238.
// No path has a cost of its own: what comes out is the sum of the primitives in kernel/costs.yaml and of the
// profile.
#include <algorithm>
#include <fstream>
#include <iostream>
#include <regex>
#include <string>

#include "pagepool/page_ops.h"
#include "testbenches/tests/pagepool/sim_harness.h"

namespace {

using namespace pagepool;

enum class Shape { fast, ring, slow };

/// kernel/costs-x86-3.6GHz.yaml: the machine of the published figures. Every line names its source.
void load_profile(kernel::Costs& costs) {
  std::ifstream file(POOLSIM_SOURCE_DIR "/kernel/costs-x86-3.6GHz.yaml");
  ASSERT_TRUE(file);
  const std::regex form(R"(^    (\w+): (\d+) +# \[[BI]\] .*$)");
  unsigned read = 0;
  for (std::string line; std::getline(file, line);) {
    std::smatch m;
    if (!std::regex_match(line, m, form)) continue;
    const auto fields = kernel::cost_fields();
    const auto field =
        std::find_if(fields.begin(), fields.end(), [&](const auto& f) { return f.name == m[1].str(); });
    ASSERT_NE(field, fields.end()) << line;
    costs.*field->member = std::stoull(m[2]);
    ++read;
  }
  ASSERT_EQ(read, 2u);
}

double cycles_per_pair(Shape shape) {
  constexpr unsigned kLoops = 1'000'000;
  double cycles = 0;
  kernel::KernelConfig config;
  load_profile(config.costs);
  testing_pagepool::PoolMachine m({}, config);
  m.run_bound(kernel::DmaMode::kDirect, 10, [&](kernel::Device& device) {
    PoolParams params;
    params.pool_size = 1024;
    auto pool = m.pools.create(device, params);
    kernel::local_bh_disable();
    if (shape == Shape::ring) {
      // The bench puts 64 pages into the ring first; then each pair takes one page out of it and puts one in.
      std::vector<sim::Pfn> pages;
      for (int i = 0; i < 64; ++i) pages.push_back(*pool->alloc_page());
      for (sim::Pfn page : pages) pool->put_full_page(page, false);
    }
    auto pair = [&] {
      sim::Pfn page = *pool->alloc_page();
      if (shape == Shape::slow) get_page(m.k, page);
      pool->put_full_page(page, shape != Shape::ring);
      if (shape == Shape::slow) put_page(m.k, page);
    };
    for (int i = 0; i < 2000; ++i) pair();
    sim::Cycle begin = kernel::this_cpu().now_cycles();
    for (unsigned i = 0; i < kLoops; ++i) pair();
    cycles = static_cast<double>(kernel::this_cpu().now_cycles() - begin) / kLoops;
    kernel::local_bh_enable();
  });
  std::cout << cycles << " cycles per alloc and put\n";
  return cycles;
}

TEST(ModelledBench, Fast) { EXPECT_NEAR(cycles_per_pair(Shape::fast), 19, 1.9); }
TEST(ModelledBench, PtrRing) { EXPECT_NEAR(cycles_per_pair(Shape::ring), 54, 5.4); }
TEST(ModelledBench, Slow) { EXPECT_NEAR(cycles_per_pair(Shape::slow), 238, 23.8); }

}  // namespace
