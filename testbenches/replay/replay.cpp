// SPDX-License-Identifier: Apache-2.0
#include "testbenches/replay/replay.h"

#include <fmt/format.h>

#include <array>
#include <ostream>

#include "pagepool/page_pools.h"
#include "sim/error.h"

namespace replay {
namespace {

template <class T>
void give(Inferred<T>& to, const std::optional<T>& option) {
  if (option) to = {*option, "given"};
}

kernel::DmaMode parse_dma_mode(const std::string& word) {
  std::vector<std::string> words;
  for (const kernel::DmaMode mode : kernel::kDmaModes) {
    if (word == to_string(mode)) return mode;
    words.emplace_back(to_string(mode));
  }
  throw sim::Error(fmt::format("kernel.dma_mode: '{}' is not a mode{}", word, sim::suggestion(word, words)));
}

void check(const ReplayOptions& options) {
  if (options.strategy) pagepool::find_strategy(*options.strategy);
  if (options.dma_mode) parse_dma_mode(*options.dma_mode);
  if (options.pool_size && (*options.pool_size == 0 || *options.pool_size > pagepool::kMaxRingSize)) {
    throw sim::Error(
        fmt::format("pool.size: {} is not within 1..{}", *options.pool_size, pagepool::kMaxRingSize));
  }
  if (options.release_period_ms &&
      (*options.release_period_ms == 0 || *options.release_period_ms > 3'600'000)) {
    throw sim::Error(
        fmt::format("pool.release_period_ms: {} is not within 1..3600000", *options.release_period_ms));
  }
}

void override_behaviour(Behaviour& behaviour, const ReplayOptions& options) {
  give(behaviour.strategy, options.strategy);
  if (options.dma_mode) behaviour.dma_mode = {parse_dma_mode(*options.dma_mode), "given"};
  give(behaviour.clear_dma_ops_on_unbind, options.clear_dma_ops_on_unbind);
  give(behaviour.clear_dma_ops_on_release, options.clear_dma_ops_on_unbind);
  give(behaviour.clear_dma_ops_on_release, options.clear_dma_ops_on_release);
  give(behaviour.replace_domain_on_rebind, options.replace_domain_on_rebind);
  give(behaviour.release_period_ms, options.release_period_ms);
  for (PoolBehaviour& pool : behaviour.pools) give(pool.size, options.pool_size);
}

bool parse_bool(const std::string& key, const std::string& word) {
  if (word == "true" || word == "yes" || word == "1") return true;
  if (word == "false" || word == "no" || word == "0") return false;
  throw sim::Error(fmt::format("{}: '{}' is neither true nor false", key, word));
}

std::uint64_t parse_number(const std::string& key, const std::string& word) {
  if (const auto value = parse_decimal(word); value && *value <= 0xffff'ffff) return *value;
  throw sim::Error(fmt::format("{}: '{}' is not a number", key, word));
}

struct Parameter {
  const char* name;
  void (*set)(ReplayOptions& options, const std::string& key, const std::string& value);
};

using Options = ReplayOptions;
using Text = const std::string&;
constexpr std::array kParameters{
    Parameter{"pool.strategy", [](Options& o, Text, Text v) { o.strategy = v; }},
    Parameter{"pool.size", [](Options& o, Text k, Text v) { o.pool_size = parse_number(k, v); }},
    Parameter{"pool.release_period_ms",
              [](Options& o, Text k, Text v) { o.release_period_ms = parse_number(k, v); }},
    Parameter{"kernel.dma_mode", [](Options& o, Text, Text v) { o.dma_mode = v; }},
    Parameter{"kernel.clear_dma_ops_on_unbind",
              [](Options& o, Text k, Text v) { o.clear_dma_ops_on_unbind = parse_bool(k, v); }},
    Parameter{"kernel.clear_dma_ops_on_release",
              [](Options& o, Text k, Text v) { o.clear_dma_ops_on_release = parse_bool(k, v); }},
    Parameter{"kernel.replace_domain_on_rebind",
              [](Options& o, Text k, Text v) { o.replace_domain_on_rebind = parse_bool(k, v); }},
};

}  // namespace

void assign(ReplayOptions& options, const std::string& assignment) {
  const std::size_t equals = assignment.find('=');
  if (equals == std::string::npos)
    throw sim::Error(fmt::format("--set {}: not of the form a.b=c", assignment));
  const std::string key = assignment.substr(0, equals);
  std::vector<std::string> names;
  for (const Parameter& parameter : kParameters) {
    if (key == parameter.name) return parameter.set(options, key, assignment.substr(equals + 1));
    names.emplace_back(parameter.name);
  }
  throw sim::Error(fmt::format("--set: a replay has no '{}'{}", key, sim::suggestion(key, names)));
}

Replay replay(const ReplayOptions& options) {
  check(options);
  Replay out;
  out.capture = read_capture(options.capture);
  out.joined = join(out.capture);
  if (out.joined.pools.empty()) {
    throw sim::Error(options.capture, 0,
                     "the capture holds no page_pool: no pp_create, no page_pool_state_hold");
  }
  out.plan = make_plan(out.capture, out.joined);
  out.behaviour = infer(out.capture, out.joined, out.plan);
  override_behaviour(out.behaviour, options);
  out.recorded = recorded_numbers(out.capture, out.joined);
  out.model = run_model(out.capture, out.plan, out.behaviour, options.perfetto);
  out.comparison =
      compare(out.capture, out.joined, out.recorded, out.model, out.behaviour.release_period_ms.value);
  return out;
}

int run_replay(const ReplayOptions& options, std::ostream& out, std::ostream& err) {
  std::string text, first_difference;
  bool agree = false;
  try {
    const Replay result = replay(options);
    text = options.json ? report_json(result) : report_text(result);
    agree = result.comparison.agree;
    first_difference = result.comparison.first_difference;
  } catch (const sim::Error& e) {
    err << "poolsim replay: " << e.what() << '\n';
    return 2;
  }
  out << text;
  if (!first_difference.empty()) err << first_difference << '\n';
  return agree ? 0 : 1;
}

}  // namespace replay
