// SPDX-License-Identifier: Apache-2.0
// Random configurations, images, requests, commands and memory faults: the timed module with all its caches
// must answer as the core that walks everything, the registers of the debug interface as both, the same bytes
// must be in memory at the end, and the performance monitor must have counted what the statistics say.
#include <gtest/gtest.h>

#include "iommu/core.h"
#include "testbenches/tests/iommu/fixture.h"
#include "testbenches/tests/iommu/random_case.h"

namespace {

using iommu::Outcome;
using iommu::Request;
using iommu_test::BadRange;
using iommu_test::RandomCase;
using iommu_test::World;
namespace cmd = iommu::cmd;
namespace reg = iommu::reg;

constexpr std::uint64_t kBytes = 64 << 20;
constexpr std::uint64_t kImage = 24 << 20;  // tables and queues lie below

/// The same memory as FixedMemory, at once.
class ReferenceMemory final : public iommu::Memory {
 public:
  explicit ReferenceMemory(const std::vector<BadRange>& bad)
      : store(sim::PhysAddr(iommu_test::kDram), kBytes), bad_(bad) {}
  iommu::MemoryStatus read(std::uint64_t address, std::span<std::uint8_t> into) override {
    const auto status = check(address, into.size(), false);
    if (status == iommu::MemoryStatus::kOk) store.read(sim::PhysAddr(address), into);
    return status;
  }
  iommu::MemoryStatus write(std::uint64_t address, std::span<const std::uint8_t> from) override {
    const auto status = check(address, from.size(), true);
    if (status == iommu::MemoryStatus::kOk && store.contains(sim::PhysAddr(address), from.size())) {
      store.write(sim::PhysAddr(address), from);
    }
    return status;
  }
  iommu::MemoryStatus compare_exchange(std::uint64_t address, unsigned bytes, std::uint64_t expected,
                                       std::uint64_t desired, bool& swapped) override {
    std::uint64_t now = 0;
    auto* raw = reinterpret_cast<std::uint8_t*>(&now);
    const auto status = read(address, {raw, bytes});
    if (status != iommu::MemoryStatus::kOk) return status;
    swapped = now == expected;
    if (!swapped) return status;
    updated.push_back(address);
    return write(address, {reinterpret_cast<const std::uint8_t*>(&desired), bytes});
  }

  mm::SparseStore store;
  std::vector<std::uint64_t> updated;  ///< by atomic updates

 private:
  iommu::MemoryStatus check(std::uint64_t address, std::size_t bytes, bool write) const {
    for (const BadRange& r : bad_) {
      if (!r.hits(address, bytes)) continue;
      if (r.kind == BadRange::Kind::kPoison && !write) return iommu::MemoryStatus::kPoison;
      if (r.kind == BadRange::Kind::kAccess || (r.kind == BadRange::Kind::kWrite && write)) {
        return iommu::MemoryStatus::kAccessFault;
      }
    }
    if (store.contains(sim::PhysAddr(address), bytes) || (write && address < iommu_test::kDram)) {
      return iommu::MemoryStatus::kOk;
    }
    return iommu::MemoryStatus::kAccessFault;
  }
  const std::vector<BadRange>& bad_;
};

iommu::IommuConfig configuration(RandomCase& c) {
  iommu::IommuConfig config = c.config();
  config.architecture.hpm_counters = 10;
  config.architecture.hpm_counter_bits = 64;
  return config;
}

/// One case on both sides.
class Case final : public iommu_test::ImageMemory, public iommu::Surroundings {
 public:
  explicit Case(std::uint64_t seed)
      : name_("case" + std::to_string(seed)),
        choices_(seed),
        random_(choices_, *this),
        config_(configuration(random_)),
        world_(name_, config_),
        memory_(world_.memory.bad),
        core_(config_, sim::RandomStream(1, 0, "reference"), *this) {}

  void poke(std::uint64_t address, const std::uint8_t* bytes, std::size_t n) override {
    if (!memory_.store.contains(sim::PhysAddr(address), n)) return;  // a damaged pointer led out of memory
    world_.store.write(sim::PhysAddr(address), {bytes, n});
    memory_.store.write(sim::PhysAddr(address), {bytes, n});
  }

  void start() {
    const std::uint64_t ddtp = random_.image(1 + static_cast<unsigned>(choices_.below(3)));
    write(reg::kIcvec, 8, choices_.word());
    for (unsigned v = 0; v < 16; ++v) write(reg::msi_addr(v), 8, RandomCase::kMailbox + 16 * v);
    write(reg::kCqb, 8, iommu::queue_base(queue_page(), 6));
    write(reg::kFqb, 8, iommu::queue_base(queue_page(), 5));
    write(reg::kPqb, 8, iommu::queue_base(queue_page(), 2));
    for (const std::uint32_t csr : {reg::kCqcsr, reg::kFqcsr, reg::kPqcsr})
      write(csr, 4, 1 + 2 * choices_.below(2));
    for (unsigned n = 1; n <= 3; ++n) {  // the first three events, sometimes of one device or process only
      const std::uint64_t filter = choices_.one_in(2) ? 0 : choices_.below(4) << 60 | choices_.below(3) << 36;
      write(reg::kIohpmevt + 8 * (n - 1), 8, n | filter);
    }
    for (unsigned n = 4; n <= 8; ++n) write(reg::kIohpmevt + 8 * (n - 1), 8, n);
    write(reg::kDdtp, 8, ddtp);
  }

  /// Begins an operation; the world has run it after World::run(). Afterwards, check().
  void begin() {
    memory_.updated.clear();
    landed_ = false;
    pending_ = nullptr;
    what_.clear();
    if (over_) return;
    switch (choices_.below(12)) {
      case 0:
        what_ = "command";
        return command(random_.command());
      case 1:
        what_ = "change of the image";
        random_.disturb();
        return forget_everything();
      case 2:
        what_ = "page request";
        return page_request();
      case 3:
        what_ = "memory fault";
        bad_range();
        return forget_everything();
      case 4:
        what_ = "interrupt acknowledge";
        write(reg::kIpsr, 4, choices_.below(16));
        return write(reg::kFqh, 4, core_.fault_queue.regs.tail);
      case 5:
        what_ = "error acknowledge";
        for (const std::uint32_t csr : {reg::kCqcsr, reg::kFqcsr, reg::kPqcsr}) write(csr, 4, 0xf03);
        return;
      case 6:
      case 7:
        return debug();
      default:
        return translate();
    }
  }

  /// The reference follows once the world has settled, so that both see the same memory before.
  void check() {
    if (over_ || ::testing::Test::HasFailure()) return;
    if (pending_ != nullptr) compare_translation();
    for (const std::uint32_t r :
         {reg::kCqh, reg::kCqt, reg::kFqt, reg::kPqt, reg::kCqcsr, reg::kFqcsr, reg::kPqcsr, reg::kIpsr}) {
      ASSERT_EQ(world_.registers.read(r, 4), core_.read_register(r, 4))
          << name_ << ", " << what_ << ", register " << r;
    }
    ASSERT_TRUE(world_.unit.idle()) << name_ << ", " << what_;
    // An update somewhere else than in an entry, or a device's write, may have hit a table.
    const bool elsewhere = std::any_of(memory_.updated.begin(), memory_.updated.end(),
                                       [&](std::uint64_t a) { return !random_.is_entry(a); });
    dirty_ = landed_ || elsewhere;
  }

  /// Between operations: what changed behind the caches' back is invalidated.
  bool clean() {
    if (!dirty_ || over_) return false;
    what_ = "invalidation";
    dirty_ = false;
    memory_.updated.clear();
    landed_ = false;
    pending_ = nullptr;
    forget_everything();
    return true;
  }

  void finish() {
    if (::testing::Test::HasFailure()) return;
    std::vector<std::uint8_t> a(4096), b(4096);
    for (std::uint64_t page = 0; page < kImage / 4096; ++page) {
      const sim::PhysAddr at(iommu_test::kDram + page * 4096);
      world_.store.read(at, a);
      memory_.store.read(at, b);
      ASSERT_EQ(a, b) << name_ << ", page " << at.value;
    }
    for (unsigned n = 1; n <= 3; ++n) ASSERT_EQ(counter(n), core_.hpm.counter(n)) << name_;
    const auto stats = world_.stats();
    ASSERT_EQ(counter(4), stats.at("iotlb.misses")) << name_;
    ASSERT_EQ(stats.at("iotlb.lookups"), stats.at("iotlb.hits") + stats.at("iotlb.misses")) << name_;
    ASSERT_EQ(counter(5), stats.at("walks.accesses.ddt")) << name_;
    ASSERT_EQ(counter(6), stats.at("walks.accesses.pdt")) << name_;
    ASSERT_EQ(counter(7), stats.at("walks.accesses.first_stage")) << name_;
    ASSERT_EQ(counter(8), stats.at("walks.accesses.second_stage")) << name_;
    ASSERT_EQ(stats.at("faults"), static_cast<double>(core_.faults().total)) << name_;
  }

  World& world() { return world_; }
  unsigned succeeded = 0, refused = 0;

  // What the functional side sends is compared with what the module sent.
  void send(const iommu::PageRequestGroupResponse&) override {}

 private:
  std::uint64_t queue_page() { return iommu_test::kDram + 0x100'0000 + 0x10000 * queues_++; }
  std::uint64_t counter(unsigned n) { return world_.registers.read(reg::kIohpmctr + 8 * (n - 1), 8); }

  void write(std::uint32_t offset, unsigned bytes, std::uint64_t value) {
    world_.registers.write(offset, bytes, value);
    core_.write_register(offset, bytes, value);
    settle();
  }
  void settle() {
    core_.settle(memory_);
    if (!core_.commands.tags.any_busy()) return;
    core_.invalidation_timeout(3);  // nobody answers
    core_.settle(memory_);
  }

  void command(iommu::Command c) {
    const iommu::QueueRegisters& cq = core_.commands.regs;
    std::uint8_t raw[16];
    iommu::store64(raw, c.dw0, core_.env.big_endian());
    iommu::store64(raw + 8, c.dw1, core_.env.big_endian());
    poke(cq.address() + 16ull * cq.tail, raw, 16);
    write(reg::kCqt, 4, cq.tail + 1);
  }
  void forget_everything() {
    if (core_.commands.regs.head != core_.commands.regs.tail) {  // stuck at a command: start afresh
      write(reg::kCqcsr, 4, 0);
      write(reg::kCqt, 4, 0);
      write(reg::kCqcsr, 4, 3);
    }
    command(cmd::iodir_inval_ddt());
    command(cmd::iotinval_vma());
    command(cmd::iotinval_gvma());
    for (std::uint32_t gscid = 0; gscid < 16; ++gscid) command(cmd::with_gscid(cmd::iotinval_vma(), gscid));
    over_ = core_.commands.regs.head != core_.commands.regs.tail;  // the queue itself is in bad memory
  }
  void bad_range() {
    world_.memory.bad.clear();
    if (choices_.one_in(3)) return;
    const std::uint64_t page = iommu_test::kDram + 0x1000 * choices_.below(128);
    world_.memory.bad.push_back(
        {choices_.one_in(6) ? queue_of(choices_.below(3)) : page, 0x1000,
         choices_.pick({BadRange::Kind::kAccess, BadRange::Kind::kPoison, BadRange::Kind::kWrite})});
  }
  static std::uint64_t queue_of(std::uint64_t n) { return iommu_test::kDram + 0x100'0000 + 0x10000 * n; }

  void page_request() {
    const iommu::PageRequest m = random_.page_request();
    world_.unit.receive(m);
    const Outcome o = core_.translate(iommu::Core::as_request(m), memory_, iommu::Walk::CacheUse::kNone);
    core_.page_request_done(m, o);
    settle();
  }

  void debug() {
    what_ = "debug translation";
    Request r = random_.request();
    const std::uint64_t control = std::uint64_t{r.device_id} << 40 | std::uint64_t{r.has_process_id} << 32 |
                                  std::uint64_t{r.process_id} << 12 | (r.write ? 0 : 8) |
                                  (r.execute && !r.write ? 4 : 0) | (r.privileged ? 2 : 0) | 1;
    write(reg::kTrReqIova, 8, r.iova);
    // The reference translates the same by a request, before the registers do it once more.
    const auto fault_of = [](const Outcome& o) { return !o.ok() || o.mrif; };
    const Request asked = [&] {
      core_.write_register(reg::kTrReqCtl, 8, control & ~1ull);
      return core_.debug_request();
    }();
    const Outcome o = core_.peek(asked, memory_);
    world_.registers.write(reg::kTrReqCtl, 8, control);
    core_.write_register(reg::kTrReqCtl, 8, control);
    settle();
    const std::uint64_t response = core_.read_register(reg::kTrResponse, 8);
    if (memory_.updated.empty() && world_.memory.bad.empty()) {
      ASSERT_EQ(response & 1, fault_of(o) ? 1u : 0u) << name_;
      if (!fault_of(o)) {
        std::uint64_t page = o.address >> 12;
        if (o.page_shift > 12)
          page = (page | iommu::mask(o.page_shift - 13u, 0)) & ~(1ull << (o.page_shift - 13u));
        ASSERT_EQ(iommu::bits(response, 53, 10), page & iommu::mask(43, 0)) << name_;
        ASSERT_EQ(iommu::bits(response, 8, 7), o.pbmt) << name_;
      }
    }
    debug_response_ = response;
    pending_ = &Case::compare_debug;
  }
  void compare_debug() {
    const std::uint64_t response = world_.registers.read(reg::kTrResponse, 8);
    ASSERT_EQ(response & 1, debug_response_ & 1) << name_;
    if ((response & 1) == 0) {
      ASSERT_EQ(response, debug_response_) << name_;
    }
  }

  void translate() {
    what_ = "request";
    request_ = random_.request();
    request_.iova &= ~std::uint64_t{7};
    request_.no_write = false;  // the timed module has no such bit: an ATS request of it is a read
    if (request_.is_ats()) request_.write = false;
    sim::Transaction* t = nullptr;
    translated_ = world_.translated.size();
    faults_ = world_.faults.size();
    const bool write = request_.write;
    tag_ = world_.device.send(world_.now() + 4, request_.device_id, write, request_.iova, false,
                              request_.is_ats() ? 8 : 4);
    t = &world_.device.last();
    t->tag.has_process_id = request_.has_process_id;
    t->tag.process_id = request_.process_id;
    t->tag.privileged = request_.privileged;
    t->tag.execute = request_.execute;
    t->tag.address_type = request_.address_type;
    std::memcpy(data_, t->get_data_ptr(), 4);
    if (choices_.one_in(2)) data_[1] = data_[2] = data_[3] = 0;  // an identity that exists
    std::memcpy(t->get_data_ptr(), data_, 4);
    outcome_ = core_.translate(request_, memory_, iommu::Walk::CacheUse::kNone);
    if (outcome_.ok() && outcome_.mrif && !request_.is_ats()) store_to_file();
    settle();
    if (outcome_.ok() && !outcome_.mrif && write) {
      const sim::PhysAddr at(outcome_.address);
      landed_ = memory_.store.contains(at, 4);
      if (landed_) memory_.store.write(at, data_);
    }
    pending_ = &Case::compare_request;
  }
  /// Own words of the architecture's section on memory-resident interrupt files.
  void store_to_file() {
    if (!request_.write) return;
    landed_ = true;
    const std::uint64_t offset = request_.iova & 0xfff;
    const std::uint32_t identity = iommu::load32(data_, (offset & 4) != 0);
    if ((offset & ~4ull) != 0 || identity > 2047) return;
    const std::uint64_t word = outcome_.mrif_address + identity / 64 * 16;
    std::uint8_t raw[8];
    iommu::MemoryStatus status = memory_.read(word, raw);
    if (status == iommu::MemoryStatus::kOk) {
      raw[identity % 64 / 8] |= static_cast<std::uint8_t>(1u << identity % 8);
      status = memory_.write(word, raw);
      const std::uint32_t notice = outcome_.notice_id;
      if (status == iommu::MemoryStatus::kOk) {
        status = memory_.write(outcome_.notice_address, {reinterpret_cast<const std::uint8_t*>(&notice), 4});
      }
    }
    if (status == iommu::MemoryStatus::kOk) return;
    outcome_.cause = status == iommu::MemoryStatus::kPoison ? iommu::Cause::kMrifCorruption
                                                            : iommu::Cause::kMrifAccessFault;
    outcome_.mrif = false;
    core_.report(request_, outcome_);
  }
  void compare_request() {
    const auto* done = world_.device.completion(tag_);
    ASSERT_NE(done, nullptr) << name_;
    const std::string about =
        fmt::format("{}: did {:x} pv {} pid {:x} at {} iova {:x} {}{}{}", name_, request_.device_id,
                    request_.has_process_id, request_.process_id, static_cast<int>(request_.address_type),
                    request_.iova, request_.read, request_.write, request_.execute);
    if (!outcome_.ok()) {
      ++refused;
      ASSERT_EQ(world_.faults.size(), faults_ + 1)
          << about << " should fault " << static_cast<int>(outcome_.cause);
      ASSERT_EQ(world_.faults.back().cause, outcome_.cause) << about;
      ASSERT_EQ(world_.faults.back().iotval2, outcome_.iotval2) << about;
      return;
    }
    if (outcome_.mrif && !request_.is_ats()) return;
    ++succeeded;
    ASSERT_EQ(world_.faults.size(), faults_)
        << about << " faulted " << static_cast<int>(world_.faults.back().cause);
    if (request_.is_ats()) {
      ASSERT_EQ(done->data, iommu::ats_completion_entry(request_, outcome_)) << about;
      return;
    }
    ASSERT_EQ(world_.translated.size(), translated_ + 1) << about;
    ASSERT_EQ(world_.translated.back().phys.value, outcome_.address) << about;
    ASSERT_EQ(world_.translated.back().page_shift, outcome_.page_shift) << about;
  }
  void compare_translation() { (this->*pending_)(); }

  std::string name_;
  iommu_test::StreamChoices choices_;
  RandomCase random_;
  iommu::IommuConfig config_;
  World world_;
  ReferenceMemory memory_;
  iommu::Core core_;
  unsigned queues_ = 0;
  bool over_ = false, dirty_ = false, landed_ = false;
  void (Case::*pending_)() = nullptr;
  std::string what_;
  Request request_;
  Outcome outcome_;
  std::uint8_t data_[4] = {};
  std::uint64_t tag_ = 0, debug_response_ = 0;
  std::size_t translated_ = 0, faults_ = 0;
};

/// `cases` cases from `seed` on, side by side: SystemC is elaborated once a process.
void run_cases(std::uint64_t seed, unsigned cases) {
  std::vector<std::unique_ptr<Case>> all;
  for (unsigned i = 0; i < cases; ++i) all.push_back(std::make_unique<Case>(seed + i));
  iommu_test::Cycle end = 10;
  const auto run_all = [&] {
    end += 8000;
    for (unsigned i = 0; i < cases; ++i)
      all[i]->world().sim.timeline().run_until((end + i) * iommu_test::kCycle);
  };
  run_all();
  for (auto& c : all) c->start();
  run_all();
  for (unsigned step = 0; step < 40 && !::testing::Test::HasFailure(); ++step) {
    for (auto& c : all) c->begin();
    run_all();
    for (auto& c : all) c->check();
    bool any = false;
    for (auto& c : all) any = c->clean() || any;
    if (!any) continue;
    run_all();
    for (auto& c : all) c->check();
  }
  unsigned succeeded = 0, refused = 0;
  for (auto& c : all) {
    c->finish();
    succeeded += c->succeeded;
    refused += c->refused;
  }
  // The cases are worth something only if requests end both ways.
  EXPECT_GT(succeeded, cases);
  EXPECT_GT(refused, cases);
}

TEST(IommuAgreement, TimedModuleCoreAndDebugRegistersA) { run_cases(1, 16); }
TEST(IommuAgreement, TimedModuleCoreAndDebugRegistersB) { run_cases(1001, 16); }
TEST(IommuAgreement, TimedModuleCoreAndDebugRegistersC) { run_cases(2001, 16); }
TEST(IommuAgreement, TimedModuleCoreAndDebugRegistersD) { run_cases(3001, 16); }

}  // namespace
