// SPDX-License-Identifier: Apache-2.0
// A small reader of value change dumps, so that the tests judge what was written and not how.
#pragma once
#include <cstdint>
#include <fstream>
#include <map>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

struct VcdSignal {
  unsigned bits = 0;
  std::vector<std::pair<std::uint64_t, std::uint64_t>> changes;  // time, value

  std::uint64_t at(std::uint64_t t) const {
    std::uint64_t v = 0;
    for (const auto& [when, value] : changes) {
      if (when <= t) v = value;
    }
    return v;
  }
};

struct Vcd {
  std::string timescale;
  bool dated = false;
  std::map<std::string, VcdSignal> signals;  // by full path
  std::uint64_t first = ~std::uint64_t{0}, last = 0;
};

inline std::string read_text(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) throw std::runtime_error("no file " + path);
  std::stringstream s;
  s << in.rdbuf();
  return s.str();
}

inline Vcd read_vcd(const std::string& path) {
  std::istringstream in(read_text(path));
  Vcd vcd;
  std::vector<std::string> scopes;
  std::map<std::string, std::string> by_code;
  std::string word;
  const auto until_end = [&] {
    std::string all, w;
    while (in >> w && w != "$end") all += (all.empty() ? "" : " ") + w;
    return all;
  };
  while (in >> word && word != "$enddefinitions") {
    if (word == "$timescale") {
      vcd.timescale = until_end();
    } else if (word == "$scope") {
      std::istringstream s(until_end());
      std::string kind, name;
      s >> kind >> name;
      scopes.push_back(name);
    } else if (word == "$upscope") {
      until_end();
      scopes.pop_back();
    } else if (word == "$var") {
      std::istringstream s(until_end());
      std::string kind, code, name, path_name;
      unsigned bits;
      s >> kind >> bits >> code >> name;
      for (const auto& sc : scopes) path_name += sc + ".";
      path_name += name;
      if (!by_code.emplace(code, path_name).second) throw std::runtime_error("code used twice: " + code);
      vcd.signals[path_name].bits = bits;
    } else {
      vcd.dated |= word == "$date";
      until_end();
    }
  }
  if (!scopes.empty()) throw std::runtime_error("scopes do not close");
  until_end();
  std::uint64_t now = 0;
  bool timed = false;
  while (in >> word) {
    if (word[0] == '#') {
      const std::uint64_t t = std::stoull(word.substr(1));
      if (timed && t < now) throw std::runtime_error("time runs backwards");
      now = t;
      if (!timed) vcd.first = t;
      timed = true;
      vcd.last = t;
    } else if (word == "$dumpvars" || word == "$end") {
      continue;
    } else if (word[0] == 'b') {
      std::string code;
      in >> code;
      vcd.signals.at(by_code.at(code)).changes.emplace_back(now, std::stoull(word.substr(1), nullptr, 2));
    } else {
      vcd.signals.at(by_code.at(word.substr(1))).changes.emplace_back(now, word[0] - '0');
    }
  }
  return vcd;
}
