// SPDX-License-Identifier: Apache-2.0
// What people read of a campaign: one HTML file without network, CSV, JUnit XML. All figures are gathered
// once.
#pragma once
#include <array>
#include <map>
#include <string>
#include <vector>

#include "testbenches/campaign/database.h"
#include "testbenches/campaign/run.h"
#include "testbenches/campaign/statistics.h"

namespace campaign {

inline constexpr std::size_t kMapColumns = 96;
/// Latencies by powers of two of nanoseconds: bin b holds [2^b, 2^(b+1)) ns.
inline constexpr std::size_t kLatencyBins = 48;

struct Latencies {
  std::array<std::uint64_t, kLatencyBins> bins{};
  std::vector<sim::Tick> all;  ///< sorted
  void add(sim::Tick t);
  sim::Tick percentile(double p) const;  ///< kNever if there are none
};

/// One fault entry of one variant.
struct StratumFigures {
  std::string variant, label;
  std::uint64_t n = 0, acted = 0, not_activated = 0, failures = 0, audited = 0, audit_disagrees = 0,
                pruned = 0, converged = 0;
  std::map<std::string, std::uint64_t> sites;  ///< what was hit, without numbers
  /// Experiments and worst outcome by time of injection.
  std::array<std::uint32_t, kMapColumns> count{};
  std::array<std::uint8_t, kMapColumns> worst{};  ///< Outcome; kCount: none
};

/// The same faults on two variants.
struct PairedComparison {
  std::string a, b;
  std::uint64_t both = 0, only_a = 0, only_b = 0, neither = 0;
  double p_value = 1;
  Interval difference{-1, 1};
  std::vector<std::uint64_t> examples;  ///< faults that fail with one alone
};

struct Report {
  Campaign campaign;
  std::string database, build, rows_digest;
  std::uint64_t experiments = 0, faults = 0, unscheduled = 0;
  double cpu_seconds = 0;
  std::vector<VariantEstimate> variants;
  std::vector<StratumFigures> strata;
  std::vector<PairedComparison> comparisons;
  std::vector<Database::Bucket> buckets;
  std::map<std::uint64_t, Result> examples;    ///< smallest examples, by id
  std::map<std::string, Latencies> detection;  ///< by detector
  Latencies divergence;
  sim::Tick from = sim::kNever, to = 0;  ///< of injections
};

Report gather(const Database& db);
/// That the schedule of the campaign did not come to decide in some of its experiments.
std::string unscheduled_warning(std::uint64_t unscheduled, std::uint64_t experiments);
std::string html(const Report& report);
/// One row an experiment, all columns; times in nanoseconds.
std::string csv(const Database& db);
/// One test suite a variant, one test case a bucket of failures; none: one that passed.
std::string junit(const Report& report);
bool is_failure_signature(const std::string& signature);

/// The same campaign in two databases, fault by fault: a variant of A with the same (or only) variant of B.
std::vector<PairedComparison> compare_databases(const Database& a, const Database& b);

}  // namespace campaign
