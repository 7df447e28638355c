// SPDX-License-Identifier: Apache-2.0
// The stories: who meets whom. Each is a few lines of kernel code; none knows what will go wrong.
#include "testbenches/explore/stage.h"

namespace explore {
namespace {

void unbind(Stage& s) { s.kernel().devices().device_unbind(*s.device); }

void pages_out(Stage& s) {
  s.bind_device();
  s.take_pages(*s.pool, s.config().explore.pages);
}

std::vector<Racer> returners(Stage& s, unsigned first_cpu, unsigned n, std::vector<Racer> others = {}) {
  const std::size_t pages = s.out.size();
  for (unsigned i = 0; i < n; ++i) {
    const std::size_t from = pages * i / n, to = pages * (i + 1) / n;
    others.push_back({(first_cpu + i) % s.kernel().cores(), fmt::format("return/{}", i),
                      [&s, from, to] { s.return_pages(from, to); }});
  }
  return others;
}

/// Gives all but `left` pages back by destroying the pool with them out.
void destroyed_with(Stage& s, unsigned pages) {
  s.bind_device();
  s.take_pages(*s.pool, pages);
  unbind(s);
}

void until_next_release(Stage& s) {
  // The release work is due with the next jiffies: the racers begin just before.
  kernel::Kernel& k = s.kernel();
  kernel::sleep_until_tick((k.jiffies() + 1) * k.jiffy_tick() - 20 * sim::kMicrosecond);
}

void alloc_fragments(Stage& s) {
  s.bind_device();
  for (unsigned i = 0; i < s.config().explore.pages; ++i) {
    const auto piece = s.pool->alloc_frag(1024);
    POOLSIM_ASSERT(piece.has_value());
    s.out.push_back(piece->page);
  }
  s.pool->update_nid(s.pool->params().nid);
}

const std::vector<Story>& all() {
  static const std::vector<Story> kStories{
      {"return_vs_destroy", "pages come back on one core while the driver goes on another", pages_out,
       [](Stage& s) { return returners(s, 1, 1, {{0, "unbind", [&s] { unbind(s); }}}); }},
      {"return_vs_release", "pages come back on one core while the release work looks on another",
       [](Stage& s) {
         destroyed_with(s, s.config().explore.pages);
         until_next_release(s);
       },
       [](Stage& s) { return returners(s, 1, 1); }},
      {"last_page", "the last page comes back while the pool is about to be freed",
       [](Stage& s) {
         destroyed_with(s, 1);
         until_next_release(s);
       },
       [](Stage& s) { return returners(s, 1, 1); }},
      {"two_returners", "two cores return the pages of a pool whose driver goes",  pages_out,
       [](Stage& s) { return returners(s, 0, 2); }, unbind},
      {"fragment_drop", "fragments are dropped on one core while the driver goes on another", alloc_fragments,
       [](Stage& s) { return returners(s, 1, 1, {{0, "unbind", [&s] { unbind(s); }}}); }},
      {"two_fragment_droppers", "two cores drop fragments of one page; then the driver goes", alloc_fragments,
       [](Stage& s) { return returners(s, 0, 2); }, unbind},
      {"two_returners_vs_destroy", "two cores return pages while the driver goes on a third", pages_out,
       [](Stage& s) { return returners(s, 1, 2, {{0, "unbind", [&s] { unbind(s); }}}); }},
      {"rebind_vs_late_return", "the driver goes and comes again while pages of before come back", pages_out,
       [](Stage& s) {
         return returners(s, 1, 1, {{0, "rebind", [&s] {
                                       unbind(s);
                                       s.bind_device();
                                       s.take_pages(*s.pool, 1);
                                       s.return_page(s.out.back());
                                     }}});
       },
       unbind},
      {"scan_vs_return", "returned pages are taken by another pool while the driver of the first one goes",
       [](Stage& s) {
         pages_out(s);
         s.other = s.make_pool();
       },
       [](Stage& s) {
         return std::vector<Racer>{{0, "unbind", [&s] { unbind(s); }},
                                   {1, "reuse", [&s] {
                                      const std::size_t n = s.out.size();
                                      for (std::size_t i = 0; i < n; ++i) {
                                        s.return_page(s.out[i]);
                                        if (const auto page = s.other->alloc_page()) s.return_page(*page);
                                      }
                                    }}};
       },
       [](Stage& s) { s.other->destroy(); }},
      {"hotplug_vs_scan", "a section of memory goes offline while the driver goes and pages come back", pages_out,
       [](Stage& s) {
         auto racers = returners(s, 1, 1, {{0, "unbind", [&s] { unbind(s); }}});
         racers.push_back({s.kernel().cores() - 1, "offline", [&s] {
                             // The last section: nobody has a page there.
                             constexpr std::uint64_t kSectionPages = (std::uint64_t{128} << 20) / sim::kPageSize;
                             const sim::Pfn start = s.machine().frames().zones().back().end - kSectionPages;
                             auto& hotplug = s.kernel().hotplug();
                             if (hotplug.offline_pages(start, kSectionPages) == 0) {
                               hotplug.online_pages(start, kSectionPages);
                             }
                           }});
         return racers;
       }},
      {"map_failure_vs_destroy", "pages cannot be allocated or mapped while others come back; then the driver goes",
       [](Stage& s) {
         pages_out(s);
         s.machine().pages().set_failure_hook([n = 0u](unsigned, unsigned) mutable { return ++n % 2 == 1; });
       },
       [](Stage& s) {
         return returners(s, 1, 1, {{0, "refill", [&s] {
                                       kernel::local_bh_disable();
                                       std::vector<sim::Pfn> got;
                                       while (got.size() < 2 * s.config().explore.pages + 64) {
                                         const auto page = s.pool->alloc_page();
                                         if (!page) break;
                                         got.push_back(*page);
                                       }
                                       for (const sim::Pfn page : got) s.pool->recycle_direct(page);
                                       kernel::local_bh_enable();
                                       unbind(s);
                                     }}});
       }},
      {"iova_reuse", "one core unmaps and another maps: are addresses given out too early?",
       [](Stage& s) {
         pages_out(s);
         s.other = s.make_pool();
       },
       [](Stage& s) {
         return returners(s, 1, 1, {{0, "reuse", [&s] {
                                       unbind(s);
                                       const auto page = s.other->alloc_page();
                                       if (page) s.return_page(*page);
                                     }}});
       },
       [](Stage& s) { s.other->destroy(); }},
  };
  return kStories;
}

}  // namespace

const std::vector<Story>& stories() {
  static const std::vector<Story> kAll = [] {
    std::vector<Story> stories = all();
    for (Story& s : stories) {
      const std::string_view key = s.key;
      const bool three = key == "two_returners_vs_destroy" || key == "hotplug_vs_scan";
      s.settings = {three ? "kernel.cores=3" : "kernel.cores=2",
                    key == "hotplug_vs_scan" ? "memory.size=256MiB" : "memory.size=64MiB",
                    key == "iova_reuse" ? "kernel.dma_mode=lazy" : "kernel.dma_mode=strict"};
    }
    return stories;
  }();
  return kAll;
}

}  // namespace explore
