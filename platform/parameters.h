// SPDX-License-Identifier: Apache-2.0
// The parameters of a machine: a table that binds paths ("iommu.iotlb.sets") to fields of the rooms' config
// structs. From it come the reading of YAML files, the environment and --set, the dump with origins, and the
// JSON schema.
//
//   ParameterSet set;
//   register_iommu(set, config.iommu);          // platform/parameter_tables.h
//   set.load_file("machine.yaml");              // default < file < POOLSIM_* < --set
//   set.load_environment(environ);
//   set.assign("iommu.iotlb.sets=32");
//   set.check([&] { config.iommu.validate(); });
//
// Everything wrong is one sim::Error: FILE:LINE: path: what is wrong (what would be right). The bound structs
// must outlive the set. Environment names: POOLSIM_ and the path in capitals, dots as underscores.
#pragma once
#include <array>
#include <cstdint>
#include <functional>
#include <iosfwd>
#include <limits>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "platform/quantity.h"
#include "sim/clock.h"
#include "sim/error.h"

namespace YAML {
class Node;
}

namespace platform {

struct Parameter {
  enum class Kind : std::uint8_t { kBool, kInteger, kQuantity, kChoice, kText, kIntegers };
  std::string path;
  std::string doc;
  Kind kind = Kind::kText;
  Dimension dimension = Dimension::kNone;
  std::uint64_t low = 0, high = ~std::uint64_t{0};  ///< in base units
  std::vector<std::string> choices;
  std::string default_text;
  std::string origin = "default";  ///< "default", "FILE:LINE", "environment POOLSIM_X", "--set"
  std::string environment_name;

  std::function<void(std::string_view)> assign;  ///< throws sim::Error without place
  std::function<std::string()> text;             ///< present value, as one would write it
};

class ParameterSet {
 public:
  // Registration. Bounds are inclusive, in base units.
  void boolean(std::string path, bool& field, std::string doc);
  /// One bit of a mask.
  void bit(std::string path, std::uint64_t& field, std::uint64_t mask, std::string doc);
  /// Bits high_bit..low_bit of a register value, as a number.
  void bits(std::string path, std::uint64_t& field, unsigned high_bit, unsigned low_bit, std::uint64_t low,
            std::uint64_t high, std::string doc);
  template <class Integer>
  void integer(std::string path, Integer& field, std::uint64_t low, std::uint64_t high, std::string doc) {
    number(std::move(path), Dimension::kNone, low, high, std::move(doc), field);
  }
  /// Bytes.
  template <class Integer>
  void size(std::string path, Integer& field, std::uint64_t low, std::uint64_t high, std::string doc) {
    number(std::move(path), Dimension::kSize, low, high, std::move(doc), field);
  }
  /// Femtoseconds.
  void time(std::string path, sim::Tick& field, sim::Tick low, sim::Tick high, std::string doc) {
    number(std::move(path), Dimension::kTime, low, high, std::move(doc), field);
  }
  /// Bits per second.
  void rate(std::string path, std::uint64_t& field, std::uint64_t low, std::uint64_t high, std::string doc) {
    number(std::move(path), Dimension::kRate, low, high, std::move(doc), field);
  }
  void clock(std::string path, sim::Clock& field, std::string doc);
  /// A physical address, written in hexadecimal.
  template <class Integer>
  void address(std::string path, Integer& field, std::string doc) {
    number(std::move(path), Dimension::kNone, 0, std::numeric_limits<Integer>::max(), std::move(doc), field);
    write_hexadecimal();
  }
  void address(std::string path, sim::PhysAddr& field, std::string doc) {
    address(std::move(path), field.value, std::move(doc));
  }
  /// An Ethernet address, six pairs of hexadecimal digits with colons.
  void mac_address(std::string path, std::array<std::uint8_t, 6>& field, std::string doc);
  template <class Enum>
  void choice(std::string path, Enum& field, std::vector<std::pair<std::string, Enum>> values,
              std::string doc) {
    std::vector<std::string> names;
    for (const auto& v : values) names.push_back(v.first);
    Parameter p = named(std::move(path), std::move(doc), Parameter::Kind::kChoice);
    p.choices = names;
    p.assign = [&field, values, names](std::string_view text) {
      for (const auto& v : values) {
        if (v.first == text) {
          field = v.second;
          return;
        }
      }
      throw sim::Error(fmt::format("no choice '{}'{}", text, sim::suggestion(text, names)));
    };
    p.text = [&field, values] {
      for (const auto& v : values) {
        if (v.second == field) return v.first;
      }
      return std::string("?");
    };
    add(std::move(p));
  }
  /// Free text, or one of `choices` if there are any.
  void text(std::string path, std::string& field, std::string doc, std::vector<std::string> choices = {});
  void integers(std::string path, std::vector<unsigned>& field, std::uint64_t low, std::uint64_t high,
                std::string doc);
  /// A top-level key of the file that somebody else reads.
  void leave(std::string key) { left_.push_back(std::move(key)); }

  // Values. Later calls win: call in the order file, environment, --set.
  void load_file(const std::string& file);
  /// `name` stands for the file in messages.
  void load_text(const std::string& yaml, const std::string& name);
  void load(const YAML::Node& root, const std::string& name);
  /// `variables`: NAME=value strings, null-terminated, as `environ`. An unknown POOLSIM_ name is an error.
  void load_environment(const char* const* variables);
  /// "a.b=c".
  void assign(std::string_view assignment);

  /// Runs `validate`; if its sim::Error starts with the path of a parameter, puts that parameter's origin
  /// before it.
  void check(const std::function<void()>& validate) const;

  /// Null if there is none.
  const Parameter* find(std::string_view path) const;
  const std::vector<Parameter>& parameters() const { return parameters_; }
  /// Paths of all parameters.
  std::vector<std::string> paths() const;

  /// YAML of the present values; the origin of each as a comment.
  void dump(std::ostream& out) const;
  /// {"path": {"value": ..., "origin": ..., "default": ..., "doc": ...}, ...}
  nlohmann::ordered_json dump_json() const;
  /// JSON schema (draft 7) of the file.
  nlohmann::ordered_json schema() const;

 private:
  static Parameter named(std::string path, std::string doc, Parameter::Kind kind);
  template <class Integer>
  void number(std::string path, Dimension dimension, std::uint64_t low, std::uint64_t high, std::string doc,
              Integer& field) {
    add_number(
        std::move(path), dimension, low, high, std::move(doc),
        [&field] { return static_cast<std::uint64_t>(field); },
        [&field](std::uint64_t v) { field = static_cast<Integer>(v); });
  }
  void add_number(std::string path, Dimension dimension, std::uint64_t low, std::uint64_t high,
                  std::string doc, std::function<std::uint64_t()> get,
                  std::function<void(std::uint64_t)> put);
  void add(Parameter parameter);
  /// The parameter added last is written in hexadecimal.
  void write_hexadecimal();
  Parameter* lookup(std::string_view path);
  void load_map(const YAML::Node& map, const std::string& prefix, const std::string& name);
  std::string unknown(const std::string& prefix, const std::string& key) const;
  std::vector<std::string> children(const std::string& prefix) const;

  std::vector<Parameter> parameters_;
  std::map<std::string, std::size_t, std::less<>> by_path_;
  std::map<std::string, std::size_t, std::less<>> by_environment_;
  std::vector<std::string> left_;
};

/// A YAML node as JSON, scalars typed as YAML 1.2 does (for checking against the schema).
nlohmann::ordered_json to_json(const YAML::Node& node);

}  // namespace platform
