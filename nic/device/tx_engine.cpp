// SPDX-License-Identifier: Apache-2.0
#include "nic/device/tx_engine.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "sim/digest.h"

namespace nic {
namespace {

constexpr std::size_t kMaxPacket = 256 * 1024 + 1024;
constexpr std::uint32_t kFcsBytes = 4;
constexpr auto kSendDigest = sim::digest_tag("nic.send");

}  // namespace

TxEngine::TxEngine(Device& device, Interrupts& interrupts, ControlQueue& control, RxEngine& rx,
                   RxFilter& filter, Send send)
    : d_(device),
      irq_(interrupts),
      control_(control),
      rx_(rx),
      filter_(filter),
      send_(std::move(send)),
      packet_(kMaxPacket),
      frame_(kMaxTxFrame + 64) {
  queues_.reserve(kQueues);
  for (unsigned n = 0; n < kQueues; ++n)
    queues_.emplace_back(d_.regs, n, true, d_.config.descriptor_cache_depth);
}

bool TxEngine::may_send(unsigned n) const {
  const DescriptorQueue& q = queues_[n];
  if (q.valid() == 0 || !q.accepts_work() || !d_.may_master(d_.function_of_queue(n))) return false;
  if ((d_.regs[reg::TCTL] & tctl::EN) == 0) return false;
  // Pools transmit only with their VFTE bit.
  return !filter_.vmdq() || (d_.regs[reg::VFTE] >> (n % kPools) & 1) != 0;
}

bool TxEngine::pick_queue() {
  for (unsigned k = 0; k < kQueues && work_ != 0; ++k) {
    const unsigned n = (next_queue_ + k) % kQueues;
    if ((work_ >> n & 1) == 0) continue;
    if (queues_[n].valid() == 0) work_ &= ~(1u << n);
    if (!may_send(n)) continue;
    queue_ = n;
    next_queue_ = (n + 1) % kQueues;
    function_ = d_.function_of_queue(n);
    state_ = State::kGather;
    packet_bytes_ = 0;
    range_bytes_ = 0;
    options_known_ = eop_ = broken_ = false;
    offload_ = TxOffload{};
    return true;
  }
  return false;
}

bool TxEngine::advance(bool link_up) {
  bool changed = false;
  if (flush_mask_ != 0) flush_due();
  for (std::uint32_t m = disabling_mask_; m != 0; m &= m - 1) {
    maybe_finish_disable(queues_[static_cast<unsigned>(std::countr_zero(m))]);
  }
  for (;;) {
    switch (state_) {
      case State::kIdle:
        if (!link_up || work_ == 0 || !pick_queue()) return changed;
        break;
      case State::kGather:
        if (range_bytes_ != 0 && !broken_) return changed;
        if (!eop_) {
          if (!take_descriptor()) return changed;
        } else if (reads_in_flight_ == 0) {
          gathered();
        } else {
          return changed;
        }
        break;
      case State::kEmit:
        if (d_.now < emit_at_ || d_.sim.now() < wire_free_) return changed;
        emit_frame();
        break;
    }
    changed = true;
  }
}

/// Uses the next descriptor of the packet. False: it is not on chip yet.
bool TxEngine::take_descriptor() {
  DescriptorQueue& q = queues_[queue_];
  if (q.stopped()) return drop_packet(), true;
  if (q.valid() == 0) {
    if (q.disabling()) return drop_packet(), true;
    // A packet of more descriptors than the cache holds: let the first ones go.
    if (q.full()) {
      mark_done();
      control_.write_back(queue_, true);
    }
    return false;
  }
  DescriptorQueue::Entry& e = q.front();
  const auto dw2 = static_cast<std::uint32_t>(e.qw1);
  const auto dw3 = static_cast<std::uint32_t>(e.qw1 >> 32);
  const bool extended = (dw2 & txd::DEXT) != 0;
  e.report = (dw2 & txd::RS) != 0;
  e.arrived = false;  // not done: no write-back yet
  if (extended && txd::dtyp(dw2) == txd::dtyp(txd::DTYP_CONTEXT)) {
    contexts_[queue_][txd::idx(dw3) & 1] = {static_cast<std::uint32_t>(e.qw0), dw2, dw3};
    e.report = false;
    if (packet_bytes_ == 0 && !options_known_) e.arrived = true;
  } else {
    if (!options_known_) take_options(dw2, dw3);
    take_data(e);
  }
  q.consume();
  fetch_candidates_ |= 1u << queue_;
  // Only a context so far: the turn is over unless data follows.
  if (!options_known_ && q.valid() == 0) {
    control_.write_back(queue_, true);
    state_ = State::kIdle;
  }
  return true;
}

void TxEngine::take_options(std::uint32_t dw2, std::uint32_t dw3) {
  options_known_ = true;
  TxOffload& o = offload_;
  o.vlan_ethertype = static_cast<std::uint16_t>(d_.regs[reg::VET]);
  o.insert_fcs = (dw2 & txd::IFCS) != 0;
  o.double_vlan = (d_.regs[reg::CTRL_EXT] & ctrl_ext::EXT_VLAN) != 0;
  o.pad_short = (d_.regs[reg::TCTL] & tctl::PSP) != 0;
  o.insert_vlan = (dw2 & txd::VLE) != 0;
  if ((dw2 & txd::DEXT) == 0) {
    constexpr std::uint32_t kInsertChecksum = bit(26);
    o.legacy_checksum = (dw2 & kInsertChecksum) != 0;
    o.legacy_offset = dw2 >> 16 & 0xFF;
    o.legacy_start = dw3 >> 8 & 0xFF;
    o.vlan_tci = static_cast<std::uint16_t>(dw3 >> 16);
  } else {
    const Context& c = contexts_[queue_][txd::idx(dw3) & 1];
    o.ip_bytes = c.dw0 & 0x1FF;
    o.mac_bytes = c.dw0 >> 9 & 0x7F;
    o.vlan_tci = static_cast<std::uint16_t>(c.dw0 >> 16);
    o.ipv4 = (c.dw2 >> 10 & 1) != 0;
    o.l4 = static_cast<TxOffload::L4Type>(c.dw2 >> 11 & 3);
    o.l4_bytes = c.dw3 >> 8 & 0xFF;
    o.mss = c.dw3 >> 16;
    o.segment = (dw2 & txd::TSE) != 0;
    o.ip_checksum = (dw3 & txd::IXSM) != 0;
    o.l4_checksum = (dw3 & txd::TXSM) != 0;
  }
  // The PF's VLAN policy for the pool overrules the descriptor.
  constexpr std::uint32_t kDefault = bit(30), kNever = bit(31);
  const std::uint32_t policy = d_.regs[reg::VMVIR(queue_ % kPools)];
  if ((policy & kDefault) != 0) {
    o.insert_vlan = true;
    o.vlan_tci = static_cast<std::uint16_t>(policy);
  } else if ((policy & kNever) != 0) {
    o.insert_vlan = false;
  }
}

void TxEngine::take_data(DescriptorQueue::Entry& e) {
  const auto dw2 = static_cast<std::uint32_t>(e.qw1);
  const std::uint32_t bytes = txd::dtalen(dw2);
  eop_ = (dw2 & txd::EOP) != 0;
  if (packet_bytes_ + bytes > kMaxPacket) broken_ = true;
  if (broken_ || bytes == 0) return;
  range_address_ = e.qw0;
  range_bytes_ = bytes;
}

TxEngine::DataRead TxEngine::take_data_read() {
  const auto to_page_end = static_cast<std::uint32_t>(sim::kPageSize - range_address_ % sim::kPageSize);
  const std::uint32_t bytes = std::min({range_bytes_, d_.max_read_request(), to_page_end});
  const DataRead read{range_address_, bytes, static_cast<std::uint32_t>(packet_bytes_)};
  range_address_ += bytes;
  range_bytes_ -= bytes;
  packet_bytes_ += bytes;
  ++reads_in_flight_;
  return read;
}

void TxEngine::data_arrived(std::uint32_t generation, std::uint32_t offset,
                            std::span<const std::uint8_t> data, bool failed) {
  if (generation != packet_generation_) return;
  --reads_in_flight_;
  if (failed) {
    broken_ = true;
    range_bytes_ = 0;
    return;
  }
  std::memcpy(packet_.data() + offset, data.data(), data.size());
}

/// All descriptors taken so far may be written back.
void TxEngine::mark_done() {
  DescriptorQueue& q = queues_[queue_];
  for (std::uint32_t c = q.written_counter(); c != q.used_counter(); ++c) q.entry(c).arrived = true;
}

void TxEngine::packet_over() {
  DescriptorQueue& q = queues_[queue_];
  mark_done();
  const std::uint32_t threshold = dctl::wthresh(q.control());
  const int v = irq_.vector_of(queue_, true);
  const bool moderated = v >= 0 && irq_.moderated(static_cast<unsigned>(v));
  if (q.unwritten() >= threshold || q.full() || q.disabling() || !moderated) {
    control_.write_back(queue_, true);
  } else if ((flush_mask_ >> queue_ & 1) == 0) {
    flush_mask_ |= 1u << queue_;
    flush_at_[queue_] = std::max(d_.now, irq_.moderation_end(static_cast<unsigned>(v)));
  }
  if (q.valid() != 0) work_ |= 1u << queue_;
  ++packet_generation_;
  reads_in_flight_ = 0;
  range_bytes_ = 0;
}

void TxEngine::drop_packet() {
  ++d_.stats.tx_frames_dropped;
  packet_over();
  state_ = State::kIdle;
}

void TxEngine::gathered() {
  frames_ = broken_ ? 0 : tx_frames(packet_bytes_, offload_);
  if (frames_ == 0) return drop_packet();
  packet_over();
  frame_index_ = 0;
  emit_at_ = d_.now + d_.config.tx_pipeline_cycles;
  state_ = State::kEmit;
  if (offload_.segment) d_.regs.count(reg::TSCTC);
}

void TxEngine::emit_frame() {
  const std::size_t bytes =
      build_tx_frame(std::span(packet_).first(packet_bytes_), offload_, frame_index_, frame_);
  switch_frame(std::span(frame_).first(bytes));
  if (++frame_index_ == frames_) state_ = State::kIdle;
}

/// Whether the pool may not send this: a source address, or a VLAN, that is not its own (DTXSWC anti-spoof
/// checks).
bool TxEngine::spoofed(std::span<const std::uint8_t> frame) {
  const std::uint32_t checks = d_.regs[reg::DTXSWC];
  const unsigned pool = queue_ % kPools;
  if ((checks & (dtxswc::MACAS(pool) | dtxswc::VLANAS(pool))) == 0 || !filter_.vmdq() || frame.size() < 14)
    return false;
  if ((checks & dtxswc::MACAS(pool)) != 0 && !filter_.owns_source(frame, pool)) return true;
  // A tag that the PF's own policy (VMVIR default) put there is the PF's word.
  constexpr std::uint32_t kDefault = bit(30);
  if ((checks & dtxswc::VLANAS(pool)) == 0 || (d_.regs[reg::VMVIR(pool)] & kDefault) != 0) return false;
  const FrameInfo info = parse_frame(frame, {d_.regs[reg::VET], offload_.double_vlan, 0});
  return info.tagged && (filter_.pools_of_vlan(info.vlan_tci) >> pool & 1) == 0;
}

/// To the wire, to other pools, or both.
void TxEngine::switch_frame(std::span<const std::uint8_t> frame) {
  if (spoofed(frame)) {
    d_.regs[reg::WVBR] |= 1u << queue_;
    ++d_.stats.tx_frames_dropped;
    return;
  }
  count_sent(frame);
  const bool mac_loopback = (d_.regs[reg::RCTL] >> 6 & 3) == 1;
  if (mac_loopback) {
    rx_.frame_arrived(frame, true);
    return;
  }
  bool to_wire = true;
  const std::uint32_t dtxswc_value = d_.regs[reg::DTXSWC];
  if ((dtxswc_value & dtxswc::LOOPBACK_EN) != 0 && filter_.vmdq() && frame.size() >= 14) {
    const unsigned pool = queue_ % kPools;
    const bool own_loopback = (dtxswc_value & dtxswc::LLE(pool)) != 0;
    const unsigned exclude = own_loopback ? 0 : 1u << pool;
    const bool multicast = (frame[0] & 1) != 0;
    if (multicast || (filter_.exact_pools(frame) & ~exclude) != 0) {
      rx_.frame_looped(frame, exclude);
      ++d_.stats.tx_frames_looped;
      d_.regs[reg::PVTCTRL(pool) + 0x44] += 1;
      d_.regs[reg::PVTCTRL(pool) + 0x50] += static_cast<std::uint32_t>(frame.size()) + kFcsBytes;
      to_wire = multicast;
    }
  }
  if (!to_wire) return;
  d_.sim.note(kSendDigest, frame.size());
  const std::uint64_t wire_bytes = 8 + frame.size() + kFcsBytes + 12;
  wire_free_ = d_.sim.now() + wire_bytes * 8 * (sim::kSecond / d_.config.wire_bits_per_second);
  send_(frame);
}

void TxEngine::count_sent(std::span<const std::uint8_t> frame) {
  ++d_.stats.tx_frames_sent;
  RegisterFile& r = d_.regs;
  const auto bytes = static_cast<std::uint32_t>(frame.size()) + kFcsBytes;
  r.count(reg::GPTC);
  r.count(reg::TPT);
  r.count64(reg::GOTCL, bytes);
  r.count64(reg::TOTL, bytes);
  constexpr std::uint8_t kBroadcast[6] = {0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF};
  if (frame.size() >= 6 && std::equal(std::begin(kBroadcast), std::end(kBroadcast), frame.begin())) {
    r.count(reg::BPTC);
  } else if (!frame.empty() && (frame[0] & 1) != 0) {
    r.count(reg::MPTC);
  }
  constexpr std::uint32_t kLimits[] = {64, 127, 255, 511, 1023};
  const auto bucket = std::lower_bound(std::begin(kLimits), std::end(kLimits), bytes) - std::begin(kLimits);
  r.count(reg::PTC64 + 4 * static_cast<std::uint32_t>(bucket));
  if (!filter_.vmdq()) return;
  r[reg::PVTCTRL(queue_ % kPools) + 0x14] += 1;
  r[reg::PVTCTRL(queue_ % kPools) + 0x34] += bytes;
}

// ---- write-back
// -----------------------------------------------------------------------------------------------

void TxEngine::flush_vector(unsigned vector) {
  for (std::uint32_t m = flush_mask_; m != 0; m &= m - 1) {
    const auto n = static_cast<unsigned>(std::countr_zero(m));
    if (irq_.vector_of(n, true) != static_cast<int>(vector)) continue;
    flush_mask_ &= ~(1u << n);
    control_.write_back(n, true);
  }
}

void TxEngine::flush_due() {
  for (std::uint32_t m = flush_mask_; m != 0; m &= m - 1) {
    const auto n = static_cast<unsigned>(std::countr_zero(m));
    if (flush_at_[n] > d_.now) continue;
    flush_mask_ &= ~(1u << n);
    control_.write_back(n, true);
  }
}

/// DD of the next descriptor that asked for a report, or the head. Descriptors without RS only move the head.
sim::Transaction* TxEngine::next_write_back(unsigned n, bool& more) {
  DescriptorQueue& q = queues_[n];
  const FunctionIndex f = d_.function_of_queue(n);
  more = false;
  if (!d_.may_master(f)) return nullptr;
  const std::uint32_t head_address = d_.regs[reg::TDWBAL(n)];
  const bool head_mode = (head_address & 1) != 0;
  bool report = false;
  std::uint32_t index = 0, dw3 = 0, count = 0;
  while (q.unwritten() != 0 && q.entry(q.written_counter()).arrived) {
    const DescriptorQueue::Entry& e = q.entry(q.written_counter());
    const bool wanted = e.report;
    if (wanted) {
      index = e.index;
      dw3 = static_cast<std::uint32_t>(e.qw1 >> 32) | txd::DD;
      report = true;
    }
    q.written_back(1);
    ++count;
    if (wanted && !head_mode) break;
  }
  fetch_candidates_ |= 1u << n;
  if (!report) return nullptr;
  more = q.unwritten() != 0 && q.entry(q.written_counter()).arrived;
  std::uint64_t address = q.address_of(index) + 12;
  if (head_mode) {
    address = static_cast<std::uint64_t>(d_.regs[reg::TDWBAH(n)]) << 32 | (head_address & ~3u);
    dw3 = q.head();
  }
  sim::Transaction* t = d_.sim.payloads().acquire(tlm::TLM_WRITE_COMMAND, address, 4);
  t->tag.requester = d_.requester(f);
  t->tag.posted = true;
  std::memcpy(t->get_data_ptr(), &dw3, 4);
  ++d_.stats.write_backs;
  d_.stats.descriptors_written_back += count;
  if (d_.trace.write_back.enabled()) {
    d_.trace.write_back.emit({n, true, index, count, sim::Iova(address), t->tag.requester, d_.sim.now()});
  }
  irq_.transmit_cause(n);
  return t;
}

// ---- fetch, registers, reset
// ----------------------------------------------------------------------------------

void TxEngine::fetch_done(unsigned n, std::uint32_t generation, std::uint32_t first, std::uint32_t count,
                          const std::uint8_t* data, bool failed) {
  DescriptorQueue& q = queues_[n];
  if (failed) {
    q.fetch_failed(generation);
    return;
  }
  queue_changed(n);
  if (!q.fetch_arrived(generation, first, count, data)) return;
  d_.stats.descriptors_fetched += count;
  if (!d_.trace.descriptor_fetched.enabled()) return;
  const sim::RequesterId requester = d_.requester(d_.function_of_queue(n));
  for (std::uint32_t i = 0; i < count; ++i) {
    const auto& e = q.entry(first + i);
    d_.trace.descriptor_fetched.emit(
        {n, true, e.index, sim::Iova(e.qw0), sim::Iova(0), requester, d_.sim.now()});
  }
}

void TxEngine::write_tail(unsigned n, std::uint16_t tail) {
  queues_[n].write_tail(tail);
  queue_changed(n);
}

void TxEngine::write_control(unsigned n, std::uint32_t value) {
  DescriptorQueue& q = queues_[n];
  const std::uint32_t enable_bit = q.control() & dctl::ENABLE;
  d_.regs.write_masked(reg::TXDCTL(n), (value & ~dctl::ENABLE) | enable_bit);
  if ((value & dctl::SWFLUSH) != 0 && q.unwritten() != 0) control_.write_back(n, true);
  if ((value & dctl::ENABLE) != 0) {
    q.enable();
    disabling_mask_ &= ~(1u << n);
    queue_changed(n);
  } else if (q.enabled()) {
    q.begin_disable();
    disabling_mask_ |= 1u << n;
    if (q.unwritten() != 0) control_.write_back(n, true);
  }
}

void TxEngine::maybe_finish_disable(DescriptorQueue& q) {
  const bool may_write = d_.may_master(d_.function_of_queue(q.index()));
  const bool gathering = state_ == State::kGather && queue_ == q.index();
  if (gathering && may_write) return;
  if (may_write && (q.unwritten() != 0 || q.reads_in_flight() != 0)) return;
  if (gathering) drop_packet();
  disabling_mask_ &= ~(1u << q.index());
  flush_mask_ &= ~(1u << q.index());
  const std::uint32_t lost = q.finish_disable();
  if (lost != 0 && d_.trace.descriptors_discarded.enabled()) {
    d_.trace.descriptors_discarded.emit(
        {q.index(), true, lost, d_.requester(d_.function_of_queue(q.index())), d_.sim.now()});
  }
}

void TxEngine::reset_queue(unsigned n) {
  if (state_ != State::kIdle && queue_ == n) drop_packet();
  disabling_mask_ &= ~(1u << n);
  flush_mask_ &= ~(1u << n);
  fetch_candidates_ &= ~(1u << n);
  work_ &= ~(1u << n);
  contexts_[n] = {};
  queues_[n].reset();
}

void TxEngine::reset() {
  for (unsigned n = 0; n < kQueues; ++n) reset_queue(n);
}

sim::Cycle TxEngine::next_due() const {
  sim::Cycle next = sim::kNeverCycle;
  if (state_ == State::kEmit) {
    earliest(next, std::max({emit_at_, d_.clock.at_or_after(wire_free_), d_.now + 1}));
  }
  for (std::uint32_t m = flush_mask_; m != 0; m &= m - 1) {
    earliest(next, flush_at_[static_cast<unsigned>(std::countr_zero(m))]);
  }
  return next;
}

}  // namespace nic
