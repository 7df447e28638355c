// SPDX-License-Identifier: Apache-2.0
// The interconnect and the IMSIC: routes, order, arbitration, back-pressure, errors.
#include "platform/interconnect.h"

#include <gtest/gtest.h>

#include "harness.h"
#include "platform/imsic.h"

namespace {

using platform::Interconnect;
using platform::InterconnectConfig;
using sim::kNanosecond;
using sim::Tick;

constexpr auto kRead = tlm::TLM_READ_COMMAND;
constexpr auto kWrite = tlm::TLM_WRITE_COMMAND;
constexpr std::uint64_t kDram = 0x8000'0000, kRegs = 0x2800'0000, kMsi = 0x2400'0000;

struct Bench {
  explicit Bench(const char* name = "s", sim::TimeMode mode = {}, InterconnectConfig config = {},
                 Interconnect::Handover handover = Interconnect::Handover::kInTime)
      : s(name, {1, 0, mode}),
        device((std::string(name) + "_device").c_str(), s, sim::Clock(kNanosecond)),
        walker((std::string(name) + "_walker").c_str(), s, sim::Clock(kNanosecond)),
        cpu((std::string(name) + "_cpu").c_str(), s, sim::Clock(400 * sim::kPicosecond)),
        bus((std::string(name) + "_bus").c_str(), s, config),
        dram((std::string(name) + "_dram").c_str(), s, sim::Clock(833'333'333, 1000)),
        regs((std::string(name) + "_regs").c_str(), s, sim::Clock(kNanosecond)),
        imsic((std::string(name) + "_imsic").c_str(), s, platform::ImsicConfig{}) {
    device.socket.bind(bus.add_initiator("iommu"));
    walker.socket.bind(bus.add_initiator("walker"));
    cpu.socket.bind(bus.add_initiator("cpu"));
    bus.add_target("dram", {kDram, 1ull << 32}, handover).bind(dram.socket);
    bus.add_target("iommu", {kRegs, 4096}, handover).bind(regs.socket);
    bus.add_target("imsic", {imsic.config().base, imsic.config().size()}).bind(imsic.port);
    imsic.connect([this](unsigned core, std::uint32_t identity, Tick t) {
      msis.push_back({core, identity, t});
    });
    dram.latency = dram.write_latency = 20;
    regs.latency = regs.write_latency = 3;
  }
  void run(Tick time = 100 * sim::kMicrosecond) { s.timeline().run_until(s.now() + time); }
  struct Msi {
    unsigned core;
    std::uint32_t identity;
    Tick time;
  };
  sim::Simulation s;
  harness::Source device, walker, cpu;
  Interconnect bus;
  harness::Sink dram, regs;
  platform::Imsic imsic;
  std::vector<Msi> msis;
};

TEST(Interconnect, RoutesByAddressAndBack) {
  Bench b;
  b.cpu.send(kRead, kRegs + 0x10, 8);
  b.cpu.send(kRead, kDram + 0x2345'6000, 64);
  b.walker.send(kRead, kDram + 0x40, 16);
  b.run();
  ASSERT_EQ(b.cpu.answers.size(), 2u);
  EXPECT_EQ(b.cpu.answers[0].data, kRegs + 0x10);
  EXPECT_EQ(b.cpu.answers[1].address, kDram + 0x2345'6000);
  ASSERT_EQ(b.walker.answers.size(), 1u);
  EXPECT_EQ(b.walker.answers[0].data, kDram + 0x40);
  EXPECT_TRUE(b.bus.idle());
}

TEST(Interconnect, LatencyEachWay) {
  Bench b;
  b.walker.send(kRead, kRegs, 8, 0, 100 * kNanosecond);
  b.run();
  EXPECT_EQ(b.regs.requests[0].time, 105 * kNanosecond);   // seen at 101, five cycles in all
  EXPECT_EQ(b.walker.answers[0].time, 113 * kNanosecond);  // answered at 108
}

TEST(Interconnect, DecodeErrorsAreAnswered) {
  Bench b;
  b.cpu.send(kRead, 0x10, 8);
  b.cpu.send(kWrite, kRegs + 4092, 8);  // runs out of the window
  b.run();
  ASSERT_EQ(b.cpu.answers.size(), 2u);
  for (const auto& a : b.cpu.answers) {
    EXPECT_EQ(a.response, tlm::TLM_ADDRESS_ERROR_RESPONSE);
    EXPECT_EQ(a.status, sim::CompletionStatus::kUnsupportedRequest);
  }
}

TEST(Interconnect, RequestsOfOneInitiatorKeepTheirOrder) {
  Bench b;
  b.dram.capacity = 1;  // each write blocks the next
  for (unsigned i = 0; i < 10; ++i) b.device.send(kWrite, kDram + 64 * i, 64);
  b.device.send(kWrite, kMsi, 4, 0x100, 0, 33);
  b.run();
  ASSERT_EQ(b.dram.requests.size(), 10u);
  ASSERT_EQ(b.msis.size(), 1u);
  EXPECT_GT(b.msis[0].time, b.dram.requests[9].time);  // the MSI is behind the payload
  EXPECT_EQ(b.msis[0].identity, 33u);
}

TEST(Interconnect, AnotherInitiatorIsNotHeldUp) {
  Bench b;
  b.dram.capacity = 1;
  b.dram.write_latency = 1000;
  for (unsigned i = 0; i < 10; ++i) b.device.send(kWrite, kDram + 64 * i, 64);
  b.cpu.send(kRead, kRegs, 8);
  b.run();
  EXPECT_LT(b.cpu.answers[0].time, 100 * kNanosecond);
  EXPECT_GT(b.dram.requests[9].time, 7 * sim::kMicrosecond);
}

TEST(Interconnect, RoundRobinIsFair) {
  Bench b;
  for (unsigned i = 0; i < 50; ++i) {
    b.device.send(kWrite, kDram + 64 * i, 64);
    b.walker.send(kWrite, kDram + 0x10'0000 + 64 * i, 64);
  }
  b.run();
  ASSERT_EQ(b.dram.requests.size(), 100u);
  for (unsigned i = 1; i < 100; ++i) {
    EXPECT_NE(b.dram.requests[i].address < kDram + 0x10'0000,
              b.dram.requests[i - 1].address < kDram + 0x10'0000);
  }
}

TEST(Interconnect, LongTransfersOccupyTheTarget) {
  Bench b;
  for (unsigned i = 0; i < 20; ++i) b.device.send(kWrite, kDram + 1536 * i, 1500);
  b.run();
  ASSERT_EQ(b.dram.requests.size(), 20u);
  EXPECT_EQ(b.dram.requests[19].time - b.dram.requests[0].time,
            19 * 24 * kNanosecond);  // 1500 / 64 = 24 beats
}

TEST(Interconnect, OutstandingLimitStallsAndLosesNothing) {
  InterconnectConfig c;
  c.outstanding = 4;
  Bench b("s", {}, c);
  for (unsigned i = 0; i < 100; ++i) b.device.send(i % 2 ? kRead : kWrite, kDram + 64 * i, 64);
  b.run();
  EXPECT_EQ(b.device.answers.size(), 100u);
  EXPECT_GT(b.device.stalls, 10u);
  EXPECT_EQ(b.s.payloads().outstanding(), 0u);
}

TEST(Interconnect, OverlappingWindowsAreRefused) {
  Bench b;
  EXPECT_THROW(b.bus.add_target("rom", {kRegs + 0x800, 4096}), sim::Error);
}

TEST(Interconnect, AllTimeModesGiveOneDigest) {
  InterconnectConfig c;
  c.outstanding = 6;
  Bench skip("skip", {}, c), every("every", {true, true}, c), step("step", {false, false}, c);
  for (Bench* b : {&skip, &every, &step}) {
    b->dram.capacity = 3;
    for (unsigned i = 0; i < 300; ++i) {
      const Tick when = (i / 30) * sim::kMicrosecond;
      b->device.send(i % 3 ? kWrite : kRead, kDram + 64 * i, 1 + (i * 31) % 1000, 0x100, when);
      b->walker.send(kRead, kDram + 0x10'0000 + 16 * i, 16, 0, when);
      if (i % 4 == 0) b->cpu.send(i % 8 ? kWrite : kRead, kRegs + 8 * (i % 100), 8, 0, when);
      if (i % 10 == 0) b->device.send(kWrite, kMsi + 4096 * (i % 4), 4, 0x100, when, 1 + i % 255);
    }
  }
  for (Tick t = 10 * sim::kMicrosecond; t <= 100 * sim::kMicrosecond; t += 10 * sim::kMicrosecond) {
    for (Bench* b : {&skip, &every, &step}) b->s.timeline().run_until(t);
  }
  EXPECT_TRUE(skip.device.idle() && skip.walker.idle() && skip.cpu.idle() && skip.bus.idle());
  EXPECT_EQ(skip.msis.size(), 30u);
  EXPECT_EQ(skip.s.digest().hex(), every.s.digest().hex());
  EXPECT_EQ(skip.s.digest().hex(), step.s.digest().hex());
}

// A target that takes requests ahead of their time gets each with the time at which it would have got it.
TEST(Interconnect, AheadOfTimeIsNoEarlier) {
  constexpr auto kAhead = Interconnect::Handover::kAhead;
  Bench in_time("in_time"), ahead("ahead", {}, {}, kAhead), every("every", {true, true}, {}, kAhead),
      step("step", {false, false}, {}, kAhead);
  for (Bench* b : {&in_time, &ahead, &every, &step}) {
    b->dram.capacity = 3;
    for (unsigned i = 0; i < 400; ++i) {
      // Bursts that wait for each other, between requests on their own; refused ones among them.
      const Tick when = i < 200 ? i / 20 * sim::kMicrosecond : (i - 180) * 70 * kNanosecond * (i % 3);
      const std::uint64_t address = i % 50 == 7 ? 0x10 : kDram + 64 * i;
      b->device.send(i % 3 ? kWrite : kRead, address, 1 + (i * 31) % 300, 0x100, when);
      if (i % 40 == 0) b->device.send(kWrite, kMsi + 4096 * (i % 4), 4, 0x100, when, 1 + i % 255);
    }
  }
  for (Bench* b : {&in_time, &ahead, &every, &step}) b->run();
  EXPECT_TRUE(ahead.device.idle() && ahead.bus.idle());
  ASSERT_EQ(in_time.dram.requests.size(), ahead.dram.requests.size());
  for (std::size_t i = 0; i < ahead.dram.requests.size(); ++i) {
    ASSERT_EQ(ahead.dram.requests[i].address, in_time.dram.requests[i].address);
    // Just after the edge, as exactly as SystemC's resolution can say.
    const Tick later = ahead.dram.requests[i].time - in_time.dram.requests[i].time;
    ASSERT_LE(later, sim::kPicosecond) << i;
  }
  ASSERT_EQ(in_time.device.answers.size(), ahead.device.answers.size());
  for (std::size_t i = 0; i < ahead.device.answers.size(); ++i) {
    ASSERT_EQ(ahead.device.answers[i].address, in_time.device.answers[i].address);
    ASSERT_EQ(ahead.device.answers[i].time, in_time.device.answers[i].time) << i;
  }
  EXPECT_LT(ahead.s.timeline().wakeups(), in_time.s.timeline().wakeups());
  EXPECT_EQ(ahead.s.digest().hex(), every.s.digest().hex());
  EXPECT_EQ(ahead.s.digest().hex(), step.s.digest().hex());
}

TEST(Interconnect, AnAnswerIsNotHeldUpByOneKnownAheadOfItsTime) {
  constexpr auto kAhead = Interconnect::Handover::kAhead;
  Bench alone("alone", {}, {}, kAhead), both("both", {}, {}, kAhead);
  for (Bench* b : {&alone, &both}) {
    b->regs.latency = 0;  // answers what it is handed at once
    for (unsigned i = 0; i < 30; ++i) b->device.send(kRead, kDram, 64, 0x100, i * 37 * kNanosecond);
    for (unsigned i = 0; b == &both && i < 400; ++i) b->cpu.send(kRead, kRegs, 8, 0, i * 3 * kNanosecond);
  }
  alone.run();
  both.run();
  ASSERT_EQ(alone.device.answers.size(), 30u);
  ASSERT_EQ(both.device.answers.size(), 30u);
  ASSERT_EQ(both.cpu.answers.size(), 400u);
  for (unsigned i = 0; i < 30; ++i) EXPECT_EQ(both.device.answers[i].time, alone.device.answers[i].time) << i;
}

TEST(FlightTable, KnowsThePortOfForeignPayloadsAndOfItsOwn) {
  constexpr std::size_t kPayloads = 300;  // the table has to grow
  sim::PayloadPool pool;
  platform::FlightTable outer(16), inner(16);
  std::vector<tlm::tlm_generic_payload> foreign(kPayloads);
  std::vector<sim::Transaction*> own;
  for (unsigned i = 0; i < kPayloads; ++i) {
    own.push_back(pool.acquire(tlm::TLM_READ_COMMAND, 64 * i, 64));
    for (auto* payload : {&foreign[i], static_cast<tlm::tlm_generic_payload*>(own[i])}) {
      outer.insert(*payload, i % 64);
      inner.insert(*payload, (i + 7) % 64);
    }
  }
  EXPECT_EQ(outer.size(), 2 * kPayloads);
  for (unsigned k = 0; k < kPayloads; ++k) {
    const unsigned i = k * 77 % kPayloads;  // each once, in another order
    for (auto* payload : {&foreign[i], static_cast<tlm::tlm_generic_payload*>(own[i])}) {
      ASSERT_EQ(inner.take(*payload), (i + 7) % 64);
      ASSERT_EQ(outer.take(*payload), i % 64);
    }
    own[i]->release();
  }
  EXPECT_TRUE(outer.empty() && inner.empty());
  EXPECT_EQ(pool.outstanding(), 0u);
}

TEST(Imsic, DeliversIdentitiesToCores) {
  Bench b;
  b.cpu.send(kWrite, kMsi + 0x2000, 4, 0, 0, 7);
  b.cpu.send(kWrite, kMsi + 0x1004, 4, 0, 0, __builtin_bswap32(9));  // big-endian door
  b.cpu.send(kWrite, kMsi, 4, 0, 0, 0);                              // no interrupt has identity 0
  b.cpu.send(kWrite, kMsi, 4, 0, 0, 256);
  b.cpu.send(kWrite, kMsi, 2, 0, 0, 5);
  b.cpu.send(kWrite, kMsi + 8, 4, 0, 0, 5);
  b.run();
  ASSERT_EQ(b.msis.size(), 2u);
  EXPECT_EQ(b.msis[0].core, 2u);
  EXPECT_EQ(b.msis[0].identity, 7u);
  EXPECT_EQ(b.msis[1].core, 1u);
  EXPECT_EQ(b.msis[1].identity, 9u);
  ASSERT_EQ(b.cpu.answers.size(), 6u);
  EXPECT_EQ(b.cpu.answers[3].response, tlm::TLM_OK_RESPONSE);
  EXPECT_EQ(b.cpu.answers[4].response, tlm::TLM_ADDRESS_ERROR_RESPONSE);
  EXPECT_EQ(b.cpu.answers[5].response, tlm::TLM_ADDRESS_ERROR_RESPONSE);
}

}  // namespace
