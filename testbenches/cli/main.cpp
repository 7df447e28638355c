// SPDX-License-Identifier: Apache-2.0
#include <spdlog/spdlog.h>

#include <cstdlib>
#include <systemc>

#include "testbenches/cli/command.h"

namespace {

/// SystemC's own messages go where ours go; its errors are thrown as it does by itself.
void report(const sc_core::sc_report& r, const sc_core::sc_actions& actions) {
  switch (r.get_severity()) {
    case sc_core::SC_INFO:
      spdlog::debug("SystemC: {}", r.get_msg());
      break;
    case sc_core::SC_WARNING:
      spdlog::warn("SystemC: {}: {}", r.get_msg_type(), r.get_msg());
      break;
    default:
      break;
  }
  if ((actions & sc_core::SC_THROW) != 0) throw r;
  if ((actions & sc_core::SC_ABORT) != 0) std::abort();
}

}  // namespace

int sc_main(int argc, char** argv) { return cli::run_command(argc, argv); }

int main(int argc, char** argv) {
  ::setenv("SYSTEMC_DISABLE_COPYRIGHT_MESSAGE", "1", 1);
  sc_core::sc_report_handler::set_handler(report);
  return sc_core::sc_elab_and_sim(argc, argv);
}
