// SPDX-License-Identifier: Apache-2.0
#include "iommu/caches.h"

#include <fmt/format.h>

#include "sim/digest.h"

#include <algorithm>

namespace iommu {
namespace {

/// Does the page of 2^shift bytes at `page << shift` overlap the range of the invalidation?
bool overlaps(std::uint64_t page, unsigned shift, const Invalidation& what) {
  if (!what.has_address || what.bytes == 0) return true;
  const std::uint64_t first = page << shift, last = first + ((std::uint64_t{1} << shift) - 1);
  const std::uint64_t from = what.address, to = what.address + (what.bytes - 1);
  return first <= to && from <= last;
}

/// PSCID and GSCID select, with global entries kept when a PSCID is given (IOTINVAL.VMA table).
bool selects(const Invalidation& what, Space space, bool global) {
  if (what.has_gscid != space.second()) return false;
  if (what.has_gscid && what.gscid != space.gscid()) return false;
  return !what.has_pscid || (!global && space.pscid() == what.pscid);
}

}  // namespace

Caches::Caches(const IommuConfig& config, const sim::RandomStream& random)
    : class_shift_(config.iotlb_page_sizes),
      tables_enabled_(config.walk_cache_enabled),
      iotlb_(config.iotlb, random),
      ddt_(config.ddt_cache, random),
      pdt_(config.pdt_cache, random) {
  for (unsigned level = 0; level < 4; ++level) {
    first_tables_.emplace_back(config.walk_cache, random);
    second_tables_.emplace_back(config.walk_cache, random);
  }
}

unsigned Caches::class_of(unsigned page_shift) const {
  unsigned c = 0;
  while (c + 1 < class_shift_.size() && class_shift_[c + 1] <= page_shift) ++c;
  return c;
}

bool Caches::allows(const IotlbEntry& e, const Request& r, bool sum) {
  if ((r.read && !e.readable) || (r.write && !e.writable) || (r.execute && !e.executable)) return false;
  if (!e.space.first()) return true;
  if (!r.supervisor()) return e.user;
  return !e.user || (sum && !r.execute);
}

const IotlbEntry* Caches::peek_translation(const Request& request, Space space, bool sum) const {
  auto& self = const_cast<Caches&>(*this);
  for (unsigned c = 0; c < class_shift_.size(); ++c) {
    if (class_valid_[c] == 0) continue;
    const std::uint64_t page = request.iova >> class_shift_[c];
    const IotlbEntry* e = self.iotlb_.find(
        page, [&](const IotlbEntry& x) { return x.page == page && x.space == space && x.page_class == c; });
    if (e != nullptr && allows(*e, request, sum)) return e;
  }
  return nullptr;
}

const IotlbEntry* Caches::find_translation(const Request& request, Space space, bool sum) {
  const IotlbEntry* e = peek_translation(request, space, sum);
  if (e != nullptr) iotlb_.touch(e);
  return e;
}

const Caches::DeviceEntry* Caches::find_device_entry(std::uint32_t device_id) {
  const DeviceEntry* const guessed = &ddt_.all()[device_guess_];
  if (guessed->valid && guessed->device_id == device_id) return guessed;
  const DeviceEntry* const d = ddt_.find(device_id, [&](const DeviceEntry& x) { return x.device_id == device_id; });
  if (d != nullptr) device_guess_ = static_cast<std::uint32_t>(d - ddt_.all().data());
  return d;
}

/// As peek_translation() without PC.ta.SUM. A page is in the IOTLB once at most.
const IotlbEntry* Caches::find_guessed(const Request& request, Space space) {
  const std::uint64_t page = request.iova >> class_shift_[0];
  std::uint32_t& guess = page_guesses_[page % page_guesses_.size()];
  const IotlbEntry* const guessed = &iotlb_.all()[guess];
  const bool same = guessed->valid && guessed->page == page && guessed->space == space && guessed->page_class == 0;
  if (same && allows(*guessed, request, /*sum=*/false)) return guessed;
  const IotlbEntry* const e = peek_translation(request, space, /*sum=*/false);
  if (e != nullptr) guess = static_cast<std::uint32_t>(e - iotlb_.all().data());
  return e;
}

Caches::Hit Caches::find_both(const Request& request) {
  const DeviceEntry* const d = find_device_entry(request.device_id);
  if (d == nullptr || d->space.key == 0) return {};
  const IotlbEntry* const e = find_guessed(request, d->space);
  if (e == nullptr) return {};
  ++counters_.ddt_hits;
  ddt_.touch(d);
  iotlb_.touch(e);
  return {&d->context, e};
}

void Caches::fill_translation(std::uint64_t iova, Space space, const Outcome& o) {
  const unsigned c = class_of(o.page_shift);
  const unsigned shift = class_shift_[c];
  const std::uint64_t page = iova >> shift;
  IotlbEntry* e = iotlb_.find(
      page, [&](const IotlbEntry& x) { return x.page == page && x.space == space && x.page_class == c; });
  if (e == nullptr) e = iotlb_.place(page);
  if (e->valid) --class_valid_[e->page_class];
  ++class_valid_[c];
  ++counters_.iotlb_fills;
  *e = {.valid = true,
        .page_class = static_cast<std::uint8_t>(c),
        .page_shift = o.page_shift,
        .leaf_shift = o.leaf_shift,
        .pbmt = o.pbmt,
        .readable = o.readable,
        .writable = o.writable,
        .executable = o.executable,
        .user = o.user,
        .global = o.global,
        .msi = o.msi,
        .space = space,
        .page = page,
        .frame = o.address >> shift << shift};
  iotlb_.touch(e);
}

const DeviceContext* Caches::find_device(std::uint32_t device_id, bool count) {
  DeviceEntry* e = ddt_.find(device_id, [&](const DeviceEntry& x) { return x.device_id == device_id; });
  if (count) {
    ++(e != nullptr ? counters_.ddt_hits : counters_.ddt_misses);
    if (e != nullptr) ddt_.touch(e);
  }
  return e != nullptr ? &e->context : nullptr;
}

void Caches::fill_device(std::uint32_t device_id, const DeviceContext& context) {
  DeviceEntry* e = ddt_.find(device_id, [&](const DeviceEntry& x) { return x.device_id == device_id; });
  if (e == nullptr) e = ddt_.place(device_id);
  const Space space = context.tc(dc::kPdtv)
                          ? Space()
                          : Space(!context.first.bare(), context.pscid, !context.second.bare(), context.gscid);
  *e = {true, device_id, space, context};
  ddt_.touch(e);
}

const ProcessContext* Caches::find_process(std::uint32_t device_id, std::uint32_t process_id, bool count) {
  ProcessEntry* e = pdt_.find(device_id ^ process_id, [&](const ProcessEntry& x) {
    return x.device_id == device_id && x.process_id == process_id;
  });
  if (count) {
    ++(e != nullptr ? counters_.pdt_hits : counters_.pdt_misses);
    if (e != nullptr) pdt_.touch(e);
  }
  return e != nullptr ? &e->context : nullptr;
}

void Caches::fill_process(std::uint32_t device_id, std::uint32_t process_id, const ProcessContext& context) {
  ProcessEntry* e = pdt_.find(device_id ^ process_id, [&](const ProcessEntry& x) {
    return x.device_id == device_id && x.process_id == process_id;
  });
  if (e == nullptr) e = pdt_.place(device_id ^ process_id);
  *e = {true, device_id, process_id, context};
  pdt_.touch(e);
}

std::optional<Caches::TableHit> Caches::find_table(unsigned stage, Space space, const Stage& root,
                                                   std::uint64_t address, bool count) {
  if (!tables_enabled_) return std::nullopt;
  auto& tables = stage == 1 ? first_tables_ : second_tables_;
  for (unsigned level = 0; level + 1 < root.levels; ++level) {
    const std::uint64_t prefix = address >> prefix_shift(root, level);
    TableEntry* e = tables[level].find(
        prefix, [&](const TableEntry& x) { return x.prefix == prefix && x.space == space; });
    if (e == nullptr) continue;
    if (count) tables[level].touch(e);
    return TableHit{level, e->table, e->global};
  }
  return std::nullopt;
}

void Caches::fill_table(unsigned stage, Space space, const Stage& root, std::uint64_t address, unsigned level,
                        std::uint64_t table, bool global) {
  if (!tables_enabled_) return;
  auto& cache = (stage == 1 ? first_tables_ : second_tables_)[level];
  const std::uint64_t prefix = address >> prefix_shift(root, level);
  TableEntry* e =
      cache.find(prefix, [&](const TableEntry& x) { return x.prefix == prefix && x.space == space; });
  if (e == nullptr) e = cache.place(prefix);
  *e = {true, global, space, prefix, table};
  cache.touch(e);
}

unsigned Caches::invalidate(const Invalidation& what) {
  unsigned dropped = 0;
  const auto count_class = [&](const IotlbEntry& e) { --class_valid_[e.page_class]; };
  if (what.gvma) {
    // A combined cache does not know guest addresses: everything of the VM goes.
    const auto of_vm = [&](Space s) { return s.second() && (!what.has_gscid || s.gscid() == what.gscid); };
    dropped += iotlb_.drop([&](const IotlbEntry& e) { return of_vm(e.space) && (count_class(e), true); });
    if (!what.has_address || !what.has_gscid || what.non_leaf) {
      for (auto& t : second_tables_) t.drop([&](const TableEntry& e) { return of_vm(e.space); });
    }
  } else {
    dropped += iotlb_.drop([&](const IotlbEntry& e) {
      if (!e.space.first() || !selects(what, e.space, e.global)) return false;
      if (!overlaps(e.page << class_shift_[e.page_class] >> e.leaf_shift, e.leaf_shift, what)) return false;
      count_class(e);
      return true;
    });
    if (!what.has_address || what.non_leaf) {
      for (auto& t : first_tables_)
        t.drop([&](const TableEntry& e) { return selects(what, e.space, e.global); });
    }
  }
  counters_.iotlb_dropped += dropped;
  return dropped;
}

unsigned Caches::sets_of(const Invalidation& what, bool indexed) const {
  // A range, or an address of a guest: any set may hold a piece of it.
  if (!indexed || what.gvma || !what.has_address || what.bytes != 4096) return iotlb_.sets();
  return std::min(iotlb_.sets(), static_cast<unsigned>(class_shift_.size()));
}

unsigned Caches::directory_sets_of(bool process, bool has_device, bool indexed) const {
  if (process) return indexed ? 1 : pdt_.sets();
  // The process contexts of the device may lie anywhere: their cache is searched beside the other one.
  return std::max(indexed && has_device ? 1u : ddt_.sets(), pdt_.sets());
}

unsigned Caches::invalidate_ddt(std::optional<std::uint32_t> device_id) {
  const auto is = [&](std::uint32_t id) { return !device_id || id == *device_id; };
  return ddt_.drop([&](const DeviceEntry& e) { return is(e.device_id); }) +
         pdt_.drop([&](const ProcessEntry& e) { return is(e.device_id); });
}

unsigned Caches::invalidate_pdt(std::uint32_t device_id, std::uint32_t process_id) {
  return pdt_.drop(
      [&](const ProcessEntry& e) { return e.device_id == device_id && e.process_id == process_id; });
}

void Caches::clear() {
  iotlb_.drop([](const IotlbEntry&) { return true; });
  ddt_.drop([](const DeviceEntry&) { return true; });
  pdt_.drop([](const ProcessEntry&) { return true; });
  for (auto& t : first_tables_) t.drop([](const TableEntry&) { return true; });
  for (auto& t : second_tables_) t.drop([](const TableEntry&) { return true; });
  class_valid_.fill(0);
}

template <class Visit>
void Caches::visit_tables(Visit&& visit) {
  for (auto* stage : {&first_tables_, &second_tables_}) {
    for (auto& level : *stage) {
      for (TableEntry& e : level.all()) visit(e);
    }
  }
}

std::uint64_t Caches::digest() const {
  std::uint64_t h = 0;
  const auto fold = [&h](std::uint64_t v) { h = sim::hash64(&v, sizeof v, h); };
  const auto each = [&fold](std::size_t place, const auto& e, auto&&... fields) {
    if (!e.valid) return;
    fold(place);
    (fold(static_cast<std::uint64_t>(fields)), ...);
  };
  for (std::size_t i = 0; i < iotlb_.all().size(); ++i) {
    const IotlbEntry& e = iotlb_.all()[i];
    each(i, e, e.page, e.frame, e.space.key, e.page_class, e.readable | e.writable << 1 | e.global << 2);
  }
  for (const auto* stage : {&first_tables_, &second_tables_}) {
    for (const auto& level : *stage) {
      for (std::size_t i = 0; i < level.all().size(); ++i) {
        each(i, level.all()[i], level.all()[i].prefix, level.all()[i].table, level.all()[i].space.key);
      }
    }
  }
  for (std::size_t i = 0; i < ddt_.all().size(); ++i) each(i, ddt_.all()[i], ddt_.all()[i].device_id);
  for (std::size_t i = 0; i < pdt_.all().size(); ++i) each(i, pdt_.all()[i], pdt_.all()[i].device_id);
  return h;
}

unsigned Caches::valid_entries(bool tables) const {
  if (!tables) return iotlb_valid();
  unsigned n = 0;
  const_cast<Caches*>(this)->visit_tables([&n](const TableEntry& e) { n += e.valid ? 1 : 0; });
  return n;
}

std::string Caches::corrupt(bool tables, unsigned n, unsigned bit) {
  std::string what;
  const std::uint64_t flip = std::uint64_t{1} << bit;
  if (tables) {
    visit_tables([&](TableEntry& e) {
      if (!e.valid || n-- != 0) return;
      e.table ^= flip;
      what = fmt::format("table of prefix {:#x}", e.prefix);
    });
    return what;
  }
  for (IotlbEntry& e : iotlb_.all()) {
    if (!e.valid || n-- != 0) continue;
    e.frame ^= flip;
    what = fmt::format("iova {:#x}", e.page << class_shift(e));
    break;
  }
  return what;
}

unsigned Caches::iotlb_valid() const {
  unsigned n = 0;
  for (std::uint32_t v : class_valid_) n += v;
  return n;
}

}  // namespace iommu
