// SPDX-License-Identifier: Apache-2.0
// The memory part of an environment that costs nothing and is used by one thread: base of ScriptEnv, and what
// the unit tests of PtrRing and XArray run on. It also documents the hooks that every environment has.
#pragma once
#include <cstddef>
#include <cstdint>

namespace pagepool {

struct HostMemory {
  /// spinlock_t. Environments with real or modelled parallelism give their own.
  struct SpinLock {
    explicit SpinLock(const char* = "") {}
  };
  void spin_lock(SpinLock&) {}
  void spin_unlock(SpinLock&) {}
  void spin_lock_bh(SpinLock&) {}
  void spin_unlock_bh(SpinLock&) {}

  /// Called before a read / write / atomic read-modify-write of a host object that stands for kernel memory:
  /// the modelled kernel pays its cycles (and may interleave other contexts) here.
  template <class T>
  void load(const T&) {}
  template <class T>
  void store(const T&) {}
  /// Only to see whether exploration notices.
  static constexpr bool keeps_dma_sync() { return false; }
  /// As load() and store(), of what the kernel reads and writes without an annotation although it is shared (a
  /// member that here is an atomic for the sake of C++): `name` tells it in a data race.
  template <class T>
  void load_plain(const T&, const char*) {}
  template <class T>
  void store_plain(const T&, const char*) {}
  template <class T>
  void rmw(const T&) {}
  /// Called before an access that the models above do not price: exploration may interleave others there.
  template <class T>
  void look(const T&) {}
  template <class T>
  void look_plain(const T&, const char*) {}
  /// A host object (pool, ring array, tree node) begins and ends to stand for as many bytes of kernel memory
  /// (kmalloc, atomic context). False: no memory.
  bool memory_new(const void*, std::size_t) { return true; }
  void memory_delete(const void*, std::size_t) {}
  /// The scope of a kernel function, for call chains.
  struct Function {};
  Function function(const char*) { return {}; }
};

}  // namespace pagepool
