// SPDX-License-Identifier: Apache-2.0
// What the runs of a study gave: figures by name, kept in an SQLite file as they come, so that a study that
// was interrupted goes on where it was.
#pragma once
#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "sim/error.h"
#include "testbenches/scenario/processes.h"
#include "testbenches/study/study.h"

struct sqlite3;

namespace study {

/// Figures of one run by name: "iommu.iotlb.hits", "late_unmaps", "finding.late_unmap", "simulated_s".
using Figures = std::map<std::string, double>;
/// The numbers of a run's report (ScenarioRun::report_json); times in seconds.
Figures figures_of(const nlohmann::ordered_json& report);

struct Run {
  std::uint64_t seed = 0;
  std::optional<Figures> figures;
  std::string digest, error;  ///< error: why there are no figures
};

/// By point and repeat; made by one study with one build.
struct Results {
  Study study;
  std::vector<Point> points;
  std::vector<std::vector<Run>> runs;  ///< [point][repeat]
  std::string command, machine, date;
  double cpu_seconds = 0;
  bool complete = false;

  /// Value of a measure; nothing if the run has no figures or the formula gives no number (0/0).
  std::optional<double> value(const Measure& measure, std::size_t point, std::size_t repeat) const;
};

/// The result database. Throws sim::Error for what is not one, NotReproducible for another build.
class Store {
 public:
  struct NotReproducible : sim::Error {
    using sim::Error::Error;
  };
  Store(const std::string& file, const std::string& build);
  ~Store();
  Store(const Store&) = delete;
  Store& operator=(const Store&) = delete;

  std::optional<Run> find(const Point& point, std::uint64_t seed);
  void add(const Point& point, const Run& run, double cpu_seconds);
  double cpu_seconds();

 private:
  [[noreturn]] void fail();
  std::string file_;
  struct Close {
    void operator()(sqlite3* db) const;
  };
  std::unique_ptr<sqlite3, Close> db_;
};

/// Runs what the store does not have. Common random numbers: the n-th repeat of every point has the same
/// seed. Throws sim::Error, also for a formula that names a figure which runs do not have. Calling context:
/// before any SystemC module exists.
Results run(const Study& study, Store& store, unsigned jobs, const scenario::Progress& progress,
            const volatile bool* stop);

}  // namespace study
