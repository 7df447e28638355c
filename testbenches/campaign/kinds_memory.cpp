// SPDX-License-Identifier: Apache-2.0
// Wrong bits: in DRAM, where the hardware and the kernel keep their structures, and in the IOMMU's caches.
#include <algorithm>
#include <charconv>

#include "iommu/caches.h"
#include "kernel/iommu_driver.h"
#include "mm/memory_faults.h"
#include "testbenches/campaign/fault.h"
#include "testbenches/campaign/world.h"

namespace campaign {
namespace {

struct Bits {
  unsigned low = 0, high = 0;
};
/// "12" or "0..63"; throws sim::Error "bits: ...".
Bits parse_bits(const std::string& text) {
  Bits b;
  const auto dots = text.find("..");
  const auto number = [&text](std::string_view part, unsigned& value) {
    const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), value);
    if (error != std::errc() || end != part.data() + part.size()) {
      throw sim::Error(fmt::format("bits: '{}' is no bit and no range of bits (0..63)", text));
    }
  };
  number(std::string_view(text).substr(0, dots), b.low);
  b.high = b.low;
  if (dots != text.npos) number(std::string_view(text).substr(dots + 2), b.high);
  if (b.low > b.high || b.high > 4095)
    throw sim::Error(fmt::format("bits: '{}' is no range within 0..4095", text));
  return b;
}

std::uint64_t pte_bits(std::uint64_t value) { return value >> 10 << 12 & 0xff'ffff'ffff'f000; }

/// Valid PTEs of every page table in use, leaves and others.
std::vector<Cell> page_table_cells(World& w) {
  std::vector<Cell> cells;
  const mm::SparseStore& store = w.machine().store();
  const auto walk = [&](auto&& self, sim::PhysAddr table, unsigned level, std::uint64_t iova) -> void {
    for (unsigned i = 0; i < 512; ++i) {
      const sim::PhysAddr at = table + 8 * i;
      const auto pte = store.load<std::uint64_t>(at);
      if ((pte & 1) == 0) continue;
      const std::uint64_t here = iova | std::uint64_t{i} << (12 + 9 * level);
      cells.push_back({at, 8, fmt::format("pte iova {:#x} level {}", here, level)});
      const sim::PhysAddr next(pte_bits(pte));
      if (level > 0 && (pte & 0xe) == 0 && store.contains(next, sim::kPageSize))
        self(self, next, level - 1, here);
    }
  };
  for (const auto& domain : w.machine().kernel().iommu().domains()) {
    if (domain->freed() || domain->type() == kernel::DomainType::kIdentity) continue;
    const unsigned levels = static_cast<unsigned>(domain->paging()) - 8 + 3;
    walk(walk, domain->root(), levels - 1, 0);
  }
  return cells;
}

/// Valid entries of the device directory, or of the process directories: contexts, or pointers to tables.
template <bool kProcess, bool kContexts>
std::vector<Cell> directory_cells(World& w) {
  std::vector<Cell> cells;
  for (const auto& e : w.machine().kernel().iommu().directory_entries()) {
    if (e.process != kProcess || (e.level == 0) != kContexts) continue;
    cells.push_back(
        {e.address, e.bytes,
         kContexts
             ? fmt::format("{} of device {:#x}", kProcess ? "process_context" : "device_context", e.id_from)
             : fmt::format("{} level {} device {:#x}", kProcess ? "process_directory" : "device_directory",
                           e.level, e.id_from)});
  }
  return cells;
}

std::vector<Cell> descriptor_cells(World& w) {
  std::vector<Cell> cells;
  if (!w.script().ring().is_open()) return cells;
  const kernel::CoherentBuffer& ring = w.script().ring().descriptors();
  const unsigned count = w.config().machine.driver.rx.descriptors;
  for (unsigned i = 0; i < count && 16u * i < ring.bytes; ++i) {
    cells.push_back({ring.phys + 16 * i, 16, fmt::format("descriptor {}", i)});
  }
  return cells;
}

/// The entries around the one that comes next: what lies further away is not looked at soon.
std::vector<Cell> queue_cells(World& w, bool fault) {
  std::vector<Cell> cells;
  const auto s = w.machine().kernel().iommu().structures();
  if (s.entries == 0) return cells;
  const unsigned bytes = fault ? iommu::kFaultRecordBytes : iommu::kCommandBytes;
  const sim::PhysAddr base = fault ? s.fault_queue : s.command_queue;
  const std::uint32_t next = fault ? s.fault_head : s.command_tail;
  for (std::uint32_t i = 0; i < 8; ++i) {
    const std::uint32_t index = (next + s.entries - 4 + i) % s.entries;
    cells.push_back(
        {base + index * bytes, bytes, fmt::format("{} {}", fault ? "fault_record" : "command", index)});
  }
  return cells;
}

/// Buffers that the NIC holds descriptors for.
std::vector<sim::PhysAddr> buffers(World& w) {
  std::vector<sim::PhysAddr> all;
  kernel::Device* device = w.script().ring().device();
  if (device == nullptr || device->iommu_group() == nullptr) return all;
  const kernel::IommuDomain& domain = *device->iommu_group()->default_domain;
  for (unsigned q = 0; q < 16; ++q) {
    w.machine().nic().held_descriptors(q, [&](const nic::Nic::HeldDescriptor& d) {
      const sim::PhysAddr at = domain.iova_to_phys(d.buffer.value);
      if (at.value != 0) all.push_back(at);
    });
  }
  return all;
}

std::vector<Cell> struct_page_cells(World& w) {
  std::vector<Cell> cells;
  for (const sim::PhysAddr at : buffers(w)) {
    const sim::Pfn pfn(at.value >> sim::kPageShift);
    cells.push_back({w.machine().frames().page(pfn), 64, fmt::format("struct_page {:#x}", pfn.value)});
  }
  return cells;
}

std::vector<Cell> packet_cells(World& w) {
  std::vector<Cell> cells;
  for (const sim::PhysAddr at : buffers(w))
    cells.push_back({at, 2048, fmt::format("packet {:#x}", at.value)});
  return cells;
}

struct Place {
  const char* key;
  std::vector<Cell> (*cells)(World&);
};
const std::vector<Place>& places() {
  static const std::vector<Place> all = {
      {"pte", page_table_cells},
      {"device_directory", directory_cells<false, false>},
      {"device_context", directory_cells<false, true>},
      {"process_directory", directory_cells<true, false>},
      {"process_context", directory_cells<true, true>},
      {"descriptor", descriptor_cells},
      {"command", [](World& w) { return queue_cells(w, false); }},
      {"fault_record", [](World& w) { return queue_cells(w, true); }},
      {"struct_page", struct_page_cells},
      {"packet", packet_cells},
  };
  return all;
}

/// Flips `count` neighbouring bits of one structure in DRAM. With dram.ecc.secded the codes see it; without,
/// everybody reads it as it is.
class DramFault final : public Fault {
 public:
  void parameters(platform::ParameterSet& set) override {
    std::vector<std::string> keys;
    for (const Place& p : places()) keys.emplace_back(p.key);
    set.text("where", where_, "structure", keys);
    set.text("bits", bits_text_, "bit or range of bits of the structure to draw from");
    set.integer("count", count_, 1, 64, "neighbouring bits");
    set.choice("mode", mode_, {{"flip", Mode::kFlip}, {"stuck0", Mode::kStuck0}, {"stuck1", Mode::kStuck1}},
               "wrong once, or for good");
  }
  void validate() override { bits_ = bits_text_.empty() ? Bits{0, ~0u} : parse_bits(bits_text_); }
  std::vector<std::string> sites() const override { return {where_}; }

  // A stuck cell outlives the next write; neighbours may lie in the next word.
  bool corrupts_memory() const override { return mode_ == Mode::kFlip && count_ == 1; }
  std::vector<Cell> cells(World& w) const override {
    const auto place =
        std::find_if(places().begin(), places().end(), [&](const Place& p) { return where_ == p.key; });
    return place->cells(w);
  }
  BitRange bits(const Cell& cell) const override {
    return {bits_.low, std::min(bits_.high, cell.bytes * 8 - 1)};
  }

  void inject(Injection& i) override {
    Cell cell = i.target;
    unsigned bit = i.target_bit;
    if (cell.bytes == 0) {
      const std::vector<Cell> all = cells(i.world);
      if (all.empty()) return i.at(where_);
      cell = all[i.random.below(all.size())];
      const BitRange range = bits(cell);
      if (range.low > range.high) return i.at(where_);
      bit = range.low + static_cast<unsigned>(i.random.below(range.high - range.low + 1));
    }
    i.at(fmt::format("{} bit {}", cell.what, bit));
    for (unsigned b = bit; b < std::min(bit + count_, cell.bytes * 8); ++b)
      hit(i, cell.address + b / 8, b % 8);
  }

 private:
  enum class Mode : std::uint8_t { kFlip, kStuck0, kStuck1 };
  void hit(Injection& i, sim::PhysAddr address, unsigned bit) {
    platform::Machine& m = i.world.machine();
    const bool codes = m.config().dram.ecc.secded;
    const std::uint8_t was = m.store().load<std::uint8_t>(address);
    if (mode_ != Mode::kFlip) {
      const bool one = mode_ == Mode::kStuck1;
      m.dram().faults().stick(address, bit, one);
      if (((was >> bit & 1) != 0) != one)
        i.acted();
      else
        i.arm(), m.dram().faults().on_stuck([&i] { i.acted(); });
      return;
    }
    i.acted();
    if (codes) {
      m.dram().faults().flip(address, bit);
    } else {
      m.store().store<std::uint8_t>(address, was ^ static_cast<std::uint8_t>(1u << bit));
    }
  }

  std::string where_ = "pte", bits_text_;
  Bits bits_;
  unsigned count_ = 1;
  Mode mode_ = Mode::kFlip;
};

/// Flips a bit of what a valid entry of the IOMMU's caches translates to.
template <bool kTables>
class CacheFault final : public Fault {
 public:
  void parameters(platform::ParameterSet& set) override {
    set.text("bits", bits_text_, "bit or range of bits of the physical address to draw from");
  }
  void validate() override { bits_ = parse_bits(bits_text_); }
  std::vector<std::string> sites() const override { return {kSite}; }
  void inject(Injection& i) override {
    iommu::Caches& caches = i.world.machine().iommu().caches();
    const unsigned valid = caches.valid_entries(kTables);
    if (valid == 0) return i.at(kSite);
    const auto entry = static_cast<unsigned>(i.random.below(valid));
    const unsigned bit = bits_.low + static_cast<unsigned>(i.random.below(bits_.high - bits_.low + 1));
    i.at(fmt::format("{} {} bit {}", kSite, caches.corrupt(kTables, entry, bit), bit));
    i.acted();
  }

 private:
  static constexpr const char* kSite = kTables ? "walk_cache" : "iotlb";
  std::string bits_text_ = "12..31";
  Bits bits_;
};

}  // namespace

std::vector<FaultKind> memory_kinds() {
  return {
      {"dram", "bits of a structure in DRAM: page table, directory, descriptor, queue, struct page, packet",
       make_fault<DramFault>},
      {"iotlb", "bit of the address that an IOTLB entry translates to", make_fault<CacheFault<false>>},
      {"walk_cache", "bit of the address of a cached page-table page", make_fault<CacheFault<true>>},
  };
}

}  // namespace campaign
