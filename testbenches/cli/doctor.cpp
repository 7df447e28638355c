// SPDX-License-Identifier: Apache-2.0
// poolsim doctor: does this machine have what poolsim needs? Exit 1 if something that is needed is missing.
#include <sys/mman.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <systemc>

#include "sim/fiber.h"
#include "testbenches/cli/command.h"
#include "testbenches/cli/table.h"

namespace {

struct Check {
  std::string what;
  bool good;
  bool needed;
  std::string detail;
};

/// Simulated memory is one sparse mapping: its address space must be had, not its pages.
Check sparse_memory() {
  constexpr std::size_t kBytes = std::size_t{1} << 42;
  void* p =
      ::mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) {
    return {"sparse memory", false, true,
            fmt::format("a mapping of 4 TiB is refused ({}); see vm.overcommit_memory, ulimit -v",
                        std::strerror(errno))};
  }
  ::munmap(p, kBytes);
  return {"sparse memory", true, true, "4 TiB of address space can be mapped"};
}

Check fibers() {
  int steps = 0;
  sim::Fiber* self = nullptr;
  sim::Fiber fiber("doctor", [&] {
    ++steps;
    self->suspend();
    ++steps;
  });
  self = &fiber;
  fiber.resume();
  fiber.resume();
  return {"fibers", steps == 2 && fiber.done(), true, "kernel contexts switch stacks"};
}

Check host() {
  const bool good = sizeof(void*) == 8 && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__;
  return {"host", good, true,
          fmt::format("{}-bit, page size {} bytes, {} processors", 8 * sizeof(void*), ::sysconf(_SC_PAGESIZE),
                      ::sysconf(_SC_NPROCESSORS_ONLN))};
}

Check build() {
#ifdef __OPTIMIZE__
  const bool optimized = true;
#else
  const bool optimized = false;
#endif
  return {"build", optimized, false,
          optimized ? "optimised" : "not optimised: figures of speed mean nothing"};
}

Check viewer() {
  const char* path = std::getenv("PATH");
  std::string_view rest = path != nullptr ? path : "";
  while (!rest.empty()) {
    const std::size_t end = rest.find(':');
    const auto file = std::filesystem::path(rest.substr(0, end)) / "gtkwave";
    if (::access(file.c_str(), X_OK) == 0) return {"waveform viewer", true, false, file.string()};
    rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
  }
  return {"waveform viewer", false, false, "gtkwave is not installed; any viewer of VCD files will do"};
}

int doctor(const cli::Context& context) {
  std::vector<Check> checks = {
      host(), {"SystemC", true, true, sc_core::sc_version()}, build(), sparse_memory(), fibers(), viewer()};
  bool healthy = true;
  for (const Check& c : checks) healthy = healthy && (c.good || !c.needed);
  if (context.json) {
    nlohmann::ordered_json out;
    out["healthy"] = healthy;
    for (const Check& c : checks) {
      out["checks"].push_back(
          {{"what", c.what}, {"good", c.good}, {"needed", c.needed}, {"detail", c.detail}});
    }
    fmt::print("{}\n", out.dump(2));
  } else {
    cli::Table table({"check", "", "detail"});
    for (const Check& c : checks) {
      std::string detail = c.detail.substr(0, c.detail.find('\n'));
      table.row({c.what, c.good ? "ok" : c.needed ? "MISSING" : "note", std::move(detail)});
    }
    fmt::print("{}", table.text(context.terminal));
  }
  return healthy ? cli::kOk : cli::kFindings;
}

const cli::Subcommand kDoctor("doctor", "Does this machine have what poolsim needs?",
                              [](CLI::App&, const cli::Context& context) {
                                return [&context] { return doctor(context); };
                              });

}  // namespace
