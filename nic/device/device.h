// SPDX-License-Identifier: Apache-2.0
// What the engines of the 82576 share: registers, functions, who may master the bus, counters and
// tracepoints. Internal to nic/device; users see nic.h.
#pragma once
#include <array>
#include <cstdint>
#include <vector>

#include "nic/device/config.h"
#include "nic/device/pci_function.h"
#include "nic/device/register_file.h"
#include "nic/device/stats.h"
#include "nic/device/trace.h"
#include "sim/simulation.h"

namespace nic {

/// 0 = PF, 1 + n = VF n.
using FunctionIndex = unsigned;
inline constexpr FunctionIndex kPf = 0;
inline constexpr unsigned kFunctions = 1 + kPools;

/// Cycles until something happens; kNeverCycle if nothing will by itself.
inline void earliest(sim::Cycle& next, sim::Cycle candidate) {
  if (candidate < next) next = candidate;
}

class Device {
 public:
  Device(sim::Simulation& simulation, const NicConfig& configuration)
      : sim(simulation), config(configuration), clock(configuration.clock()) {
    functions.reserve(kFunctions);
    for (unsigned f = 0; f < kFunctions; ++f) functions.emplace_back(f != kPf, config);
    cycles_per_us = config.clock_hz / 1'000'000;
    refresh_functions();
  }

  sim::Simulation& sim;
  const NicConfig config;
  const sim::Clock clock;
  RegisterFile regs;
  std::vector<PciFunction> functions;
  NicTracepoints trace;
  NicStats stats;
  std::uint64_t cycles_per_us = 250;
  /// The cycle of the present tick.
  sim::Cycle now = 0;

  PciFunction& pf() { return functions[kPf]; }
  unsigned active_vfs() const { return active_vfs_; }
  bool exists(FunctionIndex f) const { return f <= active_vfs_; }
  sim::RequesterId requester(FunctionIndex f) const {
    return f == kPf ? config.pf_requester : config.pf_requester + pci::vf_function(f - 1);
  }
  /// Owner of queue or pool `q`.
  FunctionIndex function_of_queue(unsigned q) const {
    const unsigned pool = q % kPools;
    return pool < active_vfs_ ? pool + 1 : kPf;
  }
  /// Function exists, COMMAND.BME is set and, for the PF, CTRL.GIO_MASTER_DISABLE is clear.
  bool may_master(FunctionIndex f) const { return (may_master_ >> f & 1) != 0; }
  std::uint32_t max_payload() const { return max_payload_; }
  std::uint32_t max_read_request() const { return max_read_request_; }

  /// After a change of configuration space, CTRL, or the set of VFs.
  void refresh_functions() {
    may_master_ = 0;
    for (FunctionIndex f = 0; exists(f); ++f) {
      const bool disabled = f == kPf && (regs[reg::CTRL] & ctrl::GIO_MASTER_DISABLE) != 0;
      if (functions[f].bus_master() && !disabled) may_master_ |= 1u << f;
    }
    max_payload_ = pf().max_payload();
    max_read_request_ = pf().max_read_request();
  }
  void set_active_vfs(unsigned n) {
    active_vfs_ = n;
    refresh_functions();
  }

 private:
  unsigned active_vfs_ = 0;
  unsigned may_master_ = 0;
  std::uint32_t max_payload_ = 128;
  std::uint32_t max_read_request_ = 512;
};

}  // namespace nic
