// SPDX-License-Identifier: Apache-2.0
#include "pagepool/sim_env.h"

#include <algorithm>
#include <array>

namespace pagepool {

SimEnv::SimEnv(PagePools& pools, unsigned id)
    : pools_(pools),
      kernel_(pools.kernel()),
      frames_(kernel_.frames()),
      store_(kernel_.store()),
      id_(id),
      stats_(kernel_.cores()) {}

bool SimEnv::tracking_fails() {
  const bool nth = fail_track_nth_ != 0 && ++track_allocations_ >= fail_track_nth_ &&
                   track_allocations_ - fail_track_nth_ < fail_track_times_;
  if (!nth && !pools_.track_fails()) return false;
  kernel::work(kernel_.config().costs.slab_alloc);
  ++track_failures_;
  return true;
}

bool SimEnv::memory_new(const void* host, std::size_t bytes) {
  const bool tracking = ring_.host != nullptr;  // after the pool and its ring only strategies ask
  if (tracking && tracking_fails()) return false;
  sim::PhysAddr address = pools_.memory().kmalloc(bytes);
  // Whoever had the memory before is done with it.
  if (kernel::in_kernel_code()) kernel::this_cpu().acquires(reinterpret_cast<const void*>(address.value));
  if (address.value == 0) {
    if (tracking) ++track_failures_;
    return false;
  }
  Region region{static_cast<const std::byte*>(host), bytes, address.value};
  if (!pool_.host) {
    pool_ = region;
    pool_address_ = address.value;
    pools_.register_address(pool_address_, id_);
  } else if (!ring_.host) {
    ring_ = region;
  } else {
    auto after = std::upper_bound(others_.begin(), others_.end(), region,
                                  [](const Region& a, const Region& b) { return a.host < b.host; });
    others_.insert(after, region);
    std::erase_if(freed_nodes_, [&region](const Region& freed) {
      return freed.host < region.host + region.bytes && region.host < freed.host + freed.bytes;
    });
  }
  return true;
}

void SimEnv::memory_delete(const void* host, std::size_t bytes) {
  if (freed_) return;
  auto region = std::find_if(others_.begin(), others_.end(), [&](const Region& r) { return r.host == host; });
  if (region == others_.end()) return;  // the pool and its ring go together, in free_regions()
  if (kernel::in_kernel_code()) kernel::this_cpu().releases(reinterpret_cast<const void*>(region->address));
  pools_.memory().kfree(sim::PhysAddr(region->address), bytes);
  // Kept, so that an access from now on is seen.
  if (kernel::in_kernel_code() && kernel::this_cpu().exploring()) freed_nodes_.push_back(*region);
  others_.erase(region);
}

void SimEnv::free_regions() {
  pools_.unregister_address(pool_address_);
  for (const Region& region : others_) pools_.memory().kfree(sim::PhysAddr(region.address), region.bytes);
  if (ring_.host) pools_.memory().kfree(sim::PhysAddr(ring_.address), ring_.bytes);
  if (pool_.host) pools_.memory().kfree(sim::PhysAddr(pool_.address), pool_.bytes);
  freed_ = true;
}

void SimEnv::report_use_after_free(MisuseKind kind) {
  // Once for each stretch of code: the first access tells it all.
  const char* function = kernel::in_kernel_code() ? kernel::this_cpu().function() : "";
  if (function == reported_in_) return;
  reported_in_ = function;
  pools_.misuse(kind, id_, 0, sim::Pfn(0));
}

std::uint64_t SimEnv::find_region(const std::byte* at) {
  auto after = std::upper_bound(others_.begin(), others_.end(), at,
                                [](const std::byte* a, const Region& b) { return a < b.host; });
  if (after != others_.begin()) {
    const Region& region = *std::prev(after);
    if (static_cast<std::size_t>(at - region.host) < region.bytes) return region.address + (at - region.host);
  }
  for (const Region& freed : freed_nodes_) {
    if (static_cast<std::size_t>(at - freed.host) < freed.bytes) report_use_after_free(MisuseKind::node_gone);
  }
  return pool_.address;
}

void SimEnv::load_other(std::uint64_t address, Access kind, const char* name) {
  kernel::Context& cpu = kernel::this_cpu();
  if (PAGEPOOL_UNLIKELY(cpu.exploring())) return touch_explored(address, kind, name);
  remember_other(cpu, recent_line(address, false));
  cpu.load(sim::PhysAddr(address));
}

void SimEnv::store_other(std::uint64_t address, Access kind, const char* name) {
  kernel::Context& cpu = kernel::this_cpu();
  if (PAGEPOOL_UNLIKELY(cpu.exploring())) return touch_explored(address, kind, name);
  remember_other(cpu, recent_line(address, true));
  cpu.store(sim::PhysAddr(address));
}

// Explored, every access is an interleaving point: none is the continuation of another.
void SimEnv::touch_explored(std::uint64_t address, Access kind, const char* name) {
  recent_[0] = recent_[1] = 0;
  recent_core_ = nullptr;
  if (writes(kind)) {
    kernel::this_cpu().store(sim::PhysAddr(address));
  } else {
    kernel::this_cpu().load(sim::PhysAddr(address));
  }
  tell(address, name, kind);
}

unsigned SimEnv::alloc_bulk(int nid, std::span<Netmem> pages) {
  std::array<sim::Pfn, kAllocCacheRefill> pfns;
  unsigned got = pagepool::alloc_pages_bulk(kernel_, nid, std::span(pfns).first(pages.size()));
  for (unsigned i = 0; i < got; ++i) pages[i] = netmem(pfns[i]);
  return got;
}

void SimEnv::clear_pp_info(Netmem netmem) {
  touch_field(netmem, mm::page_field::kPpMagic, Access::kStore, "page->pp_magic");
  tell_field(netmem, mm::page_field::kPp, Access::kStore, "page->pp");
  std::uint32_t index = magic_dma_index(get<std::uint64_t>(netmem, mm::page_field::kPpMagic));
  if (index != 0) warned(id_, Warning::dma_index_left, static_cast<int>(index), 0);
  set<std::uint64_t>(netmem, mm::page_field::kPpMagic, 0);
  set<std::uint64_t>(netmem, mm::page_field::kPp, 0);
}

namespace {
/// The lock that a mutant leaves out, by its name.
std::string_view left_out(Mutant mutant) {
  switch (mutant) {
    case Mutant::no_destroy_lock:
    case Mutant::early_destroy_unlock:
      return "destroy_lock";
    case Mutant::no_xa_lock:
      return "xa_lock";
    case Mutant::no_list_lock:
      return "tracked_list_lock";
    case Mutant::no_producer_lock:
    case Mutant::early_producer_unlock:
      return "ptr_ring.producer_lock";
    default:
      return "";
  }
}
bool early(Mutant mutant) {
  return mutant == Mutant::early_destroy_unlock || mutant == Mutant::early_producer_unlock;
}
}  // namespace

bool SimEnv::mutated_lock(SpinLock& lock, bool bh) {
  if (left_out(mutant_) != lock.name()) return false;
  if (bh) kernel::local_bh_disable();
  if (early(mutant_)) {
    lock.lock();
    lock.unlock();
  }
  return true;
}

bool SimEnv::mutated_unlock(SpinLock& lock, bool bh) {
  if (left_out(mutant_) != lock.name()) return false;
  if (bh) kernel::local_bh_enable();
  return true;
}

void SimEnv::set_dma_index(Netmem netmem, std::uint32_t index) {
  touch_field(netmem, mm::page_field::kPpMagic, Access::kStore, "page->pp_magic");
  if (PAGEPOOL_UNLIKELY(mutant_ == Mutant::keep_dma_index) && index == 0) return;
  std::uint64_t magic = get<std::uint64_t>(netmem, mm::page_field::kPpMagic) & ~kDmaIndexMask;
  set<std::uint64_t>(netmem, mm::page_field::kPpMagic, magic | std::uint64_t{index} << kDmaIndexShift);
}

bool SimEnv::map(Device& device, sim::Pfn page, std::size_t size, DmaDirection dir, DmaAddr& addr) {
  sim::Iova iova =
      kernel_.dma().dma_map_page_attrs(device, page, 0, size, static_cast<kernel::DmaDirection>(dir),
                                       kernel::kDmaAttrSkipCpuSync | kernel::kDmaAttrWeakOrdering);
  if (iova == kernel::kDmaMappingError) return false;
  addr = iova.value;
  return true;
}

void SimEnv::unmap(Device& device, sim::Pfn page, DmaAddr addr, std::size_t size, DmaDirection dir) {
  if (pools_.trace().unmapping.enabled()) pools_.trace().unmapping.emit({id_, page, sim::Iova(addr)});
  kernel_.dma().dma_unmap_page_attrs(device, sim::Iova(addr), size, static_cast<kernel::DmaDirection>(dir),
                                     kernel::kDmaAttrSkipCpuSync | kernel::kDmaAttrWeakOrdering);
}

bool SimEnv::dma_track_mappings() {
  if (tracking_fails()) return false;
  const bool started = kernel_.dma().track_mappings();
  if (!started) ++track_failures_;
  kernel_.dma().tracker().leave_out_locks(mutant_ == Mutant::no_hash_lock);
  return started;
}

std::uint64_t SimEnv::dma_tracking_bytes() const {
  return kernel_.dma().tracker().on() ? kernel::MappingTracker::bytes() : 0;
}

void SimEnv::iommu_detach_device(Device& device) {
  if (!device.iommu_group() || !device.iommu_group()->default_domain) return;
  kernel_.iommu().detach(device);
  kernel_.iommu().flush_iotlb_all(*device.iommu_group()->default_domain);
}

// The law of the walk: each pfn of each populated zone is asked for, paid for, and then looked at, at its own
// time. With --every-cycle that is what happens. Otherwise a stretch in which nobody else can act is paid at once,
// and in it only pages whose struct page was ever written are looked at; the others are zero.
std::uint64_t SimEnv::for_each_online_page(const std::function<bool(Netmem)>& f, bool schedulable) {
  kernel::Context& cpu = kernel::this_cpu();
  const kernel::Costs& costs = kernel_.config().costs;
  const bool page_by_page = kernel_.simulation().timeline().mode().every_cycle;
  std::uint64_t walked = 0;
  bool more = true;
  for (std::optional<mm::ZoneInfo> zone = zone_after(nullptr); zone && more; zone = zone_after(&*zone)) {
    // Hotplug may move the end, or take the zone away, under those who do not hold it off.
    for (sim::Pfn pfn = zone->start; more && pfn < zone_end(*zone);) {
      if (schedulable && walked % kScanStep == 0) cpu.cond_resched();
      const mm::PageFrames::Run run = frames_.online_run(pfn);
      const kernel::Cycle cost = run.online ? costs.scan_page : costs.scan_hole;
      const sim::Pfn end = std::min({run.end, zone_end(*zone), pfn + (kScanStep - walked % kScanStep)});
      const std::uint64_t free = page_by_page || pfn >= end ? 0 : cpu.undisturbed_steps(cost, end - pfn);
      if (free == 0) {
        cpu.work(cost);
        cpu.sync();
        ++walked;
        if (run.online) more = f(netmem(pfn));
        pfn += 1;
        continue;
      }
      for (const sim::Pfn last = pfn + free; pfn < last;) {
        const sim::Pfn next = run.online ? frames_.next_written(pfn, last) : last;
        const std::uint64_t steps = next - pfn + (next < last ? 1 : 0);
        cpu.pay_undisturbed(cost * steps);
        walked += steps;
        pfn += steps;
        if (next == last) break;
        const kernel::Cycle before = cpu.now_cycles();
        more = f(netmem(next));
        if (!more || cpu.now_cycles() != before) break;  // f did something, and the world went on meanwhile
      }
    }
  }
  cpu.sync();
  pools_.walked(walked);
  return walked;
}

std::optional<mm::ZoneInfo> SimEnv::zone_after(const mm::ZoneInfo* zone) const {
  for (const mm::ZoneInfo& z : frames_.zones()) {
    if (zone == nullptr || z.nid > zone->nid || (z.nid == zone->nid && z.type > zone->type)) return z;
  }
  return std::nullopt;
}

sim::Pfn SimEnv::zone_end(const mm::ZoneInfo& zone) const {
  for (const mm::ZoneInfo& z : frames_.zones()) {
    if (z.nid == zone.nid && z.type == zone.type) return z.end;
  }
  return sim::Pfn(0);
}

bool SimEnv::is_ours(Netmem netmem) const {
  const bool ours = get<std::int32_t>(netmem, mm::page_field::kRefcount) != 0 &&
                    has_signature(get<std::uint64_t>(netmem, mm::page_field::kPpMagic)) &&
                    get<std::uint64_t>(netmem, mm::page_field::kPp) == pool_address_;
  // What follows is done at this page's time.
  if (ours) kernel::this_cpu().sync();
  return ours;
}

void SimEnv::report_misuse(Netmem netmem, bool ours) {
  std::uint64_t flags = get<std::uint64_t>(netmem, mm::page_field::kFlags);
  Pool* owner = pools_.pool_of_struct(sim::PhysAddr(netmem.address()));
  MisuseKind kind = ours && (flags & kPageIdleInPool) != 0 ? MisuseKind::double_put
                    : owner                                ? MisuseKind::foreign_pool
                                                           : MisuseKind::not_in_pool;
  pools_.misuse(kind, id_, owner ? owner->id() : 0, pfn(netmem));
}

void SimEnv::warned(unsigned pool, Warning what, int a, int b) {
  if (pools_.trace().warned.enabled()) pools_.trace().warned.emit({pool, what, a, b, pools_.where()});
  switch (what) {
    case Warning::create_failed:
      kernel_.printk("page_pool_create_percpu() gave up with errno {}", -a);
      break;
    case Warning::refcnt_violation:
      kernel_.printk("page_pool_empty_ring() page_pool refcnt {} violation", a);
      break;
    case Warning::stalled:
      kernel_.printk("page_pool_release_retry() stalled pool shutdown: id {}, {} inflight {} sec", pool, a,
                     b);
      break;
    case Warning::negative_inflight:
      kernel_.warn(fmt::format("Negative({}) inflight packet-pages", a));
      break;
    case Warning::unmapped_mismatch:
      kernel_.warn(fmt::format("page_pool({}): unmapped({}) != inflight pages({})", pool, a, b));
      break;
    case Warning::dma_track_failed:
      kernel_.warn("couldn't track DMA mapping, please report to netdev@");
      break;
    case Warning::stalling_unregister:
      kernel_.printk("page pool release stalling device unregister: id {}, {} inflight", pool, a);
      break;
    default:
      kernel_.warn(fmt::format("page_pool({}): {} ({}, {})", pool, to_string(what), a, b));
      break;
  }
}

void SimEnv::state_hold(Netmem netmem, std::uint32_t hold) {
  static constexpr std::uint64_t kTag = sim::digest_tag("pagepool.state_hold");
  kernel_.simulation().note(kTag, id_, pfn(netmem).value);
  mark_idle(netmem, true);
  pools_.totals().hold.add(1);
  pools_.totals().inflight.add(1);
  if (!netmem.is_net_iov()) pools_.mm_trace().held(pfn(netmem), "page_pool alloc cache", id_);
  if (pools_.trace().state_hold.enabled())
    pools_.trace().state_hold.emit({id_, pfn(netmem), hold, pools_.where(), netmem.is_net_iov()});
}

void SimEnv::state_release(Netmem netmem, std::uint32_t release) {
  static constexpr std::uint64_t kTag = sim::digest_tag("pagepool.state_release");
  kernel_.simulation().note(kTag, id_, pfn(netmem).value);
  mark_idle(netmem, false);
  pools_.totals().release.add(1);
  pools_.totals().inflight.add(-1);
  if (pools_.trace().state_release.enabled())
    pools_.trace().state_release.emit({id_, pfn(netmem), release, pools_.where(), netmem.is_net_iov()});
}

void SimEnv::recycled(Netmem netmem, RecycleOutcome outcome) {
  sim::Pfn page = pfn(netmem);
  if (netmem.is_net_iov()) return;
  if (outcome == RecycleOutcome::cached || outcome == RecycleOutcome::ring) {
    pools_.mm_trace().held(
        page, outcome == RecycleOutcome::cached ? "page_pool alloc cache" : "page_pool ring", id_);
  }
  if (pools_.trace().recycled.enabled()) pools_.trace().recycled.emit({id_, page, outcome, pools_.where()});
}

}  // namespace pagepool
