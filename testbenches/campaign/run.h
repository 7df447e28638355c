// SPDX-License-Identifier: Apache-2.0
// `poolsim campaign run`: the coordinator. It alone touches the database; batches of experiments run in
// processes of their own (workers.h). Interrupted, killed or crashed, it goes on where it was.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "testbenches/campaign/database.h"
#include "testbenches/campaign/workers.h"

namespace campaign {

/// Shard `index` of `count`: experiments whose number modulo count is index.
struct Shard {
  std::uint64_t index = 0, count = 1;
};
/// "3/8" -> experiments of shard 3 of 0..7. Throws sim::Error.
Shard parse_shard(const std::string& text);
/// --shard, or SLURM_ARRAY_TASK_ID (of SLURM_ARRAY_TASK_MIN..), or LSB_JOBINDEX of `count` shards.
Shard shard_of_environment(std::uint64_t count);

struct RunSettings {
  std::string db;
  unsigned jobs = 1;
  Shard shard;
  bool quiet = false, json_progress = false;
  std::string build;
  /// Experiments between two writes to the database at the most, so that nobody waits for long to see
  /// something.
  std::uint64_t limit = ~std::uint64_t{0};  ///< of experiments in this call
};

struct RunSummary {
  std::uint64_t done = 0, before = 0;  ///< experiments of this call, and found in the database
  bool interrupted = false, enough = false, complete = false;
  double seconds = 0;
  std::uint64_t failures = 0;       ///< in the whole database
  double estimate = 0, margin = 0;  ///< worst of the variants
};

/// Runs what is missing. Throws Refusal, NotReproducible, sim::Error.
RunSummary run_campaign(const Campaign& campaign, const RunSettings& settings);

/// Share of failures of one variant over faults [0, faults), in strata by fault spec.
/// The part of it that one fault entry is.
struct StratumEstimate {
  std::string label;
  std::uint64_t n = 0, k = 0;  ///< experiments, failures
  double weight = 0;           ///< share of the fault space
  double p = 0;                ///< share of failures, classes weighted by their size
  bool whole = false;          ///< there is nothing of it that was not run
  /// |S|, bits x picoseconds, of a trigger defuse(...); |S| * p is the number of failures in it, by which
  /// variants compare. 0: not known.
  std::uint64_t space = 0;
};
struct VariantEstimate {
  std::string variant;
  std::uint64_t n = 0, k = 0;
  double p = 0, margin = 0;
  std::vector<std::pair<std::string, std::uint64_t>> outcomes;  ///< experiments, by key, weighted by class
  std::vector<StratumEstimate> strata;                          ///< by fault entry
};
/// Experiments for each fault entry of the next campaign by Neyman's rule (`runs:` of the file), of `total`;
/// from a pilot. Throws sim::Error if an entry has fewer than 30 experiments in a variant.
std::vector<std::uint64_t> allocate(const Campaign& campaign, const Database& pilot, std::uint64_t total);
std::vector<VariantEstimate> estimate(const Campaign& campaign, const Database& db, std::uint64_t faults,
                                      double confidence);
/// The number of faults at which the rule of stopping ends the campaign: the first look at which all variants
/// are within the margin, else sampling.experiments. Needs all results below that.
std::uint64_t stopping_point(const Campaign& campaign, const Database& db, std::size_t* look = nullptr);

/// Merges shards into `db` (made if it is not there) and cuts what one machine would not have run. Number of
/// rows.
std::uint64_t merge_shards(const Campaign& campaign, const std::string& db,
                           const std::vector<std::string>& shards, const std::string& build);

/// SIGINT and SIGTERM stop the campaign after what runs; a second one kills.
void catch_signals();
bool interrupted();

}  // namespace campaign
