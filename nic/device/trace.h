// SPDX-License-Identifier: Apache-2.0
// Typed events of the NIC, for the checker, text traces and pcap. They cost nothing without a subscriber.
// Calling context of the listeners: inside the device's tick; they must not call back into the device.
#pragma once
#include <cstdint>
#include <span>

#include "sim/probe.h"
#include "sim/types.h"

namespace nic {

/// Why a frame, or a copy of it for one pool, did not reach a host buffer. Each has its counter in NicStats.
enum class DropReason : std::uint8_t {
  kLinkDown,          ///< STATUS.LU = 0
  kReceiveDisabled,   ///< RCTL.EN = 0
  kUndersize,         ///< shorter than 64 bytes with FCS, RCTL.SBP = 0 (RUC)
  kOversize,          ///< LPE / RLPML (ROC)
  kAddressFilter,     ///< no MAC, multicast or VLAN filter matched
  kPacketBufferFull,  ///< MPC
  kQueueDisabled,     ///< RXDCTL.ENABLE = 0, or VFRE = 0
  kNoDescriptor,      ///< DROP_EN and no descriptor posted (RQDPC)
  kQueueStopped,      ///< the queue stopped after a failed descriptor fetch
  kReset,             ///< function or device reset, or VF disable, with the frame inside
  kCount
};
const char* to_string(DropReason reason);

/// A frame has completely arrived at the MAC (bytes without FCS).
struct PacketArrived {
  static constexpr const char* kName = "nic_packet_arrived";
  std::uint64_t serial;  ///< number of the frame since power-on
  std::span<const std::uint8_t> frame;
  sim::Tick time;
};
/// A frame goes out on the wire, first bit now (bytes without FCS).
struct PacketSent {
  static constexpr const char* kName = "nic_packet_sent";
  std::span<const std::uint8_t> frame;
  sim::Tick time;
};
struct PacketDropped {
  static constexpr const char* kName = "nic_packet_dropped";
  std::uint64_t serial;
  DropReason reason;
  int queue;  ///< -1: before a queue was chosen
  sim::Tick time;
};
/// A frame has been handed to the PCIe core for one queue, last payload TLP issued.
struct PacketDelivered {
  static constexpr const char* kName = "nic_packet_delivered";
  std::uint64_t serial;
  unsigned queue;
  std::uint32_t bytes;
  sim::Tick time;
};
/// A descriptor is on chip now: the device will use this buffer address even if the host unmaps it.
struct DescriptorFetched {
  static constexpr const char* kName = "nic_descriptor_fetched";
  unsigned queue;
  bool transmit;
  std::uint32_t index;
  sim::Iova buffer;
  sim::Iova header;  ///< header buffer, receive queues only
  sim::RequesterId requester;
  sim::Tick time;
};
/// Descriptors that were on chip are forgotten (queue disabled, function reset) without being used.
struct DescriptorsDiscarded {
  static constexpr const char* kName = "nic_descriptors_discarded";
  unsigned queue;
  bool transmit;
  std::uint32_t count;
  sim::RequesterId requester;
  sim::Tick time;
};
/// One payload MWr TLP has left for the link.
struct BufferWritten {
  static constexpr const char* kName = "nic_buffer_written";
  std::uint64_t serial;
  unsigned queue;
  std::uint32_t index;  ///< descriptor
  sim::Iova address;
  std::uint32_t bytes;
  sim::RequesterId requester;
  sim::Tick time;
};
/// One descriptor write-back TLP has left for the link.
struct WriteBack {
  static constexpr const char* kName = "nic_write_back";
  unsigned queue;
  bool transmit;
  std::uint32_t index;  ///< first descriptor
  std::uint32_t count;
  sim::Iova address;
  sim::RequesterId requester;
  sim::Tick time;
};
struct InterruptSent {
  static constexpr const char* kName = "nic_interrupt_sent";
  unsigned vector;  ///< MSI-X table entry of the function
  std::uint64_t address;
  std::uint32_t data;
  sim::RequesterId requester;
  sim::Tick time;
};
/// A descriptor read or transmit data read came back with UR or CA: the queue is stopped.
struct ReadFailed {
  static constexpr const char* kName = "nic_read_failed";
  unsigned queue;
  bool transmit;
  sim::Iova address;
  sim::RequesterId requester;
  sim::Tick time;
};
struct FlrDone {
  static constexpr const char* kName = "nic_flr_done";
  int vf;  ///< -1: the PF
  sim::RequesterId requester;
  sim::Tick time;
};
struct VfEnabled {
  static constexpr const char* kName = "nic_vf_enabled";
  unsigned count;
  sim::Tick time;
};
struct VfDisabled {
  static constexpr const char* kName = "nic_vf_disabled";
  unsigned vf;
  sim::RequesterId requester;
  sim::Tick time;
};
struct BusMasterChanged {
  static constexpr const char* kName = "nic_bus_master_changed";
  sim::RequesterId requester;
  bool enabled;
  sim::Tick time;
};

struct NicTracepoints {
  sim::Tracepoint<PacketArrived> packet_arrived;
  sim::Tracepoint<PacketSent> packet_sent;
  sim::Tracepoint<PacketDropped> packet_dropped;
  sim::Tracepoint<PacketDelivered> packet_delivered;
  sim::Tracepoint<DescriptorFetched> descriptor_fetched;
  sim::Tracepoint<DescriptorsDiscarded> descriptors_discarded;
  sim::Tracepoint<BufferWritten> buffer_written;
  sim::Tracepoint<WriteBack> write_back;
  sim::Tracepoint<InterruptSent> interrupt_sent;
  sim::Tracepoint<ReadFailed> read_failed;
  sim::Tracepoint<FlrDone> flr_done;
  sim::Tracepoint<VfEnabled> vf_enabled;
  sim::Tracepoint<VfDisabled> vf_disabled;
  sim::Tracepoint<BusMasterChanged> bus_master_changed;
};

}  // namespace nic
