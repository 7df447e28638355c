// SPDX-License-Identifier: Apache-2.0
#include "testbenches/replay/join.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>
#include <unordered_map>

#include "sim/error.h"

namespace replay {
namespace {

constexpr std::uint64_t kPage = 4096;
constexpr std::uint64_t kLargestPoolStruct = 4096;
constexpr std::uint64_t kLargestBusDevice = 4096;
constexpr std::uint64_t kLargestOrderPages = 1 << 10;

class Joiner {
 public:
  explicit Joiner(const Capture& capture) : capture_(capture), events_(capture.events) {
    out_.links.resize(events_.size());
  }

  Joined run() {
    for (std::size_t i = 0; i < events_.size(); ++i) event(i);
    find_unfinished_destroys();
    find_removals();
    find_oopses();
    return std::move(out_);
  }

 private:
  /// What one context is in the middle of.
  struct Open {
    std::size_t mapping = kNone;   // dma_map without its dma_map_ret
    std::size_t last_map = kNone;  // completed, not yet taken by a hold
    std::size_t unmap = kNone;     // the last dma_unmap event
    std::size_t coherent = kNone;  // growing coherent allocation
  };

  [[noreturn]] void fail(std::size_t i, std::string_view why) const {
    const Event& e = events_[i];
    throw sim::Error(capture_.path, e.line, fmt::format("{} cannot be joined: {}", event_name(e.kind), why));
  }

  void event(std::size_t i) {
    const Event& e = events_[i];
    Open& open = open_[context_key(e)];
    if (e.kind != EventKind::kIommuMap) open.coherent = kNone;
    switch (e.kind) {
      case EventKind::kPoolCreate:
        create(i);
        break;
      case EventKind::kPoolDestroy:
        destroy(i);
        break;
      case EventKind::kReleaseRetry:
        retry(i);
        break;
      case EventKind::kPut:
        put(i);
        break;
      case EventKind::kAlloc:
        alloc(i);
        break;
      case EventKind::kDeviceDel:
        device_del(e.device);
        break;
      case EventKind::kDmaMap:
        dma_map(i, open);
        break;
      case EventKind::kDmaMapReturn:
        dma_map_return(i, open);
        break;
      case EventKind::kDmaUnmap:
        dma_unmap(i, open);
        break;
      case EventKind::kIommuMap:
        iommu_map(i, open);
        break;
      case EventKind::kIommuUnmap:
        iommu_unmap(i, open);
        break;
      case EventKind::kHold:
        hold(i, open);
        break;
      case EventKind::kStateRelease:
        state_release(i);
        break;
      case EventKind::kRelease:
        release(i);
        break;
      case EventKind::kMark:
      case EventKind::kProbe:
      case EventKind::kRemove:
      case EventKind::kNetdevFree:
      case EventKind::kIommuFault:
      case EventKind::kGroupRemove:
        break;
    }
  }

  // ---- pools

  std::size_t new_pool(std::uint64_t address, std::size_t create, std::size_t first) {
    PoolLife pool;
    pool.address = address;
    pool.create = create;
    pool.first = first;
    out_.pools.push_back(std::move(pool));
    out_.reused_while_held.push_back(false);
    pool_at_[address] = out_.pools.size() - 1;
    return out_.pools.size() - 1;
  }

  std::size_t find_pool(std::size_t i, std::uint64_t address) const {
    const auto it = pool_at_.find(address);
    if (it == pool_at_.end()) {
      fail(i, fmt::format("no pp_create of pool {:x} in this capture", address));
    }
    return it->second;
  }

  void create(std::size_t i) {
    const std::uint64_t address = events_[i].pool;
    const std::uint64_t top = capture_.pointer_bits == 64 ? ~std::uint64_t{0} : 0xffff'ffff;
    if (address == 0 || address > top - 4095) {
      out_.notes.push_back(fmt::format("line {}: page_pool_create failed; left out", events_[i].line));
      return;
    }
    out_.links[i].pool = new_pool(address, i, i);
  }

  void destroy(std::size_t i) {
    const std::size_t pool = find_pool(i, events_[i].pool);
    out_.pools[pool].destroys.push_back(i);
    out_.links[i].pool = pool;
  }

  void retry(std::size_t i) {
    const std::uint64_t work = events_[i].pool;
    auto it = pool_at_.upper_bound(work);
    if (it == pool_at_.begin() || work - std::prev(it)->first >= kLargestPoolStruct) {
      fail(i, fmt::format("work {:x} lies in no pool created in this capture", work));
    }
    const std::size_t pool = std::prev(it)->second;
    out_.pools[pool].retries.push_back(i);
    out_.links[i].pool = pool;
  }

  void release(std::size_t i) {
    const Event& e = events_[i];
    const std::size_t index = find_pool(i, e.pool);
    PoolLife& pool = out_.pools[index];
    out_.links[i].pool = index;
    if (pool.releases.empty()) {
      if (pool.destroys.empty()) fail(i, fmt::format("no pp_destroy of pool {:x} before it", e.pool));
      pool.destroy = pool.destroys.back();
    }
    pool.releases.push_back(i);
    pool.finished |= e.inflight <= 0;
  }

  // ---- pages

  void hold(std::size_t i, Open& open) {
    const Event& e = events_[i];
    auto it = pool_at_.find(e.pool);
    if (it == pool_at_.end() || out_.pools[it->second].finished) {
      if (e.count != 1) {
        fail(i, fmt::format("pool {:x} has {} pages already, but no pp_create in this capture", e.pool,
                            e.count - 1));
      }
      new_pool(e.pool, kNone, i);
      out_.notes.push_back(fmt::format(
          "line {}: pool {:x} has no pp_create; taken as created at its first page", e.line, e.pool));
      it = pool_at_.find(e.pool);
    }
    if (const auto held = held_.find(e.page); held != held_.end()) {
      fail(i, fmt::format("page {:x} is still held since line {}", e.page,
                          events_[out_.pages[held->second].hold].line));
    }
    PoolLife& pool = out_.pools[it->second];
    const std::size_t index = out_.pages.size();
    PageLife page;
    page.pool = it->second;
    page.page = e.page;
    page.pfn = e.pfn;
    page.hold = i;
    page.mapping = take_mapping(i, open, pool);
    pool.pages.push_back(index);
    if (page.mapping != kNone) {
      Mapping& mapping = out_.mappings[page.mapping];
      mapping.owner = index;
      if (mapping.page == 0) mapping.page = e.page;
      pool.device = mapping.device;
    }
    held_[e.page] = index;
    out_.links[i] = {it->second, index, page.mapping};
    out_.pages.push_back(page);
  }

  std::size_t take_mapping(std::size_t i, Open& open, const PoolLife& pool) {
    const Event& e = events_[i];
    const std::size_t last = std::exchange(open.last_map, kNone);
    if (last != kNone) {
      const Mapping& m = out_.mappings[last];
      const bool same_page = m.page == e.page;
      const bool same_frame = m.coherent && events_[m.mapped].paddr / kPage == e.pfn;
      if (m.owner == kNone && (same_page || same_frame || m.page == 0)) return last;
    }
    if (!pool.pages.empty() && out_.pages[pool.pages.front()].mapping != kNone) {
      fail(i, fmt::format("no dma_map of page {:x} (pfn {:x}) before it, though the pool maps its pages",
                          e.page, e.pfn));
    }
    return kNone;
  }

  /// The page of `i`, which must be held; by `pool` when that is given.
  std::size_t held_page(std::size_t i) const {
    const Event& e = events_[i];
    const auto it = held_.find(e.page);
    if (it == held_.end()) fail(i, fmt::format("no pool holds page {:x}", e.page));
    return it->second;
  }

  void alloc(std::size_t i) {
    if (events_[i].page == 0) return;
    const std::size_t page = held_page(i);
    out_.links[i] = {out_.pages[page].pool, page, kNone};
    out_.pools[out_.pages[page].pool].alloc_seen = true;
  }

  std::size_t page_of_pool(std::size_t i) const {
    const std::size_t pool = find_pool(i, events_[i].pool);
    const std::size_t page = held_page(i);
    if (out_.pages[page].pool != pool) {
      fail(i, fmt::format("page {:x} belongs to pool {:x}", events_[i].page,
                          out_.pools[out_.pages[page].pool].address));
    }
    return page;
  }

  void put(std::size_t i) {
    const std::size_t page = page_of_pool(i);
    out_.links[i] = {out_.pages[page].pool, page, kNone};
  }

  void state_release(std::size_t i) {
    const std::size_t page = page_of_pool(i);
    out_.links[i] = {out_.pages[page].pool, page, out_.pages[page].mapping};
    out_.pages[page].release = i;
    held_.erase(events_[i].page);
  }

  // ---- mappings

  void dma_map(std::size_t i, Open& open) {
    const Event& e = events_[i];
    Mapping m;
    m.device = e.device;
    m.page = e.page;
    m.offset = e.offset;
    m.size = e.size;
    m.map = i;
    m.space = space_of(e.device);
    open.mapping = out_.mappings.size();
    out_.links[i].mapping = open.mapping;
    out_.mappings.push_back(m);
  }

  void dma_map_return(std::size_t i, Open& open) {
    const Event& e = events_[i];
    const std::size_t index = std::exchange(open.mapping, kNone);
    if (index == kNone) fail(i, "no dma_map before it in the same context");
    const std::uint64_t top = capture_.pointer_bits == 64 ? ~std::uint64_t{0} : 0xffff'ffff;
    if (e.iova == ~std::uint64_t{0} || e.iova == top) return;  // DMA_MAPPING_ERROR
    Mapping& m = out_.mappings[index];
    m.iova = e.iova;
    m.mapped = i;
    out_.links[i].mapping = index;
    open.last_map = index;
    handed_out(index);
    alive_.emplace(m.iova, index);
  }

  void iommu_map(std::size_t i, Open& open) {
    const Event& e = events_[i];
    if (open.mapping != kNone) {
      out_.mappings[open.mapping].translated = true;
      out_.links[i].mapping = open.mapping;
      return;
    }
    if (open.coherent != kNone) {
      Mapping& m = out_.mappings[open.coherent];
      if (e.iova == m.iova + m.size && capture_.has_dma_probe) {
        m.size += e.size;
        m.mapped = i;
        out_.links[i].mapping = open.coherent;
        handed_out(open.coherent);
        return;
      }
    }
    Mapping m;
    m.coherent = m.translated = true;
    m.iova = e.iova;
    m.size = e.size;
    m.map = m.mapped = i;
    m.space = last_space_;
    const std::size_t index = out_.mappings.size();
    out_.mappings.push_back(m);
    out_.links[i].mapping = open.coherent = open.last_map = index;
    handed_out(index);
    alive_.emplace(m.iova, index);
  }

  void dma_unmap(std::size_t i, Open& open) {
    const Event& e = events_[i];
    open.unmap = i;
    std::vector<std::size_t> candidates;
    for (auto [it, end] = alive_.equal_range(e.iova); it != end; ++it) {
      if (out_.mappings[it->second].device == e.device) candidates.push_back(it->second);
    }
    const std::size_t next = next_in_context(i);
    const bool releases = next != kNone && events_[next].kind == EventKind::kStateRelease;
    const auto page = releases ? held_.find(events_[next].page) : held_.end();
    const std::size_t of_page = page != held_.end() ? out_.pages[page->second].mapping : kNone;
    std::size_t found = kNone;
    if (candidates.size() == 1) {
      found = candidates.front();
    } else if (std::find(candidates.begin(), candidates.end(), of_page) != candidates.end()) {
      found = of_page;
    } else if (!candidates.empty()) {
      found = candidates.back();
    } else if (of_page != kNone && out_.mappings[of_page].unmap == kNone &&
               static_cast<std::uint32_t>(out_.mappings[of_page].iova) ==
                   static_cast<std::uint32_t>(e.iova)) {
      found = of_page;  // only the low word of the iova was recorded
    } else if (of_page != kNone && out_.mappings[of_page].unmap == kNone &&
               out_.mappings[of_page].device == e.device) {
      out_.notes.push_back(
          fmt::format("line {}: page {:x}, which is released next, is mapped at {:x}, not at {:x}: left out",
                      e.line, events_[next].page, out_.mappings[of_page].iova, e.iova));
    }
    if (found != kNone) unmapped(found, i);
  }

  void iommu_unmap(std::size_t i, Open& open) {
    const Event& e = events_[i];
    if (open.unmap != kNone && events_[open.unmap].iova / kPage == e.iova / kPage) {
      out_.links[i] = out_.links[open.unmap];
      open.unmap = kNone;
      return;
    }
    // One coherent allocation at or around this address, or (without dma_map kprobes) one page.
    for (const auto& [iova, index] : alive_) {
      const Mapping& m = out_.mappings[index];
      if (m.coherent && e.iova < m.iova + m.size && e.iova + e.size > m.iova) {
        unmapped(index, i);
        return;
      }
    }
  }

  void unmapped(std::size_t index, std::size_t i) {
    Mapping& m = out_.mappings[index];
    m.unmap = i;
    for (auto [it, end] = alive_.equal_range(m.iova); it != end; ++it) {
      if (it->second == index) {
        alive_.erase(it);
        break;
      }
    }
    out_.links[i].mapping = index;
    if (m.owner != kNone) {
      out_.links[i].page = m.owner;
      out_.links[i].pool = out_.pages[m.owner].pool;
    }
  }

  /// The next event of the context of `i` that is not an iommu:unmap.
  std::size_t next_in_context(std::size_t i) const {
    constexpr std::size_t kFar = 64;
    const std::uint64_t key = context_key(events_[i]);
    for (std::size_t j = i + 1; j < events_.size() && j < i + kFar; ++j) {
      if (context_key(events_[j]) == key && events_[j].kind != EventKind::kIommuUnmap) return j;
    }
    return kNone;
  }

  // ---- IOVA spaces: one a device; a device that takes the place of a removed one goes on in its space

  std::size_t space_of(std::uint64_t device) {
    const auto it = space_of_device_.find(device);
    if (it != space_of_device_.end()) return last_space_ = it->second;
    std::size_t space = spaces_++;
    if (!orphaned_spaces_.empty()) {
      space = orphaned_spaces_.back();
      orphaned_spaces_.pop_back();
    }
    space_of_device_[device] = space;
    return last_space_ = space;
  }

  void device_del(std::uint64_t device) {
    const auto it = space_of_device_.find(device);
    if (it == space_of_device_.end()) return;
    orphaned_spaces_.push_back(it->second);
    space_of_device_.erase(it);
  }

  /// Notes every page that still holds what mapping `index` was just given.
  void handed_out(std::size_t index) {
    const Mapping& given = out_.mappings[index];
    if (!given.translated) return;
    const std::uint64_t first = given.iova / kPage;
    const std::uint64_t last = (given.iova + std::max<std::uint64_t>(given.size, 1) - 1) / kPage;
    const std::uint64_t from = first > kLargestOrderPages ? first - kLargestOrderPages : 0;
    for (auto it = alive_.lower_bound(from * kPage); it != alive_.end() && it->first / kPage <= last; ++it) {
      const Mapping& m = out_.mappings[it->second];
      if (it->second == index || m.owner == kNone || m.space != given.space || m.page == given.page) continue;
      if ((m.iova + m.size - 1) / kPage < first) continue;
      out_.reused_while_held[out_.pages[m.owner].pool] = true;
    }
  }

  // ---- after the last event

  /// A page_pool_destroy() that never came to its release round: its task died in it, or the capture ends
  /// there.
  void find_unfinished_destroys() {
    for (PoolLife& pool : out_.pools) {
      if (pool.destroy != kNone || pool.destroys.empty()) continue;
      const std::size_t last = pool.destroys.back();
      const std::size_t next = next_in_context(last);
      if (next == kNone) continue;
      const Event& e = events_[next];
      const bool releasing = e.kind == EventKind::kDmaUnmap || e.kind == EventKind::kStateRelease;
      const std::size_t owner = out_.links[next].pool;
      if (releasing && owner != kNone && &out_.pools[owner] == &pool) pool.destroy = last;
    }
  }

  void find_removals() {
    std::vector<std::size_t> removes;
    for (std::size_t i = 0; i < events_.size(); ++i) {
      const EventKind kind = events_[i].kind;
      if (kind == EventKind::kRemove) removes.push_back(i);
      if (kind == EventKind::kRemove || kind == EventKind::kProbe)
        out_.bus_devices.push_back(events_[i].device);
    }
    std::sort(out_.bus_devices.begin(), out_.bus_devices.end());
    std::set<std::uint64_t> mapping;  // struct devices
    for (const Mapping& m : out_.mappings) mapping.insert(m.device);
    const auto inside = [&](std::uint64_t device, std::uint64_t bus_device) {
      return device_inside(out_.bus_devices, device, bus_device);
    };
    // A bus device that holds none of the struct devices may be that of any pool whose own is not recorded.
    const auto is_of_another = [&](std::uint64_t bus_device) {
      return std::any_of(mapping.begin(), mapping.end(), [&](auto d) { return inside(d, bus_device); });
    };
    for (PoolLife& pool : out_.pools) {
      const bool known = std::any_of(out_.bus_devices.begin(), out_.bus_devices.end(),
                                     [&](std::uint64_t b) { return inside(pool.device, b); });
      for (const std::size_t r : removes) {
        const std::uint64_t removed = events_[r].device;
        if (r < pool.first) continue;
        if (known ? !inside(pool.device, removed) : pool.device != kUnknown && is_of_another(removed))
          continue;
        pool.removal = r;
        break;
      }
    }
  }

  /// A task dies in a dma_unmap when its device has lost driver or group, the page is never released and the
  /// task is never heard of again.
  void find_oopses() {
    std::unordered_map<std::uint64_t, std::size_t> last;
    for (std::size_t i = 0; i < events_.size(); ++i) last[context_key(events_[i])] = i;
    for (std::size_t i = 0; i < events_.size(); ++i) {
      const Event& e = events_[i];
      if (e.kind != EventKind::kDmaUnmap || last[context_key(e)] != i) continue;
      const std::size_t page = out_.links[i].page;
      bool unbound = e.driver == 0 || e.group == 0;
      if (page != kNone && e.driver == kUnknown && e.group == kUnknown) {  // not recorded: by time
        const std::size_t removal = out_.pools[out_.pages[page].pool].removal;
        unbound = removal != kNone && removal < i;
      }
      if (page != kNone && out_.pages[page].release == kNone && unbound) out_.oopses.push_back(i);
    }
  }

  const Capture& capture_;
  const std::vector<Event>& events_;
  Joined out_;
  std::unordered_map<std::uint64_t, Open> open_;
  std::map<std::uint64_t, std::size_t> pool_at_;
  std::unordered_map<std::uint64_t, std::size_t> held_;  // page -> PageLife
  std::multimap<std::uint64_t, std::size_t> alive_;      // iova -> Mapping
  std::unordered_map<std::uint64_t, std::size_t> space_of_device_;
  std::vector<std::size_t> orphaned_spaces_;
  std::size_t spaces_ = 0;
  std::size_t last_space_ = 0;
};

}  // namespace

std::uint64_t context_key(const Event& event) {
  switch (event.context) {
    case CpuContext::kThread:
      return event.pid != 0 ? event.pid : (std::uint64_t{1} << 32 | event.cpu);
    case CpuContext::kSoftirq:
      return std::uint64_t{2} << 32 | event.cpu;
    case CpuContext::kHardirq:
      return std::uint64_t{3} << 32 | event.cpu;
  }
  return 0;
}

bool device_inside(const std::vector<std::uint64_t>& bus_devices, std::uint64_t inner, std::uint64_t outer) {
  if (inner == kUnknown || inner < outer || inner - outer >= kLargestBusDevice) return false;
  const auto after = std::upper_bound(bus_devices.begin(), bus_devices.end(), inner);
  return after == bus_devices.begin() || *std::prev(after) == outer;
}

Joined join(const Capture& capture) { return Joiner(capture).run(); }

}  // namespace replay
