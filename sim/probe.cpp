// SPDX-License-Identifier: Apache-2.0
#include "sim/probe.h"

#include <algorithm>

#include "sim/timeline.h"

namespace sim {

Probe::Probe(ProbeHub& hub, std::string path, unsigned bits, std::vector<std::string> states)
    : hub_(hub), path_(std::move(path)), bits_(bits), states_(std::move(states)) {
  hub_.probes_.push_back(this);
}

Probe::~Probe() { std::erase(hub_.probes_, this); }

void Probe::notify() { listener_->on_change(*this, hub_.timeline().now()); }

}  // namespace sim
