// SPDX-License-Identifier: Apache-2.0
#include "testbenches/conform/nic_conform.h"

#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <ostream>

#include "sim/error.h"
#include "testbenches/conform/nic_world.h"
#include "testbenches/conform/pagepool_conform.h"  // read_text_file

namespace conform {
namespace {

void write_all(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t n = ::write(fd, text.data(), text.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) ::_exit(70);
    text.remove_prefix(static_cast<std::size_t>(n));
  }
}

[[noreturn]] void run_in_child(const NicScript& script, int fd) {
  // First byte: '+' answers follow, '!' a model error's text follows.
  try {
    write_all(fd, "+" + NicWorld(script.iommu_world).run(script));
  } catch (const std::exception& e) {
    write_all(fd, fmt::format("!{}", e.what()));
  }
  ::_exit(0);
}

/// First line where two answer files part.
std::string difference(std::string_view got, std::string_view expected) {
  std::size_t line = 1;
  for (;; ++line) {
    const auto g = got.substr(0, got.find('\n')), e = expected.substr(0, expected.find('\n'));
    if (g != e || got.empty() || expected.empty()) {
      return fmt::format("line {}:\n  expected: {}\n  got:      {}\n", line, expected.empty() ? "(end)" : e,
                         got.empty() ? "(end)" : g);
    }
    got.remove_prefix(std::min(g.size() + 1, got.size()));
    expected.remove_prefix(std::min(e.size() + 1, expected.size()));
  }
}

}  // namespace

std::string run_nic_script(const NicScript& script) {
  int fds[2];
  if (::pipe(fds) != 0) throw sim::Error(fmt::format("pipe: {}", std::strerror(errno)));
  const pid_t child = ::fork();
  if (child < 0) throw sim::Error(fmt::format("fork: {}", std::strerror(errno)));
  if (child == 0) {
    ::close(fds[0]);
    run_in_child(script, fds[1]);
  }
  ::close(fds[1]);
  std::string text;
  char buffer[65536];
  for (;;) {
    const ssize_t n = ::read(fds[0], buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    text.append(buffer, static_cast<std::size_t>(n));
  }
  ::close(fds[0]);
  int state = 0;
  while (::waitpid(child, &state, 0) < 0 && errno == EINTR) {
  }
  if (!WIFEXITED(state) || WEXITSTATUS(state) != 0 || text.empty())
    throw sim::ModelError("the script's process ended abnormally");
  if (text.front() == '!') throw sim::ModelError(text.substr(1));
  return text.substr(1);
}

int run_nic_conform(const NicConformOptions& options, std::ostream& out) {
  std::vector<std::string> files = options.files;
  if (files.empty()) files.emplace_back("-");
  std::string got;
  for (const std::string& file : files) {
    const NicScript script = parse_nic_script(file, read_text_file(file));
    if (files.size() > 1) got += fmt::format("=== {}\n", script.name.empty() ? file : script.name);
    got += run_nic_script(script);
  }
  if (!options.expect) {
    out << got;
    return 0;
  }
  const std::string expected = read_text_file(*options.expect);
  if (got == expected) return 0;
  out << *options.expect << ": " << difference(got, expected);
  return 1;
}

}  // namespace conform
