// SPDX-License-Identifier: Apache-2.0
#include "testbenches/conform/dram_config.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <yaml-cpp/yaml.h>

#include <functional>
#include <map>
#include <utility>

#include "platform/quantity.h"
#include "sim/error.h"

namespace conform {
namespace {

using Setter = std::function<void(const YAML::Node&)>;
using Fields = std::map<std::string, Setter>;

std::size_t line_of(const YAML::Node& node) { return static_cast<std::size_t>(node.Mark().line) + 1; }

template <class T>
Setter into(T& field) {
  return [&field](const YAML::Node& node) { field = node.as<T>(); };
}

template <class Enum>
Setter one_of(Enum& field, std::map<std::string, Enum> values) {
  return [&field, values = std::move(values)](const YAML::Node& node) {
    const auto found = values.find(node.Scalar());
    if (found != values.end()) {
      field = found->second;
      return;
    }
    std::vector<std::string> names;
    for (const auto& [name, value] : values) names.push_back(name);
    throw sim::Error(fmt::format("no choice '{}': {}", node.Scalar(), fmt::join(names, ", ")));
  };
}

Setter size(std::uint64_t& bytes) {
  return [&bytes](const YAML::Node& node) {
    bytes = platform::parse_quantity(node.Scalar(), platform::Dimension::kSize);
  };
}

/// "mapping: ro", or a map from fields to bits: "bank_group: 6-7" or "[6, 7]".
Setter mapping(std::string& text) {
  return [&text](const YAML::Node& node) {
    if (!node.IsMap()) {
      text = node.as<std::string>();
      return;
    }
    text.clear();
    for (const auto& field : node) {
      const YAML::Node& bits = field.second;
      std::vector<std::string> pieces;
      if (bits.IsSequence()) {
        for (const auto& bit : bits) pieces.push_back(bit.as<std::string>());
      } else {
        pieces.push_back(bits.as<std::string>());
      }
      text += fmt::format("{}{}={}", text.empty() ? "" : ",", field.first.Scalar(), fmt::join(pieces, "+"));
    }
  };
}

void read_fields(const std::string& path, const std::string& prefix, const YAML::Node& map,
                 const Fields& fields) {
  if (!map.IsMap()) throw sim::Error(path, line_of(map), fmt::format("'{}' is not a map", prefix));
  for (const auto& entry : map) {
    const std::string key = entry.first.Scalar();
    const auto field = fields.find(key);
    if (field == fields.end()) {
      std::vector<std::string> names;
      for (const auto& [name, setter] : fields) names.push_back(name);
      throw sim::Error(path, line_of(entry.first),
                       fmt::format("unknown key '{}{}'{}", prefix, key, sim::suggestion(key, names)));
    }
    try {
      field->second(entry.second);
    } catch (const sim::Error& e) {
      throw sim::Error(path, line_of(entry.second), fmt::format("'{}{}': {}", prefix, key, e.what()));
    } catch (const YAML::Exception&) {
      throw sim::Error(path, line_of(entry.second),
                       fmt::format("'{}{}' cannot be '{}'", prefix, key, entry.second.Scalar()));
    }
  }
}

Fields timing_fields(mm::DramTiming& t) {
  return {{"clock_mhz",
           [&t](const YAML::Node& n) {
             const auto mhz = n.as<std::uint64_t>();
             if (mhz == 0 || mhz > 100'000) throw YAML::Exception(n.Mark(), "out of range");
             t.clock = sim::Clock::from_hz(mhz * 1'000'000);
           }},
          {"burst_length", into(t.burst_length)},
          {"cl", into(t.cl)},
          {"rcd", into(t.rcd)},
          {"rp", into(t.rp)},
          {"cwl", into(t.cwl)},
          {"ras", into(t.ras)},
          {"rc", into(t.rc)},
          {"wr", into(t.wr)},
          {"rtp", into(t.rtp)},
          {"ccd_s", into(t.ccd_s)},
          {"ccd_l", into(t.ccd_l)},
          {"ccd_l_wr", into(t.ccd_l_wr)},
          {"rrd_s", into(t.rrd_s)},
          {"rrd_l", into(t.rrd_l)},
          {"faw", into(t.faw)},
          {"wtr_s", into(t.wtr_s)},
          {"wtr_l", into(t.wtr_l)},
          {"ppd", into(t.ppd)},
          {"rfc", into(t.rfc)},
          {"refi", into(t.refi)},
          {"rfc_sb", into(t.rfc_sb)},
          {"refsb_rd", into(t.refsb_rd)},
          {"rtrs", into(t.rtrs)},
          {"two_cycle_commands", into(t.two_cycle_commands)},
          {"bank_groups", into(t.bank_groups)},
          {"banks", into(t.banks)},
          {"rows", into(t.rows)},
          {"columns", into(t.columns)}};
}

}  // namespace

mm::DramConfig read_dram_config(const std::string& path) {
  YAML::Node root;
  try {
    root = YAML::LoadFile(path);
  } catch (const YAML::BadFile&) {
    throw sim::Error(path, 0, "cannot be read");
  } catch (const YAML::Exception& e) {
    throw sim::Error(path, static_cast<std::size_t>(e.mark.line) + 1, e.msg);
  }
  mm::DramConfig config;
  YAML::Node timing;
  read_fields(path, "", root,
              {{"standard", into(config.standard)},
               {"mapping", mapping(config.mapping)},
               {"channels", into(config.channels)},
               {"ranks", into(config.ranks)},
               {"read_queue", into(config.read_queue)},
               {"write_queue", into(config.write_queue)},
               {"write_high", into(config.write_high)},
               {"write_low", into(config.write_low)},
               {"age_cap_cycles", into(config.age_cap_cycles)},
               {"refresh", into(config.refresh)},
               {"same_bank_refresh", into(config.same_bank_refresh)},
               {"scheduler", one_of(config.scheduler, mm::dram_schedulers())},
               {"page_policy", one_of(config.page_policy, mm::page_policies())},
               {"size", size(config.size_bytes)},
               {"timing", [&](const YAML::Node& n) { timing = n; }}});
  try {
    if (timing.IsDefined() && !timing.IsNull()) {
      mm::DramTiming t = mm::dram_standard(config.standard);
      read_fields(path, "timing.", timing, timing_fields(t));
      config.timing = t;
    }
    config.validate();
  } catch (const sim::Error& e) {
    const std::string text = e.what();
    if (text.starts_with(path)) throw;
    throw sim::Error(path, 0, text);
  }
  return config;
}

}  // namespace conform
