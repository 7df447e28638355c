// SPDX-License-Identifier: Apache-2.0
// A study: what does a figure of the machine do when parameters change? A file (YAML) names a base scenario,
// the parameters and their levels, workloads, strategies and DMA modes, and formulas over the figures of a
// run; the design says which combinations are run. docs/studies/README.md has the format.
#pragma once
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace study {

/// What is varied. "workload", "strategy" and "mode" are axes like any parameter.
struct Axis {
  std::string name;                 ///< parameter (a.b), or one of the three above
  std::vector<std::string> levels;  ///< of a latin hypercube: empty, and the range below
  double low = 0, high = 0;
  bool logarithmic = false, whole = true;  ///< of a range: its scale; integers only
};

struct Measure {
  std::string name;     ///< column, and axis of plots
  std::string formula;  ///< over figures of a run: "iommu.iotlb.hits / iommu.iotlb.lookups"
  std::string unit;
};

struct Plot {
  std::string title, x, y, by;  ///< `by`: an axis, a line for each of its levels; empty: one line
  bool log_x = false, log_y = false;
  std::vector<std::pair<std::string, std::string>> where;  ///< only points with these levels
};

enum class Design : std::uint8_t { kGrid, kLatinHypercube, kOneAtATime };

struct Study {
  std::string file, text;  ///< its path and what it says
  std::string name, title, question, assumes;
  std::string published;              ///< what others have measured, to compare with
  std::string base;                   ///< scenario file, as a path from here
  std::vector<std::string> settings;  ///< a.b=c of every run
  Design design = Design::kGrid;
  unsigned samples = 0;  ///< of the latin hypercube
  std::uint64_t seed = 1;
  unsigned repeats = 1;
  std::vector<Axis> axes;
  /// Assignments of each workload; `scenario` of one replaces the base.
  struct Workload {
    std::string name, scenario;
    std::vector<std::string> assignments;
  };
  std::vector<Workload> workloads;
  std::vector<Measure> measures;
  std::vector<Plot> plots;

  const Axis* axis(const std::string& name) const;
};

/// One combination, run `repeats` times.
struct Point {
  std::vector<std::string> levels;  ///< by axis
  std::string scenario;             ///< file
  std::vector<std::string> assignments;
};

/// Throws sim::Error with file, line, word and what would be right.
Study load(const std::string& file);
/// In the order in which they are run and told. Deterministic.
std::vector<Point> points(const Study& study);

}  // namespace study
