// SPDX-License-Identifier: Apache-2.0
#include "testbenches/conform/pagepool_conform.h"

#include <zlib.h>

#include <array>
#include <cstdio>
#include <ostream>

#include "sim/error.h"
#include "testbenches/conform/script_world.h"

namespace conform {

PoolVersion parse_pool_version(std::string_view word) {
  if (word == "6.12") return PoolVersion::v6_12;
  if (word == "6.18") return PoolVersion::v6_18;
  throw sim::Error(
      fmt::format("unknown page_pool version '{}'{}", word, sim::suggestion(word, {"6.12", "6.18"})));
}

std::string run_pool_script(const PoolScriptText& script, PoolVersion version) {
  if (version == PoolVersion::v6_12) {
    ScriptWorld<pagepool::PagePool<ScriptEnv, pagepool::V612, pagepool::Stock>> world;
    return world.run(script);
  }
  ScriptWorld<pagepool::PagePool<ScriptEnv, pagepool::V618, pagepool::XarrayMerged>> world;
  return world.run(script);
}

std::string run_pool_scripts(std::string_view file, std::string_view text, PoolVersion version) {
  std::string out;
  for (const PoolScriptText& script : parse_pool_scripts(file, text)) {
    if (!script.name.empty()) out += "=== " + script.name + "\n";
    out += run_pool_script(script, version);
  }
  return out;
}

std::optional<std::string> first_difference(std::string_view got, std::string_view expected) {
  auto next_line = [](std::string_view& text) {
    std::size_t end = std::min(text.find('\n'), text.size());
    std::string_view row = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    return row;
  };
  std::string_view name, state;
  std::size_t number = 0;
  while (!got.empty() || !expected.empty()) {
    bool got_ends = got.empty(), expected_ends = expected.empty();
    std::string_view g = next_line(got), e = next_line(expected);
    ++number;
    if (g != e || got_ends != expected_ends) {
      return fmt::format("line {}{}{}:\n  before:   {}\n  expected: {}\n  got:      {}\n", number,
                         name.empty() ? "" : " of ", name, state.empty() ? "(start)" : state,
                         expected_ends ? "(end)" : e, got_ends ? "(end)" : g);
    }
    if (g.starts_with("=== ")) {
      name = g.substr(4);
      state = {};
    } else if (!g.starts_with('+')) {
      state = g;
    }
  }
  return std::nullopt;
}

std::string read_text_file(const std::string& path) {
  std::string text;
  gzFile file = path == "-" ? gzdopen(fileno(stdin), "rb") : gzopen(path.c_str(), "rb");
  if (!file) throw sim::Error(path, 0, "cannot be opened");
  std::array<char, 1 << 16> buffer;
  int n;
  while ((n = gzread(file, buffer.data(), buffer.size())) > 0)
    text.append(buffer.data(), static_cast<size_t>(n));
  int code = Z_OK;
  gzerror(file, &code);
  if (path != "-") gzclose(file);
  if (n < 0 || code == Z_BUF_ERROR || code == Z_DATA_ERROR)
    throw sim::Error(path, 0, "is truncated or damaged");
  return text;
}

int run_pagepool_conform(const PagepoolConformOptions& options, std::ostream& out) {
  std::vector<std::string> files = options.files;
  if (files.empty()) files.emplace_back("-");
  std::string got;
  for (const std::string& file : files) got += run_pool_scripts(file, read_text_file(file), options.version);
  if (!options.expect) {
    out << got;
    return 0;
  }
  if (auto difference = first_difference(got, read_text_file(*options.expect))) {
    out << *options.expect << ": " << *difference;
    return 1;
  }
  return 0;
}

}  // namespace conform
