// SPDX-License-Identifier: Apache-2.0
// A comparison as tables for a terminal, as CSV and as JSON.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "testbenches/cli/table.h"
#include "testbenches/scenario/compare.h"

namespace scenario {
namespace {

using Json = nlohmann::ordered_json;

std::string ms(sim::Tick t) { return fmt::format("{:.3f}", static_cast<double>(t) / sim::kMillisecond); }
std::string us(sim::Tick t) { return fmt::format("{:.3f}", static_cast<double>(t) / sim::kMicrosecond); }

/// "-12" -> "ENOMEM (-12)", where it matters.
std::string errno_text(int error) {
  return error == -12 || error == 12 ? "-ENOMEM" : fmt::format("error {}", error);
}

/// Stock's figure in the same mode, to compare with.
template <class Get>
std::optional<double> stock_cost(const Comparison& c, const std::string& mode, Get get) {
  const CompareCosts* stock = c.cost(mode, "stock");
  if (stock == nullptr || !stock->probe) return {};
  return get(*stock->probe);
}

bool limited(const ProbeResult& p) { return p.pages_in_flight < p.pages_asked; }
double gib_at_24_gib(const ProbeResult& p) {
  constexpr double kPages = 24.0 * (1 << 30) / sim::kPageSize, kGib = 1 << 30;
  return p.tracking_bytes_per_page() * kPages / kGib;
}

void cell_table(std::string& text, const Comparison& c, const std::string& scenario, const std::string& mode,
                bool colour) {
  cli::Table table({"strategy", "unmaps\nbefore", "inside\ndestroy", "after", "late,\nno driver",
                    "IOMMU\nfaults", "leaked\npages", "leaked\nIOVAs", "unbind\nms", "BH off\nmax us",
                    "softirq\nspin us", "cycles/\npacket", "against\nstock", "tracking\nbytes", "oops"});
  const CompareCell* stock = c.cell(scenario, mode, "stock");
  std::optional<double> base;
  if (stock != nullptr && stock->run) base = stock->run->cycles_per_packet;
  const RunResult* first = nullptr;
  std::string findings;
  for (const auto& strategy : c.strategies) {
    const CompareCell& cell = *c.cell(scenario, mode, strategy);
    if (!cell.run) {
      table.row({strategy, cell.error.empty() ? "not run" : "died"});
      findings += fmt::format("  {:<20} {}\n", strategy, cell.error.empty() ? "not run" : cell.error);
      continue;
    }
    const RunResult& r = *cell.run;
    if (first == nullptr) first = &r;
    table.row({r.strategy, fmt::to_string(r.unmap_before), fmt::to_string(r.unmap_inside),
               fmt::to_string(r.unmap_after), fmt::to_string(r.late_unmaps), fmt::to_string(r.iommu_faults),
               fmt::to_string(r.leaked_pages), fmt::to_string(r.leaked_iovas),
               r.unbind_ended ? ms(r.unbind) : "> " + ms(r.unbind), us(r.longest_bh_off), us(r.longest_spin),
               fmt::format("{:.1f}", r.cycles_per_packet), against_stock(r.cycles_per_packet, base),
               fmt::to_string(r.tracking_bytes), r.oops.empty() ? "no" : r.oops});
    const std::string found = r.findings_text();
    findings += fmt::format("  {:<20} {}\n", strategy, found.empty() ? "none" : found);
    if (!r.held_by.empty()) findings += fmt::format("  {:<20}   still held: {}\n", "", r.held_by);
    if (r.dma_debug) findings += fmt::format("  {:<20}   dma-debug: {}\n", "", dma_debug_text(r));
    if (r.swiotlb_full != 0) findings += fmt::format("  {:<20}   {} mappings found no bounce slots\n", "", r.swiotlb_full);
    // Worth a line where it is long: who kept the others out, and who waited.
    if (r.longest_bh_off > sim::kMillisecond)
      findings += fmt::format("  {:<20}   BH off: {}\n", "", r.longest_bh_off_chain);
    if (r.longest_spin > 10 * sim::kMicrosecond)
      findings += fmt::format("  {:<20}   spun for {}: {}\n", "", r.longest_spin_lock, r.longest_spin_chain);
  }
  text += fmt::format("{}: DMA {}", scenario, mode);
  if (first != nullptr)
    text += fmt::format(", device {}, {} skbs outstanding at the unbind", first->device,
                        first->pages_outstanding);
  text += "\n\n" + table.text(colour) + "\nFindings\n" + findings + "\n";
}

void cost_table(std::string& text, const Comparison& c, const std::string& mode, bool colour) {
  cli::Table table({"strategy", "cache\ncycles", "ring\ncycles", "map\ncycles", "against\nstock",
                    "unmap\ncycles", "against\nstock", "tracking\nB/page", "GiB of it at\n24 GiB",
                    "in flight", "destroy with\nthese, ms"});
  cli::Table trials({"strategy", "bound again at once", "tracking memory cannot be had"});
  std::string errors;
  for (const auto& strategy : c.strategies) {
    const CompareCosts& k = *c.cost(mode, strategy);
    if (!k.error.empty()) errors += fmt::format("  {:<20} {}\n", strategy, k.error);
    trials.row({strategy, rebind_text(k), no_memory_text(k)});
    if (!k.probe) {
      table.row({strategy});
      continue;
    }
    const ProbeResult& p = *k.probe;
    const auto map = stock_cost(c, mode, [](const ProbeResult& x) { return x.map_cycles; });
    const auto unmap = stock_cost(c, mode, [](const ProbeResult& x) { return x.unmap_cycles; });
    table.row({strategy, fmt::format("{:.1f}", p.cache_cycles), fmt::format("{:.1f}", p.ring_cycles),
               fmt::format("{:.1f}", p.map_cycles), against_stock(p.map_cycles, map),
               fmt::format("{:.1f}", p.unmap_cycles), against_stock(p.unmap_cycles, unmap),
               fmt::format("{:.2f}", p.tracking_bytes_per_page()), tracking_at_24_gib(p), limit_text(p),
               ms(p.destroy)});
  }
  text += fmt::format("Costs, DMA {}\n\n{}\n{}\n", mode, table.text(colour), trials.text(colour));
  if (!errors.empty()) text += "Not measured\n" + errors + "\n";
}

/// RFC 4180.
std::string csv_text(const std::string& s) {
  if (s.find_first_of(",\"\n") == std::string::npos) return s;
  std::string out = "\"";
  for (const char ch : s) out += ch == '"' ? std::string("\"\"") : std::string(1, ch);
  return out + "\"";
}

std::string csv_value(const Json& v) {
  if (v.is_null()) return "";
  if (v.is_string()) return csv_text(v.get<std::string>());
  if (v.is_array()) {
    std::string text;
    for (const auto& x : v) text += (text.empty() ? "" : "; ") + x.get<std::string>();
    return csv_text(text);
  }
  if (v.is_object()) {
    std::string text;
    for (const auto& [key, n] : v.items())
      text += fmt::format("{}{}={}", text.empty() ? "" : "; ", key, n.dump());
    return csv_text(text);
  }
  return v.dump();
}

/// The figures that the tables compute from others, by the name they have in CSV and JSON: null where there is none.
Json derived_json(const Comparison& c, const CompareCell& cell) {
  const auto percent = [](double value, std::optional<double> stock) {
    return stock && *stock != 0 ? Json(100 * (value / *stock - 1)) : Json(nullptr);
  };
  Json j{{"cycles_per_packet_percent", nullptr},
         {"map_percent", nullptr},
         {"unmap_percent", nullptr},
         {"tracking_bytes_per_page", nullptr},
         {"tracking_gib_at_24_gib", nullptr},
         {"inflight_limited", nullptr}};
  const CompareCell* stock = c.cell(cell.scenario, cell.mode, "stock");
  if (cell.run && stock != nullptr && stock->run)
    j["cycles_per_packet_percent"] = percent(cell.run->cycles_per_packet, stock->run->cycles_per_packet);
  const CompareCosts* k = c.cost(cell.mode, cell.strategy);
  if (k == nullptr || !k->probe) return j;
  const ProbeResult& p = *k->probe;
  j["map_percent"] = percent(p.map_cycles, stock_cost(c, cell.mode, [](const ProbeResult& x) { return x.map_cycles; }));
  j["unmap_percent"] =
      percent(p.unmap_cycles, stock_cost(c, cell.mode, [](const ProbeResult& x) { return x.unmap_cycles; }));
  j["tracking_bytes_per_page"] = p.tracking_bytes_per_page();
  j["inflight_limited"] = limited(p);
  if (!limited(p)) j["tracking_gib_at_24_gib"] = gib_at_24_gib(p);
  return j;
}

Json costs_json(const CompareCosts& k) {
  Json j{{"dma_mode", k.mode}, {"strategy", k.strategy}};
  if (k.probe) {
    j["probe"] = k.probe->to_json();
    j["probe"]["tracking_bytes_per_page"] = k.probe->tracking_bytes_per_page();
  }
  if (k.rebind) j["rebind"] = k.rebind->to_json();
  if (k.no_memory) j["no_memory"] = k.no_memory->to_json();
  if (k.short_of_memory) j["short_of_memory"] = k.short_of_memory->to_json();
  j["rebind_text"] = rebind_text(k);
  j["no_memory_text"] = no_memory_text(k);
  if (!k.error.empty()) j["error"] = k.error;
  return j;
}

std::string trouble(const RunResult& r, const std::string& usual_findings) {
  if (r.bind_error != 0) return fmt::format("the driver cannot be bound ({})", errno_text(r.bind_error));
  std::string text;
  if (r.alloc_failed != 0)
    text = fmt::format("{} refills of the receive ring fail, {} of {} packets reach a user or a queue",
                       r.alloc_failed, r.read + r.pages_outstanding, r.packets);
  if (const std::string found = r.findings_text(); found != usual_findings && !found.empty())
    text += (text.empty() ? "" : "; ") + found;
  return text.empty() ? "no effect" : text;
}

}  // namespace

std::string against_stock(double value, std::optional<double> stock) {
  if (!stock || *stock == 0) return "-";
  return fmt::format("{:+.1f} %", 100 * (value / *stock - 1));
}

std::string dma_debug_text(const RunResult& r) {
  if (!r.dma_debug) return "";
  std::string text =
      fmt::format("{} errors, {} mappings left at the unbind", r.dma_debug_errors, r.dma_debug_pending);
  if (r.dma_debug_forgotten != 0) text += fmt::format(", {} crossed out unseen", r.dma_debug_forgotten);
  return text + (r.dma_debug_disabled ? "; it ran out of entries" : "");
}

std::string limit_text(const ProbeResult& p) {
  if (!limited(p)) return fmt::format("no limit up to {}", p.pages_asked);
  return fmt::format("LIMIT {}", p.pages_in_flight);
}

std::string tracking_at_24_gib(const ProbeResult& p) {
  return limited(p) ? "not reached" : fmt::format("{:.4f}", gib_at_24_gib(p));
}

std::string rebind_text(const CompareCosts& k) {
  if (!k.rebind) return "not measured";
  const RunResult& r = *k.rebind;
  const std::string found = r.findings_text();
  if (r.rebound && r.rebind > sim::kSecond)
    return fmt::format("no: only {:.1f} s after the begin of the unbind",
                       static_cast<double>(r.rebind) / sim::kSecond);
  if (r.rebound) {
    return fmt::format("yes, {} ms after the begin of the unbind{}{}", ms(r.rebind),
                       found.empty() ? "" : "; but then: ", found);
  }
  if (!r.oops.empty()) return "no: oops in " + r.oops;
  if (!r.unbind_ended)
    return fmt::format("no: the unbind had not ended after {:.1f} s",
                       static_cast<double>(r.unbind) / sim::kSecond);
  return "no" + (found.empty() ? "" : ": " + found);
}

std::string no_memory_text(const CompareCosts& k) {
  if (!k.no_memory || !k.short_of_memory) return "not measured";
  // Told is what differs from the same run with memory enough.
  const std::string never = trouble(*k.no_memory, k.usual_findings),
                    later = trouble(*k.short_of_memory, k.usual_findings);
  return never == later ? never : fmt::format("from the beginning: {}; later: {}", never, later);
}

std::string comparison_text(const Comparison& c, bool colour) {
  std::string text;
  for (const auto& scenario : c.scenarios)
    for (const auto& mode : c.modes) cell_table(text, c, scenario, mode, colour);
  if (!c.costs.empty())
    for (const auto& mode : c.modes) cost_table(text, c, mode, colour);
  if (!c.complete) text += "INTERRUPTED: what was not run says so.\n";
  return text;
}

std::string comparison_csv(const Comparison& c) {
  // Columns: those of a run, then those of the probe of the same mode and strategy.
  Json run = RunResult{}.to_json(), probe = ProbeResult{}.to_json();
  std::string text = "mode";
  for (const auto& [key, value] : run.items()) text += "," + key;
  for (const auto& [key, value] : probe.items()) text += ",probe_" + key;
  const Json derived = derived_json(c, c.cells.front());
  for (const auto& [key, value] : derived.items()) text += "," + key;
  text += ",bound_again_at_once,no_tracking_memory,error\n";
  for (const CompareCell& cell : c.cells) {
    const CompareCosts* k = c.cost(cell.mode, cell.strategy);
    Json row = cell.run ? cell.run->to_json() : Json::object();
    if (!cell.run) row["scenario"] = cell.scenario, row["strategy"] = cell.strategy;
    const Json cost = k != nullptr && k->probe ? k->probe->to_json() : Json::object();
    text += csv_text(cell.mode);
    for (const auto& [key, value] : run.items()) text += "," + (row.contains(key) ? csv_value(row[key]) : "");
    for (const auto& [key, value] : probe.items())
      text += "," + (cost.contains(key) ? csv_value(cost[key]) : "");
    const Json computed = derived_json(c, cell);
    for (const auto& [key, value] : computed.items()) text += "," + csv_value(value);
    text += fmt::format(",{},{},{}\n", k != nullptr ? csv_text(rebind_text(*k)) : "",
                        k != nullptr ? csv_text(no_memory_text(*k)) : "",
                        cell.run ? "" : csv_text(cell.error.empty() ? "not run" : cell.error));
  }
  return text;
}

Json comparison_json(const Comparison& c) {
  Json j{{"command", c.command},     {"complete", c.complete}, {"wall_seconds", c.wall_seconds},
         {"scenarios", c.scenarios}, {"modes", c.modes},       {"strategies", c.strategies}};
  j["rows"] = Json::array();
  for (const CompareCell& cell : c.cells) {
    Json row =
        cell.run ? cell.run->to_json() : Json{{"scenario", cell.scenario}, {"strategy", cell.strategy}};
    row["mode"] = cell.mode;
    row.update(derived_json(c, cell));
    if (!cell.run) row["error"] = cell.error.empty() ? "not run" : cell.error;
    j["rows"].push_back(std::move(row));
  }
  j["costs"] = Json::array();
  for (const CompareCosts& k : c.costs) j["costs"].push_back(costs_json(k));
  return j;
}

}  // namespace scenario
