// SPDX-License-Identifier: Apache-2.0
#include "testbenches/campaign/replay.h"

#include <algorithm>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>

#include "testbenches/campaign/workers.h"
#include "testbenches/scenario/processes.h"

namespace campaign {
namespace {
constexpr std::string_view kMagic = "poolsim:campaign";

std::uint64_t parse_id(const std::string& text) {
  if (text.empty() || !std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; })) {
    throw sim::Error(fmt::format("'{}' is no number of an experiment", text));
  }
  return std::stoull(text);
}

/// Of what `what` says it was made by; `build` empty: not asked.
void check_build(const std::string& what, const std::string& made_by, const std::string& build) {
  if (build.empty() || made_by.empty() || made_by == build) return;
  throw NotReproducible(
      fmt::format("{}: made by build {}, this is {} (--force tries)", what, made_by, build));
}

Reference read_token(const std::string& text, const std::string& build) {
  std::istringstream words(text);
  std::string word, file;
  std::vector<std::string> settings;
  words >> word;
  Reference r;
  while (words >> word) {
    const auto equals = word.find('=');
    const std::string name = word.substr(0, equals),
                      value = equals == word.npos ? "" : word.substr(equals + 1);
    if (name == "file")
      file = value;
    else if (name == "id")
      r.id = parse_id(value);
    else if (name == "set")
      settings.push_back(value);
    else if (name == "digest")
      r.digest = value;
    else if (name == "outcome")
      r.outcome = value;
    else if (name == "build")
      r.build = value;
    else
      throw sim::Error(
          fmt::format("token: '{}' is no field of it{}", name,
                      sim::suggestion(name, {"file", "id", "set", "digest", "outcome", "build"})));
  }
  check_build("token", r.build, build);
  r.campaign = load_campaign(file, settings);
  return r;
}
/// The first line of a file that is no comment, if that is a token; else "".
std::string token_in_file(const std::string& file) {
  std::ifstream in(file);
  std::string line;
  while (std::getline(in, line) && (line.empty() || line[0] == '#')) {
  }
  return line.starts_with(kMagic) ? line : "";
}
}  // namespace

bool is_reference(const std::string& text) {
  if (text.starts_with(kMagic) || !token_in_file(text).empty()) return true;
  const auto hash = text.rfind('#');
  return hash != text.npos && hash + 1 < text.size() && hash > 0 &&
         std::all_of(text.begin() + static_cast<std::ptrdiff_t>(hash) + 1, text.end(),
                     [](char c) { return c >= '0' && c <= '9'; });
}

Reference read_reference(const std::string& text, const std::string& build) {
  if (text.starts_with(kMagic)) return read_token(text, build);
  if (const std::string line = token_in_file(text); !line.empty()) return read_token(line, build);
  const auto hash = text.rfind('#');
  const Database db = Database::open(text.substr(0, hash));
  Reference r;
  r.id = parse_id(text.substr(hash + 1));
  r.build = db.meta("build");
  check_build(db.file(), r.build, build);
  r.campaign = db.campaign();
  const auto result = db.find(r.id);
  if (!result) throw sim::Error(fmt::format("{}: there is no experiment {}", db.file(), r.id));
  r.digest = result->digest;
  r.outcome = result->outcome;
  if (r.campaign.config_digest() != db.meta("config_digest")) {
    throw NotReproducible(fmt::format("{}: POOLSIM_* are not what they were", db.file()));
  }
  return r;
}

std::string token(const Campaign& campaign, const Result& result, const std::string& build) {
  return fmt::format("{} file={} id={} outcome={} digest={} build={}", kMagic, campaign.file, result.id,
                     result.outcome, result.digest, build);
}

Replayed replay(const Reference& reference, const scenario::RunOptions& options) {
  const auto j = nlohmann::json::parse(scenario::in_process([&] {
    auto row = std::make_unique<Row>();
    const std::string report = run_cold(reference.campaign, reference.id, *row, options);
    return nlohmann::json{{"outcome", to_string(row->outcome)},
                          {"digest", row->digest},
                          {"entity", row->entity},
                          {"signature", row->signature},
                          {"detail", row->detail},
                          {"injected", row->injected},
                          {"report", report}}
        .dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  }));
  return {j["outcome"], j["digest"], j["entity"], j["signature"], j["detail"], j["report"], j["injected"]};
}

}  // namespace campaign
