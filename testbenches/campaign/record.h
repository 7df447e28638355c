// SPDX-License-Identifier: Apache-2.0
// What an experiment led to: the outcome classes and the row of fixed size that a child leaves in shared
// memory.
#pragma once
#include <atomic>
#include <cstdint>
#include <string>

#include "testbenches/campaign/world.h"

namespace campaign {

/// First match wins, in this order.
enum class Outcome : std::uint8_t {
  kCrashTool,     ///< this program crashed (signal, exception) or was killed for its memory
  kHangHost,      ///< limits.cpu
  kInvalid,       ///< a law of the model was broken: the fault is none that the machine can have
  kNotActivated,  ///< the trigger never came, or nothing was there to be hit
  kOops,          ///< the modelled kernel died of it
  kDeadlock,      ///< nothing is left to happen, and the scenario is not over
  kStall,         ///< no progress for limits.stall where the golden run has some
  kCorruption,    ///< a device wrote into memory that it does not own
  kSdc,           ///< packets with wrong content reached their reader unnoticed
  kUaf,           ///< page, pool or device used after it was freed, or freed twice
  kLeak,          ///< page, mapping or IOVA lost, at the end of the scenario
  kDetectedHw,    ///< nothing worse, and the IOMMU or the ECC noticed
  kDetectedSw,    ///< nothing worse, and the kernel noticed: warning, errno, checksum
  kDegraded,      ///< correct, but packets or time were lost, or a bound broken
  kLatent,        ///< outputs as in the golden run, state not
  kMasked,        ///< as the golden run
  kCount
};
const char* to_string(Outcome o);
const char* summary(Outcome o);
inline constexpr std::size_t kOutcomes = static_cast<std::size_t>(Outcome::kCount);
/// Counted as a failure in the statistics.
bool is_failure(Outcome o);

enum class Stop : std::uint8_t { kWindow, kScenarioEnd, kConverged, kPruned, kStall, kDied, kExhausted };
const char* to_string(Stop s);

/// One experiment. Written by the child that ran it, completed by its worker, read by the coordinator.
struct Row {
  std::atomic<std::uint32_t> state;  ///< 0 empty, 1 the child has ended its part, 2 complete
  std::uint32_t attempts;
  std::uint64_t id;
  Outcome outcome;
  Stop stop;
  Detector detector;  ///< kCount: nobody
  bool audited;       ///< run in full, to check what pruning or cutting short would have said
  bool audit_agrees;  ///< and that was the same
  sim::Tick injected, acted, first_divergence, detected, ended;
  std::uint64_t cpu_us, minor_faults;
  std::uint64_t weight;  ///< bits x ps of its def/use class with `each`; else 1
  char digest[36];
  char entity[96];
  char signature[192];
  char detail[384];
  char crash_chain[256];
};

/// Copies text into a field of a Row, cut to its size.
template <std::size_t N>
void put(char (&field)[N], std::string_view text) {
  const std::size_t n = text.size() < N - 1 ? text.size() : N - 1;
  text.copy(field, n);
  field[n] = 0;
}

}  // namespace campaign
