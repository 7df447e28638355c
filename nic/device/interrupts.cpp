// SPDX-License-Identifier: Apache-2.0
#include "nic/device/interrupts.h"

#include <algorithm>
#include <bit>

namespace nic {
namespace {

constexpr std::uint32_t kAllVectors = (1u << kVectors) - 1;

/// Calls `f` with the number of each set bit.
template <class F>
void for_each_bit(std::uint32_t bits, F&& f) {
  for (; bits != 0; bits &= bits - 1) f(static_cast<unsigned>(std::countr_zero(bits)));
}

}  // namespace

void Interrupts::reset() {
  icr_ = ims_ = eicr_ = eims_ = active_ = scheduled_ = 0;
  icr_active_ = false;
  eiac = eiam = 0;
  vtivar.fill(0);
  vtivar_misc.fill(0);
  counter_end_.fill(0);
  refresh_next_due();
}

std::uint32_t Interrupts::vf_owned_mask() const {
  std::uint32_t mask = 0;
  for (unsigned vf = 0; vf < d_.active_vfs(); ++vf) mask |= vf_mask(vf);
  return mask;
}

int Interrupts::vector_of(unsigned queue, bool transmit) const {
  const unsigned pool = queue % kPools;
  const unsigned byte = (queue >= kPools ? 2u : 0u) + (transmit ? 1u : 0u);
  const FunctionIndex f = d_.function_of_queue(queue);
  const std::uint32_t table = f == kPf ? d_.regs[reg::IVAR(pool)] : vtivar[pool];
  const std::uint32_t entry = table >> (8 * byte) & 0xFF;
  if ((entry & ivar::VALID) == 0) return -1;
  if (f == kPf) {
    const unsigned v = entry & ivar::VECTOR;
    return v < kVectors ? static_cast<int>(v) : -1;
  }
  const unsigned v = entry & 3;
  return v < kVfVectors ? static_cast<int>(vf_vector(pool, v)) : -1;
}

void Interrupts::receive_cause(unsigned queue) {
  if (const int v = vector_of(queue, false); v >= 0) raise(1u << v);
  if (!multiple_msix()) other_cause(icr::RXDW);
}

void Interrupts::transmit_cause(unsigned queue) {
  if (const int v = vector_of(queue, true); v >= 0) raise(1u << v);
  if (!multiple_msix()) other_cause(icr::TXDW);
}

void Interrupts::other_cause(std::uint32_t bits) {
  set_icr(icr_ | bits);
  if (!multiple_msix() || (icr_ & ims_ & bits) == 0) return;
  const std::uint32_t entry = d_.regs[reg::IVAR_MISC] >> 8 & 0xFF;
  if ((entry & ivar::VALID) != 0 && (entry & ivar::VECTOR) < kVectors) raise(1u << (entry & ivar::VECTOR));
}

void Interrupts::vf_mailbox_cause(unsigned vf) {
  const std::uint32_t entry = vtivar_misc[vf];
  if ((entry & ivar::VALID) != 0 && (entry & 3) < kVfVectors) raise(1u << vf_vector(vf, entry & 3));
}

void Interrupts::set_icr(std::uint32_t value) {
  icr_ = value & ~icr::INT_ASSERTED;
  const bool active = (icr_ & ims_) != 0;
  // Without multiple vectors every cause uses MSI-X vector 0.
  if (active && !icr_active_ && !multiple_msix()) {
    schedule(0, std::max(d_.now + d_.config.interrupt_cycles, counter_end_[0]));
  }
  icr_active_ = active;
}

std::uint32_t Interrupts::peek_icr() const { return icr_ | ((icr_ & ims_) != 0 ? icr::INT_ASSERTED : 0); }

std::uint32_t Interrupts::read_icr() {
  const std::uint32_t value = peek_icr();
  const bool nsicr = (d_.regs[reg::GPIE] & gpie::NSICR) != 0;
  if (nsicr || ims_ == 0 || (value & icr::INT_ASSERTED) != 0) {
    ims_ &= (value & icr::INT_ASSERTED) != 0 ? ~d_.regs[reg::IAM] : ~0u;
    set_icr(0);
  }
  return value;
}

void Interrupts::set_ims(std::uint32_t bits) {
  ims_ |= bits;
  if (multiple_msix()) {
    other_cause(icr_ & bits);
  } else {
    set_icr(icr_);
  }
}

void Interrupts::raise(std::uint32_t bits) {
  eicr_ |= bits & kAllVectors;
  evaluate();
}

void Interrupts::evaluate() {
  const std::uint32_t now_active = eicr_ & eims_;
  for_each_bit(now_active & ~active_, [&](unsigned v) {
    schedule(v, std::max(d_.now + d_.config.interrupt_cycles, counter_end_[v]));
  });
  active_ = now_active;
}

std::uint32_t Interrupts::read_eicr(std::uint32_t mask) {
  const std::uint32_t value = eicr_ & mask;
  clear_eicr(value);
  return value;
}

void Interrupts::clear_eicr(std::uint32_t bits) {
  eicr_ &= ~bits;
  evaluate();
}

void Interrupts::set_eims(std::uint32_t bits) {
  eims_ |= bits & kAllVectors;
  evaluate();
}

void Interrupts::clear_eims(std::uint32_t bits) {
  eims_ &= ~bits;
  evaluate();
}

std::uint32_t Interrupts::read_eitr(unsigned vector) const {
  const sim::Cycle end = counter_end_[vector];
  const std::uint64_t left = end > d_.now ? (end - d_.now + d_.cycles_per_us - 1) / d_.cycles_per_us : 0;
  return d_.regs[reg::EITR(vector)] | static_cast<std::uint32_t>(std::min<std::uint64_t>(left, 0x3FF)) << 21;
}

void Interrupts::write_eitr(unsigned vector, std::uint32_t value) {
  d_.regs.write_masked(reg::EITR(vector), value);
  if ((value & eitr::CNT_INGR) != 0) return;
  const std::uint64_t counter_us = value >> 21 & 0x3FF;
  counter_end_[vector] = counter_us == 0 ? 0 : d_.now + counter_us * d_.cycles_per_us;
  if ((scheduled_ >> vector & 1) != 0) {
    schedule(vector, std::max(d_.now + d_.config.interrupt_cycles, counter_end_[vector]));
  }
}

void Interrupts::schedule(unsigned vector, sim::Cycle at) {
  fire_at_[vector] = at;
  scheduled_ |= 1u << vector;
  refresh_next_due();
}

void Interrupts::refresh_next_due() {
  next_due_ = sim::kNeverCycle;
  for_each_bit(scheduled_, [&](unsigned v) { earliest(next_due_, fire_at_[v]); });
}

std::uint32_t Interrupts::take_scheduled() {
  std::uint32_t due = 0;
  for_each_bit(scheduled_, [&](unsigned v) {
    if (fire_at_[v] <= d_.now) due |= 1u << v;
  });
  scheduled_ &= ~due;
  refresh_next_due();
  // Masked or cleared meanwhile: no message.
  const std::uint32_t single = icr_active_ && !multiple_msix() ? 1u : 0u;
  return due & (active_ | single);
}

void Interrupts::sent(unsigned vector) {
  const std::uint64_t us = eitr::interval_us(d_.regs[reg::EITR(vector)]);
  counter_end_[vector] = us == 0 ? 0 : d_.now + us * d_.cycles_per_us;
  const std::uint32_t mask = 1u << vector;
  const bool vf = (vf_owned_mask() & mask) != 0;
  const bool auto_mask = vf || (d_.regs[reg::GPIE] & gpie::EIAME) != 0;
  if (auto_mask) eims_ &= ~(eiam & mask);
  eicr_ &= ~(eiac & mask);
  evaluate();
}

bool Interrupts::route(unsigned vector, FunctionIndex& function, unsigned& entry) const {
  for (unsigned vf = 0; vf < d_.active_vfs(); ++vf) {
    if ((vf_mask(vf) >> vector & 1) == 0) continue;
    function = vf + 1;
    entry = vector - vf_vector(vf, 0);
    return true;
  }
  function = kPf;
  entry = vector;
  return vector < kPfVectors;
}

void Interrupts::reset_vf(unsigned vf) {
  const std::uint32_t mask = vf_mask(vf);
  eicr_ &= ~mask;
  eims_ &= ~mask;
  eiac &= ~mask;
  eiam &= ~mask;
  scheduled_ &= ~mask;
  refresh_next_due();
  active_ = eicr_ & eims_;
  vtivar[vf] = vtivar_misc[vf] = 0;
  for (unsigned v = 0; v < kVfVectors; ++v) {
    counter_end_[vf_vector(vf, v)] = 0;
    d_.regs[reg::EITR(vf_vector(vf, v))] = 0;
  }
}

}  // namespace nic
