// SPDX-License-Identifier: Apache-2.0
#include "testbenches/trace/perfetto.h"

#include <algorithm>
#include <array>

#include "nic/stack/holders.h"
#include "testbenches/checker/checker.h"

namespace trace {
namespace {

using waveforms::FlowStep;
using waveforms::InstantScope;
using waveforms::TraceArgs;

/// No counter is drawn more often than this, but for its last value before a pause.
constexpr sim::Tick kSample = sim::kMicrosecond;
/// Lookups that one value of the hit rate is made of, at least.
constexpr std::uint64_t kLookups = 16;
constexpr unsigned kTransmit = 1000;
constexpr std::string_view kFlow = "skb";

constexpr std::array kSoftirqNames{"HI",       "TIMER",   "NET_TX", "NET_RX",  "BLOCK",
                                   "IRQ_POLL", "TASKLET", "SCHED",  "HRTIMER", "RCU"};

std::string softirq_name(unsigned nr) {
  return nr < kSoftirqNames.size() ? kSoftirqNames[nr] : fmt::format("softirq {}", nr);
}

/// Where in [begin, end) a step of a flow is put: as late as possible, so that steps follow each other as
/// they happened.
sim::Tick just_before(sim::Tick begin, sim::Tick end) {
  return end > begin + sim::kNanosecond ? end - sim::kNanosecond : begin;
}

std::uint64_t place(sim::RequesterId requester, std::uint64_t iova) {
  return std::uint64_t{requester.value} << 48 | (iova / sim::kPageSize & 0xffff'ffff'ffff);
}

}  // namespace

PerfettoRecorder::PerfettoRecorder(const Observed& observed, const std::string& path, sim::Tick from,
                                   sim::Tick to)
    : o_(observed), file_(path, from, to) {
  if (o_.nic != nullptr) {
    file_.process(kNic, "Wire and NIC");
    wire_rx_ = file_.thread(kNic, "wire RX");
    wire_tx_ = file_.thread(kNic, "wire TX");
  }
  file_.process(kKernel, "Kernel");
  for (unsigned cpu = 0; cpu < o_.kernel.cores(); ++cpu) {
    CoreTracks& c = cores_.emplace_back();
    c.task = file_.thread(kKernel, fmt::format("core {} task", cpu));
    c.softirq = file_.thread(kKernel, fmt::format("core {} softirq", cpu));
    c.hardirq = file_.thread(kKernel, fmt::format("core {} hardirq", cpu));
  }
  log_ = file_.thread(kKernel, "kernel log");
  file_.process(kIommu, "IOMMU");
  faults_ = file_.thread(kIommu, "faults");
  commands_ = file_.thread(kIommu, "commands");
  file_.process(kDram, "DRAM");
  file_.process(kPools, "page_pool");
  file_.process(kDevices, "Devices");
  file_.process(kHolders, "skbs held by");
  file_.process(kFindings, "Findings");
  findings_ = file_.thread(kFindings, "findings");
  ring_ = counter(kPools, "ptr_ring fill", "pages");
  cache_ = counter(kPools, "alloc cache", "pages");
  hit_rate_ = counter(kIommu, "IOTLB hit rate", "percent");
  if (o_.stack != nullptr) skbs_ = counter(kKernel, "skbs in flight", "skbs");
  if (o_.nic != nullptr) listen_to_nic();
  listen_to_kernel();
  listen_to_memory();
  listen_to_pools();
  listen_to_iommu();
}

// ---- tracks and counters

PerfettoRecorder::Track& PerfettoRecorder::lazy(std::map<std::uint64_t, Track>& tracks, std::uint64_t key,
                                                Process process, const std::string& name) {
  const auto [it, fresh] = tracks.try_emplace(key);
  if (fresh) it->second = file_.thread(process, name);
  return it->second;
}

PerfettoRecorder::QueueTrack& PerfettoRecorder::queue(unsigned number, bool transmit) {
  const auto [it, fresh] = queues_.try_emplace(number + (transmit ? kTransmit : 0));
  if (!fresh) return it->second;
  QueueTrack& q = it->second;
  q.track = file_.thread(kNic, fmt::format("{} queue {}", transmit ? "TX" : "RX", number));
  if (transmit) return q;
  for (const sim::Probe* p : o_.simulation.probes().probes()) {
    if (p->path() == fmt::format("nic.rx{}.head", number)) q.head = p;
    if (p->path() == fmt::format("nic.rx{}.tail", number)) q.tail = p;
  }
  ring_counters_[number] = counter(kNic, fmt::format("RX ring {} fill", number), "descriptors");
  return q;
}

PerfettoRecorder::PoolTrack& PerfettoRecorder::pool(unsigned id) {
  const auto [it, fresh] = pools_.try_emplace(id);
  if (fresh) {
    it->second.track = file_.thread(kPools, fmt::format("pool {}", id));
    pool_counters_[id] = counter(kPools, fmt::format("pool {} in flight", id), "pages");
  }
  return it->second;
}

PerfettoRecorder::Track PerfettoRecorder::device(const kernel::Device* device) {
  const auto [it, fresh] = devices_.try_emplace(device);
  if (fresh) it->second = file_.thread(kDevices, device->name());
  return it->second;
}

std::size_t PerfettoRecorder::counter(Process process, std::string name, std::string unit) {
  counters_.push_back({process, std::move(name), std::move(unit)});
  return counters_.size() - 1;
}

void PerfettoRecorder::set(std::size_t index, double value, sim::Tick t) {
  Counter& c = counters_[index];
  if (value == c.value && !c.fresh) return;
  c.fresh = false;
  if (t < c.next) {
    c.value = value;
    c.dirty = true;
    c.dirty_at = t;
    return;
  }
  if (c.dirty) file_.counter(c.process, c.name, c.unit, c.dirty_at, c.value);
  c.dirty = false;
  c.value = value;
  c.next = t + kSample;
  file_.counter(c.process, c.name, c.unit, t, value);
}

void PerfettoRecorder::fill_level(QueueTrack& q, unsigned number, sim::Tick t) {
  if (q.head == nullptr || q.tail == nullptr || o_.rx_descriptors == 0) return;
  const std::uint64_t n = o_.rx_descriptors;
  set(ring_counters_[number], static_cast<double>((q.tail->value() + n - q.head->value() % n) % n), t);
}

// ---- the device

void PerfettoRecorder::listen_to_nic() {
  nic::NicTracepoints& t = *o_.nic;
  t.packet_arrived.subscribe([this](const nic::PacketArrived& e) {
    const sim::Tick took = o_.wire->frame_time(e.frame.size());
    Frame& f = frames_[e.serial];
    f = {std::max(e.time > took ? e.time - took : 0, std::min(wire_busy_until_, e.time)), e.time, 0,
         static_cast<std::uint32_t>(e.frame.size())};
    wire_busy_until_ = e.time;
    file_.slice(wire_rx_, fmt::format("frame {}", e.serial), f.begin, e.time,
                TraceArgs().add("bytes", f.bytes));
  });
  t.packet_sent.subscribe([this](const nic::PacketSent& e) {
    file_.slice(wire_tx_, "frame", e.time, e.time + o_.wire->frame_time(e.frame.size()),
                TraceArgs().add("bytes", e.frame.size()));
  });
  t.packet_dropped.subscribe([this](const nic::PacketDropped& e) {
    frames_.erase(e.serial);
    file_.instant(wire_rx_, fmt::format("frame {} dropped: {}", e.serial, nic::to_string(e.reason)), e.time);
  });
  t.buffer_written.subscribe([this](const nic::BufferWritten& e) { buffer_written(e); });
  t.packet_delivered.subscribe([this](const nic::PacketDelivered& e) { delivered(e); });
  t.descriptor_fetched.subscribe([this](const nic::DescriptorFetched& e) {
    QueueTrack& q = queue(e.queue, e.transmit);
    if (!e.transmit) return fill_level(q, e.queue, e.time);
    if (q.outstanding++ == 0) file_.begin(q.track, "transmitting", e.time);
  });
  t.write_back.subscribe([this](const nic::WriteBack& e) {
    QueueTrack& q = queue(e.queue, e.transmit);
    if (!e.transmit) return fill_level(q, e.queue, e.time);
    q.outstanding -= std::min<std::uint64_t>(q.outstanding, e.count);
    if (q.outstanding == 0) file_.end(q.track, e.time);
  });
  t.descriptors_discarded.subscribe([this](const nic::DescriptorsDiscarded& e) {
    QueueTrack& q = queue(e.queue, e.transmit);
    if (e.transmit) {
      q.outstanding -= std::min<std::uint64_t>(q.outstanding, e.count);
      if (q.outstanding == 0) file_.end(q.track, e.time);
    }
    file_.instant(q.track, fmt::format("{} descriptors discarded", e.count), e.time);
  });
  t.read_failed.subscribe([this](const nic::ReadFailed& e) {
    file_.instant(queue(e.queue, e.transmit).track, "read failed: queue stopped", e.time,
                  InstantScope::kThread, TraceArgs().hex("iova", e.address.value));
  });
  t.interrupt_sent.subscribe([this](const nic::InterruptSent& e) {
    file_.instant(
        lazy(interrupts_, e.requester.value, kNic, fmt::format("MSI-X of {:#06x}", e.requester.value)),
        fmt::format("vector {}", e.vector), e.time);
  });
  t.flr_done.subscribe([this](const nic::FlrDone& e) {
    file_.instant(
        wire_rx_,
        e.vf < 0 ? "function level reset of the PF" : fmt::format("function level reset of VF {}", e.vf),
        e.time, InstantScope::kProcess);
  });
  t.vf_disabled.subscribe([this](const nic::VfDisabled& e) {
    file_.instant(wire_rx_, fmt::format("VF {} disabled", e.vf), e.time, InstantScope::kProcess);
  });
}

void PerfettoRecorder::buffer_written(const nic::BufferWritten& e) {
  const auto frame = frames_.find(e.serial);
  if (frame == frames_.end() || frame->second.page != 0) return;
  if (const auto it = mapped_.find(place(e.requester, e.address.value)); it != mapped_.end())
    frame->second.page = it->second;
}

void PerfettoRecorder::delivered(const nic::PacketDelivered& e) {
  QueueTrack& q = queue(e.queue, false);
  const auto it = frames_.find(e.serial);
  if (it == frames_.end()) return;
  const Frame frame = it->second;
  frames_.erase(it);
  const sim::Tick begin = std::min(std::max(frame.arrived, q.busy_until), e.time);
  q.busy_until = e.time;
  TraceArgs args;
  if (frame.page != 0) args = std::move(args).hex("pfn", frame.page);
  file_.slice(q.track, fmt::format("frame {}", e.serial), begin, e.time, args);
  fill_level(q, e.queue, e.time);
  if (frame.page == 0 || file_.closed() || !file_.in_window(frame.begin) || !file_.in_window(begin)) return;
  const std::uint64_t id = e.serial + 1;
  file_.flow(FlowStep::kStart, wire_rx_, kFlow, id, frame.begin);
  file_.flow(FlowStep::kNext, q.track, kFlow, id, begin);
  flows_[frame.page].push_back({id, {}});
}

// ---- the kernel

void PerfettoRecorder::listen_to_kernel() {
  kernel::Trace& t = o_.kernel.trace();
  t.task_switched.subscribe([this](const kernel::TaskSwitched& e) {
    CoreTracks& c = cores_[e.cpu];
    file_.end(c.task, e.time);
    c.task_mark = e.time;
    if (e.to != nullptr) file_.begin(c.task, e.to->name(), e.time, TraceArgs().add("pid", e.to->pid()));
  });
  t.softirq_run.subscribe([this](const kernel::SoftirqRun& e) { softirq_ran(e); });
  t.irq_handled.subscribe([this](const kernel::IrqHandled& e) {
    file_.slice(cores_[e.cpu].hardirq, e.name, e.begin, e.end,
                TraceArgs().add("vector", e.vector).add("raised_ns", e.raised / sim::kNanosecond));
  });
  t.spin.subscribe([this](const kernel::Spin& e) {
    CoreTracks& c = cores_[e.cpu];
    if (!c.has_spin) c.spin = file_.thread(kKernel, fmt::format("core {} spinning", e.cpu));
    c.has_spin = true;
    file_.slice(c.spin, e.lock, e.begin, e.end, TraceArgs().add("held_by_core", e.holder));
  });
  t.bh_section.subscribe([this](const kernel::BhSection& e) {
    CoreTracks& c = cores_[e.cpu];
    if (!c.has_bh) c.bh = file_.thread(kKernel, fmt::format("core {} bottom halves off", e.cpu));
    c.has_bh = true;
    file_.slice(c.bh, e.function, e.begin, e.end);
  });
  t.rcu_grace_period.subscribe([this](const kernel::RcuGracePeriod& e) {
    if (!file_.in_window(e.begin)) return;
    file_.async_begin(kKernel, "RCU grace period", e.sequence, e.begin,
                      TraceArgs().add("expedited", std::uint64_t{e.expedited}));
    file_.async_end(kKernel, "RCU grace period", e.sequence, e.end);
  });
  t.log.subscribe([this](const kernel::LogLine& e) { file_.instant(log_, e.text, e.time); });
  t.oops.subscribe([this](const kernel::Oops& e) {
    file_.instant(log_, e.title, e.time, InstantScope::kGlobal,
                  TraceArgs().add("in", e.symbol).add("task", e.task));
  });
  t.warn.subscribe([this](const kernel::Warn& e) {
    file_.instant(log_, "WARN: " + e.text, e.time, InstantScope::kProcess);
  });
  t.device_added.subscribe(
      [this](const kernel::DeviceAdded& e) { file_.begin(device(e.device), "no driver", e.time); });
  t.device_binding.subscribe(
      [this](const kernel::DeviceBinding& e) { file_.begin(device(e.device), "probe", e.time); });
  t.device_bound.subscribe(
      [this](const kernel::DeviceBound& e) { file_.begin(device(e.device), "bound", e.time); });
  t.device_unbinding.subscribe(
      [this](const kernel::DeviceUnbinding& e) { file_.begin(device(e.device), "unbinding", e.time); });
  t.device_unbound.subscribe(
      [this](const kernel::DeviceUnbound& e) { file_.begin(device(e.device), "no driver", e.time); });
  t.device_removed.subscribe(
      [this](const kernel::DeviceRemoved& e) { file_.begin(device(e.device), "removed", e.time); });
  t.device_freed.subscribe([this](const kernel::DeviceFreed& e) {
    file_.end(device(e.device), e.time);
    file_.instant(device(e.device), "struct device freed", e.time);
  });
  t.dma_mapped.subscribe([this](const kernel::DmaMapped& e) {
    if (e.iova == kernel::kDmaMappingError) return;
    for (std::uint64_t at = 0; at < (e.iova.value % sim::kPageSize) + e.size; at += sim::kPageSize) {
      mapped_[place(e.device->requester(), e.iova.value + at)] = (e.phys.value + at) / sim::kPageSize;
    }
  });
  t.dma_unmapped.subscribe([this](const kernel::DmaUnmapped& e) {
    if (!e.driver_bound) {
      file_.instant(device(e.device), "dma_unmap without a driver", e.time, InstantScope::kThread,
                    TraceArgs().hex("iova", e.iova.value));
    }
  });
}

void PerfettoRecorder::softirq_ran(const kernel::SoftirqRun& e) {
  CoreTracks& c = cores_[e.cpu];
  file_.slice(c.softirq, softirq_name(e.nr), e.begin, e.end);
  for (const Item& item : c.items) {
    const sim::Tick begin = std::clamp(item.begin, e.begin, e.end), end = std::clamp(item.end, begin, e.end);
    file_.slice(c.softirq, item.name, begin, end);
    file_.flow(item.step, c.softirq, kFlow, item.flow, just_before(begin, end));
  }
  c.items.clear();
  c.softirq_mark = e.end;
}

/// The core has done something with an skb: a slice since the last such thing, and a step of the flow in it.
void PerfettoRecorder::core_item(std::string name, std::uint64_t flow, FlowStep step, const Here& here) {
  CoreTracks& c = cores_[here.cpu];
  const kernel::Context& cpu = kernel::this_cpu();
  if (cpu.in_serving_softirq()) {
    c.items.push_back({std::move(name), c.softirq_mark, here.time, flow, step});
    c.softirq_mark = here.time;
    return;
  }
  const sim::Tick begin = std::min(c.task_mark, here.time);
  file_.slice(c.task, name, begin, here.time);
  file_.flow(step, c.task, kFlow, flow, just_before(begin, here.time));
  c.task_mark = here.time;
}

// ---- skbs and pages

void PerfettoRecorder::listen_to_memory() {
  o_.memory.page_held.subscribe([this](const mm::PageHeld& e) { page_held(e); });
  o_.memory.page_freed.subscribe([this](const mm::PageFreed& e) { page_back(e.pfn, "freed"); });
  o_.dram.watch_commands([this](unsigned channel, const mm::DramCommandRecord& r) { command(channel, r); });
  const mm::DramConfig& dram = o_.dram.config();
  last_column_.assign(dram.channels, 0);
  for (unsigned channel = 0; channel < dram.channels; ++channel) {
    for (unsigned group = 0; group < dram.resolved_timing().bank_groups; ++group) {
      bank_groups_[channel * 256 + group] =
          file_.thread(kDram, fmt::format("ch{} bank group {}", channel, group));
    }
    for (unsigned rank = 0; rank < dram.ranks; ++rank) {
      ranks_[channel * 256 + rank] = file_.thread(kDram, fmt::format("ch{} rank {} refresh", channel, rank));
    }
  }
}

void PerfettoRecorder::let_go(Flow& flow, sim::Tick t) {
  if (!flow.holder.empty()) file_.async_end(kHolders, flow.holder, flow.id, t);
  flow.holder = {};
}

void PerfettoRecorder::page_held(const mm::PageHeld& e) {
  const auto it = flows_.find(e.pfn.value);
  // What the pool says when it has the page back, the end of the flow says too.
  if (it == flows_.end() || e.holder.starts_with("page_pool") || e.holder == nic::holder::kRxRing) return;
  const Here here(o_.simulation);
  Flow& flow = it->second.back();
  if (!here.in_kernel || !file_.in_window(here.time)) return;
  let_go(flow, here.time);
  flow.holder = e.holder;
  core_item(fmt::format("to {} {}", e.holder, e.id), flow.id, FlowStep::kNext, here);
  file_.async_begin(kHolders, e.holder, flow.id, here.time,
                    TraceArgs().add("id", e.id).hex("pfn", e.pfn.value));
  if (o_.stack != nullptr) set(skbs_, static_cast<double>(o_.stack->skbs().outstanding()), here.time);
}

void PerfettoRecorder::page_back(sim::Pfn pfn, const char* how) {
  const auto it = flows_.find(pfn.value);
  if (it == flows_.end()) return;
  const Here here(o_.simulation);
  if (!here.in_kernel || !file_.in_window(here.time)) return;  // then it is still out when the window ends
  for (Flow& flow : it->second) {
    let_go(flow, here.time);
    core_item(how, flow.id, FlowStep::kEnd, here);
  }
  flows_.erase(it);
  if (o_.stack != nullptr) set(skbs_, static_cast<double>(o_.stack->skbs().outstanding()), here.time);
}

void PerfettoRecorder::end_flows(sim::Tick now) {
  if (flows_.empty()) return;
  const Track out = file_.thread(kHolders, "still out at the end");
  const sim::Tick begin = now > sim::kMicrosecond ? now - sim::kMicrosecond : 0;
  file_.slice(out, "still out", begin, now + sim::kNanosecond, TraceArgs().add("pages", flows_.size()));
  for (auto& [pfn, flows] : flows_) {
    for (Flow& flow : flows) {
      let_go(flow, now);
      file_.flow(FlowStep::kEnd, out, kFlow, flow.id, now);
    }
  }
  flows_.clear();
}

// ---- DRAM

void PerfettoRecorder::command(unsigned channel, const mm::DramCommandRecord& r) {
  if (file_.closed()) return;
  const mm::DramTiming& timing = o_.dram.config().resolved_timing();
  const auto at = [&](sim::Cycle cycle) { return timing.clock.edge(cycle); };
  const bool refresh = r.command == mm::DramCommand::kRef || r.command == mm::DramCommand::kRefSb;
  if (r.command == mm::DramCommand::kPreAll || r.command == mm::DramCommand::kPreSb) return;
  if (refresh) {
    // Idle memory refreshes on and on; that is no news.
    if (r.time > last_column_[channel] + 2 * timing.refi) return;
    const bool same_bank = r.command == mm::DramCommand::kRefSb;
    file_.slice(ranks_[channel * 256 + r.rank], mm::to_string(r.command), at(r.time),
                at(r.time + (same_bank ? timing.rfc_sb : timing.rfc)));
    return;
  }
  const Track track = bank_groups_[channel * 256 + r.bank_group];
  const auto args = [&] { return TraceArgs().add("rank", r.rank).add("bank", r.bank).hex("row", r.row); };
  if (r.command == mm::DramCommand::kRd || r.command == mm::DramCommand::kWr) {
    last_column_[channel] = r.time;
    const sim::Cycle data = r.time + (r.command == mm::DramCommand::kRd ? timing.cl : timing.cwl);
    file_.slice(track, mm::to_string(r.command), at(data), at(data + timing.data_cycles()), args());
  } else {
    file_.instant(track, mm::to_string(r.command), at(r.time), InstantScope::kThread, args());
  }
}

// ---- pools

void PerfettoRecorder::listen_to_pools() {
  pagepool::Trace& t = o_.pools.trace();
  t.created.subscribe([this](const pagepool::PoolCreated& e) {
    file_.begin(pool(e.pool).track, "in use", e.where.time,
                TraceArgs().add("device", e.device != nullptr ? std::string_view(e.device->name()) : "none"));
  });
  const auto in_flight = [this](unsigned id, PoolTrack& p, sim::Tick time) {
    set(pool_counters_[id], static_cast<double>(p.hold - std::min(p.hold, p.release)), time);
  };
  const auto fill = [this](sim::Tick time) {
    set(ring_, static_cast<double>(o_.pools.totals().ring.value()), time);
    set(cache_, static_cast<double>(o_.pools.totals().cache.value()), time);
  };
  t.state_hold.subscribe([this, in_flight](const pagepool::StateHold& e) {
    PoolTrack& p = pool(e.pool);
    ++p.hold;
    in_flight(e.pool, p, e.where.time);
  });
  t.state_release.subscribe([this, in_flight](const pagepool::StateRelease& e) {
    PoolTrack& p = pool(e.pool);
    ++p.release;
    in_flight(e.pool, p, e.where.time);
    page_back(e.pfn, "released");
  });
  t.allocated.subscribe([fill](const pagepool::Allocated& e) { fill(e.where.time); });
  t.recycled.subscribe([this, fill](const pagepool::Recycled& e) {
    fill(e.where.time);
    if (e.outcome == pagepool::RecycleOutcome::cached) page_back(e.pfn, "to the pool's cache");
    if (e.outcome == pagepool::RecycleOutcome::ring) page_back(e.pfn, "to the pool's ring");
  });
  t.destroying.subscribe([this](const pagepool::Destroying& e) {
    file_.begin(pool(e.pool).track, "page_pool_destroy", e.where.time,
                TraceArgs().add("inflight", static_cast<std::uint64_t>(std::max(e.inflight, 0))));
  });
  t.destroyed.subscribe([this](const pagepool::Destroyed& e) {
    PoolTrack& p = pool(e.pool);
    if (!e.pending) return file_.end(p.track, e.where.time);
    file_.begin(p.track, fmt::format("waits for {} pages", e.inflight), e.where.time);
  });
  t.release_retrying.subscribe(
      [this](const pagepool::ReleaseRetrying& e) { pool(e.pool).retry_since = e.where.time; });
  t.release_retried.subscribe([this](const pagepool::ReleaseRetried& e) {
    PoolTrack& p = pool(e.pool);
    file_.slice(p.track, "page_pool_release_retry", std::min(p.retry_since, e.where.time), e.where.time,
                TraceArgs().add("inflight", static_cast<std::uint64_t>(std::max(e.inflight, 0))));
    p.retry_since = sim::kNever;
    if (p.freed) file_.end(p.track, e.where.time);
  });
  t.freed.subscribe([this](const pagepool::PoolFreed& e) {
    PoolTrack& p = pool(e.pool);
    p.freed = true;
    if (p.retry_since == sim::kNever) file_.end(p.track, e.where.time);  // else the round ends it
    file_.instant(p.track, "freed", e.where.time);
  });
  t.warned.subscribe([this](const pagepool::Warned& e) {
    file_.instant(pool(e.pool).track, "warning of page_pool.c", e.where.time);
  });
}

// ---- the IOMMU

void PerfettoRecorder::listen_to_iommu() {
  o_.iommu.walked.subscribe([this](const iommu::Walked& e) {
    file_.slice(
        lazy(walkers_, e.walker, kIommu, fmt::format("walker {}", e.walker)),
        e.cause == iommu::Cause::kNone ? "walk" : "walk: fault", e.begin, e.end,
        TraceArgs().hex("iova", e.iova.value).hex("device", e.requester.value).add("waiting", e.waiting));
  });
  o_.iommu.translated.subscribe([this](const iommu::Translated& e) { translated(e); });
  o_.iommu.faulted.subscribe([this](const iommu::Fault& e) {
    file_.instant(faults_, fmt::format("fault: cause {}", static_cast<unsigned>(e.cause)), e.time,
                  InstantScope::kGlobal,
                  TraceArgs()
                      .hex("iova", e.iova.value)
                      .hex("device", e.requester.value)
                      .add("access", std::string_view(e.write ? "write" : "read")));
  });
  o_.iommu.invalidated.subscribe([this](const iommu::Invalidate& e) {
    constexpr std::array kNames{"IOTINVAL.VMA", "IOTINVAL.GVMA", "IODIR.INVAL_DDT", "IODIR.INVAL_PDT"};
    file_.instant(commands_, kNames[static_cast<std::size_t>(e.kind)], e.time, InstantScope::kThread,
                  TraceArgs().hex("address", e.address).add("dropped", e.dropped));
  });
  o_.iommu.fence_done.subscribe(
      [this](const iommu::FenceDone& e) { file_.instant(commands_, "IOFENCE.C done", e.time); });
}

void PerfettoRecorder::translated(const iommu::Translated& e) {
  if (hits_.lookups == 0) hits_.since = e.time;
  ++hits_.lookups;
  hits_.hits += e.iotlb_hit;
  if (hits_.lookups < kLookups || e.time < hits_.since + kSample) return;
  set(hit_rate_, 100.0 * static_cast<double>(hits_.hits) / static_cast<double>(hits_.lookups), e.time);
  hits_ = {};
}

// ---- the end

void PerfettoRecorder::finding(const checker::Finding& f) {
  file_.instant(findings_, fmt::format("{}: {}", checker::key(f.kind), f.detail), f.first,
                InstantScope::kGlobal,
                TraceArgs().add("where", f.place).add("who", f.who).add("whom", f.whom));
}

void PerfettoRecorder::close() {
  if (file_.closed()) return;
  o_.dram.settle();
  sim::Tick now = o_.simulation.now();
  for (unsigned cpu = 0; cpu < cores_.size(); ++cpu) {
    now = std::max(now, o_.kernel.core(cpu).now());  // cores run ahead
  }
  for (unsigned cpu = 0; cpu < cores_.size(); ++cpu) {
    CoreTracks& c = cores_[cpu];
    if (!c.items.empty())
      softirq_ran({cpu, static_cast<unsigned>(kSoftirqNames.size()), c.items.front().begin, now});
  }
  for (const Counter& c : counters_) {
    if (c.dirty) file_.counter(c.process, c.name, c.unit, c.dirty_at, c.value);
  }
  end_flows(std::min(now, file_.to()));
  file_.close(now);
}

}  // namespace trace
