// SPDX-License-Identifier: Apache-2.0
// Interrupts as the kernel manages them: a vector is an identity of a core's IMSIC interrupt file; a device
// reaches it with a 4-byte write of the identity to the file's page.
#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "kernel/trace.h"
#include "sim/types.h"

namespace kernel {

class Device;
class Kernel;

/// What a device must write to raise an interrupt (MSI / MSI-X table entry).
struct MsiMessage {
  std::uint64_t address;  ///< as the device issues it: an IOVA if the device is translated, else physical
  std::uint32_t data;
};

class InterruptController {
 public:
  using Handler = std::function<void()>;
  static constexpr unsigned kIdentities = 256;  ///< 1..255 are usable
  static constexpr std::uint32_t kNoVector = 0;

  explicit InterruptController(Kernel& kernel);

  /// request_irq(): `handler` runs in hard irq context of `cpu` for identity `vector` (1..255). `name` for
  /// traces.
  void request_irq(unsigned cpu, unsigned vector, std::string name, Handler handler);
  /// Waits for nothing: call from task context after the device was silenced; a late interrupt is then
  /// spurious.
  void free_irq(unsigned cpu, unsigned vector);
  /// The lowest free identity of `cpu`; sim::Error when none is left.
  unsigned allocate_vector(unsigned cpu);

  /// pci_alloc_irq_vectors + request_irq for one vector: takes a free identity of `cpu`, maps the interrupt
  /// page for `device` if it is translated, and returns what to program. Kernel code only.
  MsiMessage request_msi(Device& device, unsigned cpu, std::string name, Handler handler);

  /// Hardware (the platform's IMSIC): identity `vector` was written to `cpu`'s file at `arrival`.
  void raise(unsigned cpu, unsigned vector, Tick arrival);

  /// Interrupts that found no handler.
  std::uint64_t spurious() const { return spurious_; }
  PhysAddr file_address(unsigned cpu) const;

 private:
  friend class Core;
  struct Entry {
    std::string name;
    Handler handler;
    bool taken = false;
  };
  Entry& entry(unsigned cpu, unsigned vector) { return table_[cpu * kIdentities + vector]; }

  Kernel& kernel_;
  std::vector<Entry> table_;
  std::uint64_t spurious_ = 0;
};

}  // namespace kernel
