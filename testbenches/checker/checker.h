// SPDX-License-Identifier: Apache-2.0
// The checker: a shadow owner for every page, mapping, IOVA, pool and device, fed by tracepoints only. It
// knows no strategy, asks no model, pays no cycles and changes nothing; it is always on. What it sees go
// wrong becomes a Finding with time, place, both parties and the holder of the page.
//
//   checker::Checker checker(simulation.timeline());
//   checker.attach(frames_trace); checker.attach(kernel.trace()); checker.attach(iommu); ...   // before the
//   run
//   ... run ...
//   checker.finish();                        // the laws of the end: leaks, stalled pools, lost frames
//   checker.findings(), checker.summary(), checker.who_holds(pfn)
#pragma once
#include <deque>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "iommu/trace.h"
#include "kernel/trace.h"
#include "mm/trace.h"
#include "nic/device/trace.h"
#include "pagepool/trace.h"
#include "sim/timeline.h"
#include "testbenches/checker/finding.h"
#include "testbenches/checker/races.h"
#include "testbenches/checker/shadow.h"

namespace iommu {
class Iommu;
}

namespace checker {

struct CheckerConfig {
  sim::Tick bh_off_bound = sim::kMillisecond;    ///< longest stretch with bottom halves off
  sim::Tick lock_bound = sim::kMillisecond;      ///< longest time a lock may be held
  sim::Tick shutdown_bound = 60 * sim::kSecond;  ///< DEFER_WARN_INTERVAL of page_pool
  /// Throws sim::Error naming the field.
  void validate() const;
};

/// Who holds a page, since when, through what path.
struct PageReport {
  sim::Pfn pfn;
  bool allocated;
  std::uint32_t pool;       ///< pool that counts it in flight, 0 = none
  std::string_view holder;  ///< "UDP socket receive queue", "nobody", ...
  std::uint64_t holder_id;  ///< which one
  sim::Tick since;
  struct Step {
    std::string_view holder;
    std::uint64_t id;
    sim::Tick since;
  };
  std::vector<Step> path;         ///< last holders, oldest first, the present one last
  std::optional<sim::Iova> iova;  ///< of its live DMA mapping
  std::string device;             ///< of that mapping
};

/// The figures of a run that tables show.
struct Summary {
  std::uint64_t unmap_before_destroy = 0, unmap_inside_destroy = 0, unmap_after_destroy = 0;
  std::uint64_t late_unmaps = 0;  ///< with no driver bound
  std::uint64_t iommu_faults = 0;
  std::uint64_t stale_hits = 0;  ///< IOTLB hits on a page whose entry in the page table has changed or gone
  std::uint64_t leaked_pages = 0, leaked_mappings = 0, leaked_iovas = 0;
  bool iova_reused_while_held = false;
  sim::Tick longest_bh_off = 0;
  const char* longest_bh_off_function = "";
  std::string longest_bh_off_chain;  ///< innermost first
  sim::Tick longest_spin = 0;        ///< of a core in softirq, for a lock
  std::string longest_spin_lock, longest_spin_chain;
  sim::Tick longest_hotplug_wait = 0;  ///< of a step of memory hotplug for mem_hotplug_lock
  std::uint64_t hotplug_steps = 0, hotplug_errors = 0;
  sim::Tick longest_unbind = 0;
  sim::Tick unbind_pending = 0;  ///< an unbind that had not come to its end when the run had, so far; 0 = none
  std::uint64_t frames_arrived = 0, frames_delivered = 0, frames_dropped = 0;
  std::optional<kernel::Oops> oops;  ///< the first
};

/// "dma_unmap_page_attrs <- page_pool_return_page <- ...": innermost first.
std::string chain_text(kernel::CallChain chain);

class Checker {
 public:
  explicit Checker(const sim::Timeline& timeline, CheckerConfig config = {});
  Checker(const Checker&) = delete;
  Checker& operator=(const Checker&) = delete;

  void attach(mm::Trace& trace);
  void attach(kernel::Trace& trace);
  void attach(pagepool::Trace& trace);
  void attach(iommu::Iommu& iommu);
  void attach(nic::NicTracepoints& trace);

  /// `call` is told of every new finding, complete but for what it may add.
  void on_new_finding(std::function<void(Finding&)> call) { on_new_ = std::move(call); }
  /// A task that should have ended has not. The other side: `whom`.
  struct StuckTask {
    FindingClass kind;
    std::string task;
    unsigned cpu;
    std::string chain;   ///< where it is, innermost first
    std::string whom;    ///< the lock and who holds it, or what became of the others
    std::string detail;  ///< what it does instead of ending
  };
  void racer_stuck(const StuckTask& stuck);

  /// So much of the run up to now is no fault of the code (its cores were held): shutdown may take that much longer.
  void forgive(std::function<sim::Tick()> time) { forgiven_ = std::move(time); }

  /// Two accesses that nothing orders (races.h).
  void raced(const DataRace& race);

  /// The laws of the end of a run. Once.
  void finish();

  const FindingLog& findings() const { return log_; }
  Summary summary() const { return summary_; }
  const std::deque<PoolShadow>& pools() const { return pools_; }
  /// Name of the device that a pool maps for, "" if none.
  std::string pool_device(const PoolShadow& pool) const;

  /// Nothing if the page was never allocated.
  std::optional<PageReport> who_holds(sim::Pfn pfn) const;
  /// Every page in flight (counted by a pool and not released), by number; `pool` 0 = of all pools.
  std::vector<PageReport> in_flight(std::uint32_t pool = 0) const;

  // What the tracepoints call; public so that tests can tell a story event by event.
  void on(const mm::PageAllocated& e);
  void on(const mm::PageFreed& e);
  void on(const mm::PageHeld& e);
  void on(const kernel::DmaMapped& e);
  void on(const kernel::DmaUnmapped& e);
  void on(const kernel::DmaUnmappedAll& e);
  void on(const kernel::DmaSynced& e);
  void on(const kernel::IovaAllocated& e);
  void on(const kernel::IovaFreed& e);
  void on(const kernel::IommuMapped& e);
  void on(const kernel::IommuUnmapped& e);
  void on(const kernel::IommuAttached& e);
  void on(const kernel::MemoryHotplugged& e);
  void on(const kernel::DeviceAdded& e);
  void on(const kernel::DeviceBound& e);
  void on(const kernel::DeviceUnbinding& e);
  void on(const kernel::DeviceUnbound& e);
  void on(const kernel::DeviceRemoved& e);
  void on(const kernel::DeviceFreed& e);
  void on(const kernel::DomainUsedAfterFree& e);
  void on(const kernel::BhSection& e);
  void on(const kernel::LockHeld& e);
  void on(const kernel::Spin& e);
  void on(const kernel::Oops& e);
  void on(const kernel::Warn& e);
  void on(const iommu::Translated& e);
  void judge_translated(const iommu::Translated& e, std::uint32_t index, std::uint64_t frame);
  void judge_stale(const iommu::Translated& e, std::uint32_t index, std::uint64_t page, std::uint64_t frame);
  void judge_write(const iommu::Translated& e, std::uint32_t index, std::uint64_t frame);
  void on(const iommu::Fault& e);
  void on(const nic::PacketArrived& e);
  void on(const nic::PacketDropped& e);
  void on(const nic::PacketDelivered& e);
  void on(const nic::DescriptorFetched& e);
  void on(const nic::BufferWritten& e);

  void on(const pagepool::PoolCreated& e);
  void on(const pagepool::StateHold& e);
  void on(const pagepool::StateRelease& e);
  void on(const pagepool::Unmapping& e);
  void on(const pagepool::Destroying& e);
  void on(const pagepool::Destroyed& e);
  void on(const pagepool::ReleaseRetried& e);
  void on(const pagepool::PoolFreed& e);
  void on(const pagepool::Misused& e);

 private:
  sim::Tick now() const { return timeline_.now(); }
  sim::Tick shutdown_bound() const { return config_.shutdown_bound + (forgiven_ ? forgiven_() : 0); }
  std::uint32_t device_index(const kernel::Device* device) {
    if (__builtin_expect(last_device_ < devices_.size() && devices_[last_device_].device == device, 1))
      return last_device_;
    return find_or_add_device(device);
  }
  std::uint32_t find_or_add_device(const kernel::Device* device);
  DeviceShadow& device(const kernel::Device* d) { return devices_[device_index(d)]; }
  std::uint32_t device_of(sim::RequesterId requester) { return devices_.newest_with(requester); }
  void note_binding(DeviceShadow& d, bool driver_bound, sim::Tick time) {
    if (__builtin_expect(driver_bound != d.bound, 0)) binding_changed(d, driver_bound, time);
  }
  void binding_changed(DeviceShadow& d, bool driver_bound, sim::Tick time);
  std::string describe(const DeviceShadow& d) const;
  std::string describe(const Mapping& m) const;
  std::string describe_page(sim::Pfn pfn) const;
  std::string describe_holder(const PageShadow& page) const;
  PoolShadow* pool(std::uint32_t id);
  void count_unmap(PoolShadow& p, kernel::CallChain chain, bool late);

  // What the laws say of an event that breaks one; away from the events that break none.
  void held_for_the_first_time(const mm::PageHeld& e);
  void held_unallocated(const mm::PageHeld& e, PageShadow& page, std::uint8_t holder);
  void synced_without_driver(const kernel::DmaSynced& e, const DeviceShadow& d);
  void written_elsewhere(const nic::BufferWritten& e, std::uint32_t index, std::uint32_t fetched);

  std::uint32_t find_mapping(std::uint32_t device, std::uint64_t iova) const {
    for (std::uint32_t i = by_iova_.find(iova >> sim::kPageShift, device); i != kNoIndex;
         i = mappings_[i].chained) {
      const Mapping& m = mappings_[i];
      if (iova >= m.iova && iova < m.iova + m.size) return i;
    }
    return kNoIndex;
  }
  void add_mapping(std::uint32_t device, const kernel::DmaMapped& e);
  void remove_mapping(std::uint32_t index, bool abandon);
  bool reachable(const Mapping& m) const;
  bool still_held(std::uint32_t mapping, std::uint64_t iova) const;
  const PageShadow* head_page(sim::Pfn pfn) const;
  std::optional<std::uint64_t> landing(const DeviceShadow& d, std::uint64_t iova) const;

  /// Counts an occurrence; `texts(Finding&)` is called when it is the first of its key.
  template <class Texts>
  Finding& report(FindingClass kind, std::uint64_t key, std::uint64_t pfn, std::uint64_t address,
                  Texts&& texts) {
    bool fresh = false;
    Finding& f = log_.hit(kind, key, now(), fresh);
    if (fresh) texts(f);
    sample(f, pfn, address);
    if (fresh && on_new_) on_new_(f);
    return f;
  }
  void sample(Finding& f, std::uint64_t pfn, std::uint64_t address);
  void note_lock_order(const kernel::LockHeld& e);
  void check_end_of_pools();
  void check_end_of_mappings();
  void check_end_of_frames();

  const sim::Timeline& timeline_;
  CheckerConfig config_;
  struct LockEvent {
    const char* lock;
    sim::Tick acquired;
  };
  std::vector<std::vector<LockEvent>> lock_events_;                   // per core: released lately
  std::set<std::pair<std::uint64_t, std::uint64_t>> lock_orders_;  // (outer, inner) by name
  FindingLog log_;
  std::function<void(Finding&)> on_new_;
  std::function<sim::Tick()> forgiven_;
  Summary summary_;
  HolderNames holders_;
  PageTable pages_;
  Devices devices_;
  std::uint32_t last_device_ = 0;
  std::deque<PoolShadow> pools_;

  std::vector<Mapping> mappings_;
  std::vector<std::uint32_t> free_mappings_;
  std::uint32_t next_serial_ = 1;
  FlatMap by_iova_;       // (IOVA page, device) -> newest mapping there
  FlatMap by_requester_;  // (IOVA page, requester id) -> newest mapping there, whatever became of the device
  FlatMap
      table_;  // (IOVA page, domain) -> page frame (below 16 TiB): the page tables as the kernel wrote them
  FlatMap iovas_;        // (IOVA page, domain) -> pages: what the IOVA allocator has given out
  FlatMap descriptors_;  // (queue, index) -> serial of the mapping its buffer had when it was fetched
  FlatMap frames_;       // (serial) -> 0: arrived, no outcome yet
  std::uint64_t last_outcome_ = 0;
  kernel::IommuMapped last_map_{};

  struct Expected {
    std::uint32_t pool = 0;
    sim::Pfn pfn{0};
    sim::Iova iova{0};
  };
  std::vector<Expected> unmapping_;  // announced by pools, not seen yet
};

}  // namespace checker
