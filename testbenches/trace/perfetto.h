// SPDX-License-Identifier: Apache-2.0
// A run as a timeline for Perfetto (waveforms/trace_events.h): listens to tracepoints only, changes nothing,
// keeps nothing but what is under way.
//
//   process        tracks
//   Wire and NIC   wire RX, wire TX, each queue (frames on their way into memory), interrupts; ring fill
//   Kernel         of each core: tasks, softirq, hardirq, spinning, bottom halves off; log; skbs outstanding
//   IOMMU          each walker, faults, commands; IOTLB hit rate
//   DRAM           each bank group (data bursts; ACT and PRE as instants), refresh of each rank
//   page_pool      each pool, from creation to release; pages in flight, ring and cache fill
//   Devices        each device: bound, unbinding, no driver, removed; unmaps without a driver as instants
//   skbs held by   who holds each skb, from the socket or queue it went to until its page came back
//   Findings       each new finding, an instant across all tracks
//
// The life of an skb is a flow: wire -> NIC queue -> softirq that hands it to its holder -> ... -> whoever
// gives the page back. A flow that has not ended when the run or the window does ends at a slice "still out".
#pragma once
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "testbenches/checker/finding.h"
#include "testbenches/trace/observed.h"
#include "waveforms/trace_events.h"

namespace trace {

class PerfettoRecorder {
 public:
  /// Listens from now on; `observed` must live as long as this. Before the run. Throws sim::Error if the file
  /// cannot be written.
  PerfettoRecorder(const Observed& observed, const std::string& path, sim::Tick from = 0,
                   sim::Tick to = sim::kNever);
  PerfettoRecorder(const PerfettoRecorder&) = delete;
  PerfettoRecorder& operator=(const PerfettoRecorder&) = delete;

  void finding(const checker::Finding& finding);
  /// Ends what is open, and the file. Outside a run. Throws sim::Error if it could not be written.
  void close();

 private:
  enum Process : std::uint32_t { kNic = 1, kKernel, kIommu, kDram, kPools, kDevices, kHolders, kFindings };
  using Track = waveforms::Track;

  /// An skb on its way: its frame's number, and who has it.
  struct Flow {
    std::uint64_t id = 0;
    std::string_view holder;
  };
  /// A frame inside the NIC.
  struct Frame {
    sim::Tick begin = 0, arrived = 0;
    std::uint64_t page = 0;
    std::uint32_t bytes = 0;
  };
  /// Something of an skb in a softirq, until the softirq's own slice is written.
  struct Item {
    std::string name;
    sim::Tick begin = 0, end = 0;
    std::uint64_t flow = 0;
    waveforms::FlowStep step = waveforms::FlowStep::kNext;
  };
  struct CoreTracks {
    Track task{}, softirq{}, hardirq{}, spin{}, bh{};
    bool has_spin = false, has_bh = false;
    std::vector<Item> items;  // of the softirq that runs
    sim::Tick task_mark = 0, softirq_mark = 0;
  };
  struct QueueTrack {
    Track track{};
    sim::Tick busy_until = 0;
    std::uint64_t outstanding = 0;  // TX: descriptors on chip
    const sim::Probe *head = nullptr, *tail = nullptr;
  };
  struct PoolTrack {
    Track track{};
    std::uint64_t hold = 0, release = 0;
    sim::Tick retry_since = sim::kNever;
    bool freed = false;
  };
  struct Counter {
    Process process;
    std::string name, unit;
    double value = 0;
    bool dirty = false, fresh = true;
    sim::Tick dirty_at = 0, next = 0;
  };
  struct HitRate {
    std::uint64_t lookups = 0, hits = 0;
    sim::Tick since = 0;
  };

  void listen_to_nic();
  void listen_to_kernel();
  void listen_to_memory();
  void listen_to_pools();
  void listen_to_iommu();

  Track& lazy(std::map<std::uint64_t, Track>& tracks, std::uint64_t key, Process process,
              const std::string& name);
  QueueTrack& queue(unsigned number, bool transmit);
  PoolTrack& pool(unsigned id);
  Track device(const kernel::Device* device);
  std::size_t counter(Process process, std::string name, std::string unit);
  void set(std::size_t counter, double value, sim::Tick t);

  void delivered(const nic::PacketDelivered& e);
  void buffer_written(const nic::BufferWritten& e);
  void page_held(const mm::PageHeld& e);
  void page_back(sim::Pfn pfn, const char* how);
  void core_item(std::string name, std::uint64_t flow, waveforms::FlowStep step, const Here& here);
  void softirq_ran(const kernel::SoftirqRun& e);
  void let_go(Flow& flow, sim::Tick t);
  void end_flows(sim::Tick now);
  void fill_level(QueueTrack& q, unsigned number, sim::Tick t);
  void command(unsigned channel, const mm::DramCommandRecord& record);
  void translated(const iommu::Translated& e);

  Observed o_;
  sim::Tick wire_busy_until_ = 0;
  waveforms::TraceEventFile file_;
  Track wire_rx_{}, wire_tx_{}, log_{}, faults_{}, commands_{}, findings_{};
  std::vector<CoreTracks> cores_;
  std::map<unsigned, QueueTrack> queues_;  // transmit queues from 1000 on
  std::map<unsigned, PoolTrack> pools_;
  std::map<const kernel::Device*, Track> devices_;
  std::map<std::uint64_t, Track> walkers_, bank_groups_, ranks_, interrupts_;
  std::vector<sim::Cycle> last_column_;  // per channel
  std::vector<Counter> counters_;
  std::map<unsigned, std::size_t> pool_counters_, ring_counters_;
  std::size_t skbs_ = 0, ring_ = 0, cache_ = 0, hit_rate_ = 0;
  HitRate hits_;

  // Looked up, never walked.
  std::unordered_map<std::uint64_t, std::uint64_t> mapped_;  // (requester, IOVA page) -> page frame
  std::unordered_map<std::uint64_t, Frame> frames_;          // in the NIC, by serial
  std::map<std::uint64_t, std::vector<Flow>> flows_;         // by page frame
};

}  // namespace trace
