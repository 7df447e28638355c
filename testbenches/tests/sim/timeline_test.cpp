// SPDX-License-Identifier: Apache-2.0
#include "sim/timeline.h"

#include <gtest/gtest.h>

#include <set>

#include "sim/error.h"
#include "sim/fiber.h"
#include "sim/simulation.h"

namespace {

using sim::Clock;
using sim::Cycle;
using sim::Tick;
using sim::Wakeup;

TEST(Clock, RationalPeriodNeverDrifts) {
  const Clock ddr5 = Clock(5 * sim::kNanosecond, 12);
  EXPECT_EQ(ddr5.edge(12), 5 * sim::kNanosecond);
  EXPECT_EQ(ddr5.edge(12'000'000), 5 * sim::kMillisecond);
  for (Cycle n : {0ull, 1ull, 7ull, 11ull, 123'457ull, 2'400'000'000'123ull}) {
    const Tick t = ddr5.edge(n);
    EXPECT_EQ(ddr5.at_or_after(t), n);
    EXPECT_EQ(ddr5.at_or_before(t), n);
    EXPECT_EQ(ddr5.after(t), n + 1);
    EXPECT_EQ(ddr5.at_or_after(t + 1), n + 1);
  }
}

// The library divides by a product with the inverse.
TEST(Clock, EdgesAreThoseOfADivision) {
  sim::RandomStream random(1, 0, "clock");
  for (const std::uint64_t period :
       {1ull, 3ull, 833'333ull, 1'000'000ull, 4'000'001ull, 1'000'000'000'000'000ull, (1ull << 63) + 5}) {
    const Clock clock(period);
    std::vector<Tick> times{0, 1, sim::kNever - 1, sim::kNever, sim::kNever / period * period};
    for (int i = 0; i < 2'000; ++i) {
      const Tick near_edge = random.next() / period * period;
      times.insert(times.end(), {near_edge, near_edge - 1, near_edge + 1, random.next() >> (i % 64)});
    }
    for (const Tick t : times) {
      ASSERT_EQ(clock.at_or_before(t), t / period) << t << " of " << period;
      ASSERT_EQ(clock.at_or_after(t), t / period + (t % period != 0 ? 1 : 0)) << t << " of " << period;
    }
  }
}

TEST(Clock, FromHertzReduces) {
  EXPECT_EQ(Clock::from_hz(2'500'000'000).edge(5), 2 * sim::kNanosecond);
  EXPECT_EQ(Clock::from_hz(1'200'000'000).edge(6), 5 * sim::kNanosecond);
}

struct Logger : sim::Sleeper {
  Logger(sim::Timeline& t, std::vector<std::pair<Tick, int>>& log, int id) : Sleeper(t), log(log), id(id) {}
  void wake(Tick now) override { log.emplace_back(now, id); }
  void at(Tick t) { sleep_until(t); }
  std::vector<std::pair<Tick, int>>& log;
  int id;
};

TEST(Timeline, OrderIsTimeThenRankWhoeverAskedFirst) {
  sim::Simulation s;
  std::vector<std::pair<Tick, int>> log;
  std::vector<std::unique_ptr<Logger>> l;
  for (int i = 0; i < 40; ++i) l.push_back(std::make_unique<Logger>(s.timeline(), log, i));
  for (int i = 39; i >= 0; --i) l[i]->at(100 + (i % 3));
  s.timeline().run_until(1'000'000);
  ASSERT_EQ(log.size(), 40u);
  EXPECT_TRUE(std::is_sorted(log.begin(), log.end()));
  EXPECT_EQ(s.now(), 1'000'000u);
}

/// Two simulations in one SystemC: the second is asked for a wake-up that SystemC has already passed.
TEST(Timeline, AWakeUpThatSystemCHasPassedCallsWithoutDelay) {
  sim::Simulation first("first"), second("second");
  struct Caller : sim::Sleeper {
    explicit Caller(sim::Timeline& t) : Sleeper(t), timeline(t) {}
    void wake(Tick now) override {
      delay = timeline.outgoing_delay();
      later = timeline.delay_until(now + 1);
      arrives = timeline.incoming(delay);
    }
    void at(Tick t) { sleep_until(t); }
    sim::Timeline& timeline;
    sc_core::sc_time delay{1, sc_core::SC_SEC}, later{1, sc_core::SC_SEC};
    Tick arrives = 0;
  } caller(second.timeline());
  first.timeline().run_until(sim::kMicrosecond);
  caller.at(5 * sim::kNanosecond);
  second.timeline().run_until(2 * sim::kMicrosecond);
  EXPECT_EQ(caller.delay, sc_core::SC_ZERO_TIME);
  EXPECT_EQ(caller.later, sc_core::SC_ZERO_TIME);
  EXPECT_EQ(caller.arrives, sim::kMicrosecond);
}

/// Passes a token to a peer after `work` cycles.
struct Relay : sim::Clocked {
  Relay(sim::Simulation& s, Clock c, unsigned work) : Clocked(s.timeline(), c), s(s), work(work) {}
  void receive(Tick t) { due = poke(t) + work; has = true; }
  Wakeup tick(Cycle now) override {
    if (!has) return Wakeup::never();
    if (now < due) return Wakeup::at(due);
    has = false;
    s.note(1, ++hops);
    peer->receive(s.now());
    return Wakeup::never();
  }
  sim::Simulation& s;
  unsigned work;
  Relay* peer = nullptr;
  Cycle due = 0;
  bool has = false;
  std::uint64_t hops = 0;
};


TEST(Timeline, SleepingEveryCycleAndStepByStepAgree) {
  std::uint64_t hops[3];
  // One process may elaborate once: the three machines are built before the first runs.
  sim::Simulation s0("skip", {1, 0, {}}), s1("every", {1, 0, {true, true}}), s2("step", {1, 0, {false, false}});
  sim::Simulation* sims[] = {&s0, &s1, &s2};
  std::vector<std::unique_ptr<Relay>> r;
  for (auto* s : sims) {
    r.push_back(std::make_unique<Relay>(*s, Clock(833'333'333, 1000), 3));
    r.push_back(std::make_unique<Relay>(*s, Clock::from_hz(1'000'000'000), 5));
    auto *a = r[r.size() - 2].get(), *b = r.back().get();
    a->peer = b;
    b->peer = a;
    a->receive(0);
  }
  for (int i = 0; i < 3; ++i) sims[i]->timeline().run_until((i + 1) * 100 * sim::kMicrosecond);
  s0.timeline().run_until(300 * sim::kMicrosecond);
  s1.timeline().run_until(300 * sim::kMicrosecond);
  for (int i = 0; i < 3; ++i) hops[i] = r[2 * i]->hops + r[2 * i + 1]->hops;
  EXPECT_GT(hops[0], 1000u);
  EXPECT_EQ(hops[0], hops[1]);
  EXPECT_EQ(hops[0], hops[2]);
  EXPECT_EQ(s0.digest().hex(), s1.digest().hex());
  EXPECT_EQ(s0.digest().hex(), s2.digest().hex());
}

/// An ordinary SystemC process beside the machine: looks at it every 10 ns and sometimes calls into it.
struct Observer : sc_core::sc_module {
  SC_HAS_PROCESS(Observer);
  Observer(sc_core::sc_module_name name, sim::Simulation& s, Relay& relay, Tick from, Tick until)
      : sc_module(name), s(s), relay(relay), from(from), until(until) {
    SC_METHOD(look);
    dont_initialize();
    sensitive << event;
  }
  void look() {
    const Tick now = sim::Timeline::to_ticks(sc_core::sc_time_stamp());
    seen.push_back({now - from, relay.hops, relay.peer->hops});
    if (seen.size() % 7 == 0 && !relay.has) {
      relay.receive(s.timeline().incoming(sc_core::sc_time(3, sc_core::SC_NS)));
    }
    if (now + 10 * sim::kNanosecond <= until) event.notify(10, sc_core::SC_NS);
  }
  sim::Simulation& s;
  Relay& relay;
  Tick from, until;
  sc_core::sc_event event;
  std::vector<std::array<std::uint64_t, 3>> seen;
};

TEST(Timeline, AnOutsideProcessCannotTellRunAheadFromSteps) {
  sim::Simulation ahead("ahead"), steps("steps", {1, 0, {false, false}});
  const Tick us = sim::kMicrosecond;
  std::vector<std::unique_ptr<Relay>> r;
  for (auto* s : {&ahead, &steps}) {
    r.push_back(std::make_unique<Relay>(*s, Clock(833'000, 1), 3));
    r.push_back(std::make_unique<Relay>(*s, Clock(1'000'000, 1), 500));
    r[r.size() - 2]->peer = r.back().get();
    r.back()->peer = r[r.size() - 2].get();
  }
  // The second machine starts a whole number of both periods later, when the first is at rest.
  const Tick later = 833 * us;
  Observer o0("o0", ahead, *r[0], 0, 49 * us), o1("o1", steps, *r[2], later, later + 49 * us);
  r[0]->receive(0);
  o0.event.notify(10, sc_core::SC_NS);
  ahead.timeline().run_until(50 * us);
  r[0]->peer = r[1]->peer = nullptr;
  r[0]->has = r[1]->has = false;
  ahead.timeline().run_until(later);
  r[2]->receive(later);
  o1.event.notify(10, sc_core::SC_NS);
  steps.timeline().run_until(later + 50 * us);
  ASSERT_EQ(o0.seen.size(), 4900u);
  EXPECT_GT(r[0]->hops, 50u);
  EXPECT_EQ(o0.seen, o1.seen);
}

/// Wakes, and moves the wake-ups of others about; what is pending is mirrored in a std::set.
struct Mover : sim::Sleeper {
  struct World {
    std::set<std::pair<Tick, std::uint32_t>> pending;
    std::vector<Mover*> all;
    std::uint64_t state = 1;
    unsigned woken = 0, wrong = 0;
    std::uint64_t random() {  // xorshift
      state ^= state << 13, state ^= state >> 7;
      return state ^= state << 17;
    }
  };
  Mover(sim::Timeline& t, World& w) : Sleeper(t), world(w), id(static_cast<std::uint32_t>(w.all.size())) {
    w.all.push_back(this);
  }
  void move(Tick t) {
    if (pending() != sim::kNever) world.pending.erase({pending(), id});
    if (t != sim::kNever) world.pending.insert({t, id});
    sleep_until(t);
  }
  void wake(Tick now) override {
    ++world.woken;
    if (world.pending.empty() || *world.pending.begin() != std::pair(now, id)) ++world.wrong;
    world.pending.erase({now, id});
    for (auto moves = world.random() % 4; moves > 0; --moves) {
      const std::uint64_t r = world.random();
      world.all[r % world.all.size()]->move(r % 11 == 0 ? sim::kNever : now + 1 + r / 1000 % 50);
    }
    if (world.pending.empty()) move(now + 1);
  }
  World& world;
  std::uint32_t id;
};

class TimelineOrder : public testing::TestWithParam<unsigned> {};

TEST_P(TimelineOrder, HoldsWhileWakeUpsMoveTheWakeUpsOfOthers) {
  sim::Simulation s;
  Mover::World world;
  std::vector<std::unique_ptr<Mover>> movers;
  for (unsigned i = 0; i < GetParam(); ++i) movers.push_back(std::make_unique<Mover>(s.timeline(), world));
  for (auto& m : movers) m->move(1 + world.random() % 40);
  s.timeline().run_until(20'000);
  EXPECT_GT(world.woken, 1000u);
  EXPECT_EQ(world.wrong, 0u);
}

INSTANTIATE_TEST_SUITE_P(Sleepers, TimelineOrder, testing::Values(1, 9, 64, 700));

TEST(Timeline, RunsAheadWithoutLookingWhenNobodyElseIsThere) {
  sim::Simulation s;
  s.timeline().run_until(1);
  EXPECT_FALSE(s.timeline().has_company());
}

TEST(Timeline, KnowsOfAnOutsideProcess) {
  sim::Simulation s;
  Relay relay(s, Clock(1'000'000, 1), 3);
  Observer observer("o", s, relay, 0, 0);
  s.timeline().run_until(1);
  EXPECT_TRUE(s.timeline().has_company());
}

TEST(Timeline, ExceptionComesOutOfTheRunAsItWasThrown) {
  sim::Simulation s;
  struct Thrower : sim::Sleeper {
    explicit Thrower(sim::Timeline& t) : Sleeper(t) { sleep_until(10); }
    void wake(Tick) override { throw sim::Error("a.yaml", 3, "no such thing"); }
  } thrower(s.timeline());
  try {
    s.timeline().run_until(100);
    FAIL();
  } catch (const sim::Error& e) {
    EXPECT_STREQ(e.what(), "a.yaml:3: no such thing");
  }
  EXPECT_EQ(s.timeline().run_until(200), 200u);
}

TEST(Fiber, SuspendsAndEnds) {
  std::vector<int> log;
  sim::Fiber* self = nullptr;
  sim::Fiber f("f", [&] {
    log.push_back(1);
    self->suspend();
    log.push_back(2);
  });
  self = &f;
  f.resume();
  log.push_back(10);
  EXPECT_FALSE(f.done());
  f.resume();
  EXPECT_TRUE(f.done());
  EXPECT_EQ(log, (std::vector<int>{1, 10, 2}));
}

TEST(Fiber, ExceptionReachesTheResumer) {
  sim::Fiber f("f", [] { throw std::runtime_error("x"); });
  EXPECT_THROW(f.resume(), std::runtime_error);
  EXPECT_TRUE(f.done());
}

TEST(Random, StreamsAreIndependentAndRepeatable) {
  sim::RandomStream a(1, 2, "wire"), b(1, 2, "wire"), c(1, 2, "iotlb");
  const auto first = a.next();
  EXPECT_EQ(first, b.next());
  EXPECT_NE(first, c.next());
  for (int i = 0; i < 1000; ++i) EXPECT_LT(a.below(7), 7u);
}

TEST(Payload, PoolReuses) {
  sim::PayloadPool pool;
  auto* t = pool.acquire(tlm::TLM_WRITE_COMMAND, 0x1000, 1500);
  EXPECT_EQ(t->bytes().size(), 1500u);
  t->tag.requester = sim::RequesterId(0x180);
  EXPECT_EQ(sim::tag_of(*t).requester.value, 0x180u);
  t->release();
  EXPECT_EQ(pool.outstanding(), 0u);
  auto* u = pool.acquire(tlm::TLM_READ_COMMAND, 0, 8);
  EXPECT_EQ(u, t);
  EXPECT_EQ(sim::tag_of(*u).requester.value, 0u);
  u->release();
}

}  // namespace
