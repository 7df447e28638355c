// SPDX-License-Identifier: Apache-2.0
// The page of runs: made of the JSON of a real run, and of nothing that is none.
#include "testbenches/scenario/report_page.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "sim/error.h"
#include "testbenches/scenario/run.h"

namespace {

using namespace scenario;

nlohmann::ordered_json crash() {
  RunConfig config;
  load(config, POOLSIM_SOURCE_DIR "/testbenches/scenarios/unbind_short.yaml", {"memory.size=64MiB"});
  ScenarioRun run(config, {});
  run.run();
  return run.report_json();
}

TEST(ReportPage, TellsFindingsHoldersAndTheUnbind) {
  const auto json = crash();
  const std::string html = report_page({{"stock <run>", json}});
  EXPECT_NE(html.find("stock &lt;run&gt;"), std::string::npos);
  EXPECT_EQ(html.find("stock <run>"), std::string::npos);
  for (const auto& [kind, count] : json["findings"].items())
    EXPECT_NE(html.find("<b>" + kind + "</b>"), std::string::npos) << kind;
  for (const auto& h : json["who_holds"])
    EXPECT_NE(html.find(h["holder"].get<std::string>()), std::string::npos);
  EXPECT_NE(html.find("driver unbinds"), std::string::npos);
  EXPECT_EQ(html.find("<script"), std::string::npos);
  EXPECT_EQ(html.find("nan"), std::string::npos);
}

TEST(ReportPage, ATimelineHasARowForEachPageItShowsAndAMarkForEachFinding) {
  const auto json = crash();
  const std::string svg = unbind_timeline_svg(json);
  std::size_t marks = 0;
  for (std::size_t at = svg.find("<path class='bad'"); at != svg.npos;
       at = svg.find("<path class='bad'", at + 1))
    ++marks;
  EXPECT_EQ(marks, json["finding_list"].size());
  EXPECT_NE(svg.find("IPv4 fragment queue"), std::string::npos);
}

TEST(ReportPage, WhatIsNoRunIsRefusedByName) {
  try {
    report_page({{"x", nlohmann::ordered_json::array()}});
    FAIL();
  } catch (const sim::Error& e) {
    EXPECT_NE(std::string(e.what()).find("x: no report of a run"), std::string::npos);
  }
}

}  // namespace
