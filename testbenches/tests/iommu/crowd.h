// SPDX-License-Identifier: Apache-2.0
// Everything at once on the timed IOMMU: random images, registers, commands, messages, memory faults and
// crowds of TLPs that overlap in time, drawn from any source of choices, and the laws that hold whatever they
// were. For the fuzzer and for the comparison of the modes of time.
#pragma once
#include <string>

#include "iommu/engine.h"
#include "testbenches/tests/iommu/fixture.h"
#include "testbenches/tests/iommu/random_case.h"

namespace iommu_test {

struct CrowdWorld : World, ImageMemory {
  CrowdWorld(const std::string& name, const iommu::IommuConfig& c, sim::TimeMode mode, Cycle memory_latency)
      : World(name, c, mode, memory_latency), config(c) {}
  void poke(std::uint64_t address, const std::uint8_t* bytes, std::size_t n) override {
    if (store.contains(sim::PhysAddr(address), n)) store.write(sim::PhysAddr(address), {bytes, n});
  }
  const iommu::IommuConfig config;
};

/// A configuration with short latencies, zeros among them, and small queues.
inline iommu::IommuConfig crowd_configuration(std::uint64_t seed) {
  struct NoMemory final : ImageMemory {
    void poke(std::uint64_t, const std::uint8_t*, std::size_t) override {}
  } nowhere;
  StreamChoices c(seed);
  iommu::IommuConfig config = RandomCase(c, nowhere).config();
  for (Cycle* latency :
       {&config.lookup_cycles, &config.walk_start_cycles, &config.walk_step_cycles, &config.forward_cycles,
        &config.command_fetch_cycles, &config.command_cycles, &config.invalidate_scan_cycles,
        &config.fence_cycles, &config.fault_cycles, &config.interrupt_cycles, &config.register_cycles}) {
    *latency = c.below(4);
  }
  config.lookup_interval = 1 + c.below(3);
  config.invalidate_indexed = c.one_in(2);
  config.hit_under_miss = !c.one_in(4);
  config.miss_queue = static_cast<unsigned>(1 + c.below(8));
  config.input_queue = static_cast<unsigned>(1 + c.below(16));
  return config;
}

/// One life of the IOMMU of a world, from reset to reset. Operations happen between runs of the world's time.
class Crowd {
 public:
  Crowd(CrowdWorld& world, Choices& choices) : w_(world), c_(choices), case_(choices, world) {
    case_.adopt(w_.config);
    before_ = w_.stats();
  }

  void start() {
    namespace r = iommu::reg;
    const std::uint64_t ddtp = case_.image(1 + static_cast<unsigned>(c_.below(3)));
    write(r::kIcvec, 8, c_.word());
    for (unsigned v = 0; v < 4; ++v) write(r::msi_addr(v), 8, RandomCase::kMailbox + 16 * v);
    write(r::kCqb, 8, iommu::queue_base(case_.page(), 3));
    write(r::kFqb, 8, iommu::queue_base(case_.page(), static_cast<unsigned>(1 + c_.below(4))));
    write(r::kPqb, 8, iommu::queue_base(case_.page(), static_cast<unsigned>(1 + c_.below(3))));
    for (const std::uint32_t csr : {r::kCqcsr, r::kFqcsr, r::kPqcsr}) write(csr, 4, 1 + 2 * c_.below(2));
    write(r::kDdtp, 8, ddtp);
  }

  /// One operation at `now`, the world's time; the cycles to run until the next.
  Cycle step(Cycle now) {
    now_ = now;
    Cycle least = 1;
    switch (c_.below(16)) {
      case 0:
        least = any_register();
        break;
      case 1:
        debug_translation();
        break;
      case 2:
      case 3:
        least = command(case_.command());
        break;
      case 4:
        case_.disturb();
        break;
      case 5:
        w_.unit.receive(case_.page_request());
        break;
      case 6:
        w_.unit.receive(iommu::InvalidationCompletion{static_cast<std::uint16_t>(c_.below(256)), false, 0,
                                                      static_cast<std::uint32_t>(c_.below(8)),
                                                      static_cast<std::uint8_t>(c_.below(8))});
        break;
      case 7:
        bad_range();
        break;
      case 8:
        untimed();
        break;
      case 9:
        acknowledge();
        break;
      default:
        for (std::uint64_t n = 1 + c_.below(6); n > 0; --n) send();
        break;
    }
    return least + (c_.one_in(2) ? c_.below(8) : c_.below(512));
  }

  /// The memory is sound again and the queues are off: from here on the module must come to rest.
  void switch_off() {
    namespace r = iommu::reg;
    w_.memory.bad.clear();
    for (const std::uint32_t csr : {r::kCqcsr, r::kFqcsr, r::kPqcsr}) write(csr, 4, 0);
  }
  bool at_rest() const { return w_.unit.idle() && w_.device.done.size() == sent_; }

  /// The first law that does not hold at rest, or an empty text.
  std::string broken_law() const {
    for (const Completion& done : w_.device.done) {
      if (done.status != sim::CompletionStatus::kSuccess &&
          done.status != sim::CompletionStatus::kUnsupportedRequest &&
          done.status != sim::CompletionStatus::kCompleterAbort)
        return "a status that PCIe does not have";
    }
    for (const iommu::Fault& fault : w_.faults) {
      if (!exists(fault.cause)) return "a cause that the architecture does not have";
    }
    if (w_.memory.seen.size() != w_.translated.size()) return "what reaches memory was translated";
    const auto after = w_.stats();
    const auto grown = [&](const char* name) { return after.at(name) - before_.at(name); };
    if (grown("iotlb.lookups") != grown("iotlb.hits") + grown("iotlb.misses"))
      return "lookups are hits and misses";
    if (grown("forwarded") != static_cast<double>(w_.translated.size())) return "forwarded = translated";
    if (grown("refused") != static_cast<double>(w_.faults.size())) return "refused = faults";
    if (grown("requests") < grown("forwarded") + grown("refused")) return "requests are answered once";
    if (grown("faults") < grown("faults.recorded")) return "records are of faults";
    return {};
  }

  /// A later life finds the IOMMU as after power-up and its memory empty. Precondition: at_rest().
  void leave() {
    iommu::Engine::of(w_.unit).reset();
    w_.store.discard(sim::PhysAddr(kDram), w_.store.bytes());
    w_.device.done.clear();
    w_.memory.seen.clear();
    w_.memory.walked.clear();
    w_.translated.clear();
    w_.faults.clear();
    w_.invalidations.clear();
    w_.fences.clear();
  }

 private:
  /// A cause of the table in "Fault/Event-Queue".
  static bool exists(iommu::Cause cause) {
    const auto c = static_cast<unsigned>(cause);
    return (c >= 256 && c <= 274) || c == 1 || (c >= 4 && c <= 7) || c == 12 || c == 13 || c == 15 ||
           c == 20 || c == 21 || c == 23;
  }
  void write(std::uint32_t offset, unsigned bytes, std::uint64_t value) {
    w_.registers.write(offset, bytes, value);
  }
  std::uint64_t read(std::uint32_t offset, unsigned bytes) { return w_.registers.read(offset, bytes); }
  /// Cycles until the timed register port takes another access for certain.
  static constexpr Cycle kRegisterGap = 8;

  Cycle any_register() {
    const auto offset = static_cast<std::uint32_t>(c_.one_in(8) ? c_.below(0x1000) : 4 * c_.below(0x100));
    const unsigned bytes = c_.one_in(2) ? 4 : 8;
    const std::uint64_t value = c_.one_in(2) ? c_.word() : c_.below(256);
    switch (c_.below(3)) {
      case 0:
        w_.registers.write_at(now_ + 1, offset, bytes, value);
        return kRegisterGap;
      case 1:
        read(offset, bytes);
        return 1;
      default:
        write(offset, bytes, value);
        return 1;
    }
  }

  void debug_translation() {
    const iommu::Request r = case_.request();
    write(iommu::reg::kTrReqIova, 8, r.iova);
    write(iommu::reg::kTrReqCtl, 8,
          std::uint64_t{r.device_id} << 40 | std::uint64_t{r.has_process_id} << 32 |
              std::uint64_t{r.process_id} << 12 | c_.below(8) << 1 | 1);
  }

  Cycle command(iommu::Command c) {
    namespace r = iommu::reg;
    const std::uint64_t base = read(r::kCqb, 8), tail = read(r::kCqt, 4);
    const bool big_endian = (read(r::kFctl, 4) & iommu::fctl::kBe) != 0;
    std::uint8_t raw[16];
    iommu::store64(raw, c.dw0, big_endian);
    iommu::store64(raw + 8, c.dw1, big_endian);
    w_.poke(iommu::ppn_address(base) + 16 * tail, raw, 16);
    w_.registers.write_at(now_ + 1, r::kCqt, 4, tail + 1);
    return kRegisterGap;
  }

  void acknowledge() {
    namespace r = iommu::reg;
    write(r::kFqh, 4, read(r::kFqt, 4));
    write(r::kPqh, 4, read(r::kPqt, 4));
    write(r::kIpsr, 4, c_.below(16));
    const std::uint32_t flags = c_.one_in(2) ? 0xf03 : static_cast<std::uint32_t>(c_.below(4));
    for (const std::uint32_t csr : {r::kCqcsr, r::kFqcsr, r::kPqcsr}) write(csr, 4, flags);
  }

  void bad_range() {
    w_.memory.bad.clear();
    if (c_.one_in(3)) return;
    const std::uint64_t start = kDram + 0x1000 * c_.below(128), bytes = 0x1000 + c_.below(0x4000);
    w_.memory.bad.push_back(
        {start, bytes, c_.pick({BadRange::Kind::kAccess, BadRange::Kind::kPoison, BadRange::Kind::kWrite})});
  }

  static void set_tag(sim::Transaction& t, const iommu::Request& r, bool posted) {
    t.tag.requester = sim::RequesterId(r.device_id);
    t.tag.has_process_id = r.has_process_id;
    t.tag.process_id = r.process_id;
    t.tag.privileged = r.privileged;
    t.tag.execute = r.execute;
    t.tag.address_type = r.address_type;
    t.tag.posted = posted;
  }

  /// Some of them cross a page, which the IOMMU must refuse.
  std::uint32_t length_of(const iommu::Request& r) {
    if (r.is_ats()) return 8;
    return c_.one_in(2) ? 4 : static_cast<std::uint32_t>(1 + c_.below(256));
  }
  iommu::Request request() {
    iommu::Request r = case_.request();
    if (r.is_ats()) r.write = false;
    return r;
  }

  void send() {
    const iommu::Request r = request();
    const bool posted = r.write && !c_.one_in(4);
    w_.device.send(now_ + 1, r.device_id, r.write, r.iova, posted, length_of(r));
    sim::Transaction& t = w_.device.last();
    set_tag(t, r, posted);
    const auto identity = static_cast<std::uint32_t>(c_.below(2304));  // of an interrupt file, or beyond
    const bool big_endian = c_.one_in(4);
    if (r.write && t.get_data_length() >= 4) iommu::store32(t.get_data_ptr(), identity, big_endian);
    ++sent_;
  }

  /// The loosely timed and the debug path in the middle of it.
  void untimed() {
    const iommu::Request r = request();
    sim::Transaction* t = w_.sim.payloads().acquire(r.write ? tlm::TLM_WRITE_COMMAND : tlm::TLM_READ_COMMAND,
                                                    r.iova, length_of(r));
    std::memset(t->get_data_ptr(), 0x5a, t->get_data_length());
    set_tag(*t, r, false);
    sc_core::sc_time delay;
    if (c_.one_in(2)) {
      w_.device.dma->b_transport(*t, delay);
    } else {
      w_.device.dma->transport_dbg(*t);
    }
    t->release();
  }

  CrowdWorld& w_;
  Choices& c_;
  RandomCase case_;
  std::map<std::string, double> before_;
  std::size_t sent_ = 0;
  Cycle now_ = 0;
};

}  // namespace iommu_test
