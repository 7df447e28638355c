// SPDX-License-Identifier: Apache-2.0
// Interrupt pending bits (ipsr), their vectors (icvec) and their delivery by MSI (msi_cfg_tbl) or by wire.
// Source: RISC-V IOMMU specification, "Interrupt pending status", "Interrupt cause to vector", "MSI
// configuration".
#pragma once
#include <array>
#include <cstdint>
#include <functional>

#include "iommu/context.h"
#include "iommu/memory.h"

namespace iommu {

class Interrupts {
 public:
  explicit Interrupts(const Environment& env) : env_(env) {}

  void reset();

  /// Sets an ipsr bit. On 0 -> 1 with MSIs: queues one message of its vector, behind those that wait.
  void raise(std::uint32_t ipsr_bit);
  /// Software writes ones to clear; `still_asserted` are the bits whose condition still holds.
  void clear(std::uint32_t ones, std::uint32_t still_asserted);
  std::uint32_t ipsr() const { return ipsr_; }

  std::uint64_t icvec() const { return icvec_; }
  void write_icvec(std::uint64_t value);

  struct Vector {
    std::uint64_t address = 0;
    std::uint32_t data = 0;
    bool masked = false;
    bool pending = false;
  };
  const Vector& vector(unsigned v) const { return vectors_[v]; }
  void write_address(unsigned v, std::uint64_t value) { vectors_[v].address = value & mask(55, 2); }
  void write_data(unsigned v, std::uint32_t value) { vectors_[v].data = value; }
  /// Unmasking sends the message that was remembered, if there is one.
  void write_control(unsigned v, std::uint32_t value);

  /// A message waits to be written (and is not masked).
  bool pending() const { return count_ != 0; }
  /// The write of the next message.
  MemoryAccess& begin();
  /// Address of the message whose write was refused, for the fault record.
  std::uint64_t current_address() const { return access_.address; }

  /// Level of each wire, bit v; only with fctl.WSI.
  std::uint32_t wires() const { return wired() ? levels() : 0; }

 private:
  std::uint32_t levels() const;
  bool wired() const { return (env_.fctl & fctl::kWsi) != 0; }
  unsigned vector_of(unsigned ipsr_index) const {
    return static_cast<unsigned>(bits(icvec_, 4 * ipsr_index + 3, 4 * ipsr_index));
  }
  void queue(unsigned v, std::uint32_t ipsr_bit);

  /// A message that waits; `ipsr_bit` is 0 for the one a vector remembered while it was masked.
  struct Message {
    std::uint8_t vector = 0;
    std::uint32_t ipsr_bit = 0;
  };
  const Environment& env_;
  std::uint32_t ipsr_ = 0;
  std::uint64_t icvec_ = 0;
  std::array<Vector, 16> vectors_{};
  std::array<Message, 4 + 16> queue_{};  // one a pending bit and one a vector: what is behind merges
  std::size_t count_ = 0;
  MemoryAccess access_;
};

}  // namespace iommu
