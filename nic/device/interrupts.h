// SPDX-License-Identifier: Apache-2.0
// Causes to messages: ICR/IMS, the extended causes EICR/EIMS/EIAC/EIAM, IVAR routing, EITR moderation, MSI-X.
// A message that is due is handed to the DMA port as a token, so that it stays behind the write-back it tells
// of. Source: 82576 datasheet 7.3 (interrupts), 8.8 (registers).
#pragma once
#include <array>
#include <cstdint>

#include "nic/device/device.h"

namespace nic {

class Interrupts {
 public:
  explicit Interrupts(Device& device) : d_(device) {}

  void reset();

  // Causes.
  void receive_cause(unsigned queue);
  void transmit_cause(unsigned queue);
  /// ICR bits (link, mailbox, errors ...).
  void other_cause(std::uint32_t icr_bits);
  /// VF mailbox or reset interrupt for VF `vf`.
  void vf_mailbox_cause(unsigned vf);

  // Registers.
  std::uint32_t read_icr();
  void clear_icr(std::uint32_t bits) { set_icr(icr_ & ~bits); }
  std::uint32_t peek_icr() const;
  std::uint32_t ims() const { return ims_; }
  void set_ims(std::uint32_t bits);
  void clear_ims(std::uint32_t bits) { ims_ &= ~bits; }
  /// Extended registers; `mask` limits them to the caller's vectors (PF or one VF).
  void set_causes(std::uint32_t bits) { raise(bits); }
  std::uint32_t read_eicr(std::uint32_t mask);
  std::uint32_t peek_eicr() const { return eicr_; }
  void clear_eicr(std::uint32_t bits);
  std::uint32_t eims() const { return eims_; }
  void set_eims(std::uint32_t bits);
  void clear_eims(std::uint32_t bits);
  std::uint32_t eiac = 0;
  std::uint32_t eiam = 0;
  std::uint32_t read_eitr(unsigned vector) const;
  void write_eitr(unsigned vector, std::uint32_t value);
  /// VF's VTIVAR and VTIVAR_MISC.
  std::array<std::uint32_t, kPools> vtivar{};
  std::array<std::uint32_t, kPools> vtivar_misc{};

  /// EICR bits of VF `vf`'s three vectors, and the vector's number.
  static constexpr unsigned vf_vector(unsigned vf, unsigned v) { return 22 - 3 * vf + v; }
  static constexpr std::uint32_t vf_mask(unsigned vf) { return 7u << (22 - 3 * vf); }
  std::uint32_t vf_owned_mask() const;

  /// Vector that a receive or transmit queue's cause goes to, or -1.
  int vector_of(unsigned queue, bool transmit) const;
  /// The cycle at which the vector's moderation counter reaches zero (0: it has).
  sim::Cycle moderation_end(unsigned vector) const { return counter_end_[vector]; }
  bool moderated(unsigned vector) const { return eitr::interval_us(d_.regs[reg::EITR(vector)]) != 0; }

  /// Vectors whose message is due by now; the caller sends them in any order.
  std::uint32_t take_due() { return next_due_ > d_.now ? 0 : take_scheduled(); }
  sim::Cycle next_due() const { return next_due_; }
  /// The message of `vector` leaves now: restarts moderation, applies EIAC and EIAM.
  void sent(unsigned vector);
  /// Function and MSI-X table entry of an EICR bit; false if it has none.
  bool route(unsigned vector, FunctionIndex& function, unsigned& entry) const;

  /// All of a VF's vectors forget what they were about to do.
  void reset_vf(unsigned vf);

 private:
  std::uint32_t take_scheduled();
  void schedule(unsigned vector, sim::Cycle at);
  void refresh_next_due();
  void set_icr(std::uint32_t value);
  void raise(std::uint32_t bits);
  void evaluate();
  bool multiple_msix() const { return (d_.regs[reg::GPIE] & gpie::MULTIPLE_MSIX) != 0; }

  Device& d_;
  std::uint32_t icr_ = 0, ims_ = 0;
  bool icr_active_ = false;
  std::uint32_t eicr_ = 0, eims_ = 0;
  std::uint32_t active_ = 0;     // EICR & EIMS as last evaluated
  std::uint32_t scheduled_ = 0;  // a message is due at fire_at_
  std::array<sim::Cycle, kVectors> fire_at_{};
  sim::Cycle next_due_ = sim::kNeverCycle;  // earliest of the scheduled ones
  std::array<sim::Cycle, kVectors> counter_end_{};
};

}  // namespace nic
