// SPDX-License-Identifier: Apache-2.0
// DevmemProvider: a memory provider like the kernel's for device memory TCP: a fixed set of net_iovs (pieces
// of a dmabuf) is handed out, mapped once for good, and comes back to the provider instead of the page
// allocator. Source: net/core/devmem.c (mp_dmabuf_devmem_*), Linux 6.12 to 6.18.
//
// Refusals: a pool that does not map and sync (-EOPNOTSUPP, by the pool itself), pages of higher order
// (-E2BIG), a dmabuf without pieces (-EINVAL). What comes back and is no net_iov, or is still referred to, is
// not taken (WARN_ON_ONCE in the kernel; refused() here).
#pragma once
#include <cerrno>
#include <mutex>
#include <utility>
#include <vector>

#include "pagepool/page_pool.h"

namespace pagepool {

template <class Pool>
class DevmemProvider final : public MemoryProvider<Pool> {
 public:
  using Netmem = typename Pool::Netmem;
  /// `iovs`: netmems with the net_iov bit.
  explicit DevmemProvider(std::vector<Netmem> iovs) : free_(std::move(iovs)), total_(free_.size()) {}

  int init(Pool& pool) override { return total_ == 0 ? -EINVAL : pool.params().order != 0 ? -E2BIG : 0; }
  void uninit(Pool&) override {}

  Netmem alloc_netmems(Pool& pool) override {
    Netmem netmem{};
    {
      std::lock_guard guard(mutex_);
      if (free_.empty()) return netmem;
      netmem = free_.back();
      free_.pop_back();
    }
    pool.provider_hold(netmem);
    return netmem;
  }

  bool release_netmem(Pool& pool, Netmem netmem) override {
    if (!netmem.is_net_iov() || pool.env().pp_ref_read(netmem) != 1) {
      std::lock_guard guard(mutex_);
      ++refused_;
      return false;
    }
    pool.env().clear_pp_info(netmem);
    std::lock_guard guard(mutex_);
    free_.push_back(netmem);
    return false;
  }

  std::size_t free_iovs() {
    std::lock_guard guard(mutex_);
    return free_.size();
  }
  std::size_t total_iovs() const { return total_; }
  std::uint64_t refused() {
    std::lock_guard guard(mutex_);
    return refused_;
  }

 private:
  std::mutex mutex_;
  std::vector<Netmem> free_;
  std::size_t total_;
  std::uint64_t refused_ = 0;
};

}  // namespace pagepool
