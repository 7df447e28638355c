// SPDX-License-Identifier: Apache-2.0
// The page: everything inline, figures as SVG, colours by CSS variables so that light and dark both read.
#include <algorithm>
#include <set>

#include "testbenches/campaign/report.h"
#include "testbenches/scenario/markup.h"

namespace campaign {
namespace {

constexpr const char* kStyle = R"css(
:root{--bg:#fcfcfb;--card:#fff;--ink:#1d1d1b;--soft:#5c5b57;--line:#dddbd5;--grid:#eceae4;--bar:#2a78d6}
:root[data-theme=dark]{--bg:#161615;--card:#1f1f1d;--ink:#ecebe6;--soft:#a8a69f;--line:#3a3936;--grid:#2b2a28;--bar:#5598e7}
@media (prefers-color-scheme:dark){:root:not([data-theme=light]){--bg:#161615;--card:#1f1f1d;--ink:#ecebe6;--soft:#a8a69f;--line:#3a3936;--grid:#2b2a28;--bar:#5598e7}}
*{box-sizing:border-box}body{margin:0;background:var(--bg);color:var(--ink);font:15px/1.5 system-ui,sans-serif}
main{max-width:1080px;margin:0 auto;padding:24px 20px 64px}h1{font-size:24px;margin:0 0 4px}h2{font-size:18px;margin:36px 0 8px}
p,.note{color:var(--soft);margin:4px 0 10px;max-width:78ch}table{border-collapse:collapse;width:100%;font-size:13.5px}
th,td{text-align:left;padding:5px 10px 5px 0;border-bottom:1px solid var(--line);vertical-align:top}th{color:var(--soft);font-weight:600;cursor:pointer}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}code{font:12.5px ui-monospace,monospace;white-space:nowrap}
.scroll{overflow-x:auto}svg{display:block;max-width:100%;height:auto}svg text{fill:var(--ink);font:12px system-ui,sans-serif}svg .soft{fill:var(--soft)}
.key{display:flex;flex-wrap:wrap;gap:6px 16px;font-size:13px;margin:6px 0}.key i{display:inline-block;width:11px;height:11px;border-radius:2px;margin-right:6px}
button{float:right;background:var(--card);color:var(--ink);border:1px solid var(--line);border-radius:6px;padding:4px 10px;cursor:pointer}
.o0,.o1{fill:#7a1fa2;background:#7a1fa2}.o2{fill:#6f6e69;background:#6f6e69}.o3{fill:#b9b7b0;background:#b9b7b0}.o4,.o5,.o6{fill:#b3261e;background:#b3261e}
.o7{fill:#e34948;background:#e34948}.o8{fill:#eb6834;background:#eb6834}.o9{fill:#e87ba4;background:#e87ba4}.o10{fill:#d0568a;background:#d0568a}
.o11{fill:#2a78d6;background:#2a78d6}.o12{fill:#1baf7a;background:#1baf7a}.o13{fill:#eda100;background:#eda100}.o14{fill:#9085e9;background:#9085e9}.o15{fill:#8d9a86;background:#8d9a86}
)css";

constexpr const char* kScript = R"js(
document.querySelector('button').onclick=()=>{const r=document.documentElement,d=r.dataset.theme||(matchMedia('(prefers-color-scheme:dark)').matches?'dark':'light');r.dataset.theme=d==='dark'?'light':'dark'};
for(const h of document.querySelectorAll('th'))h.onclick=()=>{const b=h.closest('table').tBodies[0],i=h.cellIndex,up=h.dataset.up=h.dataset.up==='1'?'0':'1',v=r=>{const t=r.cells[i].dataset.v||r.cells[i].textContent;return isNaN(parseFloat(t))?t:parseFloat(t)};
[...b.rows].sort((x,y)=>(v(x)>v(y)?1:v(x)<v(y)?-1:0)*(up==='1'?1:-1)).forEach(r=>b.append(r))};
)js";

/// Four digits and a unit.
std::string time_text(sim::Tick t) {
  if (t == sim::kNever) return "";
  const char* units[] = {"fs", "ps", "ns", "us", "ms", "s"};
  double value = static_cast<double>(t);
  std::size_t unit = 0;
  for (; value >= 1000 && unit < 5; ++unit) value /= 1000;
  return fmt::format("{:.4g} {}", value, units[unit]);
}

/// Table with a header; cells are HTML. A column whose name begins with '#' holds numbers.
class HtmlTable {
 public:
  explicit HtmlTable(const std::vector<std::string>& columns) {
    text_ = "<div class=scroll><table><thead><tr>";
    for (const std::string& c : columns) {
      numbers_.push_back(c.starts_with('#'));
      text_ += numbers_.back() ? "<th class=n>" + scenario::markup_escaped(c.substr(1))
                               : "<th>" + scenario::markup_escaped(c);
      text_ += "</th>";
    }
    text_ += "</tr></thead><tbody>";
  }
  void row(const std::vector<std::string>& cells) {
    text_ += "<tr>";
    for (std::size_t i = 0; i < cells.size(); ++i)
      text_ += (numbers_[i] ? "<td class=n>" : "<td>") + cells[i] + "</td>";
    text_ += "</tr>\n";
  }
  std::string end() { return text_ + "</tbody></table></div>\n"; }

 private:
  std::string text_;
  std::vector<bool> numbers_;
};

std::string outcome_key(const std::set<std::size_t>& used) {
  std::string text = "<div class=key>";
  for (const std::size_t o : used) {
    text += fmt::format("<span><i class=o{}></i>{}</span>", o, to_string(static_cast<Outcome>(o)));
  }
  return text + "</div>\n";
}

/// Outcomes of a variant as bars with Wilson intervals.
std::string outcome_bars(const VariantEstimate& v, double confidence) {
  constexpr int kRow = 22, kLeft = 110, kWidth = 620;
  const int height = static_cast<int>(v.outcomes.size()) * kRow + 26;
  std::string s = fmt::format("<svg viewBox='0 0 980 {}' width=980 role=img aria-label='outcomes of {}'>",
                              height, scenario::markup_escaped(v.variant));
  for (int tick = 0; tick <= 4; ++tick) {
    const int x = kLeft + kWidth * tick / 4;
    s += fmt::format(
        "<line x1={0} x2={0} y1=0 y2={1} style='stroke:var(--grid)'/><text class=soft x={0} y={2} "
        "text-anchor=middle>{3}&#8239;%</text>",
        x, height - 22, height - 6, 25 * tick);
  }
  int y = 2;
  for (const auto& [key, n] : v.outcomes) {
    std::size_t o = 0;
    while (key != to_string(static_cast<Outcome>(o))) ++o;
    const Interval i = wilson(n, v.n, confidence);
    const double share = static_cast<double>(n) / static_cast<double>(v.n);
    s += fmt::format("<text x={} y={} text-anchor=end>{}</text>", kLeft - 8, y + 13, key);
    s += fmt::format(
        "<rect class=o{} x={} y={} width={:.1f} height=14 rx=2><title>{}: {} of {}, {}</title></rect>", o,
        kLeft, y + 2, std::max(1.0, share * kWidth), key, n, v.n, summary(static_cast<Outcome>(o)));
    s += fmt::format("<line x1={:.1f} x2={:.1f} y1={} y2={} style='stroke:var(--ink)'/>",
                     kLeft + i.low * kWidth, kLeft + i.high * kWidth, y + 9, y + 9);
    s += fmt::format("<text x={} y={}>{} &#183; {:.3f}&#8239;% [{:.3f}, {:.3f}]</text>", kLeft + kWidth + 12,
                     y + 13, n, 100 * share, 100 * i.low, 100 * i.high);
    y += kRow;
  }
  return s + "</svg>\n";
}

std::string space_map(const Report& r, const std::string& variant) {
  constexpr int kRow = 18, kLeft = 150, kCell = 8;
  std::vector<const StratumFigures*> rows;
  for (const auto& s : r.strata) {
    if (s.variant == variant) rows.push_back(&s);
  }
  const int height = static_cast<int>(rows.size()) * kRow + 24;
  std::string s = fmt::format("<svg viewBox='0 0 980 {}' width=980 role=img aria-label='fault space of {}'>",
                              height, scenario::markup_escaped(variant));
  int y = 0;
  for (const StratumFigures* f : rows) {
    s += fmt::format("<text x={} y={} text-anchor=end>{}</text>", kLeft - 8, y + 13,
                     scenario::markup_escaped(f->label));
    for (std::size_t c = 0; c < kMapColumns; ++c) {
      if (f->count[c] == 0) continue;
      s += fmt::format("<rect class=o{} x={} y={} width={} height={}><title>{} x, worst {}</title></rect>",
                       f->worst[c], kLeft + static_cast<int>(c) * kCell, y + 2, kCell - 1, kRow - 4,
                       f->count[c], to_string(static_cast<Outcome>(f->worst[c])));
    }
    y += kRow;
  }
  const int right = kLeft + static_cast<int>(kMapColumns) * kCell;
  s += fmt::format("<line x1={} x2={} y1={} y2={} style='stroke:var(--line)'/>", kLeft, right, y + 2, y + 2);
  s += fmt::format("<text class=soft x={} y={}>{}</text><text class=soft x={} y={} text-anchor=end>{}</text>",
                   kLeft, y + 18, time_text(r.from), right, y + 18, time_text(r.to));
  return s + "</svg>\n";
}

std::string histogram(const std::string& name, const Latencies& l) {
  std::size_t low = 0, high = kLatencyBins - 1;
  while (low < high && l.bins[low] == 0) ++low;
  while (high > low && l.bins[high] == 0) --high;
  const std::uint64_t most = *std::max_element(l.bins.begin(), l.bins.end());
  const int width = static_cast<int>(high - low + 1) * 30 + 20;
  std::string s = fmt::format(
      "<p><b>{}</b>: {} &#183; p50 {} &#183; p95 {} &#183; p99 {} &#183; p99.9 {} &#183; longest {}</p>",
      scenario::markup_escaped(name), l.all.size(), time_text(l.percentile(0.5)),
      time_text(l.percentile(0.95)), time_text(l.percentile(0.99)), time_text(l.percentile(0.999)),
      time_text(l.all.back()));
  s += fmt::format("<svg viewBox='0 0 {0} 96' width={0} role=img aria-label='latencies: {1}'>", width,
                   scenario::markup_escaped(name));
  for (std::size_t b = low; b <= high; ++b) {
    const int x = static_cast<int>(b - low) * 30 + 10,
              h = l.bins[b] == 0 ? 0 : std::max(1, static_cast<int>(l.bins[b] * 70 / most));
    s += fmt::format(
        "<rect x={} y={} width=26 height={} rx=2 style='fill:var(--bar)'><title>from {}: {}</title></rect>",
        x, 74 - h, h, time_text((sim::Tick{1} << b) * sim::kNanosecond), l.bins[b]);
    if ((b - low) % 3 == 0) {
      const std::uint64_t ns = std::uint64_t{1} << b;
      const std::string label = ns < 1000        ? fmt::format("{} ns", ns)
                                : ns < 1'000'000 ? fmt::format("{} us", ns / 1000)
                                                 : fmt::format("{} ms", ns / 1'000'000);
      s += fmt::format("<text class=soft x={} y=90>{}</text>", x, label);
    }
  }
  return s + "</svg>\n";
}

std::string comparison_table(const Report& r) {
  HtmlTable t({"variants", "#both fail", "#only the first", "#only the second", "#neither",
               "difference of shares", "#p (McNemar, exact)", "faults that differ"});
  for (const PairedComparison& c : r.comparisons) {
    std::string examples;
    for (const std::uint64_t f : c.examples) examples += fmt::format("{}{}", examples.empty() ? "" : ", ", f);
    const double n =
        static_cast<double>(std::max<std::uint64_t>(1, c.both + c.only_a + c.only_b + c.neither));
    t.row({scenario::markup_escaped(c.a) + " &minus; " + scenario::markup_escaped(c.b),
           std::to_string(c.both), std::to_string(c.only_a), std::to_string(c.only_b),
           std::to_string(c.neither),
           fmt::format("{:+.3f}&#8239;% [{:+.3f}, {:+.3f}]",
                       100 * (static_cast<double>(c.only_a) - static_cast<double>(c.only_b)) / n,
                       100 * c.difference.low, 100 * c.difference.high),
           fmt::format("{:.3g}", c.p_value), examples});
  }
  return t.end();
}

/// Failures in the whole fault space, where its size is known; "" if it is nowhere.
std::string extrapolation(const Report& r) {
  HtmlTable t({"variant", "fault", "#experiments", "#failures", "#share", "#|S|, bit x us",
               "#failures in S, bit x us"});
  bool any = false;
  for (const VariantEstimate& v : r.variants) {
    for (const StratumEstimate& e : v.strata) {
      if (e.space == 0) continue;
      any = true;
      const double size = static_cast<double>(e.space) * 1e-6;
      t.row({scenario::markup_escaped(v.variant),
             scenario::markup_escaped(e.label) + (e.whole ? " (whole)" : ""), std::to_string(e.n),
             std::to_string(e.k), fmt::format("{:.4f}&#8239;%", 100 * e.p), fmt::format("{:.6g}", size),
             fmt::format("{:.6g}", size * e.p)});
    }
  }
  return any ? "<h2>Failures in the whole fault space</h2><p>|S| &#183; share: what variants are to be "
               "compared by "
               "where one has more memory, or takes longer.</p>\n" +
                   t.end()
             : "";
}

std::string coverage(const Report& r) {
  HtmlTable t({"variant", "fault", "#run", "#acted", "#never reached", "#failures", "#cut short", "#pruned",
               "#audited", "#audit differs", "hit"});
  std::set<std::string> used, hit;
  std::string unreached;
  for (const StratumFigures& s : r.strata) {
    std::string sites;
    for (const auto& [site, n] : s.sites) {
      sites += fmt::format("{}{} &times;{}", sites.empty() ? "" : ", ", scenario::markup_escaped(site), n);
      hit.insert(site.substr(0, site.find(' ')));
    }
    if (s.n > 0 && s.acted == 0)
      unreached += fmt::format("{}{} with {}", unreached.empty() ? "" : ", ",
                               scenario::markup_escaped(s.label), scenario::markup_escaped(s.variant));
    t.row({scenario::markup_escaped(s.variant), scenario::markup_escaped(s.label), std::to_string(s.n),
           std::to_string(s.acted), std::to_string(s.not_activated), std::to_string(s.failures),
           std::to_string(s.converged), std::to_string(s.pruned), std::to_string(s.audited),
           std::to_string(s.audit_disagrees), sites});
  }
  std::string without, sites_without;
  for (const FaultSpec& f : r.campaign.faults) used.insert(f.kind);
  for (const FaultKind& k : fault_kinds()) {
    if (!used.contains(k.key)) without += fmt::format("{}{}", without.empty() ? "" : ", ", k.key);
  }
  for (const FaultSpec& f : r.campaign.faults) {
    for (const std::string& site : f.fault->sites()) {
      if (!hit.contains(site)) sites_without += fmt::format("{}{}", sites_without.empty() ? "" : ", ", site);
    }
  }
  return t.end() + fmt::format(
                       "<p><b>Never reached:</b> {}. <b>Sites never hit:</b> {}. <b>Kinds not in this "
                       "campaign:</b> {}.</p>\n",
                       unreached.empty() ? "none" : unreached, sites_without.empty() ? "none" : sites_without,
                       without.empty() ? "none" : without);
}

std::string bucket_table(const Report& r, bool failures) {
  HtmlTable t({"#count", "what", "into", "detail", "see it"});
  bool any = false;
  for (const auto& b : r.buckets) {
    if (is_failure_signature(b.signature) != failures) continue;
    const auto example = r.examples.find(b.smallest);
    if (example == r.examples.end()) continue;
    any = true;
    t.row({std::to_string(b.count), scenario::markup_escaped(b.signature),
           scenario::markup_escaped(example->second.entity),
           scenario::markup_escaped(example->second.detail.substr(0, 240)),
           fmt::format("<code>poolsim replay '{}#{}'</code>", scenario::markup_escaped(r.database),
                       b.smallest)});
  }
  return any ? t.end() : "<p>none</p>\n";
}

/// How outcomes read in the words of ISO 26262-5; no claim beyond the words.
std::string safety(const Report& r) {
  HtmlTable t({"variant", "#safe", "#detected, nothing worse", "#latent", "#residual",
               "#dangerous and detected", "#diagnostic coverage"});
  for (const VariantEstimate& v : r.variants) {
    std::uint64_t safe = 0, detected = 0, latent = 0, residual = 0;
    for (const auto& [key, n] : v.outcomes) {
      std::size_t o = 0;
      while (key != to_string(static_cast<Outcome>(o))) ++o;
      const auto outcome = static_cast<Outcome>(o);
      (is_failure(outcome)                                                  ? residual
       : outcome == Outcome::kDetectedHw || outcome == Outcome::kDetectedSw ? detected
       : outcome == Outcome::kLatent                                        ? latent
                                                                            : safe) += n;
    }
    const std::uint64_t dangerous = detected + residual;
    t.row({scenario::markup_escaped(v.variant), std::to_string(safe), std::to_string(detected),
           std::to_string(latent), std::to_string(residual), std::to_string(detected),
           dangerous == 0 ? ""
                          : fmt::format("{:.2f}&#8239;%", 100.0 * static_cast<double>(detected) /
                                                              static_cast<double>(dangerous))});
  }
  return t.end();
}

}  // namespace

std::string html(const Report& r) {
  std::string s =
      "<!doctype html>\n<html lang=en><head><meta charset=utf-8><meta name=viewport "
      "content='width=device-width,initial-scale=1'><title>";
  s += scenario::markup_escaped(r.campaign.name) + "</title><style>" + kStyle +
       "</style></head><body><main><button>light / dark</button>\n";
  s += fmt::format(
      "<h1>{}</h1><p>{} experiments with {}, seed {:#x}, {:.1f} s of CPU time, build {}, rows {}</p>\n",
      scenario::markup_escaped(r.campaign.name), r.experiments,
      scenario::markup_escaped(r.campaign.base_file), r.campaign.seed, r.cpu_seconds,
      scenario::markup_escaped(r.build), scenario::markup_escaped(r.rows_digest));
  if (r.unscheduled != 0)
    s += fmt::format("<p><b>Warning:</b> {}.</p>\n",
                     scenario::markup_escaped(unscheduled_warning(r.unscheduled, r.experiments)));
  s += "<h2>Failures</h2>\n";
  HtmlTable t(
      {"variant", "#experiments", "#failures", "share of the fault space", "Clopper-Pearson, unweighted"});
  for (const VariantEstimate& v : r.variants) {
    const Interval i = clopper_pearson(v.k, v.n, r.campaign.sampling.confidence);
    t.row({scenario::markup_escaped(v.variant), std::to_string(v.n), std::to_string(v.k),
           fmt::format("{:.3f}&#8239;% &plusmn; {:.3f}", 100 * v.p, 100 * v.margin),
           fmt::format("[{:.4f}, {:.4f}]&#8239;%", 100 * i.low, 100 * i.high)});
  }
  s += t.end() + bucket_table(r, true);
  s += "<h2>Outcomes</h2><p>Bars with Wilson intervals; the outcomes stand in the order in which they are "
       "looked for.</p>\n";
  std::set<std::size_t> used;
  for (const VariantEstimate& v : r.variants) {
    s += fmt::format("<p><b>{}</b></p>", scenario::markup_escaped(v.variant)) +
         outcome_bars(v, r.campaign.sampling.confidence);
  }
  s += "<h2>Fault space</h2><p>Each cell: injections of one kind in one stretch of time; the colour is the "
       "worst that came of them.</p>\n";
  std::string maps;
  for (const Variant& v : r.campaign.variants)
    maps += fmt::format("<p><b>{}</b></p>", scenario::markup_escaped(v.name)) + space_map(r, v.name);
  for (const auto& st : r.strata) {
    for (const auto w : st.worst) {
      if (w < kOutcomes) used.insert(w);
    }
  }
  s += outcome_key(used) + maps + extrapolation(r);
  if (!r.comparisons.empty())
    s += "<h2>Variants, fault by fault</h2><p>The same faults on both; Newcombe's interval for paired "
         "shares.</p>\n" +
         comparison_table(r);
  s += "<h2>Latencies</h2>\n";
  for (const auto& [detector, l] : r.detection)
    s += histogram("from the fault to its detection by the " + detector, l);
  if (!r.divergence.all.empty())
    s += histogram("from the injection to the first event that differs", r.divergence);
  s += "<h2>Coverage</h2>\n" + coverage(r);
  s += "<h2>In the words of ISO 26262-5</h2><p>A reading aid, no certification: safe = masked, degraded, not "
       "activated, invalid; "
       "residual = every failure; diagnostic coverage = detected of detected and residual.</p>\n" +
       safety(r);
  s += "<h2>Everything else that was seen</h2>\n" + bucket_table(r, false);
  return s + "</main><script>" + kScript + "</script></body></html>\n";
}

}  // namespace campaign
