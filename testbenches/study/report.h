// SPDX-License-Identifier: Apache-2.0
// A study told: table, CSV, plots (SVG without script, readable in light and dark), one HTML page, Markdown.
#pragma once
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

/// Levels and means of all measures, a row a point; "-" where there is none.
std::vector<std::vector<std::string>> mean_rows(const Results& results);
/// The same for people.
std::string report_text(const Results& results, bool colour);
/// A line a run: levels, repeat, seed, measures, digest, error.
std::string report_csv(const Results& results);
std::string plot_svg(const Results& results, const Plot& plot);
std::string report_html(const Results& results);
/// `images[i]` names the file with the picture of plot i.
std::string report_markdown(const Results& results, const std::vector<std::string>& images);

}  // namespace study
