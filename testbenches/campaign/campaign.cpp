// SPDX-License-Identifier: Apache-2.0
#include "testbenches/campaign/campaign.h"

#include <unistd.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "sim/digest.h"

namespace campaign {
namespace {

std::string read_text(const std::string& file) {
  std::ifstream in(file);
  if (!in) throw sim::Error(fmt::format("{}: cannot be read", file));
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

double parse_fraction(const std::string& key, std::string text, double low, double high) {
  const bool percent = !text.empty() && text.back() == '%';
  if (percent) text.pop_back();
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (percent) value /= 100;
  if (error != std::errc() || end != text.data() + text.size() || value < low || value > high) {
    throw sim::Error(fmt::format("{}: '{}' is no fraction from {} to {}", key, text, low, high));
  }
  return value;
}

/// Text fields that need parsing beyond what a ParameterSet does.
struct Texts {
  std::string base, seed = "1", margin = "0", confidence = "0.95", audit = "0.01";
};

void register_plain(platform::ParameterSet& set, Campaign& c, Texts& t) {
  static unsigned schema = 1;
  constexpr sim::Tick kLong = 3600 * sim::kSecond;
  set.integer("schema", schema, 1, 1, "version of this format");
  set.text("name", c.name, "of the campaign, in reports");
  set.integer("seed", c.seed, 0, ~std::uint64_t{0}, "of all that is drawn");
  set.text("base", t.base, "scenario file, relative to this one");
  set.text("warmup", c.warmup, "trigger at which the machine is warm: a time, on(...) or probe(...)");
  set.time("window.after_injection", c.window, 0, kLong,
           "how long an experiment runs; 0: to the end of the scenario");
  set.time("window.ladder", c.ladder, sim::kMicrosecond, kLong,
           "between two comparisons with the golden run");
  set.boolean("window.early_stop", c.early_stop, "cut an experiment that is again as the golden run");
  set.integer("sampling.experiments", c.sampling.experiments, 1, 1'000'000'000, "of each variant, at most");
  set.text("sampling.margin", t.margin, "half width of the interval at which to stop; 0: run them all");
  set.text("sampling.confidence", t.confidence, "of the interval");
  set.integer("sampling.first_look", c.sampling.first_look, 30, 1'000'000'000,
              "experiments before the first look at the margin; then twice as many each time");
  set.text("sampling.audit", t.audit, "share that is run in full although pruned or cut short");
  set.time("limits.cpu", c.limits.cpu, sim::kMillisecond, kLong, "CPU time of the host for one experiment");
  set.size("limits.memory", c.limits.memory, 1 << 20, std::uint64_t{1} << 44,
           "host memory beyond the warm machine");
  set.time("limits.stall", c.limits.stall, sim::kMicrosecond, kLong,
           "simulated time without progress where the golden run has some");
  c.schedule.parameters(set);
  c.keep.parameters(set);
  for (const char* key : {"variants", "settings", "faults"}) set.leave(key);
}

/// "a.b=c" of a map that may be nested.
void flatten(const YAML::Node& map, const std::string& prefix, const std::string& file,
             std::vector<std::string>& out) {
  if (!map.IsMap()) {
    throw sim::Error(file, static_cast<std::size_t>(map.Mark().line) + 1, "settings: a map of parameters");
  }
  for (const auto& entry : map) {
    const std::string path = prefix + entry.first.Scalar();
    if (entry.second.IsMap()) {
      flatten(entry.second, path + ".", file, out);
    } else {
      out.push_back(path + "=" + entry.second.Scalar());
    }
  }
}

void register_fault(platform::ParameterSet& set, FaultSpec& f, std::string& when) {
  set.text("kind", f.kind, "kind of fault (poolsim list faults)");
  set.text("when", when, "trigger: a time, uniform(...), on(...), probe(...) or defuse(...)");
  set.integer("weight", f.weight, 1, 1000, "share of the fault space, relative to the other faults");
  set.integer(
      "runs", f.runs, 0, 1'000'000,
      "share of the experiments, relative to the other faults (poolsim campaign allocate); 0: the weight");
  f.fault->parameters(set);
}

FaultSpec parse_fault(const YAML::Node& node, const std::string& file) {
  const std::size_t line = static_cast<std::size_t>(node.Mark().line) + 1;
  if (!node.IsMap() || !node["kind"]) throw sim::Error(file, line, "faults: an entry is a map with a 'kind'");
  FaultSpec f;
  f.kind = node["kind"].Scalar();
  try {
    f.fault = find_fault_kind(f.kind).make();
  } catch (const sim::Error& e) {
    throw sim::Error(file, static_cast<std::size_t>(node["kind"].Mark().line) + 1,
                     fmt::format("kind: {}", e.what()));
  }
  platform::ParameterSet set;
  std::string when = "0";
  register_fault(set, f, when);
  set.load(node, file);
  set.check([&] {
    try {
      f.when = parse_trigger(when);
    } catch (const sim::Error& e) {
      throw sim::Error(fmt::format("when: {}", e.what()));
    }
    if (f.when.all && f.fault->call() != f.when.event && !f.fault->call().empty()) {
      throw sim::Error(fmt::format("when: '{}' fails {}, not {}", f.kind, f.fault->call(), f.when.event));
    }
    if (f.when.kind == Trigger::Kind::kDefUse && !f.fault->corrupts_memory()) {
      throw sim::Error(
          fmt::format("when: defuse(...) is for one flipped bit of memory, not for '{}' like this", f.kind));
    }
    f.fault->validate();
  });
  return f;
}

void number_labels(std::vector<FaultSpec>& faults) {
  std::map<std::string, unsigned> seen;
  for (FaultSpec& f : faults) {
    const unsigned n = ++seen[f.kind];
    f.label = n == 1 ? f.kind : fmt::format("{}#{}", f.kind, n);
  }
}

YAML::Node parse_yaml(const std::string& file, const std::string& text) {
  try {
    return YAML::Load(text);
  } catch (const YAML::Exception& e) {
    throw sim::Error(file, static_cast<std::size_t>(e.mark.line) + 1, e.msg);
  }
}

}  // namespace

Campaign load_campaign(const std::string& file, const std::vector<std::string>& more_settings) {
  const std::string text = read_text(file);
  const YAML::Node root = parse_yaml(file, text);
  std::string base;
  if (root.IsMap() && root["base"] && root["base"].IsScalar()) base = root["base"].Scalar();
  if (base.empty()) throw sim::Error(fmt::format("{}: base: the scenario file is missing", file));
  const std::string path = (std::filesystem::path(file).parent_path() / base).lexically_normal().string();
  if (!std::filesystem::exists(path)) {
    throw sim::Error(file, static_cast<std::size_t>(root["base"].Mark().line) + 1,
                     fmt::format("base: {}: cannot be read", path));
  }
  return parse_campaign(file, text, path, read_text(path), more_settings);
}

Campaign parse_campaign(const std::string& file, const std::string& text, const std::string& base_file,
                        const std::string& base_text, const std::vector<std::string>& more_settings) {
  Campaign c;
  c.file = file, c.text = text, c.base_file = base_file, c.base_text = base_text;
  const YAML::Node root = parse_yaml(file, text);
  Texts t;
  platform::ParameterSet set;
  register_plain(set, c, t);
  set.load(root, file);
  set.check([&] {
    c.schedule.validate();
    c.keep.validate();
    c.sampling.margin = parse_fraction("sampling.margin", t.margin, 0, 0.5);
    c.sampling.confidence = parse_fraction("sampling.confidence", t.confidence, 0.5, 0.9999);
    c.sampling.audit = parse_fraction("sampling.audit", t.audit, 0, 1);
    try {
      if (const Trigger w = parse_trigger(c.warmup);
          w.kind == Trigger::Kind::kDefUse || w.from != w.to || w.all) {
        throw sim::Error("one moment, nothing that is drawn");
      }
    } catch (const sim::Error& e) {
      throw sim::Error(fmt::format("warmup: {}", e.what()));
    }
  });
  if (root["settings"]) flatten(root["settings"], "", file, c.settings);
  c.settings.insert(c.settings.end(), more_settings.begin(), more_settings.end());
  if (root["variants"]) {
    if (!root["variants"].IsMap()) {
      throw sim::Error(file, static_cast<std::size_t>(root["variants"].Mark().line) + 1,
                       "variants: a map of names, each with its settings");
    }
    for (const auto& v : root["variants"]) {
      c.variants.push_back({v.first.Scalar(), {}});
      if (!v.second.IsNull()) flatten(v.second, "", file, c.variants.back().settings);
    }
  }
  if (c.variants.empty()) c.variants.push_back({"base", {}});
  if (!root["faults"] || !root["faults"].IsSequence() || root["faults"].size() == 0) {
    throw sim::Error(fmt::format("{}: faults: a list of what to inject is missing", file));
  }
  for (const auto& node : root["faults"]) c.faults.push_back(parse_fault(node, file));
  number_labels(c.faults);
  for (const Variant& v : c.variants) c.configure(v);  // wrong settings are told now
  return c;
}

namespace {
void assign_all(platform::ParameterSet& set, const Campaign& c, const Variant& variant) {
  set.load_text(c.base_text, c.base_file);
  set.load_environment(environ);
  try {
    for (const auto& a : c.settings) set.assign(a);
    for (const auto& a : variant.settings) set.assign(a);
  } catch (const sim::Error& e) {
    throw sim::Error(fmt::format("{}: variant {}: {}", c.file, variant.name, e.what()));
  }
}
}  // namespace

scenario::RunConfig Campaign::configure(const Variant& variant) const {
  scenario::RunConfig config;
  platform::ParameterSet set;
  scenario::register_all(set, config);
  assign_all(set, *this, variant);
  set.check([&] {
    config.scenario.validate();
    config.machine.finish();
  });
  return config;
}

std::string Campaign::config_digest() const {
  std::string all = text;
  for (const Variant& v : variants) {
    scenario::RunConfig config;
    platform::ParameterSet set;
    scenario::register_all(set, config);
    assign_all(set, *this, v);
    all += v.name;
    for (const platform::Parameter& p : set.parameters()) all += p.path + "=" + p.text() + "\n";
  }
  return fmt::format("{:016x}", sim::hash64(all.data(), all.size()));
}

Campaign::Pick Campaign::pick(std::uint64_t f) const {
  // In turn by share: the spec that has had least of its share goes next; the pattern repeats.
  std::uint64_t total = 0;
  for (const FaultSpec& s : faults) total += s.share();
  const std::uint64_t round = f / total, place = f % total;
  std::vector<std::uint64_t> had(faults.size(), 0);
  std::size_t chosen = 0;
  for (std::uint64_t i = 0; i <= place; ++i) {
    chosen = 0;
    for (std::size_t s = 1; s < faults.size(); ++s) {
      if ((had[s] * 2 + 1) * faults[chosen].share() < (had[chosen] * 2 + 1) * faults[s].share()) chosen = s;
    }
    ++had[chosen];
  }
  return {chosen, round * faults[chosen].share() + had[chosen] - 1};
}

nlohmann::ordered_json campaign_schema() {
  Campaign c;
  Texts t;
  platform::ParameterSet set;
  register_plain(set, c, t);
  nlohmann::ordered_json schema = set.schema();
  auto& properties = schema["properties"];
  const nlohmann::ordered_json settings = {{"type", "object"},
                                           {"description", "parameters, a.b: c or nested"}};
  properties["settings"] = settings;
  properties["variants"] = {{"type", "object"},
                            {"additionalProperties", {{"anyOf", {settings, {{"type", "null"}}}}}}};
  nlohmann::ordered_json kinds = nlohmann::ordered_json::array();
  for (const FaultKind& k : fault_kinds()) {
    FaultSpec f;
    f.fault = k.make();
    std::string when;
    platform::ParameterSet own;
    register_fault(own, f, when);
    nlohmann::ordered_json one = own.schema();
    one.erase("$schema");
    one["description"] = k.summary;
    one["properties"]["kind"] = {{"const", k.key}};
    one["required"] = {"kind"};
    kinds.push_back(std::move(one));
  }
  properties["faults"] = {{"type", "array"}, {"minItems", 1}, {"items", {{"oneOf", std::move(kinds)}}}};
  schema["required"] = {"base", "faults"};
  return schema;
}

}  // namespace campaign
