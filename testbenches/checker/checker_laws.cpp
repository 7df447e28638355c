// SPDX-License-Identifier: Apache-2.0
// Checker: laws of time (bottom halves, locks), what the modelled kernel itself complains about, and the laws
// of the end of a run.
#include <fmt/format.h>

#include <algorithm>

#include "sim/digest.h"
#include "testbenches/checker/checker.h"

namespace checker {
namespace {

std::string join(const std::vector<std::string>& chain, const std::string& innermost) {
  std::string text = innermost;
  for (const std::string& function : chain) text += (text.empty() ? "" : " <- ") + function;
  return text;
}

/// Is the page in the hands of the pool or of its driver? Everybody else (sockets, queues) may still give it
/// back.
bool held_inside(std::string_view holder) {
  return holder == "nobody" || holder == "RX ring" || holder.starts_with("page_pool ");
}

}  // namespace

void Checker::on(const kernel::BhSection& e) {
  const sim::Tick length = e.end - e.begin;
  if (length > summary_.longest_bh_off) {
    summary_.longest_bh_off = length;
    summary_.longest_bh_off_function = e.function;
    summary_.longest_bh_off_chain = chain_text(e.chain);
  }
  if (length <= config_.bh_off_bound) return;
  report(FindingClass::kBhOff, sim::digest_tag(e.function), 0, 0, [&](Finding& f) {
    f.place = e.function;
    f.who = fmt::format("core {}", e.cpu);
    f.detail = fmt::format("bottom halves off for {} from {}", format_time(length), format_time(e.begin));
  });
}

void Checker::on(const kernel::Spin& e) {
  if (!e.softirq || e.end - e.begin <= summary_.longest_spin) return;
  summary_.longest_spin = e.end - e.begin;
  summary_.longest_spin_lock = e.lock;
  summary_.longest_spin_chain = chain_text(e.chain);
}

void Checker::on(const kernel::MemoryHotplugged& e) {
  ++summary_.hotplug_steps;
  if (e.error != 0) ++summary_.hotplug_errors;
  summary_.longest_hotplug_wait = std::max(summary_.longest_hotplug_wait, e.got_lock - e.begin);
}

void Checker::on(const kernel::LockHeld& e) {
  note_lock_order(e);
  if (e.released - e.acquired - e.held_core <= config_.lock_bound) return;
  report(FindingClass::kLockHeld, sim::digest_tag(e.lock), 0, 0, [&](Finding& f) {
    f.place = e.lock;
    f.who = fmt::format("core {}", e.cpu);
    f.detail =
        fmt::format("held for {} from {}", format_time(e.released - e.acquired), format_time(e.acquired));
  });
}

// As lockdep does it: by name, and without anybody having to meet anybody. A lock taken while another one is held on
// the same core gives an order; both orders of two locks are one deadlock waiting to happen.
void Checker::note_lock_order(const kernel::LockHeld& e) {
  if (lock_events_.size() <= e.cpu) lock_events_.resize(e.cpu + 1);
  auto& mine = lock_events_[e.cpu];
  const std::uint64_t outer = sim::digest_tag(e.lock);
  for (const LockEvent& inner : mine) {
    if (inner.acquired < e.acquired || inner.lock == e.lock) continue;
    const std::uint64_t tag = sim::digest_tag(inner.lock);
    if (!lock_orders_.insert({outer, tag}).second || !lock_orders_.contains({tag, outer})) continue;
    report(FindingClass::kLockOrder, outer ^ tag, 0, 0, [&](Finding& f) {
      f.place = fmt::format("{} inside {}", inner.lock, e.lock);
      f.who = fmt::format("core {}", e.cpu);
      f.detail = fmt::format("elsewhere {} is taken inside {}", e.lock, inner.lock);
    });
  }
  // Only what was taken after the outermost lock that is still held can matter; a short history is enough.
  if (mine.size() == 16) mine.erase(mine.begin());
  mine.push_back({e.lock, e.acquired});
}

void Checker::on(const kernel::Oops& e) {
  if (!summary_.oops) summary_.oops = e;
  const bool null_domain = e.symbol == "iommu_get_dma_domain" && e.address < sim::kPageSize;
  Finding& finding =
      report(null_domain ? FindingClass::kNullDomainOops : FindingClass::kOops, sim::digest_tag(e.symbol), 0,
             e.address, [&](Finding& f) {
               f.place = join(e.chain, e.symbol);
               f.who = e.workqueue.empty() ? e.task : fmt::format("{} (workqueue: {})", e.task, e.workqueue);
               f.detail = e.title;
             });
  if (!null_domain) return;
  // Every page that would have met the same end: in flight, of a device without a driver.
  pages_.for_each([&](sim::Pfn, const PageShadow& page) {
    const PoolShadow* p = page.pool != 0 ? pool(page.pool) : nullptr;
    if (p == nullptr || p->device == kNoIndex || !devices_[p->device].driverless()) return;
    FindingLog::held(finding, holders_.name(page.now().holder));
  });
}

void Checker::on(const kernel::Warn& e) {
  report(FindingClass::kKernelWarning, sim::digest_tag(e.text), 0, 0, [&](Finding& f) {
    f.place = join(e.chain, "");
    f.who = fmt::format("core {}", e.cpu);
    f.detail = e.text;
  });
}

void Checker::racer_stuck(const StuckTask& stuck) {
  report(stuck.kind, sim::digest_tag(stuck.task), 0, 0, [&](Finding& f) {
    f.place = stuck.chain.empty() ? "task " + stuck.task : stuck.chain;
    f.who = fmt::format("{} on core {}", stuck.task, stuck.cpu);
    f.whom = stuck.whom;
    f.detail = stuck.detail;
  });
}

void Checker::raced(const DataRace& race) {
  const auto innermost = [](const RaceSide& s) { return s.chain.substr(0, s.chain.find(" <- ")); };
  const auto what = [](const RaceSide& s) {
    return fmt::format("{}{}", s.plain ? "plain " : "marked ", s.write ? "write" : "read");
  };
  const std::uint64_t key =
      sim::digest_tag(race.field + innermost(race.earlier) + "|" + innermost(race.later) + what(race.later));
  report(FindingClass::kDataRace, key, 0, 0, [&](Finding& f) {
    const std::string field = race.field.empty() ? "a field" : race.field;
    f.place = fmt::format("{} in {}", field, race.later.chain);  // the field belongs to what makes it this race
    f.who = fmt::format("core {}, {}", race.later.cpu, what(race.later));
    f.whom = fmt::format("core {}, {} in {}", race.earlier.cpu, what(race.earlier), race.earlier.chain);
    f.detail = fmt::format("nothing orders them, {} apart", format_time(race.later.time - race.earlier.time));
  });
}

void Checker::finish() {
  check_end_of_pools();
  check_end_of_mappings();
  check_end_of_frames();
  for (std::uint32_t i = 0; i < devices_.size(); ++i) {
    const DeviceShadow& d = devices_[i];
    if (d.unbinding) summary_.unbind_pending = std::max(summary_.unbind_pending, now() - d.unbinding_at);
  }
}

void Checker::check_end_of_pools() {
  for (const PoolShadow& p : pools_) {
    if (!p.destroyed || p.freed) continue;
    const sim::Tick waited = now() - p.destroyed_at;
    if (waited > shutdown_bound() || summary_.oops) {
      report(FindingClass::kStalledShutdown, p.id, 0, 0, [&](Finding& f) {
        f.place = "page_pool_release_retry";
        f.who = fmt::format("pool {} of {}", p.id, pool_device(p));
        f.detail =
            fmt::format("{} pages in flight, {} after its destroy{}", static_cast<std::int64_t>(p.inflight()), format_time(waited),
                        summary_.oops ? "; an oops ended the work that would release them" : "");
      });
    }
  }
  pages_.for_each([&](sim::Pfn pfn, const PageShadow& page) {
    const PoolShadow* p = page.pool != 0 ? pool(page.pool) : nullptr;
    if (p == nullptr || !p->destroyed || page.head_offset != 0) return;
    const std::string_view holder = holders_.name(page.now().holder);
    const bool lost_by_oops = summary_.oops && !p->freed;
    if (!p->freed && !held_inside(holder)) return;  // still held, legitimately
    if (!p->freed && !lost_by_oops && now() - p->destroyed_at <= shutdown_bound())
      return;  // may still come
    ++summary_.leaked_pages;
    report(FindingClass::kLeakedPage, p->id, pfn.value, to_phys(pfn).value, [&](Finding& f) {
      f.place = std::string(holder);
      f.who = fmt::format("pool {} of {}", p->id, pool_device(*p));
      f.whom = describe_page(pfn);
      f.detail = "in flight at the end of the run, and nothing is left that would release it";
    });
  });
}

void Checker::check_end_of_mappings() {
  for (std::uint32_t i = 0; i < mappings_.size(); ++i) {
    const Mapping& m = mappings_[i];
    if (!m.live) continue;
    const DeviceShadow& d = devices_[m.device];
    const bool abandoned = m.abandoned;
    if (!abandoned) {
      if (!d.driverless() && m.binding == d.binding) continue;
      // Somebody may still come and unmap it, late: that is another finding.
      const PageShadow* page = head_page(to_pfn(sim::PhysAddr(m.phys)));
      const PoolShadow* p = page != nullptr && page->pool != 0 ? pool(page->pool) : nullptr;
      if (p != nullptr && !p->freed && !summary_.oops && now() - p->destroyed_at <= shutdown_bound())
        continue;
      if (p != nullptr && !p->freed && !held_inside(holders_.name(page->now().holder))) continue;
    }
    const std::uint64_t pfn = m.phys >> sim::kPageShift;
    ++summary_.leaked_mappings;
    report(FindingClass::kLeakedMapping, m.device, pfn, m.iova, [&](Finding& f) {
      f.place = abandoned ? "dma_unmap_page_attrs without DMA ops" : "never unmapped";
      f.who = describe(d);
      f.whom = describe(m);
      f.detail = abandoned ? "the unmap was treated as dma-direct: page table entry and IOVA stay behind"
                           : "still mapped at the end of the run for a device without a driver";
    });
    // The allocator of a removed device went with its domain.
    if (d.domain == kNoIndex || !d.present || iovas_.find(m.iova >> sim::kPageShift, d.domain) == kNoIndex)
      continue;
    ++summary_.leaked_iovas;
    report(FindingClass::kLeakedIova, m.device, pfn, m.iova, [&](Finding& f) {
      f.place = fmt::format("IOVA allocator of domain {}", d.domain);
      f.who = describe(d);
      f.detail = "allocated at the end of the run, and its owner is gone";
    });
  }
}

void Checker::check_end_of_frames() {
  if (frames_.size() == 0) return;
  // Frames are served in order of arrival: one without an outcome, older than one with, has been lost.
  for (std::uint64_t serial = 0; serial < last_outcome_; ++serial) {
    if (frames_.find(serial, 0) == kNoIndex) continue;
    report(FindingClass::kLostPacket, 0, 0, serial, [&](Finding& f) {
      f.place = "NIC";
      f.who = fmt::format("frame {}", serial);
      f.detail = "arrived, and was neither delivered nor counted as dropped, although later ones were";
    });
  }
}

}  // namespace checker
