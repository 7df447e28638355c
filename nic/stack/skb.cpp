// SPDX-License-Identifier: Apache-2.0
#include "nic/stack/skb.h"

#include "nic/stack/costs.h"
#include "pagepool/page_ops.h"

namespace nic {

Skb* SkbAllocator::build_skb(sim::Pfn page, std::uint32_t offset, std::uint32_t length) {
  KFUNC("napi_build_skb");
  kernel::work(kStackCosts.build_skb);
  if (free_.empty()) {
    all_.push_back(std::make_unique<Skb>());
    free_.push_back(all_.back().get());
  }
  Skb* skb = free_.back();
  free_.pop_back();
  *skb = Skb{};
  skb->page = page;
  skb->offset = offset;
  skb->length = length;
  skb->truesize = static_cast<std::uint32_t>(sim::kPageSize) + 256;
  skb->received = kernel_.now();
  ++outstanding_;
  return skb;
}

void SkbAllocator::kfree_skb(Skb* skb) {
  KFUNC("kfree_skb");
  while (skb != nullptr) {
    kernel::work(kStackCosts.kfree_skb);
    Skb* next = skb->frag_list;
    const sim::Pfn page = skb->page;
    free_.push_back(skb);
    --outstanding_;
    KFUNC("skb_pp_recycle");
    if (!pools_.napi_pp_put_page(page)) pagepool::put_page(kernel_, page);
    skb = next;
  }
}

void SkbAllocator::held(const Skb& skb, std::string_view holder, std::uint64_t id) const {
  for (const Skb* s = &skb; s != nullptr; s = s->frag_list) trace_.held(s->page, holder, id);
}

}  // namespace nic
