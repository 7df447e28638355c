// SPDX-License-Identifier: Apache-2.0
// The choice oracle: every place where the order of things is not fixed by the model asks choose(n, point).
// A plain run answers 0 (what simulated time says); exploration plugs in another answerer. The answers that are
// not 0, with the number of their question, are the schedule: it is saved, replayed and shrunk.
#pragma once
#include <cstdint>
#include <span>

namespace sim {

/// Who may go on at a choice about the order of cores: the number of a core, or kTimeParty.
using Party = std::uint8_t;
/// No core: hardware, timers and interrupts proceed while all cores are held.
inline constexpr Party kTimeParty = 255;
inline constexpr Party kNoParty = 254;

/// Where a choice is asked, for schedules that people read and for search methods that reason.
struct ChoicePoint {
  const char* place;      ///< e.g. "spin_lock"
  std::uint64_t subject;  ///< address or id of what is chosen about
  bool writes = true;     ///< the running party is about to change the subject
  Party running = kNoParty;          ///< who asks
  std::span<const Party> parties{};  ///< alternative i is parties[i]; empty: the choice is not about parties
};

class Oracle {
 public:
  virtual ~Oracle() = default;
  /// One of 0..n-1; n > 0. With n == 1 there is nothing to choose, but the search wants to know.
  virtual std::uint32_t choose(std::uint32_t n, const ChoicePoint& point) = 0;
};

/// Plain runs: simulated time decides, the first alternative is always the natural one.
class PlainOracle final : public Oracle {
 public:
  std::uint32_t choose(std::uint32_t, const ChoicePoint&) override { return 0; }
};

}  // namespace sim
