// SPDX-License-Identifier: Apache-2.0
// poolsim-bench: Google Benchmark inside sc_main, because SystemC elaborates once a process. Without a filter every
// family of benchmarks runs in a process of its own; with one, the modules of the family that the filter names are made.
#include <benchmark/benchmark.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <string>
#include <string_view>
#include <systemc>

#include "testbenches/bench/elaborate.h"

namespace {

std::string filter_of(int argc, char** argv) {
  constexpr std::string_view kOption = "--benchmark_filter=";
  for (int i = 1; i < argc; ++i) {
    if (std::string_view(argv[i]).starts_with(kOption)) return argv[i] + kOption.size();
  }
  return {};
}

bool names(const std::string& filter, const bench::Family& family) {
  return filter.find(family.prefix) != std::string::npos;
}

/// Families whose name stands in the filter; all of them if none does, as the filter may be any expression.
void elaborate(const std::string& filter) {
  const auto& all = bench::families();
  const auto named = [&](const bench::Family& f) { return names(filter, f); };
  const bool some = std::any_of(all.begin(), all.end(), named);
  const bool nothing = filter.starts_with('-');  // the benchmarks of no family
  for (const auto& family : all) {
    if (!nothing && (!some || named(family))) family.make();
  }
}

/// Runs this program again with `filter`, and waits. False if it failed.
bool run_again(int argc, char** argv, const std::string& filter) {
  std::string option = "--benchmark_filter=" + filter;
  std::vector<char*> arguments(argv, argv + argc);
  arguments.push_back(option.data());
  arguments.push_back(nullptr);
  const pid_t child = ::fork();
  if (child == 0) {
    ::execv("/proc/self/exe", arguments.data());
    ::_exit(127);
  }
  int status = 0;
  return child > 0 && ::waitpid(child, &status, 0) == child && status == 0;
}

int run_every_family(int argc, char** argv) {
  std::string rest;
  bool ok = true;
  for (const auto& family : bench::families()) {
    ok = run_again(argc, argv, "^" + family.prefix) && ok;
    rest += (rest.empty() ? "-^(" : "|") + family.prefix;
  }
  return run_again(argc, argv, rest + ")") && ok ? 0 : 1;
}

}  // namespace

int sc_main(int argc, char** argv) {
  const std::string filter = filter_of(argc, argv);
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  elaborate(filter);
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}

int main(int argc, char** argv) {
  ::setenv("SYSTEMC_DISABLE_COPYRIGHT_MESSAGE", "1", 1);
  if (filter_of(argc, argv).empty()) return run_every_family(argc, argv);
  return sc_core::sc_elab_and_sim(argc, argv);
}
