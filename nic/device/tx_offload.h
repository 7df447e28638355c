// SPDX-License-Identifier: Apache-2.0
// What the transmit path does to a packet's bytes: checksum insertion, VLAN insertion, TCP/UDP segmentation.
// Pure functions; lengths that do not fit the packet switch the offload off instead of reading outside it.
// Source: 82576 datasheet 7.2.4 (TCP segmentation), 7.2.5 (checksum offloading).
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>

namespace nic {

struct TxOffload {
  // From the context descriptor.
  std::uint32_t mac_bytes = 0;
  std::uint32_t ip_bytes = 0;
  std::uint32_t l4_bytes = 0;
  std::uint32_t mss = 0;
  bool ipv4 = false;
  enum class L4Type : std::uint8_t { kUdp = 0, kTcp = 1, kSctp = 2, kReserved = 3 } l4 = L4Type::kUdp;
  // From the data descriptor.
  bool segment = false;      ///< DCMD.TSE
  bool ip_checksum = false;  ///< POPTS.IXSM
  bool l4_checksum = false;  ///< POPTS.TXSM
  bool insert_vlan = false;
  std::uint16_t vlan_tci = 0;
  std::uint16_t vlan_ethertype = 0x8100;
  bool double_vlan = false;  ///< CTRL_EXT.EXT_VLAN: the inserted tag goes behind an outer one
  bool insert_fcs = true;    ///< DCMD.IFCS; else the last four bytes of the data are the FCS
  bool pad_short = false;    ///< TCTL.PSP
  // Legacy descriptors: one checksum from `legacy_start` to the end, stored at `legacy_offset`.
  bool legacy_checksum = false;
  std::uint32_t legacy_start = 0;
  std::uint32_t legacy_offset = 0;

  std::size_t header_bytes() const { return std::size_t{mac_bytes} + ip_bytes + l4_bytes; }
};

inline constexpr std::size_t kMaxTxFrame = 16 * 1024;

/// Number of frames the packet becomes: 1 without segmentation, 0 if it cannot be sent (lengths that do not
/// fit, MSS 0, a frame larger than 16 KiB).
std::uint32_t tx_frames(std::size_t packet_bytes, const TxOffload& offload);

/// Builds frame `i` into `out` (at least kMaxTxFrame + 64 bytes) and returns its length, without FCS.
std::size_t build_tx_frame(std::span<const std::uint8_t> packet, const TxOffload& offload, std::uint32_t i,
                           std::span<std::uint8_t> out);

}  // namespace nic
