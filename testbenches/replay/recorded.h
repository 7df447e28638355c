// SPDX-License-Identifier: Apache-2.0
// What is compared for each pool, and what a capture itself says of it.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "testbenches/replay/join.h"

namespace replay {

/// The life of one pool in numbers; the keys of `poolsim replay --json`.
struct PoolNumbers {
  std::string pool;  ///< address as recorded, hexadecimal
  std::uint64_t hold = 0;
  std::uint64_t release = 0;
  std::optional<std::int64_t> inflight_at_destroy;  ///< after the first release round; none = never destroyed
  std::uint64_t unmap_before_destroy = 0;
  std::uint64_t unmap_inside_destroy = 0;  ///< from the destroying page_pool_destroy() to its release round
  std::uint64_t unmap_after_destroy = 0;
  std::uint64_t of_these_no_driver = 0;  ///< of those after: not before the removal of the driver began
  std::uint64_t release_rounds = 0;
  std::optional<double> last_release_after_removal_s;  ///< none = nothing released, or the driver stays
  bool iova_reused_while_held = false;  ///< an IOVA was handed out while a page of the pool was mapped at it
};

/// Per pool, in order of creation.
std::vector<PoolNumbers> recorded_numbers(const Capture& capture, const Joined& joined);

}  // namespace replay
