// SPDX-License-Identifier: Apache-2.0
// The root port: ECAM, unsupported requests, hot removal, completion timeout, a read that pushes writes.
#include "platform/root_port.h"

#include <gtest/gtest.h>

#include "harness.h"
#include "platform/pcie_link.h"

namespace {

using platform::RootPort;
using platform::RootPortConfig;
using sim::CompletionStatus;
using sim::kNanosecond;
using sim::Tick;

constexpr auto kRead = tlm::TLM_READ_COMMAND;
constexpr auto kWrite = tlm::TLM_WRITE_COMMAND;
constexpr std::uint64_t kEcam = 0x3000'0000, kMmio = 0x4000'0000;

constexpr std::uint64_t ecam(unsigned rid, unsigned reg) { return kEcam + (std::uint64_t{rid} << 12) + reg; }

/// CPU and device with root port and link between, as in the machine.
struct Bench {
  explicit Bench(const char* name = "s", sim::TimeMode mode = {}, RootPortConfig config = {})
      : s(name, {1, 0, mode}),
        device((std::string(name) + "_device").c_str(), s, sim::Clock(4 * kNanosecond)),
        cpu((std::string(name) + "_cpu").c_str(), s, sim::Clock(400 * sim::kPicosecond)),
        link((std::string(name) + "_link").c_str(), s, platform::PcieLinkConfig{}),
        port((std::string(name) + "_port").c_str(), s, config),
        iommu((std::string(name) + "_iommu").c_str(), s, sim::Clock(kNanosecond)),
        bar((std::string(name) + "_bar").c_str(), s, sim::Clock(4 * kNanosecond)),
        space((std::string(name) + "_space").c_str(), s, sim::Clock(4 * kNanosecond)) {
    device.socket.bind(link.from_device);
    link.to_root.bind(port.from_link);
    port.to_iommu.bind(iommu.socket);
    cpu.socket.bind(port.from_cpu);
    port.to_link_config.bind(link.from_root_config);
    port.to_link_mmio.bind(link.from_root_mmio);
    link.to_device_mmio.bind(bar.socket);
    link.to_device_config.bind(space.socket);
    space.latency = space.write_latency = bar.latency = 3;
  }
  void run(Tick time = 200 * sim::kMicrosecond) { s.timeline().run_until(s.now() + time); }
  sim::Simulation s;
  harness::Source device, cpu;
  platform::PcieLink link;
  RootPort port;
  harness::Sink iommu, bar, space;
};

TEST(RootPort, ConfigurationAddressesNameFunctionAndRegister) {
  Bench b;
  b.cpu.send(kRead, ecam(0x100, 0x10), 4);
  b.cpu.send(kWrite, ecam(0x180, 0x4), 2);
  b.run();
  ASSERT_EQ(b.space.requests.size(), 2u);
  EXPECT_EQ(b.space.requests[0].address, 0x10u);
  EXPECT_EQ(b.space.requests[1].address, 0x80'004u);
  ASSERT_EQ(b.cpu.answers.size(), 2u);
  EXPECT_EQ(b.cpu.answers[0].address, ecam(0x100, 0x10));
  EXPECT_EQ(b.cpu.answers[0].data, 0x10u);
  EXPECT_TRUE(b.port.idle());
  EXPECT_EQ(b.s.payloads().outstanding(), 0u);
}

TEST(RootPort, WhatNobodyAnswersReadsAsAllOnes) {
  Bench b;
  b.space.status = CompletionStatus::kUnsupportedRequest;
  b.cpu.send(kRead, ecam(0x0, 0), 4);    // bus 0 holds nothing behind this port
  b.cpu.send(kRead, ecam(0x300, 0), 4);  // beyond the subordinate bus
  b.cpu.send(kRead, ecam(0x101, 0), 4);  // the device answers Unsupported Request
  b.run();
  ASSERT_EQ(b.cpu.answers.size(), 3u);
  for (const auto& a : b.cpu.answers) {
    EXPECT_EQ(a.data, 0xffff'ffffu);
    EXPECT_EQ(a.response, tlm::TLM_OK_RESPONSE);
    EXPECT_EQ(a.status, CompletionStatus::kUnsupportedRequest);
  }
  EXPECT_EQ(b.space.requests.size(), 1u);
}

TEST(RootPort, DeviceRequestsReachTheIommuInOrder) {
  Bench b;
  for (unsigned i = 0; i < 100; ++i) b.device.send(i % 3 ? kWrite : kRead, 0x10'0000 + 64 * i, 64);
  b.iommu.latency = 40;
  b.iommu.write_latency = 25;
  b.iommu.capacity = 4;
  b.run();
  ASSERT_EQ(b.iommu.requests.size(), 100u);
  for (unsigned i = 0; i < 100; ++i) EXPECT_EQ(b.iommu.requests[i].address, 0x10'0000 + 64 * i);
  EXPECT_EQ(b.device.answers.size(), 100u);
  for (const auto& a : b.device.answers) EXPECT_EQ(a.response, tlm::TLM_OK_RESPONSE) << a.address;
  EXPECT_TRUE(b.port.idle());
}

/// A device of the port's own clock, without a link.
struct Short {
  explicit Short(const char* name, RootPortConfig config = {})
      : s(name, {1, 0, {}}),
        device((std::string(name) + "_device").c_str(), s, sim::Clock(kNanosecond)),
        cpu((std::string(name) + "_cpu").c_str(), s, sim::Clock(kNanosecond)),
        port((std::string(name) + "_port").c_str(), s, config),
        iommu((std::string(name) + "_iommu").c_str(), s, sim::Clock(kNanosecond)),
        bar((std::string(name) + "_bar").c_str(), s, sim::Clock(kNanosecond)),
        space((std::string(name) + "_space").c_str(), s, sim::Clock(kNanosecond)) {
    device.socket.bind(port.from_link);
    port.to_iommu.bind(iommu.socket);
    cpu.socket.bind(port.from_cpu);
    port.to_link_config.bind(space.socket);
    port.to_link_mmio.bind(bar.socket);
    iommu.latency = iommu.write_latency = 30;
  }
  void run_until(Tick time) { s.timeline().run_until(time); }
  sim::Simulation s;
  harness::Source device, cpu;
  RootPort port;
  harness::Sink iommu, bar, space;
};

TEST(RootPort, APostedWriteIsAnsweredWithSuccessWhenItIsTaken) {
  Short b("b");
  b.device.send(kWrite, 0x1000, 64, 0x100, 100 * kNanosecond);
  b.run_until(105 * kNanosecond);
  ASSERT_EQ(b.device.answers.size(), 1u);
  EXPECT_EQ(b.device.answers[0].response, tlm::TLM_OK_RESPONSE);
  EXPECT_FALSE(b.port.idle()) << "the IOMMU's side has not answered";
  b.run_until(500 * kNanosecond);
  EXPECT_TRUE(b.port.idle());
  EXPECT_EQ(b.s.payloads().outstanding(), 0u);
}

// Sent at 100 ns, seen an edge later, on its way for ten cycles: looked at by the IOMMU after the edge at 110 ns.
constexpr Tick kArrives = 110 * kNanosecond;

TEST(RootPort, WhatWaitsForNobodyArrivesAfterTheCyclesOfThePort) {
  Short b("b");
  b.device.send(kWrite, 0x1000, 64, 0x100, 100 * kNanosecond);
  b.device.send(kRead, 0x2000, 64, 0x100, 150 * kNanosecond);
  b.run_until(kNanosecond * 500);
  ASSERT_EQ(b.iommu.requests.size(), 2u);
  for (unsigned i = 0; i < 2; ++i) {
    EXPECT_GT(b.iommu.requests[i].time, kArrives + i * 50 * kNanosecond);
    EXPECT_LE(b.iommu.requests[i].time, kArrives + i * 50 * kNanosecond + sim::kPicosecond);
  }
}

TEST(RootPort, WhatFindsTheIommuBusyWaitsForIt) {
  Short b("b");
  b.iommu.capacity = 1;  // the second has to wait for the answer to the first
  for (const std::uint64_t address : {0x1000, 0x2000, 0x3000}) {
    b.device.send(kWrite, address, 64, 0x100, 100 * kNanosecond);
  }
  b.run_until(kNanosecond * 500);
  ASSERT_EQ(b.iommu.requests.size(), 3u);
  for (unsigned i = 0; i < 3; ++i) {
    EXPECT_EQ(b.iommu.requests[i].address, 0x1000u * (i + 1));
    EXPECT_GE(b.iommu.requests[i].time, kArrives + i * 30 * kNanosecond);
  }
}

TEST(RootPort, ARemovalMeetsWhatThePortHasNotSeen) {
  Short b("b");
  b.device.send(kWrite, 0x1000, 64, 0x180, 100 * kNanosecond);
  b.device.send(kWrite, 0x2000, 64, 0x180, 106 * kNanosecond);
  b.run_until(105 * kNanosecond);
  b.port.remove(sim::RequesterId(0x180));
  b.run_until(500 * kNanosecond);
  ASSERT_EQ(b.iommu.requests.size(), 1u);
  EXPECT_EQ(b.iommu.requests[0].address, 0x1000u);
  EXPECT_TRUE(b.port.idle());
}

TEST(RootPort, RequestsOfAnUnknownBusAreUnsupported) {
  Bench b;
  b.device.send(kRead, 0x1000, 8, 0x500);
  b.device.send(kWrite, 0x1000, 8, 0x500);
  b.device.send(kWrite, 0x2000, 8, 0x180);
  b.run();
  ASSERT_EQ(b.iommu.requests.size(), 1u);
  EXPECT_EQ(b.iommu.requests[0].address, 0x2000u);
  for (const auto& a : b.device.answers) {
    EXPECT_EQ(a.status, a.write ? CompletionStatus::kSuccess : CompletionStatus::kUnsupportedRequest);
  }
}

TEST(RootPort, RemovedFunctionGetsUnsupportedRequestAndAnswersNothing) {
  Bench b;
  const sim::RequesterId vf(0x180);
  b.port.remove(vf, {{kMmio + 0x10'0000, 0x8000}});
  EXPECT_FALSE(b.port.present(vf));
  EXPECT_TRUE(b.port.present(sim::RequesterId(0x100)));
  b.device.send(kWrite, 0x1000, 64, 0x180);
  b.device.send(kRead, 0x2000, 64, 0x180);
  b.device.send(kRead, 0x3000, 64, 0x100);
  b.cpu.send(kRead, ecam(0x180, 0), 4);
  b.cpu.send(kRead, kMmio + 0x10'0010, 4);
  b.cpu.send(kWrite, kMmio + 0x10'0020, 4);
  b.cpu.send(kRead, kMmio + 0x20'0000, 4);  // another function
  b.run();
  ASSERT_EQ(b.iommu.requests.size(), 1u);
  EXPECT_EQ(b.iommu.requests[0].address, 0x3000u);
  ASSERT_EQ(b.bar.requests.size(), 1u);
  EXPECT_EQ(b.bar.requests[0].address, kMmio + 0x20'0000);
  ASSERT_EQ(b.cpu.answers.size(), 4u);
  for (const auto& a : b.cpu.answers) {
    if (a.write || a.address == kMmio + 0x20'0000) continue;
    EXPECT_EQ(a.data, 0xffff'ffffu);
    EXPECT_NEAR(static_cast<double>(a.time) / sim::kMicrosecond, 50.0, 0.1);  // the completion timeout
  }
  b.port.insert(vf);
  b.device.send(kWrite, 0x4000, 64, 0x180);
  b.run();
  EXPECT_EQ(b.iommu.requests.back().address, 0x4000u);
}

TEST(RootPort, ALostCompletionEndsInTheTimeoutAndIsTold) {
  Bench b;
  unsigned asked = 0;
  b.port.set_completion_fault([&asked](std::uint64_t, bool config) { return !config && asked++ == 0; });
  std::vector<platform::CompletionTimedOut> told;
  b.port.completion_timed_out.subscribe(
      [&told](const platform::CompletionTimedOut& e) { told.push_back(e); });
  b.cpu.send(kRead, kMmio + 0x10, 4);
  b.run();
  // The device has answered; the completion is what was lost.
  ASSERT_EQ(b.bar.requests.size(), 1u);
  ASSERT_EQ(b.cpu.answers.size(), 1u);
  EXPECT_EQ(b.cpu.answers[0].data, 0xffff'ffffu);
  EXPECT_NEAR(static_cast<double>(b.cpu.answers[0].time) / sim::kMicrosecond, 50.0, 0.1);
  ASSERT_EQ(told.size(), 1u);
  EXPECT_EQ(told[0].address, kMmio + 0x10);
  EXPECT_NEAR(static_cast<double>(told[0].time) / sim::kMicrosecond, 50.0, 0.1);
  EXPECT_TRUE(b.port.idle()) << "its tag is free again";
  const Tick before = b.s.now();
  b.cpu.send(kRead, kMmio + 0x20, 4);
  b.run();
  ASSERT_EQ(b.cpu.answers.size(), 2u);
  EXPECT_LT(b.cpu.answers[1].time, before + 5 * sim::kMicrosecond) << "the next one gets through";
  EXPECT_EQ(told.size(), 1u);
}

TEST(RootPort, RemovalWhileAReadIsOnTheLinkEndsInTheTimeout) {
  Bench b;
  b.space.latency = 1000;  // 4 us
  b.cpu.send(kRead, ecam(0x100, 0), 4);
  b.run(2 * sim::kMicrosecond);
  b.port.remove(sim::RequesterId(0x100));
  b.run();
  ASSERT_EQ(b.cpu.answers.size(), 1u);
  EXPECT_EQ(b.cpu.answers[0].data, 0xffff'ffffu);
  EXPECT_GT(b.cpu.answers[0].time, 50 * sim::kMicrosecond);
  EXPECT_TRUE(b.port.idle());
  EXPECT_EQ(b.s.payloads().outstanding(), 0u);
}

TEST(RootPort, ALateCompletionIsDropped) {
  Bench b;
  b.bar.mute = true;
  b.cpu.send(kRead, kMmio, 4);
  b.run();
  ASSERT_EQ(b.cpu.answers.size(), 1u);
  EXPECT_EQ(b.cpu.answers[0].data, 0xffff'ffffu);
  EXPECT_FALSE(b.port.idle());
  b.bar.answer_kept();
  b.run();
  EXPECT_EQ(b.cpu.answers.size(), 1u);
  EXPECT_TRUE(b.port.idle());
  EXPECT_EQ(b.s.payloads().outstanding(), 0u);
}

TEST(RootPort, AReadPushesWritesUntilTheyAreGloballyOrdered) {
  Bench b;
  b.iommu.write_latency = 20'000;  // 20 us until ordered
  b.device.send(kWrite, 0x1000, 64);
  b.cpu.send(kRead, kMmio, 4, 0, sim::kMicrosecond);
  b.run();
  ASSERT_EQ(b.cpu.answers.size(), 1u);
  EXPECT_LT(b.bar.requests[0].time, 2 * sim::kMicrosecond);
  EXPECT_GE(b.cpu.answers[0].time, b.iommu.requests[0].time + 20 * sim::kMicrosecond);
  EXPECT_LT(b.cpu.answers[0].time, b.iommu.requests[0].time + 21 * sim::kMicrosecond);
}

TEST(RootPort, LaterWritesDoNotHoldACompletion) {
  Bench b;
  b.iommu.write_latency = 20'000;
  b.cpu.send(kRead, kMmio, 4);
  b.device.send(kWrite, 0x1000, 64, 0x100, sim::kMicrosecond);
  b.run();
  EXPECT_LT(b.cpu.answers[0].time, sim::kMicrosecond);
}

TEST(RootPort, ImpossibleWindowsAreRefused) {
  RootPortConfig c;
  c.mmio.base = c.ecam.base + 0x1000;
  EXPECT_THROW(c.validate(), sim::Error);
  c = {};
  c.ecam.size = 1 << 20;
  try {
    c.validate();
    FAIL();
  } catch (const sim::Error& e) {
    EXPECT_STREQ(e.what(), "root_port.ecam_size: 0x100000 bytes do not reach bus 2 (1 MiB a bus)");
  }
}

TEST(RootPort, AllTimeModesGiveOneDigest) {
  RootPortConfig c;
  c.upstream_buffer = 2;
  c.downstream_buffer = 2;
  c.nonposted = 2;
  Bench skip("skip", {}, c), every("every", {true, true}, c), step("step", {false, false}, c);
  for (Bench* b : {&skip, &every, &step}) {
    b->iommu.latency = 33;
    b->iommu.write_latency = 57;
    b->iommu.capacity = 2;
    b->port.remove(sim::RequesterId(0x182));
    for (unsigned i = 0; i < 200; ++i) {
      const Tick when = (i / 20) * 5 * sim::kMicrosecond;
      b->device.send(i % 4 == 1 ? kRead : kWrite, 4096 * i, 1 + (i * 37) % 256, 0x180 + 2 * (i % 3), when);
      if (i % 5 == 0) b->cpu.send(i % 2 ? kRead : kWrite, kMmio + 4 * i, 4, 0, when);
      if (i % 7 == 0) b->cpu.send(kRead, ecam(0x180 + 2 * (i % 4), 4 * i), 4, 0, when);
    }
  }
  for (Tick t = 50 * sim::kMicrosecond; t <= 1000 * sim::kMicrosecond; t += 50 * sim::kMicrosecond) {
    for (Bench* b : {&skip, &every, &step}) b->s.timeline().run_until(t);
  }
  EXPECT_TRUE(skip.device.idle() && skip.cpu.idle() && skip.port.idle());
  EXPECT_EQ(skip.s.digest().hex(), every.s.digest().hex());
  EXPECT_EQ(skip.s.digest().hex(), step.s.digest().hex());
}

}  // namespace
