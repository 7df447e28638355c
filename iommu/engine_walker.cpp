// SPDX-License-Identifier: Apache-2.0
// The users of the walker port: walks, commands, queue records, messages, interrupt files. Each is an Agent
// with one access at a time: scheduled -> issued -> answered -> acted on after its reaction time.
#include <algorithm>

#include "iommu/engine.h"

namespace iommu {
namespace {

constexpr std::uint64_t kDigestInvalidate = sim::digest_tag("iommu.invalidate");
constexpr std::uint64_t kDigestFence = sim::digest_tag("iommu.fence");
constexpr std::uint64_t kDigestRecord = sim::digest_tag("iommu.fault_record");

/// Memory answers "no such address" with an address error; any other error is corrupted data.
MemoryStatus status_of(const tlm::tlm_generic_payload& payload) {
  if (payload.is_response_ok()) return MemoryStatus::kOk;
  return payload.get_response_status() == tlm::TLM_GENERIC_ERROR_RESPONSE ? MemoryStatus::kPoison
                                                                          : MemoryStatus::kAccessFault;
}

}  // namespace

void Engine::schedule(std::uint32_t index, sim::Cycle due) {
  Agent& a = agents_[index];
  if (a.state == Agent::State::kIdle) ++active_agents_;
  a.state = Agent::State::kScheduled;
  a.due = due;
}

void Engine::rest(Agent& agent) {
  agent.state = Agent::State::kIdle;
  --active_agents_;
}

/// Cycles between an answer and what the agent does with it.
sim::Cycle Engine::reaction_cycles(std::uint32_t agent) const {
  if (agent >= kFirstWalker) return config_.walk_step_cycles;
  return agent == kCommandAgent && core_.commands.state() == CommandProcessor::State::kFetching
             ? config_.command_cycles
             : 0;
}

void Engine::answered(Agent& agent, std::uint32_t index, MemoryStatus status, sim::Cycle seen) {
  agent.state = Agent::State::kAnswered;
  agent.status = status;
  agent.due = seen + reaction_cycles(index);
}

void Engine::act_agents(sim::Cycle now) {
  for (std::uint32_t i = 0; i < agents_.size(); ++i) {
    if (agents_[i].state == Agent::State::kAnswered && agents_[i].due <= now) act(i, now);
  }
}

/// One access leaves a cycle: the one that has waited longest, then the lowest agent.
void Engine::issue_agents(sim::Cycle now) {
  while (!walker_busy_ && now >= walker_next_) {
    std::uint32_t best = kNone;
    for (std::uint32_t i = 0; i < agents_.size(); ++i) {
      const Agent& a = agents_[i];
      if (a.state != Agent::State::kScheduled || a.due > now) continue;
      if (best == kNone || a.due < agents_[best].due) best = i;
    }
    if (best == kNone) return;
    issue(best, now);
  }
}

MemoryAccess* Engine::begin_access(std::uint32_t index) {
  using State = CommandProcessor::State;
  switch (index) {
    case kCommandAgent: {
      const State s = core_.commands.state();
      return s == State::kFetch || s == State::kFenceStore ? &core_.commands.begin() : nullptr;
    }
    case kFaultAgent:
      return core_.fault_queue.pending() ? core_.fault_queue.begin() : nullptr;
    case kPageAgent:
      return core_.page_queue.pending() ? core_.page_queue.begin() : nullptr;
    case kInterruptAgent:
      return core_.interrupts.pending() ? &core_.interrupts.begin() : nullptr;
    case kMrifAgent:
      return begin_mrif();
    default:
      return &walkers_[index - kFirstWalker].walk.access();
  }
}

/// Device directory, queues and messages go under the IOMMU's own QoS ids, what belongs to a device under
/// its.
void Engine::stamp(sim::Transaction& t, std::uint32_t agent) const {
  t.tag.rcid = core_.env.own_rcid();
  t.tag.mcid = core_.env.own_mcid();
  const Outcome* device = nullptr;
  if (agent >= kFirstWalker) {
    const Walk& walk = walkers_[agent - kFirstWalker].walk;
    if (walk.table() != WalkTable::kDeviceDirectory) device = &walk.outcome();
  }
  if (device != nullptr) {
    t.tag.rcid = device->rcid;
    t.tag.mcid = device->mcid;
  } else if (agent == kMrifAgent) {
    const Slot& slot = slots_[mrif_queue_[mrif_first_]];
    t.tag.rcid = slot.rcid;
    t.tag.mcid = slot.mcid;
  }
}

void Engine::issue(std::uint32_t index, sim::Cycle now) {
  Agent& a = agents_[index];
  MemoryAccess* access = begin_access(index);
  if (access == nullptr) {
    // Dropped since it was scheduled: what waits behind it (another use of the agent, a write held back) is
    // looked at in the next cycle.
    look_again_ = true;
    return rest(a);
  }
  a.access = access;
  if (core_.env.beyond_pas(access->address)) return answered(a, index, MemoryStatus::kAccessFault, now + 1);
  walker_next_ = now + 1;
  const bool write = access->kind == MemoryAccess::Kind::kWrite;
  sim::Transaction* t = sim_.payloads().acquire(write ? tlm::TLM_WRITE_COMMAND : tlm::TLM_READ_COMMAND,
                                                access->address, access->bytes);
  if (write) std::memcpy(t->get_data_ptr(), access->data.data(), access->bytes);
  t->user[0] = index;
  if (qos_) stamp(*t, index);
  a.transaction = t;
  a.state = Agent::State::kOutstanding;
  tlm::tlm_phase phase = tlm::BEGIN_REQ;
  sc_core::sc_time delay = sim_.timeline().outgoing_delay();
  switch (iommu_.walker->nb_transport_fw(*t, phase, delay)) {
    case tlm::TLM_ACCEPTED:
      walker_busy_ = true;
      break;
    case tlm::TLM_UPDATED:
      break;
    case tlm::TLM_COMPLETED:
      answered(a, index, status_of(*t), now + 1);
      break;
  }
}

tlm::tlm_sync_enum Engine::walker_response(tlm::tlm_generic_payload& payload, tlm::tlm_phase& phase,
                                           sc_core::sc_time& delay) {
  const sim::Cycle seen = seen_at(sim_.timeline().incoming(delay));
  if (phase == tlm::END_REQ) {
    walker_busy_ = false;
    walker_next_ = std::max(walker_next_, seen);
    wake_at(seen);
    return tlm::TLM_ACCEPTED;
  }
  const auto index = static_cast<std::uint32_t>(static_cast<sim::Transaction&>(payload).user[0]);
  Agent& a = agents_[index];
  POOLSIM_ASSERT(a.transaction == &payload && a.state == Agent::State::kOutstanding);
  answered(a, index, status_of(payload), seen);
  wake_at(a.due);
  return tlm::TLM_COMPLETED;
}

void Engine::act(std::uint32_t index, sim::Cycle now) {
  Agent& a = agents_[index];
  const MemoryStatus status = a.status;
  if (a.transaction != nullptr) {
    if (status == MemoryStatus::kOk && a.access->kind != MemoryAccess::Kind::kWrite) {
      std::memcpy(a.access->data.data(), a.transaction->get_data_ptr(), a.access->bytes);
    }
    a.transaction->release();
    a.transaction = nullptr;
  }
  rest(a);
  switch (index) {
    case kCommandAgent:
      core_.commands.supply(status);
      execute_at_ = now;
      if (core_.commands.state() == CommandProcessor::State::kExecute) {
        ++counters_.commands;
        execute_at_ +=
            config_.invalidate_scan_cycles * core_.commands.sets_to_scan(config_.invalidate_indexed);
      }
      return;
    case kFaultAgent:
      sim_.note(kDigestRecord, a.access->address, static_cast<std::uint64_t>(status));
      return core_.fault_record_written(status);
    case kPageAgent:
      return core_.page_record_written(status);
    case kInterruptAgent:
      ++counters_.msis;
      return core_.msi_written(status);
    case kMrifAgent:
      return act_mrif(status);
    default:
      return act_walk(walkers_[index - kFirstWalker], index, status, now);
  }
}

void Engine::act_walk(Walker& walker, std::uint32_t index, MemoryStatus status, sim::Cycle now) {
  if (walker.walk.access().kind == MemoryAccess::Kind::kCompareExchange) {
    bool swapped = false;
    if (status == MemoryStatus::kOk) status = compare_exchange(walker.walk.access(), swapped);
    walker.walk.updated(status, swapped);
  } else {
    walker.walk.supply(status);
  }
  if (walker.walk.done()) {
    finish_walk(walker, now);
  } else {
    schedule(index, now);
  }
}

MemoryStatus Engine::at_coherence_point(std::uint64_t address, tlm::tlm_command command, void* data,
                                        unsigned bytes) {
  sim::Transaction* t = sim_.payloads().acquire(command, address, bytes);
  if (command == tlm::TLM_WRITE_COMMAND) std::memcpy(t->get_data_ptr(), data, bytes);
  const bool done = iommu_.walker->transport_dbg(*t) == bytes;
  if (done && command == tlm::TLM_READ_COMMAND) std::memcpy(data, t->get_data_ptr(), bytes);
  t->release();
  return done ? MemoryStatus::kOk : MemoryStatus::kAccessFault;
}

/// The atomic update of an entry. The base protocol has none, so a read pays its time, and the compare and
/// the store happen together at the instant of its answer, where no other access can come between.
MemoryStatus Engine::compare_exchange(const MemoryAccess& access, bool& swapped) {
  std::uint64_t now = 0;
  const MemoryStatus status = at_coherence_point(access.address, tlm::TLM_READ_COMMAND, &now, access.bytes);
  if (status != MemoryStatus::kOk) return status;
  swapped = now == access.expected;
  if (!swapped) return status;
  std::uint64_t desired = access.desired;
  return at_coherence_point(access.address, tlm::TLM_WRITE_COMMAND, &desired, access.bytes);
}

// --- Units
// -----------------------------------------------------------------------------------------------------

void Engine::poll_units(sim::Cycle now) {
  const auto idle = [&](std::uint32_t i) { return agents_[i].state == Agent::State::kIdle; };
  // What may leave a record or a message comes before the units that write them.
  if (core_.debug_requested() && !debug_walking_) start_debug_walk(now);
  if (idle(kCommandAgent) && !core_.commands.at_rest()) poll_commands(now);
  if (core_.fault_queue.pending() && idle(kFaultAgent)) schedule(kFaultAgent, now + config_.fault_cycles);
  if (core_.page_queue.pending() && idle(kPageAgent)) schedule(kPageAgent, now + config_.fault_cycles);
  if (mrif_count_ != 0 && idle(kMrifAgent)) schedule(kMrifAgent, now + config_.forward_cycles);
  if (core_.interrupts.pending() && idle(kInterruptAgent)) {
    schedule(kInterruptAgent, now + config_.interrupt_cycles);
  }
  const std::uint32_t wires = core_.interrupts.wires();
  for (std::uint32_t changed = wires ^ wires_; changed != 0; changed &= changed - 1) {
    const auto v = static_cast<unsigned>(std::countr_zero(changed));
    if (iommu_.interrupt_wire) iommu_.interrupt_wire(v, ((wires >> v) & 1) != 0);
  }
  wires_ = wires;
}

void Engine::poll_commands(sim::Cycle now) {
  using State = CommandProcessor::State;
  for (;;) {
    const State before = core_.commands.state();
    core_.commands.poll();
    switch (core_.commands.state()) {
      case State::kFetch:
        return schedule(kCommandAgent, now + config_.command_fetch_cycles);
      case State::kFenceStore:
        return schedule(kCommandAgent, now);
      case State::kExecute:
        if (now < execute_at_) return;
        core_.commands.execute();
        break;
      default:
        if (core_.commands.state() == before) return;
        break;
    }
  }
}

void Engine::start_debug_walk(sim::Cycle now) {
  if (busy_walkers_ == walkers_.size()) return;
  scratch_.start(core_.env, core_.caches, Walk::CacheUse::kFull, core_.debug_request());
  ++counters_.debug_walks;
  if (scratch_.done()) {
    core_.book(scratch_);
    return core_.debug_done(scratch_.outcome());
  }
  start_walker(Walker::For::kDebug, now);
  debug_walking_ = true;
}

// --- Invalidation and fence
// ------------------------------------------------------------------------------------

/// Walks under way may have read the old entries: they may end, but nothing learns from them.
void Engine::invalidated(const Invalidate& event) {
  for (Walker& w : walkers_) {
    if (!w.busy) continue;
    w.walk.stop_filling();
    w.overtaken = true;
  }
  walk_barrier_ = walk_serial_;
  ++counters_.invalidations;
  Invalidate e = event;
  e.time = sim_.now();
  sim_.note(kDigestInvalidate, static_cast<std::uint64_t>(e.kind) << 32 | e.dropped, e.address);
  iommu_.invalidated.emit(e);
}

/// What was translated before this fence must be on its way, and answered where PR or PW ask for it. A walk
/// that began behind the last invalidation has read the new entries: only PR and PW concern it.
void Engine::fence_begins(bool pr, bool pw) {
  std::vector<bool>& old = old_walks_;
  old.assign(slots_.size(), false);
  for (const Walker& w : walkers_) {
    for (std::size_t i = 0; w.busy && w.serial < walk_barrier_ && i < w.waiting.size(); ++i) {
      old[w.waiting[i]] = true;
    }
  }
  fence_share_ = 0;
  fence_timing_ = false;
  fence_seen_ = answered_until_ > sim_.now() ? seen_at(answered_until_) : 0;
  for (Slot& slot : slots_) {
    const bool observed = slot.write ? pw : pr;
    switch (slot.state) {
      case Slot::State::kWalking:
        slot.fenced = observed          ? Fenced::kUntilAnswered
                      : old[slot.index] ? Fenced::kUntilForwarded
                                        : Fenced::kNo;
        break;
      case Slot::State::kReady:
      case Slot::State::kMrif:
        slot.fenced = observed ? Fenced::kUntilAnswered : Fenced::kUntilForwarded;
        break;
      case Slot::State::kForwarded:
        slot.fenced = observed ? Fenced::kUntilAnswered : Fenced::kNo;
        break;
      default:
        slot.fenced = Fenced::kNo;
        break;
    }
    if (slot.fenced != Fenced::kNo) ++fence_share_;
  }
}

void Engine::settle_fence_share(Slot& slot, sim::Cycle seen) {
  slot.fenced = Fenced::kNo;
  --fence_share_;
  fence_seen_ = std::max(fence_seen_, seen);
  if (fence_share_ == 0 && seen != 0) wake_at(seen);
}

bool Engine::fence_clear() {
  const sim::Cycle now = now_;
  if (fence_timing_) return now >= fence_due_;
  if (fence_share_ != 0 || now < fence_seen_) return false;
  for (const Walker& w : walkers_) {
    if (w.busy && w.serial < walk_barrier_) return false;
  }
  fence_timing_ = true;
  fence_due_ = now + config_.fence_cycles;
  return now >= fence_due_;
}

void Engine::fence_done(const FenceDone& event) {
  ++counters_.fences;
  FenceDone e = event;
  e.time = sim_.now();
  sim_.note(kDigestFence, e.index);
  iommu_.fence_done.emit(e);
}

// --- Memory-resident interrupt files
// ---------------------------------------------------------------------------

/// Only aligned 4-byte writes are stores to an interrupt file. The identity's pending bit is set, then the
/// notice goes out, whatever the enable bit says.
void Engine::store_to_mrif(Slot& slot, const Outcome& outcome) {
  const tlm::tlm_generic_payload& payload = *slot.payload;
  if (!slot.write || payload.get_data_length() != 4 || (slot.request.iova & 3) != 0) {
    return refuse(slot, Cause::kTypeDisallowed, 0, false);
  }
  slot.phys = outcome.mrif_address;
  slot.rcid = outcome.rcid;
  slot.mcid = outcome.mcid;
  slot.notice_address = outcome.notice_address;
  slot.notice_id = outcome.notice_id;
  slot.state = Slot::State::kMrif;
  mrif_queue_[(mrif_first_ + mrif_count_++) % mrif_queue_.size()] = slot.index;
}

MemoryAccess* Engine::begin_mrif() {
  const Slot& slot = slots_[mrif_queue_[mrif_first_]];
  const std::uint64_t offset = slot.request.iova & 0xfff;
  const std::uint32_t identity = load32(slot.payload->get_data_ptr(), (offset & 4) != 0);
  if (mrif_notice_) {
    mrif_access_.kind = MemoryAccess::Kind::kWrite;
    mrif_access_.address = slot.notice_address;
    mrif_access_.bytes = 4;
    store32(mrif_access_.data.data(), slot.notice_id, false);
    return &mrif_access_;
  }
  if ((offset & ~std::uint64_t{4}) != 0 || identity > 2047) {  // accepted and dropped
    end_mrif(Cause::kNone);
    return nullptr;
  }
  mrif_access_.kind = MemoryAccess::Kind::kRead;
  mrif_access_.address = slot.phys + (identity / 64) * 16;
  mrif_access_.bytes = 8;
  mrif_access_.desired = std::uint64_t{1} << (identity % 64);
  return &mrif_access_;
}

void Engine::act_mrif(MemoryStatus status) {
  if (status != MemoryStatus::kOk) {
    return end_mrif(status == MemoryStatus::kPoison ? Cause::kMrifCorruption : Cause::kMrifAccessFault);
  }
  if (mrif_notice_) return end_mrif(Cause::kNone);
  // The atomic OR, at the instant of the read's answer.
  std::uint64_t pending = 0;
  status = at_coherence_point(mrif_access_.address, tlm::TLM_READ_COMMAND, &pending, 8);
  pending |= mrif_access_.desired;
  if (status == MemoryStatus::kOk) {
    status = at_coherence_point(mrif_access_.address, tlm::TLM_WRITE_COMMAND, &pending, 8);
  }
  if (status != MemoryStatus::kOk) return end_mrif(Cause::kMrifAccessFault);
  mrif_notice_ = true;
}

void Engine::end_mrif(Cause cause) {
  Slot& slot = slots_[mrif_queue_[mrif_first_]];
  mrif_first_ = (mrif_first_ + 1) % mrif_queue_.size();
  --mrif_count_;
  mrif_notice_ = false;
  if (cause != Cause::kNone) {
    Outcome fault;
    fault.cause = cause;
    fault.dtf = slot.dtf;
    return refuse(slot, cause, 0, core_.report(slot.request, fault));
  }
  unlink(slot);
  if (slot.fenced != Fenced::kNo) settle_fence_share(slot, 0);
  tlm::tlm_generic_payload& payload = *slot.payload;
  sim::complete(payload, sim::CompletionStatus::kSuccess);
  respond(slot, payload);
}

}  // namespace iommu
