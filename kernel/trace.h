// SPDX-License-Identifier: Apache-2.0
// Tracepoints of the modelled kernel, for the checker, the text traces and the tests. They cost the model no
// cycles. Pointers in an event are valid during the call only, except Device, which lives as long as the
// Kernel.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "sim/probe.h"
#include "sim/types.h"

namespace kernel {

class Device;
class Task;
using sim::Cycle;
using sim::Iova;
using sim::PhysAddr;
using sim::Tick;

enum class ContextKind : std::uint8_t { kTask, kSoftirq, kHardirq, kIdle };
enum class DmaDirection : std::uint8_t { kBidirectional = 0, kToDevice = 1, kFromDevice = 2 };

/// Innermost function first, as a kernel stack trace prints it.
using CallChain = std::span<const char* const>;

/// dma_map_page_attrs() returned. `iova` is DMA_MAPPING_ERROR (all ones) if it failed.
struct DmaMapped {
  static constexpr const char* kName = "dma_map_page";
  const Device* device;
  bool driver_bound;
  PhysAddr phys;
  Iova iova;
  std::uint64_t size;
  DmaDirection direction;
  unsigned cpu;
  Tick time;
  CallChain chain;
};

/// What became of an unmap.
enum class UnmapResult : std::uint8_t {
  kDone,          ///< IOMMU entry cleared (strict: and fenced; lazy: queued), or nothing to do on dma-direct
  kDirectLeaked,  ///< DMA ops were reset at unbind: treated as dma-direct, IOVA and PTE stay behind
  kMismatch,      ///< WARN: unmapped != size (not mapped here, or somebody else's mapping)
  kOops,          ///< NULL dereference: the device has no IOMMU group any more
};

/// dma_unmap_page_attrs() was called; emitted when the result is known (for kOops: before the oops).
struct DmaUnmapped {
  static constexpr const char* kName = "dma_unmap_page";
  const Device* device;
  bool driver_bound;
  bool device_present;  ///< device_del has not run
  Iova iova;
  PhysAddr phys;  ///< what the page table said before the unmap; 0 if nothing
  std::uint64_t size;
  DmaDirection direction;
  UnmapResult result;
  unsigned cpu;
  Tick time;
  CallChain chain;
};

/// DmaApi::dma_unmap_all() returned: no mapping of the device is left.
struct DmaUnmappedAll {
  static constexpr const char* kName = "dma_unmap_all";
  const Device* device;
  bool driver_bound;
  std::uint64_t given_up;  ///< IOVA ranges or bounce slots
  unsigned cpu;
  Tick time;
  CallChain chain;
};

/// A dma_sync_single_for_*() on a device.
struct DmaSynced {
  static constexpr const char* kName = "dma_sync_single";
  const Device* device;
  bool driver_bound;
  bool for_device;
  Iova iova;
  std::uint64_t size;
  Tick time;
  CallChain chain;
};

/// `domain` is the number of the IOMMU domain (IommuDomain::id).
struct IovaAllocated {
  static constexpr const char* kName = "iova_alloc";
  std::uint32_t domain;
  Iova iova;
  std::uint64_t pages;
  Tick time;
};
/// Given back to the allocator: from now on somebody else may get it.
struct IovaFreed {
  static constexpr const char* kName = "iova_free";
  std::uint32_t domain;
  Iova iova;
  std::uint64_t pages;
  Tick time;
};

/// iommu:map and iommu:unmap of the kernel: the page table of a domain changed.
struct IommuMapped {
  static constexpr const char* kName = "map";
  std::uint32_t domain;
  Iova iova;
  PhysAddr phys;
  std::uint64_t size;
  Tick time;
};
struct IommuUnmapped {
  static constexpr const char* kName = "unmap";
  std::uint32_t domain;
  Iova iova;
  std::uint64_t size;
  std::uint64_t unmapped_size;
  Tick time;
};
/// IOTLB invalidation of a range is complete (the fence was seen done): nothing stale is left in it.
struct IommuSynced {
  static constexpr const char* kName = "iotlb_sync";
  std::uint32_t domain;
  Iova first;
  std::uint64_t size;  ///< 0 = the whole domain
  Tick time;
};
/// The IOMMU has seen the new device context: the device is in domain `domain`, or blocked (0: every access faults).
struct IommuAttached {
  static constexpr const char* kName = "attach_device_to_domain";
  const Device* device;
  std::uint32_t domain;
  Tick time;
};
/// A record of the fault queue, read by the driver.
struct IommuFaultReported {
  static constexpr const char* kName = "io_page_fault";
  std::uint32_t cause;
  sim::RequesterId requester;
  Iova iova;
  std::uint8_t ttyp;
  Tick time;
};

struct DeviceAdded {
  static constexpr const char* kName = "device_add";
  const Device* device;
  Tick time;
};
/// The driver's probe() is about to run.
struct DeviceBinding {
  static constexpr const char* kName = "driver_bind";
  const Device* device;
  Tick time;
};
struct DeviceBound {
  static constexpr const char* kName = "driver_bound";
  const Device* device;
  Tick time;
};
/// The driver's remove() is about to run.
struct DeviceUnbinding {
  static constexpr const char* kName = "driver_unbind";
  const Device* device;
  Tick time;
};
/// remove() and the devres release are over: no driver any more.
struct DeviceUnbound {
  static constexpr const char* kName = "driver_unbound";
  const Device* device;
  Tick time;
  Cycle cycles;  ///< duration of device_unbind
};
struct DeviceRemoved {
  static constexpr const char* kName = "device_del";
  const Device* device;
  Tick time;
};
/// The last reference of a struct device is gone: its memory is free.
struct DeviceFreed {
  static constexpr const char* kName = "device_release";
  const Device* device;
  Tick time;
};

/// A core works on an IOMMU domain that another one has freed.
struct DomainUsedAfterFree {
  static constexpr const char* kName = "iommu_domain_use_after_free";
  unsigned domain;
  unsigned cpu;
  CallChain chain;
  Tick time;
};

/// A stretch with bottom halves off (local_bh_disable .. local_bh_enable, outermost pair), outside softirq.
struct BhSection {
  static constexpr const char* kName = "bh_off";
  unsigned cpu;
  Tick begin;
  Tick end;
  const char* function;  ///< innermost KFUNC where it began
  CallChain chain;       ///< where it ended
};
/// One run of softirq handlers on a core.
struct SoftirqRun {
  static constexpr const char* kName = "softirq";
  unsigned cpu;
  unsigned nr;
  Tick begin;
  Tick end;
};
struct IrqHandled {
  static constexpr const char* kName = "irq_handler";
  unsigned cpu;
  unsigned vector;
  const char* name;
  Tick raised;
  Tick begin;
  Tick end;
};
struct LockHeld {
  static constexpr const char* kName = "lock_held";
  const char* lock;
  unsigned cpu;
  Tick acquired;
  Tick released;
  Tick held_core = 0;  ///< of it, time in which exploration held the core (kernel/baton.h)
};
/// A core spun for a lock.
struct Spin {
  static constexpr const char* kName = "lock_contended";
  const char* lock;
  unsigned cpu;
  unsigned holder;  ///< core that held it when spinning began
  Tick begin;
  Tick end;
  bool softirq;  ///< in softirq context: nothing else of this core's network goes on meanwhile
  CallChain chain;
};
struct RcuGracePeriod {
  static constexpr const char* kName = "rcu_grace_period";
  std::uint64_t sequence;
  bool expedited;
  Tick begin;
  Tick end;
};
/// The task on a core changed (`to` null: idle).
struct TaskSwitched {
  static constexpr const char* kName = "sched_switch";
  unsigned cpu;
  const Task* from;
  const Task* to;
  Tick time;
};
/// What a core runs changed.
struct ContextChanged {
  static constexpr const char* kName = "context";
  unsigned cpu;
  ContextKind kind;
  Tick time;
};

enum class HotplugStep : std::uint8_t { kAdd, kOnline, kOffline, kRemove };
/// Memory was added, brought on line, taken off line or removed (or not: `error`, a negative errno).
struct MemoryHotplugged {
  static constexpr const char* kName = "memory_hotplug";
  HotplugStep step;
  sim::Pfn start;
  std::uint64_t pages;
  int error;
  Tick begin;     ///< asked for
  Tick got_lock;  ///< mem_hotplug_lock written
  Tick end;
};

/// An access of memory that several cores use. Told while a schedule is explored, and only there.
struct MemoryAccess {
  static constexpr const char* kName = "memory_access";
  enum class Kind : std::uint8_t {
    kLoad,
    kStore,
    kMarkedLoad,   ///< READ_ONCE, smp_load_acquire, atomic_read: may race
    kMarkedStore,  ///< WRITE_ONCE, smp_store_release, atomic_set
    kAtomic,       ///< read-modify-write that returns a value: orders both ways
  };
  std::uint64_t address;
  const char* field;  ///< "page->dma_addr"; "" if it has no name
  unsigned cpu;
  Kind kind;
  CallChain chain;
  Tick time;
};
/// What `cpu` did before a release of `object` comes before what another core does after its acquire: locks,
/// wake-ups, work, timers, interrupts, RCU. Told while a schedule is explored.
struct Ordered {
  static constexpr const char* kName = "ordered";
  std::uint64_t object;
  unsigned cpu;
  bool acquire;  ///< else release
};

/// A modelled kernel oops: invalid dereference, scheduling while atomic, lock recursion.
struct Oops {
  static constexpr const char* kName = "oops";
  std::string title;               ///< "BUG: kernel NULL pointer dereference, address: 00000000000000a8"
  std::string symbol;              ///< function that faulted, e.g. "iommu_get_dma_domain"
  std::uint64_t address;           ///< faulting address
  std::string task;                ///< comm
  std::string workqueue;           ///< "events page_pool_release_retry", or "" outside a worker
  std::vector<std::string> chain;  ///< innermost first, without `symbol`
  unsigned cpu;
  Tick time;
  bool fatal;  ///< in interrupt context or panic_on_oops: the machine stopped
};
struct Warn {
  static constexpr const char* kName = "warn";
  std::string text;
  std::vector<std::string> chain;
  unsigned cpu;
  Tick time;
};
/// A line of the kernel log.
struct LogLine {
  static constexpr const char* kName = "console";
  Tick time;
  std::string text;
};

/// All tracepoints of one Kernel.
struct Trace {
  sim::Tracepoint<DmaMapped> dma_mapped;
  sim::Tracepoint<DmaUnmapped> dma_unmapped;
  sim::Tracepoint<DmaUnmappedAll> dma_unmapped_all;
  sim::Tracepoint<DmaSynced> dma_synced;
  sim::Tracepoint<IovaAllocated> iova_allocated;
  sim::Tracepoint<IovaFreed> iova_freed;
  sim::Tracepoint<IommuMapped> iommu_mapped;
  sim::Tracepoint<IommuUnmapped> iommu_unmapped;
  sim::Tracepoint<IommuSynced> iommu_synced;
  sim::Tracepoint<IommuAttached> iommu_attached;
  sim::Tracepoint<IommuFaultReported> iommu_fault;
  sim::Tracepoint<DeviceAdded> device_added;
  sim::Tracepoint<DeviceBinding> device_binding;
  sim::Tracepoint<DeviceBound> device_bound;
  sim::Tracepoint<DeviceUnbinding> device_unbinding;
  sim::Tracepoint<DeviceUnbound> device_unbound;
  sim::Tracepoint<DeviceRemoved> device_removed;
  sim::Tracepoint<DeviceFreed> device_freed;
  sim::Tracepoint<DomainUsedAfterFree> domain_used_after_free;
  sim::Tracepoint<BhSection> bh_section;
  sim::Tracepoint<SoftirqRun> softirq_run;
  sim::Tracepoint<IrqHandled> irq_handled;
  sim::Tracepoint<LockHeld> lock_held;
  sim::Tracepoint<Spin> spin;
  sim::Tracepoint<RcuGracePeriod> rcu_grace_period;
  sim::Tracepoint<TaskSwitched> task_switched;
  sim::Tracepoint<ContextChanged> context_changed;
  sim::Tracepoint<MemoryHotplugged> memory_hotplug;
  sim::Tracepoint<MemoryAccess> memory_access;
  sim::Tracepoint<Ordered> ordered;
  sim::Tracepoint<Oops> oops;
  sim::Tracepoint<Warn> warn;
  sim::Tracepoint<LogLine> log;
};

}  // namespace kernel
