// SPDX-License-Identifier: Apache-2.0
// IOMMU, root port, link and a device with a translation cache: the world of the ATS and PRI tests and of
// ats_fuzz.
#pragma once
#include "harness.h"
#include "platform/dma_device.h"
#include "platform/pcie_link.h"
#include "platform/root_port.h"
#include "testbenches/tests/iommu/fixture.h"

namespace ats_test {

namespace dc = iommu::dc;
namespace reg = iommu::reg;
using iommu::Command;
using iommu_test::World;
using platform::DmaDevice;
using sim::CompletionStatus;
using sim::Iova;

inline constexpr std::uint32_t kDid = 0x100, kPscid = 1;
inline constexpr std::uint64_t kIova = 0x1000'0000;

inline iommu::IommuConfig with_ats() {
  iommu::IommuConfig c;
  c.architecture.capabilities |= iommu::cap::kAts;
  c.ats_timeout_cycles = 20'000;
  return c;
}

inline Command ats_inval(std::uint64_t payload) {
  return {iommu::cmd::kAts | std::uint64_t{kDid} << 40, payload};
}
inline Command ats_prgr(std::uint16_t group, unsigned code) {
  return {iommu::cmd::kAts | 1u << 7 | std::uint64_t{kDid} << 40,
          std::uint64_t{group} << 32 | std::uint64_t{code} << 44};
}

/// IOMMU, root port, link and a device with an ATC; one Sv39 space.
struct AtsWorld : World {
  explicit AtsWorld(const std::string& name, std::uint64_t tc = dc::kEnAts | dc::kEnPri,
                    platform::DmaDeviceConfig device_config = {}, platform::PcieLinkConfig link_config = {},
                    sim::TimeMode mode = {}, sim::Cycle memory_latency = 20)
      : World(name, with_ats(), mode, memory_latency, /*direct=*/false),
        link((name + "_link").c_str(), sim, link_config),
        port((name + "_port").c_str(), sim, {}),
        endpoint((name + "_endpoint").c_str(), sim, device_config),
        cpu((name + "_cpu").c_str(), sim, sim::Clock(400 * sim::kPicosecond)),
        bar((name + "_bar").c_str(), sim, sim::Clock(4 * sim::kNanosecond)),
        unused((name + "_unused").c_str(), sim, sim::Clock(sim::kNanosecond)) {
    device.dma.bind(unused.socket);
    endpoint.dma.bind(link.from_device);
    link.to_device_config.bind(endpoint.config);
    link.to_device_mmio.bind(bar.socket);
    link.to_root.bind(port.from_link);
    port.to_link_config.bind(link.from_root_config);
    port.to_link_mmio.bind(link.from_root_mmio);
    port.to_iommu.bind(unit.device);
    cpu.socket.bind(port.from_cpu);
    connect_messages(link, port, unit);
    endpoint.send_message = [this](const platform::PcieMessage& m) {
      if (m.kind == platform::PcieMessage::Kind::kInvalidationCompletion) completed_at.push_back(sim.now());
      link.send(m);
    };
    link.message_to_device = [this](const platform::PcieMessage& m) {
      if (m.kind == platform::PcieMessage::Kind::kInvalidationRequest) requested_at.push_back(sim.now());
      endpoint.receive(m);
    };
    start();
    pq = page();
    registers.write(reg::kPqb, 8, iommu::queue_base(pq, 6));
    registers.write(reg::kPqcsr, 4, iommu::qcsr::kEnable);
    attach(kDid, kPscid, tc);
    configure(DmaDevice::kCommand, DmaDevice::kBusMaster);
    configure(DmaDevice::kAtsControl, DmaDevice::kAtsEnable);
    configure(DmaDevice::kPriControl, DmaDevice::kPriEnable);
    configure(DmaDevice::kPriAllocation, 4);
  }
  /// A configuration write, as a CPU would make it.
  void configure(unsigned offset, std::uint16_t value) {
    sim::Transaction* t = sim.payloads().acquire(
        tlm::TLM_WRITE_COMMAND, port.config().ecam.base + (std::uint64_t{kDid} << 12) + offset, 2);
    std::memcpy(t->get_data_ptr(), &value, 2);
    sc_core::sc_time delay;
    cpu.socket->b_transport(*t, delay);
    t->release();
  }
  std::uint16_t configuration(unsigned offset) {
    sim::Transaction* t = sim.payloads().acquire(
        tlm::TLM_READ_COMMAND, port.config().ecam.base + (std::uint64_t{kDid} << 12) + offset, 2);
    sc_core::sc_time delay;
    cpu.socket->b_transport(*t, delay);
    std::uint16_t value = 0;
    std::memcpy(&value, t->get_data_ptr(), 2);
    t->release();
    return value;
  }
  struct Seen {
    CompletionStatus status;
    bool translated;
    std::uint64_t data;
    sim::Tick at;
  };
  void write(std::uint64_t iova, std::uint64_t value) {
    std::uint8_t bytes[64] = {};
    std::memcpy(bytes, &value, 8);
    endpoint.write(Iova(iova), bytes, [this](const DmaDevice::Result& r) { note(r); });
  }
  void read(std::uint64_t iova) {
    endpoint.read(Iova(iova), 64, [this](const DmaDevice::Result& r) { note(r); });
  }
  void note(const DmaDevice::Result& r) {
    std::uint64_t data = 0;
    if (r.data.size() >= 8) std::memcpy(&data, r.data.data(), 8);
    results.push_back({r.status, r.translated, data, sim.now()});
  }
  void settle() {
    do run(1000);
    while (!endpoint.idle() || !link.idle() || !port.idle() || !unit.idle());
  }
  double link_stat(const std::string& name) {
    double value = -1;
    link.stats([&](std::string_view n, double v, std::string_view) {
      if (n == name) value = v;
    });
    return value;
  }
  double device_stat(const std::string& name) {
    double value = -1;
    endpoint.stats([&](std::string_view n, double v, std::string_view) {
      if (n == name) value = v;
    });
    return value;
  }

  platform::PcieLink link;
  platform::RootPort port;
  DmaDevice endpoint;
  harness::Source cpu;
  harness::Sink bar, unused;
  std::vector<Seen> results;
  std::vector<sim::Tick> requested_at, completed_at;  // invalidations, at the device
  std::uint64_t pq = 0;
};

}  // namespace ats_test
