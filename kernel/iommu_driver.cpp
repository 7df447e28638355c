// SPDX-License-Identifier: Apache-2.0
#include "kernel/iommu_driver.h"

#include <array>

#include "kernel/table_pointer.h"

namespace kernel {
namespace {

namespace reg = iommu::reg;
namespace cap = iommu::cap;
namespace cmd = iommu::cmd;
namespace dc = iommu::dc;
using iommu::Command;
using iommu::DdtMode;

constexpr unsigned kLog2Entries = 8;  // of the command and the fault queue
constexpr std::uint32_t kQueueMask = (1u << kLog2Entries) - 1;
/// Above this a range is invalidated as a whole (RISCV_IOMMU_IOTLB_INVAL_LIMIT).
constexpr std::uint64_t kInvalidateLimit = 2u << 20;
/// RISCV_IOMMU_IOFENCE_TIMEOUT and the same for register polls.
constexpr Tick kTimeout = sim::kSecond;
/// Log lines of faults per 5 s (DEFAULT_RATELIMIT_BURST, DEFAULT_RATELIMIT_INTERVAL).
constexpr unsigned kFaultBurst = 10;
constexpr Tick kFaultInterval = 5 * sim::kSecond;

constexpr auto kNoteFault = sim::digest_tag("kernel.io_page_fault");

}  // namespace

IommuDriver::IommuDriver(Kernel& kernel) : kernel_(kernel) {}
IommuDriver::~IommuDriver() = default;

std::uint64_t IommuDriver::read(std::uint32_t offset, unsigned bytes) {
  return kernel_.port().read(registers_ + offset, bytes);
}

void IommuDriver::write(std::uint32_t offset, std::uint64_t value, unsigned bytes) {
  kernel_.port().write(registers_ + offset, value, bytes);
}

PhysAddr IommuDriver::alloc_zeroed(unsigned order) {
  const auto page = kernel_.pages().alloc_pages(order, mm::kNumaNoNode, mm::kGfpZero);
  if (!page) throw sim::Error("kernel: no memory for the IOMMU's tables");
  work(kernel_.config().costs.llc_hit * 4);
  return sim::to_phys(*page);
}

// ---- initialisation, in the order of the specification's section "Guidelines for initialization" ----

void IommuDriver::probe(PhysAddr registers) {
  KFUNC("riscv_iommu_init");
  registers_ = registers;
  capabilities_ = read(reg::kCapabilities, 8);
  check_hardware();
  setup_interrupt();
  fence_page_ = alloc_zeroed(0);
  command_queue_ = setup_queue(reg::kCqb, reg::kCqcsr, iommu::kCommandBytes);
  fault_queue_ = setup_queue(reg::kFqb, reg::kFqcsr, iommu::kFaultRecordBytes);
  setup_directory();
  probed_ = true;
  kernel_.printk("riscv,iommu {:x}.iommu: using {}-level device directory", registers.value,
                 static_cast<unsigned>(ddt_mode_) - 1);
}

void IommuDriver::check_hardware() const {
  if ((capabilities_ & 0xff) != cap::kVersion1_0) {
    throw sim::Error(fmt::format("kernel: no RISC-V IOMMU 1.0 at {:#x}", registers_.value));
  }
  const unsigned mode = static_cast<unsigned>(kernel_.config().paging);
  if ((capabilities_ >> (mode + 1) & 1) == 0) {
    throw sim::Error(fmt::format("kernel.paging: the IOMMU does not support Sv{}", (mode - 8) * 9 + 39));
  }
  if (const unsigned levels = kernel_.config().process_directory_levels;
      levels != 0 && (capabilities_ & cap::kPd8 << (levels - 1)) == 0) {
    throw sim::Error(
        fmt::format("kernel.process_directory_levels: the IOMMU has no process directory of {} levels "
                    "(iommu.architecture.capabilities.{})",
                    levels,
                    levels == 1   ? "pd8"
                    : levels == 2 ? "pd17"
                                  : "pd20"));
  }
  if (iommu::bits(capabilities_, 29, 28) == 1) {
    throw sim::Error("kernel: an IOMMU with wired interrupts only is not supported");
  }
}

void IommuDriver::setup_interrupt() {
  const auto fctl = static_cast<std::uint32_t>(read(reg::kFctl, 4));
  write(reg::kFctl, fctl & ~iommu::fctl::kWsi, 4);
  write(reg::kIcvec, 0, 8);  // every cause on vector 0
  InterruptController& interrupts = kernel_.interrupts();
  const unsigned vector = interrupts.allocate_vector(0);
  interrupts.request_irq(0, vector, "riscv-iommu", [this] {
    KFUNC("riscv_iommu_fltq_process");
    write(reg::kIpsr, iommu::ipsr::kCip | iommu::ipsr::kFip, 4);
    drain_fault_queue();
  });
  write(reg::msi_addr(0), interrupts.file_address(0).value, 8);
  write(reg::msi_data(0), vector, 4);
  write(reg::msi_vec_ctl(0), 0, 4);
}

PhysAddr IommuDriver::setup_queue(std::uint32_t base_register, std::uint32_t csr_register,
                                  unsigned entry_bytes) {
  KFUNC("riscv_iommu_queue_enable");
  const std::uint64_t pages = (std::uint64_t{entry_bytes} << kLog2Entries) / sim::kPageSize;
  const PhysAddr base = alloc_zeroed(static_cast<unsigned>(std::bit_width(pages - 1)));
  write(base_register, iommu::queue_base(base.value, kLog2Entries), 8);
  write(csr_register, iommu::qcsr::kEnable | iommu::qcsr::kInterruptEnable, 4);
  const Tick deadline = kernel_.now() + kTimeout;
  while ((read(csr_register, 4) & iommu::qcsr::kOn) == 0) {
    if (kernel_.now() > deadline) throw sim::Error("kernel: the IOMMU does not enable its queues");
  }
  return base;
}

void IommuDriver::setup_directory() {
  KFUNC("riscv_iommu_iodir_set_mode");
  ddt_root_ = alloc_zeroed(0);
  const Tick deadline = kernel_.now() + kTimeout;
  for (const DdtMode mode : {DdtMode::k3Lvl, DdtMode::k2Lvl, DdtMode::k1Lvl}) {
    write(reg::kDdtp, iommu::ddtp(mode, ddt_root_.value), 8);
    std::uint64_t value = read(reg::kDdtp, 8);
    while (iommu::bit(value, 4) && kernel_.now() < deadline) value = read(reg::kDdtp, 8);
    if (iommu::bits(value, 3, 0) == static_cast<unsigned>(mode)) {
      ddt_mode_ = mode;
      const Command all[] = {cmd::iodir_inval_ddt(), cmd::iotinval_vma()};
      execute(all);
      return;
    }
  }
  throw sim::Error("kernel: the IOMMU accepts no device directory mode");
}

// ---- commands ----

void IommuDriver::post(const Command& command) {
  Context& cpu = this_cpu();
  cpu.work(cpu.costs().iommu_command);
  while (((command_tail_ + 1) & kQueueMask) == command_head_) {
    command_head_ = static_cast<std::uint32_t>(read(reg::kCqh, 4)) & kQueueMask;
  }
  const PhysAddr entry = command_queue_ + command_tail_ * iommu::kCommandBytes;
  kernel_.store().store<std::uint64_t>(entry, command.dw0);
  kernel_.store().store<std::uint64_t>(entry + 8, command.dw1);
  command_tail_ = (command_tail_ + 1) & kQueueMask;
  ++counters_.commands;
}

void IommuDriver::execute(std::span<const Command> commands) {
  KFUNC("riscv_iommu_cmd_sync");
  Context& cpu = this_cpu();
  command_lock_.lock_irqsave();
  std::uint32_t unannounced = 0;
  for (const Command& command : commands) {
    post(command);
    // Commands are announced in blocks, so that a long list cannot fill the queue unseen.
    if (++unannounced == kQueueMask / 2) {
      write(reg::kCqt, command_tail_, 4);
      unannounced = 0;
    }
  }
  const std::uint32_t sequence = ++fence_sequence_;
  post(cmd::iofence_store(true, true, fence_page_.value, sequence));
  write(reg::kCqt, command_tail_, 4);
  command_lock_.unlock_irqrestore();
  ++counters_.fences;

  KFUNC("riscv_iommu_queue_wait");
  const Cycle begin = cpu.now_cycles();
  const Tick deadline = cpu.now() + kTimeout;
  auto done = [&] {
    const auto seen = kernel_.store().load<std::uint32_t>(fence_page_);
    return static_cast<std::int32_t>(seen - sequence) >= 0;
  };
  cpu.sync();
  while (!done()) {
    cpu.work(cpu.costs().iommu_poll);
    cpu.sync();
    if (cpu.now() > deadline) {
      kernel_.warn("riscv-iommu: Hardware error: command execution timeout");
      break;
    }
  }
  cpu.work(cpu.costs().device_line);
  counters_.fence_wait += cpu.now_cycles() - begin;
}

void IommuDriver::iotlb_sync(IommuDomain& domain, std::uint64_t iova, std::uint64_t size) {
  KFUNC("iommu_iotlb_sync");
  if (size >= kInvalidateLimit) {
    flush_iotlb_all(domain);
    return;
  }
  const Command base = cmd::with_pscid(cmd::iotinval_vma(), domain.id());
  const std::uint64_t pages = size / sim::kPageSize;
  if (pages == 1) {
    const Command one[] = {cmd::with_address(base, iova)};
    execute(one);
  } else {
    std::vector<Command> commands;
    for (std::uint64_t i = 0; i < pages; ++i) {
      commands.push_back(cmd::with_address(base, iova + i * sim::kPageSize));
    }
    execute(commands);
  }
  auto& trace = kernel_.trace().iommu_synced;
  if (trace.enabled()) trace.emit({domain.id(), Iova(iova), size, kernel_.now()});
}

void IommuDriver::flush_iotlb_all(IommuDomain& domain) {
  KFUNC("riscv_iommu_iotlb_flush_all");
  const Command all[] = {cmd::with_pscid(cmd::iotinval_vma(), domain.id())};
  execute(all);
  auto& trace = kernel_.trace().iommu_synced;
  if (trace.enabled()) trace.emit({domain.id(), Iova(0), 0, kernel_.now()});
}

// ---- device directory ----

IommuDriver::Structures IommuDriver::structures() const {
  return {ddt_root_, command_queue_, fault_queue_, command_tail_, fault_head_, kQueueMask + 1};
}

std::vector<IommuDriver::DirectoryEntry> IommuDriver::directory_entries() const {
  std::vector<DirectoryEntry> all;
  if (!probed_) return all;
  const bool extended = (capabilities_ & cap::kMsiFlat) != 0;
  const mm::SparseStore& store = kernel_.store();
  const auto walk = [&](auto&& self, PhysAddr table, unsigned level, bool process, std::uint32_t id) -> void {
    if (!store.contains(table, sim::kPageSize)) return;  // a pointer that somebody has corrupted
    const unsigned bytes = level > 0 ? 8 : process ? 16 : dc::bytes(extended);
    for (unsigned i = 0; i < sim::kPageSize / bytes; ++i) {
      const PhysAddr at = table + i * bytes;
      const auto value = store.load<std::uint64_t>(at);
      if ((value & dc::kV) == 0) continue;
      const std::uint32_t from = process ? id : id | i << dc::index_low(extended, level);
      all.push_back({at, bytes, level, process, from});
      if (level > 0) {
        self(self, PhysAddr(iommu::ppn_address(value)), level - 1, process, from);
      } else if (!process && (value & dc::kPdtv) != 0) {
        const auto fsc = store.load<std::uint64_t>(at + 8 * dc::kFsc);
        const auto levels = static_cast<unsigned>(iommu::bits(fsc, 63, 60));
        if (levels >= 1 && levels <= 3) {
          self(self, PhysAddr(iommu::bits(fsc, 43, 0) << sim::kPageShift), levels - 1, true, from);
        }
      }
    }
  };
  walk(walk, ddt_root_, static_cast<unsigned>(ddt_mode_) - 2, false, 0);
  return all;
}

std::uint64_t IommuDriver::write_process_context(std::uint32_t device_id, std::uint32_t pscid,
                                                 std::uint64_t fsc) {
  const unsigned levels = kernel_.config().process_directory_levels;
  mm::SparseStore& store = kernel_.store();
  const auto [root, fresh] = process_directories_.try_emplace(device_id, PhysAddr(0));
  if (fresh) root->second = alloc_zeroed(0);
  PhysAddr table = root->second;
  for (unsigned level = levels - 1; level > 0; --level) {  // process 0: the first entry of each table
    if (fresh) store.store<std::uint64_t>(table, dc::pointer(alloc_zeroed(0).value));
    table =
        table_at(kernel_, iommu::ppn_address(store.load<std::uint64_t>(table)), "riscv_iommu_iodir_update");
  }
  store.store<std::uint64_t>(table + 8, fsc);
  store.store<std::uint64_t>(table, iommu::pc::ta(pscid));
  return iommu::pdtp(static_cast<iommu::PdtMode>(levels), root->second.value);
}

PhysAddr IommuDriver::device_context(std::uint32_t device_id) {
  const bool extended = (capabilities_ & cap::kMsiFlat) != 0;
  const unsigned levels = static_cast<unsigned>(ddt_mode_) - 1;
  if (device_id >> dc::index_low(extended, levels) != 0) {
    throw sim::Error(
        fmt::format("kernel: device id {:#x} does not fit a {}-level device directory", device_id, levels));
  }
  mm::SparseStore& store = kernel_.store();
  PhysAddr table = ddt_root_;
  for (unsigned level = levels - 1; level > 0; --level) {
    const PhysAddr entry = table + dc::index(extended, level, device_id) * 8;
    std::uint64_t value = store.load<std::uint64_t>(entry);
    if ((value & dc::kV) == 0) {
      value = dc::pointer(alloc_zeroed(0).value);
      store.store<std::uint64_t>(entry, value);
    }
    table = table_at(kernel_, iommu::ppn_address(value), "riscv_iommu_get_dc");
  }
  return table + dc::index(extended, 0, device_id) * dc::bytes(extended);
}

// riscv_iommu_iodir_update: an entry in use is made invalid and forgotten by the IOMMU before it changes.
// `domain` null: stays invalid, all DMA is blocked.
void IommuDriver::write_context(Device& device, IommuDomain* domain) {
  KFUNC("riscv_iommu_iodir_update");
  Context& cpu = this_cpu();
  mm::SparseStore& store = kernel_.store();
  const std::uint32_t id = device.requester().value;
  const PhysAddr context = device_context(id);
  cpu.sync();
  if ((store.load<std::uint64_t>(context) & dc::kV) != 0) {
    const auto pscid =
        static_cast<std::uint32_t>(iommu::bits(store.load<std::uint64_t>(context + 8 * dc::kTa), 31, 12));
    store.store<std::uint64_t>(context, 0);
    const Command forget[] = {cmd::iodir_inval_ddt(id), cmd::with_pscid(cmd::iotinval_vma(), pscid)};
    execute(forget);
  }
  if (domain == nullptr) return;
  std::uint64_t fsc = 0;
  if (domain->has_table()) {
    fsc = iommu::iosatp(static_cast<iommu::SatpMode>(domain->paging()), domain->root().value);
  }
  std::uint64_t tc = dc::kV;
  if (fsc != 0 && kernel_.config().process_directory_levels != 0) {
    fsc = write_process_context(id, domain->id(), fsc);
    tc |= dc::kPdtv | dc::kDpe;
  }
  store.store<std::uint64_t>(context + 8 * dc::kFsc, fsc);
  store.store<std::uint64_t>(context + 8 * dc::kTa, dc::ta(domain->id()));
  cpu.work(cpu.costs().iommu_map_page);
  cpu.sync();
  store.store<std::uint64_t>(context, tc);
  const Command seen[] = {cmd::iodir_inval_ddt(id)};
  execute(seen);
}

IommuDomain& IommuDriver::domain_alloc(DomainType type) {
  return domain_alloc(type, kernel_.config().paging);
}

IommuDomain& IommuDriver::domain_alloc(DomainType type, PagingMode paging) {
  KFUNC("iommu_domain_alloc");
  if (!probed_) throw sim::Error("kernel.dma_mode: needs an IOMMU, but none was probed");
  domains_.push_back(std::make_unique<IommuDomain>(kernel_, *this, next_domain_++, type, paging));
  IommuDomain& domain = *domains_.back();
  if (type != DomainType::kIdentity) {
    domain.root_ = alloc_zeroed(0);
    domain.tables_.push_back(sim::to_pfn(domain.root_));
  } else if (kernel_.config().identity_pages != IdentityPages::kBypass) {
    setup_identity(domain);
  }
  return domain;
}

void IommuDriver::setup_identity(IommuDomain& domain) {
  KFUNC("iommu_create_device_direct_mappings");
  const KernelConfig& config = kernel_.config();
  const auto shift = static_cast<unsigned>(config.identity_pages);
  domain.root_ = alloc_zeroed(0);
  domain.tables_.push_back(sim::to_pfn(domain.root_));
  const mm::SparseStore& store = kernel_.store();
  const bool mapped = domain.map_identity(store.base().value, store.bytes(), shift) &&
                      domain.map_identity(config.imsic_base.value, config.cores * config.imsic_stride, shift);
  if (!mapped) throw sim::Error("kernel.identity_pages: no memory for the page table");
}

// The table pages go back only after the fence: until then a walk may still read them.
void IommuDriver::domain_free(IommuDomain& domain) {
  KFUNC("iommu_domain_free");
  if (domain.freed_) return;
  domain.flush_all_queues();
  if (domain.has_table()) flush_iotlb_all(domain);
  domain.freed_ = true;
  domain.last_region_ = ~std::uint64_t{0};
  for (const sim::Pfn page : domain.tables_) {
    kernel_.frames().set_page_count(page, 0);
    kernel_.pages().free_pages(page, 0);
  }
  domain.tables_.clear();
}

void IommuDriver::attach(Device& device, IommuDomain& domain) {
  KFUNC("riscv_iommu_attach_paging_domain");
  write_context(device, &domain);
  auto& trace = kernel_.trace().iommu_attached;
  if (trace.enabled()) trace.emit({&device, domain.id(), kernel_.now()});
}

void IommuDriver::detach(Device& device) {
  KFUNC("riscv_iommu_attach_blocking_domain");
  write_context(device, nullptr);
  auto& trace = kernel_.trace().iommu_attached;
  if (trace.enabled()) trace.emit({&device, 0, kernel_.now()});
}

// ---- faults ----

unsigned IommuDriver::drain_fault_queue() {
  Context& cpu = this_cpu();
  unsigned records = 0;
  for (;;) {
    const auto tail = static_cast<std::uint32_t>(read(reg::kFqt, 4)) & kQueueMask;
    if (tail == fault_head_) break;
    while (fault_head_ != tail) {
      const PhysAddr entry = fault_queue_ + fault_head_ * iommu::kFaultRecordBytes;
      cpu.load_from_device(entry);
      iommu::FaultRecord record;
      for (unsigned i = 0; i < 4; ++i) record.dw[i] = kernel_.store().load<std::uint64_t>(entry + 8 * i);
      fault_head_ = (fault_head_ + 1) & kQueueMask;
      ++records;
      report(record);
    }
    write(reg::kFqh, fault_head_, 4);
  }
  const auto csr = static_cast<std::uint32_t>(read(reg::kFqcsr, 4));
  if ((csr & (iommu::qcsr::kOverflow | iommu::qcsr::kMemoryFault)) != 0) {
    ++counters_.fault_overflows;
    write(reg::kFqcsr, csr, 4);
  }
  return records;
}

void IommuDriver::report(const iommu::FaultRecord& record) {
  ++counters_.faults;
  const Tick now = kernel_.now();
  kernel_.simulation().digest().add(kNoteFault, now, record.dw[0], record.iotval());
  if (now - fault_window_ >= kFaultInterval) {
    fault_window_ = now;
    fault_lines_ = 0;
  }
  if (fault_lines_++ < kFaultBurst) {
    const std::uint32_t id = record.device_id();
    kernel_.printk("riscv-iommu: Fault {} devid: {:02x}:{:02x}.{} iotval: {:#x} iotval2: {:#x}",
                   static_cast<unsigned>(record.cause()), id >> 8, id >> 3 & 31, id & 7, record.iotval(),
                   record.iotval2());
  }
  auto& trace = kernel_.trace().iommu_fault;
  if (trace.enabled()) {
    trace.emit({static_cast<std::uint32_t>(record.cause()), sim::RequesterId(record.device_id()),
                Iova(record.iotval()), static_cast<std::uint8_t>(record.ttyp()), now});
  }
}

}  // namespace kernel
