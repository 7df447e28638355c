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

void remove_device(Stage& s) { s.kernel().devices().device_del(*s.device); }

/// Memory is short: a pool gets two pages at a time, not 64.
void few_at_a_time(Stage& s) {
  s.machine().pages().set_failure_hook([n = 0u](unsigned, unsigned) mutable { return ++n % 3 == 0; });
}

/// Leaves the pool of the NIC's ring only `n` pages to refill from: 64 at a time come in, few make few
/// points.
void few_in_cache(Stage& s, unsigned n) {
  std::vector<sim::Pfn> kept;
  kernel::local_bh_disable();
  for (unsigned i = 0; i < n; ++i) {
    if (const auto page = s.pool->alloc_page()) kept.push_back(*page);
  }
  s.pool->update_nid(s.pool->params().nid);
  for (const sim::Pfn page : kept) s.pool->recycle_direct(page);
  kernel::local_bh_enable();
}

void nic_ready(Stage& s) {
  s.bind_nic();
  few_in_cache(s, s.config().explore.packets);
}

/// Frames come in, `delay` from now: some for the socket, every other one for nobody, so that the poll itself
/// gives their pages back.
void frames_arrive(Stage& s, sim::Tick delay = 0) {
  const unsigned n = s.config().explore.packets;
  const sim::Tick start = s.machine().simulation().now() + delay;
  s.send_frames((n + 1) / 2, /*for_nobody=*/false, start);
  if (n > 1) s.send_frames(n / 2, /*for_nobody=*/true, start);
}

Racer reader(Stage& s, unsigned cpu) {
  return {cpu, "reader", [&s] {
            while (s.socket->recvmsg_wait()) {
            }
          }};
}

/// pci_reset_function() as far as the function notices: the reset, and its bus mastering as it was.
void reset_function(Stage& s) {
  nic::PciDev pci(s.kernel(), s.machine().bridge(), s.device->requester());
  pci.flr();
  pci.set_master(true);
}

/// Pages wait in the socket, others have been unmapped on core 0 just now: their addresses are in its flush
/// queue, and its timer is on. Out at 20 us before it fires.
void flush_timer_is_near(Stage& s) {
  kernel::Kernel& k = s.kernel();
  s.bind_nic();
  s.send_frames(s.config().explore.packets);
  while (s.socket->queued() < s.config().explore.packets) kernel::usleep(5);
  few_in_cache(s, 0);
  s.flush_timer_at =
      (k.jiffies() + k.msecs_to_jiffies(k.config().flush_queue_timeout_ms) + 1) * k.jiffy_tick();
  kernel::sleep_until_tick(s.flush_timer_at - 20 * sim::kMicrosecond);
  few_at_a_time(s);
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
       [](Stage& s) {
         return returners(s, 1, 1, {{0, "unbind", [&s] { unbind(s); }}});
       }},
      {"return_vs_release", "pages come back on one core while the release work looks on another",
       [](Stage& s) {
         destroyed_with(s, s.config().explore.pages);
         until_next_release(s);
       },
       [](Stage& s) { return returners(s, 1, 1); }},
      {"last_page",
       "the last page comes back while the pool is about to be freed",
       [](Stage& s) {
         destroyed_with(s, 1);
         until_next_release(s);
       },
       [](Stage& s) { return returners(s, 1, 1); },
       {},
       {},
       /*uses_pages=*/false},
      {"two_returners", "two cores return the pages of a pool whose driver goes", pages_out,
       [](Stage& s) { return returners(s, 0, 2); }, unbind},
      {"fragment_drop", "fragments are dropped on one core while the driver goes on another", alloc_fragments,
       [](Stage& s) {
         return returners(s, 1, 1, {{0, "unbind", [&s] { unbind(s); }}});
       }},
      {"two_fragment_droppers", "two cores drop fragments of one page; then the driver goes", alloc_fragments,
       [](Stage& s) { return returners(s, 0, 2); }, unbind},
      {"two_returners_vs_destroy",
       "two cores return pages while the driver goes on a third",
       pages_out,
       [](Stage& s) {
         return returners(s, 1, 2, {{0, "unbind", [&s] { unbind(s); }}});
       },
       {},
       {"kernel.cores=3"}},
      {"rebind_vs_late_return", "the driver goes and comes again while pages of before come back", pages_out,
       [](Stage& s) {
         return returners(s, 1, 1, {{0, "rebind", [&s] {
                                       unbind(s);
                                       s.rebind_device();
                                       s.take_pages(*s.pool, 1);
                                       s.return_page(s.out.back());
                                     }}});
       },
       unbind},
      {"scan_vs_return",
       "returned pages are taken by another device's pool while the driver of the first one goes",
       [](Stage& s) {
         pages_out(s);
         s.bind_other_device();
         few_at_a_time(s);
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
       [](Stage& s) { s.kernel().devices().device_unbind(*s.other_device); }},
      {"hotplug_vs_scan",
       "a section of memory goes offline while the driver goes and pages come back",
       pages_out,
       [](Stage& s) {
         auto racers = returners(s, 1, 1, {{0, "unbind", [&s] { unbind(s); }}});
         racers.push_back({s.kernel().cores() - 1, "offline", [&s] {
                             // The last section: nobody has a page there.
                             constexpr std::uint64_t kSectionPages =
                                 (std::uint64_t{128} << 20) / sim::kPageSize;
                             const sim::Pfn start = s.machine().frames().zones().back().end - kSectionPages;
                             auto& hotplug = s.kernel().hotplug();
                             if (hotplug.offline_pages(start, kSectionPages) == 0) {
                               hotplug.online_pages(start, kSectionPages);
                             }
                           }});
         return racers;
       },
       {},
       {"kernel.cores=3", "memory.size=256MiB"}},
      {"map_failure_vs_destroy",
       "pages cannot be allocated or mapped while others come back; then the driver goes",
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
      {"iova_reuse",
       "one core unmaps and another maps: are addresses given out too early? Then the driver goes",
       [](Stage& s) {
         pages_out(s);
         s.other = s.make_pool();
         few_at_a_time(s);
       },
       [](Stage& s) {
         return returners(s, 1, 1, {{0, "map", [&s] {
                                       for (unsigned i = 0; i < s.config().explore.pages; ++i) {
                                         if (const auto page = s.other->alloc_page()) s.return_page(*page);
                                       }
                                     }}});
       },
       unbind,
       {"kernel.dma_mode=lazy"}},
      {"removal_vs_return", "the device is removed, its IOMMU domain freed, while pages come back", pages_out,
       [](Stage& s) {
         return returners(s, 1, 1, {{0, "remove", [&s] { remove_device(s); }}});
       }},
      {"deferred_free_vs_destroy",
       "a reader on another core defers its skbs to the core on which the driver goes; its softirq frees "
       "them",
       [](Stage& s) {
         pages_out(s);
         for (const sim::Pfn page : s.out)
           s.skbs.push_back(s.machine().stack().skbs().build_skb(page, 0, 64));
       },
       [](Stage& s) {
         return std::vector<Racer>{{0, "unbind", [&s] { unbind(s); }},
                                   {1, "reader", [&s] {
                                      for (nic::Skb* skb : s.skbs)
                                        s.machine().stack().defer().skb_attempt_defer_free(skb);
                                    }}};
       },
       {},
       {"stack.skb_defer_max=2"}},
      {"unbind_vs_napi_poll",
       "frames arrive and are polled and read on one core while the driver goes on another",
       nic_ready,
       [](Stage& s) {
         frames_arrive(s);
         return std::vector<Racer>{{0, "unbind",
                                    [&s] {
                                      kernel::udelay(2);
                                      unbind(s);
                                      s.socket->close();
                                    }},
                                   reader(s, 1)};
       },
       {},
       {"nic.driver.rx_cpu=1"},
       /*uses_pages=*/false,
       /*uses_packets=*/true},
      {"flr_vs_dma",
       "the function is reset while it writes packets to memory; then the driver goes",
       nic_ready,
       [](Stage& s) {
         // The reset takes effect 2.6 us after it was begun, by then the first frame is on its way to memory.
         frames_arrive(s, 2 * sim::kMicrosecond);
         return std::vector<Racer>{{0, "reset",
                                    [&s] {
                                      reset_function(s);
                                      unbind(s);
                                      s.socket->close();
                                    }},
                                   reader(s, 1)};
       },
       {},
       {"nic.driver.rx_cpu=1"},
       /*uses_pages=*/false,
       /*uses_packets=*/true},
      {"flush_timer_vs_reuse",
       "the flush queue's timer fires while one core unmaps and the other maps at the addresses it frees",
       flush_timer_is_near,
       [](Stage& s) {
         s.send_frames(s.config().explore.packets, /*for_nobody=*/false, s.flush_timer_at);
         return std::vector<Racer>{{0, "app",
                                    [&s] {
                                      kernel::sleep_until_tick(s.flush_timer_at + 50 * sim::kMicrosecond);
                                      while (s.socket->recvmsg()) {
                                      }
                                    }},
                                   {1, "reader", [&s] {
                                      kernel::sleep_until_tick(s.flush_timer_at - sim::kMicrosecond);
                                      while (s.socket->recvmsg()) {
                                      }
                                    }}};
       },
       [](Stage& s) {
         unbind(s);
         s.socket->close();
       },
       {"kernel.dma_mode=lazy", "nic.driver.pool_size=1"},
       /*uses_pages=*/false,
       /*uses_packets=*/true},
  };
  return kStories;
}

/// What a story needs to be small, and what it needs besides.
std::vector<std::string> complete(const std::vector<std::string>& own, bool nic) {
  std::vector<std::string> all{"kernel.cores=2", "memory.size=64MiB", "kernel.dma_mode=strict"};
  if (nic)
    all.insert(all.end(), {"nic.driver.descriptors=8", "nic.driver.itr_us=0", "nic.driver.vf_enable_ms=1"});
  for (const std::string& s : own) {
    const auto name = std::string_view(s).substr(0, s.find('=') + 1);
    std::erase_if(all, [&](const std::string& other) { return other.starts_with(name); });
    all.push_back(s);
  }
  return all;
}

std::vector<Story>& list() {
  static std::vector<Story> list = [] {
    std::vector<Story> stories = all();
    for (Story& s : stories) s.settings = complete(s.settings, s.uses_packets);
    return stories;
  }();
  return list;
}

}  // namespace

const std::vector<Story>& stories() { return list(); }

void add_story(Story story) {
  story.settings = complete(story.settings, story.uses_packets);
  list().push_back(std::move(story));
}

}  // namespace explore
