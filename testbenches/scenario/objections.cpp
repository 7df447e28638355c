// SPDX-License-Identifier: Apache-2.0
#include "testbenches/scenario/objections.h"

#include <algorithm>
#include <functional>
#include <nlohmann/json.hpp>

#include "sim/error.h"

namespace scenario {
namespace {

struct Judgement {
  bool shown;
  std::string numbers;
};

struct Objection {
  const char* key;
  const char* title;
  const char* claim;
  std::vector<std::string> strategies;  ///< first: the one it is about
  std::function<Judgement(const std::vector<RunResult>&)> judge;
};

double milliseconds(sim::Tick t) { return static_cast<double>(t) / sim::kMillisecond; }
double seconds(sim::Tick t) { return static_cast<double>(t) / sim::kSecond; }

std::uint64_t count(const RunResult& r, std::string_view kind) {
  for (const auto& [k, n] : r.findings)
    if (k == kind) return n;
  return 0;
}

std::string found(const RunResult& r) {
  const std::string text = r.findings_text();
  return text.empty() ? "no finding" : text;
}

/// The same words about each run.
std::string each(const std::vector<RunResult>& runs,
                 const std::function<std::string(const RunResult&)>& words) {
  std::string text;
  for (const RunResult& r : runs)
    text += fmt::format("{}`{}`: {}", text.empty() ? "" : "; ", r.strategy, words(r));
  return text + ".";
}

/// A scan of all memory with bottom halves off, at the 16.5 ns a page that were measured in the thread.
/// Shown: it takes about what was said.
Judgement judge_scan(const std::vector<RunResult>& runs, double bytes, double said_seconds) {
  const double predicted = bytes / 4096 * 16.5e-9, measured = seconds(runs[0].longest_bh_off);
  return {measured > 0.67 * said_seconds && measured < 1.5 * said_seconds,
          fmt::format("{} With 16.5 ns a page, {:.0f} pages take {:.2f} s.",
                      each(
                          runs,
                          [](const RunResult& r) {
                            return fmt::format("bottom halves off for up to {:.3f} ms, unbind {:.3f} ms",
                                               milliseconds(r.longest_bh_off), milliseconds(r.unbind));
                          }),
                      bytes / 4096, predicted) +
              fmt::format(" Measured: {:.2f} s; said: {} s.", measured, said_seconds)};
}

const std::vector<Objection>& objections() {
  static const std::vector<Objection> all = {
      {"inflight_limit",
       "A hard limit on pages in flight",
       "J. D. Brouer against the array of items (Lin v1-v3): production has 24 GiB of TCP memory in flight; "
       "an array limits "
       "it.",
       {"item_array", "xarray_merged", "stock"},
       [](const std::vector<RunResult>& runs) -> Judgement {
         return {runs[0].alloc_failed > 0 && runs[1].alloc_failed == 0, each(runs, [](const RunResult& r) {
                   return fmt::format(
                       "{} of 1600 segments wait in the socket, {} refills of the receive ring found no page",
                       r.pages_outstanding, r.alloc_failed);
                 })};
       }},
      {"scan_300gb",
       "A scan of 300 GB takes 1.3 s",
       "Lin's own figure for the RFC v4, on arm64 with more than 300 GB: 1.3 s, about 16.5 ns a page, with "
       "bottom halves off.",
       {"scan", "scan_lock_on_match", "xarray_merged"},
       [](const std::vector<RunResult>& runs) { return judge_scan(runs, 280.0 * (1ull << 30), 1.3); }},
      {"scan_12tb",
       "A scan of 12.3 TB was guessed to take about 10 s",
       "Asked for a machine with 12.3 TB, the guess was about 10 s of scanning with bottom halves off.",
       {"scan", "xarray_merged"},
       [](const std::vector<RunResult>& runs) { return judge_scan(runs, 12.3e12, 10); }},
      {"hotplug",
       "Memory hotplug in the middle of the scan",
       "Asked about the scan of RFC v4: memory may come or go while it is walked. It takes mem_hotplug_lock for "
       "reading, so hotplug has to wait for the end of the walk.",
       {"scan", "scan_lock_on_match", "xarray_merged"},
       [](const std::vector<RunResult>& runs) -> Judgement {
         return {runs[0].longest_hotplug_wait > runs[2].longest_hotplug_wait + 10 * sim::kMillisecond,
                 each(runs, [](const RunResult& r) {
                   return fmt::format(
                       "memory hotplug waits {:.3f} ms for its lock, {} of {} steps fail; {} pfns walked, {} unmaps "
                       "inside destroy; {}",
                       milliseconds(r.longest_hotplug_wait), r.hotplug_errors, r.hotplug_steps, r.scanned_pfns,
                       r.unmap_inside, found(r));
                 })};
       }},
      {"many_pools",
       "Many pools each scan everything",
       "A device has a pool for each receive queue, a machine has many devices: every pool that is destroyed with "
       "pages out walks all memory, one after the other.",
       {"scan", "scan_lock_on_match", "xarray_merged"},
       [](const std::vector<RunResult>& runs) -> Judgement {
         const double pages = 16.0 * (1 << 30) / 4096, walk = pages * 16.5e-9;
         const RunResult& r = runs[0];
         const auto walks = static_cast<double>(r.scanned_pfns) / pages;
         return {r.pools > 1 && walks > 0.99 * static_cast<double>(r.pools) &&
                     seconds(r.unbind) > 0.9 * static_cast<double>(r.pools) * walk &&
                     seconds(runs[2].unbind) < walk,
                 each(runs, [&](const RunResult& x) {
                   return fmt::format("{} pools, {} pfns walked ({:.2f} times the memory), unbind {:.3f} ms", x.pools,
                                      x.scanned_pfns, static_cast<double>(x.scanned_pfns) / pages,
                                      milliseconds(x.unbind));
                 }) + fmt::format(" One walk at 16.5 ns a page: {:.1f} ms.", walk * 1e3)};
       }},
      {"dma_debug_blinded",
       "dma-debug is blinded",
       "R. Murphy against the bulk unmap: it undoes mappings that nobody has named, so dma-debug cannot tell any more "
       "what a driver has leaked. The driver here leaks three mappings.",
       {"dma_bulk_unmap", "xarray_merged", "stock", "domain_detach"},
       [](const std::vector<RunResult>& runs) -> Judgement {
         return {runs[0].dma_debug_pending == 0 && runs[0].dma_debug_forgotten > 0 && runs[1].dma_debug_pending == 3,
                 each(runs, [](const RunResult& r) {
                   return fmt::format("dma-debug sees {} mappings left at the unbind, {} were crossed out unseen, {} errors",
                                      r.dma_debug_pending, r.dma_debug_forgotten, r.dma_debug_errors);
                 })};
       }},
      {"softirq_spin",
       "Returners spin on destroy_lock in softirq",
       "Against every strategy that takes destroy_lock for a long time: whoever returns a page meanwhile "
       "spins.",
       {"scan", "scan_lock_on_match", "item_array", "xarray_merged"},
       [](const std::vector<RunResult>& runs) -> Judgement {
         return {runs[0].longest_spin > sim::kMillisecond && runs[3].longest_spin < sim::kMillisecond,
                 each(
                     runs,
                     [](const RunResult& r) {
                       if (r.longest_spin == 0) return std::string("nobody spins in softirq");
                       return fmt::format("a core spins for {:.3f} ms in softirq on {} (`{}`)",
                                          milliseconds(r.longest_spin), r.longest_spin_lock,
                                          r.longest_spin_chain);
                     })};
       }},
      {"refcount_while_owned",
       "A page is freed while somebody owns a piece of it",
       "Lin against detaching found pages (Jesper's first idea): pp_ref_count would have to be converted to "
       "_refcount while "
       "puts run. Each page has two skbs here.",
       {"scan_release", "scan", "xarray_merged"},
       [](const std::vector<RunResult>& runs) -> Judgement {
         const auto harm = [](const RunResult& r) {
           return count(r, "use_after_free") + count(r, "pool_misuse") + count(r, "oops") +
                  count(r, "kernel_warning");
         };
         return {harm(runs[0]) > 0 && harm(runs[2]) == 0, each(runs, found)};
       }},
      {"tracking_cost",
       "Tracking costs on the fast path",
       "A. Duyck and J. D. Brouer against tracking every page: \"recording all pages is against the very "
       "principle\".",
       {"xarray_merged", "stock", "item_array", "tracked_list", "robust_dma_api"},
       [](const std::vector<RunResult>& runs) -> Judgement {
         const double stock = runs[1].cycles_per_packet;
         return {runs[0].cycles_per_packet > 1.01 * stock, each(runs, [stock](const RunResult& r) {
                   return fmt::format("{:.1f} cycles a packet ({:+.2f} %)", r.cycles_per_packet,
                                      100 * (r.cycles_per_packet / stock - 1));
                 })};
       }},
      {"iommu_pt",
       "With iommu=pt nothing has to be done",
       "With an identity domain a late unmap does nothing that matters.",
       {"stock", "xarray_merged"},
       [](const std::vector<RunResult>& runs) -> Judgement {
         const RunResult& r = runs[0];
         const bool harmless =
             r.oops.empty() && r.iommu_faults == 0 && r.leaked_pages == 0 && r.leaked_mappings == 0 &&
             count(r, "use_after_free") + count(r, "dma_not_owned") + count(r, "foreign_unmap") == 0;
         return {harmless, each(runs, [](const RunResult& x) {
                   return fmt::format("{} unmaps without a driver, {} pages leaked, oops: {}; {}",
                                      x.late_unmaps, x.leaked_pages, x.oops.empty() ? "none" : x.oops,
                                      found(x));
                 })};
       }},
      {"socket_never_closes",
       "A socket may pin pages for ever",
       "Against waiting for all pages at NETDEV_UNREGISTER (J. Kicinski's RFC): one process that does not "
       "read blocks the "
       "driver's removal.",
       {"stall_unregister", "xarray_merged", "stock"},
       [](const std::vector<RunResult>& runs) -> Judgement {
         return {!runs[0].unbind_ended && runs[1].unbind_ended, each(runs, [](const RunResult& r) {
                   return fmt::format("the unbind {} {:.3f} s; still held: {}",
                                      r.unbind_ended ? "took" : "had not ended after", seconds(r.unbind),
                                      r.held_by.empty() ? "nothing" : r.held_by);
                 })};
       }},
      {"idle_core",
       "The deferred-free list of an idle core has no timer",
       "The infinite hold of the thread: skbs read on another core wait for a receive softirq that never "
       "comes.",
       {"stall_unregister", "xarray_merged", "stock"},
       [](const std::vector<RunResult>& runs) -> Judgement {
         const bool held = std::ranges::all_of(
             runs, [](const RunResult& r) { return r.held_by.find("skb defer list") != std::string::npos; });
         return {held, each(runs, [](const RunResult& r) {
                   return fmt::format(
                       "at the end, three minutes later: {}; the unbind {}",
                       r.held_by.empty() ? "nothing held" : r.held_by,
                       r.unbind_ended ? fmt::format("took {:.3f} ms", milliseconds(r.unbind)) : "was not over");
                 })};
       }},
  };
  return all;
}

}  // namespace

std::vector<ObjectionAnswer> answer_objections(const std::string& folder,
                                               const std::vector<std::string>& only, unsigned jobs,
                                               const Progress& progress) {
  std::vector<std::string> keys;
  for (const Objection& o : objections()) keys.emplace_back(o.key);
  for (const auto& key : only) {
    if (std::ranges::find(keys, key) == keys.end())
      throw sim::Error(fmt::format("no objection '{}'{}", key, sim::suggestion(key, keys)));
  }
  std::vector<ObjectionAnswer> answers;
  std::vector<const Objection*> asked;
  for (const Objection& o : objections()) {
    if (!only.empty() && std::ranges::find(only, o.key) == only.end()) continue;
    asked.push_back(&o);
    answers.push_back(
        {o.key, o.title, o.claim, fmt::format("{}/objection_{}.yaml", folder, o.key), {}, false, {}, {}});
    answers.back().runs.resize(o.strategies.size());
  }
  std::vector<ProcessTask> tasks;
  for (std::size_t i = 0; i < answers.size(); ++i) {
    ObjectionAnswer& answer = answers[i];
    for (std::size_t k = 0; k < answer.runs.size(); ++k) {
      RunConfig config;
      load(config, answer.scenario, {"pool.strategy=" + asked[i]->strategies[k]});
      tasks.push_back({answer.key,
                       [config] {
                         ScenarioRun run(config, {});
                         return run.run().to_json().dump();
                       },
                       [&answer, k](const std::string& text) {
                         answer.runs[k] = RunResult::from_json(nlohmann::ordered_json::parse(text));
                       },
                       [&answer, strategy = asked[i]->strategies[k]](const std::string& why) {
                         answer.error += fmt::format("{}: {}. ", strategy, why);
                       }});
    }
  }
  run_processes(tasks, jobs, progress);
  for (std::size_t i = 0; i < answers.size(); ++i) {
    if (!answers[i].error.empty()) continue;
    const Judgement judgement = asked[i]->judge(answers[i].runs);
    answers[i].shown = judgement.shown;
    answers[i].numbers = judgement.numbers;
  }
  return answers;
}

std::string objections_markdown(const std::vector<ObjectionAnswer>& answers, const std::string& machine,
                                const std::string& date) {
  std::string text = fmt::format(
      "# The objections of the thread, run\n\n"
      "\"Shown\" and \"not shown\" are computed from the numbers of the runs, which no strategy knows. Each "
      "objection is a scenario in `testbenches/scenarios/objection_*.yaml`. This page is the output of\n\n"
      "```\npoolsim objections > docs/objections.md\n```\n\n"
      "on {}, {}. Simulated times do not depend on the machine.\n\n| objection | the runs |\n|---|---|\n",
      date, machine);
  for (const auto& a : answers)
    text += fmt::format("| {} | {} |\n", a.title,
                        !a.error.empty() ? "did not end"
                        : a.shown        ? "show it"
                                         : "do not show it");
  for (const auto& a : answers) {
    text += fmt::format("\n## {}\n\n{} Scenario: `{}`.\n\n", a.title, a.claim, a.scenario);
    if (!a.error.empty()) {
      text += "No answer: " + a.error + "\n";
      continue;
    }
    text += fmt::format("**{}** {}\n", a.shown ? "Shown." : "Not shown.", a.numbers);
  }
  return text;
}

std::string objections_json(const std::vector<ObjectionAnswer>& answers) {
  nlohmann::ordered_json all = nlohmann::ordered_json::array();
  for (const auto& a : answers) {
    nlohmann::ordered_json one{{"key", a.key},           {"title", a.title}, {"claim", a.claim},
                               {"scenario", a.scenario}, {"shown", a.shown}, {"numbers", a.numbers},
                               {"error", a.error}};
    one["runs"] = nlohmann::ordered_json::array();
    for (const auto& r : a.runs) one["runs"].push_back(r.to_json());
    all.push_back(std::move(one));
  }
  return all.dump(2);
}

}  // namespace scenario
