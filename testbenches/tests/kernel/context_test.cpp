// SPDX-License-Identifier: Apache-2.0
// Contexts: nesting, interruption of work, scheduling, softirq and ksoftirqd, MMIO; and that all three modes
// of keeping time agree.
#include "harness.h"

namespace {

using namespace kernel;
using testing_kernel::Bus;
using testing_kernel::in_child;
using testing_kernel::Machine;

/// Raises interrupts at given times, as a device would.
struct Hardware : sim::Sleeper {
  Hardware(Machine& m, unsigned cpu, unsigned vector)
      : Sleeper(m.s.timeline()), m(m), cpu(cpu), vector(vector) {}
  void at(sim::Tick t) {
    times.push_back(t);
    std::sort(times.begin(), times.end());
    sleep_until(times.front());
  }
  void wake(sim::Tick now) override {
    times.erase(times.begin());
    m.k.interrupts().raise(cpu, vector, now);
    if (!times.empty()) sleep_until(times.front());
  }
  Machine& m;
  unsigned cpu, vector;
  std::vector<sim::Tick> times;
};

TEST(Context, AnInterruptCutsLongWorkAtItsOwnTimeAndTheRestFollows) {
  Machine m;
  Hardware hw(m, 0, 5);
  sim::Tick handled = 0, begun = 0, done = 0;
  m.k.interrupts().request_irq(0, 5, "dev", [&] {
    EXPECT_TRUE(this_cpu().in_hardirq());
    EXPECT_TRUE(this_cpu().in_interrupt());
    EXPECT_STREQ(this_cpu().current().name().c_str(), "worker");
    handled = this_cpu().now();
    work(1000);
  });
  m.k.spawn(0, "worker", [&] {
    this_cpu().sync();
    begun = this_cpu().now();
    work(2'500'000);  // 1 ms
    this_cpu().sync();
    done = this_cpu().now();
  });
  hw.at(300 * sim::kMicrosecond);
  m.run(0.01);
  const auto& costs = m.k.config().costs;
  const sim::Clock& clock = m.k.config().clock;
  EXPECT_EQ(handled, clock.edge(clock.after(300 * sim::kMicrosecond) + costs.irq_entry));
  EXPECT_EQ(done - begun, clock.edge(2'500'000 + costs.irq_entry + 1000 + costs.irq_exit));
}

TEST(Context, SoftirqRunsWhenTheHardIrqReturnsAndIsInterruptible) {
  Machine m;
  Hardware a(m, 0, 5), b(m, 0, 6);
  std::vector<std::string> order;
  m.k.open_softirq(Softirq::kNetRx, [&] {
    order.push_back("softirq");
    EXPECT_TRUE(this_cpu().in_serving_softirq());
    EXPECT_FALSE(this_cpu().in_hardirq());
    work(250'000);
    this_cpu().sync();
    order.push_back("softirq end");
  });
  m.k.interrupts().request_irq(0, 5, "rx", [&] {
    order.push_back("irq");
    raise_softirq(Softirq::kNetRx);
  });
  m.k.interrupts().request_irq(0, 6, "other", [&] {
    order.push_back("nested irq");
    EXPECT_TRUE(this_cpu().in_serving_softirq());
  });
  a.at(10 * sim::kMicrosecond);
  b.at(40 * sim::kMicrosecond);
  m.run(0.01);
  EXPECT_EQ(order, (std::vector<std::string>{"irq", "softirq", "nested irq", "softirq end"}));
}

TEST(Context, BottomHalvesWaitForLocalBhEnable) {
  Machine m;
  Hardware hw(m, 0, 5);
  sim::Tick ran = 0, enabled = 0;
  std::vector<BhSection> sections;
  m.k.trace().bh_section.subscribe([&](const BhSection& e) { sections.push_back(e); });
  m.k.open_softirq(Softirq::kNetRx, [&] { ran = this_cpu().now(); });
  m.k.interrupts().request_irq(0, 5, "rx", [] { raise_softirq(Softirq::kNetRx); });
  m.k.spawn(0, "task", [&] {
    KFUNC("long_section");
    local_bh_disable();
    EXPECT_TRUE(this_cpu().in_softirq());
    work(500'000);
    enabled = this_cpu().now();
    local_bh_enable();
    EXPECT_FALSE(this_cpu().in_softirq());
  });
  hw.at(50 * sim::kMicrosecond);
  m.run(0.01);
  EXPECT_GT(ran, enabled);
  ASSERT_EQ(sections.size(), 1u);
  EXPECT_STREQ(sections[0].function, "long_section");
  EXPECT_GE(sections[0].end - sections[0].begin, 200 * sim::kMicrosecond);
}

TEST(Context, InterruptsWaitWhileDisabledAndMergeIntoOne) {
  Machine m;
  Hardware hw(m, 0, 5);
  unsigned count = 0;
  m.k.interrupts().request_irq(0, 5, "dev", [&] { ++count; });
  m.k.spawn(0, "task", [&] {
    this_cpu().local_irq_disable();
    work(1'000'000);
    this_cpu().sync();
    EXPECT_EQ(count, 0u);
    this_cpu().local_irq_enable();
    EXPECT_EQ(count, 1u);
  });
  hw.at(50 * sim::kMicrosecond);
  hw.at(60 * sim::kMicrosecond);
  m.run(0.01);
  EXPECT_EQ(count, 1u);
}

TEST(Context, AFloodOfSoftirqsMovesToKsoftirqd) {
  Machine m;
  unsigned runs = 0;
  std::string last;
  m.k.open_softirq(Softirq::kNetRx, [&] {
    last = this_cpu().current().name();
    work(5000);
    if (++runs < 40) raise_softirq(Softirq::kNetRx);
  });
  m.k.spawn(0, "task", [&] {
    local_bh_disable();
    raise_softirq(Softirq::kNetRx);
    local_bh_enable();
    EXPECT_EQ(runs, m.k.config().softirq_max_restart);
    kernel::usleep(1000);
  });
  m.run(0.1);
  EXPECT_EQ(runs, 40u);
  EXPECT_EQ(last, "ksoftirqd/0");
}

TEST(Context, TasksOfACoreTakeTurnsOnlyWhereTheyYield) {
  Machine m;
  std::string order;
  for (char name : {'a', 'b'}) {
    m.k.spawn(0, std::string(1, name), [&order, name] {
      for (int i = 0; i < 3; ++i) {
        order += name;
        work(100'000);
        this_cpu().cond_resched();
      }
    });
  }
  m.run(1);
  EXPECT_EQ(order, "ababab");
}

/// Always takes the last alternative, and counts what it was asked.
struct LastAlternative : sim::Oracle {
  std::uint32_t choose(std::uint32_t n, const sim::ChoicePoint& point) override {
    ++asked[point.place];
    return n - 1;
  }
  std::map<std::string, unsigned> asked;
};

TEST(Context, TheOracleDecidesWhoGoesFirst) {
  LastAlternative oracle;
  Machine m;
  m.s.set_oracle(oracle);
  std::string order;
  SpinLock lock("l");
  CacheLine line;
  for (char name : {'a', 'b', 'c'}) {
    m.k.spawn(0, std::string(1, name), [&, name] {
      lock.lock();
      order += name;
      lock.unlock();
      this_cpu().atomic(line);
    });
  }
  m.k.spawn(1, "other", [&] {
    kernel::usleep(500);
    lock.lock();
    lock.unlock();
    this_cpu().atomic(line);
  });
  m.run(0.01);
  EXPECT_EQ(order, "cba");
  EXPECT_GT(oracle.asked["schedule"], 0u);
}

TEST(Context, MmioLoadsStallTheCoreAndStoresDoNot) {
  Machine m;
  m.bus.regs[Bus::kDevice] = 0x1234'5678;
  sim::Tick write_cost = 0, read_cost = 0;
  m.k.spawn(0, "task", [&] {
    this_cpu().sync();
    sim::Tick t = this_cpu().now();
    m.port.write32(sim::PhysAddr(Bus::kDevice + 8), 77);
    write_cost = this_cpu().now() - t;
    t = this_cpu().now();
    EXPECT_EQ(m.port.read32(sim::PhysAddr(Bus::kDevice)), 0x1234'5678u);
    read_cost = this_cpu().now() - t;
    EXPECT_EQ(m.port.read32(sim::PhysAddr(Bus::kDevice + 8)), 77u);  // order is kept
  });
  m.run(0.01);
  EXPECT_EQ(write_cost, m.k.config().clock.edge(m.k.config().costs.mmio_write_issue));
  EXPECT_GE(read_cost, 200 * sim::kNanosecond);
  EXPECT_LE(read_cost, 250 * sim::kNanosecond);
}

TEST(Context, AFullBusHoldsTheCoreUntilItTakesRequestsAgain) {
  Machine m;
  m.k.spawn(0, "task", [&] {
    for (unsigned i = 0; i < 40; ++i) m.port.write32(sim::PhysAddr(Bus::kDevice + 8 * i), i);
    for (unsigned i = 0; i < 40; ++i) EXPECT_EQ(m.port.read32(sim::PhysAddr(Bus::kDevice + 8 * i)), i);
  });
  m.run(0.01);
  EXPECT_EQ(m.port.writes(), 40u);
  EXPECT_EQ(m.port.reads(), 40u);
  EXPECT_EQ(m.s.payloads().outstanding(), 0u);
}

TEST(Context, CallChainIsInnermostFirstAndCrossesInterrupts) {
  Machine m;
  Hardware hw(m, 0, 5);
  std::vector<std::string> chain;
  m.k.interrupts().request_irq(0, 5, "dev", [&] {
    KFUNC("handler");
    for (const char* f : this_cpu().call_chain()) chain.emplace_back(f);
  });
  m.k.spawn(0, "task", [&] {
    KFUNC("outer");
    KFUNC("inner");
    work(1'000'000);
    this_cpu().sync();
  });
  hw.at(100 * sim::kMicrosecond);
  m.run(0.01);
  EXPECT_EQ(chain, (std::vector<std::string>{"handler", "inner", "outer"}));
}

TEST(Context, SchedulingWhileAtomicIsAnOopsThatKillsTheTask) {
  Machine m;
  bool after = false;
  Task& task = m.k.spawn(0, "bad", [&] {
    rcu_read_lock();
    msleep(1);
    after = true;
  });
  bool other = false;
  m.k.spawn(0, "good", [&] {
    msleep(5);
    other = true;
  });
  m.run(0.1);
  EXPECT_FALSE(after);
  EXPECT_TRUE(task.oopsed());
  ASSERT_EQ(m.k.oopses().size(), 1u);
  EXPECT_FALSE(m.k.oopses()[0].fatal);
  EXPECT_EQ(m.k.oopses()[0].symbol, "schedule");
  EXPECT_TRUE(other);
  EXPECT_EQ(m.k.tainted(), "D");
}

TEST(Context, AnOopsInAnInterruptStopsAllCores) {
  Machine m;
  Hardware hw(m, 0, 5);
  m.k.interrupts().request_irq(0, 5, "dev", [&] { m.k.null_dereference("broken_handler", 0x10); });
  bool later = false;
  m.k.spawn(1, "other", [&] {
    msleep(50);
    later = true;
  });
  hw.at(100 * sim::kMicrosecond);
  m.run(1);
  ASSERT_EQ(m.k.oopses().size(), 1u);
  EXPECT_TRUE(m.k.oopses()[0].fatal);
  EXPECT_TRUE(m.k.panicked());
  EXPECT_FALSE(later);
}

/// A mix of everything, on two cores with a device that interrupts.
std::string digest_of(sim::TimeMode mode) {
  sim::SimulationConfig time;
  time.time = mode;
  Machine m({}, time);
  Hardware hw(m, 0, 5), hw1(m, 1, 7);
  SpinLock lock("shared");
  CacheLine line;
  m.k.open_softirq(Softirq::kNetRx, [&] {
    lock.lock();
    work(700);
    lock.unlock();
    m.s.note(1, this_cpu().now_cycles());
  });
  auto handler = [&] {
    this_cpu().atomic(line);
    raise_softirq(Softirq::kNetRx);
  };
  m.k.interrupts().request_irq(0, 5, "a", handler);
  m.k.interrupts().request_irq(1, 7, "b", handler);
  for (unsigned i = 0; i < 60; ++i) {
    hw.at((3 + 7 * i) * sim::kMicrosecond / 2);
    hw1.at((5 + 7 * i) * sim::kMicrosecond / 2);
  }
  for (unsigned cpu = 0; cpu < 2; ++cpu) {
    m.k.spawn(cpu, "t", [&, cpu] {
      for (unsigned i = 0; i < 30; ++i) {
        lock.lock_bh();
        work(300 + 100 * cpu);
        lock.unlock_bh();
        this_cpu().atomic(line);
        if (i % 5 == 0) m.port.read32(sim::PhysAddr(Bus::kDevice));
        m.s.note(2, this_cpu().now_cycles(), cpu);
        kernel::usleep(3);
      }
    });
  }
  m.run(0.0003);
  EXPECT_EQ(m.k.oopses().size(), 0u);
  return m.s.digest().hex();
}

TEST(ContextModes, SleepingEveryCycleAndSingleStepsAgree) {
  const std::string sleeping = in_child([] { return digest_of({}); });
  EXPECT_EQ(sleeping.size(), 32u);
  EXPECT_EQ(in_child([] { return digest_of({.every_cycle = true, .run_ahead = true}); }), sleeping);
  EXPECT_EQ(in_child([] { return digest_of({.every_cycle = false, .run_ahead = false}); }), sleeping);
}

}  // namespace
