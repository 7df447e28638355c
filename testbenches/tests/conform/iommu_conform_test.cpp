// SPDX-License-Identifier: Apache-2.0
// The functional IOMMU answers every case as the architecture asks, with and without its caches.
#include "testbenches/conform/iommu_conform.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <sstream>

#include "sim/error.h"
#include "testbenches/conform/text_input.h"

namespace {

std::string data(const std::string& name) {
  return std::string(POOLSIM_SOURCE_DIR "/testbenches/data/iommu/") + name;
}

std::vector<std::string> split(const std::string& text, const std::string& by) {
  std::vector<std::string> parts;
  std::size_t from = 0;
  for (std::size_t at; (at = text.find(by, from)) != std::string::npos; from = at + by.size()) {
    parts.push_back(text.substr(from, at - from));
  }
  parts.push_back(text.substr(from));
  return parts;
}

/// Answers by "case header / operation".
std::map<std::string, std::string> answers(const std::string& text) {
  std::map<std::string, std::string> all;
  std::string header;
  for (const std::string& line : split(text, "\n")) {
    if (line.rfind("C ", 0) == 0)
      header = line;
    else if (const auto space = line.find(' '); space != std::string::npos) {
      all[header + " / " + line.substr(0, space)] = line.substr(space + 1);
    }
  }
  return all;
}

/// Without caches the first alternative is the only right one; with caches every translation listed is.
void compare(const std::string& cases, const std::string& expected, bool caches) {
  std::ostringstream out;
  conform::replay_iommu_file(data(cases), out, {.caches = caches});
  const auto got = answers(out.str());
  const auto want = answers(conform::read_text(data(expected)));
  ASSERT_GT(want.size(), 100u);
  std::size_t compared = 0;
  for (const auto& [key, text] : want) {
    if (text[0] == 'I' || text.rfind("D~", 0) == 0) continue;
    const auto found = got.find(key);
    ASSERT_NE(found, got.end()) << key;
    const auto alternatives = split(text, " | ");
    if (!caches) {
      EXPECT_EQ(found->second, alternatives[0]) << key;
    } else if (alternatives.size() == 1 || text[0] == 'T') {
      EXPECT_NE(std::find(alternatives.begin(), alternatives.end(), found->second), alternatives.end())
          << key << "\n got  " << found->second << "\n want " << text;
    }
    ++compared;
  }
  EXPECT_GT(compared, 100u);
}

TEST(IommuConform, SampleCases) { compare("sample_cases.txt", "sample_expected.txt", false); }
TEST(IommuConform, SelectedCases) { compare("cases.txt.xz", "expected.txt.xz", false); }
TEST(IommuConform, SelectedCasesWithCaches) { compare("cases.txt.xz", "expected.txt.xz", true); }

void expect_error(const std::string& text, const std::string& message) {
  std::istringstream in(text);
  std::ostringstream out;
  try {
    conform::replay_iommu_cases(in, "cases", out);
    FAIL() << "accepted: " << text;
  } catch (const sim::Error& e) {
    EXPECT_NE(std::string(e.what()).find(message), std::string::npos) << e.what();
  }
}

/// Tags are 0 and 1: a completion of any other was expected by nobody.
TEST(IommuConform, CompletionOfATagNeverGivenOutIsUnexpected) {
  std::istringstream in(
      "C 0 x\nP caps=3802000010 baresz=1000 maxmode=4\nW 18 8 20400004\nW 48 4 3\nQ 50000000004 1000\n"
      "K 5 0 0 4 1\nK 5 0 0 1 1\n.\n");
  std::ostringstream out;
  conform::replay_iommu_cases(in, "cases", out);
  EXPECT_NE(out.str().find("\n4 K unexp=1 "), std::string::npos) << out.str();
  EXPECT_NE(out.str().find("\n5 K unexp=0 "), std::string::npos) << out.str();
}

TEST(IommuConform, APageRequestIsAnsweredAfterItsRecordAndInterrupt) {
  std::istringstream in(
      "C 0 x\nP caps=3802000010 baresz=1000 maxmode=4 vecbits=1 mbox=7f000000 mboxlen=1000000\nW 2f8 8 10\n"
      "W 310 8 7f000010\nW 318 4 11223344\nW 28 8 20000004\nW 4c 4 3\nG 5 0 0 0 0 0 0 1005\n.\n");
  std::ostringstream out;
  conform::replay_iommu_cases(in, "cases", out);
  EXPECT_NE(out.str().find("6 G ; w7f000010=44332211 ; prgr "), std::string::npos) << out.str();
}

TEST(IommuConform, BadInputNamesFileAndLine) {
  expect_error("C 0 x\nR 0 8\n", "cases:2:");
  expect_error("C 0 x\nP caps=3800000010 baresz=1000\nR zz 8\n", "'zz' is not a hexadecimal number");
  expect_error("C 0 x\nP cpas=10\n", "unknown key 'cpas'");
  expect_error("C 0 x\nP caps=10 vecbits=9\n", "cases:2: architecture.");
  expect_error("C 0 x\nP caps=3800000010 baresz=1000\nD 0 ffffffffffff\n", "cases:3:");
  expect_error("C 0 x\nP caps=3800000010 baresz=1000\nZ 1\n", "unknown operation 'Z'");
  expect_error("C 0 x\nP caps=3800000010 baresz=1000\nT 1 2\n", "cases:3:");
  const std::string begun = "C 0 x\nP caps=3800000010 baresz=1000\n";
  expect_error("P caps=3800000010\n", "cases:1: operation 'P' before the first C line");
  expect_error(begun + "W 18 8 1 2\n", "cases:3: operation 'W' has no word for '2'");
  expect_error(begun + "X 1\n", "cases:3: operation 'X' has no word for '1'");
  expect_error(begun + "R 100000018 8\n", "cases:3: '100000018' is not a register offset");
  expect_error(begun + "T 1 0 0 Z R 0 0 0 0 0\n", "cases:3: 'Z' is not one of U, A, T");
  expect_error(begun + "T 1 0 0 U Q 0 0 0 0 0\n", "cases:3: 'Q' is not one of R, W");
  EXPECT_THROW(conform::read_text("/nonexistent/cases"), sim::Error);
}

}  // namespace
