// SPDX-License-Identifier: Apache-2.0
#include "testbenches/scenario/probe.h"

#include <bit>
#include <nlohmann/json.hpp>

#include "pagepool/page_ops.h"
#include "testbenches/scenario/run.h"
#include "testbenches/scenario/script.h"

namespace scenario {
namespace {

constexpr unsigned kLoops = 4096;
constexpr unsigned kMapped = 1024;  // pages mapped and unmapped one by one

class Prober {
 public:
  Prober(platform::Machine& machine, Script& script, std::uint64_t pages, ProbeResult& result)
      : machine_(machine), script_(script), pages_(pages), r_(result) {}

  void operator()() {
    if (script_.bind() != 0) throw sim::ModelError("the driver could not be bound");
    kernel::usleep(1000);  // the device has its descriptors
    recycling();
    mapping();
    in_flight();
    done = true;
    machine_.simulation().timeline().stop();
  }
  bool done = false;

 private:
  std::shared_ptr<pagepool::Pool> make_pool(unsigned ring) {
    pagepool::PoolParams params;
    params.pool_size = ring;
    params.flags = pagepool::PP_FLAG_DMA_MAP | pagepool::PP_FLAG_DMA_SYNC_DEV;
    params.max_len = 2048;
    auto pool = machine_.pools().factory()(script_.device(), params);
    if (pool == nullptr) throw sim::ModelError("the probe's page_pool could not be made");
    return pool;
  }
  /// Cycles of `body` with bottom halves off, as in a NAPI poll.
  template <class Body>
  static double cycles(Body body) {
    kernel::local_bh_disable();
    kernel::this_cpu().sync();
    const kernel::Cycle begin = kernel::this_cpu().now_cycles();
    body();
    const kernel::Cycle end = kernel::this_cpu().now_cycles();
    kernel::local_bh_enable();
    return static_cast<double>(end - begin);
  }

  void recycling() {
    const auto pool = make_pool(1024);
    const auto direct = [&] {
      for (unsigned i = 0; i < kLoops; ++i) pool->recycle_direct(*pool->alloc_page());
    };
    const auto ring = [&] {
      for (unsigned i = 0; i < kLoops; ++i) pool->put_full_page(*pool->alloc_page(), /*allow_direct=*/false);
    };
    cycles(direct);  // warm
    r_.cache_cycles = cycles(direct) / kLoops;
    cycles(ring);
    r_.ring_cycles = cycles(ring) / kLoops;
    pool->destroy();
  }

  void mapping() {
    const auto pool = make_pool(1024);
    std::vector<sim::Pfn> pages;
    pages.reserve(kMapped);
    const double mapped = cycles([&] {
      for (unsigned i = 0; i < kMapped; ++i) {
        const auto page = pool->alloc_page();
        if (!page) break;
        pages.push_back(*page);
      }
    });
    if (pages.empty()) return;
    r_.map_cycles = mapped / static_cast<double>(pages.size());
    for (const sim::Pfn page : pages) pagepool::get_page(machine_.kernel(), page);
    const double unmapped = cycles([&] {
      for (const sim::Pfn page : pages) pool->put_full_page(page, /*allow_direct=*/false);
    });
    r_.unmap_cycles = unmapped / static_cast<double>(pages.size());
    for (const sim::Pfn page : pages) pagepool::put_page(machine_.kernel(), page);
    pool->destroy();
  }

  void in_flight() {
    const auto pool = make_pool(0);
    r_.pages_asked = pages_;
    for (std::uint64_t i = 0; i < pages_; ++i) {
      if (!pool->alloc_page()) break;
      ++r_.pages_in_flight;
    }
    const auto& log = machine_.kernel().dmesg();
    if (r_.pages_in_flight < pages_ && !log.empty()) r_.stopped_by = log.back().text;
    r_.tracking_bytes = pool->state().tracking_bytes;
    const sim::Tick begin = kernel::this_cpu().now();
    pool->destroy();
    r_.destroy = kernel::this_cpu().now() - begin;
  }

  platform::Machine& machine_;
  Script& script_;
  std::uint64_t pages_;
  ProbeResult& r_;
};

}  // namespace

nlohmann::ordered_json ProbeResult::to_json() const {
  return {{"strategy", strategy},
          {"dma_mode", dma_mode},
          {"cache_cycles", cache_cycles},
          {"ring_cycles", ring_cycles},
          {"map_cycles", map_cycles},
          {"unmap_cycles", unmap_cycles},
          {"pages_asked", pages_asked},
          {"pages_in_flight", pages_in_flight},
          {"tracking_bytes", tracking_bytes},
          {"destroy_fs", destroy},
          {"stopped_by", stopped_by},
          {"cpu_seconds", cpu_seconds}};
}

ProbeResult ProbeResult::from_json(const nlohmann::ordered_json& j) {
  ProbeResult r;
  r.strategy = j.at("strategy");
  r.dma_mode = j.at("dma_mode");
  r.cache_cycles = j.at("cache_cycles");
  r.ring_cycles = j.at("ring_cycles");
  r.map_cycles = j.at("map_cycles");
  r.unmap_cycles = j.at("unmap_cycles");
  r.pages_asked = j.at("pages_asked");
  r.pages_in_flight = j.at("pages_in_flight");
  r.tracking_bytes = j.at("tracking_bytes");
  r.destroy = j.at("destroy_fs");
  r.stopped_by = j.at("stopped_by");
  r.cpu_seconds = j.at("cpu_seconds");
  return r;
}

ProbeResult probe(RunConfig config, std::uint64_t pages) {
  // Twice what is in flight, so that memory is not what ends it.
  const std::uint64_t memory = std::bit_ceil(2 * pages * sim::kPageSize + (std::uint64_t{1} << 30));
  config.machine.memory.bytes = std::max(config.machine.memory.bytes, memory);
  config.machine.kernel.cores = std::max(2u, config.machine.kernel.cores);
  config.machine.finish();
  ProbeResult result;
  result.strategy = config.machine.pool.strategy;
  const double before = cpu_seconds();
  platform::Machine machine(config.machine);
  Script script(machine, config.scenario);
  Prober prober(machine, script, pages, result);
  machine.kernel().spawn(config.machine.kernel.cores - 1, "probe", [&] { prober(); });
  machine.simulation().timeline().run_until(4 * 3600 * sim::kSecond);
  if (!prober.done) throw sim::ModelError("the probe did not come to its end");
  result.cpu_seconds = cpu_seconds() - before;
  return result;
}

}  // namespace scenario
