// SPDX-License-Identifier: Apache-2.0
// A small world around one IOMMU: a memory of fixed latency on both its outputs, a device that sends requests
// at given cycles and logs what comes back, and a driver that builds tables and queues commands as an
// operating system would.
#pragma once
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "iommu/iommu.h"
#include "mm/sparse_store.h"
#include "sim/simulation.h"

namespace iommu_test {

using sim::Cycle;
using sim::Tick;

inline constexpr std::uint64_t kDram = 0x8000'0000;
inline constexpr Tick kCycle = sim::kNanosecond;  // everything here runs at 1 GHz

struct Access {
  std::uint64_t address;
  bool write;
  std::uint32_t length;
  std::uint32_t requester;
  Cycle at;
  std::uint16_t rcid = 0, mcid = 0;
};

/// Addresses at which accesses of the walker port fail.
struct BadRange {
  enum class Kind : std::uint8_t { kAccess, kPoison, kWrite };
  std::uint64_t address, bytes;
  Kind kind;
  bool hits(std::uint64_t at, std::uint64_t n) const { return at < address + bytes && address < at + n; }
};

/// Answers every request `latency` cycles after the edge that sees it; data move when it is accepted.
class FixedMemory final : public sc_core::sc_module, public sim::Clocked {
 public:
  FixedMemory(sc_core::sc_module_name name, sim::Simulation& s, mm::SparseStore& store, Cycle latency)
      : sc_module(name),
        Clocked(s.timeline(), sim::Clock::from_hz(1'000'000'000)),
        store_(store),
        latency_(latency) {
    downstream.bind(ports_[0]);
    walker.bind(ports_[1]);
  }
  tlm::tlm_target_socket<64> downstream{"downstream"}, walker{"walker"};
  std::vector<Access> seen, walked;
  Cycle write_latency = 0;  // added for writes on `downstream`
  std::vector<BadRange> bad;

  sim::Wakeup tick(Cycle now) override {
    for (std::size_t i = 0; i < waiting_.size();) {
      if (waiting_[i].due > now) {
        ++i;
        continue;
      }
      const Waiting w = waiting_[i];
      waiting_.erase(waiting_.begin() + static_cast<std::ptrdiff_t>(i));
      tlm::tlm_phase phase = tlm::BEGIN_RESP;
      sc_core::sc_time delay = timeline().outgoing_delay();
      (w.walker ? walker : downstream)->nb_transport_bw(*w.payload, phase, delay);
    }
    Cycle next = sim::kNeverCycle;
    for (const Waiting& w : waiting_) next = std::min(next, w.due);
    return {next};
  }

 private:
  struct Waiting {
    tlm::tlm_generic_payload* payload;
    bool walker;
    Cycle due;
  };
  void transfer(tlm::tlm_generic_payload& p, bool walker) {
    const sim::PhysAddr a(p.get_address());
    for (const BadRange& r : bad) {
      if (!walker || !r.hits(a.value, p.get_data_length())) continue;
      const bool poison = r.kind == BadRange::Kind::kPoison;
      if (poison ? p.is_write() : r.kind == BadRange::Kind::kWrite && p.is_read()) continue;
      return sim::complete(
          p, poison ? sim::CompletionStatus::kCompleterAbort : sim::CompletionStatus::kUnsupportedRequest);
    }
    if (!store_.contains(a, p.get_data_length())) {
      // An MSI window below DRAM: accepted.
      sim::complete(p, p.is_write() && p.get_address() < kDram ? sim::CompletionStatus::kSuccess
                                                               : sim::CompletionStatus::kUnsupportedRequest);
      return;
    }
    if (p.is_write())
      store_.write(a, {p.get_data_ptr(), p.get_data_length()});
    else
      store_.read(a, {p.get_data_ptr(), p.get_data_length()});
    sim::complete(p, sim::CompletionStatus::kSuccess);
  }
  struct Port final : tlm::tlm_fw_transport_if<> {
    Port(FixedMemory& m, bool walker) : memory(m), walker(walker) {}
    tlm::tlm_sync_enum nb_transport_fw(tlm::tlm_generic_payload& p, tlm::tlm_phase& phase,
                                       sc_core::sc_time& delay) override {
      const Tick arrival = memory.timeline().incoming(delay);
      (walker ? memory.walked : memory.seen)
          .push_back({p.get_address(), p.is_write(), p.get_data_length(), sim::tag_of(p).requester.value,
                      memory.clock().at_or_before(arrival), sim::tag_of(p).rcid, sim::tag_of(p).mcid});
      memory.transfer(p, walker);
      const Cycle extra = !walker && p.is_write() ? memory.write_latency : 0;
      const Cycle due = memory.clock().after(arrival) + memory.latency_ + extra;
      memory.wake_by(memory.clock().edge(due));
      memory.waiting_.push_back({&p, walker, due});
      phase = tlm::END_REQ;
      return tlm::TLM_UPDATED;
    }
    void b_transport(tlm::tlm_generic_payload& p, sc_core::sc_time& delay) override {
      memory.transfer(p, walker);
      delay += sim::Timeline::to_sc_time(memory.clock().span(memory.latency_));
    }
    unsigned transport_dbg(tlm::tlm_generic_payload& p) override {
      memory.transfer(p, walker);
      return p.is_response_ok() ? p.get_data_length() : 0;
    }
    bool get_direct_mem_ptr(tlm::tlm_generic_payload&, tlm::tlm_dmi&) override { return false; }
    FixedMemory& memory;
    bool walker;
  };
  mm::SparseStore& store_;
  Cycle latency_;
  Port ports_[2] = {{*this, false}, {*this, true}};
  std::vector<Waiting> waiting_;
};

struct Completion {
  std::uint64_t tag;
  std::uint64_t address;
  sim::CompletionStatus status;
  Cycle at;
  std::uint64_t data;
};

/// Sends what it was given, each at its cycle (or later when the IOMMU is full).
class TestDevice final : public sc_core::sc_module, public sim::Clocked, public tlm::tlm_bw_transport_if<> {
 public:
  TestDevice(sc_core::sc_module_name name, sim::Simulation& s)
      : sc_module(name), Clocked(s.timeline(), sim::Clock::from_hz(1'000'000'000)), sim_(s) {
    dma.bind(*this);
  }
  tlm::tlm_initiator_socket<64> dma{"dma"};
  std::vector<Completion> done;

  /// Queues a request; `at` must not decrease. Returns its tag.
  std::uint64_t send(Cycle at, std::uint32_t requester, bool write, std::uint64_t iova, bool posted = true,
                     std::uint32_t length = 64) {
    sim::Transaction* t =
        sim_.payloads().acquire(write ? tlm::TLM_WRITE_COMMAND : tlm::TLM_READ_COMMAND, iova, length);
    t->tag.requester = sim::RequesterId(requester);
    t->tag.posted = write && posted;
    t->user[0] = ++tags_;
    for (std::uint32_t i = 0; write && i < length; ++i)
      t->get_data_ptr()[i] = static_cast<std::uint8_t>(tags_ + i);
    queue_.push_back({t, at});
    wake_by(clock().edge(at));
    return tags_;
  }
  sim::Transaction& last() { return *queue_.back().transaction; }

  sim::Wakeup tick(Cycle now) override {
    while (!queue_.empty() && !full_ && queue_.front().at <= now && now >= go_at_) {
      sim::Transaction* t = queue_.front().transaction;
      queue_.pop_front();
      tlm::tlm_phase phase = tlm::BEGIN_REQ;
      sc_core::sc_time delay = timeline().outgoing_delay();
      switch (dma->nb_transport_fw(*t, phase, delay)) {
        case tlm::TLM_ACCEPTED:
          full_ = true;
          break;
        case tlm::TLM_UPDATED:
          break;
        case tlm::TLM_COMPLETED:
          finish(*t, now);
          break;
      }
    }
    return queue_.empty() || full_ ? sim::Wakeup::never()
                                   : sim::Wakeup::at(std::max(queue_.front().at, go_at_));
  }
  tlm::tlm_sync_enum nb_transport_bw(tlm::tlm_generic_payload& p, tlm::tlm_phase& phase,
                                     sc_core::sc_time& delay) override {
    const Tick arrival = timeline().incoming(delay);
    if (phase == tlm::END_REQ) {
      full_ = false;
      go_at_ = poke(arrival);
      return tlm::TLM_ACCEPTED;
    }
    finish(static_cast<sim::Transaction&>(p), clock().at_or_before(arrival));
    return tlm::TLM_COMPLETED;
  }
  void invalidate_direct_mem_ptr(sc_dt::uint64, sc_dt::uint64) override {}
  const Completion* completion(std::uint64_t tag) const {
    for (const Completion& c : done) {
      if (c.tag == tag) return &c;
    }
    return nullptr;
  }

 private:
  void finish(sim::Transaction& t, Cycle at) {
    std::uint64_t data = 0;
    std::memcpy(&data, t.get_data_ptr(), std::min<std::size_t>(8, t.get_data_length()));
    done.push_back({t.user[0], t.get_address(), t.tag.status, at, data});
    t.release();
  }
  struct Planned {
    sim::Transaction* transaction;
    Cycle at;
  };
  sim::Simulation& sim_;
  std::deque<Planned> queue_;
  bool full_ = false;
  Cycle go_at_ = 0;
  std::uint64_t tags_ = 0;
};

/// The register socket's initiator: register accesses outside simulated time (b_transport) or at a cycle.
class RegisterPort final : public sc_core::sc_module, public sim::Clocked, public tlm::tlm_bw_transport_if<> {
 public:
  RegisterPort(sc_core::sc_module_name name, sim::Simulation& s)
      : sc_module(name), Clocked(s.timeline(), sim::Clock::from_hz(1'000'000'000)), sim_(s) {
    socket.bind(*this);
  }
  tlm::tlm_initiator_socket<64> socket{"socket"};
  void write(std::uint32_t offset, unsigned bytes, std::uint64_t value) {
    sim::Transaction* t = sim_.payloads().acquire(tlm::TLM_WRITE_COMMAND, offset, bytes);
    std::memcpy(t->get_data_ptr(), &value, bytes);
    sc_core::sc_time delay;
    socket->b_transport(*t, delay);
    t->release();
  }
  std::uint64_t read(std::uint32_t offset, unsigned bytes) {
    sim::Transaction* t = sim_.payloads().acquire(tlm::TLM_READ_COMMAND, offset, bytes);
    sc_core::sc_time delay;
    socket->b_transport(*t, delay);
    std::uint64_t value = 0;
    std::memcpy(&value, t->get_data_ptr(), bytes);
    t->release();
    return value;
  }
  /// A timed write that leaves at cycle `at`; calls must ascend.
  void write_at(Cycle at, std::uint32_t offset, unsigned bytes, std::uint64_t value) {
    sim::Transaction* t = sim_.payloads().acquire(tlm::TLM_WRITE_COMMAND, offset, bytes);
    std::memcpy(t->get_data_ptr(), &value, bytes);
    queue_.push_back({t, at});
    wake_by(clock().edge(at));
  }
  sim::Wakeup tick(Cycle now) override {
    while (!queue_.empty() && queue_.front().second <= now) {
      sim::Transaction* t = queue_.front().first;
      queue_.pop_front();
      tlm::tlm_phase phase = tlm::BEGIN_REQ;
      sc_core::sc_time delay = timeline().outgoing_delay();
      socket->nb_transport_fw(*t, phase, delay);
    }
    return queue_.empty() ? sim::Wakeup::never() : sim::Wakeup::at(queue_.front().second);
  }
  tlm::tlm_sync_enum nb_transport_bw(tlm::tlm_generic_payload& p, tlm::tlm_phase& phase,
                                     sc_core::sc_time&) override {
    if (phase != tlm::BEGIN_RESP) return tlm::TLM_ACCEPTED;
    static_cast<sim::Transaction&>(p).release();
    return tlm::TLM_COMPLETED;
  }
  void invalidate_direct_mem_ptr(sc_dt::uint64, sc_dt::uint64) override {}

 private:
  sim::Simulation& sim_;
  std::deque<std::pair<sim::Transaction*, Cycle>> queue_;
};

/// Everything together. Device ids used by the tests get contexts by attach().
struct World {
  /// `direct`: `device` is bound to the IOMMU; else the caller binds somebody else.
  explicit World(const std::string& name, iommu::IommuConfig config = {}, sim::TimeMode mode = {},
                 Cycle memory_latency = 20, bool direct = true)
      : sim(name, {1, 0, mode}),
        store(sim::PhysAddr(kDram), 64 << 20),
        memory((name + "_memory").c_str(), sim, store, memory_latency),
        unit((name + "_iommu").c_str(), sim, config),
        device((name + "_device").c_str(), sim),
        registers((name + "_registers").c_str(), sim) {
    if (direct) device.dma.bind(unit.device);
    registers.socket.bind(unit.registers);
    unit.downstream.bind(memory.downstream);
    unit.walker.bind(memory.walker);
    unit.translated.subscribe([this](const iommu::Translated& e) { translated.push_back(e); });
    unit.faulted.subscribe([this](const iommu::Fault& e) { faults.push_back(e); });
    unit.invalidated.subscribe([this](const iommu::Invalidate& e) { invalidations.push_back(e); });
    unit.fence_done.subscribe([this](const iommu::FenceDone& e) { fences.push_back(e); });
  }

  std::uint64_t page() { return next_page += 0x1000; }
  std::uint64_t load(std::uint64_t a) { return store.load<std::uint64_t>(sim::PhysAddr(a)); }
  void put(std::uint64_t a, std::uint64_t v) { store.store<std::uint64_t>(sim::PhysAddr(a), v); }

  /// Queues of 2^log2 entries, all enabled; a three-level device directory.
  void start(unsigned log2 = 8, bool fault_interrupt = false) {
    namespace r = iommu::reg;
    cq = page();
    next_page += 0x1000;
    fq = page();
    next_page += 0x2000;
    registers.write(r::kIcvec, 8, 0x10);  // civ 0, fiv 1
    registers.write(r::msi_addr(1), 8, 0x2400'0000);
    registers.write(r::msi_data(1), 4, 0x55);
    registers.write(r::kCqb, 8, iommu::queue_base(cq, log2));
    registers.write(r::kCqcsr, 4, iommu::qcsr::kEnable);
    registers.write(r::kFqb, 8, iommu::queue_base(fq, log2));
    registers.write(r::kFqcsr, 4,
                    iommu::qcsr::kEnable | (fault_interrupt ? iommu::qcsr::kInterruptEnable : 0u));
    ddt = page();
    registers.write(r::kDdtp, 8, iommu::ddtp(iommu::DdtMode::k3Lvl, ddt));
    cq_mask = (1u << log2) - 1;
  }
  std::uint64_t table_below(std::uint64_t entry_address) {
    if ((load(entry_address) & 1) == 0) put(entry_address, iommu::pte::pointer(page()));
    return iommu::pte::address(load(entry_address));
  }
  /// Gives `did` an Sv39 (Sv48, Sv57) first stage of its own with this PSCID.
  void attach(std::uint32_t did, std::uint32_t pscid, std::uint64_t tc = 0,
              iommu::SatpMode mode = iommu::SatpMode::kSv39) {
    std::uint64_t table = ddt;
    for (unsigned level = 2; level > 0; --level) {
      table = table_below(table + 8 * iommu::dc::index(false, level, did));
    }
    const std::uint64_t dc = table + 32 * iommu::dc::index(false, 0, did);
    if (roots.size() <= pscid) roots.resize(pscid + 1, 0);
    if (roots[pscid] == 0) roots[pscid] = page();
    put(dc + 8, 0);
    put(dc + 16, iommu::dc::ta(pscid));
    put(dc + 24, iommu::iosatp(mode, roots[pscid]));
    put(dc, iommu::dc::kV | tc);
  }
  /// Address of the leaf entry of `iova` (level 0: 4 KiB, 1: 2 MiB, 2: 1 GiB), with the tables above it.
  std::uint64_t leaf_entry(std::uint32_t pscid, std::uint64_t iova, unsigned level = 0, unsigned levels = 3) {
    std::uint64_t table = roots[pscid];
    for (unsigned l = levels - 1; l > level; --l)
      table = table_below(table + 8 * ((iova >> (12 + 9 * l)) & 511));
    return table + 8 * ((iova >> (12 + 9 * level)) & 511);
  }
  static constexpr std::uint64_t kRw =
      iommu::pte::kR | iommu::pte::kW | iommu::pte::kU | iommu::pte::kA | iommu::pte::kD;
  void map(std::uint32_t pscid, std::uint64_t iova, std::uint64_t phys, std::uint64_t flags = kRw,
           unsigned level = 0) {
    put(leaf_entry(pscid, iova, level), iommu::pte::leaf(phys, flags));
  }
  /// Stores a command at the tail; the doorbell is separate.
  void queue_command(iommu::Command c) {
    put(cq + 16 * cq_tail, c.dw0);
    put(cq + 16 * cq_tail + 8, c.dw1);
    cq_tail = (cq_tail + 1) & cq_mask;
  }
  void ring() { registers.write(iommu::reg::kCqt, 4, cq_tail); }
  void ring_at(Cycle at) { registers.write_at(at, iommu::reg::kCqt, 4, cq_tail); }
  void run(Cycle cycles) { sim.timeline().run_until(sim.now() + cycles * kCycle); }
  Cycle now() { return sim.now() / kCycle; }
  std::map<std::string, double> stats() {
    std::map<std::string, double> m;
    unit.stats([&](std::string_view name, double v, std::string_view) { m[std::string(name)] = v; });
    return m;
  }
  iommu::FaultRecord record(unsigned i) {
    iommu::FaultRecord r;
    for (int w = 0; w < 4; ++w) r.dw[w] = load(fq + 32 * i + 8 * static_cast<unsigned>(w));
    return r;
  }

  sim::Simulation sim;
  mm::SparseStore store;
  FixedMemory memory;
  iommu::Iommu unit;
  TestDevice device;
  RegisterPort registers;
  std::vector<iommu::Translated> translated;
  std::vector<iommu::Fault> faults;
  std::vector<iommu::Invalidate> invalidations;
  std::vector<iommu::FenceDone> fences;
  std::uint64_t next_page = kDram, cq = 0, fq = 0, ddt = 0;
  std::uint32_t cq_tail = 0, cq_mask = 0;
  std::vector<std::uint64_t> roots;
};

}  // namespace iommu_test
