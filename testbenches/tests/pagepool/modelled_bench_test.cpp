// SPDX-License-Identifier: Apache-2.0
// The kernel's page_pool bench, in the modelled kernel: same shape (pool of 1024, softirq, nothing mapped),
// cost of one alloc and put in cycles. Published (J. Dangaard Brouer, x86): fast 19, ptr_ring 54, slow 238.
// No path has a cost of its own: what comes out is the sum of the primitives in kernel/costs.h.
#include "pagepool/page_ops.h"
#include "testbenches/tests/pagepool/sim_harness.h"

namespace {

using namespace pagepool;

enum class Shape { fast, ring, slow };

double cycles_per_pair(Shape shape) {
  constexpr unsigned kLoops = 100'000;
  double cycles = 0;
  // The default lock pair is the arm64 one (37 cycles); the bench ran on x86: a locked compare-and-exchange
  // and a plain store.
  kernel::KernelConfig config;
  config.costs.spin_lock = 18;
  config.costs.spin_unlock = 2;
  testing_pagepool::PoolMachine m({}, config);
  m.run_bound(kernel::DmaMode::kDirect, 10, [&](kernel::Device& device) {
    PoolParams params;
    params.pool_size = 1024;
    auto pool = m.pools.create(device, params);
    kernel::local_bh_disable();
    if (shape == Shape::ring) {
      // The bench fills the ring first; then each pair takes one page out of it and puts one in.
      std::vector<sim::Pfn> pages;
      for (int i = 0; i < 512; ++i) pages.push_back(*pool->alloc_page());
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
  return cycles;
}

TEST(ModelledBench, Fast) { EXPECT_NEAR(cycles_per_pair(Shape::fast), 19, 1.9); }
TEST(ModelledBench, PtrRing) { EXPECT_NEAR(cycles_per_pair(Shape::ring), 54, 5.4); }
TEST(ModelledBench, Slow) { EXPECT_NEAR(cycles_per_pair(Shape::slow), 238, 23.8); }

}  // namespace
