// SPDX-License-Identifier: Apache-2.0
// `poolsim replay CAPTURE`: what a real kernel did, next to what the model says it must have done.
//
// The driver calls of the capture drive the model at their recorded times (plan.h); the recorded outcome is
// only compared (recorded.h, compare.h). With the strategy of the recorded kernel the two must agree; with
// another one the model answers "what would have happened".
//
// --json prints one object: capture, strategy, pools[] (pool, hold, release, inflight_at_destroy,
// unmap_before_destroy, unmap_inside_destroy, unmap_after_destroy, of_these_no_driver, release_rounds,
// last_release_after_removal_s, iova_reused_while_held, and the same under recorded), oops (symbol, address)
// or null, findings (class: count), agree. inflight_at_destroy is null for a pool that was never destroyed,
// last_release_after_removal_s is null when nothing was released or the driver stays.
#pragma once
#include <cstdint>
#include <iosfwd>
#include <optional>
#include <string>

#include "testbenches/replay/compare.h"

namespace replay {

/// What is not given is inferred from the capture, and printed as inferred.
struct ReplayOptions {
  std::string capture;
  std::optional<std::string> strategy;
  std::optional<std::string> dma_mode;  ///< direct, passthrough, strict or lazy
  /// Without clear_dma_ops_on_release it decides that one as well: no DMA ops of a device survive, or all do.
  std::optional<bool> clear_dma_ops_on_unbind;
  std::optional<bool> clear_dma_ops_on_release;
  std::optional<bool> replace_domain_on_rebind;
  std::optional<std::uint64_t> release_period_ms;
  std::optional<std::uint32_t> pool_size;  ///< of every pool
  std::string perfetto;                 ///< file for a timeline of the model's run, empty = none
  bool json = false;
};

/// "kernel.dma_mode=lazy": sets an option by the name it has in scenarios. Throws sim::Error with the nearest
/// name.
void assign(ReplayOptions& options, const std::string& assignment);

/// Everything that one replay found out.
struct Replay {
  Capture capture;
  Joined joined;
  Plan plan;
  Behaviour behaviour;
  std::vector<PoolNumbers> recorded;
  ModelResult model;
  Comparison comparison;
};

/// Reads, infers, runs, compares. Once a process. Throws sim::Error for bad input.
Replay replay(const ReplayOptions& options);

std::string report_text(const Replay& replay);
std::string report_json(const Replay& replay);

/// The command: report to `out`, the first difference to `err`. 0: model and capture agree; 1: they differ,
/// also when another strategy was asked for; 2: bad input, one line on `err`, nothing on `out`.
int run_replay(const ReplayOptions& options, std::ostream& out, std::ostream& err);

}  // namespace replay
