// SPDX-License-Identifier: Apache-2.0
// A comparison as one self-contained page: no script, no font, no file from elsewhere. Readable in light and
// dark, on a phone (tables scroll by themselves, the first column stays), and on paper.
#include <fmt/format.h>

#include <cmath>

#include "testbenches/scenario/compare.h"
#include "testbenches/scenario/markup.h"

namespace scenario {
namespace {

constexpr const char* kHead = R"(<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>poolsim: strategies compared</title>
<style>
:root{color-scheme:light dark;--bg:#fff;--fg:#1c2126;--dim:#5a6570;--line:#d7dde3;--head:#f3f6f8;--ok:#1a7f4b;--warn:#8a6100;
--bad:#b3261e;--okbg:#e6f4ec;--warnbg:#fdf3d8;--badbg:#fbe6e4;--bar:#7aa5d2}
@media(prefers-color-scheme:dark){:root{--bg:#14181c;--fg:#e4e8ec;--dim:#9aa6b2;--line:#323a43;--head:#1e242a;--ok:#6fd39b;
--warn:#e6bf63;--bad:#ff9b92;--okbg:#173226;--warnbg:#36290d;--badbg:#3d1c19;--bar:#3f6d9c}}
*{box-sizing:border-box}
body{margin:0 auto;padding:1rem;max-width:100rem;background:var(--bg);color:var(--fg);
font:16px/1.45 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
h1{font-size:1.5rem;margin:.2rem 0}h2{font-size:1.15rem;margin:2rem 0 .4rem}p{max-width:60rem;margin:.4rem 0}
.dim{color:var(--dim)}code{font:.85em ui-monospace,Menlo,Consolas,monospace;overflow-wrap:anywhere}
.scroll{overflow-x:auto;border:1px solid var(--line);border-radius:6px;margin:.6rem 0}
table{border-collapse:separate;border-spacing:0;font-size:.86rem;width:100%}
th,td{padding:.35rem .6rem;border-bottom:1px solid var(--line);text-align:left;vertical-align:top}
tr:last-child>*{border-bottom:0}thead th{background:var(--head);vertical-align:bottom;font-weight:600}
tbody th,thead th:first-child{position:sticky;left:0;background:var(--head);z-index:1;white-space:nowrap;font-weight:600}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
td.ok{background:var(--okbg);color:var(--ok)}td.warn{background:var(--warnbg);color:var(--warn)}
td.bad{background:var(--badbg);color:var(--bad)}td.w{min-width:14rem}
.bar{display:block;height:4px;margin-top:3px;background:var(--bar);border-radius:2px;margin-left:auto}
details{margin:.3rem 0}summary{cursor:pointer}ul{margin:.3rem 0;padding-left:1.2rem}
@media(max-width:40rem){body{font-size:15px;padding:.6rem}th,td{padding:.3rem .45rem}
.scroll.first tbody th{white-space:normal;max-width:9rem}}
@media print{body{max-width:none;font-size:9pt;padding:0}.scroll{overflow:visible;border:0}table{font-size:6.6pt}
th,td{padding:1.5pt 3pt;white-space:normal!important}tr{break-inside:avoid}thead{display:table-header-group}
h2{break-after:avoid}td.w{min-width:0}tbody th,thead th:first-child{position:static}
.ok,.warn,.bad{-webkit-print-color-adjust:exact;print-color-adjust:exact}@page{size:landscape;margin:12mm}}
</style></head><body>
)";

/// A key that may be broken after its underscores.
std::string name(const std::string& key) {
  std::string out;
  for (const char c : key) out += c == '_' ? std::string("_<wbr>") : std::string(1, c);
  return out;
}

std::string ms(sim::Tick t) { return fmt::format("{:.3f}", static_cast<double>(t) / sim::kMillisecond); }
std::string us(sim::Tick t) { return fmt::format("{:.1f}", static_cast<double>(t) / sim::kMicrosecond); }

/// A number with a bar: a share of the largest, or its place between a thousandth of the largest and the
/// largest.
std::string barred(const std::string& text, double value, double largest, bool logarithmic = true) {
  double share = 0;
  if (value > 0 && largest > 0)
    share = logarithmic ? std::max(0.0, 1 + std::log10(value / largest) / 3) : value / largest;
  return fmt::format("<td class=n>{}<span class=bar style=\"width:{:.0f}%\"></span></td>", text, 100 * share);
}
std::string number(const std::string& text) { return fmt::format("<td class=n>{}</td>", text); }
std::string words(const std::string& text, const char* extra = "") {
  return fmt::format("<td class=\"w{}\">{}</td>", extra, markup_escaped(text));
}

/// Is it fatal, a finding, or nothing?
const char* verdict(const RunResult& r) {
  if (!r.oops.empty() || r.bind_error != 0) return "bad";
  for (const auto& [kind, count] : r.findings) {
    if (kind != "bh_off" && kind != "lock_held" && kind != "stalled_shutdown" && kind != "kernel_warning")
      return "bad";
  }
  return r.findings.empty() && r.unbind_ended ? "ok" : "warn";
}

std::string verdict_cell(const CompareCell& cell) {
  if (!cell.run)
    return fmt::format("<td class=bad>{}</td>", markup_escaped(cell.error.empty() ? "not run" : cell.error));
  const RunResult& r = *cell.run;
  std::string text = r.findings_text();
  if (!r.unbind_ended && r.oops.empty())
    text = fmt::format("the unbind was not over {:.1f} ms on, at the end{}",
                       static_cast<double>(r.unbind) / static_cast<double>(sim::kMillisecond),
                       text.empty() ? "" : "; " + text);
  const char* mark = text.empty() ? "&#10003; no finding" : "";
  return fmt::format("<td class={}>{}{}</td>", verdict(r), mark, markup_escaped(text));
}

void overview(std::string& out, const Comparison& c) {
  out += "<h2>What was found</h2><div class=\"scroll first\"><table><thead><tr><th>strategy</th>";
  for (const auto& scenario : c.scenarios)
    for (const auto& mode : c.modes)
      out += fmt::format("<th>{}<br><span class=dim>{}</span></th>", markup_escaped(scenario), mode);
  out += "</tr></thead><tbody>";
  for (const auto& strategy : c.strategies) {
    out += fmt::format("<tr><th>{}</th>", name(strategy));
    for (const auto& scenario : c.scenarios)
      for (const auto& mode : c.modes) out += verdict_cell(*c.cell(scenario, mode, strategy));
    out += "</tr>";
  }
  out +=
      "</tbody></table></div><p class=dim>Red: an oops, memory or mappings misused or lost. "
      "Amber: nothing was damaged, but somebody waited too long, or the run ended before the unbind did. "
      "Green: nothing.</p>";
}

void costs(std::string& out, const Comparison& c, const std::string& mode) {
  out += fmt::format(
      "<h2>What it costs: DMA {}</h2><div class=scroll><table><thead><tr><th>strategy</th><th "
      "class=n>cache<br>"
      "cycles<th class=n>ring<br>cycles<th class=n>map<br>cycles<th class=n>against<br>stock<th "
      "class=n>unmap<br>"
      "cycles<th class=n>against<br>stock<th class=n>tracking<br>B/page<th class=n>GiB at 24 GiB<br>in flight"
      "<th>pages in flight<th class=n>destroy with<br>these, ms<th>bound again at once"
      "<th>tracking memory cannot be had</tr></thead><tbody>",
      mode);
  double map = 0, unmap = 0, destroy = 0;
  for (const auto& strategy : c.strategies) {
    const auto& p = c.cost(mode, strategy)->probe;
    if (!p) continue;
    map = std::max(map, p->map_cycles);
    unmap = std::max(unmap, p->unmap_cycles);
    destroy = std::max(destroy, static_cast<double>(p->destroy));
  }
  const CompareCosts* stock = c.cost(mode, "stock");
  std::optional<double> stock_map, stock_unmap;
  if (stock != nullptr && stock->probe)
    stock_map = stock->probe->map_cycles, stock_unmap = stock->probe->unmap_cycles;
  for (const auto& strategy : c.strategies) {
    const CompareCosts& k = *c.cost(mode, strategy);
    out += fmt::format("<tr><th>{}</th>", strategy);
    if (k.probe) {
      const ProbeResult& p = *k.probe;
      out +=
          number(fmt::format("{:.1f}", p.cache_cycles)) + number(fmt::format("{:.1f}", p.ring_cycles)) +
          barred(fmt::format("{:.1f}", p.map_cycles), p.map_cycles, map, false) +
          number(against_stock(p.map_cycles, stock_map)) +
          barred(fmt::format("{:.1f}", p.unmap_cycles), p.unmap_cycles, unmap, false) +
          number(against_stock(p.unmap_cycles, stock_unmap)) +
          number(fmt::format("{:.2f}", p.tracking_bytes_per_page())) + number(tracking_at_24_gib(p)) +
          fmt::format("<td{}>{}</td>", p.pages_in_flight < p.pages_asked ? " class=bad" : "", limit_text(p)) +
          barred(ms(p.destroy), static_cast<double>(p.destroy), destroy);
    } else {
      out += "<td colspan=10>not measured</td>";
    }
    const bool again =
        k.rebind && k.rebind->rebound && k.rebind->rebind <= sim::kSecond && k.rebind->findings.empty();
    out += words(rebind_text(k), again ? " ok" : k.rebind ? " bad" : "") + words(no_memory_text(k)) + "</tr>";
  }
  out += "</tbody></table></div>";
}

void figures(std::string& out, const Comparison& c, const std::string& scenario, const std::string& mode) {
  out += fmt::format("<h2>{}: DMA {}</h2>", markup_escaped(scenario), mode);
  double unbind = 0, bh = 0, spin = 0;
  const RunResult* any = nullptr;
  for (const auto& strategy : c.strategies) {
    const auto& r = c.cell(scenario, mode, strategy)->run;
    if (!r) continue;
    any = &*r;
    if (r->unbind_ended) unbind = std::max(unbind, static_cast<double>(r->unbind));
    bh = std::max(bh, static_cast<double>(r->longest_bh_off));
    spin = std::max(spin, static_cast<double>(r->longest_spin));
  }
  if (any != nullptr)
    out += fmt::format("<p class=dim>device {}, {} skbs outstanding at the unbind</p>", any->device,
                       any->pages_outstanding);
  out +=
      "<div class=scroll><table><thead><tr><th>strategy<th class=n>unmaps<br>before<th "
      "class=n>inside<br>destroy<th class=n>"
      "after<th class=n>late,<br>no driver<th class=n>IOMMU<br>faults<th class=n>leaked<br>pages<th "
      "class=n>leaked<br>IOVAs"
      "<th class=n>unbind<br>ms<th class=n>BH off<br>max us<th class=n>spin in<br>softirq us<th "
      "class=n>cycles/<br>packet"
      "<th class=n>against<br>stock<th class=n>tracking<br>bytes<th>still held at the "
      "end<th>dma-debug</tr></thead><tbody>";
  const CompareCell* stock = c.cell(scenario, mode, "stock");
  std::optional<double> base;
  if (stock != nullptr && stock->run) base = stock->run->cycles_per_packet;
  std::string chains;
  for (const auto& strategy : c.strategies) {
    const CompareCell& cell = *c.cell(scenario, mode, strategy);
    out += fmt::format("<tr><th>{}</th>", strategy);
    if (!cell.run) {
      out += fmt::format("<td colspan=15>{}</td></tr>",
                         markup_escaped(cell.error.empty() ? "not run" : cell.error));
      continue;
    }
    const RunResult& r = *cell.run;
    for (const std::uint64_t n : {r.unmap_before, r.unmap_inside, r.unmap_after, r.late_unmaps,
                                  r.iommu_faults, r.leaked_pages, r.leaked_iovas}) {
      out += number(fmt::to_string(n));
    }
    out += r.unbind_ended ? barred(ms(r.unbind), static_cast<double>(r.unbind), unbind)
                          : "<td class=\"n bad\">never</td>";
    out += barred(us(r.longest_bh_off), static_cast<double>(r.longest_bh_off), bh) +
           barred(us(r.longest_spin), static_cast<double>(r.longest_spin), spin) +
           number(fmt::format("{:.1f}", r.cycles_per_packet)) +
           number(against_stock(r.cycles_per_packet, base)) + number(fmt::to_string(r.tracking_bytes)) +
           words(r.held_by) + words(dma_debug_text(r)) + "</tr>";
    chains += fmt::format("<li><b>{}</b>: bottom halves off for {} us: <code>{}</code>", strategy,
                          us(r.longest_bh_off), markup_escaped(r.longest_bh_off_chain));
    if (r.longest_spin != 0) {
      chains +=
          fmt::format("; spun {} us in softirq for <code>{}</code>: <code>{}</code>", us(r.longest_spin),
                      markup_escaped(r.longest_spin_lock), markup_escaped(r.longest_spin_chain));
    }
    if (!r.oops.empty()) chains += fmt::format("; oops in <code>{}</code>", markup_escaped(r.oops));
    chains += "</li>";
  }
  out += fmt::format(
      "</tbody></table></div><details><summary>Call chains of the longest of "
      "each</summary><ul>{}</ul></details>",
      chains);
}

constexpr const char* kMethod = R"(<h2>How it was measured</h2>
<p>Every figure comes from runs of the modelled machine; no strategy declares anything. <b>unbind</b>: duration of
device_unbind. <b>BH off</b>: longest stretch with bottom halves off outside softirq. <b>spin in softirq</b>: longest wait of a
core in softirq for a spin lock. <b>cycles/packet</b>: core cycles in the receive poll, steady traffic, pages recycled.
<b>cache, ring, map, unmap</b>: core cycles of an allocation and return through the cache, through the ring, of an allocation
that maps a fresh page, and of a return that unmaps it. <b>tracking</b>: memory that the strategy holds. <b>in flight</b>: pages
allocated without returning any, until an allocation failed or the goal was reached. <b>bound again</b>: the first scenario with the
driver bound again at once. <b>tracking memory</b>: the first scenario with every allocation of tracking memory failing, from the
beginning or after four.</p>)";

}  // namespace

std::string comparison_html(const Comparison& c) {
  std::string out = kHead;
  out += "<h1>Page pools at unbind: strategies compared</h1>";
  out += fmt::format("<p class=dim>{} runs{}. <code>{}</code></p>", c.cells.size() + 4 * c.costs.size(),
                     c.complete ? "" : ", INTERRUPTED: what was not run says so", markup_escaped(c.command));
  overview(out, c);
  if (!c.costs.empty())
    for (const auto& mode : c.modes) costs(out, c, mode);
  for (const auto& scenario : c.scenarios)
    for (const auto& mode : c.modes) figures(out, c, scenario, mode);
  out += kMethod;
  return out + "</body></html>\n";
}

}  // namespace scenario
