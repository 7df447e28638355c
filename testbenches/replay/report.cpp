// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "testbenches/cli/table.h"
#include "testbenches/replay/replay.h"

namespace replay {
namespace {

using nlohmann::ordered_json;

template <class T>
ordered_json or_null(const std::optional<T>& value) {
  return value ? ordered_json(*value) : ordered_json(nullptr);
}

/// Of seconds: the resolution of a trace.
double microseconds_rounded(double seconds) { return std::round(seconds * 1e6) / 1e6; }

ordered_json numbers_json(const PoolNumbers& n) {
  ordered_json j;
  j["pool"] = n.pool;
  j["hold"] = n.hold;
  j["release"] = n.release;
  j["inflight_at_destroy"] = or_null(n.inflight_at_destroy);
  j["unmap_before_destroy"] = n.unmap_before_destroy;
  j["unmap_inside_destroy"] = n.unmap_inside_destroy;
  j["unmap_after_destroy"] = n.unmap_after_destroy;
  j["of_these_no_driver"] = n.of_these_no_driver;
  j["release_rounds"] = n.release_rounds;
  j["last_release_after_removal_s"] =
      n.last_release_after_removal_s ? ordered_json(microseconds_rounded(*n.last_release_after_removal_s))
                                     : ordered_json(nullptr);
  j["iova_reused_while_held"] = n.iova_reused_while_held;
  return j;
}

void add_behaviour(cli::Table& table, std::string name, std::string value, const std::string& how) {
  table.row({std::move(name), std::move(value), how});
}

std::string yes_no(bool value) { return value ? "yes" : "no"; }

std::string behaviour_text(const Replay& r) {
  const Behaviour& b = r.behaviour;
  cli::Table table({"kernel", "", ""});
  add_behaviour(table, "generation", b.kernel.value, b.kernel.how);
  add_behaviour(table, "strategy", b.strategy.value, b.strategy.how);
  add_behaviour(table, "DMA mode", to_string(b.dma_mode.value), b.dma_mode.how);
  add_behaviour(table, "clear_dma_ops_on_unbind", yes_no(b.clear_dma_ops_on_unbind.value),
                b.clear_dma_ops_on_unbind.how);
  add_behaviour(table, "clear_dma_ops_on_release", yes_no(b.clear_dma_ops_on_release.value),
                b.clear_dma_ops_on_release.how);
  add_behaviour(table, "release period", fmt::format("{} ms", b.release_period_ms.value),
                b.release_period_ms.how);
  add_behaviour(table, "word size", fmt::format("{} bits", r.capture.pointer_bits),
                "inferred: from its pointers");
  for (std::size_t p = 0; p < b.pools.size(); ++p) {
    add_behaviour(table, fmt::format("size of pool {}", r.recorded[p].pool),
                  fmt::format("{}", b.pools[p].size.value), b.pools[p].size.how);
  }
  return table.text();
}

std::string pools_text(const Replay& r) {
  std::string out;
  for (std::size_t p = 0; p < r.recorded.size(); ++p) {
    cli::Table table({"pool " + r.recorded[p].pool, "model", "capture", ""});
    for (const Row& row : r.comparison.pools[p]) {
      table.row({row.label, row.model, row.recorded, row.agrees ? "" : "differs"});
    }
    out += table.text() + "\n";
  }
  return out;
}

std::string oops_text(const Replay& r) {
  std::string out;
  const std::optional<kernel::Oops>& oops = r.model.oops;
  if (oops) {
    out += fmt::format("oops in the model at +{:.6f} s\n  {}\n", static_cast<double>(r.model.oops_ns) * 1e-9,
                       oops->title);
    if (!oops->workqueue.empty()) out += fmt::format("  Workqueue: {}\n", oops->workqueue);
    out += fmt::format("  RIP: {}\n", oops->symbol);
    for (const std::string& function : oops->chain) out += fmt::format("    {}\n", function);
  }
  for (const std::size_t i : r.joined.oopses) {
    const Event& e = r.capture.events[i];
    out += fmt::format(
        "oops in the capture at +{:.6f} s: line {}, task {} is not heard of after its dma_unmap\n",
        r.capture.seconds(e.time_ns - r.capture.begin_ns), e.line, e.pid);
  }
  if (out.empty()) out = "no oops, neither in the model nor in the capture\n";
  return out;
}

}  // namespace

std::string report_text(const Replay& r) {
  std::string out =
      fmt::format("{}: {} events, {} CPUs, {:.3f} s\n\n", r.capture.path, r.capture.header.entries_in_buffer,
                  r.plan.cpus, static_cast<double>(r.plan.end_ns) * 1e-9);
  out += behaviour_text(r) + "\n" + pools_text(r) + oops_text(r);
  if (!r.model.findings.empty()) {
    out += "\nfindings in the model\n" + r.model.findings_text;
  }
  std::vector<std::string> notes = r.joined.notes;
  notes.insert(notes.end(), r.plan.notes.begin(), r.plan.notes.end());
  notes.insert(notes.end(), r.model.notes.begin(), r.model.notes.end());
  if (!notes.empty()) {
    out += "\nassumed\n";
    for (const std::string& note : notes) out += fmt::format("  {}\n", note);
  }
  out += fmt::format("\n{}\n", r.comparison.agree
                                   ? "model and capture agree"
                                   : "model and capture differ: " + r.comparison.first_difference);
  out += fmt::format("digest {}\n", r.model.digest);
  return out;
}

std::string report_json(const Replay& r) {
  ordered_json j;
  j["capture"] = r.capture.path;
  j["strategy"] = r.behaviour.strategy.value;
  j["pools"] = ordered_json::array();
  for (std::size_t p = 0; p < r.recorded.size(); ++p) {
    ordered_json pool = numbers_json(r.model.pools[p]);
    pool["recorded"] = numbers_json(r.recorded[p]);
    j["pools"].push_back(std::move(pool));
  }
  if (r.model.oops) {
    j["oops"] = {{"symbol", r.model.oops->symbol}, {"address", fmt::format("{:#x}", r.model.oops->address)}};
  } else {
    j["oops"] = nullptr;
  }
  j["findings"] = ordered_json::object();
  for (const auto& [name, count] : r.model.findings) j["findings"][name] = count;
  j["agree"] = r.comparison.agree;
  return j.dump(2) + "\n";
}

}  // namespace replay
