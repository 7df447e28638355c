// SPDX-License-Identifier: Apache-2.0
#include "kernel/iommu_driver.h"
#include "kernel/table_pointer.h"

namespace kernel {
namespace {

namespace pte = iommu::pte;
constexpr std::uint64_t kLeafFlags = pte::kR | pte::kW | pte::kU | pte::kA | pte::kD;
constexpr unsigned kIndexBits = 9;

constexpr unsigned levels_of(PagingMode mode) { return static_cast<unsigned>(mode) - 5; }

}  // namespace

IommuDomain::IommuDomain(Kernel& kernel, IommuDriver& driver, std::uint32_t id, DomainType type,
                         PagingMode paging)
    : kernel_(kernel),
      driver_(driver),
      id_(id),
      type_(type),
      paging_(paging),
      levels_(levels_of(paging)),
      iova_(kernel.config().cores),
      fq_timer_([this] { fq_flush_timeout(); }) {
  if (type == DomainType::kIdentity) return;
  for (unsigned cpu = 0; cpu < kernel.config().cores; ++cpu)
    queues_.push_back(std::make_unique<FlushQueue>());
}

IommuDomain::~IommuDomain() = default;

std::uint64_t IommuDomain::max_pfn() const {
  return (std::uint64_t{1} << (kIndexBits * levels_ - 1)) -
         1;  // the lower half: the other one is sign-extended
}

// ---- page table ----

PhysAddr IommuDomain::table_entry(std::uint64_t iova, bool allocate) {
  const std::uint64_t region = iova >> (sim::kPageShift + kIndexBits);
  const std::uint64_t leaf = (iova >> sim::kPageShift) & ((1u << kIndexBits) - 1);
  if (region == last_region_) return last_table_ + leaf * 8;
  mm::SparseStore& store = kernel_.store();
  PhysAddr table = root_;
  for (unsigned level = levels_ - 1; level > 0; --level) {
    const std::uint64_t index = (iova >> (sim::kPageShift + kIndexBits * level)) & ((1u << kIndexBits) - 1);
    const PhysAddr entry = table + index * 8;
    std::uint64_t value = store.load<std::uint64_t>(entry);
    if ((value & pte::kV) == 0) {
      if (!allocate) return PhysAddr(0);
      const auto page = kernel_.pages().alloc_pages(0, mm::kNumaNoNode, mm::kGfpZero);
      if (!page) return PhysAddr(0);
      work(kernel_.config().costs.llc_hit * 4);
      tables_.push_back(*page);
      value = pte::pointer(sim::to_phys(*page).value);
      store.store<std::uint64_t>(entry, value);
    }
    table = table_at(kernel_, pte::address(value), "riscv_iommu_pte_alloc");
  }
  last_region_ = region;
  last_table_ = table;
  return table + leaf * 8;
}

bool IommuDomain::map_identity(std::uint64_t base, std::uint64_t size, unsigned page_shift) {
  KFUNC("iommu_map");
  Context& cpu = this_cpu();
  mm::SparseStore& store = kernel_.store();
  std::uint64_t at = base;
  while (at < base + size) {
    unsigned leaf = (page_shift - sim::kPageShift) / kIndexBits;  // level of the leaf entry
    const auto bytes = [](unsigned level) { return std::uint64_t{sim::kPageSize} << (kIndexBits * level); };
    while (leaf > 0 && (at % bytes(leaf) != 0 || at + bytes(leaf) > base + size)) --leaf;
    PhysAddr table = root_;
    for (unsigned level = levels_ - 1; level > leaf; --level) {
      const std::uint64_t index = (at >> (sim::kPageShift + kIndexBits * level)) & ((1u << kIndexBits) - 1);
      const PhysAddr entry = table + index * 8;
      auto value = store.load<std::uint64_t>(entry);
      if ((value & pte::kV) == 0) {
        const auto page = kernel_.pages().alloc_pages(0, mm::kNumaNoNode, mm::kGfpZero);
        if (!page) return false;
        tables_.push_back(*page);
        value = pte::pointer(sim::to_phys(*page).value);
        store.store<std::uint64_t>(entry, value);
      }
      table = PhysAddr(pte::address(value));
    }
    cpu.work(cpu.costs().iommu_map_page);
    const std::uint64_t index = (at >> (sim::kPageShift + kIndexBits * leaf)) & ((1u << kIndexBits) - 1);
    store.store<std::uint64_t>(table + index * 8, pte::leaf(at, kLeafFlags));
    mapped_pages_ += bytes(leaf) / sim::kPageSize;
    at += bytes(leaf);
  }
  return true;
}

bool IommuDomain::gone() const {
  if (!freed_) return false;
  auto& trace = kernel_.trace().domain_used_after_free;
  if (trace.enabled() && in_kernel_code()) {
    const Context& cpu = this_cpu();
    trace.emit({id_, cpu.cpu(), cpu.call_chain(), cpu.now()});
  }
  return true;
}

bool IommuDomain::map(std::uint64_t iova, std::uint64_t phys, std::uint64_t size) {
  KFUNC("iommu_map");
  Context& cpu = this_cpu();
  mm::SparseStore& store = kernel_.store();
  for (std::uint64_t done = 0; done < size; done += sim::kPageSize) {
    cpu.work(cpu.costs().iommu_map_page);
    if (gone()) return false;
    const PhysAddr entry = table_entry(iova + done, true);
    const bool taken = entry.value != 0 && (store.load<std::uint64_t>(entry) & pte::kV) != 0;
    if (taken) kernel_.warn(fmt::format("iommu_map: iova {:#x} is mapped already", iova + done));
    if (entry.value == 0 || taken) {
      if (done != 0) {
        unmap(iova, done);
        driver_.iotlb_sync(*this, iova, done);
      }
      return false;
    }
    cpu.point("iommu_map", iova + done, true);
    store.store<std::uint64_t>(entry, pte::leaf(phys + done, kLeafFlags));
    ++mapped_pages_;
  }
  auto& trace = kernel_.trace().iommu_mapped;
  if (trace.enabled()) trace.emit({id_, Iova(iova), PhysAddr(phys), size, cpu.now()});
  return true;
}

std::uint64_t IommuDomain::unmap(std::uint64_t iova, std::uint64_t size) {
  KFUNC("iommu_unmap_fast");
  Context& cpu = this_cpu();
  mm::SparseStore& store = kernel_.store();
  std::uint64_t unmapped = 0;
  while (unmapped < size) {
    cpu.work(cpu.costs().iommu_unmap_page);
    cpu.sync();
    cpu.point("iommu_unmap", iova + unmapped, true);
    if (gone()) break;
    const PhysAddr entry = table_entry(iova + unmapped, false);
    if (entry.value == 0 || (store.load<std::uint64_t>(entry) & pte::kV) == 0) break;
    store.store<std::uint64_t>(entry, 0);
    --mapped_pages_;
    unmapped += sim::kPageSize;
  }
  auto& trace = kernel_.trace().iommu_unmapped;
  if (trace.enabled()) trace.emit({id_, Iova(iova), size, unmapped, cpu.now()});
  return unmapped;
}

PhysAddr IommuDomain::iova_to_phys(std::uint64_t iova) const {
  if (type_ == DomainType::kIdentity) return PhysAddr(iova);
  if (gone()) return PhysAddr(0);
  const mm::SparseStore& store = kernel_.store();
  PhysAddr table = root_;
  for (unsigned level = levels_; level-- > 0;) {
    const std::uint64_t index = (iova >> (sim::kPageShift + kIndexBits * level)) & ((1u << kIndexBits) - 1);
    if (!store.contains(table, sim::kPageSize)) return PhysAddr(0);
    const auto value = store.load<std::uint64_t>(table + index * 8);
    if ((value & pte::kV) == 0) return PhysAddr(0);
    table = PhysAddr(pte::address(value));
  }
  return table + iova % sim::kPageSize;
}

// ---- IOVAs and the flush queue ----

void IommuDomain::pay_iova(IovaPath path) {
  Context& cpu = this_cpu();
  if (path == IovaPath::kMagazine) {
    cpu.work(cpu.costs().iova_cache_hit);
    return;
  }
  iova_lock_.lock_irqsave();
  cpu.work(path == IovaPath::kDepot ? cpu.costs().iova_depot : cpu.costs().iova_tree);
  iova_lock_.unlock_irqrestore();
}

void IommuDomain::free_iova(std::uint64_t pfn, std::uint64_t pages) {
  Context& cpu = this_cpu();
  if (gone()) return;
  IovaPath path = IovaPath::kTree;
  iova_.free(cpu.cpu(), pfn, pages, &path);
  auto& trace = kernel_.trace().iova_freed;
  if (trace.enabled()) trace.emit({id_, Iova(pfn << sim::kPageShift), pages, cpu.now()});
  pay_iova(path);
}

std::size_t IommuDomain::queued_iovas() const {
  std::size_t n = 0;
  for (const auto& queue : queues_) n += queue->entries.size();
  return n;
}

void IommuDomain::fq_flush_iotlb() {
  ++fq_flush_start_;
  driver_.flush_iotlb_all(*this);
  ++fq_flush_finish_;
}

// Entries that were queued before the last complete flush.
void IommuDomain::fq_ring_free(FlushQueue& queue) {
  while (!queue.entries.empty() && queue.entries.front().counter < fq_flush_finish_) {
    const FlushEntry entry = queue.entries.front();
    queue.entries.pop_front();
    free_iova(entry.pfn, entry.pages);
  }
}

void IommuDomain::queue_iova(std::uint64_t pfn, std::uint64_t pages) {
  KFUNC("queue_iova");
  Context& cpu = this_cpu();
  FlushQueue& queue = *queues_[cpu.cpu()];
  queue.lock.lock_irqsave();
  fq_ring_free(queue);
  if (queue.entries.size() + 1 >= kernel_.config().flush_queue_entries) {
    fq_flush_iotlb();
    fq_ring_free(queue);
  }
  cpu.work(cpu.costs().flush_queue_add);
  queue.entries.push_back({pfn, pages, fq_flush_start_});
  queue.lock.unlock_irqrestore();
  if (!std::exchange(fq_timer_on_, true)) {
    fq_timer_.mod_timer(kernel_.jiffies() +
                        kernel_.msecs_to_jiffies(kernel_.config().flush_queue_timeout_ms));
  }
}

void IommuDomain::fq_flush_timeout() {
  KFUNC("fq_flush_timeout");
  fq_timer_on_ = false;
  fq_flush_iotlb();
  for (auto& queue : queues_) {
    queue->lock.lock_irqsave();
    fq_ring_free(*queue);
    queue->lock.unlock_irqrestore();
  }
}

void IommuDomain::flush_all_queues() {
  if (queued_iovas() == 0) return;
  fq_timer_.del_timer_sync();
  fq_flush_timeout();
}

}  // namespace kernel
