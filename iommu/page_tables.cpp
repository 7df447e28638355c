// SPDX-License-Identifier: Apache-2.0
// The page-table half of Walk: first stage, nested second stage, MSI page table, A/D updates.
#include <algorithm>

#include "iommu/walk.h"

namespace iommu {
namespace {

constexpr std::uint64_t kPbmt = mask(62, 61);

unsigned level_shift(const Stage& stage, unsigned level) { return 12u + stage.index_bits * level; }

/// Index of `address` at `level`; the second stage's root index is two bits wider.
std::uint64_t table_index(const Stage& stage, unsigned level, std::uint64_t address,
                          unsigned extra_root_bits) {
  const unsigned width = stage.index_bits + (level + 1u == stage.levels ? extra_root_bits : 0u);
  return (address >> level_shift(stage, level)) & mask(width - 1, 0);
}

std::uint64_t load_entry(const MemoryAccess& access, const Stage& stage, bool big_endian) {
  return stage.entry_bytes == 8 ? load64(access.data.data(), big_endian)
                                : load32(access.data.data(), big_endian);
}

std::uint64_t entry_page(std::uint64_t pte, const Stage& stage) {
  return stage.entry_bytes == 8 ? bits(pte, 53, 10) : bits(pte, 31, 10);
}

/// An IOVA or first-stage input is a legal address of the scheme.
bool canonical(std::uint64_t address, const Stage& stage) {
  if (stage.entry_bytes == 4) return (address >> 32) == 0;
  const unsigned top = level_shift(stage, stage.levels) - 1;
  const std::uint64_t high = address >> top;
  return high == 0 || high == (~std::uint64_t{0} >> top);
}

/// xwr patterns 010 and 110 are reserved in both stages.
bool encoding_reserved(std::uint64_t pte) {
  return (pte & pte::kV) == 0 || ((pte & pte::kR) == 0 && (pte & pte::kW) != 0);
}

bool is_pointer(std::uint64_t pte) { return (pte & (pte::kR | pte::kX)) == 0; }

bool pointer_malformed(std::uint64_t pte) {
  return (pte & (pte::kD | pte::kA | pte::kU | kPbmt | pte::kN)) != 0;
}

/// Keeps the bits of `value` where `mask` is one, packed to the low end.
std::uint64_t extract(std::uint64_t value, std::uint64_t mask) {
  std::uint64_t out = 0;
  for (unsigned to = 0; mask != 0; mask &= mask - 1, ++to) {
    out |= ((value >> std::countr_zero(mask)) & 1) << to;
  }
  return out;
}

}  // namespace

bool Walk::entry_reserved(std::uint64_t pte, const Stage& stage) const {
  if (encoding_reserved(pte)) return true;
  if (stage.entry_bytes == 4) return false;
  if ((pte & mask(58, 54)) != 0) return true;
  if ((pte & mask(60, 59)) != 0 && !env_->has(cap::kSvrsw60t59b)) return true;
  const std::uint64_t pbmt = bits(pte, 62, 61);
  return pbmt == 3 || (pbmt != 0 && !env_->has(cap::kSvpbmt));
}

bool Walk::superpage_misaligned(std::uint64_t pte, const Stage& stage, unsigned level) const {
  const std::uint64_t page = entry_page(pte, stage);
  if (level > 0) return (pte & pte::kN) != 0 || (page & mask(stage.index_bits * level - 1, 0)) != 0;
  return stage.entry_bytes == 8 && (pte & pte::kN) != 0 && (page & 0xf) != 8;
}

Walk::Leaf Walk::make_leaf(std::uint64_t pte, const Stage& stage, unsigned level, std::uint64_t input) {
  Leaf leaf;
  std::uint64_t page = entry_page(pte, stage);
  leaf.shift = leaf.leaf_shift = static_cast<std::uint8_t>(level_shift(stage, level));
  if (stage.entry_bytes == 8) {
    leaf.pbmt = static_cast<std::uint8_t>(bits(pte, 62, 61));
    if ((pte & pte::kN) != 0) {
      page = (page & ~std::uint64_t{0xf}) | ((input >> 12) & 0xf);
      leaf.leaf_shift = 16;
    }
  }
  leaf.address = (page << 12) | (input & mask(leaf.shift - 1u, 0));
  leaf.readable = (pte & pte::kR) != 0;
  leaf.writable = (pte & pte::kW) != 0;
  leaf.executable = (pte & pte::kX) != 0;
  leaf.user = (pte & pte::kU) != 0;
  leaf.dirty = (pte & pte::kD) != 0;
  return leaf;
}

// --- First stage
// -----------------------------------------------------------------------------------------------

void Walk::start_first_stage() {
  if (first_.bare()) {
    Leaf identity;
    identity.address = request_.iova;
    identity.shift = identity.leaf_shift = env_->bare_shift;
    return first_done(identity);
  }
  if (!canonical(request_.iova, first_)) return fail(page_fault());
  first_walk_.level = first_.levels - 1u;
  first_walk_.table = first_.root;
  if (use_ != CacheUse::kNone) {
    if (const auto hit = caches_->find_table(1, space_, first_, request_.iova, use_ == CacheUse::kFull)) {
      first_walk_.level = hit->level;
      first_walk_.table = hit->table;
      first_global_ = hit->global;
      ++counts_.first_cached[hit->level];
    }
  }
  read_first_pte();
}

void Walk::read_first_pte() {
  const std::uint64_t index = table_index(first_, first_walk_.level, request_.iova, 0);
  first_entry_gpa_ = first_walk_.table + index * first_.entry_bytes;
  if (!second_.bare()) return start_second_stage(first_entry_gpa_, Purpose::kFirstStageTable);
  load_first_pte(first_entry_gpa_);
}

void Walk::load_first_pte(std::uint64_t spa) {
  first_walk_.entry_address = spa;
  ++counts_.first_level[first_walk_.level];
  read(spa, first_.entry_bytes, State::kFirstPte);
}

void Walk::first_pte(MemoryStatus status) {
  if (status != MemoryStatus::kOk) {
    return fail(status == MemoryStatus::kPoison ? Cause::kPtCorruption : access_fault());
  }
  const std::uint64_t pte = load_entry(access_, first_, device_.tc(dc::kSbe));
  first_walk_.entry = pte;
  if (entry_reserved(pte, first_)) return fail(page_fault());
  if (!is_pointer(pte)) return first_leaf();
  if (pointer_malformed(pte) || first_walk_.level == 0) return fail(page_fault());
  first_global_ = first_global_ || (pte & pte::kG) != 0;
  first_walk_.table = entry_page(pte, first_) << 12;
  --first_walk_.level;
  if (fill_) {
    caches_->fill_table(1, space_, first_, request_.iova, first_walk_.level, first_walk_.table,
                        first_global_);
  }
  read_first_pte();
}

/// ATS translation requests report what is granted instead of faulting on R, W, X; privilege counts for both.
bool Walk::first_permissions_ok(std::uint64_t pte) const {
  const bool user_page = (pte & pte::kU) != 0;
  if (!request_.supervisor() && !user_page) return false;
  if (request_.supervisor() && user_page && (!sum_ || request_.execute)) return false;
  if (request_.is_ats()) return true;
  return (!request_.execute || (pte & pte::kX) != 0) && (!request_.read || (pte & pte::kR) != 0) &&
         (!request_.write || (pte & pte::kW) != 0);
}

bool Walk::wants_dirty(const Leaf& leaf) const {
  return request_.is_ats() ? !request_.no_write && leaf.writable : request_.write;
}

void Walk::first_leaf() {
  const std::uint64_t pte = first_walk_.entry;
  if (!first_permissions_ok(pte) || superpage_misaligned(pte, first_, first_walk_.level)) {
    return fail(page_fault());
  }
  Leaf leaf = make_leaf(pte, first_, first_walk_.level, request_.iova);
  const bool dirty = wants_dirty(leaf);
  if ((pte & pte::kA) == 0 || (dirty && (pte & pte::kD) == 0)) {
    if (!device_.tc(dc::kSade)) return fail(page_fault());
    if (!first_entry_writable_) return guest_fault(true);
    if (!keep_memory_) {
      return update(State::kFirstUpdate, first_walk_, dirty, first_, device_.tc(dc::kSbe));
    }
    leaf.dirty = leaf.dirty || dirty;
  }
  first_global_ = first_global_ || (pte & pte::kG) != 0;
  first_done(leaf);
}

void Walk::first_done(const Leaf& leaf) {
  first_leaf_ = leaf;
  after_first_stage();
}

/// Step 18 and 19: an MSI, or the second stage of the address.
void Walk::after_first_stage() {
  gpa_ = first_leaf_.address;
  if (device_.is_interrupt_page(gpa_ >> 12)) {
    return read_msi_pte();
  }
  if (second_.bare()) {
    second_leaf_ = {};
    second_leaf_.address = gpa_;
    second_leaf_.shift = env_->bare_shift;
    return complete();
  }
  start_second_stage(gpa_, Purpose::kFinal);
}

// --- Second stage
// ----------------------------------------------------------------------------------------------

/// Guest page fault on gpa_; bit 0 of iotval2: on an access of the IOMMU itself, bit 1: that was a write.
void Walk::guest_fault(bool implicit_write) {
  if (implicit_write) return fail(guest_page_fault(), (first_entry_gpa_ & ~std::uint64_t{3}) | 3);
  fail(guest_page_fault(), (gpa_ & ~std::uint64_t{3}) | (purpose_ == Purpose::kFinal ? 0 : 1));
}

void Walk::start_second_stage(std::uint64_t gpa, Purpose purpose) {
  gpa_ = gpa;
  purpose_ = purpose;
  const unsigned width = level_shift(second_, second_.levels) + 2;
  if ((gpa >> width) != 0 || (device_.tc(dc::kSxl) && (gpa >> 34) != 0)) return guest_fault();
  second_walk_.level = second_.levels - 1u;
  second_walk_.table = second_.root;
  if (use_ != CacheUse::kNone) {
    if (const auto hit = caches_->find_table(2, guest_space_, second_, gpa, use_ == CacheUse::kFull)) {
      second_walk_.level = hit->level;
      second_walk_.table = hit->table;
      ++counts_.second_cached[hit->level];
    }
  }
  read_second_pte();
}

void Walk::read_second_pte() {
  const std::uint64_t index = table_index(second_, second_walk_.level, gpa_, 2);
  second_walk_.entry_address = second_walk_.table + index * second_.entry_bytes;
  ++counts_.second_level[second_walk_.level];
  read(second_walk_.entry_address, second_.entry_bytes, State::kSecondPte);
}

void Walk::second_memory_fault(MemoryStatus status) {
  const bool poison = status == MemoryStatus::kPoison;
  if (purpose_ == Purpose::kProcessDirectory) {
    return fail(poison ? Cause::kPdtCorruption : Cause::kPdtLoadFault);
  }
  fail(poison ? Cause::kPtCorruption : access_fault());
}

void Walk::second_pte(MemoryStatus status) {
  if (status != MemoryStatus::kOk) return second_memory_fault(status);
  const std::uint64_t pte = load_entry(access_, second_, env_->big_endian());
  second_walk_.entry = pte;
  if (entry_reserved(pte, second_)) return guest_fault();
  if (!is_pointer(pte)) return second_leaf();
  if (pointer_malformed(pte) || second_walk_.level == 0) return guest_fault();
  second_walk_.table = entry_page(pte, second_) << 12;
  --second_walk_.level;
  if (fill_) {
    caches_->fill_table(2, guest_space_, second_, gpa_, second_walk_.level, second_walk_.table, false);
  }
  read_second_pte();
}

void Walk::second_leaf() {
  const std::uint64_t pte = second_walk_.entry;
  if (superpage_misaligned(pte, second_, second_walk_.level) || (pte & pte::kU) == 0) return guest_fault();
  Leaf leaf = make_leaf(pte, second_, second_walk_.level, gpa_);
  bool dirty = false;
  switch (purpose_) {
    case Purpose::kFinal:
      if (!request_.is_ats()) {
        if ((request_.execute && !leaf.executable) || (request_.read && !leaf.readable) ||
            (request_.write && !leaf.writable)) {
          return guest_fault();
        }
      }
      dirty = wants_dirty(leaf);
      break;
    case Purpose::kFirstStageTable:
      // The entry may get its A or D bit set later: the page that holds it is made dirty beforehand if it may
      // be.
      dirty = device_.tc(dc::kSade) && device_.tc(dc::kGade) && leaf.writable && !leaf.dirty;
      [[fallthrough]];
    case Purpose::kProcessDirectory:
      if (!leaf.readable) return guest_fault();
      break;
  }
  if ((pte & pte::kA) == 0 || (dirty && !leaf.dirty)) {
    if (!device_.tc(dc::kGade)) return guest_fault();
    if (!keep_memory_) return update(State::kSecondUpdate, second_walk_, dirty, second_, env_->big_endian());
    leaf.dirty = leaf.dirty || dirty;
  }
  second_done(leaf);
}

void Walk::second_done(const Leaf& leaf) {
  switch (purpose_) {
    case Purpose::kProcessDirectory:
      return read(leaf.address, directory_level_ == 0 ? 16 : 8,
                  directory_level_ == 0 ? State::kProcessContext : State::kPdtPointer);
    case Purpose::kFirstStageTable:
      first_entry_writable_ = leaf.writable && leaf.dirty;
      return load_first_pte(leaf.address);
    case Purpose::kFinal:
      break;
  }
  second_leaf_ = leaf;
  // A page that contains virtual interrupt files is divided until the part around the address has none.
  if (device_.msi) {
    while (second_leaf_.shift > 12 && (((gpa_ >> 12) ^ device_.msi_pattern) & ~device_.msi_mask &
                                       ~mask(second_leaf_.shift - 13u, 0)) == 0) {
      second_leaf_.shift = static_cast<std::uint8_t>(second_leaf_.shift > 21 ? second_leaf_.shift - 9 : 12);
    }
  }
  complete();
}

// --- A/D updates
// -----------------------------------------------------------------------------------------------

/// Asks for the atomic update of the entry just loaded.
void Walk::update(State state, const PteWalk& walk, bool dirty, const Stage& stage, bool big_endian) {
  state_ = state;
  const std::uint64_t desired = walk.entry | pte::kA | (dirty ? pte::kD : 0);
  const auto raw = [&](std::uint64_t v) {
    if (!big_endian) return v;
    return stage.entry_bytes == 8 ? __builtin_bswap64(v)
                                  : std::uint64_t{__builtin_bswap32(static_cast<std::uint32_t>(v))};
  };
  access_.kind = MemoryAccess::Kind::kCompareExchange;
  access_.address = walk.entry_address;
  access_.bytes = stage.entry_bytes;
  access_.expected = raw(walk.entry);
  access_.desired = raw(desired);
}

void Walk::updated(MemoryStatus status, bool swapped) {
  const bool first = state_ == State::kFirstUpdate;
  if (status != MemoryStatus::kOk) {
    if (!first) return second_memory_fault(status);
    return fail(status == MemoryStatus::kPoison ? Cause::kPtCorruption : access_fault());
  }
  if (!swapped) return first ? load_first_pte(first_walk_.entry_address) : read_second_pte();
  // The stored entry now has the bits: evaluate it again, which this time finds nothing to set.
  const bool big_endian = first ? device_.tc(dc::kSbe) : env_->big_endian();
  const Stage& stage = first ? first_ : second_;
  std::uint64_t stored = access_.desired;
  if (big_endian) {
    stored = stage.entry_bytes == 8 ? __builtin_bswap64(stored)
                                    : std::uint64_t{__builtin_bswap32(static_cast<std::uint32_t>(stored))};
  }
  if (first) {
    first_walk_.entry = stored;
    return first_leaf();
  }
  second_walk_.entry = stored;
  second_leaf();
}

// --- MSI page table
// --------------------------------------------------------------------------------------------

void Walk::read_msi_pte() {
  read(device_.msi_root() | (extract(gpa_ >> 12, device_.msi_mask) * 16), 16, State::kMsiPte);
}

void Walk::msi_pte(MemoryStatus status) {
  if (status != MemoryStatus::kOk) {
    return fail(status == MemoryStatus::kPoison ? Cause::kMsiPtCorruption : Cause::kMsiPteLoadFault);
  }
  const std::uint64_t low = load64(access_.data.data(), env_->big_endian());
  const std::uint64_t high = load64(access_.data.data() + 8, env_->big_endian());
  if ((low & 1) == 0) return fail(Cause::kMsiPteInvalid);
  const std::uint64_t m = bits(low, 2, 1);
  if (bit(low, 63) || m == 0 || m == 2) return fail(Cause::kMsiPteMisconfigured);
  second_leaf_ = {};
  second_leaf_.executable = false;
  outcome_.msi = true;
  if (m == 3) {
    if ((low & (mask(9, 3) | mask(62, 54))) != 0) return fail(Cause::kMsiPteMisconfigured);
    second_leaf_.address = ppn_address(low) | (gpa_ & 0xfff);
    if (request_.execute && !request_.is_ats()) return fail(Cause::kInstructionAccessFault);
    return complete();
  }
  if (!env_->has(cap::kMsiMrif) || (low & (mask(6, 3) | mask(62, 54))) != 0 ||
      (high & (mask(59, 54) | mask(63, 61))) != 0) {
    return fail(Cause::kMsiPteMisconfigured);
  }
  outcome_.mrif = true;
  outcome_.mrif_address = bits(low, 53, 7) << 9;
  outcome_.notice_address = ppn_address(high);
  outcome_.notice_id = static_cast<std::uint16_t>((bits(high, 60, 60) << 10) | bits(high, 9, 0));
  if (request_.execute && !request_.is_ats()) return fail(Cause::kInstructionAccessFault);
  complete();
}

// --- The result
// ------------------------------------------------------------------------------------------------

void Walk::complete() {
  const Leaf &s1 = first_leaf_, &s2 = second_leaf_;
  outcome_.address = request_.is_ats() && outcome_.t2gpa ? gpa_ : s2.address;
  outcome_.page_shift = std::min(s1.shift, s2.shift);
  outcome_.leaf_shift = s1.leaf_shift;
  outcome_.pbmt = s1.pbmt != 0 ? s1.pbmt : s2.pbmt;
  outcome_.user = s1.user;
  outcome_.global = first_global_ || first_.bare();
  outcome_.readable = s1.readable && s2.readable;
  outcome_.writable = s1.writable && s1.dirty && s2.writable && s2.dirty;
  outcome_.executable = s1.executable && s2.executable;
  finish();
  if (fill_ && !request_.is_ats() && !outcome_.mrif && space_.key != 0) {
    caches_->fill_translation(request_.iova, space_, outcome_);
  }
}

}  // namespace iommu
