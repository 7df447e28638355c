// SPDX-License-Identifier: Apache-2.0
// What is written from the table of parameters: the dump with origins, and the JSON schema.
#include <yaml-cpp/yaml.h>

#include <nlohmann/json.hpp>
#include <ostream>

#include "platform/parameters.h"

namespace platform {

using nlohmann::ordered_json;
using Kind = Parameter::Kind;

namespace {

/// Texts that YAML would take for something else, or not at all, in quotes.
std::string yaml_scalar(const Parameter& p) {
  const std::string value = p.text();
  if (p.kind != Kind::kText) return value;
  YAML::Emitter e;
  e << value;
  return e.c_str();
}

ordered_json typed_value(const Parameter& p, const std::string& text) {
  switch (p.kind) {
    case Kind::kBool:
      return text == "true";
    case Kind::kInteger:
      return text.starts_with("0x") ? ordered_json(text) : ordered_json(std::stoull(text));
    case Kind::kIntegers:
      return ordered_json::parse(text);
    default:
      return text;
  }
}

ordered_json schema_of(const Parameter& p) {
  ordered_json s;
  s["description"] = p.doc;
  switch (p.kind) {
    case Kind::kBool:
      s["type"] = "boolean";
      break;
    case Kind::kInteger: {
      // Hexadecimal is a string to JSON.
      ordered_json number = {{"type", "integer"}, {"minimum", p.low}};
      if (p.high <= (std::uint64_t{1} << 53)) number["maximum"] = p.high;
      s["anyOf"] = {number, {{"type", "string"}, {"pattern", "^0[xX][0-9a-fA-F]+$"}}};
      break;
    }
    case Kind::kQuantity: {
      ordered_json text = {{"type", "string"}, {"pattern", quantity_pattern(p.dimension)}};
      ordered_json bare = p.dimension == Dimension::kSize ? ordered_json{{"type", "integer"}, {"minimum", 0}}
                                                          : ordered_json{{"enum", {0}}};
      s["anyOf"] = {text, bare};
      break;
    }
    case Kind::kChoice:
      s["type"] = "string";
      s["enum"] = p.choices;
      break;
    case Kind::kText:
      s["type"] = {"string", "number", "boolean"};
      break;
    case Kind::kIntegers:
      s["type"] = "array";
      s["items"] = {{"type", "integer"}, {"minimum", p.low}, {"maximum", p.high}};
      break;
  }
  s["default"] = typed_value(p, p.default_text);
  return s;
}

}  // namespace

void ParameterSet::dump(std::ostream& out) const {
  std::vector<std::string> open;  // sections we are in
  for (const Parameter& p : parameters_) {
    std::vector<std::string> parts;
    for (std::size_t at = 0;;) {
      const std::size_t dot = p.path.find('.', at);
      parts.push_back(p.path.substr(at, dot - at));
      if (dot == std::string::npos) break;
      at = dot + 1;
    }
    std::size_t common = 0;
    while (common < open.size() && common + 1 < parts.size() && open[common] == parts[common]) ++common;
    open.resize(common);
    for (; common + 1 < parts.size(); ++common) {
      out << std::string(2 * common, ' ') << parts[common] << ":\n";
      open.push_back(parts[common]);
    }
    const std::string line = std::string(2 * common, ' ') + parts.back() + ": " + yaml_scalar(p);
    out << fmt::format("{:<40}  # {}\n", line, p.origin);
  }
}

ordered_json ParameterSet::dump_json() const {
  ordered_json all = ordered_json::object();
  for (const Parameter& p : parameters_) {
    all[p.path] = {{"value", typed_value(p, p.text())},
                   {"origin", p.origin},
                   {"default", typed_value(p, p.default_text)},
                   {"doc", p.doc}};
  }
  return all;
}

ordered_json ParameterSet::schema() const {
  const auto section = [] {
    return ordered_json{{"type", {"object", "null"}},
                        {"additionalProperties", false},
                        {"properties", ordered_json::object()}};
  };
  ordered_json root = {{"$schema", "http://json-schema.org/draft-07/schema#"},
                       {"title", "poolsim configuration"}};
  root.update(section());
  for (const Parameter& p : parameters_) {
    ordered_json* at = &root;
    std::size_t from = 0;
    for (std::size_t dot; (dot = p.path.find('.', from)) != std::string::npos; from = dot + 1) {
      ordered_json& properties = (*at)["properties"];
      const std::string key = p.path.substr(from, dot - from);
      if (!properties.contains(key)) properties[key] = section();
      at = &properties[key];
    }
    (*at)["properties"][p.path.substr(from)] = schema_of(p);
  }
  for (const std::string& key : left_) root["properties"][key] = ordered_json::object();
  return root;
}

ordered_json to_json(const YAML::Node& node) {
  if (node.IsMap()) {
    ordered_json map = ordered_json::object();
    for (const auto& entry : node) map[entry.first.Scalar()] = to_json(entry.second);
    return map;
  }
  if (node.IsSequence()) {
    ordered_json list = ordered_json::array();
    for (const auto& item : node) list.push_back(to_json(item));
    return list;
  }
  if (!node.IsScalar()) return nullptr;
  const std::string& text = node.Scalar();
  if (node.Tag() == "!") return text;  // quoted
  if (text == "true" || text == "false") return text == "true";
  const bool digits = !text.empty() && text.find_first_not_of("0123456789") == std::string::npos;
  if (digits && text.size() < 20) return std::stoull(text);
  return text;
}

}  // namespace platform
