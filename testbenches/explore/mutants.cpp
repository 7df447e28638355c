// SPDX-License-Identifier: Apache-2.0
#include "testbenches/explore/mutants.h"

#include <cstdio>
#include <set>

#include "testbenches/cli/table.h"

namespace explore {
namespace {

using Json = nlohmann::ordered_json;

struct Subject {
  pagepool::Mutant mutant;
  const char* strategy;  ///< one that has what the mutant leaves out
  const char* story;
  std::vector<std::string> settings{};  ///< that it needs besides, a.b=c
};

const Subject kSubjects[] = {
    {pagepool::Mutant::no_destroy_lock, "scan", "return_vs_destroy"},
    {pagepool::Mutant::early_destroy_unlock, "scan", "return_vs_destroy"},
    {pagepool::Mutant::no_xa_lock, "xarray_merged", "two_returners_vs_destroy"},
    {pagepool::Mutant::no_list_lock, "tracked_list", "two_returners"},
    {pagepool::Mutant::no_hash_lock, "robust_dma_api", "return_vs_destroy"},
    {pagepool::Mutant::no_producer_lock, "stock", "two_returners"},
    {pagepool::Mutant::early_producer_unlock, "stock", "two_returners"},
    {pagepool::Mutant::no_recheck, "scan_lock_on_match", "scan_vs_return"},
    {pagepool::Mutant::keep_dma_sync, "xarray_merged", "return_vs_destroy", {"kernel.dma_mode=swiotlb", "kernel.swiotlb=1MiB"}},
    {pagepool::Mutant::no_synchronize_rcu, "scan", "return_vs_destroy"},
    {pagepool::Mutant::no_rcu_read_lock, "scan", "return_vs_destroy"},
    {pagepool::Mutant::keep_dma_index, "xarray_merged", "return_vs_destroy"},
    {pagepool::Mutant::keep_dma_addr, "scan_lock_on_match", "return_vs_destroy"},
    {pagepool::Mutant::torn_reference, "stock", "two_fragment_droppers"},
};

Cell cell_of(const Subject& subject, pagepool::Mutant mutant, Method method, std::uint64_t budget, std::uint64_t seed) {
  Cell cell;
  cell.token.strategy = subject.strategy;
  cell.token.settings = find_story(subject.story).settings;
  cell.token.settings.push_back(fmt::format("explore.story={}", subject.story));
  for (const std::string& s : subject.settings) cell.token.settings.push_back(s);
  if (mutant != pagepool::Mutant::none) {
    cell.token.settings.push_back(fmt::format("explore.mutant={}", pagepool::to_string(mutant)));
  }
  cell.search.method = method;
  cell.search.depth = 3;
  cell.search.budget = budget;
  cell.search.seed = seed;
  cell.shrink = false;
  cell.quiet = true;
  return cell;
}

}  // namespace

std::vector<Json> try_mutants(std::uint64_t budget, std::uint64_t seed, bool quiet) {
  std::vector<Json> rows;
  for (const Subject& subject : kSubjects) {
    for (const Method method : {Method::kPreempt, Method::kPct, Method::kRandom}) {
      if (interrupted()) return rows;
      const Json healthy = run_cell(cell_of(subject, pagepool::Mutant::none, method, budget, seed));
      const Json ill = run_cell(cell_of(subject, subject.mutant, method, budget, seed));
      std::set<std::string> known;
      for (const auto& f : healthy["found"]) known.insert(f["key"]);
      Json row;
      row["mutant"] = pagepool::to_string(subject.mutant);
      row["strategy"] = subject.strategy;
      row["story"] = subject.story;
      row["method"] = to_string(method);
      row["found"] = false;
      row["schedules"] = ill["schedules"];
      for (const auto& f : ill["found"]) {
        if (known.contains(f["key"])) continue;
        if (row["found"] && row["after"] <= f["after"]) continue;
        row["found"] = true;
        row["after"] = f["after"];
        row["class"] = f["class"];
      }
      if (!quiet) {
        std::fprintf(stderr, "%s by %s: %s\n", pagepool::to_string(subject.mutant), to_string(method),
                     row["found"] ? "found" : "not found");
      }
      rows.push_back(std::move(row));
    }
  }
  return rows;
}

std::string mutant_table(const std::vector<Json>& rows, bool colour) {
  cli::Table table({"mutant", "strategy", "story", "method", "found as", "after\nschedules"});
  for (const Json& r : rows) {
    table.row({r["mutant"], r["strategy"], r["story"], r["method"],
               r["found"] ? r["class"].get<std::string>() : fmt::format("not in {}", r["schedules"].get<std::uint64_t>()),
               r["found"] ? fmt::to_string(r["after"].get<std::uint64_t>()) : "-"});
  }
  return table.text(colour);
}

std::string findings_markdown(const std::string& command, const std::vector<Json>& results,
                              const std::vector<Json>& mutants) {
  std::string text = fmt::format(
      "# What exploration finds\n\nMade by `{}`; do not edit. What is covered, and what is not: [explore.md](explore.md). "
      "The number behind a\nclass is the length of the shortest schedule: 0 = it happens in the natural order.\n\n"
      "| story | strategy | verdict |\n|---|---|---|\n",
      command);
  for (const Json& r : results) {
    text += fmt::format("| {} | {} | {} |\n", r["story"].get<std::string>(), r["strategy"].get<std::string>(), verdict(r));
  }
  text += "\n## Findings that need a departure from the natural order\n\nThe shortest schedule of each; what follows from an "
          "earlier finding of the same schedule is left out.\n\n";
  for (const Json& r : results) {
    for (const auto& f : r["found"]) {
      if (f["departures"] == 0 || !f["follows"].get<std::string>().empty()) continue;
      text += fmt::format("- **{}**, `{}` in {}, schedule `{}`\n  at {}\n", f["class"].get<std::string>(),
                          r["strategy"].get<std::string>(), r["story"].get<std::string>(), f["schedule"].get<std::string>(),
                          f["place"].get<std::string>());
    }
  }
  if (mutants.empty()) return text;
  std::set<std::string> all, found;
  for (const Json& r : mutants) {
    all.insert(r["mutant"]);
    if (r["found"]) found.insert(r["mutant"]);
  }
  text += fmt::format("\n## Mutants\n\n{} of {} are found. A finding counts when the same search does not make it without the "
                      "mutant.\n\n| mutant | strategy | story | method | found as | after schedules |\n|---|---|---|---|---|---|\n",
                      found.size(), all.size());
  for (const Json& r : mutants) {
    text += fmt::format("| {} | {} | {} | {} | {} | {} |\n", r["mutant"].get<std::string>(), r["strategy"].get<std::string>(),
                        r["story"].get<std::string>(), r["method"].get<std::string>(),
                        r["found"] ? r["class"].get<std::string>() : "-",
                        r["found"] ? fmt::to_string(r["after"].get<std::uint64_t>())
                                   : fmt::format("not in {}", r["schedules"].get<std::uint64_t>()));
  }
  return text;
}

}  // namespace explore
