// SPDX-License-Identifier: Apache-2.0
#include "testbenches/explore/token.h"

#include <fstream>
#include <sstream>

#include "sim/digest.h"
#include "sim/error.h"

namespace explore {
namespace {
constexpr std::string_view kMagic = "poolsim:1";
}

std::string to_text(const Token& t) {
  std::string text = std::string(kMagic);
  if (!t.file.empty()) text += " file=" + t.file;
  text += " strategy=" + t.strategy;
  for (const std::string& s : t.settings) text += " set=" + s;
  text += " schedule=" + to_text(t.schedule);
  if (!t.finding.empty()) text += " finding=" + t.finding;
  if (!t.digest.empty()) text += " digest=" + t.digest;
  return text + " build=" + t.build;
}

bool is_token(const std::string& text) {
  if (text.starts_with(kMagic)) return true;
  std::ifstream in(text);
  std::string line;
  while (std::getline(in, line) && (line.empty() || line[0] == '#')) {
  }
  return line.starts_with(kMagic);
}

Token read_token(const std::string& text_or_file) {
  std::string line = text_or_file;
  if (!line.starts_with(kMagic)) {
    std::ifstream in(text_or_file);
    if (!in) throw sim::Error(fmt::format("{}: no such file, and no token (tokens begin with {})", text_or_file, kMagic));
    while (std::getline(in, line) && (line.empty() || line[0] == '#')) {
    }
    if (!line.starts_with(kMagic)) throw sim::Error(fmt::format("{}: holds no token", text_or_file));
  }
  Token t;
  std::istringstream words(line);
  std::string word;
  words >> word;
  while (words >> word) {
    const auto equals = word.find('=');
    const std::string name = word.substr(0, equals), value = equals == word.npos ? "" : word.substr(equals + 1);
    if (name == "file") t.file = value;
    else if (name == "strategy") t.strategy = value;
    else if (name == "set") t.settings.push_back(value);
    else if (name == "schedule") t.schedule = parse_schedule(value);
    else if (name == "finding") t.finding = value;
    else if (name == "digest") t.digest = value;
    else if (name == "build") t.build = value;
    else throw sim::Error(fmt::format("token: '{}' is no field of it{}", name, sim::suggestion(name,
             {"file", "strategy", "set", "schedule", "finding", "digest", "build"})));
  }
  return t;
}

std::string build_id() {
  // The executable itself: same bytes, same meaning.
  static const std::string id = [] {
    std::ifstream in("/proc/self/exe", std::ios::binary);
    std::ostringstream bytes;
    bytes << in.rdbuf();
    const std::string all = bytes.str();
    return fmt::format("{:016x}", sim::hash64(all.data(), all.size()));
  }();
  return id;
}

Token self_contained(const Token& token) {
  Token whole = token;
  auto settings = token.settings;
  settings.push_back("pool.strategy=" + token.strategy);
  whole.settings = settings_of(token.file, settings);
  std::erase_if(whole.settings, [](const std::string& s) { return s.starts_with("pool.strategy="); });
  whole.file.clear();
  return whole;
}

StageConfig load(const Token& token) {
  StageConfig config;
  auto settings = token.settings;
  settings.push_back("pool.strategy=" + token.strategy);
  load(config, token.file, settings);
  return config;
}

}  // namespace explore
