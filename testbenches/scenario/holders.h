// SPDX-License-Identifier: Apache-2.0
// "Who holds it?": for every pool that was destroyed and cannot finish, each holder of its pages - which
// socket, which fragment queue, which core's list - with the path of its oldest page, the age of the hold,
// and what would make it let go. The checker knows the pages; what a holder waits for is asked of the stack.
#pragma once
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "platform/machine.h"
#include "testbenches/checker/checker.h"

namespace scenario {

struct HolderReport {
  std::uint32_t pool;
  std::string holder;  ///< "UDP socket receive queue", ...
  std::uint64_t id;    ///< which one
  std::uint64_t pages;
  sim::Tick oldest;                             ///< since when it has the page it has longest
  std::vector<checker::PageReport::Step> path;  ///< of that page, the present hold last
  std::string lets_go;                          ///< what would end it
};

/// Of pool `pool` (0: of every pool that was destroyed and is not gone), the oldest hold first.
std::vector<HolderReport> who_holds(const checker::Checker& checker, const platform::Machine& machine,
                                    std::uint32_t pool = 0);

/// For people; holders of one kind that wait for the like are one entry. "" if nothing is held.
std::string who_holds_text(const std::vector<HolderReport>& holders, sim::Tick now);
nlohmann::ordered_json who_holds_json(const std::vector<HolderReport>& holders, sim::Tick now);

}  // namespace scenario
