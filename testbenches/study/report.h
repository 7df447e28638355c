// SPDX-License-Identifier: Apache-2.0
// A study told: table, CSV, plots (SVG without script, readable in light and dark), Markdown, and one HTML
// page that needs nothing else: its plots answer to the mouse by uPlot (uplot/, plots.js), and are the SVG on
// paper or without script.
#pragma once
#include <limits>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "testbenches/study/results.h"

namespace study {

/// One line of a plot.
struct Series {
  std::string name;
  struct Dot {
    std::string level;
    double x, mean, low, high;  ///< over repeats and over the axes that the plot does not name
    std::size_t n;
  };
  std::vector<Dot> dots;  ///< by x
};
/// The points that a plot shows. One at a time: only those that differ from the first in x (and in `by`).
std::vector<Series> series_of(const Results& results, const Plot& plot);

/// How much an axis matters to a measure: the span of the means over its levels; of a latin hypercube the
/// rank correlation (Spearman).
struct Influence {
  std::string axis, measure;
  double value;
};
std::vector<Influence> influences(const Results& results);

/// Short and exact enough to read: 0.875, 12.3, 4810, 1.2e+09.
std::string shown(double value);

/// Levels and means of all measures, a row a point; "-" where there is none.
std::vector<std::vector<std::string>> mean_rows(const Results& results);
/// The same for people.
std::string report_text(const Results& results, bool colour);
/// {"columns": [...], "rows": [[...]]}: a row a run, the first `most` of them: levels, repeat, seed (text),
/// measures (null: no number), digest, error.
nlohmann::ordered_json runs_json(const Results& results,
                                 std::size_t most = std::numeric_limits<std::size_t>::max());
/// The same as lines.
std::string report_csv(const Results& results);
std::string plot_svg(const Results& results, const Plot& plot);
/// The same picture as data: title, x, y (name, unit, log), by, lines or points, series of x, level, mean,
/// low, high, n.
nlohmann::ordered_json plot_json(const Results& results, const Plot& plot);
/// Of the lines of a plot, in order.
nlohmann::ordered_json plot_colours();
/// Of thousands of runs its tables have the first ones, and say so: it stays below 1.5 MB.
std::string report_html(const Results& results);
/// `images[i]` names the file with the picture of plot i.
std::string report_markdown(const Results& results, const std::vector<std::string>& images);

}  // namespace study
