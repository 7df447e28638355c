// SPDX-License-Identifier: Apache-2.0
#include "testbenches/scenario/report_page.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>

#include "sim/error.h"
#include "testbenches/checker/finding.h"
#include "testbenches/scenario/markup.h"

namespace scenario {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kHead = R"(<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>poolsim: report</title>
<style>
:root{color-scheme:light dark;--bg:#fff;--fg:#1c2126;--dim:#5a6570;--line:#d7dde3;--head:#f3f6f8;--ok:#1a7f4b;--bad:#b3261e;
--okbg:#e6f4ec;--badbg:#fbe6e4}
@media(prefers-color-scheme:dark){:root{--bg:#14181c;--fg:#e4e8ec;--dim:#9aa6b2;--line:#323a43;--head:#1e242a;--ok:#6fd39b;
--bad:#ff9b92;--okbg:#173226;--badbg:#3d1c19}}
*{box-sizing:border-box}body{margin:0 auto;padding:1rem;max-width:72rem;background:var(--bg);color:var(--fg);
font:16px/1.45 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
h1{font-size:1.5rem;margin:.2rem 0}h2{font-size:1.2rem;margin:2.2rem 0 .4rem;border-top:1px solid var(--line);padding-top:.8rem}
h3{font-size:1rem;margin:1.2rem 0 .3rem}p{margin:.4rem 0}.dim{color:var(--dim)}
code{font:.85em ui-monospace,Menlo,Consolas,monospace;overflow-wrap:anywhere}
.scroll{overflow-x:auto;border:1px solid var(--line);border-radius:6px;margin:.5rem 0}
table{border-collapse:collapse;font-size:.86rem;width:100%}th,td{padding:.3rem .6rem;border-bottom:1px solid var(--line);text-align:left;vertical-align:top}
thead th{background:var(--head)}td.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
.ok{color:var(--ok);background:var(--okbg)}.bad{color:var(--bad);background:var(--badbg)}
.badge{border-radius:4px;padding:.05rem .45rem;font-weight:600}
.card{border:1px solid var(--line);border-left:4px solid var(--bad);border-radius:6px;padding:.4rem .8rem;margin:.5rem 0}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.1rem .8rem;margin:.3rem 0;font-size:.9rem}dt{color:var(--dim)}dd{margin:0;overflow-wrap:anywhere}
pre{font:.8rem/1.4 ui-monospace,Menlo,Consolas,monospace;padding:.6rem;margin:0;white-space:pre-wrap}
svg{display:block;max-width:100%;height:auto}svg text{font:12px system-ui,sans-serif;fill:var(--fg)}svg .dim{fill:var(--dim)}
svg .grid{stroke:var(--line)}svg .bad{fill:var(--bad);stroke:var(--bad)}summary{cursor:pointer}
@media(max-width:40rem){body{font-size:15px;padding:.6rem}dl{grid-template-columns:1fr}dt{margin-top:.3rem}}
@media print{body{max-width:none;font-size:9pt;padding:0}.scroll{overflow:visible}.card,tr,svg{break-inside:avoid}
.ok,.bad{-webkit-print-color-adjust:exact;print-color-adjust:exact}}
</style></head><body>
)";

constexpr const char* kLaneColours[] = {"#0072b2", "#e69f00", "#009e73", "#cc79a7",
                                        "#56b4e9", "#8a6d3b", "#777777"};

std::string text_of(const Json& j, const char* key) {
  const auto at = j.find(key);
  if (at == j.end() || at->is_null()) return "";
  return at->is_string() ? at->get<std::string>() : at->dump();
}
double number_of(const Json& j, const char* key) {
  const auto at = j.find(key);
  return at != j.end() && at->is_number() ? at->get<double>() : 0;
}
/// Femtoseconds or seconds, whichever the key has, in seconds.
double seconds_of(const Json& j, const std::string& key) {
  if (const auto at = j.find(key + "_s"); at != j.end() && at->is_number()) return at->get<double>();
  return number_of(j, (key + "_fs").c_str()) * 1e-15;
}
std::string time_text(double s) {
  return checker::format_time(static_cast<sim::Tick>(std::llround(s * 1e15)));
}

std::string cell(const std::string& text, const char* kind = "") {
  return fmt::format("<td{}>{}</td>", kind, markup_escaped(text));
}
std::string number(const std::string& text) { return cell(text, " class=n"); }

/// When the unbind began and ended.
struct Unbind {
  double begin = 0, end = 0;
  bool known = false;
};
Unbind unbind_of(const Json& run) {
  Unbind u;
  for (const auto& line : run.value("dmesg", Json::array())) {
    if (text_of(line, "text").starts_with("--- unbind")) u.begin = number_of(line, "time_s"), u.known = true;
  }
  u.end = u.begin + seconds_of(run, "unbind");
  return u;
}

std::string findings_text(const Json& run) {
  std::string text;
  const Json all = run.value("findings", Json::object());
  for (const auto& [kind, count] : all.items()) {
    text += fmt::format("{}{} x {}", text.empty() ? "" : ", ", kind, count.get<std::uint64_t>());
  }
  return text.empty() ? "none" : text;
}

std::string comparison(const std::vector<ReportedRun>& runs) {
  std::string html =
      "<div class=scroll><table><thead><tr><th>run</th><th>strategy</th><th>DMA "
      "mode</th><th>outstanding</th><th>unbind</th>"
      "<th>unmapped before / in / after destroy</th><th>late unmaps</th><th>IOMMU faults</th><th>leaked "
      "pages</th><th>findings</th></tr></thead><tbody>\n";
  for (const ReportedRun& r : runs) {
    const Json& j = r.json;
    const bool clean = j.value("findings", Json::object()).empty();
    html += "<tr>" + cell(r.name) + cell(text_of(j, "strategy")) + cell(text_of(j, "dma_mode")) +
            number(text_of(j, "pages_outstanding")) +
            number(j.value("unbind_ended", true) ? time_text(seconds_of(j, "unbind")) : "not over") +
            number(fmt::format("{} / {} / {}", text_of(j, "unmap_before_destroy"),
                               text_of(j, "unmap_inside_destroy"), text_of(j, "unmap_after_destroy"))) +
            number(text_of(j, "late_unmaps")) + number(text_of(j, "iommu_faults")) +
            number(text_of(j, "leaked_pages")) + cell(findings_text(j), clean ? " class=ok" : " class=bad") +
            "</tr>\n";
  }
  return html + "</tbody></table></div>\n";
}

std::string finding_card(const Json& f) {
  std::string html =
      fmt::format("<div class=card><b>{}</b> x {}, first at {}", markup_escaped(text_of(f, "class")),
                  text_of(f, "count"), time_text(seconds_of(f, "first")));
  if (f.value("count", 1) > 1) html += ", last at " + time_text(seconds_of(f, "last"));
  html += "<dl>";
  for (const auto& [key, name] :
       {std::pair{"place", "at"}, {"who", "by"}, {"whom", "to"}, {"detail", "detail"}}) {
    if (const std::string text = text_of(f, key); !text.empty())
      html += fmt::format("<dt>{}</dt><dd><code>{}</code></dd>", name, markup_escaped(text));
  }
  std::string holders;
  const Json held = f.value("holders", Json::object());
  for (const auto& [holder, pages] : held.items())
    holders += fmt::format("{}{} x {}", holders.empty() ? "" : ", ", pages.dump(), holder);
  if (!holders.empty()) html += fmt::format("<dt>held by</dt><dd>{}</dd>", markup_escaped(holders));
  return html + "</dl></div>\n";
}

std::string holders_table(const Json& run) {
  const Json& all = run.value("who_holds", Json::array());
  if (all.empty()) return "";
  std::string html =
      "<h3>Who holds what at the end</h3><div "
      "class=scroll><table><thead><tr><th>pool</th><th>pages</th><th>holder</th>"
      "<th>for</th><th>path</th></tr></thead><tbody>\n";
  for (const auto& h : all) {
    std::string path;
    for (const auto& step : h.value("path", Json::array()))
      path += (path.empty() ? "" : " -> ") + text_of(step, "holder");
    html += "<tr>" + number(text_of(h, "pool")) + number(text_of(h, "pages")) +
            cell(fmt::format("{} {}", text_of(h, "holder"), text_of(h, "id"))) +
            number(time_text(seconds_of(h, "age"))) + cell(path) + "</tr>\n";
  }
  return html + "</tbody></table></div>\n";
}

std::string pools_table(const Json& run) {
  const Json pools = run.value("checker", Json::object()).value("pools", Json::array());
  if (pools.empty()) return "";
  std::string html = "<h3>Pools</h3><div class=scroll><table><thead><tr>";
  for (const auto& [key, value] : pools.front().items())
    html += fmt::format("<th>{}</th>", markup_escaped(key));
  html += "</tr></thead><tbody>\n";
  for (const auto& pool : pools) {
    html += "<tr>";
    for (const auto& [key, value] : pool.items())
      html += value.is_number() ? number(value.dump()) : cell(text_of(pool, key.c_str()));
    html += "</tr>\n";
  }
  return html + "</tbody></table></div>\n";
}

void counters(const Json& value, const std::string& path, std::string& rows) {
  if (value.is_object() && value.contains("value") && value.contains("unit")) {
    if (value["value"].is_number() && value["value"].get<double>() == 0) return;
    const std::string unit = text_of(value, "unit");
    rows += "<tr>" + cell(path) + number(fmt::format("{:.6g}", number_of(value, "value"))) +
            cell(unit == "1" ? "" : unit) + "</tr>\n";
    return;
  }
  if (!value.is_object()) return;
  for (const auto& [key, inner] : value.items()) counters(inner, path.empty() ? key : path + "." + key, rows);
}

std::string one_run(const ReportedRun& r) {
  const Json& j = r.json;
  const bool clean = j.value("findings", Json::object()).empty();
  std::string html = fmt::format(
      "<h2>{}</h2>\n<p><span class='badge {}'>{}</span> {} with {}, {} mode, device {}; {} of simulated "
      "time</p>\n",
      markup_escaped(r.name), clean ? "ok" : "bad", clean ? "nothing found" : "findings",
      markup_escaped(text_of(j, "scenario")), markup_escaped(text_of(j, "strategy")),
      markup_escaped(text_of(j, "dma_mode")), markup_escaped(text_of(j, "device")),
      time_text(seconds_of(j, "simulated")));
  html += "<h3>The unbind</h3>\n<div class=scroll>" + unbind_timeline_svg(j) + "</div>\n";
  if (!clean) html += "<h3>Findings</h3>\n";
  for (const auto& f : j.value("finding_list", Json::array())) html += finding_card(f);
  html += holders_table(j) + pools_table(j);
  std::string rows, log;
  counters(j.value("statistics", Json::object()), "", rows);
  html += "<details><summary>Counters that are not 0</summary><div class=scroll><table><tbody>\n" + rows +
          "</tbody></table></div></details>\n";
  for (const auto& line : j.value("dmesg", Json::array()))
    log += fmt::format("[{:13.6f}] {}\n", number_of(line, "time_s"), markup_escaped(text_of(line, "text")));
  return html + "<details open><summary>Kernel log</summary><div class=scroll><pre>" + log +
         "</pre></div></details>\n";
}

// ---- timeline ----

/// Time on paper: logarithmic to both sides of the unbind's begin, from a microsecond on.
class TimeAxis {
 public:
  TimeAxis(double origin, double first, double last, double from, double to)
      : origin_(origin), low_(fold(first - origin)), high_(fold(last - origin)), from_(from), to_(to) {
    if (!(low_ < high_)) low_ -= 1, high_ += 1;
  }
  double at(double t) const { return from_ + (fold(t - origin_) - low_) / (high_ - low_) * (to_ - from_); }
  /// Times before and after the origin, in seconds.
  std::vector<double> ticks() const {
    std::vector<double> all{0};
    for (double t = 1e-6; t < 1e6; t *= 10) {
      if (fold(t) <= high_ + 1e-9) all.push_back(t);
      if (fold(-t) >= low_ - 1e-9) all.push_back(-t);
    }
    return all;
  }

 private:
  static double fold(double dt) { return std::copysign(std::log10(1 + std::abs(dt) / 1e-6), dt); }
  double origin_, low_, high_, from_, to_;
};

struct Bar {
  double from, to;
  std::string holder, title;
};
constexpr std::size_t kShownPages = 24;
constexpr double kLeft = 150, kWidth = 1060, kRow = 12, kTop = 26;

/// The lives of pages that are in flight at the end, a row each.
std::vector<std::vector<Bar>> page_rows(const Json& run, double end) {
  std::vector<std::vector<Bar>> rows;
  for (const auto& page : run.value("in_flight", Json::array())) {
    if (rows.size() == kShownPages) break;
    std::vector<Bar> bars;
    for (const auto& step : page.value("path", Json::array())) {
      const double since = seconds_of(step, "since");
      if (!bars.empty()) bars.back().to = since;
      bars.push_back({since, end, text_of(step, "holder"),
                      fmt::format("page {:#x}", page.value("pfn", std::uint64_t{0}))});
    }
    if (!bars.empty()) rows.push_back(std::move(bars));
  }
  return rows;
}

}  // namespace

std::string unbind_timeline_svg(const Json& run) {
  const Unbind unbind = unbind_of(run);
  const double end = seconds_of(run, "simulated");
  const auto rows = page_rows(run, end);
  double first = unbind.known ? unbind.begin - 1e-5 : 0;
  for (const auto& row : rows) first = std::min(first, row.front().from);
  const TimeAxis axis(unbind.begin, std::max(0.0, first), std::max(end, unbind.end), kLeft, kWidth - 20);

  const Json log = run.value("dmesg", Json::array()), findings = run.value("finding_list", Json::array());
  const double log_rows = 14, height = kTop + 3 * kRow + log_rows + 2 * kRow +
                                       static_cast<double>(findings.size()) * (kRow + 4) +
                                       static_cast<double>(rows.size()) * kRow + 60;
  std::string s = fmt::format(
      "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {0:.0f} {1:.0f}' width='{0:.0f}' role='img' "
      "aria-label='timeline of the unbind'>\n",
      kWidth, height);
  for (const double t : axis.ticks()) {
    const double x = axis.at(unbind.begin + t);
    s += fmt::format(
        "<line class='grid' x1='{0:.1f}' x2='{0:.1f}' y1='{1:.0f}' y2='{2:.0f}'/><text class='dim' "
        "x='{0:.1f}' y='14' text-anchor='middle'>{3}</text>\n",
        x, kTop - 6, height - 34, t == 0 ? "unbind" : (t < 0 ? "-" : "+") + time_text(std::abs(t)));
  }
  double y = kTop + 4;
  if (unbind.known) {
    const double x = axis.at(unbind.begin);
    s += fmt::format(
        "<text x='0' y='{:.0f}'>driver unbinds</text><rect x='{:.1f}' y='{:.0f}' width='{:.1f}' height='10' "
        "fill='#0072b2'><title>{}</title></rect>\n",
        y + 10, x, y, std::max(2.0, axis.at(unbind.end) - x), time_text(unbind.end - unbind.begin));
    y += kRow + 8;
  }
  s += fmt::format("<text x='0' y='{:.0f}'>kernel log</text>\n", y + 10);
  for (const auto& line : log) {
    const double t = number_of(line, "time_s");
    if (t < first) continue;
    const std::string text = text_of(line, "text");
    const bool bad = text.starts_with("BUG") || text.starts_with("WARN") || text.starts_with("Oops");
    s += fmt::format("<circle cx='{:.1f}' cy='{:.0f}' r='4' {}><title>{} {}</title></circle>\n", axis.at(t),
                     y + 6, bad ? "class='bad'" : "fill='#777'", time_text(t), markup_escaped(text));
  }
  y += kRow + 10;
  for (const auto& f : findings) {
    const double a = axis.at(seconds_of(f, "first")), b = axis.at(seconds_of(f, "last"));
    s += fmt::format(
        "<text x='0' y='{:.0f}'>{}</text><line class='bad' x1='{:.1f}' x2='{:.1f}' y1='{:.0f}' y2='{:.0f}' "
        "stroke-width='2'/>"
        "<path class='bad' d='M{:.1f} {:.0f}l5 -5l5 5l-5 5z'><title>{}, {}</title></path>\n",
        y + 10, markup_escaped(text_of(f, "class")), a, b, y + 6, y + 6, a - 5, y + 6,
        markup_escaped(text_of(f, "class")), time_text(seconds_of(f, "first")));
    y += kRow + 4;
  }
  y += 6;
  std::map<std::string, const char*> colours;
  const std::size_t in_flight = run.value("in_flight", Json::array()).size();
  if (!rows.empty()) {
    s += fmt::format(
        "<text x='0' y='{:.0f}'>pages in flight</text><text class='dim' x='0' y='{:.0f}'>{} of {}</text>\n",
        y + 10, y + 25, rows.size(), in_flight);
  }
  for (const auto& row : rows) {
    for (const Bar& bar : row) {
      const auto colour =
          colours.try_emplace(bar.holder, kLaneColours[colours.size() % std::size(kLaneColours)])
              .first->second;
      const double x = axis.at(std::max(bar.from, first));
      s += fmt::format(
          "<rect x='{:.1f}' y='{:.0f}' width='{:.1f}' height='{:.0f}' fill='{}'><title>{}: {} from {} for "
          "{}</title></rect>\n",
          x, y, std::max(0.8, axis.at(bar.to) - x), kRow - 2, colour, bar.title, markup_escaped(bar.holder),
          time_text(bar.from), time_text(bar.to - bar.from));
    }
    y += kRow;
  }
  double x = kLeft;
  y = height - 20;
  for (const auto& [holder, colour] : colours) {
    const double width = 30 + 7 * static_cast<double>(holder.size());
    if (x + width > kWidth) x = kLeft, y += 14;
    s += fmt::format(
        "<rect x='{:.0f}' y='{:.0f}' width='10' height='10' fill='{}'/><text x='{:.0f}' "
        "y='{:.0f}'>{}</text>\n",
        x, y - 9, colour, x + 14, y, markup_escaped(holder));
    x += width;
  }
  return s + "</svg>\n";
}

std::string report_page(const std::vector<ReportedRun>& runs) {
  for (const ReportedRun& r : runs) {
    if (!r.json.is_object() || !r.json.contains("strategy") || !r.json.contains("finding_list")) {
      throw sim::Error(
          fmt::format("{}: no report of a run (make one with `poolsim run SCENARIO --json`)", r.name));
    }
  }
  std::string html = kHead;
  html += fmt::format("<h1>{} run{}</h1>\n", runs.size(), runs.size() == 1 ? "" : "s") + comparison(runs);
  for (const ReportedRun& r : runs) html += one_run(r);
  return html + "</body></html>\n";
}

}  // namespace scenario
