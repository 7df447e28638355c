// SPDX-License-Identifier: Apache-2.0
#include "waveforms/select.h"

#include <algorithm>

#include "sim/error.h"

namespace waveforms {

bool glob_match(std::string_view pattern, std::string_view text) {
  std::size_t p = 0, t = 0, star = std::string_view::npos, resume = 0;
  while (t < text.size()) {
    if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == text[t]) && pattern[p] != '*') {
      ++p;
      ++t;
    } else if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      resume = t;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      t = ++resume;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

bool selects(std::string_view pattern, std::string_view path) {
  if (glob_match(pattern, path)) return true;
  // A scope: some prefix of the path that ends before a dot.
  for (std::size_t dot = path.find('.'); dot != std::string_view::npos; dot = path.find('.', dot + 1)) {
    if (pattern == path.substr(0, dot)) return true;
  }
  return false;
}

std::vector<sim::Probe*> select_probes(const sim::ProbeHub& hub, const std::vector<std::string>& patterns) {
  for (const auto& pattern : patterns) {
    if (std::ranges::any_of(hub.probes(), [&](const sim::Probe* p) { return selects(pattern, p->path()); })) {
      continue;
    }
    std::vector<std::string> names;
    for (const sim::Probe* p : hub.probes()) {
      names.push_back(p->path());
      for (std::size_t dot = p->path().find('.'); dot != std::string::npos;
           dot = p->path().find('.', dot + 1)) {
        names.push_back(p->path().substr(0, dot));
      }
    }
    const std::string near = sim::nearest(pattern, names);
    throw sim::Error(fmt::format("no probe matches '{}'{}", pattern,
                                 near.empty() ? "" : fmt::format(" (did you mean '{}'?)", near)));
  }
  std::vector<sim::Probe*> chosen;
  for (sim::Probe* p : hub.probes()) {
    if (patterns.empty() ||
        std::ranges::any_of(patterns, [&](const std::string& s) { return selects(s, p->path()); })) {
      chosen.push_back(p);
    }
  }
  return chosen;
}

}  // namespace waveforms
