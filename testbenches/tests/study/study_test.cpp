// SPDX-License-Identifier: Apache-2.0
// Studies: what a file means, what is run, what is kept, and what is told.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "testbenches/study/report.h"

namespace {

using namespace study;

class StudyTest : public testing::Test {
 protected:
  void SetUp() override {
    dir_ = std::filesystem::temp_directory_path() / ("poolsim_study_" + std::to_string(::getpid()));
    std::filesystem::create_directories(dir_);
    std::ofstream(dir_ / "base.yaml")
        << "scenario: {name: tiny, device: stays, steady_packets: 8, held_udp: 2, held_fragments: 0,\n"
           "  unbind_delay: 1 us, close_delay: 1 us, end_delay: 3 ms}\n"
           "memory: {size: 64 MiB}\n"
           "nic: {driver: {descriptors: 64, vf_enable_ms: 0, vf_disable_ms: 0}}\n"
           "pool: {release_period_ms: 1}\n";
  }
  void TearDown() override { std::filesystem::remove_all(dir_); }
  std::string file(const std::string& name) const { return (dir_ / name).string(); }
  Study make(const std::string& rest) const {
    std::ofstream(dir_ / "s.yaml") << "base: base.yaml\n" << rest;
    return load(file("s.yaml"));
  }
  std::string error_of(const std::string& rest) const {
    try {
      make(rest);
    } catch (const sim::Error& e) {
      return e.what();
    }
    return "";
  }
  std::filesystem::path dir_;
};

constexpr const char* kMeasures =
    "measures: {delivered: nic.frames_delivered, share: nic.frames_delivered / nic.frames_arrived}\n";

TEST_F(StudyTest, AGridIsEveryCombinationInOrder) {
  const Study s = make(
      std::string("parameters: {iommu.walkers: [1, 2, 4], pool.size: [8, 16]}\nmodes: [strict, lazy]\n") +
      kMeasures);
  const auto all = points(s);
  ASSERT_EQ(all.size(), 12u);
  EXPECT_EQ(all[0].levels, (std::vector<std::string>{"strict", "1", "8"}));
  EXPECT_EQ(all[1].levels, (std::vector<std::string>{"strict", "1", "16"}));
  EXPECT_EQ(all[11].assignments,
            (std::vector<std::string>{"kernel.dma_mode=lazy", "iommu.walkers=4", "pool.size=16"}));
}

TEST_F(StudyTest, OneAtATimeLeavesTheOthersAtTheirFirstLevel) {
  const Study s = make(
      std::string("design: one_at_a_time\nparameters: {iommu.walkers: [1, 2, 4], pool.size: [8, 16]}\n") +
      kMeasures);
  const auto all = points(s);
  ASSERT_EQ(all.size(), 4u);
  EXPECT_EQ(all[2].levels, (std::vector<std::string>{"4", "8"}));
  EXPECT_EQ(all[3].levels, (std::vector<std::string>{"1", "16"}));
}

TEST_F(StudyTest, ALatinHypercubeUsesEachStratumOfEachAxisOnce) {
  const std::string text = std::string(
                               "design: lhs\nsamples: 16\nparameters: {pool.size: {from: 0, to: 1600}, "
                               "iommu.walkers: {from: 1, to: 65}, "
                               "link.tags: [32, 256]}\n") +
                           kMeasures;
  const auto all = points(make(text));
  ASSERT_EQ(all.size(), 16u);
  std::set<int> sizes, walkers;
  int few = 0;
  for (const Point& p : all) {
    sizes.insert(std::stoi(p.levels[0]) / 100);
    walkers.insert((std::stoi(p.levels[1]) - 1) / 4);
    few += p.levels[2] == "32";
  }
  EXPECT_GE(sizes.size(), 15u);  // a number that is rounded up to the border counts for the next stratum
  EXPECT_GE(walkers.size(), 14u);
  EXPECT_EQ(few, 8);
  const auto again = points(make(text));
  for (std::size_t i = 0; i < all.size(); ++i) EXPECT_EQ(all[i].levels, again[i].levels);
}

TEST_F(StudyTest, RangesOfAGridAreStepsOfTheirScale) {
  const Study s =
      make(std::string("parameters: {pool.size: {from: 16, to: 1024, scale: log, steps: 4}}\n") + kMeasures);
  EXPECT_EQ(s.axes[0].levels, (std::vector<std::string>{"16", "64", "256", "1024"}));
}

TEST_F(StudyTest, ErrorsNameFileLineWordAndTheNearestRightOne) {
  EXPECT_NE(error_of(std::string("paramters: {pool.size: [1]}\n") + kMeasures)
                .find("s.yaml:2: 'paramters' is no key here (did you mean 'parameters'"),
            std::string::npos)
      << error_of(std::string("paramters: {pool.size: [1]}\n") + kMeasures);
  EXPECT_NE(error_of(std::string("parameters: {pool.sice: [1]}\n") + kMeasures).find("pool.size"),
            std::string::npos);
  EXPECT_NE(error_of(std::string("parameters: {pool.size: [many]}\n") + kMeasures).find("pool.size"),
            std::string::npos);
  EXPECT_NE(error_of(std::string("strategies: [xarray_mergd]\n") + kMeasures).find("xarray_merged"),
            std::string::npos);
  EXPECT_NE(error_of(std::string("modes: [strict]\ndesign: lhss\n") + kMeasures).find("'lhs'"),
            std::string::npos);
  EXPECT_NE(error_of(kMeasures).find("nothing is varied"), std::string::npos);
  EXPECT_NE(error_of("modes: [strict]\n").find("measures"), std::string::npos);
  EXPECT_NE(error_of(std::string("modes: [strict]\nplots: [{x: mode, y: delivred}]\n") + kMeasures)
                .find("s.yaml:3: y: there is no 'delivred' (did you mean 'delivered'"),
            std::string::npos);
  EXPECT_NE(error_of("modes: [strict\n").find("s.yaml:"), std::string::npos);
  EXPECT_NE(error_of(std::string("parameters: {pool.size: {from: 9, to: 3}}\n") + kMeasures).find("below"),
            std::string::npos);
}

TEST_F(StudyTest, GoesOnWhereItWasAndAsksNothingTwice) {
  const Study s = make(std::string("repeats: 2\nmodes: [strict, passthrough]\n") + kMeasures);
  {
    Store store(file("r.db"), "build");
    const Results r = run(s, store, 2, {}, nullptr);
    EXPECT_TRUE(r.complete);
    EXPECT_EQ(r.value(s.measures[0], 0, 0), r.value(s.measures[0], 1, 0));
    EXPECT_DOUBLE_EQ(*r.value(s.measures[1], 0, 1), 1.0);
    EXPECT_NE(r.runs[0][0].digest, r.runs[1][0].digest);
    EXPECT_EQ(r.runs[0][0].seed, r.runs[1][0].seed) << "common random numbers";
    EXPECT_NE(r.runs[0][0].seed, r.runs[0][1].seed);
  }
  Store store(file("r.db"), "build");
  std::size_t asked = 0;
  const Results again = run(
      s, store, 2, [&asked](std::size_t, std::size_t all) { asked = all; }, nullptr);
  EXPECT_EQ(asked, 0u);
  EXPECT_TRUE(again.complete);
  EXPECT_TRUE(again.value(s.measures[0], 1, 1).has_value());
}

TEST_F(StudyTest, AnotherBuildIsRefused) {
  { Store store(file("r.db"), "one"); }
  EXPECT_THROW(Store(file("r.db"), "two"), Store::NotReproducible);
}

TEST_F(StudyTest, WhatIsNoDatabaseIsToldByName) {
  std::ofstream(dir_ / "no.db") << std::string(2000, 'x');
  try {
    Store store(file("no.db"), "build");
    FAIL();
  } catch (const sim::Error& e) {
    EXPECT_NE(std::string(e.what()).find("no.db"), std::string::npos);
  }
}

TEST_F(StudyTest, AFormulaThatNamesNoFigureIsToldWithTheNearest) {
  const Study s = make("modes: [strict]\nmeasures: {x: nic.frames_deliverd / 2}\n");
  Store store(file("r.db"), "build");
  try {
    run(s, store, 1, {}, nullptr);
    FAIL();
  } catch (const sim::Error& e) {
    EXPECT_NE(std::string(e.what()).find("nic.frames_delivered"), std::string::npos) << e.what();
  }
}

/// Results as if they had been run: figure "v" is `value(levels)`.
Results results_of(const Study& s, const std::function<double(const std::vector<std::string>&)>& value) {
  Results r{s, points(s), {}, "poolsim study s.yaml", "a machine", "a day", 1, true};
  for (const Point& p : r.points) r.runs.push_back({Run{1, Figures{{"v", value(p.levels)}}, "d", ""}});
  return r;
}

TEST_F(StudyTest, SeriesAreMeansOverWhatAPlotDoesNotName) {
  const Study s = make(
      "parameters: {iommu.walkers: [1, 2], pool.size: [8, 16]}\nmodes: [strict, lazy]\nmeasures: {y: v}\n"
      "plots: [{x: pool.size, y: y, by: mode}]\n");
  const Results r = results_of(
      s, [](const auto& l) { return std::stod(l[1]) * 10 + std::stod(l[2]) + (l[0] == "lazy" ? 1000 : 0); });
  const auto series = series_of(r, s.plots[0]);
  ASSERT_EQ(series.size(), 2u);
  EXPECT_EQ(series[1].name, "lazy");
  ASSERT_EQ(series[1].dots.size(), 2u);
  EXPECT_DOUBLE_EQ(series[1].dots[1].mean, 1000 + 16 + 15);
  EXPECT_DOUBLE_EQ(series[1].dots[1].low, 1000 + 16 + 10);
  EXPECT_EQ(series[1].dots[1].n, 2u);
}

TEST_F(StudyTest, RankCorrelationIsThatOfRanks) {
  const Study s = make(
      "design: lhs\nsamples: 12\nparameters: {pool.size: {from: 1, to: 500}, iommu.walkers: {from: 1, to: "
      "60}}\nmeasures: {y: v}\n");
  const Results r = results_of(s, [](const auto& l) { return -std::pow(std::stod(l[0]), 3); });
  const auto all = influences(r);
  EXPECT_DOUBLE_EQ(all[0].value, -1);
  EXPECT_LT(std::abs(all[1].value), 0.9);
}

TEST_F(StudyTest, PagesHoldWhatTheyTellAndEscapeIt) {
  const Study s = make(
      "title: a < b\nmodes: [strict, lazy]\nmeasures: {y: v}\nplots: [{title: \"y & x\", x: mode, y: y}]\n");
  const Results r = results_of(s, [](const auto& l) { return l[0] == "lazy" ? 3 : 2; });
  const std::string html = report_html(r), svg = plot_svg(r, s.plots[0]);
  EXPECT_NE(html.find("a &lt; b"), std::string::npos);
  EXPECT_EQ(html.find("a < b"), std::string::npos);
  EXPECT_EQ(html.find("http://") == std::string::npos ||
                html.find("http://www.w3.org/2000/svg") != std::string::npos,
            true);
  EXPECT_EQ(svg.find("nan"), std::string::npos);
  EXPECT_NE(svg.find("aria-label='y &amp; x'"), std::string::npos);
  EXPECT_EQ(report_csv(r), "mode,repeat,seed,y,digest,error\nstrict,0,1,2,d,\nlazy,0,1,3,d,\n");
  EXPECT_NE(report_markdown(r, {"s-1.svg"}).find("![y & x](s-1.svg)"), std::string::npos);
}

TEST(Studies, ThoseThatAreShippedCanBeRun) {
  std::size_t n = 0;
  for (const auto& entry : std::filesystem::directory_iterator(POOLSIM_SOURCE_DIR "/testbenches/studies")) {
    if (entry.path().filename() == "steady.yaml") continue;
    SCOPED_TRACE(entry.path().string());
    const Study s = load(entry.path().string());
    EXPECT_FALSE(s.question.empty());
    EXPECT_FALSE(s.assumes.empty());
    EXPECT_FALSE(s.plots.empty());
    EXPECT_GT(points(s).size(), 3u);
    ++n;
  }
  EXPECT_GE(n, 9u);
}

}  // namespace
