// SPDX-License-Identifier: Apache-2.0
// The pages of a study: HTML in one file that works without network, and Markdown for docs/studies.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "testbenches/scenario/markup.h"
#include "testbenches/study/page_files.h"
#include "testbenches/study/report.h"

namespace study {
namespace {

using scenario::markup_escaped;

/// Nothing may be loaded, from nowhere: the page is one file.
constexpr const char* kHead = R"(<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<title>{}</title>
<style>
{}</style></head><body>
)";

// So that a page of thousands of runs stays below 1.5 MB.
constexpr std::size_t kTableBytes = 150'000, kRunBytes = 150'000;

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
  std::size_t n = 0;
  for (; n < rows.size() && html.size() < kTableBytes; ++n) {
    html += "<tr>";
    for (std::size_t i = 0; i < rows[n].size(); ++i) {
      html += fmt::format("<td{}>{}</td>", i < words ? "" : " class=n", markup_escaped(rows[n][i]));
    }
    html += "</tr>\n";
  }
  html += "</tbody></table></div>\n";
  if (n < rows.size())
    html += fmt::format("<p class=dim>The first {} of {}; <code>--csv FILE</code> has all.</p>\n", n,
                        rows.size());
  return html;
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

/// Escaped, with its line ends.
std::string preformatted(const std::string& text) {
  std::string html;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    html += markup_escaped(text.substr(at, end - at)) + "\n";
    at = end + 1;
  }
  return html;
}

/// What plots.js draws. As content of an element no text in it may end that element.
std::string data_element(const Results& r) {
  nlohmann::ordered_json data = {{"name", r.study.name}, {"colours", plot_colours()}};
  data["plots"] = nlohmann::ordered_json::array();
  for (const Plot& plot : r.study.plots) data["plots"].push_back(plot_json(r, plot));
  const std::size_t all = r.points.size() * r.study.repeats;
  const std::size_t bytes = runs_json(r, 100).dump().size(), most = 100 * kRunBytes / bytes;
  data["runs"] = runs_json(r, std::max<std::size_t>(most, 100));
  data["runs_in_all"] = all;
  std::string html = "<script type=\"application/json\" id=\"data\">";
  for (const char c : data.dump()) {
    if (c == '<') {
      html += "\\u003c";
    } else {
      html += c;
    }
  }
  return html + "</script>\n";
}

std::string scripts() {
  return fmt::format("<script>\n/*\n{}\n*/\n{}</script>\n<script>\n{}</script>\n", kUplotLicence,
                     kUplotScript, kPlotsScript);
}

}  // namespace

std::string report_html(const Results& r) {
  const Study& s = r.study;
  std::string html =
      fmt::format(fmt::runtime(kHead), markup_escaped(s.title),
                  s.plots.empty() ? std::string(kPageStyle) : fmt::format("{}\n{}", kUplotStyle, kPageStyle));
  html += fmt::format("<h1>{}</h1>\n<p>{}</p>\n", markup_escaped(s.title), markup_escaped(s.question));
  if (!s.assumes.empty()) html += fmt::format("<p><b>Assumed.</b> {}</p>\n", markup_escaped(s.assumes));
  if (!s.published.empty()) html += fmt::format("<p><b>Published.</b> {}</p>\n", markup_escaped(s.published));
  html += fmt::format("<p class=dim>{}. <code>{}</code>, {}, {}.</p>\n", markup_escaped(how_it_was_made(r)),
                      markup_escaped(r.command), markup_escaped(r.machine), markup_escaped(r.date));
  for (std::size_t i = 0; i < s.plots.size(); ++i) {
    html += fmt::format("<h2>{}</h2>\n<figure data-plot={}>\n{}</figure>\n", markup_escaped(s.plots[i].title),
                        i, plot_svg(r, s.plots[i]));
    if (const std::string text = caption(r, s.plots[i]); !text.empty())
      html += fmt::format("<p class=dim>{}</p>\n", markup_escaped(text));
  }
  html +=
      fmt::format("<h2>{}</h2>\n{}", influence_title(r), html_table(head_of(r, false), influence_rows(r), 1));
  html += "<h2 id=figures>Figures</h2>\n" + html_table(head_of(r, true), mean_rows(r), r.study.axes.size());
  html += "<h2>Measures</h2>\n<ul>\n";
  for (const Measure& m : s.measures) {
    html += fmt::format("<li>{} = <code>{}</code> {}</li>\n", markup_escaped(m.name),
                        markup_escaped(m.formula), markup_escaped(m.unit));
  }
  html += fmt::format("</ul>\n<h2>The study</h2>\n<pre class=scroll><code>{}</code></pre>\n",
                      preformatted(s.text));
  if (!s.plots.empty()) html += data_element(r) + scripts();
  return html + "</body></html>\n";
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
