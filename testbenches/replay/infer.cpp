// SPDX-License-Identifier: Apache-2.0
#include "testbenches/replay/infer.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <tuple>
#include <unordered_map>

namespace replay {
namespace {

constexpr std::size_t kCacheSize = 128;  // PP_ALLOC_CACHE_SIZE
constexpr std::size_t kRefill = 64;      // PP_ALLOC_CACHE_REFILL
constexpr std::uint32_t kLargestRing = 32768;
constexpr std::uint32_t kLargestOddRing = 2048;
constexpr std::uint32_t kDefaultRing = 1024;
constexpr std::size_t kManyCalls = 50'000;  // too many to try every size

// ---- the pool as the recorded calls saw it

/// ptr_ring: a slot is free again only when its batch was consumed.
class Ring {
 public:
  Ring(std::uint32_t size, unsigned batch) : slots_(size, 0), batch_(batch <= size / 2 ? batch : 1) {}

  bool full() const { return slots_[producer_] != 0; }
  bool produce(std::uint64_t page) {
    if (full()) return false;
    slots_[producer_] = page;
    if (++producer_ == slots_.size()) producer_ = 0;
    return true;
  }
  std::uint64_t consume() {
    const std::uint64_t page = slots_[head_];
    if (page == 0) return 0;
    std::size_t head = head_ + 1;
    if (head - tail_ >= batch_ || head >= slots_.size()) {
      std::fill(slots_.begin() + static_cast<std::ptrdiff_t>(tail_),
                slots_.begin() + static_cast<std::ptrdiff_t>(head), 0);
      tail_ = head;
    }
    if (head >= slots_.size()) head = tail_ = 0;
    head_ = head;
    return page;
  }

 private:
  std::vector<std::uint64_t> slots_;
  std::size_t batch_;
  std::size_t producer_ = 0, head_ = 0, tail_ = 0;
};

struct PoolCall {
  enum Kind { kAlloc, kPut, kDestroy, kWork };
  Kind kind = kAlloc;
  std::size_t step = kNone;  // of the plan
  std::uint64_t page = 0;
  bool direct = false;
  bool softirq = false;
  bool released = false;
  std::vector<std::uint64_t> held;  // pages that the slow path brought in before this allocation
};

struct Fit {
  std::size_t order = 0;           // allocations that got another page than recorded
  std::size_t full = 0;            // puts that should have found the ring full, or should not
  std::vector<std::size_t> roomy;  // steps: released although the ring had room
  std::size_t total() const { return order + full; }
};

/// Drives cache and ring with the recorded calls. The recorded outcome is followed where the two differ.
Fit drive(const std::vector<PoolCall>& calls, std::uint32_t size, unsigned batch, bool napi_local,
          bool direct_needs_softirq) {
  Fit fit;
  std::vector<std::uint64_t> cache;
  Ring ring(size, batch);
  bool destroyed = false;
  const auto drain = [&] {
    while (ring.consume() != 0) {
    }
  };
  for (const PoolCall& call : calls) {
    switch (call.kind) {
      case PoolCall::kAlloc:
        cache.insert(cache.end(), call.held.begin(), call.held.end());
        if (cache.empty()) {
          for (std::uint64_t page; cache.size() < kRefill && (page = ring.consume()) != 0;)
            cache.push_back(page);
        }
        if (!cache.empty() && cache.back() == call.page) {
          cache.pop_back();
        } else {
          ++fit.order;
          const auto it = std::find(cache.begin(), cache.end(), call.page);
          if (it != cache.end()) cache.erase(it);
        }
        break;
      case PoolCall::kPut: {
        const bool direct = (call.direct && (call.softirq || !direct_needs_softirq)) ||
                            (napi_local && call.softirq && !destroyed);
        if (direct && cache.size() < kCacheSize && !call.released) {
          cache.push_back(call.page);
          break;
        }
        if (call.released) {
          if (direct && cache.size() < kCacheSize) {
            fit.roomy.push_back(call.step);
          } else if (!ring.full()) {
            fit.roomy.push_back(call.step);
            ++fit.full;
          }
        } else if (!ring.produce(call.page)) {
          ++fit.full;
        }
        break;
      }
      case PoolCall::kDestroy:
        cache.clear();
        drain();
        destroyed = true;
        break;
      case PoolCall::kWork:
        drain();
        break;
    }
  }
  return fit;
}

class Inference {
 public:
  Inference(const Capture& capture, const Joined& joined, Plan& plan)
      : capture_(capture), events_(capture.events), joined_(joined), plan_(plan) {}

  Behaviour run() {
    kernel_generation();
    strategy();
    dma_mode();
    dma_ops();
    domain_on_rebind();
    release_period();
    out_.ring_batch = capture_.pointer_bits == 64 ? 16 : 32;
    pool_sizes();
    return std::move(out_);
  }

 private:
  void kernel_generation() {
    const std::string& put = capture_.put_function;
    const bool netmem = capture_.netmem || put == "page_pool_put_unrefed_netmem";
    out_.direct_needs_softirq = !netmem;
    if (netmem) {
      out_.kernel = {"6.10 or later", "inferred: its tracepoints speak of netmem"};
    } else if (put == "page_pool_put_unrefed_page") {
      out_.kernel = {"6.7 - 6.9", "inferred: puts end in " + put};
    } else if (put == "page_pool_put_defragged_page") {
      out_.kernel = {"6.1 - 6.6", "inferred: puts end in " + put};
    } else {
      out_.kernel = {"before 6.10", "inferred: its tracepoints speak of page"};
    }
  }

  bool is_oops(std::size_t i) const {
    return std::find(joined_.oopses.begin(), joined_.oopses.end(), i) != joined_.oopses.end();
  }

  void strategy() {
    std::size_t held_unmaps = 0, bare_releases = 0, plain = 0;
    for (const PageLife& page : joined_.pages) {
      if (page.mapping == kNone) continue;
      const std::size_t unmap = joined_.mappings[page.mapping].unmap;
      if (unmap == kNone) {
        bare_releases += page.release != kNone;
        continue;
      }
      if (is_oops(unmap)) continue;
      const bool at_once = page.release != kNone &&
                           context_key(events_[page.release]) == context_key(events_[unmap]) &&
                           released_next(unmap) == page.release;
      (at_once ? plain : held_unmaps) += 1;
    }
    if (held_unmaps + bare_releases != 0) {
      out_.strategy = {
          "xarray_merged",
          fmt::format("inferred: {} pages were unmapped while still held or queued", held_unmaps)};
    } else {
      out_.strategy = {"stock",
                       fmt::format("inferred: each of {} unmaps belongs to the release of its page", plain)};
    }
  }

  /// The state_release that follows event `i` in its context with nothing but iommu:unmap between, or kNone.
  std::size_t released_next(std::size_t i) const {
    const std::uint64_t key = context_key(events_[i]);
    for (std::size_t j = i + 1; j < events_.size(); ++j) {
      if (context_key(events_[j]) != key || events_[j].kind == EventKind::kIommuUnmap) continue;
      return events_[j].kind == EventKind::kStateRelease ? j : kNone;
    }
    return kNone;
  }

  void dma_mode() {
    const bool translated = std::any_of(joined_.mappings.begin(), joined_.mappings.end(),
                                        [](const Mapping& m) { return m.translated; });
    if (!translated) {
      out_.dma_mode = {kernel::DmaMode::kDirect, "inferred: no dma_map reached an IOMMU"};
      return;
    }
    std::unordered_map<std::uint32_t, std::uint64_t> freed;  // cpu -> last single page freed
    std::size_t same = 0, other = 0;
    for (std::size_t i = 0; i < events_.size(); ++i) {
      const std::size_t index = joined_.links[i].mapping;
      if (index == kNone) continue;
      const Mapping& m = joined_.mappings[index];
      if (!m.translated || m.coherent || (m.iova & 4095) + m.size > 4096) continue;
      const Event& e = events_[i];
      if (e.kind == EventKind::kDmaUnmap && m.unmap == i) freed[e.cpu] = m.iova / 4096;
      if (e.kind != EventKind::kDmaMapReturn) continue;
      if (const auto it = freed.find(e.cpu); it != freed.end()) {
        ++(it->second == m.iova / 4096 ? same : other);
        freed.erase(it);
      }
    }
    if (other > same) {
      out_.dma_mode = {kernel::DmaMode::kLazy,
                       fmt::format("inferred: {} of {} freed IOVAs were not the next to be handed out", other,
                                   same + other)};
    } else {
      out_.dma_mode = {kernel::DmaMode::kStrict,
                       same + other == 0
                           ? std::string("inferred: an IOMMU, and no sign of a flush queue")
                           : fmt::format("inferred: {} of {} freed IOVAs were the next to be handed out",
                                         same, same + other)};
    }
  }

  void dma_ops() {
    std::size_t reached = 0, bypassed = 0, reached_removed = 0, bypassed_removed = 0, died = 0;
    std::vector<std::uint64_t> removed;
    for (std::size_t i = 0; i < events_.size(); ++i) {
      const Event& e = events_[i];
      if (e.kind == EventKind::kDeviceDel) removed.push_back(e.device);
      const std::size_t index = joined_.links[i].mapping;
      if (e.kind != EventKind::kDmaUnmap || index == kNone || !joined_.mappings[index].translated) continue;
      const bool gone = std::find(removed.begin(), removed.end(), e.device) != removed.end();
      if (is_oops(i)) {
        died += gone;
      } else if (gone) {
        ++(iommu_unmap_follows(i) ? reached_removed : bypassed_removed);
      } else if (e.driver == 0) {
        ++(iommu_unmap_follows(i) ? reached : bypassed);
      }
    }
    out_.clear_dma_ops_on_unbind =
        bypassed > reached
            ? Inferred<bool>{true, fmt::format("inferred: {} unmaps without driver never reached the IOMMU",
                                               bypassed)}
            : Inferred<bool>{
                  false, reached != 0
                             ? fmt::format("inferred: {} unmaps without driver reached the IOMMU", reached)
                             : "inferred: nothing in the capture depends on it"};
    if (died != 0) {
      out_.clear_dma_ops_on_release = {false, "inferred: a task died in the unmap for a removed device"};
    } else if (bypassed_removed != 0) {
      out_.clear_dma_ops_on_release = {
          true, fmt::format("inferred: {} unmaps for a removed device did nothing", bypassed_removed)};
    } else {
      out_.clear_dma_ops_on_release = {false, "inferred: nothing in the capture depends on it"};
    }
  }

  bool iommu_unmap_follows(std::size_t i) const {
    const std::uint64_t key = context_key(events_[i]);
    for (std::size_t j = i + 1; j < events_.size(); ++j) {
      if (context_key(events_[j]) != key) continue;
      return events_[j].kind == EventKind::kIommuUnmap;
    }
    return false;
  }

  /// After a second probe the addresses start at the top of the space again though some there are still
  /// mapped.
  void domain_on_rebind() {
    out_.replace_domain_on_rebind = {false, "inferred: addresses go on after a second probe"};
    std::size_t probe = kNone;
    for (std::size_t i = 0; i < events_.size(); ++i) {
      if (events_[i].kind == EventKind::kRemove) probe = kNone;
      if (events_[i].kind == EventKind::kProbe) probe = i;
      if (probe == kNone || events_[i].kind != EventKind::kDmaMapReturn) continue;
      const Mapping& given = joined_.mappings[joined_.links[i].mapping];
      if (!given.translated) continue;
      for (const Mapping& m : joined_.mappings) {
        const bool alive = m.mapped != kNone && m.mapped < probe && (m.unmap == kNone || m.unmap > i);
        if (alive && m.device == given.device && m.iova / 4096 == given.iova / 4096 && m.owner != kNone &&
            joined_.pages[m.owner].release > i) {
          out_.replace_domain_on_rebind = {true,
                                           "inferred: a second probe got addresses that are still mapped"};
          return;
        }
      }
      probe = kNone;  // the first mappings after the probe tell
    }
  }

  void release_period() {
    std::optional<std::uint64_t> shortest;
    for (const PlannedPool& pool : plan_.pools) {
      for (std::size_t w = 1; w < pool.work.size(); ++w) {
        const std::uint64_t gap = pool.work[w].time_ns - pool.work[w - 1].time_ns;
        shortest = std::min(shortest.value_or(gap), gap);
      }
    }
    constexpr std::uint64_t kDefault = 1000;
    if (!shortest || *shortest / 1'000'000 >= kDefault * 9 / 10) {
      out_.release_period_ms = {kDefault,
                                shortest ? fmt::format("inferred: DEFER_TIME; shortest recorded {:.3f} s",
                                                       static_cast<double>(*shortest) * 1e-9)
                                         : "inferred: DEFER_TIME of all versions"};
    } else {
      out_.release_period_ms = {*shortest / 1'000'000, "inferred: shortest recorded time between two rounds"};
    }
  }

  // ---- pool size

  std::vector<std::vector<PoolCall>> pool_calls() const {
    std::vector<std::vector<PoolCall>> calls(plan_.pools.size());
    struct Timed {
      std::uint64_t time_ns;
      int sub;
      std::size_t pool;
      PoolCall call;
    };
    std::vector<Timed> all;
    std::vector<std::size_t> next_held(plan_.pools.size(), 0);
    std::vector<unsigned> users(plan_.pools.size());
    for (std::size_t p = 0; p < users.size(); ++p) users[p] = plan_.pools[p].users;
    for (std::size_t s = 0; s < plan_.steps.size(); ++s) {
      const Step& step = plan_.steps[s];
      PoolCall call;
      call.step = s;
      call.softirq = step.context == CpuContext::kSoftirq;
      if (step.kind == StepKind::kAlloc) {
        call.kind = PoolCall::kAlloc;
        call.page = plan_.outcomes[step.handle].page;
        const auto& pages = joined_.pools[step.pool].pages;
        for (std::size_t& n = next_held[step.pool];
             n < pages.size() && events_[joined_.pages[pages[n]].hold].line <= step.line; ++n) {
          call.held.push_back(joined_.pages[pages[n]].page);
        }
      } else if (step.kind == StepKind::kPut) {
        call.kind = PoolCall::kPut;
        call.page = plan_.outcomes[step.handle].page;
        call.released = plan_.outcomes[step.handle].released;
        call.direct = step.direct;
      } else if (step.kind == StepKind::kDestroyPool && --users[step.pool] == 0) {
        call.kind = PoolCall::kDestroy;
      } else {
        continue;
      }
      all.push_back({step.time_ns, 1, step.pool, std::move(call)});
    }
    for (std::size_t p = 0; p < plan_.pools.size(); ++p) {
      for (const WorkTime& t : plan_.pools[p].work) {
        PoolCall work;
        work.kind = PoolCall::kWork;
        all.push_back({t.time_ns, 0, p, std::move(work)});
      }
    }
    std::stable_sort(all.begin(), all.end(), [](const Timed& a, const Timed& b) {
      return a.time_ns != b.time_ns ? a.time_ns < b.time_ns : a.sub < b.sub;
    });
    for (Timed& t : all) calls[t.pool].push_back(std::move(t.call));
    return calls;
  }

  /// Pages the driver took before anything else happened to the pool: its RX ring.
  static std::uint32_t first_fill(const std::vector<PoolCall>& calls) {
    std::uint32_t n = 0;
    for (const PoolCall& call : calls) {
      if (call.kind != PoolCall::kAlloc || call.softirq) break;
      ++n;
    }
    return n;
  }

  struct Candidate {
    std::uint32_t size;
    bool napi_local;
    Fit fit;
  };

  void pool_sizes() {
    const auto all_calls = pool_calls();
    const auto choose_all = [&](bool direct_needs_softirq) {
      std::vector<Candidate> chosen;
      for (const auto& calls : all_calls) chosen.push_back(choose(calls, direct_needs_softirq));
      return chosen;
    };
    const auto unexplained = [](const std::vector<Candidate>& chosen) {
      std::size_t sum = 0;
      for (const Candidate& c : chosen) sum += c.fit.total();
      return sum;
    };
    std::vector<Candidate> chosen = choose_all(out_.direct_needs_softirq);
    if (unexplained(chosen) != 0) {
      // 6.10 still speaks of pages, but allow_direct counts in any context already.
      std::vector<Candidate> other = choose_all(!out_.direct_needs_softirq);
      if (unexplained(other) < unexplained(chosen)) {
        chosen = std::move(other);
        out_.direct_needs_softirq = !out_.direct_needs_softirq;
      }
    }
    for (std::size_t p = 0; p < all_calls.size(); ++p)
      out_.pools.push_back(describe(all_calls[p], chosen[p]));
  }

  Candidate choose(const std::vector<PoolCall>& calls, bool direct_needs_softirq) const {
    const std::uint32_t fill = first_fill(calls);
    std::vector<Candidate> tried;
    const auto try_size = [&](std::uint32_t size) {
      for (const bool napi_local : {false, true}) {
        tried.push_back(
            {size, napi_local, drive(calls, size, out_.ring_batch, napi_local, direct_needs_softirq)});
      }
    };
    if (fill >= 2 && fill <= kLargestRing) try_size(fill);
    for (std::uint32_t size = 8; size <= kLargestRing; size *= 2) try_size(size);
    const auto explains = [](const Candidate& c) { return c.fit.total() == 0; };
    if (std::none_of(tried.begin(), tried.end(), explains) && calls.size() < kManyCalls) {
      for (std::uint32_t size = 2; size < kLargestOddRing; ++size) try_size(size);  // an unusual size
    }
    // Least unexplained, without NAPI if that makes no difference, and the smallest size that the driver
    // would ask for.
    const std::uint32_t wanted = fill >= 2 ? fill : kDefaultRing;
    const auto rank = [&](const Candidate& c) {
      return std::tuple(c.fit.total(), c.napi_local, c.size < wanted, c.size < wanted ? ~c.size : c.size);
    };
    return *std::min_element(tried.begin(), tried.end(),
                             [&](const Candidate& a, const Candidate& b) { return rank(a) < rank(b); });
  }

  PoolBehaviour describe(const std::vector<PoolCall>& calls, const Candidate& chosen) {
    PoolBehaviour out;
    out.napi_local = chosen.napi_local;
    out.unexplained = chosen.fit.total();
    const bool overflowed =
        std::any_of(calls.begin(), calls.end(), [](const PoolCall& call) { return call.released; });
    out.size.value = chosen.size;
    out.size.how = chosen.size == first_fill(calls)
                       ? fmt::format("inferred: the driver takes {} pages first{}", chosen.size,
                                     overflowed ? "; the ring was full exactly when that says" : "")
                   : overflowed ? std::string("inferred: explains which puts found the ring full")
                                : std::string("inferred: the smallest usual size that explains the capture");
    for (const std::size_t step : chosen.fit.roomy) plan_.steps[step].extra_reference = true;
    return out;
  }

  const Capture& capture_;
  const std::vector<Event>& events_;
  const Joined& joined_;
  Plan& plan_;
  Behaviour out_;
};

}  // namespace

Behaviour infer(const Capture& capture, const Joined& joined, Plan& plan) {
  return Inference(capture, joined, plan).run();
}

}  // namespace replay
