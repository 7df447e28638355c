// SPDX-License-Identifier: Apache-2.0
#include "iommu/iommu.h"

#include "iommu/engine.h"

namespace iommu {
namespace {

/// Hands the calls of a target socket to the engine.
template <auto Nb, auto B, auto Dbg>
struct TargetPort final : tlm::tlm_fw_transport_if<> {
  explicit TargetPort(Engine& e) : engine(e) {}
  tlm::tlm_sync_enum nb_transport_fw(tlm::tlm_generic_payload& p, tlm::tlm_phase& ph,
                                     sc_core::sc_time& t) override {
    return (engine.*Nb)(p, ph, t);
  }
  void b_transport(tlm::tlm_generic_payload& p, sc_core::sc_time& t) override { (engine.*B)(p, t); }
  unsigned transport_dbg(tlm::tlm_generic_payload& p) override { return (engine.*Dbg)(p); }
  bool get_direct_mem_ptr(tlm::tlm_generic_payload&, tlm::tlm_dmi&) override { return false; }
  Engine& engine;
};

template <auto Nb>
struct InitiatorPort final : tlm::tlm_bw_transport_if<> {
  explicit InitiatorPort(Engine& e) : engine(e) {}
  tlm::tlm_sync_enum nb_transport_bw(tlm::tlm_generic_payload& p, tlm::tlm_phase& ph,
                                     sc_core::sc_time& t) override {
    return (engine.*Nb)(p, ph, t);
  }
  void invalidate_direct_mem_ptr(sc_dt::uint64, sc_dt::uint64) override {}
  Engine& engine;
};

const IommuConfig& validated(const IommuConfig& config) {
  config.validate();
  return config;
}

}  // namespace

struct Iommu::Ports {
  explicit Ports(Engine& e) : device(e), registers(e), downstream(e), walker(e) {}
  TargetPort<&Engine::device_request, &Engine::device_b_transport, &Engine::device_dbg> device;
  TargetPort<&Engine::register_request, &Engine::register_b_transport, &Engine::register_dbg> registers;
  InitiatorPort<&Engine::downstream_response> downstream;
  InitiatorPort<&Engine::walker_response> walker;
};

Iommu::Iommu(sc_core::sc_module_name name, sim::Simulation& simulation, const IommuConfig& config)
    : sc_module(name),
      Clocked(simulation.timeline(), validated(config).clock),
      engine_(std::make_unique<Engine>(*this, simulation, config)),
      ports_(std::make_unique<Ports>(*engine_)) {
  device.bind(ports_->device);
  registers.bind(ports_->registers);
  downstream.bind(ports_->downstream);
  walker.bind(ports_->walker);
}

Iommu::~Iommu() = default;

sim::Wakeup Iommu::tick(sim::Cycle now) { return engine_->tick(now); }
void Iommu::receive(const PageRequest& message) { engine_->receive({message, {}, false, 0}); }
void Iommu::receive(const InvalidationCompletion& message) { engine_->receive({{}, message, true, 0}); }
Caches& Iommu::caches() { return engine_->caches(); }
std::uint64_t Iommu::cache_digest() { return engine_->caches().digest(); }
void Iommu::set_command_fault(CommandFault fault) { engine_->set_command_fault(std::move(fault)); }
bool Iommu::idle() const { return engine_->idle(); }
void Iommu::stats(const std::function<void(std::string_view, double, std::string_view)>& visit) const {
  engine_->stats(visit);
}

}  // namespace iommu
