// SPDX-License-Identifier: Apache-2.0
// The command queue: fetches commands in order, decodes, executes. A resumable machine: step() goes on until
// it needs memory, must wait, or has nothing to do. Source: RISC-V IOMMU specification, "Command-Queue" and
// "IOMMU commands".
#pragma once
#include <cstdint>

#include "iommu/ats.h"
#include "iommu/caches.h"
#include "iommu/context.h"
#include "iommu/interrupts.h"
#include "iommu/iommu.h"
#include "iommu/memory.h"
#include "iommu/queues.h"
#include "iommu/trace.h"

namespace iommu {

/// What the command processor and the page-request logic ask of their surroundings.
class Surroundings {
 public:
  virtual ~Surroundings() = default;
  virtual void invalidated(const Invalidate&) {}
  virtual void fence_done(const FenceDone&) {}
  /// An IOFENCE.C begins: what is under way now must be waited for.
  virtual void fence_begins(bool /*pr*/, bool /*pw*/) {}
  /// Everything the last fence_begins() spoke of is done.
  virtual bool fence_clear() { return true; }
  virtual void send(const AtsInvalidationRequest&) {}
  virtual void send(const PageRequestGroupResponse&) {}
};

/// What an IOTINVAL command is about; `verdict` kOnePage: what a faulty processor makes of it.
Invalidation decode_iotinval(const Command& command, CommandVerdict verdict = CommandVerdict::kExecute);

class CommandProcessor {
 public:
  enum class State : std::uint8_t {
    kIdle,        ///< queue off, empty or stalled by an error
    kFetch,       ///< about to read a command
    kFetching,    ///< access() under way
    kExecute,     ///< command is there, about to execute
    kTagWait,     ///< ATS.INVAL waits for a free tag
    kFenceWait,   ///< IOFENCE.C waits for older work
    kFenceStore,  ///< about to store the fence data
    kStoring,     ///< access() under way
  };

  CommandProcessor(const Environment& env, Caches& caches, Interrupts& interrupts, Surroundings& surroundings)
      : env_(env), caches_(caches), interrupts_(interrupts), surroundings_(surroundings) {}

  void reset();
  QueueRegisters regs;
  InvalidationTags tags;

  void write_csr(std::uint32_t value);
  void set_fault(CommandFault fault) { fault_ = std::move(fault); }
  State state() const { return state_; }

  /// The queue is empty and nothing is under way: poll() would find nothing.
  bool at_rest() const { return state_ == State::kIdle && regs.head == regs.tail; }
  /// Looks for something to do: kIdle -> kFetch if a command waits, kTagWait and kFenceWait -> onward if they
  /// may.
  void poll();
  /// kFetch / kFenceStore -> the access; the caller serves it and calls supply().
  MemoryAccess& begin();
  void supply(MemoryStatus status);
  /// kExecute -> whatever follows.
  void execute();

  const Command& command() const { return command_; }
  /// Cache sets that the command that was read looks at (0: not an invalidation of the IOMMU's caches).
  /// `indexed`: one address or one device selects its sets; otherwise all are scanned.
  unsigned sets_to_scan(bool indexed) const;
  bool asserted() const;

 private:
  bool has_error() const { return regs.has(qcsr::kMemoryFault | qcsr::kCmdTo | qcsr::kCmdIll); }
  void set_status(std::uint32_t flag);
  void illegal() { stop(qcsr::kCmdIll); }
  void stop(std::uint32_t flag);
  void advance();
  Invalidation decode_iotinval() const { return iommu::decode_iotinval(command_, verdict_); }
  void iotinval();
  void iofence();
  void iodir();
  void ats();
  void finish_fence();
  bool device_id_fits(std::uint32_t device_id) const;
  void settle_disable();

  const Environment& env_;
  Caches& caches_;
  Interrupts& interrupts_;
  Surroundings& surroundings_;
  State state_ = State::kIdle;
  bool fence_begun_ = false;
  Command command_;
  MemoryAccess access_;
  CommandFault fault_;
  CommandVerdict verdict_ = CommandVerdict::kExecute;
};

}  // namespace iommu
