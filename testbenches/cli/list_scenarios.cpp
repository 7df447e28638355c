// SPDX-License-Identifier: Apache-2.0
// poolsim list scenarios: the scenario files of testbenches/scenarios, with the first sentence of their
// comment.
#include <filesystem>
#include <fstream>

#include "sim/error.h"
#include "testbenches/cli/command.h"

namespace {

namespace fs = std::filesystem;

/// The comment at the top of the file up to its first full stop or colon.
std::string first_clause(const fs::path& file) {
  std::ifstream in(file);
  std::string text;
  for (std::string line; std::getline(in, line) && line.starts_with('#');) {
    if (line.find("SPDX-") != std::string::npos) continue;
    line.erase(0, line.find_first_not_of("# "));
    if (line.empty() && text.empty()) continue;
    if (line.empty()) break;
    text += (text.empty() ? "" : " ") + line;
    const auto stop = std::min(text.find(". "), text.find(": "));
    if (stop != std::string::npos) return text.substr(0, stop);
  }
  if (text.ends_with('.')) text.pop_back();
  return text;
}

/// Of the clone that we are in, else of the installation that we run from.
fs::path scenario_folder() {
  const fs::path here = "testbenches/scenarios";
  if (fs::is_directory(here)) return here;
  std::error_code none;
  const fs::path program = fs::read_symlink("/proc/self/exe", none);
  const fs::path installed = program.parent_path().parent_path() / "share/poolsim/scenarios";
  if (fs::is_directory(installed)) return installed;
  throw sim::Error(here.string(), 0, "no such folder here: run this where poolsim was cloned to");
}

const cli::Listing kScenarios("scenarios", {"file", "what happens"}, [] {
  const fs::path folder = scenario_folder();
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.path().extension() == ".yaml") files.push_back(entry.path());
  }
  std::ranges::sort(files);
  cli::Listing::Rows rows;
  for (const auto& f : files) rows.push_back({f.string(), first_clause(f)});
  return rows;
});

}  // namespace
