// SPDX-License-Identifier: Apache-2.0
#include "platform/parameter_tables.h"

namespace platform {

void register_nic(ParameterSet& set, nic::NicConfig& c) {
  set.integer("nic.clock_hz", c.clock_hz, 1'000'000, 10'000'000'000, "core clock, hertz");
  set.rate("nic.wire_bits_per_second", c.wire_bits_per_second, 10'000'000, 1'000'000'000'000, "MAC rate");
  set.integer("nic.wire_queue_frames", c.wire_queue_frames, 1, 256, "frames waiting in front of the MAC");
  set.integer("nic.descriptor_cache_depth", c.descriptor_cache_depth, 8, 256,
              "descriptors on chip per queue");
  set.size("nic.descriptor_fetch_bytes", c.descriptor_fetch_bytes, 64, 512, "largest descriptor fetch");
  set.size("nic.packet_buffer_bytes", c.packet_buffer_bytes, 8 << 10, 1 << 20, "receive packet buffer");
  set.size("nic.max_payload_bytes", c.max_payload_bytes, 128, 4096, "DevCap.MPS");
  set.size("nic.reset_payload_bytes", c.reset_payload_bytes, 128, 4096, "DevCtl.MPS after reset");
  set.size("nic.reset_read_request_bytes", c.reset_read_request_bytes, 128, 4096, "DevCtl.MRRS after reset");
  set.integer("nic.outstanding_reads", c.outstanding_reads, 1, 256, "memory reads in flight");
  set.integer("nic.datapath_bytes_per_cycle", c.datapath_bytes_per_cycle, 8, 256, "internal data path");
  set.integer("nic.total_vfs", c.total_vfs, 0, 8, "SR-IOV TotalVFs");
  set.address("nic.pf_requester", c.pf_requester.value, "requester id of the PF");
  set.mac_address("nic.mac_address", c.mac_address, "Ethernet address of the PF");
  set.boolean("nic.link_up_at_reset", c.link_up_at_reset, "link is up without negotiation");
  set.integer("nic.rx_filter_cycles", c.rx_filter_cycles, 0, 100'000, "end of frame to first data TLP");
  set.integer("nic.descriptor_decode_cycles", c.descriptor_decode_cycles, 0, 100'000, "fetched to usable");
  set.integer("nic.interrupt_cycles", c.interrupt_cycles, 0, 100'000, "cause to MSI-X TLP");
  set.integer("nic.register_cycles", c.register_cycles, 0, 100'000, "register access inside the device");
  set.integer("nic.tx_pipeline_cycles", c.tx_pipeline_cycles, 0, 100'000, "packet on chip to first bit");
  set.integer("nic.autonegotiation_us", c.autonegotiation_us, 0, 60'000'000,
              "PHY after a restart, microseconds");
}

}  // namespace platform
