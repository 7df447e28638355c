// SPDX-License-Identifier: Apache-2.0
#include "nic/device/rx_engine.h"

#include <algorithm>
#include <bit>

#include "sim/digest.h"

namespace nic {
namespace {

constexpr std::size_t kMinFrame = 60;  // 64 with FCS
constexpr std::uint32_t kVlanTagBytes = 4;

constexpr auto kDropDigest = sim::digest_tag("nic.drop");
constexpr auto kArriveDigest = sim::digest_tag("nic.arrive");

std::size_t index_of(DropReason r) { return static_cast<std::size_t>(r); }

}  // namespace

RxEngine::RxEngine(Device& device, Interrupts& interrupts, ControlQueue& control, RxFilter& filter)
    : d_(device),
      irq_(interrupts),
      control_(control),
      filter_(filter),
      buffer_(device.config.packet_buffer_bytes) {
  queues_.reserve(kQueues);
  for (unsigned n = 0; n < kQueues; ++n)
    queues_.emplace_back(d_.regs, n, false, d_.config.descriptor_cache_depth);
}

// ---- acceptance
// -----------------------------------------------------------------------------------------------

void RxEngine::drop_frame(std::span<const std::uint8_t>, DropReason reason) {
  ++d_.stats.frames_dropped[index_of(reason)];
  d_.sim.note(kDropDigest, serial_, index_of(reason));
  if (d_.trace.packet_dropped.enabled()) d_.trace.packet_dropped.emit({serial_, reason, -1, d_.sim.now()});
}

FrameInfo RxEngine::parse(std::span<const std::uint8_t> frame) const {
  return parse_frame(
      frame, {d_.regs[reg::VET], (d_.regs[reg::CTRL_EXT] & ctrl_ext::EXT_VLAN) != 0, d_.regs[reg::RFCTL]});
}

void RxEngine::frame_arrived(std::span<const std::uint8_t> frame, bool link_up) {
  ++serial_;
  ++d_.stats.frames_arrived;
  d_.sim.note(kArriveDigest, serial_, frame.size());
  if (d_.trace.packet_arrived.enabled()) d_.trace.packet_arrived.emit({serial_, frame, d_.sim.now()});
  if (!link_up) return drop_frame(frame, DropReason::kLinkDown);
  const std::uint32_t rctl_value = d_.regs[reg::RCTL];
  if ((rctl_value & rctl::EN) == 0) return drop_frame(frame, DropReason::kReceiveDisabled);
  d_.regs.count(reg::TPR);
  d_.regs.count64(reg::TORL, frame.size() + PacketBuffer::kFcsBytes);
  // A runt needs at least its addresses to be looked at, even with SBP.
  if (frame.size() < kMinFrame && ((rctl_value & rctl::SBP) == 0 || frame.size() < 14)) {
    d_.regs.count(reg::RUC);
    d_.regs.count(reg::RLEC);
    return drop_frame(frame, DropReason::kUndersize);
  }
  const FrameInfo info = parse(frame);
  accept(frame, filter_.decide(frame, info), info, false);
}

void RxEngine::frame_looped(std::span<const std::uint8_t> frame, unsigned exclude_pools) {
  ++serial_;
  ++d_.stats.frames_arrived;
  d_.sim.note(kArriveDigest, serial_, frame.size());
  if (d_.trace.packet_arrived.enabled()) d_.trace.packet_arrived.emit({serial_, frame, d_.sim.now()});
  if ((d_.regs[reg::RCTL] & rctl::EN) == 0) return drop_frame(frame, DropReason::kReceiveDisabled);
  if (frame.size() < 14) return drop_frame(frame, DropReason::kUndersize);
  const FrameInfo info = parse(frame);
  accept(frame, filter_.decide(frame, info, exclude_pools), info, true);
}

void RxEngine::accept(std::span<const std::uint8_t> frame, const RxDecision& decision, const FrameInfo& info,
                      bool looped) {
  if (decision.queues == 0) {
    if (decision.reason == DropReason::kOversize) {
      d_.regs.count(reg::ROC);
      d_.regs.count(reg::RLEC);
    }
    return drop_frame(frame, decision.reason);
  }
  if (!buffer_.fits(frame.size())) {
    d_.regs.count(reg::MPC);
    irq_.other_cause(icr::RXO);
    return drop_frame(frame, DropReason::kPacketBufferFull);
  }
  count_good(frame);
  RxPacket& p = buffer_.push(frame, d_.now + d_.config.rx_filter_cycles);
  p.serial = serial_;
  p.decision = decision;
  p.info = info;
  const std::uint32_t rxcsum_value = d_.regs[reg::RXCSUM];
  p.status = verify_checksums(frame, info, rxcsum_value, d_.regs[reg::RFCTL]);
  if ((rxcsum_value & rxcsum::PCSD) == 0) {
    const PacketChecksum sum = packet_checksum(frame, info, rxcsum_value);
    p.checksum = sum.value;
    if (sum.udp_valid) p.status |= rxd::UDPV;
  }
  if (info.outer_tagged) p.status |= rxd::VEXT;
  if (decision.inexact) p.status |= rxd::PIF;
  if (looped) p.status |= rxd::LB;
  if (decision.keep_fcs != 0) {
    const std::uint32_t fcs = ethernet_fcs(frame);
    for (unsigned i = 0; i < 4; ++i)
      buffer_.data(p)[frame.size() + i] = static_cast<std::uint8_t>(fcs >> (8 * i));
  }
  const bool one_copy = (decision.queues & (decision.queues - 1)) == 0;
  const auto copies = one_copy ? 1u : static_cast<unsigned>(std::popcount(decision.queues));
  copies_inside_ += copies;
  d_.stats.copies_made += copies;
  if (!filter_.vmdq()) return;
  for (std::uint32_t q = decision.queues; q != 0; q &= q - 1) {
    const unsigned pool = static_cast<unsigned>(std::countr_zero(q)) % kPools;
    const std::uint32_t block = reg::PVTCTRL(pool);
    const auto bytes = static_cast<std::uint32_t>(frame.size()) + PacketBuffer::kFcsBytes;
    d_.regs[block + (looped ? 0x40 : 0x10)] += 1;
    d_.regs[block + (looped ? 0x48 : 0x18)] += bytes;
    if ((frame[0] & 1) != 0) d_.regs[block + 0x3C] += 1;
  }
}

void RxEngine::count_good(std::span<const std::uint8_t> frame) {
  RegisterFile& r = d_.regs;
  const auto bytes = static_cast<std::uint32_t>(frame.size()) + PacketBuffer::kFcsBytes;
  r.count(reg::GPRC);
  r.count64(reg::GORCL, bytes);
  if ((frame[0] & 1) != 0) {
    constexpr std::uint8_t kBroadcast[6] = {0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF};
    const bool broadcast = std::equal(std::begin(kBroadcast), std::end(kBroadcast), frame.begin());
    r.count(broadcast ? reg::BPRC : reg::MPRC);
  }
  // Up to 64, 127, 255, 511, 1023 bytes, and more: by powers of two.
  const auto bucket = bytes <= 64 ? 0u : std::min(static_cast<unsigned>(std::bit_width(bytes)) - 6, 5u);
  r.count(reg::PRC64 + 4 * bucket);
}

// ---- one copy after the other
// ---------------------------------------------------------------------------------

std::uint32_t RxEngine::packet_buffer_bytes(unsigned queue) const {
  const std::uint32_t own = srrctl::bsizepacket_bytes(d_.regs[reg::SRRCTL(queue)]);
  if (own != 0) return own;
  const std::uint32_t r = d_.regs[reg::RCTL];
  const std::uint32_t code = r >> 16 & 3;
  if ((r & rctl::BSEX) != 0) return code == 0 ? 2048 : 32768u >> code;
  return 2048u >> code;
}

std::uint32_t RxEngine::descriptors_for(unsigned queue, std::uint32_t bytes) const {
  const std::uint32_t each = packet_buffer_bytes(queue);
  return (bytes + each - 1) / each;
}

std::uint32_t RxEngine::copy_bytes(unsigned queue) const {
  const RxPacket& p = buffer_.front();
  std::uint32_t bytes = p.bytes;
  if (p.info.tagged && (p.decision.strip_vlan >> queue & 1) != 0) bytes -= kVlanTagBytes;
  if ((p.decision.keep_fcs >> queue & 1) != 0) bytes += PacketBuffer::kFcsBytes;
  return bytes;
}

void RxEngine::drop_copy(unsigned queue, DropReason reason) {
  RxPacket& p = buffer_.front();
  ++d_.stats.copies_dropped[index_of(reason)];
  p.last_drop = reason;
  d_.sim.note(kDropDigest, p.serial, index_of(reason) << 8 | queue);
  if (d_.trace.packet_dropped.enabled()) {
    d_.trace.packet_dropped.emit({p.serial, reason, static_cast<int>(queue), d_.sim.now()});
  }
  p.decision.queues = static_cast<std::uint16_t>(p.decision.queues & ~(1u << queue));
  --copies_inside_;
  active_ = descriptor_open_ = false;
  finish_packet_if_done();
}

void RxEngine::finish_copy() {
  RxPacket& p = buffer_.front();
  ++d_.stats.copies_delivered;
  d_.stats.bytes_delivered += total_;
  p.delivered = true;
  if (d_.trace.packet_delivered.enabled())
    d_.trace.packet_delivered.emit({p.serial, queue_, total_, d_.sim.now()});
  p.decision.queues = static_cast<std::uint16_t>(p.decision.queues & ~(1u << queue_));
  --copies_inside_;
  active_ = false;
  finish_packet_if_done();
}

void RxEngine::finish_packet_if_done() {
  RxPacket& p = buffer_.front();
  if (p.decision.queues != 0) return;
  if (p.delivered) {
    ++d_.stats.frames_delivered;
  } else {
    ++d_.stats.frames_dropped[index_of(p.last_drop)];
  }
  buffer_.pop();
}

bool RxEngine::advance_work() {
  bool changed = false;
  if (flush_mask_ != 0) flush_due();
  for (std::uint32_t m = disabling_mask_; m != 0; m &= m - 1) {
    maybe_finish_disable(queues_[static_cast<unsigned>(std::countr_zero(m))]);
  }
  while (buffer_.front_ready() <= d_.now) {
    if (!active_) {
      if (!start_copy()) break;
    } else if (!descriptor_open_) {
      if (!start_descriptor()) break;
    } else if (segment_ == segments_) {
      complete_descriptor();
    } else {
      break;  // payload TLPs to be sent
    }
    changed = true;
  }
  return changed;
}

/// Begins the next copy of the front packet, or drops it. False: it has to wait where it is.
bool RxEngine::start_copy() {
  RxPacket& p = buffer_.front();
  const auto n = static_cast<unsigned>(std::countr_zero(p.decision.queues));
  DescriptorQueue& q = queues_[n];
  if (!q.enabled() || q.disabling()) return drop_copy(n, DropReason::kQueueDisabled), true;
  if (q.stopped()) return drop_copy(n, DropReason::kQueueStopped), true;
  const bool drop_enabled =
      (d_.regs[reg::SRRCTL(n)] & srrctl::DROP_EN) != 0 || (d_.regs[reg::QDE] >> n & 1) != 0;
  const FunctionIndex f = d_.function_of_queue(n);
  const std::uint32_t bytes = copy_bytes(n);
  const std::uint32_t need = drop_enabled ? descriptors_for(n, bytes) : 1;
  const bool enough = q.available() >= need;
  if (!enough || !d_.may_master(f)) {
    if (drop_enabled) {
      std::uint32_t& rqdpc = d_.regs[reg::RQDPC(n)];
      rqdpc = std::min(rqdpc + 1, 0xFFFu);
      return drop_copy(n, DropReason::kNoDescriptor), true;
    }
    if (!enough && !p.counted_no_buffer) {
      p.counted_no_buffer = true;
      d_.regs.count(reg::RNBC);
    }
    return false;  // head-of-line blocking until software posts descriptors or sets BME
  }
  active_ = true;
  queue_ = n;
  function_ = f;
  strip_ = p.info.tagged && (p.decision.strip_vlan >> n & 1) != 0;
  total_ = bytes;
  position_ = 0;
  first_descriptor_ = true;
  descriptor_open_ = false;
  return true;
}

/// Length of the headers that PSRTYPE wants split off this copy; 0 if none was recognised.
std::uint32_t RxEngine::split_header_bytes(unsigned queue) const {
  const FrameInfo& i = buffer_.front().info;
  if (i.l3_end() == 0 || (i.fragment && (d_.regs[reg::RFCTL] & rfctl::IPFRSP_DIS) != 0)) return 0;
  const std::uint32_t psrtype = d_.regs[reg::PSRTYPE(queue % kPools)];
  const unsigned l3_only = i.ipv4 ? 1 : 7;
  std::uint32_t header = (psrtype >> l3_only & 1) != 0 ? i.l3_end() : 0;
  if (i.l4_end() != 0 && !i.fragment) {
    const unsigned l4 = l3_only + (i.l4 == L4::kTcp ? 1 : 2);
    if ((psrtype >> l4 & 1) != 0) header = i.l4_end();
  }
  return header != 0 && strip_ ? header - kVlanTagBytes : header;
}

void RxEngine::plan_split(const DescriptorQueue::Entry& e) {
  const std::uint32_t ctl = d_.regs[reg::SRRCTL(queue_)];
  const std::uint32_t type = srrctl::desctype(ctl);
  const std::uint64_t header_address = e.qw1 & ~std::uint64_t{1};
  const std::uint32_t room = srrctl::bsizeheader_bytes(ctl);
  if (!first_descriptor_ || header_address == 0 || room == 0) return;
  const std::uint32_t header = split_header_bytes(queue_);
  std::uint32_t to_header = 0;
  bool replicate = false;
  wb_split_ = header != 0;
  switch (type) {
    case srrctl::kHeaderSplit:
      wb_header_bytes_ = header;
      wb_header_overflow_ = header > room;
      if (header <= room) to_header = header;
      break;
    case srrctl::kSplitAlways:
      wb_header_overflow_ = header > room && total_ > room;
      to_header = total_ <= room ? total_ : header == 0 || header > room ? room : header;
      wb_header_bytes_ = to_header;
      break;
    case srrctl::kHeaderReplication:
    case srrctl::kReplicationLarge:
      replicate = true;
      if (type == srrctl::kReplicationLarge && total_ <= room) {
        wb_split_ = false;
        break;
      }
      wb_header_bytes_ = header;
      wb_header_overflow_ = header > room;
      to_header = std::min(header, room);
      break;
    default:
      wb_split_ = false;
      return;
  }
  if (to_header == 0) return;
  segments_array_[segments_++] = {header_address, 0, to_header};
  if (!replicate) consumed_by_descriptor_ = to_header;
}

/// Takes the next descriptor of the queue and plans where its bytes go. False: none on chip yet.
bool RxEngine::start_descriptor() {
  DescriptorQueue& q = queues_[queue_];
  if (q.valid() == 0) {
    // Its last descriptors will not come any more.
    if (q.stopped() || q.disabling()) {
      abort_copy(q.stopped() ? DropReason::kQueueStopped : DropReason::kQueueDisabled);
      return true;
    }
    return false;
  }
  const DescriptorQueue::Entry& e = q.front();
  segments_ = segment_ = 0;
  segment_done_ = consumed_by_descriptor_ = 0;
  wb_packet_bytes_ = wb_header_bytes_ = 0;
  wb_split_ = wb_header_overflow_ = false;
  descriptor_open_ = true;
  const std::uint32_t type = srrctl::desctype(d_.regs[reg::SRRCTL(queue_)]);
  // Bit 0 of the packet address is NSE in one-buffer mode.
  const std::uint64_t address = type == srrctl::kOneBuffer ? e.qw0 & ~std::uint64_t{1} : e.qw0;
  if (address == 0) return true;  // null buffer: consumed without data
  plan_split(e);
  const std::uint32_t rest = total_ - position_ - consumed_by_descriptor_;
  wb_packet_bytes_ = std::min(rest, packet_buffer_bytes(queue_));
  if (wb_packet_bytes_ != 0) {
    segments_array_[segments_++] = {address, position_ + consumed_by_descriptor_, wb_packet_bytes_};
  }
  consumed_by_descriptor_ += wb_packet_bytes_;
  return true;
}

void RxEngine::copy_out(std::uint32_t from, std::span<std::uint8_t> to) {
  const RxPacket& p = buffer_.front();
  const std::uint8_t* bytes = buffer_.data(p);
  if (!strip_) {
    std::memcpy(to.data(), bytes + from, to.size());
    return;
  }
  const std::uint32_t tag_at = p.info.tag_offset;
  const auto before = from < tag_at ? std::min<std::size_t>(tag_at - from, to.size()) : 0;
  if (before != 0) std::memcpy(to.data(), bytes + from, before);
  const auto rest = to.size() - before;
  if (rest != 0) std::memcpy(to.data() + before, bytes + from + before + kVlanTagBytes, rest);
}

sim::Transaction* RxEngine::next_payload() {
  if (!payload_open() || !d_.may_master(function_)) return nullptr;
  const Segment& s = segments_array_[segment_];
  const std::uint64_t address = s.address + segment_done_;
  const auto to_page_end = static_cast<std::uint32_t>(sim::kPageSize - address % sim::kPageSize);
  const std::uint32_t bytes = std::min({s.bytes - segment_done_, d_.max_payload(), to_page_end});
  sim::Transaction* t = d_.sim.payloads().acquire(tlm::TLM_WRITE_COMMAND, address, bytes);
  t->tag.requester = d_.requester(function_);
  t->tag.posted = true;
  copy_out(s.from + segment_done_, t->bytes());
  if (d_.trace.buffer_written.enabled()) {
    d_.trace.buffer_written.emit({buffer_.front().serial, queue_, queues_[queue_].front().index,
                                  sim::Iova(address), bytes, t->tag.requester, d_.sim.now()});
  }
  segment_done_ += bytes;
  if (segment_done_ == s.bytes) {
    ++segment_;
    segment_done_ = 0;
  }
  return t;
}

void RxEngine::write_back_format(DescriptorQueue::Entry& e, bool eop) {
  const RxPacket& p = buffer_.front();
  std::uint32_t status = rxd::DD | (wb_header_overflow_ ? rxd::HBO : 0);
  std::uint16_t vlan = 0;
  if (eop) {
    status |= rxd::EOP | p.status;
    if (strip_) {
      status |= rxd::VP;
      vlan = p.info.vlan_tci;
    }
  }
  if (srrctl::desctype(d_.regs[reg::SRRCTL(queue_)]) == srrctl::kLegacy) {
    // Legacy format: length, fragment checksum, status, errors (IPE 6, L4E 5), special.
    const std::uint32_t errors =
        ((status & rxd::IPE) != 0 ? 0x40u : 0u) | ((status & rxd::L4E) != 0 ? 0x20u : 0u);
    e.qw1 = wb_packet_bytes_ | static_cast<std::uint64_t>(p.checksum) << 16 |
            static_cast<std::uint64_t>(status & 0xFF) << 32 | static_cast<std::uint64_t>(errors) << 40 |
            static_cast<std::uint64_t>(vlan) << 48;
    return;
  }
  std::uint64_t qw0 = 0;
  if (eop) {
    const bool pcsd = (d_.regs[reg::RXCSUM] & rxcsum::PCSD) != 0;
    const std::uint16_t type = p.decision.etqf_type != 0 ? p.decision.etqf_type : p.info.packet_type;
    qw0 = p.decision.rss.type | static_cast<std::uint64_t>(type) << 4;
    qw0 |= pcsd ? static_cast<std::uint64_t>(p.decision.rss.hash) << 32
                : static_cast<std::uint64_t>(p.info.ip_identification) << 32 |
                      static_cast<std::uint64_t>(p.checksum) << 48;
  }
  if (wb_split_ || wb_header_bytes_ != 0) {
    qw0 |= static_cast<std::uint64_t>(wb_header_bytes_ & 0x3FF) << 21 | (wb_split_ ? rxd::SPH : 0);
  }
  e.qw0 = qw0;
  e.qw1 =
      status | static_cast<std::uint64_t>(wb_packet_bytes_) << 32 | static_cast<std::uint64_t>(vlan) << 48;
}

void RxEngine::complete_descriptor() {
  DescriptorQueue& q = queues_[queue_];
  position_ += consumed_by_descriptor_;
  const bool eop = position_ >= total_;
  DescriptorQueue::Entry& e = q.front();
  write_back_format(e, eop);
  e.report = eop;
  q.consume();
  descriptor_open_ = false;
  first_descriptor_ = first_descriptor_ && consumed_by_descriptor_ == 0;
  after_consume(q);
  if (eop) finish_copy();
}

void RxEngine::abort_copy(DropReason reason) { drop_copy(queue_, reason); }

// ---- write-back
// -----------------------------------------------------------------------------------------------

void RxEngine::after_consume(DescriptorQueue& q) {
  const unsigned n = q.index();
  queue_changed(n);
  const std::uint32_t threshold = std::max(1u, dctl::wthresh(q.control()));
  if (q.unwritten() >= threshold || q.full() || q.disabling()) {
    flush_mask_ &= ~(1u << n);
    control_.write_back(n, false);
    return;
  }
  if ((flush_mask_ >> n & 1) != 0) return;
  // Below the threshold: flushed when the vector's moderation lets an interrupt go.
  if (const int v = irq_.vector_of(n, false); v >= 0 && irq_.moderated(static_cast<unsigned>(v))) {
    flush_mask_ |= 1u << n;
    flush_at_[n] = std::max(d_.now, irq_.moderation_end(static_cast<unsigned>(v)));
  }
}

void RxEngine::flush_vector(unsigned vector) {
  for (std::uint32_t m = flush_mask_; m != 0; m &= m - 1) {
    const auto n = static_cast<unsigned>(std::countr_zero(m));
    if (irq_.vector_of(n, false) != static_cast<int>(vector)) continue;
    flush_mask_ &= ~(1u << n);
    control_.write_back(n, false);
  }
}

void RxEngine::flush_due() {
  for (std::uint32_t m = flush_mask_; m != 0; m &= m - 1) {
    const auto n = static_cast<unsigned>(std::countr_zero(m));
    if (flush_at_[n] > d_.now) continue;
    flush_mask_ &= ~(1u << n);
    control_.write_back(n, false);
  }
}

sim::Transaction* RxEngine::next_write_back(unsigned n, bool& more) {
  DescriptorQueue& q = queues_[n];
  const FunctionIndex f = d_.function_of_queue(n);
  more = false;
  const auto run = q.next_write_back(d_.max_payload());
  if (run.count == 0 || !d_.may_master(f)) return nullptr;
  const std::uint32_t first_index = q.entry(run.first).index;
  sim::Transaction* t =
      d_.sim.payloads().acquire(tlm::TLM_WRITE_COMMAND, q.address_of(first_index), 16 * run.count);
  t->tag.requester = d_.requester(f);
  t->tag.posted = true;
  bool report = false;
  for (std::uint32_t i = 0; i < run.count; ++i) {
    const DescriptorQueue::Entry& e = q.entry(run.first + i);
    std::memcpy(t->get_data_ptr() + 16 * i, &e.qw0, 8);
    std::memcpy(t->get_data_ptr() + 16 * i + 8, &e.qw1, 8);
    report = report || e.report;
  }
  const std::uint32_t threshold = srrctl::rdmts(d_.regs[reg::SRRCTL(n)]);
  const std::uint32_t free_before = q.free_descriptors();
  q.written_back(run.count);
  ++d_.stats.write_backs;
  d_.stats.descriptors_written_back += run.count;
  if (d_.trace.write_back.enabled()) {
    d_.trace.write_back.emit(
        {n, false, first_index, run.count, sim::Iova(t->get_address()), t->tag.requester, d_.sim.now()});
  }
  queue_changed(n);
  if (report) irq_.receive_cause(n);
  if (free_before > threshold && free_before - run.count <= threshold) {
    d_.regs.count(reg::ICRXDMTC);
    irq_.other_cause(icr::RXDMT0);
  }
  more = q.unwritten() != 0;
  return t;
}

// ---- fetch, registers, reset
// ----------------------------------------------------------------------------------

void RxEngine::fetch_done(unsigned n, std::uint32_t generation, std::uint32_t first, std::uint32_t count,
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
        {n, false, e.index, sim::Iova(e.qw0), sim::Iova(e.qw1 & ~std::uint64_t{1}), requester, d_.sim.now()});
  }
}

void RxEngine::write_tail(unsigned n, std::uint16_t tail) {
  queues_[n].write_tail(tail);
  queue_changed(n);
}

void RxEngine::write_control(unsigned n, std::uint32_t value) {
  DescriptorQueue& q = queues_[n];
  const std::uint32_t enable_bit = q.control() & dctl::ENABLE;  // the hardware clears it when done
  d_.regs.write_masked(reg::RXDCTL(n), (value & ~dctl::ENABLE) | enable_bit);
  if ((value & dctl::SWFLUSH) != 0 && q.unwritten() != 0) control_.write_back(n, false);
  if ((value & dctl::ENABLE) != 0) {
    q.enable();
    disabling_mask_ &= ~(1u << n);
    queue_changed(n);
  } else if (q.enabled()) {
    q.begin_disable();
    disabling_mask_ |= 1u << n;
    if (q.unwritten() != 0) control_.write_back(n, false);
  }
}

void RxEngine::lose_descriptors(DescriptorQueue& q, std::uint32_t count) {
  if (count == 0 || !d_.trace.descriptors_discarded.enabled()) return;
  d_.trace.descriptors_discarded.emit(
      {q.index(), false, count, d_.requester(d_.function_of_queue(q.index())), d_.sim.now()});
}

void RxEngine::maybe_finish_disable(DescriptorQueue& q) {
  const bool may_write = d_.may_master(d_.function_of_queue(q.index()));
  const bool writing = active_ && queue_ == q.index();
  if (writing && may_write) return;  // the packet in progress is finished
  if (may_write && (q.unwritten() != 0 || q.reads_in_flight() != 0)) return;
  if (writing) abort_copy(DropReason::kQueueDisabled);
  disabling_mask_ &= ~(1u << q.index());
  flush_mask_ &= ~(1u << q.index());
  lose_descriptors(q, q.finish_disable());
}

void RxEngine::reset_queue(unsigned n) {
  if (active_ && queue_ == n) abort_copy(DropReason::kReset);
  disabling_mask_ &= ~(1u << n);
  flush_mask_ &= ~(1u << n);
  fetch_candidates_ &= ~(1u << n);
  touched_ |= 1u << n;
  lose_descriptors(queues_[n], queues_[n].reset());
}

void RxEngine::reset() {
  while (!buffer_.empty()) {
    const std::uint16_t queues = buffer_.front().decision.queues;
    drop_copy(static_cast<unsigned>(std::countr_zero(queues)), DropReason::kReset);
  }
  for (unsigned n = 0; n < kQueues; ++n) reset_queue(n);
}

sim::Cycle RxEngine::next_flush() const {
  sim::Cycle next = sim::kNeverCycle;
  for (std::uint32_t m = flush_mask_; m != 0; m &= m - 1) {
    earliest(next, flush_at_[static_cast<unsigned>(std::countr_zero(m))]);
  }
  return next;
}

}  // namespace nic
