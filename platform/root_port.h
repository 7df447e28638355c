// SPDX-License-Identifier: Apache-2.0
// The root port above the PCIe link: configuration (ECAM) and MMIO accesses of the CPU go down, requests of
// the device go up into the IOMMU.
//
// Sockets: `from_cpu` (target; absolute addresses in the ECAM and MMIO windows), `to_link_config`,
// `to_link_mmio` (initiators), `from_link` (target), `to_iommu` (initiator, to the IOMMU's device socket).
//
// Configuration addresses are ECAM: bus << 20 | device << 15 | function << 12 | register. Buses other than
// secondary..subordinate hold nothing. Down the link goes (requester id - first id of the secondary bus) <<
// 12 | register. What nobody answers - no such bus, a removed function (after the completion timeout), or
// Unsupported Request from the device - reads as all ones with TLM_OK_RESPONSE, as a host bridge does;
// DmaTag.status tells why.
//
// Upstream: a request of a requester outside the bus range, or of a function that is removed when the port sees it,
// gets Unsupported Request; a posted one is dropped. Everything else reaches the IOMMU in order; what waits for nobody is
// handed to it at once, with its time on the way as delay. "A read pushes writes": the completion
// of a CPU read is given back only when all posted writes that came up the link before it are globally
// ordered (answered by the IOMMU's side). The link hears no more of a posted write than that it was taken.
// Source: PCIe Base specification (ECAM, completion timeout, ordering rules).
#pragma once
#include <functional>
#include <string_view>
#include <vector>

#include "platform/pcie_message.h"
#include "platform/ports.h"
#include "platform/ring.h"
#include "sim/simulation.h"

namespace platform {

/// A range of physical addresses.
struct AddressWindow {
  std::uint64_t base = 0;
  std::uint64_t size = 0;
  bool contains(std::uint64_t address) const { return address - base < size; }
};

/// A CPU access got no completion in time and was answered with all ones (AER: Completion Timeout Status).
struct CompletionTimedOut {
  static constexpr const char* kName = "pcie_completion_timeout";
  std::uint64_t address;  ///< as the CPU gave it
  sim::Tick time;
};

struct RootPortConfig {
  sim::Clock clock = sim::Clock::from_hz(1'000'000'000);
  AddressWindow ecam{0x3000'0000, 0x1000'0000};
  AddressWindow mmio{0x4000'0000, 0x4000'0000};
  unsigned secondary_bus = 1;    ///< the bus of the link; its functions are requester ids bus << 8 | devfn
  unsigned subordinate_bus = 2;  ///< last bus behind the port (VFs may lie beyond the secondary bus)
  sim::Cycle downstream_cycles = 10;  ///< CPU request seen -> handed to the link
  sim::Cycle upstream_cycles = 10;    ///< device request, or completion, seen -> handed on; at least 1
  sim::Tick completion_timeout = 50 * sim::kMicrosecond;
  unsigned nonposted = 32;          ///< CPU accesses outstanding on the link
  unsigned upstream_buffer = 64;    ///< device requests that wait for the IOMMU; more wait in the link
  unsigned downstream_buffer = 16;  ///< CPU requests held; more wait at the socket

  /// Throws sim::Error naming the field.
  void validate() const;
};

class RootPort : public sc_core::sc_module, public sim::Clocked {
 public:
  RootPort(sc_core::sc_module_name name, sim::Simulation& simulation, const RootPortConfig& config);
  ~RootPort() override;

  TargetPort<RootPort> from_cpu;
  InitiatorPort<RootPort> to_link_config;
  InitiatorPort<RootPort> to_link_mmio;
  TargetPort<RootPort> from_link;
  InitiatorPort<RootPort> to_iommu;

  /// Hot removal: from now on the function answers nothing and its requests get Unsupported Request.
  /// `windows` are its BARs, which vanish with it. Calling context: any; takes effect at the next edge.
  /// Accesses that are on the link run into the completion timeout.
  void remove(sim::RequesterId function, std::vector<AddressWindow> windows = {});
  /// Plugged in again.
  void insert(sim::RequesterId function);
  bool present(sim::RequesterId function) const;

  /// Asked for the completion of every CPU read as it arrives; true: it is lost, and the read runs into the
  /// completion timeout (what the read did in the device is done). Empty: none. Off, it costs one test.
  using CompletionFault = std::function<bool(std::uint64_t address, bool config)>;
  void set_completion_fault(CompletionFault fault) { completion_fault_ = std::move(fault); }
  /// Listeners are called inside the port's tick.
  sim::Tracepoint<CompletionTimedOut> completion_timed_out;

  /// Messages of ATS and PRI: from the link in order with the device's requests, and down to it. Those of or
  /// for a function that is not there are dropped. Calling context: inside the Timeline; seen at the next
  /// edge.
  void from_link_message(const PcieMessage& message);
  void to_device_message(const PcieMessage& message);
  std::function<void(const PcieMessage&)> message_to_link, message_to_iommu;

  const RootPortConfig& config() const { return config_; }
  bool idle() const;
  void stats(const std::function<void(std::string_view name, double value, std::string_view unit)>&) const;

  sim::Wakeup tick(sim::Cycle now) override;

 private:
  friend class TargetPort<RootPort>;
  friend class InitiatorPort<RootPort>;
  enum Port : unsigned { kCpu = 0, kConfig = 1, kMmio = 2, kUp = 3 };

  struct Item {
    sim::Cycle due = 0;
    tlm::tlm_generic_payload* payload = nullptr;
    bool message = false;
    bool absent = false;  // from a function that was not there when it came
  };
  /// A CPU access on the link. The link gets a payload of our own, so that a late answer harms nobody.
  struct Access {
    tlm::tlm_generic_payload* original = nullptr;  // null: free, or timed out and answered
    sim::Transaction* own = nullptr;               // null: free, or lost in a removed function
    sim::Cycle deadline = sim::kNeverCycle;
    std::uint64_t address = 0;  // as the CPU gave it
    sim::Cycle free_from = 0;
    bool free(sim::Cycle now) const { return original == nullptr && own == nullptr && free_from <= now; }
  };
  struct Answer {
    sim::Cycle due = 0;
    tlm::tlm_generic_payload* payload = nullptr;
    std::uint64_t posted_before = 0;
  };
  struct Posted {
    tlm::tlm_generic_payload* payload = nullptr;
    sim::Cycle ordered_at = sim::kNeverCycle;
  };
  struct Removed {
    sim::RequesterId function;
    sim::Cycle from;
    std::vector<AddressWindow> windows;
  };
  /// A target socket whose owner told it to wait for END_REQ.
  struct Stall {
    sim::Cycle from = sim::kNeverCycle;
    tlm::tlm_generic_payload* payload = nullptr;
  };

  tlm::tlm_sync_enum request(unsigned port, tlm::tlm_generic_payload&, tlm::tlm_phase&, sc_core::sc_time&);
  tlm::tlm_sync_enum response(unsigned port, tlm::tlm_generic_payload&, tlm::tlm_phase&, sc_core::sc_time&);
  void blocking(unsigned port, tlm::tlm_generic_payload&, sc_core::sc_time&);
  unsigned debug(unsigned port, tlm::tlm_generic_payload&);

  inline bool on_bus(sim::RequesterId function) const;
  bool removed(sim::RequesterId function, sim::Cycle now) const;
  inline bool absent(sim::RequesterId function, sim::Cycle now) const;
  bool removed_address(std::uint64_t address, sim::Cycle now) const;
  sim::RequesterId function_of(std::uint64_t ecam_address) const;
  std::uint64_t link_address(std::uint64_t address) const;
  inline sim::Cycle seen_at(sim::Tick arrival) const;
  sim::Cycle after_upstream(sim::Cycle seen) const { return seen + config_.upstream_cycles - 1; }

  void send_down(sim::Cycle now);
  bool send_down_one(tlm::tlm_generic_payload& p, sim::Cycle now);
  void send_up(sim::Cycle now);
  void send_messages_down(sim::Cycle now);
  inline tlm::tlm_sync_enum hand_over(InitiatorPort<RootPort>& port, sim::Cycle& open_from,
                                      tlm::tlm_generic_payload& p, sc_core::sc_time delay);
  void access_answered(sim::Transaction& own, sim::Cycle seen);
  void answer_cpu(tlm::tlm_generic_payload& p, sim::CompletionStatus status, sim::Cycle seen,
                  std::uint64_t posted_before);
  inline tlm::tlm_sync_enum pass_up(tlm::tlm_generic_payload& p, tlm::tlm_phase& phase, sim::Cycle due);
  inline void posted_done(tlm::tlm_generic_payload& p, sim::Cycle seen, sc_core::sc_time delay);
  inline void posted_ordered(const tlm::tlm_generic_payload& p, sim::Cycle seen);
  inline void respond(TargetPort<RootPort>& port, Stall& stall, tlm::tlm_generic_payload& p, sc_core::sc_time delay);
  void end_request(TargetPort<RootPort>& port, Stall& stall, sc_core::sc_time delay);
  sc_core::sc_time at_once() const { return simulation_.timeline().outgoing_delay(); }
  void expire(sim::Cycle now);
  inline void retire_posted(sim::Cycle cycle);
  /// Costs one test while nobody listens to the probes.
  void show_posted() {
    if (__builtin_expect(simulation_.probes().listened(), 0)) posted_in_flight_.set(posted_arrived_ - posted_ordered_);
  }
  inline void give_answers(sim::Cycle now);
  inline sim::Cycle next_work() const;

  sim::Simulation& simulation_;
  RootPortConfig config_;
  sim::RequesterId first_function_;
  sim::Cycle timeout_cycles_;

  Ring<Item> down_{16};            // CPU requests
  Ring<Item> up_{64};              // device requests and messages
  Ring<Item> messages_down_{4};
  Ring<Item> device_answers_{64};  // completions of device reads
  Ring<Answer> cpu_answers_{16};
  Stall down_stall_;
  Stall up_stall_;
  Ring<Posted> posted_{64};  // posted writes from the device, in order, until globally ordered
  std::uint64_t posted_arrived_ = 0;
  std::uint64_t posted_ordered_ = 0;
  std::uint64_t posted_retired_ = 0;  // of the ordered ones those before which there is none that is not
  std::vector<Access> accesses_;
  unsigned accesses_in_use_ = 0;
  sim::Cycle config_open_from_ = 0;
  sim::Cycle mmio_open_from_ = 0;
  sim::Cycle up_open_from_ = 0;
  std::vector<Removed> removed_;
  CompletionFault completion_fault_;

  std::uint64_t requests_up_ = 0;
  std::uint64_t requests_down_ = 0;
  std::uint64_t unsupported_up_ = 0;
  std::uint64_t unsupported_down_ = 0;
  std::uint64_t timeouts_ = 0;
  std::uint64_t unexpected_completions_ = 0;
  sim::Probe posted_in_flight_;
  sim::Probe timeouts_probe_;
};

}  // namespace platform
