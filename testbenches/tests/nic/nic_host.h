// SPDX-License-Identifier: Apache-2.0
// A host for tests of nic::Nic: memory behind `dma`, blocking register access, rings, a log of TLPs.
#pragma once
#include <span>
#include <string>
#include <vector>

#include "nic/device/nic.h"
#include "nic/device/registers.h"
#include "testbenches/conform/bench_ports.h"
#include "testbenches/conform/memory_target.h"

namespace nic_test {

inline constexpr std::uint64_t kMemory = 0x8000'0000, kBar0 = 0x4000'0000, kBar3 = 0x4002'0000,
                               kVfBar0 = 0x4010'0000, kVfBar3 = 0x4014'0000, kRing = kMemory + 0x10000,
                               kBuffers = kMemory + 0x10'0000, kDoorbell = kMemory + 0xF000;

struct Tlp {
  bool write;
  std::uint64_t address;
  std::vector<std::uint8_t> data;
  std::uint32_t requester;
};

class Host {
 public:
  /// `direct`: `memory` is bound to the device's DMA; else the caller puts something between.
  explicit Host(const std::string& name = "h", const nic::NicConfig& config = {},
                sim::SimulationConfig time = {}, bool direct = true)
      : sim((name + "_sim"), time),
        store(sim::PhysAddr(kMemory), 64u << 20),
        nic((name + "_nic").c_str(), sim, config),
        memory((name + "_memory").c_str(), sim, store, 100),
        config((name + "_config").c_str(), sim),
        mmio((name + "_mmio").c_str(), sim),
        wire((name + "_wire").c_str(), sim),
        sink((name + "_sink").c_str()) {
    if (direct) nic.dma.bind(memory.port);
    this->config.out.bind(nic.config);
    mmio.out.bind(nic.mmio);
    wire.out.bind(nic.wire_in);
    nic.wire_out.bind(sink.in);
  }

  /// Keeps every DMA request in `log`.
  void watch() {
    memory.observer = [this](const tlm::tlm_generic_payload& p) {
      log.push_back({p.is_write(),
                     p.get_address(),
                     {p.get_data_ptr(), p.get_data_ptr() + p.get_data_length()},
                     sim::tag_of(p).requester.value});
    };
  }

  std::uint32_t config_read(std::uint32_t function, std::uint32_t offset, unsigned bytes = 4) {
    std::uint32_t v = 0;
    refused = !config.access(false, std::uint64_t{function} << 12 | offset, &v, bytes);
    return v;
  }
  void config_write(std::uint32_t function, std::uint32_t offset, std::uint32_t v, unsigned bytes = 4) {
    refused = !config.access(true, std::uint64_t{function} << 12 | offset, &v, bytes);
  }
  std::uint32_t read(std::uint32_t reg, std::uint64_t bar = kBar0) {
    std::uint32_t v = ~0u;
    refused = !mmio.access(false, bar + reg, &v, 4);
    return v;
  }
  void write(std::uint32_t reg, std::uint32_t v, std::uint64_t bar = kBar0) {
    refused = !mmio.access(true, bar + reg, &v, 4);
  }
  static std::uint64_t vf_bar0(unsigned vf) { return kVfBar0 + vf * nic::pci::kVfBarBytes; }
  static std::uint64_t vf_bar3(unsigned vf) { return kVfBar3 + vf * nic::pci::kVfBarBytes; }

  /// BARs and COMMAND of the PF; receive and transmit on.
  void bring_up(std::uint32_t rctl = nic::rctl::EN | nic::rctl::BAM | nic::rctl::SECRC) {
    using namespace nic;
    config_write(0, pci::BAR0, kBar0);
    config_write(0, pci::BAR0 + 12, kBar3);
    config_write(0, pci::SRIOV_BAR0, kVfBar0);
    config_write(0, pci::SRIOV_BAR3, kVfBar3);
    config_write(0, pci::COMMAND, pci::COMMAND_MEM | pci::COMMAND_BME, 2);
    write(reg::RXCSUM, 0x2300);
    write(reg::RCTL, rctl);
    write(reg::TCTL, read(reg::TCTL) | tctl::EN);
  }

  void enable_vfs(unsigned n) {
    using namespace nic;
    config_write(0, pci::SRIOV_NUM_VFS, n, 2);
    config_write(0, pci::SRIOV_CTRL, pci::SRIOV_VFE | pci::SRIOV_VF_MSE, 2);
    for (unsigned vf = 0; vf < n; ++vf) config_write(pci::vf_function(vf), pci::COMMAND, pci::COMMAND_BME, 2);
  }
  /// VMDq, replication, each VF n at 02:55:00:00:00:0n.
  void enable_vmdq(unsigned vfs) {
    using namespace nic;
    write(reg::MRQC, mrqc::kVmdq);
    write(reg::VT_CTL, vfs << 7 | vt_ctl::REPL_EN);
    for (unsigned vf = 0; vf < vfs; ++vf) {
      write(reg::RAL(1 + vf), 0x00005502);
      write(reg::RAH(1 + vf), rah::AV | 1u << (18 + vf) | vf << 8);
    }
    for (unsigned p = 0; p < kPools; ++p)
      write(reg::VMOLR(p), vmolr::STRCRC | vmolr::AUPE | vmolr::BAM | 0x2600);
    write(reg::VFRE, 0xFF);
    write(reg::VFTE, 0xFF);
  }

  static std::uint64_t ring_of(unsigned queue) { return kRing + 0x1000 * queue; }
  static std::uint64_t buffer_of(unsigned queue, unsigned index) {
    return kBuffers + 0x10'0000ull * queue + 0x1000ull * index;
  }
  /// Programs receive queue `queue` with `size` descriptors, all but `keep` posted.
  void rx_ring(unsigned queue, unsigned size, std::uint32_t srrctl, std::uint32_t rxdctl = 0x10000,
               unsigned keep = 1, std::uint64_t bar = kBar0, std::uint32_t base_reg = 0) {
    using namespace nic;
    const std::uint32_t base = base_reg != 0 ? base_reg : reg::RDBAL(queue);
    for (unsigned i = 0; i < size; ++i) post(queue, i);
    write(base + 0x28, rxdctl, bar);
    write(base + 0x00, static_cast<std::uint32_t>(ring_of(queue)), bar);
    write(base + 0x04, static_cast<std::uint32_t>(ring_of(queue) >> 32), bar);
    write(base + 0x08, size * 16, bar);
    write(base + 0x10, 0, bar);
    write(base + 0x0C, srrctl, bar);
    write(base + 0x28, rxdctl | dctl::ENABLE, bar);
    write(base + 0x18, size - keep, bar);
  }
  void post(unsigned queue, unsigned index) {
    store.store<std::uint64_t>(sim::PhysAddr(ring_of(queue) + 16 * index), buffer_of(queue, index));
    store.store<std::uint64_t>(sim::PhysAddr(ring_of(queue) + 16 * index + 8),
                               buffer_of(queue, index) + 0x800);
  }
  nic::RxDescriptor rx_descriptor(unsigned queue, unsigned index) const {
    return {store.load<std::uint64_t>(sim::PhysAddr(ring_of(queue) + 16 * index)),
            store.load<std::uint64_t>(sim::PhysAddr(ring_of(queue) + 16 * index + 8))};
  }
  std::vector<std::uint8_t> bytes(std::uint64_t address, std::size_t n) const {
    const std::uint8_t* p = store.host(sim::PhysAddr(address), n);
    return {p, p + n};
  }

  /// MSI-X table entry `vector` of the function whose MSI-X BAR is `bar` writes `data` to its own doorbell
  /// dword.
  void msix(unsigned vector, std::uint32_t data, std::uint64_t bar = kBar3) {
    write(16 * vector, static_cast<std::uint32_t>(doorbell(vector)), bar);
    write(16 * vector + 4, 0, bar);
    write(16 * vector + 8, data, bar);
    write(16 * vector + 12, 0, bar);
  }
  static std::uint64_t doorbell(unsigned vector) { return kDoorbell + 16 * vector; }
  std::uint32_t take_doorbell(unsigned vector) {
    const sim::PhysAddr at(doorbell(vector));
    const auto v = store.load<std::uint32_t>(at);
    store.store<std::uint32_t>(at, 0);
    return v;
  }

  void send(std::span<const std::uint8_t> frame) {
    wire.access(true, 0, const_cast<std::uint8_t*>(frame.data()), static_cast<unsigned>(frame.size()));
  }
  void run(sim::Tick t) { sim.timeline().run_until(sim.now() + t); }
  void settle() {
    do {
      run(2 * sim::kMicrosecond);
    } while (!nic.idle() || !memory.idle());
    nic.check_conservation();
  }

  sim::Simulation sim;
  mm::SparseStore store;
  nic::Nic nic;
  conform::MemoryTarget memory;
  conform::Requester config, mmio, wire;
  conform::WireSink sink;
  std::vector<Tlp> log;
  bool refused = false;  ///< the last access was
};

inline std::vector<std::uint8_t> from_hex(std::string_view text) {
  std::vector<std::uint8_t> out;
  for (std::size_t i = 0; i + 1 < text.size(); i += 2) {
    out.push_back(static_cast<std::uint8_t>(std::stoi(std::string(text.substr(i, 2)), nullptr, 16)));
  }
  return out;
}

/// A frame of an experimental Ethernet type, `bytes` long without FCS, with a counting payload.
inline std::vector<std::uint8_t> plain_frame(std::size_t bytes, std::array<std::uint8_t, 6> to = {
                                                                    0x52, 0x54, 0, 0x12, 0x34, 0x56}) {
  std::vector<std::uint8_t> f(bytes);
  for (std::size_t i = 0; i < bytes; ++i) f[i] = static_cast<std::uint8_t>(i);
  std::copy(to.begin(), to.end(), f.begin());
  const std::uint8_t rest[] = {0x02, 0, 0, 0, 0, 0x99, 0x88, 0xB5};
  std::copy(std::begin(rest), std::end(rest), f.begin() + 6);
  return f;
}

inline constexpr std::uint32_t kOneBuffer2K = 0x0200'0002;

}  // namespace nic_test
