// SPDX-License-Identifier: Apache-2.0
#include "platform/parameters.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <fstream>
#include <ostream>
#include <sstream>

namespace platform {

using Kind = Parameter::Kind;

namespace {

std::size_t line_of(const YAML::Node& node) {
  return node.Mark().is_null() ? 0 : static_cast<std::size_t>(node.Mark().line) + 1;
}

bool parse_bool(std::string_view text) {
  for (const char* yes : {"true", "yes", "on", "1"}) {
    if (text == yes) return true;
  }
  for (const char* no : {"false", "no", "off", "0"}) {
    if (text == no) return false;
  }
  throw sim::Error(fmt::format("'{}' is neither true nor false", text));
}

const char* kind_of(const YAML::Node& node) {
  if (node.IsMap()) return "a section";
  if (node.IsSequence()) return "a list";
  return "empty";
}

std::string environment_name(std::string_view path) {
  std::string name = "POOLSIM_";
  for (char c : path) {
    name += c == '.' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  }
  return name;
}

std::string last_word(std::string_view path) { return std::string(path.substr(path.rfind('.') + 1)); }

}  // namespace

// Registration.

Parameter ParameterSet::named(std::string path, std::string doc, Kind kind) {
  Parameter p;
  p.path = std::move(path);
  p.doc = std::move(doc);
  p.kind = kind;
  return p;
}

void ParameterSet::add(Parameter p) {
  POOLSIM_ASSERT(by_path_.find(p.path) == by_path_.end());
  p.default_text = p.text();
  p.environment_name = environment_name(p.path);
  POOLSIM_ASSERT(by_environment_.emplace(p.environment_name, parameters_.size()).second);
  by_path_.emplace(p.path, parameters_.size());
  parameters_.push_back(std::move(p));
}

void ParameterSet::boolean(std::string path, bool& field, std::string doc) {
  Parameter p = named(std::move(path), std::move(doc), Kind::kBool);
  p.assign = [&field](std::string_view text) { field = parse_bool(text); };
  p.text = [&field] { return std::string(field ? "true" : "false"); };
  add(std::move(p));
}

void ParameterSet::bit(std::string path, std::uint64_t& field, std::uint64_t mask, std::string doc) {
  Parameter p = named(std::move(path), std::move(doc), Kind::kBool);
  p.assign = [&field, mask](std::string_view text) {
    field = parse_bool(text) ? field | mask : field & ~mask;
  };
  p.text = [&field, mask] { return std::string((field & mask) != 0 ? "true" : "false"); };
  add(std::move(p));
}

void ParameterSet::bits(std::string path, std::uint64_t& field, unsigned high_bit, unsigned low_bit,
                        std::uint64_t low, std::uint64_t high, std::string doc) {
  const std::uint64_t mask = (~std::uint64_t{0} >> (63 - (high_bit - low_bit))) << low_bit;
  add_number(
      std::move(path), Dimension::kNone, low, high, std::move(doc),
      [&field, mask, low_bit] { return (field & mask) >> low_bit; },
      [&field, mask, low_bit](std::uint64_t v) { field = (field & ~mask) | v << low_bit; });
}

void ParameterSet::add_number(std::string path, Dimension dimension, std::uint64_t low, std::uint64_t high,
                              std::string doc, std::function<std::uint64_t()> get,
                              std::function<void(std::uint64_t)> put) {
  Parameter p = named(std::move(path), std::move(doc),
                      dimension == Dimension::kNone ? Kind::kInteger : Kind::kQuantity);
  p.dimension = dimension;
  p.low = low;
  p.high = high;
  p.assign = [=](std::string_view text) {
    const std::uint64_t value = parse_quantity(text, dimension);
    if (value < low || value > high) {
      throw sim::Error(fmt::format("{} is out of range ({} to {})", text, format_quantity(low, dimension),
                                   format_quantity(high, dimension)));
    }
    put(value);
  };
  p.text = [get = std::move(get), dimension] {
    // JSON readers keep integers exactly up to 2^53 only.
    const std::uint64_t value = get();
    if (dimension == Dimension::kNone && value >> 53 != 0) return fmt::format("{:#x}", value);
    return format_quantity(value, dimension);
  };
  add(std::move(p));
}

void ParameterSet::clock(std::string path, sim::Clock& field, std::string doc) {
  add_number(
      std::move(path), Dimension::kFrequency, 1'000'000, 100'000'000'000, std::move(doc),
      [&field] { return static_cast<std::uint64_t>(std::llround(field.hz())); },
      [&field](std::uint64_t hz) { field = sim::Clock::from_hz(hz); });
}

void ParameterSet::write_hexadecimal() {
  Parameter& p = parameters_.back();
  p.text = [number = p.text] { return fmt::format("{:#x}", parse_quantity(number(), Dimension::kNone)); };
  p.default_text = p.text();
}

void ParameterSet::mac_address(std::string path, std::array<std::uint8_t, 6>& field, std::string doc) {
  Parameter p = named(std::move(path), std::move(doc), Kind::kText);
  p.assign = [&field](std::string_view text) {
    std::array<std::uint8_t, 6> bytes{};
    bool good = text.size() == 17;
    for (std::size_t i = 0; good && i < text.size(); ++i) {
      const char c = text[i];
      if (i % 3 == 2) {
        good = c == ':';
        continue;
      }
      good = std::isxdigit(static_cast<unsigned char>(c)) != 0;
      const int digit = c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10;
      bytes[i / 3] = static_cast<std::uint8_t>(bytes[i / 3] << 4 | digit);
    }
    if (!good) throw sim::Error(fmt::format("'{}' is not an Ethernet address, e.g. 52:54:00:12:34:56", text));
    field = bytes;
  };
  p.text = [&field] { return fmt::format("{:02x}", fmt::join(field, ":")); };
  add(std::move(p));
}

void ParameterSet::text(std::string path, std::string& field, std::string doc,
                        std::vector<std::string> choices) {
  Parameter p = named(std::move(path), std::move(doc), choices.empty() ? Kind::kText : Kind::kChoice);
  p.choices = choices;
  p.assign = [&field, choices](std::string_view text) {
    if (!choices.empty() && std::find(choices.begin(), choices.end(), text) == choices.end()) {
      throw sim::Error(fmt::format("no choice '{}'{}", text, sim::suggestion(text, choices)));
    }
    field = std::string(text);
  };
  p.text = [&field] { return field; };
  add(std::move(p));
}

void ParameterSet::integers(std::string path, std::vector<unsigned>& field, std::uint64_t low,
                            std::uint64_t high, std::string doc) {
  Parameter p = named(std::move(path), std::move(doc), Kind::kIntegers);
  p.low = low;
  p.high = high;
  p.assign = [&field, low, high](std::string_view text) {
    if (text.starts_with('[') && text.ends_with(']')) text = text.substr(1, text.size() - 2);
    std::vector<unsigned> values;
    while (!text.empty()) {
      const std::size_t comma = text.find(',');
      const std::uint64_t v = parse_quantity(text.substr(0, comma), Dimension::kNone);
      if (v < low || v > high) throw sim::Error(fmt::format("{} is out of range ({} to {})", v, low, high));
      values.push_back(static_cast<unsigned>(v));
      text = comma == std::string_view::npos ? std::string_view{} : text.substr(comma + 1);
    }
    field = std::move(values);
  };
  p.text = [&field] { return fmt::format("[{}]", fmt::join(field, ", ")); };
  add(std::move(p));
}

// Lookup and what to say when it fails.

Parameter* ParameterSet::lookup(std::string_view path) {
  const auto it = by_path_.find(path);
  return it == by_path_.end() ? nullptr : &parameters_[it->second];
}

const Parameter* ParameterSet::find(std::string_view path) const {
  const auto it = by_path_.find(path);
  return it == by_path_.end() ? nullptr : &parameters_[it->second];
}

std::vector<std::string> ParameterSet::paths() const {
  std::vector<std::string> all;
  for (const Parameter& p : parameters_) all.push_back(p.path);
  return all;
}

/// Keys that may stand in the section `prefix` ("" = top).
std::vector<std::string> ParameterSet::children(const std::string& prefix) const {
  std::vector<std::string> keys;
  const std::string start = prefix.empty() ? "" : prefix + ".";
  for (const Parameter& p : parameters_) {
    if (!p.path.starts_with(start)) continue;
    std::string key = p.path.substr(start.size());
    key = key.substr(0, key.find('.'));
    if (std::find(keys.begin(), keys.end(), key) == keys.end()) keys.push_back(std::move(key));
  }
  if (prefix.empty()) keys.insert(keys.end(), left_.begin(), left_.end());
  return keys;
}

std::string ParameterSet::unknown(const std::string& prefix, const std::string& key) const {
  const std::string path = prefix.empty() ? key : prefix + "." + key;
  const std::vector<std::string> here = children(prefix);
  const std::size_t dot = std::min(key.find('.'), key.size());  // --set gives the rest of a path
  if (const std::string near = sim::nearest(key.substr(0, dot), here); !near.empty()) {
    return fmt::format("unknown key '{}' (did you mean '{}'?)", path,
                       (prefix.empty() ? near : prefix + "." + near) + key.substr(dot));
  }
  for (const Parameter& p : parameters_) {  // the right word in the wrong section
    if (last_word(p.path) == key) return fmt::format("unknown key '{}' (did you mean '{}'?)", path, p.path);
  }
  return fmt::format("unknown key '{}' (one of: {})", path, fmt::join(here, ", "));
}

// Reading.

void ParameterSet::load_map(const YAML::Node& map, const std::string& prefix, const std::string& name) {
  std::map<std::string, std::size_t> seen;
  for (const auto& entry : map) {
    const std::size_t line = line_of(entry.first);
    if (!entry.first.IsScalar()) throw sim::Error(name, line, "a key must be a word");
    const std::string key = entry.first.Scalar();
    const std::string path = prefix.empty() ? key : prefix + "." + key;
    if (const auto [it, fresh] = seen.emplace(key, line); !fresh) {
      throw sim::Error(name, line, fmt::format("duplicate key '{}' (first in line {})", path, it->second));
    }
    if (prefix.empty() && std::find(left_.begin(), left_.end(), key) != left_.end()) continue;
    Parameter* p = lookup(path);
    const YAML::Node& value = entry.second;
    if (p == nullptr) {
      if (children(path).empty()) throw sim::Error(name, line, unknown(prefix, key));
      if (value.IsNull()) continue;
      if (!value.IsMap()) throw sim::Error(name, line, fmt::format("{}: a section, not a value", path));
      load_map(value, path, name);
      continue;
    }
    std::string text;
    if (value.IsScalar()) {
      text = value.Scalar();
    } else if (value.IsSequence() && p->kind == Kind::kIntegers) {
      for (const auto& item : value) {
        if (!item.IsScalar())
          throw sim::Error(name, line_of(item), fmt::format("{}: a list of integers", path));
        text += (text.empty() ? "" : ", ") + item.Scalar();
      }
    } else {
      throw sim::Error(name, line, fmt::format("{}: a value is expected, this is {}", path, kind_of(value)));
    }
    const std::size_t value_line = line_of(value) != 0 ? line_of(value) : line;
    try {
      p->assign(text);
    } catch (const sim::Error& e) {
      throw sim::Error(name, value_line, fmt::format("{}: {}", path, e.what()));
    }
    p->origin = fmt::format("{}:{}", name, value_line);
  }
}

void ParameterSet::load(const YAML::Node& root, const std::string& name) {
  if (root.IsNull()) return;
  if (!root.IsMap()) throw sim::Error(name, line_of(root), "a file of parameters is a map: 'section: ...'");
  load_map(root, "", name);
}

void ParameterSet::load_text(const std::string& yaml, const std::string& name) {
  YAML::Node root;
  try {
    root = YAML::Load(yaml);
  } catch (const YAML::ParserException& e) {
    throw sim::Error(name, static_cast<std::size_t>(e.mark.line) + 1, fmt::format("not YAML: {}", e.msg));
  }
  load(root, name);
}

void ParameterSet::load_file(const std::string& file) {
  std::ifstream in(file);
  if (!in) throw sim::Error(file, 0, "cannot be read");
  std::ostringstream content;
  content << in.rdbuf();
  if (!in) throw sim::Error(file, 0, "cannot be read");
  load_text(content.str(), file);
}

void ParameterSet::load_environment(const char* const* variables) {
  // In the order of the table, so that the result does not depend on the order of the environment.
  std::map<std::string, std::string, std::less<>> given;
  for (; variables != nullptr && *variables != nullptr; ++variables) {
    const std::string_view v = *variables;
    if (!v.starts_with("POOLSIM_")) continue;
    const std::size_t equals = v.find('=');
    if (equals == std::string_view::npos) continue;
    given.emplace(v.substr(0, equals), v.substr(equals + 1));
  }
  for (const auto& [variable, value] : given) {
    const auto it = by_environment_.find(variable);
    if (it == by_environment_.end()) {
      std::vector<std::string> names;
      for (const auto& known : by_environment_) names.push_back(known.first);
      const std::string near = sim::nearest(variable, names);
      throw sim::Error("environment", 0,
                       fmt::format("no parameter is called '{}' (did you mean '{}'?)", variable,
                                   near.empty() ? names.front() : near));
    }
    Parameter& p = parameters_[it->second];
    try {
      p.assign(value);
    } catch (const sim::Error& e) {
      throw sim::Error("environment", 0, fmt::format("{}: {}", variable, e.what()));
    }
    p.origin = "environment " + variable;
  }
}

void ParameterSet::assign(std::string_view assignment) {
  const std::size_t equals = assignment.find('=');
  if (equals == std::string_view::npos || equals == 0) {
    throw sim::Error("--set", 0, fmt::format("'{}' is not of the form path=value", assignment));
  }
  const std::string path(assignment.substr(0, equals));
  Parameter* p = lookup(path);
  if (p == nullptr) {
    if (!children(path).empty()) {
      throw sim::Error("--set", 0,
                       fmt::format("'{}' is a section (one of: {})", path, fmt::join(children(path), ", ")));
    }
    // Name the part of the path that is wrong.
    std::string prefix, rest = path;
    for (std::size_t dot; (dot = rest.find('.')) != std::string::npos;) {
      const std::string deeper = prefix.empty() ? rest.substr(0, dot) : prefix + "." + rest.substr(0, dot);
      if (children(deeper).empty()) break;
      prefix = deeper;
      rest = rest.substr(dot + 1);
    }
    throw sim::Error("--set", 0, unknown(prefix, rest));
  }
  try {
    p->assign(assignment.substr(equals + 1));
  } catch (const sim::Error& e) {
    throw sim::Error("--set", 0, fmt::format("{}: {}", path, e.what()));
  }
  p->origin = "--set";
}

void ParameterSet::check(const std::function<void()>& validate) const {
  try {
    validate();
  } catch (const sim::Error& e) {
    const std::string_view what = e.what();
    const std::size_t end = what.find_first_of(": ,");
    const Parameter* p = find(what.substr(0, end));
    if (p == nullptr || p->origin == "default") throw;
    throw sim::Error(fmt::format("{}: {}", p->origin, what));
  }
}

}  // namespace platform
