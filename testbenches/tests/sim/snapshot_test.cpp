// SPDX-License-Identifier: Apache-2.0
// Memory put back: what a run changes is as before, whatever kind of memory it is.
#include "sim/snapshot.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "sim/fiber.h"

namespace {

using sim::Snapshot;

int global = 1;
thread_local int of_the_thread = 1;
alignas(4096) volatile char untouched[3 * 4096];

/// `body` in a process whose memory is tracked; what it counts wrong is the exit code.
int wrong_in_child(const std::function<int(Snapshot&)>& body) {
  const pid_t pid = ::fork();
  if (pid == 0) {
    Snapshot::prepare();
    Snapshot::run_apart([&body] {
      Snapshot snapshot;
      ::_exit(body(snapshot));
    });
    ::_exit(99);
  }
  int status = 0;
  ::waitpid(pid, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 100 + WTERMSIG(status);
}

class SnapshotTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!Snapshot::supported()) GTEST_SKIP() << "not in a build with this sanitizer";
  }
};

TEST_F(SnapshotTest, GlobalsHeapAndThreadLocalsGoBack) {
  std::map<int, std::string> heap{{1, "one"}};
  EXPECT_EQ(wrong_in_child([&heap](Snapshot& s) {
              s.take();
              int wrong = 0;
              for (int i = 0; i < 3; ++i) {
                wrong += global != 1 || of_the_thread != 1 || heap.size() != 1 || heap.at(1) != "one";
                global = 7, of_the_thread = 7, heap[1] = "other", heap[2] = std::string(100'000, 'x');
                s.restore();
              }
              return wrong;
            }),
            0);
}

TEST_F(SnapshotTest, AFreedObjectIsThereAgainAndANewOneIsNot) {
  auto owned = std::make_unique<std::vector<int>>(1000, 5);
  EXPECT_EQ(wrong_in_child([&owned](Snapshot& s) {
              s.take();
              int wrong = 0;
              void* last = nullptr;
              for (int i = 0; i < 3; ++i) {
                wrong += owned == nullptr || owned->at(999) != 5;
                owned.reset();
                void* const fresh = ::operator new(64);
                // The allocator is where it was: the same request gets the same place.
                wrong += last != nullptr && fresh != last;
                last = fresh;
                s.restore();
              }
              return wrong;
            }),
            0);
}

TEST_F(SnapshotTest, AFiberInTheMiddleOfThingsGoesOnFromThereEachTime) {
  int at = 0;
  sim::Fiber* self = nullptr;
  sim::Fiber fiber("walker", [&at, &self] {
    for (int local = 1;; ++local) {
      at = local;
      self->suspend();
    }
  });
  self = &fiber;
  fiber.resume();
  fiber.resume();
  EXPECT_EQ(wrong_in_child([&](Snapshot& s) {
              s.take();
              int wrong = 0;
              for (int i = 0; i < 3; ++i) {
                fiber.resume();
                wrong += at != 3;
                fiber.resume();
                wrong += at != 4;
                s.restore();
                wrong += at != 2;
              }
              return wrong;
            }),
            0);
}

TEST_F(SnapshotTest, AFiberThatARunStartsTakesNoNewMemory) {
  EXPECT_EQ(wrong_in_child([](Snapshot& s) {
              s.take();
              int wrong = 0, ran = 0;
              for (int i = 0; i < 3; ++i) {
                sim::Fiber fiber("fresh", [&ran] { ++ran; });
                fiber.resume();
                wrong += ran != i + 1;  // `ran` is on the stack that stays
              }
              s.restore();
              return wrong;
            }),
            0);
}

TEST_F(SnapshotTest, ALaterTakeMovesTheStateToGoBackTo) {
  EXPECT_EQ(wrong_in_child([](Snapshot& s) {
              s.take();
              global = 2;
              s.take();
              global = 3;
              s.restore();
              return global == 2 ? 0 : 1;
            }),
            0);
}

TEST_F(SnapshotTest, OnlyPagesThatWereWrittenAreHot) {
  std::vector<char> big(std::size_t{8} << 20, 'a');
  EXPECT_EQ(wrong_in_child([&big](Snapshot& s) {
              s.take();
              const std::size_t before = s.hot_pages();
              for (std::size_t i = 0; i < 100; ++i) big[i * 4096] = 'b';
              const std::size_t first = s.hot_pages();
              for (std::size_t i = 0; i < 100; ++i) big[i * 4096] = 'c';
              // A few of the process' own tables may be among them.
              return (first < before + 100) + (first > before + 110) + 2 * (s.hot_pages() != first);
            }),
            0);
}

TEST_F(SnapshotTest, WhatARunAllocatesComesFromTheReserve) {
  EXPECT_EQ(wrong_in_child([](Snapshot& s) {
              s.take();
              int wrong = s.outgrown();
              std::vector<char> within(std::size_t{16} << 20, 'x');
              wrong += s.outgrown();
              std::vector<char> beyond(std::size_t{256} << 20, 'x');
              return wrong + !s.outgrown();
            }),
            0);
}

TEST_F(SnapshotTest, SharedMemoryKeepsWhatItWasGiven) {
  auto* shared =
      static_cast<int*>(::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  EXPECT_EQ(wrong_in_child([shared](Snapshot& s) {
              s.take();
              for (int i = 0; i < 5; ++i) {
                ++*shared;
                s.restore();
              }
              return 0;
            }),
            0);
  EXPECT_EQ(*shared, 5);
}

TEST_F(SnapshotTest, ACrashIsTheHandlersAndThenTheProcessEnds) {
  static int* told =
      static_cast<int*>(::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  EXPECT_EQ(wrong_in_child([](Snapshot& s) {
              s.on_crash([](int signal) { *told = signal; });
              s.take();
              *reinterpret_cast<volatile int*>(8) = 1;
              return 0;
            }),
            100 + SIGSEGV);
  EXPECT_EQ(*told, SIGSEGV);
}

TEST_F(SnapshotTest, ANoteOfACrashMayWriteToMemoryThatIsTracked) {
  static int* told =
      static_cast<int*>(::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  EXPECT_EQ(wrong_in_child([](Snapshot& s) {
              s.on_crash([](int signal) {
                untouched[4096] = 1;  // the first write to this page
                *told = signal;
              });
              s.take();
              *reinterpret_cast<volatile int*>(8) = 1;
              return 0;
            }),
            100 + SIGSEGV);
  EXPECT_EQ(*told, SIGSEGV);
}

TEST_F(SnapshotTest, WhatTheBodyThrowsComesOut) {
  EXPECT_THROW(Snapshot::run_apart([] { throw std::string("out"); }), std::string);
}

}  // namespace
