// SPDX-License-Identifier: Apache-2.0
#include "iommu/hpm.h"

#include <algorithm>

namespace iommu {
namespace {

constexpr std::uint64_t kOverflow = 1ull << 63;
constexpr std::uint64_t kCyclesMask = kOverflow - 1;

/// DMASK=1: bits of the device id (GSCID) up to and including the lowest zero are ignored.
bool id_matches(std::uint64_t selector, std::uint32_t id) {
  const std::uint64_t want = bits(selector, 59, 36);
  std::uint64_t ignored = 0;
  if (bit(selector, 15)) ignored = mask(static_cast<unsigned>(std::countr_one(want)), 0);
  return ((want ^ id) & ~ignored) == 0;
}

}  // namespace

std::uint64_t Hpm::width_mask() const {
  const unsigned width = env_.config.hpm_counter_bits;
  return width == 0 ? 0 : width >= 64 ? ~std::uint64_t{0} : mask(width - 1, 0);
}

bool Hpm::matches(std::uint64_t selector, HpmEvent event, const HpmSubject& s) {
  const bool idt = bit(selector, 62), dv = bit(selector, 61), pv = bit(selector, 60);
  if (bits(selector, 14, 0) != static_cast<unsigned>(event)) return false;
  if (idt) {
    const bool allowed = event == HpmEvent::kTlbMiss || event == HpmEvent::kFirstStageWalk ||
                         event == HpmEvent::kSecondStageWalk;
    if (!allowed) return false;
    if (pv && (!s.has_pscid || bits(selector, 35, 16) != s.pscid)) return false;
    return !dv || (s.has_gscid && id_matches(selector, s.gscid));
  }
  if (pv && (!s.has_process_id || bits(selector, 35, 16) != s.process_id)) return false;
  return !dv || id_matches(selector, s.device_id);
}

void Hpm::count_slow(HpmEvent event, const HpmSubject& subject, std::uint64_t n) {
  for (unsigned i = 1; i < std::min(env_.config.hpm_counters, 32u); ++i) {
    if (((inhibit_ >> i) & 1) != 0 || !matches(events_[i], event, subject)) continue;
    const std::uint64_t next = (counters_[i] + n) & width_mask();
    const bool wrapped = next < counters_[i];
    counters_[i] = next;
    if (wrapped && (events_[i] & kOverflow) == 0) {
      events_[i] |= kOverflow;
      interrupts_.raise(ipsr::kPmip);
    }
  }
}

void Hpm::add_cycles(std::uint64_t n) {
  if ((inhibit_ & 1) != 0) return;
  const std::uint64_t next = ((cycles_ & kCyclesMask) + n) & kCyclesMask;
  const bool wrapped = next < (cycles_ & kCyclesMask);
  const bool had_overflow = (cycles_ & kOverflow) != 0;
  cycles_ = next | (had_overflow || wrapped ? kOverflow : 0);
  if (wrapped && !had_overflow) interrupts_.raise(ipsr::kPmip);
}

std::uint64_t Hpm::cycles_to_overflow() const {
  if ((inhibit_ & 1) != 0 || (cycles_ & kOverflow) != 0 || !env_.has(cap::kHpm)) return ~std::uint64_t{0};
  return kOverflow - (cycles_ & kCyclesMask);
}

std::uint32_t Hpm::overflow() const {
  std::uint32_t v = (cycles_ & kOverflow) != 0 ? 1u : 0u;
  for (unsigned i = 1; i < 32; ++i) v |= (events_[i] & kOverflow) != 0 ? 1u << i : 0u;
  return v;
}

void Hpm::write_inhibit(std::uint32_t value) {
  const unsigned n = std::min(env_.config.hpm_counters, 32u);
  inhibit_ = n == 0 ? 0 : value & static_cast<std::uint32_t>(mask(n - 1, 0));
}
void Hpm::write_cycles(std::uint64_t value) { cycles_ = value; }
void Hpm::write_counter(unsigned n, std::uint64_t value) {
  if (implemented(n)) counters_[n] = value & width_mask();
}
void Hpm::write_event(unsigned n, std::uint64_t value) {
  if (!implemented(n)) return;
  if (bits(value, 14, 0) > env_.config.hpm_max_event)
    value = (value & ~mask(14, 0)) | bits(events_[n], 14, 0);
  events_[n] = value;
  any_event_ = std::any_of(events_.begin(), events_.end(), [](std::uint64_t e) { return (e & 0x7fff) != 0; });
}

}  // namespace iommu
