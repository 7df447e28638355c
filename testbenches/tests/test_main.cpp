// SPDX-License-Identifier: Apache-2.0
// Every test binary runs inside sc_main, so that tests may elaborate SystemC modules; ctest gives each TEST its
// own process, because SystemC elaborates once a process. A SystemC warning or error fails the test.
#include <gtest/gtest.h>

#include <cstdlib>
#include <systemc>

int sc_main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}

int main(int argc, char** argv) {
  ::setenv("SYSTEMC_DISABLE_COPYRIGHT_MESSAGE", "1", 1);
  sc_core::sc_report_handler::set_actions(sc_core::SC_WARNING, sc_core::SC_THROW);
  return sc_core::sc_elab_and_sim(argc, argv);
}
