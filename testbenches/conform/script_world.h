// SPDX-License-Identifier: Apache-2.0
// ScriptWorld: runs the ops of one pool script against `Pool` and writes the output lines. Pool slots,
// handles and the rules that keep the kernel's code from being called with nonsense live here; everything
// else is the pool's.
#pragma once
#include <algorithm>
#include <array>
#include <memory>
#include <string>
#include <vector>

#include "testbenches/conform/pool_script.h"
#include "testbenches/conform/script_env.h"

namespace conform {

template <class Pool>
class ScriptWorld {
 public:
  ScriptWorld() {
    env_.pool_gone = [](void* self, int slot) { static_cast<ScriptWorld*>(self)->pool_gone(slot); };
    env_.pool_gone_arg = this;
  }
  ~ScriptWorld() {
    env_.pool_gone = nullptr;
    for (Slot& slot : slots_) delete slot.pool;  // a script may end with pages out
  }

  std::string run(const PoolScriptText& script) {
    std::string out;
    for (std::size_t i = 0; i < script.ops.size(); ++i) {
      const PoolScriptOp& op = script.ops[i];
      env_.events.clear();
      shown_ = -1;
      std::string result = execute(op);
      env_.events.print(out);
      out += fmt::format("{} {} {} ; {}\n", i, op.word, result, state());
    }
    return out;
  }

 private:
  struct Slot {
    Pool* pool = nullptr;
    bool used = false;       // held a pool once
    bool destroyed = false;  // by its last user
    ScriptDevice device;
    pagepool::Napi napi;
    pagepool::Netdev netdev;
  };
  struct Handle {
    ScriptPage* page = nullptr;  // null handle: none
    int slot = -1;
    bool live = false;
    std::uint64_t named = 0;  // the last handle op that took it
  };
  static constexpr bool kIs618 = Pool::VersionPolicy::bulk_over_pools;

  // --- Dispatch
  // -----------------------------------------------------------------------------------------------

  std::string execute(const PoolScriptOp& op) {
    if (op.op < PoolOp::create) return world_op(op);
    if (op.op == PoolOp::create) return create(op);
    if (op.op <= PoolOp::destroy) return pool_op(op);
    return handle_op(op);
  }

  std::string world_op(const PoolScriptOp& op) {
    auto unsign = [](std::int64_t n) { return static_cast<std::uint64_t>(n); };
    switch (op.op) {
      case PoolOp::softirq:
        env_.softirq = op.a != 0;
        break;
      case PoolOp::cpu:
        env_.cpu = static_cast<int>(op.a);
        break;
      case PoolOp::local_node:
        env_.local_node = static_cast<int>(op.a);
        break;
      case PoolOp::need_sync:
        env_.need_sync = op.a != 0;
        break;
      case PoolOp::dma_align:
        env_.dma_align = static_cast<unsigned>(op.a);
        break;
      case PoolOp::adv:
        env_.time_ms += unsign(op.a);
        return fmt::format("t={}", env_.time_ms);
      case PoolOp::inj_nid:
        env_.inj_nid = {unsign(op.a), unsign(op.b)};
        env_.inj_nid_node = static_cast<int>(op.c);
        break;
      case PoolOp::inj_pfm:
        env_.inj_pfm = {unsign(op.a), unsign(op.b)};
        break;
      case PoolOp::inj_fail:
        env_.inj_fail = unsign(op.a);
        break;
      case PoolOp::inj_bulk:
        env_.inj_bulk_armed = true;
        env_.inj_bulk = static_cast<unsigned>(std::min<std::int64_t>(op.a, UINT32_MAX));
        break;
      case PoolOp::inj_map:
        env_.inj_map = {unsign(op.a), unsign(op.b)};
        break;
      case PoolOp::inj_track:
        if (!kIs618) return "unsupported";
        env_.inj_track = {unsign(op.a), unsign(op.b)};
        env_.inj_track_errno = op.c != 0 ? EBUSY : ENOMEM;
        break;
      case PoolOp::inj_kmem:
        env_.inj_kmem = static_cast<ScriptEnv::Kmem>(op.a);
        break;
      default:
        return work();
    }
    return "ok";
  }

  /// Runs the release work that is due, by due time, then slot; each pool once.
  std::string work() {
    std::vector<std::pair<std::uint64_t, int>> due;
    for (auto [slot, at] : env_.work())
      if (at <= env_.time_ms) due.emplace_back(at, slot);
    std::sort(due.begin(), due.end());
    bool softirq = env_.softirq;
    env_.softirq = false;
    std::string ran;
    for (auto [at, slot] : due) {
      env_.work().erase(slot);
      int left = slots_[slot].pool->release_retry();
      auto next = env_.work().find(slot);
      env_.events.plain(fmt::format("work p{} left={} next={}", slot, left,
                                    next == env_.work().end() ? "gone" : std::to_string(next->second)));
      ran += fmt::format("{}p{}", ran.empty() ? "" : ",", slot);
    }
    env_.softirq = softirq;
    return "ran=" + (ran.empty() ? "none" : ran);
  }

  // --- Pools
  // --------------------------------------------------------------------------------------------------

  std::string create(const PoolScriptOp& op) {
    Slot& slot = slots_[op.a];
    if (slot.used) return "refused";
    const CreateWords& words = op.create;
    slot.device = {};
    slot.device.slot = static_cast<int>(op.a);
    slot.napi.initialised = words.napi == 1;
    slot.napi.sched = true;
    slot.napi.list_owner = -1;
    typename Pool::Params params;
    params.order = static_cast<unsigned>(words.order);
    params.pool_size = static_cast<unsigned>(words.size);
    params.nid = static_cast<int>(words.nid);
    params.dev = &slot.device;
    params.napi = words.napi != 0 ? &slot.napi : nullptr;
    params.dma_dir = static_cast<pagepool::DmaDirection>(words.dir);
    params.max_len = static_cast<unsigned>(words.max_len);
    params.offset = static_cast<unsigned>(words.offset);
    params.netdev = words.netdev != 0 ? &slot.netdev : nullptr;
    params.flags = words.flags;
    if (words.cb != 0) {
      params.init_callback = [](ScriptPage* page, void* self) {
        static_cast<ScriptWorld*>(self)->env_.events.page(
            fmt::format("init p{}", static_cast<Pool*>(page->pp)->dev()->slot), page->id, "");
      };
      params.init_arg = this;
    }
    int err = 0;
    Pool* pool = Pool::create(env_, params, static_cast<int>(words.cpuid), err);
    if (!pool) return err == -EINVAL ? "EINVAL" : err == -E2BIG ? "E2BIG" : "ENOMEM";
    slot.pool = pool;
    slot.used = true;
    shown_ = static_cast<int>(op.a);
    return fmt::format("ok id={}", pool->id());
  }

  void pool_gone(int slot) { slots_[slot].pool = nullptr; }

  static bool is_alloc(PoolOp op) { return op >= PoolOp::alloc && op <= PoolOp::var; }
  static bool works_when_destroyed(PoolOp op) {
    return op == PoolOp::stats || op == PoolOp::napi_owner || op == PoolOp::napi_sched ||
           op == PoolOp::netdev_gone;
  }

  std::string pool_op(const PoolScriptOp& op) {
    Slot& slot = slots_[op.a];
    if (slot.used) shown_ = static_cast<int>(op.a);
    bool usable = slot.pool && (!slot.destroyed || works_when_destroyed(op.op));
    if (!usable) {
      if (!is_alloc(op.op)) return slot.pool ? "refused" : "nopool";
      for (std::int64_t n = op.op == PoolOp::alloc_n ? op.b : 1; n > 0; --n) new_handle(nullptr, shown_);
      return "refused";
    }
    Pool& pool = *slot.pool;
    switch (op.op) {
      case PoolOp::alloc:
        return one_page(pool.alloc_netmems());
      case PoolOp::alloc_n:
        return alloc_n(pool, op.b);
      case PoolOp::frag:
        return fragment(pool.alloc_frag(static_cast<unsigned>(op.b)), false);
      case PoolOp::var:
        return fragment(pool.alloc(static_cast<unsigned>(op.b)), true);
      case PoolOp::update_nid:
        pool.update_nid(static_cast<int>(op.b));
        break;
      case PoolOp::nid_changed:
        pool.nid_changed(static_cast<int>(op.b));
        break;
      case PoolOp::disable_direct:
        pool.disable_direct_recycling();
        return "ok";
      case PoolOp::enable_direct:
        if (!kIs618) return "unsupported";
        if (!slot.napi.initialised) {
          slot.napi.initialised = true;
          slot.napi.sched = true;
          slot.napi.list_owner = -1;
        }
        pool.enable_direct_recycling(&slot.napi);
        return "ok";
      case PoolOp::xdp_attach:
        return fmt::format("users={}", pool.use_xdp_mem(
                                           [](void* device) {
                                             auto* self = static_cast<Slot*>(device);
                                             self->pool->env().events.plain(
                                                 fmt::format("disconnect p{}", self->device.slot));
                                           },
                                           &slot));
      case PoolOp::napi_owner:
        slot.napi.list_owner = static_cast<int>(op.b);
        return "ok";
      case PoolOp::napi_sched:
        slot.napi.sched = op.b != 0;
        return "ok";
      case PoolOp::netdev_gone:
        if (pool.netdev()) pool.netdev_gone();
        return "ok";
      case PoolOp::stats:
        return fmt::format("inflight={}", std::max(0, pool.inflight()));
      default:
        return destroy(slot);
    }
    return fmt::format("nid={}", pool.params().nid);
  }

  std::string destroy(Slot& slot) {
    if (slot.pool->user_cnt() == 1) {
      slot.destroyed = true;
      slot.device.when = "destroy";
    }
    typename Pool::Destroyed result = slot.pool->destroy();
    if (result == Pool::Destroyed::shared) return fmt::format("shared users={}", slot.pool->user_cnt());
    slot.device.when = "after";
    if (result == Pool::Destroyed::released) return "released";
    return fmt::format("pending due={}", env_.work().at(slot.device.slot));
  }

  // --- Handles
  // ------------------------------------------------------------------------------------------------

  std::size_t new_handle(ScriptPage* page, int slot) {
    handles_.push_back({page, slot, page != nullptr});
    return handles_.size() - 1;
  }
  std::string one_page(ScriptPage* page) {
    std::size_t handle = new_handle(page, shown_);
    return page ? fmt::format("h{}={}", handle, page->id) : fmt::format("h{}=null", handle);
  }
  std::string alloc_n(Pool& pool, std::int64_t n) {
    std::vector<std::uint64_t> ids;
    std::size_t first = handles_.size();
    for (std::int64_t i = 0; i < n; ++i) {
      ScriptPage* page = pool.alloc_netmems();
      new_handle(page, shown_);
      ids.push_back(page ? page->id : 0);
    }
    return fmt::format("h{}-{}={}", first, handles_.size() - 1, format_ids(ids));
  }
  std::string fragment(pagepool::Fragment<ScriptPage*> frag, bool with_size) {
    std::string result = one_page(frag.netmem);
    if (frag.netmem) result += fmt::format("@{}", frag.offset);
    if (frag.netmem && with_size) result += fmt::format("+{}", frag.size);
    return result;
  }

  Handle* handle(std::int64_t number) {
    return number < static_cast<std::int64_t>(handles_.size()) ? &handles_[number] : nullptr;
  }
  /// Why a handle cannot be returned, or null.
  static const char* unusable(const Handle* h) {
    return !h ? "nohandle" : !h->page ? "null" : !h->live ? "spent" : nullptr;
  }

  std::string handle_op(const PoolScriptOp& op) {
    if (op.op == PoolOp::put) return put(op);
    if (op.op == PoolOp::put_bulk || op.op == PoolOp::put_bulk_mixed) return put_bulk(op);
    Handle* h = handle(op.handles.front().first);
    if (h) shown_ = h->slot;
    if (op.op == PoolOp::get || op.op == PoolOp::unget) return page_reference(op, h);
    const char* why = unusable(h);
    if (op.op == PoolOp::ref) {
      if (why) {
        new_handle(nullptr, shown_);
        return why;
      }
      slots_[h->slot].pool->ref_netmem(h->page);
      return one_page(h->page);
    }
    if (why) return why;
    if (!slots_[h->slot].device.maps.contains(h->page->id)) return "unmapped";
    slots_[h->slot].pool->dma_sync_for_cpu(h->page, static_cast<unsigned>(op.a), static_cast<unsigned>(op.b));
    return "ok";
  }

  std::string page_reference(const PoolScriptOp& op, Handle* h) {
    if (!h) return "nohandle";
    if (!h->page) return "null";
    ScriptPage& page = *h->page;
    if (op.op == PoolOp::get) {
      if (env_.is_freed(page)) return "freed";
      env_.get_page(page);
    } else {
      if (page.extra_refs == 0) return "noref";
      --page.extra_refs;
      env_.put_page(&page);
    }
    return fmt::format("ref={}", page.ref_count);
  }

  struct Counts {
    std::uint64_t cached, ring, released;
  };
  Counts counts(const Pool& pool) const {
    pagepool::StatsSnapshot s = pool.stats();
    return {s.recycle_cached, s.recycle_ring, pool.release_cnt()};
  }

  /// The live handles of one pool, in order; `skipped` counts the others.
  std::vector<Handle*> live_handles(const PoolScriptOp& op, bool one_pool, std::uint64_t& skipped,
                                    bool& mixed) {
    std::vector<Handle*> live;
    skipped = 0;
    mixed = false;
    ++handle_ops_;
    for (const HandleRange& range : op.handles) {
      for (std::int64_t i = 0; i < range.count(); ++i) {
        Handle* h = handle(range.at(i));
        bool usable = !unusable(h) && h->named != handle_ops_;
        if (usable && one_pool && !live.empty() && live.front()->slot != h->slot) {
          mixed = true;
          usable = false;
        }
        if (usable) {
          h->named = handle_ops_;
          live.push_back(h);
        } else {
          ++skipped;
        }
      }
    }
    if (!live.empty()) shown_ = live.front()->slot;
    return live;
  }

  std::string put(const PoolScriptOp& op) {
    bool direct = op.a != 0;
    unsigned sync_size = static_cast<unsigned>(op.b);
    const HandleRange& range = op.handles.front();
    if (range.count() == 1) {
      Handle* h = handle(range.first);
      if (h) shown_ = h->slot;
      if (const char* why = unusable(h)) return why;
      Pool& pool = *slots_[h->slot].pool;
      Counts before = counts(pool);
      h->live = false;
      pool.put_netmem(h->page, sync_size, direct);
      Counts after = counts(pool);
      return after.cached != before.cached       ? "cache"
             : after.ring != before.ring         ? "ring"
             : after.released != before.released ? "release"
                                                 : "shared";
    }
    std::uint64_t skipped = 0;
    bool mixed = false;
    std::vector<Handle*> live = live_handles(op, true, skipped, mixed);
    return returned(live, skipped, [&](Pool& pool) {
      for (Handle* h : live) pool.put_netmem(h->page, sync_size, direct);
    });
  }

  template <class F>
  std::string returned(std::vector<Handle*>& live, std::uint64_t skipped, F&& put_all) {
    if (live.empty()) return fmt::format("cache=0 ring=0 release=0 shared=0 skip={}", skipped);
    Pool& pool = *slots_[live.front()->slot].pool;
    Counts before = counts(pool);
    for (Handle* h : live) h->live = false;
    put_all(pool);
    Counts after = counts(pool);
    std::uint64_t cached = after.cached - before.cached, ring = after.ring - before.ring,
                  released = after.released - before.released;
    return fmt::format("cache={} ring={} release={} shared={} skip={}", cached, ring, released,
                       live.size() - cached - ring - released, skipped);
  }

  std::string put_bulk(const PoolScriptOp& op) {
    bool over_pools = op.op == PoolOp::put_bulk_mixed;
    std::int64_t named = 0;
    for (const HandleRange& range : op.handles) named += range.count();
    if (named > pagepool::kBulkQueueSize) return "refused";
    std::uint64_t skipped = 0;
    bool mixed = false;
    std::vector<Handle*> live = live_handles(op, !over_pools, skipped, mixed);
    if (over_pools && !kIs618) return "unsupported";
    if (mixed) return "mixed";
    std::vector<ScriptPage*> pages;
    for (Handle* h : live) pages.push_back(h->page);
    if (over_pools && !live.empty()) {
      for (Handle* h : live) h->live = false;
      std::size_t done = live.size();
      put_over_pools(pages);
      return fmt::format("done={} skip={}", done, skipped);
    }
    return returned(live, skipped, [&](Pool& pool) {
      if constexpr (kIs618) {
        put_over_pools(pages);
      } else {
        pool.put_netmem_bulk(pages);
      }
    });
  }
  static void put_over_pools(std::vector<ScriptPage*>& pages) {
    Pool::put_netmem_bulk_over_pools(pages, [](ScriptPage* page) { return static_cast<Pool*>(page->pp); });
  }

  // --- State
  // --------------------------------------------------------------------------------------------------

  std::string state() const {
    if (shown_ < 0) return "-";
    const Slot& slot = slots_[shown_];
    if (!slot.pool) return fmt::format("p{} gone maps={}", shown_, slot.device.maps.size());
    const Pool& pool = *slot.pool;
    return fmt::format("p{} {} {} {} {} {} | {} | {}", shown_, pool.hold_cnt(), pool.release_cnt(),
                       pool.inflight(), pool.cache_count(), pool.ring_count(),
                       ScriptEnv::format_stats(pool.stats()), slot.device.maps.size());
  }

  ScriptEnv env_;
  std::array<Slot, 64> slots_;
  std::vector<Handle> handles_;
  std::uint64_t handle_ops_ = 0;
  int shown_ = -1;  // slot whose state the op line shows
};

}  // namespace conform
