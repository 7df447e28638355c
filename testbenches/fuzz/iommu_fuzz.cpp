// SPDX-License-Identifier: Apache-2.0
// libFuzzer target: the IOMMU's core (registers, walks, queues, commands, counters) against random memory
// images, register writes, commands, messages and requests. Found by the sanitizers, by the model's
// assertions, or here: the outcome that walks everything and the outcome of the caches must agree after a
// complete invalidation, a refusal must carry a cause that exists, and every settle() must end.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "iommu/core.h"
#include "sim/error.h"
#include "testbenches/conform/case_memory.h"
#include "testbenches/tests/iommu/random_case.h"

namespace {

using iommu_test::ByteChoices;
using iommu_test::RandomCase;

struct Image final : iommu_test::ImageMemory {
  explicit Image(conform::CaseMemory& m) : memory(m) {}
  void poke(std::uint64_t address, const std::uint8_t* bytes, std::size_t n) override {
    memory.poke(address, bytes, n);
  }
  conform::CaseMemory& memory;
};

/// Notices atomic updates: the outcome of a walk that made one may differ from the next one's, where tables
/// overlap.
struct Watched final : iommu::Memory {
  explicit Watched(conform::CaseMemory& m) : memory(m) {}
  iommu::MemoryStatus read(std::uint64_t address, std::span<std::uint8_t> into) override {
    return memory.read(address, into);
  }
  iommu::MemoryStatus write(std::uint64_t address, std::span<const std::uint8_t> from) override {
    return memory.write(address, from);
  }
  iommu::MemoryStatus compare_exchange(std::uint64_t address, unsigned bytes, std::uint64_t expected,
                                       std::uint64_t desired, bool& swapped) override {
    const auto status = memory.compare_exchange(address, bytes, expected, desired, swapped);
    updated = updated || swapped;
    refused = refused || status != iommu::MemoryStatus::kOk;
    return status;
  }
  conform::CaseMemory& memory;
  bool updated = false, refused = false;
};

void require(bool law, int line = __builtin_LINE()) {
  if (law) return;
  std::fprintf(stderr, "iommu_fuzz.cpp:%d: law broken\n", line);
  std::abort();
}

/// A cause of the table in "Fault/Event-Queue".
void require_known(iommu::Cause cause) {
  const auto c = static_cast<unsigned>(cause);
  require((c >= 256 && c <= 274) || c == 0 || c == 1 || (c >= 4 && c <= 7) || c == 12 || c == 13 || c == 15 ||
          c == 20 || c == 21 || c == 23);
}

class Run {
 public:
  explicit Run(ByteChoices& choices) : c_(choices), image_(memory_), case_(choices, image_) {
    core_.emplace(case_.config(), sim::RandomStream(1, 0, "fuzz.iommu"), surroundings_);
  }

  void start() {
    namespace r = iommu::reg;
    const std::uint64_t ddtp = case_.image(1 + static_cast<unsigned>(c_.below(3)));
    write(r::kIcvec, 8, c_.word());
    for (unsigned v = 0; v < 4; ++v) {
      write(r::msi_addr(v), 8, RandomCase::kMailbox + 16 * v);
      write(r::msi_data(v), 4, v);
    }
    write(r::kCqb, 8, iommu::queue_base(cq_ = case_.page(), 3));
    write(r::kFqb, 8, iommu::queue_base(case_.page(), static_cast<unsigned>(1 + c_.below(4))));
    write(r::kPqb, 8, iommu::queue_base(case_.page(), static_cast<unsigned>(1 + c_.below(3))));
    for (const std::uint32_t csr : {r::kCqcsr, r::kFqcsr, r::kPqcsr}) write(csr, 4, 1 + 2 * c_.below(2));
    write(r::kDdtp, 8, ddtp);
  }

  void step() {
    switch (c_.below(10)) {
      case 0:
        return write_anywhere();
      case 1:
        return command(case_.command());
      case 2:
        return case_.disturb();
      case 3:
        return page_request();
      case 4:
        core_->invalidation_completion({static_cast<std::uint16_t>(c_.below(256)), false, 0,
                                        static_cast<std::uint32_t>(c_.below(8)),
                                        static_cast<std::uint8_t>(c_.below(8))});
        if (c_.one_in(2)) core_->invalidation_timeout(static_cast<std::uint32_t>(c_.below(4)));
        return core_->settle(memory_);
      case 5:
        memory_.clear_faults();
        if (c_.one_in(2)) {
          memory_.add_fault(
              case_.page() & ~0xfffull, 1 + c_.below(0x4000),
              c_.pick({conform::CaseMemory::FaultKind::kAccess, conform::CaseMemory::FaultKind::kCorrupt,
                       conform::CaseMemory::FaultKind::kWrite}));
        }
        return;
      case 6:
        return compare();
      default:
        return translate();
    }
  }

 private:
  struct Quiet final : iommu::Surroundings {};

  void write(std::uint32_t offset, unsigned bytes, std::uint64_t value) {
    core_->write_register(offset, bytes, value);
    core_->settle(memory_);
  }

  void write_anywhere() {
    const auto offset = static_cast<std::uint32_t>(c_.one_in(8) ? c_.below(0x1004) : 4 * c_.below(0x100));
    const unsigned bytes = c_.one_in(2) ? 4 : 8;
    const std::uint64_t value = c_.one_in(2) ? c_.word() : c_.below(256);
    core_->read_register(offset, bytes);
    write(offset, bytes, value);
  }

  void command(iommu::Command c) {
    const iommu::QueueRegisters& cq = core_->commands.regs;
    std::uint8_t raw[16];
    iommu::store64(raw, c.dw0, core_->env.big_endian());
    iommu::store64(raw + 8, c.dw1, core_->env.big_endian());
    memory_.poke(cq.address() + 16ull * cq.tail, raw, 16);
    write(iommu::reg::kCqt, 4, cq.tail + 1);
  }

  void page_request() {
    const iommu::PageRequest m = case_.page_request();
    const iommu::Outcome o =
        core_->translate(iommu::Core::as_request(m), memory_, iommu::Walk::CacheUse::kFull);
    require_known(o.cause);
    core_->page_request_done(m, o);
    core_->settle(memory_);
  }

  void translate() {
    const iommu::Request r = case_.request();
    const iommu::Outcome o = core_->translate(
        r, memory_, c_.one_in(4) ? iommu::Walk::CacheUse::kNone : iommu::Walk::CacheUse::kFull);
    require_known(o.cause);
    require(o.page_shift >= 12 && o.page_shift < 64);
    iommu::ats_completion_entry(r, o);
    core_->settle(memory_);
    if (c_.one_in(4)) write(iommu::reg::kFqh, 4, core_->fault_queue.regs.tail);
  }

  /// After a complete invalidation, a request has one outcome, whatever the caches keep.
  void compare() {
    core_->caches.clear();
    const iommu::Request r = case_.request();
    Watched memory(memory_);
    iommu::Outcome first;
    for (unsigned i = 0;; ++i) {
      memory.updated = false;
      first = core_->translate(r, memory, iommu::Walk::CacheUse::kNone);
      if (!memory.updated) break;
      if (i == 8) return;
    }
    const iommu::Outcome walked = core_->translate(r, memory, iommu::Walk::CacheUse::kFull);
    const iommu::Outcome cached = core_->translate(r, memory, iommu::Walk::CacheUse::kFull);
    require(!memory.updated);
    // A look without side effects cannot know that an update would be refused.
    const iommu::Outcome peeked = memory.refused ? first : core_->peek(r, memory);
    for (const iommu::Outcome* o : {&walked, &cached, &peeked}) {
      require(o->cause == first.cause);
      require(o->iotval2 == first.iotval2);
      require(o->mrif == first.mrif);
      if (!o->ok()) continue;
      require(o->address == first.address);
      require(o->page_shift == first.page_shift);
      require(o->pbmt == first.pbmt);
    }
    core_->settle(memory_);
  }

  ByteChoices& c_;
  conform::CaseMemory memory_;
  Image image_;
  RandomCase case_;
  Quiet surroundings_;
  std::optional<iommu::Core> core_;
  std::uint64_t cq_ = 0;
};

}  // namespace

/// SystemC's library asks for one; nothing here is scheduled.
int sc_main(int, char**) { return 0; }

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  ByteChoices choices(data, size);
  Run run(choices);
  run.start();
  for (unsigned i = 0; i < 64 && !choices.empty(); ++i) run.step();
  return 0;
}
