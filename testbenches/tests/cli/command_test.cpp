// SPDX-License-Identifier: Apache-2.0
#include "testbenches/cli/command.h"

#include <gtest/gtest.h>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "sim/error.h"
#include "testbenches/cli/table.h"
#include "testbenches/tests/cli/run.h"

namespace {

using cli_test::Outcome;
using cli_test::run;

const cli::Subcommand kFail("fail", "fails as it is told to", [](CLI::App& app, const cli::Context&) {
  auto how = std::make_shared<std::string>();
  app.add_option("--how", *how, "How")->required();
  return [how]() -> int {
    if (*how == "user") throw sim::Error("a.yaml", 7, "no such thing");
    if (*how == "law") POOLSIM_ASSERT(1 + 1 == 3);
    return how->empty() ? cli::kOk : cli::kFindings;
  };
});

TEST(Command, UnknownWordsGetTheNearestRightOneAndExitCode2) {
  Outcome o = run({"docter"});
  EXPECT_EQ(o.code, 2);
  EXPECT_EQ(o.err, "poolsim: unknown subcommand 'docter' (did you mean 'doctor'?)\n");
  o = run({"fail", "--hwo", "x"});
  EXPECT_EQ(o.code, 2);
  EXPECT_EQ(o.err, "poolsim fail: unknown option '--hwo' (did you mean '--how'?)\n");
  o = run({"fail", "--how", "x", "more"});
  EXPECT_EQ(o.code, 2);
  EXPECT_EQ(o.err, "poolsim fail: unexpected argument 'more' (see poolsim fail -h)\n");
  o = run({"list", "findingz"});
  EXPECT_EQ(o.code, 2);
  EXPECT_NE(o.err.find("unknown kind 'findingz'"), std::string::npos);
  o = run({"fail"});
  EXPECT_EQ(o.code, 2);
  EXPECT_EQ(std::ranges::count(o.err, '\n'), 1);
  EXPECT_TRUE(o.out.empty());
}

TEST(Command, ErrorsOfTheUserAndOfTheModelHaveTheirCodes) {
  Outcome o = run({"fail", "--how", "user"});
  EXPECT_EQ(o.code, cli::kUsage);
  EXPECT_EQ(o.err, "poolsim fail: a.yaml:7: no such thing\n");
  o = run({"fail", "--how", "law"});
  EXPECT_EQ(o.code, cli::kInternal);
  EXPECT_NE(o.err.find("the model broke its own law"), std::string::npos);
  EXPECT_EQ(run({"fail", "--how", "other"}).code, cli::kFindings);
}

TEST(Command, HelpIsAResultAndNothingToDoIsNot) {
  for (const auto& words :
       std::vector<std::vector<std::string>>{{"-h"}, {"doctor", "-h"}, {"list", "--help"}}) {
    const Outcome o = run(words);
    EXPECT_EQ(o.code, 0);
    EXPECT_FALSE(o.out.empty());
    EXPECT_TRUE(o.err.empty());
  }
  const Outcome o = run({});
  EXPECT_EQ(o.code, 2);
  EXPECT_TRUE(o.out.empty());
  EXPECT_FALSE(o.err.empty());
}

TEST(Command, DoctorSpeaksJson) {
  const Outcome o = run({"doctor", "--json"});
  const auto json = nlohmann::json::parse(o.out);
  EXPECT_EQ(o.code, json["healthy"].get<bool>() ? 0 : 1);
  EXPECT_GE(json["checks"].size(), 5u);
}

TEST(Table, AlignsNumbersRightAndCountsCodePoints) {
  cli::Table t({"strategy", "unbind\nµs", "note"});
  t.row({"stock", "12.5", "a"});
  t.row({"größe", "9", ""});
  EXPECT_EQ(t.text(),
            "          unbind\n"
            "strategy      µs  note\n"
            "--------  ------  ----\n"
            "stock       12.5  a\n"
            "größe          9\n");
  EXPECT_NE(t.text(true).find("\033[1m"), std::string::npos);
}

TEST(Table, NumbersAreWhatPeopleReadAsNumbers) {
  for (const char* s : {"1", "-3", "+1.5", "1,280", "99%", "12 us", "3.4x", "-", ""}) {
    EXPECT_TRUE(cli::looks_numeric(s)) << s;
  }
  for (const char* s : {"x", "0 of 3 pages", "+", "stock"}) EXPECT_FALSE(cli::looks_numeric(s)) << s;
}

}  // namespace
