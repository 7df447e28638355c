// SPDX-License-Identifier: Apache-2.0
#include "testbenches/campaign/world.h"

#include <algorithm>

#include "mm/memory_faults.h"
#include "sim/digest.h"

namespace campaign {

const char* to_string(Detector d) {
  switch (d) {
    case Detector::kIommu:
      return "iommu";
    case Detector::kEccCorrected:
      return "ecc corrected";
    case Detector::kEccUncorrectable:
      return "ecc uncorrectable";
    case Detector::kPcie:
      return "pcie";
    case Detector::kWarning:
      return "kernel warning";
    case Detector::kOops:
      return "oops";
    case Detector::kDriver:
      return "driver";
    case Detector::kStack:
      return "network stack";
    case Detector::kCount:
      break;
  }
  return "?";
}

World::World(const Campaign& campaign, const Variant& variant, scenario::RunOptions options)
    : campaign_(campaign),
      config_(campaign.configure(variant)),
      run_(config_, std::move(options)),
      alarm_(run_.machine().simulation().timeline()) {
  forget_detections();
  platform::Machine& m = machine();
  m.iommu().faulted.subscribe([this](const iommu::Fault& f) {
    if (f.recorded) detected(Detector::kIommu);
  });
  m.dram().faults().errors.subscribe([this](const mm::MemoryError& e) {
    detected(e.outcome == mm::EccOutcome::kUncorrectable ? Detector::kEccUncorrectable
                                                         : Detector::kEccCorrected);
  });
  // The requester sees it: a read of the device without data, an access of a core without completion.
  m.nic().trace().read_failed.subscribe([this](const nic::ReadFailed&) { detected(Detector::kPcie); });
  m.root_port().completion_timed_out.subscribe(
      [this](const platform::CompletionTimedOut&) { detected(Detector::kPcie); });
  m.kernel().trace().warn.subscribe([this](const kernel::Warn&) { detected(Detector::kWarning); });
  m.kernel().trace().oops.subscribe([this](const kernel::Oops&) { detected(Detector::kOops); });
  m.memory_trace().page_alloc_failed.subscribe(
      [this](const mm::PageAllocFailed&) { detected(Detector::kDriver); });
  m.kernel().trace().dma_mapped.subscribe([this](const kernel::DmaMapped& e) {
    if (e.iova == kernel::kDmaMappingError) detected(Detector::kDriver);
  });
  m.kernel().trace().dma_mapped.subscribe(
      [this](const kernel::DmaMapped& e) { note_mapping(0, e.iova.value, e.phys.value); });
  m.kernel().trace().dma_unmapped.subscribe([this](const kernel::DmaUnmapped& e) {
    note_mapping(1 + static_cast<std::uint64_t>(e.result), e.iova.value, e.phys.value);
  });
  m.pools().trace().warned.subscribe([this](const pagepool::Warned&) { detected(Detector::kDriver); });
  // The whole memory: what was never written need not be hashed.
  m.store().track_writes(m.store().base());
}

void World::Alarm::add(sim::Tick t, std::function<void()> call) {
  t = std::max(t, timeline().now() + 1);
  calls_.emplace(t, std::move(call));
  wake_by(t);
}

void World::Alarm::wake(sim::Tick now) {
  while (!calls_.empty() && calls_.begin()->first <= now) {
    const auto call = std::move(calls_.begin()->second);
    calls_.erase(calls_.begin());
    call();
  }
  if (!calls_.empty()) wake_by(calls_.begin()->first);
}

void World::at(sim::Tick t, std::function<void()> call) { alarm_.add(t, std::move(call)); }

void World::note_mapping(std::uint64_t what, std::uint64_t iova, std::uint64_t phys) {
  const std::uint64_t event[] = {what, iova, phys};
  mappings_ += sim::hash64(event, sizeof event);
}

void World::detected(Detector d) {
  ++detections_[static_cast<std::size_t>(d)];
  sim::Tick& first = first_[static_cast<std::size_t>(d)];
  if (first == sim::kNever) first = now();
}

bool World::run_until(sim::Tick t) {
  while (!ended_ && now() < t) {
    timeline().run_until(t);
    const auto& oopses = machine().kernel().oopses();
    ended_ = run_.scenario_ended() || machine().kernel().panicked() ||
             (config_.scenario.stop_at_oops && !oopses.empty()) || now() >= run_.last_tick();
  }
  return !ended_;
}

void World::warm_up() {
  const Trigger trigger = parse_trigger(campaign_.warmup);
  run_.start();
  const auto fail = [&] {
    throw sim::Error(
        fmt::format("{}: warmup: the scenario ends before '{}'", campaign_.file, campaign_.warmup));
  };
  if (trigger.kind == Trigger::Kind::kTime) {
    if (!run_until(trigger.from)) fail();
    origin_ = now();
    return;
  }
  // Listeners cannot leave, so this one outlives the call and then does nothing.
  struct Wait {
    bool hit = false;
    std::uint64_t count = 0;
  };
  const auto wait = std::make_shared<Wait>();
  const auto strike = [this, wait, nth = trigger.first] {
    if (wait->hit || ++wait->count < nth) return;
    wait->hit = true;
    timeline().stop();
  };
  if (trigger.kind == Trigger::Kind::kProbe) {
    watch_probe(machine(), trigger, strike);
  } else {
    find_event(trigger.event).subscribe(machine(), strike);
  }
  timeline().run_until(run_.last_tick());
  if (!wait->hit) fail();
  origin_ = now();
}

Observation World::observe() {
  Observation o;
  for (std::size_t k = 0; k < o.findings.size(); ++k) {
    o.findings[k] = run_.checker().findings().count(static_cast<checker::FindingClass>(k));
  }
  o.detected = detections_;
  const auto& stack = machine().stack().counters();
  o.received = stack.received;
  o.read = stack.read;
  o.corrupt = stack.corrupt;
  o.detected[static_cast<std::size_t>(Detector::kStack)] = stack.malformed;
  o.skbs = machine().stack().skbs().outstanding();
  o.progress =
      o.received + o.read + (script().unbind_at() != sim::kNever ? 1 : 0) + (run_.scenario_ended() ? 1 : 0);
  o.ended = ended_;
  return o;
}

std::uint64_t World::state_digest() {
  platform::Machine& m = machine();
  std::uint64_t h = 0;
  const auto fold = [&h](std::uint64_t v) { h = sim::hash64(&v, sizeof v, h); };
  const mm::SparseStore& store = m.store();
  for (sim::PhysAddr at = store.next_written(store.base(), store.end()); at.value < store.end().value;
       at = store.next_written(at + sim::kPageSize, store.end())) {
    h = sim::hash64(store.host(at, sim::kPageSize), sim::kPageSize, h ^ at.value);
  }
  fold(mappings_);
  fold(m.dram().faults().empty());
  fold(m.iommu().cache_digest());
  for (unsigned q = 0; q < 16; ++q) {
    m.nic().held_descriptors(q, [&](const nic::Nic::HeldDescriptor& d) {
      fold(d.index << 1 | (d.used ? 1u : 0u)), fold(d.buffer.value);
    });
  }
  for (const auto& pool : m.pools().pools()) {
    const auto& s = pool->state();
    fold(s.hold), fold(s.release);
  }
  fold(m.stack().skbs().outstanding());
  fold(m.pages().counters().free_pages);
  fold(m.kernel().oopses().size());
  for (unsigned cpu = 0; cpu < m.kernel().cores(); ++cpu) fold(m.kernel().core(cpu).runnable());
  return h;
}

}  // namespace campaign
