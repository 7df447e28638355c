// SPDX-License-Identifier: Apache-2.0
// page_pool on this machine (NativeEnv). Shapes as in the kernel's own bench: a pool of 1024, nothing mapped.
//   Cache     alloc, put straight into the cache
//   Ring      64 allocs, 64 puts into the ring, per page
//   Bulk      64 allocs, 64 puts in bulks of 16, per page
//   Slow      alloc, put of a page with an extra reference: it leaves the pool, then the holder frees it
//   Fragment  alloc and put of a quarter page
// The kernel's own source, compiled in user space on the same class of machine: cache 5.5-6.2 ns,
// ring 15.7-17.1, bulk 9.6-12.5, slow 41 (stub allocator), fragment 14 ns.
#include <benchmark/benchmark.h>

#include <array>
#include <cstdlib>

#include "pagepool/native_env.h"

namespace {

using pagepool::NativeEnv;
using pagepool::NativeNetmem;

template <class Pool>
struct Bench {
  Bench() {
    NativeEnv::enter_cpu(0, true);
    typename Pool::Params params;
    params.pool_size = 1024;
    int err = 0;
    pool = Pool::create(env, params, -1, err);
  }
  ~Bench() { pool->destroy(); }
  NativeEnv env{16384};
  Pool* pool;
};

template <class Pool>
void cache(benchmark::State& state) {
  Bench<Pool> b;
  for (auto _ : state) {
    NativeNetmem page = b.pool->alloc_netmems();
    benchmark::DoNotOptimize(page);
    b.pool->put_full_netmem(page, true);
  }
}

template <class Pool>
void ring(benchmark::State& state) {
  Bench<Pool> b;
  std::array<NativeNetmem, 64> pages;
  // Drain what the first bulk left in the cache: from then on every page comes by the ring.
  for (auto _ : state) {
    for (NativeNetmem& page : pages) page = b.pool->alloc_netmems();
    for (NativeNetmem page : pages) b.pool->put_full_netmem(page, false);
  }
  state.SetItemsProcessed(state.iterations() * 64);
}

template <class Pool>
void bulk(benchmark::State& state) {
  Bench<Pool> b;
  std::array<NativeNetmem, 64> pages;
  for (auto _ : state) {
    for (NativeNetmem& page : pages) page = b.pool->alloc_netmems();
    for (std::size_t i = 0; i < 64; i += 16) {
      std::span<NativeNetmem> part = std::span(pages).subspan(i, 16);
      if constexpr (Pool::VersionPolicy::bulk_over_pools) {
        b.env.template put_netmem_bulk<Pool>(part);
      } else {
        b.pool->put_netmem_bulk(part);
      }
    }
  }
  state.SetItemsProcessed(state.iterations() * 64);
}

template <class Pool>
void slow(benchmark::State& state) {
  Bench<Pool> b;
  for (auto _ : state) {
    NativeNetmem page = b.pool->alloc_netmems();
    b.env.get_page(page);
    b.pool->put_full_netmem(page, true);
    b.env.put_page(page);
  }
}

template <class Pool>
void fragment(benchmark::State& state) {
  Bench<Pool> b;
  for (auto _ : state) {
    auto frag = b.pool->alloc_frag(1024);
    benchmark::DoNotOptimize(frag);
    b.pool->put_full_netmem(frag.netmem, true);
  }
}

using V612 = pagepool::NativePool<pagepool::V612, pagepool::Stock>;
using V618 = pagepool::NativePool<pagepool::V618, pagepool::XarrayMerged>;

/// POOLSIM_BENCH_ITERATIONS=n: exactly n iterations, for counting instructions (scripts/instructions.sh).
void configure(benchmark::internal::Benchmark* bench) {
  const char* iterations = std::getenv("POOLSIM_BENCH_ITERATIONS");
  if (iterations && std::atoi(iterations) > 0) bench->Iterations(std::atoi(iterations));
}
BENCHMARK(cache<V612>)->Name("BM_PagePool/Cache/6.12")->Apply(configure);
BENCHMARK(cache<V618>)->Name("BM_PagePool/Cache/6.18")->Apply(configure);
BENCHMARK(ring<V612>)->Name("BM_PagePool/Ring/6.12")->Apply(configure);
BENCHMARK(ring<V618>)->Name("BM_PagePool/Ring/6.18")->Apply(configure);
BENCHMARK(bulk<V612>)->Name("BM_PagePool/Bulk/6.12")->Apply(configure);
BENCHMARK(bulk<V618>)->Name("BM_PagePool/Bulk/6.18")->Apply(configure);
BENCHMARK(slow<V612>)->Name("BM_PagePool/Slow/6.12")->Apply(configure);
BENCHMARK(slow<V618>)->Name("BM_PagePool/Slow/6.18")->Apply(configure);
BENCHMARK(fragment<V612>)->Name("BM_PagePool/Fragment/6.12")->Apply(configure);
BENCHMARK(fragment<V618>)->Name("BM_PagePool/Fragment/6.18")->Apply(configure);

}  // namespace
