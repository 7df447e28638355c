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
  constexpr std::array kModes{kernel::DmaMode::kDirect, kernel::DmaMode::kPassthrough, kernel::DmaMode::kStrict,
                              kernel::DmaMode::kLazy};
  std::vector<std::string> words;
  for (const kernel::DmaMode mode : kModes) {
    if (word == to_string(mode)) return mode;
    words.emplace_back(to_string(mode));
  }
  throw sim::Error(fmt::format("dma_mode: '{}' is not a mode{}", word, sim::suggestion(word, words)));
}

void check(const ReplayOptions& options) {
  if (options.strategy) pagepool::find_strategy(*options.strategy);
  if (options.dma_mode) parse_dma_mode(*options.dma_mode);
  if (options.pool_size && (*options.pool_size == 0 || *options.pool_size > pagepool::kMaxRingSize)) {
    throw sim::Error(fmt::format("pool_size: {} is not within 1..{}", *options.pool_size, pagepool::kMaxRingSize));
  }
  if (options.release_period_ms && (*options.release_period_ms == 0 || *options.release_period_ms > 3'600'000)) {
    throw sim::Error(fmt::format("release_period_ms: {} is not within 1..3600000", *options.release_period_ms));
  }
}

void override_behaviour(Behaviour& behaviour, const ReplayOptions& options) {
  give(behaviour.strategy, options.strategy);
  if (options.dma_mode) behaviour.dma_mode = {parse_dma_mode(*options.dma_mode), "given"};
  give(behaviour.clear_dma_ops_on_unbind, options.clear_dma_ops_on_unbind);
  give(behaviour.clear_dma_ops_on_release, options.clear_dma_ops_on_release);
  give(behaviour.replace_domain_on_rebind, options.replace_domain_on_rebind);
  give(behaviour.release_period_ms, options.release_period_ms);
  for (PoolBehaviour& pool : behaviour.pools) give(pool.size, options.pool_size);
}

}  // namespace

Replay replay(const ReplayOptions& options) {
  check(options);
  Replay out;
  out.capture = read_capture(options.capture);
  out.joined = join(out.capture);
  if (out.joined.pools.empty()) {
    throw sim::Error(options.capture, 0, "the capture holds no page_pool: no pp_create, no page_pool_state_hold");
  }
  out.plan = make_plan(out.capture, out.joined);
  out.behaviour = infer(out.capture, out.joined, out.plan);
  override_behaviour(out.behaviour, options);
  out.recorded = recorded_numbers(out.capture, out.joined);
  out.model = run_model(out.capture, out.plan, out.behaviour);
  out.comparison = compare(out.capture, out.joined, out.recorded, out.model, out.behaviour.release_period_ms.value);
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
