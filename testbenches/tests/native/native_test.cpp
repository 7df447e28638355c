// SPDX-License-Identifier: Apache-2.0
// page_pool on real threads. The law everywhere: hold = release + cache + ring + what users have; and at the
// end every page is back at the allocator and nothing is mapped. Runs under ThreadSanitizer and
// AddressSanitizer.
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <barrier>
#include <deque>
#include <mutex>
#include <thread>
#include <vector>

#include "pagepool/devmem_provider.h"
#include "pagepool/native_env.h"

namespace {

using pagepool::NativeEnv;
using pagepool::NativeNetmem;
using pagepool::NativePool;

/// What one thread hands to another.
class Mailbox {
 public:
  void push(NativeNetmem page) {
    std::lock_guard guard(mutex_);
    pages_.push_back(page);
  }
  std::vector<NativeNetmem> take(std::size_t most) {
    std::lock_guard guard(mutex_);
    std::size_t n = std::min(most, pages_.size());
    std::vector<NativeNetmem> out(pages_.begin(), pages_.begin() + static_cast<std::ptrdiff_t>(n));
    pages_.erase(pages_.begin(), pages_.begin() + static_cast<std::ptrdiff_t>(n));
    return out;
  }
  std::size_t size() {
    std::lock_guard guard(mutex_);
    return pages_.size();
  }

 private:
  std::mutex mutex_;
  std::deque<NativeNetmem> pages_;
};

template <class Pool>
void put_bulk(Pool* pool, std::vector<NativeNetmem>& pages) {
  if constexpr (Pool::VersionPolicy::bulk_over_pools) {
    pool->env().template put_netmem_bulk<Pool>(pages);
  } else {
    pool->put_netmem_bulk(pages);
  }
}

/// A consumer allocates pages and fragments and recycles some itself; `returners` threads put the rest,
/// singly, in bulk, and some with an extra page reference, in softirq and in task context. Halfway, everybody
/// stops and the law is checked; at the end the pool is destroyed with pages out.
template <class Pool>
void stress(int returners, unsigned rounds, bool destroy_while_returning) {
  NativeEnv env(8192);
  env.keep_freed_pools(false);  // the sanitizers shall see who touches a freed pool
  NativeEnv::Device device;
  typename Pool::Params params;
  params.pool_size = 256;
  params.flags = pagepool::PP_FLAG_DMA_MAP | pagepool::PP_FLAG_DMA_SYNC_DEV;
  params.max_len = 4096;
  params.dev = &device;
  pagepool::Napi napi;
  napi.list_owner = 0;
  params.napi = &napi;
  int err = 0;
  Pool* pool = Pool::create(env, params, -1, err);
  ASSERT_NE(pool, nullptr);

  std::vector<Mailbox> boxes(returners);
  std::atomic<bool> consumer_done{false};
  std::barrier pause(returners + 1);
  std::barrier resume(returners + 1);
  std::atomic<std::int64_t> extra_held{0};

  auto returner = [&](int number) {
    NativeEnv::enter_cpu(number + 1, number % 2 == 0);
    std::vector<NativeNetmem> held;  // with an extra page reference, to be dropped later
    bool paused = false;
    for (unsigned turn = 0;; ++turn) {
      if (!paused && pool != nullptr && turn > rounds / 4) {
        for (NativeNetmem page : held) env.put_page(page);
        held.clear();
        pause.arrive_and_wait();
        resume.arrive_and_wait();
        paused = true;
      }
      bool done = consumer_done.load();
      std::vector<NativeNetmem> pages = boxes[number].take(16);
      if (pages.empty()) {
        if (done && paused) break;
        std::this_thread::yield();
        continue;
      }
      switch (turn % 3) {
        case 0:
          put_bulk(pool, pages);
          break;
        case 1:
          for (NativeNetmem page : pages) pool->put_full_netmem(page, false);
          break;
        default:
          for (NativeNetmem page : pages) {
            env.get_page(page);
            held.push_back(page);
            pool->put_netmem(page, 64, false);
          }
          while (held.size() > 64) {
            env.put_page(held.back());
            held.pop_back();
          }
      }
    }
    for (NativeNetmem page : held) env.put_page(page);
    extra_held += static_cast<std::int64_t>(held.size());
  };

  std::vector<std::thread> threads;
  for (int i = 0; i < returners; ++i) threads.emplace_back(returner, i);

  NativeEnv::enter_cpu(0, true);
  auto work = [&](unsigned n) {
    for (unsigned i = 0; i < n; ++i) {
      NativeNetmem page = i % 4 == 3 ? pool->alloc_frag(700 + i % 1000).netmem : pool->alloc_netmems();
      if (!page) {
        std::this_thread::yield();
        continue;
      }
      if (i % 5 == 0) {
        pool->put_full_netmem(page, true);
      } else if (i % 7 == 0) {
        pool->ref_netmem(page);
        boxes[i % returners].push(page);
        boxes[(i + 1) % returners].push(page);
      } else {
        boxes[i % returners].push(page);
      }
    }
  };
  work(rounds);
  pause.arrive_and_wait();
  // Nobody runs: count what is where. Fragments and references make several box entries of one page.
  std::vector<std::uintptr_t> out;
  for (Mailbox& box : boxes) {
    std::vector<NativeNetmem> pages = box.take(SIZE_MAX);
    for (NativeNetmem page : pages) {
      out.push_back(page.word);
      box.push(page);
    }
  }
  std::sort(out.begin(), out.end());
  out.erase(std::unique(out.begin(), out.end()), out.end());
  std::uint32_t counted =
      pool->release_cnt() + pool->cache_count() + pool->ring_count() + static_cast<std::uint32_t>(out.size());
  // The page that fragments are being cut from may be held by the pool alone.
  EXPECT_GE(pool->hold_cnt(), counted);
  EXPECT_LE(pool->hold_cnt(), counted + 1);
  EXPECT_EQ(device.mapped.load(), pool->inflight());
  resume.arrive_and_wait();

  work(rounds);
  if (destroy_while_returning) {
    // Pages are out and coming back while the pool is stopped and the release work runs.
    pool->disable_direct_recycling();
    bool pending = pool->destroy() == Pool::Destroyed::pending;
    consumer_done = true;
    while (pending && env.run_delayed_work() != 0) std::this_thread::yield();
    for (std::thread& t : threads) t.join();
  } else {
    consumer_done = true;
    for (std::thread& t : threads) t.join();
    pool->disable_direct_recycling();
    if (pool->destroy() == Pool::Destroyed::pending)
      while (env.run_delayed_work() != 0) {
      }
  }
  EXPECT_EQ(env.freed_pools(), 1u);
  EXPECT_EQ(env.free_pages(), env.total_pages());
  EXPECT_EQ(device.mapped.load(), 0);
  EXPECT_EQ(device.bad_unmaps.load(), 0u);
  EXPECT_EQ(device.bad_syncs.load(), 0u);
  EXPECT_EQ(env.misuses(), 0u);
}

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
constexpr unsigned kRounds = 3000;
#else
constexpr unsigned kRounds = 20000;
#endif

// napi.list_owner stays 0 while destroy runs, which the pool rightly warns about; so no check of warnings
// here.
TEST(NativeStress, XarrayDestroyWhileReturning2) { stress<NativePool<pagepool::V618>>(1, kRounds, true); }
TEST(NativeStress, XarrayDestroyWhileReturning8) { stress<NativePool<pagepool::V618>>(7, kRounds, true); }
TEST(NativeStress, Stock618DestroyWhileReturning4) {
  stress<NativePool<pagepool::V618, pagepool::Stock>>(3, kRounds, true);
}
// 6.12 frees the pool while the producer of the last page may still be inside the ring's lock (fixed in 6.16:
// see V612::waits_for_producers), so the returners are waited for here.
TEST(NativeStress, Stock612) { stress<NativePool<pagepool::V612, pagepool::Stock>>(3, kRounds, false); }

TEST(NativePool, BulkOverTwoPoolsFromAnotherThread) {
  using Pool = NativePool<pagepool::V618>;
  NativeEnv env(4096);
  NativeEnv::enter_cpu(0, true);
  int err = 0;
  Pool* a = Pool::create(env, {.pool_size = 1024}, -1, err);
  Pool* b = Pool::create(env, {.pool_size = 1024}, -1, err);
  std::vector<NativeNetmem> pages;
  for (int i = 0; i < 8; ++i) {
    pages.push_back(a->alloc_netmems());
    pages.push_back(b->alloc_netmems());
  }
  std::thread([&] {
    NativeEnv::enter_cpu(1, true);
    env.put_netmem_bulk<Pool>(pages);
  }).join();
  EXPECT_EQ(a->ring_count(), 8u);
  EXPECT_EQ(b->ring_count(), 8u);
  EXPECT_EQ(a->destroy(), Pool::Destroyed::released);
  EXPECT_EQ(b->destroy(), Pool::Destroyed::released);
  EXPECT_EQ(env.free_pages(), env.total_pages());
  EXPECT_EQ(env.warnings(), 0u);
}

class Misuse : public ::testing::Test {
 protected:
  using Pool = NativePool<pagepool::V618>;
  using What = NativeEnv::Report::What;
  Misuse() {
    NativeEnv::enter_cpu(0, true);
    int err = 0;
    a_ = Pool::create(env_, {.pool_size = 64}, -1, err);
    b_ = Pool::create(env_, {.pool_size = 64}, -1, err);
    page_ = a_->alloc_netmems();
  }
  std::size_t number(NativeNetmem page) const {
    return static_cast<std::size_t>(page.desc() - &env_.page(0));
  }
  void expect(What what, int pool, int page_pool) {
    ASSERT_EQ(env_.misuses(), 1u);
    NativeEnv::Report report = env_.reports().back();
    EXPECT_EQ(report.what, what);
    EXPECT_EQ(report.pool, pool);
    EXPECT_EQ(report.page_pool, page_pool);
    EXPECT_EQ(report.page, number(page_));
  }
  NativeEnv env_{1024};
  Pool *a_, *b_;
  NativeNetmem page_;
};

TEST_F(Misuse, PutIntoAForeignPool) {
  b_->put_full_netmem(page_, true);
  expect(What::foreign_pool, 2, 1);
  EXPECT_EQ(b_->cache_count(), 0u);
  a_->put_full_netmem(page_, true);
  EXPECT_EQ(a_->destroy(), Pool::Destroyed::released);
}

TEST_F(Misuse, DoublePutIntoCacheAndRing) {
  a_->put_full_netmem(page_, true);
  a_->put_full_netmem(page_, true);
  expect(What::double_put, 1, 1);
  NativeNetmem again = a_->alloc_netmems();
  EXPECT_EQ(again, page_);
  a_->put_full_netmem(again, false);
  EXPECT_EQ(a_->ring_count(), 1u);
  a_->put_full_netmem(again, true);
  EXPECT_EQ(env_.misuses(), 2u);
  EXPECT_EQ(a_->destroy(), Pool::Destroyed::released);
}

TEST_F(Misuse, PutAfterThePageLeftThePool) {
  env_.get_page(page_);
  a_->put_full_netmem(page_, false);  // somebody looks at it: it leaves the pool
  a_->put_full_netmem(page_, false);
  expect(What::not_in_pool, 1, 0);
  env_.put_page(page_);
}

TEST_F(Misuse, PutAfterThePoolIsGone) {
  a_->put_full_netmem(page_, true);
  ASSERT_EQ(a_->destroy(), Pool::Destroyed::released);
  a_->put_full_netmem(page_, false);
  expect(What::not_in_pool, 1, 0);
}

TEST_F(Misuse, BulkWithAPageOfNoPool) {
  std::vector<NativeNetmem> pages{page_, b_->alloc_netmems()};
  env_.get_page(page_);
  a_->put_full_netmem(page_, false);
  env_.put_netmem_bulk<Pool>(pages);
  expect(What::not_in_pool, 0, 0);
  EXPECT_EQ(b_->ring_count(), 1u);
}

TEST_F(Misuse, NegativeInflightIsReportedAndEndsTheWork) {
  a_->alloc_netmems();
  a_->return_page(page_);
  a_->return_page(page_);  // behind the pool's back: counted out twice
  a_->return_page(page_);
  EXPECT_EQ(a_->destroy(), Pool::Destroyed::pending);
  EXPECT_EQ(env_.run_delayed_work(), 0u);
  NativeEnv::Report report = env_.reports().back();
  EXPECT_EQ(report.what, What::warning);
  EXPECT_EQ(report.warning, pagepool::Warning::negative_inflight);
  EXPECT_EQ(report.pool, 1);
  EXPECT_EQ(report.a, -1);
}

class Devmem : public ::testing::Test {
 protected:
  using Pool = NativePool<pagepool::V618>;
  Devmem() : iovs_(64) {
    NativeEnv::enter_cpu(0, true);
    std::vector<NativeNetmem> netmems;
    for (auto& iov : iovs_) netmems.emplace_back(&iov, true);
    provider_ = std::make_unique<pagepool::DevmemProvider<Pool>>(std::move(netmems));
    params_.provider = provider_.get();
    params_.flags = pagepool::PP_FLAG_DMA_MAP | pagepool::PP_FLAG_DMA_SYNC_DEV;
    params_.max_len = 4096;
    params_.dev = &device_;
  }
  NativeEnv env_{16};
  NativeEnv::Device device_;
  std::vector<pagepool::NativePage> iovs_;
  std::unique_ptr<pagepool::DevmemProvider<Pool>> provider_;
  Pool::Params params_;
  int err_ = 0;
};

TEST_F(Devmem, NetIovsRecycleAndGoBackToTheProvider) {
  Pool* pool = Pool::create(env_, params_, -1, err_);
  ASSERT_NE(pool, nullptr);
  std::vector<NativeNetmem> out;
  while (NativeNetmem iov = pool->alloc_netmems()) {
    EXPECT_TRUE(iov.is_net_iov());
    out.push_back(iov);
  }
  EXPECT_EQ(out.size(), 64u);
  EXPECT_EQ(pool->inflight(), 64);
  EXPECT_EQ(device_.mapped.load(), 0);  // mapped once, by the provider's owner
  pool->put_full_netmem(out[0], true);
  EXPECT_EQ(pool->cache_count(), 1u);
  EXPECT_EQ(pool->alloc_netmems(), out[0]);
  EXPECT_EQ(device_.syncs.load(), 0u);  // no CPU touches it
  EXPECT_EQ(pool->destroy(), Pool::Destroyed::pending);
  for (NativeNetmem iov : out) pool->put_full_netmem(iov, false);
  EXPECT_EQ(env_.run_delayed_work(), 0u);
  EXPECT_EQ(env_.freed_pools(), 1u);
  EXPECT_EQ(provider_->free_iovs(), provider_->total_iovs());
}

TEST_F(Devmem, RefusesPoolsThatDoNotMapAndSync) {
  params_.flags = 0;
  EXPECT_EQ(Pool::create(env_, params_, -1, err_), nullptr);
  EXPECT_EQ(err_, -EOPNOTSUPP);
  params_.flags = pagepool::PP_FLAG_DMA_MAP;
  EXPECT_EQ(Pool::create(env_, params_, -1, err_), nullptr);
  EXPECT_EQ(err_, -EOPNOTSUPP);
  params_.flags = pagepool::PP_FLAG_DMA_MAP | pagepool::PP_FLAG_DMA_SYNC_DEV;
  params_.order = 1;
  EXPECT_EQ(Pool::create(env_, params_, -1, err_), nullptr);
  EXPECT_EQ(err_, -E2BIG);
}

}  // namespace
