// SPDX-License-Identifier: Apache-2.0
#include "platform/statistics.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "sim/error.h"

namespace platform {
namespace {
bool whole(double v) { return std::nearbyint(v) == v && std::abs(v) < 9e15; }
}  // namespace

void Statistics::add(std::string name, double value, std::string unit) {
  POOLSIM_ASSERT(by_name_.emplace(name, all_.size()).second);
  all_.push_back({std::move(name), value, std::move(unit)});
}

void Statistics::add_time(sim::Simulation& simulation) {
  add("time.simulated", static_cast<double>(simulation.now()) * 1e-15, "s");
  add("time.wakeups", static_cast<double>(simulation.timeline().wakeups()), "1");
  add("time.digest_events", static_cast<double>(simulation.digest().events()), "1");
}

const Statistic* Statistics::find(std::string_view name) const {
  const auto it = by_name_.find(std::string(name));
  return it == by_name_.end() ? nullptr : &all_[it->second];
}

Statistics Statistics::since(const Statistics& earlier) const {
  Statistics difference;
  for (const Statistic& s : all_) {
    const Statistic* before = earlier.find(s.name);
    difference.add(s.name, s.value - (before != nullptr ? before->value : 0), s.unit);
  }
  return difference;
}

nlohmann::ordered_json Statistics::to_json() const {
  nlohmann::ordered_json json = nlohmann::ordered_json::object();
  for (const Statistic& s : all_) {
    nlohmann::ordered_json value;
    if (whole(s.value)) {
      value = static_cast<std::int64_t>(s.value);
    } else {
      value = s.value;
    }
    json[s.name] = {{"value", std::move(value)}, {"unit", s.unit}};
  }
  return json;
}

std::string Statistics::to_csv() const {
  std::string text = "name,value,unit\n";
  for (const Statistic& s : all_) {
    text += whole(s.value) ? fmt::format("{},{},{}\n", s.name, static_cast<std::int64_t>(s.value), s.unit)
                           : fmt::format("{},{},{}\n", s.name, s.value, s.unit);
  }
  return text;
}

}  // namespace platform
