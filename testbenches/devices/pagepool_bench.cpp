// SPDX-License-Identifier: Apache-2.0
// A plain SystemC testbench of the page_pool in the modelled kernel: core 0 is a driver that receives into
// pages of a pool, core 1 an application that reads late. The driver is unbound while pages are out; the
// strategy decides who unmaps them. Checks the counts, writes the pool's counters as a waveform.
//
//   pagepool_bench [WAVEFORM.vcd] [STRATEGY]
#include <deque>
#include <systemc>
#include <tlm>

#include "kernel/kernel.h"
#include "pagepool/page_pools.h"
#include "waveforms/vcd.h"

namespace {

/// The cores' bus leads nowhere here: the pool needs memory only.
struct NoRegisters : sc_core::sc_module, tlm::tlm_fw_transport_if<> {
  explicit NoRegisters(sc_core::sc_module_name name) : sc_module(name) { socket.bind(*this); }
  tlm::tlm_target_socket<64> socket{"socket"};
  tlm::tlm_sync_enum nb_transport_fw(tlm::tlm_generic_payload& p, tlm::tlm_phase&,
                                     sc_core::sc_time&) override {
    p.set_response_status(tlm::TLM_ADDRESS_ERROR_RESPONSE);
    return tlm::TLM_COMPLETED;
  }
  void b_transport(tlm::tlm_generic_payload&, sc_core::sc_time&) override {}
  bool get_direct_mem_ptr(tlm::tlm_generic_payload&, tlm::tlm_dmi&) override { return false; }
  unsigned transport_dbg(tlm::tlm_generic_payload&) override { return 0; }
};

struct Driver : kernel::Driver {
  Driver() : kernel::Driver("bench") {}
  int probe(kernel::Device&) override { return 0; }
  void remove(kernel::Device&) override { pool->destroy(); }
  std::shared_ptr<pagepool::Pool> pool;
};

int failures = 0;
void check(bool ok, const char* what) {
  fmt::print("{} {}\n", ok ? "ok    " : "FAILED", what);
  failures += ok ? 0 : 1;
}

}  // namespace

int sc_main(int argc, char** argv) {
  // The machine: 1 GiB of memory and two cores.
  sim::Simulation simulation;
  mm::SparseStore store(sim::PhysAddr(0x8000'0000), std::uint64_t{1} << 30);
  mm::PageFrames frames(store);
  mm::Trace mm_trace;
  mm::BuddyAllocator buddy(frames, mm_trace, simulation.random("buddy"));
  kernel::CpuPort port("cpu_port", simulation);
  NoRegisters bus("bus");
  port.socket.bind(bus.socket);
  kernel::Kernel kernel(simulation, store, frames, buddy, port);
  pagepool::PoolOptions options;
  options.strategy = argc > 2 ? argv[2] : "xarray_merged";
  options.version =
      options.strategy == "xarray_merged" ? pagepool::PoolVersion::v6_18 : pagepool::PoolVersion::v6_12;
  pagepool::PagePools pools(kernel, mm_trace, options);
  waveforms::VcdWriter vcd(simulation.probes(), argc > 1 ? argv[1] : "pagepool_bench.vcd");

  unsigned unmapped_bound = 0, unmapped_late = 0;
  kernel.trace().dma_unmapped.subscribe(
      [&](const kernel::DmaUnmapped& e) { ++(e.driver_bound ? unmapped_bound : unmapped_late); });

  Driver driver;
  std::deque<sim::Pfn> receive_queue;
  pagepool::PoolState at_destroy;
  int unread = 0;

  kernel.spawn(0, "driver", [&] {
    kernel::Device& device =
        kernel.devices().device_add("0000:01:10.0", sim::RequesterId(0x180), kernel::DmaMode::kDirect);
    kernel.devices().device_bind(device, driver);
    pagepool::PoolParams params;
    params.pool_size = 256;
    params.flags = pagepool::PP_FLAG_DMA_MAP;
    driver.pool = pools.create(device, params);
    for (int round = 0; round < 100; ++round) {  // one NAPI poll each
      kernel::local_bh_disable();
      for (int i = 0; i < 8; ++i) {
        sim::Pfn page = *driver.pool->alloc_page();
        kernel::work(250);  // build the packet
        if (i % 4 == 0) {
          driver.pool->recycle_direct(page);  // dropped by the driver
        } else {
          receive_queue.push_back(page);
        }
      }
      kernel::local_bh_enable();
      kernel::usleep(10);
    }
    kernel::msleep(5);  // the application has done its first reading by now
    unread = static_cast<int>(receive_queue.size());
    kernel.devices().device_unbind(device);
    at_destroy = driver.pool->state();
  });
  kernel.spawn(1, "application", [&] {
    for (int round = 0; round < 40; ++round) {
      kernel::usleep(20);
      for (int i = 0; i < 10 && !receive_queue.empty(); ++i) {
        pools.napi_pp_put_page(receive_queue.front());
        receive_queue.pop_front();
      }
    }
    kernel::msleep(1500);  // the rest is read after the driver is gone
    for (; !receive_queue.empty(); receive_queue.pop_front()) pools.napi_pp_put_page(receive_queue.front());
  });
  simulation.timeline().run_until(5 * sim::kSecond);
  vcd.close();

  fmt::print("strategy {}\n{}", options.strategy, pools.dump(/*gone_too=*/true));
  fmt::print("in flight when the driver was unbound: {}; unmapped with a driver {}, without {}\n",
             at_destroy.inflight, unmapped_bound, unmapped_late);
  pagepool::PoolState end = driver.pool->state();
  check(unread > 0 && at_destroy.inflight == unread, "in flight at unbind is what nobody had read");
  check(driver.pool->gone(), "the pool was freed when the last page came back");
  check(end.hold == end.release, "every page that was held was released");
  check(unmapped_bound + unmapped_late == end.hold, "every page was unmapped once");
  check(options.strategy != "xarray_merged" || unmapped_late == 0,
        "xarray_merged unmaps nothing after unbind");
  check(buddy.verify().empty(), "the allocator's lists are consistent");
  check(kernel.warnings().empty() && kernel.oopses().empty(), "no warning, no oops");
  return failures == 0 ? 0 : 1;
}
