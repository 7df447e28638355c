// SPDX-License-Identifier: Apache-2.0
// Checker: set-up, pages, devices, pools, and who holds what. The DMA side is in checker_dma.cpp, the laws of
// time and of the end in checker_laws.cpp.
#include "testbenches/checker/checker.h"

#include <fmt/format.h>

#include <algorithm>

#include "iommu/iommu.h"
#include "kernel/device.h"
#include "sim/error.h"

namespace checker {

void CheckerConfig::validate() const {
  const auto positive = [](sim::Tick t, const char* field) {
    if (t == 0) throw sim::Error(fmt::format("checker.{}: must be longer than nothing", field));
  };
  positive(bh_off_bound, "bh_off_bound");
  positive(lock_bound, "lock_bound");
  positive(shutdown_bound, "shutdown_bound");
}

Checker::Checker(const sim::Timeline& timeline, CheckerConfig config) : timeline_(timeline), config_(config) {
  config_.validate();
}

void Checker::attach(mm::Trace& t) {
  t.page_allocated.subscribe([this](const auto& e) { on(e); });
  t.page_freed.subscribe([this](const auto& e) { on(e); });
  t.page_held.subscribe([this](const auto& e) { on(e); });
}

void Checker::attach(kernel::Trace& t) {
  const auto listen = [this](auto& tracepoint) { tracepoint.subscribe([this](const auto& e) { on(e); }); };
  listen(t.dma_mapped);
  listen(t.dma_unmapped);
  listen(t.dma_unmapped_all);
  listen(t.dma_synced);
  listen(t.iova_allocated);
  listen(t.iova_freed);
  listen(t.iommu_mapped);
  listen(t.iommu_unmapped);
  listen(t.iommu_attached);
  listen(t.memory_hotplug);
  listen(t.device_added);
  listen(t.device_bound);
  listen(t.device_unbinding);
  listen(t.device_unbound);
  listen(t.device_removed);
  listen(t.device_freed);
  listen(t.domain_used_after_free);
  listen(t.bh_section);
  listen(t.lock_held);
  listen(t.spin);
  listen(t.oops);
  listen(t.warn);
}

void Checker::attach(pagepool::Trace& t) {
  const auto listen = [this](auto& tracepoint) { tracepoint.subscribe([this](const auto& e) { on(e); }); };
  listen(t.created);
  listen(t.state_hold);
  listen(t.state_release);
  listen(t.unmapping);
  listen(t.destroying);
  listen(t.destroyed);
  listen(t.release_retried);
  listen(t.freed);
  listen(t.misused);
}

void Checker::attach(iommu::Iommu& iommu) {
  iommu.translated.subscribe([this](const auto& e) { on(e); });
  iommu.faulted.subscribe([this](const auto& e) { on(e); });
}

void Checker::attach(nic::NicTracepoints& t) {
  const auto listen = [this](auto& tracepoint) { tracepoint.subscribe([this](const auto& e) { on(e); }); };
  listen(t.packet_arrived);
  listen(t.packet_dropped);
  listen(t.packet_delivered);
  listen(t.descriptor_fetched);
  listen(t.buffer_written);
}

void Checker::sample(Finding& f, std::uint64_t pfn, std::uint64_t address) {
  const PageShadow* page = pfn != 0 ? head_page(sim::Pfn(pfn)) : nullptr;
  if (page != nullptr) FindingLog::held(f, holders_.name(page->now().holder));
  if (f.samples.size() < FindingLog::kSamples) {
    f.samples.push_back({now(), pfn, address, page != nullptr ? describe_holder(*page) : ""});
  }
}

// --- Pages
// ------------------------------------------------------------------------------------------------------

std::uint8_t HolderNames::intern(std::string_view name) {
  if (const std::uint8_t* index = known(name)) return *index;
  return (known_[slot(name)] = {name, find_or_add(name)}).index;
}

std::uint8_t HolderNames::find_or_add(std::string_view name) {
  for (std::size_t i = 0; i < names_.size(); ++i) {
    if (names_[i] == name) return static_cast<std::uint8_t>(i);
  }
  POOLSIM_ASSERT(names_.size() < 256);
  names_.push_back(name);
  return static_cast<std::uint8_t>(names_.size() - 1);
}

const PageShadow* Checker::head_page(sim::Pfn pfn) const {
  const PageShadow* page = pages_.find(pfn);
  if (page == nullptr || page->head_offset == 0) return page;
  return pages_.find(pfn - page->head_offset);
}

void Checker::on(const mm::PageAllocated& e) {
  for (std::uint32_t i = 0; i < (1u << e.order); ++i) {
    PageShadow& p = pages_.at(e.pfn + i);
    if (p.allocated) {
      report(FindingClass::kUseAfterFree, 1, e.pfn.value, to_phys(e.pfn).value, [&](Finding& f) {
        f.place = "page allocator";
        f.who = "buddy allocator";
        f.whom = describe_page(e.pfn);
        f.detail = "a page was handed out that somebody still has";
      });
    }
    ++p.generation;
    p.allocated = true;
    p.allocated_at = now();
    p.head_offset = i;
    p.pool = 0;
    p.mappings = 0;
    p.steps = 1;
    p.newest = 0;
    p.path[0] = {now(), 0, 0};
  }
}

void Checker::on(const mm::PageFreed& e) {
  const PageShadow* head = pages_.find(e.pfn);
  const auto use_after_free = [&](std::uint64_t key, const char* detail) {
    report(FindingClass::kUseAfterFree, key, e.pfn.value, to_phys(e.pfn).value, [&](Finding& f) {
      f.place = "page allocator";
      f.who = "whoever put the last page reference";
      f.whom = describe_page(e.pfn);
      f.detail = detail;
    });
  };
  if (head == nullptr) return;  // allocated before anybody listened
  if (!head->allocated) use_after_free(2, "a free page was freed again");
  if (head->pool != 0) use_after_free(3, "a page was freed that a page_pool still counts (page_pool leak)");
  if (head->mappings != 0 && std::ranges::any_of(mappings_, [&](const Mapping& m) {
        return m.live && !m.abandoned && to_pfn(sim::PhysAddr(m.phys)) == e.pfn && reachable(m);
      })) {
    use_after_free(4, "a page was freed that is still mapped for a device");
  }
  for (std::uint32_t i = 0; i < (1u << e.order); ++i) {
    PageShadow& p = pages_.at(e.pfn + i);
    p.allocated = false;
    p.freed_at = now();
    p.pool = 0;
    p.steps = 1;
    p.newest = 0;
    p.path[0] = {now(), 0, 0};
  }
}

// Without calls but the last, so that nothing is saved for them: of every packet there are several.
void Checker::on(const mm::PageHeld& e) {
  const std::uint8_t* const holder = holders_.known(e.holder);
  PageShadow* const p = pages_.there(e.pfn);
  if (__builtin_expect(holder == nullptr || p == nullptr || !p->allocated, 0)) return held_for_the_first_time(e);
  p->passes_to(*holder, e.id, now());
}

/// The holder or the page may be new, or the page free.
[[gnu::noinline]] void Checker::held_for_the_first_time(const mm::PageHeld& e) {
  const std::uint8_t holder = holders_.intern(e.holder);
  PageShadow& p = pages_.at(e.pfn);
  if (!p.allocated) held_unallocated(e, p, holder);
  p.passes_to(holder, e.id, now());
}

/// Never seen before: allocated before anybody listened.
[[gnu::cold, gnu::noinline]] void Checker::held_unallocated(const mm::PageHeld& e, PageShadow& p,
                                                            std::uint8_t holder) {
  if (p.generation == 0) {
    p.generation = 1;
    p.allocated = true;
    return;
  }
  report(FindingClass::kUseAfterFree, 100 + holder, e.pfn.value, to_phys(e.pfn).value, [&](Finding& f) {
    f.place = std::string(e.holder);
    f.who = fmt::format("{} {}", e.holder, e.id);
    f.whom = describe_page(e.pfn);
    f.detail = "a free page is in the hands of a holder";
  });
}

std::string Checker::describe_holder(const PageShadow& page) const {
  if (!page.allocated) return fmt::format("free since {}", format_time(page.freed_at));
  const PageShadow::Step& step = page.now();
  return fmt::format("{} {} since {}", holders_.name(step.holder), step.id, format_time(step.since));
}

std::string Checker::describe_page(sim::Pfn pfn) const {
  const PageShadow* page = head_page(pfn);
  if (page == nullptr) return fmt::format("page {:#x}", pfn.value);
  return fmt::format("page {:#x}{}, {}", pfn.value,
                     page->pool != 0 ? fmt::format(" of pool {}", page->pool) : "", describe_holder(*page));
}

std::optional<PageReport> Checker::who_holds(sim::Pfn pfn) const {
  const PageShadow* page = head_page(pfn);
  if (page == nullptr) return std::nullopt;
  const PageShadow::Step& step = page->now();
  PageReport r{pfn, page->allocated, page->pool, holders_.name(step.holder), step.id, step.since, {}, {}, {}};
  for (unsigned i = page->steps; i-- > 0;) {
    const auto& s = page->path[(page->newest + PageShadow::kPath - i) % PageShadow::kPath];
    r.path.push_back({holders_.name(s.holder), s.id, s.since});
  }
  if (page->mappings != 0) {
    for (const Mapping& m : mappings_) {
      if (!m.live || pfn.value < m.phys >> sim::kPageShift ||
          pfn.value > (m.phys + m.size - 1) >> sim::kPageShift) {
        continue;
      }
      r.iova = sim::Iova(m.iova);
      r.device = devices_[m.device].name;
    }
  }
  return r;
}

std::vector<PageReport> Checker::in_flight(std::uint32_t pool_id) const {
  std::vector<PageReport> all;
  pages_.for_each([&](sim::Pfn pfn, const PageShadow& page) {
    if (page.pool != 0 && (pool_id == 0 || page.pool == pool_id)) all.push_back(*who_holds(pfn));
  });
  return all;
}

// --- Devices
// ----------------------------------------------------------------------------------------------------

std::uint32_t Checker::find_or_add_device(const kernel::Device* d) {
  for (std::uint32_t i = 0; i < devices_.size(); ++i) {
    if (devices_[i].device == d) return last_device_ = i;
  }
  DeviceShadow s;
  s.device = d;
  s.name = d->name();
  s.requester = d->requester();
  return last_device_ = devices_.add(std::move(s));
}

void Checker::binding_changed(DeviceShadow& d, bool driver_bound, sim::Tick time) {
  d.bound = driver_bound;
  if (driver_bound) {
    ++d.binding;
    d.bound_at = time;
  } else {
    d.unbound_at = time;
  }
}

void Checker::on(const kernel::DeviceAdded& e) { device(e.device); }
void Checker::on(const kernel::DeviceBound& e) { note_binding(device(e.device), true, e.time); }
void Checker::on(const kernel::DeviceUnbinding& e) {
  DeviceShadow& d = device(e.device);
  d.unbinding_at = e.time;
  d.unbinding = true;
}

void Checker::on(const kernel::DeviceUnbound& e) {
  DeviceShadow& d = device(e.device);
  note_binding(d, false, e.time);
  d.unbound_at = e.time;
  d.unbinding = false;
  if (e.time > d.unbinding_at)
    summary_.longest_unbind = std::max(summary_.longest_unbind, e.time - d.unbinding_at);
}

void Checker::on(const kernel::DeviceRemoved& e) {
  DeviceShadow& d = device(e.device);
  d.present = false;
  d.removed_at = e.time;
}

void Checker::on(const kernel::DeviceFreed& e) {
  DeviceShadow& d = device(e.device);
  d.freed = true;
  d.freed_at = e.time;
}

std::string Checker::describe(const DeviceShadow& d) const {
  std::string text = d.name;
  if (d.freed) return text + fmt::format(" (struct device freed at {})", format_time(d.freed_at));
  if (!d.present) return text + fmt::format(" (removed at {})", format_time(d.removed_at));
  if (!d.bound) return text + fmt::format(" (no driver since {})", format_time(d.unbound_at));
  return text + fmt::format(" (driver bound at {})", format_time(d.bound_at));
}

// --- Pools
// ------------------------------------------------------------------------------------------------------

PoolShadow* Checker::pool(std::uint32_t id) {
  const auto at = std::ranges::find(pools_, id, &PoolShadow::id);
  return at != pools_.end() ? &*at : nullptr;
}

std::string Checker::pool_device(const PoolShadow& p) const {
  return p.device != kNoIndex ? devices_[p.device].name : "";
}

void Checker::on(const pagepool::PoolCreated& e) {
  PoolShadow p;
  p.id = e.pool;
  p.created_at = e.where.time;
  if (e.device != nullptr) p.device = device_index(e.device);
  pools_.push_back(p);
}

void Checker::on(const pagepool::Destroying& e) {
  if (PoolShadow* p = pool(e.pool)) {
    p->destroying = p->destroyed = true;
    p->destroyed_at = e.where.time;
  }
}

void Checker::on(const pagepool::Destroyed& e) {
  if (PoolShadow* p = pool(e.pool)) {
    p->destroying = false;
    p->inflight_at_destroy = p->inflight();
  }
}

void Checker::on(const pagepool::ReleaseRetried& e) {
  if (PoolShadow* p = pool(e.pool)) ++p->release_rounds;
}

void Checker::on(const pagepool::PoolFreed& e) {
  PoolShadow* p = pool(e.pool);
  if (p == nullptr) return;
  p->freed = true;
  p->freed_at = e.where.time;
  if (!p->destroyed || p->freed_at - p->destroyed_at <= shutdown_bound()) return;
  report(FindingClass::kStalledShutdown, e.pool, 0, 0, [&](Finding& f) {
    f.place = "page_pool_release_retry";
    f.who = fmt::format("pool {} of {}", e.pool, pool_device(*p));
    f.detail = fmt::format("ended {} after its destroy", format_time(p->freed_at - p->destroyed_at));
  });
}

void Checker::on(const pagepool::StateHold& e) {
  if (e.is_net_iov) return;  // no page of ours: the shadow knows pages
  PageShadow& page = pages_.at(e.pfn);
  if (page.generation == 0) page.generation = 1, page.allocated = true;
  page.pool = e.pool;
  PoolShadow* p = pool(e.pool);
  if (p == nullptr) return;
  ++p->hold;
  if (!p->freed) return;
  report(FindingClass::kUseAfterFree, 0x10000 + e.pool, e.pfn.value, to_phys(e.pfn).value, [&](Finding& f) {
    f.place = chain_text(e.where.chain);
    f.who = "whoever allocated from it";
    f.whom = fmt::format("pool {}, freed at {}", e.pool, format_time(p->freed_at));
    f.detail = "a freed pool gave out a page";
  });
}

void Checker::on(const pagepool::StateRelease& e) {
  if (e.is_net_iov) return;
  PageShadow& page = pages_.at(e.pfn);
  PoolShadow* p = pool(e.pool);
  if (p == nullptr) return;
  if (page.pool != e.pool) {
    report(FindingClass::kPoolMisuse, 0x20000 + e.pool, e.pfn.value, to_phys(e.pfn).value, [&](Finding& f) {
      f.place = chain_text(e.where.chain);
      f.who = fmt::format("pool {}", e.pool);
      f.whom = describe_page(e.pfn);
      f.detail = "a pool released a page that it does not have";
    });
  }
  page.pool = 0;
  ++p->release;
  p->last_release_at = e.where.time;
  if (!p->freed) return;
  report(FindingClass::kUseAfterFree, 0x30000 + e.pool, e.pfn.value, to_phys(e.pfn).value, [&](Finding& f) {
    f.place = chain_text(e.where.chain);
    f.who = "whoever returned the page";
    f.whom = fmt::format("pool {}, freed at {}", e.pool, format_time(p->freed_at));
    f.detail = "a page was returned to a freed pool";
  });
}

void Checker::on(const pagepool::Unmapping& e) {
  if (unmapping_.size() >= 256) unmapping_.erase(unmapping_.begin());  // announced, and never done
  unmapping_.push_back({e.pool, e.pfn, e.iova});
}

void Checker::on(const pagepool::Misused& e) {
  const bool freed = e.kind == pagepool::MisuseKind::pool_gone || e.kind == pagepool::MisuseKind::node_gone ||
                     e.kind == pagepool::MisuseKind::not_in_pool;
  const FindingClass kind = freed ? FindingClass::kUseAfterFree : FindingClass::kPoolMisuse;
  report(kind, 0x40000 + e.pool * 8 + static_cast<unsigned>(e.kind), e.pfn.value, to_phys(e.pfn).value,
         [&](Finding& f) {
           f.place = chain_text(e.where.chain);
           f.who = fmt::format("core {}, in pool {}", e.where.cpu, e.pool);
           f.whom = describe_page(e.pfn);
           f.detail = pagepool::to_string(e.kind);
         });
}

std::string chain_text(kernel::CallChain chain) {
  std::string text;
  for (const char* function : chain) {
    if (!text.empty()) text += " <- ";
    text += function;
  }
  return text;
}

}  // namespace checker
