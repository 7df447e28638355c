// SPDX-License-Identifier: Apache-2.0
#include "testbenches/conform/script_env.h"

namespace conform {

void ScriptEnv::put_page(Netmem page) {
  if (--page->ref_count != 0) return;
  events.page("free", page->id, mapped_.contains(page->id) ? " mapped=1" : " mapped=0");
}

bool ScriptEnv::allocator_fails(unsigned order, std::size_t want) {
  if (inj_fail == 0) return false;
  --inj_fail;
  events.plain(fmt::format("nomem order={} want={}", order, want));
  return true;
}

ScriptPage* ScriptEnv::new_page(int nid, unsigned order) {
  ScriptPage& page = pages_.emplace_back();
  page.id = pages_.size();
  page.node = inj_nid.hits() ? inj_nid_node : nid >= 0 ? nid : local_node;
  page.pfmemalloc = inj_pfm.hits();
  events.page("new", page.id,
              fmt::format(" order={} req={} node={} pfm={}", order, nid, page.node, page.pfmemalloc ? 1 : 0));
  return &page;
}

const char* ScriptEnv::direction_name(pagepool::DmaDirection dir) {
  static constexpr const char* kNames[] = {"bidi", "to", "from", "none"};
  return kNames[static_cast<int>(dir)];
}

std::string ScriptEnv::map_tail(const ScriptDevice& dev, std::size_t size, pagepool::DmaDirection dir) {
  return fmt::format(" size={} dir={} attrs=skip_sync+weak when={}", size, direction_name(dir), dev.when);
}

void ScriptEnv::warn_event(pagepool::Warning what, int a, int b, unsigned pool_id) {
  using pagepool::Warning;
  std::string text = fmt::format("warn {}", pagepool::to_string(what));
  switch (what) {
    case Warning::create_failed:
      text += a == EINVAL ? " EINVAL" : a == E2BIG ? " E2BIG" : " ENOMEM";
      break;
    case Warning::refcnt_violation:
    case Warning::negative_inflight:
      text += fmt::format(" {}", a);
      break;
    case Warning::stalled:
      text += fmt::format(" id={} inflight={} sec={}", pool_id, a, b);
      break;
    default:
      break;
  }
  events.plain(std::move(text));
}

std::string ScriptEnv::format_stats(const pagepool::StatsSnapshot& s) {
  return fmt::format("{} {} {} {} {} {} | {} {} {} {} {}", s.alloc_fast, s.alloc_slow,
                     s.alloc_slow_high_order, s.alloc_empty, s.alloc_refill, s.alloc_waive, s.recycle_cached,
                     s.recycle_cache_full, s.recycle_ring, s.recycle_ring_full, s.recycle_released_refcnt);
}

}  // namespace conform
