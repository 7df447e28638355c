// SPDX-License-Identifier: Apache-2.0
// The RISC-V IOMMU as a cycle-level SystemC device between an IO bridge and memory.
//
// Sockets (raw TLM-2.0, 64 bit wide; protocol in sim/payload.h):
//   device      requests of devices with sim::DmaTag (requester = device_id, PASID = process_id, AT). A
//   request may
//               not cross a 4 KiB boundary (PCIe). The same payload leaves at `downstream` with its address
//               translated; the address is restored before the response.
//   downstream  translated requests, toward memory and MSI targets.
//   walker      the IOMMU's own accesses: directories, page tables, queues, MSI writes. Never blocked by
//   device traffic. registers   the 4 KiB register page; only address bits 11:0 are looked at. 4- or 8-byte
//   accesses.
// Order: per requester, posted writes leave in order, and reads do not pass earlier posted writes; a request
// that hits overtakes the misses of other requesters. A posted write that faults is dropped and recorded once
// and never holds up what follows; a faulting read is answered with Unsupported Request (ATS may get
// Completer Abort). Stale IOTLB entries are served until the command that invalidates them has executed, as
// in hardware. b_transport: same function, delay annotated. transport_dbg: translates without changing any
// state of the IOMMU. Source: RISC-V IOMMU Architecture Specification.
#pragma once
#include <functional>
#include <memory>
#include <string_view>

#include "iommu/ats.h"
#include "iommu/config.h"
#include "iommu/trace.h"
#include "sim/simulation.h"

namespace iommu {

class Engine;
class Caches;
struct Command;

/// What a faulty command processor does with a command.
enum class CommandVerdict : std::uint8_t {
  kExecute,
  kIgnore,   ///< takes it off the queue without doing it; of a fence: completes without waiting
  kOnePage,  ///< of an invalidation of a range or a space: only the first page of it
};
/// Asked once for each command, before it is executed; may change the command.
using CommandFault = std::function<CommandVerdict(Command&)>;

class Iommu final : public sc_core::sc_module, public sim::Clocked {
 public:
  /// Throws sim::Error if `config` cannot be built.
  Iommu(sc_core::sc_module_name name, sim::Simulation& simulation, const IommuConfig& config = {});
  ~Iommu() override;

  tlm::tlm_target_socket<64> device{"device"};
  tlm::tlm_initiator_socket<64> downstream{"downstream"};
  tlm::tlm_initiator_socket<64> walker{"walker"};
  tlm::tlm_target_socket<64> registers{"registers"};

  sim::Tracepoint<Translated> translated;
  sim::Tracepoint<Fault> faulted;
  sim::Tracepoint<Walked> walked;
  sim::Tracepoint<Invalidate> invalidated;
  sim::Tracepoint<FenceDone> fence_done;

  /// Interrupt wires (fctl.WSI=1): called with (vector, level) at each change.
  std::function<void(unsigned vector, bool level)> interrupt_wire;

  /// PCIe messages of ATS and PRI. Out: called at the cycle they leave. In: call at the time they arrive
  /// (inside the Timeline); they are seen at the next edge.
  std::function<void(const AtsInvalidationRequest&)> send_invalidation_request;
  std::function<void(const PageRequestGroupResponse&)> send_page_response;
  void receive(const PageRequest& message);
  void receive(const InvalidationCompletion& message);

  /// Every statistic with its unit.
  void stats(
      const std::function<void(std::string_view name, double value, std::string_view unit)>& visit) const;
  /// The translation caches, for who compares machines or injects faults (iommu/caches.h).
  Caches& caches();
  std::uint64_t cache_digest();
  /// What becomes of commands; for fault injection. Empty: they are executed.
  void set_command_fault(CommandFault fault);

  /// Nothing in flight: no device request, walk, command, record or interrupt.
  bool idle() const;

  sim::Wakeup tick(sim::Cycle now) override;

 private:
  friend class Engine;
  struct Ports;
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<Ports> ports_;
};

}  // namespace iommu
