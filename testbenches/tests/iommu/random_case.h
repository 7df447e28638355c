// SPDX-License-Identifier: Apache-2.0
// Random IOMMU configurations, memory images, requests and commands, drawn from any source of choices: the
// bytes of a fuzzer, or a random stream. Images are built so that most walks get far: every table on the way
// of an address exists, and each entry has a small chance of every defect.
#pragma once
#include <algorithm>
#include <cstdint>
#include <vector>

#include "iommu/ats.h"
#include "iommu/config.h"
#include "iommu/layout.h"
#include "iommu/memory.h"
#include "iommu/request.h"
#include "sim/random.h"

namespace iommu_test {

/// Where decisions come from.
class Choices {
 public:
  virtual ~Choices() = default;
  /// Any of 0..n-1, n > 0.
  virtual std::uint64_t below(std::uint64_t n) = 0;
  bool one_in(std::uint64_t n) { return below(n) == n - 1; }
  std::uint64_t word() { return below(1ull << 32) << 32 | below(1ull << 32); }
  template <class T>
  T pick(std::initializer_list<T> of) {
    return of.begin()[below(of.size())];
  }
};

/// Decisions from a buffer; zeros after its end.
class ByteChoices final : public Choices {
 public:
  ByteChoices(const std::uint8_t* data, std::size_t size) : at_(data), end_(data + size) {}
  bool empty() const { return at_ == end_; }
  std::uint64_t below(std::uint64_t n) override {
    std::uint64_t v = 0;
    for (std::uint64_t range = n - 1; range != 0 && at_ != end_; range >>= 8) v = v << 8 | *at_++;
    return v % n;
  }

 private:
  const std::uint8_t *at_, *end_;
};

/// Decisions from a random stream.
class StreamChoices final : public Choices {
 public:
  explicit StreamChoices(std::uint64_t seed) : random_(seed, 0, "iommu.random_case") {}
  std::uint64_t below(std::uint64_t n) override { return random_.below(n); }

 private:
  sim::RandomStream random_;
};

/// Where the image goes: plain stores, as a CPU makes them.
class ImageMemory {
 public:
  virtual ~ImageMemory() = default;
  virtual void poke(std::uint64_t address, const std::uint8_t* bytes, std::size_t n) = 0;
};

class RandomCase {
 public:
  static constexpr std::uint64_t kBase = 0x8000'0000;
  static constexpr unsigned kPages = 2048;
  static constexpr std::uint64_t kMailbox = 0x2400'0000;  ///< MSI targets, below memory

  RandomCase(Choices& choices, ImageMemory& memory) : c_(choices), memory_(memory) {}

  /// A configuration that validate() accepts.
  iommu::IommuConfig config() {
    namespace cap = iommu::cap;
    iommu::IommuConfig config;
    iommu::ArchitectureConfig& a = config.architecture;
    std::uint64_t caps = cap::kVersion1_0 | cap::kHpm | cap::kDbg | cap::kSv39 | cap::kSv39x4;
    const std::uint64_t optional[] = {
        cap::kSv32,   cap::kSv48,   cap::kSv57,    cap::kSvrsw60t59b, cap::kSvpbmt,  cap::kSv32x4,
        cap::kSv48x4, cap::kSv57x4, cap::kAmoMrif, cap::kMsiFlat,     cap::kMsiMrif, cap::kAmoHwad,
        cap::kAts,    cap::kT2gpa,  cap::kEnd,     cap::kPd8,         cap::kPd17,    cap::kPd20,
        cap::kQosid,  cap::kNl,     cap::kS};
    for (const std::uint64_t one : optional) caps |= c_.one_in(8) ? 0 : one;
    caps |= c_.pick({cap::kIgsMsi, cap::kIgsWsi, cap::kIgsBoth});
    caps |= cap::pas(c_.pick({56u, 40u, 34u}));
    a.capabilities = caps;
    a.gxl_writable = c_.one_in(2);
    a.be_writable = (caps & cap::kEnd) != 0 && c_.one_in(2);
    a.fctl_reset = (a.be_writable && c_.one_in(2) ? iommu::fctl::kBe : 0u) |
                   (iommu::bits(caps, 29, 28) == 1 ? iommu::fctl::kWsi : 0u) |
                   (a.gxl_writable && (caps & cap::kSv32x4) != 0 && c_.one_in(4) ? iommu::fctl::kGxl : 0u);
    a.hpm_counters = static_cast<unsigned>(1 + c_.below(8));
    a.hpm_counter_bits = static_cast<unsigned>(c_.pick({64, 40, 32}));
    a.vector_bits = static_cast<unsigned>(c_.below(5));
    a.max_mode = c_.pick({iommu::DdtMode::k3Lvl, iommu::DdtMode::k2Lvl, iommu::DdtMode::k1Lvl});
    a.qosid_mask = (caps & cap::kQosid) != 0 ? 0x00ff00ff : 0;
    a.bare_stage_bytes = c_.pick({1ull << 30, 1ull << 21, 1ull << 12});
    config.iotlb = {
        static_cast<unsigned>(1u << c_.below(4)), static_cast<unsigned>(1u << c_.below(3)),
        c_.pick({iommu::Replacement::kLru, iommu::Replacement::kPlru, iommu::Replacement::kRandom})};
    config.walk_cache = config.ddt_cache =
        config.pdt_cache = {static_cast<unsigned>(1u << c_.below(3)),
                            static_cast<unsigned>(1u << c_.below(2)), config.iotlb.replacement};
    config.walk_cache_enabled = !c_.one_in(4);
    config.iotlb_page_sizes =
        c_.one_in(2) ? std::vector<unsigned>{12, 21, 30} : std::vector<unsigned>{12, 16, 22};
    config.walkers = static_cast<unsigned>(1 + c_.below(4));
    config.input_queue = static_cast<unsigned>(2 + c_.below(8));
    config.fault_buffer = static_cast<unsigned>(1 + c_.below(8));
    config.ats_timeout_cycles = 2000;
    config_ = config;
    return config;
  }

  /// Instead of config(): the case is about hardware that exists already.
  void adopt(const iommu::IommuConfig& config) { config_ = config; }

  /// Builds directories and tables for `contexts` devices. Returns ddtp.
  std::uint64_t image(unsigned contexts) {
    ddt_ = page();
    mode_ = config_.architecture.max_mode;
    for (unsigned i = 0; i < contexts; ++i) device(i);
    return iommu::ddtp(mode_, ddt_);
  }

  /// A request that most often concerns something in the image.
  iommu::Request request() {
    iommu::Request r;
    const Device* d = devices_.empty() || c_.one_in(16) ? nullptr : &devices_[c_.below(devices_.size())];
    r.device_id = d != nullptr ? d->id : static_cast<std::uint32_t>(c_.below(1u << 24));
    r.has_process_id = d != nullptr && d->processes ? !c_.one_in(3) : c_.one_in(12);
    if (r.has_process_id) {
      r.process_id = static_cast<std::uint32_t>(c_.one_in(8)   ? c_.below(1u << 20)
                                                : d != nullptr ? d->pid
                                                               : 0);
      r.privileged = c_.one_in(3);
    }
    switch (d != nullptr && !d->ats && !c_.one_in(16) ? 5 : c_.below(6)) {
      case 0:
        r.address_type = sim::AddressType::kTranslationRequest;
        break;
      case 1:
        r.address_type = sim::AddressType::kTranslated;
        break;
      default:
        break;
    }
    const bool execute = c_.one_in(6);
    if (r.is_ats()) {
      r.read = true;
      r.no_write = c_.one_in(2);
      r.write = !r.no_write;
      r.execute = execute && r.has_process_id;
    } else {
      r.write = c_.one_in(2);
      const bool untranslated = r.address_type == sim::AddressType::kUntranslated;
      r.execute = execute && !r.write && (untranslated || r.has_process_id);
      r.read = !r.write && (!untranslated || !r.execute);
    }
    if (d != nullptr && !d->addresses.empty() && !c_.one_in(16)) {
      r.iova = d->addresses[c_.below(d->addresses.size())] ^ (c_.below(1024) * 4);
    } else {
      r.iova = c_.word() >> c_.below(64);
    }
    return r;
  }

  iommu::Command command() {
    namespace cmd = iommu::cmd;
    const auto address = [&] {
      if (devices_.empty() || c_.one_in(8)) return c_.word() >> c_.below(64);
      const Device& d = devices_[c_.below(devices_.size())];
      return d.addresses.empty() ? 0 : d.addresses[c_.below(d.addresses.size())];
    };
    iommu::Command c;
    switch (c_.below(8)) {
      case 0:
        c = cmd::iotinval_vma();
        break;
      case 1:
        c = cmd::iotinval_gvma();
        break;
      case 2:
        c = cmd::iofence(c_.one_in(2), c_.one_in(2));
        if (c_.one_in(2))
          c = cmd::iofence_store(false, true, kMailbox + 0x800, static_cast<std::uint32_t>(c_.word()));
        if (c_.one_in(4)) c = cmd::iofence_wsi(c);
        return damaged(c);
      case 3:
        return damaged(c_.one_in(2) ? cmd::iodir_inval_ddt()
                                    : cmd::iodir_inval_ddt(static_cast<std::uint32_t>(c_.below(1u << 8))));
      case 4:
        return damaged(cmd::iodir_inval_pdt(static_cast<std::uint32_t>(c_.below(1u << 8)),
                                            static_cast<std::uint32_t>(c_.below(4))));
      case 5:  // ATS.INVAL
        return damaged({std::uint64_t{cmd::kAts} | c_.below(1u << 8) << 40, address() & ~0xfffull});
      case 6:  // ATS.PRGR
        return damaged({std::uint64_t{cmd::kAts} | 1u << 7 | c_.below(1u << 8) << 40, c_.below(512) << 32});
      default:
        return {c_.word(), c_.word()};
    }
    if (c_.one_in(2))
      c = c_.one_in(4) ? cmd::with_range(c, address(), 13 + static_cast<unsigned>(c_.below(40)))
                       : cmd::with_address(c, address());
    if (cmd::func3(c) == 0 && c_.one_in(2)) c = cmd::with_pscid(c, static_cast<std::uint32_t>(c_.below(4)));
    if (c_.one_in(2)) c = cmd::with_gscid(c, static_cast<std::uint32_t>(c_.below(4)));
    if (c_.one_in(4)) c.dw0 |= 1ull << 34;
    return damaged(c);
  }

  iommu::PageRequest page_request() {
    iommu::PageRequest m;
    m.rid = static_cast<std::uint16_t>(
        devices_.empty() || c_.one_in(4) ? c_.below(1u << 16) : devices_[c_.below(devices_.size())].id);
    m.has_process_id = c_.one_in(2);
    m.process_id = m.has_process_id ? static_cast<std::uint32_t>(c_.below(1u << 20)) : 0;
    m.privileged = m.has_process_id && c_.one_in(2);
    m.execute = m.has_process_id && c_.one_in(2);
    m.payload = c_.word();
    return m;
  }

  /// Changes one doubleword of the image: a bit of an entry, or all of it.
  void disturb() {
    if (entries_.empty()) return;
    Entry& e = entries_[c_.below(entries_.size())];
    const std::uint64_t value = c_.one_in(4) ? c_.word() : e.value ^ (1ull << c_.below(e.bytes * 8));
    e.value = (value & ~e.keep) | (e.value & e.keep);
    store(e);
  }
  /// An entry of the image lies there.
  bool is_entry(std::uint64_t address) const {
    return std::any_of(entries_.begin(), entries_.end(),
                       [&](const Entry& e) { return e.address == address; });
  }

  std::uint64_t page() { return kBase + 0x1000 * (next_page_ = (next_page_ + 1) % kPages); }

 private:
  struct Device {
    std::uint32_t id = 0, pid = 0;
    bool processes = false, ats = false;
    std::vector<std::uint64_t> addresses;
  };
  struct Scheme {
    unsigned levels, index_bits, bytes;
    bool second;
    bool bare() const { return levels == 0; }
  };
  struct Entry {
    std::uint64_t address, value;
    unsigned bytes;
    bool big_endian;
    std::uint64_t keep;  // bits that no defect touches
  };
  // Address spaces have ids of their own, as the architecture demands: no defect may make two of them alike.
  static constexpr std::uint64_t kPscid = 0xfffffull << 12, kGscid = 0xffffull << 44;

  bool has(std::uint64_t capability) const { return (config_.architecture.capabilities & capability) != 0; }
  bool fctl(std::uint32_t bit) const { return (config_.architecture.fctl_reset & bit) != 0; }

  iommu::Command damaged(iommu::Command c) {
    if (c_.one_in(12)) (c_.one_in(2) ? c.dw0 : c.dw1) ^= 1ull << c_.below(64);
    return c;
  }

  void store(const Entry& e) {
    std::uint8_t raw[8];
    if (e.bytes == 8) {
      iommu::store64(raw, e.value, e.big_endian);
    } else {
      iommu::store32(raw, static_cast<std::uint32_t>(e.value), e.big_endian);
    }
    memory_.poke(e.address, raw, e.bytes);
  }
  std::uint64_t put(std::uint64_t address, std::uint64_t value, unsigned bytes, bool big_endian,
                    std::uint64_t keep = 0) {
    if (c_.one_in(48)) value ^= (1ull << c_.below(bytes * 8)) & ~keep;
    entries_.push_back({address, value, bytes, big_endian, keep});
    store(entries_.back());
    return value;
  }

  /// What an entry that was stored says, 0 where nothing was.
  std::uint64_t stored(std::uint64_t address) const {
    for (std::size_t i = entries_.size(); i-- > 0;) {
      if (entries_[i].address == address) return entries_[i].value;
    }
    return 0;
  }

  std::uint64_t flags(bool second) {
    namespace pte = iommu::pte;
    std::uint64_t f = pte::kV | pte::kR | pte::kW | pte::kX | pte::kA | pte::kD;
    f |= second || !c_.one_in(4) ? pte::kU : 0;
    if (c_.one_in(6)) f ^= pte::kW | pte::kD;
    if (c_.one_in(6)) f &= ~pte::kX;
    if (c_.one_in(8)) f &= ~pte::kA;
    if (c_.one_in(8)) f &= ~pte::kD;
    if (c_.one_in(24)) f &= ~pte::kR;
    if (!second && c_.one_in(6)) f |= pte::kG;
    return f;
  }

  /// A table page as the walker of the first stage sees it: its guest address when there is a second stage.
  struct Table {
    std::uint64_t seen, real;
  };
  Table table(const Scheme& second, std::uint64_t second_root) {
    const std::uint64_t real = page();
    if (second.bare()) return {real, real};
    const std::uint64_t guest = (0x100 + next_guest_++) << 12;
    map(second, second_root, {}, 0, guest, real, fctl(iommu::fctl::kBe), 0);
    return {guest, real};
  }
  std::uint64_t real_of(std::uint64_t seen, const Scheme& second) const {
    if (second.bare()) return seen;
    for (const Table& t : tables_) {
      if (t.seen == seen) return t.real;
    }
    return 0;
  }

  /// Maps `address` -> `target` (leaf at `level`) in the tables of `scheme`; they lie in guest memory if
  /// `below` is a second stage.
  void map(const Scheme& scheme, std::uint64_t root, const Scheme& below, std::uint64_t below_root,
           std::uint64_t address, std::uint64_t target, bool big_endian, unsigned level) {
    namespace pte = iommu::pte;
    std::uint64_t real = root;
    for (unsigned l = scheme.levels; l-- > 0;) {
      const unsigned shift = 12 + scheme.index_bits * l;
      const unsigned width = scheme.index_bits + (scheme.second && l + 1 == scheme.levels ? 2u : 0u);
      const std::uint64_t at = real + ((address >> shift) & iommu::mask(width - 1, 0)) * scheme.bytes;
      if (l == level) {
        const std::uint64_t frame = c_.one_in(24) ? target : target & ~iommu::mask(shift - 1, 0);
        std::uint64_t value = pte::leaf(frame, flags(scheme.second));
        if (scheme.bytes == 8 && l == 0 && c_.one_in(12)) {
          value = (value & ~(0xfull << 10)) | 8ull << 10 | pte::kN;
        }
        if (scheme.bytes == 8 && c_.one_in(8)) value |= c_.below(3) << 61;
        put(at, value, scheme.bytes, big_endian);
        return;
      }
      std::uint64_t next = pte::address(stored(at));
      if (stored(at) == 0 || real_of(next, below) == 0) {
        const Table t = table(below, below_root);
        tables_.push_back(t);
        next = t.seen;
        put(at, pte::pointer(next), scheme.bytes, big_endian);
      }
      real = real_of(next, below);
      if (real == 0) return;
    }
  }

  /// 8, 9 or 10; almost always one whose capability (bits from `lowest` on) is there.
  std::uint64_t implemented(unsigned lowest) {
    const std::uint64_t mode = c_.pick({8u, 9u, 10u});
    return iommu::bit(config_.architecture.capabilities, lowest + static_cast<unsigned>(mode) - 8) ||
                   c_.one_in(16)
               ? mode
               : 8;
  }
  Scheme first_scheme(bool sxl, std::uint64_t& mode) {
    if (c_.one_in(6)) {
      mode = 0;
      return {0, 0, 0, false};
    }
    if (sxl) {
      mode = 8;
      return {2, 10, 4, false};
    }
    mode = implemented(9);
    return {static_cast<unsigned>(mode - 5), 9, 8, false};
  }
  Scheme second_scheme(std::uint64_t& mode) {
    if (c_.one_in(2)) {
      mode = 0;
      return {0, 0, 0, true};
    }
    if (fctl(iommu::fctl::kGxl)) {
      mode = 8;
      return {2, 10, 4, true};
    }
    mode = implemented(17);
    return {static_cast<unsigned>(mode - 5), 9, 8, true};
  }

  std::uint64_t address_of(const Scheme& scheme) {
    const unsigned width = scheme.bare()       ? 34
                           : scheme.bytes == 4 ? 32
                                               : 11 + scheme.index_bits * scheme.levels;
    return (c_.one_in(2) ? c_.below(8) << 12 : c_.word()) & iommu::mask(width - 1, 0);
  }

  void map_data(Device& d, const Scheme& first, std::uint64_t root, const Scheme& second,
                std::uint64_t second_root, bool sbe) {
    for (std::uint64_t n = 1 + c_.below(3); n-- > 0;) {
      const std::uint64_t iova = address_of(first);
      const std::uint64_t real = page();
      std::uint64_t guest = real;
      if (!second.bare()) {
        guest = first.bare() ? iova & iommu::mask(31, 0) : (0x400 + next_guest_++) << 12;
        map(second, second_root, {}, 0, guest, real, fctl(iommu::fctl::kBe),
            c_.one_in(4) ? static_cast<unsigned>(c_.below(second.levels)) : 0);
      }
      if (!first.bare()) {
        map(first, root, second, second_root, iova, guest, sbe,
            c_.one_in(4) ? static_cast<unsigned>(c_.below(first.levels)) : 0);
      }
      d.addresses.push_back(first.bare() && !second.bare() ? guest : iova);
    }
  }

  void device(unsigned index) {
    namespace dc = iommu::dc;
    const bool extended = has(iommu::cap::kMsiFlat), be = fctl(iommu::fctl::kBe);
    Device d;
    d.id = static_cast<std::uint32_t>(index == 0 ? 0 : c_.below(1u << 8));
    const unsigned levels = static_cast<unsigned>(mode_) - 1;
    if (levels == 1) d.id &= 0x3f;
    std::uint64_t at = ddt_;
    for (unsigned l = levels; l-- > 1;) {
      const std::uint64_t entry = at + 8 * dc::index(extended, l, d.id);
      if (stored(entry) == 0) put(entry, dc::pointer(page()), 8, be);
      at = iommu::ppn_address(stored(entry));
    }
    at += dc::bytes(extended) * dc::index(extended, 0, d.id);

    std::uint64_t tc = dc::kV, second_mode = 0, first_mode = 0;
    const bool sxl = fctl(iommu::fctl::kGxl) ||
                     (config_.architecture.gxl_writable && has(iommu::cap::kSv32) && c_.one_in(4));
    bool sbe = be;
    if (has(iommu::cap::kEnd) && config_.architecture.be_writable) sbe = c_.one_in(2);
    tc |= (sxl ? dc::kSxl : 0) | (sbe ? dc::kSbe : 0);
    if (has(iommu::cap::kAmoHwad)) tc |= (c_.one_in(2) ? dc::kSade : 0) | (c_.one_in(2) ? dc::kGade : 0);
    if (c_.one_in(8)) tc |= dc::kDtf;
    Scheme second = second_scheme(second_mode);
    if (has(iommu::cap::kAts) && !c_.one_in(3)) {
      tc |= dc::kEnAts;
      d.ats = true;
      if (c_.one_in(2)) tc |= dc::kEnPri | (c_.one_in(2) ? dc::kPrpr : 0);
      if (has(iommu::cap::kT2gpa) && !second.bare() && c_.one_in(3)) tc |= dc::kT2gpa;
    }
    const std::uint64_t second_root = second.bare() ? 0 : root16k();
    const std::uint32_t pscid = next_space_++, gscid = next_space_++;
    std::uint64_t fsc = 0;
    const unsigned pdt = has(iommu::cap::kPd8) && c_.one_in(3)    ? 1
                         : has(iommu::cap::kPd20) && c_.one_in(4) ? 3
                                                                  : 0;
    if (pdt != 0) {
      tc |= dc::kPdtv | (c_.one_in(3) ? dc::kDpe : 0);
      d.processes = true;
      d.pid = static_cast<std::uint32_t>(c_.below(4));
      const Table root = table(second, second_root);
      fsc = iommu::pdtp(static_cast<iommu::PdtMode>(pdt), root.seen);
      process(d, pdt, root.real, sxl, sbe, second, second_root);
    } else {
      const Scheme first = first_scheme(sxl, first_mode);
      Table root{0, 0};
      if (!first.bare()) root = table(second, second_root);
      fsc = first_mode << 60 | root.seen >> 12;
      map_data(d, first, root.real, second, second_root, sbe);
    }
    put(at + 8, second_mode << 60 | std::uint64_t{gscid} << 44 | second_root >> 12, 8, be, kGscid);
    put(at + 16, dc::ta(pscid), 8, be, kPscid);
    put(at + 24, fsc, 8, be);
    if (extended) msi(d, at, second, be);
    put(at, tc, 8, be);
    devices_.push_back(std::move(d));
  }

  void msi(Device& d, std::uint64_t at, const Scheme& second, bool be) {
    if (second.bare() || c_.one_in(2)) return;
    const std::uint64_t table = page(), guest = 0x2'4000'0000 >> 12;
    put(at + 32, 1ull << 60 | table >> 12, 8, be);
    put(at + 40, 3, 8, be);
    put(at + 48, guest, 8, be);
    for (unsigned i = 0; i < 3; ++i) {
      if (c_.one_in(2)) {
        put(table + 16 * i, iommu::ppn_field(page()) | 7, 8, be);
      } else {
        put(table + 16 * i, (page() >> 9) << 7 | 3, 8, be);
        put(table + 16 * i + 8, iommu::ppn_field(kMailbox) | 5, 8, be);
      }
    }
    d.addresses.push_back((guest + c_.below(4)) << 12);
  }

  void process(Device& d, unsigned levels, std::uint64_t root, bool sxl, bool sbe, const Scheme& second,
               std::uint64_t second_root) {
    std::uint64_t at = root;
    for (unsigned l = levels; l-- > 1;) {
      const Table t = table(second, second_root);
      put(at, iommu::ppn_field(t.seen) | 1, 8, sbe);  // process ids below 256: index 0 above the leaf
      at = t.real;
    }
    std::uint64_t mode = 0;
    const Scheme first = first_scheme(sxl, mode);
    Table tables{0, 0};
    if (!first.bare()) tables = table(second, second_root);
    put(at + 16 * d.pid + 8, mode << 60 | tables.seen >> 12, 8, sbe);
    put(at + 16 * d.pid, iommu::pc::ta(next_space_++, c_.one_in(2), c_.one_in(2)), 8, sbe, kPscid);
    map_data(d, first, tables.real, second, second_root, sbe);
  }

  std::uint64_t root16k() {
    next_page_ = (next_page_ | 3) + 1;
    const std::uint64_t root = kBase + 0x1000 * std::uint64_t{next_page_};
    next_page_ += 3;
    return root;
  }

  Choices& c_;
  ImageMemory& memory_;
  iommu::IommuConfig config_;
  iommu::DdtMode mode_ = iommu::DdtMode::k3Lvl;
  std::uint64_t ddt_ = 0, next_guest_ = 0;
  unsigned next_page_ = 0;
  std::uint32_t next_space_ = 1;
  std::vector<Device> devices_;
  std::vector<Entry> entries_;
  std::vector<Table> tables_;
};

}  // namespace iommu_test
