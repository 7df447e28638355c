// SPDX-License-Identifier: Apache-2.0
// The whole way of a device's request: link, root port, IOMMU, interconnect, DRAM controller, store; and
// MSIs.
#include <gtest/gtest.h>

#include "harness.h"
#include "iommu/iommu.h"
#include "mm/dram_controller.h"
#include "platform/imsic.h"
#include "platform/interconnect.h"
#include "platform/pcie_link.h"
#include "platform/root_port.h"

namespace {

using sim::PhysAddr;
using sim::Tick;

constexpr auto kRead = tlm::TLM_READ_COMMAND;
constexpr auto kWrite = tlm::TLM_WRITE_COMMAND;
constexpr std::uint64_t kDram = 0x8000'0000, kRegisters = 0x2800'0000, kMsi = 0x2400'0000;

platform::PcieLinkConfig gen3_x8() {
  platform::PcieLinkConfig c;
  c.generation = 3;
  c.width = 8;
  c.max_payload_bytes = 256;
  return c;
}

struct Path {
  explicit Path(const std::string& name = "p", sim::TimeMode mode = {})
      : s(name, {1, 0, mode}),
        store(PhysAddr(kDram), 64 << 20),
        device((name + "_device").c_str(), s, sim::Clock(4 * sim::kNanosecond)),
        cpu((name + "_cpu").c_str(), s, sim::Clock(400 * sim::kPicosecond)),
        bar((name + "_bar").c_str(), s, sim::Clock(4 * sim::kNanosecond)),
        space((name + "_space").c_str(), s, sim::Clock(4 * sim::kNanosecond)),
        link((name + "_link").c_str(), s, gen3_x8()),
        port((name + "_port").c_str(), s, {}),
        iommu((name + "_iommu").c_str(), s),
        bus((name + "_bus").c_str(), s, {}),
        dram((name + "_dram").c_str(), s, store),
        imsic((name + "_imsic").c_str(), s, {}) {
    device.socket.bind(link.from_device);
    link.to_device_config.bind(space.socket);
    link.to_device_mmio.bind(bar.socket);
    link.to_root.bind(port.from_link);
    port.to_link_config.bind(link.from_root_config);
    port.to_link_mmio.bind(link.from_root_mmio);
    port.to_iommu.bind(iommu.device);
    iommu.downstream.bind(bus.add_initiator("iommu"));
    iommu.walker.bind(bus.add_initiator("walker"));
    cpu.socket.bind(bus.add_initiator("cpu"));
    bus.add_target("dram", {kDram, 64 << 20}).bind(dram.port);
    bus.add_target("imsic", {imsic.config().base, imsic.config().size()}).bind(imsic.port);
    bus.add_target("iommu_registers", {kRegisters, 0x1000}).bind(iommu.registers);
    const auto& c = port.config();
    bus.add_target("root_port", {c.ecam.base, c.ecam.size + c.mmio.size}).bind(port.from_cpu);
    bar.latency = 4;
    imsic.connect([this](unsigned, std::uint32_t identity, Tick) { at_msi(identity); });
    cpu.send(kWrite, kRegisters + iommu::reg::kDdtp, 8, 0, 0, iommu::ddtp(iommu::DdtMode::kBare, 0));
  }
  void run(Tick end) { s.timeline().run_until(end); }
  bool idle() const {
    return device.idle() && cpu.idle() && link.idle() && port.idle() && iommu.idle() && bus.idle();
  }
  std::function<void(std::uint32_t)> at_msi = [](std::uint32_t) {};

  sim::Simulation s;
  mm::SparseStore store;
  harness::Source device, cpu;
  harness::Sink bar, space;
  platform::PcieLink link;
  platform::RootPort port;
  iommu::Iommu iommu;
  platform::Interconnect bus;
  mm::DramController dram;
  platform::Imsic imsic;
};

constexpr std::uint64_t payload_at(unsigned i) { return kDram + 0x10'0000 + 4096 * i; }
constexpr std::uint64_t descriptor_at(unsigned i) { return kDram + 0x1000 + 16 * i; }

/// Payload, descriptor write-back and MSI of 200 packets, and reads of the next descriptors between.
void receive_packets(Path& p) {
  for (unsigned i = 0; i < 200; ++i) {
    const Tick when = sim::kMicrosecond + (i / 10) * 2 * sim::kMicrosecond;
    const unsigned length = 64 + (i * 97) % 1400;
    for (unsigned at = 0; at < length; at += 256) {
      p.device.send(kWrite, payload_at(i) + at, std::min(256u, length - at), 0x180, when, 0x1111'0000 + i);
    }
    p.device.send(kWrite, descriptor_at(i), 16, 0x180, when, 0x2222'0000 + i);
    if (i % 8 == 0) p.device.send(kRead, descriptor_at(i), 16, 0x180, when);
    p.device.send(kWrite, kMsi, 4, 0x180, when, 1 + i);
    if (i % 10 == 0) p.cpu.send(kRead, 0x4000'0000 + 4 * i, 4, 0, when);
  }
}

TEST(Path, PayloadThenWriteBackThenMsi) {
  Path p;
  unsigned msis = 0;
  p.at_msi = [&](std::uint32_t identity) {
    const unsigned i = identity - 1;
    EXPECT_EQ(i, msis++);
    EXPECT_EQ(p.store.load<std::uint64_t>(PhysAddr(payload_at(i))), 0x1111'0000u + i);
    EXPECT_EQ(p.store.load<std::uint64_t>(PhysAddr(descriptor_at(i))), 0x2222'0000u + i);
  };
  receive_packets(p);
  p.run(200 * sim::kMicrosecond);
  EXPECT_EQ(msis, 200u);
  EXPECT_TRUE(p.device.idle());
  EXPECT_TRUE(p.cpu.idle());
  EXPECT_TRUE(p.link.idle());
  EXPECT_TRUE(p.port.idle());
  EXPECT_TRUE(p.iommu.idle());
  EXPECT_TRUE(p.bus.idle());
  EXPECT_EQ(p.s.payloads().outstanding(), 0u);
  // A device read sees the device's own earlier write.
  unsigned reads = 0;
  for (const auto& a : p.device.answers) {
    if (a.write) continue;
    ++reads;
    EXPECT_EQ(a.data, 0x2222'0000u + (a.address - descriptor_at(0)) / 16);
  }
  EXPECT_EQ(reads, 25u);
}

// Two bits of one word are wrong: what the device reads carries the poison bit over the link, through IOMMU and root port,
// and nothing that the device does about it is hidden from it.
TEST(Path, PoisonFromMemoryReachesTheDeviceThatReads) {
  Path p;
  p.dram.faults().flip(PhysAddr(payload_at(0) + 8), 0);
  p.dram.faults().flip(PhysAddr(payload_at(0) + 9), 1);
  p.device.send(kRead, payload_at(0), 64, 0x180, 2 * sim::kMicrosecond);
  p.device.send(kRead, payload_at(1), 64, 0x180, 2 * sim::kMicrosecond);
  p.run(100 * sim::kMicrosecond);
  ASSERT_EQ(p.device.answers.size(), 2u);
  EXPECT_TRUE(p.device.answers[0].poisoned);
  EXPECT_EQ(p.device.answers[0].response, tlm::TLM_GENERIC_ERROR_RESPONSE);
  EXPECT_FALSE(p.device.answers[1].poisoned);
  EXPECT_EQ(p.device.answers[1].response, tlm::TLM_OK_RESPONSE);
}

// A poisoned write (PCIe 2.7.2: error forwarding) is carried out and leaves poison where it wrote, until that is written
// over as a whole.
TEST(Path, PoisonThatADeviceWritesIsReadByTheCpuUntilItIsWrittenOver) {
  Path p;
  p.device.send(kWrite, payload_at(0), 64, 0x180, 2 * sim::kMicrosecond, 0x5555)->tag.poisoned = true;
  p.cpu.send(kRead, payload_at(0), 8, 0, 20 * sim::kMicrosecond);
  p.cpu.send(kRead, payload_at(0) + 64, 8, 0, 20 * sim::kMicrosecond);
  p.cpu.send(kWrite, payload_at(0), 64, 0, 40 * sim::kMicrosecond, 0x6666);
  p.cpu.send(kRead, payload_at(0), 8, 0, 60 * sim::kMicrosecond);
  p.run(200 * sim::kMicrosecond);
  std::vector<harness::Event> reads;
  for (const auto& a : p.cpu.answers) {
    if (!a.write) reads.push_back(a);
  }
  ASSERT_EQ(reads.size(), 3u);
  EXPECT_TRUE(reads[0].poisoned);
  EXPECT_EQ(reads[0].data, 0x5555u) << "the data are forwarded as they are";
  EXPECT_FALSE(reads[1].poisoned);
  EXPECT_FALSE(reads[2].poisoned);
  EXPECT_EQ(reads[2].data, 0x6666u);
}

TEST(Path, ARegisterReadOfTheDeviceFlushesItsWritesToMemory) {
  Path p;
  for (unsigned i = 0; i < 32; ++i) {
    p.device.send(kWrite, payload_at(i), 256, 0x180, 2 * sim::kMicrosecond, 0x3333'0000 + i);
  }
  p.cpu.send(kRead, 0x4000'0000, 4, 0, 2100 * sim::kNanosecond);
  // Everything the device had handed to the link when it saw the read is in memory when the CPU has the answer.
  std::uint64_t sent = 0;
  while (p.cpu.answers.size() < 2 && p.s.now() < 100 * sim::kMicrosecond) {
    p.run(p.s.now() + sim::kNanosecond);
    if (p.bar.requests.empty()) sent = p.device.sent;
  }
  EXPECT_GT(sent, 8u);
  for (unsigned i = 0; i < sent; ++i) {
    EXPECT_EQ(p.store.load<std::uint64_t>(PhysAddr(payload_at(i))), 0x3333'0000u + i) << i;
  }
}

TEST(Path, AllTimeModesGiveOneDigest) {
  Path skip("skip"), every("every", {true, true}), step("step", {false, false});
  for (Path* p : {&skip, &every, &step}) receive_packets(*p);
  for (Tick t = 20 * sim::kMicrosecond; t <= 100 * sim::kMicrosecond; t += 20 * sim::kMicrosecond) {
    for (Path* p : {&skip, &every, &step}) p->run(t);
  }
  EXPECT_TRUE(skip.idle());
  EXPECT_EQ(skip.s.digest().hex(), every.s.digest().hex());
  EXPECT_EQ(skip.s.digest().hex(), step.s.digest().hex());
}

}  // namespace
