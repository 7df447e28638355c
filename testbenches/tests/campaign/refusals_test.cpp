// SPDX-License-Identifier: Apache-2.0
// What can go wrong around a campaign - disks, files, builds - told through the command: text, exit code, and
// that nothing of what was stored is lost.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <sstream>
#include <thread>

#include "testbenches/campaign/database.h"
#include "testbenches/tests/sanitizers.h"

namespace {

namespace fs = std::filesystem;

std::string text_of(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

class Refusals : public ::testing::Test {
 protected:
  struct Ended {
    int code;
    std::string out, err;
  };

  Refusals() : dir_(fs::temp_directory_path() / fmt::format("poolsim_refusals_{}", ::getpid())) {
    fs::create_directories(dir_);
    fs::copy_file(fs::path(POOLSIM_SOURCE_DIR) / "testbenches/scenarios/unbind_short.yaml",
                  file("base.yaml"));
    write_campaign(40);
  }
  ~Refusals() override {
    fs::permissions(dir_, fs::perms::owner_all);
    fs::remove_all(dir_);
  }

  std::string file(const std::string& name) const { return (dir_ / name).string(); }

  void write_campaign(unsigned experiments, const std::string& name = "c.yaml", unsigned seed = 7) {
    std::ofstream(file(name)) << "schema: 1\nname: refusals\nbase: base.yaml\nseed: " << seed
                              << "\nwarmup: on(driver_bound, nth=2)\nsettings: {memory.size: 64 MiB, "
                                 "pool.strategy: scan}\nwindow: {after_injection: 20 us, ladder: 10 us}\n"
                                 "sampling: {experiments: "
                              << experiments << "}\nfaults:\n  - {kind: none, when: \"uniform(0, 100us)\"}\n";
  }

  pid_t start(
      const std::vector<std::string>& arguments, const std::function<void()>& before = [] {}) {
    const pid_t pid = ::fork();
    if (pid != 0) return pid;
    for (const auto& [name, fd] : {std::pair{"out", 1}, std::pair{"err", 2}}) {
      ::dup2(::open(file(name).c_str(), O_CREAT | O_TRUNC | O_WRONLY, 0644), fd);
    }
    before();
    std::vector<char*> words{const_cast<char*>(POOLSIM_COMMAND)};
    if (arguments.front() != "replay") words.push_back(const_cast<char*>("campaign"));
    for (const std::string& a : arguments) words.push_back(const_cast<char*>(a.c_str()));
    words.push_back(nullptr);
    ::execv(words[0], words.data());
    ::_exit(127);
  }
  Ended end(pid_t pid) {
    int status = 0;
    ::waitpid(pid, &status, 0);
    return {WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status), text_of(file("out")),
            text_of(file("err"))};
  }
  Ended poolsim(
      const std::vector<std::string>& arguments, const std::function<void()>& before = [] {}) {
    return end(start(arguments, before));
  }
  Ended run(
      const std::string& db, const std::function<void()>& before = [] {},
      const std::string& campaign = "c.yaml") {
    return poolsim({"run", file(campaign), "--db", file(db), "--quiet"}, before);
  }
  std::string rows(const std::string& db) { return campaign::Database::open(file(db)).meta("rows_digest"); }
  void sql(const std::string& db, const std::string& statement) {
    sqlite3* s = nullptr;
    ASSERT_EQ(sqlite3_open(file(db).c_str(), &s), SQLITE_OK);
    EXPECT_EQ(sqlite3_exec(s, statement.c_str(), nullptr, nullptr, nullptr), SQLITE_OK) << sqlite3_errmsg(s);
    sqlite3_close(s);
  }
  void shards() {
    for (const char* i : {"0", "1"}) {
      ASSERT_EQ(poolsim({"run", file("c.yaml"), "--db", file(std::string("s") + i + ".db"), "--quiet",
                         "--shard", std::string(i) + "/2"})
                    .code,
                0);
    }
  }
  Ended merge() { return poolsim({"merge", file("m.db"), file("s0.db"), file("s1.db")}); }

 private:
  fs::path dir_;
};

/// No file of the process may become longer.
std::function<void()> no_file_beyond(rlim_t bytes) {
  return [bytes] {
    const rlimit limit{bytes, bytes};
    ::setrlimit(RLIMIT_FSIZE, &limit);
  };
}

TEST_F(Refusals, AFullDiskEndsTheRunAndResumeGoesOn) {
  write_campaign(1500);
  ASSERT_EQ(run("calm.db").code, 0);
  const Ended full = run("a.db", no_file_beyond(200 * 1024));
  EXPECT_EQ(full.code, 2);
  EXPECT_NE(full.err.find("a.db: "), std::string::npos) << full.err;
  EXPECT_NE(full.err.find("campaign resume"), std::string::npos) << full.err;
  EXPECT_LT(campaign::Database::open(file("a.db")).count(), 1500u);
  const Ended rest = poolsim({"resume", file("a.db"), "--quiet"});
  EXPECT_EQ(rest.code, 0) << rest.err;
  EXPECT_EQ(rows("a.db"), rows("calm.db"));
}

TEST_F(Refusals, ADiskThatIsFullFromTheStartLeavesNothingHalf) {
  const Ended full = run("a.db", no_file_beyond(8 * 1024));
  EXPECT_EQ(full.code, 2) << full.err;
  EXPECT_FALSE(fs::exists(file("a.db")));
  EXPECT_FALSE(fs::exists(file("a.db.new")));
  EXPECT_EQ(run("a.db").code, 0);
}

TEST_F(Refusals, ADatabaseThatCannotBeWritten) {
  if (sanitizers::kAddress) GTEST_SKIP() << "its search for leaks hangs in a process that changed its user";
  ASSERT_EQ(run("a.db").code, 0);
  const std::string before = rows("a.db");
  write_campaign(50);
  const auto nobody = [] {
    if (::getuid() == 0 && (::setgid(65534) != 0 || ::setuid(65534) != 0)) ::_exit(126);
  };
  fs::permissions(fs::path(file("a.db")).parent_path(), fs::perms::owner_read | fs::perms::owner_exec |
                                                            fs::perms::others_read | fs::perms::others_exec);
  const Ended denied = run("a.db", nobody);
  EXPECT_EQ(denied.code, 2) << denied.err;
  EXPECT_NE(denied.err.find("a.db: cannot be written"), std::string::npos) << denied.err;
  EXPECT_EQ(run("no/such/directory/x.db").code, 2);
  fs::permissions(fs::path(file("a.db")).parent_path(), fs::perms::owner_all);
  EXPECT_EQ(run("").code, 2) << "a directory is no database";
  EXPECT_EQ(rows("a.db"), before);
}

TEST_F(Refusals, ADatabaseThatIsDamaged) {
  ASSERT_EQ(run("a.db").code, 0);
  // A row that is not what was stored: SQLite itself sees nothing wrong with it.
  sql("a.db", "UPDATE experiment SET outcome = 'leak' WHERE id = 7");
  const Ended wrong = poolsim({"resume", file("a.db"), "--quiet"});
  EXPECT_EQ(wrong.code, 2);
  EXPECT_NE(wrong.err.find("damaged"), std::string::npos) << wrong.err;
}

TEST_F(Refusals, AShardThatIsDamagedIsNotMerged) {
  shards();
  const std::string good = text_of(file("s1.db"));
  // One bit of a row, or of an index.
  for (const char* word : {"nothing", "masked"}) {
    std::string bad = good;
    const auto place = bad.rfind(word);
    ASSERT_NE(place, bad.npos);
    bad[place] ^= 0x20;
    std::ofstream(file("s1.db"), std::ios::binary) << bad;
    const Ended flipped = merge();
    EXPECT_EQ(flipped.code, 2) << word;
    EXPECT_NE(flipped.err.find("s1.db: damaged"), std::string::npos) << flipped.err;
  }
  std::ofstream(file("s1.db"), std::ios::binary) << good.substr(0, good.size() / 2);
  const Ended cut = merge();
  EXPECT_EQ(cut.code, 2);
  EXPECT_NE(cut.err.find("s1.db"), std::string::npos) << cut.err;
  std::ofstream(file("s1.db"), std::ios::binary) << good;
  const Ended whole = merge();
  EXPECT_EQ(whole.code, 0) << whole.err;
  ASSERT_EQ(run("plain.db").code, 0);
  EXPECT_EQ(rows("m.db"), rows("plain.db")) << "nothing is lost by what was refused before";
}

TEST_F(Refusals, AShardOfAnotherCampaignIsNotMerged) {
  shards();
  write_campaign(40, "c.yaml", 8);
  fs::remove(file("s1.db"));
  ASSERT_EQ(poolsim({"run", file("c.yaml"), "--db", file("s1.db"), "--quiet", "--shard", "1/2"}).code, 0);
  const Ended other = merge();
  EXPECT_EQ(other.code, 4);
  EXPECT_NE(other.err.find("config_digest"), std::string::npos) << other.err;
}

TEST_F(Refusals, AFileThatChangesUnderARunningCampaign) {
  write_campaign(600);
  ASSERT_EQ(run("calm.db").code, 0);
  const pid_t pid = start({"run", file("c.yaml"), "--db", file("a.db"), "--quiet"});
  while (!fs::exists(file("a.db"))) std::this_thread::sleep_for(std::chrono::milliseconds(2));
  write_campaign(600, "c.yaml", 8);
  std::ofstream(file("base.yaml"), std::ios::app) << "\n# changed\n";
  // What runs has read it already, and ends as if nothing had happened.
  EXPECT_EQ(end(pid).code, 0);
  EXPECT_EQ(rows("a.db"), rows("calm.db"));
  const Ended again = run("a.db");
  EXPECT_EQ(again.code, 4);
  EXPECT_NE(again.err.find("have changed since"), std::string::npos) << again.err;
  EXPECT_EQ(poolsim({"resume", file("a.db"), "--quiet"}).code, 0) << "the database knows what it is of";
  EXPECT_EQ(rows("a.db"), rows("calm.db"));
}

TEST_F(Refusals, AnotherScenarioOrEnvironment) {
  ASSERT_EQ(run("a.db").code, 0);
  EXPECT_EQ(run("a.db", [] { ::setenv("POOLSIM_POOL_SIZE", "512", 1); }).code, 4);
  std::ofstream(file("base.yaml"), std::ios::app) << "iommu: {iotlb: {sets: 32}}\n";
  EXPECT_EQ(run("a.db").code, 4);
  EXPECT_EQ(campaign::Database::open(file("a.db")).count(), 40u);
}

TEST_F(Refusals, AnotherBuild) {
  shards();
  sql("s1.db", "UPDATE meta SET value = '0123456789abcdef' WHERE key = 'build'");
  const Ended resumed = poolsim({"resume", file("s1.db"), "--quiet"});
  EXPECT_EQ(resumed.code, 4);
  EXPECT_NE(resumed.err.find("was made by build 0123456789abcdef"), std::string::npos) << resumed.err;
  EXPECT_EQ(merge().code, 4);
  EXPECT_EQ(campaign::Database::open(file("s1.db")).count(), 20u);
}

// What another build recorded is not run as if it were ours, even where this one cannot read it any more.
TEST_F(Refusals, AnExperimentOfAnotherBuildIsNotReplayed) {
  ASSERT_EQ(run("a.db").code, 0);
  EXPECT_EQ(poolsim({"replay", file("a.db") + "#7"}).code, 0);
  sql("a.db", "UPDATE meta SET value = '0123456789abcdef' WHERE key = 'build'");
  const std::string before = text_of(file("a.db"));
  const Ended other = poolsim({"replay", file("a.db") + "#7"});
  EXPECT_EQ(other.code, 4);
  EXPECT_NE(other.err.find("a.db: made by build 0123456789abcdef, this is "), std::string::npos) << other.err;
  EXPECT_EQ(other.out, "");
  EXPECT_EQ(poolsim({"replay", file("a.db") + "#7", "--force"}).code, 0) << "nothing has changed in between";
  EXPECT_EQ(text_of(file("a.db")), before);
  sql("a.db", "UPDATE meta SET value = 'faults: {of: tomorrow}' WHERE key = 'campaign_text'");
  EXPECT_EQ(poolsim({"replay", file("a.db") + "#7"}).code, 4);
  const std::string token = "poolsim:campaign file=" + file("c.yaml") + " id=7 build=0123456789abcdef";
  EXPECT_EQ(poolsim({"replay", token}).code, 4);
  EXPECT_EQ(campaign::Database::open(file("a.db")).count(), 40u);
}

}  // namespace
