// SPDX-License-Identifier: Apache-2.0
#include "testbenches/campaign/statistics.h"

#include <algorithm>
#include <boost/math/distributions/binomial.hpp>
#include <boost/math/distributions/normal.hpp>
#include <cmath>

namespace campaign {
namespace {
double z_of(double confidence) { return normal_quantile(1 - (1 - confidence) / 2); }
}  // namespace

double normal_quantile(double p) { return boost::math::quantile(boost::math::normal(), p); }

Interval wilson(std::uint64_t k, std::uint64_t n, double confidence) {
  if (n == 0) return {0, 1};
  const double z = z_of(confidence), count = static_cast<double>(n), p = static_cast<double>(k) / count;
  const double scale = 1 + z * z / count, centre = (p + z * z / (2 * count)) / scale;
  const double half = z * std::sqrt(p * (1 - p) / count + z * z / (4 * count * count)) / scale;
  return {k == 0 ? 0 : std::max(0.0, centre - half), k == n ? 1 : std::min(1.0, centre + half)};
}

Interval clopper_pearson(std::uint64_t k, std::uint64_t n, double confidence) {
  if (n == 0) return {0, 1};
  using boost::math::binomial_distribution;
  const double alpha = 1 - confidence, trials = static_cast<double>(n), hits = static_cast<double>(k);
  return {k == 0 ? 0 : binomial_distribution<>::find_lower_bound_on_p(trials, hits, alpha / 2),
          k == n ? 1 : binomial_distribution<>::find_upper_bound_on_p(trials, hits, alpha / 2)};
}

std::uint64_t sample_size(double e, double confidence, std::uint64_t population) {
  const double t = z_of(confidence), infinite = t * t * 0.25 / (e * e);
  if (population == 0) return static_cast<std::uint64_t>(std::ceil(infinite));
  const double size = static_cast<double>(population);
  return static_cast<std::uint64_t>(std::ceil(size / (1 + e * e * (size - 1) / (t * t * 0.25))));
}

Estimate stratified(const std::vector<Stratum>& strata, double confidence) {
  const double z = z_of(confidence);
  double p = 0, variance = 0;
  for (const Stratum& s : strata) {
    if (s.n == 0) {
      variance += s.weight * s.weight * 0.25;
      p += s.weight * 0.5;
      continue;
    }
    const double n = static_cast<double>(s.n);
    p += s.weight * (s.p >= 0 ? s.p : static_cast<double>(s.k) / n);
    if (s.whole) continue;
    const double centre = (static_cast<double>(s.k) + z * z / 2) / (n + z * z);
    variance += s.weight * s.weight * centre * (1 - centre) / (n + z * z);
  }
  return {p, z * std::sqrt(variance)};
}

std::vector<std::uint64_t> neyman(const std::vector<Stratum>& strata, std::uint64_t total,
                                  std::uint64_t least) {
  constexpr double z = 1.96;
  std::vector<double> share;
  double sum = 0;
  for (const Stratum& s : strata) {
    const double p = (static_cast<double>(s.k) + z * z / 2) / (static_cast<double>(s.n) + z * z);
    share.push_back(s.whole ? 0 : s.weight * std::sqrt(p * (1 - p)));
    sum += share.back();
  }
  std::vector<std::uint64_t> all;
  for (std::size_t h = 0; h < strata.size(); ++h) {
    const double n = sum > 0 ? static_cast<double>(total) * share[h] / sum : 0;
    all.push_back(strata[h].whole ? 0 : std::max(least, static_cast<std::uint64_t>(std::llround(n))));
  }
  return all;
}

double mcnemar_exact(std::uint64_t only_a, std::uint64_t only_b) {
  const std::uint64_t n = only_a + only_b;
  if (n == 0) return 1;
  const boost::math::binomial_distribution<> fair(static_cast<double>(n), 0.5);
  return std::min(1.0, 2 * boost::math::cdf(fair, static_cast<double>(std::min(only_a, only_b))));
}

Interval paired_difference(std::uint64_t both, std::uint64_t only_a, std::uint64_t only_b,
                           std::uint64_t neither, double confidence) {
  const std::uint64_t n = both + only_a + only_b + neither, ka = both + only_a, kb = both + only_b;
  if (n == 0) return {-1, 1};
  const double count = static_cast<double>(n), pa = static_cast<double>(ka) / count,
               pb = static_cast<double>(kb) / count;
  const Interval a = wilson(ka, n, confidence), b = wilson(kb, n, confidence);
  const double e = static_cast<double>(both), f = static_cast<double>(only_a),
               g = static_cast<double>(only_b), h = static_cast<double>(neither);
  const double root = std::sqrt((e + f) * (g + h) * (e + g) * (f + h));
  double covariance = e * h - f * g;
  if (covariance > 0) covariance = std::max(covariance - count / 2, 0.0);
  const double phi = root > 0 ? covariance / root : 0;
  const auto half = [phi](double x, double y) {
    return std::sqrt(std::max(0.0, x * x - 2 * phi * x * y + y * y));
  };
  const double d = pa - pb;
  return {d - half(pa - a.low, b.high - pb), d + half(a.high - pa, pb - b.low)};
}

std::vector<std::uint64_t> looks(std::uint64_t first, std::uint64_t max) {
  std::vector<std::uint64_t> all;
  for (std::uint64_t n = std::min(first, max); n < max; n *= 2) all.push_back(n);
  all.push_back(max);
  return all;
}

double confidence_of_look(double confidence, std::size_t j) {
  return 1 - (1 - confidence) / std::pow(2.0, static_cast<double>(j + 1));
}

}  // namespace campaign
