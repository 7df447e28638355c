// SPDX-License-Identifier: Apache-2.0
// The plots of a study: as SVG that needs no script, and as data for the script of the page.
#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "testbenches/scenario/markup.h"
#include "testbenches/study/report.h"

namespace study {
namespace {

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

/// Above so many, a picture does without a text for each: it would be most of the page.
constexpr std::size_t kTitledDots = 500;

/// Where the x axis has a tick for each level; empty: levels are too many, or drawn from a range, and any
/// numbers will do.
std::vector<std::pair<double, std::string>> level_ticks(const Results& r, const Plot& plot,
                                                        const std::vector<Series>& all) {
  std::vector<std::pair<double, std::string>> levels;
  if (r.study.axis(plot.x)->levels.empty()) return levels;
  for (const Series& s : all) {
    for (const auto& d : s.dots) {
      if (std::ranges::find(levels, d.level, [](const auto& l) { return l.second; }) == levels.end())
        levels.emplace_back(d.x, d.level);
    }
  }
  std::ranges::sort(levels);
  if (levels.size() > 12) levels.clear();
  return levels;
}

}  // namespace

std::string plot_svg(const Results& r, const Plot& plot) {
  const std::vector<Series> all = series_of(r, plot);
  const Measure& m = *std::ranges::find(r.study.measures, plot.y, &Measure::name);
  Frame f;
  std::size_t dots_in_all = 0;
  for (const Series& s : all) {
    dots_in_all += s.dots.size();
    for (const auto& d : s.dots) {
      f.low_x = std::min(f.low_x, d.x), f.high_x = std::max(f.high_x, d.x);
      f.low_y = std::min(f.low_y, d.low), f.high_y = std::max(f.high_y, d.high);
    }
  }
  std::string s = fmt::format(
      "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {0:.0f} {1:.0f}' width='{0:.0f}' role='img' "
      "aria-label='{2}'>\n"
      "<style>svg{{background:#fff;color-scheme:light dark}}text{{font:12px "
      "system-ui,sans-serif;fill:#1c2126}}"
      ".grid{{stroke:#d7dde3}}.name{{font-weight:600}}"
      "@media screen and "
      "(prefers-color-scheme:dark){{svg{{background:#14181c}}text{{fill:#e4e8ec}}.grid{{stroke:#323a43}"
      "}}}</style>\n",
      kWidth, kHeight, scenario::markup_escaped(plot.title));
  if (dots_in_all == 0) return s + "<text x='80' y='80'>no figures</text></svg>\n";
  if (!plot.log_y) {
    const double margin = (f.high_y - f.low_y) * 0.04;
    f.high_y += margin;
    f.low_y = f.low_y >= 0 && f.low_y < f.high_y / 2 ? 0 : f.low_y - margin;
  }
  const Scale sx(f.low_x, f.high_x, plot.log_x, kLeft + 12, kWidth - kRight - 12);
  const Scale sy(f.low_y, f.high_y, plot.log_y, kHeight - kBottom, kTop + 10);
  std::vector<std::pair<double, std::string>> ticks = level_ticks(r, plot, all);
  if (ticks.empty()) {
    for (const double t : sx.ticks()) ticks.emplace_back(t, shown(t));
  }
  s += axes_svg(sx, sy, ticks, plot.x, m.unit.empty() ? m.name : fmt::format("{} ({})", m.name, m.unit));
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
      dots += fmt::format("<circle cx='{:.1f}' cy='{:.1f}' r='3.2' fill='{}'", px, py, colour);
      dots += dots_in_all > kTitledDots
                  ? std::string("/>\n")
                  : fmt::format("><title>{} {}: {} ({} to {}, {} runs)</title></circle>\n",
                                scenario::markup_escaped(all[i].name), scenario::markup_escaped(d.level),
                                shown(d.mean), shown(d.low), shown(d.high), d.n);
    }
    if (r.study.design != Design::kLatinHypercube)
      s += fmt::format("<polyline points='{}' fill='none' stroke='{}' stroke-width='1.8'/>\n", line, colour);
    s += dots;
  }
  return s + legend(all, plot.by) + "</svg>\n";
}

nlohmann::ordered_json plot_json(const Results& r, const Plot& plot) {
  using json = nlohmann::ordered_json;
  const Measure& m = *std::ranges::find(r.study.measures, plot.y, &Measure::name);
  const std::vector<Series> all = series_of(r, plot);
  json j = {{"title", plot.title},
            {"x", {{"name", plot.x}, {"log", plot.log_x}}},
            {"y", {{"name", m.name}, {"unit", m.unit}, {"log", plot.log_y}}},
            {"by", plot.by},
            {"lines", r.study.design != Design::kLatinHypercube},
            {"series", json::array()}};
  if (const auto ticks = level_ticks(r, plot, all); !ticks.empty()) j["x"]["ticks"] = ticks;
  for (const Series& s : all) {
    json one = {{"name", s.name}};
    for (const auto& d : s.dots) {
      one["x"].push_back(d.x), one["level"].push_back(d.level), one["mean"].push_back(d.mean);
      one["low"].push_back(d.low), one["high"].push_back(d.high), one["n"].push_back(d.n);
    }
    if (!s.dots.empty()) j["series"].push_back(std::move(one));
  }
  return j;
}

nlohmann::ordered_json plot_colours() {
  return std::vector<std::string>(std::begin(kColours), std::end(kColours));
}

}  // namespace study
