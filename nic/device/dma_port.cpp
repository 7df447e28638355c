// SPDX-License-Identifier: Apache-2.0
#include "nic/device/dma_port.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "sim/digest.h"

namespace nic {
namespace {

constexpr unsigned kPostedBeforeRead = 8;
constexpr auto kWriteDigest = sim::digest_tag("nic.mwr");
constexpr auto kReadDigest = sim::digest_tag("nic.mrd");

}  // namespace

DmaPort::DmaPort(Device& device, Interrupts& interrupts, ControlQueue& control, RxEngine& rx, TxEngine& tx,
                 Send send)
    : d_(device),
      irq_(interrupts),
      control_(control),
      rx_(rx),
      tx_(tx),
      send_(std::move(send)),
      reads_(device.config.outstanding_reads) {
  for (std::size_t i = reads_.size(); i > 0; --i) free_slots_.push_back(static_cast<std::uint16_t>(i - 1));
}

bool DmaPort::issue_next() {
  sim::Transaction* t = nullptr;
  const bool read_turn = posted_in_a_row_ >= kPostedBeforeRead;
  if (read_turn && read_ready()) t = next_read();
  if (t == nullptr) t = next_posted();
  // Write-backs that only moved a head may have made room for descriptors.
  if (t == nullptr && read_ready()) t = next_read();
  if (t == nullptr) return false;
  posted_in_a_row_ = t->is_write() ? posted_in_a_row_ + 1 : 0;
  hand_over(*t);
  return true;
}

void DmaPort::hand_over(sim::Transaction& t) {
  const auto bytes = static_cast<std::uint32_t>(t.get_data_length());
  const std::uint32_t width = d_.config.datapath_bytes_per_cycle;
  if (t.is_write()) {
    ++d_.stats.tlps_written;
    d_.stats.bytes_written += bytes;
    path_free_ = d_.now + std::max(1u, (bytes + width - 1) / width);
    d_.sim.note(kWriteDigest, t.get_address(),
                static_cast<std::uint64_t>(t.tag.requester.value) << 32 | bytes);
  } else {
    ++d_.stats.tlps_read;
    d_.stats.bytes_read += bytes;
    path_free_ = d_.now + 1;
    d_.sim.note(kReadDigest, t.get_address(),
                static_cast<std::uint64_t>(t.tag.requester.value) << 32 | bytes);
  }
  const bool write = t.is_write();
  switch (send_(t)) {
    case tlm::TLM_COMPLETED:
      POOLSIM_ASSERT(write);  // the answer of a read always comes by completed()
      t.release();
      break;
    case tlm::TLM_ACCEPTED:
      blocked_ = true;
      break;
    case tlm::TLM_UPDATED:
      break;
  }
}

sim::Transaction* DmaPort::make_message(FunctionIndex f, unsigned entry) {
  PciFunction& function = d_.functions[f];
  const bool msi = d_.exists(f) && entry == 0 && function.msi_enabled();
  if (!d_.exists(f) || !(msi || function.msix_enabled()) || !d_.may_master(f)) {
    ++d_.stats.interrupts_lost;
    return nullptr;
  }
  if (msi ? function.msi_masked() : function.msix_masked(entry)) {
    if (msi) {
      function.set_msi_pending();
    } else {
      function.msix_pending |= 1u << entry;
    }
    return nullptr;
  }
  if (!msi) function.msix_pending &= ~(1u << entry);
  const PciFunction::MsixEntry e = msi ? function.msi() : function.msix(entry);
  sim::Transaction* t = d_.sim.payloads().acquire(tlm::TLM_WRITE_COMMAND, e.address, 4);
  t->tag.requester = d_.requester(f);
  t->tag.posted = true;
  std::memcpy(t->get_data_ptr(), &e.data, 4);
  ++d_.stats.interrupts;
  d_.regs.count(reg::IAC);
  if (d_.trace.interrupt_sent.enabled()) {
    d_.trace.interrupt_sent.emit({entry, e.address, e.data, t->tag.requester, d_.sim.now()});
  }
  return t;
}

sim::Transaction* DmaPort::next_posted() {
  while (!control_.empty()) {
    const ControlQueue::Token token = control_.front();
    bool more = false;
    sim::Transaction* t = nullptr;
    switch (token.kind) {
      case ControlQueue::Kind::kRxWriteBack:
        t = rx_.next_write_back(token.id, more);
        break;
      case ControlQueue::Kind::kTxWriteBack:
        t = tx_.next_write_back(token.id, more);
        break;
      case ControlQueue::Kind::kMessage:
        t = make_message(token.function, token.id);
        break;
    }
    if (!more) control_.pop();
    if (t != nullptr) return t;
  }
  return rx_.next_payload();
}

sim::Transaction* DmaPort::make_read(const Read& read, std::uint64_t address, std::uint32_t bytes) {
  const std::uint16_t slot = free_slots_.back();
  free_slots_.pop_back();
  reads_[slot] = read;
  ++reads_outstanding_;
  if (++reads_of_function_[read.function] == 1) d_.functions[read.function].set_transactions_pending(true);
  sim::Transaction* t = d_.sim.payloads().acquire(tlm::TLM_READ_COMMAND, address, bytes);
  t->tag.requester = d_.requester(read.function);
  t->tag.tag = slot;
  t->user[kUserSlot] = slot;
  return t;
}

sim::Transaction* DmaPort::make_fetch(const FetchChoice& choice) {
  const auto& [transmit, n, fetch] = choice;
  DescriptorQueue& q = transmit ? tx_.queue(n) : rx_.queue(n);
  const Read read{transmit ? ReadKind::kTxFetch : ReadKind::kRxFetch,
                  static_cast<std::uint8_t>(n),
                  d_.function_of_queue(n),
                  q.generation(),
                  fetch.first,
                  fetch.count};
  q.fetch_issued(fetch);
  ++d_.stats.descriptor_fetches;
  return make_read(read, fetch.address, 16 * fetch.count);
}

/// The first queue, in turn, that has no descriptor left; else the first whose descriptors should be fetched
/// now. A fetch of 0 descriptors: none.
DmaPort::FetchChoice DmaPort::choose_fetch() {
  const std::uint32_t burst = d_.config.descriptor_fetch_bytes;
  FetchChoice choice;
  for (const bool transmit : {false, true}) {
    const std::uint32_t candidates = transmit ? tx_.fetch_candidates() : rx_.fetch_candidates();
    const std::uint32_t rotated = candidates >> next_queue_ | candidates << (kQueues - next_queue_);
    for (std::uint32_t m = rotated & 0xFFFF; m != 0; m &= m - 1) {
      const unsigned n = (static_cast<unsigned>(std::countr_zero(m)) + next_queue_) % kQueues;
      const DescriptorQueue& q = transmit ? tx_.queue(n) : rx_.queue(n);
      const auto f = q.next_fetch(burst, d_.max_read_request());
      if (f.count == 0) {
        if (transmit) {
          tx_.clear_fetch_candidate(n);
        } else {
          rx_.clear_fetch_candidate(n);
        }
        continue;
      }
      if ((!f.demand && choice.fetch.count != 0) || !d_.may_master(d_.function_of_queue(n))) continue;
      choice = {transmit, n, f};
      if (f.demand) return choice;
    }
  }
  return choice;
}

sim::Transaction* DmaPort::next_read() {
  const FetchChoice choice = choose_fetch();
  if (!choice.fetch.demand && tx_.data_read_waiting()) {
    const unsigned n = tx_.data_queue();
    const FunctionIndex f = tx_.data_function();
    const auto data = tx_.take_data_read();
    const Read read{ReadKind::kTxData, static_cast<std::uint8_t>(n), f, tx_.packet_generation(), data.offset,
                    data.bytes};
    return make_read(read, data.address, data.bytes);
  }
  if (choice.fetch.count == 0) return nullptr;
  next_queue_ = (choice.queue + 1) % kQueues;
  return make_fetch(choice);
}

void DmaPort::completed(sim::Transaction& t) {
  const auto slot = static_cast<std::uint16_t>(t.user[kUserSlot]);
  const Read read = reads_[slot];
  free_slots_.push_back(slot);
  --reads_outstanding_;
  if (--reads_of_function_[read.function] == 0) d_.functions[read.function].set_transactions_pending(false);
  const bool failed = !t.is_response_ok();
  const std::uint8_t* data = t.get_data_ptr();
  if (failed) {
    ++d_.stats.reads_failed;
    // A read that is poisoned, refused or never answered is a non-fatal error of the function that asked.
    if (d_.trace.read_failed.enabled()) {
      d_.trace.read_failed.emit({read.queue, read.kind != ReadKind::kRxFetch, sim::Iova(t.get_address()),
                                 d_.requester(read.function), d_.sim.now()});
    }
    irq_.other_cause(icr::NFER);
    if (t.tag.poisoned) {
      d_.functions[read.function].log_poisoned();
    } else if (t.get_response_status() == tlm::TLM_INCOMPLETE_RESPONSE) {
      d_.functions[read.function].log_completion_timeout();
    } else {
      d_.functions[read.function].log_unsupported_request();
    }
  }
  switch (read.kind) {
    case ReadKind::kRxFetch:
      rx_.fetch_done(read.queue, read.generation, read.first, read.count, data, failed);
      break;
    case ReadKind::kTxFetch:
      tx_.fetch_done(read.queue, read.generation, read.first, read.count, data, failed);
      break;
    case ReadKind::kTxData:
      tx_.data_arrived(read.generation, read.first, {data, t.get_data_length()}, failed);
      break;
  }
  t.release();
}

}  // namespace nic
