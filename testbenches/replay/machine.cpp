// SPDX-License-Identifier: Apache-2.0
#include "testbenches/replay/machine.h"

namespace replay {
namespace {

constexpr std::uint64_t kDramBase = 0x8000'0000;
constexpr std::uint64_t kDramBytes = std::uint64_t{4} << 30;
constexpr std::uint64_t kRegisterBytes = 4096;

platform::ImsicConfig imsic_config(const kernel::KernelConfig& config) {
  platform::ImsicConfig imsic;
  imsic.base = config.imsic_base.value;
  imsic.cores = config.cores;
  return imsic;
}

constexpr sim::Clock fabric_clock() { return sim::Clock::from_hz(10'000'000'000); }

platform::InterconnectConfig interconnect_config() {
  platform::InterconnectConfig config;
  config.clock = fabric_clock();
  return config;
}

iommu::IommuConfig iommu_config() {
  iommu::IommuConfig config;
  config.clock = fabric_clock();
  return config;
}

}  // namespace

/// Stands where a root port would: the IOMMU's device side, idle.
class RecordedMachine::NoDevice final : public sc_core::sc_module, public tlm::tlm_bw_transport_if<> {
 public:
  explicit NoDevice(sc_core::sc_module_name name) : sc_module(name) { socket.bind(*this); }
  tlm::tlm_initiator_socket<64> socket{"socket"};

  tlm::tlm_sync_enum nb_transport_bw(tlm::tlm_generic_payload&, tlm::tlm_phase&, sc_core::sc_time&) override {
    return tlm::TLM_COMPLETED;
  }
  void invalidate_direct_mem_ptr(sc_dt::uint64, sc_dt::uint64) override {}
};

RecordedMachine::RecordedMachine(const kernel::KernelConfig& kernel_config,
                                 const pagepool::PoolOptions& pool_options)
    : store_(sim::PhysAddr(kDramBase), kDramBytes),
      frames_(store_),
      pages_(frames_, mm_trace_, simulation_.random("buddy")),
      dram_("dram", simulation_, store_),
      iommu_("iommu", simulation_, iommu_config()),
      interconnect_("interconnect", simulation_, interconnect_config()),
      imsic_("imsic", simulation_, imsic_config(kernel_config)),
      cpu_port_("cpu_port", simulation_),
      no_device_(std::make_unique<NoDevice>("no_device")) {
  no_device_->socket.bind(iommu_.device);
  iommu_.downstream.bind(interconnect_.add_initiator("iommu"));
  iommu_.walker.bind(interconnect_.add_initiator("iommu_walker"));
  cpu_port_.socket.bind(interconnect_.add_initiator("cpu"));
  interconnect_.add_target("dram", {kDramBase, kDramBytes}).bind(dram_.port);
  interconnect_.add_target("imsic", {imsic_.config().base, imsic_.config().size()}).bind(imsic_.port);
  interconnect_.add_target("iommu", {kIommuRegisters, kRegisterBytes}).bind(iommu_.registers);

  kernel_ = std::make_unique<kernel::Kernel>(simulation_, store_, frames_, pages_, cpu_port_, kernel_config);
  imsic_.connect([this](unsigned core, std::uint32_t identity, sim::Tick arrival) {
    kernel_->interrupts().raise(core, identity, arrival);
  });
  pools_ = std::make_unique<pagepool::PagePools>(*kernel_, mm_trace_, pool_options);
  checker_ = std::make_unique<checker::Checker>(simulation_.timeline());
  checker_->attach(mm_trace_);
  checker_->attach(kernel_->trace());
  checker_->attach(pools_->trace());
  checker_->attach(iommu_);
}

RecordedMachine::~RecordedMachine() = default;

}  // namespace replay
