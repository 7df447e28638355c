// SPDX-License-Identifier: Apache-2.0
// The hardware performance monitor: cycle counter and event counters with filters and overflow.
// Source: RISC-V IOMMU specification, "Hardware performance monitor".
#pragma once
#include <array>
#include <cstdint>

#include "iommu/context.h"
#include "iommu/interrupts.h"

namespace iommu {

enum class HpmEvent : std::uint8_t {
  kNone = 0,
  kUntranslatedRequest = 1,
  kTranslatedRequest = 2,
  kAtsRequest = 3,
  kTlbMiss = 4,
  kDdtWalk = 5,
  kPdtWalk = 6,
  kFirstStageWalk = 7,
  kSecondStageWalk = 8,
};

/// Whom an event concerns, for the filters.
struct HpmSubject {
  std::uint32_t device_id = 0, process_id = 0;
  bool has_process_id = false;
  std::uint32_t pscid = 0, gscid = 0;
  bool has_pscid = false, has_gscid = false;
};

class Hpm {
 public:
  Hpm(const Environment& env, Interrupts& interrupts) : env_(env), interrupts_(interrupts) {}
  void reset() {
    counters_.fill(0);
    events_.fill(0);
    cycles_ = 0;
    inhibit_ = 0;
    any_event_ = false;
  }

  /// A counter is programmed; while none is, count() does nothing.
  bool listening() const { return any_event_; }
  /// Adds `n` occurrences. Costs one test when no counter is programmed.
  void count(HpmEvent event, const HpmSubject& subject, std::uint64_t n = 1) {
    if (any_event_ && n != 0) count_slow(event, subject, n);
  }
  /// Adds clock cycles.
  void add_cycles(std::uint64_t n);
  /// Cycles until iohpmcycles sets OF and its interrupt, or ~0 if it cannot: inhibited, or OF is set already.
  std::uint64_t cycles_to_overflow() const;

  std::uint32_t overflow() const;
  std::uint32_t inhibit() const { return inhibit_; }
  std::uint64_t cycles() const { return cycles_; }
  std::uint64_t counter(unsigned n) const { return counters_[n]; }
  std::uint64_t event(unsigned n) const { return events_[n]; }
  bool implemented(unsigned n) const { return n < env_.config.hpm_counters; }

  void write_inhibit(std::uint32_t value);
  void write_cycles(std::uint64_t value);
  void write_counter(unsigned n, std::uint64_t value);
  void write_event(unsigned n, std::uint64_t value);

 private:
  void count_slow(HpmEvent event, const HpmSubject& subject, std::uint64_t n);
  static bool matches(std::uint64_t selector, HpmEvent event, const HpmSubject& subject);
  std::uint64_t width_mask() const;
  const Environment& env_;
  Interrupts& interrupts_;
  std::array<std::uint64_t, 32> counters_{};
  std::array<std::uint64_t, 32> events_{};
  std::uint64_t cycles_ = 0;
  std::uint32_t inhibit_ = 0;
  bool any_event_ = false;
};

}  // namespace iommu
