// SPDX-License-Identifier: Apache-2.0
// Register accesses, PCIe messages, and the untimed paths (b_transport, transport_dbg).
#include <algorithm>

#include "iommu/engine.h"

namespace iommu {

/// Brings iohpmcycles up to the present cycle.
void Engine::sync_cycles() {
  const sim::Cycle now = iommu_.clock().at_or_before(sim_.now());
  if (now > hpm_synced_) core_.hpm.add_cycles(now - hpm_synced_);
  hpm_synced_ = now;
}

/// Only a register access changes when it is; a time that the Timeline cannot express never comes.
void Engine::schedule_cycles_overflow() {
  const std::uint64_t left = core_.hpm.cycles_to_overflow();
  const sim::Cycle last = iommu_.clock().at_or_before(sim::kNever - 1);
  cycles_overflow_at_ = left < last - hpm_synced_ ? hpm_synced_ + left : sim::kNeverCycle;
}

void Engine::access_register(tlm::tlm_generic_payload& payload) {
  if (core_.env.has(cap::kHpm)) sync_cycles();
  const auto offset = static_cast<std::uint32_t>(payload.get_address() & (reg::kPageSize - 1));
  const unsigned bytes = payload.get_data_length();
  std::uint64_t value = 0;
  const std::size_t copied = std::min<std::size_t>(bytes, 8);
  if (payload.is_write()) {
    std::memcpy(&value, payload.get_data_ptr(), copied);
    core_.write_register(offset, bytes, value);
    if (core_.env.has(cap::kHpm)) schedule_cycles_overflow();
  } else {
    value = core_.read_register(offset, bytes);
    std::memset(payload.get_data_ptr(), 0, bytes);
    std::memcpy(payload.get_data_ptr(), &value, copied);
  }
  sim::complete(payload, sim::CompletionStatus::kSuccess);
}

tlm::tlm_sync_enum Engine::register_request(tlm::tlm_generic_payload& payload, tlm::tlm_phase& phase,
                                            sc_core::sc_time& delay) {
  if (phase != tlm::BEGIN_REQ) return tlm::TLM_ACCEPTED;
  POOLSIM_ASSERT(register_stalled_ == nullptr);
  const sim::Cycle due = seen_at(sim_.timeline().incoming(delay)) + config_.register_cycles;
  register_queue_[(register_first_ + register_count_++) % register_queue_.size()] = {&payload, due};
  if (register_count_ == 1) wake_at(due);
  if (register_count_ == register_queue_.size()) {
    register_stalled_ = &payload;
    return tlm::TLM_ACCEPTED;
  }
  phase = tlm::END_REQ;
  return tlm::TLM_UPDATED;
}

void Engine::registers(sim::Cycle now) {
  while (register_count_ != 0 && register_queue_[register_first_].due <= now) {
    tlm::tlm_generic_payload& payload = *register_queue_[register_first_].payload;
    register_first_ = (register_first_ + 1) % register_queue_.size();
    --register_count_;
    access_register(payload);
    if (register_stalled_ != nullptr) {
      tlm::tlm_generic_payload& stalled = *register_stalled_;
      register_stalled_ = nullptr;
      tlm::tlm_phase phase = tlm::END_REQ;
      sc_core::sc_time delay = sim_.timeline().outgoing_delay();
      iommu_.registers->nb_transport_bw(stalled, phase, delay);
    }
    tlm::tlm_phase phase = tlm::BEGIN_RESP;
    sc_core::sc_time delay = sim_.timeline().outgoing_delay();
    iommu_.registers->nb_transport_bw(payload, phase, delay);
  }
}

void Engine::register_b_transport(tlm::tlm_generic_payload& payload, sc_core::sc_time& delay) {
  sim_.timeline().incoming(delay);
  access_register(payload);
  delay += sim::Timeline::to_sc_time(iommu_.clock().span(config_.register_cycles));
  wake_at(seen_at(sim_.now()));
}

/// Reads only: a debug access may not set anything off (the overflow of iohpmcycles has its own wake-up).
unsigned Engine::register_dbg(tlm::tlm_generic_payload& payload) {
  if (!payload.is_read()) return 0;
  if (core_.env.has(cap::kHpm)) sync_cycles();
  const unsigned bytes = payload.get_data_length();
  const std::uint64_t value =
      core_.read_register(static_cast<std::uint32_t>(payload.get_address() & (reg::kPageSize - 1)), bytes);
  std::memset(payload.get_data_ptr(), 0, bytes);
  std::memcpy(payload.get_data_ptr(), &value, std::min<std::size_t>(bytes, 8));
  payload.set_response_status(tlm::TLM_OK_RESPONSE);
  return bytes;
}

// --- PCIe messages
// ---------------------------------------------------------------------------------------------

void Engine::receive(Message message) {
  message.due = seen_at(sim_.now());
  messages_.push_back(message);
  wake_at(message.due);
}

/// Page requests look up the device context as any walk; one that finds no walker waits, with those behind
/// it.
void Engine::messages(sim::Cycle now) {
  for (; !messages_.empty() && messages_.front().due <= now; messages_.pop_front()) {
    const Message& m = messages_.front();
    if (m.is_completion) {
      if (!core_.invalidation_completion(m.completion)) ++counters_.unexpected_completions;
      continue;
    }
    if (busy_walkers_ == walkers_.size()) return;
    scratch_.start(core_.env, core_.caches, Walk::CacheUse::kFull, Core::as_request(m.page_request));
    if (scratch_.done()) {
      core_.book(scratch_);
      core_.page_request_done(m.page_request, scratch_.outcome());
    } else {
      start_walker(Walker::For::kMessage, now).message = m.page_request;
    }
  }
}

void Engine::expire_invalidations(sim::Cycle now) {
  for (unsigned t = 0; t < InvalidationTags::kTags; ++t) {
    if (core_.commands.tags.busy(t) && now >= expiry_[t]) core_.invalidation_timeout(1u << t);
  }
}

void Engine::send(const AtsInvalidationRequest& message) {
  expiry_[message.itag] = now_ + config_.ats_timeout_cycles;
  if (iommu_.send_invalidation_request) iommu_.send_invalidation_request(message);
}

void Engine::send(const PageRequestGroupResponse& message) {
  if (iommu_.send_page_response) iommu_.send_page_response(message);
}

// --- Loosely timed and debug translation
// -----------------------------------------------------------------------

/// Tables read through the walker socket's b_transport; adds up the time.
class Engine::BlockingMemory final : public Memory {
 public:
  BlockingMemory(Engine& engine, sc_core::sc_time& delay) : engine_(engine), delay_(delay) {}
  MemoryStatus read(std::uint64_t address, std::span<std::uint8_t> into) override {
    return transfer(tlm::TLM_READ_COMMAND, address, into.data(), into.size());
  }
  MemoryStatus write(std::uint64_t address, std::span<const std::uint8_t> from) override {
    return transfer(tlm::TLM_WRITE_COMMAND, address, const_cast<std::uint8_t*>(from.data()), from.size());
  }
  MemoryStatus compare_exchange(std::uint64_t address, unsigned bytes, std::uint64_t expected,
                                std::uint64_t desired, bool& swapped) override {
    std::uint64_t now = 0;
    auto* raw = reinterpret_cast<std::uint8_t*>(&now);
    const MemoryStatus status = transfer(tlm::TLM_READ_COMMAND, address, raw, bytes);
    if (status != MemoryStatus::kOk) return status;
    swapped = now == expected;
    if (!swapped) return status;
    return transfer(tlm::TLM_WRITE_COMMAND, address, reinterpret_cast<std::uint8_t*>(&desired), bytes);
  }

 private:
  MemoryStatus transfer(tlm::tlm_command command, std::uint64_t address, std::uint8_t* data,
                        std::size_t bytes) {
    sim::Transaction* t = engine_.sim_.payloads().acquire(command, address, bytes);
    if (command == tlm::TLM_WRITE_COMMAND) std::memcpy(t->get_data_ptr(), data, bytes);
    engine_.iommu_.walker->b_transport(*t, delay_);
    delay_ += sim::Timeline::to_sc_time(engine_.iommu_.clock().span(engine_.config_.walk_step_cycles));
    const bool ok = t->is_response_ok();
    if (ok && command == tlm::TLM_READ_COMMAND) std::memcpy(data, t->get_data_ptr(), bytes);
    t->release();
    return ok ? MemoryStatus::kOk : MemoryStatus::kAccessFault;
  }
  Engine& engine_;
  sc_core::sc_time& delay_;
};

/// Tables read through the walker socket's transport_dbg; never written.
class Engine::DebugMemory final : public Memory {
 public:
  explicit DebugMemory(Engine& engine) : engine_(engine) {}
  MemoryStatus read(std::uint64_t address, std::span<std::uint8_t> into) override {
    return engine_.at_coherence_point(address, tlm::TLM_READ_COMMAND, into.data(),
                                      static_cast<unsigned>(into.size()));
  }
  MemoryStatus write(std::uint64_t, std::span<const std::uint8_t>) override {
    return MemoryStatus::kAccessFault;
  }
  MemoryStatus compare_exchange(std::uint64_t, unsigned, std::uint64_t, std::uint64_t, bool&) override {
    return MemoryStatus::kAccessFault;
  }

 private:
  Engine& engine_;
};

void Engine::device_b_transport(tlm::tlm_generic_payload& payload, sc_core::sc_time& delay) {
  sim_.timeline().incoming(delay);
  if (crosses_page(payload)) {
    payload.set_response_status(tlm::TLM_BURST_ERROR_RESPONSE);
    return;
  }
  const Request request = request_of(payload, sim::tag_of(payload));
  BlockingMemory memory(*this, delay);
  delay += sim::Timeline::to_sc_time(iommu_.clock().span(config_.lookup_cycles));
  const Outcome outcome = core_.translate(request, memory, Walk::CacheUse::kFull);
  if (!outcome.ok() || outcome.mrif) {
    sim::complete(payload, !outcome.ok() && refusal(request, outcome.cause) == Refusal::kCompleterAbort
                               ? sim::CompletionStatus::kCompleterAbort
                               : sim::CompletionStatus::kUnsupportedRequest);
    wake_at(seen_at(sim_.now()));  // the record goes out by itself
    return;
  }
  payload.set_address(outcome.address);
  iommu_.downstream->b_transport(payload, delay);
  payload.set_address(request.iova);
}

unsigned Engine::device_dbg(tlm::tlm_generic_payload& payload) {
  if (crosses_page(payload)) return 0;
  const Request request = request_of(payload, sim::tag_of(payload));
  DebugMemory memory(*this);
  const Outcome& outcome = core_.peek(request, memory);
  if (!outcome.ok() || outcome.mrif) return 0;
  payload.set_address(outcome.address);
  const unsigned bytes = iommu_.downstream->transport_dbg(payload);
  payload.set_address(request.iova);
  return bytes;
}

}  // namespace iommu
