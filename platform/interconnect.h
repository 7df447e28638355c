// SPDX-License-Identifier: Apache-2.0
// The interconnect between initiators (IOMMU downstream, IOMMU walker, CPUs) and targets (DRAM controller,
// IMSIC, IOMMU registers, root port): a crossbar with address decoding.
//
// Ports are added before elaboration ends:
//   interconnect.add_initiator("iommu")  -> a target socket for that initiator to bind to
//   interconnect.add_target("dram", {base, size})  -> an initiator socket to bind to the target
// Addresses reach a target unchanged. An address in no window is answered with TLM_ADDRESS_ERROR_RESPONSE and
// Unsupported Request, after the normal latency.
//
// Modelled: latency each way; one request a cycle for each initiator and each target, and a target's port
// kept busy for length / width cycles; round robin among the initiators at each target; requests of one
// initiator leave in the order they came, whatever their targets; a bounded number of outstanding requests
// per initiator (TLM_ACCEPTED, then END_REQ), and END_REQ of targets. The answer to a write that wants none
// (DmaTag.posted) passes at once.
//
// A target of Handover::kAhead (memory) is handed a request when it comes in, with its cycles on the way as delay, if no
// request waits at any port and the call is of the present (one that SystemC's picosecond rounds up is not): it is ordered
// here, as at the home node of a coherent interconnect, and whoever comes later sees it.
#pragma once
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "platform/flight_table.h"
#include "platform/ports.h"
#include "platform/ring.h"
#include "platform/root_port.h"
#include "sim/simulation.h"

namespace platform {

struct InterconnectConfig {
  sim::Clock clock = sim::Clock::from_hz(1'000'000'000);
  sim::Cycle request_cycles = 5;   ///< request seen -> at the target; at least 1
  sim::Cycle response_cycles = 5;  ///< response seen -> at the initiator; at least 1
  unsigned width_bytes = 64;       ///< data path of each port
  unsigned outstanding = 64;       ///< requests of one initiator without a response

  /// Throws sim::Error naming the field.
  void validate() const;
};

class Interconnect : public sc_core::sc_module, public sim::Clocked {
 public:
  Interconnect(sc_core::sc_module_name name, sim::Simulation& simulation, const InterconnectConfig& config);
  ~Interconnect() override;

  /// The socket for an initiator to bind to. Calling context: before elaboration ends.
  TargetPort<Interconnect>& add_initiator(const std::string& name);
  /// When a request that waits for nobody reaches the target: after its cycles on the way, or at once with these as delay.
  enum class Handover : std::uint8_t { kInTime, kAhead };
  /// The socket to bind to a target. Throws sim::Error if the window overlaps another.
  InitiatorPort<Interconnect>& add_target(const std::string& name, AddressWindow window,
                                          Handover handover = Handover::kInTime);

  bool idle() const { return flights_.empty() && answers_.empty(); }
  void stats(const std::function<void(std::string_view name, double value, std::string_view unit)>&) const;

  sim::Wakeup tick(sim::Cycle now) override;

 private:
  friend class TargetPort<Interconnect>;
  friend class InitiatorPort<Interconnect>;

  struct Output;
  struct Item {
    sim::Cycle due = 0;
    tlm::tlm_generic_payload* payload = nullptr;
    Output* target = nullptr;  // null: no window has the address
  };
  struct Input {
    unsigned number = 0;
    std::unique_ptr<TargetPort<Interconnect>> socket;
    std::string name;
    Ring<Item> requests{64};
    sim::Cycle free_from = 0;  // one request a cycle
    unsigned outstanding = 0;
    sim::Cycle end_request_from = sim::kNeverCycle;
    tlm::tlm_generic_payload* stalled = nullptr;
    std::uint64_t served = 0;
  };
  struct Output {
    std::unique_ptr<InitiatorPort<Interconnect>> socket;
    std::string name;
    AddressWindow window;
    Handover handover = Handover::kInTime;
    sim::Cycle free_from = 0;  // kNeverCycle: waits for END_REQ
    sim::Cycle busy_until = 0;
    unsigned last_input = 0;
    std::uint64_t requests = 0;
    std::uint64_t bytes = 0;
    std::uint64_t busy_cycles = 0;
  };
  struct Answer {
    sim::Cycle due = 0;
    tlm::tlm_generic_payload* payload = nullptr;
    Input* input = nullptr;
  };

  tlm::tlm_sync_enum request(unsigned input, tlm::tlm_generic_payload&, tlm::tlm_phase&, sc_core::sc_time&);
  tlm::tlm_sync_enum response(unsigned output, tlm::tlm_generic_payload&, tlm::tlm_phase&, sc_core::sc_time&);
  void blocking(unsigned input, tlm::tlm_generic_payload&, sc_core::sc_time&);
  unsigned debug(unsigned input, tlm::tlm_generic_payload&);

  sim::Cycle seen_at(sim::Tick arrival) const;
  inline Output* decode(const tlm::tlm_generic_payload& p);
  inline bool waits_for_nobody(const Input& in, const Output& out, sim::Tick arrival, sim::Cycle due) const;
  inline tlm::tlm_sync_enum pass_ahead(Input& in, Output& out, tlm::tlm_generic_payload& p, tlm::tlm_phase& phase,
                                       sc_core::sc_time& delay, sim::Cycle due);
  inline void occupy(Input& in, Output& out, unsigned length, sim::Cycle now);
  void grant(Input& in, sim::Cycle now);
  void answer(Input& in, tlm::tlm_generic_payload& p, sc_core::sc_time delay);
  void answer_later(Input& in, tlm::tlm_generic_payload& p, sc_core::sc_time delay);
  void respond(Input& in, tlm::tlm_generic_payload& p, sc_core::sc_time delay);
  void end_request(Input& in, sc_core::sc_time delay);
  void phase_back(Input& in, tlm::tlm_generic_payload& p, tlm::tlm_phase phase, sc_core::sc_time delay);
  sim::Cycle earliest(const Input& in) const;
  Input& next_in_turn(Input& first, sim::Cycle now);

  sim::Simulation& simulation_;
  InterconnectConfig config_;
  std::vector<Input> inputs_;
  std::uint64_t waiting_ = 0;    // inputs that have a request, a bit each
  std::uint64_t held_back_ = 0;  // inputs that owe an END_REQ
  std::vector<Output> outputs_;
  FlightTable flights_;
  Ring<Answer> answers_{64};
  std::uint64_t decode_errors_ = 0;
  sim::Probe outstanding_;
};

}  // namespace platform
