// SPDX-License-Identifier: Apache-2.0
// The rarer parts of the timed IOMMU: process directories, two stages, interrupt files, ATS and PRI messages,
// debug translation, counters, wires, configuration errors.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "sim/error.h"
#include "testbenches/tests/iommu/fixture.h"

namespace {

using iommu::IommuConfig;
using iommu_test::Cycle;
using iommu_test::kCycle;
using iommu_test::World;
namespace cap = iommu::cap;
namespace cmd = iommu::cmd;
namespace dc = iommu::dc;
namespace reg = iommu::reg;

constexpr std::uint64_t kTarget = 0x8100'0000;

/// Address of the (base format) device context of `did`.
std::uint64_t context_of(World& w, std::uint32_t did, bool extended = false) {
  std::uint64_t table = w.ddt;
  for (unsigned level = 2; level > 0; --level)
    table = w.table_below(table + 8 * dc::index(extended, level, did));
  return table + dc::bytes(extended) * dc::index(extended, 0, did);
}

TEST(IommuProcess, RequestsWithProcessIdUseItsPageTable) {
  World w("w");
  w.start();
  w.attach(1, 1);
  w.roots.resize(3, w.page());
  const std::uint64_t pdt = w.page(), context = context_of(w, 1);
  w.put(context + 24, iommu::pdtp(iommu::PdtMode::kPd8, pdt));
  w.put(context, dc::kV | dc::kPdtv);
  w.put(pdt + 16 * 5, iommu::pc::ta(2));
  w.put(pdt + 16 * 5 + 8, iommu::iosatp(iommu::SatpMode::kSv39, w.roots[2]));
  w.map(2, 0x10'0000, kTarget);
  for (Cycle at : {100, 1000}) {
    w.device.send(at, 1, true, 0x10'0000);
    w.device.last().tag.has_process_id = true;
    w.device.last().tag.process_id = 5;
  }
  w.device.send(2000, 1, true, kTarget + 0x40);  // no process id: first stage Bare
  w.run(3000);
  ASSERT_EQ(w.translated.size(), 3u);
  EXPECT_EQ(w.translated[0].phys.value, kTarget);
  EXPECT_TRUE(w.translated[1].iotlb_hit);
  EXPECT_EQ(w.translated[2].phys.value, kTarget + 0x40);
  EXPECT_EQ(w.stats().at("walks.accesses.pdt"), 1);
}

TEST(IommuTwoStage, NestedWalkReadsWhatTheFormulaSays) {
  IommuConfig c;
  c.walk_cache_enabled = false;
  World w("w", c);
  w.start();
  w.attach(1, 1);
  const std::uint64_t context = context_of(w, 1);
  w.next_page = (w.next_page + 0x7fff) & ~0x3fffull;
  const std::uint64_t g_root = w.next_page;
  w.next_page += 0x4000;
  // Guest physical = physical: one 1 GiB page maps all of DRAM, so each second-stage walk is one read.
  w.put(g_root + 8 * 2, iommu::pte::leaf(0x8000'0000, World::kRw));
  w.put(context + 8, iommu::iohgatp(iommu::SatpMode::kSv39, 7, g_root));
  w.map(1, 0x10'0000, kTarget);
  w.device.send(100, 1, true, 0x10'0000);
  w.device.send(2000, 1, true, 0x10'0000);
  w.run(3000);
  ASSERT_EQ(w.translated.size(), 2u);
  EXPECT_TRUE(w.translated[1].iotlb_hit);
  const auto s = w.stats();
  EXPECT_EQ(s.at("walks.accesses.ddt"), 3);
  EXPECT_EQ(s.at("walks.accesses.first_stage"), 3);
  EXPECT_EQ(s.at("walks.accesses.second_stage"), 4);  // s * g + g with g = 1
  w.queue_command(cmd::with_gscid(cmd::iotinval_gvma(), 8));
  w.queue_command(cmd::with_gscid(cmd::iotinval_gvma(), 7));
  w.ring();
  w.run(1000);
  EXPECT_EQ(w.invalidations[0].dropped, 0u);
  EXPECT_EQ(w.invalidations[1].dropped, 1u);
}

TEST(IommuMsi, WriteToAnInterruptFileSetsItsBitThenSendsTheNotice) {
  IommuConfig c;
  c.architecture.capabilities |= cap::kMsiFlat | cap::kMsiMrif | cap::kAmoMrif;
  World w("w", c);
  w.start();
  w.next_page = (w.next_page + 0x7fff) & ~0x3fffull;
  const std::uint64_t g_root = w.next_page;
  w.next_page += 0x4000;
  const std::uint64_t msi_table = w.page(), file = w.page(), notice = w.page(),
                      context = context_of(w, 1, true);
  w.put(context + 8, iommu::iohgatp(iommu::SatpMode::kSv39, 7, g_root));
  w.put(context + 32, (1ull << 60) | (msi_table >> 12));
  w.put(context + 40, 1);        // one bit of the guest page number selects the file
  w.put(context + 48, 0x28000);  // guest pages 0x28000 and 0x28001
  w.put(context, dc::kV);
  w.put(msi_table, (file >> 9 << 7) | (1u << 1) | 1);                // MRIF mode
  w.put(msi_table + 8, iommu::ppn_field(notice) | 0x123);            // notice id 0x123
  w.put(msi_table + 16, iommu::ppn_field(kTarget) | (3u << 1) | 1);  // basic mode
  const auto to_file = w.device.send(100, 1, true, 0x2800'0000, true, 4);
  const std::uint32_t identity = 77;
  std::memcpy(w.device.last().get_data_ptr(), &identity, 4);
  w.device.send(101, 1, true, 0x2800'1000, true, 4);  // behind it, of the same requester
  w.run(3000);
  EXPECT_EQ(w.device.completion(to_file)->status, sim::CompletionStatus::kSuccess);
  EXPECT_EQ(w.load(file + 16), 1ull << (77 - 64));
  EXPECT_EQ(w.load(notice) & 0xffffffff, 0x123u);
  ASSERT_EQ(w.translated.size(), 1u);
  EXPECT_EQ(w.translated[0].phys.value, kTarget);
  EXPECT_GE(w.translated[0].time, w.device.completion(to_file)->at * kCycle);
  EXPECT_TRUE(w.unit.idle());
}

/// An identity that no file has is accepted and dropped without a memory access: what waits behind it goes
/// on.
TEST(IommuMsi, WritesBehindADroppedIdentityGoOn) {
  IommuConfig c;
  c.architecture.capabilities |= cap::kMsiFlat | cap::kMsiMrif | cap::kAmoMrif;
  World w("w", c);
  w.start();
  w.next_page = (w.next_page + 0x7fff) & ~0x3fffull;
  const std::uint64_t g_root = w.next_page;
  w.next_page += 0x4000;
  const std::uint64_t msi_table = w.page(), file = w.page(), notice = w.page(),
                      context = context_of(w, 1, true);
  w.put(context + 8, iommu::iohgatp(iommu::SatpMode::kSv39, 7, g_root));
  w.put(context + 32, (1ull << 60) | (msi_table >> 12));
  w.put(context + 40, 1);
  w.put(context + 48, 0x28000);
  w.put(context, dc::kV);
  w.put(msi_table, (file >> 9 << 7) | (1u << 1) | 1);
  w.put(msi_table + 8, iommu::ppn_field(notice) | 0x123);
  w.put(msi_table + 16, iommu::ppn_field(kTarget) | (3u << 1) | 1);
  const auto store = [&](Cycle at, std::uint32_t identity) {
    const auto tag = w.device.send(at, 1, true, 0x2800'0000, true, 4);
    std::memcpy(w.device.last().get_data_ptr(), &identity, 4);
    return tag;
  };
  const auto plain = [&](Cycle at) { return w.device.send(at, 1, true, 0x2800'1000, true, 4); };
  const std::uint64_t tags[] = {plain(100), store(1000, 3), store(2000, 5000), plain(2001)};
  w.run(4000);
  for (const std::uint64_t tag : tags) ASSERT_NE(w.device.completion(tag), nullptr) << tag;
  // The write behind is a hit, held back by order alone: it leaves in the cycle after the drop.
  EXPECT_EQ(w.device.completion(tags[3])->at, w.device.completion(tags[2])->at + 1 + 20 + 1);
  EXPECT_EQ(w.load(file), 8u);
  EXPECT_TRUE(w.unit.idle());
}

TEST(IommuCommands, AQueueSwitchedOffAndOnBeforeItsFetchLeavesIsServed) {
  IommuConfig c;
  c.command_fetch_cycles = 40;
  World w("w", c);
  w.start();
  w.queue_command(cmd::iofence(false, false));
  w.registers.write_at(1000, reg::kCqt, 4, 1);
  w.registers.write_at(1001, reg::kCqcsr, 4, 0);
  w.registers.write_at(1002, reg::kCqcsr, 4, iommu::qcsr::kEnable);
  w.registers.write_at(1003, reg::kCqt, 4, 1);
  w.run(3000);
  EXPECT_EQ(w.fences.size(), 1u);
  EXPECT_EQ(w.registers.read(reg::kCqh, 4), 1u);
}

IommuConfig with_ats() {
  IommuConfig c;
  c.architecture.capabilities |= cap::kAts;
  c.ats_timeout_cycles = 5000;
  return c;
}

TEST(IommuAts, TranslationRequestIsAnsweredWithAnEntry) {
  World w("w", with_ats());
  w.start();
  w.attach(1, 1, dc::kEnAts);
  w.map(1, 0x10'0000, kTarget);
  const auto granted = w.device.send(100, 1, false, 0x10'0000, false, 8);
  w.device.last().tag.address_type = sim::AddressType::kTranslationRequest;
  const auto nothing = w.device.send(101, 1, false, 0x20'0000, false, 8);
  w.device.last().tag.address_type = sim::AddressType::kTranslationRequest;
  const auto translated = w.device.send(102, 1, true, kTarget);
  w.device.last().tag.address_type = sim::AddressType::kTranslated;
  w.run(3000);
  EXPECT_EQ(w.device.completion(granted)->data, kTarget | 3);
  EXPECT_EQ(w.device.completion(nothing)->data, 0u);
  EXPECT_EQ(w.device.completion(nothing)->status, sim::CompletionStatus::kSuccess);
  EXPECT_NE(w.device.completion(translated), nullptr);
  EXPECT_EQ(w.registers.read(reg::kFqt, 4), 0u);
}

TEST(IommuAts, FenceWaitsForInvalidationCompletionOrItsTime) {
  World w("w", with_ats());
  w.start();
  w.attach(1, 1, dc::kEnAts);
  std::vector<iommu::AtsInvalidationRequest> sent;
  w.unit.send_invalidation_request = [&](const iommu::AtsInvalidationRequest& m) { sent.push_back(m); };
  const iommu::Command inval{cmd::kAts | (1ull << 40), 0x10'0000};
  w.queue_command(inval);
  w.queue_command(cmd::iofence(false, false));
  w.ring();
  w.run(1000);
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_EQ(sent[0].rid, 1u);
  EXPECT_EQ(w.fences.size(), 0u);
  w.unit.receive(iommu::InvalidationCompletion{.rid = 1, .itag_vector = 1u << sent[0].itag});
  w.run(100);
  EXPECT_EQ(w.fences.size(), 1u);
  w.queue_command(inval);
  w.queue_command(cmd::iofence(false, false));
  w.ring();
  w.run(7000);  // nobody answers
  EXPECT_EQ(w.fences.size(), 1u);
  EXPECT_EQ(w.registers.read(reg::kCqh, 4), 3u);
  EXPECT_NE(w.registers.read(reg::kCqcsr, 4) & iommu::qcsr::kCmdTo, 0u);
}

TEST(IommuAts, PageRequestIsQueuedAndAnsweredWhenItCannotBe) {
  World w("w", with_ats());
  w.start();
  w.attach(1, 1, dc::kEnAts | dc::kEnPri);
  std::vector<iommu::PageRequestGroupResponse> sent;
  w.unit.send_page_response = [&](const iommu::PageRequestGroupResponse& m) { sent.push_back(m); };
  const iommu::PageRequest m{.rid = 1, .payload = 0x10'0000 | (9u << 3) | 0b101};  // read, last, group 9
  w.run(10);
  w.unit.receive(m);
  w.run(1000);
  ASSERT_EQ(sent.size(), 1u);  // the queue is off
  EXPECT_EQ(sent[0].code, 15u);
  EXPECT_EQ(sent[0].prgi, 9u);
  const std::uint64_t pq = w.page();
  w.registers.write(reg::kPqb, 8, iommu::queue_base(pq, 4));
  w.registers.write(reg::kPqcsr, 4, iommu::qcsr::kEnable);
  w.unit.receive(m);
  w.run(1000);
  EXPECT_EQ(sent.size(), 1u);
  EXPECT_EQ(w.registers.read(reg::kPqt, 4), 1u);
  EXPECT_EQ(w.load(pq) >> 40, 1u);
  EXPECT_EQ(w.load(pq + 8), m.payload);
}

TEST(IommuDebugRegisters, TranslationRequestInterface) {
  World w("w");
  w.start();
  w.attach(1, 1);
  w.map(1, 0x4000'0000, 0x8000'0000, World::kRw, 1);
  w.registers.write(reg::kTrReqIova, 8, 0x4000'3000);
  w.registers.write(reg::kTrReqCtl, 8, (1ull << 40) | 1);
  EXPECT_EQ(w.registers.read(reg::kTrReqCtl, 8) & 1, 1u);  // busy: the walk takes its time
  w.run(1000);
  EXPECT_EQ(w.registers.read(reg::kTrReqCtl, 8) & 1, 0u);
  const std::uint64_t r = w.registers.read(reg::kTrResponse, 8);
  EXPECT_EQ(r & 1, 0u);
  EXPECT_TRUE(iommu::bit(r, 9));                                // a superpage:
  EXPECT_EQ(iommu::bits(r, 53, 10), 0x80000u | 0b0'1111'1111);  // 2 MiB
}

TEST(IommuCounters, HpmAgreesWithStatisticsAndOverflowInterruptsByWire) {
  IommuConfig c;
  c.architecture.capabilities = (c.architecture.capabilities & ~iommu::mask(29, 28)) | cap::kIgsWsi;
  c.architecture.fctl_reset = iommu::fctl::kWsi;
  World w("w", c);
  std::vector<std::pair<unsigned, bool>> wires;
  w.unit.interrupt_wire = [&](unsigned v, bool level) { wires.emplace_back(v, level); };
  w.start();
  w.attach(1, 1);
  w.map(1, 0x10'0000, kTarget);
  w.registers.write(reg::kIcvec, 8, 0x300);      // pmiv 3
  w.registers.write(reg::kIohpmevt, 8, 1);       // untranslated requests
  w.registers.write(reg::kIohpmevt + 8, 8, 4);   // IOTLB misses
  w.registers.write(reg::kIohpmevt + 16, 8, 7);  // first-stage reads
  w.registers.write(reg::kIohpmctr, 8, ~std::uint64_t{0} - 9);
  for (Cycle i = 0; i < 10; ++i) w.device.send(1000 + i * 200, 1, true, 0x10'0000);
  w.run(5000);
  EXPECT_EQ(w.registers.read(reg::kIohpmctr, 8), 0u);
  EXPECT_EQ(w.registers.read(reg::kIohpmctr + 8, 8), w.stats().at("iotlb.misses") + 0.0);
  EXPECT_EQ(w.registers.read(reg::kIohpmctr + 16, 8), w.stats().at("walks.accesses.first_stage"));
  EXPECT_EQ(w.registers.read(reg::kIocountovf, 4), 2u);
  ASSERT_EQ(wires.size(), 1u);
  EXPECT_EQ(wires[0], std::make_pair(3u, true));
  w.registers.write(reg::kIpsr, 4, iommu::ipsr::kPmip);
  const std::uint64_t cycles = w.registers.read(reg::kIohpmcycles, 8);
  w.run(1000);
  EXPECT_EQ(w.registers.read(reg::kIohpmcycles, 8), cycles + 1000);
  ASSERT_EQ(wires.size(), 2u);
  EXPECT_FALSE(wires[1].second);
}

TEST(IommuModes, OffRefusesAndBarePasses) {
  World w("w");
  const auto refused = w.device.send(10, 1, false, kTarget, false);
  w.run(100);
  EXPECT_EQ(w.device.completion(refused)->status, sim::CompletionStatus::kUnsupportedRequest);
  w.registers.write(reg::kDdtp, 8, static_cast<std::uint64_t>(iommu::DdtMode::kBare));
  const auto passed = w.device.send(200, 1, false, kTarget, false);
  w.run(300);
  EXPECT_EQ(w.device.completion(passed)->status, sim::CompletionStatus::kSuccess);
  EXPECT_EQ(w.faults.size(), 1u);
  EXPECT_EQ(w.faults[0].cause, iommu::Cause::kAllDisallowed);
}

/// Counters and statistics agree in a crowd: retries for want of a walker, merged misses, faults, few
/// entries.
TEST(IommuCounters, HpmAgreesWithStatisticsInACrowd) {
  IommuConfig c;
  c.iotlb = {2, 2, iommu::Replacement::kRandom};
  c.walkers = 1;
  c.architecture.hpm_counters = 9;
  World w("w", c);
  w.start();
  for (std::uint32_t d = 1; d <= 2; ++d) {
    w.attach(d, d);
    for (std::uint64_t i = 0; i < 12; ++i) w.map(d, 0x10'0000 + i * 0x1000, kTarget + i * 0x1000);
    w.map(d, 0x4000'0000, 0x8000'0000, World::kRw, 1);
  }
  for (unsigned e = 1; e <= 7; ++e) w.registers.write(reg::kIohpmevt + 8 * (e - 1), 8, e);
  // Counter 8: misses of address space 2 only (IDT, PV).
  w.registers.write(reg::kIohpmevt + 8 * 7, 8, 4 | 2ull << 16 | 1ull << 60 | 1ull << 62);
  sim::RandomStream random(3, 0, "crowd");
  for (Cycle i = 0; i < 400; ++i) {
    const bool large = random.below(8) == 0;
    w.device.send(100 + 2 * i, 1 + static_cast<std::uint32_t>(random.below(2)), random.below(2) != 0,
                  large ? 0x4000'0000 + random.below(512) * 0x1000 : 0x10'0000 + random.below(14) * 0x1000);
  }
  w.run(60000);
  ASSERT_EQ(w.device.done.size(), 400u);
  const auto s = w.stats();
  const auto counter = [&](unsigned n) {
    return static_cast<double>(w.registers.read(reg::kIohpmctr + 8 * (n - 1), 8));
  };
  EXPECT_EQ(counter(1), 400);
  EXPECT_EQ(s.at("iotlb.lookups"), 400);
  EXPECT_EQ(s.at("iotlb.hits") + s.at("iotlb.misses"), 400);
  EXPECT_GT(s.at("iotlb.merged_misses"), 0);
  EXPECT_GT(s.at("walks.waited_for_walker"), 0);
  EXPECT_EQ(s.at("iotlb.hits.page_shift_12") + s.at("iotlb.hits.page_shift_21"), s.at("iotlb.hits"));
  EXPECT_EQ(counter(4), s.at("iotlb.misses"));
  EXPECT_EQ(counter(5), s.at("walks.accesses.ddt"));
  EXPECT_EQ(counter(6), s.at("walks.accesses.pdt"));
  EXPECT_EQ(counter(7), s.at("walks.accesses.first_stage"));
  EXPECT_GT(counter(8), 0);
  EXPECT_LT(counter(8), counter(4));
  double by_level = 0, by_cause = 0;
  for (const auto& [name, value] : s) {
    if (name.rfind("walks.first_stage.level_", 0) == 0) by_level += value;
    if (name.rfind("faults.cause_", 0) == 0) by_cause += value;
  }
  EXPECT_EQ(by_level, counter(7));
  EXPECT_EQ(by_cause, s.at("faults"));
  EXPECT_GT(s.at("faults.cause_13") + s.at("faults.cause_15"), 0);
  EXPECT_EQ(s.at("walks.accesses_per_walk.max"), 6);  // the first: three directory levels, three tables
}

TEST(IommuQos, AccessesCarryTheIdsOfWhomTheyServe) {
  IommuConfig c;
  c.architecture.capabilities |= cap::kQosid;
  c.architecture.qosid_mask = 0x00ff'00ff;
  World w("w", c);
  w.start();
  w.registers.write(reg::kQosid, 4, 0xffff'f011);  // only the implemented bits stay
  w.registers.write(reg::kDdtp, 8, 0);
  w.registers.write(reg::kQosid, 4, 0x0022'0011);
  EXPECT_EQ(w.registers.read(reg::kQosid, 4), 0x0022'0011u);
  w.registers.write(reg::kDdtp, 8, iommu::ddtp(iommu::DdtMode::k3Lvl, w.ddt));
  w.attach(1, 1);
  w.put(context_of(w, 1) + 16, dc::ta(1) | 0x33ull << 40 | 0x44ull << 52);
  w.map(1, 0x10'0000, kTarget);
  w.device.send(100, 1, true, 0x10'0000);
  w.device.send(1000, 1, false, 0x20'0000, false);  // a fault record
  w.run(3000);
  ASSERT_EQ(w.memory.seen.size(), 1u);
  EXPECT_EQ(w.memory.seen[0].rcid, 0x33);
  EXPECT_EQ(w.memory.seen[0].mcid, 0x44);
  ASSERT_GE(w.memory.walked.size(), 7u);
  for (std::size_t i = 0; i < w.memory.walked.size(); ++i) {
    const bool tables = !w.memory.walked[i].write && i >= 3;  // behind the three levels of the directory
    EXPECT_EQ(w.memory.walked[i].rcid, tables ? 0x33 : 0x11) << i;
    EXPECT_EQ(w.memory.walked[i].mcid, tables ? 0x44 : 0x22) << i;
  }
  w.registers.write(reg::kDdtp, 8, 0);
  w.registers.write(reg::kDdtp, 8, static_cast<std::uint64_t>(iommu::DdtMode::kBare));
  w.device.send(w.now() + 10, 1, false, kTarget, false);
  w.run(300);
  EXPECT_EQ(w.memory.seen.back().rcid, 0x11);
}

TEST(IommuInterrupts, EachPendingBitSendsItsMessageInOrderAndAMaskedVectorRemembersOne) {
  World w("w");
  w.start(8, true);
  w.attach(1, 1);
  w.registers.write(reg::kIcvec, 8, 0x112);  // civ 2, fiv 1, pmiv 1
  w.registers.write(reg::msi_addr(2), 8, 0x2400'0020);
  w.registers.write(reg::kIohpmevt, 8, 1);
  w.registers.write(reg::kIohpmctr, 8, ~std::uint64_t{0});
  w.device.send(100, 1, false, 0x20'0000, false);  // overflows the counter, then faults
  w.run(1000);
  const auto messages = [&](std::uint64_t address) {
    return std::count_if(w.memory.walked.begin(), w.memory.walked.end(),
                         [&](const auto& a) { return a.write && a.address == address; });
  };
  EXPECT_EQ(w.registers.read(reg::kIpsr, 4), iommu::ipsr::kFip | iommu::ipsr::kPmip);
  EXPECT_EQ(messages(0x2400'0000), 2);  // two bits rose: two messages of one vector
  w.registers.write(reg::msi_vec_ctl(2), 4, 1);
  w.registers.write(reg::kCqcsr, 4, iommu::qcsr::kEnable | iommu::qcsr::kInterruptEnable);
  w.queue_command({0x7f, 0});
  w.ring();
  w.run(500);
  EXPECT_EQ(messages(0x2400'0020), 0);
  w.registers.write(reg::kIpsr, 4,
                    iommu::ipsr::kCip);  // the error bit stands: pending again, still one message
  w.run(500);
  w.registers.write(reg::msi_vec_ctl(2), 4, 0);
  w.run(500);
  EXPECT_EQ(messages(0x2400'0020), 1);
  EXPECT_TRUE(w.unit.idle());
}

TEST(IommuAts, PageRequestsLostWithTheirQueueAreAnsweredWithFailure) {
  World w("w", with_ats());
  w.start();
  w.attach(1, 1, dc::kEnAts | dc::kEnPri);
  std::vector<iommu::PageRequestGroupResponse> sent;
  w.unit.send_page_response = [&](const iommu::PageRequestGroupResponse& m) { sent.push_back(m); };
  const std::uint64_t pq = w.page();
  w.registers.write(reg::kPqb, 8, iommu::queue_base(pq, 4));
  w.registers.write(reg::kPqcsr, 4, iommu::qcsr::kEnable);
  w.memory.bad.push_back({pq, 4096, iommu_test::BadRange::Kind::kWrite});
  w.run(10);
  for (std::uint64_t group = 1; group <= 3; ++group) {
    w.unit.receive(iommu::PageRequest{.rid = 1, .payload = 0x10'0000 | group << 3 | 0b101});
  }
  w.run(1000);
  EXPECT_NE(w.registers.read(reg::kPqcsr, 4) & iommu::qcsr::kMemoryFault, 0u);
  ASSERT_EQ(sent.size(), 3u);
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(sent[i].code, 15u);
    EXPECT_EQ(sent[i].prgi, i + 1);
  }
}

TEST(IommuConfiguration, ImpossibleSizesAreRefusedByName) {
  const auto refused = [](auto change, const std::string& field) {
    IommuConfig c;
    change(c);
    try {
      c.validate("iommu.");
      ADD_FAILURE() << field;
    } catch (const sim::Error& e) {
      EXPECT_EQ(std::string(e.what()).rfind(field, 0), 0u) << e.what();
    }
  };
  refused([](IommuConfig& c) { c.iotlb.sets = 0; }, "iommu.iotlb.sets");
  refused([](IommuConfig& c) { c.iotlb.sets = 48; }, "iommu.iotlb.sets");
  refused([](IommuConfig& c) { c.iotlb.ways = 3; }, "iommu.iotlb.ways");
  refused([](IommuConfig& c) { c.walkers = 0; }, "iommu.walkers");
  refused([](IommuConfig& c) { c.input_queue = 0; }, "iommu.input_queue");
  refused([](IommuConfig& c) { c.miss_queue = 0; }, "iommu.miss_queue");
  refused([](IommuConfig& c) { c.fault_buffer = 0; }, "iommu.fault_buffer");
  refused([](IommuConfig& c) { c.ddt_cache.sets = 0; }, "iommu.ddt_cache.sets");
  refused([](IommuConfig& c) { c.pdt_cache.ways = 0; }, "iommu.pdt_cache.ways");
  refused([](IommuConfig& c) { c.walk_cache.sets = 6; }, "iommu.walk_cache.sets");
  refused([](IommuConfig& c) { c.iotlb_page_sizes = {}; }, "iommu.iotlb_page_sizes");
  refused([](IommuConfig& c) { c.lookup_interval = 0; }, "iommu.lookup_interval");
  refused([](IommuConfig& c) { c.iotlb_page_sizes = {12, 12}; }, "iommu.iotlb_page_sizes");
  refused([](IommuConfig& c) { c.architecture.vector_bits = 5; }, "iommu.architecture.vector_bits");
  EXPECT_NO_THROW(IommuConfig{}.validate());
}

}  // namespace
