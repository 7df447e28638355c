// SPDX-License-Identifier: Apache-2.0
// A full-duplex PCIe link between one device (with all its functions) and a root port.
//
// Device side: `from_device` (target of the device's DMA), `to_device_config`, `to_device_mmio` (initiators).
// Root side:   `to_root` (initiator: device requests), `from_root_config`, `from_root_mmio` (targets).
//
// Modelled: serialisation by TLP bytes and bandwidth (pcie_tlp.h), latency, outstanding read tags, a bounded
// transmitter and receiver, and the ordering table: nothing passes a posted write; posted writes and
// completions pass reads that wait for a tag or for a busy target. Departure and arrival are computed when a
// request comes; a TLP costs one event, its arrival. A completion with an error status carries no data.
//
// Flow control (PcieLinkConfig::root_credits, device_credits; default infinite, which costs nothing): a transaction
// leaves TLP by TLP as credits allow. Its class waits, and what may pass it by the ordering table passes: posted writes
// pass waiting reads and completions, nothing passes a waiting posted write. Credits come back when the receiver has
// passed the TLP on, by UpdateFC.
//
// All memory writes are posted: on the wire there is no answer. One of the device's is done (TLM_COMPLETED) when the
// link has taken it, which keeps it until it is delivered, unless it is foreign or the link is full: then, and for
// writes of cores, the BEGIN_RESP by which the other side says "globally ordered" frees the payload, takes no time, and
// always carries success - a device never learns what became of its write. Configuration writes are non-posted.
// Payloads pass through unchanged. A device request that crosses 4 KiB is malformed and refused at once (Completer
// Abort, TLM_COMPLETED).
// Source: PCIe Base specification (ordering rules table, tags, completions).
#pragma once
#include <functional>
#include <span>
#include <string_view>
#include <vector>

#include "platform/pcie_message.h"
#include "platform/pcie_tlp.h"
#include "platform/ports.h"
#include "platform/ring.h"
#include "sim/simulation.h"

namespace platform {

/// What a faulty link does with a transaction that enters it.
struct TlpVerdict {
  enum class What : std::uint8_t {
    kPass,
    kLose,   ///< a posted write is gone; a read ends as TLM_INCOMPLETE_RESPONSE after `time` (completion timeout)
    kDelay,  ///< enters `time` later: what comes in between overtakes it
  };
  What what = What::kPass;
  sim::Tick time = 0;
};

class PcieLink : public sc_core::sc_module, public sim::Clocked {
 public:
  PcieLink(sc_core::sc_module_name name, sim::Simulation& simulation, const PcieLinkConfig& config);

  TargetPort<PcieLink> from_device;
  InitiatorPort<PcieLink> to_device_config;
  InitiatorPort<PcieLink> to_device_mmio;
  InitiatorPort<PcieLink> to_root;
  TargetPort<PcieLink> from_root_config;
  TargetPort<PcieLink> from_root_mmio;

  /// Messages of ATS and PRI travel as posted requests, in order with them. Toward the device or the root by
  /// their kind. Calling context: inside the Timeline; seen at the next edge.
  void send(const PcieMessage& message);
  /// Called when one has arrived. Empty: nobody understands messages there, and they are dropped.
  std::function<void(const PcieMessage&)> message_to_root, message_to_device;

  const PcieLinkConfig& config() const { return config_; }

  // Faults. Off, they cost one test a transaction.
  /// Asked for every request of the device (`doorbell` false) and for every posted write of a core to the device
  /// (true) as it enters; may change tag and data. Empty: none.
  using TlpFault = std::function<TlpVerdict(tlm::tlm_generic_payload&, bool doorbell)>;
  void set_tlp_fault(TlpFault fault) { tlp_fault_ = std::move(fault); }
  /// A posted write toward the root that no device has made. Calling context: inside the Timeline or between runs.
  void inject_write(sim::RequesterId requester, std::uint64_t address, std::span<const std::uint8_t> bytes);
  /// Credits of the device's requests that never come back: `headers` TLPs of `data` credits each. False: credits are
  /// not limited, or not so many are left.
  bool lose_credits(CreditClass c, unsigned headers, unsigned data);
  /// Requests and completions accepted and not yet delivered, and reads waiting for their completion.
  bool idle() const;
  void stats(const std::function<void(std::string_view name, double value, std::string_view unit)>&) const;

  sim::Wakeup tick(sim::Cycle now) override;

 private:
  friend class TargetPort<PcieLink>;
  friend class InitiatorPort<PcieLink>;

  /// The three streams of requests; each enters by a target socket and leaves by an initiator socket.
  /// Messages have no sockets and no back-pressure: their senders bound them.
  enum Stream : unsigned {
    kDma = 0,
    kConfig = 1,
    kMmio = 2,
    kStreams = 3,
    kMessageUp = 3,
    kMessageDown = 4,
    kAll = 5
  };

  struct Request {
    sim::Cycle due = 0;
    tlm::tlm_generic_payload* payload = nullptr;  // null: a TLP of a transaction whose last one is still to come
    Stream stream = kDma;
    bool posted = false;
    std::uint16_t data_credits = 0;  // that its delivery frees, if credits are limited
  };
  struct Completion {
    sim::Cycle due = 0;
    tlm::tlm_generic_payload* payload = nullptr;
    Stream stream = kDma;
    std::uint16_t data_credits = 0;
    std::uint64_t posted_before = 0;  // posted requests sent before it in this direction
  };
  struct WaitingRead {
    sim::Tick ready = 0;
    tlm::tlm_generic_payload* payload = nullptr;
  };
  /// A transaction that leaves TLP by TLP as credits allow.
  struct Train {
    sim::Tick ready = 0;
    tlm::tlm_generic_payload* payload = nullptr;
    Stream stream = kDma;
    std::uint64_t sequence = 0;  // of all trains of its direction
    std::uint32_t offset = 0;    // bytes of the transaction that have left
  };
  /// The next TLP of a train.
  struct TlpPiece {
    std::uint32_t covers = 0;  // bytes of the transaction
    std::uint32_t payload = 0;
    std::uint64_t wire_bytes = 0;
  };
  /// One direction of the wire with what travels on it.
  struct Direction {
    Direction(const PcieLinkConfig& c, const CreditLimits& limits)
        : wire(c), credits(limits, dllp_time(c) + c.latency, c.update_fc_symbols * symbol_time(c)) {}
    TlpWire wire;
    CreditWindow credits;
    Ring<Train> trains[kCreditClasses];  // empty unless credits are limited
    std::uint64_t trains_made = 0;
    Ring<Request> requests{64};
    Ring<Completion> completions{64};
    std::uint64_t posted_sent = 0;
    std::uint64_t posted_delivered = 0;
    std::uint64_t requests_delivered = 0;
    std::uint64_t completions_delivered = 0;
  };
  /// Back-pressure of a stream: towards us (the target said TLM_ACCEPTED) and by us (we did).
  struct Flow {
    sim::Cycle open_from = 0;                        // kNeverCycle: the target is full
    sim::Cycle end_request_from = sim::kNeverCycle;  // a caller waits for END_REQ, not before this cycle
    tlm::tlm_generic_payload* stalled = nullptr;     // the request that waits
  };

  tlm::tlm_sync_enum request(unsigned stream, tlm::tlm_generic_payload&, tlm::tlm_phase&, sc_core::sc_time&);
  tlm::tlm_sync_enum response(unsigned stream, tlm::tlm_generic_payload&, tlm::tlm_phase&, sc_core::sc_time&);
  void blocking(unsigned stream, tlm::tlm_generic_payload&, sc_core::sc_time&);
  unsigned debug(unsigned stream, tlm::tlm_generic_payload&);

  bool is_posted(Stream s, const tlm::tlm_generic_payload& p) const { return s != kConfig && p.is_write(); }
  Direction& request_direction(Stream s) { return s == kDma || s == kMessageUp ? up_ : down_; }
  Direction& completion_direction(Stream s) { return s == kDma ? down_ : up_; }
  tlm::tlm_target_socket<64>& entry_of(Stream s);
  tlm::tlm_initiator_socket<64>& exit_of(Stream s);
  inline std::uint64_t request_bytes(Stream s, const tlm::tlm_generic_payload& p) const;
  std::uint64_t completion_bytes(const tlm::tlm_generic_payload& p, Stream s) const;

  inline sim::Tick seen_at(sim::Tick arrival) const;
  inline void send_request(Stream s, tlm::tlm_generic_payload& p, sim::Tick ready);
  void send_completion(Stream s, tlm::tlm_generic_payload& p, sim::Tick ready);
  inline void push_request(Direction& d, Stream s, tlm::tlm_generic_payload* p, bool posted, unsigned data, sim::Tick arrival);
  void push_completion(Direction& d, Stream s, tlm::tlm_generic_payload* p, unsigned data, sim::Tick arrival);
  void queue_train(Direction& d, CreditClass c, Stream s, tlm::tlm_generic_payload& p, sim::Tick ready);
  void pump(Direction& d);
  bool send_tlp(Direction& d, CreditClass c, Train& train);
  TlpPiece next_piece(CreditClass c, const Train& train) const;
  inline void begin_response(Stream s, tlm::tlm_generic_payload& p, sc_core::sc_time delay);
  void end_request(Stream s, sc_core::sc_time delay);
  sc_core::sc_time at_once() const { return simulation_.timeline().outgoing_delay(); }
  bool tamper(Stream s, tlm::tlm_generic_payload& p, sim::Tick ready);
  void let_go();
  inline void enter(Stream s, tlm::tlm_generic_payload& p, sim::Tick ready);
  inline void phase_back(Stream s, tlm::tlm_generic_payload& p, tlm::tlm_phase phase, sc_core::sc_time delay);
  inline void answer(Stream s, tlm::tlm_generic_payload& p, sc_core::sc_time delay);
  inline bool full(Stream s) const;
  [[gnu::always_inline]] inline void deliver_requests(Direction& d, sim::Cycle now);
  void deliver_message(Stream s, tlm::tlm_generic_payload& p);
  void deliver_completions(Direction& d, sim::Cycle now);
  void launch_waiting_reads();
  void end_requests(sim::Cycle now);
  /// Probes cost one test while nobody listens.
  void show_requests(const Direction& d) {
    if (__builtin_expect(simulation_.probes().listened(), 0)) (&d == &up_ ? up_requests_ : down_requests_).set(d.requests.size());
  }
  bool nothing_travels() const {
    return up_.requests.empty() && up_.completions.empty() && down_.requests.empty() && down_.completions.empty();
  }
  [[gnu::always_inline]] inline sim::Cycle next_work(sim::Cycle now) const;

  sim::Simulation& simulation_;
  PcieLinkConfig config_;
  Direction up_;
  Direction down_;
  Flow flow_[kAll];
  Ring<WaitingRead> waiting_reads_{16};
  /// What a fault keeps: to be sent, or (a lost read) answered, at a time.
  struct Kept {
    sim::Tick at;
    tlm::tlm_generic_payload* payload;
    Stream stream;
    bool lost;
  };
  TlpFault tlp_fault_;
  std::vector<Kept> kept_;
  std::vector<tlm::tlm_generic_payload*> injected_;
  const bool credits_limited_;  // of either direction
  unsigned tags_free_;
  unsigned callers_waiting_ = 0;  // flows whose caller waits for END_REQ
  std::uint64_t reads_outstanding_ = 0;
  std::uint64_t malformed_ = 0;
  std::uint64_t messages_[2] = {0, 0};  // delivered up, down

  sim::Probe up_requests_;
  sim::Probe down_requests_;
  sim::Probe tags_in_use_;
};

}  // namespace platform
