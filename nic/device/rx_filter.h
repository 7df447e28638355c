// SPDX-License-Identifier: Apache-2.0
// Where a received frame goes: MAC, multicast hash and VLAN filters, VMDq pools, size limits, queue
// selection. Source: 82576 datasheet 7.1.1 (packet filtering and queue assignment), 7.10.3 (VMDq switching).
#pragma once
#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "nic/device/frame.h"
#include "nic/device/register_file.h"
#include "nic/device/rss.h"
#include "nic/device/trace.h"

namespace nic {

struct RxDecision {
  std::uint16_t queues = 0;  ///< one bit a queue, one copy each; 0 = dropped
  DropReason reason = DropReason::kAddressFilter;
  RssResult rss;
  std::uint16_t etqf_type = 0;   ///< packet type of a matched ETQF, 0 = none
  std::uint16_t strip_vlan = 0;  ///< per queue
  std::uint16_t keep_fcs = 0;    ///< per queue
  bool inexact = false;          ///< passed by hash or promiscuous mode only (PIF)
};

class RxFilter {
 public:
  explicit RxFilter(RegisterFile& regs) : regs_(regs) {}

  /// A filter register was written, or a reset.
  void invalidate() { dirty_ = true; }

  /// `pool_exclude`: pools that must not get it (the sender's, for VM-to-VM loopback).
  RxDecision decide(std::span<const std::uint8_t> frame, const FrameInfo& info, unsigned pool_exclude = 0);

  /// Pools whose receive address equals `mac` exactly (VM-to-VM switching), 0 = none.
  unsigned exact_pools(std::span<const std::uint8_t> frame);
  /// Whether the frame's source address is a receive address of `pool`.
  bool owns_source(std::span<const std::uint8_t> frame, unsigned pool);
  /// Pools that are members of the tag's VLAN (VLVF).
  unsigned pools_of_vlan(std::uint16_t tci) const;
  bool vmdq() const {
    const auto mode = mrqc::mrqe(regs_[reg::MRQC]);
    return mode == mrqc::kVmdq || mode == mrqc::kVmdqRss;
  }

 private:
  struct Match {
    bool accept = false;
    bool exact = false;
    bool hash = false;  ///< multicast hash table
    unsigned pools = 0;
  };
  void refresh();
  inline Match match_address(std::span<const std::uint8_t> frame);
  bool control_frame(std::span<const std::uint8_t> frame, Match& match) const;
  inline bool vlan_passes(const FrameInfo& info) const;
  bool multicast_hash_hit(std::span<const std::uint8_t> frame) const;
  inline bool unicast_hash_hit(std::span<const std::uint8_t> frame) const;
  unsigned vlan_pools(const FrameInfo& info) const;
  inline unsigned pools_for(std::span<const std::uint8_t> frame, const FrameInfo& info, const Match& match) const;
  inline void choose_pool_queues(std::span<const std::uint8_t> frame, const FrameInfo& info, unsigned pools,
                          RxDecision& d);
  inline void choose_queue(const FrameInfo& info, RxDecision& d);
  inline bool etqf_queue(const FrameInfo& info, RxDecision& d) const;

  struct Address {
    std::uint64_t mac;
    unsigned pools;
  };
  RegisterFile& regs_;
  bool dirty_ = true;
  std::vector<Address> addresses_;
  std::uint32_t ethertype_filters_ = 0;  // ETQFs that are on
  ToeplitzHash toeplitz_;
  std::array<std::uint8_t, ToeplitzHash::kKeyBytes> key_{};
  bool key_known_ = false;
};

}  // namespace nic
