// SPDX-License-Identifier: Apache-2.0
// The pages of a study: HTML in one file, and Markdown for docs/studies.
#include <fmt/format.h>

#include <algorithm>

#include "testbenches/scenario/markup.h"
#include "testbenches/study/report.h"

namespace study {
namespace {

using scenario::markup_escaped;

constexpr const char* kHead = R"(<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{}</title>
<style>
:root{{color-scheme:light dark;--bg:#fff;--fg:#1c2126;--dim:#5a6570;--line:#d7dde3;--head:#f3f6f8}}
@media(prefers-color-scheme:dark){{:root{{--bg:#14181c;--fg:#e4e8ec;--dim:#9aa6b2;--line:#323a43;--head:#1e242a}}}}
*{{box-sizing:border-box}}body{{margin:0 auto;padding:1rem;max-width:64rem;background:var(--bg);color:var(--fg);
font:16px/1.45 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}}
h1{{font-size:1.5rem;margin:.2rem 0}}h2{{font-size:1.15rem;margin:2rem 0 .4rem}}p{{max-width:60rem;margin:.4rem 0}}
.dim{{color:var(--dim)}}code{{font:.85em ui-monospace,Menlo,Consolas,monospace;overflow-wrap:anywhere}}
.scroll{{overflow-x:auto;border:1px solid var(--line);border-radius:6px;margin:.6rem 0}}
table{{border-collapse:collapse;font-size:.86rem}}th,td{{padding:.3rem .6rem;border-bottom:1px solid var(--line);text-align:left}}
thead th{{background:var(--head);vertical-align:bottom}}td.n{{text-align:right;font-variant-numeric:tabular-nums}}
svg{{display:block;max-width:100%;height:auto;border:1px solid var(--line);border-radius:6px}}
@media print{{body{{max-width:none;font-size:9pt}}.scroll{{overflow:visible;border:0}}svg,tr{{break-inside:avoid}}}}
</style></head><body>
)";

const char* design_text(Design d) {
  switch (d) {
    case Design::kGrid:
      return "every combination";
    case Design::kLatinHypercube:
      return "latin hypercube";
    case Design::kOneAtATime:
      return "one parameter at a time, from the first level of each";
  }
  return "";
}

std::string how_it_was_made(const Results& r) {
  std::size_t done = 0, failed = 0;
  for (const auto& runs : r.runs) {
    for (const Run& run : runs) done += run.figures.has_value(), failed += !run.error.empty();
  }
  std::string text = fmt::format("{} points, {}; {} runs, {:.0f} s of CPU", r.points.size(),
                                 design_text(r.study.design), done, r.cpu_seconds);
  if (r.study.repeats > 1)
    text += fmt::format("; {} repeats, the n-th of every point with the same seed", r.study.repeats);
  if (failed != 0) text += fmt::format("; {} runs gave no figures", failed);
  if (!r.complete) text += "; interrupted";
  return text;
}

/// "averaged over mode": what a plot does not name.
std::string averaged_over(const Results& r, const Plot& plot) {
  std::vector<std::string> names;
  if (r.study.design == Design::kOneAtATime) return "";
  for (const Axis& a : r.study.axes) {
    const bool named =
        a.name == plot.x || a.name == plot.by ||
        std::ranges::find(plot.where, a.name, [](const auto& w) { return w.first; }) != plot.where.end();
    if (!named && (a.levels.size() > 1 || a.levels.empty())) names.push_back(a.name);
  }
  if (names.empty() || r.study.design == Design::kLatinHypercube) return "";
  return fmt::format("mean over {}; bars: least to most", fmt::join(names, ", "));
}

std::string caption(const Results& r, const Plot& plot) {
  std::string text = averaged_over(r, plot);
  for (const auto& [axis, level] : plot.where)
    text += fmt::format("{}{} {}", text.empty() ? "" : "; ", axis, level);
  return text;
}

std::string influence_title(const Results& r) {
  return r.study.design == Design::kLatinHypercube
             ? "Rank correlation (Spearman) of each measure with each axis"
             : "How far the mean of each measure moves over the levels of each axis";
}

std::vector<std::string> head_of(const Results& r, bool axes) {
  std::vector<std::string> head;
  if (axes) {
    for (const Axis& a : r.study.axes) head.push_back(a.name);
  } else {
    head.emplace_back("axis");
  }
  for (const Measure& m : r.study.measures) {
    head.push_back(axes && !m.unit.empty() ? fmt::format("{} ({})", m.name, m.unit) : m.name);
  }
  return head;
}

/// `words`: columns that are no numbers.
std::string html_table(const std::vector<std::string>& head,
                       const std::vector<std::vector<std::string>>& rows, std::size_t words) {
  std::string html = "<div class=scroll><table><thead><tr>";
  for (const std::string& h : head) html += fmt::format("<th>{}</th>", markup_escaped(h));
  html += "</tr></thead><tbody>\n";
  for (const auto& row : rows) {
    html += "<tr>";
    for (std::size_t i = 0; i < row.size(); ++i) {
      html += fmt::format("<td{}>{}</td>", i < words ? "" : " class=n", markup_escaped(row[i]));
    }
    html += "</tr>\n";
  }
  return html + "</tbody></table></div>\n";
}

std::string markdown_table(const std::vector<std::string>& head,
                           const std::vector<std::vector<std::string>>& rows) {
  std::string text = fmt::format("| {} |\n|", fmt::join(head, " | "));
  for (std::size_t i = 0; i < head.size(); ++i) text += "---|";
  text += "\n";
  for (const auto& row : rows) text += fmt::format("| {} |\n", fmt::join(row, " | "));
  return text;
}

/// Rows: axes; columns: measures.
std::vector<std::vector<std::string>> influence_rows(const Results& r) {
  std::vector<std::vector<std::string>> rows;
  for (const Influence& i : influences(r)) {
    if (rows.empty() || rows.back().front() != i.axis) rows.push_back({i.axis});
    rows.back().push_back(fmt::format("{:.3g}", i.value));
  }
  return rows;
}

}  // namespace

std::string report_html(const Results& r) {
  const Study& s = r.study;
  std::string html = fmt::format(fmt::runtime(kHead), markup_escaped(s.title));
  html += fmt::format("<h1>{}</h1>\n<p>{}</p>\n", markup_escaped(s.title), markup_escaped(s.question));
  if (!s.assumes.empty()) html += fmt::format("<p><b>Assumed.</b> {}</p>\n", markup_escaped(s.assumes));
  if (!s.published.empty()) html += fmt::format("<p><b>Published.</b> {}</p>\n", markup_escaped(s.published));
  html += fmt::format("<p class=dim>{}. <code>{}</code>, {}, {}.</p>\n", markup_escaped(how_it_was_made(r)),
                      markup_escaped(r.command), markup_escaped(r.machine), markup_escaped(r.date));
  for (const Plot& plot : s.plots) {
    html += fmt::format("<h2>{}</h2>\n{}", markup_escaped(plot.title), plot_svg(r, plot));
    if (const std::string text = caption(r, plot); !text.empty())
      html += fmt::format("<p class=dim>{}</p>\n", markup_escaped(text));
  }
  html +=
      fmt::format("<h2>{}</h2>\n{}", influence_title(r), html_table(head_of(r, false), influence_rows(r), 1));
  html += "<h2>Figures</h2>\n" + html_table(head_of(r, true), mean_rows(r), r.study.axes.size());
  html += "<h2>Measures</h2>\n<ul>\n";
  for (const Measure& m : s.measures) {
    html += fmt::format("<li>{} = <code>{}</code> {}</li>\n", markup_escaped(m.name),
                        markup_escaped(m.formula), markup_escaped(m.unit));
  }
  return html +
         fmt::format("</ul>\n<h2>The study</h2>\n<pre class=scroll><code>{}</code></pre>\n</body></html>\n",
                     markup_escaped(s.text));
}

std::string report_markdown(const Results& r, const std::vector<std::string>& images) {
  const Study& s = r.study;
  std::string text = fmt::format("# {}\n\n{}\n\n", s.title, s.question);
  if (!s.assumes.empty()) text += fmt::format("**Assumed.** {}\n\n", s.assumes);
  if (!s.published.empty()) text += fmt::format("**Published.** {}\n\n", s.published);
  text += fmt::format("Made by `{}` ({}, {}): {}.\n", r.command, r.machine, r.date, how_it_was_made(r));
  for (std::size_t i = 0; i < s.plots.size() && i < images.size(); ++i) {
    text += fmt::format("\n## {}\n![{}]({})\n", s.plots[i].title, s.plots[i].title, images[i]);
    if (const std::string words = caption(r, s.plots[i]); !words.empty())
      text += fmt::format("\n{}\n", words);
  }
  text +=
      fmt::format("\n## {}\n{}", influence_title(r), markdown_table(head_of(r, false), influence_rows(r)));
  text += fmt::format("\n## Figures\n{}", markdown_table(head_of(r, true), mean_rows(r)));
  text += "\n## Measures\n";
  for (const Measure& m : s.measures)
    text += fmt::format("- {} = `{}`{}\n", m.name, m.formula, m.unit.empty() ? "" : ", " + m.unit);
  return text;
}

}  // namespace study
