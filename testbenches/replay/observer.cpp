// SPDX-License-Identifier: Apache-2.0
#include "testbenches/replay/observer.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "testbenches/checker/report.h"

namespace replay {

Observer::Observer(RecordedMachine& machine, const Plan& plan, sim::Tick begin)
    : machine_(machine), plan_(plan), begin_(begin), state_(plan.pools.size()) {
  for (std::size_t p = 0; p < plan.pools.size(); ++p) {
    state_[p].numbers.pool = fmt::format("{:x}", plan.pools[p].address);
    state_[p].device = plan.pools[p].device;
  }
  pagepool::Trace& pools = machine.pools().trace();
  pools.state_hold.subscribe([this](const pagepool::StateHold& e) { hold(e); });
  pools.state_release.subscribe([this](const pagepool::StateRelease& e) { state_release(e); });
  pools.released.subscribe([this](const pagepool::Released& e) { round(e); });
  pools.destroying.subscribe([this](const pagepool::Destroying& e) {
    if (const std::size_t p = pool_of(e.pool); p != kNone) state_[p].destroying = true;
  });

  kernel::Trace& kernel = machine.kernel().trace();
  kernel.dma_unmapped.subscribe([this](const kernel::DmaUnmapped& e) { unmapped(e); });
  kernel.dma_mapped.subscribe([this](const kernel::DmaMapped& e) {
    const auto it = device_.find(e.device);
    const bool translated =
        e.device->dma_mode() == kernel::DmaMode::kStrict || e.device->dma_mode() == kernel::DmaMode::kLazy;
    if (it == device_.end() || !translated || e.iova == kernel::kDmaMappingError) return;
    handed_out(plan_.devices[it->second].space, e.iova.value >> sim::kPageShift,
               (e.iova.value + e.size - 1) >> sim::kPageShift, e.phys.value >> sim::kPageShift);
  });
}

void Observer::pool_is(unsigned id, std::size_t pool) {
  if (by_id_.size() <= id) by_id_.resize(id + 1, kNone);
  by_id_[id] = pool;
  state_[pool].created = true;
}

void Observer::device_is(const kernel::Device& device, std::size_t planned) { device_[&device] = planned; }

std::size_t Observer::pool_of(unsigned id) const { return id < by_id_.size() ? by_id_[id] : kNone; }

void Observer::removal_begins(std::size_t device, sim::Tick now) {
  for (PoolState& pool : state_) {
    const bool same = pool.device == device || pool.device == kNone;
    if (pool.created && same && pool.removal == sim::kNever) pool.removal = now;
  }
}

void Observer::add(std::size_t pool, PoolEvent::Kind kind, sim::Tick time, std::int64_t inflight) {
  state_[pool].events.push_back({kind, since_begin(time), 0, inflight});
}

void Observer::hold(const pagepool::StateHold& e) {
  const std::size_t p = pool_of(e.pool);
  if (p == kNone) return;
  ++state_[p].numbers.hold;
  add(p, PoolEvent::kHold, e.where.time);
  if (!plan_.pools[p].dma_map) return;
  const sim::Iova iova = machine_.pools().find(e.pool)->dma_addr(e.pfn);
  const std::size_t space = plan_.devices[plan_.pools[p].device].space;
  mapped_.emplace(Place{space, iova.value >> sim::kPageShift}, Held{p, e.pfn});
}

void Observer::state_release(const pagepool::StateRelease& e) {
  const std::size_t p = pool_of(e.pool);
  if (p == kNone) return;
  ++state_[p].numbers.release;
  state_[p].last_release = e.where.time;
  add(p, PoolEvent::kStateRelease, e.where.time);
}

void Observer::round(const pagepool::Released& e) {
  const std::size_t p = pool_of(e.pool);
  if (p == kNone) return;
  PoolState& pool = state_[p];
  ++pool.numbers.release_rounds;
  if (!pool.rounds_begun) pool.numbers.inflight_at_destroy = e.inflight;
  pool.rounds_begun = true;
  add(p, PoolEvent::kRound, e.where.time, e.inflight);
}

void Observer::unmapped(const kernel::DmaUnmapped& e) {
  const auto device = device_.find(e.device);
  if (device == device_.end()) return;
  const Place place{plan_.devices[device->second].space, e.iova.value >> sim::kPageShift};
  auto [it, end] = mapped_.equal_range(place);
  for (; it != end && plan_.pools[it->second.pool].device != device->second; ++it) {
  }
  if (it == end) return;
  const std::size_t p = it->second.pool;
  mapped_.erase(it);
  PoolState& pool = state_[p];
  add(p, PoolEvent::kUnmap, e.time);
  if (!pool.destroying) {
    ++pool.numbers.unmap_before_destroy;
  } else if (!pool.rounds_begun) {
    ++pool.numbers.unmap_inside_destroy;
  } else {
    ++pool.numbers.unmap_after_destroy;
    pool.numbers.of_these_no_driver += pool.removal != sim::kNever && e.time >= pool.removal;
  }
}

void Observer::coherent_mapped(const kernel::Device& device, const kernel::CoherentBuffer& buffer) {
  const auto it = device_.find(&device);
  if (it == device_.end() || buffer.bytes == 0) return;
  handed_out(plan_.devices[it->second].space, buffer.iova.value >> sim::kPageShift,
             (buffer.iova.value + buffer.bytes - 1) >> sim::kPageShift, buffer.phys.value >> sim::kPageShift);
}

void Observer::handed_out(std::size_t space, std::uint64_t first, std::uint64_t last,
                          std::uint64_t phys_page) {
  for (auto it = mapped_.lower_bound({space, first}); it != mapped_.end() && it->first <= Place{space, last};
       ++it) {
    if (it->second.pfn.value == phys_page + (it->first.page - first)) continue;
    state_[it->second.pool].numbers.iova_reused_while_held = true;
  }
}

ModelResult Observer::finish() {
  ModelResult out;
  for (PoolState& pool : state_) {
    if (pool.removal != sim::kNever && pool.last_release != sim::kNever) {
      out.pools.push_back(pool.numbers);
      const auto apart =
          static_cast<std::int64_t>(pool.last_release) - static_cast<std::int64_t>(pool.removal);
      out.pools.back().last_release_after_removal_s =
          static_cast<double>(apart) / static_cast<double>(sim::kSecond);
    } else {
      out.pools.push_back(pool.numbers);
    }
    out.events.push_back(std::move(pool.events));
  }
  machine_.checker().finish();
  const nlohmann::ordered_json counts = checker::finding_counts(machine_.checker());
  for (const auto& [name, count] : counts.items()) {
    out.findings.emplace_back(name, count.get<std::uint64_t>());
  }
  out.findings_text = checker::findings_text(machine_.checker());
  const auto& oopses = machine_.kernel().oopses();
  if (!oopses.empty()) {
    out.oops = oopses.front();
    out.oops_ns = since_begin(out.oops->time);
  }
  out.digest = machine_.simulation().digest().hex();
  out.wakeups = machine_.simulation().timeline().wakeups();
  return out;
}

}  // namespace replay
