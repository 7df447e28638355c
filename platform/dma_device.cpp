// SPDX-License-Identifier: Apache-2.0
#include "platform/dma_device.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "sim/error.h"

namespace platform {

using sim::CompletionStatus;
using sim::Cycle;
using sim::kNeverCycle;
using tlm::tlm_generic_payload;
using Kind = PcieMessage::Kind;

namespace {

constexpr std::uint64_t kEntryRead = 1, kEntryWrite = 2, kEntryUntranslated = 4, kEntryGlobal = 1 << 5,
                        kEntrySize = 1 << 11;                                   // of a translation completion
constexpr std::uint64_t kRequestRead = 1, kRequestWrite = 2, kRequestLast = 4;  // of a page request
constexpr unsigned kGroupShift = 3, kGroups = 512;

const DmaDeviceConfig& checked(const DmaDeviceConfig& config) {
  config.validate();
  return config;
}

/// Pages of a range whose size is coded in the lowest zero of its page number.
std::uint64_t coded_pages(std::uint64_t page) {
  const int ones = std::countr_one(page);
  return ones >= 51 ? ~std::uint64_t{0} : std::uint64_t{2} << ones;
}

}  // namespace

void DmaDeviceConfig::validate() const {
  const auto refuse = [](const char* field, const char* what) {
    throw sim::Error(fmt::format("dma_device.{}: {}", field, what));
  };
  if (atc_entries != 0 && (translation_requests < 1 || translation_requests > 32))
    refuse("translation_requests", "1 to 32");
  if (page_request_groups > kGroups) refuse("page_request_groups", "at most 512");
  if (page_request_groups != 0 && atc_entries == 0)
    refuse("page_request_groups", "PRI needs ATS (atc_entries)");
}

DmaDevice::DmaDevice(sc_core::sc_module_name name, sim::Simulation& simulation, const DmaDeviceConfig& config)
    : sc_module(name),
      Clocked(simulation.timeline(), config.clock),
      dma("dma", *this, 0),
      config("config", *this, 0),
      simulation_(simulation),
      config_(checked(config)),
      registers_(4096),
      hits_probe_(simulation.probes(), "dma_device.atc.hits", 32),
      misses_probe_(simulation.probes(), "dma_device.atc.misses", 32),
      entries_probe_(simulation.probes(), "dma_device.atc.entries", 16) {
  reset_configuration();
}

DmaDevice::~DmaDevice() {
  for (const Outstanding& o : outstanding_) o.transaction->release();
}

// --- configuration space ---

std::uint16_t DmaDevice::word(unsigned offset) const {
  std::uint16_t v;
  std::memcpy(&v, &registers_[offset], 2);
  return v;
}

void DmaDevice::put(unsigned offset, std::uint32_t value, unsigned bytes) {
  std::memcpy(&registers_[offset], &value, bytes);
}

void DmaDevice::reset_configuration() {
  put(0x00, 0x7053, 2);  // a vendor id that nobody has
  put(0x02, 0x0001, 2);
  put(0x08, 0x0880'0001, 4);  // system peripheral, revision 1
  if (config_.atc_entries == 0) return;
  const bool pri = config_.page_request_groups != 0;
  put(kAts, 0x000f | 1u << 16 | (pri ? kPri << 20 : 0), 4);
  put(kAts + 4, 1u << 5 | 1u << 6, 2);  // 32 invalidations, page aligned requests, global invalidate
  if (!pri) return;
  put(kPri, 0x0013 | 1u << 16, 4);
  put(kPriCapacity, config_.page_request_groups, 4);
}

void DmaDevice::configuration_access(tlm_generic_payload& p) {
  const std::uint64_t offset = p.get_address();
  const std::size_t bytes = p.get_data_length();
  if (offset >= registers_.size() || bytes > registers_.size() - offset)
    return sim::complete(p, CompletionStatus::kUnsupportedRequest);
  sim::complete(p, CompletionStatus::kSuccess);
  if (p.is_read()) {
    std::memcpy(p.get_data_ptr(), &registers_[offset], bytes);
    return;
  }
  const bool ats = config_.atc_entries != 0, pri = config_.page_request_groups != 0;
  for (std::size_t i = 0; i < bytes; ++i) {
    const auto at = static_cast<unsigned>(offset + i);
    const std::uint8_t v = p.get_data_ptr()[i];
    std::uint8_t& r = registers_[at];
    if (at == kCommand) r = v & 0x06;
    if (ats && at == kAtsControl) r = v & 0x1f;
    if (ats && at == kAtsControl + 1) r = v & 0x80;
    if (pri && at == kPriControl) r = v & kPriEnable;
    if (pri && at == kPriStatus)
      r &= static_cast<std::uint8_t>(~(v & (kPriResponseFailure | kPriUnexpected)));
    if (pri && at >= kPriAllocation && at < kPriAllocation + 4) r = v;
  }
  if (!ats_on()) atc_.clear();
  poke(simulation_.now());
}

bool DmaDevice::ats_on() const { return config_.atc_entries != 0 && (word(kAtsControl) & kAtsEnable) != 0; }

bool DmaDevice::pri_on() const {
  return config_.page_request_groups != 0 && (word(kPriControl) & kPriEnable) != 0;
}

tlm::tlm_sync_enum DmaDevice::request(unsigned, tlm_generic_payload& p, tlm::tlm_phase& phase,
                                      sc_core::sc_time&) {
  if (phase == tlm::BEGIN_REQ) configuration_access(p);
  return tlm::TLM_COMPLETED;
}

void DmaDevice::blocking(unsigned, tlm_generic_payload& p, sc_core::sc_time&) { configuration_access(p); }

unsigned DmaDevice::debug(unsigned, tlm_generic_payload& p) {
  if (p.is_write() || p.get_address() >= registers_.size() ||
      p.get_data_length() > registers_.size() - p.get_address())
    return 0;
  std::memcpy(p.get_data_ptr(), &registers_[p.get_address()], p.get_data_length());
  return p.get_data_length();
}

// --- accesses ---

void DmaDevice::write(sim::Iova address, std::span<const std::uint8_t> bytes, Done done,
                      std::uint32_t pasid) {
  Access a;
  a.write = true;
  a.address = address.value;
  a.pasid = pasid;
  a.data.assign(bytes.begin(), bytes.end());
  a.done = std::move(done);
  add(std::move(a));
}

void DmaDevice::read(sim::Iova address, std::size_t bytes, Done done, std::uint32_t pasid) {
  Access a;
  a.address = address.value;
  a.pasid = pasid;
  a.data.resize(bytes);
  a.done = std::move(done);
  add(std::move(a));
}

void DmaDevice::add(Access access) {
  POOLSIM_ASSERT(!access.data.empty() &&
                 access.address % sim::kPageSize + access.data.size() <= sim::kPageSize);
  access.due = poke(simulation_.now());
  accesses_.push_back(std::move(access));
}

DmaDevice::Entry* DmaDevice::lookup(std::uint64_t page, std::uint32_t pasid) {
  for (Entry& e : atc_) {
    const bool space = e.pasid == pasid || (e.global && pasid != kNoProcess);
    if (space && page - e.first_page < e.pages) return &e;
  }
  return nullptr;
}

DmaDevice::Pending* DmaDevice::pending(std::uint64_t page, std::uint32_t pasid) {
  for (Pending& p : pending_) {
    if (p.page == page && p.pasid == pasid) return &p;
  }
  return nullptr;
}

void DmaDevice::insert(const Entry& entry) {
  std::erase_if(atc_,
                [&](const Entry& e) { return e.first_page == entry.first_page && e.pasid == entry.pasid; });
  if (atc_.size() == config_.atc_entries) {
    atc_.erase(std::min_element(atc_.begin(), atc_.end(),
                                [](const Entry& a, const Entry& b) { return a.used < b.used; }));
  }
  atc_.push_back(entry);
  atc_.back().used = ++uses_;
  entries_probe_.set(atc_.size());
}

/// At most one translation request. True if one left.
bool DmaDevice::ask_for_translation(Cycle now) {
  if (!ats_on()) return false;
  const auto asked = std::ranges::count(pending_, Pending::State::kTranslation, &Pending::state);
  if (static_cast<unsigned>(asked) >= config_.translation_requests) return false;
  for (std::size_t i = 0; i < accesses_.size() && i < 2 * config_.translation_requests; ++i) {
    Access& a = accesses_[i];
    if (a.due > now) return false;
    if (a.failed || a.untranslated || pending(a.page(), a.pasid) != nullptr) continue;
    if (const Entry* e = lookup(a.page(), a.pasid); e != nullptr) {
      if (a.write ? e->write : e->read) continue;
      fault(a.page(), a.pasid);
      return false;
    }
    a.missed = true;
    pending_.push_back({Pending::State::kTranslation, a.page(), a.pasid, 0, false});
    ++translations_;
    Access ask;
    ask.address = a.page() << 12;
    ask.pasid = a.pasid;
    ask.data.resize(8);
    Outstanding request;
    request.access = std::move(ask);
    request.translation_request = true;
    send(std::move(request));
    return true;
  }
  return false;
}

/// The oldest access leaves, or ends, if it can. True if something happened.
bool DmaDevice::issue_front(Cycle now) {
  if (accesses_.empty() || accesses_.front().due > now) return false;
  Access& a = accesses_.front();
  std::uint64_t address = a.address;
  bool translated = false;
  if (a.failed) {
    const Access failed = std::move(a);
    accesses_.pop_front();
    ++refused_;
    finish(failed, failed.status, false, {});
    return true;
  }
  if (ats_on() && !a.untranslated) {
    Entry* e = lookup(a.page(), a.pasid);
    if (e == nullptr || !(a.write ? e->write : e->read)) return false;
    e->used = ++uses_;
    address = e->target + ((a.page() - e->first_page) << 12) + a.address % sim::kPageSize;
    translated = true;
    a.missed ? misses_probe_.set(++misses_) : hits_probe_.set(++hits_);
  }
  Outstanding request;
  request.access = std::move(a);
  request.translated = translated;
  accesses_.pop_front();
  const std::uint64_t iova = request.access.address;
  request.access.address = address;
  if (!request.access.write) {
    send(std::move(request));
    outstanding_.back().access.address = iova;
    return true;
  }
  Access done = request.access;
  send(std::move(request));
  done.address = iova;
  finish(done, CompletionStatus::kSuccess, translated, {});
  return true;
}

void DmaDevice::send(Outstanding request) {
  const Access& a = request.access;
  sim::Transaction* t = simulation_.payloads().acquire(
      a.write ? tlm::TLM_WRITE_COMMAND : tlm::TLM_READ_COMMAND, a.address, a.data.size());
  t->tag = {};
  t->tag.requester = config_.requester;
  t->tag.posted = a.write;
  t->tag.has_process_id = a.pasid != kNoProcess;
  t->tag.process_id = t->tag.has_process_id ? a.pasid : 0;
  if (request.translated) t->tag.address_type = sim::AddressType::kTranslated;
  if (request.translation_request) t->tag.address_type = sim::AddressType::kTranslationRequest;
  if (a.write) std::memcpy(t->get_data_ptr(), a.data.data(), a.data.size());
  request.transaction = t;
  request.sequence = sequence_++;
  if (!a.write) outstanding_.push_back(std::move(request));
  tlm::tlm_phase phase = tlm::BEGIN_REQ;
  sc_core::sc_time delay = simulation_.timeline().outgoing_delay();
  switch (dma->nb_transport_fw(*t, phase, delay)) {
    case tlm::TLM_ACCEPTED:
      open_from_ = kNeverCycle;
      break;
    case tlm::TLM_UPDATED:
      break;
    case tlm::TLM_COMPLETED:
      answered(*t);
      break;
  }
}

tlm::tlm_sync_enum DmaDevice::response(unsigned, tlm_generic_payload& p, tlm::tlm_phase& phase,
                                       sc_core::sc_time& delay) {
  if (phase == tlm::END_REQ) {
    open_from_ = poke(simulation_.timeline().incoming(delay));
    return tlm::TLM_ACCEPTED;
  }
  answered(p);
  return tlm::TLM_COMPLETED;
}

/// A write is done with; a read is looked at, at the next edge.
void DmaDevice::answered(tlm_generic_payload& p) {
  if (p.is_write()) return p.release();
  answers_.emplace_back(poke(simulation_.now()), &p);
}

void DmaDevice::finish(const Access& a, CompletionStatus status, bool translated,
                       std::span<const std::uint8_t> data) {
  static constexpr std::uint64_t kTag = sim::digest_tag("dma_device.done");
  simulation_.note(kTag, a.address, static_cast<std::uint64_t>(status) << 1 | (translated ? 1 : 0));
  if (a.done) a.done({status, translated, sim::Iova(a.address), data});
}

// --- address translation ---

void DmaDevice::translation_completed(const Outstanding& request) {
  const std::uint64_t page = request.access.page();
  const std::uint32_t pasid = request.access.pasid;
  Pending* p = pending(page, pasid);
  POOLSIM_ASSERT(p != nullptr);
  const bool stale = p->stale;
  std::erase_if(pending_, [&](const Pending& q) { return &q == p; });
  const tlm_generic_payload& t = *request.transaction;
  if (!t.is_response_ok()) {
    const CompletionStatus status = sim::tag_of(t).status;
    return fail(page, pasid,
                status != CompletionStatus::kSuccess ? status : CompletionStatus::kUnsupportedRequest);
  }
  if (stale || !ats_on()) return;  // asked for again
  std::uint64_t entry;
  std::memcpy(&entry, t.get_data_ptr(), sizeof entry);
  if ((entry & (kEntryRead | kEntryWrite)) == 0) return fault(page, pasid);
  if ((entry & kEntryUntranslated) != 0) {
    for (Access& a : accesses_) a.untranslated |= a.page() == page && a.pasid == pasid;
    return;
  }
  Entry e;
  e.pages = (entry & kEntrySize) != 0 ? coded_pages(entry >> 12) : 1;
  e.first_page = page & ~(e.pages - 1);
  e.target = (entry >> 12 & ~(e.pages - 1)) << 12;
  e.pasid = pasid;
  e.read = (entry & kEntryRead) != 0;
  e.write = (entry & kEntryWrite) != 0;
  e.global = (entry & kEntryGlobal) != 0;
  insert(e);
}

void DmaDevice::fail(std::uint64_t page, std::uint32_t pasid, CompletionStatus status) {
  for (Access& a : accesses_) {
    if (a.page() != page || a.pasid != pasid) continue;
    a.failed = true;
    a.status = status;
  }
}

/// Nothing is granted for the page, or too little: software may bring it.
void DmaDevice::fault(std::uint64_t page, std::uint32_t pasid) {
  const auto wants = std::ranges::find_if(
      accesses_, [&](const Access& a) { return a.page() == page && a.pasid == pasid && !a.failed; });
  if (wants == accesses_.end()) return;
  const auto groups = std::ranges::count(pending_, Pending::State::kPage, &Pending::state);
  const std::uint32_t most = std::min<std::uint32_t>(config_.page_request_groups, kGroups);
  if (!pri_on() || wants->page_requests >= config_.page_request_tries ||
      static_cast<std::uint32_t>(groups) >= most) {
    return fail(page, pasid, CompletionStatus::kUnsupportedRequest);
  }
  bool read = false, write = false;
  for (Access& a : accesses_) {
    if (a.page() != page || a.pasid != pasid) continue;
    ++a.page_requests;
    (a.write ? write : read) = true;
  }
  std::erase_if(atc_, [&](const Entry& e) { return e.pasid == pasid && page - e.first_page < e.pages; });
  pending_.push_back({Pending::State::kPage, page, pasid, next_group_, false});
  ++page_requests_;
  PcieMessage m;
  m.kind = Kind::kPageRequest;
  m.function = config_.requester;
  m.has_process_id = pasid != kNoProcess;
  m.process_id = m.has_process_id ? pasid : 0;
  m.payload = page << 12 | std::uint64_t{next_group_} << kGroupShift | kRequestLast |
              (write ? kRequestWrite : 0) | (read ? kRequestRead : 0);
  next_group_ = static_cast<std::uint16_t>((next_group_ + 1u) % kGroups);
  if (send_message) send_message(m);
}

void DmaDevice::page_answered(const PcieMessage& m) {
  const auto p = std::ranges::find_if(
      pending_, [&](const Pending& q) { return q.state == Pending::State::kPage && q.group == m.group; });
  if (p == pending_.end()) {
    put(kPriStatus, word(kPriStatus) | kPriUnexpected, 2);
    return;
  }
  const Pending asked = *p;
  pending_.erase(p);
  if (m.code == 0) return;  // the translation is asked for again
  ++page_failures_;
  if (m.code == 15) put(kPriStatus, word(kPriStatus) | kPriResponseFailure, 2);
  fail(asked.page, asked.pasid, CompletionStatus::kUnsupportedRequest);
}

bool DmaDevice::Invalidation::covers(std::uint64_t first, std::uint64_t count, std::uint32_t pasid) const {
  const bool global = (message.payload & 1) != 0;
  const bool space = message.has_process_id ? pasid != kNoProcess && (global || pasid == message.process_id)
                                            : pasid == kNoProcess;
  return space && first <= first_page + (pages - 1) && first_page <= first + (count - 1);
}

void DmaDevice::start_invalidation(const PcieMessage& message) {
  Invalidation v;
  v.message = message;
  v.before = sequence_;
  const std::uint64_t page = message.payload >> 12;
  v.pages = (message.payload & kEntrySize) != 0 ? coded_pages(page) : 1;
  v.first_page = v.pages == ~std::uint64_t{0} ? 0 : page & ~(v.pages - 1);
  ++invalidated_;
  if (!deaf_) {
    std::erase_if(atc_, [&](const Entry& e) { return v.covers(e.first_page, e.pages, e.pasid); });
    entries_probe_.set(atc_.size());
    for (Pending& p : pending_) p.stale |= v.covers(p.page, 1, p.pasid);
  }
  invalidations_.push_back(v);
}

/// Those whose reads have all come back.
void DmaDevice::complete_invalidations() {
  std::erase_if(invalidations_, [this](const Invalidation& v) {
    const bool used = std::ranges::any_of(outstanding_, [&](const Outstanding& o) {
      return o.translated && o.sequence < v.before && v.covers(o.access.page(), 1, o.access.pasid);
    });
    if (used) return false;
    PcieMessage m;
    m.kind = Kind::kInvalidationCompletion;
    m.function = config_.requester;
    m.itag_vector = v.message.itag_vector;
    m.count = 1;
    if (send_message) send_message(m);
    return true;
  });
}

void DmaDevice::receive(const PcieMessage& message) {
  if (message.function != config_.requester || message.upstream()) return;
  messages_.emplace_back(poke(simulation_.now()), message);
}

// --- the cycle ---

sim::Wakeup DmaDevice::tick(Cycle now) {
  while (!answers_.empty() && answers_.front().first <= now) {
    tlm_generic_payload* p = answers_.front().second;
    answers_.pop_front();
    const auto o = std::ranges::find(
        outstanding_, p, [](const Outstanding& x) -> tlm_generic_payload* { return x.transaction; });
    POOLSIM_ASSERT(o != outstanding_.end());
    const Outstanding request = std::move(*o);
    outstanding_.erase(o);
    if (request.translation_request) {
      translation_completed(request);
    } else {
      const CompletionStatus status =
          p->is_response_ok() ? CompletionStatus::kSuccess : sim::tag_of(*p).status;
      finish(request.access, status, request.translated, request.transaction->bytes());
    }
    p->release();
  }
  while (!messages_.empty() && messages_.front().first <= now) {
    const PcieMessage m = messages_.front().second;
    messages_.pop_front();
    m.kind == Kind::kInvalidationRequest ? start_invalidation(m) : page_answered(m);
  }
  if (!invalidations_.empty()) complete_invalidations();
  Cycle next = kNeverCycle;
  if ((word(kCommand) & kBusMaster) != 0 && open_from_ <= now) {
    if (ask_for_translation(now) || issue_front(now)) next = now + 1;
  }
  if (!answers_.empty()) next = std::min(next, answers_.front().first);
  if (!messages_.empty()) next = std::min(next, messages_.front().first);
  for (const Access& a : accesses_) {
    if (a.due > now) next = std::min(next, a.due);
    // It failed by what happened in this cycle, or lies behind one that did.
    if (a.failed && &a == &accesses_.front()) next = std::min(next, now + 1);
  }
  return {next};
}

bool DmaDevice::idle() const {
  return accesses_.empty() && outstanding_.empty() && pending_.empty() && answers_.empty() &&
         messages_.empty() && invalidations_.empty();
}

void DmaDevice::stats(const std::function<void(std::string_view, double, std::string_view)>& report) const {
  report("atc.hits", static_cast<double>(hits_), "1");
  report("atc.misses", static_cast<double>(misses_), "1");
  report("atc.translation_requests", static_cast<double>(translations_), "1");
  report("atc.invalidations", static_cast<double>(invalidated_), "1");
  report("pri.page_requests", static_cast<double>(page_requests_), "1");
  report("pri.failures", static_cast<double>(page_failures_), "1");
  report("refused", static_cast<double>(refused_), "1");
}

}  // namespace platform
