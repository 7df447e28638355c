// SPDX-License-Identifier: Apache-2.0
#include "testbenches/campaign/statistics.h"

#include <gtest/gtest.h>

#include <cmath>

namespace {

using namespace campaign;

TEST(Statistics, SampleSizesOfLeveugle) {
  EXPECT_EQ(sample_size(0.05, 0.95), 385u);  // 384.1 rounded up
  EXPECT_EQ(sample_size(0.01, 0.95), 9604u);
  EXPECT_NEAR(static_cast<double>(sample_size(0.01, 0.99)), 16587, 1);
  EXPECT_NEAR(static_cast<double>(sample_size(0.01, 0.95, 100'000)), 8763, 1);
  EXPECT_NEAR(static_cast<double>(sample_size(0.01, 0.95, 10'000)), 4899, 1);
}

TEST(Statistics, IntervalsOfThreeInAThousand) {
  const Interval w = wilson(3, 1000, 0.95), c = clopper_pearson(3, 1000, 0.95);
  EXPECT_NEAR(w.low, 0.0010, 5e-5);
  EXPECT_NEAR(w.high, 0.0088, 5e-5);
  EXPECT_NEAR(c.low, 0.0006, 5e-5);
  EXPECT_NEAR(c.high, 0.0087, 5e-5);
}

TEST(Statistics, NoFailureBoundsByAlpha) {
  const Interval c = clopper_pearson(0, 1000, 0.95);
  EXPECT_EQ(c.low, 0);
  EXPECT_NEAR(c.high, 1 - std::pow(0.025, 1.0 / 1000), 1e-9);
  EXPECT_EQ(wilson(0, 0, 0.95).high, 1);
}

TEST(Statistics, LooksDoubleAndShareTheError) {
  EXPECT_EQ(looks(500, 3000), (std::vector<std::uint64_t>{500, 1000, 2000, 3000}));
  EXPECT_EQ(looks(500, 100), (std::vector<std::uint64_t>{100}));
  double spent = 0;
  for (std::size_t j = 0; j < 30; ++j) spent += 1 - confidence_of_look(0.95, j);
  EXPECT_NEAR(spent, 0.05, 1e-6);
}

TEST(Statistics, StrataThatWereNotLookedAtStayUncertain) {
  EXPECT_GT(stratified({{0.5, 0, 1000}, {0.5, 0, 0}}, 0.95).margin, 0.4);
  EXPECT_LT(stratified({{0.5, 0, 1000}, {0.5, 0, 1000}}, 0.95).margin, 0.005);
  EXPECT_NEAR(stratified({{0.25, 10, 100}, {0.75, 0, 100}}, 0.95).p, 0.025, 1e-12);
}

TEST(Statistics, NeymanGivesMoreWhereItIsLessCertain) {
  // sqrt(p (1 - p)) is 0.5 and 0.3: 5 to 3.
  const auto n = neyman({{0.5, 5000, 10000}, {0.5, 1000, 10000}}, 800, 1);
  EXPECT_NEAR(static_cast<double>(n[0]), 500, 1);
  EXPECT_NEAR(static_cast<double>(n[1]), 300, 1);
  // No failure so far is no certainty; what was run to its end needs nothing more.
  const auto other = neyman({{0.5, 0, 30}, {0.5, 15, 30, true}}, 100, 1);
  EXPECT_EQ(other[0], 100u);
  EXPECT_EQ(other[1], 0u);
  // The variance with it is smaller than with equal parts.
  const auto margin = [](std::uint64_t a, std::uint64_t b) {
    return stratified({{0.9, a / 2, a}, {0.1, b / 2, b}}, 0.95).margin;
  };
  const auto best = neyman({{0.9, 50, 100}, {0.1, 50, 100}}, 1000, 1);
  EXPECT_EQ(best[0], 900u);
  EXPECT_LT(margin(best[0], best[1]), margin(500, 500));
}

TEST(Statistics, AWholeStratumHasNoErrorOfSampling) {
  EXPECT_EQ(stratified({{1, 3, 40, true}}, 0.95).margin, 0);
  EXPECT_NEAR(stratified({{1, 3, 40, true, 0.2}}, 0.95).p, 0.2, 1e-12) << "weighted share";
}

TEST(Statistics, PairsThatAgreeSayNothing) {
  EXPECT_EQ(mcnemar_exact(0, 0), 1);
  EXPECT_NEAR(mcnemar_exact(10, 0), 2 * std::pow(0.5, 10), 1e-12);
  EXPECT_NEAR(mcnemar_exact(12, 2), 2.0 * (1 + 14 + 91) / 16384, 1e-12);
  EXPECT_EQ(mcnemar_exact(12, 2), mcnemar_exact(2, 12));
  EXPECT_EQ(mcnemar_exact(5, 5), 1);
  // Newcombe 1998, table I, method 10: 36+... paired example (e,f,g,h) = (36, 12, 2, 0)
  const Interval d = paired_difference(36, 12, 2, 0, 0.95);
  EXPECT_NEAR(d.low, 0.0569, 5e-4);
  EXPECT_NEAR(d.high, 0.3404, 5e-4);
}

}  // namespace
