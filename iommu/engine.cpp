// SPDX-License-Identifier: Apache-2.0
// Device side of the engine: from a request's arrival to its response.
#include "iommu/engine.h"

#include <algorithm>

namespace iommu {
namespace {

constexpr std::uint64_t kDigestTranslated = sim::digest_tag("iommu.translated");
constexpr std::uint64_t kDigestFault = sim::digest_tag("iommu.fault");

std::string probe_path(const Iommu& iommu, const char* leaf) {
  return std::string(iommu.basename()) + "." + leaf;
}

/// Does a translation that was found for another request to the page also allow this one?
bool allows(const Outcome& o, const Request& r) {
  return (!r.read || o.readable) && (!r.write || o.writable) && (!r.execute || o.executable);
}

/// The fault that a walk found for `walked` is also that of `r`: same subject and page (join_walk), same
/// kind.
bool faults_alike(const Request& walked, const Request& r) {
  return walked.read == r.read && walked.write == r.write && walked.execute == r.execute;
}

/// A merged miss has the outcome of the walk, at its own offset in the page.
Outcome at_offset_of(const Request& r, const Outcome& walked) {
  constexpr std::uint64_t kOffset = sim::kPageSize - 1;
  Outcome own = walked;
  own.address = (walked.address & ~kOffset) | (r.iova & kOffset);
  const bool of_the_request = walked.iotval2 != 0 && (walked.iotval2 & 3) == 0;  // else of a table's entry
  if (of_the_request) own.iotval2 = (walked.iotval2 & ~kOffset) | (r.iova & kOffset & ~std::uint64_t{3});
  return own;
}

bool same_page_and_subject(const Request& a, const Request& b) {
  return (a.iova >> 12) == (b.iova >> 12) && a.device_id == b.device_id && a.process_id == b.process_id &&
         a.has_process_id == b.has_process_id && a.privileged == b.privileged &&
         a.address_type == b.address_type;
}

}  // namespace

Engine::Engine(Iommu& iommu, sim::Simulation& simulation, const IommuConfig& config)
    : iommu_(iommu),
      sim_(simulation),
      config_(config),
      core_(config_, simulation.random(std::string(iommu.name()) + ".replacement"), *this),
      qos_((config.architecture.capabilities & cap::kQosid) != 0),
      miss_limit_(config.hit_under_miss ? config.miss_queue : 1),
      numbered_(config.input_queue <= sim::Transaction::kPorts),
      slots_(config.input_queue),
      queue_(config.input_queue),
      walkers_(config.walkers),
      agents_(kFirstWalker + config.walkers),
      mrif_queue_(config.input_queue),
      register_queue_(16),
      lookups_(simulation.probes(), probe_path(iommu, "iotlb.lookups")),
      hits_(simulation.probes(), probe_path(iommu, "iotlb.hits")),
      misses_(simulation.probes(), probe_path(iommu, "iotlb.misses")),
      walks_in_flight_(simulation.probes(), probe_path(iommu, "walks"), 9),
      faults_(simulation.probes(), probe_path(iommu, "faults")),
      cqh_(simulation.probes(), probe_path(iommu, "cq.head"), 20),
      cqt_(simulation.probes(), probe_path(iommu, "cq.tail"), 20),
      fqt_(simulation.probes(), probe_path(iommu, "fq.tail"), 20),
      waiting_(simulation.probes(), probe_path(iommu, "waiting"), 13) {
  for (std::uint32_t i = 0; i < slots_.size(); ++i) {
    slots_[i].index = i;
    free_slots_.push_back(static_cast<std::uint32_t>(slots_.size()) - 1 - i);
  }
  for (Walker& w : walkers_) w.waiting.reserve(config.input_queue);
  posted_ahead_.reserve(config.input_queue);
  simulation.probes().refresh_with([this] { update_probes(); });
}

// --- Slots and lists
// -------------------------------------------------------------------------------------------

Engine::Slot* Engine::allocate_slot() {
  POOLSIM_ASSERT(!free_slots_.empty());  // the initiator sent although it was told that we are full
  Slot& slot = slots_[free_slots_.back()];
  free_slots_.pop_back();
  return &slot;
}

/// Gives the slot back; an initiator that was told "full" may go on, after `delay`.
void Engine::free_slot(Slot& slot, sc_core::sc_time delay) {
  slot.state = Slot::State::kFree;
  slot.payload = nullptr;
  free_slots_.push_back(slot.index);
  if (stalled_ == nullptr) return;
  tlm::tlm_generic_payload& payload = *stalled_;
  stalled_ = nullptr;
  tlm::tlm_phase phase = tlm::END_REQ;
  iommu_.device->nb_transport_bw(payload, phase, delay);
}

void Engine::append(Slot& slot) {
  ++pending_;
  slot.previous = pending_last_;
  slot.next = kNone;
  (pending_last_ != kNone ? slots_[pending_last_].next : pending_first_) = slot.index;
  pending_last_ = slot.index;
}

void Engine::unlink(Slot& slot) {
  --pending_;
  (slot.previous != kNone ? slots_[slot.previous].next : pending_first_) = slot.next;
  (slot.next != kNone ? slots_[slot.next].previous : pending_last_) = slot.previous;
}

// --- Arrival
// ---------------------------------------------------------------------------------------------------

Request Engine::request_of(const tlm::tlm_generic_payload& payload, const sim::DmaTag& tag) {
  Request r;
  r.device_id = tag.requester.value;
  r.has_process_id = tag.has_process_id;
  r.process_id = tag.has_process_id ? tag.process_id : 0;
  r.privileged = tag.privileged;
  r.address_type = tag.address_type;
  r.iova = payload.get_address();
  r.write = payload.is_write();
  r.execute =
      tag.execute && !r.write && (r.address_type == sim::AddressType::kUntranslated || r.has_process_id);
  r.read = !r.write && (!r.execute || r.address_type != sim::AddressType::kUntranslated);
  return r;
}

bool Engine::crosses_page(const tlm::tlm_generic_payload& payload) {
  const std::uint64_t offset = payload.get_address() & (sim::kPageSize - 1);
  return payload.get_data_length() == 0 || offset + payload.get_data_length() > sim::kPageSize;
}

tlm::tlm_sync_enum Engine::device_request(tlm::tlm_generic_payload& payload, tlm::tlm_phase& phase,
                                          sc_core::sc_time& delay) {
  if (phase != tlm::BEGIN_REQ) return tlm::TLM_ACCEPTED;  // END_RESP of a four-phase initiator
  const sim::Tick arrival = sim_.timeline().incoming(delay);
  if (crosses_page(payload)) {
    sim::complete(payload, sim::CompletionStatus::kUnsupportedRequest);
    payload.set_response_status(tlm::TLM_BURST_ERROR_RESPONSE);
    return tlm::TLM_COMPLETED;
  }
  Slot& slot = *allocate_slot();
  slot.payload = &payload;
  const sim::DmaTag& tag = sim::tag_of(payload);
  slot.request = request_of(payload, tag);
  slot.write = slot.request.write;
  slot.posted = tag.posted && slot.write;
  slot.hit = false;
  slot.fenced = Fenced::kNo;
  slot.state = Slot::State::kQueued;
  slot.due = std::max(seen_at(arrival) + config_.lookup_cycles, next_lookup_);
  next_lookup_ = slot.due + config_.lookup_interval;
  const std::size_t last = queue_first_ + queue_count_++;
  queue_[last < queue_.size() ? last : last - queue_.size()] = slot.index;
  ++counters_.requests;
  if (queue_count_ == 1) iommu_.tick_by(slot.due);
  phase = tlm::END_REQ;
  if (!free_slots_.empty()) return tlm::TLM_UPDATED;
  stalled_ = &payload;
  phase = tlm::BEGIN_REQ;
  return tlm::TLM_ACCEPTED;
}

// --- Lookup
// ----------------------------------------------------------------------------------------------------

void Engine::lookups(sim::Cycle now) {
  while (queue_count_ != 0) {
    Slot& slot = slots_[queue_[queue_first_]];
    if (slot.due > now || misses_full()) break;
    if (++queue_first_ == queue_.size()) queue_first_ = 0;
    --queue_count_;
    append(slot);
    look_up(slot, now);
  }
}

void Engine::look_up(Slot& slot, sim::Cycle now) {
  if (const Caches::Hit hit = core_.translate_cached(slot.request)) {
    take_hit(slot, hit);
    return make_ready(slot, slot.phys, now);
  }
  scratch_.start(core_.env, core_.caches, Walk::CacheUse::kFull, slot.request);
  if (!scratch_.done()) return miss(slot, now);
  const bool recorded = core_.book(scratch_);
  slot.hit = scratch_.outcome().iotlb_hit;
  resolve(slot, scratch_.outcome(), recorded, now);
}

void Engine::take_hit(Slot& slot, const Caches::Hit& hit) {
  const DeviceContext& device = *hit.device;
  slot.hit = true;
  slot.dtf = device.tc(dc::kDtf);
  slot.rcid = device.rcid;
  slot.mcid = device.mcid;
  slot.page_shift = hit.entry->page_shift;
  slot.phys = core_.caches.translated(*hit.entry, slot.request.iova);
}

/// The translation of a slot is known, or that there is none.
void Engine::resolve(Slot& slot, const Outcome& outcome, bool recorded, sim::Cycle leaves) {
  slot.dtf = outcome.dtf;
  if (!outcome.ok()) return refuse(slot, outcome.cause, outcome.iotval2, recorded);
  if (slot.request.is_ats()) return answer_ats(slot, outcome);
  if (outcome.mrif) return store_to_mrif(slot, outcome);
  slot.page_shift = outcome.page_shift;
  slot.rcid = outcome.rcid;
  slot.mcid = outcome.mcid;
  make_ready(slot, outcome.address, leaves);
}

void Engine::make_ready(Slot& slot, std::uint64_t phys, sim::Cycle leaves) {
  slot.phys = phys;
  slot.state = Slot::State::kReady;
  slot.due = leaves;
  ++ready_;
}

void Engine::miss(Slot& slot, sim::Cycle now) {
  if (join_walk(slot)) return;
  if (busy_walkers_ == walkers_.size()) {
    slot.state = Slot::State::kMiss;
    ++missing_;
    ++counters_.waited_for_walker;
    return;
  }
  start_walk(slot, now);
}

/// Waits for a walk that is already under way to the same page for the same subject.
bool Engine::join_walk(Slot& slot) {
  for (Walker& w : walkers_) {
    if (!w.busy || w.purpose != Walker::For::kDevice || w.overtaken ||
        !same_page_and_subject(w.walk.request(), slot.request))
      continue;
    w.waiting.push_back(slot.index);
    slot.state = Slot::State::kWalking;
    ++walking_;
    ++counters_.merged;
    return true;
  }
  return false;
}

/// The walk that scratch_ began goes on in a walker of its own. Precondition: one is free.
Engine::Walker& Engine::start_walker(Walker::For purpose, sim::Cycle now) {
  const auto free = std::find_if(walkers_.begin(), walkers_.end(), [](const Walker& w) { return !w.busy; });
  free->busy = true;
  free->overtaken = false;
  free->purpose = purpose;
  free->serial = walk_serial_++;
  free->begun = now;
  free->walk = scratch_;
  free->waiting.clear();
  ++busy_walkers_;
  schedule(kFirstWalker + static_cast<std::uint32_t>(free - walkers_.begin()),
           now + config_.walk_start_cycles);
  return *free;
}

void Engine::start_walk(Slot& slot, sim::Cycle now) {
  start_walker(Walker::For::kDevice, now).waiting.push_back(slot.index);
  slot.state = Slot::State::kWalking;
  ++walking_;
  ++counters_.walks;
}

/// Misses that found no walker look again, oldest first, as soon as one is free.
void Engine::retry_misses(sim::Cycle now) {
  // A look-up may end a slot or put it into another state, but never takes another slot out of the list.
  for (std::uint32_t i = pending_first_; i != kNone && missing_ != 0 && busy_walkers_ < walkers_.size();) {
    Slot& slot = slots_[i];
    i = slot.next;
    if (slot.state != Slot::State::kMiss) continue;
    --missing_;
    look_up(slot, now);
  }
}

void Engine::emit_walked(const Walker& walker, sim::Cycle now) const {
  const Request& request = walker.walk.request();
  iommu_.walked.emit({.requester = sim::RequesterId(request.device_id),
                      .iova = sim::Iova(request.iova),
                      .walker = static_cast<std::uint32_t>(&walker - walkers_.data()),
                      .waiting = static_cast<std::uint32_t>(walker.waiting.size()),
                      .cause = walker.walk.outcome().cause,
                      .begin = iommu_.clock().edge(walker.begun),
                      .end = iommu_.clock().edge(now)});
}

void Engine::finish_walk(Walker& walker, sim::Cycle now) {
  if (iommu_.walked.enabled()) emit_walked(walker, now);
  const Outcome& outcome = walker.walk.outcome();
  const WalkCounts& counts = walker.walk.counts();
  walker.busy = false;
  --busy_walkers_;
  if (walker.purpose == Walker::For::kMessage) {
    core_.book(walker.walk);
    return core_.page_request_done(walker.message, outcome);
  }
  if (walker.purpose == Walker::For::kDebug) {
    Outcome result = outcome;
    if (result.ok() && result.mrif) result.cause = Cause::kTypeDisallowed;
    debug_walking_ = false;
    core_.book(walker.walk.request(), result, counts);
    return core_.debug_done(result);
  }
  for (std::size_t i = 0; i < walker.waiting.size(); ++i) {
    Slot& slot = slots_[walker.waiting[i]];
    --walking_;
    if (i == 0) {
      resolve(slot, outcome, core_.book(walker.walk), now + config_.forward_cycles);
    } else if (outcome.ok() ? !outcome.mrif && allows(outcome, slot.request)
                            : faults_alike(walker.walk.request(), slot.request)) {
      const Outcome own = at_offset_of(slot.request, outcome);
      const bool recorded = core_.book(slot.request, own, {});
      resolve(slot, own, recorded, now + config_.forward_cycles);
    } else {
      slot.state = Slot::State::kMiss;
      ++missing_;
    }
  }
}

// --- Leaving
// ---------------------------------------------------------------------------------------------------

/// Sends the oldest ready request that no earlier posted write of its requester holds back; one a cycle.
void Engine::forward_ready(sim::Cycle now) {
  forward_wake_ = sim::kNeverCycle;
  if (ready_ == 0 || downstream_busy_) return;
  if (pending_first_ == pending_last_) {  // nothing is ahead of it
    Slot& only = slots_[pending_first_];
    const sim::Cycle leaves = std::max(only.due, next_forward_);
    if (leaves > now) {
      forward_wake_ = leaves;
      return;
    }
    pending_ = ready_ = 0;
    pending_first_ = pending_last_ = kNone;
    return forward(only, now);
  }
  posted_ahead_.clear();
  bool sent = now < next_forward_;
  for (std::uint32_t i = pending_first_; i != kNone;) {
    Slot& slot = slots_[i];
    i = slot.next;
    const auto requester = slot.request.device_id;
    const bool held = !posted_ahead_.empty() &&
                      std::find(posted_ahead_.begin(), posted_ahead_.end(), requester) != posted_ahead_.end();
    if (slot.state == Slot::State::kReady && !held) {
      if (!sent && slot.due <= now) {
        unlink(slot);
        --ready_;
        forward(slot, now);
        sent = true;
        if (downstream_busy_) return;
        continue;
      }
      forward_wake_ = std::min(forward_wake_, std::max({slot.due, next_forward_, now + 1}));
    }
    if (slot.posted && !held) posted_ahead_.push_back(requester);
  }
}

/// The QoS ids of the device context go with the translated request.
void Engine::stamp(tlm::tlm_generic_payload& payload, const Slot& slot) {
  sim::DmaTag* tag = nullptr;
  payload.get_extension(tag);
  if (tag == nullptr) return;
  tag->rcid = slot.rcid;
  tag->mcid = slot.mcid;
}

void Engine::mark(tlm::tlm_generic_payload& payload, Slot& slot) const {
  if (sim::Transaction* const own = sim::own(payload); own != nullptr && numbered_) return own->push_port(slot.index);
  payload.set_extension<Slot>(&slot);
}

Engine::Slot& Engine::take_marked(tlm::tlm_generic_payload& payload) {
  if (sim::Transaction* const own = sim::own(payload); own != nullptr && numbered_) return slots_[own->pop_port()];
  Slot* slot = nullptr;
  payload.get_extension<Slot>(slot);
  POOLSIM_ASSERT(slot != nullptr);
  payload.clear_extension<Slot>();
  return *slot;
}

/// The same where the slot is known.
void Engine::unmark(tlm::tlm_generic_payload& payload) const {
  if (sim::Transaction* const own = sim::own(payload); own != nullptr && numbered_) {
    own->pop_port();
  } else {
    payload.clear_extension<Slot>();
  }
}

/// Sends a translated request that is in no list.
void Engine::forward(Slot& slot, sim::Cycle now) {
  slot.state = Slot::State::kForwarded;
  next_forward_ = now + 1;
  ++counters_.forwarded;
  if (slot.fenced == Fenced::kUntilForwarded) settle_fence_share(slot, now);
  tlm::tlm_generic_payload& payload = *slot.payload;
  sim_.note(kDigestTranslated, slot.request.iova, slot.phys);
  if (iommu_.translated.enabled()) {
    iommu_.translated.emit({sim::RequesterId(slot.request.device_id), sim::Iova(slot.request.iova),
                            sim::PhysAddr(slot.phys), payload.get_data_length(), slot.write, slot.hit,
                            slot.page_shift, sim_.now(),
                            slot.request.address_type == sim::AddressType::kTranslated});
  }
  payload.set_address(slot.phys);
  if (qos_) stamp(payload, slot);
  mark(payload, slot);
  tlm::tlm_phase phase = tlm::BEGIN_REQ;
  sc_core::sc_time delay = sim_.timeline().outgoing_delay();
  switch (iommu_.downstream->nb_transport_fw(payload, phase, delay)) {
    case tlm::TLM_ACCEPTED:
      downstream_busy_ = true;
      break;
    case tlm::TLM_UPDATED:
      break;
    case tlm::TLM_COMPLETED:
      unmark(payload);
      answer(slot, delay);
      break;
  }
}

[[gnu::flatten]] tlm::tlm_sync_enum Engine::downstream_response(tlm::tlm_generic_payload& payload, tlm::tlm_phase& phase,
                                               sc_core::sc_time& delay) {
  if (phase == tlm::END_REQ) {
    const sim::Cycle seen = seen_at(sim_.timeline().incoming(delay));
    downstream_busy_ = false;
    next_forward_ = std::max(next_forward_, seen);
    if (ready_ != 0) wake_at(seen);
    return tlm::TLM_ACCEPTED;
  }
  Slot& slot = take_marked(payload);
  POOLSIM_ASSERT(slot.payload == &payload);
  answer(slot, delay);
  return tlm::TLM_COMPLETED;
}

/// Passes the response of a forwarded request on (a wire: no cycle of ours).
void Engine::answer(Slot& slot, sc_core::sc_time delay) {
  tlm::tlm_generic_payload& payload = *slot.payload;
  payload.set_address(slot.request.iova);
  // Only a fence asks when.
  const sim::Tick arrival = sim_.timeline().incoming(delay);
  answered_until_ = std::max(answered_until_, arrival);
  if (slot.fenced != Fenced::kNo) settle_fence_share(slot, seen_at(arrival));
  respond(slot, payload, delay);
}

void Engine::respond(Slot& slot, tlm::tlm_generic_payload& payload, sc_core::sc_time delay) {
  free_slot(slot, delay);
  tlm::tlm_phase phase = tlm::BEGIN_RESP;
  iommu_.device->nb_transport_bw(payload, phase, delay);
}

void Engine::emit_fault(const Slot& slot, Cause cause, std::uint64_t iotval2, bool recorded) {
  if (!iommu_.faulted.enabled()) return;
  iommu_.faulted.emit({sim::RequesterId(slot.request.device_id), sim::Iova(slot.request.iova),
                       slot.payload->get_data_length(), slot.write, slot.posted, cause, iotval2, recorded,
                       sim_.now()});
}

/// The request ends here: a posted write vanishes, everything else is answered with the refusal its cause
/// asks for.
void Engine::refuse(Slot& slot, Cause cause, std::uint64_t iotval2, bool recorded) {
  ++counters_.refused;
  if (slot.posted) ++counters_.dropped_writes;
  sim_.note(kDigestFault, slot.request.iova, static_cast<std::uint64_t>(cause));
  emit_fault(slot, cause, iotval2, recorded);
  if (slot.request.is_ats() && refusal(slot.request, cause) == Refusal::kNothingGranted) {
    return answer_ats(slot, Outcome{});
  }
  unlink(slot);
  if (slot.fenced != Fenced::kNo) settle_fence_share(slot, 0);
  tlm::tlm_generic_payload& payload = *slot.payload;
  sim::complete(payload, refusal(slot.request, cause) == Refusal::kCompleterAbort
                             ? sim::CompletionStatus::kCompleterAbort
                             : sim::CompletionStatus::kUnsupportedRequest);
  respond(slot, payload);
}

/// A translation completion: the data of the read is one 8-byte entry (PCIe ATS, big-endian fields as a
/// number).
void Engine::answer_ats(Slot& slot, const Outcome& outcome) {
  unlink(slot);
  if (slot.fenced != Fenced::kNo) settle_fence_share(slot, 0);
  tlm::tlm_generic_payload& payload = *slot.payload;
  const std::uint64_t entry = ats_completion_entry(slot.request, outcome);
  std::memset(payload.get_data_ptr(), 0, payload.get_data_length());
  std::memcpy(payload.get_data_ptr(), &entry, std::min<std::size_t>(8, payload.get_data_length()));
  sim::complete(payload, sim::CompletionStatus::kSuccess);
  respond(slot, payload);
}

// --- The cycle
// -------------------------------------------------------------------------------------------------

/// Nothing is inside or to be done but requests that wait for their lookup.
bool Engine::still_quiet() const {
  const bool no_requests = pending_ == 0 && messages_.empty();
  const bool no_units = active_agents_ == 0 && register_count_ == 0 && !core_.debug_requested() &&
                        core_.commands.at_rest() && !core_.commands.tags.any_busy() && !core_.fault_queue.pending() &&
                        !core_.page_queue.pending() && !core_.interrupts.pending();
  const bool nobody_counts = !core_.hpm.listening() && cycles_overflow_at_ == sim::kNeverCycle;
  return no_requests && no_units && nobody_counts && !look_again_;
}

/// The usual tick of a quiet module: the lookup of one request, which hits and leaves without a list. False: a whole tick is
/// needed.
bool Engine::quiet_tick(sim::Cycle now) {
  if (!quiet_ || queue_count_ != 1 || downstream_busy_ || next_forward_ > now || sim_.probes().listened()) return false;
  Slot& slot = slots_[queue_[queue_first_]];
  if (slot.due > now) return false;
  const Caches::Hit hit = core_.translate_cached(slot.request);
  if (!hit) return false;
  if (++queue_first_ == queue_.size()) queue_first_ = 0;
  queue_count_ = 0;
  take_hit(slot, hit);
  forward(slot, now);
  return true;
}

sim::Wakeup Engine::tick(sim::Cycle now) {
  now_ = now;
  if (quiet_tick(now)) return sim::Wakeup::never();
  look_again_ = false;
  if (active_agents_ != 0) act_agents(now);
  if (register_count_ != 0) registers(now);
  lookups(now);
  if (missing_ != 0) retry_misses(now);
  if (!messages_.empty()) messages(now);
  if (core_.commands.tags.any_busy()) expire_invalidations(now);
  if (now >= cycles_overflow_at_) {
    sync_cycles();
    cycles_overflow_at_ = sim::kNeverCycle;
  }
  forward_ready(now);
  poll_units(now);
  if (active_agents_ != 0) issue_agents(now);
  if (sim_.probes().listened()) update_probes();
  quiet_ = still_quiet();
  const sim::Cycle next = next_due(now);
  return next == sim::kNeverCycle ? sim::Wakeup::never() : sim::Wakeup::at(std::max(next, now + 1));
}

sim::Cycle Engine::next_due(sim::Cycle now) const {
  if (look_again_) return now + 1;
  sim::Cycle next = std::min(forward_wake_, cycles_overflow_at_);
  if (queue_count_ != 0 && !misses_full()) next = std::min(next, slots_[queue_[queue_first_]].due);
  if (register_count_ != 0) next = std::min(next, register_queue_[register_first_].due);
  if (active_agents_ != 0) {
    for (const Agent& a : agents_) {
      if (a.state == Agent::State::kAnswered) next = std::min(next, a.due);
      if (a.state == Agent::State::kScheduled && !walker_busy_)
        next = std::min(next, std::max(a.due, walker_next_));
    }
  }
  if (!messages_.empty() && messages_.front().due > now) next = std::min(next, messages_.front().due);
  for (unsigned t = 0; core_.commands.tags.any_busy() && t < InvalidationTags::kTags; ++t) {
    if (core_.commands.tags.busy(t)) next = std::min(next, expiry_[t]);
  }
  switch (core_.commands.state()) {
    case CommandProcessor::State::kFenceWait:
      if (fence_timing_) {
        next = std::min(next, fence_due_);
      } else if (fence_seen_ > now) {
        next = std::min(next, fence_seen_);
      }
      break;
    case CommandProcessor::State::kExecute:
      next = std::min(next, execute_at_);
      break;
    default:
      break;
  }
  return next;
}

void Engine::update_probes() {
  const TranslationCounters& t = core_.translations();
  lookups_.set(t.lookups);
  hits_.set(t.hits);
  misses_.set(t.misses);
  walks_in_flight_.set(busy_walkers_);
  faults_.set(core_.faults().total);
  cqh_.set(core_.commands.regs.head);
  cqt_.set(core_.commands.regs.tail);
  fqt_.set(core_.fault_queue.regs.tail);
  waiting_.set(pending_);
}

bool Engine::idle() const {
  const auto state = core_.commands.state();
  return free_slots_.size() == slots_.size() && active_agents_ == 0 && register_count_ == 0 &&
         messages_.empty() && (state == CommandProcessor::State::kIdle) && !core_.fault_queue.pending() &&
         !core_.page_queue.pending() && !core_.interrupts.pending();
}

void Engine::reset() {
  POOLSIM_ASSERT(idle());
  core_.reset();
  execute_at_ = cycles_overflow_at_ = sim::kNeverCycle;
  hpm_synced_ = iommu_.clock().at_or_before(sim_.now());
  wake_at(seen_at(sim_.now()));  // the interrupt wires fall
}

void Engine::stats(const std::function<void(std::string_view, double, std::string_view)>& visit) const {
  const CacheCounters& c = core_.caches.counters();
  const TranslationCounters& t = core_.translations();
  const auto count = [&](std::string_view name, std::uint64_t v) {
    visit(name, static_cast<double>(v), "1");
  };
  count("requests", counters_.requests);
  count("forwarded", counters_.forwarded);
  count("refused", counters_.refused);
  count("dropped_posted_writes", counters_.dropped_writes);
  count("iotlb.lookups", t.lookups);
  count("iotlb.hits", t.hits);
  for (std::size_t i = 0; i < config_.iotlb_page_sizes.size(); ++i) {
    count(fmt::format("iotlb.hits.page_shift_{}", config_.iotlb_page_sizes[i]), t.hits_by_class[i]);
  }
  count("iotlb.misses", t.misses);
  count("iotlb.merged_misses", counters_.merged);
  count("iotlb.fills", c.iotlb_fills);
  count("iotlb.invalidated", c.iotlb_dropped);
  count("iotlb.valid", core_.caches.iotlb_valid());
  count("ddt_cache.hits", c.ddt_hits);
  count("ddt_cache.misses", c.ddt_misses);
  count("pdt_cache.hits", c.pdt_hits);
  count("pdt_cache.misses", c.pdt_misses);
  for (unsigned level = 0; level < 4; ++level) {
    count(fmt::format("walk_cache.first_stage.level_{}.hits", level), t.first_cached[level]);
    count(fmt::format("walk_cache.second_stage.level_{}.hits", level), t.second_cached[level]);
  }
  constexpr const char* tables[] = {"ddt", "pdt", "first_stage", "second_stage", "msi"};
  count("walks", counters_.walks);
  count("walks.debug", counters_.debug_walks);
  count("walks.waited_for_walker", counters_.waited_for_walker);
  count("walks.accesses", t.total_accesses());
  for (unsigned i = 0; i < 5; ++i) count(fmt::format("walks.accesses.{}", tables[i]), t.accesses[i]);
  for (unsigned level = 0; level < 5; ++level) {
    count(fmt::format("walks.first_stage.level_{}", level), t.first_level[level]);
    count(fmt::format("walks.second_stage.level_{}", level), t.second_level[level]);
  }
  visit("walks.accesses_per_walk.mean",
        t.walks != 0 ? static_cast<double>(t.total_accesses()) / static_cast<double>(t.walks) : 0.0, "1");
  count("walks.accesses_per_walk.max", t.longest_walk);
  count("invalidations", counters_.invalidations);
  count("commands", counters_.commands);
  count("fences", counters_.fences);
  count("msis", counters_.msis);
  count("ats.unexpected_completions", counters_.unexpected_completions);
  count("faults", core_.faults().total);
  count("faults.recorded", core_.faults().recorded);
  for (std::size_t i = 0; i < core_.faults().by_cause.size(); ++i) {
    if (core_.faults().by_cause[i] != 0) count(fmt::format("faults.cause_{}", i), core_.faults().by_cause[i]);
  }
}

}  // namespace iommu
