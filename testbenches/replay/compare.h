// SPDX-License-Identifier: Apache-2.0
// Predicted against recorded: counts equal, times within one release period, re-use and oops in yes or no.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "testbenches/replay/model.h"

namespace replay {

/// One line of the comparison.
struct Row {
  std::string key;    ///< as in --json
  std::string label;  ///< for people
  std::string model;
  std::string recorded;
  bool agrees = true;
};

struct Comparison {
  std::vector<std::vector<Row>> pools;  ///< per pool
  bool oops_agrees = true;
  bool agree = true;
  std::string first_difference;  ///< "" when all agree: FILE:LINE: what parted first
};

Comparison compare(const Capture& capture, const Joined& joined, const std::vector<PoolNumbers>& recorded,
                   const ModelResult& model, std::uint64_t release_period_ms);

/// What happened to each pool according to the capture, in order.
std::vector<std::vector<PoolEvent>> recorded_events(const Capture& capture, const Joined& joined);

}  // namespace replay
