// SPDX-License-Identifier: Apache-2.0
#include "mm/sparse_store.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include <cerrno>

namespace mm {

SparseStore::SparseStore(sim::PhysAddr base, std::uint64_t bytes) : base_(base.value), bytes_(bytes) {
  if (bytes == 0 || bytes % sim::kPageSize != 0 || base_ % sim::kPageSize != 0) {
    throw sim::Error(fmt::format(
        "memory range {:#x} + {:#x}: base and size must be multiples of 4096, size not 0", base_, bytes));
  }
  if (base_ + bytes_ < base_ || bytes_ > (std::uint64_t{1} << 46)) {
    throw sim::Error(
        fmt::format("memory range {:#x} + {:#x}: larger than 64 TiB or past 2^64", base_, bytes));
  }
  void* p =
      ::mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) {
    throw sim::Error(
        fmt::format("the host refuses {} bytes of address space for simulated memory: {} "
                    "(ulimit -v, vm.overcommit_memory)",
                    bytes_, std::strerror(errno)));
  }
  // Small pages: a touched page costs 4 KiB, and a copy after fork() too.
  ::madvise(p, bytes_, MADV_NOHUGEPAGE);
  ::madvise(p, bytes_, MADV_DONTDUMP);
  memory_ = static_cast<std::uint8_t*>(p);
}

SparseStore::~SparseStore() { ::munmap(memory_, bytes_); }

void SparseStore::discard(sim::PhysAddr addr, std::uint64_t length) {
  POOLSIM_ASSERT(addr.value % sim::kPageSize == 0 && length % sim::kPageSize == 0);
  if (length != 0) ::madvise(host(addr, length), length, MADV_DONTNEED);
}

}  // namespace mm
