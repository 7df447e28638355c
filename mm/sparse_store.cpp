// SPDX-License-Identifier: Apache-2.0
#include "mm/sparse_store.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>

namespace mm {

SparseStore::SparseStore(sim::PhysAddr base, std::uint64_t bytes, HostPages pages) : base_(base.value), bytes_(bytes) {
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
  ::madvise(p, bytes_, pages == HostPages::kHuge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
  ::madvise(p, bytes_, MADV_DONTDUMP);
  memory_ = static_cast<std::uint8_t*>(p);
}

SparseStore::~SparseStore() { ::munmap(memory_, bytes_); }

void SparseStore::discard(sim::PhysAddr addr, std::uint64_t length) {
  POOLSIM_ASSERT(addr.value % sim::kPageSize == 0 && length % sim::kPageSize == 0);
  if (length == 0) return;
  ::madvise(host(addr, length), length, MADV_DONTNEED);
  for (std::uint64_t at = std::max(addr.value, tracked_from_); at < addr.value + length; at += sim::kPageSize) {
    const std::uint64_t page = (at - tracked_from_) >> sim::kPageShift;
    written_[page >> 6] &= ~(std::uint64_t{1} << (page & 63));
  }
}

void SparseStore::track_writes(sim::PhysAddr base) {
  POOLSIM_ASSERT(base.value % sim::kPageSize == 0 && base.value >= base_ && base.value <= base_ + bytes_);
  const std::vector<std::uint64_t> known = std::move(written_);
  const std::uint64_t known_from = tracked_from_;
  tracked_from_ = base.value;
  written_.assign((((base_ + bytes_ - base.value) >> sim::kPageShift) + 63) / 64, 0);
  if (known_from < base.value) return;
  for (std::uint64_t page = 0; page < known.size() * 64; ++page) {
    if ((known[page >> 6] >> (page & 63) & 1) != 0) mark_written(sim::PhysAddr(known_from + (page << sim::kPageShift)), 1);
  }
}

sim::PhysAddr SparseStore::next_written(sim::PhysAddr from, sim::PhysAddr to) const {
  POOLSIM_ASSERT(from.value >= tracked_from_ && to.value <= base_ + bytes_);
  if (from >= to) return to;
  const std::uint64_t first = (from.value - tracked_from_) >> sim::kPageShift;
  const std::uint64_t last = (to.value - 1 - tracked_from_) >> sim::kPageShift;
  std::uint64_t bits = written_[first >> 6] & (~std::uint64_t{0} << (first & 63));
  for (std::uint64_t word = first >> 6;; bits = written_[word]) {
    if (bits != 0) {
      const std::uint64_t page = (word << 6) + static_cast<std::uint64_t>(std::countr_zero(bits));
      if (page > last) return to;
      return sim::PhysAddr(tracked_from_ + (page << sim::kPageShift));
    }
    if (++word > last >> 6) return to;
  }
}

}  // namespace mm
