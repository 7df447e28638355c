// SPDX-License-Identifier: Apache-2.0
// Small programs with one mistake each, of the kinds that hang: the search finds the order in which it
// strikes, calls it by its class, and names both sides.
#include <gtest/gtest.h>

#include "testbenches/explore/search.h"
#include "testbenches/explore/token.h"
#include "testbenches/tests/sanitizers.h"

namespace {

using namespace explore;

struct Shared {
  kernel::SpinLock a{"lock_a"}, b{"lock_b"};
  kernel::Mutex m{"mutex_m"}, n{"mutex_n"};
  kernel::CacheLine flag_line, other_line;
  bool flag = false, other = false;
  unsigned entries = 1;
  kernel::Task* sleeper = nullptr;
};

/// A story of two tasks, the one on core 0 goes first in the natural order.
void add(const char* key, std::function<void(Shared&)> first, std::function<void(Shared&)> second) {
  Story story{key, "a test", [](Stage& s) { s.state = std::make_shared<Shared>(); }, {}};
  story.racers = [first, second](Stage& s) {
    Shared& shared = *static_cast<Shared*>(s.state.get());
    return std::vector<Racer>{{0, "first", [first, &shared] { first(shared); }},
                              {1, "second", [second, &shared] { second(shared); }}};
  };
  add_story(std::move(story));
}

struct Result {
  SearchResult all;
  const Found* found = nullptr;
  Outcome replayed;
};

/// All schedules with one departure; the finding of the class, which the natural order must not have.
Result explore_for(const char* story, const std::string& kind, unsigned depth = 1) {
  Token token;
  token.strategy = "stock";
  token.settings = find_story(story).settings;
  token.settings.push_back(std::string("explore.story=") + story);
  Runner runner(load(token));
  SearchOptions options;
  options.method = Method::kPreempt;
  options.depth = depth;
  options.budget = 200;
  Result r;
  r.all = search(runner, options, {});
  for (const auto& [key, found] : r.all.found) {
    if (found.finding.kind == kind && r.found == nullptr) r.found = &found;
  }
  if (r.found == nullptr) return r;
  EXPECT_FALSE(r.found->natural);
  const Schedule shortest = shrink(runner, r.found->schedule, r.found->finding.key(), 100);
  EXPECT_EQ(shortest.size(), depth);
  r.replayed = runner.run(shortest);
  EXPECT_TRUE(r.replayed.has(kind));
  return r;
}

void expect_contains(const std::string& text, const char* part) {
  EXPECT_NE(text.find(part), std::string::npos) << "'" << part << "' is not in '" << text << "'";
}

TEST(Stuck, SpinLocksTakenInBothOrdersAreADeadlock) {
  add(
      "deadlock",
      [](Shared& s) {
        KFUNC("first_takes_both");
        s.a.lock(), s.b.lock(), s.b.unlock(), s.a.unlock();
      },
      [](Shared& s) {
        KFUNC("second_takes_both");
        s.b.lock(), s.a.lock(), s.a.unlock(), s.b.unlock();
      });
  Token token;
  token.strategy = "stock";
  token.settings = find_story("deadlock").settings;
  token.settings.push_back("explore.story=deadlock");
  Runner runner(load(token));
  SearchOptions options;
  options.method = Method::kPreempt;
  options.depth = 1;
  options.budget = 200;
  const SearchResult r = search(runner, options, {});
  const Found* deadlock = nullptr;
  bool order = false;
  for (const auto& [key, found] : r.found) {
    if (found.finding.kind == "deadlock") deadlock = &found;
    order |= found.finding.kind == "lock_order" && found.natural;
  }
  ASSERT_NE(deadlock, nullptr);
  EXPECT_FALSE(deadlock->natural);
  const FoundFinding& f = deadlock->finding;
  EXPECT_NE(f.place, "");
  expect_contains(f.whom, "who waits for");
  expect_contains(f.place + f.whom, "first_takes_both");
  expect_contains(f.place + f.whom, "second_takes_both");
  expect_contains(f.whom, "lock_a");
  expect_contains(f.whom, "lock_b");
  // The order alone is told without anybody having to meet anybody.
  EXPECT_TRUE(order);
}

// The model's own process dies: still both sides are told, by the handler of the crash.
TEST(Stuck, ACrashOfTheModelNamesWhatTheOtherCoreWasIn) {
  if (sanitizers::kAddress) GTEST_SKIP() << "it reports a crash itself";
  add(
      "crash",
      [](Shared& s) {
        KFUNC("first_is_held_here");
        kernel::this_cpu().store(s.flag_line);
        s.other = true;
        kernel::this_cpu().store(s.flag_line);
        s.flag = true;
        kernel::this_cpu().store(s.other_line);
      },
      [](Shared& s) {
        KFUNC("second_crashes");
        kernel::this_cpu().load(s.flag_line);
        if (s.other && !s.flag) __builtin_trap();
      });
  const Result r = explore_for("crash", "use_after_free");
  ASSERT_NE(r.found, nullptr);
  const FoundFinding& f = r.replayed.findings.back();
  EXPECT_EQ(f.who, "the code itself");
  expect_contains(f.place, "second_crashes");
  expect_contains(f.whom, "first_is_held_here");
  expect_contains(f.whom, "cycles");
  EXPECT_NE(r.replayed.signal, 0);
}

TEST(Stuck, MutexesTakenInBothOrdersAreADeadlock) {
  add(
      "mutexes", [](Shared& s) { s.m.lock(), s.n.lock(), s.n.unlock(), s.m.unlock(); },
      [](Shared& s) { s.n.lock(), s.m.lock(), s.m.unlock(), s.n.unlock(); });
  const Result r = explore_for("mutexes", "deadlock");
  ASSERT_NE(r.found, nullptr);
  expect_contains(r.found->finding.whom, "mutex_m");
  expect_contains(r.found->finding.whom, "mutex_n");
  expect_contains(r.found->finding.whom, "second");
}

TEST(Stuck, LocksTakenInBothOrdersInSomeScheduleAreALockOrderFinding) {
  add(
      "order",
      [](Shared& s) {
        kernel::this_cpu().store(s.flag_line);
        s.flag = true;
        s.a.lock(), s.b.lock(), s.b.unlock(), s.a.unlock();
      },
      [](Shared& s) {
        kernel::this_cpu().load(s.flag_line);
        kernel::SpinLock &outer = s.flag ? s.a : s.b, &inner = s.flag ? s.b : s.a;
        outer.lock(), inner.lock(), inner.unlock(), outer.unlock();
      });
  const Result r = explore_for("order", "lock_order");
  ASSERT_NE(r.found, nullptr);
  expect_contains(r.found->finding.place + r.found->finding.detail, "lock_a");
}

TEST(Stuck, CheckingBeforeOneIsListedIsALostWakeup) {
  add(
      "lost",
      [](Shared& s) {
        KFUNC("waits_for_flag");
        kernel::this_cpu().load(s.flag_line);
        if (s.flag) return;
        kernel::this_cpu().store(s.other_line);
        s.sleeper = &kernel::this_cpu().current();
        kernel::this_core().prepare_to_wait();
        kernel::this_core().schedule();
      },
      [](Shared& s) {
        kernel::this_cpu().store(s.flag_line);
        s.flag = true;
        kernel::this_cpu().load(s.other_line);
        if (s.sleeper != nullptr) kernel::this_cpu().kernel().wake_up_process(*s.sleeper);
      });
  const Result r = explore_for("lost", "lost_wakeup");
  ASSERT_NE(r.found, nullptr);
  EXPECT_EQ(r.found->finding.place, "waits_for_flag");
  expect_contains(r.found->finding.whom, "second on core 1 has ended");
}

/// The second waits for something that the first only does if the second has not begun.
void start_unless_begun(Shared& s) {
  kernel::this_cpu().load(s.flag_line);
  if (s.flag) return;
  kernel::this_cpu().store(s.other_line);
  s.other = true;
}

TEST(Stuck, SpinningForWhatNeverComesIsALivelock) {
  add("spins", start_unless_begun, [](Shared& s) {
    KFUNC("spins_for_other");
    kernel::this_cpu().store(s.flag_line);
    s.flag = true;
    for (;;) {
      kernel::this_cpu().load(s.other_line);
      if (s.other) break;
      kernel::this_cpu().relax();
    }
  });
  const Result r = explore_for("spins", "livelock");
  ASSERT_NE(r.found, nullptr);
  EXPECT_EQ(r.found->finding.place, "spins_for_other");
  expect_contains(r.found->finding.whom, "first on core 0 has ended");
  // The bound, and not the end of patience, ended the run.
  EXPECT_LT(r.replayed.wakeups, 10 * ExploreConfig{}.futile_steps);
}

TEST(Stuck, PollingForWhatNeverComesIsALivelock) {
  add("polls", start_unless_begun, [](Shared& s) {
    KFUNC("polls_for_other");
    kernel::this_cpu().store(s.flag_line);
    s.flag = true;
    for (;;) {
      kernel::this_cpu().load(s.other_line);
      if (s.other) break;
      kernel::usleep(2000);
    }
  });
  const Result r = explore_for("polls", "livelock");
  ASSERT_NE(r.found, nullptr);
  expect_contains(r.found->finding.place, "polls_for_other");
}

TEST(Stuck, AListThatGrewUnderBottomHalvesOffIsBhOff) {
  add(
      "bh",
      [](Shared& s) {
        KFUNC("walks_list");
        kernel::local_bh_disable();
        kernel::this_cpu().load(s.flag_line);
        for (unsigned i = 0; i < s.entries; ++i) kernel::work(10'000);
        kernel::local_bh_enable();
      },
      [](Shared& s) {
        kernel::this_cpu().store(s.flag_line);
        s.entries = 1000;
      });
  const Result r = explore_for("bh", "bh_off");
  ASSERT_NE(r.found, nullptr);
  EXPECT_EQ(r.found->finding.place, "walks_list");
  expect_contains(r.found->finding.detail, "bottom halves off for 4");  // 10 million cycles of 2.5 GHz
}

}  // namespace
