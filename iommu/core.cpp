// SPDX-License-Identifier: Apache-2.0
#include "iommu/core.h"

#include <algorithm>

namespace iommu {
namespace {

/// Serves one access from a functional memory.
MemoryStatus serve(const Environment& env, Memory& memory, MemoryAccess& access, bool& swapped) {
  if (env.beyond_pas(access.address)) return MemoryStatus::kAccessFault;
  switch (access.kind) {
    case MemoryAccess::Kind::kRead:
      return memory.read(access.address, {access.data.data(), access.bytes});
    case MemoryAccess::Kind::kWrite:
      return memory.write(access.address, {access.data.data(), access.bytes});
    case MemoryAccess::Kind::kCompareExchange:
      return memory.compare_exchange(access.address, access.bytes, access.expected, access.desired, swapped);
    case MemoryAccess::Kind::kNone:
      break;
  }
  return MemoryStatus::kOk;
}

void run(const Environment& env, Walk& walk, Memory& memory) {
  while (!walk.done()) {
    bool swapped = false;
    const MemoryStatus status = serve(env, memory, walk.access(), swapped);
    if (walk.access().kind == MemoryAccess::Kind::kCompareExchange) {
      walk.updated(status, swapped);
    } else {
      walk.supply(status);
    }
  }
}

HpmSubject subject_of(const Request& r, const Outcome& o) {
  return {r.device_id, r.process_id, r.has_process_id, o.pscid, o.gscid, o.first_active, o.second_active};
}

RecordQueue::Record fault_record(const Request& r, Cause cause, std::uint64_t iotval2) {
  const std::uint64_t pv = r.has_process_id ? 1 : 0;
  return {static_cast<std::uint64_t>(cause) | (pv != 0 ? std::uint64_t{r.process_id} << 12 : 0) | (pv << 32) |
              (std::uint64_t{r.supervisor()} << 33) | (static_cast<std::uint64_t>(r.ttyp()) << 34) |
              (std::uint64_t{r.device_id} << 40),
          0, r.iova, iotval2};
}

/// A Page Request kept in the spare words of its queue record, to answer it should the write fail.
std::uint64_t pack(const PageRequest& m) {
  return m.rid | (std::uint64_t{m.dsv} << 16) | (std::uint64_t{m.dseg} << 17);
}
PageRequest unpack(const RecordQueue::Record& r) {
  PageRequest m;
  m.rid = static_cast<std::uint16_t>(r[2]);
  m.dsv = bit(r[2], 16);
  m.dseg = static_cast<std::uint8_t>(r[2] >> 17);
  m.has_process_id = bit(r[0], 32);
  m.process_id = static_cast<std::uint32_t>(bits(r[0], 31, 12));
  m.payload = r[1];
  return m;
}

}  // namespace

Core::Core(const IommuConfig& config, const sim::RandomStream& random, Surroundings& surroundings)
    : caches(config, random),
      interrupts(env),
      fault_queue(env, interrupts, kFaultRecordBytes, ipsr::kFip, config.fault_buffer),
      page_queue(env, interrupts, kPageRequestBytes, ipsr::kPip, config.fault_buffer),
      commands(env, caches, interrupts, surroundings),
      hpm(env, interrupts),
      surroundings_(surroundings) {
  env.config = config.architecture;
  env.capabilities = config.architecture.capabilities;
  env.bare_shift = static_cast<std::uint8_t>(std::countr_zero(config.architecture.bare_stage_bytes));
  reset();
}

void Core::reset() {
  env.fctl = env.config.fctl_reset;
  env.ddtp = static_cast<std::uint64_t>(env.config.reset_mode);
  caches.clear();
  interrupts.reset();
  fault_queue.reset();
  page_queue.reset();
  commands.reset();
  hpm.reset();
  env.qosid = 0;
  tr_req_iova_ = tr_req_ctl_ = tr_response_ = 0;
  debug_go_ = false;
}

Outcome Core::translate(const Request& request, Memory& memory, Walk::CacheUse use) {
  walk_.start(env, caches, use, request);
  run(env, walk_, memory);
  book(walk_);
  return walk_.outcome();
}

Caches::Hit Core::translate_cached(const Request& r) {
  if (r.address_type != sim::AddressType::kUntranslated || r.has_process_id || r.message) return {};
  if (env.ddt_levels() == 0 || !env.device_id_fits(r.device_id)) return {};
  const Caches::Hit hit = caches.find_both(r);
  if (!hit) return {};
  ++translations_.lookups;
  ++translations_.hits;
  ++translations_.hits_by_class[hit.entry->page_class];
  if (hpm.listening()) {
    const Space space = hit.entry->space;
    hpm.count(HpmEvent::kUntranslatedRequest,
              {r.device_id, 0, false, hit.device->pscid, hit.device->gscid, space.first(), space.second()});
  }
  return hit;
}

const Outcome& Core::peek(const Request& request, Memory& memory) {
  walk_.start(env, caches, Walk::CacheUse::kReadOnly, request);
  run(env, walk_, memory);
  return walk_.outcome();
}

bool Core::book(const Walk& walk) { return book(walk.request(), walk.outcome(), walk.counts()); }

void Core::count(const Request& request, const Outcome& outcome, const WalkCounts& counts) {
  TranslationCounters& t = translations_;
  if (!request.message && (outcome.first_active || outcome.second_active)) {
    ++t.lookups;
    if (outcome.iotlb_hit) {
      ++t.hits;
      ++t.hits_by_class[outcome.page_class];
    } else {
      ++t.misses;
    }
  }
  const std::uint64_t accesses = counts.total();
  if (accesses == 0) return;
  ++t.walks;
  t.longest_walk = std::max(t.longest_walk, accesses);
  for (unsigned i = 0; i < 5; ++i) {
    t.accesses[i] += counts.accesses[i];
    t.first_level[i] += counts.first_level[i];
    t.second_level[i] += counts.second_level[i];
  }
  for (unsigned i = 0; i < 4; ++i) {
    t.first_cached[i] += counts.first_cached[i];
    t.second_cached[i] += counts.second_cached[i];
  }
}

bool Core::book(const Request& request, const Outcome& outcome, const WalkCounts& counts) {
  count(request, outcome, counts);
  const HpmSubject subject = subject_of(request, outcome);
  if (!request.message) {
    hpm.count(request.is_ats()                                        ? HpmEvent::kAtsRequest
              : request.address_type == sim::AddressType::kTranslated ? HpmEvent::kTranslatedRequest
                                                                      : HpmEvent::kUntranslatedRequest,
              subject);
  }
  if (!outcome.iotlb_hit && (outcome.first_active || outcome.second_active)) {
    hpm.count(HpmEvent::kTlbMiss, subject);
  }
  hpm.count(HpmEvent::kDdtWalk, subject, counts.accesses[0]);
  hpm.count(HpmEvent::kPdtWalk, subject, counts.accesses[1]);
  hpm.count(HpmEvent::kFirstStageWalk, subject, counts.accesses[2]);
  hpm.count(HpmEvent::kSecondStageWalk, subject, counts.accesses[3]);
  return outcome.ok() ? false : report(request, outcome);
}

bool Core::report(const Request& request, const Outcome& outcome) {
  ++faults_.total;
  ++faults_.by_cause[static_cast<unsigned>(outcome.cause) % faults_.by_cause.size()];
  if (!is_recorded(request, outcome)) return false;
  const bool taken = fault_queue.push(fault_record(request, outcome.cause, outcome.iotval2));
  faults_.recorded += taken ? 1 : 0;
  return taken;
}

void Core::settle(Memory& memory) {
  bool swapped = false;
  for (bool busy = true; busy;) {
    busy = false;
    if (fault_queue.pending()) {
      if (MemoryAccess* a = fault_queue.begin()) fault_record_written(serve(env, memory, *a, swapped));
      busy = true;
    } else if (page_queue.pending()) {
      if (MemoryAccess* a = page_queue.begin()) page_record_written(serve(env, memory, *a, swapped));
      busy = true;
    } else if (interrupts.pending()) {
      msi_written(serve(env, memory, interrupts.begin(), swapped));
      busy = true;
    } else {
      const auto before = commands.state();
      commands.poll();
      switch (commands.state()) {
        case CommandProcessor::State::kFetch:
        case CommandProcessor::State::kFenceStore:
          commands.supply(serve(env, memory, commands.begin(), swapped));
          busy = true;
          break;
        case CommandProcessor::State::kExecute:
          commands.execute();
          busy = true;
          break;
        default:
          busy = commands.state() != before;
          break;
      }
    }
    if (debug_go_) {
      walk_.start(env, caches, Walk::CacheUse::kFull, debug_request());
      run(env, walk_, memory);
      Outcome outcome = walk_.outcome();
      if (outcome.ok() && outcome.mrif) outcome.cause = Cause::kTypeDisallowed;
      book(walk_.request(), outcome, walk_.counts());
      debug_done(outcome);
      busy = true;
    }
  }
}

// --- Messages
// --------------------------------------------------------------------------------------------------

void Core::msi_written(MemoryStatus status) {
  if (status == MemoryStatus::kOk) return;
  ++faults_.total;
  ++faults_.by_cause[static_cast<unsigned>(Cause::kMsiWriteFault)];
  faults_.recorded += fault_queue.push({static_cast<std::uint64_t>(Cause::kMsiWriteFault), 0,
                                        interrupts.current_address(), 0})
                          ? 1
                          : 0;
}

Request Core::as_request(const PageRequest& m) {
  Request r;
  r.message = true;
  r.device_id = m.device_id();
  r.has_process_id = m.has_process_id;
  r.process_id = m.process_id;
  r.privileged = m.privileged;
  r.iova = 0x04;  // message code of a Page Request
  return r;
}

void Core::respond(const PageRequest& m, std::uint8_t code, bool prpr) {
  const bool last = bit(m.payload, 2), stop_marker = last && (m.payload & 3) == 0;
  if (!last || stop_marker) return;
  constexpr std::uint8_t kFailure = 15;
  const bool pasid = m.has_process_id && (code == kFailure || prpr);
  surroundings_.send(PageRequestGroupResponse{m.rid, m.dsv, m.dseg, pasid, pasid ? m.process_id : 0,
                                              static_cast<std::uint16_t>(bits(m.payload, 11, 3)), code});
}

void Core::page_request_done(const PageRequest& m, const Outcome& outcome) {
  constexpr std::uint8_t kSuccess = 0, kInvalid = 1, kFailure = 15;
  if (!outcome.ok()) {
    return respond(m, outcome.cause == Cause::kTypeDisallowed ? kInvalid : kFailure, outcome.prpr);
  }
  if (!page_queue.regs.on() || page_queue.regs.has(qcsr::kMemoryFault))
    return respond(m, kFailure, outcome.prpr);
  const std::uint64_t pv = m.has_process_id ? 1 : 0;
  const RecordQueue::Record record = {
      (pv != 0 ? (std::uint64_t{m.process_id} << 12) | (pv << 32) | (std::uint64_t{m.privileged} << 33) |
                     (std::uint64_t{m.execute} << 34)
               : 0) |
          (std::uint64_t{m.device_id()} << 40),
      m.payload, pack(m), 0};
  if (!page_queue.push(record)) respond(m, kSuccess, outcome.prpr);
}

/// A memory fault ends the queue: the requests behind the one that met it are lost, and answered, with it.
void Core::page_record_written(MemoryStatus status) {
  if (status != MemoryStatus::kOk) fail_page_requests(0);
  page_queue.supply(status);
}

void Core::fail_page_requests(std::size_t from) {
  constexpr std::uint8_t kFailure = 15;
  for (std::size_t i = from; i < page_queue.waiting(); ++i)
    respond(unpack(page_queue.waiting(i)), kFailure, false);
}

/// Switching the queue off drops the requests that still wait for their write.
void Core::write_pqcsr(std::uint32_t value) {
  const bool on = page_queue.regs.has(qcsr::kEnable), off = (value & qcsr::kEnable) == 0;
  if (on && off) fail_page_requests(page_queue.writing() ? 1 : 0);
  page_queue.write_csr(value);
}

Request Core::debug_request() const {
  Request r;
  r.iova = tr_req_iova_;
  r.device_id = static_cast<std::uint32_t>(bits(tr_req_ctl_, 63, 40));
  r.has_process_id = bit(tr_req_ctl_, 32);
  if (r.has_process_id) {
    r.process_id = static_cast<std::uint32_t>(bits(tr_req_ctl_, 31, 12));
    r.privileged = bit(tr_req_ctl_, 1);
  }
  r.execute = bit(tr_req_ctl_, 2);
  r.write = !bit(tr_req_ctl_, 3);
  r.read = !r.execute && !r.write;
  return r;
}

void Core::debug_done(const Outcome& o) {
  debug_go_ = false;
  tr_req_ctl_ &= ~std::uint64_t{1};
  if (!o.ok()) {
    tr_response_ = 1;
    return;
  }
  std::uint64_t page = o.address >> 12;
  const bool super = o.page_shift > 12;
  if (super) {
    const unsigned x = o.page_shift - 13u;  // position of the lowest zero
    page &= ~mask(x, 0);
    if (x > 0) page |= mask(x - 1, 0);
  }
  tr_response_ = (std::uint64_t{o.pbmt} << 7) | (super ? 1ull << 9 : 0) | ((page << 10) & mask(53, 10));
}

}  // namespace iommu
