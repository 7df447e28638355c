// SPDX-License-Identifier: Apache-2.0
#include "testbenches/study/report.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <numeric>
#include <unordered_map>

#include "sim/error.h"
#include "testbenches/cli/table.h"

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

}  // namespace

std::string shown(double v) {
  if (v == 0) return "0";
  const double size = std::abs(v);
  if (size >= 1e7 || size < 1e-4) return fmt::format("{:.3g}", v);
  if (size >= 1000) return fmt::format("{:.0f}", v);
  return fmt::format("{:.4g}", v);
}

std::vector<Series> series_of(const Results& r, const Plot& plot) {
  const std::size_t x = axis_index(r.study, plot.x), by = axis_index(r.study, plot.by);
  const Measure& m = measure_of(r.study, plot.y);
  // In the order in which points are told; a latin hypercube may have thousands of levels.
  struct Line {
    std::string name;
    std::vector<std::pair<std::string, Mean>> dots;
    std::unordered_map<std::string, std::size_t> at;
  };
  std::vector<Line> all;
  for (std::size_t p = 0; p < r.points.size(); ++p) {
    if (!shown_in(r, plot, r.points[p])) continue;
    const std::string name = by < r.study.axes.size() ? r.points[p].levels[by] : "";
    auto line = std::ranges::find(all, name, &Line::name);
    if (line == all.end()) line = all.insert(all.end(), {name, {}, {}});
    const std::string& level = r.points[p].levels[x];
    const auto [dot, made] = line->at.try_emplace(level, line->dots.size());
    if (made) line->dots.emplace_back(level, Mean{});
    for (std::size_t k = 0; k < r.study.repeats; ++k) {
      if (const auto v = r.value(m, p, k)) line->dots[dot->second].second.add(*v);
    }
  }
  std::vector<Series> result;
  for (const Line& line : all) {
    Series s{line.name, {}};
    for (const auto& [level, mean] : line.dots) {
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

nlohmann::ordered_json runs_json(const Results& r, std::size_t most) {
  using json = nlohmann::ordered_json;
  json j = {{"columns", json::array()}, {"rows", json::array()}};
  for (const Axis& a : r.study.axes) j["columns"].push_back(a.name);
  for (const char* name : {"repeat", "seed"}) j["columns"].push_back(name);
  for (const Measure& m : r.study.measures) j["columns"].push_back(m.name);
  for (const char* name : {"digest", "error"}) j["columns"].push_back(name);
  for (std::size_t p = 0; p < r.points.size(); ++p) {
    for (std::size_t k = 0; k < r.study.repeats && j["rows"].size() < most; ++k) {
      const Run& run = r.runs[p][k];
      json row = r.points[p].levels;
      row.push_back(k);
      row.push_back(std::to_string(run.seed));  // all 64 bits: a number of JavaScript has 53
      for (const Measure& m : r.study.measures) {
        const auto v = r.value(m, p, k);
        row.push_back(v ? json(*v) : json());
      }
      row.push_back(run.digest);
      row.push_back(run.error);
      j["rows"].push_back(std::move(row));
    }
  }
  return j;
}

std::string report_csv(const Results& r) {
  const auto field = [](const nlohmann::ordered_json& cell) {
    if (cell.is_null()) return std::string();
    if (cell.is_number_float()) return fmt::format("{}", cell.get<double>());
    const std::string text = cell.is_string() ? cell.get<std::string>() : cell.dump();
    if (text.find_first_of(",\"\n") == text.npos) return text;
    std::string quoted = "\"";
    for (const char c : text) quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
    return quoted + "\"";
  };
  const nlohmann::ordered_json runs = runs_json(r);
  std::string csv;
  const auto line = [&](const nlohmann::ordered_json& cells) {
    for (std::size_t i = 0; i < cells.size(); ++i) csv += (i == 0 ? "" : ",") + field(cells[i]);
    csv += "\n";
  };
  line(runs["columns"]);
  for (const auto& row : runs["rows"]) line(row);
  return csv;
}

}  // namespace study
