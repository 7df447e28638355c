// SPDX-License-Identifier: Apache-2.0
#include "platform/machine.h"

namespace platform {

MachineConfig::MachineConfig() {
  // The chip's link is Gen1 x4; the default machine runs it at 10 Gb/s, so the link must carry that.
  link.generation = 3;
  link.width = 8;
  link.max_payload_bytes = 256;
}

void MachineConfig::finish() {
  imsic.cores = kernel.cores;
  kernel.imsic_base = sim::PhysAddr(imsic.base);
  kernel.imsic_stride = 0x1000;
  nic.max_payload_bytes = std::max(nic.max_payload_bytes, link.max_payload_bytes);
  nic.reset_payload_bytes = link.max_payload_bytes;
  nic.reset_read_request_bytes = link.max_read_request_bytes;
  if (driver.rx_cpu >= kernel.cores) {
    throw sim::Error(
        fmt::format("nic.driver.rx_cpu: {} is not one of the {} cores", driver.rx_cpu, kernel.cores));
  }
  if (root_port.ecam.base + root_port.ecam.size != root_port.mmio.base) {
    throw sim::Error("root_port.mmio.base: the MMIO window must follow the ECAM window");
  }
  memory.bytes -= memory.bytes % sim::kPageSize;  // 12.3 TB are no whole pages
  memory.frames = page_frames(memory.map, memory.base, memory.bytes);
  memory.buddy.validate();
  dram.validate();
  iommu.validate();
  interconnect.validate();
  root_port.validate();
  link.validate();
  imsic.validate();
  kernel.validate();
  nic.validate();
  driver.rx.validate();
  driver.tx.validate();
  pool.validate();
}

Machine::Machine(const MachineConfig& config)
    : config_(config),
      simulation_("machine", config.simulation),
      store_(config.memory.base, config.memory.bytes,
             config.memory.huge_host_pages ? mm::HostPages::kHuge : mm::HostPages::kSmall),
      frames_(store_, config.memory.frames),
      pages_(frames_, memory_trace_, simulation_.random("fail_page_alloc"), config.memory.buddy),
      wire_("wire", simulation_, config.nic.wire_bits_per_second),
      nic_("nic", simulation_, config.nic),
      link_("link", simulation_, config.link),
      root_port_("root_port", simulation_, config.root_port),
      iommu_("iommu", simulation_, config.iommu),
      interconnect_("interconnect", simulation_, config.interconnect),
      dram_("dram", simulation_, store_, config.dram),
      imsic_("imsic", simulation_, config.imsic),
      cpu_port_("cpu_port", simulation_),
      kernel_(simulation_, store_, frames_, pages_, cpu_port_, config.kernel),
      pools_(kernel_, memory_trace_, config.pool),
      stack_(kernel_, pools_, memory_trace_, config.stack) {
  bridge_.ecam = sim::PhysAddr(config.root_port.ecam.base);
  bridge_.mmio_base = sim::PhysAddr(config.root_port.mmio.base);
  bridge_.mmio_bytes = config.root_port.mmio.size;

  wire_.wire.bind(nic_.wire_in);
  nic_.dma.bind(link_.from_device);
  link_.to_device_config.bind(nic_.config);
  link_.to_device_mmio.bind(nic_.mmio);
  link_.to_root.bind(root_port_.from_link);
  root_port_.to_link_config.bind(link_.from_root_config);
  root_port_.to_link_mmio.bind(link_.from_root_mmio);
  root_port_.to_iommu.bind(iommu_.device);
  iommu_.downstream.bind(interconnect_.add_initiator("iommu"));
  iommu_.walker.bind(interconnect_.add_initiator("walker"));
  connect_messages(link_, root_port_, iommu_);
  cpu_port_.socket.bind(interconnect_.add_initiator("cpu"));
  interconnect_
      .add_target("dram", {config.memory.base.value, config.memory.bytes}, Interconnect::Handover::kAhead)
      .bind(dram_.port);
  interconnect_.add_target("imsic", {config.imsic.base, config.imsic.size()}).bind(imsic_.port);
  interconnect_.add_target("iommu_registers", {config.iommu_registers.value, 0x1000}).bind(iommu_.registers);
  const AddressWindow& ecam = config.root_port.ecam;
  interconnect_.add_target("root_port", {ecam.base, ecam.size + config.root_port.mmio.size})
      .bind(root_port_.from_cpu);

  imsic_.connect([this](unsigned core, std::uint32_t identity, sim::Tick arrival) {
    kernel_.interrupts().raise(core, identity, arrival);
  });
  stack_.set_verifier(verify_payload);
}

Machine::~Machine() = default;

void Machine::stats(const std::function<void(std::string_view, double, std::string_view)>& out) const {
  const auto part = [&](std::string_view prefix, const auto& module) {
    module.stats([&](std::string_view name, double value, std::string_view unit) {
      out(fmt::format("{}.{}", prefix, name), value, unit);
    });
  };
  out("wire.frames_sent", static_cast<double>(wire_.frames_sent()), "frames");
  part("nic", nic_);
  part("link", link_);
  part("root_port", root_port_);
  part("iommu", iommu_);
  part("interconnect", interconnect_);
  part("dram", dram_);
  part("imsic", imsic_);
  part("cpu_port", cpu_port_);
  part("kernel", kernel_);
  part("pages", pages_);
  part("pools", pools_);
  const auto defrag = [&](std::string_view family, const nic::IpDefrag& d) {
    const auto figure = [&](std::string_view name, std::uint64_t value, std::string_view unit) {
      out(fmt::format("stack.{}.{}", family, name), static_cast<double>(value), unit);
    };
    figure("reassembled", d.reassembled(), "datagrams");
    figure("timeouts", d.timeouts(), "datagrams");
    figure("drops", d.drops(), "fragments");
    figure("waiting", d.fragments_waiting(), "fragments");
  };
  defrag("ipv4_defrag", stack_.defrag());
  defrag("ipv6_defrag", stack_.defrag6());
}

void Machine::check_conservation() const {
  nic_.check_conservation();
  // Only what the modelled software cannot break: a strategy that frees a page twice leaves the lists odd,
  // and that is the checker's to report (BuddyAllocator::verify() tells where).
  const auto& pages = pages_.counters();
  POOLSIM_ASSERT(pages.managed_pages == pages.free_pages + pages.allocated_pages);
}

}  // namespace platform
