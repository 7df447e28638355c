// SPDX-License-Identifier: Apache-2.0
#include "testbenches/replay/plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <map>
#include <set>
#include <unordered_map>

namespace replay {
namespace {

constexpr unsigned kBulk = 64;  // PP_ALLOC_CACHE_REFILL
constexpr std::size_t kLookAhead = 256;
/// Distance kept between a drain of the ring and a put that it raced with.
constexpr std::uint64_t kDrainMargin_ns = 10'000;
/// Distance kept between steps that the capture gives one time stamp.
constexpr std::uint64_t kTie_ns = 200;
/// A put this long before an allocation may have come while that one was under way.
constexpr std::uint64_t kRefill_ns = 20'000;

class Planner {
 public:
  Planner(const Capture& capture, const Joined& joined)
      : capture_(capture), events_(capture.events), joined_(joined), page_(joined.pages.size()) {}

  Plan run() {
    plan_.end_ns = capture_.end_ns - capture_.begin_ns;
    find_devices();
    plan_pools();
    list_page_events();
    for (std::size_t i = 0; i < events_.size(); ++i) event(i);
    finish();
    return std::move(plan_);
  }

 private:
  struct PageState {
    std::vector<std::size_t> events;  // puts, allocs and the release of this page, in order
    std::size_t next = 0;
    std::size_t handle = kNone;  // out at the driver or its users
  };
  /// Where the free pages of a pool should be, as far as the calls show.
  struct FreePages {
    struct Entry {
      std::size_t page, put;  // into Joined::pages, steps_
    };
    std::set<std::size_t> cache;
    std::deque<Entry> ring;
  };
  struct Keyed {
    std::size_t at;  // event; steps sort by it
    int sub;         // -1: before it, 0: at it, 1: after it
    Step step;
  };

  // ---- devices

  std::size_t add_device(std::uint64_t address, std::size_t space) {
    plan_.devices.push_back({address, space, false});
    gone_.push_back(kNone);
    return plan_.devices.size() - 1;
  }

  /// Devices by struct device: each mapping event belongs to the instance alive at that event.
  void find_devices() {
    device_of_mapping_.assign(joined_.mappings.size(), kNone);
    std::unordered_map<std::uint64_t, std::size_t> alive;
    for (std::size_t i = 0; i < events_.size(); ++i) {
      const Event& e = events_[i];
      if (e.kind == EventKind::kDeviceDel) {
        if (const auto it = alive.find(e.device); it != alive.end()) {
          gone_[it->second] = i;
          alive.erase(it);
        }
      }
      if (e.kind != EventKind::kDmaMap) continue;
      const std::size_t mapping = joined_.links[i].mapping;
      auto [it, fresh] = alive.try_emplace(e.device, 0);
      if (fresh) {
        it->second = add_device(e.device, joined_.mappings[mapping].space);
        first_seen_.push_back(i);
      }
      device_of_mapping_[mapping] = it->second;
    }
    if (plan_.devices.empty()) {
      add_device(0, 0);
      first_seen_.push_back(0);
    }
  }

  /// The device that a drv_probe or drv_remove at event `i` is about: the instance whose struct device lies
  /// inside, the next one to appear for a probe, the last one before for a removal; without any, the only
  /// device there is.
  std::size_t device_of_bus_event(std::size_t i) const {
    const bool probe = events_[i].kind == EventKind::kProbe;
    std::size_t found = kNone;
    for (std::size_t d = 0; d < plan_.devices.size(); ++d) {
      if (plan_.devices[d].address == 0 ||
          !device_inside(joined_.bus_devices, plan_.devices[d].address, events_[i].device))
        continue;
      const bool seen = first_seen_[d] < i;
      const bool gone = gone_[d] < i;
      if ((seen && !gone) || (seen && !probe)) found = d;
      if (!seen && probe && (found == kNone || gone_[found] < i)) return d;
    }
    if (found == kNone && plan_.devices.size() == 1) {
      const bool other = plan_.devices[0].address != 0 && any_bus_event_of(0);
      if (!other) found = 0;
    }
    return found;
  }

  /// Also when the bus device tells nothing of the struct device: then the pools whose removal it is (join.h)
  /// do.
  std::size_t removed_device(std::size_t i) const {
    const std::size_t device = device_of_bus_event(i);
    for (std::size_t p = 0; device == kNone && p < joined_.pools.size(); ++p) {
      if (joined_.pools[p].removal == i) return plan_.pools[p].device == kNone ? 0 : plan_.pools[p].device;
    }
    return device;
  }

  bool any_bus_event_of(std::size_t d) const {
    return std::any_of(events_.begin(), events_.end(), [&](const Event& e) {
      return (e.kind == EventKind::kProbe || e.kind == EventKind::kRemove) &&
             device_inside(joined_.bus_devices, plan_.devices[d].address, e.device);
    });
  }

  std::size_t device_by_address(std::uint64_t address, std::size_t before) const {
    std::size_t found = kNone;
    for (std::size_t d = 0; d < plan_.devices.size(); ++d) {
      if (plan_.devices[d].address == address && first_seen_[d] < before) found = d;
    }
    return found;
  }

  // ---- pools

  void plan_pools() {
    for (const PoolLife& life : joined_.pools) {
      PlannedPool pool;
      pool.address = life.address;
      for (const std::size_t index : life.pages) {
        const std::size_t mapping = joined_.pages[index].mapping;
        if (mapping == kNone) continue;
        const Mapping& m = joined_.mappings[mapping];
        pool.dma_map = true;
        pool.device = m.coherent ? 0 : device_of_mapping_[mapping];
        pool.direction = m.coherent ? 0 : events_[m.map].direction;
        while ((std::uint64_t{4096} << pool.order) < m.size) ++pool.order;
        break;
      }
      if (life.destroy != kNone) {
        pool.users = static_cast<unsigned>(std::count_if(life.destroys.begin(), life.destroys.end(),
                                                         [&](std::size_t d) { return d <= life.destroy; }));
      } else {
        pool.users = static_cast<unsigned>(life.destroys.size()) + 1;
      }
      plan_work(life, pool);
      plan_.pools.push_back(std::move(pool));
    }
  }

  void plan_work(const PoolLife& life, PlannedPool& pool) const {
    pool.work_ended = life.finished;
    for (const std::size_t r : life.retries) pool.work.push_back({since_begin(r), events_[r].cpu});
    if (life.retries.empty()) {  // without the pp_retry kprobe
      for (std::size_t r = 1; r < life.releases.size(); ++r) {
        pool.work.push_back({since_begin(life.releases[r]), events_[life.releases[r]].cpu});
      }
    }
    for (const std::size_t o : joined_.oopses) {
      if (joined_.links[o].pool != kNone && joined_.pools[joined_.links[o].pool].address == life.address &&
          !life.retries.empty() && context_key(events_[o]) == context_key(events_[life.retries.back()])) {
        pool.work_ended = true;
      }
    }
  }

  // ---- steps

  std::uint64_t since_begin(std::size_t i) const { return events_[i].time_ns - capture_.begin_ns; }

  Step& add(StepKind kind, std::size_t at, int sub = 0) {
    const Event& e = events_[at];
    Step step;
    step.kind = kind;
    step.context = e.context;
    step.line = e.line;
    step.pid = e.pid;
    step.cpu = e.cpu;
    step.time_ns = since_begin(at);
    steps_.push_back({at, sub, step});
    return steps_.back().step;
  }

  void list_page_events() {
    for (std::size_t i = 0; i < events_.size(); ++i) {
      const EventKind kind = events_[i].kind;
      const std::size_t page = joined_.links[i].page;
      if (page == kNone) continue;
      if (kind == EventKind::kPut || kind == EventKind::kAlloc || kind == EventKind::kStateRelease) {
        page_[page].events.push_back(i);
      }
    }
  }

  void event(std::size_t i) {
    const Event& e = events_[i];
    const Link& link = joined_.links[i];
    switch (e.kind) {
      case EventKind::kMark:
        add(StepKind::kMark, i).text = e.text;
        break;
      case EventKind::kPoolCreate:
        if (link.pool != kNone) add(StepKind::kCreatePool, i).pool = link.pool;
        break;
      case EventKind::kHold:
        if (joined_.pools[link.pool].first == i) add(StepKind::kCreatePool, i, -1).pool = link.pool;
        hold(i);
        break;
      case EventKind::kPoolDestroy:
        if (joined_.pools[link.pool].destroy == i) before_destroy(i);
        add(StepKind::kDestroyPool, i).pool = link.pool;
        break;
      case EventKind::kAlloc:
        if (link.page != kNone) alloc(i);
        break;
      case EventKind::kPut:
        put(i);
        break;
      case EventKind::kStateRelease:
        state_release(i);
        break;
      case EventKind::kProbe:
        if (const std::size_t d = device_of_bus_event(i); d != kNone) add(StepKind::kProbe, i).device = d;
        break;
      case EventKind::kRemove:
        if (const std::size_t d = removed_device(i); d != kNone) remove(i, d);
        break;
      case EventKind::kDeviceDel:
        if (const std::size_t d = device_by_address(e.device, i); d != kNone) device_del(i, d);
        break;
      case EventKind::kDmaMapReturn:
        map(i);
        break;
      case EventKind::kIommuMap:
        map_coherent(i);
        break;
      case EventKind::kDmaUnmap:
      case EventKind::kIommuUnmap:
        unmap(i);
        break;
      case EventKind::kReleaseRetry:
      case EventKind::kRelease:
      case EventKind::kDmaMap:
      case EventKind::kNetdevFree:
      case EventKind::kIommuFault:
      case EventKind::kGroupRemove:
        break;
    }
  }

  // ---- pages

  Step& add_alloc(std::size_t page, std::size_t at, int sub) {
    page_[page].handle = plan_.outcomes.size();
    plan_.outcomes.push_back({joined_.pages[page].page, false});
    Step& step = add(StepKind::kAlloc, at, sub);
    step.pool = joined_.pages[page].pool;
    step.handle = page_[page].handle;
    return step;
  }

  void add_put(std::size_t page, std::size_t at, int sub, bool direct, bool released) {
    plan_.outcomes[page_[page].handle].released = released;
    Step& step = add(StepKind::kPut, at, sub);
    step.pool = joined_.pages[page].pool;
    step.handle = std::exchange(page_[page].handle, kNone);
    step.direct = direct;
  }

  void hold(std::size_t i) {
    const std::size_t p = joined_.links[i].pool;
    const PoolLife& pool = joined_.pools[p];
    if (fresh_.size() <= p) fresh_.resize(joined_.pools.size());
    if (!pool.alloc_seen && fresh_[p].empty()) allocate_all_free(p, i);
    fresh_[p].push_back(joined_.links[i].page);
    if (!pool.alloc_seen && ends_bulk(i)) {
      add_alloc(joined_.links[i].page, i, 1);
      ++unseen_allocs_;
      fresh_[p].clear();
    }
  }

  /// Pools whose allocations were not probed. The slow path is taken only when cache and ring are empty: all
  /// pages so far are out. It brings in up to 64 pages, and the last one is what the caller gets.
  void allocate_all_free(std::size_t p, std::size_t at) {
    for (const std::size_t page : joined_.pools[p].pages) {
      if (joined_.pages[page].hold >= at) break;
      const bool released = joined_.pages[page].release != kNone && joined_.pages[page].release < at;
      if (page_[page].handle != kNone || released) continue;
      add_alloc(page, at, -1);
      ++unseen_allocs_;
    }
  }

  bool ends_bulk(std::size_t i) const {
    const std::size_t p = joined_.links[i].pool;
    if (plan_.pools[p].order != 0 || fresh_[p].size() == kBulk) return true;
    const std::uint64_t key = context_key(events_[i]);
    for (std::size_t j = i + 1; j < events_.size() && j < i + kLookAhead; ++j) {
      const EventKind kind = events_[j].kind;
      const bool mapping =
          kind == EventKind::kDmaMap || kind == EventKind::kDmaMapReturn || kind == EventKind::kIommuMap;
      if (context_key(events_[j]) != key || mapping) continue;
      return kind != EventKind::kHold || joined_.links[j].pool != p;
    }
    return true;
  }

  void alloc(std::size_t i) {
    const std::size_t page = joined_.links[i].page;
    const std::size_t p = joined_.links[i].pool;
    ++page_[page].next;
    if (page_[page].handle != kNone) {
      add_put(page, i, -1, false, false);
      ++unseen_puts_;
    }
    Step& step = add_alloc(page, i, 0);
    if (fresh_.size() <= p) fresh_.resize(joined_.pools.size());
    if (!fresh_[p].empty() && fresh_[p].size() < kBulk && plan_.pools[p].order == 0) {
      step.granted = static_cast<std::uint32_t>(fresh_[p].size());
      ++short_bulks_;
    }
    fresh_[p].clear();
    keep_order_with_refill(i);
  }

  /// The allocation at event `i` filled the cache from the ring and got the last page of that. A put whose page would
  /// have been behind it, and that the refill did not get, came later: an allocation is told of when it returns.
  void keep_order_with_refill(std::size_t i) {
    const std::size_t page = joined_.links[i].page;
    FreePages& free = free_[joined_.links[i].pool];
    if (free.cache.erase(page) != 0) return;
    const auto got = std::ranges::find(free.ring, page, &FreePages::Entry::page);
    if (got == free.ring.end()) return;
    const auto taken = static_cast<std::size_t>(got - free.ring.begin()) + 1;
    for (auto e = free.ring.begin(); e != got; ++e) free.cache.insert(e->page);
    free.ring.erase(free.ring.begin(), got + 1);
    if (taken == kBulk) return;  // it took no more, whatever there was
    for (const FreePages::Entry& e : free.ring) {
      Keyed& put = steps_[e.put];
      if (put.step.time_ns + kRefill_ns < since_begin(i) || put.step.kind != StepKind::kPut) continue;
      if (put.step.cpu == events_[i].cpu) continue;
      put.at = i;
      put.sub = 1;
      put.step.time_ns = since_begin(i);
    }
  }

  void put(std::size_t i) {
    const Link& link = joined_.links[i];
    PageState& page = page_[link.page];
    ++page.next;
    const bool again =
        page.next < page.events.size() && events_[page.events[page.next]].kind == EventKind::kPut;
    if (joined_.pools[link.pool].alloc_seen && again && page.handle != kNone) {
      ++references_;
      return;
    }
    if (page.handle == kNone) {
      add_alloc(link.page, i, -1);
      ++unseen_allocs_;
    }
    const bool released = released_at_put(capture_, joined_, i);
    add_put(link.page, i, 0, events_[i].direct, released);
    if (!released && events_[i].direct) free_[link.pool].cache.insert(link.page);
    if (!released && !events_[i].direct) free_[link.pool].ring.push_back({link.page, steps_.size() - 1});
    keep_order_with_drain(i);
  }

  /// The put at event `i`, just added, came while another context drained the ring, and the drain had its
  /// page: then it came before that drain, however long the recorded machine took over it. Or the drain did
  /// not: then it came after.
  void keep_order_with_drain(std::size_t i) {
    const Link& link = joined_.links[i];
    const PoolLife& pool = joined_.pools[link.pool];
    const auto end = std::upper_bound(pool.releases.begin(), pool.releases.end(), i);
    if (end == pool.releases.end()) return;
    const std::uint64_t key = context_key(events_[*end]);
    std::size_t begin = pool.destroy;
    for (const std::size_t r : pool.retries) {
      if (r < *end && context_key(events_[r]) == key) begin = r;
    }
    if (begin == kNone || begin > i || context_key(events_[i]) == key) return;
    const std::size_t release = joined_.pages[link.page].release;
    // Without the pp_retry kprobe a later round begins nobody knows when, and is planned at its end (plan_work).
    if (pool.retries.empty() && end != pool.releases.begin()) return;
    const bool drained = release != kNone && release < *end && context_key(events_[release]) == key;
    const bool at_once = plan_.outcomes[steps_.back().step.handle].released;
    if (at_once) return;
    Keyed& put = steps_.back();
    put.at = drained ? begin : *end;
    put.sub = drained ? -1 : 1;
    const std::uint64_t time = since_begin(put.at);
    put.step.time_ns = drained ? time - std::min(time, kDrainMargin_ns) : time + kDrainMargin_ns;
  }

  void before_destroy(std::size_t i) {
    const std::size_t p = joined_.links[i].pool;
    const PoolLife& pool = joined_.pools[p];
    for (const std::size_t index : pool.pages) {
      PageState& page = page_[index];
      if (joined_.pages[index].hold > i) break;
      const std::size_t next = page.next < page.events.size() ? page.events[page.next] : kNone;
      const bool drained = next != kNone && events_[next].kind == EventKind::kStateRelease;
      if (drained && page.handle != kNone && (pool.releases.empty() || next < pool.releases.front())) {
        add_put(index, i, -1, false, false);
        ++unseen_puts_;
      }
      if (!pool.alloc_seen && page.handle == kNone && !drained) {
        add_alloc(index, i, -1);
        ++unseen_allocs_;
      }
    }
  }

  void state_release(std::size_t i) {
    const std::size_t index = joined_.links[i].page;
    PageState& page = page_[index];
    ++page.next;
    if (page.handle == kNone) return;
    // Released without a put that was seen: before the work that drained it, else just before this.
    const PoolLife& pool = joined_.pools[joined_.links[i].pool];
    std::size_t at = i;
    for (const std::size_t r : pool.retries) {
      if (r < i && context_key(events_[r]) == context_key(events_[i])) at = r;
    }
    add_put(index, at, -1, false, at == i);
    ++unseen_puts_;
  }

  // ---- devices and other mappings

  void remove(std::size_t i, std::size_t device) {
    add(StepKind::kRemove, i).device = device;
    for (std::size_t p = 0; p < joined_.pools.size(); ++p) {
      if (joined_.pools[p].removal == i) removal_of_pool_.push_back({p, i});
    }
    const std::size_t end = remove_end(i);
    add(StepKind::kRemoveDone, end, 2).device = device;
  }

  /// Last event of remove(): the task goes on until a MARK of its own, another probe or removal, or the end
  /// of the device itself.
  std::size_t remove_end(std::size_t i) const {
    std::size_t end = i;
    for (std::size_t j = i + 1; j < events_.size(); ++j) {
      const Event& e = events_[j];
      if (e.pid != events_[i].pid || e.context != CpuContext::kThread) continue;
      if (e.kind == EventKind::kMark || e.kind == EventKind::kProbe || e.kind == EventKind::kRemove) break;
      if (e.kind == EventKind::kDeviceDel && device_by_address(e.device, j) != kNone) break;
      end = j;
    }
    return end;
  }

  void device_del(std::size_t i, std::size_t device) {
    // device_del() unbinds first if the driver is still there; the IOMMU group goes last.
    std::size_t at = i;
    for (std::size_t j = i + 1; j < events_.size(); ++j) {
      const Event& e = events_[j];
      if (e.pid != events_[i].pid || e.context != CpuContext::kThread) continue;
      if (e.kind == EventKind::kMark || e.kind == EventKind::kProbe || e.kind == EventKind::kDeviceDel) break;
      if (e.kind == EventKind::kRemove) at = remove_end(j);
      if (e.kind == EventKind::kGroupRemove) at = j;
    }
    add(StepKind::kDeviceDel, at, 3).device = device;
  }

  void map(std::size_t i) {
    const std::size_t index = joined_.links[i].mapping;
    if (index == kNone || joined_.mappings[index].owner != kNone) return;
    const Mapping& m = joined_.mappings[index];
    Step& step = add(StepKind::kMap, i);
    step.device = device_of_mapping_[index];
    step.handle = index;
    step.offset = m.offset % 4096;
    step.size = m.size;
    step.direction = events_[m.map].direction;
  }

  void map_coherent(std::size_t i) {
    const std::size_t index = joined_.links[i].mapping;
    if (index == kNone) return;
    const Mapping& m = joined_.mappings[index];
    if (!m.coherent || m.owner != kNone || m.mapped != i) return;
    Step& step = add(StepKind::kMapCoherent, i);
    step.device = device_in_space(m.space, i);
    step.handle = index;
    step.size = m.size;
  }

  /// The device of this IOVA space at event `at`: the one that is there, else the next to come, else the
  /// last.
  std::size_t device_in_space(std::size_t space, std::size_t at) const {
    std::size_t last = 0;
    for (std::size_t d = 0; d < plan_.devices.size(); ++d) {
      if (plan_.devices[d].space != space) continue;
      if (gone_[d] > at) return d;
      last = d;
    }
    return last;
  }

  void unmap(std::size_t i) {
    const std::size_t index = joined_.links[i].mapping;
    if (index == kNone) return;
    const Mapping& m = joined_.mappings[index];
    if (m.owner != kNone || m.unmap != i) return;
    Step& step = add(m.coherent ? StepKind::kUnmapCoherent : StepKind::kUnmap, i);
    step.device = m.coherent ? device_in_space(m.space, m.map) : device_of_mapping_[index];
    step.handle = index;
    step.size = m.size;
    step.direction = m.coherent ? 0 : events_[m.map].direction;
  }

  // ---- the end

  void finish() {
    std::stable_sort(steps_.begin(), steps_.end(), [](const Keyed& a, const Keyed& b) {
      return a.at != b.at ? a.at < b.at : a.sub < b.sub;
    });
    std::uint32_t highest_cpu = 0;
    std::vector<bool> probed(plan_.devices.size(), false);
    for (const Keyed& keyed : steps_) {
      Step step = keyed.step;
      const Step* before = plan_.steps.empty() ? nullptr : &plan_.steps.back();
      if (before != nullptr && step.time_ns <= before->time_ns &&
          before->time_ns - step.time_ns < kDrainMargin_ns / 2) {
        const bool other =
            before->cpu != step.cpu || before->context != step.context || before->pid != step.pid;
        step.time_ns = before->time_ns + (other ? kTie_ns : 0);
      }
      highest_cpu = std::max(highest_cpu, step.cpu);
      if (step.kind == StepKind::kProbe) probed[step.device] = true;
      if (step.device != kNone && !probed[step.device]) plan_.devices[step.device].bound_at_start = true;
      if (step.kind == StepKind::kRemove) {
        for (const auto& [pool, event] : removal_of_pool_) {
          if (event == keyed.at) plan_.pools[pool].removal_step = plan_.steps.size();
        }
      }
      plan_.steps.push_back(step);
    }
    plan_.cpus = std::max(highest_cpu + 1, std::max(capture_.header.cpus, 1u));
    note(unseen_puts_, "pages came back by a call without a probe (page_pool_put_page_bulk)");
    note(unseen_allocs_, "pages were handed out by a call without a probe");
    note(references_, "puts gave back one of several references to a page");
    note(short_bulks_, "times the page allocator had fewer pages than asked for");
  }

  void note(std::size_t n, std::string_view what) {
    if (n != 0) plan_.notes.push_back(fmt::format("{} {}", n, what));
  }

  const Capture& capture_;
  const std::vector<Event>& events_;
  const Joined& joined_;
  Plan plan_;
  std::vector<Keyed> steps_;
  std::vector<PageState> page_;
  std::map<std::size_t, FreePages> free_;  // by pool
  std::vector<std::vector<std::size_t>> fresh_;  // per pool: pages held since the last alloc
  std::vector<std::size_t> device_of_mapping_;
  std::vector<std::size_t> first_seen_;  // per device: event
  std::vector<std::size_t> gone_;        // per device: its device_del
  std::vector<std::pair<std::size_t, std::size_t>> removal_of_pool_;
  std::size_t unseen_puts_ = 0, unseen_allocs_ = 0, references_ = 0, short_bulks_ = 0;
};

}  // namespace

bool released_at_put(const Capture& capture, const Joined& joined, std::size_t i) {
  const std::uint64_t key = context_key(capture.events[i]);
  const std::size_t page = joined.links[i].page;
  for (std::size_t j = i + 1; j < capture.events.size() && j < i + kLookAhead; ++j) {
    const Event& e = capture.events[j];
    if (context_key(e) != key || e.kind == EventKind::kIommuUnmap) continue;
    return (e.kind == EventKind::kDmaUnmap || e.kind == EventKind::kStateRelease) &&
           joined.links[j].page == page;
  }
  return false;
}

Plan make_plan(const Capture& capture, const Joined& joined) { return Planner(capture, joined).run(); }

}  // namespace replay
