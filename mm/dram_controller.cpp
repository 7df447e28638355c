// SPDX-License-Identifier: Apache-2.0
#include "mm/dram_controller.h"

#include <fmt/format.h>

#include <cstring>
#include <deque>

#include "mm/address_mapping.h"
#include "mm/cache_hierarchy.h"
#include "mm/dram_probes.h"
#include "mm/fifo.h"
#include "mm/latency_histogram.h"
#include "mm/linked_queue.h"
#include "mm/row_disturbance.h"

namespace mm {
namespace {

constexpr std::uint64_t kBurstBytes = 64;
constexpr std::uint64_t kMaxRequestBytes = 4096;

bool wants_no_answer(tlm::tlm_generic_payload& p) {
  const sim::Transaction* const own = sim::own(p);
  return own != nullptr && own->tag.posted;
}

}  // namespace

struct DramController::Impl {
  /// A request between its acceptance and its response.
  struct Request {
    tlm::tlm_generic_payload* payload;
    Request* next;             // in the list that it is in
    std::uint64_t first, end;  // offsets of its bursts
    std::uint32_t parts;       // reads: bursts whose data have not passed
    std::uint32_t outside;     // bursts that are not yet in a channel's queue
    std::uint32_t token;       // its place in `requests`
    sim::Cycle due;            // first edge that sees it
    DramAddress address;       // of the first burst
    bool write;
    bool urgent;    // needs a tick when it is due
    bool answered;  // a write whose response was given when it was accepted
  };
  struct Burst {
    Request* request;
    DramAddress address;
  };
  /// Whoever looks at the commands of a channel beside what the model itself needs of them.
  struct Watcher final : DramCommandListener {
    void on_command(const DramCommandRecord& record) override {
      if (next != nullptr) next->on_command(record);
      call(channel, record);
    }
    unsigned channel = 0;
    DramCommandListener* next = nullptr;
    std::function<void(unsigned, const DramCommandRecord&)> call;
  };
  /// A channel and what was accepted for it.
  struct Lane {
    std::unique_ptr<DramChannel> channel;
    std::unique_ptr<ChannelProbes> probes;
    Fifo<Burst> staged[2];          // reads, writes: seen, and no room in the queue
    unsigned held_back = 0;         // of these
    unsigned accepted[2] = {0, 0};  // bursts accepted that are not in the queue
    std::uint64_t back_pressure = 0;
    std::unique_ptr<RowDisturbance> disturbance;
    std::unique_ptr<Watcher> watcher;
  };

  Impl(DramController& self, sim::Simulation& sim, SparseStore& store, const DramConfig& config,
       const std::string& path)
      : self(self),
        sim(sim),
        store(store),
        config(config),
        timing(config.resolved_timing()),
        mapping(config.mapping, timing, config.channels, config.ranks),
        shortest_read(timing.cl + timing.data_cycles()),
        capacity{config.read_queue, config.write_queue},
        faults(store, {config.ecc.secded, config.ecc.on_die && timing.burst_length == 16}),
        lanes(config.channels) {
    store.set_faults(&faults);
    sim.probes().refresh_with([this] { update_probes(); });
    for (unsigned i = 0; i < config.channels; ++i) {
      lanes[i].channel = std::make_unique<DramChannel>(timing, config.channel());
      lanes[i].probes =
          std::make_unique<ChannelProbes>(sim.probes(), fmt::format("{}.ch{}", path, i), timing);
      if (config.disturbance_threshold == 0) continue;
      lanes[i].disturbance = std::make_unique<RowDisturbance>(
          timing, config.ranks, config.disturbance_threshold, [this, i](DramAddress victim) {
            victim.channel = i;
            disturb(victim);
          });
      lanes[i].channel->listen(lanes[i].disturbance.get());
    }
  }
  ~Impl() { store.set_faults(nullptr); }

  [[gnu::always_inline]] inline tlm::tlm_sync_enum accept(tlm::tlm_generic_payload& payload, tlm::tlm_phase& phase,
                                                          sc_core::sc_time& delay);
  /// Where a request's data are in the host's memory; null: it is refused.
  [[gnu::always_inline]] inline std::uint8_t* find(tlm::tlm_generic_payload& payload) const;
  [[gnu::always_inline]] inline void move_data(tlm::tlm_generic_payload& payload, std::uint8_t* memory);
  [[gnu::noinline, gnu::cold]] void move_faulty_data(tlm::tlm_generic_payload& payload, std::uint8_t* memory);
  [[gnu::always_inline]] inline void copy(tlm::tlm_generic_payload& payload, std::uint8_t* memory);
  void disturb(const DramAddress& victim);
  [[gnu::always_inline]] inline bool take_sure_place(const Request& r);
  bool take_place(const Request& r, sim::Cycle now);
  [[gnu::always_inline]] inline bool take(Lane& lane, bool write, unsigned bursts, sim::Cycle now);
  [[gnu::always_inline]] inline bool can_wait(const Request& r) const;
  void admit(sim::Cycle now);
  [[gnu::always_inline]] inline void enter(sim::Cycle now, Lane& lane, Request& r,
                                           const DramAddress& address);
  [[gnu::always_inline]] inline void place(Request& r, const DramAddress& address);
  void unstage(sim::Cycle now, Lane& lane);
  [[gnu::always_inline]] inline void collect(sim::Cycle now);
  void respond(sim::Cycle now);
  [[gnu::always_inline]] inline void offer_end_req();
  void update_probes();
  [[gnu::always_inline]] inline sim::Cycle next_event(sim::Cycle now);
  /// Somebody looks at the channels' commands as they come.
  bool watched() const { return sim.probes().listened() || config.disturbance_threshold != 0; }

  [[gnu::always_inline]] Request& allocate() {
    if (__builtin_expect(free == nullptr, 0)) return new_request();
    Request& r = *free;
    free = r.next;
    return r;
  }
  void give_back(Request& r) {
    r.next = free;
    free = &r;
  }
  [[gnu::noinline, gnu::cold]] Request& new_request() {
    Request& r = requests.emplace_back();
    r.token = static_cast<std::uint32_t>(requests.size() - 1);
    return r;
  }

  DramController& self;
  sim::Simulation& sim;
  SparseStore& store;
  DramConfig config;
  DramTiming timing;
  AddressMapping mapping;
  sim::Cycle shortest_read;  // from the cycle in which a read is first seen
  unsigned capacity[2];
  MemoryFaults faults;
  std::vector<Lane> lanes;
  std::uint64_t disturbances = 0;

  std::deque<Request> requests;  // they stay where they are
  Request* free = nullptr;
  LinkedQueue<Request> input;  // accepted, not yet in a queue, in the order in which they are due
  unsigned urgent = 0;         // of these
  unsigned unanswered = 0;     // and of these
  LinkedQueue<Request> ready;  // to be answered, in order
  bool waits_for_end_resp = false;
  sim::Cycle response_due = 0;  // first edge that sees the last END_RESP

  sim::Clock::Edge due{0, 0};  // first edge that sees the request that was accepted last

  bool full = false;        // END_REQ is owed to `last`
  Request* last = nullptr;  // the request accepted last, whose bursts did not all have room

  std::uint64_t reads = 0, writes = 0, read_bytes = 0, write_bytes = 0, refused = 0, back_pressure = 0;
  LatencyHistogram read_latency;
};

DramController::DramController(sc_core::sc_module_name name, sim::Simulation& sim, SparseStore& store,
                               const DramConfig& config, const std::string& path)
    : sc_module(name),
      Clocked(sim.timeline(), (config.validate(), config.resolved_timing()).clock),
      port("port"),
      impl_(std::make_unique<Impl>(*this, sim, store, config, path)) {
  port.bind(*this);
}

DramController::~DramController() = default;

std::uint8_t* DramController::Impl::find(tlm::tlm_generic_payload& p) const {
  const std::uint64_t length = p.get_data_length();
  std::uint8_t* const memory = store.find(sim::PhysAddr(p.get_address()), length);
  if (length == 0 || length > kMaxRequestBytes || p.get_streaming_width() < length) {
    p.set_response_status(tlm::TLM_BURST_ERROR_RESPONSE);
  } else if (memory == nullptr) {
    sim::complete(p, sim::CompletionStatus::kUnsupportedRequest);
  } else if (p.get_byte_enable_ptr() != nullptr && p.get_byte_enable_length() == 0) {
    p.set_response_status(tlm::TLM_BYTE_ENABLE_ERROR_RESPONSE);
  } else if (p.get_command() == tlm::TLM_IGNORE_COMMAND) {
    p.set_response_status(tlm::TLM_COMMAND_ERROR_RESPONSE);
  } else {
    return memory;
  }
  return nullptr;
}

void DramController::Impl::move_data(tlm::tlm_generic_payload& p, std::uint8_t* memory) {
  if (__builtin_expect(!faults.empty() || (p.is_write() && sim::tag_of(p).poisoned), 0))
    return move_faulty_data(p, memory);
  copy(p, memory);
  sim::complete(p, sim::CompletionStatus::kSuccess);
}

/// The same where bits may be wrong.
void DramController::Impl::move_faulty_data(tlm::tlm_generic_payload& p, std::uint8_t* memory) {
  const sim::PhysAddr address(p.get_address());
  const std::uint64_t length = p.get_data_length();
  sim::complete(p, sim::CompletionStatus::kSuccess);
  if (p.is_write()) {
    // With byte enables each word is one that is written in part.
    const bool whole = p.get_byte_enable_ptr() == nullptr;
    for (std::uint64_t i = 0; i < length; i += whole ? length : 1) {
      faults.before_write(address + i, whole ? length : 1);
    }
    copy(p, memory);
    faults.after_write(address, length);
    if (sim::tag_of(p).poisoned) faults.poison(address, length);
    return;
  }
  copy(p, memory);
  const bool all = p.get_byte_enable_ptr() == nullptr;
  if (faults.read(address, length, all ? p.get_data_ptr() : nullptr) != EccOutcome::kUncorrectable) return;
  p.set_response_status(tlm::TLM_GENERIC_ERROR_RESPONSE);
  if (sim::DmaTag* tag = sim::find_tag(p); tag != nullptr) tag->poisoned = true;
}

/// One bit of the row flips; which one follows from the row and from how many flipped before.
void DramController::Impl::disturb(const DramAddress& victim) {
  DramAddress a = victim;
  const std::uint64_t mix = (victim.row + ++disturbances) * 0x9e37'79b9'7f4a'7c15;
  a.column = static_cast<std::uint32_t>((mix >> 32) % timing.columns);
  const sim::PhysAddr address = store.base() + mapping.encode(a) + (mix >> 20) % kBurstBytes;
  if (store.contains(address)) faults.flip(address, static_cast<unsigned>(mix >> 10 & 7));
}

void DramController::Impl::copy(tlm::tlm_generic_payload& p, std::uint8_t* memory) {
  const std::size_t length = p.get_data_length();
  std::uint8_t* to = p.is_read() ? p.get_data_ptr() : memory;
  const std::uint8_t* from = p.is_read() ? memory : p.get_data_ptr();
  if (const std::uint8_t* enable = p.get_byte_enable_ptr(); enable != nullptr) {
    for (std::size_t i = 0; i < length; ++i) {
      if (enable[i % p.get_byte_enable_length()] != 0) to[i] = from[i];
    }
  } else {
    std::memcpy(to, from, length);
  }
  if (p.is_write()) {
    store.mark_written(sim::PhysAddr(p.get_address()), length);
  } else {
    store.note_read(sim::PhysAddr(p.get_address()), length);
  }
}

tlm::tlm_sync_enum DramController::Impl::accept(tlm::tlm_generic_payload& p, tlm::tlm_phase& phase,
                                                sc_core::sc_time& delay) {
  POOLSIM_ASSERT(!full);  // the initiator must wait for END_REQ
  const sim::Tick arrival = sim.timeline().incoming(delay);
  std::uint8_t* const memory = find(p);
  if (memory == nullptr) {
    ++refused;
    return tlm::TLM_COMPLETED;
  }
  // The host's own cache and TLB miss at nearly every random address: fetched now, the data are moved at the
  // end.
  __builtin_prefetch(memory);
  const std::uint64_t offset = p.get_address() - store.base().value;
  Request& r = allocate();
  r.payload = &p;
  r.write = p.is_write();
  r.first = offset / kBurstBytes * kBurstBytes;
  r.end = (offset + p.get_data_length() + kBurstBytes - 1) / kBurstBytes * kBurstBytes;
  r.parts = r.outside = static_cast<std::uint32_t>((r.end - r.first) / kBurstBytes);
  r.address = mapping.decode(r.first);
  // Requests come in the order of their times: until the edge that sees the last one comes, it sees this one too.
  const sim::Tick now = sim.now(), seen = std::max(arrival, now + 1);
  if (seen > due.at) due = self.clock().first_at_or_after(seen);
  r.due = due.cycle;
  const bool room = take_sure_place(r) || take_place(r, self.clock().at_or_after(now));
  // There is room for the write when it is due: it is known now that it is over then.
  r.answered = room && r.write && wants_no_answer(p);
  r.urgent = !room || !can_wait(r);
  urgent += r.urgent;
  unanswered += !r.answered;
  if (r.urgent) {
    self.tick_by(due);
  } else if (!r.answered) {
    self.tick_by(r.due + shortest_read);
  }
  input.push_back(r);
  ++(r.write ? writes : reads);
  (r.write ? write_bytes : read_bytes) += p.get_data_length();

  move_data(p, memory);
  if (r.write) {
    static constexpr std::uint64_t kWrite = sim::digest_tag("dram.write");
    sim.note(kWrite, p.get_address(), p.get_data_length());
  }
  if (r.write && store.caches() != nullptr) {
    store.caches()->device_wrote(sim::PhysAddr(p.get_address()), p.get_data_length());
  }
  if (r.answered) {
    delay = sim.timeline().delay_until(due.at + 1);
    return tlm::TLM_COMPLETED;
  }
  if (p.has_mm()) p.acquire();
  if (!room) {
    ++back_pressure;
    full = true;
    last = &r;
    return tlm::TLM_ACCEPTED;
  }
  phase = tlm::END_REQ;
  return tlm::TLM_UPDATED;
}

/// Counts the bursts of a write that has room for all of them even if no place has become free since somebody last looked:
/// then nobody needs to look.
bool DramController::Impl::take_sure_place(const Request& r) {
  if (!r.write || (lanes.size() != 1 && r.parts != 1)) return false;
  Lane& lane = lanes[r.address.channel];
  if (lane.accepted[1] + lane.channel->waiting(true) + r.parts > capacity[1]) return false;
  lane.accepted[1] += r.parts;
  return true;
}

/// Counts the bursts of a request for their channels; false if one has no room for all of its own. A place
/// that becomes free at a time counts for requests that arrive later, so that the order of modules at one
/// time does not matter.
bool DramController::Impl::take_place(const Request& r, sim::Cycle now) {
  if (!input.empty() && input.front().due < now) admit(now - 1);
  if (lanes.size() == 1 || r.parts == 1) return take(lanes[r.address.channel], r.write, r.parts, now);
  bool room = true;
  mapping.for_each_burst(r.first, r.end, [&](const DramAddress& a) {
    if (!take(lanes[a.channel], r.write, 1, now)) room = false;
  });
  return room;
}

bool DramController::Impl::take(Lane& lane, bool write, unsigned bursts, sim::Cycle now) {
  lane.channel->advance(now);
  const unsigned before = lane.accepted[write] + lane.channel->waiting_before(write, now);
  lane.accepted[write] += bursts;
  const unsigned after = before + bursts;
  if (after <= capacity[write]) return true;
  lane.back_pressure += std::min(bursts, after - capacity[write]);
  return false;
}

/// Whether nobody can see before the request's earliest completion that it came: a write that is answered, or a read
/// that has room in its queues, and no write that could answer it. Then it is put into them, as of its time, by the
/// next tick.
bool DramController::Impl::can_wait(const Request& r) const {
  if (watched()) return false;
  if (r.write) return r.answered;
  for (const Lane& lane : lanes) {
    if (lane.accepted[1] != 0 || lane.channel->waiting(true) != 0) return false;
  }
  return true;
}

/// Moves bursts that are due from the input into the channels' queues, as of the times at which they were
/// due.
void DramController::Impl::admit(sim::Cycle now) {
  while (!input.empty() && input.front().due <= now) {
    Request& r = input.pop_front();
    urgent -= r.urgent;
    unanswered -= !r.answered;
    if (r.parts == 1) {
      place(r, r.address);
    } else {
      mapping.for_each_burst(r.first, r.end, [&](const DramAddress& a) { place(r, a); });
    }
  }
}

/// A burst goes into its queue, or waits for room there.
void DramController::Impl::place(Request& r, const DramAddress& address) {
  Lane& lane = lanes[address.channel];
  lane.channel->advance(r.due);
  if ((lane.held_back == 0 || lane.staged[r.write].empty()) && lane.channel->has_room(r.write)) {
    enter(r.due, lane, r, address);
  } else {
    lane.staged[r.write].push_back({&r, address});
    ++lane.held_back;
  }
}

/// Puts a burst into its queue. A write is over when all of it is there.
void DramController::Impl::enter(sim::Cycle now, Lane& lane, Request& r, const DramAddress& address) {
  lane.channel->enqueue(now, r.write, address, r.token);
  --lane.accepted[r.write];
  if (--r.outside != 0 || !r.write) return;
  if (r.answered) return give_back(r);
  ready.push_back(r);
}

void DramController::Impl::unstage(sim::Cycle now, Lane& lane) {
  for (const bool write : {false, true}) {
    while (!lane.staged[write].empty() && lane.channel->has_room(write)) {
      const Burst burst = lane.staged[write].front();
      lane.staged[write].pop_front();
      --lane.held_back;
      enter(now, lane, *burst.request, burst.address);
    }
  }
}

/// Takes the bursts whose data have passed.
void DramController::Impl::collect(sim::Cycle now) {
  static constexpr std::uint64_t kReadDone = sim::digest_tag("dram.read");
  for (Lane& lane : lanes) {
    while (lane.channel->next_completion() <= now) {
      Request& r = requests[lane.channel->front().token];
      lane.channel->pop();
      if (--r.parts != 0) continue;
      // From acceptance, one cycle before it was first seen.
      read_latency.add(now - r.due + 1);
      sim.note(kReadDone, r.payload->get_address(), r.payload->get_data_length());
      ready.push_back(r);
    }
  }
}

void DramController::Impl::respond(sim::Cycle now) {
  while (now >= response_due && !ready.empty() && !waits_for_end_resp) {
    Request& r = ready.pop_front();
    tlm::tlm_generic_payload& p = *r.payload;
    give_back(r);
    tlm::tlm_phase phase = tlm::BEGIN_RESP;
    sc_core::sc_time delay = sim.timeline().outgoing_delay();
    const tlm::tlm_sync_enum status = self.port->nb_transport_bw(p, phase, delay);
    waits_for_end_resp = status == tlm::TLM_ACCEPTED;
    if (p.has_mm()) p.release();
  }
}

/// Before respond(): END_REQ never comes after the response.
void DramController::Impl::offer_end_req() {
  if (!full || last->outside != 0) return;
  full = false;
  tlm::tlm_phase phase = tlm::END_REQ;
  sc_core::sc_time delay = sim.timeline().outgoing_delay();
  self.port->nb_transport_bw(*last->payload, phase, delay);
}

void DramController::Impl::update_probes() {
  for (Lane& lane : lanes) lane.probes->update(*lane.channel);
}

/// Commands need no wake-up unless somebody watches the channel or waits for a place in its queue.
sim::Cycle DramController::Impl::next_event(sim::Cycle now) {
  sim::Cycle next = sim::kNeverCycle;
  if (urgent != 0) {
    next = input.front().due;
  } else if (unanswered != 0) {
    next = input.front().due + shortest_read;
  }
  if (!ready.empty() && response_due > now) next = std::min(next, response_due);
  const bool watched = this->watched();
  for (const Lane& lane : lanes) {
    next = std::min(next, lane.channel->earliest_completion());
    if (watched || lane.held_back != 0) {
      next = std::min(next, lane.channel->next_command());
    }
  }
  return next;
}

sim::Wakeup DramController::tick(sim::Cycle now) {
  Impl& m = *impl_;
  m.admit(now);
  for (Impl::Lane& lane : m.lanes) {
    lane.channel->advance(now);
    if (lane.channel->step(now) && lane.held_back != 0) m.unstage(now, lane);
  }
  m.collect(now);
  if (m.sim.probes().listened()) m.update_probes();
  m.offer_end_req();
  m.respond(now);
  return sim::Wakeup::at(m.next_event(now));
}

tlm::tlm_sync_enum DramController::nb_transport_fw(tlm::tlm_generic_payload& payload, tlm::tlm_phase& phase,
                                                   sc_core::sc_time& delay) {
  if (phase == tlm::BEGIN_REQ) return impl_->accept(payload, phase, delay);
  POOLSIM_ASSERT(phase == tlm::END_RESP && impl_->waits_for_end_resp);
  impl_->waits_for_end_resp = false;
  impl_->response_due = poke(impl_->sim.timeline().incoming(delay));
  return tlm::TLM_COMPLETED;
}

void DramController::b_transport(tlm::tlm_generic_payload& payload, sc_core::sc_time& delay) {
  Impl& m = *impl_;
  std::uint8_t* const memory = m.find(payload);
  if (memory == nullptr) return;
  m.move_data(payload, memory);
  const sim::Cycle cycles = payload.is_write() ? 1 : m.timing.closed_cycles();
  delay += sim::Timeline::to_sc_time(clock().span(cycles));
}

unsigned DramController::transport_dbg(tlm::tlm_generic_payload& payload) {
  const sim::PhysAddr address(payload.get_address());
  const std::uint64_t length = payload.get_data_length();
  if (!impl_->store.contains(address, length) || payload.get_command() == tlm::TLM_IGNORE_COMMAND) return 0;
  std::uint8_t* memory = impl_->store.host(address, length);
  if (payload.is_read()) {
    std::memcpy(payload.get_data_ptr(), memory, length);
  } else {
    std::memcpy(memory, payload.get_data_ptr(), length);
    impl_->store.mark_written(address, length);
  }
  return static_cast<unsigned>(length);
}

void DramController::watch_commands(std::function<void(unsigned, const DramCommandRecord&)> command) {
  for (unsigned i = 0; i < impl_->lanes.size(); ++i) {
    Impl::Lane& lane = impl_->lanes[i];
    lane.watcher = std::make_unique<Impl::Watcher>();
    lane.watcher->channel = i;
    lane.watcher->next = lane.disturbance.get();
    lane.watcher->call = command;
    lane.channel->listen(lane.watcher.get());
  }
}

void DramController::settle() {
  const sim::Cycle now = clock().at_or_before(impl_->sim.now());
  impl_->admit(now);
  for (Impl::Lane& lane : impl_->lanes) lane.channel->advance(now);
}

const DramConfig& DramController::config() const { return impl_->config; }

MemoryFaults& DramController::faults() { return impl_->faults; }

std::uint64_t DramController::disturbance(const DramAddress& row) const {
  const auto& lane = impl_->lanes.at(row.channel);
  return lane.disturbance == nullptr ? 0 : lane.disturbance->count(row);
}

bool DramController::get_direct_mem_ptr(tlm::tlm_generic_payload&, tlm::tlm_dmi&) { return false; }

void DramController::stats(
    const std::function<void(std::string_view name, double value, std::string_view unit)>& out) const {
  Impl& m = *impl_;
  const auto n = [](std::uint64_t v) { return static_cast<double>(v); };
  out("reads", n(m.reads), "");
  out("writes", n(m.writes), "");
  out("read_bytes", n(m.read_bytes), "B");
  out("write_bytes", n(m.write_bytes), "B");
  out("refused", n(m.refused), "");
  out("back_pressure", n(m.back_pressure), "");
  out("read_latency_mean", m.read_latency.mean(), "cycles");
  out("read_latency_p50", n(m.read_latency.quantile(0.5)), "cycles");
  out("read_latency_p99", n(m.read_latency.quantile(0.99)), "cycles");
  out("read_latency_max", n(m.read_latency.max()), "cycles");
  const sim::Cycle now = clock().at_or_before(m.sim.now());
  m.admit(now);
  std::uint64_t commands[kDramCommands] = {}, reads[3] = {}, writes[3] = {}, drains = 0, auto_precharges = 0,
                forwarded = 0;
  for (Impl::Lane& lane : m.lanes) {
    lane.channel->advance(now);
    lane.channel->step(now);
    const DramChannel::Counters& c = lane.channel->counters();
    auto_precharges += c.auto_precharges;
    forwarded += c.forwarded;
    for (unsigned i = 0; i < kDramCommands; ++i) commands[i] += c.commands[i];
    for (unsigned i = 0; i < 3; ++i) {
      reads[i] += c.reads[i];
      writes[i] += c.writes[i];
    }
    drains += c.drains;
  }
  static constexpr const char* kOutcome[] = {"hit", "closed", "conflict"};
  for (unsigned i = 0; i < 3; ++i) out(fmt::format("read_bursts_{}", kOutcome[i]), n(reads[i]), "");
  for (unsigned i = 0; i < 3; ++i) out(fmt::format("write_bursts_{}", kOutcome[i]), n(writes[i]), "");
  for (unsigned i = 0; i < kDramCommands; ++i) {
    out(fmt::format("commands_{}", to_string(static_cast<DramCommand>(i))), n(commands[i]), "");
  }
  out("auto_precharges", n(auto_precharges), "");
  out("write_drains", n(drains), "");
  out("reads_forwarded", n(forwarded), "");
  const MemoryFaults::Counters& ecc = m.faults.counters();
  out("ecc_corrected_on_die", n(ecc.corrected_on_die), "");
  out("ecc_corrected", n(ecc.corrected), "");
  out("ecc_uncorrectable", n(ecc.uncorrectable), "");
  out("ecc_silent", n(ecc.silent), "");
  out("row_disturbances", n(m.disturbances), "");
  for (std::size_t i = 0; m.lanes.size() > 1 && i < m.lanes.size(); ++i) {
    out(fmt::format("ch{}.back_pressure", i), n(m.lanes[i].back_pressure), "bursts");
  }
  const double bursts = n(reads[0] + reads[1] + reads[2] + writes[0] + writes[1] + writes[2]);
  const double peak = n(now) / m.timing.data_cycles() * n(m.lanes.size());
  out("data_bus_utilisation", now == 0 ? 0.0 : bursts / peak, "");
}

}  // namespace mm
