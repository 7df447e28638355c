// SPDX-License-Identifier: Apache-2.0
#include "testbenches/replay/recorded.h"

#include <fmt/format.h>

namespace replay {
namespace {

void count_unmap(const Capture& capture, const PoolLife& pool, std::size_t unmap, PoolNumbers& out) {
  if (pool.destroy == kNone || unmap < pool.destroy) {
    ++out.unmap_before_destroy;
  } else if (pool.releases.empty() || unmap < pool.releases.front()) {
    ++out.unmap_inside_destroy;
  } else {
    ++out.unmap_after_destroy;
    const bool removed =
        pool.removal != kNone && capture.events[unmap].time_ns >= capture.events[pool.removal].time_ns;
    out.of_these_no_driver += removed;
  }
}

}  // namespace

std::vector<PoolNumbers> recorded_numbers(const Capture& capture, const Joined& joined) {
  std::vector<PoolNumbers> all;
  for (std::size_t p = 0; p < joined.pools.size(); ++p) {
    const PoolLife& pool = joined.pools[p];
    PoolNumbers out;
    out.pool = fmt::format("{:x}", pool.address);
    out.hold = pool.pages.size();
    out.release_rounds = pool.releases.size();
    out.iova_reused_while_held = joined.reused_while_held[p];
    if (!pool.releases.empty()) out.inflight_at_destroy = capture.events[pool.releases.front()].inflight;
    std::size_t last_release = kNone;
    for (const std::size_t index : pool.pages) {
      const PageLife& page = joined.pages[index];
      if (page.release != kNone) {
        ++out.release;
        if (last_release == kNone || page.release > last_release) last_release = page.release;
      }
      if (page.mapping != kNone && joined.mappings[page.mapping].unmap != kNone) {
        count_unmap(capture, pool, joined.mappings[page.mapping].unmap, out);
      }
    }
    if (last_release != kNone && pool.removal != kNone) {
      out.last_release_after_removal_s = capture.seconds(capture.events[last_release].time_ns) -
                                         capture.seconds(capture.events[pool.removal].time_ns);
    }
    all.push_back(std::move(out));
  }
  return all;
}

}  // namespace replay
