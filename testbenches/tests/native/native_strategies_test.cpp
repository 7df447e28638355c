// SPDX-License-Identifier: Apache-2.0
// Every strategy on real threads: a consumer, returners on other threads, the release work on one more, and
// random delays wherever threads may meet. First nothing is out when the pool is destroyed: then every
// strategy must keep every law. Then the pool is destroyed, and the driver leaves, while pages come back:
// whether a strategy keeps the laws there is what is printed, not what is expected; what must hold whatever
// the strategy does is that the run ends, that no page is lost without a report, and that a pool stays only
// for pages that it counts.
//
// POOLSIM_STRESS_FREE=1 frees pools at once instead of keeping their memory, so that ThreadSanitizer and
// AddressSanitizer show who still touches a pool that is gone. POOLSIM_STRESS_ROUNDS=n repeats.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <deque>
#include <iostream>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

#include "pagepool/all_strategies.h"
#include "pagepool/native_env.h"

namespace {

using pagepool::NativeNetmem;

/// Waits now and then, and for a random time.
struct RandomDelays {
  static void point() {
    static thread_local std::uint64_t state =
        seed.fetch_add(0x9e3779b97f4a7c15, std::memory_order_relaxed) | 1;
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    if ((state & 4095) == 0) {
      std::this_thread::yield();
    } else if ((state & 31) == 1) {
      for (unsigned spins = (state >> 8) & 511; spins != 0; --spins)
        std::atomic_signal_fence(std::memory_order_seq_cst);
    }
  }
  static inline std::atomic<std::uint64_t> seed{1};
};
using Env = pagepool::BasicNativeEnv<RandomDelays>;

class Mailbox {
 public:
  void push(NativeNetmem page) {
    std::lock_guard guard(mutex_);
    pages_.push_back(page);
  }
  NativeNetmem take() {
    std::lock_guard guard(mutex_);
    if (pages_.empty()) return {};
    NativeNetmem page = pages_.front();
    pages_.pop_front();
    return page;
  }

 private:
  std::mutex mutex_;
  std::deque<NativeNetmem> pages_;
};

/// What broke.
struct Verdict {
  std::uint64_t late_unmaps = 0, bad_unmaps = 0, bad_syncs = 0, misuses = 0, warnings = 0;
  std::int64_t still_mapped = 0;
  std::int64_t lost_pages = 0;  // neither with the allocator nor counted in flight; negative: freed twice
  int inflight = 0;             // of a pool that is still there
  bool freed = false;
  /// Something that the pool or the environment has reported.
  bool reported() const { return late_unmaps + bad_unmaps + bad_syncs + misuses + warnings != 0; }
  bool clean() const { return !reported() && still_mapped == 0 && lost_pages == 0 && freed; }
};

template <template <class, class> class Strategy>
class Stress {
 public:
  using Pool = pagepool::PagePool<Env, pagepool::V618, Strategy>;

  Verdict run(int returners, unsigned pages, bool destroy_while_returning) {
    env_.keep_freed_pools(std::getenv("POOLSIM_STRESS_FREE") == nullptr);
    create();
    boxes_ = std::vector<Mailbox>(returners);
    std::vector<std::thread> threads;
    for (int i = 0; i < returners; ++i) threads.emplace_back([this, i] { give_back(i); });
    Env::enter_cpu(0, true);
    consume(pages);
    if (!destroy_while_returning) finish(threads);
    unbind();
    finish(threads);
    work_ends_ = true;
    if (worker_.joinable()) worker_.join();
    return verdict();
  }

 private:
  void create() {
    typename Pool::Params params;
    params.pool_size = 64;
    params.flags = pagepool::PP_FLAG_DMA_MAP | pagepool::PP_FLAG_DMA_SYNC_DEV;
    params.max_len = 4096;
    params.dev = &device_;
    params.napi = &napi_;
    params.netdev = &netdev_;
    napi_.list_owner = 0;
    int err = 0;
    pool_ = Pool::create(env_, params, -1, err);
  }

  void consume(unsigned pages) {
    for (unsigned i = 0; i < pages; ++i) {
      NativeNetmem page = i % 4 == 3 ? pool_->alloc_frag(700 + i % 1000).netmem : pool_->alloc_netmems();
      if (!page) {
        std::this_thread::yield();
      } else if (i % 5 == 0) {
        pool_->put_full_netmem(page, true);
      } else {
        if (i % 7 == 0) {
          pool_->ref_netmem(page);
          boxes_[(i + 1) % boxes_.size()].push(page);
        }
        boxes_[i % boxes_.size()].push(page);
      }
    }
  }

  /// napi_pp_put_page: to the pool that the page says it belongs to; a page of none is put like any other.
  void give_back(int number) {
    Env::enter_cpu(number + 1, number % 2 == 0);
    for (unsigned turn = 0;; ++turn) {
      bool done = consumer_done_;
      NativeNetmem page = boxes_[number].take();
      if (!page) {
        if (done) return;
        std::this_thread::yield();
        continue;
      }
      bool looked_at = turn % 4 == 3;
      if (looked_at) env_.get_page(page);
      if (Pool* pool = Env::pool_of<Pool>(page)) {
        pool->put_full_netmem(page, false);
      } else {
        env_.put_page(page);
      }
      if (looked_at) env_.put_page(page);
    }
  }

  void finish(std::vector<std::thread>& threads) {
    consumer_done_ = true;
    for (std::thread& t : threads) t.join();
    threads.clear();
  }

  /// The driver's remove() destroys the pool; then the driver core's devres runs the hook of the strategy,
  /// and the device is without a driver. The work runs on.
  void unbind() {
    napi_.list_owner = -1;
    bool pending = pool_->destroy() == Pool::Destroyed::pending;
    // A hook that waits for the pages needs the work; others must not meet a pool that the work frees
    // meanwhile.
    const bool waits = std::string_view(Pool::Strategy::kKey) == "stall_unregister";
    if (pending && waits) start_work();
    if (pending) pool_->device_unbind();
    env_.driver_unbound(device_);
    if (pending && !waits) start_work();
  }
  void start_work() {
    worker_ = std::thread([this] {
      Env::enter_cpu(60, false);
      // Pages that no strategy gives back any more must not keep the test.
      for (unsigned idle = 0; env_.run_delayed_work() != 0 && idle < 50; idle += work_ends_ ? 1 : 0)
        std::this_thread::yield();
    });
  }

  Verdict verdict() {
    Verdict v;
    v.freed = env_.freed_pools() == 1;
    v.late_unmaps = device_.late_unmaps;
    v.bad_unmaps = device_.bad_unmaps;
    v.bad_syncs = device_.bad_syncs;
    v.misuses = env_.misuses();
    v.warnings = env_.warnings();
    v.still_mapped = device_.mapped;
    auto out = static_cast<std::int64_t>(env_.total_pages()) - static_cast<std::int64_t>(env_.free_pages());
    v.inflight = v.freed ? 0 : pool_->inflight();
    v.lost_pages = out - std::max(0, v.inflight);
    return v;
  }

  Env env_{2048};
  Env::Device device_;
  pagepool::Napi napi_;
  pagepool::Netdev netdev_{2, "eth0"};
  Pool* pool_ = nullptr;
  std::vector<Mailbox> boxes_;
  std::atomic<bool> consumer_done_{false}, work_ends_{false};
  std::thread worker_;
};

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
constexpr unsigned kPages = 500;
#else
constexpr unsigned kPages = 2000;
#endif
constexpr unsigned kRepeats = 2;

unsigned rounds() {
  const char* text = std::getenv("POOLSIM_STRESS_ROUNDS");
  return text ? static_cast<unsigned>(std::max(1, std::atoi(text))) : kRepeats;
}

template <template <class, class> class Strategy>
void all_pages_back_first() {
  for (int returners : {1, 3, 7}) {
    Verdict v = Stress<Strategy>().run(returners, kPages, false);
    EXPECT_TRUE(v.freed);
    EXPECT_EQ(v.bad_unmaps, 0u);
    EXPECT_EQ(v.bad_syncs, 0u);
    EXPECT_EQ(v.late_unmaps, 0u);
    EXPECT_EQ(v.misuses, 0u);
    EXPECT_EQ(v.still_mapped, 0);
    EXPECT_EQ(v.lost_pages, 0);
  }
}

template <template <class, class> class Strategy>
void destroy_while_returning(const char* key) {
  for (unsigned i = 0; i < rounds(); ++i) {
    Verdict v = Stress<Strategy>().run(2 + static_cast<int>(i) % 6, kPages, true);
    std::cout << key << ": " << (v.clean() ? "clean" : "") << "  late_unmaps=" << v.late_unmaps
              << " bad_unmaps=" << v.bad_unmaps << " bad_syncs=" << v.bad_syncs << " misuses=" << v.misuses
              << " warnings=" << v.warnings << " still_mapped=" << v.still_mapped
              << " lost_pages=" << v.lost_pages << " inflight=" << v.inflight
              << (v.freed ? "" : " pool never freed") << "\n";
    // No page goes astray in silence, and a pool stays only for pages that it counts.
    EXPECT_TRUE(v.lost_pages == 0 || v.reported());
    EXPECT_TRUE(v.freed || v.inflight != 0);
  }
}

#define STRATEGY_STRESS(Class)                                                                  \
  TEST(NativeStrategies, Class##AllPagesBackFirst) { all_pages_back_first<pagepool::Class>(); } \
  TEST(NativeStrategies, Class##DestroyWhileReturning) {                                        \
    destroy_while_returning<pagepool::Class>(                                                   \
        pagepool::Class<Env, pagepool::PagePool<Env, pagepool::V618, pagepool::Class>>::kKey);  \
  }
PAGEPOOL_STRATEGIES(STRATEGY_STRESS)

}  // namespace
