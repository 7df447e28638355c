// SPDX-License-Identifier: Apache-2.0
// The Intel 82576 Ethernet controller (PF and up to 8 SR-IOV VFs) as a clocked TLM device.
//
// What is modelled: PCI configuration space (PM, MSI-X, PCIe with FLR, AER, ARI, SR-IOV), the CSR space of PF
// and VFs, mailbox, NVM and PHY, MSI-X interrupts with moderation, receive filtering (MAC, multicast hash,
// VLAN, VMDq pools, RSS), the packet buffer, per-queue descriptor caches with prefetch and write-back
// thresholds, all advanced receive descriptor types, transmission with checksum offload and TSO. Not
// modelled: INTx messages, flow control frames, time stamping, manageability, MACsec and IPsec.
// Source: Intel 82576EB datasheet revision 2.65; the chip decides where other models of it differ.
//
// Sockets (64 bit wide TLM-2.0 base protocol, early completion as described in sim/payload.h):
//   config   target     address = (function number relative to the PF) << 12 | register; 1, 2 or 4 bytes.
//                       A function that does not exist answers UR (TLM_ADDRESS_ERROR_RESPONSE).
//   mmio     target     PCI memory addresses; the device decodes its own BARs; 4 bytes (8 in the MSI-X
//   table).
//                       What no BAR claims answers UR. What a read shows has been posted before its answer.
//   dma      initiator  memory reads and posted writes, each with its function's requester id in the DmaTag.
//   wire_in  target     a write of the frame's bytes (without FCS) at the start of its first bit. The MAC
//   keeps
//                       line rate: frames queue on the wire up to NicConfig::wire_queue_frames; the request
//                       that fills the queue returns TLM_ACCEPTED and its END_REQ comes when there is room
//                       again.
//   wire_out initiator  frames in the same form, at the time of their first bit; may stay unbound.
// b_transport does the same function at once (posted queues are not flushed); transport_dbg reads registers
// without side effects and writes nothing.
#pragma once
#include <functional>
#include <memory>
#include <span>
#include <string_view>
#include <systemc>
#include <tlm>
#include <vector>

#include "nic/device/config.h"
#include "nic/device/stats.h"
#include "nic/device/trace.h"
#include "sim/simulation.h"

namespace nic {

class Nic final : public sc_core::sc_module, public sim::Clocked {
 public:
  using WireOutSocket =
      tlm::tlm_initiator_socket<64, tlm::tlm_base_protocol_types, 1, sc_core::SC_ZERO_OR_MORE_BOUND>;

  tlm::tlm_target_socket<64> config;
  tlm::tlm_target_socket<64> mmio;
  tlm::tlm_initiator_socket<64> dma;
  tlm::tlm_target_socket<64> wire_in;
  WireOutSocket wire_out;

  Nic(sc_core::sc_module_name name, sim::Simulation& sim, const NicConfig& config = {});
  ~Nic() override;

  sim::Wakeup tick(sim::Cycle now) override;

  NicTracepoints& trace();
  const NicStats& stats() const;
  const NicConfig& configuration() const;
  void stats(
      const std::function<void(std::string_view name, double value, std::string_view unit)>& out) const;

  /// Laws of conservation: arrived = delivered + dropped + inside, for frames and for copies. Throws
  /// sim::ModelError when broken. Cheap; call it at any time between ticks.
  void check_conservation() const;

  /// True when nothing is in flight inside the device: no frame, no TLP waiting or outstanding, no register
  /// access.
  bool idle() const;

  // Faults.
  /// Flips bits of head or tail of receive queue `queue`, as the device sees them. False: the queue is off.
  bool corrupt_pointer(unsigned queue, bool tail, std::uint16_t flips);
  /// The cable: without it frames are lost in both directions.
  void set_cable(bool plugged);
  /// Receive queues that are on.
  std::vector<unsigned> enabled_queues() const;

  /// A receive descriptor that the device holds on chip.
  struct HeldDescriptor {
    std::uint32_t index;
    sim::Iova buffer;
    sim::Iova header;
    bool used;  ///< written to, waiting for its write-back
  };
  /// Calls `out` for every descriptor that receive queue `queue` holds, oldest first.
  void held_descriptors(unsigned queue, const std::function<void(const HeldDescriptor&)>& out) const;

 private:
  class Core;
  class Port;

  void wire_push(tlm::tlm_generic_payload& payload, sim::Tick arrival);
  tlm::tlm_sync_enum wire_request(tlm::tlm_generic_payload& payload, tlm::tlm_phase& phase,
                                  sim::Tick arrival);
  tlm::tlm_sync_enum access_request(tlm::tlm_generic_payload& payload, tlm::tlm_phase& phase,
                                    sim::Tick arrival, bool to_config);
  bool functional_access(tlm::tlm_generic_payload& payload, bool to_config, bool side_effects);
  void blocking_access(tlm::tlm_generic_payload& payload, bool to_config);
  tlm::tlm_sync_enum dma_answer(tlm::tlm_generic_payload& payload, const tlm::tlm_phase& phase,
                                sim::Tick arrival);
  void queue_answer(sim::Transaction& transaction, sim::Tick arrival);
  tlm::tlm_sync_enum send_tlp(sim::Transaction& transaction);
  void send_frame(std::span<const std::uint8_t> frame);
  void answer_access(tlm::tlm_generic_payload& payload, bool to_config);
  void release_wire();

  std::unique_ptr<Core> core_;
  std::vector<std::unique_ptr<Port>> ports_;
  tlm::tlm_generic_payload* wire_held_ = nullptr;
  tlm::tlm_generic_payload* config_held_ = nullptr;
  tlm::tlm_generic_payload* mmio_held_ = nullptr;
  tlm::tlm_generic_payload* link_waits_for_ = nullptr;
};

}  // namespace nic
