// SPDX-License-Identifier: Apache-2.0
#include "testbenches/scenario/holders.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "nic/stack/holders.h"
#include "testbenches/checker/finding.h"

namespace scenario {
namespace {

double seconds(sim::Tick t) { return static_cast<double>(t) / static_cast<double>(sim::kSecond); }

/// Of those that are no part of the stack: the driver's ring and the pool itself.
std::string lets_go(const platform::Machine& machine, std::string_view holder, std::uint64_t id) {
  if (std::string text = machine.stack().lets_go(holder, id); !text.empty()) return text;
  if (holder == nic::holder::kRxRing)
    return "the driver cleans its receive ring (igb_clean_rx_ring at close)";
  if (holder.starts_with("page_pool user")) return "the driver that took the page returns it";
  if (holder.starts_with("page_pool")) return "the next page_pool_release_retry() empties the ring";
  return "nobody has it: nothing will return it";
}

std::string path_text(const std::vector<checker::PageReport::Step>& path) {
  std::string text;
  for (const auto& s : path) {
    if (s.holder == "nobody") continue;
    text += fmt::format("{}{} {} at {}", text.empty() ? "" : " -> ", s.holder, s.id,
                        checker::format_time(s.since));
  }
  return text;
}

}  // namespace

std::vector<HolderReport> who_holds(const checker::Checker& checker, const platform::Machine& machine,
                                    std::uint32_t only) {
  std::vector<HolderReport> all;
  for (const checker::PoolShadow& pool : checker.pools()) {
    if (only != 0 ? pool.id != only : !pool.destroyed || pool.freed) continue;
    const auto first = static_cast<std::ptrdiff_t>(all.size());
    for (const checker::PageReport& page : checker.in_flight(pool.id)) {
      auto at = std::find_if(all.begin() + first, all.end(), [&](const HolderReport& h) {
        return h.id == page.holder_id && h.holder == page.holder;
      });
      if (at == all.end()) {
        at = all.insert(at, {pool.id, std::string(page.holder), page.holder_id, 0, page.since, page.path,
                             lets_go(machine, page.holder, page.holder_id)});
      } else if (page.since < at->oldest) {
        at->oldest = page.since;
        at->path = page.path;
      }
      ++at->pages;
    }
    std::stable_sort(all.begin() + first, all.end(),
                     [](const HolderReport& a, const HolderReport& b) { return a.oldest < b.oldest; });
  }
  return all;
}

std::string who_holds_text(const std::vector<HolderReport>& holders, sim::Tick now) {
  std::string text;
  std::uint32_t pool = 0;
  for (std::size_t i = 0; i < holders.size(); ++i) {
    const HolderReport& first = holders[i];
    const auto alike = [&](const HolderReport& h) {
      return h.pool == first.pool && h.holder == first.holder;
    };
    if (std::any_of(holders.begin(), holders.begin() + static_cast<std::ptrdiff_t>(i), alike)) continue;
    std::uint64_t pages = 0, kinds = 0, of_pool = 0;
    for (const HolderReport& h : holders) {
      of_pool += h.pool == first.pool ? h.pages : 0;
      if (!alike(h)) continue;
      pages += h.pages;
      ++kinds;
    }
    if (first.pool != pool) text += fmt::format("  pool {}: {} pages\n", first.pool, of_pool);
    pool = first.pool;
    text += fmt::format(
        "    {} {} with {} page{}, the oldest for {:.6f} s\n", first.holder,
        kinds == 1 ? fmt::to_string(first.id) : fmt::format("({} of them, e.g. {})", kinds, first.id), pages,
        pages == 1 ? "" : "s", seconds(now - first.oldest));
    text += fmt::format("      path     {}\n", path_text(first.path));
    text += fmt::format("      lets go  when {}\n", first.lets_go);
  }
  return text;
}

nlohmann::ordered_json who_holds_json(const std::vector<HolderReport>& holders, sim::Tick now) {
  nlohmann::ordered_json all = nlohmann::ordered_json::array();
  for (const HolderReport& h : holders) {
    nlohmann::ordered_json one{{"pool", h.pool},
                               {"holder", h.holder},
                               {"id", h.id},
                               {"pages", h.pages},
                               {"age_s", seconds(now - h.oldest)}};
    one["path"] = nlohmann::ordered_json::array();
    for (const auto& s : h.path)
      one["path"].push_back({{"holder", s.holder}, {"id", s.id}, {"since_s", seconds(s.since)}});
    one["lets_go"] = h.lets_go;
    all.push_back(std::move(one));
  }
  return all;
}

}  // namespace scenario
