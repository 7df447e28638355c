// SPDX-License-Identifier: Apache-2.0
#include "kernel/memory_hotplug.h"

#include <cerrno>

#include "kernel/kernel.h"

namespace kernel {
namespace {

constexpr auto kNoteHotplug = sim::digest_tag("kernel.memory_hotplug");

}  // namespace

int MemoryHotplug::add_memory(unsigned nid, sim::Pfn start, std::uint64_t pages) {
  KFUNC("add_memory_resource");
  return locked(HotplugStep::kAdd, start, pages, nid);
}
int MemoryHotplug::online_pages(sim::Pfn start, std::uint64_t pages) {
  KFUNC("online_pages");
  return locked(HotplugStep::kOnline, start, pages, 0);
}
int MemoryHotplug::offline_pages(sim::Pfn start, std::uint64_t pages) {
  KFUNC("offline_pages");
  return locked(HotplugStep::kOffline, start, pages, 0);
}
int MemoryHotplug::remove_memory(sim::Pfn start, std::uint64_t pages) {
  KFUNC("try_remove_memory");
  return locked(HotplugStep::kRemove, start, pages, 0);
}

int MemoryHotplug::locked(HotplugStep step, sim::Pfn start, std::uint64_t pages, unsigned nid) {
  const Tick begin = this_cpu().now();
  lock_.down_write();
  const Tick got_lock = this_cpu().now();
  int error = 0;
  switch (step) {
    case HotplugStep::kAdd:
      error = add(nid, start, pages);
      break;
    case HotplugStep::kOnline:
      error = online(start, pages);
      break;
    case HotplugStep::kOffline:
      error = offline(start, pages);
      break;
    case HotplugStep::kRemove:
      error = remove(start, pages);
      break;
  }
  this_cpu().sync();
  kernel_.simulation().note(kNoteHotplug, start.value, static_cast<std::uint64_t>(step) << 32 | pages);
  lock_.up_write();
  auto& trace = kernel_.trace().memory_hotplug;
  if (trace.enabled()) trace.emit({step, start, pages, error, begin, got_lock, this_cpu().now()});
  return error;
}

int MemoryHotplug::add(unsigned nid, sim::Pfn start, std::uint64_t pages) {
  mm::PageFrames& frames = kernel_.frames();
  for (sim::Pfn pfn = start; pfn < start + pages; pfn += mm::PageFrames::kPagesPerSection) {
    if (frames.pfn_valid(pfn)) return -EEXIST;
  }
  return frames.add_memory(nid, start, start + pages) ? 0 : -EINVAL;
}

// move_pfn_range_to_zone (the struct pages), online_pages_range, and only then the sections.
int MemoryHotplug::online(sim::Pfn start, std::uint64_t pages) {
  mm::PageFrames& frames = kernel_.frames();
  for (std::uint64_t done = 0; done < pages; done += mm::PageFrames::kPagesPerSection) {
    if (!frames.pfn_valid(start + done) || frames.pfn_to_online_page(start + done)) return -EINVAL;
    work(kernel_.config().costs.hotplug_page * mm::PageFrames::kPagesPerSection);
    this_cpu().cond_resched();
  }
  this_cpu().sync();
  if (!frames.set_online(start, start + pages)) return -EINVAL;
  kernel_.pages().put_online(start, start + pages);
  return 0;
}

int MemoryHotplug::offline(sim::Pfn start, std::uint64_t pages) {
  mm::PageFrames& frames = kernel_.frames();
  if (pages == 0 || start.value % mm::PageFrames::kPagesPerSection != 0 ||
      pages % mm::PageFrames::kPagesPerSection != 0) {
    return -EINVAL;
  }
  for (std::uint64_t done = 0; done < pages; done += mm::PageFrames::kPagesPerSection) {
    if (!frames.pfn_to_online_page(start + done)) return -EINVAL;
  }
  this_cpu().sync();
  if (const auto busy = kernel_.pages().take_offline(start, start + pages)) {
    kernel_.printk("memory offlining [mem {:#010x}-{:#010x}] failed due to unmovable page", to_phys(start).value,
                   to_phys(start + pages).value - 1);
    return -EBUSY;
  }
  for (std::uint64_t done = 0; done < pages; done += mm::PageFrames::kPagesPerSection) {
    work(kernel_.config().costs.hotplug_page * mm::PageFrames::kPagesPerSection);
    this_cpu().cond_resched();
  }
  this_cpu().sync();
  if (frames.set_offline(start, start + pages)) return 0;
  kernel_.pages().put_online(start, start + pages);  // more than one node or zone
  return -EINVAL;
}

int MemoryHotplug::remove(sim::Pfn start, std::uint64_t pages) {
  this_cpu().sync();
  return kernel_.frames().remove_memory(start, start + pages) ? 0 : -EINVAL;
}

}  // namespace kernel
