// SPDX-License-Identifier: Apache-2.0
#include "nic/stack/skb.h"

#include "nic/stack/costs.h"
#include "pagepool/page_ops.h"

namespace nic {

Skb* SkbAllocator::take() {
  if (free_.empty()) {
    all_.push_back(std::make_unique<Skb>());
    free_.push_back(all_.back().get());
  }
  Skb* skb = free_.back();
  free_.pop_back();
  ++outstanding_;
  return skb;
}

Skb* SkbAllocator::build_skb(sim::Pfn page, std::uint32_t offset, std::uint32_t length) {
  KFUNC("napi_build_skb");
  kernel::work(kStackCosts.build_skb);
  Skb* skb = take();
  ::new (skb) Skb;
  skb->page = page;
  skb->offset = offset;
  skb->length = length;
  skb->truesize = static_cast<std::uint32_t>(sim::kPageSize) + 256;
  skb->received = kernel_.now();
  skb->alloc_cpu = kernel::this_cpu().cpu();
  return skb;
}

Skb* SkbAllocator::skb_clone(const Skb& skb) {
  KFUNC("skb_clone");
  kernel::work(kStackCosts.build_skb);
  kernel::this_cpu().atomic(sim::to_phys(skb.page));  // dataref lies behind the data
  Skb* clone = take();
  *clone = skb;
  clone->next = clone->frag_list = nullptr;
  clone->clones = skb.clones;
  const_cast<Skb&>(skb).clones = clone;
  return clone;
}

void SkbAllocator::kfree_skb(Skb* skb, const char* reason) {
  KFUNC("kfree_skb");
  free(skb, reason);
}

void SkbAllocator::consume_skb(Skb* skb) {
  KFUNC("consume_skb");
  free(skb, nullptr);
}

void SkbAllocator::tell_freed(const Skb& skb, const char* reason) const {
  const auto& cpu = kernel::this_cpu();
  stack_trace_.skb_freed.emit({&skb, reason, cpu.call_chain().subspan(1), cpu.now()});
}

void SkbAllocator::free(Skb* skb, const char* reason) {
  while (skb != nullptr) {
    if (__builtin_expect(stack_trace_.skb_freed.enabled(), 0)) tell_freed(*skb, reason);
    kernel::work(kStackCosts.kfree_skb);
    Skb* next = skb->frag_list;
    const sim::Pfn page = skb->page;
    Skb* other = skb->clones;
    // Still its holder's, as far as the holder knows: the page may have been freed under it.
    if (!skb->holder.empty()) trace_.held(page, skb->holder, skb->holder_id);
    free_.push_back(skb);
    --outstanding_;
    if (other != skb) {  // a clone still has the page
      kernel::this_cpu().atomic(sim::to_phys(page));
      Skb* before = other;
      while (before->clones != skb) before = before->clones;
      before->clones = other;
      if (!other->holder.empty()) trace_.held(page, other->holder, other->holder_id);
    } else {
      KFUNC("skb_pp_recycle");
      free_page(page);
    }
    skb = next;
  }
}

void SkbAllocator::free_page(sim::Pfn page) {
  if (!pools_.napi_pp_put_page(page)) pagepool::put_page(kernel_, page);
}

void SkbAllocator::held(Skb& skb, std::string_view holder, std::uint64_t id) const {
  for (Skb* s = &skb; s != nullptr; s = s->frag_list) {
    s->holder = holder;
    s->holder_id = id;
    trace_.held(s->page, holder, id);
  }
}

}  // namespace nic
