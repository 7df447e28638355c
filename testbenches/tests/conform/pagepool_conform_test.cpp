// SPDX-License-Identifier: Apache-2.0
// Pool scripts: agreement with what the kernel's own code was recorded to do (testbenches/data/pagepool), and
// bad input.
#include "testbenches/conform/pagepool_conform.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <sstream>

#include "sim/error.h"

namespace {

using conform::PoolVersion;
const std::string kData = std::string(POOLSIM_SOURCE_DIR) + "/testbenches/data/pagepool/";

std::string run(const std::string& script, PoolVersion version) {
  return conform::run_pool_scripts("test.pool", script, version);
}

class Recorded : public ::testing::TestWithParam<std::pair<const char*, PoolVersion>> {};

TEST_P(Recorded, EveryScriptAgrees) {
  auto [folder, version] = GetParam();
  int scripts = 0;
  for (const auto& entry : std::filesystem::directory_iterator(kData + folder)) {
    std::string path = entry.path().string();
    if (!path.ends_with(".pool.gz")) continue;
    std::string expected = path.substr(0, path.size() - 8) + ".out.gz";
    std::ostringstream out;
    conform::PagepoolConformOptions options{version, {path}, expected};
    EXPECT_EQ(conform::run_pagepool_conform(options, out), 0) << out.str();
    ++scripts;
  }
  EXPECT_GT(scripts, 30);
}
INSTANTIATE_TEST_SUITE_P(Versions, Recorded,
                         ::testing::Values(std::pair{"6.12", PoolVersion::v6_12},
                                           std::pair{"6.18", PoolVersion::v6_18}));

TEST(PagepoolConform, FirstDifferenceShowsTheStateBefore) {
  std::string got = run("create 0 size=8\nalloc 0\nput 0 1\n", PoolVersion::v6_12);
  EXPECT_FALSE(conform::first_difference(got, got));
  std::string expected = got;
  expected.replace(expected.rfind("put cache"), 9, "put ring ");
  auto difference = conform::first_difference(got, expected);
  ASSERT_TRUE(difference);
  EXPECT_THAT(*difference, ::testing::HasSubstr("before:   1 alloc h0=64"));
  EXPECT_THAT(*difference, ::testing::HasSubstr("got:      2 put cache"));
  EXPECT_TRUE(conform::first_difference(got, got + "extra\n"));
}

TEST(PagepoolConform, OpsThatAVersionLacksAreUnsupported) {
  std::string script =
      "create 0 size=8\nalloc_n 0 2\nenable_direct 0\nput_bulk_mixed 0-1\ninj_track 0 1 nomem\n";
  EXPECT_THAT(run(script, PoolVersion::v6_12), ::testing::HasSubstr("put_bulk_mixed unsupported"));
  EXPECT_THAT(run(script, PoolVersion::v6_18), ::testing::Not(::testing::HasSubstr("unsupported")));
}

TEST(PagepoolConform, PoolsThatDoNotExistAreNotCalled) {
  std::string out =
      run("alloc 3\nstats 3\nput 0 0\nput 7 0\ncreate 3\ndestroy 3\nalloc_n 3 2\n", PoolVersion::v6_18);
  EXPECT_THAT(out, ::testing::StartsWith("0 alloc refused ; -\n1 stats nopool ; -\n2 put null ; -\n"
                                         "3 put nohandle ; -\n4 create ok id=1"));
  EXPECT_THAT(out, ::testing::HasSubstr("6 alloc_n refused ; p3 gone maps=0"));
}

TEST(PagepoolConform, FailedKernelAllocationsFailTheCreate) {
  std::string out = run(
      "inj_kmem pool\ncreate 0\ninj_kmem stats\ncreate 0\ninj_kmem ring\ncreate 0\ninj_kmem list\ncreate 0\n"
      "create 0\n",
      PoolVersion::v6_18);
  EXPECT_THAT(out,
              ::testing::HasSubstr("1 create ENOMEM ; -\n2 inj_kmem ok ; -\n+warn create_failed ENOMEM\n"));
  EXPECT_THAT(out, ::testing::HasSubstr("\n8 create ok id=1 ;"));
}

struct BadInput {
  const char* script;
  const char* message;
};
class Malformed : public ::testing::TestWithParam<BadInput> {};
TEST_P(Malformed, SaysFileLineAndWord) {
  try {
    run(GetParam().script, PoolVersion::v6_12);
    FAIL() << "accepted";
  } catch (const sim::Error& error) {
    EXPECT_THAT(error.what(), ::testing::HasSubstr(GetParam().message));
  }
}
INSTANTIATE_TEST_SUITE_P(
    Scripts, Malformed,
    ::testing::Values(
        BadInput{"create 0\nallok 0\n", "test.pool:2: unknown op 'allok' (did you mean 'alloc'?)"},
        BadInput{"create 0 flags=mop\n", "test.pool:1: unknown flag 'mop'"},
        BadInput{"create 0 sise=3\n", "unknown parameter 'sise' (did you mean 'size'?)"},
        BadInput{"create 64\n", "no pool slot 64"}, BadInput{"create 0 order=40\n", "'40' is out of range"},
        BadInput{"alloc 0x\n", "'0x' is not a number"}, BadInput{"put\n", "a handle is missing"},
        BadInput{"put 0-99999999 0\n", "names more than"},
        BadInput{"alloc_n 0 5000\n", "5000 is out of range 1..4096"},
        BadInput{"alloc 0 0 0\n", "'0' is too much for alloc"},
        BadInput{"dma_align 3\n", "not a power of two"},
        BadInput{"inj_track 0 1 full\n", "'full' is neither nomem nor busy"},
        BadInput{"get 1-2\n", "takes one handle"},
        BadInput{"put 99999999999999999999 0\n", "is not a number"}));

TEST(PagepoolConform, MissingFileIsAnError) {
  EXPECT_THROW(conform::read_text_file("/nonexistent/x.pool"), sim::Error);
}

}  // namespace
