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
  EXPECT_NE(html.find("title: a &lt; b\nmodes: [strict, lazy]\n"), std::string::npos) << "lines of the file";
  EXPECT_EQ(svg.find("nan"), std::string::npos);
  EXPECT_NE(svg.find("aria-label='y &amp; x'"), std::string::npos);
  EXPECT_EQ(report_csv(r), "mode,repeat,seed,y,digest,error\nstrict,0,1,2,d,\nlazy,0,1,3,d,\n");
  EXPECT_NE(report_markdown(r, {"s-1.svg"}).find("![y & x](s-1.svg)"), std::string::npos);
}

std::string between(const std::string& text, const std::string& from, const std::string& to) {
  const std::size_t begin = text.find(from);
  if (begin == std::string::npos) return "";
  return text.substr(begin + from.size(), text.find(to, begin) - begin - from.size());
}
nlohmann::json data_of(const std::string& html) {
  return nlohmann::json::parse(between(html, "<script type=\"application/json\" id=\"data\">", "</script>"));
}
/// Fields of CSV as RFC 4180 has them.
std::vector<std::vector<std::string>> csv_fields(const std::string& csv) {
  std::vector<std::vector<std::string>> rows(1, {""});
  bool quoted = false;
  for (std::size_t i = 0; i < csv.size(); ++i) {
    const char c = csv[i];
    if (quoted && c == '"' && csv.substr(i, 2) == "\"\"") {
      rows.back().back() += csv[i++];
    } else if (c == '"') {
      quoted = !quoted;
    } else if (!quoted && c == ',') {
      rows.back().emplace_back();
    } else if (!quoted && c == '\n') {
      rows.push_back({""});
    } else {
      rows.back().back() += c;
    }
  }
  rows.pop_back();
  return rows;
}

TEST_F(StudyTest, DataOfThePageAreThoseOfTheCsv) {
  const Study s = make(
      "parameters: {pool.size: [8, 16]}\nmodes: [strict, lazy]\nrepeats: 2\n"
      "measures: {\"a, \\\"b\\\"\": v / 3, none: v / w}\nplots: [{x: pool.size, y: none, by: mode}]\n");
  Results r{s, points(s), {}, "poolsim study s.yaml", "a machine", "a day", 1, true};
  for (std::size_t p = 0; p < r.points.size(); ++p) {
    const double v = static_cast<double>(p) * 1e7 + 0.1;
    r.runs.push_back(
        {study::Run{~std::uint64_t{0} - p, Figures{{"v", v}, {"w", p == 0 ? 0.0 : 7.0}}, "d", ""},
         study::Run{2, {}, "", "ended early, \"</script><!--\nwith\" 2"}});
  }
  const nlohmann::json runs = data_of(report_html(r))["runs"];
  const auto csv = csv_fields(report_csv(r));
  ASSERT_EQ(csv.size(), 1 + 2 * r.points.size());
  ASSERT_EQ(runs["columns"], nlohmann::json(csv[0]));
  ASSERT_EQ(runs["rows"].size(), csv.size() - 1);
  for (std::size_t i = 1; i < csv.size(); ++i) {
    const nlohmann::json& row = runs["rows"][i - 1];
    ASSERT_EQ(row.size(), csv[i].size());
    for (std::size_t k = 0; k < row.size(); ++k) {
      const std::string& field = csv[i][k];
      if (row[k].is_string()) {
        EXPECT_EQ(row[k], field);
      } else if (row[k].is_null()) {
        EXPECT_EQ(field, "");
      } else {
        EXPECT_EQ(row[k].get<double>(), std::stod(field));
      }
    }
  }
  EXPECT_TRUE(runs["rows"][0][4].is_number());
  EXPECT_TRUE(runs["rows"][0][5].is_null()) << "0.1 / 0 is no number";
  EXPECT_TRUE(runs["rows"][2][5].is_number());
  EXPECT_TRUE(runs["rows"][1][5].is_null()) << "a run without figures";
}

TEST_F(StudyTest, PlotsOfThePageShowTheMeansOfTheirSeries) {
  const Study s = make(
      "parameters: {pool.size: [16, 8]}\nmodes: [strict, lazy]\nmeasures: {y: {formula: v, unit: us}}\n"
      "plots: [{title: t, x: pool.size, y: y, by: mode, log_x: true}, {x: mode, y: y}]\n");
  const Results r =
      results_of(s, [](const auto& l) { return std::stod(l[1]) + (l[0] == "lazy" ? 1000 : 0); });
  const nlohmann::json plots = data_of(report_html(r))["plots"];
  ASSERT_EQ(plots.size(), 2u);
  EXPECT_EQ(plots[0]["x"],
            nlohmann::json::parse(R"({"name":"pool.size","log":true,"ticks":[[8,"8"],[16,"16"]]})"));
  EXPECT_EQ(plots[0]["y"], nlohmann::json::parse(R"({"name":"y","unit":"us","log":false})"));
  EXPECT_EQ(plots[0]["series"][1], nlohmann::json::parse(R"({"name":"lazy","x":[8,16],"level":["8","16"],
      "mean":[1008,1016],"low":[1008,1016],"high":[1008,1016],"n":[1,1]})"));
  EXPECT_EQ(plots[1]["series"][0]["low"], nlohmann::json::parse("[8,1008]"));
  EXPECT_EQ(plots[1]["series"][0]["high"], nlohmann::json::parse("[16,1016]"));
  EXPECT_EQ(plots[1]["x"]["ticks"], nlohmann::json::parse(R"([[0,"strict"],[1,"lazy"]])"));
}

std::string source_text(const std::string& path) {
  std::ifstream in(POOLSIM_SOURCE_DIR "/" + path);
  EXPECT_TRUE(in) << path;
  return {std::istreambuf_iterator<char>(in), {}};
}

TEST_F(StudyTest, ThePageNeedsNothingElse) {
  const Study s = make("modes: [strict, lazy]\nmeasures: {y: v}\nplots: [{x: mode, y: y}]\n");
  const Results r = results_of(s, [](const auto& l) { return l[0] == "lazy" ? 3 : 2; });
  std::string html = report_html(r);
  EXPECT_NE(html.find("default-src 'none'"), std::string::npos) << "browsers enforce it";
  for (const char* file : {"uPlot.iife.min.js", "uPlot.min.css", "LICENSE"}) {
    const std::string text = source_text(std::string("testbenches/study/uplot/") + file);
    const std::size_t at = html.find(text);
    ASSERT_NE(at, std::string::npos) << file << ": not as its authors have written it";
    html.erase(at, text.size());
  }
  while (html.find("http://www.w3.org/2000/svg") != std::string::npos)
    html.erase(html.find("http://www.w3.org/2000/svg"), 26);  // a name, not an address
  for (const char* word :
       {"http:", "https:", "src=", "<link", "@import", "url(", "fetch(", "XMLHttpRequest", "import("})
    EXPECT_EQ(html.find(word), std::string::npos) << word;
}

TEST_F(StudyTest, WithoutScriptThePageHasEveryPictureAsSvg) {
  const Study s = make(
      "modes: [strict, lazy]\nmeasures: {y: v}\nplots: [{title: one, x: mode, y: y}, {title: two, x: mode, "
      "y: y}]\n");
  const Results r = results_of(s, [](const auto& l) { return l[0] == "lazy" ? 3 : 2; });
  const std::string html = report_html(r);
  for (std::size_t i = 0; i < 2; ++i) {
    const std::string figure = between(html, fmt::format("<figure data-plot={}>", i), "</figure>");
    EXPECT_EQ(figure, "\n" + plot_svg(r, s.plots[i]));
  }
  const Study none = make("modes: [strict, lazy]\nmeasures: {y: v}\n");
  EXPECT_EQ(report_html(results_of(none, [](const auto&) { return 1; })).find("uPlot"), std::string::npos);
}

TEST_F(StudyTest, APageOfManyThousandRunsStaysSmall) {
  Study s = make(
      "design: lhs\nsamples: 6\nparameters: {pool.size: {from: 1, to: 32768}, iommu.walkers: {from: 1, "
      "to: 64}}\n"
      "measures: {y: v}\nplots: [{x: pool.size, y: y}, {x: iommu.walkers, y: y}]\n");
  s.samples = 4000;
  const Results r = results_of(s, [](const auto& l) { return std::stod(l[0]) / 7 + std::stod(l[1]); });
  const std::string html = report_html(r);
  EXPECT_LT(html.size(), 1'500'000u);
  const nlohmann::json data = data_of(html);
  EXPECT_EQ(data["runs_in_all"], 4000);
  EXPECT_GT(data["runs"]["rows"].size(), 1000u);
  EXPECT_LT(data["runs"]["rows"].size(), 4000u);
  EXPECT_NE(html.find(" of 4000; <code>--csv FILE</code> has all"), std::string::npos);
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
