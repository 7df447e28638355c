// SPDX-License-Identifier: Apache-2.0
// A point in the life of this process to which its memory can be put back, again and again: for thousands of
// short runs of one warm machine. fork() does the same, but pays for a process, and a page fault with a copy
// for each page that a run touches, every time; here a page is paid for once, and every later run copies the
// touched pages back.
//
// How: all private writable memory (heap, globals, stacks of fibers and of main, thread-local storage)
// becomes read-only. The first write to a page faults, the handler keeps a copy and lets the page be written
// from then on. It is one of the *hot* pages, which restore() copies back and take() copies anew. A page that
// many runs in a row left alone becomes read-only again.
//
// What is not put back: shared mappings (MAP_SHARED), files, pipes, the process' own attributes, and the
// stack that the caller runs on. So the loop that takes and restores runs on a stack of its own, which
// run_apart() provides, and its results go through shared memory.
//
// What a run may not do: start a thread, map or unmap private memory, let the kernel write into memory that
// may still be read-only (read(2) into the heap gives EFAULT). Growth of the heap is provided for when
// tracking begins.
//
// Calling context: a process with one thread. Not with AddressSanitizer or ThreadSanitizer (supported() is
// false): their own tables of memory must not go back.
#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>

namespace sim {

class Snapshot {
 public:
  /// Whether this build can do it.
  static bool supported();

  /// To be called before the memory that is to be put back comes into being: the allocator then takes all of
  /// it from the heap, and gives nothing back to the system, so that a run unmaps nothing either.
  static void prepare();

  /// Runs `body` on a stack of its own that snapshots leave alone. At most one at a time; what it throws is
  /// thrown here.
  static void run_apart(const std::function<void()>& body);

  /// Begins to track: `heap_reserve` bytes are kept at the end of the heap for what the runs allocate. Memory
  /// that is mapped later does not belong to the snapshot. One a process. Calling context: within
  /// run_apart(). ModelError when the process' memory cannot be read off or held.
  explicit Snapshot(std::size_t heap_reserve = std::size_t{64} << 20);
  ~Snapshot();
  Snapshot(const Snapshot&) = delete;
  Snapshot& operator=(const Snapshot&) = delete;

  /// The memory as it is now is what restore() goes back to.
  void take();
  /// Back to the last take(). Signal handlers and masks stay as they are.
  void restore();

  /// Called for a fault that is not a first write to tracked memory, on an alternate stack; when it returns,
  /// the signal's default action follows.
  void on_crash(void (*handler)(int signal));

  /// A run has taken more than the heap's reserve. It is put back all the same, but what the system gave is
  /// lost: soon this process should be replaced.
  bool outgrown() const;
  /// Pages that restore() looks at.
  std::size_t hot_pages() const;

  struct State;

 private:
  State* state_;
};

}  // namespace sim
