// SPDX-License-Identifier: Apache-2.0
#include "platform/imsic.h"

#include <cstring>

#include "sim/error.h"

namespace platform {

using tlm::tlm_generic_payload;

namespace {
const ImsicConfig& checked(const ImsicConfig& config) {
  config.validate();
  return config;
}
}  // namespace

void ImsicConfig::validate() const {
  if (cores < 1 || cores > 4096)
    throw sim::Error(fmt::format("imsic.cores: {} is not possible (1 to 4096)", cores));
  if (identities < 63 || identities > 2047 || (identities + 1) % 64 != 0) {
    throw sim::Error(fmt::format(
        "imsic.identities: {} is not possible (63 to 2047, one less than a multiple of 64)", identities));
  }
  if (base % 4096 != 0) throw sim::Error(fmt::format("imsic.base: {:#x} is not a multiple of 4 KiB", base));
}

Imsic::Imsic(sc_core::sc_module_name name, sim::Simulation& simulation, const ImsicConfig& config)
    : sc_module(name),
      port("port", *this, 0),
      simulation_(simulation),
      config_(checked(config)),
      last_identity_(simulation.probes(), "imsic.identity", 11),
      messages_(simulation.probes(), "imsic.messages", 32) {}

void Imsic::access(tlm_generic_payload& p, sim::Tick arrival) {
  const std::uint64_t offset = p.get_address() - config_.base;
  const std::uint64_t reg = offset & 0xfff;
  if (offset >= config_.size() || p.get_data_length() != 4 || reg > 4 || reg % 4 != 0) {
    sim::complete(p, sim::CompletionStatus::kUnsupportedRequest);
    return;
  }
  sim::complete(p, sim::CompletionStatus::kSuccess);
  if (p.is_read()) {
    std::memset(p.get_data_ptr(), 0, 4);
    return;
  }
  std::uint32_t identity;
  std::memcpy(&identity, p.get_data_ptr(), 4);
  if (reg == 4) identity = __builtin_bswap32(identity);
  if (identity == 0 || identity > config_.identities) {
    ++ignored_;
    return;
  }
  const auto core = static_cast<unsigned>(offset >> 12);
  ++delivered_;
  messages_.set(delivered_);
  last_identity_.set(identity);
  static constexpr std::uint64_t kTag = sim::digest_tag("imsic.msi");
  simulation_.note(kTag, core, identity);
  if (deliver_) deliver_(core, identity, arrival);
}

tlm::tlm_sync_enum Imsic::request(unsigned, tlm_generic_payload& p, tlm::tlm_phase& phase,
                                  sc_core::sc_time& delay) {
  if (phase == tlm::BEGIN_REQ) access(p, simulation_.timeline().incoming(delay));
  return tlm::TLM_COMPLETED;
}

void Imsic::blocking(unsigned, tlm_generic_payload& p, sc_core::sc_time& delay) {
  access(p, simulation_.timeline().incoming(delay));
}

void Imsic::stats(const std::function<void(std::string_view, double, std::string_view)>& report) const {
  report("messages", static_cast<double>(delivered_), "1");
  report("ignored", static_cast<double>(ignored_), "1");
}

}  // namespace platform
