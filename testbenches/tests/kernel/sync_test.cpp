// SPDX-License-Identifier: Apache-2.0
// Locks, wait queues, RCU, timers, work.
#include "harness.h"

namespace {

using namespace kernel;
using testing_kernel::Machine;

constexpr std::uint64_t kMs = sim::kMillisecond;

TEST(SpinLock, CoresSpinAndTheLockIsHandedOverInOrder) {
  KernelConfig config;
  config.cores = 3;
  Machine m(config);
  SpinLock lock("l");
  std::vector<unsigned> order;
  std::vector<Spin> spins;
  m.k.trace().spin.subscribe([&](const Spin& e) { spins.push_back(e); });
  bool inside = false;
  for (unsigned cpu = 0; cpu < 3; ++cpu) {
    m.k.spawn(cpu, "t", [&, cpu] {
      sleep_until_tick((100 + cpu) * sim::kMicrosecond);  // 0, 1, 2 ask in this order
      lock.lock();
      EXPECT_FALSE(inside);
      inside = true;
      order.push_back(cpu);
      work(25'000);  // 10 us
      this_cpu().sync();
      inside = false;
      lock.unlock();
    });
  }
  m.run(0.01);
  EXPECT_EQ(order, (std::vector<unsigned>{0, 1, 2}));
  ASSERT_EQ(spins.size(), 2u);
  EXPECT_EQ(spins[0].cpu, 1u);
  EXPECT_EQ(spins[0].holder, 0u);
  EXPECT_NEAR(static_cast<double>(spins[0].end - spins[0].begin), 9e9, 0.2e9);
  EXPECT_NEAR(static_cast<double>(spins[1].end - spins[1].begin), 18e9, 0.4e9);
  EXPECT_EQ(lock.contended(), 2u);
}

TEST(SpinLock, UncontendedPairCostsWhatIsPublished) {
  Machine m;
  SpinLock lock;
  m.k.spawn(0, "t", [&] {
    lock.lock();
    lock.unlock();
    const Cycle before = this_cpu().now_cycles();
    for (int i = 0; i < 100; ++i) {
      lock.lock();
      lock.unlock();
    }
    EXPECT_EQ(this_cpu().now_cycles() - before,
              100 * (m.k.config().costs.spin_lock + m.k.config().costs.spin_unlock));
  });
  m.run(0.01);
}

TEST(SpinLock, ACacheLineThatMovesBetweenCoresCostsMore) {
  Machine m;
  SpinLock lock;
  Cycle alone = 0, bounced = 0;
  m.k.spawn(0, "a", [&] {
    lock.lock();
    lock.unlock();
    Cycle t = this_cpu().now_cycles();
    lock.lock();
    alone = this_cpu().now_cycles() - t;
    lock.unlock();
    kernel::usleep(100);
    t = this_cpu().now_cycles();
    lock.lock();
    bounced = this_cpu().now_cycles() - t;
    lock.unlock();
  });
  m.k.spawn(1, "b", [&] {
    kernel::usleep(50);
    lock.lock();
    lock.unlock();
  });
  m.run(0.01);
  EXPECT_EQ(bounced, alone + m.k.config().costs.remote_core - m.k.config().costs.l1_store);
}

TEST(SpinLock, RecursionIsAnOops) {
  Machine m;
  SpinLock lock("self");
  m.k.spawn(0, "t", [&] {
    lock.lock();
    lock.lock();
  });
  m.run(0.01);
  ASSERT_EQ(m.k.oopses().size(), 1u);
  EXPECT_NE(m.k.oopses()[0].title.find("recursion"), std::string::npos);
  EXPECT_TRUE(lock.is_locked());  // what a dead task holds stays held
}

TEST(Mutex, WaitersSleepAndTakeTurns) {
  Machine m;
  Mutex mutex;
  std::string order;
  for (unsigned i = 0; i < 3; ++i) {
    m.k.spawn(0, "t", [&, i] {
      mutex.lock();
      order += static_cast<char>('a' + i);
      msleep(3);
      order += static_cast<char>('A' + i);
      mutex.unlock();
    });
  }
  m.run(1);
  EXPECT_EQ(order, "aAbBcC");
}

TEST(WaitQueue, TimeoutAndWake) {
  Machine m;
  WaitQueue queue;
  bool flag = false, first = true, second = false;
  std::uint64_t after = 0;
  m.k.spawn(0, "waiter", [&] {
    first = queue.wait_event_timeout([&] { return flag; }, 20);
    after = m.k.jiffies();
    second = queue.wait_event_timeout([&] { return flag; }, 1000);
  });
  m.k.spawn(1, "waker", [&] {
    msleep(40);
    flag = true;
    queue.wake_up_all();
  });
  m.run(2);
  EXPECT_FALSE(first);
  EXPECT_TRUE(second);
  EXPECT_GE(after, 20u);
  EXPECT_LE(after, 22u);
}

TEST(Rcu, AGracePeriodWaitsForReadersThatBeganBefore) {
  Machine m;
  sim::Tick reader_end = 0, sync_end = 0, sync_begin = 0;
  m.k.spawn(1, "reader", [&] {
    rcu_read_lock();
    work(250'000'000);  // 100 ms
    this_cpu().sync();
    reader_end = this_cpu().now();
    rcu_read_unlock();
    work(250'000'000);
  });
  m.k.spawn(0, "writer", [&] {
    msleep(5);
    sync_begin = this_cpu().now();
    synchronize_rcu();
    sync_end = this_cpu().now();
  });
  m.run(1);
  EXPECT_GT(reader_end, sync_begin);
  EXPECT_GE(sync_end, reader_end);
  EXPECT_LE(sync_end, reader_end + kMs);
}

TEST(Rcu, ReadersThatBeginLaterAndIdleCoresDoNotHoldItUp) {
  Machine m;
  sim::Tick took = 0;
  m.k.spawn(1, "reader", [&] {
    for (int i = 0; i < 2000; ++i) {
      rcu_read_lock();
      work(250'000);  // readers of 100 us, back to back
      rcu_read_unlock();
    }
  });
  m.k.spawn(0, "writer", [&] {
    msleep(5);
    const sim::Tick t = this_cpu().now();
    synchronize_rcu();
    took = this_cpu().now() - t;
  });
  m.run(1);
  EXPECT_GE(took, (m.k.config().rcu_grace_jiffies - 1) * kMs);
  EXPECT_LE(took, (m.k.config().rcu_grace_jiffies + 1) * kMs);
}

TEST(Rcu, BhOffAndSoftirqAreReaders) {
  Machine m;
  sim::Tick end = 0, sync_end = 0;
  m.k.spawn(1, "bh", [&] {
    local_bh_disable();
    work(125'000'000);  // 50 ms
    end = this_cpu().now();
    local_bh_enable();
  });
  m.k.spawn(0, "writer", [&] {
    msleep(1);
    synchronize_net();
    sync_end = this_cpu().now();
  });
  m.run(1);
  EXPECT_GE(sync_end, end);
}

TEST(Rcu, ExpeditedUnderRtnlDoesNotWaitForJiffies) {
  Machine m;
  sim::Tick took = 0;
  m.k.spawn(0, "writer", [&] {
    m.k.rtnl().lock();
    const sim::Tick t = this_cpu().now();
    synchronize_net();
    took = this_cpu().now() - t;
    m.k.rtnl().unlock();
  });
  m.run(1);
  EXPECT_LT(took, kMs / 2);
  EXPECT_GE(took, m.k.config().clock.edge(m.k.config().rcu_expedited_cycles));
}

TEST(Rcu, CallbacksRunInSoftirqAfterTheGracePeriod) {
  Machine m;
  sim::Tick reader_end = 0, called = 0;
  bool softirq = false;
  m.k.spawn(1, "reader", [&] {
    rcu_read_lock();
    work(50'000'000);
    reader_end = this_cpu().now();
    rcu_read_unlock();
  });
  m.k.spawn(0, "writer", [&] {
    msleep(1);
    call_rcu([&] {
      called = this_cpu().now();
      softirq = this_cpu().in_serving_softirq();
    });
  });
  m.run(1);
  EXPECT_GE(called, reader_end);
  EXPECT_TRUE(softirq);
}

TEST(Timers, FireNeverEarlyAndWithinTheGranularityOfTheirLevel) {
  Machine m;
  struct Case {
    std::uint64_t delay, granularity;
  };
  const Case cases[] = {{1, 1}, {10, 1}, {62, 1}, {100, 8}, {500, 8}, {1000, 64}, {4000, 64}, {30000, 512}};
  std::vector<std::unique_ptr<TimerList>> timers;
  std::vector<std::pair<std::uint64_t, std::uint64_t>> fired(std::size(cases));
  m.k.spawn(0, "t", [&] {
    kernel::usleep(12'345);
    for (std::size_t i = 0; i < std::size(cases); ++i) {
      const std::uint64_t want = m.k.jiffies() + cases[i].delay;
      timers.push_back(std::make_unique<TimerList>([&, i, want] { fired[i] = {want, m.k.jiffies()}; }));
      timers.back()->mod_timer(want);
    }
  });
  m.run(60);
  for (std::size_t i = 0; i < std::size(cases); ++i) {
    EXPECT_GE(fired[i].second, fired[i].first) << cases[i].delay;
    EXPECT_LE(fired[i].second, fired[i].first + cases[i].granularity) << cases[i].delay;
  }
}

TEST(Timers, ThirtySecondsOfWaitingCostNothing) {
  Machine m;
  m.k.spawn(0, "t", [&] { msleep(30'000); });
  m.run(1);
  const auto before = m.s.timeline().wakeups();
  m.run(60);
  EXPECT_LT(m.s.timeline().wakeups() - before, 20u);
}

TEST(Timers, DeletedTimersDoNotFire) {
  Machine m;
  bool fired = false;
  TimerList timer([&] { fired = true; });
  m.k.spawn(0, "t", [&] {
    EXPECT_FALSE(timer.mod_timer(m.k.jiffies() + 10));
    EXPECT_TRUE(timer.mod_timer(m.k.jiffies() + 20));
    EXPECT_TRUE(timer.del_timer());
    EXPECT_FALSE(timer.del_timer());
  });
  m.run(1);
  EXPECT_FALSE(fired);
}

TEST(DelayedWork, RunsOnAWorkerAfterItsDelayAndCanRearmItself) {
  Machine m;
  std::vector<std::uint64_t> runs;
  std::string comm, queue;
  DelayedWork* self = nullptr;
  DelayedWork work("release_retry", [&] {
    EXPECT_TRUE(this_cpu().in_task());
    comm = this_cpu().current().name();
    queue = this_cpu().current().workqueue;
    runs.push_back(m.k.jiffies());
    if (runs.size() < 3) self->queue(1000);
  });
  self = &work;
  m.k.spawn(1, "t", [&] { EXPECT_TRUE(work.queue(1000)); });
  m.run(10);
  ASSERT_EQ(runs.size(), 3u);
  EXPECT_EQ(comm, "kworker/1:0");
  EXPECT_EQ(queue, "events release_retry");
  for (std::size_t i = 0; i < 3; ++i) {
    const std::uint64_t from = i == 0 ? 0 : runs[i - 1];
    EXPECT_GE(runs[i] - from, 1000u);
    EXPECT_LE(runs[i] - from, 1064u);  // level 2 of the wheel
  }
}

TEST(DelayedWork, MayFreeItselfFromItsFunction) {
  Machine m;
  auto owner = std::make_unique<std::unique_ptr<DelayedWork>>();
  bool ran = false;
  *owner = std::make_unique<DelayedWork>("suicide", [&] {
    ran = true;
    owner.reset();
  });
  m.k.spawn(0, "t", [&] { (*owner)->queue(1); });
  m.run(1);
  EXPECT_TRUE(ran);
}

TEST(DelayedWork, CancelSyncWaitsForTheRunningInstance) {
  Machine m;
  sim::Tick work_end = 0, cancelled = 0;
  DelayedWork work("slow", [&] {
    msleep(50);
    work_end = this_cpu().now();
  });
  m.k.spawn(0, "t", [&] {
    work.queue(0);
    msleep(5);
    work.cancel_sync();
    cancelled = this_cpu().now();
  });
  m.run(1);
  EXPECT_GT(work_end, 0u);
  EXPECT_GE(cancelled, work_end);
}

TEST(Workqueue, ABlockedWorkerDoesNotHoldUpTheOthers) {
  Machine m;
  std::vector<std::string> done;
  Work slow("slow", [&] {
    msleep(50);
    done.push_back("slow on " + this_cpu().current().name());
  });
  Work fast("fast", [&] { done.push_back("fast on " + this_cpu().current().name()); });
  m.k.spawn(0, "t", [&] {
    slow.queue();
    fast.queue();
  });
  m.run(1);
  EXPECT_EQ(done, (std::vector<std::string>{"fast on kworker/0:1", "slow on kworker/0:0"}));
}

TEST(Workqueue, AnOopsKillsTheWorkerAndTheQueueGoesOn) {
  Machine m;
  bool other = false;
  Work bad("page_pool_release_retry", [&] {
    KFUNC("page_pool_release");
    m.k.null_dereference("iommu_get_dma_domain", 0xa8);
  });
  Work good("good", [&] { other = true; });
  m.k.spawn(0, "t", [&] {
    bad.queue();
    msleep(10);
    good.queue();
  });
  m.run(1);
  ASSERT_EQ(m.k.oopses().size(), 1u);
  const Oops& o = m.k.oopses()[0];
  EXPECT_EQ(o.workqueue, "events page_pool_release_retry");
  EXPECT_EQ(o.title, "BUG: kernel NULL pointer dereference, address: 00000000000000a8");
  EXPECT_EQ(o.chain, (std::vector<std::string>{"page_pool_release", "process_one_work"}));
  EXPECT_FALSE(o.fatal);
  EXPECT_TRUE(other);
}

}  // namespace
