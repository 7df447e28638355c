// SPDX-License-Identifier: Apache-2.0
// Intervals and rules of stopping for proportions. Sources: Wilson 1927; Clopper and Pearson 1934
// (Boost.Math); Newcombe 1998; McNemar 1947; Leveugle et al. 2009 (sample size).
#pragma once
#include <cstdint>
#include <vector>

namespace campaign {

struct Interval {
  double low, high;
};
/// Quantile of the standard normal distribution.
double normal_quantile(double p);
/// Two-sided, for `k` of `n`; n = 0: [0, 1].
Interval wilson(std::uint64_t k, std::uint64_t n, double confidence);
Interval clopper_pearson(std::uint64_t k, std::uint64_t n, double confidence);

/// Experiments for a margin `e` in the worst case p = 0.5, of a population (0: without end).
std::uint64_t sample_size(double e, double confidence, std::uint64_t population = 0);

struct Stratum {
  double weight;  ///< share of the fault space; all add up to 1
  std::uint64_t k, n;
  bool whole = false;  ///< all that there is was run: no error of sampling
  double p = -1;       ///< weighted share of failures, where it is not k / n
};
struct Estimate {
  double p, margin;
};
/// Stratified estimate of a proportion and the half width of its interval. Variances by Wilson's centre, so
/// that 0 of n does not look certain.
Estimate stratified(const std::vector<Stratum>& strata, double confidence);

/// Neyman's allocation: of `total` experiments, how many to give to each stratum so that the estimate is as
/// sure as can be, n_h ~ W_h sqrt(p_h (1 - p_h)). p by Wilson's centre; none gets less than `least`, a whole
/// one none more.
std::vector<std::uint64_t> neyman(const std::vector<Stratum>& strata, std::uint64_t total,
                                  std::uint64_t least);

/// Two-sided p-value of McNemar's exact test: `only_a` pairs failed with A alone, `only_b` with B alone.
double mcnemar_exact(std::uint64_t only_a, std::uint64_t only_b);
/// Difference p_a - p_b of paired proportions: Newcombe's interval (method 10).
Interval paired_difference(std::uint64_t both, std::uint64_t only_a, std::uint64_t only_b,
                           std::uint64_t neither, double confidence);

/// Numbers of experiments at which a campaign may look at its margin: first, 2 first, 4 first, ... up to
/// `max`.
std::vector<std::uint64_t> looks(std::uint64_t first, std::uint64_t max);
/// Confidence to use at look `j` (from 0), so that all looks together keep the one asked for: alpha /
/// 2^(j+1).
double confidence_of_look(double confidence, std::size_t j);

}  // namespace campaign
