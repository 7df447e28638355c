// SPDX-License-Identifier: Apache-2.0
#include "pagepool/page_pools.h"
#include "platform/machine.h"
#include "platform/parameter_tables.h"

namespace platform {
namespace {

void register_memory(ParameterSet& set, MemoryConfig& c) {
  set.address("memory.base", c.base.value, "first physical address of DRAM");
  set.size("memory.size", c.bytes, std::uint64_t{64} << 20, std::uint64_t{16} << 40,
           "DRAM, in whole pages (rounded down); costs host memory only where it is touched");
  set.text("memory.nodes", c.map.nodes, "sizes of the nodes from memory.base on, e.g. '2 GiB, 2 GiB'; empty: one node");
  set.text("memory.holes", c.map.holes, "ranges without memory, OFFSET+SIZE, e.g. '1 GiB+64 MiB'; multiples of 2 MiB");
  set.text("memory.hotpluggable", c.map.hotpluggable,
           "ranges that are not there at boot, OFFSET+SIZE; multiples of 128 MiB (scenario.hotplug plugs the first)");
  set.boolean("memory.huge_host_pages", c.huge_host_pages,
              "2-MiB pages of the host behind DRAM: faster when much memory is used at random, dearer for each place touched");
  register_buddy(set, c.buddy);
}

void register_caches(ParameterSet& set, mm::CacheConfig& c) {
  set.size("memory.cache.l1_size", c.l1_bytes, 64, 1 << 20, "L1 of a core: sets x ways x 64 bytes, sets a power of two");
  set.integer("memory.cache.l1_ways", c.l1_ways, 1, 32, "its ways");
  set.size("memory.cache.l2_size", c.l2_bytes, 64, 64 << 20, "L2 of a core, which contains L1");
  set.integer("memory.cache.l2_ways", c.l2_ways, 1, 32, "its ways");
  set.size("memory.cache.llc_size", c.llc_bytes, 64, 1 << 30, "last-level cache of the socket, which contains every L2");
  set.integer("memory.cache.llc_ways", c.llc_ways, 1, 32, "its ways");
  set.boolean("memory.cache.ddio", c.ddio,
              "device writes go into the last-level cache; off: the next look at the line goes to DRAM");
  set.integer("memory.cache.ddio_ways", c.ddio_ways, 1, 32,
              "ways of the last-level cache in which device writes are allocated, pushing out what is there");
}

void register_pool(ParameterSet& set, pagepool::PoolOptions& c) {
  std::vector<std::string> keys;
  for (const auto& s : pagepool::strategies()) keys.push_back(s.key);
  set.text("pool.strategy", c.strategy, "what becomes of the mappings of pages in flight", keys);
  set.choice("pool.version", c.version,
             {{"6.12", pagepool::PoolVersion::v6_12}, {"6.18", pagepool::PoolVersion::v6_18}},
             "kernel whose page_pool rules apply beside the strategy");
  set.integer("pool.release_period_ms", c.release_period_ms, 1, 3'600'000,
              "DEFER_TIME, between rounds of the release work");
  set.integer("pool.warn_interval_ms", c.warn_interval_ms, 1, 3'600'000, "DEFER_WARN_INTERVAL");
  set.integer("pool.size", c.pool_size, 0, 32768, "ring entries; 0: what the driver asks for");
  set.boolean("pool.debug_net", c.debug_net, "CONFIG_DEBUG_NET");
  set.integer("pool.fail_track_nth", c.fail_track_nth, 0, ~std::uint64_t{0},
              "the n-th allocation of tracking memory of a pool fails (from 1; 0: none)");
  set.integer("pool.fail_track_times", c.fail_track_times, 1, ~std::uint64_t{0}, "and so many from there on");
}

void register_driver(ParameterSet& set, nic::DriverConfig& c) {
  set.integer("nic.driver.descriptors", c.rx.descriptors, 8, 4096, "RX ring, a multiple of 8");
  set.integer("nic.driver.tx_descriptors", c.tx.descriptors, 8, 4096, "TX ring of the PF, a multiple of 8");
  set.integer("nic.driver.buffer_bytes", c.rx.buffer_bytes, 1024, 4096,
              "RX buffer in a page, a multiple of 1024");
  set.integer("nic.driver.pthresh", c.rx.pthresh, 0, 31, "RXDCTL.PTHRESH");
  set.integer("nic.driver.hthresh", c.rx.hthresh, 0, 31, "RXDCTL.HTHRESH");
  set.integer("nic.driver.wthresh", c.rx.wthresh, 0, 31, "RXDCTL.WTHRESH");
  set.boolean("nic.driver.page_fragments", c.rx.page_fragments, "RX buffers are pieces of pages: several skbs hold a page");
  set.boolean("nic.driver.drop_enable", c.rx.drop_enable, "SRRCTL.DROP_EN");
  set.integer("nic.driver.pool_size", c.rx.pool_size, 0, 32768,
              "page_pool ring the driver asks for; 0: its descriptors");
  set.integer("nic.driver.itr_us", c.itr_us, 0, 8191, "interrupt moderation, microseconds");
  set.integer("nic.driver.queues", c.queues, 1, 8,
              "receive queues of the PF, by RSS: a ring, a vector and a page_pool each, on cores from rx_cpu on");
  set.integer("nic.driver.leak_mappings", c.rx.leak_mappings, 0, 4096,
              "a bug of the driver: so many pages that it maps when it opens and never unmaps");
  set.integer("nic.driver.rx_cpu", c.rx_cpu, 0, 31, "core that takes the RX interrupt");
  set.integer("nic.driver.vf_enable_ms", c.vf_enable_ms, 0, 10'000, "wait of pci_enable_sriov");
  set.integer("nic.driver.vf_disable_ms", c.vf_disable_ms, 0, 10'000, "wait of pci_disable_sriov");
  set.boolean("nic.driver.quiesce", c.quiesce, "remove() stops the queue and clears bus mastering");
}

void register_stack(ParameterSet& set, nic::StackConfig& c) {
  constexpr sim::Tick kHour = 3600 * sim::kSecond;
  set.time("stack.ipfrag_time", c.ipfrag_time, sim::kMicrosecond, kHour,
           "net.ipv4.ipfrag_time: how long an incomplete datagram waits");
  set.time("stack.ip6frag_time", c.ip6frag_time, sim::kMicrosecond, kHour,
           "net.ipv6.ip6frag_time: the same for IPv6");
  set.integer(
      "stack.ipfrag_max_dist", c.ipfrag_max_dist, 0, 1'000'000,
      "net.ipv4.ipfrag_max_dist: other fragments of a peer after which a queue starts anew; 0: never");
  set.integer(
      "stack.skb_defer_max", c.skb_defer_max, 0, 65536,
      "net.core.skb_defer_max: skbs that wait for the core that received them; 0: freed where they are read");
  set.time("stack.gro_flush_timeout", c.gro_flush_timeout, 0, kHour,
           "net.gro_flush_timeout of every device; 0: GRO is flushed whenever NAPI completes");
  set.time("stack.tcp_orphan_time", c.tcp_orphan_time, sim::kMillisecond, kHour,
           "how long a closed TCP socket waits for the acknowledgement of its FIN");
}

}  // namespace

void register_machine(ParameterSet& set, MachineConfig& config) {
  register_simulation(set, config.simulation);
  register_memory(set, config.memory);
  register_caches(set, config.kernel.cache);
  register_dram(set, config.dram);
  register_iommu(set, config.iommu);
  register_interconnect(set, config.interconnect);
  register_root_port(set, config.root_port);
  register_link(set, config.link);
  register_imsic(set, config.imsic);
  register_kernel(set, config.kernel);
  register_pool(set, config.pool);
  register_nic(set, config.nic);
  register_driver(set, config.driver);
  register_stack(set, config.stack);
}

}  // namespace platform
