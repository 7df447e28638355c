// SPDX-License-Identifier: Apache-2.0
// The queues the IOMMU writes: fault queue (32-byte records) and page-request queue (16-byte records). Both
// have the same registers; a record is dropped when the queue is off, has overflowed or met a memory fault.
// Source: RISC-V IOMMU specification, "Fault/Event-Queue" and "Page-Request-Queue".
#pragma once
#include <array>
#include <cstdint>
#include <vector>

#include "iommu/context.h"
#include "iommu/interrupts.h"
#include "iommu/memory.h"

namespace iommu {

/// Registers of one queue: base, head, tail, control and status.
struct QueueRegisters {
  std::uint64_t base = 0;
  std::uint32_t head = 0, tail = 0, csr = 0;
  unsigned log2_entries() const { return static_cast<unsigned>(bits(base, 4, 0)) + 1; }
  std::uint32_t index_mask() const { return static_cast<std::uint32_t>(mask(log2_entries() - 1, 0)); }
  std::uint64_t address() const { return ppn_address(base); }
  bool on() const { return (csr & qcsr::kOn) != 0; }
  bool has(std::uint32_t flag) const { return (csr & flag) != 0; }
};

class RecordQueue {
 public:
  using Record = std::array<std::uint64_t, 4>;

  /// `buffer` records may wait for their write; one more is lost and sets the overflow bit.
  RecordQueue(const Environment& env, Interrupts& interrupts, unsigned record_bytes, std::uint32_t ipsr_bit,
              unsigned buffer)
      : env_(env),
        interrupts_(interrupts),
        record_bytes_(record_bytes),
        ipsr_bit_(ipsr_bit),
        buffer_(buffer) {}

  void reset();
  QueueRegisters regs;

  /// A write of the control and status register.
  void write_csr(std::uint32_t value);
  /// A record could be taken at present.
  bool accepts() const {
    return regs.on() && regs.has(qcsr::kEnable) && !regs.has(qcsr::kMemoryFault | qcsr::kOverflow);
  }
  /// Takes a record; false = dropped (the overflow bit may be set by this very record).
  bool push(const Record& record);

  bool pending() const { return count_ != 0; }
  std::size_t waiting() const { return count_; }
  bool writing() const { return in_flight_; }
  /// The write of the oldest record, or null if it had to be dropped.
  MemoryAccess* begin();
  void supply(MemoryStatus status);
  /// Record `i` of those that wait; 0 is the one whose write is under way.
  const Record& waiting(std::size_t i) const { return buffer_[(first_ + i) % buffer_.size()]; }
  /// The interrupt condition holds at present, apart from new records.
  bool asserted() const {
    return regs.has(qcsr::kInterruptEnable) && regs.has(qcsr::kMemoryFault | qcsr::kOverflow);
  }

 private:
  void set_error(std::uint32_t flag);
  void interrupt() {
    if (regs.has(qcsr::kInterruptEnable)) interrupts_.raise(ipsr_bit_);
  }
  const Environment& env_;
  Interrupts& interrupts_;
  unsigned record_bytes_;
  std::uint32_t ipsr_bit_;
  std::vector<Record> buffer_;
  std::size_t first_ = 0, count_ = 0;
  bool in_flight_ = false;  // the oldest record is being written
  MemoryAccess access_;
};

}  // namespace iommu
