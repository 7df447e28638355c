// SPDX-License-Identifier: Apache-2.0
// poolsim compare: every cell is the run that `poolsim run` makes, its forms agree with each other, and what
// went wrong or was interrupted says so.
#include "testbenches/scenario/compare.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "sim/error.h"

namespace {

using scenario::CompareRequest;
using scenario::Comparison;

CompareRequest small() {
  CompareRequest r;
  r.files = {POOLSIM_SOURCE_DIR "/testbenches/scenarios/unbind_short.yaml"};
  r.strategies = {"stock", "item_array", "xarray_merged"};
  r.modes = {"strict", "passthrough"};
  r.in_flight = 16 << 20;
  r.jobs = 2;
  return r;
}

TEST(Compare, EveryCellIsTheRunOfThatScenarioModeAndStrategy) {
  CompareRequest r = small();
  r.costs = false;
  std::size_t ended = 0;
  const Comparison c = scenario::compare(r, [&](std::size_t n, std::size_t all) {
    EXPECT_EQ(n, ++ended);
    EXPECT_EQ(all, 6u);
  });
  ASSERT_TRUE(c.complete);
  ASSERT_EQ(c.cells.size(), 6u);
  for (const auto& cell : c.cells) {
    ASSERT_TRUE(cell.run) << cell.error;
    EXPECT_EQ(cell.run->strategy, cell.strategy);
    EXPECT_EQ(cell.run->dma_mode, cell.mode);
    scenario::RunConfig config;
    scenario::load(config, r.files[0], {"kernel.dma_mode=" + cell.mode, "pool.strategy=" + cell.strategy});
    EXPECT_EQ(scenario::run_jobs({{config, {}}}, 1)[0].digest, cell.run->digest);
  }
}

TEST(Compare, CostsAreMeasuredAndALimitIsALimit) {
  CompareRequest r = small();
  r.modes = {"strict"};
  const Comparison c = scenario::compare(r);
  for (const auto& k : c.costs) {
    ASSERT_TRUE(k.probe) << k.error;
    const auto& p = *k.probe;
    EXPECT_GT(p.ring_cycles, p.cache_cycles);  // 5.4 and 15.1 ns in the published bench
    EXPECT_GT(p.map_cycles, p.ring_cycles);
    EXPECT_EQ(p.pages_asked, 4096u);
    ASSERT_TRUE(k.rebind && k.no_memory && k.short_of_memory) << k.error;
  }
  const auto cost = [&](const char* strategy) { return *c.cost("strict", strategy)->probe; };
  EXPECT_EQ(cost("stock").pages_in_flight, 4096u);
  EXPECT_EQ(cost("stock").tracking_bytes, 0u);
  // pow2(1024 + 128 + 512) items of 16 bytes.
  EXPECT_EQ(cost("item_array").pages_in_flight, 2048u);
  EXPECT_EQ(cost("item_array").tracking_bytes, 2048u * 16);
  // A node of 576 bytes for 64 slots; ids 1..4096 need 65 leaves, two nodes above them, and the root.
  EXPECT_EQ(cost("xarray_merged").pages_in_flight, 4096u);
  EXPECT_EQ(cost("xarray_merged").tracking_bytes, 68u * 576);
  EXPECT_GT(cost("xarray_merged").map_cycles, cost("stock").map_cycles);
  EXPECT_EQ(no_memory_text(*c.cost("strict", "stock")), "no effect");
  EXPECT_NE(no_memory_text(*c.cost("strict", "xarray_merged")).find("refills"), std::string::npos);
  EXPECT_NE(no_memory_text(*c.cost("strict", "item_array")).find("ENOMEM"), std::string::npos);
}

TEST(Compare, TableCsvJsonAndPageSayTheSame) {
  CompareRequest r = small();
  const Comparison c = scenario::compare(r);
  const std::string text = comparison_text(c, false), csv = comparison_csv(c), html = comparison_html(c);
  const auto json = comparison_json(c);
  EXPECT_EQ(json["rows"].size(), 6u);
  EXPECT_EQ(json["costs"].size(), 6u);
  EXPECT_EQ(std::ranges::count(csv, '\n'), 7);
  const std::string head = csv.substr(0, csv.find('\n'));
  EXPECT_NE(head.find("probe_map_cycles"), std::string::npos);
  for (const char* column : {"cycles_per_packet_percent", "map_percent", "unmap_percent", "tracking_bytes_per_page",
                             "tracking_gib_at_24_gib", "inflight_limited", "longest_softirq_spin_chain", "bound_again_at_once",
                             "no_tracking_memory"}) {
    EXPECT_NE(head.find(column), std::string::npos) << column;
  }
  for (const auto& row : json["rows"]) {
    // What a machine reads has what the tables compute.
    const bool array = row["strategy"] == "item_array";
    EXPECT_EQ(row["inflight_limited"], array);
    EXPECT_EQ(row["tracking_gib_at_24_gib"].is_null(), array);
    if (row["strategy"] == "stock") {
      EXPECT_EQ(row["map_percent"], 0);
    }
    if (row["strategy"] == "xarray_merged") {
      EXPECT_GT(row["map_percent"], 0);
    }
    EXPECT_TRUE(row["cycles_per_packet_percent"].is_number());
    const std::string digest = row["digest"];
    EXPECT_NE(csv.find(digest), std::string::npos);
    for (const auto& [kind, count] : row["findings"].items()) {
      EXPECT_NE(text.find(kind + " x " + count.dump()), std::string::npos);
      EXPECT_NE(html.find(kind + " x " + count.dump()), std::string::npos);
    }
  }
  // Self-contained: nothing is fetched, nothing runs.
  for (const char* foreign : {"http", "<script", "<link", "<img", "url(", "@import"})
    EXPECT_EQ(html.find(foreign), std::string::npos) << foreign;
  for (const char* part : {"prefers-color-scheme:dark", "@media print", "width=device-width"})
    EXPECT_NE(html.find(part), std::string::npos) << part;
}

TEST(Compare, WhatWasNotRunSaysSo) {
  CompareRequest r = small();
  r.jobs = 1;
  r.costs = false;
  static volatile bool stop = false;
  const Comparison c = scenario::compare(
      r, [](std::size_t ended, std::size_t) { stop = ended == 2; }, &stop);
  EXPECT_FALSE(c.complete);
  EXPECT_EQ(std::ranges::count_if(c.cells, [](const auto& cell) { return cell.run.has_value(); }), 2);
  EXPECT_NE(comparison_text(c, false).find("not run"), std::string::npos);
  EXPECT_NE(comparison_html(c).find("INTERRUPTED"), std::string::npos);
}

TEST(Compare, AProcessThatDiesIsARowAndNotTheEnd) {
  std::string why, text;
  std::vector<scenario::ProcessTask> tasks;
  const auto add = [&](std::function<std::string()> work) {
    tasks.push_back({"t", std::move(work), [&](const std::string& t) { text += t; },
                     [&](const std::string& w) { why += w + ";"; }});
  };
  add([]() -> std::string { std::abort(); });
  add([]() -> std::string { throw sim::Error("no such thing"); });
  add([]() -> std::string { return std::string(200'000, 'x'); });  // more than a pipe holds
  EXPECT_TRUE(scenario::run_processes(tasks, 3));
  EXPECT_NE(why.find("signal 6"), std::string::npos);
  EXPECT_NE(why.find("no such thing"), std::string::npos);
  EXPECT_EQ(text.size(), 200'000u);
}

TEST(Compare, BadRequestsAreRefusedBeforeAnythingRuns) {
  CompareRequest r = small();
  r.strategies = {"stok"};
  EXPECT_THROW(scenario::compare(r), sim::Error);
  r = small();
  r.modes = {"strikt"};
  EXPECT_THROW(scenario::compare(r), sim::Error);
  r.modes = {"strict+fast"};
  EXPECT_THROW(scenario::compare(r), sim::Error);
}

}  // namespace
