// SPDX-License-Identifier: Apache-2.0
#include "testbenches/study/report.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <numeric>

#include "sim/error.h"
#include "testbenches/cli/table.h"
#include "testbenches/scenario/markup.h"

namespace study {
namespace {

/// "64", "4096 B", "1.5": the number at its beginning; nothing for words.
std::optional<double> number_of(const std::string& level) {
  double value = 0;
  const auto [end, error] = std::from_chars(level.data(), level.data() + level.size(), value);
  if (error != std::errc{}) return std::nullopt;
  const std::string_view unit = std::string_view(level).substr(static_cast<std::size_t>(end - level.data()));
  for (const auto& [name, factor] : {std::pair{"KiB", 1024.0},
                                     {"MiB", 1048576.0},
                                     {"GiB", 1073741824.0},
                                     {"TiB", 1099511627776.0},
                                     {"us", 1e-6},
                                     {"ms", 1e-3},
                                     {"ns", 1e-9}}) {
    if (unit.ends_with(name)) return value * factor;
  }
  return value;
}

/// Short and exact enough to read: 0.875, 12.3, 4,810, 1.2e+09.
std::string shown(double v) {
  if (v == 0) return "0";
  const double size = std::abs(v);
  if (size >= 1e7 || size < 1e-4) return fmt::format("{:.3g}", v);
  if (size >= 1000) return fmt::format("{:.0f}", v);
  return fmt::format("{:.4g}", v);
}

std::size_t axis_index(const Study& s, const std::string& name) {
  for (std::size_t i = 0; i < s.axes.size(); ++i) {
    if (s.axes[i].name == name) return i;
  }
  return s.axes.size();
}
const Measure& measure_of(const Study& s, const std::string& name) {
  return *std::ranges::find(s.measures, name, &Measure::name);
}

bool shown_in(const Results& r, const Plot& plot, const Point& p) {
  for (const auto& [axis, level] : plot.where) {
    if (p.levels[axis_index(r.study, axis)] != level) return false;
  }
  if (r.study.design != Design::kOneAtATime) return true;
  for (std::size_t i = 0; i < p.levels.size(); ++i) {
    const std::string& axis = r.study.axes[i].name;
    if (axis != plot.x && axis != plot.by && p.levels[i] != r.points.front().levels[i]) return false;
  }
  return true;
}

struct Mean {
  double sum = 0, low = std::numeric_limits<double>::infinity(), high = -low;
  std::size_t n = 0;
  void add(double v) { sum += v, low = std::min(low, v), high = std::max(high, v), ++n; }
  double mean() const { return sum / static_cast<double>(n); }
};

Mean mean_at(const Results& r, const Measure& m, std::size_t point) {
  Mean all;
  for (std::size_t k = 0; k < r.study.repeats; ++k) {
    if (const auto v = r.value(m, point, k)) all.add(*v);
  }
  return all;
}

std::vector<double> ranks(const std::vector<double>& v) {
  std::vector<std::size_t> order(v.size());
  std::iota(order.begin(), order.end(), 0);
  std::ranges::sort(order, {}, [&](std::size_t i) { return v[i]; });
  std::vector<double> rank(v.size());
  for (std::size_t i = 0; i < order.size();) {
    std::size_t j = i;
    while (j < order.size() && v[order[j]] == v[order[i]]) ++j;
    for (std::size_t k = i; k < j; ++k) rank[order[k]] = static_cast<double>(i + j - 1) / 2;
    i = j;
  }
  return rank;
}

double correlation(const std::vector<double>& a, const std::vector<double>& b) {
  const auto n = static_cast<double>(a.size());
  const double ma = std::accumulate(a.begin(), a.end(), 0.0) / n,
               mb = std::accumulate(b.begin(), b.end(), 0.0) / n;
  double ab = 0, aa = 0, bb = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    ab += (a[i] - ma) * (b[i] - mb), aa += (a[i] - ma) * (a[i] - ma), bb += (b[i] - mb) * (b[i] - mb);
  }
  return aa == 0 || bb == 0 ? 0 : ab / std::sqrt(aa * bb);
}

double level_number(const Axis& axis, const std::string& level) {
  if (const auto n = number_of(level)) return *n;
  return static_cast<double>(std::ranges::find(axis.levels, level) - axis.levels.begin());
}

Influence influence_by_rank(const Results& r, std::size_t axis, const Measure& m) {
  std::vector<double> x, y;
  for (std::size_t p = 0; p < r.points.size(); ++p) {
    const Mean mean = mean_at(r, m, p);
    if (mean.n == 0) continue;
    x.push_back(level_number(r.study.axes[axis], r.points[p].levels[axis]));
    y.push_back(mean.mean());
  }
  return {r.study.axes[axis].name, m.name, x.size() < 3 ? 0 : correlation(ranks(x), ranks(y))};
}

Influence influence_by_span(const Results& r, std::size_t axis, const Measure& m) {
  const Plot plot{"", r.study.axes[axis].name, m.name, "", false, false, {}};
  Mean span;
  for (const Series& s : series_of(r, plot)) {
    for (const auto& d : s.dots) span.add(d.mean);
  }
  return {r.study.axes[axis].name, m.name, span.n == 0 ? 0 : span.high - span.low};
}

// ---- plots ----

constexpr const char* kColours[] = {"#0072b2", "#d55e00", "#009e73", "#cc79a7",
                                    "#e69f00", "#56b4e9", "#8a6d3b", "#777777"};

/// A scale of a plot: from values to pixels, with its ticks.
class Scale {
 public:
  Scale(double low, double high, bool logarithmic, double from, double to)
      : low_(low), high_(high), log_(logarithmic && low > 0), from_(from), to_(to) {
    if (!(low_ < high_))
      low_ -= low_ == 0 ? 1 : std::abs(low_) / 2, high_ += high_ == 0 ? 1 : std::abs(high_) / 2;
    if (log_ && low_ <= 0) log_ = false;
  }
  double at(double v) const {
    const double share = log_ ? std::log(v / low_) / std::log(high_ / low_) : (v - low_) / (high_ - low_);
    return from_ + share * (to_ - from_);
  }
  std::vector<double> ticks() const {
    std::vector<double> all;
    if (log_) {
      for (double t = std::pow(10, std::floor(std::log10(low_))); t <= high_ * 1.0001; t *= 10) {
        for (const double f : {1.0, 2.0, 5.0}) {
          const bool fine = std::log10(high_ / low_) < 1.6;
          if ((fine || f == 1.0) && t * f >= low_ * 0.9999 && t * f <= high_ * 1.0001) all.push_back(t * f);
        }
      }
      return all;
    }
    const double raw = (high_ - low_) / 5, power = std::pow(10, std::floor(std::log10(raw)));
    const double step = power * (raw / power < 1.5 ? 1 : raw / power < 3.5 ? 2 : raw / power < 7.5 ? 5 : 10);
    for (double t = std::ceil(low_ / step - 1e-9) * step; t <= high_ + step * 1e-6; t += step) {
      all.push_back(std::abs(t) < step * 1e-9 ? 0 : t);
    }
    return all;
  }

 private:
  double low_, high_;
  bool log_;
  double from_, to_;
};

struct Frame {
  double low_x = std::numeric_limits<double>::infinity(), high_x = -low_x, low_y = low_x, high_y = -low_x;
};

constexpr double kWidth = 760, kHeight = 400, kLeft = 78, kRight = 16, kTop = 34, kBottom = 52;

std::string legend(const std::vector<Series>& all, const std::string& by) {
  std::string s;
  double x = kLeft, y = 18;
  if (by.empty() || all.size() < 2) return s;
  s = fmt::format("<text x='{:.0f}' y='{:.0f}' class='name'>{}</text>\n", x, y, scenario::markup_escaped(by));
  x += 14 + 7.4 * static_cast<double>(by.size());
  for (std::size_t i = 0; i < all.size(); ++i) {
    const double width = 26 + 7.2 * static_cast<double>(all[i].name.size());
    if (x + width > kWidth - kRight) x = kLeft, y += 16;
    s += fmt::format(
        "<rect x='{:.0f}' y='{:.0f}' width='12' height='4' fill='{}'/><text x='{:.0f}' "
        "y='{:.0f}'>{}</text>\n",
        x, y - 6, kColours[i % std::size(kColours)], x + 16, y, scenario::markup_escaped(all[i].name));
    x += width;
  }
  return s;
}

std::string axes_svg(const Scale& sx, const Scale& sy,
                     const std::vector<std::pair<double, std::string>>& x_ticks, const std::string& x_name,
                     const std::string& y_name) {
  std::string s;
  for (const double t : sy.ticks()) {
    s += fmt::format(
        "<line class='grid' x1='{:.0f}' x2='{:.0f}' y1='{:.1f}' y2='{:.1f}'/>"
        "<text x='{:.0f}' y='{:.1f}' text-anchor='end'>{}</text>\n",
        kLeft, kWidth - kRight, sy.at(t), sy.at(t), kLeft - 6, sy.at(t) + 4, shown(t));
  }
  for (const auto& [t, label] : x_ticks) {
    s += fmt::format(
        "<line class='grid' x1='{0:.1f}' x2='{0:.1f}' y1='{1:.0f}' y2='{2:.0f}'/>"
        "<text x='{0:.1f}' y='{3:.0f}' text-anchor='middle'>{4}</text>\n",
        sx.at(t), kTop, kHeight - kBottom, kHeight - kBottom + 16, scenario::markup_escaped(label));
  }
  s += fmt::format("<text x='{:.0f}' y='{:.0f}' text-anchor='middle' class='name'>{}</text>\n",
                   (kLeft + kWidth - kRight) / 2, kHeight - 10, scenario::markup_escaped(x_name));
  s += fmt::format(
      "<text transform='translate(16 {:.0f}) rotate(-90)' text-anchor='middle' class='name'>{}</text>\n",
      (kTop + kHeight - kBottom) / 2, scenario::markup_escaped(y_name));
  return s;
}

}  // namespace

std::vector<Series> series_of(const Results& r, const Plot& plot) {
  const std::size_t x = axis_index(r.study, plot.x), by = axis_index(r.study, plot.by);
  const Measure& m = measure_of(r.study, plot.y);
  std::vector<std::pair<std::string, std::vector<std::pair<std::string, Mean>>>> all;
  for (std::size_t p = 0; p < r.points.size(); ++p) {
    if (!shown_in(r, plot, r.points[p])) continue;
    const std::string name = by < r.study.axes.size() ? r.points[p].levels[by] : "";
    auto line = std::ranges::find(all, name, [](const auto& a) { return a.first; });
    if (line == all.end()) line = all.insert(all.end(), {name, {}});
    const std::string& level = r.points[p].levels[x];
    auto dot = std::ranges::find(line->second, level, [](const auto& d) { return d.first; });
    if (dot == line->second.end()) dot = line->second.insert(line->second.end(), {level, {}});
    for (std::size_t k = 0; k < r.study.repeats; ++k) {
      if (const auto v = r.value(m, p, k)) dot->second.add(*v);
    }
  }
  std::vector<Series> result;
  for (const auto& [name, dots] : all) {
    Series s{name, {}};
    for (const auto& [level, mean] : dots) {
      if (mean.n == 0) continue;
      s.dots.push_back(
          {level, level_number(r.study.axes[x], level), mean.mean(), mean.low, mean.high, mean.n});
    }
    std::ranges::stable_sort(s.dots, {}, &Series::Dot::x);
    result.push_back(std::move(s));
  }
  return result;
}

std::vector<Influence> influences(const Results& r) {
  std::vector<Influence> all;
  for (std::size_t a = 0; a < r.study.axes.size(); ++a) {
    for (const Measure& m : r.study.measures) {
      all.push_back(r.study.design == Design::kLatinHypercube ? influence_by_rank(r, a, m)
                                                              : influence_by_span(r, a, m));
    }
  }
  return all;
}

std::vector<std::vector<std::string>> mean_rows(const Results& r) {
  std::vector<std::vector<std::string>> rows;
  for (std::size_t p = 0; p < r.points.size(); ++p) {
    rows.push_back(r.points[p].levels);
    for (const Measure& m : r.study.measures) {
      const Mean mean = mean_at(r, m, p);
      rows.back().push_back(mean.n == 0 ? "-" : shown(mean.mean()));
    }
  }
  return rows;
}

std::string report_text(const Results& r, bool colour) {
  std::vector<std::string> head;
  for (const Axis& a : r.study.axes) head.push_back(a.name);
  for (const Measure& m : r.study.measures) {
    head.push_back(m.unit.empty() ? m.name : fmt::format("{}\n{}", m.name, m.unit));
  }
  cli::Table table(head);
  for (const auto& row : mean_rows(r)) table.row(row);
  std::string errors;
  for (std::size_t p = 0; p < r.points.size(); ++p) {
    for (const Run& run : r.runs[p]) {
      if (!run.error.empty())
        errors += fmt::format("{}: {}\n", fmt::join(r.points[p].levels, ", "), run.error);
    }
  }
  std::string text = table.text(colour);
  if (!errors.empty()) text += "\nRuns that gave no figures\n" + errors;
  if (!r.complete) text += "\ninterrupted: the same command goes on\n";
  return text;
}

std::string report_csv(const Results& r) {
  const auto field = [](const std::string& text) {
    if (text.find_first_of(",\"\n") == text.npos) return text;
    std::string quoted = "\"";
    for (const char c : text) quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
    return quoted + "\"";
  };
  std::string csv;
  for (const Axis& a : r.study.axes) csv += field(a.name) + ",";
  csv += "repeat,seed";
  for (const Measure& m : r.study.measures) csv += "," + field(m.name);
  csv += ",digest,error\n";
  for (std::size_t p = 0; p < r.points.size(); ++p) {
    for (std::size_t k = 0; k < r.study.repeats; ++k) {
      const Run& run = r.runs[p][k];
      for (const std::string& level : r.points[p].levels) csv += field(level) + ",";
      csv += fmt::format("{},{}", k, run.seed);
      for (const Measure& m : r.study.measures) {
        const auto v = r.value(m, p, k);
        csv += v ? fmt::format(",{}", *v) : ",";
      }
      csv += fmt::format(",{},{}\n", run.digest, field(run.error));
    }
  }
  return csv;
}

std::string plot_svg(const Results& r, const Plot& plot) {
  const std::vector<Series> all = series_of(r, plot);
  const Axis& axis = r.study.axes[axis_index(r.study, plot.x)];
  const Measure& m = measure_of(r.study, plot.y);
  Frame f;
  std::vector<std::pair<double, std::string>> levels;
  for (const Series& s : all) {
    for (const auto& d : s.dots) {
      f.low_x = std::min(f.low_x, d.x), f.high_x = std::max(f.high_x, d.x);
      f.low_y = std::min(f.low_y, d.low), f.high_y = std::max(f.high_y, d.high);
      if (std::ranges::find(levels, d.level, [](const auto& l) { return l.second; }) == levels.end())
        levels.emplace_back(d.x, d.level);
    }
  }
  std::string s = fmt::format(
      "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {0:.0f} {1:.0f}' width='{0:.0f}' role='img' "
      "aria-label='{2}'>\n"
      "<style>svg{{background:#fff;color-scheme:light dark}}text{{font:12px "
      "system-ui,sans-serif;fill:#1c2126}}"
      ".grid{{stroke:#d7dde3}}.name{{font-weight:600}}"
      "@media(prefers-color-scheme:dark){{svg{{background:#14181c}}text{{fill:#e4e8ec}}.grid{{stroke:#323a43}"
      "}}}</style>\n",
      kWidth, kHeight, scenario::markup_escaped(plot.title));
  if (levels.empty()) return s + "<text x='80' y='80'>no figures</text></svg>\n";
  if (!plot.log_y) {
    const double margin = (f.high_y - f.low_y) * 0.04;
    f.high_y += margin;
    f.low_y = f.low_y >= 0 && f.low_y < f.high_y / 2 ? 0 : f.low_y - margin;
  }
  const Scale sx(f.low_x, f.high_x, plot.log_x, kLeft + 12, kWidth - kRight - 12);
  const Scale sy(f.low_y, f.high_y, plot.log_y, kHeight - kBottom, kTop + 10);
  std::ranges::sort(levels);
  if (levels.size() > 12 || r.study.design == Design::kLatinHypercube) {
    levels.clear();
    for (const double t : sx.ticks()) levels.emplace_back(t, shown(t));
  }
  s += axes_svg(sx, sy, levels, axis.name, m.unit.empty() ? m.name : fmt::format("{} ({})", m.name, m.unit));
  for (std::size_t i = 0; i < all.size(); ++i) {
    const char* colour = kColours[i % std::size(kColours)];
    std::string line, dots;
    for (const auto& d : all[i].dots) {
      if (plot.log_y && d.mean <= 0) continue;
      const double px = sx.at(d.x), py = sy.at(d.mean);
      line += fmt::format("{:.1f},{:.1f} ", px, py);
      if (d.high > d.low && !(plot.log_y && d.low <= 0)) {
        dots += fmt::format(
            "<line x1='{0:.1f}' x2='{0:.1f}' y1='{1:.1f}' y2='{2:.1f}' stroke='{3}' opacity='.45'/>", px,
            sy.at(d.low), sy.at(d.high), colour);
      }
      dots += fmt::format(
          "<circle cx='{:.1f}' cy='{:.1f}' r='3.2' fill='{}'><title>{} {}: {} ({} to {}, {} "
          "runs)</title></circle>\n",
          px, py, colour, scenario::markup_escaped(all[i].name), scenario::markup_escaped(d.level),
          shown(d.mean), shown(d.low), shown(d.high), d.n);
    }
    if (r.study.design != Design::kLatinHypercube)
      s += fmt::format("<polyline points='{}' fill='none' stroke='{}' stroke-width='1.8'/>\n", line, colour);
    s += dots;
  }
  return s + legend(all, plot.by) + "</svg>\n";
}

}  // namespace study
