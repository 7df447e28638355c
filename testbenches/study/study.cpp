// SPDX-License-Identifier: Apache-2.0
#include "testbenches/study/study.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "pagepool/page_pools.h"
#include "sim/error.h"
#include "sim/random.h"
#include "testbenches/scenario/scenario.h"

namespace study {
namespace {

/// Reads one study file; every error knows its line.
class Reader {
 public:
  explicit Reader(const std::string& file) {
    std::ifstream in(file);
    if (!in) throw sim::Error(fmt::format("{}: cannot be read", file));
    std::ostringstream text;
    text << in.rdbuf();
    s_.file = file;
    s_.text = text.str();
  }

  Study read() {
    YAML::Node root;
    try {
      root = YAML::Load(s_.text);
    } catch (const YAML::Exception& e) {
      throw sim::Error(s_.file, static_cast<std::size_t>(e.mark.line) + 1, e.msg);
    }
    if (!root.IsMap()) fail(root, "a study is a map: name, base, parameters, measures, ...");
    only(root, {"schema", "name", "title", "question", "assumes", "published", "base", "settings", "design",
                "samples", "seed", "repeats", "parameters", "workloads", "strategies", "modes", "measures",
                "plots"});
    if (text(root, "schema", "1") != "1") fail(root["schema"], "schema: this program reads 1");
    s_.name = text(root, "name", std::filesystem::path(s_.file).stem().string());
    s_.title = text(root, "title", s_.name);
    s_.question = text(root, "question", "");
    s_.assumes = text(root, "assumes", "");
    s_.published = text(root, "published", "");
    s_.base = beside(text(root, "base", ""));
    if (s_.base.empty()) fail(root, "base: a scenario file is needed");
    s_.settings = assignments(root["settings"]);
    s_.samples = number(root, "samples", 0, 0, 100'000);
    s_.seed = number(root, "seed", 1, 0, 1u << 31);
    s_.repeats = number(root, "repeats", 1, 1, 1000);
    read_design(root);
    read_axes(root);
    read_measures(root["measures"]);
    read_plots(root["plots"]);
    check_points();
    return std::move(s_);
  }

 private:
  [[noreturn]] void fail(const YAML::Node& at, const std::string& what) const {
    throw sim::Error(s_.file, static_cast<std::size_t>(std::max(0, at.Mark().line)) + 1, what);
  }
  void only(const YAML::Node& map, const std::vector<std::string>& keys) const {
    for (const auto& entry : map) {
      const std::string key = entry.first.Scalar();
      if (std::ranges::find(keys, key) == keys.end()) {
        fail(entry.first, fmt::format("'{}' is no key here{}", key, sim::suggestion(key, keys)));
      }
    }
  }
  std::string text(const YAML::Node& map, const std::string& key, const std::string& otherwise) const {
    const YAML::Node node = map[key];
    if (!node) return otherwise;
    if (!node.IsScalar()) fail(node, key + ": a word or a text");
    return node.Scalar();
  }
  unsigned number(const YAML::Node& map, const std::string& key, unsigned otherwise, unsigned low,
                  unsigned high) const {
    const YAML::Node node = map[key];
    if (!node) return otherwise;
    try {
      const auto n = node.as<std::int64_t>();
      if (n >= low && n <= high) return static_cast<unsigned>(n);
    } catch (const YAML::Exception&) {
    }
    fail(node, fmt::format("{}: a whole number from {} to {}", key, low, high));
  }
  double real(const YAML::Node& map, const std::string& key) const {
    try {
      return map[key].as<double>();
    } catch (const YAML::Exception&) {
      fail(map, fmt::format("{}: a number is needed (ranges have no units)", key));
    }
  }
  bool flag(const YAML::Node& map, const std::string& key) const {
    const YAML::Node node = map[key];
    if (!node) return false;
    try {
      return node.as<bool>();
    } catch (const YAML::Exception&) {
      fail(node, key + ": true or false");
    }
  }
  /// A path of the file, from where the program runs.
  std::string beside(const std::string& path) const {
    if (path.empty() || path.front() == '/') return path;
    return (std::filesystem::path(s_.file).parent_path() / path).lexically_normal().string();
  }
  std::vector<std::string> assignments(const YAML::Node& node, const std::string& prefix = "") const {
    std::vector<std::string> all;
    if (!node) return all;
    if (!node.IsMap()) fail(node, "a map of parameters");
    for (const auto& entry : node) {
      const std::string path = prefix + entry.first.Scalar();
      if (entry.second.IsMap()) {
        const auto inner = assignments(entry.second, path + ".");
        all.insert(all.end(), inner.begin(), inner.end());
      } else if (entry.second.IsScalar()) {
        all.push_back(path + "=" + entry.second.Scalar());
      } else {
        fail(entry.second, path + ": one value");
      }
    }
    return all;
  }
  std::vector<std::string> words(const YAML::Node& node, const std::string& key) const {
    std::vector<std::string> all;
    if (!node.IsSequence() || node.size() == 0) fail(node, key + ": a list of at least one");
    for (const auto& item : node) {
      if (!item.IsScalar()) fail(item, key + ": a list of words");
      all.push_back(item.Scalar());
    }
    return all;
  }

  void read_design(const YAML::Node& root) {
    const std::vector<std::string> keys{"grid", "lhs", "one_at_a_time"};
    const std::string word = text(root, "design", "grid");
    const auto at = std::ranges::find(keys, word);
    if (at == keys.end()) {
      fail(root["design"], fmt::format("design: there is no '{}'{}", word, sim::suggestion(word, keys)));
    }
    s_.design = static_cast<Design>(at - keys.begin());
    if (s_.design == Design::kLatinHypercube && s_.samples < 2)
      fail(root, "design lhs: samples, 2 or more, is needed");
  }

  void read_axes(const YAML::Node& root) {
    if (const YAML::Node workloads = root["workloads"]) {
      if (!workloads.IsMap()) fail(workloads, "workloads: a map from a name to settings");
      Axis axis{"workload", {}};
      for (const auto& entry : workloads) {
        Study::Workload w{entry.first.Scalar(), s_.base, {}};
        YAML::Node rest = YAML::Clone(entry.second);
        if (rest.IsMap() && rest["scenario"] && rest["scenario"].IsScalar()) {
          w.scenario = beside(rest["scenario"].Scalar());
          rest.remove("scenario");
        }
        w.assignments = assignments(rest);
        axis.levels.push_back(w.name);
        s_.workloads.push_back(std::move(w));
      }
      s_.axes.push_back(std::move(axis));
    }
    if (root["strategies"]) {
      s_.axes.push_back({"strategy", words(root["strategies"], "strategies")});
      for (const auto& key : s_.axes.back().levels) pagepool::find_strategy(key);
    }
    if (root["modes"]) s_.axes.push_back({"mode", words(root["modes"], "modes")});
    const YAML::Node parameters = root["parameters"];
    if (parameters && !parameters.IsMap())
      fail(parameters, "parameters: a map from a parameter to its levels");
    for (const auto& entry : parameters) s_.axes.push_back(read_axis(entry.first.Scalar(), entry.second));
    if (s_.axes.empty())
      fail(root, "nothing is varied: parameters, workloads, strategies or modes are needed");
  }
  Axis read_axis(const std::string& name, const YAML::Node& node) const {
    Axis axis{name, {}};
    if (node.IsSequence()) {
      axis.levels = words(node, name);
      return axis;
    }
    if (!node.IsMap()) fail(node, name + ": a list of levels, or {from, to, scale, steps}");
    only(node, {"from", "to", "scale", "steps", "whole"});
    axis.low = real(node, "from"), axis.high = real(node, "to");
    const std::string scale = text(node, "scale", "linear");
    if (scale != "linear" && scale != "log") {
      fail(node["scale"], fmt::format("scale: '{}'{}", scale, sim::suggestion(scale, {"linear", "log"})));
    }
    axis.logarithmic = scale == "log";
    axis.whole = !node["whole"] || flag(node, "whole");
    if (!(axis.low < axis.high) || (axis.logarithmic && axis.low <= 0)) {
      fail(node, name + ": from must be below to, and above 0 on a logarithmic scale");
    }
    if (s_.design == Design::kLatinHypercube) return axis;
    const unsigned steps = number(node, "steps", 5, 2, 1000);
    for (unsigned i = 0; i < steps; ++i) {
      const std::string level = level_at(axis, static_cast<double>(i) / (steps - 1));
      if (axis.levels.empty() || axis.levels.back() != level) axis.levels.push_back(level);
    }
    return axis;
  }

  void read_measures(const YAML::Node& node) {
    if (!node || !node.IsMap() || node.size() == 0)
      fail(node ? node : YAML::Node(), "measures: a map from a name to a formula");
    for (const auto& entry : node) {
      Measure m{entry.first.Scalar(), {}, {}};
      if (entry.second.IsMap()) {
        only(entry.second, {"formula", "unit"});
        m.formula = text(entry.second, "formula", "");
        m.unit = text(entry.second, "unit", "");
      } else {
        m.formula = entry.second.Scalar();
      }
      if (m.formula.empty()) fail(entry.second, m.name + ": a formula over figures of a run");
      s_.measures.push_back(std::move(m));
    }
  }

  void read_plots(const YAML::Node& node) {
    if (!node) return;
    if (!node.IsSequence()) fail(node, "plots: a list");
    std::vector<std::string> axes, measures;
    for (const Axis& a : s_.axes) axes.push_back(a.name);
    for (const Measure& m : s_.measures) measures.push_back(m.name);
    const auto known = [&](const YAML::Node& at, const char* what, const std::string& word,
                           const std::vector<std::string>& all) {
      if (std::ranges::find(all, word) != all.end()) return;
      fail(at, fmt::format("{}: there is no '{}'{}", what, word, sim::suggestion(word, all)));
    };
    for (const auto& item : node) {
      only(item, {"title", "x", "y", "by", "log_x", "log_y", "where"});
      Plot p;
      p.x = text(item, "x", ""), p.y = text(item, "y", ""), p.by = text(item, "by", "");
      p.title = text(item, "title", p.y + " over " + p.x);
      p.log_x = flag(item, "log_x"), p.log_y = flag(item, "log_y");
      known(item, "x", p.x, axes);
      known(item, "y", p.y, measures);
      if (!p.by.empty()) known(item, "by", p.by, axes);
      for (const auto& entry : item["where"]) {
        known(entry.first, "where", entry.first.Scalar(), axes);
        p.where.emplace_back(entry.first.Scalar(), entry.second.Scalar());
      }
      s_.plots.push_back(std::move(p));
    }
  }

  /// Every combination can be run: wrong names and values are told now, not after an hour.
  void check_points() const {
    for (const Point& p : points(s_)) {
      scenario::RunConfig config;
      try {
        scenario::load(config, p.scenario, p.assignments);
      } catch (const sim::Error& e) {
        throw sim::Error(fmt::format("{}: {}", s_.file, e.what()));
      }
    }
  }

 public:
  static std::string level_at(const Axis& axis, double share) {
    const double value = axis.logarithmic ? axis.low * std::pow(axis.high / axis.low, share)
                                          : axis.low + share * (axis.high - axis.low);
    return axis.whole ? fmt::format("{:.0f}", value) : fmt::format("{:.6g}", value);
  }

 private:
  Study s_;
};

Point make_point(const Study& study, const std::vector<std::string>& levels) {
  Point p{levels, study.base, study.settings};
  for (std::size_t i = 0; i < study.axes.size(); ++i) {
    const std::string& axis = study.axes[i].name;
    if (axis == "workload") {
      const auto w = std::ranges::find(study.workloads, levels[i], &Study::Workload::name);
      p.scenario = w->scenario;
      p.assignments.insert(p.assignments.end(), w->assignments.begin(), w->assignments.end());
    } else {
      const std::string name = axis == "strategy" ? "pool.strategy"
                               : axis == "mode"   ? "kernel.dma_mode"
                                                  : axis;
      p.assignments.push_back(name + "=" + levels[i]);
    }
  }
  return p;
}

void grid(const Study& study, std::vector<Point>& all) {
  std::vector<std::size_t> at(study.axes.size(), 0);
  for (;;) {
    std::vector<std::string> levels;
    for (std::size_t i = 0; i < at.size(); ++i) levels.push_back(study.axes[i].levels[at[i]]);
    all.push_back(make_point(study, levels));
    std::size_t i = at.size();
    while (i > 0 && ++at[i - 1] == study.axes[i - 1].levels.size()) at[--i] = 0;
    if (i == 0) return;
  }
}

/// The first level of each axis, and from there each axis by itself.
void one_at_a_time(const Study& study, std::vector<Point>& all) {
  std::vector<std::string> middle;
  for (const Axis& axis : study.axes) middle.push_back(axis.levels.front());
  all.push_back(make_point(study, middle));
  for (std::size_t i = 0; i < study.axes.size(); ++i) {
    for (std::size_t l = 1; l < study.axes[i].levels.size(); ++l) {
      std::vector<std::string> levels = middle;
      levels[i] = study.axes[i].levels[l];
      all.push_back(make_point(study, levels));
    }
  }
}

/// Each range is cut into as many strata as there are samples; every stratum of every axis is used once.
void latin_hypercube(const Study& study, std::vector<Point>& all) {
  sim::RandomStream random(study.seed, 0, "study.lhs");
  const unsigned n = study.samples;
  std::vector<std::vector<unsigned>> order(study.axes.size());
  for (auto& o : order) {
    o.resize(n);
    for (unsigned i = 0; i < n; ++i) o[i] = i;
    for (unsigned i = n; i > 1; --i) std::swap(o[i - 1], o[random.below(i)]);
  }
  for (unsigned sample = 0; sample < n; ++sample) {
    std::vector<std::string> levels;
    for (std::size_t i = 0; i < study.axes.size(); ++i) {
      const Axis& axis = study.axes[i];
      const unsigned stratum = order[i][sample];
      if (!axis.levels.empty()) {
        levels.push_back(axis.levels[std::size_t{stratum} * axis.levels.size() / n]);
      } else {
        const double within = static_cast<double>(random.below(1u << 20)) / (1u << 20);
        levels.push_back(Reader::level_at(axis, (stratum + within) / n));
      }
    }
    all.push_back(make_point(study, levels));
  }
}

}  // namespace

const Axis* Study::axis(const std::string& wanted) const {
  const auto at = std::ranges::find(axes, wanted, &Axis::name);
  return at == axes.end() ? nullptr : &*at;
}

Study load(const std::string& file) { return Reader(file).read(); }

std::vector<Point> points(const Study& study) {
  std::vector<Point> all;
  switch (study.design) {
    case Design::kGrid:
      grid(study, all);
      break;
    case Design::kLatinHypercube:
      latin_hypercube(study, all);
      break;
    case Design::kOneAtATime:
      one_at_a_time(study, all);
      break;
  }
  return all;
}

}  // namespace study
