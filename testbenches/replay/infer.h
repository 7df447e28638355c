// SPDX-License-Identifier: Apache-2.0
// What the recorded kernel was, as far as the capture shows it: the mechanism, never the result that is
// compared.
//
//   strategy        a page of the pool is unmapped while it is still held (and its task lives on), or
//   released without
//                   an unmap of its own: the merged tracking; else stock
//   DMA mode        no iommu:map inside dma_map: direct. The address of an unmap is the next one that this
//   CPU hands
//                   out: strict; it is not: lazy (the flush queue has it)
//   DMA ops         an unmap for a device without driver (without group) that reached the IOMMU, did not, or
//   was the
//                   last thing its task did
//   pool size       the one whose ptr_ring, driven by the recorded calls, is full at exactly the puts that
//   released
//                   their page; if several explain all, the number of pages the driver took first (its RX
//                   ring)
//   napi            puts in softirq that only explain the later order of pages if they went to the cache
//   word size       from the pointers: a 32-bit ptr_ring frees consumed slots in batches twice as large
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "kernel/config.h"
#include "testbenches/replay/plan.h"

namespace replay {

/// A value and where it comes from.
template <class T>
struct Inferred {
  T value{};
  std::string how;  ///< "inferred: ..." or "given"
};

struct PoolBehaviour {
  Inferred<std::uint32_t> size;  ///< pool_size of page_pool_params
  bool napi_local = false;       ///< p.napi is set: a put in softirq on the NAPI's CPU goes to the cache
  std::size_t unexplained = 0;   ///< recorded puts that no pool size explains
};

struct Behaviour {
  Inferred<std::string> strategy;
  Inferred<kernel::DmaMode> dma_mode;
  Inferred<bool> clear_dma_ops_on_unbind;
  Inferred<bool> clear_dma_ops_on_release;
  Inferred<bool> replace_domain_on_rebind;
  Inferred<std::uint64_t> release_period_ms;
  Inferred<std::string> kernel;       ///< generation, for people
  bool direct_needs_softirq = false;  ///< up to 6.9: allow_direct counts only in softirq
  unsigned ring_batch = 16;           ///< entries a ptr_ring consumer frees at once
  std::vector<PoolBehaviour> pools;   ///< as Plan::pools
};

/// May set Step::extra_reference in the plan: a put that released its page although the ring had room.
Behaviour infer(const Capture& capture, const Joined& joined, Plan& plan);


}  // namespace replay
