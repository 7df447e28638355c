// SPDX-License-Identifier: Apache-2.0
// poolsim-bench: Google Benchmark inside sc_main, because SystemC elaborates once a process. Modules of a benchmark
// are therefore made before the first one runs (elaborate.h).
#include <benchmark/benchmark.h>

#include <cstdlib>
#include <systemc>

#include "testbenches/bench/elaborate.h"

int sc_main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  for (auto make : bench::elaborations()) make();
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}

int main(int argc, char** argv) {
  ::setenv("SYSTEMC_DISABLE_COPYRIGHT_MESSAGE", "1", 1);
  return sc_core::sc_elab_and_sim(argc, argv);
}
