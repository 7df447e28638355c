// SPDX-License-Identifier: Apache-2.0
// Simulation, memory, and the rooms of this folder.
#include "platform/parameter_tables.h"

#include "mm/dram_timing.h"

namespace platform {
namespace {
constexpr std::uint64_t kAny = ~std::uint64_t{0};
}

void register_simulation(ParameterSet& set, sim::SimulationConfig& c) {
  set.integer("simulation.seed", c.seed, 0, kAny, "seed of all random streams");
  set.integer("simulation.experiment", c.experiment, 0, kAny, "number of the experiment under this seed");
  set.boolean("simulation.every_cycle", c.time.every_cycle,
              "tick every module at every edge (slow; same result)");
  set.boolean("simulation.run_ahead", c.time.run_ahead, "run ahead of SystemC where nothing can notice");
}

void register_dram(ParameterSet& set, mm::DramConfig& c) {
  std::vector<std::string> standards;
  for (const mm::DramTiming& t : mm::dram_standards()) standards.emplace_back(t.name);
  set.text("dram.standard", c.standard, "speed grade of the devices", standards);
  set.integer("dram.channels", c.channels, 1, 64, "channels, a power of two; a DDR5 subchannel is one");
  set.integer("dram.ranks", c.ranks, 1, 16, "ranks of a channel, a power of two");
  set.text("dram.mapping", c.mapping,
           "address bits above a burst, least significant first: il, ro, brc or e.g. "
           "bank_group:2,column:7,bank:2,row:16");
  set.integer("dram.read_queue", c.read_queue, 1, 1024, "read bursts queued in a channel");
  set.integer("dram.write_queue", c.write_queue, 1, 1024, "write bursts queued in a channel");
  set.integer("dram.write_high", c.write_high, 1, 1024, "waiting writes that start a drain");
  set.integer("dram.write_low", c.write_low, 0, 1024,
              "a drain ends when reads wait and no more writes than this do");
  set.integer("dram.age_cap_cycles", c.age_cap_cycles, 1, 1'000'000,
              "memory cycles after which a request is not passed by row hits of its bank any more");
  set.boolean("dram.refresh", c.refresh, "refresh the devices");
  set.boolean("dram.same_bank_refresh", c.same_bank_refresh,
              "refresh one bank of each bank group at a time (DDR5)");
  set.boolean("dram.ecc.secded", c.ecc.secded, "SECDED over 64 + 8 bits; off: wrong bits pass unseen");
  set.boolean("dram.ecc.on_die", c.ecc.on_die, "correction inside DDR5 devices; nothing for DDR4");
  set.integer("dram.disturbance_threshold", c.disturbance_threshold, 0, 1'000'000'000,
              "activations next to a row, without a refresh, that flip one of its bits; 0: never");
  const auto& schedulers = mm::dram_schedulers();
  set.choice("dram.scheduler", c.scheduler, {schedulers.begin(), schedulers.end()},
             "order of the requests of a channel");
  const auto& policies = mm::page_policies();
  set.choice("dram.page_policy", c.page_policy, {policies.begin(), policies.end()}, "when a row is closed");
}

void register_buddy(ParameterSet& set, mm::BuddyConfig& c) {
  set.integer("memory.min_free_pages", c.min_free_pages, 0, kAny,
              "pages of a zone kept for reclaim contexts");
  set.integer("memory.pcp_batch", c.pcp_batch, 0, 4096,
              "pages that move at once between a core's page list and its zone; 0: no lists");
  set.integer("memory.pcp_high", c.pcp_high, 0, 65536, "pages of a core's list above which a batch goes back");
  set.integer("memory.fail_page_alloc.probability_percent", c.fail_page_alloc.probability_percent, 0, 100,
              "share of page allocations that fail");
  set.integer("memory.fail_page_alloc.min_order", c.fail_page_alloc.min_order, 0, 10,
              "smaller orders never fail");
  set.integer("memory.fail_page_alloc.interval", c.fail_page_alloc.interval, 1, kAny,
              "only every n-th candidate may fail");
  set.integer("memory.fail_page_alloc.space", c.fail_page_alloc.space, 0, kAny, "candidates that pass first");
  set.integer("memory.fail_page_alloc.times", c.fail_page_alloc.times, 0, kAny, "failures at most");
}

void register_link(ParameterSet& set, PcieLinkConfig& c) {
  set.clock("link.clock", c.clock, "clock of the link's controllers");
  set.integer("link.generation", c.generation, 1, 5, "PCIe generation");
  set.integer("link.width", c.width, 1, 32, "lanes: 1, 2, 4, 8, 12, 16 or 32");
  set.size("link.max_payload", c.max_payload_bytes, 128, 4096, "MPS, a power of two");
  set.size("link.max_read_request", c.max_read_request_bytes, 128, 4096, "MRRS, a power of two");
  set.size("link.read_completion_boundary", c.read_completion_boundary_bytes, 64, 128,
           "RCB: 64 or 128 bytes");
  set.boolean("link.split_at_rcb", c.split_at_rcb, "completions of one RCB each instead of up to MPS");
  set.boolean("link.ecrc", c.ecrc, "end-to-end CRC: 4 more bytes a TLP");
  set.boolean("link.pad_to_dword", c.pad_to_dword, "count payload in whole double words");
  set.boolean("link.dllp_overhead", c.dllp_overhead,
              "take the share of Ack, UpdateFC and SKP from the bandwidth");
  set.time("link.latency", c.latency, 0, sim::kMillisecond, "one way, without serialisation");
  set.integer("link.tags", c.tags, 32, 768, "outstanding read requests of the device: 32, 256 or 768");
  set.size("link.transmit_buffer", c.transmit_buffer_bytes, 0, 1 << 20,
           "what a transmitter takes beyond the TLP on the wire");
  set.integer("link.receive_buffer", c.receive_buffer_requests, 1, 65536,
              "requests sent and not yet taken by the other side");
  const auto credits = [&](const std::string& prefix, CreditLimits& l, const std::string& who) {
    const std::string end = ", advertised by the " + who + "; 0 = infinite";
    set.integer(prefix + ".posted_headers", l.posted_headers, 0, 127, "PH credits" + end);
    set.integer(prefix + ".posted_data", l.posted_data, 0, 2047, "PD credits (16 bytes)" + end);
    set.integer(prefix + ".nonposted_headers", l.nonposted_headers, 0, 127, "NPH credits" + end);
    set.integer(prefix + ".nonposted_data", l.nonposted_data, 0, 2047, "NPD credits" + end);
    set.integer(prefix + ".completion_headers", l.completion_headers, 0, 127, "CPLH credits" + end);
    set.integer(prefix + ".completion_data", l.completion_data, 0, 2047, "CPLD credits" + end);
  };
  credits("link.root_credits", c.root_credits, "root port");
  credits("link.device_credits", c.device_credits, "device");
  set.integer("link.update_fc_symbols", c.update_fc_symbols, 0, 100'000,
              "between two UpdateFC at least; 0 = one for each TLP freed");

}

void register_root_port(ParameterSet& set, RootPortConfig& c) {
  set.clock("root_port.clock", c.clock, "clock of the root port");
  set.address("root_port.ecam_base", c.ecam.base, "configuration window");
  set.size("root_port.ecam_size", c.ecam.size, 1 << 20, 256 << 20, "1 MiB a bus");
  set.address("root_port.mmio_base", c.mmio.base, "PCI memory window");
  set.size("root_port.mmio_size", c.mmio.size, 1 << 20, 1ull << 40, "PCI memory window");
  set.integer("root_port.secondary_bus", c.secondary_bus, 1, 255, "bus number of the link");
  set.integer("root_port.subordinate_bus", c.subordinate_bus, 1, 255, "last bus behind the port");
  set.integer("root_port.downstream_cycles", c.downstream_cycles, 1, 100'000, "CPU request to link");
  set.integer("root_port.upstream_cycles", c.upstream_cycles, 1, 100'000,
              "device request or completion onward");
  set.time("root_port.completion_timeout", c.completion_timeout, sim::kMicrosecond, 64 * sim::kSecond,
           "a CPU read that nobody answers gives all ones after this time");
  set.integer("root_port.nonposted", c.nonposted, 1, 1024, "CPU accesses outstanding on the link");
  set.integer("root_port.upstream_buffer", c.upstream_buffer, 1, 4096, "device requests that wait for the IOMMU");
  set.integer("root_port.downstream_buffer", c.downstream_buffer, 1, 4096, "CPU requests held");
}

void register_interconnect(ParameterSet& set, InterconnectConfig& c) {
  set.clock("interconnect.clock", c.clock, "clock of the interconnect");
  set.integer("interconnect.request_cycles", c.request_cycles, 1, 100'000, "initiator to target");
  set.integer("interconnect.response_cycles", c.response_cycles, 1, 100'000, "target to initiator");
  set.size("interconnect.width", c.width_bytes, 1, 4096, "data path of each port");
  set.integer("interconnect.outstanding", c.outstanding, 1, 65536,
              "requests of one initiator without a response");
}

void register_imsic(ParameterSet& set, ImsicConfig& c) {
  set.address("imsic.base", c.base, "interrupt file of core 0; one page a core");
  set.integer("imsic.identities", c.identities, 63, 2047,
              "highest interrupt identity, one less than a multiple of 64");
}

}  // namespace platform
