// SPDX-License-Identifier: Apache-2.0
#include "testbenches/campaign/allocation.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <numeric>

namespace campaign {
namespace {

/// Replaces `length` characters at `at`.
struct Edit {
  std::size_t at, length;
  std::string text;
};

std::size_t place(const YAML::Node& node) { return static_cast<std::size_t>(node.Mark().pos); }

/// What makes `key` of a map `value`, whether it is there or not.
Edit set_key(const YAML::Node& map, const std::string& key, std::uint64_t value) {
  const std::string number = std::to_string(value);
  if (const YAML::Node old = map[key]) return {place(old), old.Scalar().size(), number};
  if (map.Style() == YAML::EmitterStyle::Flow) return {place(map) + 1, 0, key + ": " + number + ", "};
  const auto indent = static_cast<std::size_t>(map.Mark().column);
  return {place(map), 0, key + ": " + number + "\n" + std::string(indent, ' ')};
}

void check(const Campaign& c, const std::string& text, const std::vector<std::uint64_t>& runs,
           std::uint64_t total) {
  const Campaign made = parse_campaign(c.file, text, c.base_file, c.base_text);
  bool right = made.sampling.experiments == total && made.faults.size() == runs.size();
  for (std::size_t i = 0; right && i < runs.size(); ++i) right = made.faults[i].runs == runs[i];
  if (!right) throw sim::Error("another word is where the number belongs");
}

}  // namespace

std::string with_runs(const Campaign& c, const std::vector<std::uint64_t>& runs) {
  const YAML::Node root = YAML::Load(c.text);
  const std::uint64_t total = std::accumulate(runs.begin(), runs.end(), std::uint64_t{0});
  std::vector<Edit> edits;
  for (std::size_t i = 0; i < runs.size(); ++i) edits.push_back(set_key(root["faults"][i], "runs", runs[i]));
  std::string text = c.text;
  if (const YAML::Node sampling = root["sampling"]) {
    edits.push_back(set_key(sampling, "experiments", total));
  } else {
    edits.push_back({text.size(), 0, fmt::format("sampling: {{experiments: {}}}\n", total)});
  }
  // From the end, so that places before stay what they are.
  std::ranges::sort(edits, std::greater<>(), &Edit::at);
  for (const Edit& e : edits) text.replace(e.at, e.length, e.text);
  try {
    check(c, text, runs, total);
  } catch (const sim::Error& e) {
    throw sim::Error(fmt::format("{}: runs: cannot be put in ({}); write them by hand", c.file, e.what()));
  }
  return text;
}

}  // namespace campaign
