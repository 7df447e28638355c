// SPDX-License-Identifier: Apache-2.0
#include "testbenches/checker/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

namespace checker {
namespace {

using Json = nlohmann::ordered_json;

std::string held_by(const Finding& f) {
  std::string text;
  for (const auto& h : f.holders)
    text += fmt::format("{}{} x {}", text.empty() ? "" : ", ", h.pages, h.holder);
  return text;
}

std::string path_of(const PageReport& page) {
  std::string text;
  for (const auto& s : page.path) {
    text += fmt::format("{}{} {} at {}", text.empty() ? "" : " -> ", s.holder, s.id, format_time(s.since));
  }
  return text;
}

double seconds(sim::Tick t) { return static_cast<double>(t) / static_cast<double>(sim::kSecond); }

}  // namespace

std::string findings_text(const Checker& checker) {
  std::string text;
  for (const Finding& f : checker.findings().all()) {
    text += fmt::format("{} x {}: {}\n", f.count, key(f.kind), f.detail);
    text += f.count == 1 ? fmt::format("  when    {}\n", format_time(f.first))
                         : fmt::format("  when    {} .. {}\n", format_time(f.first), format_time(f.last));
    if (!f.place.empty()) text += fmt::format("  where   {}\n", f.place);
    if (!f.who.empty()) text += fmt::format("  who     {}\n", f.who);
    if (!f.whom.empty()) text += fmt::format("  whom    {}\n", f.whom);
    if (!f.holders.empty()) text += fmt::format("  held by {}\n", held_by(f));
  }
  return text;
}

std::string in_flight_text(const Checker& checker, std::size_t lines) {
  const auto pages = checker.in_flight();
  struct Holder {
    std::string_view name;
    std::uint32_t pool;
    std::size_t pages;
    sim::Tick oldest;
  };
  std::vector<Holder> holders;
  for (const auto& p : pages) {
    auto at = std::ranges::find_if(holders,
                                   [&](const Holder& h) { return h.name == p.holder && h.pool == p.pool; });
    if (at == holders.end()) at = holders.insert(at, {p.holder, p.pool, 0, p.since});
    ++at->pages;
    at->oldest = std::min(at->oldest, p.since);
  }
  std::string text = fmt::format("{} pages in flight\n", pages.size());
  for (const Holder& h : holders) {
    text += fmt::format("  {} of pool {}: {}, the oldest since {}\n", h.pages, h.pool, h.name,
                        format_time(h.oldest));
  }
  for (std::size_t i = 0; i < std::min(lines, pages.size()); ++i) {
    const PageReport& p = pages[i];
    text += fmt::format("  page {:#x} pool {}{}: {}\n", p.pfn.value, p.pool,
                        p.iova ? fmt::format(" IOVA {:#x}", p.iova->value) : "", path_of(p));
  }
  if (pages.size() > lines)
    text += fmt::format("  ... and {} more (all with --json)\n", pages.size() - lines);
  return text;
}

std::string held_pages_text(const Checker& checker, std::uint32_t pool, sim::Tick now) {
  auto pages = checker.in_flight(pool);
  std::ranges::stable_sort(pages, {}, &PageReport::since);
  std::string text;
  for (const PageReport& p : pages) {
    text += fmt::format("  page pfn={:#x}{} holder=\"{}\" holder-id={} age={:.9f}s\n", p.pfn.value,
                        p.iova ? fmt::format(" iova={:#x}", p.iova->value) : "", p.holder, p.holder_id,
                        seconds(now - p.since));
  }
  return text;
}

Json in_flight_json(const Checker& checker) {
  Json all = Json::array();
  for (const PageReport& p : checker.in_flight()) {
    Json page{{"pfn", p.pfn.value},       {"pool", p.pool},      {"holder", p.holder},
              {"holder_id", p.holder_id}, {"since_fs", p.since}, {"device", p.device}};
    page["iova"] = p.iova ? Json(p.iova->value) : Json(nullptr);
    for (const auto& s : p.path)
      page["path"].push_back({{"holder", s.holder}, {"id", s.id}, {"since_fs", s.since}});
    all.push_back(std::move(page));
  }
  return all;
}

Json finding_counts(const Checker& checker) {
  Json counts = Json::object();
  for (std::size_t i = 0; i < kFindingClasses; ++i) {
    const auto kind = static_cast<FindingClass>(i);
    if (const auto n = checker.findings().count(kind); n != 0) counts[key(kind)] = n;
  }
  return counts;
}

Json findings_json(const Checker& checker) {
  Json all = Json::array();
  for (const Finding& f : checker.findings().all()) {
    Json one{{"class", key(f.kind)}, {"count", f.count}, {"first_fs", f.first}, {"last_fs", f.last},
             {"place", f.place},     {"who", f.who},     {"whom", f.whom},      {"detail", f.detail}};
    for (const auto& h : f.holders) one["holders"][std::string(h.holder)] = h.pages;
    for (const Sample& s : f.samples) {
      Json sample{{"time_fs", s.time}, {"address", s.address}};
      if (s.pfn != 0) sample["pfn"] = s.pfn;
      if (!s.holder.empty()) sample["holder"] = s.holder;
      one["samples"].push_back(std::move(sample));
    }
    all.push_back(std::move(one));
  }
  return all;
}

Json summary_json(const Checker& checker) {
  const Summary s = checker.summary();
  Json out{{"unmap_before_destroy", s.unmap_before_destroy},
           {"unmap_inside_destroy", s.unmap_inside_destroy},
           {"unmap_after_destroy", s.unmap_after_destroy},
           {"late_unmaps", s.late_unmaps},
           {"iommu_faults", s.iommu_faults},
           {"stale_hits", s.stale_hits},
           {"leaked_pages", s.leaked_pages},
           {"leaked_mappings", s.leaked_mappings},
           {"leaked_iovas", s.leaked_iovas},
           {"iova_reused_while_held", s.iova_reused_while_held},
           {"longest_bh_off_s", seconds(s.longest_bh_off)},
           {"longest_bh_off_function", s.longest_bh_off_function},
           {"unbind_s", seconds(s.longest_unbind)},
           {"frames_arrived", s.frames_arrived},
           {"frames_delivered", s.frames_delivered},
           {"frames_dropped", s.frames_dropped}};
  out["oops"] = nullptr;
  if (s.oops) {
    out["oops"] = {{"symbol", s.oops->symbol}, {"address", fmt::format("{:#x}", s.oops->address)},
                   {"title", s.oops->title},   {"workqueue", s.oops->workqueue},
                   {"chain", s.oops->chain},   {"time_s", seconds(s.oops->time)}};
  }
  out["pools"] = Json::array();
  for (const PoolShadow& p : checker.pools()) {
    out["pools"].push_back({{"pool", p.id},
                            {"device", checker.pool_device(p)},
                            {"hold", p.hold},
                            {"release", p.release},
                            {"inflight_at_destroy", p.inflight_at_destroy},
                            {"unmap_before_destroy", p.unmap_before_destroy},
                            {"unmap_inside_destroy", p.unmap_inside_destroy},
                            {"unmap_after_destroy", p.unmap_after_destroy},
                            {"of_these_no_driver", p.unmap_no_driver},
                            {"release_rounds", p.release_rounds},
                            {"freed", p.freed}});
  }
  return out;
}

}  // namespace checker
