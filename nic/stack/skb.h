// SPDX-License-Identifier: Apache-2.0
// struct sk_buff as far as received packets need it: one page of a page_pool with a range of bytes, and where
// it is chained. Freed by kfree_skb(), which gives the page back to its pool (skb_pp_recycle,
// net/core/skbuff.c, 6.12).
#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "kernel/kernel.h"
#include "mm/trace.h"
#include "nic/stack/packet.h"
#include "nic/stack/trace.h"
#include "pagepool/page_pools.h"

namespace nic {

struct Skb {
  Skb() = default;
  sim::Pfn page{0};
  std::uint32_t offset = 0;  ///< of the frame in the page
  std::uint32_t length = 0;  ///< frame bytes
  std::uint32_t truesize = 0;
  IpPacket ip{};  ///< filled by ip_rcv
  sim::Tick received = 0;
  unsigned alloc_cpu = 0;       ///< core that built it: where skb_attempt_defer_free() sends it
  unsigned ifindex = 0;         ///< of the receiving device
  std::uint32_t tcp_bytes = 0;  ///< payload of a TCP segment, all merged segments together
  Skb* next = nullptr;          ///< in whatever queue it is
  Skb* frag_list = nullptr;     ///< further fragments of a reassembled datagram, segments merged by GRO
  /// Ring of the clones that share the page (skb_shared_info.dataref = its length); itself if there is none.
  Skb* clones = this;
  std::string_view holder;  ///< who has this skb, as last told to held()
  std::uint64_t holder_id = 0;
};

/// First in, first out, threaded through Skb::next.
class SkbQueue {
 public:
  void push(Skb* skb) {
    skb->next = nullptr;
    (tail_ != nullptr ? tail_->next : head_) = skb;
    tail_ = skb;
    ++size_;
  }
  Skb* pop() {
    Skb* skb = head_;
    if (skb == nullptr) return nullptr;
    head_ = skb->next;
    if (head_ == nullptr) tail_ = nullptr;
    skb->next = nullptr;
    --size_;
    return skb;
  }
  const Skb* front() const { return head_; }
  std::size_t size() const { return size_; }
  bool empty() const { return head_ == nullptr; }

 private:
  Skb* head_ = nullptr;
  Skb* tail_ = nullptr;
  std::size_t size_ = 0;
};

/// Allocation and freeing of skbs; no host allocation in steady state.
class SkbAllocator {
 public:
  SkbAllocator(kernel::Kernel& kernel, pagepool::PagePools& pools, const mm::Trace& trace,
               const StackTrace& stack_trace)
      : kernel_(kernel), pools_(pools), trace_(trace), stack_trace_(stack_trace) {}

  /// napi_build_skb over a page that the driver takes out of its ring.
  Skb* build_skb(sim::Pfn page, std::uint32_t offset, std::uint32_t length);
  /// skb_clone(): another skb over the same page. The page goes back when the last of them is freed.
  Skb* skb_clone(const Skb& skb);
  /// Frees the skb and its frag_list; each page goes to the pool it belongs to by then, or to the allocator.
  /// Any context. `reason`: why it is dropped, a literal (SkbFreed::reason).
  void kfree_skb(Skb* skb, const char* reason = "NOT_SPECIFIED");
  /// The same for an skb that has come to where it should.
  void consume_skb(Skb* skb);
  /// A page without an skb (xdp_return_frame): to the pool it belongs to by then, or to the allocator.
  void free_page(sim::Pfn page);
  /// The bytes of the frame, in simulated DRAM.
  std::span<const std::uint8_t> bytes(const Skb& skb) const {
    return {kernel_.store().host(sim::to_phys(skb.page) + skb.offset, skb.length), skb.length};
  }
  /// Who holds the skb's pages from now on (for "who holds page P?").
  void held(Skb& skb, std::string_view holder, std::uint64_t id) const;

  /// skbs in somebody's hands.
  std::uint64_t outstanding() const { return outstanding_; }
  kernel::Kernel& kernel() { return kernel_; }

 private:
  Skb* take();
  void free(Skb* skb, const char* reason);
  void tell_freed(const Skb& skb, const char* reason) const;
  kernel::Kernel& kernel_;
  pagepool::PagePools& pools_;
  const mm::Trace& trace_;
  const StackTrace& stack_trace_;
  std::vector<std::unique_ptr<Skb>> all_;
  std::vector<Skb*> free_;
  std::uint64_t outstanding_ = 0;
};

}  // namespace nic
