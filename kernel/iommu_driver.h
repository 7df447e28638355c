// SPDX-License-Identifier: Apache-2.0
// Driver of the RISC-V IOMMU (drivers/iommu/riscv/iommu.c, Linux 6.13, in its steps): discovers the device
// through its registers, keeps the device directory and the page tables in simulated DRAM, posts real
// commands and waits for their fences. Register access through the CpuPort; everything else in the memory
// that the IOMMU itself reads.
#pragma once
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "iommu/layout.h"
#include "kernel/config.h"
#include "kernel/device.h"
#include "kernel/iova.h"
#include "kernel/locks.h"
#include "kernel/timers.h"
#include "kernel/workqueue.h"
#include "sim/types.h"

namespace kernel {

class IommuDriver;

enum class DomainType : std::uint8_t { kIdentity, kDma, kDmaFq };

/// One address space (struct iommu_domain). Page table in simulated DRAM, IOVA allocator, flush queues.
class IommuDomain {
 public:
  IommuDomain(Kernel& kernel, IommuDriver& driver, std::uint32_t id, DomainType type, PagingMode paging);
  ~IommuDomain();

  std::uint32_t id() const { return id_; }  ///< also its PSCID
  DomainType type() const { return type_; }
  PagingMode paging() const { return paging_; }
  PhysAddr root() const { return root_; }
  IovaAllocator& iova() { return iova_; }
  const IovaAllocator& iova() const { return iova_; }
  /// Highest usable IOVA frame of the lower half of the address space.
  std::uint64_t max_pfn() const;
  /// Freed: kept only so that late users can be named.
  bool freed() const { return freed_; }

  // Page table (riscv_iommu_map_pages / unmap_pages / iova_to_phys). 4 KiB pages, one PTE each.
  /// False: no memory for a table, nothing mapped; or a PTE was already valid (WARN, -EEXIST).
  bool map(std::uint64_t iova, std::uint64_t phys, std::uint64_t size);
  /// Clears PTEs from `iova` on until `size` is done or an invalid one is met; bytes unmapped. Synchronises
  /// before the clearing, and pays for it. No invalidation.
  std::uint64_t unmap(std::uint64_t iova, std::uint64_t size);
  /// Software walk without cost; 0 if not mapped.
  PhysAddr iova_to_phys(std::uint64_t iova) const;
  /// [base, base + size) to itself with the largest pages up to 1 << `page_shift` that alignment allows.
  /// False: no memory for a table. Task context, before the domain is attached.
  bool map_identity(std::uint64_t base, std::uint64_t size, unsigned page_shift);
  /// An identity domain without a table has none.
  bool has_table() const { return root_.value != 0; }
  std::uint64_t mapped_pages() const { return mapped_pages_; }
  std::uint64_t table_pages() const { return tables_.size(); }

  /// Lazy mode: `pages` frames at `pfn` were unmapped on this core (queue_iova).
  void queue_iova(std::uint64_t pfn, std::uint64_t pages);
  /// Flushes all flush queues now (domain teardown).
  void flush_all_queues();
  std::size_t queued_iovas() const;

  /// Gives frames back to the allocator, pays for it. A range that is not allocated there is only counted as
  /// bad.
  void free_iova(std::uint64_t pfn, std::uint64_t pages);
  /// Pays for an allocator step; beyond the magazines it holds the tree's lock.
  void pay_iova(IovaPath path);

 private:
  friend class IommuDriver;
  struct FlushEntry {
    std::uint64_t pfn;
    std::uint64_t pages;
    std::uint64_t counter;
  };
  struct FlushQueue {
    std::deque<FlushEntry> entries;
    SpinLock lock{"fq_lock"};
  };
  /// Address of the leaf PTE; 0 if there is no table for it (or none can be allocated).
  PhysAddr table_entry(std::uint64_t iova, bool allocate);
  void fq_ring_free(FlushQueue& queue);
  void fq_flush_iotlb();
  void fq_flush_timeout();

  Kernel& kernel_;
  IommuDriver& driver_;
  std::uint32_t id_;
  DomainType type_;
  PagingMode paging_;
  unsigned levels_;
  PhysAddr root_{0};
  std::vector<sim::Pfn> tables_;
  IovaAllocator iova_;
  SpinLock iova_lock_{"iova_rbtree_lock"};
  std::uint64_t mapped_pages_ = 0;
  /// Freed, and code works on it: told. Its tables and IOVAs are left alone.
  bool gone() const;
  bool freed_ = false;

  std::vector<std::unique_ptr<FlushQueue>> queues_;  // per core
  std::uint64_t fq_flush_start_ = 0, fq_flush_finish_ = 0;
  bool fq_timer_on_ = false;
  TimerList fq_timer_;
  // Last leaf table used, so that neighbours do not walk again (host speed only; the cost is paid in full).
  std::uint64_t last_region_ = ~std::uint64_t{0};
  PhysAddr last_table_{0};
};

class IommuDriver {
 public:
  explicit IommuDriver(Kernel& kernel);
  ~IommuDriver();

  /// riscv_iommu_init: needs task context. `registers` is the physical address of the register page. Sets up
  /// command and fault queue, interrupts (MSI to core 0) and the device directory with the deepest mode the
  /// hardware takes. Throws sim::Error if the hardware cannot do what the configuration asks for.
  void probe(PhysAddr registers);
  bool probed() const { return probed_; }
  std::uint64_t capabilities() const { return capabilities_; }
  /// Where the hardware reads and writes, for who injects faults there. After probe().
  struct Structures {
    PhysAddr directory{0};  ///< root page of the device directory
    PhysAddr command_queue{0}, fault_queue{0};
    std::uint32_t command_tail = 0, fault_head = 0;  ///< next entry that the driver writes, reads
    std::uint32_t entries = 0;                       ///< of each queue
  };
  Structures structures() const;
  /// A valid entry of the device directory, or of a process directory below it. Level 0: a context.
  struct DirectoryEntry {
    PhysAddr address;
    unsigned bytes, level;
    bool process;           ///< of a process directory
    std::uint32_t id_from;  ///< lowest device id (`process`: of the device that it belongs to) it is for
  };
  /// All of them as they are in memory; without cost.
  std::vector<DirectoryEntry> directory_entries() const;

  // Domains and devices. Task context.
  IommuDomain& domain_alloc(DomainType type, PagingMode paging);
  /// Same with KernelConfig::paging.
  IommuDomain& domain_alloc(DomainType type);
  void domain_free(IommuDomain& domain);
  void attach(Device& device, IommuDomain& domain);
  /// Blocks all DMA of the device: its device context becomes invalid.
  void detach(Device& device);

  // Invalidation; any context. Return after the fence completed.
  /// IOTINVAL.VMA for each 4 KiB page of the range (one for the address space above 2 MiB), IOFENCE.C.
  void iotlb_sync(IommuDomain& domain, std::uint64_t iova, std::uint64_t size);
  void flush_iotlb_all(IommuDomain& domain);

  /// Reads and reports what is in the fault queue (also the handler of its interrupt). Number of records.
  unsigned drain_fault_queue();

  struct Counters {
    std::uint64_t commands = 0, fences = 0, faults = 0, fault_overflows = 0;
    Cycle fence_wait = 0;  ///< cycles spent waiting for fences
  };
  const Counters& counters() const { return counters_; }
  const std::vector<std::unique_ptr<IommuDomain>>& domains() const { return domains_; }

 private:
  PhysAddr setup_queue(std::uint32_t base_register, std::uint32_t csr_register, unsigned entry_bytes);
  PhysAddr device_context(std::uint32_t device_id);
  void report(const iommu::FaultRecord& record);
  void check_hardware() const;
  void setup_interrupt();
  void setup_directory();
  void setup_identity(IommuDomain& domain);
  void write_context(Device& device, IommuDomain* domain);
  /// Makes `fsc` the first stage of process 0 of the device; the fsc for its device context.
  std::uint64_t write_process_context(std::uint32_t device_id, std::uint32_t pscid, std::uint64_t fsc);
  /// Posts the commands and an IOFENCE.C behind them, and waits until it has completed.
  void execute(std::span<const iommu::Command> commands);
  void post(const iommu::Command& command);
  PhysAddr alloc_zeroed(unsigned order);
  std::uint64_t read(std::uint32_t offset, unsigned bytes);
  void write(std::uint32_t offset, std::uint64_t value, unsigned bytes);

  Kernel& kernel_;
  bool probed_ = false;
  PhysAddr registers_{0};
  std::uint64_t capabilities_ = 0;
  iommu::DdtMode ddt_mode_{};
  PhysAddr ddt_root_{0};
  std::map<std::uint32_t, PhysAddr> process_directories_;  // root, by device id
  SpinLock command_lock_{"iommu_cmdq"};
  PhysAddr command_queue_{0}, fault_queue_{0}, fence_page_{0};
  std::uint32_t command_tail_ = 0, command_head_ = 0, fault_head_ = 0;
  std::uint32_t fence_sequence_ = 0;
  Tick fault_window_ = 0;  // rate limit of the log
  unsigned fault_lines_ = 0;
  std::vector<std::unique_ptr<IommuDomain>> domains_;
  std::uint32_t next_domain_ = 1;
  Counters counters_;
};

}  // namespace kernel
