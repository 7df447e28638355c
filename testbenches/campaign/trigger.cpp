// SPDX-License-Identifier: Apache-2.0
#include "testbenches/campaign/trigger.h"

#include <memory>
#include <regex>

#include "platform/machine.h"
#include "platform/quantity.h"
#include "sim/error.h"

namespace campaign {
namespace {

sim::Tick parse_time(const std::string& text) {
  return platform::parse_quantity(text, platform::Dimension::kTime);
}

/// A tracepoint as an Event: `Get` finds it in the machine.
template <auto Get>
void subscribe(platform::Machine& machine, std::function<void()> hit) {
  Get(machine).subscribe([hit = std::move(hit)](const auto&) { hit(); });
}
#define POOLSIM_EVENT(name, where)                                           \
  {                                                                          \
    name, subscribe < [](platform::Machine & m) -> auto& { return m.where; } \
    >                                                                        \
  }

/// Calls that faults make fail, counted where the fault would be asked.
void on_page_alloc(platform::Machine& m, std::function<void()> hit) {
  m.pages().set_failure_hook([hit = std::move(hit)](unsigned, unsigned) {
    hit();
    return false;
  });
}
void on_dma_map(platform::Machine& m, std::function<void()> hit) {
  m.kernel().dma().set_map_fault([hit = std::move(hit)](const kernel::Device&) {
    hit();
    return false;
  });
}
void on_track(platform::Machine& m, std::function<void()> hit) {
  m.pools().set_track_fault([hit = std::move(hit)] {
    hit();
    return false;
  });
}

bool holds(std::uint64_t a, const std::string& relation, std::uint64_t b) {
  if (relation == "==") return a == b;
  if (relation == "!=") return a != b;
  if (relation == ">=") return a >= b;
  if (relation == "<=") return a <= b;
  return relation == ">" ? a > b : a < b;
}

/// Tells when its relation becomes true. Lives as long as the process: machines are not taken down.
struct Watch final : sim::ProbeListener {
  Trigger trigger;
  std::function<void()> hit;
  bool held = false;
  void on_change(const sim::Probe& probe, sim::Tick) override {
    const bool now = holds(probe.value(), trigger.relation, trigger.value);
    if (now && !held) hit();
    held = now;
  }
};

Trigger parse_event(const std::string& name, const std::string& nth) {
  Trigger t;
  t.kind = Trigger::Kind::kEvent;
  t.event = find_event(name).name;
  if (nth.empty()) return t;
  static const std::regex range(R"(uniform\(\s*(\d+)\s*,\s*(\d+)\s*\))");
  std::smatch m;
  if (nth == "all") {
    t.all = true;
  } else if (std::regex_match(nth, m, range)) {
    t.first = std::stoull(m[1]), t.last = std::stoull(m[2]);
  } else {
    t.first = t.last = platform::parse_quantity(nth, platform::Dimension::kNone);
  }
  if (t.first == 0 || t.first > t.last)
    throw sim::Error(fmt::format("nth: '{}' counts from 1, upwards", nth));
  return t;
}

}  // namespace

std::string Trigger::mark() const {
  if (kind == Kind::kEvent) return event;
  if (kind == Kind::kProbe) return fmt::format("{} {} {}", event, relation, value);
  return "";
}

Trigger parse_trigger(const std::string& text) {
  static const std::regex interval(R"((uniform|defuse)\(\s*([^,]+?)\s*,\s*([^,]+?)\s*(?:,\s*(each)\s*)?\))");
  static const std::regex on(R"(on\(\s*([^,\s]+)\s*(?:,\s*nth\s*=\s*(.+?))?\s*\))");
  static const std::regex probe(R"(probe\(\s*([^\s=!<>]+)\s*(==|!=|>=|<=|>|<)\s*(\S+?)\s*\))");
  std::smatch m;
  Trigger t;
  if (std::regex_match(text, m, interval)) {
    t.kind = m[1] == "defuse" ? Trigger::Kind::kDefUse : Trigger::Kind::kTime;
    t.from = parse_time(m[2]), t.to = parse_time(m[3]);
    t.all = m[4].matched;
    if (t.all && t.kind == Trigger::Kind::kTime)
      throw sim::Error(fmt::format("'{}': 'each' is for defuse(...)", text));
    if (t.from >= t.to)
      throw sim::Error(fmt::format("'{}': the second time must be later than the first", text));
  } else if (std::regex_match(text, m, on)) {
    return parse_event(m[1], m[2]);
  } else if (std::regex_match(text, m, probe)) {
    t.kind = Trigger::Kind::kProbe;
    t.event = m[1], t.relation = m[2];
    t.value = platform::parse_quantity(m[3].str(), platform::Dimension::kNone);
  } else if (text.find('(') != text.npos) {
    const std::string word = text.substr(0, text.find('('));
    throw sim::Error(
        fmt::format("no trigger '{}'{}", text, sim::suggestion(word, {"uniform", "on", "probe", "defuse"})));
  } else {
    t.from = t.to = parse_time(text);
  }
  return t;
}

const std::vector<Event>& events() {
  static const std::vector<Event> all = {
      {"page_alloc_call", on_page_alloc},
      {"dma_map_call", on_dma_map},
      {"track_call", on_track},
      POOLSIM_EVENT("flr_done", nic().trace().flr_done),
      POOLSIM_EVENT("interrupt_sent", nic().trace().interrupt_sent),
      POOLSIM_EVENT("mm_page_alloc", memory_trace().page_allocated),
      POOLSIM_EVENT("mm_page_free", memory_trace().page_freed),
      POOLSIM_EVENT("page_held", memory_trace().page_held),
      POOLSIM_EVENT("dma_map_page", kernel().trace().dma_mapped),
      POOLSIM_EVENT("dma_unmap_page", kernel().trace().dma_unmapped),
      POOLSIM_EVENT("iova_alloc", kernel().trace().iova_allocated),
      POOLSIM_EVENT("iova_free", kernel().trace().iova_freed),
      POOLSIM_EVENT("iommu_map", kernel().trace().iommu_mapped),
      POOLSIM_EVENT("iommu_unmap", kernel().trace().iommu_unmapped),
      POOLSIM_EVENT("iotlb_sync", kernel().trace().iommu_synced),
      POOLSIM_EVENT("driver_bound", kernel().trace().device_bound),
      POOLSIM_EVENT("driver_unbind", kernel().trace().device_unbinding),
      POOLSIM_EVENT("driver_unbound", kernel().trace().device_unbound),
      POOLSIM_EVENT("device_del", kernel().trace().device_removed),
      POOLSIM_EVENT("softirq", kernel().trace().softirq_run),
      POOLSIM_EVENT("irq_handler", kernel().trace().irq_handled),
      POOLSIM_EVENT("lock_held", kernel().trace().lock_held),
      POOLSIM_EVENT("sched_switch", kernel().trace().task_switched),
      POOLSIM_EVENT("rcu_grace_period", kernel().trace().rcu_grace_period),
      POOLSIM_EVENT("iommu_translated", iommu().translated),
      POOLSIM_EVENT("iommu_fault", iommu().faulted),
      POOLSIM_EVENT("iommu_invalidate", iommu().invalidated),
      POOLSIM_EVENT("iommu_fence", iommu().fence_done),
      POOLSIM_EVENT("packet_arrived", nic().trace().packet_arrived),
      POOLSIM_EVENT("packet_delivered", nic().trace().packet_delivered),
      POOLSIM_EVENT("descriptor_fetched", nic().trace().descriptor_fetched),
      POOLSIM_EVENT("buffer_written", nic().trace().buffer_written),
      POOLSIM_EVENT("page_pool_create", pools().trace().created),
      POOLSIM_EVENT("page_pool_state_hold", pools().trace().state_hold),
      POOLSIM_EVENT("page_pool_state_release", pools().trace().state_release),
      POOLSIM_EVENT("page_pool_alloc", pools().trace().allocated),
      POOLSIM_EVENT("page_pool_recycle", pools().trace().recycled),
      POOLSIM_EVENT("page_pool_destroy", pools().trace().destroying),
      POOLSIM_EVENT("page_pool_destroyed", pools().trace().destroyed),
      POOLSIM_EVENT("page_pool_release_retry", pools().trace().release_retried),
  };
  return all;
}

const Event& find_event(std::string_view name) {
  std::vector<std::string> names;
  for (const Event& e : events()) {
    if (name == e.name) return e;
    names.emplace_back(e.name);
  }
  throw sim::Error(fmt::format("no event '{}'{}", name, sim::suggestion(std::string(name), names)));
}

void watch_probe(platform::Machine& machine, const Trigger& trigger, std::function<void()> hit) {
  std::vector<std::string> paths;
  for (sim::Probe* p : machine.simulation().probes().probes()) {
    paths.push_back(p->path());
    if (p->path() != trigger.event) continue;
    auto* watch = new Watch;
    watch->trigger = trigger;
    watch->hit = std::move(hit);
    watch->held = holds(p->value(), trigger.relation, trigger.value);
    p->listen(watch);
    return;
  }
  throw sim::Error(fmt::format("no probe '{}'{}", trigger.event, sim::suggestion(trigger.event, paths)));
}

}  // namespace campaign
