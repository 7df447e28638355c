// SPDX-License-Identifier: Apache-2.0
// libFuzzer target: a device with ATS and PRI (platform::DmaDevice) behind link, root port and IOMMU, and a
// guest and a neighbour on the link that may do anything to it (testbenches/tests/platform/ats_guest.h).
// Found by the sanitizers, by the models' assertions, or by the law that every access ends exactly once when
// everything is switched off.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "testbenches/tests/iommu/random_case.h"
#include "testbenches/tests/platform/ats_guest.h"

/// libFuzzer brings main(); SystemC's library wants this one.
int sc_main(int, char**) { return 0; }

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  // Never freed: SystemC objects outlive their context at exit otherwise.
  static ats_test::AtsWorld* const world = [] {
    ::setenv("SYSTEMC_DISABLE_COPYRIGHT_MESSAGE", "1", 1);
    sc_core::sc_report_handler::set_actions(sc_core::SC_WARNING, sc_core::SC_THROW);
    return new ats_test::AtsWorld("w");
  }();
  iommu_test::ByteChoices choices(data, size);
  ats_test::Guest<iommu_test::ByteChoices> guest(*world, choices);
  for (unsigned i = 0; i < 512 && !choices.empty(); ++i) guest.step();
  if (guest.comes_to_rest()) return 0;
  std::fprintf(stderr, "ats_fuzz: law broken: an access never ended, or ended twice\n");
  std::abort();
}
