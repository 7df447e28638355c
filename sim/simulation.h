// SPDX-License-Identifier: Apache-2.0
// What every module is given: time, probes, the digest, the oracle and the seed. No globals; two Simulations fit
// into one process (before elaboration ends).
#pragma once
#include <memory>
#include <string>

#include "sim/digest.h"
#include "sim/oracle.h"
#include "sim/payload.h"
#include "sim/probe.h"
#include "sim/random.h"
#include "sim/timeline.h"

namespace sim {

struct SimulationConfig {
  std::uint64_t seed = 1;
  std::uint64_t experiment = 0;
  TimeMode time;
};

class Simulation {
 public:
  explicit Simulation(const std::string& name = "sim", SimulationConfig config = {})
      : config_(config), timeline_(name.c_str(), config.time), probes_(timeline_), oracle_(&plain_) {}

  Timeline& timeline() { return timeline_; }
  const Timeline& timeline() const { return timeline_; }
  Tick now() const { return timeline_.now(); }
  ProbeHub& probes() { return probes_; }
  Digest& digest() { return digest_; }
  PayloadPool& payloads() { return payloads_; }
  Oracle& oracle() { return *oracle_; }
  void set_oracle(Oracle& oracle) { oracle_ = &oracle; }
  /// A stream of random numbers of its own for `consumer`.
  RandomStream random(std::string_view consumer) const {
    return {config_.seed, config_.experiment, consumer};
  }
  const SimulationConfig& config() const { return config_; }

  /// Digest of an event at the present time.
  void note(std::uint64_t what, std::uint64_t a = 0, std::uint64_t b = 0) { digest_.add(what, now(), a, b); }

 private:
  SimulationConfig config_;
  Timeline timeline_;
  ProbeHub probes_;
  Digest digest_;
  PayloadPool payloads_;
  PlainOracle plain_;
  Oracle* oracle_;
};

}  // namespace sim
