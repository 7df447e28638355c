// SPDX-License-Identifier: Apache-2.0
#include "nic/device/rx_filter.h"

#include <bit>
#include <cstring>

namespace nic {
namespace {

constexpr std::uint32_t kFcsBytes = 4, kNormalLimit = 1522;
constexpr std::uint16_t kMacControl = 0x8808;
constexpr std::uint64_t kBroadcast = 0xFFFFFFFFFFFF;
constexpr std::uint32_t kFilterEnable = bit(26);  // of an ETQF

std::uint64_t mac_at(std::span<const std::uint8_t> frame, std::size_t offset) {
  std::uint64_t mac = 0;
  std::memcpy(&mac, frame.data() + offset, 6);
  return mac;
}
std::uint64_t mac_of(std::span<const std::uint8_t> frame) { return mac_at(frame, 0); }

bool is_multicast(std::span<const std::uint8_t> frame) { return (frame[0] & 1) != 0; }

/// Index into MTA or UTA: 12 address bits chosen by RCTL.MO.
std::uint32_t hash_index(std::span<const std::uint8_t> frame, std::uint32_t rctl_value) {
  constexpr unsigned kShift[4] = {4, 3, 2, 0};
  const std::uint32_t bits = static_cast<std::uint32_t>(frame[5]) << 8 | frame[4];
  return (bits >> kShift[(rctl_value >> 12) & 3]) & 0xFFF;
}

}  // namespace

void RxFilter::refresh() {
  addresses_.clear();
  for (unsigned i = 0; i < 24; ++i) {
    const std::uint32_t high = regs_[reg::RAH(i)];
    if ((high & rah::AV) == 0) continue;
    addresses_.push_back(
        {static_cast<std::uint64_t>(high & 0xFFFF) << 32 | regs_[reg::RAL(i)], rah::pools(high)});
  }
  ethertype_filters_ = 0;
  for (unsigned i = 0; i < 8; ++i) {
    if ((regs_[reg::ETQF(i)] & kFilterEnable) != 0) ethertype_filters_ |= 1u << i;
  }
  std::array<std::uint8_t, ToeplitzHash::kKeyBytes> key;
  for (unsigned i = 0; i < key.size(); ++i) {
    key[i] = static_cast<std::uint8_t>(regs_[reg::RSSRK(i / 4)] >> (8 * (i % 4)));
  }
  if (key != key_ || !key_known_) {
    toeplitz_.set_key(key);
    key_ = key;
    key_known_ = true;
  }
  dirty_ = false;
}

unsigned RxFilter::exact_pools(std::span<const std::uint8_t> frame) {
  if (dirty_) refresh();
  const std::uint64_t mac = mac_of(frame);
  unsigned pools = 0;
  for (const Address& a : addresses_) {
    if (a.mac == mac) pools |= a.pools;
  }
  return pools;
}

bool RxFilter::owns_source(std::span<const std::uint8_t> frame, unsigned pool) {
  if (dirty_) refresh();
  const std::uint64_t mac = mac_at(frame, 6);
  for (const Address& a : addresses_) {
    if (a.mac == mac && (a.pools >> pool & 1) != 0) return true;
  }
  return false;
}

/// MAC control frames: pause frames may be discarded (RCTL.DPF) although their address matches, the others
/// pass without an address match (RCTL.PMCF). False: discard.
bool RxFilter::control_frame(std::span<const std::uint8_t> frame, Match& match) const {
  constexpr std::uint16_t kPause = 1;
  const std::uint32_t r = regs_[reg::RCTL];
  const bool pause = frame.size() >= 16 && load_be16(frame.data() + 14) == kPause;
  if (pause) return (r & rctl::DPF) == 0;
  if ((r & rctl::PMCF) != 0) match.accept = true;
  return true;
}

/// RCTL.VFE, CFIEN, CFI and VFTA.
bool RxFilter::vlan_passes(const FrameInfo& info) const {
  const std::uint32_t r = regs_[reg::RCTL];
  if ((r & rctl::VFE) == 0 || !info.tagged) return true;
  const bool cfi = (info.vlan_tci >> 12 & 1) != 0;
  if ((r & rctl::CFIEN) != 0 && cfi != ((r & rctl::CFI) != 0)) return false;
  const unsigned vid = info.vlan_tci & 0xFFF;
  return (regs_[reg::VFTA(vid >> 5)] >> (vid & 31) & 1) != 0;
}

bool RxFilter::multicast_hash_hit(std::span<const std::uint8_t> frame) const {
  const std::uint32_t hash = hash_index(frame, regs_[reg::RCTL]);
  return (regs_[reg::MTA(hash >> 5)] >> (hash & 31) & 1) != 0;
}

bool RxFilter::unicast_hash_hit(std::span<const std::uint8_t> frame) const {
  const std::uint32_t hash = hash_index(frame, regs_[reg::RCTL]);
  return (regs_[reg::UTA(hash >> 5)] >> (hash & 31) & 1) != 0;
}

RxFilter::Match RxFilter::match_address(std::span<const std::uint8_t> frame) {
  const std::uint32_t rctl_value = regs_[reg::RCTL];
  Match m;
  const std::uint64_t mac = mac_of(frame);
  for (const Address& a : addresses_) {
    if (a.mac != mac) continue;
    m.accept = m.exact = true;
    m.pools |= a.pools;
  }
  if (m.exact) return m;  // nobody asks about the hash tables
  if (mac == kBroadcast) {
    m.accept = (rctl_value & (rctl::BAM | rctl::MPE)) != 0;
  } else if (is_multicast(frame)) {
    m.hash = multicast_hash_hit(frame);
    m.accept = m.hash || (rctl_value & rctl::MPE) != 0;
  } else {
    m.hash = unicast_hash_hit(frame);
    m.accept = m.hash || (rctl_value & rctl::UPE) != 0;
  }
  return m;
}

/// Pools that VLAN filtering leaves (VLVF for tagged, VMOLR.AUPE for untagged frames).
unsigned RxFilter::vlan_pools(const FrameInfo& info) const {
  if (!info.tagged) {
    unsigned pools = 0;
    for (unsigned p = 0; p < kPools; ++p) {
      if ((regs_[reg::VMOLR(p)] & vmolr::AUPE) != 0) pools |= 1u << p;
    }
    return pools;
  }
  return pools_of_vlan(info.vlan_tci);
}

unsigned RxFilter::pools_of_vlan(std::uint16_t tci) const {
  unsigned pools = 0;
  for (unsigned i = 0; i < 32; ++i) {
    const std::uint32_t v = regs_[reg::VLVF(i)];
    if ((v & vlvf::VI_EN) != 0 && (v & 0xFFF) == (tci & 0xFFFu)) pools |= vlvf::pools(v);
  }
  return pools;
}

unsigned RxFilter::pools_for(std::span<const std::uint8_t> frame, const FrameInfo& info,
                             const Match& match) const {
  const std::uint32_t vt = regs_[reg::VT_CTL];
  const bool multicast = is_multicast(frame);
  unsigned pools = 0;
  if ((vt & vt_ctl::IGNORE_MAC) != 0) {
    pools = 0xFF;
  } else if (mac_of(frame) == kBroadcast) {
    for (unsigned p = 0; p < kPools; ++p) {
      if ((regs_[reg::VMOLR(p)] & vmolr::BAM) != 0) pools |= 1u << p;
    }
  } else if (match.exact) {
    pools = match.pools;
  } else {
    const std::uint32_t by_hash = multicast ? vmolr::ROMPE : vmolr::ROPE;
    for (unsigned p = 0; p < kPools; ++p) {
      const std::uint32_t v = regs_[reg::VMOLR(p)];
      if (match.hash && (v & by_hash) != 0) pools |= 1u << p;
      if (multicast && (v & vmolr::MPME) != 0) pools |= 1u << p;
    }
  }
  if ((regs_[reg::RCTL] & rctl::VFE) != 0) pools &= vlan_pools(info);
  const unsigned default_pool = 1u << vt_ctl::default_pool(vt);
  if (pools == 0 && !multicast && (vt & vt_ctl::DIS_DEF_POOL) == 0) pools = default_pool;
  // Without replication a frame has one receiver at most.
  if ((vt & vt_ctl::REPL_EN) == 0 && (pools & (pools - 1)) != 0) pools = pools & (~pools + 1);
  return pools;
}

bool RxFilter::etqf_queue(const FrameInfo& info, RxDecision& d) const {
  constexpr std::uint32_t kQueueEnable = bit(31);
  for (std::uint32_t m = ethertype_filters_; m != 0; m &= m - 1) {
    const auto i = static_cast<unsigned>(std::countr_zero(m));
    const std::uint32_t e = regs_[reg::ETQF(i)];
    if ((e & 0xFFFF) != info.ethertype) continue;
    d.etqf_type = static_cast<std::uint16_t>(rxd::ETQF | i);
    if ((e & kQueueEnable) == 0) return false;
    d.queues = static_cast<std::uint16_t>(1u << ((e >> 16) & 0xF));
    return true;
  }
  return false;
}

void RxFilter::choose_queue(const FrameInfo& info, RxDecision& d) {
  const std::uint32_t m = regs_[reg::MRQC];
  unsigned queue = (m >> 3) & 7;
  if (mrqc::mrqe(m) == mrqc::kRss && d.rss.type != 0) {
    const std::uint32_t entry = d.rss.hash & 0x7F;
    queue = (regs_[reg::RETA(entry / 4)] >> (8 * (entry % 4))) & 0xF;
  }
  if (!etqf_queue(info, d)) d.queues = static_cast<std::uint16_t>(1u << queue);
  if ((regs_[reg::CTRL] & ctrl::VME) != 0) d.strip_vlan = d.queues;
  if ((regs_[reg::RCTL] & rctl::SECRC) == 0) d.keep_fcs = d.queues;
}

void RxFilter::choose_pool_queues(std::span<const std::uint8_t> frame, const FrameInfo& info, unsigned pools,
                                  RxDecision& d) {
  etqf_queue(info, d);
  d.queues = 0;
  const std::uint32_t entry = d.rss.hash & 0x7F;
  const bool second = mrqc::mrqe(regs_[reg::MRQC]) == mrqc::kVmdqRss && d.rss.type != 0 &&
                      (regs_[reg::RETA(entry / 4)] >> (8 * (entry % 4)) & 1) != 0;
  bool oversize = false;
  for (; pools != 0; pools &= pools - 1) {
    const auto p = static_cast<unsigned>(std::countr_zero(pools));
    const std::uint32_t v = regs_[reg::VMOLR(p)];
    const std::uint32_t limit = (v & vmolr::LPE) != 0 ? vmolr::rlpml(v) : kNormalLimit;
    if (frame.size() + kFcsBytes > limit) {
      oversize = true;
      continue;
    }
    const unsigned queue = second && (v & vmolr::RSSE) != 0 ? p + 8 : p;
    const auto mask = static_cast<std::uint16_t>(1u << queue);
    d.queues |= mask;
    const bool replicated = is_multicast(frame) && (regs_[reg::VT_CTL] & vt_ctl::REPL_EN) != 0;
    const std::uint32_t offload = replicated ? regs_[reg::RPLOLR] : v;
    if ((offload & vmolr::STRVLAN) != 0) d.strip_vlan |= mask;
    if ((offload & vmolr::STRCRC) == 0) d.keep_fcs |= mask;
  }
  if (d.queues == 0 && oversize) d.reason = DropReason::kOversize;
}

RxDecision RxFilter::decide(std::span<const std::uint8_t> frame, const FrameInfo& info,
                            unsigned pool_exclude) {
  if (dirty_) refresh();
  RxDecision d;
  const std::uint32_t rctl_value = regs_[reg::RCTL];
  const std::uint32_t limit = (rctl_value & rctl::LPE) != 0 ? regs_[reg::RLPML] : kNormalLimit;
  if (frame.size() + kFcsBytes > limit) {
    d.reason = DropReason::kOversize;
    return d;
  }
  Match match = match_address(frame);
  if (info.ethertype == kMacControl && !control_frame(frame, match)) return d;
  if (!match.accept && !(vmdq() && (regs_[reg::VT_CTL] & vt_ctl::IGNORE_MAC) != 0)) return d;
  if (!vlan_passes(info)) return d;
  d.inexact = !match.exact;
  const std::uint32_t mode = mrqc::mrqe(regs_[reg::MRQC]);
  if (mode == mrqc::kRss || mode == mrqc::kVmdqRss)
    d.rss = rss_hash(toeplitz_, frame, info, regs_[reg::MRQC]);
  if (!vmdq()) {
    choose_queue(info, d);
    return d;
  }
  unsigned pools = pools_for(frame, info, match) & ~pool_exclude;
  const unsigned enabled = pools & regs_[reg::VFRE];
  if (enabled == 0 && pools != 0) d.reason = DropReason::kQueueDisabled;
  choose_pool_queues(frame, info, enabled, d);
  return d;
}

}  // namespace nic
