// SPDX-License-Identifier: Apache-2.0
// Statistics of a machine, collected from the modules' stats() functions, in the order of collection, with
// units.
//
//   Statistics s;
//   s.add("link", link);                    // "link.up.bytes", ...
//   s.add_time(simulation);                 // "time.simulated", ...
//   std::cout << s.to_json().dump(2);
//
// JSON: {"link.up.bytes": {"value": 123, "unit": "B"}, ...}. Whole numbers are written as integers. Two
// statistics of one name are an error of the model.
#pragma once
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "sim/simulation.h"

namespace platform {

struct Statistic {
  std::string name;
  double value = 0;
  std::string unit;
};

class Statistics {
 public:
  void add(std::string name, double value, std::string unit);
  /// Everything `module.stats()` reports, as "prefix.name".
  template <class Module>
  void add(std::string_view prefix, const Module& module) {
    module.stats([&](std::string_view name, double value, std::string_view unit) {
      add(std::string(prefix).append(".").append(name), value, std::string(unit));
    });
  }
  /// Simulated time, wake-ups and digest events so far.
  void add_time(sim::Simulation& simulation);

  const std::vector<Statistic>& all() const { return all_; }
  /// Null if there is none.
  const Statistic* find(std::string_view name) const;
  /// This minus what `earlier` had for the same name, e.g. for one phase of a run. Names only one of them has
  /// keep their value here.
  Statistics since(const Statistics& earlier) const;

  nlohmann::ordered_json to_json() const;
  /// name,value,unit lines with a header.
  std::string to_csv() const;

 private:
  std::vector<Statistic> all_;
  std::unordered_map<std::string, std::size_t> by_name_;
};

}  // namespace platform
