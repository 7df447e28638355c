// SPDX-License-Identifier: Apache-2.0
// The incoming MSI controllers of the cores: one interrupt file (4 KiB page) a core. A 4-byte write of an
// interrupt identity to seteipnum_le (offset 0) or seteipnum_be (offset 4) is handed to the core.
//
// The enable and pending bits of a core belong to the modelled kernel (they are CSRs, not memory): this is
// the memory side only. Reads give zero. Identity 0 and identities beyond `identities` are ignored. Other
// offsets and sizes are refused. Source: RISC-V Advanced Interrupt Architecture, chapter 3 (IMSIC), memory
// region of an interrupt file.
#pragma once
#include <functional>
#include <string_view>

#include "platform/ports.h"
#include "sim/simulation.h"

namespace platform {

struct ImsicConfig {
  std::uint64_t base = 0x2400'0000;
  unsigned cores = 4;
  unsigned identities = 255;  ///< highest interrupt identity: 63 to 2047

  std::uint64_t size() const { return std::uint64_t{cores} << 12; }
  std::uint64_t address_of(unsigned core) const { return base + (std::uint64_t{core} << 12); }
  /// Throws sim::Error naming the field.
  void validate() const;
};

class Imsic : public sc_core::sc_module {
 public:
  /// An MSI for `core`, with its time of arrival. What the core does with it, it does later than that.
  using Deliver = std::function<void(unsigned core, std::uint32_t identity, sim::Tick arrival)>;

  Imsic(sc_core::sc_module_name name, sim::Simulation& simulation, const ImsicConfig& config);

  TargetPort<Imsic> port;

  void connect(Deliver deliver) { deliver_ = std::move(deliver); }
  const ImsicConfig& config() const { return config_; }
  std::uint64_t delivered() const { return delivered_; }
  void stats(const std::function<void(std::string_view name, double value, std::string_view unit)>&) const;

 private:
  friend class TargetPort<Imsic>;
  tlm::tlm_sync_enum request(unsigned, tlm::tlm_generic_payload&, tlm::tlm_phase&, sc_core::sc_time&);
  void blocking(unsigned, tlm::tlm_generic_payload&, sc_core::sc_time&);
  unsigned debug(unsigned, tlm::tlm_generic_payload&) { return 0; }
  void access(tlm::tlm_generic_payload& p, sim::Tick arrival);

  sim::Simulation& simulation_;
  ImsicConfig config_;
  Deliver deliver_;
  std::uint64_t delivered_ = 0;
  std::uint64_t ignored_ = 0;
  sim::Probe last_identity_;
  sim::Probe messages_;
};

}  // namespace platform
