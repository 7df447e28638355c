// SPDX-License-Identifier: Apache-2.0
#include "platform/root_port.h"

#include <algorithm>
#include <cstring>

namespace platform {

using sim::CompletionStatus;
using sim::Cycle;
using sim::kNeverCycle;
using sim::RequesterId;
using tlm::tlm_generic_payload;

namespace {

const RootPortConfig& checked(const RootPortConfig& config) {
  config.validate();
  return config;
}

/// What a host bridge gives the CPU when nobody answered: all ones, and no error on the bus.
void answer_all_ones(tlm_generic_payload& p, CompletionStatus status) {
  sim::complete(p, status);
  if (status == CompletionStatus::kSuccess) return;
  if (p.is_read()) std::memset(p.get_data_ptr(), 0xff, p.get_data_length());
  p.set_response_status(tlm::TLM_OK_RESPONSE);
}

/// A posted write wants no answer: ours are kept here, and nobody has to be told when they are done.
bool keeps(tlm_generic_payload& p) {
  sim::Transaction* const own = sim::own(p);
  if (own == nullptr || !p.is_write() || !own->keep(sim::Transaction::Keeper::kRootPort)) return false;
  p.set_response_status(tlm::TLM_OK_RESPONSE);
  return true;
}

CompletionStatus status_of(const tlm_generic_payload& p) {
  if (p.is_response_ok()) return CompletionStatus::kSuccess;
  const CompletionStatus status = sim::tag_of(p).status;
  return status != CompletionStatus::kSuccess ? status : CompletionStatus::kUnsupportedRequest;
}

}  // namespace

void RootPortConfig::validate() const {
  if (secondary_bus < 1 || secondary_bus > subordinate_bus || subordinate_bus > 255) {
    throw sim::Error(
        fmt::format("root_port.secondary_bus: buses {}..{} are not possible (1 to 255, ascending)",
                    secondary_bus, subordinate_bus));
  }
  if (ecam.size < (std::uint64_t{subordinate_bus} + 1) << 20) {
    throw sim::Error(fmt::format("root_port.ecam_size: {:#x} bytes do not reach bus {} (1 MiB a bus)",
                                 ecam.size, subordinate_bus));
  }
  if (ecam.base < mmio.base + mmio.size && mmio.base < ecam.base + ecam.size) {
    throw sim::Error("root_port.mmio_base: the ECAM and MMIO windows overlap");
  }
  if (upstream_cycles < 1 || downstream_cycles < 1) {
    throw sim::Error("root_port.upstream_cycles, downstream_cycles: at least 1");
  }
  if (nonposted < 1 || upstream_buffer < 1 || downstream_buffer < 1) {
    throw sim::Error("root_port.nonposted, upstream_buffer, downstream_buffer: at least 1");
  }
}

RootPort::RootPort(sc_core::sc_module_name name, sim::Simulation& simulation, const RootPortConfig& config)
    : sc_module(name),
      Clocked(simulation.timeline(), config.clock),
      from_cpu("from_cpu", *this, kCpu),
      to_link_config("to_link_config", *this, kConfig),
      to_link_mmio("to_link_mmio", *this, kMmio),
      from_link("from_link", *this, kUp),
      to_iommu("to_iommu", *this, kUp),
      simulation_(simulation),
      config_(checked(config)),
      first_function_(config_.secondary_bus << 8),
      timeout_cycles_(config_.clock.cycles(config_.completion_timeout)),
      accesses_(config_.nonposted),
      posted_in_flight_(simulation.probes(), "root_port.posted_in_flight", 16),
      timeouts_probe_(simulation.probes(), "root_port.timeouts", 32) {
  simulation.probes().refresh_with([this] { posted_in_flight_.set(posted_arrived_ - posted_ordered_); });
}

RootPort::~RootPort() {
  for (const Access& a : accesses_) {
    if (a.own != nullptr) a.own->release();
  }
}

bool RootPort::idle() const {
  return down_.empty() && messages_down_.empty() && up_.empty() && device_answers_.empty() &&
         cpu_answers_.empty() && accesses_in_use_ == 0 && posted_arrived_ == posted_ordered_;
}

bool RootPort::on_bus(RequesterId f) const {
  return f.value >> 8 >= config_.secondary_bus && f.value >> 8 <= config_.subordinate_bus;
}

bool RootPort::removed(RequesterId f, Cycle now) const {
  return std::any_of(removed_.begin(), removed_.end(),
                     [&](const Removed& r) { return r.function == f && r.from <= now; });
}

bool RootPort::absent(RequesterId f, Cycle now) const {
  return !on_bus(f) || (__builtin_expect(!removed_.empty(), 0) && removed(f, now));
}

bool RootPort::removed_address(std::uint64_t address, Cycle now) const {
  if (removed_.empty()) return false;
  if (config_.ecam.contains(address)) return removed(function_of(address), now);
  for (const Removed& r : removed_) {
    if (r.from > now) continue;
    for (const AddressWindow& w : r.windows) {
      if (w.contains(address)) return true;
    }
  }
  return false;
}

RequesterId RootPort::function_of(std::uint64_t ecam_address) const {
  return RequesterId(static_cast<std::uint32_t>((ecam_address - config_.ecam.base) >> 12));
}

/// Address on the link: configuration by function number and register, memory unchanged.
std::uint64_t RootPort::link_address(std::uint64_t address) const {
  if (!config_.ecam.contains(address)) return address;
  return address - config_.ecam.base - (std::uint64_t{first_function_.value} << 12);
}

void RootPort::remove(RequesterId function, std::vector<AddressWindow> windows) {
  insert(function);
  removed_.push_back({function, clock().after(simulation_.now()), std::move(windows)});
}

void RootPort::insert(RequesterId function) {
  std::erase_if(removed_, [&](const Removed& r) { return r.function == function; });
}

bool RootPort::present(RequesterId function) const {
  return on_bus(function) && !removed(function, kNeverCycle);
}

/// The cycle in which what arrives at `arrival` is seen: the first edge at or after it and after the present.
Cycle RootPort::seen_at(sim::Tick arrival) const {
  const sim::Tick now = simulation_.now();
  return arrival > now ? clock().at_or_after(arrival) : clock().after(now);
}

[[gnu::flatten]] tlm::tlm_sync_enum RootPort::request(unsigned port, tlm_generic_payload& p, tlm::tlm_phase& phase,
                                     sc_core::sc_time& delay) {
  if (phase != tlm::BEGIN_REQ) return tlm::TLM_COMPLETED;  // END_RESP of a four-phase initiator
  const Cycle latency = port == kCpu ? config_.downstream_cycles : config_.upstream_cycles;
  Stall& stall = port == kCpu ? down_stall_ : up_stall_;
  Ring<Item>& queue = port == kCpu ? down_ : up_;
  POOLSIM_ASSERT(stall.from == kNeverCycle);  // the caller ignored back-pressure
  const Cycle seen = seen_at(simulation_.timeline().incoming(delay)), due = seen + latency - 1;
  bool gone = false;
  if (port == kUp) {
    if (p.is_write()) {
      posted_.push({&p, kNeverCycle});
      ++posted_arrived_;
      show_posted();
    }
    gone = absent(sim::tag_of(p).requester, seen);
    if (!gone && up_.empty() && up_open_from_ <= due) return pass_up(p, phase, due);
  }
  tick_by(due);
  queue.push({due, &p, false, gone});
  if (queue.size() >= (port == kCpu ? config_.downstream_buffer : config_.upstream_buffer)) {
    stall = {clock().after(simulation_.now()), &p};
    return tlm::TLM_ACCEPTED;
  }
  if (port == kUp && keeps(p)) return tlm::TLM_COMPLETED;
  phase = tlm::END_REQ;
  return tlm::TLM_UPDATED;
}

/// A request that waits for nobody: with the time that it takes it goes on at once. Just after the edge, as what a tick
/// would hand over there.
tlm::tlm_sync_enum RootPort::pass_up(tlm_generic_payload& p, tlm::tlm_phase& phase, Cycle due) {
  ++requests_up_;
  const bool kept = keeps(p);
  const bool over =
      hand_over(to_iommu, up_open_from_, p, simulation_.timeline().delay_until(clock().edge(due) + 1)) ==
      tlm::TLM_COMPLETED;
  if (over && p.is_read()) {
    device_answers_.push({after_upstream(due + 1), &p});
    tick_by(after_upstream(due + 1));
  } else if (over) {
    posted_ordered(p, due + 1);
    if (kept) sim::own(p)->let_go(sim::Transaction::Keeper::kRootPort);
    return tlm::TLM_COMPLETED;
  }
  if (kept) return tlm::TLM_COMPLETED;
  phase = tlm::END_REQ;
  return tlm::TLM_UPDATED;
}

[[gnu::flatten]] tlm::tlm_sync_enum RootPort::response(unsigned port, tlm_generic_payload& p, tlm::tlm_phase& phase,
                                      sc_core::sc_time& delay) {
  const Cycle seen = seen_at(simulation_.timeline().incoming(delay));
  if (phase == tlm::END_REQ) {
    tick_by(seen);
    (port == kUp ? up_open_from_ : port == kConfig ? config_open_from_ : mmio_open_from_) = seen;
    return tlm::TLM_ACCEPTED;
  }
  POOLSIM_ASSERT(phase == tlm::BEGIN_RESP);
  if (port == kUp) {
    if (p.is_write()) {
      posted_done(p, seen, delay);
    } else {
      device_answers_.push({after_upstream(seen), &p});
      tick_by(after_upstream(seen));
    }
  } else if (port == kMmio && p.is_write()) {
    respond(from_cpu, down_stall_, p, at_once());
  } else {
    access_answered(static_cast<sim::Transaction&>(p), seen);
  }
  return tlm::TLM_COMPLETED;
}

void RootPort::respond(TargetPort<RootPort>& port, Stall& stall, tlm_generic_payload& p, sc_core::sc_time delay) {
  if (stall.payload == &p) end_request(port, stall, delay);  // never after the response
  tlm::tlm_phase phase = tlm::BEGIN_RESP;
  port->nb_transport_bw(p, phase, delay);
}

void RootPort::end_request(TargetPort<RootPort>& port, Stall& stall, sc_core::sc_time delay) {
  tlm_generic_payload& p = *stall.payload;
  stall = {};
  tlm::tlm_phase phase = tlm::END_REQ;
  port->nb_transport_bw(p, phase, delay);
}

tlm::tlm_sync_enum RootPort::hand_over(InitiatorPort<RootPort>& port, Cycle& open_from, tlm_generic_payload& p,
                                       sc_core::sc_time delay) {
  tlm::tlm_phase phase = tlm::BEGIN_REQ;
  const tlm::tlm_sync_enum result = port->nb_transport_fw(p, phase, delay);
  if (result == tlm::TLM_ACCEPTED) open_from = kNeverCycle;
  return result;
}

// Down: the CPU's accesses.

void RootPort::send_down(Cycle now) {
  while (!down_.empty() && down_.front().due <= now) {
    if (!send_down_one(*down_.front().payload, now)) return;
    ++requests_down_;
    down_.pop();
  }
}

/// False: it has to wait for the link or for a free access slot.
bool RootPort::send_down_one(tlm_generic_payload& p, Cycle now) {
  const std::uint64_t address = p.get_address();
  const bool is_config = config_.ecam.contains(address);
  if (is_config ? !on_bus(function_of(address)) : !config_.mmio.contains(address)) {
    ++unsupported_down_;
    answer_cpu(p, CompletionStatus::kUnsupportedRequest, now + 1, 0);
    return true;
  }
  const bool lost = removed_address(address, now);
  if (!is_config && p.is_write()) {
    if (lost) {
      ++unsupported_down_;
      sim::complete(p, CompletionStatus::kSuccess);
      respond(from_cpu, down_stall_, p, at_once());
      return true;
    }
    if (mmio_open_from_ > now) return false;
    if (hand_over(to_link_mmio, mmio_open_from_, p, at_once()) == tlm::TLM_COMPLETED) {
      respond(from_cpu, down_stall_, p, at_once());
    }
    return true;
  }
  Cycle& open_from = is_config ? config_open_from_ : mmio_open_from_;
  const auto slot =
      std::find_if(accesses_.begin(), accesses_.end(), [&](const Access& a) { return a.free(now); });
  if (slot == accesses_.end() || (!lost && open_from > now)) return false;
  ++accesses_in_use_;
  *slot = {&p, nullptr, now + timeout_cycles_, address, 0};
  if (lost) return true;
  sim::Transaction* own =
      simulation_.payloads().acquire(p.get_command(), link_address(address), p.get_data_length());
  own->user[0] = static_cast<std::uint64_t>(slot - accesses_.begin());
  if (p.is_write()) std::memcpy(own->get_data_ptr(), p.get_data_ptr(), p.get_data_length());
  slot->own = own;
  if (hand_over(is_config ? to_link_config : to_link_mmio, open_from, *own, at_once()) == tlm::TLM_COMPLETED) {
    access_answered(*own, now + 1);
  }
  return true;
}

void RootPort::access_answered(sim::Transaction& own, Cycle seen) {
  Access& a = accesses_[own.user[0]];
  POOLSIM_ASSERT(a.own == &own);
  a.own = nullptr;
  a.free_from = seen;
  if (!down_.empty()) tick_by(seen);
  if (__builtin_expect(static_cast<bool>(completion_fault_), 0) && a.original != nullptr && own.is_read() &&
      completion_fault_(a.address, config_.ecam.contains(a.address))) {
    own.release();  // the deadline stays
    return;
  }
  if (a.original == nullptr) {
    ++unexpected_completions_;  // came after the timeout
    --accesses_in_use_;
  } else if (!removed_address(a.address, seen)) {
    tlm_generic_payload& p = *a.original;
    const CompletionStatus status = status_of(own);
    if (status == CompletionStatus::kSuccess && p.is_read()) {
      std::memcpy(p.get_data_ptr(), own.get_data_ptr(), p.get_data_length());
    }
    if (status != CompletionStatus::kSuccess) ++unsupported_down_;
    a.original = nullptr;
    --accesses_in_use_;
    answer_cpu(p, status, seen, posted_arrived_);
  }
  own.release();
}

void RootPort::answer_cpu(tlm_generic_payload& p, CompletionStatus status, Cycle seen,
                          std::uint64_t posted_before) {
  answer_all_ones(p, status);
  const Cycle due = after_upstream(seen);
  cpu_answers_.push({due, &p, posted_before});
  tick_by(due);
}

void RootPort::expire(Cycle now) {
  for (Access& a : accesses_) {
    if (a.original == nullptr || a.deadline > now) continue;
    ++timeouts_;
    timeouts_probe_.set(timeouts_);
    static constexpr std::uint64_t kTag = sim::digest_tag("root_port.timeout");
    simulation_.note(kTag, a.address);
    completion_timed_out.emit({a.address, simulation_.now()});
    tlm_generic_payload& p = *a.original;
    a.original = nullptr;
    if (a.own == nullptr) --accesses_in_use_;
    answer_cpu(p, CompletionStatus::kUnsupportedRequest, now + 1, 0);
  }
}

// Up: the device's requests.

void RootPort::send_up(Cycle now) {
  while (!up_.empty() && up_.front().due <= now) {
    tlm_generic_payload& p = *up_.front().payload;
    const bool absent = up_.front().absent;
    if (up_.front().message) {
      up_.pop();
      const PcieMessage message = PcieMessage::of(p);
      p.release();
      if (absent) ++unsupported_up_;
      if (!absent && message_to_iommu) message_to_iommu(message);
      continue;
    }
    if (absent) {
      up_.pop();
      ++unsupported_up_;
      static constexpr std::uint64_t kTag = sim::digest_tag("root_port.unsupported_request");
      simulation_.note(kTag, p.get_address(), sim::tag_of(p).requester.value);
      sim::complete(p, CompletionStatus::kUnsupportedRequest);
      if (p.is_write()) {
        posted_done(p, now + 1, at_once());
      } else {
        device_answers_.push({after_upstream(now + 1), &p});
      }
      continue;
    }
    if (up_open_from_ > now) return;
    up_.pop();
    ++requests_up_;
    if (hand_over(to_iommu, up_open_from_, p, at_once()) != tlm::TLM_COMPLETED) continue;
    if (p.is_write()) {
      posted_done(p, now + 1, at_once());
    } else {
      device_answers_.push({after_upstream(now + 1), &p});
    }
  }
}

void RootPort::from_link_message(const PcieMessage& message) {
  const Cycle seen = seen_at(simulation_.now()), due = after_upstream(seen);
  up_.push({due, &message.carry(simulation_.payloads()), true, absent(message.function, seen)});
  tick_by(due);
}

void RootPort::to_device_message(const PcieMessage& message) {
  const Cycle due = seen_at(simulation_.now()) + config_.downstream_cycles - 1;
  messages_down_.push({due, &message.carry(simulation_.payloads()), true});
  tick_by(due);
}

void RootPort::send_messages_down(Cycle now) {
  while (!messages_down_.empty() && messages_down_.front().due <= now) {
    tlm_generic_payload* p = messages_down_.pop().payload;
    const PcieMessage message = PcieMessage::of(*p);
    p->release();
    if (!on_bus(message.function) || removed(message.function, now)) {
      ++unsupported_down_;
    } else if (message_to_link) {
      message_to_link(message);
    }
  }
}

/// Seen from `seen` on; answers to the CPU may wait for it.
void RootPort::posted_ordered(const tlm_generic_payload& p, Cycle seen) {
  retire_posted(seen);
  for (std::size_t i = 0; i < posted_.size(); ++i) {
    Posted& entry = posted_.at(i);
    if (entry.payload != &p) continue;
    entry = {nullptr, seen};
    if (!cpu_answers_.empty()) tick_by(seen);
    ++posted_ordered_;
    show_posted();
    return;
  }
  POOLSIM_ASSERT(!"an answer to a posted write that is not outstanding");
}

void RootPort::posted_done(tlm_generic_payload& p, Cycle seen, sc_core::sc_time delay) {
  posted_ordered(p, seen);
  sim::Transaction* const own = sim::own(p);
  if (own == nullptr || !own->let_go(sim::Transaction::Keeper::kRootPort)) respond(from_link, up_stall_, p, delay);
}

/// Those ordered before `cycle`.
void RootPort::retire_posted(Cycle cycle) {
  while (!posted_.empty() && posted_.front().ordered_at < cycle) {
    posted_.pop();
    ++posted_retired_;
  }
}

void RootPort::give_answers(Cycle now) {
  retire_posted(now + 1);
  while (!device_answers_.empty() && device_answers_.front().due <= now) {
    respond(from_link, up_stall_, *device_answers_.pop().payload, at_once());
  }
  while (!cpu_answers_.empty() && cpu_answers_.front().due <= now &&
         cpu_answers_.front().posted_before <= posted_retired_) {
    respond(from_cpu, down_stall_, *cpu_answers_.pop().payload, at_once());
  }
}

Cycle RootPort::next_work() const {
  Cycle next = kNeverCycle;
  const auto earlier = [&](Cycle c) {
    if (c < next) next = c;
  };
  if (!up_.empty() && up_open_from_ != kNeverCycle) earlier(std::max(up_.front().due, up_open_from_));
  if (!device_answers_.empty()) earlier(device_answers_.front().due);
  if (!messages_down_.empty()) earlier(messages_down_.front().due);
  if (!down_.empty()) {
    // Beyond its due time it waits for END_REQ or for a free access slot; both come with a tick.
    const bool is_config = config_.ecam.contains(down_.front().payload->get_address());
    const Cycle open = is_config ? config_open_from_ : mmio_open_from_;
    if (down_.front().due > current_cycle()) {
      earlier(down_.front().due);
    } else if (open != kNeverCycle && open > current_cycle()) {
      earlier(open);
    }
  }
  if (up_stall_.from != kNeverCycle && up_.size() < config_.upstream_buffer) earlier(up_stall_.from);
  if (down_stall_.from != kNeverCycle && down_.size() < config_.downstream_buffer) earlier(down_stall_.from);
  if (!cpu_answers_.empty()) {
    // What waits for a posted write is woken by the answer to it, one edge after.
    const Answer& a = cpu_answers_.front();
    if (a.posted_before <= posted_retired_) {
      earlier(a.due);
    } else if (posted_.front().ordered_at != kNeverCycle) {
      earlier(std::max(a.due, posted_.front().ordered_at));
    }
  }
  if (accesses_in_use_ != 0) {
    for (const Access& a : accesses_) {
      if (a.original != nullptr) earlier(a.deadline);
    }
  }
  return next;
}

sim::Wakeup RootPort::tick(Cycle now) {
  if (!up_.empty()) send_up(now);
  if (accesses_in_use_ != 0) expire(now);
  if (!down_.empty()) send_down(now);
  if (!messages_down_.empty()) send_messages_down(now);
  give_answers(now);
  if (up_stall_.from <= now && up_.size() < config_.upstream_buffer) end_request(from_link, up_stall_, at_once());
  if (down_stall_.from <= now && down_.size() < config_.downstream_buffer) end_request(from_cpu, down_stall_, at_once());
  return {next_work()};
}

// Untimed and loosely timed paths.

void RootPort::blocking(unsigned port, tlm_generic_payload& p, sc_core::sc_time& delay) {
  const sim::Tick now = simulation_.timeline().incoming(delay);
  const Cycle cycle = clock().at_or_after(now);
  const bool up = port == kUp;
  delay += sim::Timeline::to_sc_time(clock().span(up ? config_.upstream_cycles : config_.downstream_cycles));
  if (up) {
    const RequesterId requester = sim::tag_of(p).requester;
    if (!on_bus(requester) || removed(requester, cycle)) {
      ++unsupported_up_;
      sim::complete(p, CompletionStatus::kUnsupportedRequest);
    } else {
      to_iommu->b_transport(p, delay);
    }
    return;
  }
  const std::uint64_t address = p.get_address();
  const bool is_config = config_.ecam.contains(address);
  if (is_config ? !on_bus(function_of(address)) : !config_.mmio.contains(address)) {
    answer_all_ones(p, CompletionStatus::kUnsupportedRequest);
    return;
  }
  if (removed_address(address, cycle)) {
    if (is_config || p.is_read()) delay += sim::Timeline::to_sc_time(config_.completion_timeout);
    answer_all_ones(p, CompletionStatus::kUnsupportedRequest);
    return;
  }
  p.set_address(link_address(address));
  (is_config ? to_link_config : to_link_mmio)->b_transport(p, delay);
  p.set_address(address);
  answer_all_ones(p, status_of(p));
}

unsigned RootPort::debug(unsigned port, tlm_generic_payload& p) {
  if (port == kUp) return to_iommu->transport_dbg(p);
  const std::uint64_t address = p.get_address();
  const bool is_config = config_.ecam.contains(address);
  if (is_config ? !on_bus(function_of(address)) : !config_.mmio.contains(address)) return 0;
  p.set_address(link_address(address));
  const unsigned done = (is_config ? to_link_config : to_link_mmio)->transport_dbg(p);
  p.set_address(address);
  return done;
}

void RootPort::stats(const std::function<void(std::string_view, double, std::string_view)>& report) const {
  report("requests_up", static_cast<double>(requests_up_), "1");
  report("requests_down", static_cast<double>(requests_down_), "1");
  report("unsupported_up", static_cast<double>(unsupported_up_), "1");
  report("unsupported_down", static_cast<double>(unsupported_down_), "1");
  report("timeouts", static_cast<double>(timeouts_), "1");
  report("unexpected_completions", static_cast<double>(unexpected_completions_), "1");
}

}  // namespace platform
