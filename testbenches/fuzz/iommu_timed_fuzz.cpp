// SPDX-License-Identifier: Apache-2.0
// libFuzzer target: the timed IOMMU (iommu::Iommu with its sockets, walkers, queues and messages) against
// random memory images, registers, commands, messages and crowds of TLPs, all overlapping in time. Found by
// the sanitizers, by the model's assertions, or by the laws of testbenches/tests/iommu/crowd.h: every request
// is answered exactly once and with a status that exists, what reaches memory was translated, a cause exists,
// the counters add up, and when everything is switched off the module comes to rest.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "testbenches/tests/iommu/crowd.h"

namespace {

using iommu_test::CrowdWorld;
using iommu_test::Cycle;

/// SystemC elaborates once a process: a number of IOMMUs of random configurations serve all inputs.
constexpr unsigned kWorlds = 24;

std::vector<CrowdWorld*> make_worlds() {
  ::setenv("SYSTEMC_DISABLE_COPYRIGHT_MESSAGE", "1", 1);
  sc_core::sc_report_handler::set_actions(sc_core::SC_WARNING, sc_core::SC_THROW);
  std::vector<CrowdWorld*> all;
  for (unsigned n = 0; n < kWorlds; ++n) {
    all.push_back(
        new CrowdWorld("w" + std::to_string(n), iommu_test::crowd_configuration(n + 1), {}, n % 5 * 9));
  }
  return all;
}

void require(bool law, const char* what) {
  if (law) return;
  std::fprintf(stderr, "iommu_timed_fuzz: law broken: %s\n", what);
  std::abort();
}

}  // namespace

/// libFuzzer brings main(); SystemC's library wants this one.
int sc_main(int, char**) { return 0; }

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  // Never freed: SystemC objects outlive their context at exit otherwise.
  static const auto* const worlds = new std::vector<CrowdWorld*>(make_worlds());
  static Cycle now = 0;  // of all of them
  iommu_test::ByteChoices choices(data, size);
  CrowdWorld& world = *(*worlds)[choices.below(kWorlds)];
  const auto run = [&](Cycle cycles) {
    world.sim.timeline().run_until((now += cycles) * iommu_test::kCycle);
  };
  run(1);
  iommu_test::Crowd crowd(world, choices);
  crowd.start();
  for (unsigned i = 0; i < 96 && !choices.empty(); ++i) run(crowd.step(now));
  run(64);  // what was sent last has arrived
  crowd.switch_off();
  for (unsigned tries = 0; !crowd.at_rest(); ++tries) {
    require(tries < 100, "it comes to rest");
    run(1000);
  }
  require(crowd.broken_law().empty(), crowd.broken_law().c_str());
  crowd.leave();
  return 0;
}
