// SPDX-License-Identifier: Apache-2.0
// The choice oracle: every place where the order of things is not fixed by the model asks choose(n, tag).
// A plain run answers 0 (what simulated time says); exploration plugs in another answerer.
#pragma once
#include <cstdint>

namespace sim {

/// Where a choice is asked, for schedules that people read.
struct ChoicePoint {
  const char* place;      ///< e.g. "spin_lock"
  std::uint64_t subject;  ///< address or id of what is chosen about
};

class Oracle {
 public:
  virtual ~Oracle() = default;
  /// One of 0..n-1; n > 0.
  virtual std::uint32_t choose(std::uint32_t n, const ChoicePoint& point) = 0;
};

/// Plain runs: simulated time decides, the first alternative is always the natural one.
class PlainOracle final : public Oracle {
 public:
  std::uint32_t choose(std::uint32_t, const ChoicePoint&) override { return 0; }
};

}  // namespace sim
